//! How much processor time a process and its descendants have used: read from `/proc`, only when
//! somebody must know whether a silent plugin works or hangs.

use std::{fs, path::Path, time::Duration};

/// The kernel counts in hundredths of a second for everyone outside it, whatever it does inside.
const TICKS_PER_SECOND: u64 = 100;
/// So many processes are looked at; a tree that is larger is busy enough to be called busy by those.
const MOST: usize = 64;

/// The processor time of the living tree below `pid`, and of its dead that were waited for.
pub(crate) fn of_tree(pid: u32) -> Option<Duration> {
    tree(Path::new("/proc"), pid)
}

fn tree(proc: &Path, pid: u32) -> Option<Duration> {
    let mut ticks = ticks(proc, pid)?;
    let mut pids = vec![pid];
    let mut next = 0;
    while let Some(parent) = pids.get(next).copied().filter(|_| pids.len() < MOST) {
        next += 1;
        for child in children(proc, parent) {
            if pids.len() < MOST && !pids.contains(&child) {
                // One that has ended meanwhile is counted by its parent.
                ticks = ticks.saturating_add(self::ticks(proc, child).unwrap_or(0));
                pids.push(child);
            }
        }
    }
    let millis = ticks.saturating_mul(1000 / TICKS_PER_SECOND);
    Some(Duration::from_millis(millis))
}

/// User and system time of a process and of its children that were waited for.
fn ticks(proc: &Path, pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(proc.join(pid.to_string()).join("stat")).ok()?;
    // The name may contain anything, a parenthesis too; what follows the last one is numbers.
    let (_, numbers) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = numbers.split_whitespace().skip(11).take(4).collect();
    let numbers: Option<Vec<u64>> = fields.iter().map(|field| field.parse().ok()).collect();
    numbers.filter(|numbers| numbers.len() == 4).map(|numbers| numbers.iter().sum())
}

fn children(proc: &Path, pid: u32) -> Vec<u32> {
    let Ok(tasks) = fs::read_dir(proc.join(pid.to_string()).join("task")) else {
        return Vec::new();
    };
    tasks
        .flatten()
        .take(MOST)
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|text| {
            text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(proc: &Path, pid: u32, name: &str, times: &str, children: &str) {
        let task = proc.join(pid.to_string()).join("task").join(pid.to_string());
        fs::create_dir_all(&task).unwrap();
        let stat = format!("{pid} ({name}) S 1 2 3 4 5 6 7 8 9 10 {times} 20 0 1");
        fs::write(proc.join(pid.to_string()).join("stat"), stat).unwrap();
        fs::write(task.join("children"), children).unwrap();
    }

    #[test]
    fn the_time_of_the_whole_tree_counts_whatever_its_processes_are_called() {
        let dir = tempfile::tempdir().unwrap();
        process(dir.path(), 10, "a) S 9 (b", "100 50 3 4", "11 12 ");
        process(dir.path(), 11, "c", "1 1 0 0", "");
        process(dir.path(), 12, "d", "200 0 0 0", "10 99 ");
        let expected = Duration::from_millis((157 + 2 + 200) * 10);
        assert_eq!(tree(dir.path(), 10), Some(expected));
        assert_eq!(tree(dir.path(), 77), None);
    }

    #[test]
    fn this_process_has_used_some() {
        let mut sum = 0_u64;
        while of_tree(std::process::id()).unwrap() == Duration::ZERO {
            sum = (0..100_000_u64).fold(sum, |sum, number| sum.wrapping_mul(31) ^ number);
        }
    }
}
