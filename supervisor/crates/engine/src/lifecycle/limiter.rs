//! Which of the starts that are due may go ahead now: one limiter for the whole host.
//!
//! What many plugins share (a disk, a database, the machine) can take them all down at once; without
//! a limiter they would all come back at once, and take it down again. Pure: time is an argument, a
//! [`Duration`] since an epoch that the caller chose once.
//!
//! ```text
//! enter ──► waiting, one line per lane ──turn──► under way ──leave──► gone
//!                 └──────────────leave (not wanted any more)───────────▲
//! ```
//!
//! Every start needs a place; the places bound how many are under way. Starts that nobody asked for
//! just now (restarts, trials, spares) are also bounded in number per second, and all but those that
//! somebody waits for keep away for a while after the machine was seen to be short of something.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Why something is started, the most urgent first: a start waits for those of the lanes before its
/// own, and for those of its own that came earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// An operator or a call waits for it.
    Awaited,
    /// It ended and is started again by itself.
    Again,
    /// It is started for the first time, with the host.
    First,
}

impl Lane {
    /// Every lane, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Awaited, Self::Again, Self::First];
}

/// The numbers of the limiter.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    /// Starts under way at once.
    pub places: usize,
    /// Restarts per second in the long run.
    pub per_second: f64,
    /// Restarts at once, after a quiet time.
    pub burst: u32,
    /// How long nothing that can wait is started after the machine was short of something.
    pub closed: Duration,
}

impl Default for Bounds {
    /// Four at once; ten restarts a second and twenty at once; closed for 5 s.
    fn default() -> Self {
        Self { places: 4, per_second: 10.0, burst: 20, closed: Duration::from_secs(5) }
    }
}

/// One start, from when it is due to when it gives its place back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What a start is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Go ahead.
    Go,
    /// Not yet. Ask again when something has changed and [`Limiter::heads`] names you, or at this
    /// time, if there is one.
    Wait(Option<Duration>),
}

/// The limiter.
#[derive(Debug)]
pub struct Limiter {
    bounds: Bounds,
    tickets: u64,
    lanes: BTreeMap<Ticket, Lane>,
    waiting: BTreeSet<(Lane, Ticket)>,
    under_way: BTreeSet<Ticket>,
    tokens: f64,
    filled: Duration,
    closed_until: Duration,
}

impl Limiter {
    /// A limiter with nothing under way.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let tokens = f64::from(bounds.burst);
        Self {
            bounds,
            tickets: 0,
            lanes: BTreeMap::new(),
            waiting: BTreeSet::new(),
            under_way: BTreeSet::new(),
            tokens,
            filled: Duration::ZERO,
            closed_until: Duration::ZERO,
        }
    }

    /// A start is due.
    pub fn enter(&mut self, lane: Lane) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.lanes.insert(ticket, lane);
        self.waiting.insert((lane, ticket));
        ticket
    }

    /// Whether a start may go ahead now. Once it may, it holds a place until it leaves.
    pub fn turn(&mut self, ticket: Ticket, now: Duration) -> Turn {
        let Some(lane) = self.lanes.get(&ticket).copied() else { return Turn::Wait(None) };
        if self.under_way.contains(&ticket) {
            return Turn::Go;
        }
        self.fill(now);
        if self.under_way.len() < self.bounds.places && self.next(now) == Some(ticket) {
            self.waiting.remove(&(lane, ticket));
            self.under_way.insert(ticket);
            if lane == Lane::Again {
                self.tokens -= 1.0;
            }
            return Turn::Go;
        }
        let opens = self.opens(lane, now);
        Turn::Wait((opens > now).then_some(opens))
    }

    /// A start is over, one way or the other, or not wanted any more.
    pub fn leave(&mut self, ticket: Ticket) {
        if let Some(lane) = self.lanes.remove(&ticket) {
            self.waiting.remove(&(lane, ticket));
            self.under_way.remove(&ticket);
        }
    }

    /// The machine was short of something that every start needs.
    pub fn close(&mut self, now: Duration) {
        self.closed_until = self.closed_until.max(now.saturating_add(self.bounds.closed));
    }

    /// The first of every lane: whoever may be next when something has changed.
    pub fn heads(&self) -> impl Iterator<Item = Ticket> {
        Lane::ALL.into_iter().filter_map(|lane| self.head(lane))
    }

    /// How many starts are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// How many starts wait for their turn.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn head(&self, lane: Lane) -> Option<Ticket> {
        let least = (lane, Ticket(0));
        let (first, ticket) = self.waiting.range(least..).next()?;
        (*first == lane).then_some(*ticket)
    }

    /// Who is next, places aside.
    fn next(&self, now: Duration) -> Option<Ticket> {
        let open = Lane::ALL.into_iter().filter(|lane| self.opens(*lane, now) <= now);
        open.filter_map(|lane| self.head(lane)).next()
    }

    /// From when on a lane may start something, places aside.
    fn opens(&self, lane: Lane, now: Duration) -> Duration {
        match lane {
            Lane::Awaited => now,
            Lane::First => self.closed_until,
            Lane::Again if self.tokens >= 1.0 => self.closed_until,
            Lane::Again => {
                let missing = (1.0 - self.tokens) / self.bounds.per_second.max(f64::EPSILON);
                // A little more than needed, so that whoever comes back then finds a whole token.
                let refill = Duration::try_from_secs_f64(missing + 0.001).unwrap_or(Duration::MAX);
                self.closed_until.max(now.saturating_add(refill))
            }
        }
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.filled).as_secs_f64();
        let level = passed.mul_add(self.bounds.per_second, self.tokens);
        self.tokens = level.min(f64::from(self.bounds.burst));
        self.filled = self.filled.max(now);
    }
}

#[cfg(test)]
#[path = "limiter_tests.rs"]
mod tests;
