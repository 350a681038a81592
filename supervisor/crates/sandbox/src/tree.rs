//! The last rung of the tree kill: find every descendant in `/proc`, kill, reap, repeat until none.
//!
//! A subreaper adopts what its descendants leave behind, so a process can hide neither by a double
//! fork nor by `setsid`; a fork bomb is outrun because each round kills all that existed at its start
//! and orphans come back to the subreaper.

use std::{collections::HashMap, fs};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::sys;

/// Kills and reaps every descendant of this process. `reaped` sees each one that is reaped.
pub(crate) fn kill_descendants(mut reaped: impl FnMut(sys::Reaped)) {
    let own = nix::unistd::getpid().as_raw();
    loop {
        for pid in descendants(&living(), own) {
            // It may be gone already.
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
        // One that has died, waited for; then all that have, so that a round costs what is alive and
        // not what is dead.
        let mut next = sys::wait(-1, false);
        while let Ok(Some(child)) = next {
            reaped(child);
            next = sys::wait(-1, true);
        }
        if next.is_err() {
            return; // no children are left
        }
    }
}

/// The living processes as pairs of parent and child, as `/proc` shows them now. The dead are left
/// out: they need no kill, and what they had is the subreaper's.
fn living() -> Vec<(i32, i32)> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let numbers =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers
        .filter_map(|pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((living_parent_in(&stat)?, pid))
        })
        .collect()
}

/// The parent's pid in the text of `/proc/PID/stat`, unless the process is dead. The name before it is
/// the process's own choice and may hold anything, so the fields count from the last parenthesis.
fn living_parent_in(stat: &str) -> Option<i32> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some(parent)
}

fn descendants(pairs: &[(i32, i32)], root: i32) -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for (parent, pid) in pairs {
        children.entry(*parent).or_default().push(*pid);
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        for pid in children.remove(&parent).unwrap_or_default() {
            found.push(pid);
            open.push(pid);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_process_name_does_not_hide_its_parent() {
        assert_eq!(living_parent_in("7 (a) R 1 (b)) S 42 7 7 0"), Some(42));
        assert_eq!(living_parent_in("7 (x\n) 3) S 9 7"), Some(9));
        assert_eq!(living_parent_in("nonsense"), None);
    }

    #[test]
    fn the_dead_are_left_out() {
        assert_eq!(living_parent_in("7 (sh) Z 42 7 7 0"), None);
    }

    #[test]
    fn descendants_are_found_at_any_depth_and_others_are_not() {
        let pairs = [(1, 2), (2, 3), (3, 4), (1, 5), (4, 6)];
        let mut found = descendants(&pairs, 2);
        found.sort_unstable();
        assert_eq!(found, [3, 4, 6]);
        assert_eq!(descendants(&pairs, 6), Vec::<i32>::new());
    }

    #[test]
    fn thirty_thousand_processes_are_one_pass() {
        let pairs: Vec<(i32, i32)> = (2..30_000).map(|pid| (pid / 2, pid)).collect();
        assert_eq!(descendants(&pairs, 1).len(), 29_998);
    }
}
