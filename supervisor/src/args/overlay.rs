//! The words of `plugbay overlay`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};

/// Look at what a command changed under `run --overlay`, keep it or drop it
///
/// The directory stays as it was until a change is kept. Of what is kept, files lose set-uid bits,
/// links that may lead out of the directory and pipes, sockets and devices are dropped, and nothing
/// is written over that was changed in the directory meanwhile. Where there is only one overlay, its
/// number can be left out.
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Examples:\n  \
        plugbay run --overlay . -- npm install\n  \
        plugbay overlay list 3\n  \
        plugbay overlay show 3 --only package.json\n  \
        plugbay overlay keep 3\n  \
        plugbay overlay drop --all"
)]
pub(crate) struct Overlay {
    #[command(subcommand)]
    pub(crate) verb: OverlayVerb,
}

impl Overlay {
    /// Whether the answer is for a program.
    pub(crate) fn wants_json(&self) -> bool {
        matches!(self.verb, OverlayVerb::List { json: true, .. })
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum OverlayVerb {
    /// List the overlays, or what one of them changed: added, changed, removed, with sizes
    List {
        /// Its number
        id: Option<u32>,

        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Show the lines that differ
    Show(Which),
    /// Put the changes into the directory
    Keep(Keep),
    /// Forget the changes
    Drop {
        /// Its number
        id: Option<u32>,

        /// All overlays
        #[arg(long, conflicts_with = "id")]
        all: bool,
    },
}

/// Which changes are meant.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The overlay's number
    pub(crate) id: Option<u32>,

    /// Only what is at or below this path of the directory (repeatable)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) only: Vec<PathBuf>,
}

/// What is kept, and how.
#[derive(Debug, Args)]
pub(crate) struct Keep {
    #[command(flatten)]
    pub(crate) which: Which,

    /// Also where the directory was changed meanwhile
    #[arg(long)]
    pub(crate) overwrite: bool,
}
