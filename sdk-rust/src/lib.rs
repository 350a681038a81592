//! Write Plugbay plugins in Rust.
//!
//! ```no_run
//! use plugbay_sdk::{Context, ExitCode, Plugin, Result};
//!
//! #[derive(serde::Deserialize)]
//! struct CountParams { text: String }
//!
//! fn main() -> ExitCode {
//!     Plugin::new("words", "1.0.0")
//!         .method("count", |params: CountParams, _: &Context| -> Result<usize> {
//!             Ok(params.text.split_whitespace().count())
//!         })
//!         .run()
//! }
//! ```
//!
//! Handlers take typed parameters and return typed results, may block, panic, be cancelled, log, show
//! progress, call the host and other plugins; see [`Context`]. [`testing`] runs a plugin in memory, for unit
//! tests. What goes over the wire is `docs/protocol.md`'s business.
//!
//! ```text
//!   Plugin ── run ──► claim ──► Session ◄──── Crew ◄──── threads: one leads, the others follow
//!                     stdio     messages      who reads, who works
//!                                  │
//!                    Context ──────┴── Method ── your function
//! ```
//!
//! No runtime, no `unsafe`, few dependencies. A plugin that is idle never wakes up.

mod call;
mod claim;
mod clock;
mod context;
mod crew;
mod error;
mod log;
mod method;
mod params;
mod plugin;
mod progress;
mod request;
mod session;
mod state;
mod stream;
mod table;
mod task;
pub mod testing;
mod timer;
mod wire;

pub use context::Context;
pub use error::{CallError, Cancelled, Error, Result};
pub use log::Log;
pub use plugbay_protocol::handshake::{Grants, Initialize, Peer, Restart, WireLimits};
pub use plugbay_protocol::meta::Meta;
pub use plugbay_protocol::notice::Level;
pub use plugbay_protocol::{Code, ErrorData, Id, Origin};
pub use plugin::{Health, Plugin};
pub use progress::Progress;
pub use request::Request;
pub use serde_json::{Value, json};
pub use state::State;
/// What [`Plugin::run`] returns, for `main` to return.
pub use std::process::ExitCode;
pub use stream::{ByteStream, Stream};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks. Nothing of the author's runs under a lock of ours, so a panic leaves nothing half done.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The examples in `README.md` are tests too.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
