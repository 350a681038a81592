//! Control groups: what holds a limit for a whole process tree, and counts.
//!
//! Of cgroup v2 (`unified`) the part of the hierarchy is used that this process lives in and may write
//! to; of cgroup v1 (`classic`) the same, per controller, where v2 does not have it. v2 alone kills a
//! tree by one write and takes a process in as it is cloned; into v1's a process moves itself.

use std::{
    fs, io,
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
};

use crate::{
    limit::{Hit, Holder, Limit},
    machine::Machine,
    spec::Limits,
};

mod classic;
mod delegation;
mod unified;

pub use classic::Classic;
pub(crate) use classic::homes as classic_homes;
pub(crate) use delegation::enable;
pub use unified::Home;
pub(crate) use unified::home;

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

impl Controller {
    const ALL: [Self; 3] = [Self::Memory, Self::Pids, Self::Cpu];

    /// The kernel's name.
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|controller| controller.name() == name)
    }

    /// What it holds.
    fn limit(self) -> Limit {
        match self {
            Self::Memory => Limit::Memory,
            Self::Pids => Limit::Processes,
            Self::Cpu => Limit::CpuRate,
        }
    }

    /// How much of it is allowed.
    fn value(self, limits: &Limits) -> Option<u64> {
        match self {
            Self::Memory => limits.memory,
            Self::Pids => limits.pids,
            Self::Cpu => limits.cpu_milli,
        }
    }
}

/// Shim and stub are members too.
const OWN_PROCESSES: u64 = 2;

/// A tenth of a second: long enough to cost nothing, short enough that a plugin does not stall
/// noticeably between its turns.
const CPU_PERIOD: u64 = 100_000;

/// Microseconds of each period that a rate in thousandths of a core comes to.
fn quota(milli: u64) -> u64 {
    // The kernel refuses less than a millisecond.
    milli.saturating_mul(CPU_PERIOD / 1000).max(1000)
}

const PREFIX: &str = "plugbay-";

/// Removes the directories that launchers left which were killed before they could.
pub(crate) fn sweep(machine: &Machine) {
    let unified = machine.cgroup.iter().map(|home| &home.path);
    let classic = machine.classic.iter().map(|home| &home.path);
    unified.chain(classic).for_each(|home| sweep_one(home));
}

/// Only empty ones can be removed, so that a launcher of another pid namespace, whose id means nothing
/// here, loses none that it uses.
fn sweep_one(home: &Path) {
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

/// From the texts of `/proc/self/cgroup` and `/proc/self/mountinfo` to the directory that this process
/// is in: for v2 without a controller, for v1 by it. Pure.
fn locate(membership: &str, mounts: &str, controller: Option<Controller>) -> Option<PathBuf> {
    let is_ours = |list: &str| match controller {
        None => list.is_empty(),
        Some(controller) => list.split(',').any(|name| name == controller.name()),
    };
    let own = membership.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (list, path) = (fields.next()?, fields.next()?);
        is_ours(list).then_some(path)
    })?;
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        let below = Path::new(own).strip_prefix(root).ok()?;
        let mut about = after.split(' ');
        let (kind, options) = (about.next()?, about.next_back()?);
        let same = match controller {
            None => kind == "cgroup2",
            Some(_) => kind == "cgroup" && is_ours(options),
        };
        same.then(|| Path::new(point).join(below))
    })
}

/// Writes to a file of the hierarchy, which are never made by writing.
fn write_existing(path: &Path, text: &str) -> io::Result<()> {
    use io::Write as _;
    fs::File::options().write(true).truncate(true).open(path)?.write_all(text.as_bytes())
}

fn is_writable(path: &Path) -> bool {
    nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).is_ok()
}

/// One directory of ours in one hierarchy, removed when dropped (if empty by then).
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    /// Makes a new one below `home`. The name must be unique among live ones.
    fn create(home: &Path, name: &str) -> io::Result<Self> {
        let path = home.join(format!("{PREFIX}{name}"));
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        write_existing(&self.0.join(file), text)
    }

    /// Writes to a file that not every kernel has.
    fn write_if_there(&self, file: &str, text: &str) -> io::Result<()> {
        match self.write(file, text) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.0.join(file)).ok()
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.read(file)?.trim().parse().ok()
    }

    /// One count of a file that has a name and a number on each line.
    fn count(&self, file: &str, key: &str) -> Option<u64> {
        let text = self.read(file)?;
        text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A member that is still dying keeps the directory busy for a moment; the launcher drops
        // this only after the tree is empty, so a failure here has nothing left to protect.
        drop(fs::remove_dir(&self.0));
    }
}

/// Where a controller counts.
struct Counts {
    events: &'static str,
    key: &'static str,
    peak: &'static str,
}

impl Counts {
    /// The limit that members ran into, if they did.
    fn hit(
        &self,
        at: &Directory,
        controller: Controller,
        limits: &Limits,
        by: Holder,
    ) -> Option<Hit> {
        let value = controller.value(limits)?;
        let times = at.count(self.events, self.key).filter(|times| *times > 0)?;
        let own = if controller == Controller::Pids { OWN_PROCESSES } else { 0 };
        let peak = at.number(self.peak).map(|peak| peak.saturating_sub(own));
        Some(Hit { limit: controller.limit(), value, peak, times, by })
    }
}

/// The control groups of one process tree; may be none at all.
#[derive(Debug, Default)]
pub(crate) struct Group {
    unified: Option<unified::Cgroup>,
    classic: Vec<classic::Cgroup>,
}

/// Which kind of control group could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    Unified,
    Classic,
}

