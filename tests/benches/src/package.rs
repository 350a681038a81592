//! The plugins that are measured, as directories with a manifest.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

/// The small Rust program that every floor talks to, and (sealed) Plugbay too.
const LOOP: &str = "plugbay-bench-loop";
/// The command line, which is also the plugin of `plugbay chaos`.
const PLUGBAY: &str = "plugbay";

/// A place for plugins, removed with this value. Below the build directory, because a plugin has a
/// `/tmp` of its own.
pub(crate) fn place() -> Result<TempDir> {
    let own = std::env::current_exe()?;
    let beside = own.parent().context("this program has no directory")?;
    Ok(tempfile::Builder::new().prefix("plugbay-bench-").tempdir_in(beside)?)
}

/// Puts the Rust plugin below `place`; its directory and its program.
pub(crate) fn rust(place: &Path) -> Result<(PathBuf, PathBuf)> {
    let dir = write_manifest(place, "rust", &format!("[\"./{LOOP}\"]"), "plugbay")?;
    let program = dir.join(LOOP);
    fs::copy(built(LOOP)?, &program)?;
    Ok((dir, program))
}

/// Puts one of many Rust plugins below `place`. They share the program.
pub(crate) fn numbered(place: &Path, number: u64) -> Result<()> {
    let name = format!("p{number}");
    let command = format!("[\"./{LOOP}\", \"as\", \"{name}\"]");
    let dir = write_manifest(place, &name, &command, "plugbay")?;
    fs::hard_link(built(LOOP)?, dir.join(LOOP))?;
    Ok(())
}

/// Puts a Rust plugin with so many spares below `place`.
pub(crate) fn spared(place: &Path, spares: u32) -> Result<()> {
    let name = format!("spares{spares}");
    let command = format!("[\"./{LOOP}\", \"as\", \"{name}\"]");
    let more = format!(
        "[supervision]\nspares = {spares}\n[methods.echo]\nidempotent = true\n[methods.blob]\n"
    );
    let dir = write_manifest_with(place, &name, &command, "plugbay", &more)?;
    fs::hard_link(built(LOOP)?, dir.join(LOOP))?;
    Ok(())
}

/// Puts the plugin of `plugbay chaos` below `place`, with limits that its sins can reach.
pub(crate) fn sinner(place: &Path) -> Result<PathBuf> {
    let command = format!("[\"./{PLUGBAY}\", \"__chaos-plugin\", \"chaos\"]");
    let limits = "[limits]\nmemory = \"128MiB\"\nopen_files = 256\n\
                  [supervision]\ndrain_timeout = \"10ms\"\nstop_timeout = \"100ms\"\n";
    let dir = write_manifest_with(place, "chaos", &command, "plugbay", limits)?;
    fs::copy(built(PLUGBAY)?, dir.join(PLUGBAY))?;
    Ok(dir)
}

/// A program as it was built.
pub(crate) fn built(name: &str) -> Result<PathBuf> {
    let built = std::env::current_exe()?.with_file_name(name);
    anyhow::ensure!(built.exists(), "`{}` is missing (build all binaries)", built.display());
    Ok(built)
}

/// Puts a Python plugin below `place`: the bare loop, or the same on the SDK.
pub(crate) fn python(place: &Path, name: &str, script: &str, dialect: &str) -> Result<PathBuf> {
    let dir = write_manifest(place, name, "\"python3 main.py\"", dialect)?;
    fs::write(dir.join("main.py"), script)?;
    Ok(dir)
}

/// Copies a flat directory of Python files.
pub(crate) fn copy_modules(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    let entries =
        fs::read_dir(from).with_context(|| format!("failed to read `{}`", from.display()))?;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn write_manifest(place: &Path, name: &str, command: &str, dialect: &str) -> Result<PathBuf> {
    write_manifest_with(place, name, command, dialect, "")
}

fn write_manifest_with(
    place: &Path,
    name: &str,
    command: &str,
    dialect: &str,
    more: &str,
) -> Result<PathBuf> {
    let dir = place.join(name);
    fs::create_dir(&dir)?;
    let manifest = format!(
        "[plugin]\nname = \"{name}\"\nversion = \"1.0.0\"\ntype = \"bench\"\n\n\
         [runtime]\ncommand = {command}\ndialect = \"{dialect}\"\n{more}"
    );
    fs::write(dir.join("plugin.toml"), manifest)?;
    Ok(dir)
}
