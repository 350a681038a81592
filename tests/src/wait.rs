//! Waiting for events, never for time: one patience for everything, and a named failure at its end.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

/// How long any single event may take on a busy machine before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A moment by which something must have happened.
#[derive(Debug, Clone, Copy)]
pub struct Within(Instant);

impl Within {
    /// From now on.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a test waits in real time for real processes")]
    pub fn of(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    /// What is left of it.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "a test waits in real time for real processes")]
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}

/// Waits until one of the descriptors is readable or closed; says which are. Empty when time is up.
pub fn readable(fds: &[BorrowedFd<'_>], within: Within) -> Vec<bool> {
    let mut polled: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    loop {
        let left = within.left().as_millis().min(60_000);
        let timeout = PollTimeout::from(u16::try_from(left).unwrap());
        match poll(&mut polled, timeout) {
            Ok(0) => return Vec::new(),
            Ok(_) => return polled.iter().map(|one| one.any().unwrap_or(false)).collect(),
            Err(Errno::EINTR) => {}
            Err(errno) => panic!("failed to wait: {errno}"),
        }
    }
}

/// Whether the process of a pidfd ends in time.
#[must_use]
pub fn ends(process: BorrowedFd<'_>, within: Within) -> bool {
    !readable(&[process], within).is_empty()
}

/// A pidfd, or `None` when there is no such process any more.
#[must_use]
pub fn open_process(pid: i32) -> Option<OwnedFd> {
    let opened = plugbay_sandbox::process::open(pid).ok()?;
    opened.as_fd().try_clone_to_owned().ok()
}
