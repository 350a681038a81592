//! `plugbay chaos`: commits the faults of the catalogue and tells, row by row, what is required and
//! what was observed.

use std::{collections::BTreeSet, ffi::OsString, process::ExitCode, thread};

use serde::Serialize;

use crate::{
    args::Chaos,
    chaos::{
        Pulse, Vitals,
        play::{self, Outcome as Came, Played},
        row::{self, Row},
        run::{self, Done, Job},
    },
    exit::{self, Exit},
    failure::Failure,
    output::{Format, Outcome, Table, Terminal, Tone},
};

/// Rows played at once, at most: more would disturb each other's neighbours.
const AT_ONCE: usize = 4;

/// Plays what was asked for and prints the table.
pub(crate) fn run(typed: &Chaos, terminal: Terminal) -> Outcome {
    let rows = row::catalogue();
    if let Some(index) = typed.row {
        return one(rows.get(index), typed, terminal);
    }
    let wanted = wanted(&rows, &typed.only)?;
    if typed.list {
        terminal.data(&listing(&wanted))?;
        return Ok(Exit::Ok.into());
    }
    let jobs = wanted.iter().map(|(index, row)| job(*index, row, typed)).collect();
    let total = wanted.len();
    terminal.progress(&format!("0 of {total} rows played"));
    let count = std::sync::atomic::AtomicUsize::new(0);
    let done = run::all(jobs, at_once(typed.jobs), |one: &Done| {
        let so_far = 1 + count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let fault = wanted.get(one.index).map_or("", |(_, row)| row.fault);
        terminal.progress(&format!("{so_far} of {total} rows played; last: {fault}"));
    });
    terminal.progress_done();
    let done = done.map_err(|error| Failure::new(Exit::NotStarted, error))?;
    let Some(done) = done else {
        return Ok(ExitCode::from(exit::of_signal(nix::libc::SIGINT)));
    };
    let report = Report::of(&wanted, &done);
    match Format::from_flag(typed.json) {
        Format::Json => terminal.json(&report)?,
        Format::Human => print(&report, terminal)?,
    }
    Ok(if report.broken == 0 { Exit::Ok } else { Exit::Answered }.into())
}

/// Plays one row in this process, for the one that prints the table.
fn one(row: Option<&Row>, typed: &Chaos, terminal: Terminal) -> Outcome {
    run::follow_parent();
    let played = match row {
        Some(row) => play::play(row, typed.rounds),
        None => Played::broken("there is no such row"),
    };
    terminal.json(&played)?;
    Ok(Exit::Ok.into())
}

/// The rows that were asked for, with their places in the catalogue.
fn wanted<'r>(rows: &'r [Row], only: &[u32]) -> Result<Vec<(usize, &'r Row)>, Failure> {
    let known: BTreeSet<u32> = rows.iter().map(|row| row.number).collect();
    if let Some(stranger) = only.iter().find(|number| !known.contains(number)) {
        let known: Vec<String> = known.iter().map(ToString::to_string).collect();
        return Err(Failure::usage(format!("there is no row {stranger}"))
            .hint(format!("there are: {}", known.join(" "))));
    }
    let named = |row: &Row| only.is_empty() || only.contains(&row.number);
    Ok(rows.iter().enumerate().filter(|(_, row)| named(row)).collect())
}

fn job(index: usize, row: &Row, typed: &Chaos) -> Job {
    let words =
        ["chaos".to_owned(), format!("--row={index}"), format!("--rounds={}", typed.rounds)];
    Job {
        words: words.into_iter().map(OsString::from).collect(),
        bound: row.bound.saturating_mul(typed.rounds),
    }
}

fn at_once(typed: Option<usize>) -> usize {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    typed.unwrap_or_else(|| cores.clamp(2, AT_ONCE))
}

/// The document, and what the table is made of.
#[derive(Debug, Serialize)]
struct Report<'r> {
    held: usize,
    broken: usize,
    skipped: usize,
    rows: Vec<Entry<'r>>,
}

#[derive(Debug, Serialize)]
struct Entry<'r> {
    number: u32,
    fault: &'r str,
    plugin: &'r str,
    required: &'r str,
    outcome: &'r Came,
    observed: &'r str,
    neighbour: Option<Pulse>,
    host: Option<[Vitals; 2]>,
    took_ms: u128,
}

impl<'r> Report<'r> {
    fn of(wanted: &[(usize, &'r Row)], done: &'r [Done]) -> Self {
        let entry = |one: &'r Done| {
            let (_, row) = wanted.get(one.index)?;
            Some(Entry {
                number: row.number,
                fault: row.fault,
                plugin: row.plan.sinner.name(),
                required: row.required,
                outcome: &one.played.outcome,
                observed: &one.played.observed,
                neighbour: one.played.neighbour,
                host: one.played.vitals,
                took_ms: one.took.as_millis(),
            })
        };
        let rows: Vec<Entry<'r>> = done.iter().filter_map(entry).collect();
        let count = |came: &Came| rows.iter().filter(|row| row.outcome == came).count();
        Self {
            held: count(&Came::Held),
            broken: count(&Came::Broken),
            skipped: count(&Came::Skipped),
            rows,
        }
    }
}

fn print(report: &Report<'_>, terminal: Terminal) -> Result<(), Failure> {
    let mut table = Table::new(&["", "#", "PLUGIN", "FAULT", "REQUIRED", "OBSERVED", "NEIGHBOUR"]);
    for row in &report.rows {
        let mark = match row.outcome {
            Came::Held => "ok",
            Came::Broken => "NOT",
            Came::Skipped => "skipped",
        };
        let neighbour = row.neighbour.map_or_else(String::new, |pulse| {
            format!(
                "p99 {:.1} ms",
                f64::from(u32::try_from(pulse.p99_us).unwrap_or(u32::MAX)) / 1e3
            )
        });
        table.row([
            mark,
            &row.number.to_string(),
            row.plugin,
            row.fault,
            row.required,
            row.observed,
            &neighbour,
        ]);
    }
    terminal.data(&table.lines())?;
    let (tone, word) =
        if report.broken == 0 { (Tone::Good, "held") } else { (Tone::Bad, "broken") };
    let sums =
        format!("{} rows held, {} broken, {} skipped", report.held, report.broken, report.skipped);
    terminal.say_as(tone, word, &sums);
    Ok(())
}

fn listing(wanted: &[(usize, &Row)]) -> String {
    let mut table = Table::new(&["#", "PLUGIN", "FAULT", "REQUIRED"]);
    for (_, row) in wanted {
        table.row([&row.number.to_string(), row.plan.sinner.name(), row.fault, row.required]);
    }
    table.lines()
}
