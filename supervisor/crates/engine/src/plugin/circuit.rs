//! A breaker per method: one that keeps failing gets a rest, and its callers are told at once instead
//! of each waiting for a deadline of its own. Pure; time is an argument.
//!
//! ```text
//! closed ──half of at least 20 calls in 10 s failed──► open, for 5 s
//!   ▲  ▲                                                  │ a call after that
//!   │  └───────── three trials succeeded ◄──────────── trial ──one failed──► open again
//!   └─ calls let in before an opening change nothing after it
//! ```
//!
//! What counts as failing is the plugin's not doing its part: no answer in time, or one that is none.
//! An error that the method answers with is an answer. How often processes end is for the restart
//! policy to judge, not for the circuit, which would otherwise refuse the calls that a spare or a
//! restarted process could take; only a trial that ends so has failed.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::lock;

/// Seconds that are looked back on.
const WINDOW: usize = 10;
const WINDOW_SECONDS: u64 = 10;
/// Fewer calls than this in the window say nothing.
const ENOUGH: u32 = 20;
/// How long an open circuit lets nobody in.
const REST: Duration = Duration::from_secs(5);
/// Calls that are let in after the rest, and must all succeed.
const TRIALS: u32 = 3;

/// What came of a call, as far as the method's health goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was answered; an error of the method's own is an answer.
    Good,
    /// The plugin did not do its part.
    Bad,
    /// The process ended.
    Lost,
    /// It says nothing: never sent, or no longer wanted.
    Neutral,
}

/// The right to one call. To be settled, whatever comes of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ticket {
    /// One of many.
    Plain,
    /// A trial, of this opening.
    Trial(u32),
}

/// Calls of one second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Cell {
    good: u32,
    bad: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    Trial { out: u32, good: u32 },
}

/// The circuit of one method.
#[derive(Debug)]
struct Circuit {
    state: State,
    /// How often it has opened.
    openings: u32,
    born: Instant,
    /// The second since `born` that was written to last.
    second: u64,
    cells: [Cell; WINDOW],
}

impl Circuit {
    /// A closed circuit.
    fn new(now: Instant) -> Self {
        Self {
            state: State::Closed,
            openings: 0,
            born: now,
            second: 0,
            cells: [Cell::default(); WINDOW],
        }
    }

    /// Lets a call in, or says when to come again.
    fn admit(&mut self, now: Instant) -> Result<Ticket, Duration> {
        match &mut self.state {
            State::Closed => return Ok(Ticket::Plain),
            State::Open { until } if now < *until => return Err(until.duration_since(now)),
            State::Open { .. } => self.state = State::Trial { out: 1, good: 0 },
            State::Trial { out, good } if *out + *good < TRIALS => *out += 1,
            // They are out; what comes of them is known soon, or it opens again.
            State::Trial { .. } => return Err(REST),
        }
        Ok(Ticket::Trial(self.openings))
    }

    /// Takes note of what came of a call; says whether the circuit has opened by it.
    fn settle(&mut self, ticket: Ticket, verdict: Verdict, now: Instant) -> bool {
        match (&mut self.state, ticket) {
            (State::Closed, Ticket::Plain) => self.note(verdict, now),
            (State::Trial { out, good }, Ticket::Trial(opening)) if opening == self.openings => {
                *out -= 1;
                match verdict {
                    Verdict::Neutral => false,
                    Verdict::Bad | Verdict::Lost => self.open(now),
                    Verdict::Good => {
                        *good += 1;
                        if *good == TRIALS {
                            self.state = State::Closed;
                        }
                        false
                    }
                }
            }
            (State::Closed | State::Open { .. } | State::Trial { .. }, _) => false,
        }
    }

    /// Whether calls are refused, but for trials.
    fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    fn note(&mut self, verdict: Verdict, now: Instant) -> bool {
        if matches!(verdict, Verdict::Neutral | Verdict::Lost) {
            return false;
        }
        self.turn(self.second(now));
        let place = usize::try_from(self.second).unwrap_or(0) % WINDOW;
        let Some(cell) = self.cells.get_mut(place) else { return false };
        if verdict == Verdict::Good {
            cell.good = cell.good.saturating_add(1);
            return false;
        }
        cell.bad = cell.bad.saturating_add(1);
        let sum =
            |count: fn(&Cell) -> u32| self.cells.iter().map(count).fold(0, u32::saturating_add);
        let (good, bad) = (sum(|cell| cell.good), sum(|cell| cell.bad));
        if good.saturating_add(bad) >= ENOUGH && bad >= good { self.open(now) } else { false }
    }

