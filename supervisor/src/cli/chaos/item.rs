//! One row that can be played: of a built-in plugin, or of the user's own. Pure.

use std::{collections::BTreeSet, ffi::OsString, time::Duration};

use crate::{
    args::Chaos,
    chaos::{
        guest::{self, Subject},
        row,
        run::Job,
    },
    failure::Failure,
    output::Table,
};

/// A row, and how a process is told to play it.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) number: u32,
    pub(super) fault: &'static str,
    pub(super) required: &'static str,
    pub(super) plugin: String,
    bound: Duration,
    words: Vec<OsString>,
}

impl Item {
    /// The process that plays it so often.
    pub(super) fn job(&self, rounds: u32) -> Job {
        let mut words = self.words.clone();
        words.push(format!("--rounds={rounds}").into());
        Job { words, bound: self.bound.saturating_mul(rounds) }
    }
}

fn words(place: usize) -> Vec<OsString> {
    vec!["chaos".into(), format!("--row={place}").into()]
}

/// Every row of the built-in plugins.
pub(super) fn built_in() -> impl Iterator<Item = Item> {
    row::catalogue().into_iter().enumerate().map(|(place, row)| Item {
        number: row.number,
        fault: row.fault,
        required: row.required,
        plugin: row.plan.sinner.name().to_owned(),
        bound: row.bound,
        words: words(place),
    })
}

/// Every fault from outside, against a plugin of the user's own.
pub(super) fn of_subject(subject: &Subject, typed: &Chaos) -> Vec<Item> {
    let mut said: Vec<OsString> = Vec::new();
    for place in &typed.places.plugins {
        said.extend([OsString::from("--plugins"), place.into()]);
    }
    for (key, value) in &typed.config {
        said.extend([OsString::from("--config"), format!("{key}={value}").into()]);
    }
    if let Some((method, params)) = &subject.call {
        said.extend([OsString::from("--call"), method.into()]);
        if let Some(params) = params {
            said.extend([OsString::from("--params"), params.get().into()]);
        }
    }
    // An absolute path: no option, and the same place from wherever it is played.
    said.push(subject.package.dir.clone().into());
    let item = |(place, trial): (usize, guest::Trial)| Item {
        number: trial.number,
        fault: trial.fault,
        required: trial.required,
        plugin: subject.name().to_owned(),
        bound: trial.bound,
        words: words(place).into_iter().chain(said.iter().cloned()).collect(),
    };
    guest::catalogue().into_iter().enumerate().map(item).collect()
}

/// Those of these numbers, or all.
pub(super) fn wanted(items: Vec<Item>, only: &[u32]) -> Result<Vec<Item>, Failure> {
    let known: BTreeSet<u32> = items.iter().map(|item| item.number).collect();
    if let Some(stranger) = only.iter().find(|number| !known.contains(number)) {
        let known: Vec<String> = known.iter().map(ToString::to_string).collect();
        return Err(Failure::usage(format!("there is no row {stranger}"))
            .hint(format!("there are: {}", known.join(" "))));
    }
    let named = |item: &Item| only.is_empty() || only.contains(&item.number);
    Ok(items.into_iter().filter(named).collect())
}

/// What would be played.
pub(super) fn listing(items: &[Item]) -> String {
    let mut table = Table::new(&["#", "PLUGIN", "FAULT", "REQUIRED"]);
    for item in items {
        table.row([&item.number.to_string(), &item.plugin, item.fault, item.required]);
    }
    table.lines()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_no_row_has_is_answered_with_those_there_are() {
        let refused = wanted(built_in().collect(), &[1, 9999]).unwrap_err();
        assert!(refused.message.contains("9999"));
        assert!(refused.hint.unwrap().contains("1 2 3"));
        let some = wanted(built_in().collect(), &[26]).unwrap();
        assert!(!some.is_empty() && some.iter().all(|item| item.number == 26));
    }
}
