//! Real time, which is what a fault is measured in.

use std::time::{Duration, Instant};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// How long any single event may take on a busy machine before a row is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Now.
#[expect(clippy::disallowed_methods, reason = "faults are measured in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// A moment by which something must have happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Within(Instant);

impl Within {
    /// From now on.
    pub(crate) fn of(duration: Duration) -> Self {
        Self(now() + duration)
    }

    /// What is left of it.
    pub(crate) fn left(self) -> Duration {
        self.0.saturating_duration_since(now())
    }

    /// Waits until one of the descriptors is readable or closed; says whether one was.
    pub(crate) fn readable(self, fds: &mut [PollFd<'_>]) -> bool {
        loop {
            let left = u16::try_from(self.left().as_millis()).unwrap_or(u16::MAX);
            match poll(fds, PollTimeout::from(left)) {
                Ok(0) if self.left().is_zero() => return false,
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return true,
                Err(_) => return false,
            }
        }
    }
}

/// A descriptor to wait for.
pub(crate) fn polled(fd: std::os::fd::BorrowedFd<'_>) -> PollFd<'_> {
    PollFd::new(fd, PollFlags::POLLIN)
}
