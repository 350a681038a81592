//! Version managers put a stand-in where the program should be. Each room here knows one family:
//! how to tell its stand-in, and which real program it would start. None is asked or executed.

mod asdf;
mod env_family;
mod mise;
mod nvm;
mod rustup;
mod version;

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

pub(super) use nvm::default_of_nvm;

use super::{ResolveError, surroundings::Surroundings};

/// The real program behind a stand-in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Behind {
    /// Who manages it, and which version was meant, for notes: "pyenv 3.11.7".
    pub(super) what: String,
    pub(super) program: PathBuf,
    /// Variables that the manager would set.
    pub(super) variables: Vec<(OsString, OsString)>,
    /// Whether the first argument was for the manager (`cargo +nightly`).
    pub(super) takes_argument: bool,
}

impl Behind {
    fn plain(what: String, program: PathBuf) -> Self {
        Self { what, program, variables: Vec::new(), takes_argument: false }
    }
}

/// What stands behind a path; `None` when it is no stand-in of a manager known here.
pub(super) fn behind(
    path: &Path,
    first_argument: Option<&OsStr>,
    around: &Surroundings<'_>,
) -> Result<Option<Behind>, ResolveError> {
    let shim = Shim::at(path);
    if let Some(found) = rustup::behind(path, first_argument, around)? {
        return Ok(Some(found));
    }
    let Some(shim) = shim else { return Ok(None) };
    if let Some(found) = mise::behind(&shim, around)? {
        return Ok(Some(found));
    }
    if let Some(found) = asdf::behind(&shim, around)? {
        return Ok(Some(found));
    }
    env_family::behind(&shim, around)
}

/// A file in a directory named `shims`.
#[derive(Debug)]
struct Shim<'p> {
    path: &'p Path,
    command: &'p OsStr,
    /// The directory of shims.
    directory: &'p Path,
    /// The directory around it: the manager's root.
    root: &'p Path,
}

impl<'p> Shim<'p> {
    fn at(path: &'p Path) -> Option<Self> {
        let directory = path.parent()?;
        (directory.file_name()? == "shims").then_some(())?;
        Some(Self { path, command: path.file_name()?, directory, root: directory.parent()? })
    }

    fn fails<T>(&self, manager: &'static str, problem: String) -> Result<T, ResolveError> {
        Err(ResolveError::Version { manager, command: self.command.to_owned(), problem })
    }

    /// The command in the rest of the search path, without the shims.
    fn of_system(&self, around: &Surroundings<'_>) -> Option<PathBuf> {
        let others = around.search_path().into_iter().filter(|entry| entry != self.directory);
        others.map(|entry| entry.join(self.command)).find(|path| super::file::is_executable(path))
    }
}
