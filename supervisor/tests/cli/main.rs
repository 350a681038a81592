//! The built `plugbay` command, as a user meets it: status, stdout and stderr of whole processes.
//!
//! What single functions decide is tested beside them; here is only what needs the real binary.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that fails fails its test")]

mod call;
mod chaos;
mod data;
mod dev;
mod invocation;
mod job;
mod learn;
mod overlay;
mod past;
mod profile;
mod run;
mod stream;
mod talk;
