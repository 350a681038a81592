//! Settles tickets when their time has come, for futures, which cannot block until then. One thread, started
//! with the first alarm and gone after the last: who sets none pays nothing.

use crate::call::Ticket;
use crate::error::CallError;
use crate::{clock, lock};
use plugbay_protocol::Code;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

/// The alarms of a session.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    alarms: Mutex<Alarms>,
    /// Told of an alarm before all others.
    bell: Condvar,
}

/// In the order they are due; the number tells those due at once apart.
type Key = (Instant, u64);

#[derive(Debug, Default)]
struct Alarms {
    set: BTreeMap<Key, Arc<Ticket>>,
    last: u64,
    /// There is a thread that waits for the first.
    attended: bool,
}

/// An alarm that is set, until this is dropped.
#[derive(Debug)]
pub(crate) struct Alarm {
    timer: Arc<Timer>,
    key: Key,
}

impl Timer {
    /// Has `ticket` settled as too late at `due`. If there may be no thread for it, it never is, and the
    /// host's own deadline is what is left.
    pub(crate) fn set(self: &Arc<Self>, due: Instant, ticket: &Arc<Ticket>) -> Alarm {
        let mut alarms = lock(&self.alarms);
        alarms.last += 1;
        let key = (due, alarms.last);
        alarms.set.insert(key, Arc::clone(ticket));
        if !alarms.attended {
            let timer = Arc::clone(self);
            let thread = thread::Builder::new().name("plugbay-timer".to_owned());
            alarms.attended = thread.spawn(move || timer.attend()).is_ok();
        } else if alarms.set.first_key_value().is_some_and(|(first, _)| *first == key) {
            self.bell.notify_one();
        }
        Alarm { timer: Arc::clone(self), key }
    }

    fn attend(&self) {
        let mut alarms = lock(&self.alarms);
        while let Some(first) = alarms.set.first_entry() {
            let left = first.key().0.saturating_duration_since(clock::now());
            if left.is_zero() {
                let ticket = first.remove();
                drop(alarms);
                ticket.settle(Err(late()));
                alarms = lock(&self.alarms);
            } else {
                let waited = self.bell.wait_timeout(alarms, left);
                alarms = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
        alarms.attended = false;
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let mut alarms = lock(&self.timer.alarms);
        alarms.set.remove(&self.key);
        if alarms.set.is_empty() {
            self.timer.bell.notify_one();
        }
    }
}

/// Why a call of ours is given up whose time is over.
pub(crate) fn late() -> CallError {
    CallError::new(Code::DeadlineExceeded, "no answer in time")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn after(millis: u64) -> Instant {
        clock::now() + Duration::from_millis(millis)
    }

    #[test]
    fn alarms_go_off_in_the_order_they_are_due() {
        let timer = Arc::new(Timer::default());
        let [late, soon] = [(); 2].map(|()| Arc::new(Ticket::default()));
        let _late = timer.set(after(40), &late);
        let _soon = timer.set(after(1), &soon);
        assert!(soon.wait(None));
        assert!(late.wait(None));
        assert_eq!(late.take().unwrap().unwrap_err().known_code(), Some(Code::DeadlineExceeded));
    }

    #[test]
    fn one_that_is_put_away_does_not_go_off() {
        let timer = Arc::new(Timer::default());
        let [never, soon] = [(); 2].map(|()| Arc::new(Ticket::default()));
        drop(timer.set(after(1), &never));
        let _soon = timer.set(after(5), &soon);
        assert!(soon.wait(None) && !never.is_settled());
    }
}
