//! The document that `call --report` writes: what was enforced and how the call went. For programs;
//! the names in it are stable. Neither parameters nor the result are in it: they may be secrets.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use plugbay::{CallError, CallReport, Death, Generation, Hit, InstanceId};
use plugbay_sandbox::{Demands, Enforcement, FileGrant, Level};
use serde::Serialize;
use serde_json::value::RawValue;

use super::request::Request;
use crate::{
    exit::Exit,
    failure::Failure,
    output::{denial::Shown, file, moment},
};

/// The version of the document's shape.
const VERSION: u32 = 1;

/// A report to be written, and where it goes.
#[derive(Debug)]
pub(crate) struct Report {
    target: Option<(PathBuf, File)>,
    plugin: String,
    plugin_version: String,
    method: String,
    level: Level,
    demands: Demands,
    grants: Vec<FileGrant>,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    version: u32,
    plugin: &'a str,
    plugin_version: &'a str,
    method: &'a str,
    level: Level,
    /// What was demanded of single protections on the command line.
    demands: &'a Demands,
    /// What was granted on the command line, beyond the manifest.
    grants: &'a [FileGrant],
    enforcement: Option<&'a Enforcement>,
    /// How it went; null when the plugin has no such method, or the parameters do not fit.
    call: Option<Course<'a>>,
    /// Null when the call was answered.
    error: Option<Error>,
    /// How the plugin ended, when it was not we who stopped it.
    death: Option<Ended<'a>>,
    /// What the system call filter refused it, with the line of the manifest that would allow it.
    denials: Vec<Shown>,
}

#[derive(Debug, Serialize)]
struct Course<'a> {
    /// `ok`, or one word for what went wrong.
    outcome: &'a str,
    started: String,
    duration_ms: f64,
    /// How much of that it waited for the plugin to come up.
    waited_ms: f64,
    attempts: u32,
    instance: Option<u64>,
    generation: Option<u64>,
    bytes_in: u64,
    bytes_out: u64,
    progress: u64,
    cpu_ms: Option<f64>,
    /// Where in the plugin it went wrong, if the plugin says so.
    traceback: Option<String>,
}

#[derive(Debug, Serialize)]
struct Error {
    code: i32,
    message: String,
    data: Option<Box<RawValue>>,
}

#[derive(Debug, Serialize)]
struct Ended<'a> {
    cause: String,
    /// The same in words.
    words: String,
    before_hello: bool,
    pid: Option<u32>,
    instance: u64,
    uptime_ms: f64,
    calls_lost: usize,
    in_flight: Vec<Interrupted<'a>>,
    limits: &'a [Hit],
    user_ms: Option<u128>,
    system_ms: Option<u128>,
    max_rss_bytes: Option<u64>,
    memory_peak_bytes: Option<u64>,
    /// The state that the plugin went into.
    next: Option<&'a str>,
    stderr_tail: &'a str,
}

#[derive(Debug, Serialize)]
struct Interrupted<'a> {
    method: &'a str,
    age_ms: f64,
}

impl<'a> From<&'a CallReport> for Course<'a> {
    fn from(report: &'a CallReport) -> Self {
        Self {
            outcome: report.outcome(),
            started: moment::rfc3339(report.started),
            duration_ms: moment::millis(report.duration),
            waited_ms: moment::millis(report.waited),
            attempts: report.attempts,
            instance: report.instance.map(InstanceId::number),
            generation: report.generation.map(Generation::number),
            bytes_in: report.bytes_in,
            bytes_out: report.bytes_out,
            progress: report.progress,
            cpu_ms: report.cpu.map(moment::millis),
            traceback: report.traceback(),
        }
    }
}

impl<'a> From<&'a Death> for Ended<'a> {
    fn from(death: &'a Death) -> Self {
        let in_flight = death.in_flight.iter();
        Self {
            cause: death.cause.token(),
            words: death.to_string(),
            before_hello: death.before_hello,
            pid: death.pid,
            instance: death.instance.number(),
            uptime_ms: moment::millis(death.uptime),
            calls_lost: death.calls_lost,
            in_flight: in_flight
                .map(|call| Interrupted { method: &call.method, age_ms: moment::millis(call.age) })
                .collect(),
            limits: &death.limits,
            user_ms: death.usage.map(|usage| usage.user.as_millis()),
            system_ms: death.usage.map(|usage| usage.system.as_millis()),
            max_rss_bytes: death.usage.map(|usage| usage.max_rss),
            memory_peak_bytes: death.memory_peak,
            next: death.next.map(|next| next.state),
            stderr_tail: &death.stderr_tail,
        }
    }
}

impl Report {
    /// Opens the file before anything runs.
    pub(crate) fn open(target: Option<&Path>, request: &Request) -> Result<Self, Failure> {
        let target = target.map(|path| {
            let made = file::create(path, &request.grants);
            made.map(|file| (path.to_owned(), file)).map_err(|error| {
                Failure::new(Exit::NotStarted, format!("write `{}`: {error}", path.display()))
            })
        });
        Ok(Self {
            target: target.transpose()?,
            plugin: request.name().to_owned(),
            plugin_version: request.version(),
            method: request.method.clone(),
            level: request.level,
            demands: request.demands.clone(),
            grants: request.grants.clone(),
        })
    }

    /// Writes the document, if it was asked for.
    pub(crate) fn write(
        self,
        outcome: &Result<Box<RawValue>, CallError>,
        course: Option<&CallReport>,
        enforcement: Option<&Enforcement>,
        death: Option<&Death>,
        denials: Vec<Shown>,
    ) -> Result<(), Failure> {
        let Some((path, mut file)) = self.target else { return Ok(()) };
        let document = Document {
            version: VERSION,
            plugin: &self.plugin,
            plugin_version: &self.plugin_version,
            method: &self.method,
            level: self.level,
            demands: &self.demands,
            grants: &self.grants,
            enforcement,
            call: course.map(Course::from),
            error: outcome.as_ref().err().map(|error| {
                let object = error.to_error_object();
                Error { code: object.code, message: object.message, data: object.data }
            }),
            death: death.map(Ended::from),
            denials,
        };
        let text = serde_json::to_string_pretty(&document).map_err(io::Error::from);
        text.and_then(|text| writeln!(file, "{text}")).map_err(|error| {
            Failure::new(Exit::Answered, format!("write `{}`: {error}", path.display()))
        })
    }
}
