//! What `plugbay dev` tells: for a person, or as JSON lines.

use std::time::Duration;

use plugbay::{CallReport, Death, LogLevel, LogRecord, SwapStatus, SwapVerdict};
use serde::Serialize;
use serde_json::{Value, json};

use crate::output::{
    Format, Terminal, Tone,
    denial::Shown,
    moment::{millis, span},
};

/// Lines of a dead process's stderr that are shown.
const LAST_WORDS: usize = 12;

/// Tells what happens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Voice {
    pub(super) terminal: Terminal,
    pub(super) json: bool,
}

impl Voice {
    /// Tells one thing, in one of two ways.
    fn tell(self, event: &'static str, fields: impl Serialize, say: impl FnOnce(Terminal)) {
        if !self.json {
            return say(self.terminal);
        }
        let mut document = json!({"event": event});
        if let (Some(all), Ok(Value::Object(more))) =
            (document.as_object_mut(), serde_json::to_value(fields))
        {
            all.extend(more);
        }
        if let Ok(raw) = serde_json::value::to_raw_value(&document) {
            // Nobody reads any more: the end comes with the next signal.
            let _closed = self.terminal.item(&raw);
        }
    }

    pub(super) fn ready(self, name: &str, version: &str, after: Duration) {
        let fields = json!({"plugin": name, "version": version, "after_ms": millis(after)});
        self.tell("ready", fields, |terminal| {
            let said = format!("{name} {version} answers, after {}", span(after));
            terminal.say_as(Tone::Good, "ready", &said);
        });
    }

    /// The first version does not come up.
    pub(super) fn down(self, why: &str) {
        self.tell("down", json!({"why": why}), |terminal| {
            terminal.say_as(Tone::Bad, "down", &format!("{why}; waiting for a change"));
        });
    }

    pub(super) fn changed(self, path: &str) {
        self.tell("changed", json!({"path": path}), |terminal| {
            terminal.say_as(Tone::Note, "changed", path);
        });
    }

    /// A change that was not even tried.
    pub(super) fn refused(self, why: &str) {
        self.tell("refused", json!({"why": why}), |terminal| {
            terminal.say_as(Tone::Bad, "not taken", &format!("{why}\nthe one before goes on"));
        });
    }

    /// A new version answers.
    pub(super) fn switched(self, status: &SwapStatus, after: Duration) {
        let fields = json!({
            "generation": status.to.number(),
            "version": status.to_version,
            "after_ms": millis(after),
            "state_bytes": status.state_bytes,
            "downtime_ms": millis(status.downtime),
        });
        self.tell("switched", fields, |terminal| {
            let state = match status.state_bytes {
                Some(bytes) => format!(", with {bytes} bytes of state"),
                None => String::new(),
            };
            let said = format!("{} answers, after {}{state}", status.to_version, span(after));
            terminal.say_as(Tone::Good, "new version", &said);
        });
    }

    /// A new version did not take, or keep, the place.
    pub(super) fn dropped(self, status: &SwapStatus) {
        let verdict = status.verdict.map_or("", SwapVerdict::name);
        let fields = json!({"verdict": verdict, "why": &*status.why});
        self.tell("dropped", fields, |terminal| {
            let said = format!("{}: {}; the one before goes on", verdict, status.why);
            terminal.say_as(Tone::Bad, "new version", &said);
        });
    }

    pub(super) fn died(self, death: &Death) {
        let words: Vec<&str> = death.stderr_tail.lines().collect();
        let last = words.get(words.len().saturating_sub(LAST_WORDS)..).unwrap_or_default();
        let fields = json!({
            "cause": death.cause.to_string(),
            "generation": death.generation.number(),
            "stderr": last,
        });
        self.tell("died", fields, |terminal| {
            terminal.say_as(Tone::Bad, "ended", &death.to_string());
            last.iter().for_each(|line| terminal.say(&format!("  {line}")));
        });
    }

    pub(super) fn denied(self, denial: &Shown) {
        self.tell("denied", denial, |terminal| {
            terminal.say_as(Tone::Warn, "denied", &denial.line());
        });
    }

    pub(super) fn logged(self, record: &LogRecord) {
        let tone = match record.level {
            LogLevel::Error => Tone::Bad,
            LogLevel::Warn => Tone::Warn,
            LogLevel::Info | LogLevel::Debug | LogLevel::Trace => Tone::Note,
        };
        let fields = json!({
            "level": record.level,
            "source": record.source.as_str(),
            "message": record.message,
        });
        self.tell("log", fields, |terminal| {
            terminal.say_as(tone, record.source.as_str(), &record.message);
        });
    }

    /// Something that was typed and cannot be called.
    pub(super) fn misread(self, why: &str) {
        self.tell("misread", json!({"why": why}), |terminal| {
            terminal.say_as(Tone::Warn, "not called", why);
        });
    }

    pub(super) fn called(self, report: &CallReport) {
        let fields = json!({
            "method": &*report.method,
            "outcome": report.outcome(),
            "result": report.output,
            "error": report.error.as_ref().map(ToString::to_string),
            "duration_ms": millis(report.duration),
            "generation": report.generation.map(plugbay::Generation::number),
        });
        self.tell("called", fields, |terminal| {
            if let Some(output) = &report.output {
                // Nobody reads any more: the end comes with the next signal.
                let _closed = terminal.result(output, Format::Human);
            }
            if let Some(error) = &report.error {
                terminal.say_as(Tone::Bad, "error", &error.to_string());
            }
            let of = report.generation.map_or_else(String::new, |of| format!(", generation {of}"));
            let said = format!("{}{of}", span(report.duration));
            terminal.say_as(Tone::Note, "took", &said);
        });
    }
}
