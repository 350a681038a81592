//! A plugin at rest: its directory and its manifest.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use crate::{
    FILE_NAME, MAX_BYTES,
    beneath::{self, BeneathError},
    error::ManifestError,
    manifest::Manifest,
    read::{Files, parse_beside},
};

/// A plugin in its directory.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Package {
    /// The directory, absolute and without links.
    pub dir: PathBuf,
    /// What it says of itself.
    pub manifest: Manifest,
}

/// Loads the plugin in a directory.
///
/// `plugin.toml` and the schema files that it names are read only if they are regular files below
/// the directory; they are bounded in size.
///
/// # Errors
/// Every problem of the manifest with its place, or why the file cannot be read.
pub fn load(dir: &Path) -> Result<Package, ManifestError> {
    let fail = |error: std::io::Error| {
        ManifestError::whole(dir, format!("cannot open the plugin's directory: {error}"))
    };
    let directory = File::open(dir).map_err(fail)?;
    let absolute = std::fs::canonicalize(dir).map_err(fail)?;
    load_open(&directory, absolute, &dir.join(FILE_NAME))
}

/// Loads the plugin in a directory that is already open; `shown` is what errors call the file.
pub(crate) fn load_open(
    directory: &File,
    dir: PathBuf,
    shown: &Path,
) -> Result<Package, ManifestError> {
    let text = read_manifest(directory).map_err(|error| unreadable(shown, &error))?;
    let manifest = parse_beside(&text, shown, &Directory(directory))?;
    Ok(Package { dir, manifest })
}

/// The text of the manifest in an open directory.
pub(crate) fn read_manifest(directory: &File) -> Result<String, BeneathError> {
    beneath::read(directory, Path::new(FILE_NAME), MAX_BYTES)
}

fn unreadable(shown: &Path, error: &BeneathError) -> ManifestError {
    if error.is_absent() {
        return ManifestError::whole(shown, format!("there is no {FILE_NAME}"));
    }
    ManifestError::whole(shown, format!("cannot read the manifest: {error}"))
}

/// Schema files come from the plugin's own directory only.
struct Directory<'d>(&'d File);

impl Files for Directory<'_> {
    fn read(&self, path: &str) -> Result<String, String> {
        beneath::read(self.0, Path::new(path), MAX_BYTES).map_err(|error| error.to_string())
    }
}
