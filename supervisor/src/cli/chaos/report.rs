//! What came of the rows: the table for people, the document for programs.

use serde::Serialize;

use super::item::Item;
use crate::{
    chaos::{Pulse, Vitals, play::Outcome, run::Done},
    failure::Failure,
    output::{Table, Terminal, Tone},
};

/// Everything that was played.
#[derive(Debug, Serialize)]
pub(super) struct Report<'r> {
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
    outcome: &'r Outcome,
    observed: &'r str,
    /// How the healthy neighbour's calls went meanwhile.
    neighbour: Option<Pulse>,
    /// What the host held before and after.
    host: Option<[Vitals; 2]>,
    took_ms: u128,
}

impl<'r> Report<'r> {
    pub(super) fn of(items: &'r [Item], done: &'r [Done]) -> Self {
        let entry = |one: &'r Done| {
            let item = items.get(one.index)?;
            Some(Entry {
                number: item.number,
                fault: item.fault,
                plugin: &item.plugin,
                required: item.required,
                outcome: &one.played.outcome,
                observed: &one.played.observed,
                neighbour: one.played.neighbour,
                host: one.played.vitals,
                took_ms: one.took.as_millis(),
            })
        };
        let rows: Vec<Entry<'r>> = done.iter().filter_map(entry).collect();
        let count = |outcome: &Outcome| rows.iter().filter(|row| row.outcome == outcome).count();
        Self {
            held: count(&Outcome::Held),
            broken: count(&Outcome::Broken),
            skipped: count(&Outcome::Skipped),
            rows,
        }
    }

    /// Whether a row does not hold.
    pub(super) fn has_broken(&self) -> bool {
        self.broken > 0
    }

    /// The table on stdout, the sums on stderr.
    pub(super) fn print(&self, terminal: Terminal) -> Result<(), Failure> {
        terminal.data(&self.table())?;
        let (tone, word) =
            if self.has_broken() { (Tone::Bad, "broken") } else { (Tone::Good, "held") };
        let Self { held, broken, skipped, .. } = self;
        terminal.say_as(
            tone,
            word,
            &format!("{held} rows held, {broken} broken, {skipped} skipped"),
        );
        Ok(())
    }

    fn table(&self) -> String {
        let mut table =
            Table::new(&["", "#", "PLUGIN", "FAULT", "REQUIRED", "OBSERVED", "NEIGHBOUR"]);
        for row in &self.rows {
            let mark = match row.outcome {
                Outcome::Held => "ok",
                Outcome::Broken => "NOT",
                Outcome::Skipped => "skipped",
            };
            let neighbour = row.neighbour.map_or_else(String::new, |pulse| {
                let micros = u32::try_from(pulse.p99_us).unwrap_or(u32::MAX);
                format!("p99 {:.1} ms", f64::from(micros) / 1e3)
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
        table.lines()
    }
}
