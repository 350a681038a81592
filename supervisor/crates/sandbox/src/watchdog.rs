//! Limits of a whole tree where no controller holds them: somebody looks from time to time.
//!
//! A look is a walk from the shim over `/proc`: threads, resident memory, processor time. It costs a
//! few system calls per process, and less often while nothing happens. What it finds can only be too
//! much (pages that processes share are counted for each), so before anything is killed for memory
//! it is counted exactly.
//!
//! Not seen: what grows and is used between two looks, and what only the kernel holds (sockets, pipes,
//! System V segments that nobody has attached, files in memory while they are in a socket).

mod disk;

use std::{
    collections::BTreeSet,
    fs,
    os::{fd::BorrowedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::{
    statfs::{TMPFS_MAGIC, statfs},
    statvfs::statvfs,
};

use self::disk::Disk;
use crate::{
    limit::{Hit, Holder, Limit},
    plan::{Rung, Unheld},
    process,
    spec::Limits,
};

/// Time between two looks at a busy tree: what a program can take in it, some hundreds of MiB, is what a
/// limit can be passed by.
pub(crate) const BEAT: Duration = Duration::from_millis(100);

/// The most beats without a look at a tree that does nothing: five seconds.
const LONGEST_REST: u32 = 50;

/// What the machine may lose of its free memory before resting trees are looked at all the same.
const ALARM: u64 = 32 << 20;

/// Beats between two exact counts of a tree that seems to be too large and is not.
const RECOUNT: u32 = 5;

/// Processes whose walk takes about as long as a hundredth of a beat.
const PROCESSES_PER_BEAT: usize = 50;

/// What is watched of one tree, and what was found.
#[derive(Debug)]
pub(crate) struct Watchdog {
    memory: Option<u64>,
    processes: Option<u64>,
    disk: Option<Disk>,
    /// The shim's process id, and the stub's if there is one: not the program's to account for.
    own: Vec<i32>,
    last: Sample,
    beats: u32,
    rest: u32,
    recount: u32,
    /// Free memory of the machine at the last look.
    free: u64,
    hit: Option<Hit>,
}

/// What one walk found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sample {
    pids: Vec<i32>,
    threads: u64,
    /// Bytes, shared pages counted once for each process.
    resident: u64,
    /// Clock ticks.
    busy: u64,
}

impl Watchdog {
    /// Watches what of `limits` nobody else holds; `None` when that is nothing. The tree is told by its
    /// shim, the rung, and the program's process; `private` stands in for its `/tmp`.
    pub(crate) fn of(
        unheld: Unheld,
        limits: &Limits,
        (shim, rung): (i32, Rung),
        main: BorrowedFd<'_>,
        private: Option<&Path>,
    ) -> Option<Self> {
        let memory = limits.memory.filter(|_| unheld.memory);
        let processes = limits.pids.filter(|_| unheld.processes);
        let disk = private.and_then(|private| Disk::of(private, limits.tmp_size));
        if memory.is_none() && processes.is_none() && disk.is_none() {
            return None;
        }
        let mut own = vec![shim];
        if rung != Rung::Bare {
            // The program's parent; later it could be anybody's.
            own.extend(process::id(main).and_then(parent));
        }
        Some(Self { disk, ..Self::new(memory, processes, own) })
    }

    fn new(memory: Option<u64>, processes: Option<u64>, own: Vec<i32>) -> Self {
        let last = Sample::default();
        let (disk, hit) = (None, None);
        Self { memory, processes, disk, own, last, beats: 0, rest: 1, recount: 0, free: 0, hit }
    }

    /// What was passed, if something was.
    pub(crate) fn hit(&self) -> Option<&Hit> {
        self.hit.as_ref()
    }

    /// One beat: looks if it is time to, and tells whether the tree has to be killed.
    pub(crate) fn beat(&mut self, free: u64) -> bool {
        self.beats += 1;
        let alarmed =
            self.free > free.saturating_add(ALARM) || self.disk.as_ref().is_some_and(Disk::stirs);
        if self.hit.is_some() || (self.beats < self.rest && !alarmed) {
            return false;
        }
        self.free = free;
        let Some(shim) = self.own.first() else { return false };
        let found = survey(*shim, &self.own);
        let idle = found == self.last;
        self.hit = self.passed(&found, idle);
        self.rest = next_rest(self.rest, idle, found.pids.len());
        self.beats = 0;
        self.last = found;
        self.hit.is_some()
    }

    fn passed(&mut self, found: &Sample, idle: bool) -> Option<Hit> {
        if let Some(value) = self.processes.filter(|value| found.threads > *value) {
            return Some(hit(Limit::Processes, value, found.threads));
        }
        let disk = self.disk.as_mut();
        let full = disk.and_then(|disk| disk.look(&found.pids).map(|used| (disk.limit, used)));
        if let Some((limit, used)) = full {
            return Some(hit(Limit::Disk, limit, used));
        }
        let value = self.memory?;
        let files = if idle { 0 } else { files(&found.pids) };
        self.recount = self.recount.saturating_sub(1);
        if found.resident.saturating_add(files) <= value || self.recount > 0 {
            return None;
        }
        let exact = exact(&found.pids, files);
        self.recount = RECOUNT;
        (exact > value).then(|| hit(Limit::Memory, value, exact))
    }
}

fn hit(limit: Limit, value: u64, peak: u64) -> Hit {
    Hit { limit, value, peak: Some(peak), times: 1, by: Holder::Watchdog }
}

/// Beats until the next look: more while nothing happens, and never so few that looking is work.
fn next_rest(rest: u32, idle: bool, processes: usize) -> u32 {
    let least = u32::try_from(processes / PROCESSES_PER_BEAT).unwrap_or(LONGEST_REST).max(1);
    let wanted = if idle { rest.saturating_mul(2) } else { 1 };
    wanted.max(least).min(LONGEST_REST)
}

/// Memory that the machine could still give, in bytes.
pub(crate) fn free_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(kibibytes).unwrap_or(0)
}

