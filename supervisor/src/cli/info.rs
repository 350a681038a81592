//! `plugbay info`: what a plugin offers and what it asks for, as its manifest says.

use std::fmt::Write as _;

use plugbay_manifest::{
    FilesystemPermission, Framing, Limits, Manifest, NetworkPermission, Package, Restart,
    StartMode, Supervision,
    sandbox::{Demand, Level, Sandbox},
};
use serde::Serialize;

use crate::{
    args::Info,
    cli::find,
    exit::Exit,
    output::{
        Format, Outcome, Table, Terminal, Tone, moment,
        neutral::{self, Lines},
    },
};

/// Prints it.
pub(crate) fn run(typed: &Info, terminal: Terminal) -> Outcome {
    let package = find::find(&typed.plugin, &typed.places)?;
    match Format::from_flag(typed.json) {
        Format::Json => terminal.json(&Document {
            directory: package.dir.display().to_string(),
            manifest: &package.manifest,
        })?,
        Format::Human => terminal.data(&sheet(&package, terminal))?,
    }
    Ok(Exit::Ok.into())
}

#[derive(Serialize)]
struct Document<'a> {
    directory: String,
    manifest: &'a Manifest,
}

/// Label and text of one line.
type Row = (&'static str, String);

fn sheet(package: &Package, terminal: Terminal) -> String {
    let Manifest { plugin, .. } = &package.manifest;
    let brush = terminal.on_stdout();
    let head = |title: &str| brush.paint(Tone::Head, title);
    let mut out = format!("{} {}\n", head(plugin.name.as_str()), plugin.version);
    if !plugin.description.is_empty() {
        let description = neutral::text(&plugin.description, Lines::Keep);
        push(&mut out, &format!("{description}\n"));
    }
    push(&mut out, &format!("\n{}\n{}", head("About"), rows(&about(package))));
    if !package.manifest.methods.is_empty() {
        push(&mut out, &format!("\n{}\n{}", head("Methods"), methods(&package.manifest)));
    }
    push(&mut out, &format!("\n{}\n{}", head("Asks for"), rows(&permissions(&package.manifest))));
    push(&mut out, &format!("\n{}\n{}", head("Limits"), rows(&limits(&package.manifest.limits))));
    push(&mut out, &format!("\n{}\n{}", head("Runs"), rows(&runs(&package.manifest.supervision))));
    out
}

fn push(out: &mut String, text: &str) {
    out.push_str(text);
}

fn rows(rows: &[Row]) -> String {
    let mut out = String::new();
    for (label, text) in rows {
        let text = neutral::text(text, Lines::Escape);
        // Writing to a String cannot fail.
        let _infallible = writeln!(out, "  {label:<13} {text}");
    }
    out
}

fn about(package: &Package) -> Vec<Row> {
    let Manifest { plugin, runtime, dependencies, .. } = &package.manifest;
    let mut rows = vec![
        ("directory", package.dir.display().to_string()),
        ("type", plugin.kind.clone()),
        ("command", runtime.command.join(" ")),
        ("speaks", format!("{}, {}", runtime.dialect, framing(runtime.framing))),
    ];
    rows.extend(plugin.license.clone().map(|license| ("licence", license)));
    if !plugin.authors.is_empty() {
        rows.push(("authors", plugin.authors.join(", ")));
    }
    rows.push(("plugbay", dependencies.plugbay.to_string()));
    rows.extend(dependencies.plugins.iter().map(|(name, need)| {
        let (range, loss, grace) = (&need.range, need.on_loss.as_str(), moment::span(need.grace));
        ("needs", format!("{name} {range}; when it is lost for {grace}: {loss}"))
    }));
    if let Some(keys) = keys(&package.manifest) {
        rows.push(("configured by", keys));
    }
    rows.push((
        "help",
        format!("`plugbay help-plugin {}` shows parameters and results", plugin.name),
    ));
    rows
}

/// The keys of its configuration, if it names any.
fn keys(manifest: &Manifest) -> Option<String> {
    let schema = manifest.config.schema.as_ref()?.document();
    let keys = schema.get("properties")?.as_object()?.keys().map(String::as_str);
    let keys: Vec<&str> = keys.collect();
    (!keys.is_empty()).then(|| keys.join(", "))
}

fn framing(framing: Framing) -> &'static str {
    match framing {
        Framing::Line => "one message on a line",
        Framing::ContentLength => "messages with a Content-Length header",
    }
}

fn methods(manifest: &Manifest) -> String {
    let mut table = Table::bare();
    for (name, method) in &manifest.methods {
        let mut notes = Vec::new();
        if method.idempotent {
            notes.push("idempotent".to_owned());
        }
        notes.extend(method.timeout.map(moment::span));
        table.row(["", name, &method.description, &notes.join(", ")]);
    }
    table.lines()
}

