//! nvm: no stand-ins, versions are plain directories that a shell function puts into the search
//! path. Where no shell did, its default version is used.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use super::{Behind, version};
use crate::resolve::{ResolveError, file, surroundings::Surroundings};

/// How many aliases in a row are followed.
const MOST_ALIASES: usize = 8;

/// A command of nvm's default version.
pub(in crate::resolve) fn default_of_nvm(
    command: &OsStr,
    around: &Surroundings<'_>,
) -> Result<Option<Behind>, ResolveError> {
    let Some(root) = around.directory("NVM_DIR", ".nvm") else { return Ok(None) };
    let Some(version) = default_version(&root)? else { return Ok(None) };
    let program: PathBuf = root.join("versions/node").join(&version).join("bin").join(command);
    let what = format!("nvm's default, {version}");
    Ok(file::is_executable(&program).then(|| Behind::plain(what, program)))
}

fn default_version(root: &Path) -> Result<Option<String>, ResolveError> {
    let versions = root.join("versions/node");
    let mut name = "default".to_owned();
    for _ in 0..MOST_ALIASES {
        let alias = root.join("alias").join(&name);
        let is_inside = !name.starts_with('/') && !name.contains("..");
        let target = if is_inside { file::settings(&alias)? } else { None };
        match target {
            Some(text) => name = text.trim().to_owned(),
            None if matches!(name.as_str(), "node" | "stable") => {
                return Ok(version::newest(file::names(&versions), ""));
            }
            None if name == "default" => return Ok(None),
            None => {
                let named = format!("v{}", name.trim_start_matches('v'));
                return Ok(version::installed(&versions, &named));
            }
        }
    }
    Ok(None)
}
