//! `[limits]`: numbers within bounds.

use plugbay_protocol::limits::MAX_FRAME_CEILING;

use crate::{
    field::{Field, Section},
    key::LIMITS,
    limit::Limits,
    neutral::echo,
    quantity::parse_milli,
};

/// Less memory than this starts no program; the number is surely missing its unit.
pub(super) const LEAST_MEMORY: u64 = 1 << 20;
/// A handshake with grants and a schema or two must fit.
const LEAST_FRAME: u64 = 64 << 10;
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
        max_frame: section
            .get("max_frame")
            .and_then(|field| read_frame(&field))
            .unwrap_or(defaults.max_frame),
    }
}

/// A size within what the protocol allows for a message.
fn read_frame(field: &Field<'_>) -> Option<u64> {
    let size = field.size(0)?;
    let most = u64::try_from(MAX_FRAME_CEILING).unwrap_or(u64::MAX);
    if (LEAST_FRAME..=most).contains(&size) {
        return Some(size);
    }
    field.wrong(format!("{size} bytes are out of range"), "a size from 64KiB to 64MiB");
    None
}

/// A number of cores, in thousandths.
pub(super) fn read_cpu(field: &Field<'_>) -> Option<u64> {
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
