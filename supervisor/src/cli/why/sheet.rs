//! The case in words. Pure: the clock is an argument.

use std::{
    fmt::Write as _,
    time::{Duration, SystemTime},
};

use plugbay::{
    Limit,
    store::{Change, Death, Next},
};

use super::{Case, Failed, advice};
use crate::{
    cli::past::document,
    output::{
        Brush, Table, Tone, moment,
        neutral::{self, Lines},
    },
};

/// The longest line of stderr that is shown, in characters.
const LINE: usize = 400;

/// Kinds of refusals that are named.
const REFUSALS: usize = 8;

/// How it is told.
pub(super) struct Style {
    pub(super) brush: Brush,
    /// How many lines of stderr are shown.
    pub(super) lines: usize,
    pub(super) now: SystemTime,
}

/// All of it.
pub(super) fn sheet(case: &Case, style: &Style) -> String {
    match (&case.failure, &case.obstacle) {
        (_, Some(change)) => held_up(change, style),
        (Some(failed), None) => told(failed, style),
        (None, None) => healthy(case, style),
    }
}

fn healthy(case: &Case, style: &Style) -> String {
    let name = style.brush.paint(Tone::Head, &safe(&case.plugin));
    match &case.last {
        Some(death) => format!(
            "{name}: no failure is known. Its last process ended {}, as it was asked to.\n",
            moment::ago(death.at, style.now)
        ),
        None => format!("{name}: no failure is known, and no end of a process.\n"),
    }
}

/// What keeps it down although no process of it failed, such as a configuration that does not fit.
fn held_up(change: &Change, style: &Style) -> String {
    let name = style.brush.paint(Tone::Head, &safe(&change.plugin));
    let state = style.brush.paint(Tone::Bad, &safe(&change.to));
    let when = format!("{}, at {}", moment::ago(change.at, style.now), moment::utc(change.at));
    format!("{name}: {state}\n  {when}\n{}", paragraph(&change.why))
}

fn told(failed: &Failed, style: &Style) -> String {
    let Failed { death, .. } = failed;
    let mut out = headline(failed, style);
    section(&mut out, style, "What it was doing", &doing(death));
    let (title, words) = last_words(death, style);
    section(&mut out, style, &title, &words);
    section(&mut out, style, "What it was refused", &refused(death));
    section(&mut out, style, "What it used", &used(death));
    section(&mut out, style, "Before", &changes(&failed.before, death.at));
    section(&mut out, style, "What happens next", &paragraph(&next(death, style.now)));
    section(&mut out, style, "Since", &since(failed));
    let advice: String = advice::advice(death).iter().map(|line| paragraph(line)).collect();
    section(&mut out, style, "What you can do", &advice);
    if failed.lost > 0 {
        let lost = format!("{} records of that time could not be kept.", failed.lost);
        section(&mut out, style, "Take care", &paragraph(&lost));
    }
    out
}

/// What died, when, and why.
fn headline(failed: &Failed, style: &Style) -> String {
    let Failed { death, host, failures, .. } = failed;
    let name =
        style.brush.paint(Tone::Head, &format!("{} {}", safe(&death.plugin), safe(&death.version)));
    let words = style.brush.paint(Tone::Bad, &safe(&death.words));
    let mut out = format!("{name}: {words}\n");
    let when = format!("{}, at {}", moment::ago(death.at, style.now), moment::utc(death.at));
    let ran = match death.pid {
        Some(pid) => {
            format!(
                "after {} as pid {pid}, instance {}",
                moment::span(death.uptime),
                death.instance
            )
        }
        None => "it never ran".to_owned(),
    };
    push(&mut out, &format!("  {when}; {ran}"));
    if let Some(host) = host {
        push(&mut out, &format!("  hosted by {} {}, pid {}", host.host, host.version, host.pid));
    }
    if *failures > 1 {
        push(
            &mut out,
            &format!(
                "  {failures} failures of it are kept: `plugbay history {} --of ends`",
                death.plugin
            ),
        );
    }
    out
}

/// A line of ours that may quote others.
fn push(out: &mut String, line: &str) {
    // Writing to a String cannot fail.
    let _infallible = writeln!(out, "{}", safe(line));
}

fn safe(text: &str) -> String {
    neutral::text(text, Lines::Escape).into_owned()
}

/// A heading, and text that is harmless already; nothing if there is none.
fn section(out: &mut String, style: &Style, title: &str, text: &str) {
    if !text.is_empty() {
        let title = style.brush.paint(Tone::Head, title);
        let _infallible = write!(out, "\n{title}\n{text}");
    }
}