fn permissions(manifest: &Manifest) -> Vec<Row> {
    let permissions = &manifest.permissions;
    let network = match &permissions.network {
        NetworkPermission::None => "none".to_owned(),
        NetworkPermission::Full => "the host's network, unfiltered".to_owned(),
        NetworkPermission::Only(list) => join(list),
    };
    let mut rows = vec![("network", network)];
    match &permissions.filesystem {
        FilesystemPermission::None => rows.push(("files", "its own directory only".to_owned())),
        FilesystemPermission::ReadOnly => rows.push(("files", "read everything".to_owned())),
        FilesystemPermission::Paths { read, write, exec } => {
            for (label, paths) in [("read", read), ("write", write), ("execute", exec)] {
                rows.extend((!paths.is_empty()).then(|| (label, join(paths))));
            }
        }
    }
    if !permissions.deny.is_empty() {
        rows.push(("never", join(&permissions.deny)));
    }
    rows.push(("system calls", permissions.system_calls.to_string()));
    if !permissions.env.is_empty() {
        // Names only: a value may be a secret.
        let names: Vec<&str> = permissions.env.iter().map(|it| it.name.as_str()).collect();
        rows.push(("environment", names.join(", ")));
    }
    rows.extend(demands(&manifest.sandbox));
    rows
}

/// What must hold for it to start, as far as it says so itself.
fn demands(asked: &Sandbox) -> Vec<Row> {
    let mut rows = Vec::new();
    let level = match asked.level {
        Some(Level::Strict) => Some("strict: it does not start unless every protection holds"),
        Some(Level::Standard) => {
            Some("standard: it does not start unless the essential layers hold")
        }
        Some(Level::None) => {
            Some("none: made to run without a sandbox (granted by --level none only)")
        }
        None => None,
    };
    rows.extend(level.map(|text| ("level", text.to_owned())));
    for (label, demand) in
        [("requires", Demand::Require), ("prefers", Demand::Prefer), ("wants off", Demand::Off)]
    {
        let named = asked.protections.iter().filter(|(_, asked)| **asked == demand);
        let named: Vec<&str> = named.map(|(name, _)| *name).collect();
        rows.extend((!named.is_empty()).then(|| (label, named.join(", "))));
    }
    rows
}

fn limits(limits: &Limits) -> Vec<Row> {
    let or_default = |value: Option<String>| value.unwrap_or_else(|| "default".to_owned());
    let count = |value: Option<u64>| or_default(value.map(|it| it.to_string()));
    vec![
        ("memory", or_default(limits.memory.map(size))),
        ("processes", count(limits.pids)),
        ("open files", count(limits.open_files)),
        ("file size", or_default(limits.file_size.map(size))),
        ("cores", or_default(limits.cpu_milli.map(cores))),
        ("message", size(limits.max_frame)),
        ("call", format!("{} without progress", moment::span(limits.call_timeout))),
    ]
}

/// When it runs, and what follows when it fails.
fn runs(asked: &Supervision) -> Vec<Row> {
    let span = moment::span;
    let starts = match asked.start {
        StartMode::Eager => "with its host",
        StartMode::Lazy => "with the first call",
    };
    let mut rows = vec![
        ("starts", format!("{starts}, within {}", span(asked.start_timeout))),
        ("instances", format!("{}, and {} spare", asked.instances, asked.spares)),
        ("calls at once", format!("{} in each instance", asked.max_inflight)),
        ("restarts", restarts(asked)),
    ];
    if asked.restart != Restart::Never {
        let (length, most) = (span(asked.quarantine), span(asked.quarantine_max));
        let counts = format!(
            "{} failures in a row, or {} of which one is forgotten every {}",
            asked.breaker,
            asked.slow_breaker,
            span(asked.slow_breaker_leak)
        );
        rows.push(("quarantine", format!("for {length}, then longer, to {most}, after {counts}")));
        let given_up = asked.give_up_after;
        rows.extend(
            given_up.map(|count| ("given up", format!("after {count} quarantines in a row"))),
        );
    }
    let (drain, stop) = (span(asked.drain_timeout), span(asked.stop_timeout));
    rows.push(("stops", format!("calls may finish for {drain}; then within {stop}")));
    rows.extend(
        asked.idle_stop.map(|idle| ("rests", format!("after {} without a call", span(idle)))),
    );
    if !asked.exit_codes.is_empty() {
        let rules = asked.exit_codes.iter().map(|(code, rule)| format!("{code} {}", rule.as_str()));
        rows.push(("exit codes", rules.collect::<Vec<_>>().join(", ")));
    }
    rows
}

fn restarts(asked: &Supervision) -> String {
    let when = match asked.restart {
        Restart::Never => return "never".to_owned(),
        Restart::OnFailure => "when it failed",
        Restart::Always => "whenever it ended",
    };
    let (first, most) = (moment::span(asked.backoff_initial), moment::span(asked.backoff_max));
    format!("{when}, after {first}, then longer, to {most}")
}

fn join(items: &[impl ToString]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

pub(crate) fn cores(milli: u64) -> String {
    let text = format!("{}.{:03}", milli / 1000, milli % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A size in the largest unit that divides it.
pub(crate) fn size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = |shift: u32| bytes != 0 && bytes.trailing_zeros() >= shift;
    match units.into_iter().find(|(shift, _)| fits(*shift)) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_back_as_typed() {
        for text in ["1GiB", "256MiB", "1536KiB", "1000B", "0B"] {
            assert_eq!(size(crate::spelling::size(text).unwrap()), text);
        }
        assert_eq!(cores(1500), "1.5");
        assert_eq!(cores(2000), "2");
        assert_eq!(cores(25), "0.025");
    }
}
