//! The shape of the file, and how an older one becomes it.
//!
//! Each migration is applied once, in one transaction with the number that says so; the list only
//! grows at its end. A new file is made complete under another name and then given its own, so a
//! file of that name is never empty: one that is, was damaged.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior, config::DbConfig};

use crate::StoreError;

/// Says in the file's header whose it is (`PlgB`).
const APPLICATION: i32 = 0x506c_6742;
/// How long another program's transaction is waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// How many may be making the file at once, those that died over it included.
const DRAFTS: u32 = 1_000;
/// The log beside the file is cut to this when it has been taken over.
const LOG_KEPT: i64 = 4 << 20;

/// What makes version n + 1 of version n.
const MIGRATIONS: [&str; 3] = [FIRST, DENIALS, STANDING];

/// Times are milliseconds since 1970, so that `datetime(at_ms / 1000, 'unixepoch')` reads them.
const FIRST: &str = "
CREATE TABLE run (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    host TEXT NOT NULL,
    version TEXT NOT NULL,
    pid INTEGER NOT NULL
) STRICT;

CREATE TABLE death (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    plugin TEXT NOT NULL,
    version TEXT NOT NULL,
    generation INTEGER NOT NULL,
    instance INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    pid INTEGER,
    cause TEXT NOT NULL,
    words TEXT NOT NULL,
    requested INTEGER NOT NULL,
    before_hello INTEGER NOT NULL,
    uptime_ms INTEGER NOT NULL,
    calls_lost INTEGER NOT NULL,
    user_us INTEGER,
    system_us INTEGER,
    max_rss INTEGER,
    memory_peak INTEGER,
    next_state TEXT,
    next_after_ms INTEGER,
    stderr TEXT NOT NULL
) STRICT;
CREATE INDEX death_by_plugin ON death (plugin, requested, id);
CREATE INDEX death_by_time ON death (at_ms);

