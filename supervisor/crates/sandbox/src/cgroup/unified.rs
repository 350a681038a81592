//! One directory of cgroup v2 per process tree: membership from the first instruction, one write to
//! kill. Where controllers are delegated, their limits are set; where not, there is still the kill.

use std::{
    fs, io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt as _,
    },
    path::{Path, PathBuf},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::{CPU_PERIOD, Controller, Counts, Directory, OWN_PROCESSES, delegation, is_writable};
use crate::{
    limit::{Hit, Holder},
    spec::Limits,
};

/// Our own directory in the cgroup v2 hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// Where it is.
    pub path: PathBuf,
    /// What is delegated to its children.
    pub controllers: Vec<Controller>,
}

/// Our own cgroup v2 directory, if it is mounted and writable.
pub(crate) fn home() -> Option<Home> {
    let membership = fs::read_to_string("/proc/self/cgroup").ok()?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let path = delegation::above_our_leaf(super::locate(&membership, &mounts, None)?);
    let can_kill = path.join("cgroup.kill").exists() || is_root_cgroup(&path);
    (is_writable(&path) && can_kill).then(|| Home {
        controllers: controllers(
            &fs::read_to_string(path.join("cgroup.subtree_control")).unwrap_or_default(),
        ),
        path,
    })
}

/// The controllers that we know in the text of `cgroup.subtree_control` or `cgroup.controllers`. Pure.
pub(super) fn controllers(text: &str) -> Vec<Controller> {
    text.split_whitespace().filter_map(Controller::named).collect()
}

/// The root cgroup has no `cgroup.kill` of its own, but its children have.
fn is_root_cgroup(home: &Path) -> bool {
    home.join("cgroup.controllers").exists() && !home.join("cgroup.type").exists()
}

/// One cgroup of ours.
#[derive(Debug)]
pub(super) struct Cgroup {
    directory: Directory,
    open: OwnedFd,
    controllers: Vec<Controller>,
    /// As they are set now.
    limits: Option<Limits>,
}

impl Cgroup {
    pub(super) fn create(home: &Home, name: &str, limits: &Limits) -> io::Result<Self> {
        let directory = Directory::create(&home.path, name)?;
        let open = fs::File::open(&directory.0)?.into();
        let controllers = home.controllers.clone();
        let mut made = Self { directory, open, controllers, limits: None };
        made.arrange(limits)?;
        Ok(made)
    }

    /// What is set once, and the first limits.
    fn arrange(&mut self, limits: &Limits) -> io::Result<()> {
        if self.controllers.contains(&Controller::Memory) {
            // Memory that is swapped out is memory still; and a tree that lost a member at random is
            // worth less than one that ends as a whole.
            self.directory.write_if_there("memory.swap.max", "0")?;
            self.directory.write_if_there("memory.oom.group", "1")?;
        }
        self.limit(limits)
    }

    /// Sets what `limits` asks, and lifts what it does not.
    pub(super) fn limit(&mut self, limits: &Limits) -> io::Result<()> {
        let text = |value: Option<u64>| value.map_or("max".to_owned(), |it| it.to_string());
        for controller in &self.controllers {
            let value = controller.value(limits);
            if self.limits.as_ref().is_some_and(|set| controller.value(set) == value) {
                continue;
            }
            let (file, text) = match controller {
                Controller::Memory => ("memory.max", text(value)),
                Controller::Pids => {
                    ("pids.max", text(value.map(|pids| pids.saturating_add(OWN_PROCESSES))))
                }
                Controller::Cpu => {
                    ("cpu.max", format!("{} {CPU_PERIOD}", text(value.map(super::quota))))
                }
            };
            self.directory.write(file, &text)?;
        }
        self.limits = Some(limits.clone());
        Ok(())
    }

    /// Kills every process in it.
    pub(super) fn kill(&self) -> io::Result<()> {
        self.directory.write("cgroup.kill", "1")
    }

    /// The limits that members ran into, as far as a controller here counted them.
    pub(super) fn hits(&self, limits: &Limits) -> Vec<Hit> {
        let hit = |controller: &Controller| {
            let (events, key, peak) = match controller {
                Controller::Memory => ("memory.events", "oom_kill ", "memory.peak"),
                Controller::Pids => ("pids.events", "max ", "pids.peak"),
                Controller::Cpu => ("cpu.stat", "nr_throttled ", "none"),
            };
            let counts = Counts { events, key, peak };
            counts.hit(&self.directory, *controller, limits, Holder::CgroupV2)
        };
        self.controllers.iter().filter_map(hit).collect()
    }