/// Text in lines that fit on a page, indented.
fn paragraph(text: &str) -> String {
    const WIDTH: usize = 90;
    let mut out = String::new();
    let mut width = WIDTH;
    for word in safe(text).split_whitespace() {
        let length = word.chars().count();
        if width + 1 + length > WIDTH {
            out.push_str(if out.is_empty() { "  " } else { "\n  " });
            width = 0;
        } else {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += length;
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// The calls that it took with it.
fn doing(death: &Death) -> String {
    if death.calls_lost == 0 {
        return match death.before_hello {
            true => paragraph("It was starting."),
            false => paragraph("Nothing: no call was under way."),
        };
    }
    let mut table = Table::bare();
    for call in &death.in_flight {
        table.row([&call.method, &format!("for {}", moment::span(call.age))]);
    }
    let mut out = indented(&table);
    let named = u64::try_from(death.in_flight.len()).unwrap_or(u64::MAX);
    if death.calls_lost > named {
        out.push_str(&paragraph(&format!("and {} more calls", death.calls_lost - named)));
    }
    out
}

/// The end of its stderr, and the heading for it.
fn last_words(death: &Death, style: &Style) -> (String, String) {
    let all: Vec<&str> = death.stderr.trim_end().lines().collect();
    if all.is_empty() {
        return (
            "Its last words".to_owned(),
            paragraph("None: it wrote nothing to standard error."),
        );
    }
    let shown = all.get(all.len().saturating_sub(style.lines)..).unwrap_or(&all);
    let title = if shown.len() < all.len() {
        format!("Its last words (of {} lines; --lines shows more)", all.len())
    } else {
        "Its last words".to_owned()
    };
    let words = shown.iter().map(|line| {
        let line = safe(line);
        let cut: String = line.chars().take(LINE).collect();
        let more = if cut.len() < line.len() { "…" } else { "" };
        format!("  {cut}{more}\n")
    });
    (title, words.collect())
}

/// The refusals, a line for each kind.
fn refused(death: &Death) -> String {
    let mut out: String = document::denials(death)
        .iter()
        .take(REFUSALS)
        .map(|denial| paragraph(&denial.line()))
        .collect();
    let more = death.denials.len().saturating_sub(REFUSALS);
    let more = u64::try_from(more).unwrap_or(u64::MAX).saturating_add(death.denied_more);
    if more > 0 {
        out.push_str(&paragraph(&format!("and {more} more")));
    }
    out
}

fn used(death: &Death) -> String {
    let mut table = Table::bare();
    if let Some(usage) = death.usage {
        let time =
            format!("{} user, {} system", moment::span(usage.user), moment::span(usage.system));
        table.row(["processor", &time]);
    }
    let memory = death.memory_peak.map(|peak| (peak, "at most, all its processes together"));
    let memory =
        memory.or(death.usage.map(|usage| (usage.max_rss, "at most, its largest process")));
    if let Some((bytes, what)) = memory {
        table.row(["memory", &format!("{} {what}", Limit::Memory.amount(bytes))]);
    }
    indented(&table)
}

/// Changes of state, with the date where it is not the day of the failure.
fn changes(changes: &[Change], of: SystemTime) -> String {
    let mut table = Table::bare();
    for change in changes {
        let step = format!("{} → {}", change.from, change.to);
        table.row([&moment::near(change.at, of), &step, first_line(&change.why)]);
    }
    indented(&table)
}

fn indented(table: &Table) -> String {
    table.lines().lines().map(|line| format!("  {line}\n")).collect()
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn since(failed: &Failed) -> String {
    let mut out = String::new();
    if failed.skipped > 0 {
        out.push_str(&paragraph(&format!("{} changes of state, then", failed.skipped)));
    }
    out.push_str(&changes(&failed.since, failed.death.at));
    out
}

/// What was decided then, and what of it is still to come.
fn next(death: &Death, now: SystemTime) -> String {
    let Some(Next { state, after }) = &death.next else { return String::new() };
    match (state.as_str(), after) {
        ("backoff" | "starting" | "restarting", Some(after)) => {
            format!("It is started again by itself, {}.", due(death.at, *after, now))
        }
        ("quarantined", Some(after)) => format!(
            "It failed too often and is left alone. One trial is made by itself, {}; starting it by \
             hand ends that at once.",
            due(death.at, *after, now)
        ),
        ("failed", _) => {
            "It stays down: starting it again as it is cannot help. Start it by hand when something \
             has changed."
                .to_owned()
        }
        ("stopped", _) => "It stays down until it is started or called again.".to_owned(),
        ("fenced", _) => {
            "A process of it cannot be killed: the kernel holds it. Nothing is started in its place \
             until it is gone."
                .to_owned()
        }
        ("running" | "degraded", _) => "Other instances of it go on.".to_owned(),
        (state, _) => format!("It is {state}."),
    }
}

/// When something was to happen, as seen from now.
fn due(from: SystemTime, after: Duration, now: SystemTime) -> String {
    let span = moment::span(after);
    match from.checked_add(after).map(|due| (due, due.duration_since(now))) {
        Some((due, Ok(left))) if left > Duration::from_secs(1) => {
            format!("at {}, in {}", moment::utc(due), moment::span(left))
        }
        _ => format!("{span} after that"),
    }
}
