//! `plugbay chaos`: commits the faults of the catalogue and tells, row by row, what is required and
//! what was observed. Without a plugin the built-in ones misbehave; a plugin of the user's own is
//! only disturbed from outside.

mod item;
mod report;
mod subject;

use std::{
    process::ExitCode,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use self::{item::Item, report::Report};
use crate::{
    args::Chaos,
    chaos::{
        guest,
        play::{self, Played},
        row,
        run::{self, Done},
    },
    cli::find,
    exit::{self, Exit},
    failure::Failure,
    output::{Format, Outcome, Terminal},
};

/// Rows played at once, at most: more would disturb each other's neighbours.
const AT_ONCE: usize = 4;

/// Plays what was asked for and prints the table.
pub(crate) fn run(typed: &Chaos, terminal: Terminal) -> Outcome {
    if let Some(place) = typed.row {
        return one(place, typed, terminal);
    }
    let items = item::wanted(items(typed, terminal)?, &typed.only)?;
    if typed.list {
        terminal.data(&item::listing(&items))?;
        return Ok(Exit::Ok.into());
    }
    let total = items.len();
    terminal.progress(&format!("0 of {total} rows played"));
    let count = AtomicUsize::new(0);
    let jobs = items.iter().map(|item| item.job(typed.rounds)).collect();
    let done = run::all(jobs, at_once(typed.jobs), |one: &Done| {
        let so_far = 1 + count.fetch_add(1, Ordering::Relaxed);
        let fault = items.get(one.index).map_or("", |item| item.fault);
        terminal.progress(&format!("{so_far} of {total} rows played; last: {fault}"));
    });
    terminal.progress_done();
    let done = done.map_err(|error| Failure::new(Exit::NotStarted, error))?;
    let Some(done) = done else {
        return Ok(ExitCode::from(exit::of_signal(nix::libc::SIGINT)));
    };
    let report = Report::of(&items, &done);
    match Format::from_flag(typed.json) {
        Format::Json => terminal.json(&report)?,
        Format::Human => report.print(terminal)?,
    }
    Ok(if report.has_broken() { Exit::Answered } else { Exit::Ok }.into())
}

/// Everything that can be played of what was asked for.
fn items(typed: &Chaos, terminal: Terminal) -> Result<Vec<Item>, Failure> {
    let mut items = Vec::new();
    if typed.plugin.is_none() {
        items.extend(item::built_in());
    }
    if let Some(plugin) = &typed.plugin {
        let subject = subject::find(plugin, typed)?;
        if !typed.list {
            subject::announce(&subject, typed, terminal)?;
        }
        items.extend(item::of_subject(&subject, typed));
    }
    if typed.all {
        for package in find::discover(&typed.places)?.packages {
            let subject = subject::alone(package, &typed.places);
            if !typed.list {
                subject::announce(&subject, typed, terminal)?;
            }
            items.extend(item::of_subject(&subject, typed));
        }
    }
    Ok(items)
}

/// Plays one row in this process, for the one that prints the table.
fn one(place: usize, typed: &Chaos, terminal: Terminal) -> Outcome {
    run::follow_parent();
    let strange = || Played::broken("there is no such row");
    let played = match &typed.plugin {
        Some(plugin) => {
            let subject = subject::find(plugin, typed)?;
            let trials = guest::catalogue();
            let trial = trials.get(place);
            trial.map_or_else(strange, |trial| play::play_guest(trial, &subject, typed.rounds))
        }
        None => {
            let rows = row::catalogue();
            rows.get(place).map_or_else(strange, |row| play::play(row, typed.rounds))
        }
    };
    terminal.json(&played)?;
    Ok(Exit::Ok.into())
}

fn at_once(typed: Option<usize>) -> usize {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    typed.unwrap_or_else(|| cores.clamp(2, AT_ONCE))
}
