//! Which answer belongs to which caller: correlation as a value.
//!
//! A slab of waiting calls, found by the id that went over the wire. No input or output, no lock,
//! no clock: instants are arguments. What waits (`W`) is the owner's choice.
//!
//! ```text
//! vacant ──insert──► waiting ──complete──► vacant (next turn)
//!                       │ abandon (caller answered: deadline, cancel, dropped)
//!                       ▼
//!                   abandoned ──complete, or the grace has passed──► vacant (next turn)
//! ```
//!
//! An abandoned call still occupies the plugin, so it still counts as in flight until the plugin
//! answers it or the grace has passed. Passed graces are noticed when room is needed; no timer runs.

use std::{
    fmt, mem,
    sync::Arc,
    time::{Duration, Instant},
};

/// Bits of an id that name the place; the others count how often the place was used.
const INDEX_BITS: u32 = 16;
/// Ids stay below 2^52, so that every JSON implementation carries them exactly (JavaScript's
/// numbers are exact to 2^53).
const TURN_BITS: u32 = 36;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
const TURN_MASK: u64 = (1 << TURN_BITS) - 1;

/// The most calls that can be in flight on one session.
pub(crate) const MAX_IN_FLIGHT: usize = 1 << INDEX_BITS;

/// The id of a call on the wire: its place in the slab and the turn of that place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallId(u64);

impl CallId {
    /// The first call of a session: its place and turn are the first.
    pub(crate) const FIRST: Self = Self(1 << INDEX_BITS);

    fn new(index: u16, turn: u64) -> Self {
        Self(u64::from(index) | ((turn & TURN_MASK) << INDEX_BITS))
    }

    /// The id as it goes over the wire.
    pub(crate) fn number(self) -> u64 {
        self.0
    }

    /// Reads an id that came over the wire; `None` if no session can have issued it.
    pub(crate) fn from_wire(number: i64) -> Option<Self> {
        let number = u64::try_from(number).ok()?;
        (number >> (INDEX_BITS + TURN_BITS) == 0).then_some(Self(number))
    }

    fn index(self) -> usize {
        usize::try_from(self.0 & INDEX_MASK).unwrap_or(usize::MAX)
    }

    fn turn(self) -> u64 {
        self.0 >> INDEX_BITS
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index(), self.turn())
    }
}

/// Why a call was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As many calls are in flight as are allowed.
    Full,
    /// As many calls of plugins are in flight as one of them, or all, may have.
    Share,
    /// The session has ended; nothing will be answered any more.
    Closed,
}

/// Whose answer a response is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Claim<W> {
    /// Of this caller, who still waits.
    Waiting(W),
    /// Of a caller who was already answered (deadline, cancelled, dropped).
    Abandoned,
    /// Of a call that was answered before, or given up: a duplicate or a late answer.
    Stale,
    /// Of no call that was ever made.
    Unknown,
}

#[derive(Debug)]
enum Place<W> {
    Vacant,
    Waiting(W),
    Abandoned(Instant),
}

#[derive(Debug)]
struct Slot<W> {
    turn: u64,
    place: Place<W>,
    /// The plugin that made the call; the host's own have none.
    caller: Option<Arc<str>>,
}

/// The calls of one session that are in flight.
#[derive(Debug)]
pub(crate) struct Calls<W> {
    slots: Vec<Slot<W>>,
    vacant: Vec<u16>,
    in_flight: usize,
    /// Calls taken, ever.
    taken: u64,
    abandoned: usize,
    max: usize,
    grace: Duration,
    closed: bool,
}

impl<W> Calls<W> {
    /// A slab for at most `max` calls in flight; an abandoned call frees its place after `grace`.
    pub(crate) fn new(max: usize, grace: Duration) -> Self {
        Self {
            slots: Vec::new(),
            vacant: Vec::new(),
            in_flight: 0,
            taken: 0,
            abandoned: 0,
            max: max.clamp(1, MAX_IN_FLIGHT),
            grace,
            closed: false,
        }
    }

    /// Calls that occupy the plugin: waiting, or abandoned within the grace.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How many calls were taken, ever.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Calls that somebody waits for.
    pub(crate) fn waiting(&self) -> usize {
        self.in_flight - self.abandoned
    }

    /// Takes a call of `caller`, a plugin, or of the host. The waiter comes back if it is refused.
    ///
    /// A plugin gets half of the places at most, and all plugins three quarters, so that neither one
    /// that calls without end nor all of them together keep others out.
    pub(crate) fn insert(
        &mut self,
        caller: Option<Arc<str>>,
        waiter: W,
        now: Instant,
    ) -> Result<CallId, (Refusal, W)> {
        if self.closed {
            return Err((Refusal::Closed, waiter));
        }
        if self.in_flight >= self.max && self.sweep(now) == 0 {
            return Err((Refusal::Full, waiter));
        }
        if let Some(caller) = &caller
            && self.has_its_share(caller)
            && (self.sweep(now) == 0 || self.has_its_share(caller))
        {
            return Err((Refusal::Share, waiter));
        }
        let Some(index) = self.vacant.pop().or_else(|| self.grow()) else {
            return Err((Refusal::Full, waiter));
        };
        let Some(slot) = self.slots.get_mut(usize::from(index)) else {
            return Err((Refusal::Full, waiter));
        };
        slot.place = Place::Waiting(waiter);
        slot.caller = caller;
        self.in_flight += 1;
        self.taken += 1;
        Ok(CallId::new(index, slot.turn))
    }

