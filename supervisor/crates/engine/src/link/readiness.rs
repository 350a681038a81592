//! A descriptor that the runtime waits for: the one place where one is registered.

use std::{io, os::fd::OwnedFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Registers a descriptor with the runtime. Needs one.
#[expect(
    deprecated,
    reason = "the successor is unsafe: its caller promises that the descriptor stays open and the \
              same; `OwnedFd`, the only type taken here, keeps that promise by itself, and unsafe \
              code may live in the sandbox and the keeper only"
)]
pub(super) fn register(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, interest)
}
