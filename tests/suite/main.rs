//! The integration tests: one binary, real processes, every rung of the ladder.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test fails by panicking, and prints what it found"
)]

mod denial;
mod escape;
mod fault;
mod hosts;
mod job;
mod learn;
mod program;
mod promise;
mod rungs;

use plugbay_tests::TestEnv;

/// A place for one test.
fn env() -> TestEnv {
    TestEnv::new(std::path::Path::new(env!("CARGO_BIN_EXE_rung")))
}
