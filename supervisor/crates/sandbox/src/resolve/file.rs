//! Bounded looks at files that nobody vouches for. Nothing is executed, and no pipe is waited for.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, eaccess};

use super::ResolveError;

/// The most bytes that are read of a settings file.
const MOST_SETTINGS: u64 = 64 << 10;
/// The most entries that are read of a directory.
const MOST_ENTRIES: usize = 4096;

/// Opens a regular file for reading.
pub(super) fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("not a regular file")),
    }
}

/// The first bytes of a file.
pub(super) fn head(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The text of a settings file; `None` when there is none.
pub(super) fn settings(path: &Path) -> Result<Option<String>, ResolveError> {
    use io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
    match head(path, MOST_SETTINGS) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if matches!(error.kind(), NotFound | NotADirectory | IsADirectory) => Ok(None),
        Err(_) if path.is_dir() => Ok(None),
        Err(source) => Err(ResolveError::Read { path: path.to_owned(), source }),
    }
}

/// The names in a directory that are UTF-8; none when it cannot be read.
pub(super) fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().take(MOST_ENTRIES).flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Why a path cannot be executed; `None` when it can.
pub(super) fn refusal(path: &Path) -> Option<String> {
    let facts = match fs::metadata(path) {
        Ok(facts) => facts,
        Err(error) => return Some(error.to_string()),
    };
    if facts.is_dir() {
        return Some("it is a directory".to_owned());
    }
    if !facts.is_file() {
        return Some("it is not a regular file".to_owned());
    }
    if facts.permissions().mode() & 0o111 == 0 {
        return Some("it is not marked as executable (chmod +x)".to_owned());
    }
    eaccess(path, AccessFlags::X_OK).err().map(|errno| errno.desc().to_lowercase())
}

/// Whether a path can be executed.
pub(super) fn is_executable(path: &Path) -> bool {
    refusal(path).is_none()
}

/// The path without any link in it.
pub(super) fn canonical(path: &Path) -> Result<PathBuf, ResolveError> {
    fs::canonicalize(path).map_err(|source| ResolveError::Read { path: path.to_owned(), source })
}
