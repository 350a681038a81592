//! `plugbay history`: what happened to a plugin lately, the newest first, one line each.

use plugbay::store::{Call, Change, Death, Next};
use serde::Serialize;

use crate::{
    args::{History, HistoryWord},
    cli::past::{
        self,
        document::{Called, Changed, Ended},
    },
    exit::Exit,
    output::{Format, Outcome, Table, Terminal, moment},
};

/// The longest reason in a line, in characters.
const REASON: usize = 100;

/// Prints it.
pub(crate) fn run(typed: &History, terminal: Terminal) -> Outcome {
    let plugin = past::name(&typed.plugin)?;
    let reader = past::open(&plugin)?;
    let (document, table) = match typed.of {
        HistoryWord::Calls => {
            let calls = reader.calls(&plugin, typed.number).map_err(past::unreadable)?;
            let calls: Vec<Call> = calls.into_iter().map(|(_, call)| call).collect();
            (to_json(&Calls { plugin: &plugin, calls: all(&calls) }), calls_table(&calls))
        }
        HistoryWord::Ends => {
            let ends = reader.deaths(&plugin, typed.number).map_err(past::unreadable)?;
            let ends: Vec<Death> = ends.into_iter().map(|(_, death)| death).collect();
            (to_json(&Ends { plugin: &plugin, ends: all(&ends) }), ends_table(&ends))
        }
        HistoryWord::States => {
            let states = reader.changes(&plugin, typed.number).map_err(past::unreadable)?;
            let states: Vec<Change> = states.into_iter().map(|(_, change)| change).collect();
            (to_json(&States { plugin: &plugin, states: all(&states) }), states_table(&states))
        }
    };
    match Format::from_flag(typed.json) {
        Format::Json => terminal.json(&document)?,
        // The headings alone would look like an answer.
        Format::Human if table.lines().count() < 2 => {
            terminal.say(&format!("nothing of this kind is kept of `{plugin}`"));
        }
        Format::Human => terminal.data(&table)?,
    }
    Ok(Exit::Ok.into())
}

#[derive(Serialize)]
struct Calls<'a> {
    plugin: &'a str,
    calls: Vec<Called<'a>>,
}

#[derive(Serialize)]
struct Ends<'a> {
    plugin: &'a str,
    ends: Vec<Ended<'a>>,
}

#[derive(Serialize)]
struct States<'a> {
    plugin: &'a str,
    states: Vec<Changed<'a>>,
}

fn all<'a, T, U: From<&'a T>>(records: &'a [T]) -> Vec<U> {
    records.iter().map(U::from).collect()
}

fn to_json(document: &impl Serialize) -> serde_json::Value {
    // Plain structures of texts and numbers can always be written.
    serde_json::to_value(document).unwrap_or_default()
}

fn calls_table(calls: &[Call]) -> String {
    let mut table = Table::new(&["WHEN", "METHOD", "OUTCOME", "TOOK", "SENT", "INSTANCE", "ERROR"]);
    for call in calls {
        table.row([
            &moment::utc(call.at),
            &call.method,
            &call.outcome,
            &moment::span(call.duration),
            &call.attempts.to_string(),
            &number(call.instance),
            &reason(call.error.as_deref().unwrap_or_default()),
        ]);
    }
    table.lines()
}

fn ends_table(ends: &[Death]) -> String {
    let mut table = Table::new(&["WHEN", "INSTANCE", "RAN", "LOST CALLS", "WHY", "THEN"]);
    for death in ends {
        table.row([
            &moment::utc(death.at),
            &death.instance.to_string(),
            &moment::span(death.uptime),
            &death.calls_lost.to_string(),
            &reason(&death.words),
            &then(death.next.as_ref()),
        ]);
    }
    table.lines()
}

fn states_table(states: &[Change]) -> String {
    let mut table = Table::new(&["WHEN", "INSTANCE", "STATE", "WHY"]);
    for change in states {
        table.row([
            &moment::utc(change.at),
            &number(change.instance),
            &format!("{} → {}", change.from, change.to),
            &reason(&change.why),
        ]);
    }
    table.lines()
}

fn then(next: Option<&Next>) -> String {
    match next {
        Some(Next { state, after: Some(after) }) => format!("{state}, {}", moment::span(*after)),
        Some(Next { state, after: None }) => state.clone(),
        None => String::new(),
    }
}

fn number(number: Option<u64>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

/// The first line of it, cut to its bound.
fn reason(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let cut: String = line.chars().take(REASON).collect();
    if cut.len() < text.trim_end().len() { format!("{cut}…") } else { cut }
}
