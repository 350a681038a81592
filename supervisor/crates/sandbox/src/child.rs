//! A running sealed process and all that belongs to it: signals, the tree kill, its end.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::Duration,
};

use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use crate::{
    cgroup::Group,
    denial::Watcher,
    enforcement::Enforcement,
    inlet::Way,
    launch::PrivateTmp,
    limit::{Hit, Holder, Limit},
    plan::Rung,
    process,
    shim::END_BYTES,
    spec::Limits,
    sys,
    watchdog::Watchdog,
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
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
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
    /// The limits that it or one of its children ran into, as far as somebody counted. One that
    /// ended it is among them.
    pub hits: Vec<Hit>,
}

impl Exit {
    /// The limit that ended it, if one did.
    #[must_use]
    pub fn fatal(&self) -> Option<&Hit> {
        let limit = self.cause?.limit()?;
        self.hits.iter().find(|hit| hit.limit == limit)
    }
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
    /// The memory limit.
    Memory,
    /// The limit of processes, where the whole tree was killed for it.
    Processes,
    /// The size of its private `/tmp`, where that is only watched.
    Disk,
    /// The whole tree was killed by the launcher.
    TreeKill,
}

impl Cause {
    /// The limit that this cause is about.
    #[must_use]
    pub fn limit(self) -> Option<Limit> {
        match self {
            Self::CpuTime => Some(Limit::CpuTime),
            Self::FileSize => Some(Limit::FileSize),
            Self::Memory => Some(Limit::Memory),
            Self::Processes => Some(Limit::Processes),
            Self::Disk => Some(Limit::Disk),
            Self::Seccomp | Self::TreeKill => None,
        }
    }
}

/// What is known when the system call filter has killed a process: it kills for this one thing only,
/// and the kernel keeps no trace of the call's number.
pub const SECCOMP_KILL: &str = "killed by the system call filter (seccomp): it made a system call of another \
     architecture (such as 32-bit code on a 64-bit machine)";

/// A running process. Dropping it does not stop it; [`Child::kill`] does.
#[derive(Debug)]
pub struct Child {
    pub(crate) main: OwnedFd,
    pub(crate) shim: i32,
    pub(crate) shim_fd: OwnedFd,
    pub(crate) status: OwnedFd,
    pub(crate) cgroup: Group,
    pub(crate) private: Option<PrivateTmp>,
    pub(crate) rung: Rung,
    pub(crate) limits: Limits,
    pub(crate) watchdog: Option<Watchdog>,
    pub(crate) enforcement: Enforcement,
    pub(crate) watcher: Option<Watcher>,
    pub(crate) way: Option<Way>,
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
        process::id(self.main.as_fd()).and_then(|pid| pid.try_into().ok())
    }

    /// What was really enforced.
    #[must_use]
    pub fn enforcement(&self) -> &Enforcement {
        &self.enforcement
    }

    /// What answers the filter's questions about what it refuses. It must be served: a process waits
    /// for the answer. Dropped, everything asked about is refused with `ENOSYS`.
    pub fn take_watcher(&mut self) -> Option<Watcher> {
        self.watcher.take()
    }

    /// Where connections come in that a broker is to take, if the process may reach named hosts. Nobody
    /// serves them until somebody does; dropped, there is no way out.
    pub fn take_way(&mut self) -> Option<Way> {
        self.way.take()
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
        if self.cgroup.kill() {
            return;
        }
        // The bare shim sweeps on TERM; as a namespace's init its death is everybody's.
        let signal = if self.rung == Rung::Bare { libc::SIGTERM } else { libc::SIGKILL };
        sys::pidfd_signal(self.shim_fd.as_fd(), signal).ok();
        if self.rung == Rung::Bare {
            // Without scopes the program can have stopped it.
            sys::pidfd_signal(self.shim_fd.as_fd(), libc::SIGCONT).ok();
        }
    }

    /// Whether some limit of it holds only while somebody looks: see [`crate::Beat`].
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.watchdog.as_ref().is_some_and(|watchdog| watchdog.hit().is_none())
    }

    /// One beat: looks, if it is time to, and kills the tree if it has passed a limit.
    pub(crate) fn look(&mut self, free: u64) {
        if self.watchdog.as_mut().is_some_and(|watchdog| watchdog.beat(free)) {
            self.kill();
        }
    }

    /// Reaps the tree's first process and tells how the program ended. Blocks until the tree is gone,
    /// so call it when [`Child::tree`] is readable.
    #[must_use]
    pub fn finish(self) -> Exit {
        // ECHILD cannot happen: only this method reaps, and it consumes the child.
        sys::wait(self.shim, false).ok();
        // Members may be left where the tree had no namespace to die with.
        self.cgroup.empty(50);
        let mut counted = self.cgroup.hits(&self.limits);
        counted.extend(self.watchdog.and_then(|watchdog| watchdog.hit().cloned()));
        let mut bytes = [0_u8; END_BYTES];
        let whole = nix::unistd::read(&self.status, &mut bytes) == Ok(END_BYTES);
        drop(self.private);
        let exit =
            if whole { decode(&bytes, &self.limits, counted) } else { killed_at_once(counted) };
        Exit { memory_peak: self.cgroup.memory_peak(), ..exit }
    }
}

