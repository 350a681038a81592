//! All timers of all slots: the one wheel that the table's task waits on. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use crate::lifecycle::slot::Timer;

/// Whose timer.
type Key = (Arc<str>, Timer);

/// Timers by when they are due, and by whose they are. Empty while everyone is idle.
#[derive(Debug, Default)]
pub(crate) struct Wheel {
    by_time: BTreeSet<(Instant, Key)>,
    by_key: BTreeMap<Key, Instant>,
}

impl Wheel {
    /// Arms a timer. One timer of this name at most: an earlier one is replaced.
    pub(crate) fn arm(&mut self, plugin: &Arc<str>, timer: Timer, due: Instant) {
        self.disarm(plugin, timer);
        let key = (plugin.clone(), timer);
        self.by_key.insert(key.clone(), due);
        self.by_time.insert((due, key));
    }

    /// Forgets a timer, if it is armed.
    pub(crate) fn disarm(&mut self, plugin: &Arc<str>, timer: Timer) {
        let key = (plugin.clone(), timer);
        if let Some(due) = self.by_key.remove(&key) {
            self.by_time.remove(&(due, key));
        }
    }

    /// When the next one is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.by_time.first().map(|(due, _)| *due)
    }

    /// When this one is due, if it is armed.
    pub(crate) fn due(&self, plugin: &Arc<str>, timer: Timer) -> Option<Instant> {
        self.by_key.get(&(plugin.clone(), timer)).copied()
    }

    /// Takes one that is due by `now`.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<(Arc<str>, Timer)> {
        self.next().filter(|due| *due <= now)?;
        let (_, key) = self.by_time.pop_first()?;
        self.by_key.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock;

    #[test]
    fn a_timer_armed_again_is_due_once_at_its_last_time() {
        let (mut wheel, start, plugin) = (Wheel::default(), clock::now(), Arc::from("p"));
        let at = |seconds| start + Duration::from_secs(seconds);
        wheel.arm(&plugin, Timer::Gate, at(1));
        wheel.arm(&plugin, Timer::Rest, at(2));
        wheel.arm(&plugin, Timer::Gate, at(3));
        assert_eq!(wheel.next(), Some(at(2)));
        assert_eq!(wheel.pop(at(1)), None);
        assert_eq!(wheel.pop(at(9)), Some((plugin.clone(), Timer::Rest)));
        assert_eq!(wheel.due(&plugin, Timer::Gate), Some(at(3)));
        assert_eq!(wheel.pop(at(9)), Some((plugin.clone(), Timer::Gate)));
        assert_eq!((wheel.pop(at(9)), wheel.next()), (None, None));
    }

    #[test]
    fn a_disarmed_timer_leaves_nothing() {
        let (mut wheel, plugin) = (Wheel::default(), Arc::from("p"));
        wheel.arm(&plugin, Timer::Gate, clock::now());
        wheel.disarm(&plugin, Timer::Gate);
        assert!(wheel.by_time.is_empty() && wheel.by_key.is_empty());
    }
}
