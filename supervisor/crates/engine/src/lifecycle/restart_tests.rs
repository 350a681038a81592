//! Tests of the restart policy: claims, the figures that operators are promised, and bounds that
//! hold for any row of ends.

use proptest::prelude::*;

use super::*;

const START: Duration = Duration::ZERO;

fn policy() -> Policy {
    Policy::default()
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn delays(exits: &[Exit]) -> Vec<Verdict> {
    let mut history = History::default();
    exits.iter().map(|exit| history.judge(&policy(), *exit, START, 1.0)).collect()
}

/// A plugin that fails `every` so often, each time after `ready` time of use; when it was put in
/// quarantine and for how long, within `span`.
fn quarantines(every: Duration, span: Duration) -> Vec<(Duration, Duration)> {
    let (policy, mut history, mut now) = (policy(), History::default(), START);
    let mut seen = Vec::new();
    while now < span {
        if every >= history.stable_after(&policy) {
            history.stable();
        }
        now += every;
        match history.judge(&policy, Exit::Failure, now, 1.0) {
            Verdict::Quarantine(length) => {
                seen.push((now, length));
                now += length;
            }
            Verdict::Start(delay) => now += delay,
            Verdict::Stop | Verdict::Fail | Verdict::GiveUp => panic!("not asked for"),
        }
    }
    seen
}

#[test]
fn delays_grow_and_the_eighth_failure_is_quarantined() {
    let millis = |ms| Verdict::Start(Duration::from_millis(ms));
    let seen = delays(&[Exit::Failure; 9]);
    let expected = [250, 500, 1000, 2000, 4000, 8000, 16000].map(millis);
    assert_eq!(seen[..7], expected);
    assert_eq!(seen[7], Verdict::Quarantine(seconds(300)));
    assert_eq!(seen[8], Verdict::Quarantine(seconds(600)));
}

#[test]
fn a_plugin_that_crashes_once_a_month_always_gets_the_short_delay() {
    let mut history = History::default();
    for month in 0..100 {
        let now = seconds(month * 30 * 86_400);
        let verdict = history.judge(&policy(), Exit::Failure, now, 1.0);
        assert_eq!(verdict, Verdict::Start(Duration::from_millis(250)));
        history.stable();
    }
}

#[test]
fn a_plugin_that_crashes_every_61_seconds_is_caught_within_a_quarter_of_an_hour() {
    let seen = quarantines(seconds(61), seconds(6 * 3600));
    assert!(seen[0].0 > seconds(10 * 60) && seen[0].0 < seconds(15 * 60), "{seen:?}");
    let lengths: Vec<u64> = seen.iter().map(|(_, length)| length.as_secs() / 60).collect();
    assert_eq!(lengths[..6], [5, 10, 20, 40, 60, 60], "each trial that fails makes it longer");
}

#[test]
fn a_plugin_that_crashes_every_two_seconds_is_caught_within_two_minutes() {
    let seen = quarantines(seconds(2), seconds(600));
    assert!(seen[0].0 < seconds(120), "{seen:?}");
}

#[test]
fn a_crash_every_six_minutes_is_lived_with() {
    assert_eq!(quarantines(seconds(360), seconds(30 * 86_400)), []);
}

#[test]
fn a_trial_that_fails_doubles_the_quarantine_up_to_the_cap() {
    let mut history = History::default();
    let mut now = START;
    let mut lengths = Vec::new();
    for _ in 0..14 {
        if let Verdict::Quarantine(length) = history.judge(&policy(), Exit::Failure, now, 1.0) {
            assert!(history.is_on_trial());
            lengths.push(length.as_secs());
            now += length;
        }
    }
    assert_eq!(lengths, [300, 600, 1200, 2400, 3600, 3600, 3600]);
}

#[test]
fn a_trial_that_becomes_stable_restores_trust_and_an_hour_without_failure_the_rest() {
    let mut history = History::default();
    let quarantined = |history: &mut History, now| {
        let verdicts: Vec<_> =
            (0..8).map(|_| history.judge(&policy(), Exit::Failure, now, 1.0)).collect();
        verdicts.into_iter().find(|verdict| matches!(verdict, Verdict::Quarantine(_)))
    };
    assert_eq!(quarantined(&mut history, START), Some(Verdict::Quarantine(seconds(300))));
    history.stable();
    assert!(!history.is_on_trial());
    let soon = seconds(300 + 600);
    let once = history.judge(&policy(), Exit::Failure, soon, 1.0);
    assert_eq!(once, Verdict::Start(Duration::from_millis(250)), "it is trusted again");
    history.stable();
    let later = soon + seconds(2 * 3600);
    assert_eq!(quarantined(&mut history, later), Some(Verdict::Quarantine(seconds(300))));
}

#[test]
fn a_quarantine_does_not_wash_the_slow_breaker_clean() {
    let mut history = History::default();
    for _ in 0..10 {
        history.judge(&policy(), Exit::Failure, START, 1.0);
        history.stable();
    }
    let level = |now| history.slow_level(&policy(), now);
    assert!((level(seconds(300)) - 10.0).abs() < 1e-9, "{}", level(seconds(300)));
    assert!((level(seconds(600)) - 9.0).abs() < 1e-9, "{}", level(seconds(600)));
}

#[test]
fn giving_up_is_final_and_only_where_it_was_asked_for() {
    let policy = Policy { give_up_after: Some(2), ..policy() };
    let mut history = History::default();
    let seen: Vec<_> = (0..11).map(|_| history.judge(&policy, Exit::Failure, START, 1.0)).collect();
    assert!(matches!(seen[7..9], [Verdict::Quarantine(_), Verdict::Quarantine(_)]), "{seen:?}");
    assert_eq!(seen[9..], [Verdict::GiveUp, Verdict::GiveUp]);
    history.absolve();
    let again = history.judge(&policy, Exit::Failure, START, 1.0);
    assert!(matches!(again, Verdict::Start(_)), "an operator may try again: {again:?}");
}

#[test]
fn running_out_of_memory_counts_twice() {
    assert!(matches!(delays(&[Exit::Exhausted; 4])[3], Verdict::Quarantine(_)));
}

#[test]
fn passing_difficulties_never_trip_a_breaker_not_even_on_trial() {
    let seen = delays(&[Exit::Passing; 50]);
    assert!(seen.iter().all(|verdict| matches!(verdict, Verdict::Start(_))));
    assert_eq!(seen[49], Verdict::Start(seconds(60)));
    let mut on_trial = [Exit::Failure; 9];
    on_trial[8] = Exit::Passing;
    assert!(matches!(delays(&on_trial)[7..], [Verdict::Quarantine(_), Verdict::Start(_)]));
}

#[test]
fn permanent_ends_are_not_tried_again() {
    assert_eq!(delays(&[Exit::Permanent]), [Verdict::Fail]);
    assert_eq!(delays(&[Exit::Declined]), [Verdict::Stop]);
    assert_eq!(delays(&[Exit::Clean]), [Verdict::Stop]);
}

#[test]
fn always_restarts_a_clean_end_and_never_restarts_nothing() {
    let judge =
        |mode, exit| History::default().judge(&Policy { mode, ..policy() }, exit, START, 0.0);
    assert_eq!(judge(Mode::Always, Exit::Clean), Verdict::Start(Duration::from_millis(125)));
    assert_eq!(judge(Mode::Never, Exit::Failure), Verdict::Stop);
    assert_eq!(judge(Mode::Never, Exit::Permanent), Verdict::Fail);
}

#[test]
fn exit_codes_have_their_customary_meaning() {
    let of = |code, calls_lost| policy().exit_of(code, calls_lost);
    assert_eq!(of(0, false), Exit::Clean);
    assert_eq!(of(0, true), Exit::Failure);
    for code in [64, 78, 126, 127] {
        assert_eq!(of(code, false), Exit::Permanent);
    }
    assert_eq!(of(75, true), Exit::Passing);
    assert_eq!(of(125, false), Exit::Declined);
    assert_eq!(of(1, false), Exit::Failure);
}

#[test]
fn a_rule_of_the_plugins_own_comes_before_custom() {
    let codes = BTreeMap::from([(3, Exit::Passing), (0, Exit::Failure), (75, Exit::Declined)]);
    let policy = Policy { codes, ..policy() };
    let seen = [3, 0, 75, 64, 300, -1].map(|code| policy.exit_of(code, false));
    let own = [Exit::Passing, Exit::Failure, Exit::Declined];
    let custom = [Exit::Permanent, Exit::Failure, Exit::Failure];
    assert_eq!((&seen[..3], &seen[3..]), (&own[..], &custom[..]));
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

#[derive(Debug, Clone, Copy)]
enum Fate {
    End(Exit, f64),
    Stable,
    Absolved,
}

fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        8 => (any_exit(), any::<f64>()).prop_map(|(exit, dice)| Fate::End(exit, dice)),
        2 => Just(Fate::Stable),
        1 => Just(Fate::Absolved),
    ]
}

