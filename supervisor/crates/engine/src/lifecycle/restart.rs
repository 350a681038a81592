//! Whether, and after which delay, a plugin that ended is started again.
//!
//! Pure: the policy and the dice are arguments, and time appears only as durations that the caller
//! arms. Counting follows OTP's supervisor (intensity within a period) with two changes that
//! operators ask for: the delay grows instead of the plugin being given up at once, and giving up
//! is a quarantine that tries again by itself, never final.

use std::time::Duration;

/// Who is started again after which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Never: one run only.
    Never,
    /// After every end that is a failure.
    #[default]
    OnFailure,
    /// After every end that nobody asked for.
    Always,
}

/// The numbers of the restart policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Which ends lead to a restart at all.
    pub mode: Mode,
    /// Delay after the first failure since stability. A single crash should cost a caller as
    /// little as possible, so this is shorter than the series that follows.
    pub first: Duration,
    /// Delay after the second failure; doubles with each further one.
    pub base: Duration,
    /// The delay never grows beyond this.
    pub cap: Duration,
    /// A plugin that was ready for this long (or twice its last delay, if that is longer) is
    /// stable: its failures are forgotten.
    pub stable_after: Duration,
    /// This many failures in a row without stability put the plugin in quarantine.
    pub breaker: u32,
    /// Length of the first quarantine; doubles with each trial that fails.
    pub quarantine: Duration,
    /// The quarantine never grows beyond this.
    pub quarantine_cap: Duration,
}

impl Default for Policy {
    /// 0.25 s, then 0.5 s doubling to 60 s; stable after 60 s; quarantine of 5 min (to 1 h) at the
    /// eighth failure in a row, which is one to two minutes of trying.
    fn default() -> Self {
        Self {
            mode: Mode::OnFailure,
            first: Duration::from_millis(250),
            base: Duration::from_millis(500),
            cap: Duration::from_secs(60),
            stable_after: Duration::from_secs(60),
            breaker: 8,
            quarantine: Duration::from_secs(300),
            quarantine_cap: Duration::from_secs(3600),
        }
    }
}

/// How a plugin ended, as far as restarting is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It ended with status 0, unasked, and nobody waited for it.
    Clean,
    /// It failed; counts once.
    Failure,
    /// It ran into a limit that it will run into again (memory); counts twice.
    Exhausted,
    /// It, or the machine, had a passing difficulty: starts again, but does not count.
    Passing,
    /// It asked to stay down.
    Declined,
    /// Starting it again cannot help (program missing, bad handshake, bad configuration).
    Permanent,
}

impl Exit {
    /// The meaning of a plain exit status: `sysexits` where they have one.
    ///
    /// 64 and 78 are usage and configuration errors, 126 and 127 a program that could not be
    /// executed: trying again cannot help. 75 is "try again later", 125 asks to stay down.
    #[must_use]
    pub fn of_code(code: i32, calls_lost: bool) -> Self {
        match code {
            0 if !calls_lost => Self::Clean,
            64 | 78 | 126 | 127 => Self::Permanent,
            75 => Self::Passing,
            125 => Self::Declined,
            _ => Self::Failure,
        }
    }

    fn weight(self) -> u32 {
        match self {
            Self::Clean | Self::Failure => 1,
            Self::Exhausted => 2,
            Self::Passing | Self::Declined | Self::Permanent => 0,
        }
    }
}

/// What is to be done after an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Start again after this delay.
    Start(Duration),
    /// Too many failures: leave it alone for this long, then try once.
    Quarantine(Duration),
    /// It ended as it may; leave it.
    Stop,
    /// It cannot run; leave it and say why.
    Fail,
}

/// What is remembered of a plugin's ends since it was last stable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    failures: u32,
    quarantines: u32,
    passing: u32,
    last_delay: Duration,
}

impl History {
    /// Failures in a row, without stability between them.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Judges an end. `dice` in `0.0..=1.0` spreads the delay over its upper half, so that plugins
    /// that fell together do not rise together.
    pub fn judge(&mut self, policy: &Policy, exit: Exit, dice: f64) -> Verdict {
        match (exit, policy.mode) {
            (Exit::Permanent, _) => return Verdict::Fail,
            (Exit::Declined, _) | (Exit::Clean, Mode::OnFailure) | (_, Mode::Never) => {
                return Verdict::Stop;
            }
            (Exit::Clean | Exit::Failure | Exit::Exhausted | Exit::Passing, _) => {}
        }
        self.failures = self.failures.saturating_add(exit.weight());
        if self.failures >= policy.breaker && exit != Exit::Passing {
            return Verdict::Quarantine(self.next_quarantine(policy));
        }
        self.passing = if exit == Exit::Passing { self.passing.saturating_add(1) } else { 0 };
        let step = self.failures.saturating_add(self.passing).max(1);
        let delay = spread(delay(policy, step), dice);
        self.last_delay = delay;
        Verdict::Start(delay)
    }

    /// The plugin has been ready for [`Self::stable_after`]: its failures are forgotten.
    pub fn stable(&mut self) {
        *self = Self::default();
    }

    /// An operator asked for a start: never refused, and nothing before it counts.
    pub fn absolve(&mut self) {
        *self = Self::default();
    }

