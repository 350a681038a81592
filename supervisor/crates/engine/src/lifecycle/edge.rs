//! What the loss of one plugin means to another that depends on it.
//!
//! Pure: time is an argument, a [`Duration`] since an epoch that the caller chose once. A dependency
//! that is back within the grace was never lost: a crash and a quick restart disturb nobody.
//!
//! ```text
//! new ──there──► held ──gone──► missed ──grace──► lost ──there──► held
//!                 ▲                │                │
//!                 └─────there──────┘                └── what follows is told, and that it is back
//! ```

use std::time::Duration;

/// What follows when a dependency is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnLoss {
    /// Nothing but word of it.
    Notify,
    /// It takes no calls until the other is back.
    Pause,
    /// It is stopped, and started when the other is back.
    Stop,
    /// It goes on, and is started anew when the other is back.
    Restart,
}

/// What is to be done about a dependent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Turn {
    /// Its dependency is lost.
    Lost(OnLoss),
    /// Its dependency is back after it was lost.
    Back(OnLoss),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Held,
    Missed(Duration),
    Lost,
}

/// One dependency of one plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    rule: OnLoss,
    grace: Duration,
    state: State,
}

impl Edge {
    /// A dependency that has not been there so far.
    #[must_use]
    pub fn new(rule: OnLoss, grace: Duration) -> Self {
        Self { rule, grace, state: State::New }
    }

    /// Whether the other is there now, whoever says so how often.
    pub fn hear(&mut self, there: bool, now: Duration) -> Option<Turn> {
        match (self.state, there) {
            (State::New | State::Missed(_), true) => self.state = State::Held,
            (State::Lost, true) => {
                self.state = State::Held;
                return Some(Turn::Back(self.rule));
            }
            (State::Held, false) => self.state = State::Missed(now.saturating_add(self.grace)),
            (State::Held, true) | (State::New | State::Missed(_) | State::Lost, false) => {}
        }
        None
    }

    /// When the grace has passed, if it runs.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        match self.state {
            State::Missed(due) => Some(due),
            State::New | State::Held | State::Lost => None,
        }
    }

    /// Time has passed.
    pub fn ring(&mut self, now: Duration) -> Option<Turn> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        self.state = State::Lost;
        Some(Turn::Lost(self.rule))
    }

    /// Whether it counts as lost, and what that means.
    #[must_use]
    pub fn lost(&self) -> Option<OnLoss> {
        (self.state == State::Lost).then_some(self.rule)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn one_that_is_back_within_the_grace_was_never_lost() {
        let mut edge = Edge::new(OnLoss::Stop, seconds(5));
        assert_eq!(edge.hear(true, seconds(0)), None);
        assert_eq!(edge.hear(false, seconds(10)), None);
        assert_eq!((edge.due(), edge.ring(seconds(14))), (Some(seconds(15)), None));
        assert_eq!(edge.hear(true, seconds(14)), None);
        assert_eq!((edge.due(), edge.ring(seconds(20))), (None, None));
    }

    #[test]
    fn one_that_stays_away_is_lost_once_and_back_once() {
        let mut edge = Edge::new(OnLoss::Pause, seconds(5));
        edge.hear(true, seconds(0));
        edge.hear(false, seconds(1));
        edge.hear(false, seconds(4));
        assert_eq!(edge.ring(seconds(6)), Some(Turn::Lost(OnLoss::Pause)), "from the first miss");
        assert_eq!((edge.ring(seconds(7)), edge.lost()), (None, Some(OnLoss::Pause)));
        assert_eq!(edge.hear(true, seconds(8)), Some(Turn::Back(OnLoss::Pause)));
        assert_eq!((edge.hear(true, seconds(9)), edge.lost()), (None, None));
    }

    #[test]
    fn one_that_has_not_been_there_yet_cannot_be_lost() {
        let mut edge = Edge::new(OnLoss::Stop, Duration::ZERO);
        assert_eq!((edge.hear(false, seconds(1)), edge.ring(seconds(100))), (None, None));
    }

    proptest! {
        #[test]
        fn losses_and_returns_take_turns(
            story in prop::collection::vec((any::<bool>(), 0_u64..8), 0..60),
        ) {
            let mut edge = Edge::new(OnLoss::Restart, seconds(5));
            let (mut now, mut last) = (Duration::ZERO, Turn::Back(OnLoss::Restart));
            for (there, passed) in story {
                now += seconds(passed);
                for turn in [edge.ring(now), edge.hear(there, now)].into_iter().flatten() {
                    prop_assert!(turn != last, "twice {:?}", turn);
                    last = turn;
                }
                prop_assert_eq!(edge.lost().is_some(), matches!(last, Turn::Lost(_)));
            }
        }
    }
}
