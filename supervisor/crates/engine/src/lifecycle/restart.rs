//! Whether, and after which delay, a plugin that ended is started again.
//!
//! Pure: the policy and the dice are arguments, and so is the time: a [`Duration`] since an epoch
//! that the caller chose once. Counting follows OTP's supervisor (intensity within a period) with
//! changes that operators ask for: the delay grows instead of the plugin being given up at once,
//! and giving up is a quarantine that tries again by itself, final only where somebody said so.
//!
//! Two breakers count the same failures. The fast one counts those in a row and forgets them when
//! the plugin was stable: it sees a plugin that cannot come up. The slow one is a bucket that leaks:
//! it sees a plugin that comes up, is stable, and fails all the same, again and again.
//!
//! ```text
//!            failure                      breaker (either)
//! trusted ───────────► delayed start ──────────────────────► quarantine ──► trial
//!    ▲                                                           ▲  longer    │ │
//!    └──────────────────── stable ───────────────────────────────┼────────────┘ │
//!                                                                └── failure ───┘
//! ```

use std::{collections::BTreeMap, time::Duration};

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
    /// Failures that the slow breaker holds before the plugin is put in quarantine, however stable
    /// it was between them.
    pub slow_breaker: u32,
    /// The slow breaker forgets one failure in this time.
    pub slow_leak: Duration,
    /// After this many quarantines without recovery the plugin is left alone for good.
    pub give_up_after: Option<u32>,
    /// What exit statuses mean for this plugin, where it is not what they mean by custom.
    pub codes: BTreeMap<u8, Exit>,
}

impl Default for Policy {
    /// 0.25 s, then 0.5 s doubling to 60 s; stable after 60 s; quarantine of 5 min (to 1 h) at the
    /// eighth failure in a row, which is one to two minutes of trying. The slow breaker holds ten
    /// and forgets one in 5 min: a plugin that fails every minute is caught within a quarter of an
    /// hour, one that fails once an hour never is.
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
            slow_breaker: 10,
            slow_leak: Duration::from_secs(300),
            give_up_after: None,
            codes: BTreeMap::new(),
        }
    }
}

impl Policy {
    /// The meaning of a plain exit status: what the plugin's own rules say, else what is customary.
    #[must_use]
    pub fn exit_of(&self, code: i32, calls_lost: bool) -> Exit {
        let own = u8::try_from(code).ok().and_then(|code| self.codes.get(&code));
        own.copied().unwrap_or_else(|| Exit::of_code(code, calls_lost))
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
    /// It was in quarantine as often as somebody allowed; leave it and say so.
    GiveUp,
}

/// What is remembered of a plugin's ends.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    failures: u32,
    passing: u32,
    last_delay: Duration,
    /// The quarantines since the slow breaker was last empty.
    quarantines: u32,
    /// Whether the next failure counts for all: it is the one start after a quarantine.
    on_trial: bool,
    bucket: Bucket,
}

/// What a past comes to at one moment, apart from the clock that it was counted by: it can outlive
/// its host.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Past {
    /// Failures in a row.
    pub failures: u32,
    /// Passing difficulties in a row.
    pub passing: u32,
    /// The last delay before a restart.
    pub last_delay: Duration,
    /// Quarantines since the slow breaker was last empty.
    pub quarantines: u32,
    /// Whether the start after a quarantine has yet to prove itself.
    pub on_trial: bool,
    /// Failures that the slow breaker holds.
    pub slow_level: f64,
    /// For how long it does not leak yet: what is left of a quarantine.
    pub rest: Duration,
}

/// The slow breaker.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Bucket {
    level: f64,
    /// Until when it has leaked. In the future during a quarantine: a plugin that is not allowed to
    /// run proves nothing by not failing.
    leaked: Duration,
}

impl Bucket {
    fn leak(&mut self, policy: &Policy, now: Duration) {
        let passed = now.saturating_sub(self.leaked);
        let leak = policy.slow_leak.as_secs_f64().max(f64::EPSILON);
        self.level = (self.level - passed.as_secs_f64() / leak).max(0.0);
        self.leaked = self.leaked.max(now);
    }

    /// Adds failures; says whether that was too many.
    fn add(&mut self, policy: &Policy, weight: u32) -> bool {
        let full = f64::from(policy.slow_breaker);
        self.level = (self.level + f64::from(weight)).min(full);
        weight > 0 && self.level >= full
    }
}

