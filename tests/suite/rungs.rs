//! What holds on every rung of the ladder: reports are true, grants are usable and nothing more, and
//! nothing outlives its keeper or its brain.

mod deny;
mod grants;
mod ladder;
mod overlay;
mod reports;
mod trees;