    /// The waiter of a call that still waits.
    pub(crate) fn get_mut(&mut self, id: CallId) -> Option<&mut W> {
        match &mut self.slot(id)?.place {
            Place::Waiting(waiter) => Some(waiter),
            Place::Vacant | Place::Abandoned(_) => None,
        }
    }

    /// The only call in flight, if there is exactly one and somebody waits for it.
    pub(crate) fn only(&self) -> Option<CallId> {
        if self.in_flight != 1 || self.abandoned != 0 {
            return None;
        }
        (0..=u16::MAX)
            .zip(&self.slots)
            .find(|(_, slot)| matches!(slot.place, Place::Waiting(_)))
            .map(|(index, slot)| CallId::new(index, slot.turn))
    }

    /// An answer to `id` has come.
    pub(crate) fn complete(&mut self, id: CallId) -> Claim<W> {
        let Some(slot) = self.slots.get_mut(id.index()) else { return Claim::Unknown };
        if slot.turn != id.turn() {
            return if id.turn() != 0 && id.turn() < slot.turn {
                Claim::Stale
            } else {
                Claim::Unknown
            };
        }
        match self.vacate(id) {
            Place::Waiting(waiter) => Claim::Waiting(waiter),
            Place::Abandoned(_) => Claim::Abandoned,
            Place::Vacant => Claim::Unknown,
        }
    }

    /// The caller was answered otherwise; the plugin still owes an answer.
    pub(crate) fn abandon(&mut self, id: CallId, now: Instant) -> Option<W> {
        let slot = self.slot(id)?;
        match mem::replace(&mut slot.place, Place::Abandoned(now)) {
            Place::Waiting(waiter) => {
                self.abandoned += 1;
                Some(waiter)
            }
            before @ (Place::Vacant | Place::Abandoned(_)) => {
                slot.place = before;
                None
            }
        }
    }

    /// The call never left: forget it, as if it had not been made.
    pub(crate) fn remove(&mut self, id: CallId) -> Option<W> {
        self.slot(id)?;
        match self.vacate(id) {
            Place::Waiting(waiter) => Some(waiter),
            Place::Vacant | Place::Abandoned(_) => None,
        }
    }

    /// Takes no more calls, and gives back everyone who waits.
    pub(crate) fn close(&mut self) -> Vec<W> {
        self.closed = true;
        self.in_flight = 0;
        self.abandoned = 0;
        self.vacant = Vec::new();
        mem::take(&mut self.slots)
            .into_iter()
            .filter_map(|slot| match slot.place {
                Place::Waiting(waiter) => Some(waiter),
                Place::Vacant | Place::Abandoned(_) => None,
            })
            .collect()
    }

    /// Whether a plugin may make no further call. Looked up and not kept: calls between plugins are
    /// few beside the host's own, which are not counted.
    fn has_its_share(&self, caller: &str) -> bool {
        let taken = self.slots.iter().filter(|slot| !matches!(slot.place, Place::Vacant));
        let (mut own, mut all) = (0, 0);
        for plugin in taken.filter_map(|slot| slot.caller.as_deref()) {
            own += usize::from(plugin == caller);
            all += 1;
        }
        own >= (self.max / 2).max(1) || all >= (self.max - self.max / 4).max(1)
    }

    /// Whether the plugin owes an answer to a call that nobody waits for.
    pub(crate) fn is_owed(&self, id: CallId) -> bool {
        let slot = self.slots.get(id.index()).filter(|slot| slot.turn == id.turn());
        slot.is_some_and(|slot| matches!(slot.place, Place::Abandoned(_)))
    }

    /// Frees the places of abandoned calls whose grace has passed; says how many.
    fn sweep(&mut self, now: Instant) -> usize {
        if self.abandoned == 0 {
            return 0;
        }
        let grace = self.grace;
        let passed: Vec<CallId> = (0..=u16::MAX)
            .zip(&self.slots)
            .filter_map(|(index, slot)| match slot.place {
                Place::Abandoned(since) if now.saturating_duration_since(since) >= grace => {
                    Some(CallId::new(index, slot.turn))
                }
                Place::Abandoned(_) | Place::Waiting(_) | Place::Vacant => None,
            })
            .collect();
        for id in &passed {
            self.vacate(*id);
        }
        passed.len()
    }

    /// The slot of `id`, if the id is of its present turn.
    fn slot(&mut self, id: CallId) -> Option<&mut Slot<W>> {
        self.slots.get_mut(id.index()).filter(|slot| slot.turn == id.turn())
    }

    /// Empties the place of `id` (present turn only) and begins its next turn.
    fn vacate(&mut self, id: CallId) -> Place<W> {
        let Some(slot) = self.slot(id) else { return Place::Vacant };
        let before = mem::replace(&mut slot.place, Place::Vacant);
        if matches!(before, Place::Vacant) {
            return before;
        }
        slot.turn = if slot.turn == TURN_MASK { 1 } else { slot.turn + 1 };
        slot.caller = None;
        self.in_flight -= 1;
        if matches!(before, Place::Abandoned(_)) {
            self.abandoned -= 1;
        }
        if let Ok(index) = u16::try_from(id.index()) {
            self.vacant.push(index);
        }
        before
    }

    fn grow(&mut self) -> Option<u16> {
        let index = u16::try_from(self.slots.len()).ok()?;
        self.slots.push(Slot { turn: 1, place: Place::Vacant, caller: None });
        Some(index)
    }
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
