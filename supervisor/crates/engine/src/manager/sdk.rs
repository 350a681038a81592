//! Where the SDKs are that come with the supervisor.

use std::path::PathBuf;

/// The directory that holds the Python package `plugbay`: the one named, else the one installed
/// beside this program (`PREFIX/bin` and `PREFIX/share/plugbay/python`), else the one in the tree
/// that this program was built from.
pub(crate) fn python(explicit: Option<PathBuf>) -> Result<PathBuf, String> {
    let candidates = match explicit {
        Some(dir) => vec![dir],
        None => {
            let program = std::fs::read_link("/proc/self/exe").ok();
            let prefix = program.as_deref().and_then(|path| path.parent()?.parent());
            let installed = prefix.map(|prefix| prefix.join("share/plugbay/python"));
            let tree = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../sdk-python/src");
            installed.into_iter().chain([PathBuf::from(tree)]).collect()
        }
    };
    let found = candidates.iter().find(|dir| dir.join("plugbay/__init__.py").is_file());
    match found.map(|dir| dir.canonicalize()) {
        Some(Ok(dir)) => Ok(dir),
        Some(Err(error)) => Err(format!("the Python SDK cannot be read: {error}")),
        None => {
            let places: Vec<String> =
                candidates.iter().map(|dir| format!("`{}`", dir.display())).collect();
            Err(format!("the Python SDK was not found; looked in {}", places.join(", ")))
        }
    }
}
