//! Calls as values: [`Call`] is one that we serve, [`Ticket`] something a handler waits for, [`Outbox`]
//! the calls we made. No I/O here, and no threads, only what they share.

use crate::clock;
use crate::error::{CallError, Cancelled};
use crate::lock;
use crate::stream::table::{Feeds, Intake, Outlet};
use plugbay_protocol::meta::Meta;
use plugbay_protocol::{Code, Id};
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

/// One call being served, or a hook being run, or nothing in particular.
#[derive(Debug, Default)]
pub(crate) struct Call {
    /// `None`: nobody waits for an answer.
    pub(crate) id: Option<Id<'static>>,
    pub(crate) method: Arc<str>,
    pub(crate) meta: Meta,
    pub(crate) deadline: Option<Instant>,
    cancelled: AtomicBool,
    waiting: Mutex<Waiting>,
    /// Nanoseconds that its handler has spent waiting.
    waited: AtomicU64,
    /// Whether its parameters refer to streams.
    streaming: AtomicBool,
    /// Those that nobody has claimed.
    streams: Mutex<Vec<Intake>>,
}

/// Who is to be told when the call is cancelled.
#[derive(Debug, Default)]
struct Waiting {
    tickets: Vec<Arc<Ticket>>,
    waker: Option<Waker>,
}

impl Call {
    pub(crate) fn new(id: Option<Id<'static>>, method: Arc<str>, meta: Meta) -> Self {
        let deadline =
            meta.deadline_ms.and_then(|ms| clock::now().checked_add(Duration::from_millis(ms)));
        Self { id, method, meta, deadline, ..Self::default() }
    }

    /// Tells the handler to stop, waking it if it waits.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        let (tickets, waker) = {
            let mut waiting = lock(&self.waiting);
            (std::mem::take(&mut waiting.tickets), waiting.waker.take())
        };
        for ticket in tickets {
            ticket.settle(Err(CallError::withdrawn()));
        }
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether somebody said that the answer is not wanted.
    pub(crate) fn is_withdrawn(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Whether the answer is of no use any more: withdrawn, or too late.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.is_withdrawn() || self.deadline.is_some_and(|deadline| clock::now() >= deadline)
    }

    /// Has `ticket` settled when the call is cancelled, which may have happened.
    pub(crate) fn attach(&self, ticket: &Arc<Ticket>) -> Result<(), Cancelled> {
        lock(&self.waiting).tickets.push(Arc::clone(ticket));
        if self.is_withdrawn() {
            self.detach(ticket);
            return Err(Cancelled);
        }
        Ok(())
    }

    pub(crate) fn detach(&self, ticket: &Arc<Ticket>) {
        lock(&self.waiting).tickets.retain(|other| !Arc::ptr_eq(other, ticket));
    }

    /// Has `waker` woken when the call is cancelled; tells whether that has happened.
    pub(crate) fn watch(&self, waker: &Waker) -> bool {
        let mut waiting = lock(&self.waiting);
        match &mut waiting.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        drop(waiting);
        self.is_withdrawn()
    }

    /// Remembers time that the handler spent waiting rather than working.
    pub(crate) fn add_waited(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.waited.fetch_add(nanos, Ordering::Relaxed);
    }

    /// The time it spent so until now.
    pub(crate) fn waited(&self) -> Duration {
        Duration::from_nanos(self.waited.load(Ordering::Relaxed))
    }

    /// Takes on the streams that its parameters refer to.
    pub(crate) fn bring(&self, streams: Vec<Intake>) {
        if !streams.is_empty() {
            self.streaming.store(true, Ordering::Relaxed);
            *lock(&self.streams) = streams;
        }
    }

    /// Whether its parameters refer to streams.
    pub(crate) fn is_streaming(&self) -> bool {
        self.streaming.load(Ordering::Relaxed)
    }

    /// The streams that its parameters refer to, once.
    pub(crate) fn take_streams(&self) -> Vec<Intake> {
        if self.is_streaming() { std::mem::take(&mut *lock(&self.streams)) } else { Vec::new() }
    }

    /// Forgets whoever was to be told.
    pub(crate) fn unwatch(&self) {
        lock(&self.waiting).waker = None;
    }
}

/// The answer to a call we made.
pub(crate) type Outcome = Result<Box<RawValue>, CallError>;

/// Something that is waited for: an answer, or a cancellation.
#[derive(Debug, Default)]
pub(crate) struct Ticket {
    /// Of the request; zero when there is none.
    pub(crate) id: u64,
    settled: AtomicBool,
    state: Mutex<Settling>,
    bell: Condvar,
    /// On whose behalf it was asked.
    pub(crate) call: OnceLock<Arc<Call>>,
    /// The streams of the request.
    uploads: Mutex<Vec<Arc<Outlet>>>,
    /// Those of the answer.
    streams: Mutex<Vec<Intake>>,
}

#[derive(Debug, Default)]
struct Settling {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

impl Ticket {
    fn new(id: u64) -> Self {
        Self { id, ..Self::default() }
    }

