//! The calls being served, and how far the session is, as a value. No I/O and no threads.

use crate::call::Call;
use crate::error::{Error, Result};
use plugbay_protocol::{Code, ErrorData, Id, Origin};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// How far a session is.
///
/// ```text
///   New ──initialize──► Opening ──answered──► Open ──shutdown──────► Draining
///    ▲                     │ refused            └──drain──► Leaving ──▲
///    └─────────────────────┘                                  shutdown
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// Nothing was agreed.
    #[default]
    New,
    /// The start hooks run.
    Opening,
    /// Calls are taken.
    Open,
    /// No more calls are taken: a successor takes them.
    Leaving,
    /// No more calls are taken, and the end is near.
    Draining,
}

/// A request that is answered when no call is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// A successor takes over.
    Drain(Id<'static>),
    /// There is none.
    Shutdown(Id<'static>),
}

/// Who is served.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) phase: Phase,
    /// Requests without an answer.
    inflight: HashMap<Id<'static>, Arc<Call>>,
    /// Calls not done with: those in flight, those whose answer is on its way, and notifications.
    open: usize,
    /// Those of them that are answered and still stream.
    streaming: usize,
    /// The requests to drain and to shut down, to be answered when nothing is open.
    ends: Vec<End>,
}

impl Table {
    /// Takes a call on, unless there are `limit` already.
    pub(crate) fn admit(&mut self, call: &Arc<Call>, limit: usize) -> Result<()> {
        if self.open - self.streaming >= limit {
            return Err(overloaded(limit));
        }
        if let Some(id) = &call.id {
            match self.inflight.entry(id.clone()) {
                Entry::Occupied(_) => {
                    let message = "that id is of a call still running";
                    return Err(Error::new(Code::InvalidRequest, message));
                }
                Entry::Vacant(place) => drop(place.insert(Arc::clone(call))),
            }
        }
        self.open += 1;
        Ok(())
    }

    /// The call in flight with this id.
    pub(crate) fn find(&self, id: &Id<'static>) -> Option<Arc<Call>> {
        self.inflight.get(id).map(Arc::clone)
    }

    /// Every call in flight.
    pub(crate) fn inflight(&self) -> Vec<Arc<Call>> {
        self.inflight.values().map(Arc::clone).collect()
    }

    /// Claims the right to answer a call: `true` once per call. A notification needs no answer.
    pub(crate) fn claim(&mut self, call: &Call) -> bool {
        call.id.as_ref().is_some_and(|id| self.inflight.remove(id).is_some())
    }

    /// A call is answered by what is still being streamed.
    pub(crate) fn stream(&mut self) {
        self.streaming += 1;
    }

    /// Is done with a call, its answer being out, and `streamed` if it was to be. Returns who is to be
    /// told if this was the last.
    pub(crate) fn close(&mut self, streamed: bool) -> Vec<End> {
        self.streaming = self.streaming.saturating_sub(usize::from(streamed));
        self.open = self.open.saturating_sub(1);
        if self.open == 0 { std::mem::take(&mut self.ends) } else { Vec::new() }
    }

    /// Forgets a call that was admitted too early.
    pub(crate) fn expel(&mut self, call: &Call) {
        self.claim(call);
        self.open = self.open.saturating_sub(1);
    }

    /// Takes no more calls. Returns the request if nothing is open.
    pub(crate) fn drain(&mut self, end: End) -> Option<End> {
        match end {
            End::Shutdown(_) => self.phase = Phase::Draining,
            End::Drain(_) if self.phase == Phase::Draining => {}
            End::Drain(_) => self.phase = Phase::Leaving,
        }
        if self.open == 0 {
            return Some(end);
        }
        self.ends.push(end);
        None
    }

    /// Whether nothing is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.open == 0
    }
}

fn overloaded(limit: usize) -> Error {
    let data = ErrorData {
        retryable: Some(true),
        limit: u64::try_from(limit).ok(),
        ..ErrorData::new(Origin::Plugin)
    };
    Error::of_sdk(Code::Overloaded, format!("{limit} calls are running already"), &data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugbay_protocol::meta::Meta;

    fn call(id: i64) -> Arc<Call> {
        Arc::new(Call::new(Some(Id::from(id)), "m".into(), Meta::default()))
    }

    fn notification() -> Arc<Call> {
        Arc::new(Call::new(None, "m".into(), Meta::default()))
    }

    #[test]
    fn a_call_is_answered_once() {
        let mut table = Table::default();
        let one = call(1);
        table.admit(&one, 9).unwrap();
        assert!(table.find(&Id::from(1)).is_some());
        assert!(table.claim(&one) && !table.claim(&one));
        assert!(!table.is_empty(), "until its answer is out");
        assert_eq!(table.close(false), []);
        assert!(table.is_empty());
    }

    #[test]
    fn an_id_in_use_is_refused_and_free_again_once_answered() {
        let mut table = Table::default();
        let one = call(1);
        table.admit(&one, 9).unwrap();
        assert_eq!(table.admit(&call(1), 9).unwrap_err().code(), -32600);
        assert!(table.claim(&one));
        table.admit(&call(1), 9).unwrap();
        assert_eq!(table.inflight().len(), 1);
    }

    #[test]
    fn too_many_are_refused_notifications_too() {
        let mut table = Table::default();
        table.admit(&call(1), 2).unwrap();
        table.admit(&notification(), 2).unwrap();
        assert_eq!(table.admit(&call(2), 2).unwrap_err().code(), -31004);
        assert_eq!(table.admit(&notification(), 2).unwrap_err().code(), -31004);
    }

    #[test]
    fn shutdown_waits_for_the_last() {
        let mut table = Table::default();
        let (one, silent) = (call(1), notification());
        table.admit(&one, 9).unwrap();
        table.admit(&silent, 9).unwrap();
        assert_eq!(table.drain(End::Drain(Id::from(4))), None);
        assert_eq!(table.phase, Phase::Leaving);
        assert_eq!(table.drain(End::Shutdown(Id::from(5))), None);
        assert_eq!(table.phase, Phase::Draining);
        assert!(!table.claim(&silent), "a notification is not answered");
        assert_eq!(table.close(false), []);
        assert!(table.claim(&one));
        assert_eq!(table.close(false), [End::Drain(Id::from(4)), End::Shutdown(Id::from(5))]);
        let late = End::Drain(Id::from(6));
        assert_eq!(table.drain(late.clone()), Some(late));
        assert_eq!(table.phase, Phase::Draining);
    }
}
