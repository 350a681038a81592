//! What this process weighs and holds, and what runs below it, as the kernel counts it.

use std::{
    fs,
    os::fd::{AsFd as _, OwnedFd},
};

use serde::{Deserialize, Serialize};

use super::clock::{Within, polled};

/// What a host must not lose with its plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Vitals {
    /// Resident memory, in bytes.
    pub(crate) resident: u64,
    /// Open descriptors.
    pub(crate) descriptors: usize,
    /// Threads.
    pub(crate) threads: usize,
    /// Processes below it, zombies too.
    pub(crate) children: usize,
}

impl Vitals {
    /// Of this process, now.
    pub(crate) fn now() -> Self {
        let count = |dir| fs::read_dir(dir).map_or(0, Iterator::count);
        Self {
            resident: resident(),
            descriptors: count("/proc/self/fd"),
            threads: count("/proc/self/task"),
            children: descendants(own()).len(),
        }
    }

    /// What is there more than before, in words; memory is judged apart.
    pub(crate) fn more_than(&self, before: &Self) -> Option<String> {
        let grown = [
            ("descriptors", self.descriptors, before.descriptors),
            ("threads", self.threads, before.threads),
            ("processes", self.children, before.children),
        ];
        let more = grown.iter().filter(|(_, now, before)| now > before);
        let told: Vec<String> =
            more.map(|(what, now, before)| format!("{now} {what} after {before}")).collect();
        (!told.is_empty()).then(|| told.join(", "))
    }
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 =
        statm.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * 4096
}

/// Runs `work` and tells by how much resident memory grew meanwhile, at its highest.
pub(crate) async fn growth<T>(work: impl Future<Output = T>) -> std::io::Result<(T, u64)> {
    // Sets the high-water mark back to what is resident now.
    fs::write("/proc/self/clear_refs", "5")?;
    let before = peak();
    let done = work.await;
    Ok((done, peak().saturating_sub(before)))
}

/// The high-water mark of resident memory, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
}

/// Bytes as mebibytes, to be read.
pub(crate) fn mebibytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) / 1024.0
}

/// This process.
pub(crate) fn own() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(0)
}

/// The parent of a process; `None` when it is gone.
pub(crate) fn parent(pid: i32) -> Option<i32> {
    stat(pid, 1)?.parse().ok()
}

/// Whether a process is dead and not yet reaped.
pub(crate) fn is_zombie(pid: i32) -> bool {
    stat(pid, 0).is_some_and(|state| state == "Z")
}

/// Whether a process waits where no signal reaches it.
pub(crate) fn is_held(pid: i32) -> bool {
    stat(pid, 0).is_some_and(|state| state == "D")
}

/// Whether a process waits where a signal would wake it.
pub(crate) fn is_asleep(pid: i32) -> bool {
    stat(pid, 0).is_some_and(|state| state == "S")
}

/// All processes below one, by the parents they have now.
pub(crate) fn descendants(of: i32) -> Vec<i32> {
    let family: Vec<(i32, i32)> =
        processes().into_iter().filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![of];
    let mut next = 0;
    while let Some(at) = found.get(next).copied() {
        found.extend(family.iter().filter(|(_, parent)| *parent == at).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// Pidfds of all processes whose command line carries `token`, this one excepted.
pub(crate) fn carriers(token: &str) -> Vec<OwnedFd> {
    carrying(token).into_iter().filter_map(open).collect()
}

/// The same, by number.
pub(crate) fn carrying(token: &str) -> Vec<i32> {
    let carries = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        *pid != own() && String::from_utf8_lossy(&line).contains(token)
    };
    processes().into_iter().filter(carries).collect()
}

/// A pidfd; `None` when there is no such process any more.
pub(crate) fn open(pid: i32) -> Option<OwnedFd> {
    plugbay_sandbox::process::open(pid).ok()
}

/// How many of these processes do not end in time.
pub(crate) fn survivors(processes: &[OwnedFd], within: Within) -> usize {
    processes.iter().filter(|process| !within.readable(&mut [polled(process.as_fd())])).count()
}

fn processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A field of `/proc/PID/stat`, counted from the one after the name.
fn stat(pid: i32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    after.split_whitespace().nth(field).map(str::to_owned)
}
