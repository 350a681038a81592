//! How a slot stands with the restart policy, so that it can outlive its host. Pure.

use std::time::Duration;

use super::{Effect, Gate, Slot};
use crate::lifecycle::restart::{History, Past};

/// How a slot stands with the restart policy at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Standing {
    /// Its failures.
    pub past: Past,
    /// How often the restart policy replaced an instance.
    pub restarts: u64,
    /// Whether it is in quarantine, for as long as its past says.
    pub quarantined: bool,
}

/// What tells one standing from another, the passing of time apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Marks {
    history: History,
    restarts: u64,
    quarantined: bool,
}

impl Slot {
    /// How it stands with the restart policy.
    #[must_use]
    pub fn standing(&self, now: Duration) -> Standing {
        Standing {
            past: self.history.past(&self.rules.policy, now),
            restarts: self.restarts,
            quarantined: matches!(self.gate, Gate::Quarantine(_)),
        }
    }

    /// What its standing is made of: as long as it is the same, nothing is worth noting but the time.
    #[must_use]
    pub fn marks(&self) -> Marks {
        let quarantined = matches!(self.gate, Gate::Quarantine(_));
        Marks { history: self.history.clone(), restarts: self.restarts, quarantined }
    }

    /// Takes up where an earlier host left off so long `ago`. For a slot that nothing happened to yet.
    pub fn resume(&mut self, standing: &Standing, ago: Duration, now: Duration) -> Vec<Effect> {
        let policy = &self.rules.policy;
        self.history = History::of(&standing.past, ago, policy, now);
        self.restarts = standing.restarts;
        let mut effects = Vec::new();
        let left = standing.past.rest.min(policy.quarantine_cap).saturating_sub(ago);
        if standing.quarantined && !left.is_zero() {
            self.shut(Gate::Quarantine(left), &mut effects);
        } else if standing.quarantined {
            self.gate = Gate::Trial(None);
        }
        effects
    }
}
