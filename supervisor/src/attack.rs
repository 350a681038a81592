//! The attack table as a product: every way out of the catalogue, tried in earnest against the sandbox of
//! this machine.
//!
//! ```text
//! plugbay doctor --attack ──► stage ──┬─► the attacker, sealed (`door`): must fail, the host stays as it is
//!        (`row`s of a `table`)        ├─► the attacker, unsealed and against doubles: must succeed
//!                                     └─► a sealed sibling, which must not notice anything
//! ```
//! An attack that fails proves nothing unless the very same attack succeeds outside. Where no layer
//! of this machine stops one, the report of the start must say so: then the row is *absent*, never held.
//! Attacks aim at processes and files that the stage has made; none changes anything else where it succeeds.

pub(crate) mod door;
mod ground;
mod judge;
mod keeper;
pub(crate) mod layer;
mod offer;
mod probe;
pub(crate) mod row;
mod scene;
pub(crate) mod stage;
mod table;
mod table_calls;

use std::time::Duration;

pub(crate) use self::{offer::Offer, probe::run_if_asked};

/// How long any single event may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
