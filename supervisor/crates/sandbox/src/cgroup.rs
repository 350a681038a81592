//! A cgroup v2 directory per process tree: membership from the first instruction, one write to kill.
//!
//! Only the hierarchy is used that this process already lives in and may write to. Where controllers
//! are delegated, their limits are set; where not, the directory still gives `cgroup.kill`.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::{
    limit::{Hit, Holder, Limit},
    spec::Limits,
};

/// A controller whose limits can be set for a child of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Controller {
    /// Bytes of memory of the tree.
    Memory,
    /// Processes of the tree.
    Pids,
    /// CPU rate of the tree.
    Cpu,
}

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
    let path = locate(&membership, &mounts)?;
    let writable = nix::unistd::access(&path, nix::unistd::AccessFlags::W_OK).is_ok();
    let can_kill = path.join("cgroup.kill").exists() || is_root_cgroup(&path);
    (writable && can_kill).then(|| Home {
        controllers: delegated(
            &fs::read_to_string(path.join("cgroup.subtree_control")).unwrap_or_default(),
        ),
        path,
    })
}

/// The controllers named in the text of `cgroup.subtree_control`. Pure.
fn delegated(text: &str) -> Vec<Controller> {
    let known = |name| match name {
        "memory" => Some(Controller::Memory),
        "pids" => Some(Controller::Pids),
        "cpu" => Some(Controller::Cpu),
        _ => None,
    };
    text.split_whitespace().filter_map(known).collect()
}

/// The root cgroup has no `cgroup.kill` of its own, but its children have.
fn is_root_cgroup(home: &Path) -> bool {
    home.join("cgroup.controllers").exists() && !home.join("cgroup.type").exists()
}

/// From the texts of `/proc/self/cgroup` and `/proc/self/mountinfo` to the directory. Pure.
fn locate(membership: &str, mounts: &str) -> Option<PathBuf> {
    let own = membership.lines().find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        let below = Path::new(own).strip_prefix(root).ok()?;
        after.starts_with("cgroup2 ").then(|| Path::new(point).join(below))
    })
}

/// Shim and stub are members too.
const OWN_PROCESSES: u64 = 2;

const PREFIX: &str = "plugbay-";

/// Removes the directories that launchers left which were killed before they could. Only empty ones
/// can be removed, so that a launcher of another pid namespace, whose id means nothing here, loses
/// none that it uses.
pub(crate) fn sweep(home: &Path) {
    let Ok(entries) = fs::read_dir(home) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u32>().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            fs::remove_dir(entry.path()).ok();
        }
    }
}

/// One cgroup of ours, removed when dropped (if empty by then).
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
    directory: OwnedFd,
}

impl Cgroup {
    /// Makes a new one below `home`. The name must be unique among live ones.
    pub(crate) fn create(home: &Path, name: &str) -> io::Result<Self> {
        let path = home.join(format!("{PREFIX}{name}"));
        fs::create_dir(&path)?;
        match fs::File::open(&path) {
            Ok(directory) => Ok(Self { path, directory: directory.into() }),
            Err(error) => {
                drop(fs::remove_dir(&path));
                Err(error)
            }
        }
    }

    /// Sets what `limits` asks of one controller.
    pub(crate) fn limit(&self, controller: Controller, limits: &Limits) -> io::Result<()> {
        let (file, value) = match controller {
            Controller::Memory => ("memory.max", limits.memory.map(|bytes| bytes.to_string())),
            Controller::Pids => {
                let pids = limits.pids.map(|pids| pids.saturating_add(OWN_PROCESSES));
                ("pids.max", pids.map(|pids| pids.to_string()))
            }
            Controller::Cpu => (
                "cpu.max",
                limits.cpu_milli.map(|milli| format!("{} 100000", milli.saturating_mul(100))),
            ),
        };
        value.map_or(Ok(()), |value| fs::write(self.path.join(file), value))
    }

    /// Kills every process in it, whatever it did to its session or parents.
    pub(crate) fn kill(&self) -> io::Result<()> {
        fs::write(self.path.join("cgroup.kill"), "1")
    }

    /// The limits that members ran into, as far as a controller here counted them.
    pub(crate) fn hits(&self, limits: &Limits) -> Vec<Hit> {
        let hit = |limit, value: Option<u64>, events, key, peak| {
            let times = self.count(events, key).filter(|times| *times > 0)?;
            // Our own two processes are not the program's.
            let own = if limit == Limit::Processes { OWN_PROCESSES } else { 0 };
            let peak = self.number(peak).map(|peak| peak.saturating_sub(own));
            Some(Hit { limit, value: value?, peak, times, by: Holder::CgroupV2 })
        };
        let memory = hit(Limit::Memory, limits.memory, "memory.events", "oom_kill", "memory.peak");
        let pids = hit(Limit::Processes, limits.pids, "pids.events", "max", "pids.peak");
        memory.into_iter().chain(pids).collect()
    }