CREATE TABLE in_flight (
    death INTEGER NOT NULL,
    place INTEGER NOT NULL,
    method TEXT NOT NULL,
    age_ms INTEGER NOT NULL,
    PRIMARY KEY (death, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE limit_hit (
    death INTEGER NOT NULL,
    place INTEGER NOT NULL,
    name TEXT NOT NULL,
    value INTEGER NOT NULL,
    peak INTEGER,
    times INTEGER NOT NULL,
    holder TEXT NOT NULL,
    words TEXT NOT NULL,
    PRIMARY KEY (death, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE call (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    plugin TEXT NOT NULL,
    method TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    waited_us INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    error TEXT,
    traceback TEXT,
    instance INTEGER,
    generation INTEGER,
    bytes_in INTEGER NOT NULL,
    bytes_out INTEGER NOT NULL,
    progress INTEGER NOT NULL,
    cpu_us INTEGER,
    callers TEXT,
    traceparent TEXT
) STRICT;
CREATE INDEX call_by_plugin ON call (plugin, id);
CREATE INDEX call_by_time ON call (at_ms);

CREATE TABLE change (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    plugin TEXT NOT NULL,
    instance INTEGER,
    at_ms INTEGER NOT NULL,
    from_state TEXT NOT NULL,
    to_state TEXT NOT NULL,
    why TEXT NOT NULL
) STRICT;
CREATE INDEX change_by_plugin ON change (plugin, id);
CREATE INDEX change_by_time ON change (at_ms);

CREATE TABLE loss (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    records INTEGER NOT NULL
) STRICT;
";

/// What a process was refused stands in its death.
const DENIALS: &str = "
ALTER TABLE death ADD COLUMN denied_more INTEGER NOT NULL DEFAULT 0;
CREATE TABLE denial (
    death INTEGER NOT NULL,
    place INTEGER NOT NULL,
    layer TEXT NOT NULL,
    rule TEXT NOT NULL,
    syscall TEXT,
    path TEXT,
    times INTEGER NOT NULL,
    details TEXT NOT NULL,
    PRIMARY KEY (death, place)
) STRICT, WITHOUT ROWID;
";

/// How a plugin stands with the restart policy: one row, always the latest.
const STANDING: &str = "
CREATE TABLE standing (
    host TEXT NOT NULL,
    plugin TEXT NOT NULL,
    version TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    passing INTEGER NOT NULL,
    last_delay_ms INTEGER NOT NULL,
    quarantines INTEGER NOT NULL,
    on_trial INTEGER NOT NULL,
    slow_level_milli INTEGER NOT NULL,
    rest_ms INTEGER NOT NULL,
    quarantined INTEGER NOT NULL,
    restarts INTEGER NOT NULL,
    PRIMARY KEY (host, plugin)
) STRICT, WITHOUT ROWID;
";

/// The latest version.
pub(crate) fn known() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

/// Opens the file to write, making it and its directory where they are missing.
pub(crate) fn open_to_write(path: &Path) -> Result<Connection, StoreError> {
    if !is_there(path)? {
        create(path)?;
    }
    let mut connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let version = check(path, &connection)?;
    settle(&connection).map_err(|error| StoreError::of(path, &error))?;
    if version < known() {
        migrate(&mut connection, &MIGRATIONS).map_err(|error| StoreError::of(path, &error))?;
    }
    Ok(connection)
}

/// Opens the file to read; `None` if there is none. An older one is brought up to date first.
pub(crate) fn open_to_read(path: &Path) -> Result<Option<Connection>, StoreError> {
    if !is_there(path)? {
        return Ok(None);
    }
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    if check(path, &connection)? < known() {
        drop(open_to_write(path)?);
    }
    Ok(Some(connection))
}

/// Whether the file is there, and not emptied.
fn is_there(path: &Path) -> Result<bool, StoreError> {
    let damaged = |reason: &str| {
        Err(StoreError::Damaged { path: path.to_owned(), reason: reason.to_owned() })
    };
    match fs::metadata(path) {
        Ok(about) if about.len() == 0 => damaged("it is empty"),
        Ok(about) if !about.is_file() => damaged("it is no regular file"),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // SQLite would take the log of the lost file for one of the new file's.
            if beside(path, "-wal").exists() {
                return damaged("it is gone, but its log is there");
            }
            Ok(false)
        }
        Err(error) => Err(unopened(path, &error)),
    }
}

/// Makes the file, whole before it has its name. Somebody else may do so at the same time; the first
/// counts.
fn create(path: &Path) -> Result<(), StoreError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| StoreError::Directory { path: directory.to_owned(), source })?;
    let draft = draft(path).map_err(|error| unopened(path, &error))?;
    let made = fill(&draft).and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked.map_err(|error| unopened(path, &error)),
    });
    drop(fs::remove_file(&draft));
    made
}

/// An empty file beside the store, ours alone.
fn draft(path: &Path) -> io::Result<PathBuf> {
    let names = (0..DRAFTS).map(|number| beside(path, &format!(".{number}.new")));
    for draft in names {
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => return made.map(|_file| draft),
        }
    }
    Err(io::Error::other("too many drafts of it are left behind"))
}

