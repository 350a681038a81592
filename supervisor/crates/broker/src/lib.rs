//! The only way out of a sealed process's empty network: a proxy that knows which hosts were granted.
//!
//! ```text
//! process ─► listeners inside its own network namespace ─(descriptors passed out)─► broker ─► the host
//!              proxy (CONNECT, HTTP, SOCKS5), granted ports, names                    judge, resolve, pin
//! ```
//! `rules`, `host`, `address`, `hello`, `request`, `socks` and `names` are pure and read hostile bytes;
//! `broker` and `relay` do the work, on tokio. This crate knows nothing of plugins or of the engine.

pub mod address;
mod broker;
mod bytes;
mod client;
pub mod hello;
pub mod host;
pub mod names;
mod question;
mod refusal;
mod relay;
pub mod request;
pub mod rules;
pub mod socks;

pub use broker::Broker;
pub use host::{Host, HostError};
pub use rules::{Pattern, PatternError, Rules, RulesError};
