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
    num::NonZero,
    path::{Path, PathBuf},
    thread,
};

use crate::{
    FILE_NAME, beneath,
    error::ManifestError,
    name::PluginName,
    package::{Package, load_open},
};

/// The most directories that are looked into below one root.
const MAX_DIRECTORIES: usize = 20_000;
/// The most entries of one directory that are read.
const MAX_ENTRIES: usize = 100_000;
/// The most threads that load manifests.
const MAX_THREADS: usize = 8;
/// The fewest manifests that are worth a thread.
const MIN_SHARE: usize = 32;

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
    let mut search = Search::default();
    match Root::open(root) {
        Ok(root) => {
            search.scan(&root, Path::new(""), Level::Root);
            let places = std::mem::take(&mut search.places);
            let loaded = load_all(&root, &places);
            for (place, outcome) in places.iter().zip(loaded) {
                search.take(root.shown.join(place), outcome);
            }
        }
        Err(error) => search.skip(root.to_owned(), SkipReason::Unreadable(error.to_string())),
    }
    let mut found = search.found;
    found.packages.sort_by(|a, b| a.manifest.plugin.name.cmp(&b.manifest.plugin.name));
    found.skipped.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The directory that is searched.
struct Root {
    directory: File,
    /// Absolute and without links.
    dir: PathBuf,
    /// As the user wrote it, for messages.
    shown: PathBuf,
}

impl Root {
    fn open(shown: &Path) -> io::Result<Self> {
        let dir = fs::canonicalize(shown)?;
        Ok(Self { directory: File::open(&dir)?, dir, shown: shown.to_owned() })
    }

    /// Loads the plugin at a place below, without leaving the root on the way.
    fn load(&self, place: &Path) -> Result<Package, SkipReason> {
        let directory = beneath::open_directory(&self.directory, place)
            .map_err(|error| SkipReason::Unreadable(error.to_string()))?;
        let shown = self.shown.join(place).join(FILE_NAME);
        load_open(&directory, self.dir.join(place), &shown).map_err(SkipReason::Invalid)
    }
}

/// Where the search is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Group,
}

/// A search under way.
#[derive(Default)]
struct Search {
    found: Discovery,
    /// Directories with a `plugin.toml`, relative to the root, in the order in which they count.
    places: Vec<PathBuf>,
    /// Names taken, and where.
    names: BTreeMap<PluginName, PathBuf>,
    /// How many directories were looked into.
    seen: usize,
}

impl Search {
    fn skip(&mut self, path: PathBuf, reason: SkipReason) {
        self.found.skipped.push(Skipped { path, reason });
    }

    /// Notes every directory at a place that has a manifest; those of the root that have none are
    /// looked into as groups.
    fn scan(&mut self, root: &Root, place: &Path, level: Level) {
        let entries = match entries(&root.dir.join(place)) {
            Ok(entries) => entries,
            Err(error) => {
                return self
                    .skip(root.shown.join(place), SkipReason::Unreadable(error.to_string()));
            }
        };
        for (name, kind) in entries {
            let place = place.join(name);
            let dir = root.dir.join(&place);
            if kind.is_symlink() {
                if dir.is_dir() {
                    self.skip(root.shown.join(place), SkipReason::Link);
                }
                continue;
            }
            if !kind.is_dir() {
                continue;
            }
            if self.seen == MAX_DIRECTORIES {
                return self.skip(root.shown.join(place), SkipReason::TooMany);
            }
            self.seen += 1;
            if fs::symlink_metadata(dir.join(FILE_NAME)).is_ok() {
                self.places.push(place);
            } else if level == Level::Root {
                self.scan(root, &place, Level::Group);
            }
        }
    }

    /// Keeps what was loaded, unless its name is taken.
    fn take(&mut self, shown: PathBuf, outcome: Result<Package, SkipReason>) {
        match outcome {
            Err(reason) => self.skip(shown, reason),
            Ok(package) => {
                let name = package.manifest.plugin.name.clone();
                match self.names.get(&name) {
                    Some(taken) => {
                        let reason = SkipReason::Duplicate { name, taken: taken.clone() };
                        self.skip(shown, reason);
                    }
                    None => {
                        self.names.insert(name, shown);
                        self.found.packages.push(package);
                    }
                }
            }
        }
    }
}

/// Loads every place, in the order given, on several threads when that is worth it.
fn load_all(root: &Root, places: &[PathBuf]) -> Vec<Result<Package, SkipReason>> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS);
    let share = places.len().div_ceil(cores).max(MIN_SHARE);
    let load = |part: &[PathBuf]| part.iter().map(|place| root.load(place)).collect::<Vec<_>>();
    thread::scope(|scope| {
        let mut parts = places.chunks(share);
        let own = parts.next_back();
        let others: Vec<_> = parts
            .map(|part| (part, thread::Builder::new().spawn_scoped(scope, move || load(part))))
            .collect();
        let own = own.map(load);
        let mut loaded = Vec::with_capacity(places.len());
        for (part, thread) in others {
            // Without a thread, or without its answer, the work is done here.
            let done = thread.ok().and_then(|thread| thread.join().ok());
            loaded.extend(done.unwrap_or_else(|| load(part)));
        }
        loaded.extend(own.into_iter().flatten());
        loaded
    })
}

/// The entries of a directory by name, without hidden ones.
fn entries(dir: &Path) -> io::Result<Vec<(OsString, fs::FileType)>> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(dir)?.take(MAX_ENTRIES) {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            entries.push((entry.file_name(), entry.file_type()?));
        }
    }
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(entries)
}
