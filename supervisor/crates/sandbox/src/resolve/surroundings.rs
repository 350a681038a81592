//! Where a command is typed: environment and working directory, as arguments.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

/// What execvp searches when there is no `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Environment and working directory, and what the way to the program has added so far.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    env: &'a [(OsString, OsString)],
    pub(super) cwd: &'a Path,
    added: Vec<(OsString, OsString)>,
}

impl<'a> Surroundings<'a> {
    pub(super) fn new(env: &'a [(OsString, OsString)], cwd: &'a Path) -> Self {
        Self { env, cwd, added: Vec::new() }
    }

    /// A variable that is set and not empty.
    pub(super) fn var(&self, name: &str) -> Option<&OsStr> {
        let all = self.added.iter().chain(self.env);
        let value = all.into_iter().find(|(known, _)| known == name).map(|(_, value)| value)?;
        (!value.is_empty()).then_some(value.as_os_str())
    }

    /// A variable as text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.var(name)?.to_str()
    }

    /// The directory that a variable names, or one below the home directory.
    pub(super) fn directory(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let named = self.var(variable).map(PathBuf::from);
        named.or_else(|| Some(self.home()?.join(below_home)))
    }

    pub(super) fn home(&self) -> Option<&Path> {
        self.var("HOME").map(Path::new)
    }

    /// The directories of the search path, absolute; an empty entry is the working directory.
    pub(super) fn search_path(&self) -> Vec<PathBuf> {
        let path = self.var("PATH").unwrap_or(OsStr::new(DEFAULT_PATH));
        let entries = path.as_bytes().split(|byte| *byte == b':');
        entries.map(|entry| self.absolute(Path::new(OsStr::from_bytes(entry)))).collect()
    }

    /// The path from the root on, without `.` in it; `..` stays, since links may lie before it.
    pub(super) fn absolute(&self, path: &Path) -> PathBuf {
        self.cwd.join(path).components().collect()
    }

    /// The working directory and the directories above it.
    pub(super) fn upward(&self) -> impl Iterator<Item = &'a Path> + use<'a> {
        self.cwd.ancestors()
    }

    /// Sets a variable for the program.
    pub(super) fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        let (name, value) = (name.into(), value.into());
        self.added.retain(|(known, _)| *known != name);
        self.added.push((name, value));
    }

    /// Puts a directory before all others of the search path.
    pub(super) fn search_first(&mut self, directory: &Path) {
        let mut path = directory.as_os_str().to_owned();
        path.push(":");
        path.push(self.var("PATH").unwrap_or(OsStr::new(DEFAULT_PATH)));
        self.set("PATH", path);
    }

    /// What was added on the way.
    pub(super) fn into_added(self) -> Vec<(OsString, OsString)> {
        self.added
    }
}
