//! The table of plugins and everything that faces the embedder.
//!
//! One task (`table`) owns the table: slots, timers, who runs. Everyone else sends it a command
//! and gets an answer. Calls do not pass through it: a caller looks up the plugin's route, which
//! the task publishes, and talks to the session it finds there.
//!
//! ```text
//! Host ──command──► table ──order──► instance (one task per process)
//!   │                 ▲ └─publish─► route
//!   │                 └──report───────┘ │
//!   └──call──► route ──► session ──► plugin
//! ```

mod bonds;
mod builder;
mod call;
mod directory;
mod edition;
mod errand;
mod event;
mod exchange;
mod handover;
mod history;
mod hold;
mod host;
mod launch;
mod ledger;
mod method;
mod mould;
mod needs;
mod plug;
mod report;
mod sdk;
mod service;
mod standing;
mod status;
mod stream;
mod swap;
mod table;
mod wheel;

pub use bonds::Group;
pub use builder::HostBuilder;
pub use call::CallBuilder;
pub use event::{Event, EventKind, Events};
pub use host::Host;
pub use ledger::StoreStatus;
pub use report::{CallMetadata, CallReport};
pub use service::Caller;
pub use status::{Counts, InstanceStatus, Missing, Muster, PluginStatus, Readiness, Stay};
pub use stream::{Items, Reply, Upload, UploadError};
pub use swap::{Swap, SwapBuilder, SwapError, SwapStatus, SwapStep, SwapVerdict};

#[cfg(test)]
mod tests;
