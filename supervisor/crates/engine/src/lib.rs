//! The heart of Plugbay: starts plugins, calls them, restarts them.
//!
//! Rooms: `lifecycle` decides when a plugin is started, stopped and restarted (pure).

pub mod lifecycle;
