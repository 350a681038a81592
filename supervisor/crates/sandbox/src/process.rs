//! Processes by descriptor, for those who watch one that they did not start.

use std::os::fd::{BorrowedFd, OwnedFd};

use nix::errno::Errno;

use crate::sys;

/// A descriptor of the process with this id; readable when it has ended.
///
/// # Errors
/// `ESRCH` when there is none.
pub fn open(pid: i32) -> Result<OwnedFd, Errno> {
    sys::pidfd_open(pid)
}

/// Sends a signal by descriptor: it can never hit another process that got the same number.
///
/// # Errors
/// `ESRCH` when the process has ended, `EPERM` when it is not ours to signal.
pub fn signal(process: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    sys::pidfd_signal(process, signal)
}
