//! The tables: medians and p99 beside the ratio to the floor of the same run. Nothing is asserted; a
//! target is printed beside what was reached.

use std::{
    fmt::{self, Display, Formatter},
    time::Duration,
};

use serde::Serialize;

use crate::sample::Samples;

/// What one bench found.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    title: String,
    floor: String,
    rows: Vec<Row>,
    ratios: Vec<Ratio>,
    facts: Vec<Fact>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    samples: usize,
    p50_ns: u128,
    p99_ns: u128,
    to_floor: f64,
}

/// A figure that is no time of a contender.
#[derive(Debug, Serialize)]
struct Fact {
    name: String,
    value: String,
    /// What it should be, and whether it is.
    target: Option<(bool, String)>,
}

/// One median over another, and where it should be.
#[derive(Debug, Serialize)]
struct Ratio {
    name: String,
    over: String,
    p50: f64,
    p99: f64,
    target: f64,
}

impl Section {
    /// A table of what was measured; the first row is the floor.
    pub(crate) fn new(title: impl Into<String>, measured: &[(String, Samples)]) -> Self {
        let floor = measured.first();
        let unit = floor.map_or(Duration::ZERO, |(_, samples)| samples.median());
        let rows = measured.iter().map(|(name, samples)| Row {
            name: name.clone(),
            samples: samples.count(),
            p50_ns: samples.median().as_nanos(),
            p99_ns: samples.quantile(990).as_nanos(),
            to_floor: samples.median().div_duration_f64(unit),
        });
        Self {
            title: title.into(),
            floor: floor.map(|(name, _)| name.clone()).unwrap_or_default(),
            rows: rows.collect(),
            ratios: Vec::new(),
            facts: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A table of figures that are no times.
    pub(crate) fn facts(title: impl Into<String>) -> Self {
        Self::new(title, &[])
    }

    /// Adds a figure, with whether it is where it should be.
    pub(crate) fn fact(
        mut self,
        name: impl Into<String>,
        value: impl Into<String>,
        target: Option<(bool, &str)>,
    ) -> Self {
        let target = target.map(|(reached, target)| (reached, target.to_owned()));
        self.facts.push(Fact { name: name.into(), value: value.into(), target });
        self
    }

    /// Adds the ratio of two rows, where both are there, with its target.
    pub(crate) fn ratio(
        mut self,
        measured: &[(String, Samples)],
        (name, over): (&str, &str),
        target: f64,
    ) -> Self {
        let find = |wanted: &str| measured.iter().find(|(name, _)| name == wanted);
        if let (Some((_, ours)), Some((_, theirs))) = (find(name), find(over)) {
            let ratio = |thousandths| {
                ours.quantile(thousandths).div_duration_f64(theirs.quantile(thousandths))
            };
            self.ratios.push(Ratio {
                name: name.to_owned(),
                over: over.to_owned(),
                p50: ratio(500),
                p99: ratio(990),
                target,
            });
        }
        self
    }

    /// Adds a remark below the table.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

impl Section {
    /// The rows of times, below their heads.
    fn write_rows(&self, out: &mut Formatter<'_>) -> fmt::Result {
        if self.rows.is_empty() {
            return Ok(());
        }
        let width = self.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        let width = width.max(24);
        writeln!(
            out,
            "  {:width$} {:>10} {:>10} {:>8} {:>7}",
            "", "p50 us", "p99 us", "x floor", "n"
        )?;
        for row in &self.rows {
            let (p50, p99) = (micros(row.p50_ns), micros(row.p99_ns));
            let Row { name, samples, to_floor, .. } = row;
            writeln!(out, "  {name:width$} {p50:>10} {p99:>10} {to_floor:>8.2} {samples:>7}")?;
        }
        Ok(())
    }
}

impl Display for Section {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        writeln!(out, "\n{}", self.title)?;
        self.write_rows(out)?;
        for Ratio { name, over, p50, p99, target } in &self.ratios {
            let word = if p50 <= target { "reached" } else { "MISSED" };
            writeln!(
                out,
                "  {name} / {over}: {p50:.2} (p99 {p99:.2}), target {target:.2}: {word}"
            )?;
        }
        for Fact { name, value, target } in &self.facts {
            write!(out, "  {name}: {value}")?;
            match target {
                Some((true, target)) => writeln!(out, ", target {target}: reached")?,
                Some((false, target)) => writeln!(out, ", target {target}: MISSED")?,
                None => writeln!(out)?,
            }
        }
        for note in &self.notes {
            writeln!(out, "  {note}")?;
        }
        Ok(())
    }
}

fn micros(nanos: u128) -> String {
    format!("{}.{:02}", nanos / 1000, nanos % 1000 / 10)
}
