//! What a process weighs and holds, as the kernel counts it.

use std::{
    fs,
    os::fd::{AsFd as _, OwnedFd},
};

use crate::wait::{Within, ends, open_process};

/// What a host must not lose with its plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vitals {
    /// Resident memory, in bytes.
    pub resident: u64,
    /// Open descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: usize,
    /// Processes below it, zombies too.
    pub descendants: usize,
}

impl Vitals {
    /// Of this process, now.
    #[must_use]
    pub fn now() -> Self {
        Self {
            resident: resident(),
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            threads: fs::read_dir("/proc/self/task").unwrap().count(),
            descendants: descendants(own()).len(),
        }
    }
}

/// Resident memory of this process, in bytes.
#[must_use]
pub fn resident() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4096
}

/// Runs `work` and tells by how much resident memory grew meanwhile, at its highest.
pub async fn growth<T>(work: impl Future<Output = T>) -> (T, u64) {
    // Sets the high-water mark back to what is resident now.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = peak();
    let done = work.await;
    (done, peak().saturating_sub(before))
}

/// The high-water mark of resident memory, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib * 1024
}

/// Who runs this process.
#[must_use]
pub fn user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// This process.
#[must_use]
pub fn own() -> i32 {
    std::process::id().try_into().unwrap()
}

/// The parent of a process; `None` when it is gone.
#[must_use]
pub fn parent(pid: i32) -> Option<i32> {
    stat(pid, 1)?.parse().ok()
}

/// Whether a process is dead and not yet reaped.
#[must_use]
pub fn is_zombie(pid: i32) -> bool {
    stat(pid, 0).is_some_and(|state| state == "Z")
}

/// All processes below one, by the parents they have now.
#[must_use]
pub fn descendants(of: i32) -> Vec<i32> {
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

/// Pidfds of all processes whose command line carries `token`.
#[must_use]
pub fn carriers(token: &str) -> Vec<OwnedFd> {
    let carries = |pid: &i32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(token)
    };
    processes().into_iter().filter(carries).filter_map(open_process).collect()
}

/// How many of these processes do not end in time.
#[must_use]
pub fn survivors(processes: &[OwnedFd], within: Within) -> usize {
    processes.iter().filter(|process| !ends(process.as_fd(), within)).count()
}

fn processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A field of `/proc/PID/stat`, counted from the one after the name.
fn stat(pid: i32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    after.split_whitespace().nth(field).map(str::to_owned)
}
