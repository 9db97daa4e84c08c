//! The tables, and how older ones become these.

use crate::{Error, Result, checksum};
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::path::Path;

/// FORMAT: kept in `PRAGMA user_version`. A change of [`TABLES`] or [`INDEXES`] needs the next number and a step in [`prepare`].
pub(crate) const VERSION: i64 = 3;

/// FORMAT: `PRAGMA application_id`, shown by file(1): "lard".
pub(crate) const APPLICATION: i64 = 0x6c61_7264;

/// One table. All are declared alike, see [`Table::declaration`].
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// Name, type and constraint of each.
    pub(crate) columns: &'static [&'static str],
    /// The columns of the primary key.
    pub(crate) key: &'static str,
}

impl Table {
    /// FORMAT: rows are stored by their key, and carry a sum of the name of the table and all other columns.
    pub(crate) fn declaration(&self) -> String {
        let sum = format!("{}({})", checksum::FUNCTION, self.summed());
        format!(
            "CREATE TABLE {} ({}, sum INTEGER NOT NULL GENERATED ALWAYS AS ({sum}) STORED, PRIMARY KEY ({})) WITHOUT ROWID",
            self.name,
            self.columns.join(", "),
            self.key
        )
    }

    /// The arguments of the sum.
    pub(crate) fn summed(&self) -> String {
        format!("'{}', {}", self.name, self.column_names())
    }

    /// The columns without the sum.
    pub(crate) fn column_names(&self) -> String {
        self.columns.iter().filter_map(|column| column.split(' ').next()).collect::<Vec<_>>().join(", ")
    }
}

/// Brings the schema to [`VERSION`], or says why it cannot. `new` is asked before tables are made where there are none.
pub(crate) fn prepare(
    connection: &mut Connection,
    path: &Path,
    new: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let failed = |operation| move |source| Error::Database { operation, path: path.to_owned(), source };
    let read = failed("read the layout version");
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(read)?;
    let update = failed("bring the tables up to date");
    // FORMAT: since version 3 the number stands in a row too, where it has a sum.
    let recorded =
        connection.query_row("SELECT value FROM facts WHERE key = 'layout'", [], |row| row.get::<_, i64>(0));
    if recorded.is_ok_and(|recorded| recorded != found) {
        let problem = "contradicts itself about its version";
        return Err(Error::BrokenDatabase { path: path.to_owned(), problem });
    }
    // The head of the file can claim that only a newer SQLite may write it.
    if connection.is_readonly("main").map_err(read)? && OpenOptions::new().write(true).open(path).is_ok() {
        let problem = "has a damaged head";
        return Err(Error::BrokenDatabase { path: path.to_owned(), problem });
    }
    match found {
        VERSION => return Ok(()),
        0 => {}
        1 => return change(connection, |db| from_1(db).and_then(|()| from_2(db))).map_err(update),
        2 => return change(connection, from_2).map_err(update),
        _ => {
            let home = path.parent().unwrap_or(path).to_owned();
            return Err(Error::Newer { path: home, found, known: VERSION });
        }
    }
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(read)?;
    if tables != 0 {
        return Err(Error::Foreign { path: path.to_owned() });
    }
    new()?;
    create(connection, |_| Ok(())).map_err(failed("create the tables"))
}

/// Makes the tables in an empty database. Whoever finds them finds all of them, and what `fill` puts there.
pub(crate) fn create(
    connection: &mut Connection,
    fill: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    change(connection, |db| {
        declare(db)?;
        db.execute_batch("INSERT INTO facts (key, value) VALUES ('names', 1), ('index', 0)")?;
        fill(db)
    })
}

/// The statements that make tables and indexes.
pub(crate) fn declarations() -> impl Iterator<Item = String> {
    TABLES.iter().map(Table::declaration).chain(INDEXES.iter().map(|index| format!("CREATE INDEX {index}")))
}

pub(crate) fn declare(db: &Transaction<'_>) -> rusqlite::Result<()> {
    declarations().try_for_each(|statement| db.execute_batch(&statement))
}

/// All of it or nothing, the version included: cut off, the next opening finds the old version and starts again.
fn change(
    connection: &mut Connection,
    change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    change(&transaction)?;
    stamp(&transaction)?;
    transaction.commit()
}

/// Says whose database it is, and of which version.
pub(crate) fn stamp(db: &Transaction<'_>) -> rusqlite::Result<()> {
    db.execute("INSERT OR REPLACE INTO facts (key, value) VALUES ('layout', ?1)", [VERSION])?;
    db.pragma_update(None, "application_id", APPLICATION)?;
    db.pragma_update(None, "user_version", VERSION)
}

/// FORMAT: version 1 had one mount per directory, and nothing to recognise it by.
fn from_1(db: &Transaction<'_>) -> rusqlite::Result<()> {
    db.execute_batch(
        "ALTER TABLE mounts RENAME TO mounts_1;
         CREATE TABLE mounts (
             dir BLOB NOT NULL, identity BLOB NOT NULL, boot TEXT NOT NULL, manifest BLOB NOT NULL, driver TEXT NOT NULL,
             writable TEXT, extra BLOB NOT NULL, PRIMARY KEY (dir, identity)
         ) WITHOUT ROWID;
         INSERT INTO mounts SELECT dir, x'', '', manifest, driver, writable, extra FROM mounts_1;
         DROP TABLE mounts_1;",
    )
}

