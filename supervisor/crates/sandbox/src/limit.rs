//! Limits that a process ran into: which, its value, the most that was seen, and who held it.
//!
//! Only words and numbers; who counts is `cgroup`, `watchdog` or the kernel's own rlimits.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Memory of the whole tree, in bytes.
    Memory,
    /// Processes and threads of the whole tree.
    Processes,
    /// Share of the processors, in thousandths of one core.
    CpuRate,
    /// Processor time of one process, in milliseconds.
    CpuTime,
    /// Wall clock time, in milliseconds.
    Wall,
    /// The largest file that may be written, in bytes.
    FileSize,
    /// Open files of one process.
    OpenFiles,
    /// The private `/tmp`, in bytes.
    Disk,
    /// What is written to stdout and stderr, in bytes; held by whoever reads them.
    Output,
}

impl Limit {
    /// Its name for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processes => "processes",
            Self::CpuRate => "cpu-rate",
            Self::CpuTime => "cpu-time",
            Self::Wall => "wall",
            Self::FileSize => "file-size",
            Self::OpenFiles => "open-files",
            Self::Disk => "disk",
            Self::Output => "output",
        }
    }

    /// Its name for people; fits before "limit".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Processes => "process",
            Self::CpuRate => "CPU rate",
            Self::CpuTime => "CPU time",
            Self::Wall => "wall clock",
            Self::FileSize => "file size",
            Self::OpenFiles => "open file",
            Self::Disk => "/tmp",
            Self::Output => "output",
        }
    }

    /// An amount of it, for people: never more than what limits it when it is not, so rounded down.
    #[must_use]
    pub fn amount(self, value: u64) -> String {
        match self {
            Self::Memory | Self::FileSize | Self::Disk | Self::Output => bytes(value),
            Self::Processes | Self::OpenFiles => value.to_string(),
            Self::CpuRate => format!("{}.{:03} cores", value / 1000, value % 1000),
            Self::CpuTime | Self::Wall => format!("{:?}", Duration::from_millis(value)),
        }
    }
}

/// Who held a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holder {
    /// A controller of cgroup v2.
    CgroupV2,
    /// A controller of cgroup v1.
    CgroupV1,
    /// A resource limit of each process, set before it was executed.
    Rlimit,
    /// Whoever started it, by looking from time to time.
    Watchdog,
    /// Whoever started it, by a timer.
    Timer,
    /// A file system of that size.
    Mount,
    /// Whoever started it, by passing on what it writes.
    Relay,
}

impl Holder {
    /// Its name for people; fits after "by".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::CgroupV2 => "cgroup v2",
            Self::CgroupV1 => "cgroup v1",
            Self::Rlimit => "rlimit",
            Self::Watchdog => "watchdog",
            Self::Timer => "timer",
            Self::Mount => "mount",
            Self::Relay => "relay",
        }
    }
}

/// A limit that was asked for, and who holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Which.
    pub limit: Limit,
    /// Its value, in the unit of [`Limit`].
    pub value: u64,
    /// Who holds it; `None` when nobody can here.
    pub by: Option<Holder>,
}

/// A limit that was run into, whether or not that ended the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// Which.
    pub limit: Limit,
    /// Its value, in the unit of [`Limit`].
    pub value: u64,
    /// The most that was seen, in the same unit, where somebody counts.
    pub peak: Option<u64>,
    /// How often: processes killed, forks refused, times throttled.
    pub times: u64,
    /// Who held it.
    pub by: Holder,
}

impl fmt::Display for Hit {
    /// Fits after "ran into" or "passed": `its memory limit of 64MiB (peak 64MiB, held by cgroup v1)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = self.limit.amount(self.value);
        write!(f, "its {} limit of {amount} (", self.limit.words())?;
        if let Some(peak) = self.peak {
            write!(f, "peak {}, ", self.limit.amount(peak))?;
        }
        write!(f, "held by {})", self.by.words())
    }
}

/// A size in the largest unit that it fills, exact or with one digit more.
fn bytes(value: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let Some((shift, unit)) = units.into_iter().find(|(shift, _)| value >> shift > 0) else {
        return format!("{value}B");
    };
    let whole = value >> shift;
    let tenths = ((value - (whole << shift)) * 10) >> shift;
    if tenths == 0 { format!("{whole}{unit}") } else { format!("{whole}.{tenths}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hit_names_limit_value_peak_and_holder() {
        let hit = Hit {
            limit: Limit::Memory,
            value: 64 << 20,
            peak: Some((63 << 20) + (1 << 19)),
            times: 1,
            by: Holder::CgroupV1,
        };
        let words = "its memory limit of 64MiB (peak 63.5MiB, held by cgroup v1)";
        assert_eq!(hit.to_string(), words);
        let unseen = Hit { peak: None, limit: Limit::CpuTime, value: 1500, ..hit };
        assert_eq!(unseen.to_string(), "its CPU time limit of 1.5s (held by cgroup v1)");
    }

    #[test]
    fn names_for_programs_are_those_of_the_serialised_form() {
        for limit in [
            Limit::Memory,
            Limit::Processes,
            Limit::CpuRate,
            Limit::CpuTime,
            Limit::Wall,
            Limit::FileSize,
            Limit::OpenFiles,
            Limit::Disk,
            Limit::Output,
        ] {
            assert_eq!(serde_json::to_value(limit).unwrap(), limit.name());
        }
    }

    #[test]
    fn amounts_are_read_in_their_own_unit() {
        assert_eq!(Limit::Memory.amount(1000), "1000B");
        assert_eq!(Limit::Memory.amount(u64::MAX), "16777215.9TiB");
        assert_eq!(Limit::Processes.amount(40), "40");
        assert_eq!(Limit::CpuRate.amount(1500), "1.500 cores");
        assert_eq!(Limit::Wall.amount(250), "250ms");
    }
}
