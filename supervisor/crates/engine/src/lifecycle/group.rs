//! Plugins that belong together: what the fall of one means to the others, and when all of them are
//! left alone for a while.
//!
//! Strategies and words are those of OTP's supervisors. What differs is the end: a group that falls
//! too often is put in quarantine as a whole and tried again; the host goes on. Pure: time is an
//! argument, a [`Duration`] since an epoch that the caller chose once.

use std::{collections::VecDeque, time::Duration};

/// Who is started again when a member of a group has fallen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Strategy {
    /// That one.
    #[default]
    OneForOne,
    /// That one and those after it, in order.
    RestForOne,
    /// All of them, in order.
    OneForAll,
}

impl Strategy {
    /// Whether the members are started one after the other.
    #[must_use]
    pub fn is_ordered(self) -> bool {
        self != Self::OneForOne
    }
}

/// How many falls a group may have, and what follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// More falls than this within the period are too many.
    pub intensity: u32,
    /// The period.
    pub period: Duration,
    /// The length of the first quarantine; doubles with each trial that fails.
    pub quarantine: Duration,
    /// The longest quarantine.
    pub quarantine_cap: Duration,
}

impl Default for Bounds {
    /// Five in 60 s; 5 min, at most an hour.
    fn default() -> Self {
        Self {
            intensity: 5,
            period: Duration::from_secs(60),
            quarantine: Duration::from_secs(300),
            quarantine_cap: Duration::from_secs(3600),
        }
    }
}

/// What follows from the fall of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These are to be ended and started again, in order; the fallen one sees to itself.
    Restart(Vec<usize>),
    /// All of them are to be left alone for this long.
    Quarantine(Duration),
}

/// The falls of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    strategy: Strategy,
    members: usize,
    bounds: Bounds,
    /// When the falls were, by the group's own clock.
    falls: VecDeque<Duration>,
    /// The group's clock stands still while members are ended on its behalf: the time that their
    /// ends take is not theirs. How long it has stood so far, and since when it stands.
    stood: Duration,
    standing: Option<Duration>,
    quarantines: u32,
    /// Until when a fall counts for all: the trial after a quarantine.
    trial: Option<Duration>,
}

impl Group {
    /// A group of so many members, numbered in the order in which they are started.
    #[must_use]
    pub fn new(strategy: Strategy, members: usize, bounds: Bounds) -> Self {
        Self {
            strategy,
            members,
            bounds,
            falls: VecDeque::new(),
            stood: Duration::ZERO,
            standing: None,
            quarantines: 0,
            trial: None,
        }
    }

    /// A member has fallen, unasked.
    pub fn fell(&mut self, member: usize, now: Duration) -> Answer {
        let on_trial = self.trial.is_some_and(|until| now < until);
        if !on_trial && self.trial.take().is_some() {
            self.quarantines = 0;
        }
        let time = self.time(now);
        self.falls.push_back(time);
        let period = self.bounds.period;
        self.falls.retain(|fall| time.saturating_sub(*fall) < period);
        let most = usize::try_from(self.bounds.intensity).unwrap_or(usize::MAX);
        if on_trial || self.falls.len() > most {
            return Answer::Quarantine(self.quarantine(now));
        }
        Answer::Restart(match self.strategy {
            Strategy::OneForOne => Vec::new(),
            Strategy::RestForOne => (member + 1..self.members).collect(),
            Strategy::OneForAll => (0..self.members).filter(|other| *other != member).collect(),
        })
    }

