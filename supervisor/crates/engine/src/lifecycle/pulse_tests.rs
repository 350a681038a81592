//! Tests of the pulse: stories told second by second, and what holds for any story.

use proptest::prelude::*;

use super::*;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A process as a story tells it, looked at whenever the pulse wants to.
struct Story {
    pulse: Pulse,
    now: Duration,
    vitals: Vitals,
    /// How much of a processor it uses.
    share: f64,
    used: Option<Duration>,
    seen: Vec<(u64, Health)>,
    pings: Vec<u64>,
    end: Option<(u64, Stuck)>,
}

impl Story {
    fn new(beat: Beat) -> Self {
        Self {
            pulse: Pulse::new(beat, Duration::ZERO),
            now: Duration::ZERO,
            vitals: Vitals::default(),
            share: 0.0,
            used: Some(Duration::ZERO),
            seen: Vec::new(),
            pings: Vec::new(),
            end: None,
        }
    }

    fn called(mut self) -> Self {
        self.vitals.calls = 1;
        self
    }

    fn working(mut self, share: f64) -> Self {
        self.share = share;
        self
    }

    fn look(&mut self) -> Option<Duration> {
        let used = self.used;
        let reading = self.pulse.look(self.now, self.vitals, || used);
        let second = self.now.as_secs();
        match reading.act {
            Act::Rest => {}
            Act::Ping => self.pings.push(second),
            Act::Kill(verdict, _) => self.end = self.end.or(Some((second, verdict))),
        }
        if self.seen.last().map(|(_, health)| *health) != Some(reading.health) {
            self.seen.push((second, reading.health));
        }
        reading.due
    }

    /// Lets time pass until then, looking as often as the pulse wants, or until it is killed.
    fn until(mut self, end: u64) -> Self {
        let end = seconds(end);
        while self.end.is_none() {
            let due = self.look();
            assert!(due.is_none_or(|due| due > self.now), "it would be looked at for ever");
            let next = due.unwrap_or(end).min(end);
            let passed = next.saturating_sub(self.now);
            self.used = self.used.map(|used| used + passed.mul_f64(self.share));
            self.now = next;
            if next == end {
                break;
            }
        }
        self
    }

    fn frame(mut self) -> Self {
        self.vitals.frames += 1;
        self.look();
        self
    }
}

#[test]
fn one_that_sleeps_with_a_call_in_flight_is_asked_then_ailing_then_killed() {
    let story = Story::new(Beat::default()).called().until(1000);
    assert_eq!(story.pings, [10], "one ping at a time");
    let silent = Health::Ailing(Ailment::Silent);
    let expected = [(0, Health::Well), (15, Health::Slow(1)), (20, Health::Slow(2)), (25, silent)];
    assert_eq!(story.seen, expected);
    assert_eq!(story.end, Some((60, Stuck::Hang)));
}

#[test]
fn a_busy_loop_is_ailing_by_30_seconds_and_killed_at_120() {
    let story = Story::new(Beat::default()).called().working(1.0).until(1000);
    let ailing = story.seen.iter().find(|(_, health)| matches!(health, Health::Ailing(_)));
    assert!(ailing.unwrap().0 <= 30);
    assert_eq!(story.end, Some((120, Stuck::Busy)));
}

#[test]
fn one_that_was_busy_and_then_hangs_is_killed_before_the_busy_are() {
    let story = Story::new(Beat::default()).called().working(1.0).until(63).working(0.0);
    let (at, verdict) = story.until(1000).end.unwrap();
    assert!(at < 80 && verdict == Stuck::Hang, "{at} {verdict:?}");
}

#[test]
fn one_whose_processor_time_is_not_known_gets_the_longer_time() {
    let mut story = Story::new(Beat::default()).called();
    story.used = None;
    assert_eq!(story.until(1000).end, Some((120, Stuck::Busy)));
}

#[test]
fn one_that_finishes_work_is_never_killed_however_late_its_answers() {
    let mut story = Story::new(Beat::default()).called().working(1.0);
    for round in 1..=20 {
        story = story.until(round * 55).frame();
    }
    assert_eq!(story.end, None);
    assert!(story.seen.iter().any(|(_, health)| matches!(health, Health::Ailing(_))));
    assert_eq!(story.seen.last().unwrap().1, Health::Well);
}

#[test]
fn a_pong_makes_it_well_and_it_is_asked_again_after_the_next_silence() {
    let story = Story::new(Beat::default()).called().until(30).frame();
    assert_eq!(story.seen.last(), Some(&(30, Health::Well)));
    let story = story.until(45);
    assert_eq!((story.pings, story.end), (vec![10, 40], None));
}

#[test]
fn an_idle_plugin_is_asked_now_and_then_and_not_at_once_when_a_call_comes() {
    let story = Story::new(Beat::default()).until(299);
    assert!(story.pings.is_empty());
    let story = story.called();
    let story = story.until(310);
    assert_eq!(story.pings, [309], "ten seconds after the call");
    let idle = Story::new(Beat::default()).until(310);
    assert_eq!(idle.pings, [300]);
    assert_eq!(idle.until(1000).end, Some((360, Stuck::Hang)), "a dead one is noticed too");
}

