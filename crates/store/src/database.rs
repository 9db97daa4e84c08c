//! The database: connections, transactions, and how rows spell our types. SQL about a noun stands in the noun's own file.

use crate::layout::{self, Layout};
use crate::lock::Held;
use crate::{Error, Result, checksum, schema};
use larder_core::{Algorithm, Digest};
use rusqlite::config::DbConfig;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// One writer at a time (further ones queue in this process instead of polling SQLite's lock), any number of readers.
pub(crate) struct Database {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Readers>,
    /// Shared by all who have the database open; who owns it alone may put another one in its place.
    open: Held,
}

#[derive(Default)]
struct Readers {
    idle: Vec<Connection>,
    /// How often the database was replaced: a connection to an earlier one is not used again.
    replaced: u64,
}

/// How long a write must live.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    /// Survives a crash of the process; a power cut may undo it, together with everything later.
    Process,
    /// Survives a power cut once the call returns.
    Disk,
}

impl Database {
    /// Opens or creates the database. The caller holds the layout lock: SQLite's own creation and switch to WAL are not safe
    /// against each other. `new` is asked before tables are made, and may refuse.
    pub(crate) fn open(layout: &Layout, open: Held, new: impl Fn() -> Result<()>) -> Result<Self> {
        let path = layout.database();
        let is_new = !path.try_exists().map_err(Error::io("open", &path))?;
        if is_new {
            new()?;
            create(layout)?;
        }
        let mut writer = connect(&path)?;
        if is_new {
            begin_log(&writer).map_err(|source| Error::Database {
                operation: "begin the log",
                path: path.clone(),
                source,
            })?;
        }
        schema::prepare(&mut writer, &path, new)?;
        Ok(Self { path, writer: Mutex::new(writer), readers: Mutex::default(), open })
    }

    /// Runs `query` on a consistent state.
    pub(crate) fn read<T>(
        &self,
        operation: &'static str,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let (idle, replaced) = {
            let mut readers = lock(&self.readers);
            (readers.idle.pop(), readers.replaced)
        };
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.path)?,
        };
        let result = query(&connection).map_err(self.failed(operation));
        let mut readers = lock(&self.readers);
        if readers.idle.len() < IDLE_READERS && readers.replaced == replaced {
            readers.idle.push(connection);
        }
        result
    }

    /// Like [`Database::read`], for several queries that must see the same state.
    pub(crate) fn snapshot<T>(
        &self,
        operation: &'static str,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        self.read(operation, |connection| {
            let transaction = connection.unchecked_transaction()?;
            query(&transaction)
        })
    }

    /// Runs `change` alone: no other writer, in any process, between its first read and its last write. Nothing of it
    /// happened if it fails.
    pub(crate) fn write<T>(
        &self,
        operation: &'static str,
        durability: Durability,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let failed = || self.failed(operation);
        let mut writer = lock(&self.writer);
        if durability == Durability::Disk {
            writer.pragma_update(None, "synchronous", "FULL").map_err(failed())?;
        }
        let result = transact(&mut writer, change).map_err(failed());
        if durability == Durability::Disk {
            writer.pragma_update(None, "synchronous", "NORMAL").map_err(failed())?;
        }
        result
    }

    /// Moves the log into the main file and empties it, unless somebody is in the way: nobody waits for this, and nothing
    /// depends on it but the time that the next opening takes.
    pub(crate) fn checkpoint(&self) -> Result<()> {
        let failed = || self.failed("tidy up the log");
        let connection = connect(&self.path)?;
        connection.busy_timeout(Duration::ZERO).map_err(failed())?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(failed())
    }

    /// Goes back to the write-ahead log, where a damaged head said otherwise.
    pub(crate) fn use_log(&self) -> Result<()> {
        let writer = lock(&self.writer);
        writer.pragma_update(None, "journal_mode", "WAL").map_err(self.failed("turn on the log"))
    }

    /// Lets go of the database, so that `build` can put another one in its place, and takes that one. Refused while anybody else
    /// has it open: they would go on writing into the old one.
    pub(crate) fn replace(&self, build: impl FnOnce() -> Result<()>) -> Result<()> {
        let mut writer = lock(&self.writer);
        let shared = || self.open.lock_shared().map_err(Error::io("lock", &self.path));
        match self.open.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                // Trying has cost us our share.
                shared()?;
                return Err(Error::InUse { path: self.path.clone() });
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &self.path)(error)),
        }
        {
            let mut readers = lock(&self.readers);
            readers.idle.clear();
            readers.replaced += 1;
        }
        *writer = Connection::open_in_memory().map_err(self.failed("let go of"))?;
        let built = build();
        *writer = connect(&self.path)?;
        shared()?;
        built
    }

    fn failed(&self, operation: &'static str) -> impl FnOnce(rusqlite::Error) -> Error {
        let path = self.path.clone();
        move |source| Error::Database { operation, path, source }
    }
}

