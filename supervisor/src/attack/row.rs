//! One row of the escape table: the attack, what must stop it, and what shows that it is one.

use plugbay_sandbox::{Cause, Layer, Limit, Spec};

use super::{
    ground::Helper,
    scene::Scene,
    table::{FILE_ROWS, PROCESS_ROWS},
    table_calls::{BELONGING_ROWS, FILTER_ROWS, NETWORK_ROWS},
};

/// Every row, by kind.
pub(crate) fn catalogue() -> Vec<&'static Row> {
    let tables = [FILE_ROWS, PROCESS_ROWS, FILTER_ROWS, NETWORK_ROWS, BELONGING_ROWS];
    tables.into_iter().flatten().collect()
}

/// An attack and what must become of it.
pub(crate) struct Row {
    /// The number in the catalogue.
    pub(crate) number: u32,
    /// What is attacked, for people.
    pub(crate) title: &'static str,
    /// What the probe calls it.
    pub(crate) attack: &'static str,
    /// More arguments for it.
    pub(crate) words: &'static [&'static str],
    /// What the spec grants or limits besides.
    pub(crate) shape: fn(&mut Spec, &Scene),
    /// What must become of it.
    pub(crate) expect: Expect,
    /// How it is shown that the attack works where nothing stops it.
    pub(crate) control: Control,
    /// Steps that may fail in the control, with the reason.
    pub(crate) excused: &'static [(&'static str, &'static str)],
    /// The rule of the filter of which a refusal must be told (rows that the catalogue marks with E).
    pub(crate) told: Option<&'static str>,
    /// Whose sandboxes it concerns.
    pub(crate) concerns: Concerns,
}

/// Whose sandboxes an attack concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Concerns {
    /// Everybody's.
    Everybody,
    /// Root's, who gives each plugin a user of its own.
    Root,
}

/// What must become of an attack.
pub(crate) enum Expect {
    /// Every step is refused, wherever one of the layers holds.
    Denied {
        /// The layers of which each alone is enough.
        by: &'static [Layer],
        /// With one of these answers.
        errnos: &'static [i32],
        /// What the report says of one of them where none holds. Empty: one of them always holds.
        without: &'static str,
    },
    /// The process is killed, and the cause is known.
    Killed {
        /// The signal.
        signal: i32,
        /// What the report of its end names.
        cause: Option<Cause>,
        /// The layer that does it.
        by: Layer,
    },
    /// It runs into this limit: it is killed for it, or every step is refused.
    Limited {
        /// The limit.
        limit: Limit,
        /// With one of these answers, where it is refused.
        errnos: &'static [i32],
    },
    /// It runs its course and tells this; nothing outside changes.
    Contained {
        /// The step that tells.
        step: &'static str,
        /// What it must tell. Empty: whatever it does.
        detail: &'static str,
        /// The layer that contains it.
        by: Layer,
    },
}

/// The positive control.
pub(crate) enum Control {
    /// The same attack by the same user, unsealed, succeeds in every step.
    Same,
    /// The same, where this user may make namespaces: the attack begins with one.
    Namespaces,
    /// The same attack by root, unsealed. Without root there is none.
    Root,
    /// The same attack, unsealed, by a user who owns nothing, with a program that only root can make.
    /// Without it there is nothing to attack with.
    UserWith(Helper),
    /// Unsealed it ends the processes it aims at.
    EndsVictims,
    /// Unsealed it leaves processes behind.
    Stays,
    /// Unsealed it dies in the same way, or runs its course as well: nothing is to be stopped.
    Runs,
    /// None, and why.
    None(&'static str),
}

impl Row {
    /// A row with nothing but its attack; what is special follows by `with_…`.
    pub(crate) const fn new(
        number: u32,
        title: &'static str,
        attack: &'static str,
        expect: Expect,
    ) -> Self {
        Self {
            number,
            title,
            attack,
            words: &[],
            shape: |_, _| {},
            expect,
            control: Control::Same,
            excused: &[],
            told: None,
            concerns: Concerns::Everybody,
        }
    }

    pub(crate) const fn told(mut self, rule: &'static str) -> Self {
        self.told = Some(rule);
        self
    }

    /// Only where root starts plugins.
    pub(crate) const fn of_root(mut self) -> Self {
        self.concerns = Concerns::Root;
        self
    }

    pub(crate) const fn words(mut self, words: &'static [&'static str]) -> Self {
        self.words = words;
        self
    }

    pub(crate) const fn shape(mut self, shape: fn(&mut Spec, &Scene)) -> Self {
        self.shape = shape;
        self
    }

    pub(crate) const fn control(mut self, control: Control) -> Self {
        self.control = control;
        self
    }

    pub(crate) const fn excused(
        mut self,
        excused: &'static [(&'static str, &'static str)],
    ) -> Self {
        self.excused = excused;
        self
    }
}

/// Refused by one of the layers with one of the errnos; one of the layers holds on every rung.
pub(crate) const fn denied(by: &'static [Layer], errnos: &'static [i32]) -> Expect {
    Expect::Denied { by, errnos, without: "" }
}

/// The same, but on a rung without any of the layers the report says this of one of them.
pub(crate) const fn denied_or_reported(
    by: &'static [Layer],
    errnos: &'static [i32],
    without: &'static str,
) -> Expect {
    Expect::Denied { by, errnos, without }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::probe;

    /// What the probe can do besides attacking: companions of an attack, and answers to questions.
    const COMPANIONS: [&str; 6] = ["answer", "victim", "daemons", "movers", "identity", "offers"];

    #[test]
    fn every_attack_is_in_the_table_and_every_row_has_one() {
        let names: Vec<&str> = probe::names().collect();
        let rows = catalogue();
        let unused = names.iter().filter(|name| {
            !COMPANIONS.contains(name) && !rows.iter().any(|row| row.attack == **name)
        });
        assert_eq!(unused.collect::<Vec<_>>(), Vec::<&&str>::new());
        let unknown = rows.iter().filter(|row| !names.contains(&row.attack));
        assert_eq!(unknown.map(|row| row.attack).collect::<Vec<_>>(), Vec::<&str>::new());
    }

    #[test]
    fn rows_are_told_apart_by_number_and_title() {
        let mut keys: Vec<_> = catalogue().iter().map(|row| (row.number, row.title)).collect();
        keys.sort_unstable();
        let all = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), all);
        assert!(catalogue().iter().all(|row| row.title.len() <= 60), "a title fits its column");
    }
}
