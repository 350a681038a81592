//! What a program needs of the file system beside itself: its installation, its virtual environment.
//!
//! A prefix is granted only when it is an installation and nothing more. A home directory, `/etc`,
//! a checkout or the directory one works in would open secrets, so then the file alone is granted,
//! and a note says so.

use std::{
    ffi::OsStr,
    fs,
    path::{Component, Path, PathBuf},
};

use super::{ResolveError, file, surroundings::Surroundings};
use crate::{
    machine::TREES,
    spec::{Access, FileGrant},
};

/// Directories that are never an installation, whatever they hold.
const NEVER: [&str; 16] = [
    "/", "/boot", "/dev", "/etc", "/home", "/media", "/mnt", "/nix", "/proc", "/root", "/run",
    "/srv", "/sys", "/tmp", "/var", "/var/tmp",
];

/// Directories of a home that many programs share.
const SHARED_IN_HOME: [&str; 9] =
    [".local", ".local/share", ".config", ".cache", ".cargo", ".ssh", ".gnupg", ".npm", ".docker"];

/// What marks a directory as somebody's home, if its place does not.
const MARKS_OF_HOME: [&str; 5] = [".ssh", ".bashrc", ".profile", ".bash_history", ".zshrc"];

/// How many links in a row are followed.
const MOST_LINKS: usize = 40;

/// What was found to be needed.
#[derive(Debug, Default)]
pub(super) struct Needs {
    pub(super) grants: Vec<FileGrant>,
    pub(super) notes: Vec<String>,
}

/// Whether a path belongs to the system, readable and executable without a grant.
pub(super) fn is_system(path: &Path) -> bool {
    TREES.iter().any(|tree| path.starts_with(tree))
        && !path.components().any(|component| component == Component::ParentDir)
}

impl Needs {
    fn grant(&mut self, path: &Path, origin: &str) {
        let is_covered = is_system(path) || self.covers(path);
        if !is_covered {
            self.grants.push(FileGrant {
                path: path.to_owned(),
                access: Access::Exec,
                origin: origin.to_owned(),
            });
        }
    }

    fn covers(&self, path: &Path) -> bool {
        self.grants.iter().any(|grant| path.starts_with(&grant.path))
    }

    pub(super) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Grants a program or script, given without links, and the installation it belongs to.
    pub(super) fn program(&mut self, program: &Path, origin: &str, around: &Surroundings<'_>) {
        if is_system(program) || self.covers(program) {
            return;
        }
        match prefix(program) {
            Some(prefix) => self.prefix_or_file(prefix, program, origin, around),
            None => self.grant(program, origin),
        }
    }

    fn prefix_or_file(
        &mut self,
        prefix: &Path,
        program: &Path,
        origin: &str,
        around: &Surroundings<'_>,
    ) {
        match objection(prefix, around) {
            None => self.grant(prefix, &format!("installation of {origin}")),
            Some(objection) => {
                self.note(format!(
                    "only `{}` is granted, not `{}` around it: {objection}",
                    program.display(),
                    prefix.display()
                ));
                self.grant(program, origin);
            }
        }
    }

    /// Grants what a Python in a virtual environment needs, and returns the path to start it by:
    /// the environment's own, since Python finds the environment by it. `None`: it is in none.
    pub(super) fn virtual_environment(
        &mut self,
        python: &Path,
        origin: &str,
        around: &Surroundings<'_>,
    ) -> Result<Option<PathBuf>, ResolveError> {
        let Some((bin, name)) = python.parent().zip(python.file_name()) else { return Ok(None) };
        if !is_python(name) {
            return Ok(None);
        }
        let bin = file::canonical(bin)?;
        let settings = match bin.parent() {
            Some(root) => file::settings(&root.join("pyvenv.cfg"))?.map(|text| (root, text)),
            None => None,
        };
        let Some((root, settings)) = settings else { return Ok(None) };
        let own = bin.join(name);
        match objection(root, around).filter(|_| !is_system(root)) {
            // A project that is its own virtual environment; granting it is the user's decision.
            Some(objection) => {
                self.note(format!(
                    "the virtual environment `{}` is not granted by itself: {objection}",
                    root.display()
                ));
                self.grant(&own, origin);
            }
            None => self.grant(root, &format!("virtual environment of {origin}")),
        }
        if let Some(home) = home_of(&settings) {
            self.base_of_environment(home, origin, around);
        }
        self.links(&own, origin);
        Ok(Some(own))
    }