proptest! {
    /// Delays and quarantines stay within their bounds, and a start is only ever answered while
    /// neither breaker has reason to trip, whatever happens and whatever the clock does.
    #[test]
    fn no_delay_leaves_its_bounds(
        fates in prop::collection::vec((any_fate(), 0_u64..4000), 0..200),
        steps_back in any::<bool>(),
    ) {
        let policy = Policy { mode: Mode::Always, ..policy() };
        let (mut history, mut now) = (History::default(), seconds(10_000));
        for (fate, passed) in fates {
            now = if steps_back && passed % 3 == 0 {
                now.saturating_sub(seconds(passed))
            } else {
                now + seconds(passed)
            };
            let (exit, dice) = match fate {
                Fate::End(exit, dice) => (exit, dice),
                Fate::Stable => {
                    history.stable();
                    continue;
                }
                Fate::Absolved => {
                    history.absolve();
                    continue;
                }
            };
            let on_trial = history.is_on_trial();
            match history.judge(&policy, exit, now, dice) {
                Verdict::Start(delay) => {
                    prop_assert!(delay >= policy.first / 2 && delay <= policy.cap);
                    let trusted = !on_trial && history.failures() < policy.breaker;
                    prop_assert!(exit == Exit::Passing || trusted);
                    let level = history.slow_level(&policy, now);
                    prop_assert!(exit == Exit::Passing || level < 10.0, "{}", level);
                }
                Verdict::Quarantine(length) => {
                    prop_assert!(exit != Exit::Passing);
                    prop_assert!(length >= policy.quarantine);
                    prop_assert!(length <= policy.quarantine_cap);
                }
                Verdict::Stop => prop_assert_eq!(exit, Exit::Declined),
                Verdict::Fail => prop_assert_eq!(exit, Exit::Permanent),
                Verdict::GiveUp => prop_assert!(false, "nobody asked for it"),
            }
        }
    }

    /// A failure is never answered more gently for having come after more failures.
    #[test]
    fn more_failures_never_shorten_the_delay(count in 1_usize..30) {
        let mut history = History::default();
        let mut last = (0, Duration::ZERO);
        for _ in 0..count {
            let now = match history.judge(&policy(), Exit::Failure, START, 1.0) {
                Verdict::Start(delay) => (0, delay),
                Verdict::Quarantine(length) => (1, length),
                Verdict::Stop | Verdict::Fail | Verdict::GiveUp => panic!("not asked for"),
            };
            prop_assert!(now >= last);
            last = now;
        }
    }
}

