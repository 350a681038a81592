//! asdf: shims that list their plugins in comments, versions in `.tool-versions`.

use std::path::{Path, PathBuf};

use super::{Behind, Shim, version};
use crate::resolve::{ResolveError, file, surroundings::Surroundings};

const SHIM_LENGTH: u64 = 16 << 10;
const FILE: &str = ".tool-versions";
/// Where plugins put their programs, below the directory of a version.
const PLACES: [&str; 4] = ["bin", "go/bin", ".npm/bin", ""];

pub(super) fn behind(
    shim: &Shim<'_>,
    around: &Surroundings<'_>,
) -> Result<Option<Behind>, ResolveError> {
    let head = file::head(shim.path, SHIM_LENGTH).unwrap_or_default();
    let text = String::from_utf8_lossy(&head);
    let plugins = plugins_in(&text);
    if plugins.is_empty() {
        return Ok(None);
    }
    let mut asked = Vec::new();
    for plugin in plugins {
        for (name, by) in wanted(plugin, around)? {
            if name == "system" {
                if let Some(program) = shim.of_system(around) {
                    return Ok(Some(Behind::plain("the system's, by asdf".to_owned(), program)));
                }
            } else if let Some((version, program)) = installed(shim, plugin, &name) {
                return Ok(Some(Behind::plain(format!("asdf {plugin} {version}"), program)));
            }
            asked.push(format!("{plugin} {name} (set by {by}) is not installed, or has none"));
        }
    }
    if asked.is_empty() {
        asked.push(format!("no `{FILE}` sets a version for `{}`", around.cwd.display()));
    }
    shim.fails("asdf", asked.join("; "))
}

/// The plugins that a shim names: `# asdf-plugin: python 3.11.7`, one line per version.
fn plugins_in(shim: &str) -> Vec<&str> {
    let lines = shim.lines().filter_map(|line| line.strip_prefix("# asdf-plugin:"));
    let mut plugins: Vec<&str> = lines.filter_map(|line| line.split_whitespace().next()).collect();
    plugins.dedup();
    plugins
}

/// The versions of a plugin to look for, first to last, and who says so.
fn wanted(plugin: &str, around: &Surroundings<'_>) -> Result<Vec<(String, String)>, ResolveError> {
    let variable = format!("ASDF_{}_VERSION", plugin.to_uppercase().replace('-', "_"));
    if let Some(names) = around.text(&variable) {
        return Ok(names
            .split_whitespace()
            .map(|name| (name.to_owned(), variable.clone()))
            .collect());
    }
    let directories = around.upward().map(Path::to_owned).chain(around.home().map(Path::to_owned));
    for path in directories.map(|directory| directory.join(FILE)) {
        let text = file::settings(&path)?.unwrap_or_default();
        if let Some(names) = names_in(&text, plugin) {
            let by = format!("`{}`", path.display());
            return Ok(names.map(|name| (name.to_owned(), by.clone())).collect());
        }
    }
    Ok(Vec::new())
}

/// The versions that a `.tool-versions` sets for a tool.
pub(super) fn names_in<'t>(text: &'t str, tool: &str) -> Option<impl Iterator<Item = &'t str>> {
    tools_in(text).find(|(name, _)| *name == tool).map(|(_, versions)| versions)
}

/// The tools of a `.tool-versions`, each with its versions.
pub(super) fn tools_in(text: &str) -> impl Iterator<Item = (&str, impl Iterator<Item = &str>)> {
    let lines = text.lines().filter_map(|line| line.split('#').next());
    lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words))
    })
}

fn installed(shim: &Shim<'_>, plugin: &str, name: &str) -> Option<(String, PathBuf)> {
    let (version, directory) = match name.strip_prefix("path:") {
        Some(path) => (name.to_owned(), PathBuf::from(path)),
        None => {
            let installs = shim.root.join("installs").join(plugin);
            let name = name.replace("ref:", "ref-");
            let version = version::installed(&installs, &name)?;
            (version.clone(), installs.join(version))
        }
    };
    let places = PLACES.iter().map(|place| directory.join(place).join(shim.command));
    let program = places.into_iter().find(|path| file::is_executable(path))?;
    Some((version, program))
}
