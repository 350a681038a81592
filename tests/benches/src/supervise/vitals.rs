//! What the supervisor uses: this process and its keeper.

use std::fs;

use anyhow::{Context as _, Result};

/// Memory, descriptors, threads and processor time of the host and its keeper, together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vitals {
    /// Resident memory that nobody shares, in bytes.
    pub(super) private: u64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
    /// Time on a processor since the start, in nanoseconds.
    pub(super) busy_ns: u64,
}

impl Vitals {
    /// Of this process and of those of its children that it keeps plugins with.
    pub(super) fn now() -> Result<Self> {
        let own = std::process::id();
        let mut all = Self::of(own)?;
        for keeper in children(own)? {
            let theirs = match Self::of(keeper) {
                Ok(theirs) => theirs,
                // The keeper of a host before this one, ended and not waited for yet: it holds nothing.
                Err(error) if has_ended(&error) => continue,
                Err(error) => return Err(error),
            };
            all.private += theirs.private;
            all.descriptors += theirs.descriptors;
            all.threads += theirs.threads;
            all.busy_ns += theirs.busy_ns;
        }
        Ok(all)
    }

    fn of(pid: u32) -> Result<Self> {
        let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let private = memory.lines().filter(|line| line.starts_with("Private_"));
        let kib = private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        let (mut threads, mut busy_ns) = (0, 0);
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let times = fs::read_to_string(task?.path().join("schedstat"))?;
            let busy = times.split(' ').next().and_then(|busy| busy.parse::<u64>().ok());
            busy_ns += busy.context("schedstat cannot be read")?;
            threads += 1;
        }
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.count().try_into()?;
        Ok(Self { private: kib.sum::<u64>() * 1024, descriptors, threads, busy_ns })
    }
}

fn has_ended(error: &anyhow::Error) -> bool {
    let errno = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error);
    matches!(errno, Some(libc::ESRCH | libc::ENOENT))
}

/// The children of a process, whichever of its threads made them.
fn children(pid: u32) -> Result<Vec<u32>> {
    let mut all = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("children"))?;
        all.extend(text.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
    }
    Ok(all)
}