impl History {
    /// Failures in a row, without stability between them.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether the start that follows a quarantine has yet to prove itself.
    #[must_use]
    pub fn is_on_trial(&self) -> bool {
        self.on_trial
    }

    /// What it comes to now.
    #[must_use]
    pub fn past(&self, policy: &Policy, now: Duration) -> Past {
        Past {
            failures: self.failures,
            passing: self.passing,
            last_delay: self.last_delay,
            quarantines: self.quarantines,
            on_trial: self.on_trial,
            slow_level: self.slow_level(policy, now),
            rest: self.bucket.leaked.saturating_sub(now),
        }
    }

    /// What a past that was told `ago` comes to now. Numbers that cannot be, because the file they were
    /// in was written by somebody else, are brought into their bounds.
    #[must_use]
    pub fn of(past: &Past, ago: Duration, policy: &Policy, now: Duration) -> Self {
        let level = if past.slow_level.is_nan() { 0.0 } else { past.slow_level };
        let rest = past.rest.min(policy.quarantine_cap);
        let leaking = ago.saturating_sub(rest).as_secs_f64();
        let leak = policy.slow_leak.as_secs_f64().max(f64::EPSILON);
        let full = f64::from(policy.slow_breaker);
        Self {
            failures: past.failures.min(policy.breaker),
            passing: past.passing,
            last_delay: past.last_delay.min(policy.cap),
            quarantines: past.quarantines,
            on_trial: past.on_trial,
            bucket: Bucket {
                level: (level.clamp(0.0, full) - leaking / leak).max(0.0),
                leaked: now.saturating_add(rest.saturating_sub(ago)),
            },
        }
    }

    /// How many failures the slow breaker holds now; it trips at [`Policy::slow_breaker`].
    #[must_use]
    pub fn slow_level(&self, policy: &Policy, now: Duration) -> f64 {
        let mut bucket = self.bucket;
        bucket.leak(policy, now);
        bucket.level
    }

    /// Judges an end. `dice` in `0.0..=1.0` spreads the delay over its upper half, so that plugins
    /// that fell together do not rise together.
    pub fn judge(&mut self, policy: &Policy, exit: Exit, now: Duration, dice: f64) -> Verdict {
        match (exit, policy.mode) {
            (Exit::Permanent, _) => return Verdict::Fail,
            (Exit::Declined, _) | (Exit::Clean, Mode::OnFailure) | (_, Mode::Never) => {
                return Verdict::Stop;
            }
            (Exit::Clean | Exit::Failure | Exit::Exhausted | Exit::Passing, _) => {}
        }
        if self.is_tripped_by(policy, exit, now) {
            return self.quarantine(policy, now);
        }
        self.passing = if exit == Exit::Passing { self.passing.saturating_add(1) } else { 0 };
        let step = self.failures.saturating_add(self.passing).max(1);
        let delay = spread(delay(policy, step), dice);
        self.last_delay = delay;
        Verdict::Start(delay)
    }

    /// Counts an end in both breakers.
    fn is_tripped_by(&mut self, policy: &Policy, exit: Exit, now: Duration) -> bool {
        self.bucket.leak(policy, now);
        if self.bucket.level <= 0.0 {
            self.quarantines = 0;
        }
        self.failures = self.failures.saturating_add(exit.weight());
        let slow = self.bucket.add(policy, exit.weight());
        let counted = exit.weight() > 0;
        counted && (slow || self.on_trial || self.failures >= policy.breaker)
    }

    fn quarantine(&mut self, policy: &Policy, now: Duration) -> Verdict {
        if policy.give_up_after.is_some_and(|most| self.quarantines >= most) {
            return Verdict::GiveUp;
        }
        let length = doubled(policy.quarantine, self.quarantines, policy.quarantine_cap);
        self.quarantines = self.quarantines.saturating_add(1);
        self.on_trial = true;
        self.bucket.leaked = now.saturating_add(length);
        Verdict::Quarantine(length)
    }

    /// The plugin has been ready for [`Self::stable_after`]: the row of failures has ended, and a
    /// trial is passed. The slow breaker only ever leaks, and the next quarantine is longer until it
    /// is empty; otherwise a plugin that fails right after it became stable would look new for ever.
    pub fn stable(&mut self) {
        self.failures = 0;
        self.passing = 0;
        self.last_delay = Duration::ZERO;
        self.on_trial = false;
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
#[path = "restart_tests.rs"]
mod tests;
