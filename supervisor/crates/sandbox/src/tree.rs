//! The last rung of the tree kill: find every descendant in `/proc`, kill, reap, repeat until none.
//!
//! A subreaper adopts what its descendants leave behind, so a process can hide neither by a double
//! fork nor by `setsid`; a fork bomb is outrun because each round kills all that existed at its start
//! and orphans come back to the subreaper.

use std::{collections::BTreeMap, fs};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::sys;

/// Kills and reaps every descendant of this process. `reaped` sees each one that is reaped.
pub(crate) fn kill_descendants(mut reaped: impl FnMut(sys::Reaped)) {
    let own = nix::unistd::getpid().as_raw();
    loop {
        for pid in descendants(&parents(), own) {
            // It may be gone already.
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
        match sys::wait(-1, false) {
            Ok(Some(child)) => reaped(child),
            Ok(None) => {}
            Err(_no_children_left) => return,
        }
    }
}

/// The parent of every process, as `/proc` shows it now.
fn parents() -> BTreeMap<i32, i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return BTreeMap::new() };
    let numbers =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers
        .filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parent_in(&stat)?))
        })
        .collect()
}

/// The parent's pid in the text of `/proc/PID/stat`. The name before it is the process's own choice
/// and may hold anything, so the fields count from the last parenthesis.
fn parent_in(stat: &str) -> Option<i32> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

fn descendants(parents: &BTreeMap<i32, i32>, root: i32) -> Vec<i32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, of)| **of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_process_name_does_not_hide_its_parent() {
        assert_eq!(parent_in("7 (a) R 1 (b)) S 42 7 7 0"), Some(42));
        assert_eq!(parent_in("7 (x\n) 3) S 9 7"), Some(9));
        assert_eq!(parent_in("nonsense"), None);
    }

    #[test]
    fn descendants_are_found_at_any_depth_and_others_are_not() {
        let parents = BTreeMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (6, 4)]);
        assert_eq!(descendants(&parents, 2), [3, 4, 6]);
        assert_eq!(descendants(&parents, 6), Vec::<i32>::new());
    }
}