#[test]
fn one_that_promises_no_pongs_is_never_asked_nor_killed_for_silence() {
    let beat = Beat { answers: false, ..Beat::default() };
    let story = Story::new(beat).called().until(10_000);
    assert_eq!((story.pings, story.end), (Vec::new(), None));
}

#[test]
fn one_that_does_not_read_is_ailing_at_5_seconds_and_killed_at_30() {
    for answers in [true, false] {
        let mut story = Story::new(Beat { answers, ..Beat::default() }).called();
        story.vitals.stalled = Some(Duration::ZERO);
        let story = story.until(1000);
        let expected = [(0, Health::Well), (5, Health::Ailing(Ailment::Deaf))];
        assert_eq!(story.seen, expected);
        assert_eq!(story.end, Some((30, Stuck::Deaf)));
    }
}

#[test]
fn one_that_works_or_writes_while_it_does_not_read_gets_more_time() {
    let deaf = || {
        let mut story = Story::new(Beat::default()).called();
        story.vitals.stalled = Some(Duration::ZERO);
        story
    };
    assert_eq!(deaf().working(0.5).until(1000).end, Some((120, Stuck::Busy)));
    let mut story = deaf();
    for round in 1..=10 {
        story = story.until(round * 25).frame();
    }
    assert_eq!(story.end, None);
    assert_eq!(story.seen.last().unwrap().1, Health::Ailing(Ailment::Deaf), "it still is");
    let mut story = deaf().until(20);
    story.vitals.stalled = None;
    assert_eq!(story.frame().seen.last().unwrap().1, Health::Well);
}

#[test]
fn time_in_which_the_host_itself_stood_still_is_not_held_against_anyone() {
    let mut story = Story::new(Beat::default()).called().until(12);
    story.now = seconds(500);
    assert_eq!((story.look().is_some(), story.end), (true, None));
    assert_eq!(story.seen.last().unwrap().1, Health::Slow(1));
    assert_eq!(story.frame().end, None);
}

#[test]
fn readiness_needs_three_bad_answers_to_fall_and_two_good_ones_to_rise() {
    let mut readiness = Readiness::new(3, 2);
    let answers = [false, false, true, false, false, false, true, false, true, true];
    let seen = answers.map(|well| readiness.answered(well));
    assert_eq!(seen, [true, true, true, true, true, false, false, false, false, true]);
}

#[derive(Debug, Clone, Copy)]
enum Shake {
    Frame,
    Calls(usize),
    Stall,
    Flow,
    Work(u64),
    Pass(u64),
}

fn any_shake() -> impl Strategy<Value = Shake> {
    prop_oneof![
        2 => Just(Shake::Frame),
        2 => (0_usize..3).prop_map(Shake::Calls),
        1 => Just(Shake::Stall),
        1 => Just(Shake::Flow),
        2 => (0_u64..3000).prop_map(Shake::Work),
        6 => (0_u64..20_000).prop_map(Shake::Pass),
    ]
}

proptest! {
    /// Nobody is killed who wrote a frame within the shortest limit, and who wrote none and was
    /// asked, or does not read, does not live past the longest one; the next look always lies ahead.
    #[test]
    fn only_silence_kills_and_silence_always_does(
        shakes in prop::collection::vec(any_shake(), 0..80),
        answers in any::<bool>(),
    ) {
        let beat = Beat { answers, ..Beat::default() };
        let mut pulse = Pulse::new(beat, Duration::ZERO);
        let (mut now, mut vitals, mut used) = (Duration::ZERO, Vitals::default(), Duration::ZERO);
        let (mut heard, mut stall) = (Duration::ZERO, None::<Duration>);
        let mut due = pulse.look(now, vitals, || Some(used)).due;
        for shake in shakes {
            let mut end = now;
            match shake {
                Shake::Frame => {
                    vitals.frames += 1;
                    heard = now;
                }
                Shake::Calls(calls) => vitals.calls = calls,
                Shake::Stall => stall = Some(stall.unwrap_or(now)),
                Shake::Flow => stall = None,
                Shake::Work(millis) => used += Duration::from_millis(millis),
                Shake::Pass(millis) => end += Duration::from_millis(millis),
            }
            vitals.stalled = stall;
            loop {
                now = due.filter(|due| *due < end).unwrap_or(end);
                let reading = pulse.look(now, vitals, || Some(used));
                due = reading.due;
                prop_assert!(due.is_none_or(|due| due > now));
                if let Act::Kill(verdict, silence) = reading.act {
                    prop_assert!(now - heard >= seconds(30), "{:?} after {:?}", verdict, silence);
                    prop_assert!(answers || stall.is_some());
                    return Ok(());
                }
                let silence = now - heard.max(stall.unwrap_or(now));
                prop_assert!(silence < seconds(121), "it should be dead");
                if now == end {
                    break;
                }
            }
        }
    }
}
