//! What was kept of a plugin: the store in the state directory, for the verbs that read it.

pub(crate) mod document;

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use plugbay::store::{Reader, StoreError};

use crate::{cli::find, env, exit::Exit, failure::Failure};

/// The store's name in the state directory.
pub(crate) const FILE_NAME: &str = "history.db";

/// Where the store is, if the environment names a place.
pub(crate) fn file() -> Option<PathBuf> {
    env::state_dir().map(|directory| directory.join(FILE_NAME))
}

/// The state directory, made where it is missing: what is not there cannot be kept from a plugin.
pub(crate) fn directory() -> Option<PathBuf> {
    let directory = env::state_dir()?;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
    made.is_ok().then_some(directory)
}

/// The plugin that is meant: a word with a slash (or a dot in front) is its directory, any other its
/// name. A name need not be that of a plugin that is still there.
pub(crate) fn name(typed: &str) -> Result<String, Failure> {
    if !(typed.contains('/') || typed.starts_with('.')) {
        return Ok(typed.to_owned());
    }
    let package = find::load(Path::new(typed))?;
    Ok(package.manifest.plugin.name.to_string())
}

/// The store, to be asked about `plugin`; an error if nothing is known of it.
pub(crate) fn open(plugin: &str) -> Result<Reader, Failure> {
    let Some(file) = file() else {
        return Err(Failure::new(Exit::NotFound, "there is no state directory to look in")
            .hint("set PLUGBAY_STATE, XDG_STATE_HOME or HOME"));
    };
    let reader = Reader::open(&file).map_err(unreadable)?;
    let known = match &reader {
        Some(reader) => reader.plugins().map_err(unreadable)?,
        None => Vec::new(),
    };
    match reader {
        Some(reader) if known.iter().any(|name| name == plugin) => Ok(reader),
        _ => Err(unknown(plugin, &file, &known)),
    }
}

fn unknown(plugin: &str, file: &Path, known: &[String]) -> Failure {
    let message = format!("nothing is known of a plugin `{plugin}`");
    Failure::new(Exit::NotFound, message).hint(if known.is_empty() {
        format!("no call has left anything in `{}` yet", file.display())
    } else {
        format!("something is known of: {}", known.join(", "))
    })
}

/// A store that cannot be read, and what to do about it.
pub(crate) fn unreadable(error: StoreError) -> Failure {
    let path = error.path().display().to_string();
    let failure = Failure::new(Exit::Answered, &error);
    match error {
        StoreError::Damaged { .. } => failure.hint(format!(
            "move `{path}*` away, and a new one is made; `sqlite3 {path} .recover` may save what is in it"
        )),
        StoreError::Newer { .. } => failure.hint(
            "use the newer plugbay that wrote it, or name another directory in PLUGBAY_STATE",
        ),
        StoreError::Foreign { .. } => failure.hint("name another directory in PLUGBAY_STATE"),
        StoreError::Directory { .. }
        | StoreError::Open { .. }
        | StoreError::Full { .. }
        | StoreError::Busy { .. }
        | StoreError::Use { .. }
        | _ => failure,
    }
}
