//! What can be saved from a damaged database: the rows whose sums are right.

use crate::checksum::FUNCTION;
use crate::schema::{TABLES, Table};
use rusqlite::Connection;
use rusqlite::types::Value;

/// The sound rows of one table.
pub(crate) struct Rows {
    pub(crate) table: &'static Table,
    pub(crate) rows: Vec<Vec<Value>>,
    /// Whether none was lost, as far as can be seen.
    pub(crate) complete: bool,
}

/// Nothing, of which nothing is known.
pub(crate) fn nothing() -> Vec<Rows> {
    TABLES.iter().map(|table| Rows { table, rows: Vec::new(), complete: false }).collect()
}

/// Reads what can be read.
pub(crate) fn salvage(db: &Connection) -> Vec<Rows> {
    let mut all = nothing();
    for rows in &mut all {
        rows.complete = rows.scan(db, "ASC");
        if !rows.complete {
            // Past a place that cannot be read, the rest is read from the other end. Rows may come twice.
            rows.scan(db, "DESC");
        }
    }
    all
}

impl Rows {
    /// Adds sound rows. Whether all could be read, and were sound.
    fn scan(&mut self, db: &Connection, order: &str) -> bool {
        let table = self.table;
        let order: Vec<String> = table.key.split(", ").map(|column| format!("{column} {order}")).collect();
        let query = format!(
            "SELECT {}, sum IS {FUNCTION}({}) FROM {} NOT INDEXED ORDER BY {}",
            table.column_names(),
            table.summed(),
            table.name,
            order.join(", ")
        );
        let mut complete = true;
        let mut read = || {
            let mut statement = db.prepare(&query)?;
            let mut found = statement.query([])?;
            while let Some(row) = found.next()? {
                let values: rusqlite::Result<Vec<Value>> =
                    (0..table.columns.len()).map(|at| row.get(at)).collect();
                match (values, row.get(table.columns.len())?) {
                    (Ok(values), true) => self.rows.push(values),
                    _ => complete = false,
                }
            }
            Ok::<_, rusqlite::Error>(())
        };
        read().is_ok() && complete
    }
}
