//! rustup: `cargo`, `rustc` and the rest are `rustup` itself under other names.

use std::{
    env::consts::ARCH,
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::Behind;
use crate::resolve::{ResolveError, file, surroundings::Surroundings};

const MANAGER: &str = "rustup";

/// The toolchain that is meant, and who says so.
struct Wanted {
    toolchain: Toolchain,
    by: String,
}

enum Toolchain {
    Named(String),
    At(PathBuf),
}

impl Wanted {
    fn named(name: &str, by: impl Into<String>) -> Self {
        Self { toolchain: Toolchain::Named(name.to_owned()), by: by.into() }
    }
}

pub(super) fn behind(
    path: &Path,
    first_argument: Option<&OsStr>,
    around: &Surroundings<'_>,
) -> Result<Option<Behind>, ResolveError> {
    let Some(command) = path.file_name().filter(|name| *name != MANAGER) else { return Ok(None) };
    if !is_proxy(path) {
        return Ok(None);
    }
    let fails = |problem: String| {
        let command = command.to_owned();
        Err(ResolveError::Version { manager: MANAGER, command, problem })
    };
    let Some(home) = home(path, around) else {
        return fails("its toolchains were not found (set RUSTUP_HOME)".to_owned());
    };
    let plus = first_argument.and_then(OsStr::to_str).and_then(|word| word.strip_prefix('+'));
    let wanted = match plus {
        Some(name) => Some(Wanted::named(name, "the command line")),
        None => wanted(&home, around)?,
    };
    let Some(Wanted { toolchain, by }) = wanted else {
        return fails("no toolchain is chosen (rustup default stable)".to_owned());
    };
    let (name, directory) = match toolchain {
        Toolchain::At(directory) => (directory.display().to_string(), directory),
        Toolchain::Named(name) => match installed(&home.join("toolchains"), &name) {
            Some(found) => found,
            None => return fails(format!("the toolchain `{name}` (set by {by}) is not installed")),
        },
    };
    let program = directory.join("bin").join(command);
    if !file::is_executable(&program) {
        return fails(format!("the toolchain `{name}` (set by {by}) does not have it"));
    }
    let mut found = Behind::plain(format!("{MANAGER} {name}"), program);
    found.takes_argument = plus.is_some();
    found.variables.push(("RUSTUP_TOOLCHAIN".into(), name.into()));
    Ok(Some(found))
}

/// Whether a path is `rustup` under another name: a link to it, or (since 1.28) the same file.
fn is_proxy(path: &Path) -> bool {
    let is_link = fs::canonicalize(path)
        .is_ok_and(|target| target.file_name().is_some_and(|name| name == MANAGER));
    let same = |one: &fs::Metadata, other: &fs::Metadata| {
        one.dev() == other.dev() && one.ino() == other.ino()
    };
    is_link || {
        let both = fs::metadata(path).ok().zip(fs::metadata(path.with_file_name(MANAGER)).ok());
        both.is_some_and(|(one, other)| same(&one, &other))
    }
}

/// Where the toolchains are: as the environment says, else beside the proxy's own `.cargo`.
fn home(proxy: &Path, around: &Surroundings<'_>) -> Option<PathBuf> {
    let named = around.var("RUSTUP_HOME").map(PathBuf::from);
    let of_home = around.home().map(|home| home.join(".rustup"));
    let beside = proxy.ancestors().nth(3).map(|directory| directory.join(".rustup"));
    let candidates = [named, of_home, beside];
    candidates.into_iter().flatten().find(|path| path.join("toolchains").is_dir())
}

/// The order is rustup's: variable, then per directory upward an override before a file, then the
/// default.
fn wanted(home: &Path, around: &Surroundings<'_>) -> Result<Option<Wanted>, ResolveError> {
    if let Some(name) = around.text("RUSTUP_TOOLCHAIN") {
        return Ok(Some(Wanted::named(name, "RUSTUP_TOOLCHAIN")));
    }
    let path = home.join("settings.toml");
    let settings: Table = file::settings(&path)?.unwrap_or_default().parse().unwrap_or_default();
    let overrides = settings.get("overrides").and_then(Value::as_table);
    for directory in around.upward() {
        let key = directory.to_str().unwrap_or_default();
        if let Some(name) = overrides.and_then(|all| all.get(key)).and_then(Value::as_str) {
            return Ok(Some(Wanted::named(name, "rustup override")));
        }
        if let Some(wanted) = of_directory(directory)? {
            return Ok(Some(wanted));
        }
    }
    let default = settings.get("default_toolchain").and_then(Value::as_str);
    Ok(default.map(|name| Wanted::named(name, "rustup default")))
}

/// What `rust-toolchain` or `rust-toolchain.toml` of a directory says. The name without ending
/// goes first, and may hold the bare name of a toolchain.
fn of_directory(directory: &Path) -> Result<Option<Wanted>, ResolveError> {
    for file_name in ["rust-toolchain", "rust-toolchain.toml"] {
        let path = directory.join(file_name);
        let Some(text) = file::settings(&path)? else { continue };
        let by = format!("`{}`", path.display());
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        if let (Some(name), None) = (lines.next(), lines.next())
            && file_name == "rust-toolchain"
            && !name.contains(['[', '='])
        {
            return Ok(Some(Wanted::named(name, by)));
        }
        let settings: Table = text.parse().unwrap_or_default();
        let toolchain = settings.get("toolchain").and_then(Value::as_table);
        let value = |key| toolchain.and_then(|table| table.get(key)).and_then(Value::as_str);
        if let Some(at) = value("path") {
            return Ok(Some(Wanted { toolchain: Toolchain::At(directory.join(at)), by }));
        }
        if let Some(name) = value("channel") {
            return Ok(Some(Wanted::named(name, by)));
        }
    }
    Ok(None)
}

/// The directory of a toolchain, by its whole name or without the machine's part.
fn installed(toolchains: &Path, name: &str) -> Option<(String, PathBuf)> {
    if name.starts_with('/') {
        return Some((name.to_owned(), PathBuf::from(name)));
    }
    let is_it = |known: &String| {
        let rest = known.strip_prefix(name);
        rest.is_some_and(|r| {
            r.is_empty() || r.strip_prefix('-').is_some_and(|r| r.starts_with(ARCH))
        })
    };
    let mut names: Vec<_> = file::names(toolchains).into_iter().filter(is_it).collect();
    names.sort();
    let name = names.into_iter().next()?;
    Some((name.clone(), toolchains.join(name)))
}
