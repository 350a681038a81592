//! What the integration tests share: a hermetic environment, the rungs they are repeated on, and a
//! keeper to seal things with.
//!
//! Not a test framework: each piece exists because a test in `suite` needs it. Everything waits for
//! events (a descriptor that becomes readable, a process that ends) with one patience; nothing sleeps.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says on stdout what it skipped"
)]

mod binaries;
mod capability;
mod env;
mod keeper;
mod leak;
mod setting;
mod wait;

pub use binaries::{Binaries, PROBE, command};
pub use capability::{Offer, requires};
pub use env::TestEnv;
pub use keeper::{Keeper, Ran, Sealed};
pub use setting::{NOBODY, Setting, is_root};
pub use wait::{PATIENCE, Within, ends, open_process, readable};
