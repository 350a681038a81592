//! Processes by descriptor, for those who watch one that they did not start.

use std::{
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    time::{clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

use crate::sys;

/// A descriptor of the process with this id; readable when it has ended.
///
/// # Errors
/// `ESRCH` when there is none.
pub fn open(pid: i32) -> Result<OwnedFd, Errno> {
    sys::pidfd_open(pid)
}

/// The process id behind a descriptor, as this process's `/proc` shows it; `None` when it has ended.
#[must_use]
pub fn id(process: BorrowedFd<'_>) -> Option<i32> {
    let info = format!("/proc/self/fdinfo/{}", process.as_raw_fd());
    let info = std::fs::read_to_string(info).ok()?;
    info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
}

/// Sends a signal by descriptor: it can never hit another process that got the same number.
///
/// # Errors
/// `ESRCH` when the process has ended, `EPERM` when it is not ours to signal.
pub fn signal(process: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    sys::pidfd_signal(process, signal)
}

/// The processor time that the process with this id has used so far, all its threads together and
/// without its children.
///
/// # Errors
/// `ESRCH` when there is none.
pub fn cpu_time(pid: i32) -> Result<Duration, Errno> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid))?;
    clock_gettime(clock).map(Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_grows_with_work_and_nobody_has_none() {
        let own = i32::try_from(std::process::id()).unwrap();
        let before = cpu_time(own).unwrap();
        let mut sum = 0_u64;
        while cpu_time(own).unwrap() < before + Duration::from_millis(5) {
            sum = std::hint::black_box(sum + 1);
        }
        // No process has a number beyond 2^22.
        assert_eq!(cpu_time(1 << 23), Err(Errno::ESRCH));
    }
}
