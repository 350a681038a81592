//! Round trips of about 100 bytes: two processes with pipes and JSON on both ends, and nothing else,
//! against calls of a host to the same program, sealed.

mod contender;
pub(crate) mod payload;
pub(crate) mod python;

use std::time::Duration;

use anyhow::Result;

use crate::{
    Effort, package,
    report::Section,
    sample::{Contender, interleave},
};

pub(crate) const FLOOR: &str = "pipes + serde_json";
pub(crate) const CURRENT: &str = "Host::call, current thread";
pub(crate) const MULTI: &str = "Host::call, multi thread";

/// So many calls in each turn of the sequential bench.
const IN_TURN: usize = 200;
/// So many callers at once, with so many calls each in a turn.
const CALLERS: usize = 64;
const CALLS_EACH: usize = 20;
const TARGET: f64 = 2.0;

/// One after the other, then many at once.
pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let place = package::place()?;
    let (dir, program) = package::rust(place.path())?;
    let mut contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(contender::Floor::new(FLOOR, &program, IN_TURN)?),
        Box::new(contender::Calls::current(CURRENT, &dir, "rust", IN_TURN)?),
        Box::new(contender::Calls::multi(MULTI, &dir, "rust", IN_TURN)?),
    ];
    let measured = interleave(effort.rounds(100), Duration::ZERO, &mut contenders)?;
    let sequential = Section::new("call round trip of 100 bytes, one after the other", &measured)
        .ratio(&measured, (CURRENT, FLOOR), TARGET)
        .ratio(&measured, (MULTI, FLOOR), TARGET);
    let mut contenders: Vec<Box<dyn Contender>> = vec![
        Box::new(contender::Batch::new(FLOOR, &program, CALLERS, CALLS_EACH)?),
        Box::new(contender::Crowd::current(CURRENT, &dir, CALLERS, CALLS_EACH)?),
        Box::new(contender::Crowd::multi(MULTI, &dir, CALLERS, CALLS_EACH)?),
    ];
    let measured = interleave(effort.rounds(100), Duration::ZERO, &mut contenders)?;
    let together = Section::new("the same with 64 in flight, time per call", &measured)
        .note("the floor writes its 64 requests in one go and reads 64 answers");
    Ok(vec![sequential, together])
}
