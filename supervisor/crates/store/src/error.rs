//! What goes wrong with the store's file, by what somebody can do about it.

use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// A store that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Its directory cannot be made.
    #[error("make the directory `{}`", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file cannot be made or opened.
    #[error("open the store `{}`: {reason}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file is no longer what was written. It is left as it is.
    #[error("the store `{}` is damaged: {reason}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What was seen.
        reason: String,
    },
    /// The file was written by a later version of this program. It is left as it is.
    #[error(
        "the store `{}` is of version {found}, this program knows up to {known}", path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// The version in it.
        found: u32,
        /// The latest version known here.
        known: u32,
    },
    /// The file is a database of somebody else's. It is left as it is.
    #[error("`{}` is a database, but no store of Plugbay's", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// There is no room for more.
    #[error("the disk of the store `{}` is full", path.display())]
    Full {
        /// Which file.
        path: PathBuf,
    },
    /// Somebody else has it for too long.
    #[error("the store `{}` is held by another program", path.display())]
    Busy {
        /// Which file.
        path: PathBuf,
    },
    /// It cannot be read or written.
    #[error("use the store `{}`: {reason}", path.display())]
    Use {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl StoreError {
    /// The file that it is about, or the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Directory { path, .. }
            | Self::Open { path, .. }
            | Self::Damaged { path, .. }
            | Self::Newer { path, .. }
            | Self::Foreign { path }
            | Self::Full { path }
            | Self::Busy { path }
            | Self::Use { path, .. } => path,
        }
    }

    /// What SQLite says, by what can be done about it.
    pub(crate) fn of(path: &Path, error: &rusqlite::Error) -> Self {
        let (path, reason) = (path.to_owned(), error.to_string());
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { path, reason }
            }
            Some(ErrorCode::DiskFull) => Self::Full { path },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => {
                Self::Open { path, reason }
            }
            // A schema or a value that is not what we wrote.
            None => Self::Damaged { path, reason },
            Some(_) => Self::Use { path, reason },
        }
    }
}
