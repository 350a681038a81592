//! What supervision costs while nothing happens, what is felt when something does, and what is left of it.

mod denials;
mod failover;
mod idle;
mod neighbour;
mod restart;
mod vitals;

pub(crate) use denials::run as denials;
pub(crate) use failover::run as failover;
pub(crate) use idle::run as idle;
pub(crate) use neighbour::run as neighbour;
pub(crate) use restart::run as restart;
