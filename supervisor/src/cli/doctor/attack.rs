//! `plugbay doctor --attack`: lets every attack of the table loose in a sandbox of this machine and tells
//! what became of each, which layers stopped it, and what it does without a sandbox.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::{
    args::Doctor,
    attack::{
        Offer,
        door::{Door, Unsealed},
        layer::{NEEDS, Shown, Weighed},
        row::{self, Row},
        stage::{Outcome, Played, Stage},
    },
    exit::Exit,
    failure::Failure,
    output::{
        self, Format, Table, Terminal, Tone,
        neutral::{self, Lines},
    },
};

/// Attacks, and tells.
pub(super) fn run(typed: &Doctor, terminal: Terminal) -> output::Outcome {
    let rows = wanted(&typed.only)?;
    let mut stage = Stage::set(typed.door).map_err(|why| match why {
        Unsealed::Refused(why) => Failure::new(Exit::NotStarted, why),
        Unsealed::Broken(error) => Failure::new(Exit::NotStarted, error),
    })?;
    if typed.layers {
        return weigh(&stage, typed, terminal);
    }
    let total = rows.len();
    let mut entries = Vec::with_capacity(total);
    for (place, row) in rows.into_iter().enumerate() {
        terminal.progress(&format!("{place} of {total} attacks made; next: {}", row.title));
        entries.push(Entry::of(row, stage.play(row)));
    }
    terminal.progress_done();
    let report = Report::of(typed.door, stage.offer(), entries);
    match Format::from_flag(typed.json) {
        Format::Json => terminal.json(&report)?,
        Format::Human => report.print(terminal)?,
    }
    Ok(if report.broken > 0 { Exit::Answered } else { Exit::Ok }.into())
}

/// Shows what each layer is good for.
fn weigh(stage: &Stage, typed: &Doctor, terminal: Terminal) -> output::Outcome {
    let mut layers = Vec::with_capacity(NEEDS.len());
    for need in &NEEDS {
        terminal.progress(&format!("leaving out {}: {}", need.layer, need.title));
        layers.push(stage.weigh(need));
    }
    terminal.progress_done();
    let scales = Scales::of(layers);
    match Format::from_flag(typed.json) {
        Format::Json => terminal.json(&scales)?,
        Format::Human => scales.print(terminal)?,
    }
    Ok(if scales.broken > 0 { Exit::Answered } else { Exit::Ok }.into())
}

/// What was shown of the layers.
#[derive(Debug, Serialize)]
struct Scales {
    needed: usize,
    skipped: usize,
    broken: usize,
    layers: Vec<Weighed>,
}

impl Scales {
    fn of(layers: Vec<Weighed>) -> Self {
        let count = |outcome| layers.iter().filter(|one| one.outcome == outcome).count();
        Self {
            needed: count(Shown::Needed),
            skipped: count(Shown::Skipped),
            broken: count(Shown::Broken),
            layers,
        }
    }

    fn print(&self, terminal: Terminal) -> Result<(), Failure> {
        let head = ["", "LAYER", "#", "ATTACK", "WITH IT", "WITHOUT IT", "LEFT OUT TOO"];
        let mut table = Table::new(&head);
        for one in &self.layers {
            let mark = match one.outcome {
                Shown::Needed => "ok",
                Shown::Skipped => "skipped",
                Shown::Broken => "NOT",
            };
            let besides: Vec<&str> = one.besides.iter().map(|layer| layer.name()).collect();
            let [with, without] =
                [&one.with, &one.without].map(|text| neutral::text(text, Lines::Escape));
            let number = one.number.to_string();
            let besides = besides.join(", ");
            table.row([mark, one.layer.name(), &number, one.title, &with, &without, &besides]);
        }
        terminal.data(&table.lines())?;
        let (tone, word) =
            if self.broken > 0 { (Tone::Bad, "broken") } else { (Tone::Good, "shown") };
        let Self { needed, skipped, broken, .. } = self;
        let sums = format!("{needed} layers needed, {broken} not shown to be, {skipped} skipped");
        terminal.say_as(tone, word, &sums);
        Ok(())
    }
}

/// The rows with these numbers, or all.
fn wanted(only: &[u32]) -> Result<Vec<&'static Row>, Failure> {
    let rows = row::catalogue();
    let known: BTreeSet<u32> = rows.iter().map(|row| row.number).collect();
    if let Some(stranger) = only.iter().find(|number| !known.contains(number)) {
        let known: Vec<String> = known.iter().map(ToString::to_string).collect();
        return Err(Failure::usage(format!("there is no attack {stranger}"))
            .hint(format!("there are: {}", known.join(" "))));
    }
    Ok(rows.into_iter().filter(|row| only.is_empty() || only.contains(&row.number)).collect())
}

/// The whole document.
#[derive(Debug, Serialize)]
struct Report<'r> {
    door: Door,
    /// What the kernel gives this user.
    offer: &'r Offer,
    held: usize,
    absent: usize,
    unproven: usize,
    skipped: usize,
    broken: usize,
    attacks: Vec<Entry>,
}

/// One attack.
#[derive(Debug, Serialize)]
struct Entry {
    number: u32,
    title: &'static str,
    #[serde(flatten)]
    played: Played,
}

impl Entry {
    fn of(row: &Row, played: Played) -> Self {
        Self { number: row.number, title: row.title, played }
    }
}

impl<'r> Report<'r> {
    fn of(door: Door, offer: &'r Offer, attacks: Vec<Entry>) -> Self {
        let count =
            |outcome| attacks.iter().filter(|entry| entry.played.outcome == outcome).count();
        Self {
            door,
            offer,
            held: count(Outcome::Held),
            absent: count(Outcome::Absent),
            unproven: count(Outcome::Unproven),
            skipped: count(Outcome::Skipped),
            broken: count(Outcome::Broken),
            attacks,
        }
    }

    /// The table on stdout, the sums on stderr.
    fn print(&self, terminal: Terminal) -> Result<(), Failure> {
        terminal.data(&self.table())?;
        let (tone, word) =
            if self.broken > 0 { (Tone::Bad, "broken") } else { (Tone::Good, "held") };
        let Self { held, absent, unproven, skipped, broken, .. } = self;
        let sums = format!(
            "{held} attacks held off, {broken} not, {absent} that nothing stops here (as reported), \
             {unproven} unproven, {skipped} skipped"
        );
        terminal.say_as(tone, word, &sums);
        Ok(())
    }

    fn table(&self) -> String {
        let mut table = Table::new(&["", "#", "ATTACK", "BECAME", "WITHOUT A SANDBOX"]);
        for Entry { number, title, played } in &self.attacks {
            let mark = match played.outcome {
                Outcome::Held => "ok",
                Outcome::Absent => "absent",
                Outcome::Unproven => "unproven",
                Outcome::Skipped => "skipped",
                Outcome::Broken => "NOT",
            };
            let [became, control] =
                [&played.became, &played.control].map(|text| neutral::text(text, Lines::Escape));
            table.row([mark, &number.to_string(), title, &became, &control]);
        }
        table.lines()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_no_attack_has_is_answered_with_those_there_are() {
        let refused = wanted(&[1, 9999]).err().unwrap();
        assert!(refused.message.contains("9999"));
        assert!(refused.hint.unwrap().contains("1 2 3"));
        assert!(wanted(&[11]).unwrap().iter().all(|row| row.number == 11));
    }
}
