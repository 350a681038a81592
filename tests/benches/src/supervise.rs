//! What supervision costs while nothing happens, and what is left when something did.

mod failover;
mod idle;
mod restart;
mod vitals;

use anyhow::Result;

use crate::{Effort, report::Section};

/// A failover, a thousand idle plugins, ten thousand restarts.
pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    Ok(vec![failover::run(effort)?, idle::run(effort)?, restart::run(effort)?])
}
