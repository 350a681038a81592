//! What was kept, as JSON. For programs: the names are stable, times are RFC 3339 in UTC, spans are
//! milliseconds.

use plugbay::store::{Call, Change, Death, Hit, InFlight, Run};
use plugbay_sandbox::Denial;
use serde::Serialize;

use crate::output::{denial::Shown, moment};

/// What a process was refused, as far as this version knows what it means.
pub(crate) fn denials(death: &Death) -> Vec<Shown> {
    let kinds = death.denials.iter();
    let known = kinds.filter_map(|kind| serde_json::from_str::<Denial>(&kind.details).ok());
    known.map(|kind| Shown::of_plugin(&kind)).collect()
}

/// How a process ended.
#[derive(Debug, Serialize)]
pub(crate) struct Ended<'a> {
    version: &'a str,
    generation: u64,
    instance: u64,
    at: String,
    pid: Option<u32>,
    /// One token.
    cause: &'a str,
    /// The same in words.
    words: &'a str,
    requested: bool,
    before_hello: bool,
    uptime_ms: f64,
    calls_lost: u64,
    in_flight: Vec<Interrupted<'a>>,
    limits: Vec<Limited<'a>>,
    /// What it was refused; each as in the report of `run`, with a line of the manifest as the fix.
    denials: Vec<Shown>,
    denied_more: u64,
    user_ms: Option<f64>,
    system_ms: Option<f64>,
    max_rss_bytes: Option<u64>,
    memory_peak_bytes: Option<u64>,
    next: Option<Following<'a>>,
    stderr: &'a str,
}

#[derive(Debug, Serialize)]
struct Interrupted<'a> {
    method: &'a str,
    age_ms: f64,
}

#[derive(Debug, Serialize)]
struct Limited<'a> {
    limit: &'a str,
    value: u64,
    peak: Option<u64>,
    times: u64,
    by: &'a str,
    words: &'a str,
}

#[derive(Debug, Serialize)]
struct Following<'a> {
    state: &'a str,
    /// Until it is started again, counted from the end.
    after_ms: Option<f64>,
}

/// How a call went.
#[derive(Debug, Serialize)]
pub(crate) struct Called<'a> {
    method: &'a str,
    at: String,
    outcome: &'a str,
    duration_ms: f64,
    waited_ms: f64,
    attempts: u32,
    error: Option<&'a str>,
    traceback: Option<&'a str>,
    instance: Option<u64>,
    generation: Option<u64>,
    bytes_in: u64,
    bytes_out: u64,
    progress: u64,
    cpu_ms: Option<f64>,
    callers: Option<&'a str>,
    traceparent: Option<&'a str>,
}

/// A change of a plugin's state.
#[derive(Debug, Serialize)]
pub(crate) struct Changed<'a> {
    at: String,
    instance: Option<u64>,
    from: &'a str,
    to: &'a str,
    why: &'a str,
}

/// Who hosted.
#[derive(Debug, Serialize)]
pub(crate) struct Hosted<'a> {
    name: &'a str,
    version: &'a str,
    pid: u32,
    since: String,
}

impl<'a> From<&'a Death> for Ended<'a> {
    fn from(death: &'a Death) -> Self {
        Self {
            version: &death.version,
            generation: death.generation,
            instance: death.instance,
            at: moment::rfc3339(death.at),
            pid: death.pid,
            cause: &death.cause,
            words: &death.words,
            requested: death.requested,
            before_hello: death.before_hello,
            uptime_ms: moment::millis(death.uptime),
            calls_lost: death.calls_lost,
            in_flight: death.in_flight.iter().map(Interrupted::from).collect(),
            limits: death.limits.iter().map(Limited::from).collect(),
            denials: denials(death),
            denied_more: death.denied_more,
            user_ms: death.usage.map(|usage| moment::millis(usage.user)),
            system_ms: death.usage.map(|usage| moment::millis(usage.system)),
            max_rss_bytes: death.usage.map(|usage| usage.max_rss),
            memory_peak_bytes: death.memory_peak,
            next: death.next.as_ref().map(|next| Following {
                state: &next.state,
                after_ms: next.after.map(moment::millis),
            }),
            stderr: &death.stderr,
        }
    }
}

impl<'a> From<&'a InFlight> for Interrupted<'a> {
    fn from(call: &'a InFlight) -> Self {
        Self { method: &call.method, age_ms: moment::millis(call.age) }
    }
}

impl<'a> From<&'a Hit> for Limited<'a> {
    fn from(hit: &'a Hit) -> Self {
        let Hit { limit, value, peak, times, by, words } = hit;
        Self { limit, value: *value, peak: *peak, times: *times, by, words }
    }
}

impl<'a> From<&'a Call> for Called<'a> {
    fn from(call: &'a Call) -> Self {
        Self {
            method: &call.method,
            at: moment::rfc3339(call.at),
            outcome: &call.outcome,
            duration_ms: moment::millis(call.duration),
            waited_ms: moment::millis(call.waited),
            attempts: call.attempts,
            error: call.error.as_deref(),
            traceback: call.traceback.as_deref(),
            instance: call.instance,
            generation: call.generation,
            bytes_in: call.bytes_in,
            bytes_out: call.bytes_out,
            progress: call.progress,
            cpu_ms: call.cpu.map(moment::millis),
            callers: call.callers.as_deref(),
            traceparent: call.traceparent.as_deref(),
        }
    }
}

impl<'a> From<&'a Change> for Changed<'a> {
    fn from(change: &'a Change) -> Self {
        Self {
            at: moment::rfc3339(change.at),
            instance: change.instance,
            from: &change.from,
            to: &change.to,
            why: &change.why,
        }
    }
}

impl<'a> From<&'a Run> for Hosted<'a> {
    fn from(run: &'a Run) -> Self {
        Self {
            name: &run.host,
            version: &run.version,
            pid: run.pid,
            since: moment::rfc3339(run.at),
        }
    }
}
