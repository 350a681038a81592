//! Finds the plugins below a directory: `root/x/plugin.toml`, and grouped one level,
//! `root/group/x/plugin.toml`.
//!
//! A bad plugin is skipped with its reason and takes nobody with it. What is no plugin at all (no
//! `plugin.toml`) is passed over in silence. Links to directories are not followed: what is in the
//! plugins' directory is what is there, not what somebody's link points at today.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use crate::{
    FILE_NAME, beneath,
    error::ManifestError,
    name::PluginName,
    package::{Package, load_open},
};

/// The most directories that are looked into below one root.
const MAX_DIRECTORIES: usize = 20_000;

/// What was found below a directory.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Discovery {
    /// The plugins, by name; each name once.
    pub packages: Vec<Package>,
    /// What looked like a plugin and is not taken, by path.
    pub skipped: Vec<Skipped>,
}

/// Something that looked like a plugin and is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Skipped {
    /// The directory or file.
    pub path: PathBuf,
    /// Why.
    pub reason: SkipReason,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            // The error names the file itself.
            SkipReason::Invalid(error) => error.fmt(f),
            reason @ (SkipReason::Duplicate { .. }
            | SkipReason::Link
            | SkipReason::Unreadable(_)
            | SkipReason::TooMany) => {
                let path = self.path.display().to_string();
                write!(f, "{}: {reason}", crate::neutral::echo_path(&path))
            }
        }
    }
}

/// Why something is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// The manifest is wrong.
    Invalid(ManifestError),
    /// Another plugin, found first, has the name.
    Duplicate {
        /// The name of both.
        name: PluginName,
        /// Where the one that was taken is.
        taken: PathBuf,
    },
    /// It is a link to a directory.
    Link,
    /// It cannot be looked into.
    Unreadable(String),
    /// There are too many directories; the rest was not looked at.
    TooMany,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => error.fmt(f),
            Self::Duplicate { name, taken } => {
                let taken = taken.display().to_string();
                let taken = crate::neutral::echo_path(&taken);
                write!(f, "the name `{name}` is taken by `{taken}`")
            }
            Self::Link => f.write_str("a link to a directory is not followed"),
            Self::Unreadable(error) => write!(f, "cannot be read: {error}"),
            Self::TooMany => {
                write!(f, "more than {MAX_DIRECTORIES} directories; the rest is not looked at")
            }
        }
    }
}

/// Finds every plugin below a directory.
///
/// The result depends only on what is there: directories are taken by name, and of two plugins
/// with one name the first path counts.
#[must_use]
pub fn discover(root: &Path) -> Discovery {
    let mut search =
        Search { found: Discovery::default(), names: BTreeMap::new(), left: MAX_DIRECTORIES };
    match open_root(root) {
        Ok((directory, absolute)) => {
            let place = Place { directory, dir: absolute, shown: root.to_owned() };
            search.scan(&place, Level::Root);
        }
        Err(error) => search.skip(root, SkipReason::Unreadable(error.to_string())),
    }
    let mut found = search.found;
    found.packages.sort_by(|a, b| a.manifest.plugin.name.cmp(&b.manifest.plugin.name));
    found.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn open_root(root: &Path) -> io::Result<(File, PathBuf)> {
    let absolute = fs::canonicalize(root)?;
    Ok((File::open(&absolute)?, absolute))
}

/// Where the search is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Group,
}

/// An open directory, its absolute path, and its path as the user wrote it.
struct Place {
    directory: File,
    dir: PathBuf,
    shown: PathBuf,
}

/// A search under way.
struct Search {
    found: Discovery,
    /// Names taken, and where.
    names: BTreeMap<PluginName, PathBuf>,
    /// How many more directories are looked into.
    left: usize,
}

impl Search {
    fn skip(&mut self, path: &Path, reason: SkipReason) {
        self.found.skipped.push(Skipped { path: path.to_owned(), reason });
    }

    /// Looks at every directory of a place.
    fn scan(&mut self, place: &Place, level: Level) {
        let entries = match entries(&place.dir) {
            Ok(entries) => entries,
            Err(error) => {
                return self.skip(&place.shown, SkipReason::Unreadable(error.to_string()));
            }
        };
        for (name, kind) in entries {
            let shown = place.shown.join(&name);
            if kind.is_symlink() {
                if place.dir.join(&name).is_dir() {
                    self.skip(&shown, SkipReason::Link);
                }
                continue;
            }
            if !kind.is_dir() {
                continue;
            }
            let Some(left) = self.left.checked_sub(1) else {
                return self.skip(&shown, SkipReason::TooMany);
            };
            self.left = left;
            match beneath::open_directory(&place.directory, Path::new(&name)) {
                Ok(directory) => {
                    let dir = place.dir.join(&name);
                    self.look(Place { directory, dir, shown }, level);
                }
                Err(error) => self.skip(&shown, SkipReason::Unreadable(error.to_string())),
            }
        }
    }

    /// Takes the plugin in a directory, or looks at it as a group when there is none.
    fn look(&mut self, place: Place, level: Level) {
        let file = place.shown.join(FILE_NAME);
        let is_plugin = fs::symlink_metadata(place.dir.join(FILE_NAME)).is_ok();
        match level {
            _ if is_plugin => match load_open(&place.directory, place.dir, &file) {
                Ok(package) => self.take(package, &place.shown),
                Err(error) => self.skip(&place.shown, SkipReason::Invalid(error)),
            },
            Level::Root => self.scan(&place, Level::Group),
            Level::Group => {}
        }
    }

    fn take(&mut self, package: Package, shown: &Path) {
        let name = package.manifest.plugin.name.clone();
        match self.names.get(&name) {
            Some(taken) => {
                let taken = taken.clone();
                self.skip(shown, SkipReason::Duplicate { name, taken });
            }
            None => {
                self.names.insert(name, shown.to_owned());
                self.found.packages.push(package);
            }
        }
    }
}

/// The entries of a directory by name, without hidden ones.
fn entries(dir: &Path) -> io::Result<Vec<(OsString, fs::FileType)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir)?.take(MAX_DIRECTORIES * 2) {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            entries.push((entry.file_name(), entry.file_type()?));
        }
    }
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(entries)
}
