//! `[limits]` and `[supervision]`: numbers within bounds.

use crate::{
    field::{Field, Section},
    key::{LIMITS, SUPERVISION},
    limit::{Limits, Restart, Supervision},
    neutral::echo,
    quantity::parse_milli,
};

/// Less memory than this starts no program; the number is surely missing its unit.
const LEAST_MEMORY: u64 = 1 << 20;
const CPU_RULE: &str = "a number of cores from 0.01 to 1024, as 0.5 or 2";

pub(super) fn read(section: &Section<'_>) -> Limits {
    section.refuse_unknown(&LIMITS.names().collect::<Vec<_>>());
    let defaults = Limits::default();
    Limits {
        memory: section.get("memory").and_then(|field| field.size(LEAST_MEMORY)),
        cpu_milli: section.get("cpu").and_then(|field| read_cpu(&field)),
        pids: section.get("pids").and_then(|field| field.count(1..=4_194_304)),
        open_files: section.get("open_files").and_then(|field| field.count(8..=1_048_576)),
        file_size: section.get("file_size").and_then(|field| field.size(0)),
        call_timeout: section
            .get("call_timeout")
            .and_then(|field| field.duration())
            .unwrap_or(defaults.call_timeout),
    }
}

/// A number of cores, in thousandths.
fn read_cpu(field: &Field<'_>) -> Option<u64> {
    let value = field.value.get_ref();
    let integer = value.as_integer().filter(|integer| integer.radix() == 10);
    let Some(text) =
        integer.map(|i| i.as_str()).or_else(|| value.as_float().map(|float| float.as_str()))
    else {
        field.wrong_kind(CPU_RULE);
        return None;
    };
    let milli = parse_milli(text).ok().filter(|milli| (10..=1_024_000).contains(milli));
    if milli.is_none() {
        field.wrong(format!("`{}` is out of range", echo(text)), CPU_RULE);
    }
    milli
}

pub(super) fn read_supervision(section: &Section<'_>) -> Supervision {
    section.refuse_unknown(&SUPERVISION.names().collect::<Vec<_>>());
    let defaults = Supervision::default();
    let duration = |name: &str, default| {
        section.get(name).and_then(|field| field.duration()).unwrap_or(default)
    };
    let supervision = Supervision {
        restart: section
            .get("restart")
            .and_then(|field| field.choice(&Restart::ALL, Restart::as_str))
            .unwrap_or_default(),
        start_timeout: duration("start_timeout", defaults.start_timeout),
        stop_timeout: duration("stop_timeout", defaults.stop_timeout),
        max_inflight: section
            .get("max_inflight")
            .and_then(|field| field.count(1..=65_536))
            .and_then(|count| u32::try_from(count).ok())
            .unwrap_or(defaults.max_inflight),
        backoff_initial: duration("backoff_initial", defaults.backoff_initial),
        backoff_max: duration("backoff_max", defaults.backoff_max),
        backoff_reset: duration("backoff_reset", defaults.backoff_reset),
    };
    if supervision.backoff_initial > supervision.backoff_max
        && let Some(field) = section.get("backoff_initial").or_else(|| section.get("backoff_max"))
    {
        let message = "`backoff_initial` is longer than `backoff_max`";
        field.wrong(message, "a first wait that is not longer than the longest");
    }
    supervision
}