impl Group {
    /// Makes what this machine has, with these limits set.
    pub(crate) fn create(machine: &Machine, name: &str, limits: &Limits) -> Result<Self, Lost> {
        let unified =
            machine.cgroup.as_ref().map(|home| unified::Cgroup::create(home, name, limits));
        let unified = unified.transpose().map_err(|_refused| Lost::Unified)?;
        let wanted = machine.classic.iter().filter(|home| home.controller.value(limits).is_some());
        let classic: io::Result<Vec<_>> =
            wanted.map(|home| classic::Cgroup::create(home, name, limits)).collect();
        Ok(Self { unified, classic: classic.map_err(|_refused| Lost::Classic)? })
    }

    /// Sets other limits than it was made with. `None` when it lacks a controller for that.
    pub(crate) fn change(&mut self, machine: &Machine, limits: &Limits) -> Option<()> {
        let same = self.unified.is_some() == machine.cgroup.is_some();
        let wanted = machine.classic.iter().filter(|home| home.controller.value(limits).is_some());
        let has = |controller| self.classic.iter().any(|it| it.controller() == controller);
        if !same || !wanted.map(|home| home.controller).all(has) {
            return None;
        }
        if let Some(unified) = &mut self.unified {
            unified.limit(limits).ok()?;
        }
        self.classic.iter_mut().try_for_each(|one| one.limit(limits)).ok()
    }

    /// What a process is cloned into.
    pub(crate) fn target(&self) -> Option<BorrowedFd<'_>> {
        self.unified.as_ref().map(|it| it.as_fd())
    }

    /// Where the first process must write itself down before it forks.
    pub(crate) fn doors(&self) -> Vec<BorrowedFd<'_>> {
        self.classic.iter().map(|it| it.as_fd()).collect()
    }

    /// Whether one write kills every member.
    pub(crate) fn can_kill(&self) -> bool {
        self.unified.is_some()
    }

    /// Kills every process in it, whatever it did to its session or parents; `false` where it cannot.
    pub(crate) fn kill(&self) -> bool {
        self.unified.as_ref().is_some_and(|unified| unified.kill().is_ok())
    }

    /// Kills until no process is left in it, or `rounds` of a tenth of a second have passed.
    pub(crate) fn empty(&self, rounds: u32) {
        if let Some(unified) = &self.unified {
            unified.empty(rounds);
        }
    }

    /// The limits that members ran into, as far as a controller counted them.
    pub(crate) fn hits(&self, limits: &Limits) -> Vec<Hit> {
        let unified = self.unified.iter().flat_map(|it| it.hits(limits));
        unified.chain(self.classic.iter().filter_map(|it| it.hit(limits))).collect()
    }

    /// The most memory that its members used at once, in bytes, where a controller counts it.
    pub(crate) fn memory_peak(&self) -> Option<u64> {
        let classic = || self.classic.iter().find_map(classic::Cgroup::memory_peak);
        self.unified.as_ref().and_then(unified::Cgroup::memory_peak).or_else(classic)
    }
}

/// Moves this process into a control group of v1 that it holds the door of. Only itself, by a process
/// with one thread: that takes no lock which all of the machine's forks wait for.
pub(crate) fn enter(door: BorrowedFd<'_>) -> nix::Result<()> {
    nix::unistd::write(door, b"0").map(drop)
}

#[cfg(test)]
impl Directory {
    /// One that has these files, as the kernel would have made them.
    fn fake(home: &Path, files: &[&str]) -> Self {
        let made = Self::create(home, "one").unwrap();
        files.iter().for_each(|file| fs::write(made.0.join(file), "").unwrap());
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "30 23 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
        31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n\
        32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";
    const MEMBER: &str = "5:cpu,cpuacct:/\n4:memory:/x\n0::/user.slice/a\n";

    #[test]
    fn both_hierarchies_are_found_on_a_hybrid_machine() {
        let found = |controller| locate(MEMBER, HYBRID, controller);
        let unified = Path::new("/sys/fs/cgroup/unified/user.slice/a");
        assert_eq!(found(None).unwrap(), unified);
        let memory = Path::new("/sys/fs/cgroup/memory/x");
        assert_eq!(found(Some(Controller::Memory)).unwrap(), memory);
        let cpu = Path::new("/sys/fs/cgroup/cpu,cpuacct/");
        assert_eq!(found(Some(Controller::Cpu)).unwrap(), cpu);
        assert_eq!(found(Some(Controller::Pids)), None);
    }

    #[test]
    fn a_mount_of_a_subtree_is_relative_to_its_root() {
        let mounts = "31 30 0:27 /docker/c1 /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        let found = |membership| locate(membership, mounts, None);
        assert_eq!(found("0::/docker/c1/leaf\n").unwrap(), Path::new("/sys/fs/cgroup/leaf"));
        assert_eq!(found("0::/elsewhere\n"), None);
    }

    #[test]
    fn a_machine_without_the_unified_hierarchy_has_no_home() {
        assert_eq!(locate("4:memory:/x\n", HYBRID, None), None);
        assert_eq!(locate("0::/\n", "1 2 3:4 / / rw - ext4 /dev/x rw\n", None), None);
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
        sweep_one(fake.path());
        assert_eq!([dead.exists(), ours.exists(), foreign.exists()], [false, true, true]);
    }

    #[test]
    fn a_rate_is_a_quota_of_each_period() {
        assert_eq!((quota(1500), quota(500), quota(1)), (150_000, 50_000, 1000));
        assert_eq!(quota(u64::MAX), u64::MAX);
    }
}