fn transact<T>(
    writer: &mut Connection,
    change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let value = change(&transaction)?;
    transaction.commit()?;
    Ok(value)
}

/// Makes a database without rows beside the place where it belongs, and moves it there when its content is durable: one sync
/// instead of the six that SQLite needs in place. The caller makes the name durable.
fn create(layout: &Layout) -> Result<()> {
    let path = layout.new_database();
    remove_with_sides(&path)?;
    create_file(&path)?;
    let failed = |source| Error::Database { operation: "create the tables", path: path.clone(), source };
    {
        let mut new = connect(&path)?;
        new.pragma_update(None, "synchronous", "OFF").map_err(failed)?;
        schema::create(&mut new, |_| Ok(())).map_err(failed)?;
        checkpoint(&new).map_err(failed)?;
    }
    File::open(&path).and_then(|file| file.sync_all()).map_err(Error::io("sync", &path))?;
    std::fs::rename(&path, layout.database()).map_err(Error::io("rename", &path))?;
    remove_with_sides(&path)
}

/// Notes that the index files are written, as empty ones, together with a new database.
///
/// The first write after the log was emptied syncs its head, lest what was in it before is taken for new. There was nothing
/// before, so this write need not, and is the first.
fn begin_log(new: &Connection) -> rusqlite::Result<()> {
    new.pragma_update(None, "synchronous", "OFF")?;
    new.execute("UPDATE facts SET value = 1 WHERE key = 'index'", [])?;
    new.pragma_update(None, "synchronous", "NORMAL")
}

/// Moves the whole log into the main file, and empties it.
pub(crate) fn checkpoint(db: &Connection) -> rusqlite::Result<()> {
    db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Removes a database and its side files.
pub(crate) fn remove_with_sides(path: &Path) -> Result<()> {
    SIDES.iter().try_for_each(|side| layout::remove(&with_suffix(path, side)))
}

/// The path of a side file.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// An empty file that only the owner may read. SQLite gives its side files the mode of the main one.
pub(crate) fn create_file(path: &Path) -> Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    options.open(path).map(drop).map_err(Error::io("create", path))
}

pub(crate) fn connect(path: &Path) -> Result<Connection> {
    let open = || {
        let mut connection = Connection::open_with_flags(
            path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        // Other processes hold the write lock for microseconds, a collection for less than a second: look again soon.
        connection.busy_handler(Some(|tries: i32| {
            std::thread::sleep(Duration::from_millis(u64::from(tries.unsigned_abs()).clamp(1, 5)));
            tries < BUSY_TRIES
        }))?;
        // Closing must not cost a checkpoint: most programs open the store, do one thing and leave.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        connection.set_prepared_statement_cache_capacity(64);
        checksum::register(&connection)?;
        connection.execute_batch(
            "PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=256; PRAGMA cache_size=-8000;
             PRAGMA temp_store=MEMORY; PRAGMA trusted_schema=OFF;",
        )?;
        Ok(connection)
    };
    open().map_err(|source| Error::Database { operation: "open a connection", path: path.to_owned(), source })
}

/// What SQLite appends to the path of a database.
pub(crate) const SIDES: [&str; 3] = ["", "-wal", "-shm"];

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here is left half-done by a panic: transactions roll back, lists are lists.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// FORMAT: a digest in a row is one byte for the algorithm (1 SHA-256, 2 SHA-512) and the raw hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    bytes: [u8; 65],
    length: u8,
}

