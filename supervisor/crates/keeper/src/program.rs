//! Which program serves as keeper, and the hook by which a program becomes one.

use std::{
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use plugbay_sandbox::canary;

use crate::{error::KeeperError, server};

/// `argv[0]` of a keeper; also the name of the separate program.
pub(crate) const KEEPER_NAME: &str = "plugbay-keeper";

/// The variable that tells a keeper where proofs are noted.
pub(crate) const PROOFS: &str = "PLUGBAY_PROOFS";

/// Set by [`run_if_asked`]: this very program can serve as keeper.
static CAN_SERVE: AtomicBool = AtomicBool::new(false);

/// A program that becomes a keeper when started as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeeperProgram(PathBuf);

impl KeeperProgram {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Becomes the keeper (or the canary that proves what a keeper reports) and never returns, if this
/// process was started as one; else does nothing.
///
/// Call it first in `main`, before any thread is started: then the host is one program and needs no
/// second file beside it.
pub fn run_if_asked() {
    if let Some(song) = canary::run_if_asked() {
        #[expect(
            clippy::exit,
            reason = "this process is a canary; there is no host main to return to"
        )]
        std::process::exit(song);
    }
    CAN_SERVE.store(true, Ordering::Relaxed);
    let mut args = std::env::args_os();
    let asked = args.next().is_some_and(|name| name.as_bytes() == KEEPER_NAME.as_bytes());
    let brain = args.next().and_then(|pid| pid.to_str()?.parse::<i32>().ok());
    if let (true, Some(brain), None) = (asked, brain, args.next()) {
        let code = server::serve(brain);
        #[expect(
            clippy::exit,
            reason = "this process is the keeper; there is no host main to return to"
        )]
        std::process::exit(code);
    }
}

/// Finds the program to use: the one named, else this program if it can serve, else `plugbay-keeper`
/// beside this program (or beside its directory, where test programs live).
///
/// # Errors
/// [`KeeperError::NotFound`] with the places that were tried.
pub fn locate(explicit: Option<&Path>) -> Result<KeeperProgram, KeeperError> {
    if let Some(path) = explicit {
        return if path.is_file() {
            Ok(KeeperProgram(path.to_owned()))
        } else {
            Err(KeeperError::NotFound { tried: vec![path.to_owned()] })
        };
    }
    let own = PathBuf::from("/proc/self/exe");
    if CAN_SERVE.load(Ordering::Relaxed) {
        return Ok(KeeperProgram(own));
    }
    let directory = std::fs::read_link(&own).ok().and_then(|path| Some(path.parent()?.to_owned()));
    let above = directory.as_deref().and_then(Path::parent).map(Path::to_owned);
    let tried: Vec<PathBuf> =
        [directory, above].into_iter().flatten().map(|place| place.join(KEEPER_NAME)).collect();
    match tried.iter().find(|path| path.is_file()) {
        Some(found) => Ok(KeeperProgram(found.clone())),
        None => Err(KeeperError::NotFound { tried }),
    }
}
