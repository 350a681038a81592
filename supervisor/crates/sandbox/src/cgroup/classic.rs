//! Cgroup v1: one directory per controller and process tree. In practice root's, since v1 is never
//! delegated; a tree's first process moves itself in before it forks.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use super::{CPU_PERIOD, Controller, Counts, Directory, OWN_PROCESSES, is_writable, locate};
use crate::{
    limit::{Hit, Holder},
    spec::Limits,
};

/// Our own directory in the hierarchy of one v1 controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classic {
    /// Which controller.
    pub controller: Controller,
    /// Where it is.
    pub path: PathBuf,
}

/// The v1 controllers whose hierarchy is mounted and writable where we are, but for those in `held`.
pub(crate) fn homes(held: &[Controller]) -> Vec<Classic> {
    let read = |file| fs::read_to_string(file).unwrap_or_default();
    let (membership, mounts) = (read("/proc/self/cgroup"), read("/proc/self/mountinfo"));
    let missing = Controller::ALL.into_iter().filter(|controller| !held.contains(controller));
    missing
        .filter_map(|controller| {
            let path = locate(&membership, &mounts, Some(controller))?;
            is_writable(&path).then_some(Classic { controller, path })
        })
        .collect()
}

/// One cgroup of ours.
#[derive(Debug)]
pub(super) struct Cgroup {
    controller: Controller,
    directory: Directory,
    door: OwnedFd,
    /// As it is set now.
    value: Option<u64>,
}

impl Cgroup {
    pub(super) fn create(home: &Classic, name: &str, limits: &Limits) -> io::Result<Self> {
        let directory = Directory::create(&home.path, name)?;
        let door = fs::File::options().write(true).open(directory.0.join("tasks"))?.into();
        let mut made = Self { controller: home.controller, directory, door, value: None };
        made.limit(limits)?;
        Ok(made)
    }

    pub(super) fn controller(&self) -> Controller {
        self.controller
    }

    /// Sets what `limits` asks, or lifts it.
    pub(super) fn limit(&mut self, limits: &Limits) -> io::Result<()> {
        let value = self.controller.value(limits);
        if value == self.value {
            return Ok(());
        }
        let signed = |value: Option<u64>| value.map_or("-1".to_owned(), |it| it.to_string());
        match self.controller {
            Controller::Memory => self.limit_memory(&signed(value))?,
            Controller::Pids => {
                let pids = value.map(|pids| pids.saturating_add(OWN_PROCESSES).to_string());
                self.directory.write("pids.max", &pids.unwrap_or_else(|| "max".to_owned()))?;
            }
            Controller::Cpu => {
                self.directory.write("cpu.cfs_period_us", &CPU_PERIOD.to_string())?;
                self.directory.write("cpu.cfs_quota_us", &signed(value.map(super::quota)))?;
            }
        }
        self.value = value;
        Ok(())
    }

    /// Memory, and memory with swap, which may never be the smaller: so that is lifted first where
    /// something was set before.
    fn limit_memory(&self, bytes: &str) -> io::Result<()> {
        const SWAP: &str = "memory.memsw.limit_in_bytes";
        if self.value.is_some() {
            self.directory.write_if_there(SWAP, "-1")?;
        }
        self.directory.write("memory.limit_in_bytes", bytes)?;
        self.directory.write_if_there(SWAP, bytes)
    }

    /// The limit that members ran into, if they did.
    pub(super) fn hit(&self, limits: &Limits) -> Option<Hit> {
        let (events, key, peak) = match self.controller {
            Controller::Memory => ("memory.oom_control", "oom_kill ", "memory.max_usage_in_bytes"),
            Controller::Pids => ("pids.events", "max ", "pids.peak"),
            Controller::Cpu => ("cpu.stat", "nr_throttled ", "none"),
        };
        let counts = Counts { events, key, peak };
        counts.hit(&self.directory, self.controller, limits, Holder::CgroupV1)
    }

    /// The most memory that its members used at once, in bytes.
    pub(super) fn memory_peak(&self) -> Option<u64> {
        let is_memory = self.controller == Controller::Memory;
        self.directory.number("memory.max_usage_in_bytes").filter(|_| is_memory)
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.door.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Limit;

    /// One with every file that some controller has.
    fn made(controller: Controller, limits: &Limits) -> (tempfile::TempDir, Cgroup) {
        const FILES: &[&str] = &[
            "tasks",
            "memory.limit_in_bytes",
            "memory.memsw.limit_in_bytes",
            "memory.oom_control",
            "memory.max_usage_in_bytes",
            "pids.max",
            "cpu.cfs_period_us",
            "cpu.cfs_quota_us",
        ];
        let fake = tempfile::tempdir().unwrap();
        let directory = Directory::fake(fake.path(), FILES);
        let door = fs::File::open(directory.0.join("tasks")).unwrap().into();
        let mut cgroup = Cgroup { controller, directory, door, value: None };
        cgroup.limit(limits).unwrap();
        (fake, cgroup)
    }

    fn limits() -> Limits {
        Limits { memory: Some(8192), pids: Some(5), cpu_milli: Some(500), ..Limits::default() }
    }

    #[test]
    fn each_controller_gets_its_own_files() {
        let (_fake, memory) = made(Controller::Memory, &limits());
        assert_eq!(memory.directory.read("memory.limit_in_bytes").unwrap(), "8192");
        assert_eq!(memory.directory.read("memory.memsw.limit_in_bytes").unwrap(), "8192");
        let (_fake, pids) = made(Controller::Pids, &limits());
        assert_eq!(pids.directory.read("pids.max").unwrap(), "7");
        let (_fake, cpu) = made(Controller::Cpu, &limits());
        assert_eq!(cpu.directory.read("cpu.cfs_quota_us").unwrap(), "50000");
        assert_eq!(cpu.directory.read("cpu.cfs_period_us").unwrap(), "100000");
    }

    #[test]
    fn a_limit_that_is_not_wanted_any_more_is_lifted() {
        let (_fake, mut memory) = made(Controller::Memory, &limits());
        memory.limit(&Limits { memory: None, ..limits() }).unwrap();
        assert_eq!(memory.directory.read("memory.limit_in_bytes").unwrap(), "-1");
    }

    #[test]
    fn a_kernel_without_swap_accounting_is_limited_all_the_same() {
        let fake = tempfile::tempdir().unwrap();
        let directory = Directory::fake(fake.path(), &["tasks", "memory.limit_in_bytes"]);
        let door = fs::File::open(directory.0.join("tasks")).unwrap().into();
        let controller = Controller::Memory;
        Cgroup { controller, directory, door, value: None }.limit(&limits()).unwrap();
    }

    #[test]
    fn kills_and_the_peak_are_read_from_the_kernels_counts() {
        let (_fake, memory) = made(Controller::Memory, &limits());
        assert_eq!(memory.hit(&limits()), None);
        let write = |name: &str, text: &str| memory.directory.write(name, text).unwrap();
        write("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n");
        write("memory.max_usage_in_bytes", "8192\n");
        let hit = memory.hit(&limits()).unwrap();
        assert_eq!((hit.limit, hit.peak, hit.times), (Limit::Memory, Some(8192), 2));
        assert_eq!(hit.by, Holder::CgroupV1);
    }
}