    /// Wakes whoever waits. Only the first time counts.
    pub(crate) fn settle(&self, outcome: Outcome) {
        let waker = {
            let mut state = lock(&self.state);
            if self.settled.swap(true, Ordering::SeqCst) {
                return;
            }
            state.outcome = Some(outcome);
            state.waker.take()
        };
        self.bell.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.settled.load(Ordering::SeqCst)
    }

    /// Says which streams go with the request.
    pub(crate) fn feed(&self, uploads: Vec<Arc<Outlet>>) {
        *lock(&self.uploads) = uploads;
    }

    /// The streams of the request, which end when this is dropped.
    pub(crate) fn take_feeds(&self) -> Feeds {
        Feeds(std::mem::take(&mut *lock(&self.uploads)))
    }

    /// Takes on the streams that the answer refers to.
    pub(crate) fn bring(&self, streams: Vec<Intake>) {
        *lock(&self.streams) = streams;
    }

    /// The streams that the answer refers to, once.
    pub(crate) fn take_streams(&self) -> Vec<Intake> {
        std::mem::take(&mut *lock(&self.streams))
    }

    /// The outcome, once.
    pub(crate) fn take(&self) -> Option<Outcome> {
        lock(&self.state).outcome.take()
    }

    /// Blocks until settled; `false` if `deadline` came first.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> bool {
        let mut state = lock(&self.state);
        while !self.is_settled() {
            state = match deadline {
                None => self.bell.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(clock::now());
                    if left.is_zero() {
                        return false;
                    }
                    let waited = self.bell.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        true
    }

    /// As a future's `poll` does.
    pub(crate) fn poll(&self, task: &TaskContext<'_>) -> Poll<Outcome> {
        let mut state = lock(&self.state);
        match state.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                state.waker = Some(task.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// The calls this plugin made and waits for, by id.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    tickets: HashMap<u64, Arc<Ticket>>,
    last: u64,
    closed: bool,
}

impl Outbox {
    /// Begins a call, unless `limit` of them are open.
    pub(crate) fn open(&self, limit: usize) -> Result<Arc<Ticket>, CallError> {
        let mut open = lock(&self.0);
        if open.closed {
            return Err(CallError::host_gone());
        }
        if open.tickets.len() >= limit {
            let message = format!("{limit} calls of this plugin are unanswered already");
            return Err(CallError::new(Code::Overloaded, message));
        }
        open.last += 1;
        let ticket = Arc::new(Ticket::new(open.last));
        open.tickets.insert(ticket.id, Arc::clone(&ticket));
        Ok(ticket)
    }

    /// Ends a call; `None` if it is not ours, or was given up.
    pub(crate) fn take(&self, id: u64) -> Option<Arc<Ticket>> {
        lock(&self.0).tickets.remove(&id)
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).tickets.is_empty()
    }

    /// Fails every call: there will be no more answers.
    pub(crate) fn close(&self) {
        let lost = {
            let mut open = lock(&self.0);
            open.closed = true;
            std::mem::take(&mut open.tickets)
        };
        for ticket in lost.into_values() {
            ticket.settle(Err(CallError::host_gone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_settled_once() {
        let ticket = Ticket::default();
        ticket.settle(Err(CallError::withdrawn()));
        ticket.settle(Err(CallError::host_gone()));
        assert!(ticket.wait(None));
        assert_eq!(ticket.take().unwrap().unwrap_err().code(), -32800);
        assert!(ticket.take().is_none());
    }

    #[test]
    fn waiting_ends_at_the_deadline() {
        assert!(!Ticket::default().wait(Some(clock::now())));
    }

    #[test]
    fn a_cancelled_call_settles_what_waits_for_it() {
        let call = Call::default();
        let (before, after) = (Arc::new(Ticket::default()), Arc::new(Ticket::default()));
        let detached = Arc::new(Ticket::default());
        call.attach(&before).unwrap();
        call.attach(&detached).unwrap();
        call.detach(&detached);
        call.cancel();
        assert!(before.is_settled() && !detached.is_settled());
        assert_eq!(call.attach(&after), Err(Cancelled));
        assert!(call.is_cancelled() && call.watch(Waker::noop()));
    }

    #[test]
    fn a_deadline_cancels_without_a_word() {
        let call = Call::new(None, "m".into(), Meta { deadline_ms: Some(0), ..Meta::default() });
        assert!(call.is_cancelled() && !call.is_withdrawn());
        let never = Meta { deadline_ms: Some(u64::MAX), ..Meta::default() };
        assert!(!Call::new(None, "m".into(), never).is_cancelled());
    }

    #[test]
    fn the_outbox_is_bounded_and_ends_with_the_host() {
        let outbox = Outbox::default();
        let first = outbox.open(2).unwrap();
        let second = outbox.open(2).unwrap();
        assert_eq!(outbox.open(2).unwrap_err().known_code(), Some(Code::Overloaded));
        assert!(outbox.take(first.id).is_some() && outbox.take(first.id).is_none());
        outbox.close();
        assert_eq!(second.take().unwrap().unwrap_err().known_code(), Some(Code::Unavailable));
        assert_eq!(outbox.open(2).unwrap_err().known_code(), Some(Code::Unavailable));
        assert!(outbox.is_empty());
    }
}
