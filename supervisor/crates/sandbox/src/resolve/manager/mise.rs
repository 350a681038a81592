//! mise: shims that are links to `mise` itself, versions in `mise.toml` or `.tool-versions`.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{Behind, Shim, asdf, version};
use crate::resolve::{ResolveError, file, surroundings::Surroundings};

/// The files that set versions for a directory, the strongest first.
const LOCAL: [&str; 6] = [
    "mise.local.toml",
    "mise.toml",
    ".mise.toml",
    ".config/mise.toml",
    ".config/mise/config.toml",
    ".tool-versions",
];

pub(super) fn behind(
    shim: &Shim<'_>,
    around: &Surroundings<'_>,
) -> Result<Option<Behind>, ResolveError> {
    let target = file::canonical(shim.path)?;
    if target.file_name().is_none_or(|name| name != "mise") {
        return Ok(None);
    }
    let installs = shim.root.join("installs");
    let mut asked = Vec::new();
    for (tool, names, by) in configured(around)? {
        let variable = format!("MISE_{}_VERSION", tool.to_uppercase().replace('-', "_"));
        let names = around.text(&variable).map_or(names, |name| vec![name.to_owned()]);
        for name in names {
            if let Some((version, program)) = installed(&installs.join(&tool), &name, shim) {
                return Ok(Some(Behind::plain(format!("mise {tool} {version}"), program)));
            }
            asked.push(format!("{tool} {name} (set by `{}`)", by.display()));
        }
    }
    if let Some(program) = shim.of_system(around) {
        return Ok(Some(Behind::plain("the system's, by mise".to_owned(), program)));
    }
    let problem = match asked.is_empty() {
        true => format!("nothing sets a version for `{}`", around.cwd.display()),
        false => format!("it is in none of {}", asked.join(", ")),
    };
    shim.fails("mise", problem)
}

/// The tools that are set here, the nearest setting first; one that is set nearer is not repeated.
fn configured(
    around: &Surroundings<'_>,
) -> Result<Vec<(String, Vec<String>, PathBuf)>, ResolveError> {
    let local = around.upward().flat_map(|directory| LOCAL.map(|name| directory.join(name)));
    let global = around.directory("MISE_GLOBAL_CONFIG_FILE", ".config/mise/config.toml");
    let of_home = around.home().map(|home| home.join(".tool-versions"));
    let mut tools: Vec<(String, Vec<String>, PathBuf)> = Vec::new();
    for path in local.chain(global).chain(of_home) {
        let Some(text) = file::settings(&path)? else { continue };
        for (tool, names) in tools_in(&path, &text) {
            if !tools.iter().any(|(known, _, _)| *known == tool) {
                tools.push((tool, names, path.clone()));
            }
        }
    }
    Ok(tools)
}

/// The tools that one file sets; a file that mise could not read either sets none.
fn tools_in(path: &Path, text: &str) -> Vec<(String, Vec<String>)> {
    if path.extension().is_none_or(|extension| extension != "toml") {
        let owned = |names: &mut dyn Iterator<Item = &str>| names.map(str::to_owned).collect();
        return asdf::tools_in(text)
            .map(|(tool, mut n)| (tool.to_owned(), owned(&mut n)))
            .collect();
    }
    let settings: Table = text.parse().unwrap_or_default();
    let tools = settings.get("tools").and_then(Value::as_table).into_iter().flatten();
    tools.map(|(tool, value)| (tool.clone(), names_in(value))).collect()
}

/// `"3.11"`, `["3.11", "3.10"]` or `{ version = "3.11" }`.
fn names_in(value: &Value) -> Vec<String> {
    match value {
        Value::String(name) => vec![name.clone()],
        Value::Array(values) => values.iter().flat_map(names_in).collect(),
        Value::Table(table) => table.get("version").map(names_in).unwrap_or_default(),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => Vec::new(),
    }
}

fn installed(tool: &Path, name: &str, shim: &Shim<'_>) -> Option<(String, PathBuf)> {
    let version = version::installed(tool, name)
        .or_else(|| (name == "latest").then(|| version::newest(file::names(tool), ""))?)?;
    let places = ["bin", ""].map(|place| tool.join(&version).join(place).join(shim.command));
    let program = places.into_iter().find(|path| file::is_executable(path))?;
    Some((version, program))
}
