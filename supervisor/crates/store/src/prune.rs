//! What is forgotten: what is older than a given age, what is more than one plugin's share, and the
//! oldest of everything while the file is larger than it may be.
//!
//! The shares keep one plugin that fails all day from pushing out what is known of the others.

use std::time::Duration;

use rusqlite::{Connection, Transaction, params};

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Nothing is older.
    pub age: Duration,
    /// The file with all its pages in use is not larger, in bytes.
    pub size: u64,
    /// Deaths of one plugin that nobody asked for, and as many that somebody did.
    pub deaths: u32,
    /// Calls of one plugin.
    pub calls: u32,
    /// Changes of one plugin's state.
    pub changes: u32,
}

impl Default for Keep {
    /// Thirty days and 64 MiB; of one plugin 50 deaths (of either kind), 1,000 calls and 1,000
    /// changes, which together are a few MiB at most.
    fn default() -> Self {
        Self {
            age: Duration::from_secs(30 * 24 * 3600),
            size: 64 << 20,
            deaths: 50,
            calls: 1_000,
            changes: 1_000,
        }
    }
}

/// How many records were forgotten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Because they were too old.
    pub old: u64,
    /// Because they were more than a plugin's share.
    pub over: u64,
    /// Because the file was too large.
    pub large: u64,
}

/// Tables of records with a time, those first that are missed least.
const TABLES: [&str; 4] = ["call", "change", "loss", "death"];
/// Of a table that is too large, this part is forgotten at a time.
const PART: u64 = 8;
/// Times that is done before the file is let be: what is left is not ours to forget.
const ROUNDS: usize = 64;

pub(crate) fn prune(
    transaction: &Transaction<'_>,
    keep: &Keep,
    now_ms: i64,
) -> rusqlite::Result<Pruned> {
    let age = i64::try_from(keep.age.as_millis()).unwrap_or(i64::MAX);
    let mut pruned = Pruned::default();
    for table in TABLES {
        let sql = format!("DELETE FROM {table} WHERE at_ms < ?");
        pruned.old += count(transaction.execute(&sql, [now_ms.saturating_sub(age)])?);
    }
    let sql = "DELETE FROM standing WHERE at_ms < ?";
    pruned.old += count(transaction.execute(sql, [now_ms.saturating_sub(age)])?);
    pruned.over += over(transaction, "death", "plugin, requested", keep.deaths)?;
    pruned.over += over(transaction, "call", "plugin", keep.calls)?;
    pruned.over += over(transaction, "change", "plugin", keep.changes)?;
    pruned.large += large(transaction, keep.size)?;
    forget_orphans(transaction)?;
    Ok(pruned)
}

/// Forgets all but the newest `share` records of each `owner`.
fn over(
    transaction: &Transaction<'_>,
    table: &str,
    owner: &str,
    share: u32,
) -> rusqlite::Result<u64> {
    let sql = format!(
        "DELETE FROM {table} WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER \
         (PARTITION BY {owner} ORDER BY id DESC) AS place FROM {table}) WHERE place > ?)"
    );
    transaction.execute(&sql, [share]).map(count)
}

/// Forgets the oldest until the pages in use are few enough.
fn large(transaction: &Transaction<'_>, size: u64) -> rusqlite::Result<u64> {
    let mut forgotten = 0;
    for _ in 0..ROUNDS {
        if used(transaction)? <= size {
            break;
        }
        let before = forgotten;
        for table in TABLES {
            forgotten += part(transaction, table)?;
        }
        forget_orphans(transaction)?;
        if forgotten == before {
            break;
        }
    }
    Ok(forgotten)
}

/// Forgets the oldest part of one table.
fn part(transaction: &Transaction<'_>, table: &str) -> rusqlite::Result<u64> {
    let sql = format!("SELECT count(*) FROM {table}");
    let rows: u64 = transaction.query_row(&sql, [], |row| row.get(0))?;
    let sql =
        format!("DELETE FROM {table} WHERE id IN (SELECT id FROM {table} ORDER BY id LIMIT ?)");
    transaction.execute(&sql, params![rows.div_ceil(PART)]).map(count)
}

/// Forgets what belonged to what is forgotten. The last run may yet get its first record.
fn forget_orphans(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "DELETE FROM in_flight WHERE death NOT IN (SELECT id FROM death);
         DELETE FROM denial WHERE death NOT IN (SELECT id FROM death);
         DELETE FROM limit_hit WHERE death NOT IN (SELECT id FROM death);
         DELETE FROM run WHERE id < (SELECT max(id) FROM run) - 64
             AND id NOT IN (SELECT run FROM death UNION SELECT run FROM call
                            UNION SELECT run FROM change UNION SELECT run FROM loss);",
    )
}

/// Bytes of the pages in use.
fn used(connection: &Connection) -> rusqlite::Result<u64> {
    let number = |name: &str| -> rusqlite::Result<u64> {
        connection.pragma_query_value(None, name, |row| row.get(0))
    };
    let pages = number("page_count")?.saturating_sub(number("freelist_count")?);
    Ok(pages.saturating_mul(number("page_size")?))
}

/// Gives the pages that are free back to the file system.
pub(crate) fn give_back(connection: &Connection) -> rusqlite::Result<()> {
    let mut statement = connection.prepare("PRAGMA incremental_vacuum")?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
