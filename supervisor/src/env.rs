//! The environment of this process, read here and nowhere else in the command.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    path::PathBuf,
};

/// Whether colours are wanted: not under `NO_COLOR` (<https://no-color.org>), not on a dumb terminal.
pub(crate) fn wants_colours() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
    !is_set("NO_COLOR") && has_cursor()
}

/// Whether a line can be written over: not on a dumb terminal.
pub(crate) fn has_cursor() -> bool {
    env::var_os("TERM").is_none_or(|term| term != OsStr::new("dumb"))
}

/// The whole environment, as it came.
pub(crate) fn all() -> Vec<(OsString, OsString)> {
    env::vars_os().collect()
}

/// The current directory, symlinks resolved.
pub(crate) fn current_dir() -> io::Result<PathBuf> {
    env::current_dir()?.canonicalize()
}

/// The file that this program was started from.
pub(crate) fn own_program() -> io::Result<PathBuf> {
    env::current_exe()
}

/// Where this program keeps what it must remember: `$PLUGBAY_STATE`, else `plugbay` in
/// `$XDG_STATE_HOME`, else in `~/.local/state`. `None` when the environment names none of them.
pub(crate) fn state_dir() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // A relative path there is to be ignored, says the XDG base directory specification.
    let xdg = set("XDG_STATE_HOME").filter(|directory| directory.is_absolute());
    let usual = xdg.or_else(|| home().map(|home| home.join(".local/state")));
    let directory = set("PLUGBAY_STATE").or_else(|| usual.map(|usual| usual.join("plugbay")))?;
    std::path::absolute(directory).ok()
}

/// Where this program keeps what can be made again: `plugbay` in `$XDG_CACHE_HOME`, else in
/// `~/.cache`. `None` when the environment names none of them.
pub(crate) fn cache_dir() -> Option<PathBuf> {
    let xdg = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let usual = xdg.or_else(|| home().map(|home| home.join(".cache")));
    Some(usual?.join("plugbay"))
}

/// The user's home directory, as the environment says.
pub(crate) fn home() -> Option<PathBuf> {
    env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}
