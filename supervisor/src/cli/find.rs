//! Which plugin is meant: a directory, or a name under the directories of plugins. Reads manifests;
//! starts nothing.

use std::path::{Path, PathBuf};

use plugbay_manifest::{FILE_NAME, Package, SkipReason};

use crate::{args::Places, exit::Exit, failure::Failure};

/// Where plugins are looked for when nobody says where.
const USUAL: [&str; 2] = ["plugins", "examples"];

/// What was found in all places.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The plugins, each name once.
    pub(crate) packages: Vec<Package>,
    /// What was skipped.
    pub(crate) skipped: Vec<Skipped>,
}

/// A directory that was skipped.
#[derive(Debug)]
pub(crate) struct Skipped {
    /// Which.
    pub(crate) path: PathBuf,
    /// Why, perhaps in several lines.
    pub(crate) reason: String,
}

impl Found {
    fn named(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.manifest.plugin.name.as_str() == name)
    }
}

/// The plugin called `plugin`: a word with a slash (or a dot in front) is a path; any other is a name
/// under `places`, or a directory here.
pub(crate) fn find(plugin: &str, places: &Places) -> Result<Package, Failure> {
    let path = Path::new(plugin);
    if plugin.contains('/') || plugin.starts_with('.') {
        return load(path);
    }
    let found = discover(places)?;
    if let Some(package) = found.named(plugin) {
        return Ok(package.clone());
    }
    if path.join(FILE_NAME).is_file() {
        return load(path);
    }
    Err(not_found(plugin, &found, places))
}

/// Reads the plugin in a directory (or whose manifest is named).
pub(crate) fn load(path: &Path) -> Result<Package, Failure> {
    plugbay_manifest::load(&directory(path)?).map_err(|error| {
        Failure::new(Exit::NotFound, format!("the manifest is invalid\n{error}"))
            .hint(format!("`plugbay check {}` tells when it is right", path.display()))
    })
}

/// The directory of the plugin at `path`, which may also name its manifest.
pub(crate) fn directory(path: &Path) -> Result<PathBuf, Failure> {
    let directory = match path.parent() {
        Some(parent) if path.ends_with(FILE_NAME) && path.is_file() => parent,
        _ => path,
    };
    let shown = path.display();
    let refuse = |why: String| {
        Failure::new(Exit::NotFound, format!("no plugin at `{shown}`: {why}"))
            .hint(format!("name the directory that holds its {FILE_NAME}"))
    };
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let directory = directory.canonicalize().map_err(|error| refuse(error.to_string()))?;
    match directory.join(FILE_NAME).symlink_metadata() {
        Ok(_) => Ok(directory),
        Err(error) => Err(refuse(format!("{FILE_NAME}: {error}"))),
    }
}

/// Every plugin under `places`, by name; of two with one name the first place's counts.
pub(crate) fn discover(places: &Places) -> Result<Found, Failure> {
    let mut all = Found::default();
    for place in chosen(places)? {
        let found = plugbay_manifest::discover(&place);
        for package in found.packages {
            match all.named(package.manifest.plugin.name.as_str()) {
                Some(first) => {
                    let reason = format!("the name is taken by `{}`", first.dir.display());
                    all.skipped.push(Skipped { path: package.dir, reason });
                }
                None => all.packages.push(package),
            }
        }
        all.skipped.extend(
            found
                .skipped
                .into_iter()
                .map(|skipped| Skipped { reason: reason(&skipped.reason), path: skipped.path }),
        );
    }
    all.packages.sort_by(|one, other| one.manifest.plugin.name.cmp(&other.manifest.plugin.name));
    Ok(all)
}

fn reason(reason: &SkipReason) -> String {
    if let SkipReason::Invalid(error) = reason {
        return format!("its manifest is invalid\n{error}");
    }
    reason.to_string()
}

/// The places that were named, each of which must be there; or the usual ones that are.
fn chosen(places: &Places) -> Result<Vec<PathBuf>, Failure> {
    if places.plugins.is_empty() {
        return Ok(USUAL.iter().map(PathBuf::from).filter(|place| place.is_dir()).collect());
    }
    for place in &places.plugins {
        if !place.is_dir() {
            return Err(Failure::new(
                Exit::NotFound,
                format!("`{}` is not a directory of plugins", place.display()),
            ));
        }
    }
    Ok(places.plugins.clone())
}

/// Where was looked, in words.
pub(crate) fn places_in_words(places: &Places) -> String {
    let named: Vec<String> = match places.plugins.as_slice() {
        [] => USUAL.iter().map(|place| format!("./{place}")).collect(),
        named => named.iter().map(|place| place.display().to_string()).collect(),
    };
    named.join(", ")
}

fn not_found(plugin: &str, found: &Found, places: &Places) -> Failure {
    if let Some(skipped) = found.skipped.iter().find(|skipped| skipped.path.ends_with(plugin)) {
        let shown = skipped.path.display();
        return Failure::new(Exit::NotFound, format!("`{shown}`: {}", skipped.reason))
            .hint(format!("`plugbay check {shown}` tells when it is right"));
    }
    let names: Vec<&str> =
        found.packages.iter().map(|it| it.manifest.plugin.name.as_str()).collect();
    let failure = format!("no plugin `{plugin}` under {}", places_in_words(places));
    Failure::new(Exit::NotFound, failure).hint(if names.is_empty() {
        "name a plugin's directory, or where to look with --plugins DIR".to_owned()
    } else {
        format!("there are: {}", names.join(", "))
    })
}
