//! One process of a plugin: its pipes, its calls, its words, its end.
//!
//! This room knows nothing of the table of plugins, of restarts or of the other plugins: what it
//! needs of them comes in as [`inbound::Services`], what it has to say goes out as
//! [`instance::Report`].
//!
//! ```text
//!             call ──► calls (slab) ──► outbound ──► stdin
//!   host                 ▲ answer                          plugin
//!             services ◄─┴── reader ◄────────────── stdout
//!             log     ◄───── stderr ◄────────────── stderr
//!             report  ◄───── instance (handshake, orders, end)
//! ```

mod calls;
pub(crate) mod circuit;
pub(crate) mod death;
mod demand;
pub(crate) mod gate;
pub(crate) mod grants;
pub(crate) mod handshake;
pub(crate) mod inbound;
pub(crate) mod instance;
mod outbound;
mod outside;
mod probe;
mod rate;
mod reader;
mod remains;
pub(crate) mod session;
mod stderr;
pub(crate) mod stream;
pub(crate) mod text;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use crate::lifecycle::identity::{Generation, InstanceId};

/// Whose process this is, and which of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) plugin: Arc<str>,
    pub(crate) generation: Generation,
    pub(crate) instance: InstanceId,
}

/// Takes a lock. A thread that panicked while holding it left counters and queues, never an
/// unfinished thought: the data is used as it is.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What happened on a plugin's pipes, counted over all its processes.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) calls: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) overloaded: AtomicU64,
    pub(crate) stray_lines: AtomicU64,
    pub(crate) unknown_responses: AtomicU64,
    pub(crate) late_responses: AtomicU64,
    pub(crate) violations: AtomicU64,
    pub(crate) oversize_frames: AtomicU64,
    pub(crate) partial_frames: AtomicU64,
    pub(crate) dropped_notices: AtomicU64,
    pub(crate) host_calls: AtomicU64,
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
