//! Refusals counted by kind, in bounded memory: a process that is refused something new each time
//! costs no more than one that is refused the same.

use serde::{Deserialize, Serialize};

use super::Denial;

/// Kinds that are told apart. Real programs meet a handful.
const MOST_KINDS: usize = 64;

/// What was refused so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    kinds: Vec<Denial>,
    others: u64,
}

/// The place of a kind in a tally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(Option<usize>);

impl Tally {
    /// Every kind with its count, in the order in which they were first met.
    #[must_use]
    pub fn kinds(&self) -> &[Denial] {
        &self.kinds
    }

    /// Refusals of further kinds, which are not told apart any more.
    #[must_use]
    pub fn others(&self) -> u64 {
        self.others
    }

    /// How many refusals there were in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.kinds.iter().fold(self.others, |sum, kind| sum.saturating_add(kind.count))
    }

    /// Adds refusals of one kind.
    pub fn add(&mut self, denial: Denial) {
        self.place(denial);
    }

    /// Adds all that another counted.
    pub fn absorb(&mut self, other: &Self) {
        for kind in &other.kinds {
            self.add(kind.clone());
        }
        self.others = self.others.saturating_add(other.others);
    }

    pub(super) fn place(&mut self, denial: Denial) -> Place {
        if let Some(at) = self.kinds.iter().position(|known| known.is_like(&denial)) {
            let place = Place(Some(at));
            self.again(place, denial.count);
            place
        } else if self.kinds.len() < MOST_KINDS {
            self.kinds.push(denial);
            Place(Some(self.kinds.len() - 1))
        } else {
            self.others = self.others.saturating_add(denial.count);
            Place(None)
        }
    }

    pub(super) fn again(&mut self, place: Place, count: u64) {
        let counter = place.0.and_then(|at| self.kinds.get_mut(at)).map(|kind| &mut kind.count);
        let counter = counter.unwrap_or(&mut self.others);
        *counter = counter.saturating_add(count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denial::Barrier;

    fn denial(port: u16) -> Denial {
        Denial { port: Some(port), ..Denial::new(Barrier::Network, "ports") }
    }

    #[test]
    fn one_kind_is_kept_once_and_counted() {
        let mut tally = Tally::default();
        for port in [1, 2, 1] {
            tally.add(denial(port));
        }
        let counts: Vec<_> = tally.kinds().iter().map(|kind| (kind.port, kind.count)).collect();
        assert_eq!(counts, [(Some(1), 2), (Some(2), 1)]);
        assert_eq!(tally.total(), 3);
    }

    #[test]
    fn ever_new_kinds_take_bounded_memory_and_are_counted_still() {
        let mut tally = Tally::default();
        for port in 0..1000 {
            tally.add(denial(port));
        }
        assert_eq!(tally.kinds().len(), MOST_KINDS);
        assert_eq!(tally.others(), 1000 - 64);
        assert_eq!(tally.total(), 1000);
        let mut sum = tally.clone();
        sum.absorb(&tally);
        assert_eq!((sum.total(), sum.kinds().len()), (2000, MOST_KINDS));
    }
}
