//! One sealed process on Linux: a [`Spec`] goes in, a running process and its [`Enforcement`] come out.
//!
//! `Spec → plan (pure) → layers → enforcement`. This crate knows nothing of plugins, JSON-RPC or
//! tokio; it is synchronous, and (with the keeper) the only place with unsafe code.

pub mod enforcement;
pub mod seccomp;
pub mod spec;

pub use enforcement::{Enforcement, Layer, LayerReport, Status, TreeKill};
pub use spec::{Access, Base, FileGrant, Level, Limits, Network, NetworkMode, Profile, Spec};