/// FORMAT: version 2 had no sums, and names knew neither their repository nor whether they were pushed. What is a server's —
/// held, cached, public — was not there.
fn from_2(db: &Transaction<'_>) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    db.create_scalar_function("larder_repository", 1, flags, |context| {
        Ok(crate::name::repository_in(context.get_raw(0).as_str()?).to_owned())
    })?;
    db.execute_batch("DROP INDEX edges_by_child; DROP INDEX names_by_digest;")?;
    let old = |table: &&Table| !["held", "cached", "public"].contains(&table.name);
    for table in TABLES.iter().filter(old) {
        db.execute_batch(&format!("ALTER TABLE {0} RENAME TO {0}_2", table.name))?;
    }
    declare(db)?;
    for table in TABLES.iter().filter(old) {
        let mut copied = table.column_names();
        let mut copy = format!("INSERT INTO {} ({copied}) SELECT ", table.name);
        if table.name == "names" {
            copied = copied.replace("repository", "larder_repository(reference)").replace("pushed", "0");
        }
        write!(copy, "{copied} FROM {0}_2; DROP TABLE {0}_2", table.name).expect("a string takes everything");
        db.execute_batch(&copy)?;
    }
    // The index files say less than they do now.
    db.execute("UPDATE facts SET value = value + 1 WHERE key = 'names'", [])?;
    db.remove_function("larder_repository", 1)
}

/// FORMAT: version 3.
pub(crate) const TABLES: &[Table] = &[
    Table { name: "facts", columns: &["key TEXT NOT NULL", "value INTEGER NOT NULL"], key: "key" },
    Table {
        name: "blobs",
        columns: &[
            "digest BLOB NOT NULL",
            "size INTEGER NOT NULL",
            "kind INTEGER NOT NULL",
            "media_type TEXT",
            "expanded INTEGER",
            "created INTEGER NOT NULL",
            "used INTEGER NOT NULL",
        ],
        key: "digest",
    },
    // relation 0: parent is a document and names child. relation 1: child is a document attached to parent, its subject.
    Table {
        name: "edges",
        columns: &["parent BLOB NOT NULL", "child BLOB NOT NULL", "relation INTEGER NOT NULL"],
        key: "parent, child, relation",
    },
    Table {
        name: "names",
        columns: &[
            "reference TEXT NOT NULL",
            "digest BLOB NOT NULL",
            "descriptor TEXT NOT NULL",
            "updated INTEGER NOT NULL",
            "checked INTEGER NOT NULL",
            "used INTEGER NOT NULL",
            "pinned INTEGER NOT NULL",
            "repository TEXT NOT NULL",
            "pushed INTEGER NOT NULL",
        ],
        key: "reference",
    },
    // kind 0: manifest, 1: blob. removed 1: whatever else reaches it, this repository does not show it.
    Table {
        name: "held",
        columns: &[
            "repository TEXT NOT NULL",
            "digest BLOB NOT NULL",
            "kind INTEGER NOT NULL",
            "added INTEGER NOT NULL",
            "removed INTEGER NOT NULL",
        ],
        key: "repository, digest",
    },
    // selector: a tag or a digest.
    Table {
        name: "cached",
        columns: &[
            "repository TEXT NOT NULL",
            "selector TEXT NOT NULL",
            "digest BLOB NOT NULL",
            "descriptor TEXT NOT NULL",
            "checked INTEGER NOT NULL",
            "used INTEGER NOT NULL",
        ],
        key: "repository, selector",
    },
    Table {
        name: "public",
        columns: &["repository TEXT NOT NULL", "since INTEGER NOT NULL"],
        key: "repository",
    },
    Table {
        name: "leases",
        columns: &["id TEXT NOT NULL", "purpose TEXT NOT NULL", "created INTEGER NOT NULL"],
        key: "id",
    },
    Table {
        name: "leased_blobs",
        columns: &["lease TEXT NOT NULL", "digest BLOB NOT NULL"],
        key: "lease, digest",
    },
    Table {
        name: "leased_derived",
        columns: &["lease TEXT NOT NULL", "area INTEGER NOT NULL", "name TEXT NOT NULL"],
        key: "lease, area, name",
    },
    Table {
        name: "derived",
        columns: &[
            "area INTEGER NOT NULL",
            "name TEXT NOT NULL",
            "size INTEGER NOT NULL",
            "checksum BLOB",
            "boot TEXT NOT NULL",
            "created INTEGER NOT NULL",
            "used INTEGER NOT NULL",
        ],
        key: "area, name",
    },
    Table {
        name: "derived_uses",
        columns: &["area INTEGER NOT NULL", "name TEXT NOT NULL", "manifest BLOB NOT NULL"],
        key: "area, name, manifest",
    },
    Table {
        name: "mounts",
        columns: &[
            "dir BLOB NOT NULL",
            "identity BLOB NOT NULL",
            "boot TEXT NOT NULL",
            "manifest BLOB NOT NULL",
            "driver TEXT NOT NULL",
            "writable TEXT",
            "extra BLOB NOT NULL",
        ],
        key: "dir, identity",
    },
    Table {
        name: "verdicts",
        columns: &["digest BLOB NOT NULL", "reason TEXT NOT NULL", "decided INTEGER NOT NULL"],
        key: "digest",
    },
    Table {
        name: "served",
        columns: &[
            "tier TEXT NOT NULL",
            "outcome TEXT NOT NULL",
            "count INTEGER NOT NULL",
            "bytes INTEGER NOT NULL",
        ],
        key: "tier, outcome",
    },
    Table {
        name: "latencies",
        columns: &["tier TEXT NOT NULL", "bucket INTEGER NOT NULL", "count INTEGER NOT NULL"],
        key: "tier, bucket",
    },
];

const INDEXES: &[&str] = &[
    "edges_by_child ON edges (child, relation)",
    "names_by_digest ON names (digest, repository)",
    "names_by_repository ON names (repository)",
    "held_by_digest ON held (digest)",
    "held_manifests ON held (repository) WHERE kind = 0 AND removed = 0",
    "held_removed ON held (repository) WHERE removed = 1",
    "cached_by_digest ON cached (digest, repository)",
];
