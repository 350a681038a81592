//! The keeper: the small single-threaded process that starts, watches and kills plugins, and the
//! client end by which a brain asks it to.
//!
//! ```text
//! brain ── control socket (SOCK_SEQPACKET: requests, events, descriptors) ── keeper ─► sealed trees
//! ```
//! The keeper alone forks, so the cost of a start does not grow with the brain's memory and no lock
//! of a threaded host is ever copied. It parses no byte that a plugin wrote. When the brain goes, for
//! whatever reason, everything the keeper started goes; when the keeper goes, the kernel kills it.
//!
//! This crate knows nothing of tokio: [`Client`] is non-blocking and has a descriptor to wait for.

mod channel;
mod client;
mod error;
mod message;
mod program;
mod refusal;
mod server;

pub use client::Client;
pub use error::KeeperError;
pub use message::{Event, Failure, Passage, Request, Token};
pub use program::{KeeperProgram, locate, run_if_asked};
