//! When a plugin is started, stopped, restarted or given up: decisions only.
//!
//! Nothing here knows tokio, a clock or a random number generator: events, instants and dice come
//! in, states and effects go out. `manager` is who carries the effects out.
//!
//! [`slot`] is the life of one plugin name, [`instance`] that of one process of it, [`restart`] what
//! becomes of a plugin after an end, [`limiter`] who may start when, [`pulse`]
//! what the signs of life of one say, [`edge`] and [`group`] what the fall of one means to others.

use std::time::Duration;

pub mod edge;
pub mod group;
pub mod identity;
pub mod instance;
pub mod limiter;
pub mod pulse;
pub mod restart;
pub mod slot;

/// What a decision needs of the world: when it is taken, and chance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moment {
    /// When, since whatever moment the caller counts from, by a clock that only goes forward.
    pub now: Duration,
    /// Chance, in `0.0..=1.0`: spreads delays, so that those who fell together do not rise together.
    pub dice: f64,
}
