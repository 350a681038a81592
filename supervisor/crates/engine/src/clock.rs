//! The one place that reads the clocks. Pure rooms take instants as arguments.

use std::time::{Instant, SystemTime};

/// The monotonic clock, as the runtime sees it (tests may pause it).
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The wall clock, for records that people read.
#[expect(clippy::disallowed_methods, reason = "the place that the lint sends everyone to")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}
