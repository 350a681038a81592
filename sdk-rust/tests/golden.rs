//! The golden transcripts, in memory. Through the pipes of a process: `process.rs`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "an integration test's helpers are not `in tests` for clippy"
)]

#[path = "golden/plugin.rs"]
mod plugin;
#[path = "golden/replay.rs"]
mod replay;

use std::net::Shutdown;
use std::time::Duration;

#[test]
fn a_plugin_in_memory_follows_every_transcript() {
    for transcript in replay::transcripts() {
        let stream = plugbay_sdk::testing::connect(plugin::golden()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let hang_up = || stream.shutdown(Shutdown::Write).unwrap();
        replay::replay(&transcript, &stream, &stream, hang_up);
    }
}
