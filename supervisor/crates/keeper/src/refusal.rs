//! What one process was refused, and when to tell the brain of it: at once the first time, then not
//! oftener than a person could read.

use std::{
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use plugbay_sandbox::{Tally, Watcher, Wish};

/// Between two tellings of one process.
const INTERVAL: Duration = Duration::from_millis(250);

/// One process's refusals.
#[derive(Debug)]
pub(crate) struct Refusals {
    /// `None` where nobody is told.
    watcher: Option<Watcher>,
    telling: Telling,
}

/// How much was told, and when the next is due. Pure.
#[derive(Debug, Default)]
struct Telling {
    told: u64,
    next: Option<Instant>,
}

impl Refusals {
    pub(crate) fn of(watcher: Option<Watcher>) -> Self {
        Self { watcher, telling: Telling::default() }
    }

    /// What to wait for, and for how long at most, if what is due could be told.
    pub(crate) fn wish(
        &self,
        now: Instant,
        listened: bool,
    ) -> (Option<BorrowedFd<'_>>, Option<Duration>) {
        let Some(watcher) = &self.watcher else { return (None, None) };
        let telling = self.telling.left(watcher.tally().total(), now).filter(|_| listened);
        match watcher.wish(now) {
            Wish::Readable(listener) => (Some(listener), telling),
            Wish::Later(pause) => (None, telling.into_iter().chain([pause]).min()),
            Wish::Nothing => (None, telling),
        }
    }

    /// Answers what is asked.
    pub(crate) fn serve(&mut self, now: Instant) {
        if let Some(watcher) = &mut self.watcher {
            watcher.serve(now);
        }
    }

    /// What is to be told now, if anything.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Tally> {
        let tally = self.watcher.as_ref()?.tally();
        self.telling.is_due(tally.total(), now).then(|| tally.clone())
    }

    /// What was never told.
    pub(crate) fn untold(&mut self) -> Option<Tally> {
        let tally = self.watcher.as_ref()?.tally();
        (tally.total() > self.telling.told).then(|| tally.clone())
    }
}

impl Telling {
    /// How long until something is due.
    fn left(&self, total: u64, now: Instant) -> Option<Duration> {
        let next = self.next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now));
        (total > self.told).then_some(next)
    }

    fn is_due(&mut self, total: u64, now: Instant) -> bool {
        let due = self.left(total, now) == Some(Duration::ZERO);
        if due {
            self.told = total;
            self.next = now.checked_add(INTERVAL);
        }
        due
    }
}

#[expect(clippy::disallowed_methods, reason = "the keeper's only clock: shares and intervals")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_at_once_and_a_flood_in_intervals() {
        let start = now();
        let mut telling = Telling::default();
        assert_eq!(telling.left(0, start), None);
        assert!(!telling.is_due(0, start));
        assert!(telling.is_due(1, start));
        assert!(!telling.is_due(500, start));
        assert_eq!(telling.left(500, start), Some(INTERVAL));
        assert!(telling.is_due(500, start + INTERVAL));
        assert_eq!(telling.left(500, start + INTERVAL), None);
    }
}