    /// One count of a file that has a name and a number on each line.
    fn count(&self, file: &str, key: &str) -> Option<u64> {
        let text = fs::read_to_string(self.path.join(file)).ok()?;
        text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
    }

    fn number(&self, file: &str) -> Option<u64> {
        fs::read_to_string(self.path.join(file)).ok()?.trim().parse().ok()
    }

    /// The most memory that its members used at once, in bytes (Linux 5.19 and newer).
    pub(crate) fn memory_peak(&self) -> Option<u64> {
        fs::read_to_string(self.path.join("memory.peak")).ok()?.trim().parse().ok()
    }

    /// Kills until no process is left in it, or `rounds` of a tenth of a second have passed.
    pub(crate) fn empty(&self, rounds: u32) {
        let Ok(events) = fs::File::open(self.path.join("cgroup.events")) else { return };
        for _ in 0..rounds {
            // Reading arms the notification for the next change.
            let text = fs::read_to_string(self.path.join("cgroup.events")).unwrap_or_default();
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
        self.directory.as_fd()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A member that is still dying keeps the directory busy for a moment; the launcher drops
        // this only after the tree is empty, so a failure here has nothing left to protect.
        drop(fs::remove_dir(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "30 23 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
        31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n\
        32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";

    #[test]
    fn the_unified_hierarchy_is_found_on_a_hybrid_machine() {
        let membership = "4:memory:/x\n0::/user.slice/a\n";
        assert_eq!(
            locate(membership, HYBRID).unwrap(),
            Path::new("/sys/fs/cgroup/unified/user.slice/a")
        );
    }

    #[test]
    fn a_mount_of_a_subtree_is_relative_to_its_root() {
        let mounts = "31 30 0:27 /docker/c1 /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        assert_eq!(
            locate("0::/docker/c1/leaf\n", mounts).unwrap(),
            Path::new("/sys/fs/cgroup/leaf")
        );
        assert_eq!(locate("0::/elsewhere\n", mounts), None);
    }

    #[test]
    fn a_machine_without_the_unified_hierarchy_has_no_home() {
        assert_eq!(locate("4:memory:/x\n", HYBRID), None);
        assert_eq!(locate("0::/\n", "1 2 3:4 / / rw - ext4 /dev/x rw\n"), None);
    }

    #[test]
    fn delegated_controllers_are_known_and_others_ignored() {
        assert_eq!(
            delegated("cpuset cpu io memory pids\n"),
            [Controller::Cpu, Controller::Memory, Controller::Pids]
        );
        assert_eq!(delegated(""), []);
    }

    #[test]
    fn directories_of_dead_launchers_are_swept_and_others_stay() {
        let fake = tempfile::tempdir().unwrap();
        let dead = fake.path().join("plugbay-4194305-1");
        let ours = fake.path().join(format!("plugbay-{}-1", std::process::id()));
        let foreign = fake.path().join("user.slice");
        for path in [&dead, &ours, &foreign] {
            fs::create_dir(path).unwrap();
        }
        sweep(fake.path());
        assert_eq!([dead.exists(), ours.exists(), foreign.exists()], [false, true, true]);
    }

    #[test]
    fn limits_are_written_where_the_controller_is_delegated() {
        let fake = tempfile::tempdir().unwrap();
        let cgroup = Cgroup::create(fake.path(), "one").unwrap();
        let limits = Limits {
            memory: Some(4096),
            pids: Some(5),
            cpu_milli: Some(1500),
            ..Limits::default()
        };
        // A plain directory takes every write, as a cgroup with all controllers does.
        for controller in [Controller::Memory, Controller::Pids, Controller::Cpu] {
            cgroup.limit(controller, &limits).unwrap();
        }
        let read =
            |name: &str| fs::read_to_string(fake.path().join("plugbay-one").join(name)).unwrap();
        assert_eq!(read("memory.max"), "4096");
        assert_eq!(read("pids.max"), "7");
        assert_eq!(read("cpu.max"), "150000 100000");
        let write = |name: &str, text: &str| {
            fs::write(fake.path().join("plugbay-one").join(name), text).unwrap();
        };
        write("memory.events", "low 0\noom 2\noom_group_kill 0\noom_kill 1\n");
        write("memory.peak", "4096\n");
        write("pids.events", "max 0\n");
        let [hit] = <[Hit; 1]>::try_from(cgroup.hits(&limits)).unwrap();
        assert_eq!(
            (hit.limit, hit.value, hit.peak, hit.times),
            (Limit::Memory, 4096, Some(4096), 1)
        );
    }
}