    /// Grants the Python that a virtual environment was made with, by the path that it knows.
    ///
    /// The path is the word of a file that the program itself may have written, so what is there must
    /// be a Python: else any directory could be asked for.
    fn base_of_environment(&mut self, home: &Path, origin: &str, around: &Surroundings<'_>) {
        let Some((prefix, bin)) = home.parent().zip(home.file_name()) else { return };
        let origin = format!("base of the virtual environment of {origin}");
        let Ok(real) = fs::canonicalize(prefix) else {
            self.note(format!(
                "the virtual environment's base `{}` does not exist",
                prefix.display()
            ));
            return;
        };
        for path in [real, lexical(prefix)] {
            if !is_python_installation(&path.join(bin)) {
                self.note(format!(
                    "the virtual environment's base `{}` is not granted: there is no Python in it",
                    path.display()
                ));
            } else if objection(&path, around).is_none() {
                self.grant(&path, &origin);
            }
        }
    }

    /// Grants every stop of a chain of links that would not be visible otherwise.
    fn links(&mut self, start: &Path, origin: &str) {
        let mut path = start.to_owned();
        for _ in 0..MOST_LINKS {
            let Ok(target) = fs::read_link(&path) else { return };
            path = lexical(&path.parent().unwrap_or(Path::new("/")).join(target));
            self.grant(&path, &format!("link of {origin}"));
        }
    }
}

/// The path without `.` and `..`, as if no directory in it were a link.
fn lexical(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => {
                clean.push(component);
            }
        }
    }
    clean
}

fn is_python(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.starts_with("python") || name.starts_with("pypy"))
}

/// Whether a Python is in a directory, and an installation around it.
fn is_python_installation(bin: &Path) -> bool {
    let holds_python =
        |name: String| is_python(name.as_ref()) && file::is_executable(&bin.join(name));
    prefix(&bin.join("python")).is_some() && file::names(bin).into_iter().any(holds_python)
}

/// The `home` of a `pyvenv.cfg`: the directory of the interpreter that made it.
fn home_of(settings: &str) -> Option<&Path> {
    let lines = settings.lines().filter_map(|line| line.split_once('='));
    let (_, home) = lines.into_iter().find(|(key, _)| key.trim().eq_ignore_ascii_case("home"))?;
    let home = Path::new(home.trim());
    home.is_absolute().then_some(home)
}

/// The installation around `…/bin/program`, if it looks like one.
fn prefix(program: &Path) -> Option<&Path> {
    let bin = program.parent()?;
    if !matches!(bin.file_name()?.to_str()?, "bin" | "sbin") {
        return None;
    }
    let prefix = bin.parent()?;
    ["lib", "lib64", "libexec"].iter().any(|name| prefix.join(name).is_dir()).then_some(prefix)
}

/// Why a directory must not be granted whole; `None` when it may.
pub(super) fn objection(directory: &Path, around: &Surroundings<'_>) -> Option<&'static str> {
    let is = |path: &&str| directory == Path::new(*path);
    if NEVER.iter().any(is) {
        return Some("it is a directory of the system that holds more than programs");
    }
    if is_home(directory, around) {
        return Some("it is a home directory");
    }
    let parent_is_home = |name: &&str| {
        let home = directory.ancestors().nth(Path::new(*name).components().count());
        directory.ends_with(name) && home.is_some_and(|home| is_home(home, around))
    };
    if SHARED_IN_HOME.iter().any(parent_is_home) {
        return Some("it is a directory of a home that many programs share");
    }
    if around.home().is_some_and(|home| home.starts_with(directory)) {
        return Some("a home directory lies in it");
    }
    if directory.join(".git").exists() {
        return Some("it is a checkout, not an installation");
    }
    if around.cwd.starts_with(directory) {
        return Some("the working directory lies in it");
    }
    None
}

fn is_home(directory: &Path, around: &Surroundings<'_>) -> bool {
    directory == Path::new("/root")
        || directory.parent() == Some(Path::new("/home"))
        || around.home() == Some(directory)
        || MARKS_OF_HOME.iter().any(|mark| directory.join(mark).exists())
}
