//! What a test may not leave behind: processes, cgroups, mounts, private directories.

use std::{
    fs,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::wait::{Within, ends, open_process};

/// How long the kernel may take to finish what was killed.
const GRACE: Duration = Duration::from_secs(1);

/// Everything that is left, in words. Processes that are on their way out are waited for.
pub(crate) fn left(token: &str, programs: &Path, keepers: &[i32]) -> Vec<String> {
    let within = Within::of(GRACE);
    let mut found: Vec<String> = processes()
        .into_iter()
        .filter(|pid| is_ours(*pid, token, programs))
        .filter(|pid| open_process(*pid).is_some_and(|process| !ends(process.as_fd(), within)))
        .map(|pid| format!("process {pid}: {}", command_line(pid)))
        .collect();
    for keeper in keepers {
        found.extend(named_below(&own_cgroup(), |name| {
            name.starts_with(&format!("plugbay-{keeper}-"))
        }));
        found.extend(named_below(Path::new("/tmp"), |name| {
            name.starts_with("plugbay-") && name.contains(&format!("-{keeper}-"))
        }));
    }
    found
}

/// What carries the token and does not end in time. Processes that fork and end without end can slip
/// through one look at the table, so it takes several empty ones to believe that there is nothing.
pub(crate) fn outliving(token: &str, within: Within) -> Vec<String> {
    const LOOKS: u32 = 20;
    let mut empty = 0;
    loop {
        let carrying: Vec<i32> =
            processes().into_iter().filter(|pid| command_line(*pid).contains(token)).collect();
        empty = if carrying.is_empty() { empty + 1 } else { 0 };
        if empty == LOOKS {
            return Vec::new();
        }
        let all_ended = carrying
            .iter()
            .filter_map(|pid| open_process(*pid))
            .all(|process| ends(process.as_fd(), within));
        if !carrying.is_empty() && (!all_ended || within.left().is_zero()) {
            return carrying.iter().map(|pid| format!("process {pid}")).collect();
        }
    }
}

/// How many mounts of this process are ours. Other programs may mount what they like meanwhile.
pub(crate) fn mounts() -> usize {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    table.lines().filter(|line| line.contains("/pbt-") || line.contains("plugbay")).count()
}

fn processes() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Whether a process carries this test's name, or runs one of our programs and has lost its parents.
fn is_ours(pid: i32, token: &str, programs: &Path) -> bool {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    command_line(pid).contains(token) || (program.starts_with(programs) && !descends_from_us(pid))
}

fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

fn descends_from_us(pid: i32) -> bool {
    let own = i32::try_from(std::process::id()).unwrap();
    let mut at = pid;
    while at > 1 {
        if at == own {
            return true;
        }
        at = parent(at);
    }
    false
}

fn parent(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let field = stat.rsplit_once(')').and_then(|(_, after)| after.split_whitespace().nth(1));
    field.and_then(|field| field.parse().ok()).unwrap_or(0)
}

fn own_cgroup() -> PathBuf {
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = membership.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let root = roots.iter().find(|root| Path::new(root).join("cgroup.procs").exists());
    Path::new(root.unwrap_or(&"/sys/fs/cgroup")).join(own)
}

fn named_below(directory: &Path, is_ours: impl Fn(&str) -> bool) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_str().is_some_and(&is_ours));
    ours.map(|entry| format!("directory {}", entry.path().display())).collect()
}
