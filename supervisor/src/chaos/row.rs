//! One row of the catalogue: a fault, what it requires, and how it is committed.

pub(crate) mod bond;
pub(crate) mod death;
pub(crate) mod flood;
pub(crate) mod health;
pub(crate) mod held;
pub(crate) mod instance;
pub(crate) mod limit;
pub(crate) mod machine;
pub(crate) mod many;
pub(crate) mod need;
pub(crate) mod restart;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod tree;
pub(crate) mod wire;

use std::{pin::Pin, time::Duration};

use super::{
    plan::{Plan, Sinner},
    stage::Stage,
    unmet::Observed,
};

/// How long a row may take at most, unless it says otherwise.
const BOUND: Duration = Duration::from_secs(60);

/// What a row does: commits its fault, and tells what was observed.
pub(crate) type Inject = for<'s> fn(&'s Stage) -> Pin<Box<dyn Future<Output = Observed> + 's>>;

/// One fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// Its number in the catalogue; several rows may share one.
    pub(crate) number: u32,
    /// What happens.
    pub(crate) fault: &'static str,
    /// What must come of it.
    pub(crate) required: &'static str,
    /// Who misbehaves.
    pub(crate) plan: Plan,
    /// How.
    pub(crate) inject: Inject,
    /// When the row is given up.
    pub(crate) bound: Duration,
    /// Whether the neighbour is called meanwhile. Not where the fault is one that all share.
    pub(crate) neighbour: Company,
}

/// Whom the fault concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    /// The sinner alone: its neighbour must not notice.
    Spared,
    /// Everybody.
    Shares,
}

impl Row {
    /// A row with the usual bound.
    pub(crate) const fn new(
        number: u32,
        fault: &'static str,
        required: &'static str,
        plan: Plan,
        inject: Inject,
    ) -> Self {
        Self { number, fault, required, plan, inject, bound: BOUND, neighbour: Company::Spared }
    }

    /// The same, given up later.
    pub(crate) const fn within(self, bound: Duration) -> Self {
        Self { bound, ..self }
    }

    /// The same, for a fault that everybody shares.
    pub(crate) const fn alone(self) -> Self {
        Self { neighbour: Company::Shares, ..self }
    }

    /// The same with each of the two twins.
    pub(crate) fn twice(self) -> [Self; 2] {
        let of = |sinner| Self { plan: Plan { sinner, ..self.plan }, ..self };
        [of(Sinner::Python), of(Sinner::Rust)]
    }

    /// The same with one of them.
    pub(crate) fn once(self) -> [Self; 1] {
        [self]
    }
}

/// Every row, by number.
pub(crate) fn catalogue() -> Vec<Row> {
    let mut rows = [
        death::rows(),
        start::rows(),
        wire::rows(),
        flood::rows(),
        tree::rows(),
        many::rows(),
        restart::rows(),
        stop::rows(),
        limit::rows(),
        machine::rows(),
        health::rows(),
        instance::rows(),
        need::rows(),
        held::rows(),
        bond::rows(),
    ]
    .concat();
    rows.sort_by_key(|row| row.number);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_apart_by_number_fault_and_twin() {
        let mut keys: Vec<_> =
            catalogue().iter().map(|row| (row.number, row.fault, row.plan.sinner.name())).collect();
        let all = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }

    #[test]
    fn what_is_printed_fits_its_column() {
        for row in catalogue() {
            assert!(row.fault.len() <= 48 && row.required.len() <= 64, "{}", row.fault);
        }
    }
}
