//! Whether the database is what was written: its pages, its tables, its rows.

use crate::checksum::FUNCTION;
use crate::schema::{self, TABLES};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _};

/// What SQLite, and we, find wrong with the database as a whole.
pub(crate) fn problems(db: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut problems: Vec<String> = db
        .prepare("PRAGMA integrity_check(20)")?
        .query_map([], |row| row.get::<_, String>(0))?
        .filter(|verdict| verdict.as_ref().map_or(true, |verdict| verdict != "ok"))
        .map(|problem| problem.map(|problem| format!("is damaged: {problem}")))
        .collect::<rusqlite::Result<_>>()?;
    let mut found: Vec<String> = db
        .prepare("SELECT sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")?
        .query_map([], |row| row.get::<_, Option<String>>(0).map(Option::unwrap_or_default))?
        .collect::<rusqlite::Result<_>>()?;
    let mut expected: Vec<String> = schema::declarations().collect();
    found.sort_unstable();
    expected.sort_unstable();
    if found != expected {
        problems.push("has other tables than it should".into());
    }
    for (pragma, expected) in
        [("application_id", schema::APPLICATION.to_string()), ("journal_mode", "wal".into())]
    {
        let value = db.pragma_query_value(None, pragma, |row| {
            row.get_ref(0).map(|value| match value {
                ValueRef::Integer(number) => number.to_string(),
                other => other.as_str().unwrap_or_default().to_owned(),
            })
        })?;
        if value != expected {
            problems.push(format!("has {pragma} {value} instead of {expected}"));
        }
    }
    let recorded: Option<i64> =
        db.query_row("SELECT value FROM facts WHERE key = 'layout'", [], |row| row.get(0)).optional()?;
    if recorded != Some(schema::VERSION) {
        problems.push("does not say which version it is".into());
    }
    Ok(problems)
}

/// How many rows of each table have wrong sums. An error if that cannot be told.
pub(crate) fn wrong_rows(db: &Connection) -> rusqlite::Result<Vec<(&'static str, u64)>> {
    let mut wrong = Vec::new();
    for table in TABLES {
        let query = format!(
            "SELECT count(*) FROM {} NOT INDEXED WHERE sum IS NOT {FUNCTION}({})",
            table.name,
            table.summed()
        );
        let count = db.query_row(&query, [], |row| row.get(0))?;
        if count > 0 {
            wrong.push((table.name, count));
        }
    }
    Ok(wrong)
}