    /// How long the plugin must be ready now to count as stable.
    #[must_use]
    pub fn stable_after(&self, policy: &Policy) -> Duration {
        policy.stable_after.max(self.last_delay.saturating_mul(2))
    }

    fn next_quarantine(&mut self, policy: &Policy) -> Duration {
        let length = doubled(policy.quarantine, self.quarantines, policy.quarantine_cap);
        self.quarantines = self.quarantines.saturating_add(1);
        length
    }
}

/// The full delay after failure number `step` (from 1).
fn delay(policy: &Policy, step: u32) -> Duration {
    match step.checked_sub(2) {
        None => policy.first.min(policy.cap),
        Some(doublings) => doubled(policy.base, doublings, policy.cap),
    }
}

fn doubled(base: Duration, doublings: u32, cap: Duration) -> Duration {
    let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
    base.saturating_mul(factor).min(cap)
}

/// `delay` scaled into its upper half by `dice`.
fn spread(delay: Duration, dice: f64) -> Duration {
    let dice = if dice.is_finite() { dice.clamp(0.0, 1.0) } else { 1.0 };
    delay.mul_f64(0.5 + dice / 2.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn policy() -> Policy {
        Policy::default()
    }

    fn delays(exits: &[Exit]) -> Vec<Verdict> {
        let mut history = History::default();
        exits.iter().map(|exit| history.judge(&policy(), *exit, 1.0)).collect()
    }

    #[test]
    fn delays_grow_and_the_eighth_failure_is_quarantined() {
        let millis = |ms| Verdict::Start(Duration::from_millis(ms));
        let seen = delays(&[Exit::Failure; 9]);
        let expected = [250, 500, 1000, 2000, 4000, 8000, 16000].map(millis);
        assert_eq!(seen[..7], expected);
        assert_eq!(seen[7], Verdict::Quarantine(Duration::from_secs(300)));
        assert_eq!(seen[8], Verdict::Quarantine(Duration::from_secs(600)));
    }

    #[test]
    fn a_stable_plugin_always_gets_the_short_delay() {
        let mut history = History::default();
        for _ in 0..100 {
            let verdict = history.judge(&policy(), Exit::Failure, 1.0);
            assert_eq!(verdict, Verdict::Start(Duration::from_millis(250)));
            history.stable();
        }
    }

    #[test]
    fn running_out_of_memory_counts_twice() {
        assert!(matches!(delays(&[Exit::Exhausted; 4])[3], Verdict::Quarantine(_)));
    }

    #[test]
    fn passing_difficulties_never_trip_the_breaker() {
        let seen = delays(&[Exit::Passing; 50]);
        assert!(seen.iter().all(|verdict| matches!(verdict, Verdict::Start(_))));
        assert_eq!(seen[49], Verdict::Start(Duration::from_secs(60)));
    }

    #[test]
    fn permanent_ends_are_not_tried_again() {
        assert_eq!(delays(&[Exit::Permanent]), [Verdict::Fail]);
        assert_eq!(delays(&[Exit::Declined]), [Verdict::Stop]);
        assert_eq!(delays(&[Exit::Clean]), [Verdict::Stop]);
    }

    #[test]
    fn always_restarts_a_clean_end_and_never_restarts_nothing() {
        let judge = |mode, exit| History::default().judge(&Policy { mode, ..policy() }, exit, 0.0);
        assert_eq!(judge(Mode::Always, Exit::Clean), Verdict::Start(Duration::from_millis(125)));
        assert_eq!(judge(Mode::Never, Exit::Failure), Verdict::Stop);
        assert_eq!(judge(Mode::Never, Exit::Permanent), Verdict::Fail);
    }

    #[test]
    fn exit_codes_have_their_customary_meaning() {
        assert_eq!(Exit::of_code(0, false), Exit::Clean);
        assert_eq!(Exit::of_code(0, true), Exit::Failure);
        assert_eq!(Exit::of_code(78, false), Exit::Permanent);
        assert_eq!(Exit::of_code(75, true), Exit::Passing);
        assert_eq!(Exit::of_code(125, false), Exit::Declined);
        assert_eq!(Exit::of_code(1, false), Exit::Failure);
    }

    fn any_exit() -> impl Strategy<Value = Exit> {
        prop_oneof![
            Just(Exit::Clean),
            Just(Exit::Failure),
            Just(Exit::Exhausted),
            Just(Exit::Passing),
            Just(Exit::Declined),
            Just(Exit::Permanent),
        ]
    }

    proptest! {
        #[test]
        fn no_delay_leaves_its_bounds(
            exits in prop::collection::vec((any_exit(), any::<f64>()), 0..200),
        ) {
            let policy = Policy { mode: Mode::Always, ..policy() };
            let mut history = History::default();
            for (exit, dice) in exits {
                match history.judge(&policy, exit, dice) {
                    Verdict::Start(delay) => {
                        prop_assert!(delay >= policy.first / 2 && delay <= policy.cap);
                        prop_assert!(exit == Exit::Passing || history.failures() < policy.breaker);
                    }
                    Verdict::Quarantine(length) => {
                        prop_assert!(length >= policy.quarantine);
                        prop_assert!(length <= policy.quarantine_cap);
                    }
                    Verdict::Stop => prop_assert_eq!(exit, Exit::Declined),
                    Verdict::Fail => prop_assert_eq!(exit, Exit::Permanent),
                }
            }
        }
    }
}
