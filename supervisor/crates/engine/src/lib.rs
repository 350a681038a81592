//! The heart of Plugbay: starts plugins, calls them, restarts them.
//!
//! [`Host`] is what an embedder holds. Behind it, one task owns the table of plugins (`manager`),
//! one task per process lives its life (`plugin`), and what to do when is decided by pure state
//! machines ([`lifecycle`]). Processes are started by a keeper, through one seam (`link`).
//!
//! ```text
//! manager ──► lifecycle (pure)
//!    └──────► plugin ──► link ──► keeper
//! ```
//! `plugin` never sees `manager`, and nobody uses `manager`.

mod clock;
mod error;
pub mod lifecycle;
mod link;
mod log;
mod manager;
mod plugin;

pub use error::{CallError, CallErrorKind, ControlError, Deadline, StartError};
pub use lifecycle::{
    identity::{Generation, InstanceId},
    slot::SwapStrategy,
};
pub use log::{LogRecord, LogSource};
pub use manager::{
    CallBuilder, CallMetadata, CallReport, Caller, Counts, Event, EventKind, Events, Group, Host,
    HostBuilder, InstanceStatus, Items, Missing, Muster, PluginStatus, Readiness, Reply, Stay,
    StoreStatus, Swap, SwapBuilder, SwapError, SwapStatus, SwapStep, SwapVerdict, Upload,
    UploadError,
};
pub use plugin::death::{Cause, Death, InFlight, Next, Usage};

pub use plugbay_manifest::{Package, Skipped, load};
pub use plugbay_protocol::{
    ErrorObject,
    notice::{Level as LogLevel, Progress},
    stream::Kind as StreamKind,
};
pub use plugbay_sandbox::{
    Access, Barrier, Demand, Denial, Enforcement, FileGrant, Fix, Grade, Hit, Hold, Holder, Level,
    Limit, Protection, Tally,
};
pub use tokio_util::sync::CancellationToken;

/// What is kept on disk, and how it is read; written by a host that was given a
/// [`store`](HostBuilder::store).
pub use plugbay_store as store;