    /// The most memory that its members used at once, in bytes (Linux 5.19 and newer).
    pub(super) fn memory_peak(&self) -> Option<u64> {
        self.directory.number("memory.peak")
    }

    /// Kills until no process is left in it, or `rounds` of a tenth of a second have passed.
    pub(super) fn empty(&self, rounds: u32) {
        let Ok(events) = fs::File::open(self.directory.0.join("cgroup.events")) else { return };
        for _ in 0..rounds {
            // Reading arms the notification for the next change, but only of the file that is read.
            let mut text = [0; 256];
            let count = events.read_at(&mut text, 0).unwrap_or(0);
            let text = String::from_utf8_lossy(text.get(..count).unwrap_or_default());
            if text.lines().any(|line| line == "populated 0") || self.kill().is_err() {
                return;
            }
            let mut changed = [PollFd::new(events.as_fd(), PollFlags::POLLPRI)];
            poll(&mut changed, PollTimeout::from(100_u8)).ok();
        }
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.open.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Limit;

    fn limits() -> Limits {
        Limits { memory: Some(4096), pids: Some(5), cpu_milli: Some(1500), ..Limits::default() }
    }

    /// A plain directory takes every write, as a cgroup with these controllers does.
    fn made(fake: &tempfile::TempDir, controllers: &[Controller]) -> Cgroup {
        const FILES: &[&str] = &[
            "memory.max",
            "memory.swap.max",
            "memory.oom.group",
            "memory.events",
            "memory.peak",
            "pids.max",
            "pids.events",
            "pids.peak",
            "cpu.max",
            "cpu.stat",
        ];
        let directory = Directory::fake(fake.path(), FILES);
        let open = fs::File::open(&directory.0).unwrap().into();
        let controllers = controllers.to_vec();
        let mut made = Cgroup { directory, open, controllers, limits: None };
        made.arrange(&limits()).unwrap();
        made
    }

    #[test]
    fn delegated_controllers_are_known_and_others_ignored() {
        assert_eq!(
            controllers("cpuset cpu io memory pids\n"),
            [Controller::Cpu, Controller::Memory, Controller::Pids]
        );
        assert_eq!(controllers(""), []);
    }

    #[test]
    fn limits_are_written_where_the_controller_is_delegated() {
        let fake = tempfile::tempdir().unwrap();
        let cgroup = made(&fake, &Controller::ALL);
        let read = |name: &str| cgroup.directory.read(name).unwrap();
        assert_eq!(read("memory.max"), "4096");
        assert_eq!((read("memory.swap.max"), read("memory.oom.group")), ("0".into(), "1".into()));
        assert_eq!(read("pids.max"), "7");
        assert_eq!(read("cpu.max"), "150000 100000");
    }

    #[test]
    fn only_what_is_delegated_is_written() {
        let fake = tempfile::tempdir().unwrap();
        let cgroup = made(&fake, &[Controller::Pids]);
        assert_eq!(cgroup.directory.read("memory.max").unwrap(), "");
        assert_eq!(cgroup.directory.read("memory.oom.group").unwrap(), "");
        assert_eq!(cgroup.hits(&limits()), []);
    }

    #[test]
    fn a_limit_that_is_not_wanted_any_more_is_lifted() {
        let fake = tempfile::tempdir().unwrap();
        let mut cgroup = made(&fake, &Controller::ALL);
        let lifted = Limits { memory: None, cpu_milli: None, ..limits() };
        cgroup.limit(&lifted).unwrap();
        assert_eq!(cgroup.directory.read("memory.max").unwrap(), "max");
        assert_eq!(cgroup.directory.read("cpu.max").unwrap(), "max 100000");
    }

    #[test]
    fn what_members_ran_into_is_read_from_the_kernels_counts() {
        let fake = tempfile::tempdir().unwrap();
        let cgroup = made(&fake, &Controller::ALL);
        let write = |name: &str, text: &str| cgroup.directory.write(name, text).unwrap();
        write("memory.events", "low 0\noom 2\noom_kill 1\noom_group_kill 1\n");
        write("memory.peak", "4096\n");
        write("pids.events", "max 9\n");
        write("pids.peak", "7\n");
        write("cpu.stat", "usage_usec 9\nnr_throttled 0\n");
        let told: Vec<_> =
            cgroup.hits(&limits()).iter().map(|it| (it.limit, it.peak, it.times)).collect();
        assert_eq!(told, [(Limit::Memory, Some(4096), 1), (Limit::Processes, Some(5), 9)]);
        assert_eq!(cgroup.memory_peak(), Some(4096));
    }
}