    fn open(&mut self, now: Instant) -> bool {
        self.state = State::Open { until: now.checked_add(REST).unwrap_or(now) };
        self.openings = self.openings.wrapping_add(1);
        self.cells = [Cell::default(); WINDOW];
        true
    }

    /// Takes note of answers that were counted elsewhere, all of one second since the beginning.
    fn note_answers(&mut self, second: u64, answers: u32) {
        self.turn(second);
        if self.state != State::Closed || self.second - second >= WINDOW_SECONDS {
            return;
        }
        let place = usize::try_from(second).unwrap_or(0) % WINDOW;
        if let Some(cell) = self.cells.get_mut(place) {
            cell.good = cell.good.saturating_add(answers);
        }
    }

    fn second(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.born).as_secs()
    }

    /// Empties the cells of the seconds since the last note.
    fn turn(&mut self, second: u64) {
        if second <= self.second {
            return;
        }
        let passed = usize::try_from(second - self.second).unwrap_or(WINDOW).min(WINDOW);
        let first = usize::try_from(self.second).unwrap_or(0) % WINDOW + 1;
        for place in first..first + passed {
            if let Some(cell) = self.cells.get_mut(place % WINDOW) {
                *cell = Cell::default();
            }
        }
        self.second = second;
    }
}

/// A circuit that many callers share. While it is closed, which is nearly always, a call that is
/// answered takes no lock: such answers are counted by the second, and told to the circuit when the
/// second is over or something else is to be told.
#[derive(Debug)]
pub(crate) struct Breaker {
    born: Instant,
    /// Whether the circuit is closed.
    closed: AtomicBool,
    /// The second since `born`, and below it the answers that were counted in it.
    answers: AtomicU64,
    circuit: Mutex<Circuit>,
}

/// Bits of `answers` that count.
const COUNT: u64 = 0xffff_ffff;