fn kibibytes(text: &str) -> Option<u64> {
    let number: u64 = text.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

/// Everything below `shim` but for those in `own`.
fn survey(shim: i32, own: &[i32]) -> Sample {
    let mut found = Sample::default();
    let mut open = vec![shim];
    while let Some(pid) = open.pop() {
        let threads = if own.contains(&pid) {
            1
        } else {
            // Gone since its parent was read: so is what it held.
            let Some(stat) = Stat::read(pid) else { continue };
            found.pids.push(pid);
            found.threads += stat.threads;
            found.resident += stat.resident;
            found.busy += stat.busy;
            stat.threads
        };
        children(pid, threads, &mut open);
    }
    found.pids.sort_unstable();
    found
}

/// The children of every thread of a process.
fn children(pid: i32, threads: u64, into: &mut Vec<i32>) {
    let mut of_thread = |thread: &str| {
        let list = fs::read_to_string(format!("/proc/{pid}/task/{thread}/children"));
        let list = list.unwrap_or_default();
        into.extend(list.split_ascii_whitespace().filter_map(|child| child.parse::<i32>().ok()));
    };
    if threads == 1 {
        return of_thread(&pid.to_string());
    }
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return };
    tasks.flatten().filter_map(|task| task.file_name().into_string().ok()).for_each(|task| {
        of_thread(&task);
    });
}

fn parent(pid: i32) -> Option<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Some numbers of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    busy: u64,
    threads: u64,
    resident: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name is the process's own choice, so the fields count from the last parenthesis.
    fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // Numbered from 3 in proc_pid_stat(5).
        let number = |place: usize| fields.get(place - 3)?.parse::<u64>().ok();
        let dead = matches!(fields.first(), Some(&("Z" | "X")));
        Some(Self {
            busy: number(14)?.checked_add(number(15)?)?,
            threads: if dead { 0 } else { number(20)? },
            resident: number(24)?.checked_mul(page())?,
        })
    }
}

fn page() -> u64 {
    // Every system has pages; 4 KiB is the least that Linux knows.
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
}

/// Bytes in files in memory: those that a process has open, and those in the tree's `/tmp` and `/dev/shm`.
fn files(pids: &[i32]) -> u64 {
    let mut seen = BTreeSet::new();
    let anonymous: u64 = pids.iter().map(|pid| open_memory_files(*pid, &mut seen)).sum();
    let of_view = |name: &str| {
        let root = |pid: &i32| PathBuf::from(format!("/proc/{pid}/root")).join(name);
        pids.iter().find_map(|pid| used(&root(pid))).unwrap_or(0)
    };
    anonymous.saturating_add(of_view("tmp")).saturating_add(of_view("dev/shm"))
}

/// What a process has open of `memfd_create`, each file once.
fn open_memory_files(pid: i32, seen: &mut BTreeSet<u64>) -> u64 {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let sizes = descriptors.flatten().filter_map(|descriptor| {
        let path = descriptor.path();
        // The name first: it asks no file system, and a foreign one may never answer.
        let name = fs::read_link(&path).ok()?;
        if !name.as_os_str().as_encoded_bytes().starts_with(b"/memfd:") {
            return None;
        }
        let about = fs::metadata(&path).ok()?;
        seen.insert(about.ino()).then(|| about.blocks().saturating_mul(512))
    });
    sizes.sum()
}