    /// Whether members are being ended on the group's behalf.
    pub fn stand(&mut self, ending: bool, now: Duration) {
        match (self.standing, ending) {
            (None, true) => self.standing = Some(now),
            (Some(since), false) => {
                self.stood = self.stood.saturating_add(now.saturating_sub(since));
                self.standing = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }

    /// An operator wants a member up: nothing before it counts.
    pub fn absolve(&mut self) {
        self.falls.clear();
        self.quarantines = 0;
        self.trial = None;
    }

    fn quarantine(&mut self, now: Duration) -> Duration {
        let factor = 2_u32.checked_pow(self.quarantines).unwrap_or(u32::MAX);
        let length = self.bounds.quarantine.saturating_mul(factor).min(self.bounds.quarantine_cap);
        self.quarantines = self.quarantines.saturating_add(1);
        self.falls.clear();
        self.trial = Some(now.saturating_add(length).saturating_add(self.bounds.period));
        length
    }

    fn time(&self, now: Duration) -> Duration {
        self.standing.unwrap_or(now).saturating_sub(self.stood)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, prop, prop_assert, prop_oneof, proptest};

    use super::*;

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    fn group(strategy: Strategy) -> Group {
        Group::new(strategy, 4, Bounds::default())
    }

    #[test]
    fn the_strategy_says_who_falls_with_one() {
        let fell = |strategy| group(strategy).fell(1, Duration::ZERO);
        assert_eq!(fell(Strategy::OneForOne), Answer::Restart(vec![]));
        assert_eq!(fell(Strategy::RestForOne), Answer::Restart(vec![2, 3]));
        assert_eq!(fell(Strategy::OneForAll), Answer::Restart(vec![0, 2, 3]));
    }

    #[test]
    fn the_sixth_fall_within_a_minute_puts_the_group_in_quarantine() {
        let mut group = group(Strategy::OneForAll);
        let answers: Vec<_> = (0..6).map(|at| group.fell(0, seconds(at * 11))).collect();
        assert!(answers[..5].iter().all(|answer| matches!(answer, Answer::Restart(_))));
        assert_eq!(answers[5], Answer::Quarantine(seconds(300)));
    }

    #[test]
    fn falls_that_are_far_apart_are_lived_with() {
        let mut group = group(Strategy::OneForOne);
        for at in 0..1000 {
            assert!(matches!(group.fell(0, seconds(at * 13)), Answer::Restart(_)));
        }
    }

    #[test]
    fn the_time_that_ends_take_does_not_stretch_the_window() {
        let mut group = group(Strategy::OneForAll);
        let mut now = Duration::ZERO;
        for round in 0..6 {
            let answer = group.fell(0, now);
            assert_eq!(matches!(answer, Answer::Quarantine(_)), round == 5, "{round}");
            group.stand(true, now);
            now += seconds(45);
            group.stand(false, now);
            now += seconds(2);
        }
    }

    #[test]
    fn a_fall_on_trial_doubles_the_quarantine_and_a_quiet_trial_forgives() {
        let mut group = group(Strategy::OneForOne);
        let mut now = Duration::ZERO;
        let mut lengths = Vec::new();
        for _ in 0..11 {
            if let Answer::Quarantine(length) = group.fell(0, now) {
                lengths.push(length.as_secs());
                now += length;
            }
        }
        assert_eq!(lengths, [300, 600, 1200, 2400, 3600, 3600]);
        now += seconds(61);
        let answers: Vec<_> = (0..6).map(|_| group.fell(0, now)).collect();
        assert_eq!(answers[5], Answer::Quarantine(seconds(300)));
    }

    #[test]
    fn an_operator_absolves_the_group() {
        let mut group = group(Strategy::OneForOne);
        for _ in 0..6 {
            group.fell(0, Duration::ZERO);
        }
        group.absolve();
        assert_eq!(group.fell(0, seconds(1)), Answer::Restart(vec![]));
    }

    proptest! {
        /// Never more falls than the bound within a period between two quarantines, whoever falls
        /// when, and nobody outside the group or already fallen is named.
        #[test]
        fn the_bound_holds(
            falls in prop::collection::vec((0_usize..4, 0_u64..40), 0..100),
            strategy in prop_oneof![
                Just(Strategy::OneForOne), Just(Strategy::RestForOne), Just(Strategy::OneForAll)
            ],
        ) {
            let mut group = group(strategy);
            let (mut now, mut recent) = (Duration::ZERO, VecDeque::new());
            for (member, passed) in falls {
                now += seconds(passed);
                match group.fell(member, now) {
                    Answer::Restart(others) => {
                        prop_assert!(others.iter().all(|other| *other < 4 && *other != member));
                        recent.push_back(now);
                        recent.retain(|fall| now - *fall < seconds(60));
                        prop_assert!(recent.len() <= 5);
                    }
                    Answer::Quarantine(length) => {
                        prop_assert!(length >= seconds(300) && length <= seconds(3600));
                        recent.clear();
                        now += length;
                    }
                }
            }
        }
    }
}
