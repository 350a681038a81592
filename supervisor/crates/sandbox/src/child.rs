//! A running sealed process and all that belongs to it: signals, the tree kill, its end.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::Duration,
};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::{
    cgroup::Cgroup, enforcement::Enforcement, launch::PrivateTmp, plan::Rung, shim::END_BYTES, sys,
};

/// What a process used until its end; its reaped children are included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time in user mode.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// Largest resident memory of one process, in bytes.
    pub max_rss: u64,
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code, when it exited.
    pub code: Option<i32>,
    /// The signal, when one killed it.
    pub signal: Option<i32>,
    /// What it used. `None` when the whole tree was killed at once, so that nobody was left to count.
    pub usage: Option<Usage>,
    /// Which mechanism of the sandbox ended it, where that is known.
    pub cause: Option<Cause>,
    /// The most memory that the whole tree used at once, in bytes, where the kernel counted it.
    pub memory_peak: Option<u64>,
}

/// A limit or layer that ended a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// The system call filter killed it (a foreign architecture's call).
    Seccomp,
    /// The CPU time limit.
    CpuTime,
    /// The file size limit.
    FileSize,
    /// The memory limit of the cgroup.
    Memory,
    /// The whole tree was killed by the launcher.
    TreeKill,
}

/// A running process. Dropping it does not stop it; [`Child::kill`] does.
#[derive(Debug)]
pub struct Child {
    pub(crate) main: OwnedFd,
    pub(crate) shim: i32,
    pub(crate) shim_fd: OwnedFd,
    pub(crate) status: OwnedFd,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) private: Option<PrivateTmp>,
    pub(crate) rung: Rung,
    pub(crate) enforcement: Enforcement,
}

impl Child {
    /// A pidfd of the program's own process; readable when it has ended.
    #[must_use]
    pub fn process(&self) -> BorrowedFd<'_> {
        self.main.as_fd()
    }

    /// A pidfd of the process that all others here depend on; readable when the whole tree is gone.
    #[must_use]
    pub fn tree(&self) -> BorrowedFd<'_> {
        self.shim_fd.as_fd()
    }

    /// The program's process id as seen by this process, for people. Signals go by descriptor.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        use std::os::fd::AsRawFd as _;
        let info = format!("/proc/self/fdinfo/{}", self.main.as_raw_fd());
        let info = std::fs::read_to_string(info).ok()?;
        info.lines().find_map(|line| line.strip_prefix("Pid:")?.trim().parse().ok())
    }

    /// What was really enforced.
    #[must_use]
    pub fn enforcement(&self) -> &Enforcement {
        &self.enforcement
    }

    /// Sends a signal to the program's process.
    ///
    /// # Errors
    /// `ESRCH` when it has ended, `EINVAL` for a number that is no signal.
    pub fn signal(&self, signal: i32) -> Result<(), Errno> {
        sys::pidfd_signal(self.main.as_fd(), signal)
    }

    /// Kills the whole tree, by the best rung there is. Returns at once; [`Child::tree`] becomes
    /// readable when it is done.
    pub fn kill(&self) {
        if self.cgroup.as_ref().is_some_and(|cgroup| cgroup.kill().is_ok()) {
            return;
        }
        // The bare shim sweeps on TERM; as a namespace's init its death is everybody's.
        let signal = if self.rung == Rung::Bare { libc::SIGTERM } else { libc::SIGKILL };
        sys::pidfd_signal(self.shim_fd.as_fd(), signal).ok();
    }

    /// Reaps the tree's first process and tells how the program ended. Blocks until the tree is gone,
    /// so call it when [`Child::tree`] is readable.
    #[must_use]
    pub fn finish(self) -> Exit {
        // ECHILD cannot happen: only this method reaps, and it consumes the child.
        sys::wait(self.shim, false).ok();
        if let Some(cgroup) = &self.cgroup {
            // Members may be left where the tree had no namespace to die with.
            cgroup.empty(50);
        }
        let memory_kills = self.cgroup.as_ref().map_or(0, Cgroup::memory_kills);
        let memory_peak = self.cgroup.as_ref().and_then(Cgroup::memory_peak);
        let mut bytes = [0_u8; END_BYTES];
        let whole = nix::unistd::read(&self.status, &mut bytes) == Ok(END_BYTES);
        drop(self.private);
        let exit = if whole { decode(&bytes, memory_kills) } else { killed_at_once(memory_kills) };
        Exit { memory_peak, ..exit }
    }
}

fn killed_at_once(memory_kills: u64) -> Exit {
    let cause = if memory_kills > 0 { Cause::Memory } else { Cause::TreeKill };
    let signal = Some(libc::SIGKILL);
    Exit { code: None, signal, usage: None, cause: Some(cause), memory_peak: None }
}

fn decode(bytes: &[u8; END_BYTES], memory_kills: u64) -> Exit {
    let (status, numbers) = bytes.split_at(4);
    let status = status.try_into().map_or(0, i32::from_le_bytes);
    let mut numbers =
        numbers.chunks_exact(8).map(|chunk| chunk.try_into().map_or(0, u64::from_le_bytes));
    let mut next = || numbers.next().unwrap_or(0);
    let usage = Usage {
        user: Duration::from_micros(next()),
        system: Duration::from_micros(next()),
        max_rss: next().saturating_mul(1024),
    };
    let code = libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
    let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
    let cause = match signal {
        Some(libc::SIGSYS) => Some(Cause::Seccomp),
        Some(libc::SIGXCPU) => Some(Cause::CpuTime),
        Some(libc::SIGXFSZ) => Some(Cause::FileSize),
        Some(libc::SIGKILL) if memory_kills > 0 => Some(Cause::Memory),
        _ => None,
    };
    Exit { code, signal, usage: Some(usage), cause, memory_peak: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(status: i32) -> [u8; END_BYTES] {
        let mut all = [0; END_BYTES];
        all[..4].copy_from_slice(&status.to_le_bytes());
        all[4..12].copy_from_slice(&1500_u64.to_le_bytes());
        all[20..28].copy_from_slice(&2_u64.to_le_bytes());
        all
    }

    #[test]
    fn an_exit_code_and_usage_are_decoded() {
        let exit = decode(&bytes(3 << 8), 0);
        assert_eq!((exit.code, exit.signal, exit.cause), (Some(3), None, None));
        let usage = exit.usage.unwrap();
        assert_eq!((usage.user, usage.max_rss), (Duration::from_micros(1500), 2048));
    }

    #[test]
    fn signals_of_the_sandbox_name_their_cause() {
        for (signal, cause) in [
            (libc::SIGSYS, Cause::Seccomp),
            (libc::SIGXCPU, Cause::CpuTime),
            (libc::SIGXFSZ, Cause::FileSize),
        ] {
            assert_eq!(decode(&bytes(signal), 0).cause, Some(cause));
        }
        assert_eq!(decode(&bytes(libc::SIGKILL), 1).cause, Some(Cause::Memory));
        assert_eq!(decode(&bytes(libc::SIGKILL), 0).cause, None);
        assert_eq!(decode(&bytes(libc::SIGSEGV), 0).signal, Some(libc::SIGSEGV));
    }
}