fn fill(draft: &Path) -> Result<(), StoreError> {
    let mut connection = connect(draft, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let filled = connection
        // Before the first table, or it comes too late.
        .pragma_update(None, "auto_vacuum", "INCREMENTAL")
        .and_then(|()| connection.pragma_update(None, "application_id", APPLICATION))
        .and_then(|()| migrate(&mut connection, &MIGRATIONS));
    filled.map_err(|error| StoreError::of(draft, &error))
}

fn connect(path: &Path, access: OpenFlags) -> Result<Connection, StoreError> {
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let path = &resolved(path);
    let connection = Connection::open_with_flags(path, flags);
    let connection = connection.map_err(|error| StoreError::of(path, &error))?;
    guard(&connection).map_err(|error| StoreError::of(path, &error))?;
    Ok(connection)
}

/// Takes a file for data only: whoever could write it must not run code here through its schema.
fn guard(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(PATIENCE)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.pragma_update(None, "cell_size_check", true)
}

/// The same file by a path whose directories are no links: only the file itself must not be one.
fn resolved(path: &Path) -> PathBuf {
    let directory = path.parent().and_then(|directory| directory.canonicalize().ok());
    match (directory, path.file_name()) {
        (Some(directory), Some(name)) => directory.join(name),
        _ => path.to_owned(),
    }
}

/// The file's version, if it is ours and not newer than this program.
fn check(path: &Path, connection: &Connection) -> Result<u32, StoreError> {
    let number = |name: &str| -> Result<i64, StoreError> {
        let read = connection.pragma_query_value(None, name, |row| row.get(0));
        read.map_err(|error| StoreError::of(path, &error))
    };
    if number("application_id")? != i64::from(APPLICATION) {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    let found = u32::try_from(number("user_version")?).unwrap_or(u32::MAX);
    if found > known() {
        return Err(StoreError::Newer { path: path.to_owned(), found, known: known() });
    }
    Ok(found)
}

/// How this connection writes: readers are not held up, and a crash of the machine may cost the last
/// moments but not the file.
fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_row| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_KEPT, |_row| Ok(()))
}

/// Applies what was not applied yet.
fn migrate(connection: &mut Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    // Whoever comes second finds it done.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let done: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    for (number, migration) in (1_u32..).zip(migrations).filter(|(number, _)| *number > done) {
        transaction.execute_batch(migration)?;
        transaction.pragma_update(None, "user_version", number)?;
    }
    transaction.commit()
}

fn unopened(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Open { path: path.to_owned(), reason: error.to_string() }
}

/// The path with more at its end.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_is_applied_once_and_in_order() {
        let mut connection = Connection::open_in_memory().unwrap();
        let first = "CREATE TABLE a (x INTEGER) STRICT; INSERT INTO a VALUES (1);";
        let second = "INSERT INTO a SELECT x + 1 FROM a;";
        for list in [&[first][..], &[first], &[first, second], &[first, second]] {
            migrate(&mut connection, list).unwrap();
        }
        let sum: i64 = connection.query_row("SELECT sum(x) FROM a", [], |row| row.get(0)).unwrap();
        assert_eq!(sum, 3);
    }

    #[test]
    fn a_migration_that_fails_leaves_nothing_behind() {
        let mut connection = Connection::open_in_memory().unwrap();
        let wrong = "CREATE TABLE a (x INTEGER) STRICT; nonsense;";
        assert!(migrate(&mut connection, &[wrong]).is_err());
        migrate(&mut connection, &["CREATE TABLE a (x INTEGER) STRICT;"]).unwrap();
    }

    #[test]
    fn an_older_file_is_brought_up_to_date_by_whoever_opens_it() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("store.db");
        for open in [|path: &Path| open_to_write(path).map(Some), open_to_read] {
            let mut old = Connection::open(&path).unwrap();
            old.pragma_update(None, "application_id", APPLICATION).unwrap();
            migrate(&mut old, &MIGRATIONS[..1]).unwrap();
            let sql = "INSERT INTO change VALUES (1, 1, 'p', NULL, 5, 'a', 'b', 'kept')";
            old.execute_batch(sql).unwrap();
            drop(old);
            let connection = open(&path).unwrap().unwrap();
            assert_eq!(check(&path, &connection).unwrap(), known());
            let sql = "SELECT why FROM change, (SELECT count(denied_more) FROM death)";
            let why: String = connection.query_row(sql, [], |row| row.get(0)).unwrap();
            assert_eq!(why, "kept");
            drop(connection);
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn the_versions_of_a_new_file_are_ours() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("deep/er/store.db");
        let connection = open_to_write(&path).unwrap();
        assert_eq!(check(&path, &connection).unwrap(), known());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 3, "file, log, index");
    }
}