impl Key {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    pub(crate) fn digest(bytes: &[u8]) -> Option<Digest> {
        let (algorithm, hash) = bytes.split_first()?;
        let algorithm = match algorithm {
            1 => Algorithm::Sha256,
            2 => Algorithm::Sha512,
            _ => return None,
        };
        let mut text = String::with_capacity(7 + hash.len() * 2);
        text.push_str(algorithm.as_str());
        text.push(':');
        for byte in hash {
            text.push(char::from_digit(u32::from(byte >> 4), 16)?);
            text.push(char::from_digit(u32::from(byte & 15), 16)?);
        }
        text.parse().ok()
    }
}

impl From<&Digest> for Key {
    fn from(digest: &Digest) -> Self {
        let hash = digest.as_bytes();
        let mut bytes = [0; 65];
        bytes[0] = match digest.algorithm() {
            Algorithm::Sha256 => 1,
            Algorithm::Sha512 => 2,
        };
        bytes[1..=hash.len()].copy_from_slice(hash);
        Self { bytes, length: hash.len() as u8 + 1 }
    }
}

impl ToSql for Key {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(self.as_bytes())))
    }
}

/// A digest read from a row.
pub(crate) struct Stored(pub(crate) Digest);

impl FromSql for Stored {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Key::digest(value.as_blob()?).map(Self).ok_or(FromSqlError::InvalidType)
    }
}

/// FORMAT: a time in a row is nanoseconds since 1970, UTC.
#[derive(Clone, Copy)]
pub(crate) struct Nanos(pub(crate) i64);

impl From<SystemTime> for Nanos {
    fn from(time: SystemTime) -> Self {
        Self(match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
        })
    }
}

impl From<Nanos> for SystemTime {
    fn from(Nanos(nanos): Nanos) -> Self {
        let distance = Duration::from_nanos(nanos.unsigned_abs());
        let time = if nanos < 0 {
            Self::UNIX_EPOCH.checked_sub(distance)
        } else {
            Self::UNIX_EPOCH.checked_add(distance)
        };
        time.unwrap_or(Self::UNIX_EPOCH)
    }
}

impl ToSql for Nanos {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for Nanos {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(Self)
    }
}

/// A size in bytes. SQLite's integers have a sign; sizes beyond 2^63 do not exist on disks.
pub(crate) fn stored_size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

const IDLE_READERS: usize = 16;
/// 5 ms each: about 30 seconds.
const BUSY_TRIES: i32 = 6_000;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_both_ways() {
        let sha512: Digest = format!("sha512:{}", "ab".repeat(64)).parse().unwrap();
        for digest in [Digest::of(b"x"), sha512] {
            assert_eq!(Key::digest(Key::from(&digest).as_bytes()), Some(digest));
        }
        assert_eq!(Key::digest(&[]), None);
        assert_eq!(Key::digest(&[3; 33]), None);
        assert_eq!(Key::digest(&[1; 32]), None);
    }

    #[test]
    fn times_go_both_ways() {
        for time in [
            SystemTime::UNIX_EPOCH,
            SystemTime::UNIX_EPOCH + Duration::new(1_800_000_000, 123),
            SystemTime::UNIX_EPOCH - Duration::from_secs(5),
        ] {
            assert_eq!(SystemTime::from(Nanos::from(time)), time);
        }
    }
}
