//! What can go wrong between a brain and its keeper.

use std::{io, path::PathBuf};

use thiserror::Error;

/// A keeper that cannot be found, started or talked to.
#[derive(Debug, Error)]
pub enum KeeperError {
    /// No program can serve as keeper.
    #[error(
        "no keeper program found (looked for {}): call `plugbay::init()` first in `main`, or install \
         `plugbay-keeper` beside this program",
        tried.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ")
    )]
    NotFound {
        /// Where it was looked for.
        tried: Vec<PathBuf>,
    },
    /// The keeper could not be started.
    #[error("failed to start the keeper `{}`", program.display())]
    Start {
        /// What was to be executed.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A request is larger than a packet can be.
    #[error("the request is too large: {bytes} bytes, at most {most} fit")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        most: usize,
    },
    /// A request cannot be written as JSON (a path or variable that is not UTF-8).
    #[error("the request cannot be encoded")]
    Encode(#[source] serde_json::Error),
    /// An event that is not one of ours: keeper and brain are of different versions.
    #[error("the keeper sent something that is not an event; are keeper and host of one version?")]
    Decode(#[source] serde_json::Error),
    /// The control socket failed.
    #[error("the control socket failed")]
    Socket(#[source] io::Error),
    /// The keeper is gone.
    #[error("the keeper is gone")]
    Gone,
}