fn killed_at_once(hits: Vec<Hit>) -> Exit {
    let cause = killed_for(&hits).or(Some(Cause::TreeKill));
    Exit { signal: Some(libc::SIGKILL), cause, hits, ..Exit::default() }
}

/// The limit for which somebody kills. Of processes a controller only refuses more.
fn killed_for(hits: &[Hit]) -> Option<Cause> {
    hits.iter().find_map(|hit| match (hit.limit, hit.by) {
        (Limit::Memory, _) => Some(Cause::Memory),
        (Limit::Processes, Holder::Watchdog) => Some(Cause::Processes),
        (Limit::Disk, Holder::Watchdog) => Some(Cause::Disk),
        _ => None,
    })
}

/// From what the stub or the bare shim told, and what was counted elsewhere. Pure.
fn decode(bytes: &[u8; END_BYTES], limits: &Limits, mut hits: Vec<Hit>) -> Exit {
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
    let by_rlimit = signal.and_then(|signal| rlimit_hit(signal, limits, &usage));
    let cause = match signal {
        Some(libc::SIGSYS) => Some(Cause::Seccomp),
        Some(libc::SIGKILL) => killed_for(&hits),
        _ => None,
    };
    let cause = cause.or_else(|| by_rlimit.as_ref().map(|(cause, _)| *cause));
    hits.extend(by_rlimit.map(|(_, hit)| hit));
    Exit { code, signal, usage: Some(usage), cause, memory_peak: None, hits }
}

/// The resource limit of which a signal tells. A program that handles SIGXCPU is killed a second
/// later, without another word; then its processor time says why.
fn rlimit_hit(signal: i32, limits: &Limits, usage: &Usage) -> Option<(Cause, Hit)> {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let used = usage.user.saturating_add(usage.system);
    let hit = |limit, value, peak| Hit { limit, value, peak, times: 1, by: Holder::Rlimit };
    match signal {
        libc::SIGXFSZ => {
            let value = limits.file_size?;
            Some((Cause::FileSize, hit(Limit::FileSize, value, None)))
        }
        libc::SIGXCPU | libc::SIGKILL => {
            let value = limits.cpu_time?;
            let passed = signal == libc::SIGXCPU || used > value;
            // The kernel counts by ticks for the limit and exactly for the usage.
            let hit = hit(Limit::CpuTime, millis(value), Some(millis(used.max(value))));
            passed.then_some((Cause::CpuTime, hit))
        }
        _ => None,
    }
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

    fn memory() -> Hit {
        let (limit, by) = (Limit::Memory, Holder::CgroupV2);
        Hit { limit, value: 4096, peak: Some(4096), times: 1, by }
    }

    fn limited() -> Limits {
        let cpu_time = Some(Duration::from_millis(1));
        Limits { cpu_time, file_size: Some(512), ..Limits::default() }
    }

    #[test]
    fn an_exit_code_and_usage_are_decoded() {
        let exit = decode(&bytes(3 << 8), &limited(), Vec::new());
        assert_eq!((exit.code, exit.signal, exit.cause), (Some(3), None, None));
        let usage = exit.usage.unwrap();
        assert_eq!((usage.user, usage.max_rss), (Duration::from_micros(1500), 2048));
    }

    #[test]
    fn signals_of_the_sandbox_name_their_cause_and_limit() {
        let ended = |signal, hits| decode(&bytes(signal), &limited(), hits);
        let xfsz = ended(libc::SIGXFSZ, Vec::new());
        assert_eq!(
            xfsz.fatal().unwrap().to_string(),
            "its file size limit of 512B (held by rlimit)"
        );
        let xcpu = ended(libc::SIGXCPU, Vec::new());
        let hit = xcpu.fatal().unwrap();
        assert_eq!((hit.value, hit.peak, xcpu.cause), (1, Some(1), Some(Cause::CpuTime)));
        let hogged = ended(libc::SIGKILL, vec![memory()]);
        assert_eq!((hogged.cause, hogged.fatal()), (Some(Cause::Memory), Some(&memory())));
        assert_eq!(ended(libc::SIGSYS, Vec::new()).cause, Some(Cause::Seccomp));
        let crashed = ended(libc::SIGSEGV, Vec::new());
        assert_eq!((crashed.signal, crashed.cause), (Some(libc::SIGSEGV), None));
    }

    #[test]
    fn a_program_that_handles_the_warning_dies_of_the_same_limit() {
        let exit = decode(&bytes(libc::SIGKILL), &limited(), Vec::new());
        assert_eq!(exit.cause, Some(Cause::CpuTime));
        let unlimited = decode(&bytes(libc::SIGKILL), &Limits::default(), Vec::new());
        assert_eq!((unlimited.cause, unlimited.hits), (None, Vec::new()));
    }

    #[test]
    fn a_signal_of_a_limit_that_was_not_set_is_only_a_signal() {
        let exit = decode(&bytes(libc::SIGXCPU), &Limits::default(), Vec::new());
        assert_eq!((exit.cause, exit.fatal()), (None, None));
    }

    #[test]
    fn a_childs_hit_is_told_although_the_program_ended_by_itself() {
        let exit = decode(&bytes(1 << 8), &limited(), vec![memory()]);
        assert_eq!((exit.code, exit.cause, exit.hits), (Some(1), None, vec![memory()]));
    }
}