impl Breaker {
    /// A closed circuit.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            born: now,
            closed: AtomicBool::new(true),
            answers: AtomicU64::new(0),
            circuit: Mutex::new(Circuit::new(now)),
        }
    }

    /// Lets a call in, or says when to come again.
    pub(crate) fn admit(&self, now: Instant) -> Result<Ticket, Duration> {
        if self.is_closed() { Ok(Ticket::Plain) } else { lock(&self.circuit).admit(now) }
    }

    /// Takes note of what came of a call; says whether the circuit has opened by it.
    pub(crate) fn settle(&self, ticket: Ticket, verdict: Verdict, now: Instant) -> bool {
        let second = now.saturating_duration_since(self.born).as_secs();
        if (ticket, verdict) == (Ticket::Plain, Verdict::Good)
            && self.answers.load(Ordering::Relaxed) >> 32 == second
        {
            // One that is counted in the next second is counted.
            self.answers.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let mut circuit = lock(&self.circuit);
        let counted = self.answers.swap(second << 32, Ordering::Relaxed);
        circuit.note_answers(counted >> 32, u32::try_from(counted & COUNT).unwrap_or(u32::MAX));
        let opened = circuit.settle(ticket, verdict, now);
        self.closed.store(!circuit.is_open(), Ordering::Release);
        opened
    }

    /// Whether every call is let in.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    fn calls(circuit: &mut Circuit, verdict: Verdict, count: u32, now: Instant) -> bool {
        (0..count).any(|_| {
            let ticket = circuit.admit(now).unwrap();
            circuit.settle(ticket, verdict, now)
        })
    }

    fn opened(now: Instant) -> Circuit {
        let mut circuit = Circuit::new(now);
        assert!(calls(&mut circuit, Verdict::Bad, ENOUGH, now));
        circuit
    }

    #[test]
    fn it_opens_at_half_of_twenty_and_not_before() {
        let now = crate::clock::now();
        let mut circuit = Circuit::new(now);
        assert!(!calls(&mut circuit, Verdict::Good, 10, now));
        assert!(!calls(&mut circuit, Verdict::Bad, 9, now));
        assert!(calls(&mut circuit, Verdict::Bad, 1, now));
        assert_eq!(circuit.admit(now + Duration::from_secs(1)), Err(Duration::from_secs(4)));

        let mut circuit = Circuit::new(now);
        assert!(!calls(&mut circuit, Verdict::Good, 1_000, now));
        assert!(!calls(&mut circuit, Verdict::Bad, 999, now));
        assert!(calls(&mut circuit, Verdict::Bad, 1, now));
    }

    #[test]
    fn what_was_ten_seconds_ago_no_longer_counts() {
        let now = crate::clock::now();
        let mut circuit = Circuit::new(now);
        assert!(!calls(&mut circuit, Verdict::Bad, 19, now));
        let later = now + Duration::from_secs(10);
        assert!(!calls(&mut circuit, Verdict::Bad, 19, later));
        assert!(calls(&mut circuit, Verdict::Bad, 1, later));
    }

    #[test]
    fn three_good_trials_close_it() {
        let now = crate::clock::now();
        let mut circuit = opened(now);
        let later = now + REST;
        let trials: Vec<_> = (0..TRIALS).map(|_| circuit.admit(later).unwrap()).collect();
        assert_eq!(circuit.admit(later), Err(REST));
        for ticket in trials {
            assert!(circuit.is_open());
            assert!(!circuit.settle(ticket, Verdict::Good, later));
        }
        assert!(!circuit.is_open());
        assert!(!calls(&mut circuit, Verdict::Bad, ENOUGH - 1, later));
    }

    #[test]
    fn one_bad_trial_opens_it_again_and_the_other_trials_no_longer_count() {
        let now = crate::clock::now();
        let mut circuit = opened(now);
        let later = now + REST;
        let (one, two) = (circuit.admit(later).unwrap(), circuit.admit(later).unwrap());
        assert!(circuit.settle(one, Verdict::Bad, later));
        assert!(!circuit.settle(two, Verdict::Bad, later));
        assert_eq!(circuit.admit(later), Err(REST));
        let again = later + REST;
        let three = circuit.admit(again).unwrap();
        assert!(!circuit.settle(two, Verdict::Bad, again));
        assert!(!circuit.settle(three, Verdict::Good, again));
    }

    #[test]
    fn a_trial_that_says_nothing_makes_room_for_another() {
        let now = crate::clock::now();
        let mut circuit = opened(now);
        for round in 0..20 {
            let ticket = circuit.admit(now + REST).unwrap();
            assert!(!circuit.settle(ticket, Verdict::Neutral, now + REST), "{round}");
        }
    }

    #[test]
    fn an_end_fails_a_trial_and_nothing_else() {
        let now = crate::clock::now();
        let mut circuit = Circuit::new(now);
        assert!(!calls(&mut circuit, Verdict::Lost, 1_000, now));
        assert!(calls(&mut circuit, Verdict::Bad, ENOUGH, now));
        let trial = circuit.admit(now + REST).unwrap();
        assert!(circuit.settle(trial, Verdict::Lost, now + REST));
    }

    #[test]
    fn calls_from_before_the_opening_change_nothing() {
        let now = crate::clock::now();
        let mut circuit = Circuit::new(now);
        let late = circuit.admit(now).unwrap();
        assert!(calls(&mut circuit, Verdict::Bad, ENOUGH, now));
        assert!(!circuit.settle(late, Verdict::Good, now + REST));
        circuit.admit(now + REST).unwrap();
        assert!(!circuit.settle(late, Verdict::Bad, now + REST));
    }

    proptest! {
        /// While closed it opens exactly when a plain list of the last ten seconds says so.
        #[test]
        fn it_agrees_with_a_plain_list(
            calls in prop::collection::vec((0_u64..3_000, any::<bool>()), 0..200),
        ) {
            let born = crate::clock::now();
            let mut circuit = Circuit::new(born);
            let shared = Breaker::new(born);
            let mut list: VecDeque<(u64, bool)> = VecDeque::new();
            let mut millis = 0;
            for (pause, bad) in calls {
                millis += pause;
                let now = born + Duration::from_millis(millis);
                let verdict = if bad { Verdict::Bad } else { Verdict::Good };
                let ticket = circuit.admit(now).unwrap();
                let opened = circuit.settle(ticket, verdict, now);
                let ticket = shared.admit(now).unwrap();
                prop_assert_eq!(shared.settle(ticket, verdict, now), opened);
                prop_assert_eq!(shared.is_closed(), !opened);
                list.push_back((millis / 1_000, bad));
                list.retain(|(second, _)| second + 10 > millis / 1_000);
                let failed = list.iter().filter(|(_, bad)| *bad).count();
                let expected = bad && list.len() >= 20 && failed * 2 >= list.len();
                prop_assert_eq!(opened, expected);
                if opened {
                    break;
                }
            }
        }
    }
}
