//! pyenv, and its siblings that share its layout: `shims/`, `versions/`, a `version` file.

use std::path::{Path, PathBuf};

use super::{Behind, Shim, version};
use crate::resolve::{ResolveError, file, surroundings::Surroundings};

/// How much of a shim is read to tell whose it is.
const SHIM_LENGTH: u64 = 2048;

struct Family {
    name: &'static str,
    /// The variable that sets the version.
    variable: &'static str,
    /// The file that sets it for a directory and what lies below.
    local: &'static str,
    /// A prefix that version names may carry.
    language: &'static str,
}

const FAMILIES: [Family; 4] = [
    Family {
        name: "pyenv",
        variable: "PYENV_VERSION",
        local: ".python-version",
        language: "python-",
    },
    Family { name: "rbenv", variable: "RBENV_VERSION", local: ".ruby-version", language: "ruby-" },
    Family {
        name: "nodenv",
        variable: "NODENV_VERSION",
        local: ".node-version",
        language: "node-",
    },
    Family { name: "goenv", variable: "GOENV_VERSION", local: ".go-version", language: "go-" },
];

pub(super) fn behind(
    shim: &Shim<'_>,
    around: &Surroundings<'_>,
) -> Result<Option<Behind>, ResolveError> {
    let versions = shim.root.join("versions");
    if !versions.is_dir() {
        return Ok(None);
    }
    let head = file::head(shim.path, SHIM_LENGTH).unwrap_or_default();
    let text = String::from_utf8_lossy(&head);
    let is_of = |family: &&Family| {
        text.starts_with("#!")
            && text.lines().any(|l| l.contains(family.name) && l.contains("exec "))
    };
    let Some(family) = FAMILIES.iter().find(is_of) else { return Ok(None) };
    let (wanted, by) = family.wanted(shim.root, around)?;
    let mut missing = Vec::new();
    for name in &wanted {
        match family.program(&versions, name, shim, around) {
            Some(found) => return Ok(Some(found)),
            None => missing.push(format!("`{name}`")),
        }
    }
    shim.fails(
        family.name,
        format!("{} (set by {by}) is not installed, or has none", missing.join(", ")),
    )
}

impl Family {
    /// The versions to look in, first to last, and who says so.
    fn wanted(
        &self,
        root: &Path,
        around: &Surroundings<'_>,
    ) -> Result<(Vec<String>, String), ResolveError> {
        if let Some(names) = around.text(self.variable) {
            let names = names.split(':').map(str::to_owned).collect();
            return Ok((names, self.variable.to_owned()));
        }
        let local = around.upward().map(|directory| directory.join(self.local));
        for path in local.chain([root.join("version")]) {
            let names = names_in(&file::settings(&path)?.unwrap_or_default());
            if !names.is_empty() {
                return Ok((names, format!("`{}`", path.display())));
            }
        }
        Ok((vec!["system".to_owned()], "nobody".to_owned()))
    }

    fn program(
        &self,
        versions: &Path,
        name: &str,
        shim: &Shim<'_>,
        around: &Surroundings<'_>,
    ) -> Option<Behind> {
        if name == "system" {
            let program = shim.of_system(around)?;
            return Some(Behind::plain(format!("the system's, by {}", self.name), program));
        }
        let plain = name.strip_prefix(self.language);
        let found = [Some(name), plain].into_iter().flatten();
        let version = found.into_iter().find_map(|name| version::installed(versions, name))?;
        let program: PathBuf = versions.join(&version).join("bin").join(shim.command);
        let what = format!("{} {version}", self.name);
        file::is_executable(&program).then(|| Behind::plain(what, program))
    }
}

/// The words of a version file, without comments.
fn names_in(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.split('#').next());
    lines.flat_map(str::split_whitespace).map(str::to_owned).collect()
}
