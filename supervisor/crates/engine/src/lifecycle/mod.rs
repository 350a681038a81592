//! When a plugin is started, stopped, restarted or given up: decisions only.
//!
//! Nothing here knows tokio, a clock or a random number generator: events, instants and dice come
//! in, states and effects go out. `manager` is who carries the effects out.

pub mod identity;
pub mod restart;
pub mod slot;