/// How full a file system in memory is; `None` when it is not one.
fn used(path: &Path) -> Option<u64> {
    if statfs(path).ok()?.filesystem_type() != TMPFS_MAGIC {
        return None;
    }
    let about = statvfs(path).ok()?;
    Some(about.blocks().checked_sub(about.blocks_free())?.saturating_mul(about.fragment_size()))
}

/// Memory that belongs to these processes, each page once and files of the disk left out. What they
/// have mapped of files in memory is among those already.
fn exact(pids: &[i32], files: u64) -> u64 {
    let parts = pids.iter().map(|pid| {
        let read =
            |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let shares = read("smaps_rollup");
        // Not to be looked into: the plain numbers, to its own disadvantage.
        field(&shares, "Pss_Anon:", "Pss_Shmem:")
            .or_else(|| field(&read("status"), "RssAnon:", "RssShmem:"))
            .unwrap_or((0, 0))
    });
    let (private, shared) = parts.fold((0_u64, 0_u64), |(private, shared), part| {
        (private.saturating_add(part.0), shared.saturating_add(part.1))
    });
    private.saturating_add(shared.max(files))
}

fn field(text: &str, first: &str, second: &str) -> Option<(u64, u64)> {
    let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).and_then(kibibytes);
    Some((of(first)?, of(second)?))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn the_fields_of_a_stat_count_from_the_last_parenthesis() {
        let text = "7 (a) R 1 (b)) S 42 7 7 0 -1 0 1 2 3 4 50 6 0 0 20 0 3 0 99 4096 25 0";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.busy, stat.threads, stat.resident), (56, 3, 25 * page()));
        assert_eq!(Stat::parse("nonsense"), None);
        assert_eq!(Stat::parse("7 (cut) S 1 2"), None);
    }

    #[test]
    fn a_quiet_tree_is_left_alone_longer_and_a_busy_one_is_not() {
        let rests: Vec<u32> =
            std::iter::successors(Some(1), |rest| Some(next_rest(*rest, true, 3)))
                .take(8)
                .collect();
        assert_eq!(rests, [1, 2, 4, 8, 16, 32, 50, 50]);
        assert_eq!(next_rest(50, false, 3), 1);
    }

    #[test]
    fn a_crowd_is_looked_at_less_often() {
        assert_eq!(next_rest(1, false, 500), 10);
        assert_eq!(next_rest(1, false, usize::MAX), LONGEST_REST);
    }

    #[test]
    fn what_somebody_else_holds_is_not_watched() {
        let null = fs::File::open("/dev/null").unwrap();
        let dog =
            |unheld, limits| Watchdog::of(unheld, limits, (1, Rung::Bare), null.as_fd(), None);
        let limits = Limits::default();
        assert!(dog(Unheld { memory: false, processes: false }, &limits).is_none());
        let unlimited = Limits { memory: None, ..limits };
        assert!(dog(Unheld { memory: true, processes: false }, &unlimited).is_none());
    }

    /// This very process as the shim of a tree: its threads are not counted, its children are.
    fn own() -> Vec<i32> {
        vec![std::process::id().try_into().unwrap()]
    }

    #[test]
    fn a_resting_tree_is_looked_at_when_memory_goes_away() {
        let mut dog = Watchdog::new(Some(u64::MAX), None, own());
        (dog.rest, dog.free, dog.beats) = (50, 1 << 30, 0);
        dog.beat(1 << 30);
        assert_eq!(dog.beats, 1, "it rests");
        dog.beat((1 << 30) - ALARM - 1);
        assert_eq!(dog.beats, 0, "it looked");
    }

    #[test]
    fn the_exact_count_takes_the_larger_of_mapped_and_open_files() {
        assert_eq!(exact(&[], 4096), 4096);
        let text = "Pss_Anon:      12 kB\nPss_Shmem:      8 kB\n";
        assert_eq!(field(text, "Pss_Anon:", "Pss_Shmem:"), Some((12 << 10, 8 << 10)));
        assert_eq!(field("Rss: 1 kB\n", "Pss_Anon:", "Pss_Shmem:"), None);
    }

    #[test]
    fn own_memory_is_found_by_each_way() {
        let pid: i32 = std::process::id().try_into().unwrap();
        assert!(Stat::read(pid).unwrap().resident > 0);
        assert!(exact(&[pid], 0) > 0);
        assert!(free_memory() > 0);
    }
}
