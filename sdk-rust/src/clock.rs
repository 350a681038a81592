//! The one place that asks what time it is. Deadlines, and the pace of handlers, need to know.

use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "the place that all others get their time from")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
