//! Chaos: the fault catalogue as a product. Every row commits a fault in a sealed plugin of a real
//! host, observes what comes of it, and says whether that is what is required.
//!
//! ```text
//! plugbay chaos ──► one process per row (`--row`) ──► a host ──┬─► the sinner, in one of two twins
//!    (`run`)                   (`play`)                        └─► its healthy neighbour
//! ```
//! A row is played by a process of its own, so that a host which falls over is an observation and not
//! the end of the table. Rows never panic: they return what was observed, or what was broken.

pub(crate) mod clock;
mod ear;
mod ground;
pub(crate) mod guest;
mod hole;
mod neighbour;
mod plan;
pub(crate) mod play;
pub(crate) mod row;
pub(crate) mod run;
mod stage;
mod twin;
mod unmet;
mod victim;
pub(crate) mod vitals;

use std::process::ExitCode;

use self::twin::VERB;
pub(crate) use self::{neighbour::Pulse, vitals::Vitals};

/// Plays a plugin, or a host that is there to be killed, if this process was started as one.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    twin::run_if_asked().or_else(victim::run_if_asked)
}