#[test]
fn a_past_goes_on_where_it_was_left() {
    let (policy, mut history) = (policy(), History::default());
    let fail = |history: &mut History, now| history.judge(&policy, Exit::Failure, now, 1.0);
    for second in 0..7 {
        assert!(matches!(fail(&mut history, seconds(second)), Verdict::Start(_)));
    }
    // Told at eleven minutes of one clock, taken up four minutes later at zero of another.
    let past = history.past(&policy, seconds(660));
    let mut later = History::of(&past, seconds(240), &policy, START);
    assert_eq!(later.failures(), 7);
    let expected = history.slow_level(&policy, seconds(900));
    assert!((later.slow_level(&policy, START) - expected).abs() < 1e-9);
    let verdict = fail(&mut later, START);
    assert_eq!(verdict, Verdict::Quarantine(seconds(300)));
    // In a quarantine nothing leaks, on either side of a host's end.
    let past = later.past(&policy, seconds(100));
    assert_eq!(past.rest, seconds(200));
    let after = History::of(&past, seconds(500), &policy, START);
    let expected = later.slow_level(&policy, seconds(600));
    assert!((after.slow_level(&policy, START) - expected).abs() < 1e-9);
    assert!(after.is_on_trial());
}

#[test]
fn a_past_that_cannot_be_is_brought_into_its_bounds() {
    let past = Past {
        failures: u32::MAX,
        passing: u32::MAX,
        last_delay: Duration::MAX,
        quarantines: u32::MAX,
        on_trial: false,
        slow_level: f64::INFINITY,
        rest: Duration::MAX,
    };
    let policy = policy();
    let mut history = History::of(&past, Duration::ZERO, &policy, START);
    assert!(history.slow_level(&policy, START) <= f64::from(policy.slow_breaker));
    assert!(history.stable_after(&policy) <= policy.cap * 2);
    let verdict = history.judge(&policy, Exit::Failure, START, 1.0);
    assert_eq!(verdict, Verdict::Quarantine(policy.quarantine_cap));
    assert_eq!(History::of(&Past::default(), seconds(9), &policy, START).failures(), 0);
}
