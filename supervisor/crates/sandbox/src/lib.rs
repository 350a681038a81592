//! One sealed process on Linux: a [`Spec`] goes in, a running process and its [`Enforcement`] come out.
//!
//! `Spec → plan (pure) → layers → enforcement`. This crate knows nothing of plugins, JSON-RPC or
//! tokio; it is synchronous, and the only place with unsafe code.

mod beat;
pub mod canary;
pub mod cgroup;
pub mod child;
pub mod denial;
pub mod deny;
pub mod enforcement;
pub mod environment;
pub mod inlet;
pub mod launch;
mod layers;
mod learn;
pub mod limit;
pub mod machine;
mod order;
pub mod packet;
pub mod plan;
pub mod process;
pub mod proof;
pub mod protection;
#[doc(hidden)]
pub mod raw;
mod record;
pub mod remedy;
pub mod resolve;
pub mod seccomp;
mod shim;
mod spare;
pub mod spec;
mod sys;
mod tree;
mod view;
mod watchdog;

pub use beat::Beat;
pub use child::{Cause, Child, Exit, SECCOMP_KILL, Usage};
pub use denial::{
    Barrier, Denial, Fix, Lessons, Tally, Watch, Watched, Watcher, Wish, lesson, secret,
};
pub use enforcement::{Enforcement, Layer, LayerReport, Status, TreeKill};
pub use environment::{EnvGrant, scrub};
pub use inlet::{Inlet, InletKind, Way};
pub use launch::{Launch, LaunchError, Launcher, Stdio, Wait};
pub use layers::confine::seal_thread;
pub use limit::{Held, Hit, Holder, Limit};
pub use machine::Machine;
pub use plan::{PlanError, Rung};
pub use proof::Proven;
pub use protection::{Demand, Demands, Grade, Hold, Protection};
pub use record::{Failure, Stage};
pub use seccomp::{Calls, UnknownWord};
pub use spec::{
    Access, Base, FileGrant, HostGrant, Layering, Level, Limits, Network, NetworkMode, Overlay,
    Profile, Spec,
};
