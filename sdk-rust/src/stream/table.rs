//! The streams of a session that are open, and those who wait: for an item, or for credit. The account of
//! the latter is the protocol's. Not what the items mean, nor when an answer goes out.

use crate::call::{Call, Ticket};
use crate::error::{CallError, Cancelled, Error, Result};
use crate::lock;
use plugbay_protocol::stream::{
    self, Ack, Content, Credit, Data, Drop as DropNotice, End, Found, Frame, Kind, Text, Window,
};
use plugbay_protocol::{Code, ErrorObject, limits, method, write};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{self, Poll};

/// What streams ask of whoever has the wire.
pub(crate) trait Peer: Send + Sync {
    /// Sends a frame that has no end yet.
    fn send(&self, frame: Vec<u8>) -> Result<(), CallError>;

    /// Blocks until `ticket` is settled.
    fn wait(self: Arc<Self>, call: &Call, ticket: &Ticket);
}

/// The streams that are open, in both directions.
pub(crate) struct Streams {
    peer: Weak<dyn Peer>,
    /// Both sides named the feature.
    agreed: AtomicBool,
    /// Handlers that wait for what only reading brings.
    waiting: AtomicUsize,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    incoming: HashMap<String, Arc<Inlet>>,
    outgoing: HashMap<u64, Arc<Outlet>>,
    last: u64,
    closed: bool,
}

/// Where a stream of the host's arrives.
#[derive(Debug)]
struct Inlet {
    id: String,
    kind: Kind,
    /// The call that it is a parameter of, and ends with.
    owner: Option<Weak<Call>>,
    state: Mutex<Inflow>,
}

#[derive(Debug, Default)]
struct Inflow {
    window: Window,
    frames: VecDeque<Content>,
    over: Option<Result<(), CallError>>,
    waiting: Option<Arc<Ticket>>,
}

impl Inlet {
    fn change<T>(&self, change: impl FnOnce(&mut Inflow) -> T) -> T {
        let mut state = lock(&self.state);
        let changed = change(&mut state);
        let waiting = state.waiting.take();
        drop(state);
        wake(waiting);
        changed
    }

    fn finish(&self, how: Result<(), CallError>) {
        self.change(|state| {
            state.over.get_or_insert(how);
        });
    }
}

/// A stream of ours, as far as credit goes.
#[derive(Debug)]
pub(crate) struct Outlet {
    /// The call whose result it is part of.
    call: Option<Arc<Call>>,
    state: Mutex<Outflow>,
}

#[derive(Debug, Default)]
struct Outflow {
    credit: Credit,
    over: bool,
    waiting: Option<Arc<Ticket>>,
}

impl Outlet {
    fn change(&self, change: impl FnOnce(&mut Outflow)) {
        let mut state = lock(&self.state);
        change(&mut state);
        let waiting = state.waiting.take();
        drop(state);
        wake(waiting);
    }

    pub(crate) fn finish(&self) {
        self.change(|state| state.over = true);
    }
}

fn wake(waiting: Option<Arc<Ticket>>) {
    if let Some(ticket) = waiting {
        // That it is settled is all that matters.
        ticket.settle(Err(CallError::withdrawn()));
    }
}

impl Streams {
    pub(crate) fn new(peer: Weak<dyn Peer>) -> Arc<Self> {
        let (agreed, waiting) = (AtomicBool::new(false), AtomicUsize::new(0));
        Arc::new(Self { peer, agreed, waiting, table: Mutex::default() })
    }

    /// Says whether both sides know streams.
    pub(crate) fn agree(&self, agreed: bool) {
        self.agreed.store(agreed, Ordering::SeqCst);
    }

    pub(crate) fn are_agreed(&self) -> bool {
        self.agreed.load(Ordering::SeqCst)
    }

    /// Whether anybody waits for what only reading brings.
    pub(crate) fn are_awaited(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Opens the streams that a message of the host's refers to, before what follows it is read.
    /// Those of an answer keep `feeds` going.
    pub(crate) fn open(
        self: &Arc<Self>,
        call: &Arc<Call>,
        text: &str,
        feeds: Option<&Arc<Feeds>>,
    ) -> Result<Vec<Intake>> {
        if !self.are_agreed() {
            return Ok(Vec::new());
        }
        let found = stream::find(text);
        if found.is_empty() {
            return Ok(Vec::new());
        }
        if found.len() > limits::STREAMS_PER_MESSAGE {
            return Err(Error::invalid_params(format!("it refers to {} streams", found.len())));
        }
        let mut table = lock(&self.table);
        let mut intakes: Vec<Intake> = Vec::with_capacity(found.len());
        for Found { id, kind, .. } in found {
            if table.incoming.contains_key(&id) {
                drop(table);
                intakes.iter().for_each(Intake::forget);
                return Err(Error::invalid_params(format!("the stream id `{id}` is in use")));
            }
            let over = table.closed.then(|| Err(CallError::host_gone()));
            let state = Mutex::new(Inflow { over, ..Inflow::default() });
            let owner = feeds.is_none().then(|| Arc::downgrade(call));
            let inlet = Arc::new(Inlet { id: id.clone(), kind, owner, state });
            if !table.closed {
                table.incoming.insert(id, Arc::clone(&inlet));
            }
            let (streams, call) = (Arc::clone(self), Arc::clone(call));
            intakes.push(Intake { inlet, streams, call, feeds: feeds.map(Arc::clone) });
        }
        Ok(intakes)
    }

    /// A new stream of ours, in the result of `call` or on nobody's behalf.
    pub(crate) fn output(self: &Arc<Self>, call: Option<Arc<Call>>) -> Output {
        let outlet = Arc::new(Outlet { call, state: Mutex::default() });
        let mut table = lock(&self.table);
        table.last += 1;
        let number = table.last;
        if table.closed {
            outlet.finish();
        } else {
            table.outgoing.insert(number, Arc::clone(&outlet));
        }
        drop(table);
        Output { number, outlet, streams: Arc::clone(self) }
    }

    /// Deals with what is said about a stream; what is about none comes too late.
    pub(crate) fn notice(&self, method: &str, params: &RawValue) {
        let text = params.get();
        match method {
            method::STREAM_DATA => {
                if let Ok(data) = serde_json::from_str(text) {
                    self.arrive(&data);
                }
            }
            method::STREAM_END => {
                if let Ok(End { id, error }) = serde_json::from_str(text)
                    && let Some(inlet) = lock(&self.table).incoming.remove(&*id)
                {
                    inlet.finish(error.map_or(Ok(()), |error| Err(error.into())));
                }
            }
            method::STREAM_ACK => {
                if let Ok(Ack { id, seq }) = serde_json::from_str(text)
                    && let Some((_, outlet)) = self.outlet(&id)
                {
                    // A host that acknowledges what it was not sent gives nothing.
                    outlet.change(|state| state.credit.acknowledge(seq).unwrap_or_default());
                }
            }
            _ => {
                if let Ok(DropNotice { id }) = serde_json::from_str(text) {
                    self.dropped(&id);
                }
            }
        }
    }

    fn arrive(&self, data: &Data<'_>) {
        let Some(inlet) = lock(&self.table).incoming.get(&*data.id).map(Arc::clone) else { return };
        let received = data.content(inlet.kind).and_then(|(content, size)| {
            inlet.change(|state| {
                state.window.receive(data.seq, size)?;
                state.frames.push_back(content);
                Ok(())
            })
        });
        if let Err(what) = received {
            inlet.finish(Err(CallError::new(Code::ProtocolViolation, what.to_string())));
            self.forgo(&inlet.id);
        }
    }

    /// A stream of ours is not wanted any more; if it was the last of a result, nor is the call.
    fn dropped(&self, id: &str) {
        let Some((number, outlet)) = self.outlet(id) else { return };
        let mut table = lock(&self.table);
        table.outgoing.remove(&number);
        let same = |other: &Arc<Outlet>| match (&other.call, &outlet.call) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            _ => false,
        };
        let last = !table.outgoing.values().any(same);
        drop(table);
        outlet.finish();
        if let (true, Some(call)) = (last, &outlet.call) {
            call.cancel();
        }
    }

    fn outlet(&self, id: &str) -> Option<(u64, Arc<Outlet>)> {
        let number = id.strip_prefix('p')?.parse().ok()?;
        lock(&self.table).outgoing.get(&number).map(|outlet| (number, Arc::clone(outlet)))
    }

    /// Ends the streams that are parameters of a call: it is over.
    pub(crate) fn release(&self, call: &Arc<Call>) {
        let owned = |inlet: &Arc<Inlet>| {
            inlet
                .owner
                .as_ref()
                .is_some_and(|owner| std::ptr::eq(owner.as_ptr(), Arc::as_ptr(call)))
        };
        let mut table = lock(&self.table);
        let over: Vec<_> =
            table.incoming.extract_if(|_, inlet| owned(inlet)).map(|(_, inlet)| inlet).collect();
        drop(table);
        for inlet in over {
            inlet.finish(Err(CallError::withdrawn()));
        }
    }

    /// Ends everything: the host is gone.
    pub(crate) fn close(&self) {
        let mut table = lock(&self.table);
        table.closed = true;
        let incoming = std::mem::take(&mut table.incoming);
        let outgoing = std::mem::take(&mut table.outgoing);
        drop(table);
        for inlet in incoming.into_values() {
            inlet.finish(Err(CallError::host_gone()));
        }
        outgoing.into_values().for_each(|outlet| outlet.finish());
    }

    /// The rest of a stream of the host's is not wanted.
    fn forgo(&self, id: &str) {
        if lock(&self.table).incoming.remove(id).is_some() {
            self.tell(method::STREAM_DROP, &DropNotice { id: id.into() }).unwrap_or_default();
        }
    }

    fn tell(&self, method: &str, params: &impl Serialize) -> Result<(), CallError> {
        let peer = self.peer.upgrade().ok_or_else(CallError::host_gone)?;
        let mut frame = Vec::with_capacity(128);
        write::notification(&mut frame, method, params)
            .map_err(|why| CallError::new(Code::InternalError, why.to_string()))?;
        peer.send(frame)
    }

    /// Blocks until `ticket` is settled, or `call` is cancelled.
    fn block(&self, call: &Call, ticket: &Arc<Ticket>) -> Result<(), CallError> {
        let peer = self.peer.upgrade().ok_or_else(CallError::host_gone)?;
        call.attach(ticket).map_err(|Cancelled| CallError::withdrawn())?;
        self.waiting.fetch_add(1, Ordering::SeqCst);
        peer.wait(call, ticket);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        call.detach(ticket);
        if call.is_withdrawn() { Err(CallError::withdrawn()) } else { Ok(()) }
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("agreed", &self.agreed).finish_non_exhaustive()
    }
}

/// Streams that are parameters of a call of ours, and end with it.
#[derive(Debug, Default)]
pub(crate) struct Feeds(pub(crate) Vec<Arc<Outlet>>);

impl Drop for Feeds {
    fn drop(&mut self) {
        self.0.iter().for_each(|outlet| outlet.finish());
    }
}

/// The taking end of a stream.
#[derive(Debug)]
pub(crate) struct Intake {
    inlet: Arc<Inlet>,
    streams: Arc<Streams>,
    /// The call that it is a parameter of, or on whose behalf it was asked for.
    call: Arc<Call>,
    /// When it is in the answer to a call of ours.
    feeds: Option<Arc<Feeds>>,
}

impl Intake {
    pub(crate) fn id(&self) -> &str {
        &self.inlet.id
    }

    /// Blocks for what comes next; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Content>, CallError> {
        loop {
            let ticket = match self.take() {
                Ok(taken) => return taken,
                Err(ticket) => ticket,
            };
            self.streams.block(&self.call, &ticket)?;
        }
    }

    /// As a future's `poll` does.
    pub(crate) fn poll(
        &mut self,
        task: &task::Context<'_>,
    ) -> Poll<Result<Option<Content>, CallError>> {
        loop {
            let ticket = match self.take() {
                Ok(taken) => return Poll::Ready(taken),
                Err(ticket) => ticket,
            };
            if ticket.poll(task).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Takes what is there; a ticket for what will be, if nothing is.
    fn take(&mut self) -> Result<Result<Option<Content>, CallError>, Arc<Ticket>> {
        let mut state = lock(&self.inlet.state);
        let Some(content) = state.frames.pop_front() else {
            return match state.over.clone() {
                Some(how) => {
                    self.feeds = None;
                    Ok(how.map(|()| None))
                }
                None => {
                    let ticket = Arc::new(Ticket::default());
                    state.waiting = Some(Arc::clone(&ticket));
                    Err(ticket)
                }
            };
        };
        let ack = state.window.take().filter(|_| state.over.is_none());
        drop(state);
        if let Some(seq) = ack {
            let ack = Ack { id: self.id().into(), seq };
            // A host that is gone gives no more anyway.
            self.streams.tell(method::STREAM_ACK, &ack).unwrap_or_default();
        }
        Ok(Ok(Some(content)))
    }

    /// Wants no more of it, without a word: its call is over.
    pub(crate) fn forget(&self) {
        lock(&self.streams.table).incoming.remove(self.id());
        self.inlet.finish(Ok(()));
    }
}

/// Who drops it wants no more. The end of its call says so by itself.
impl Drop for Intake {
    fn drop(&mut self) {
        if lock(&self.inlet.state).over.is_some() {
            return;
        }
        if self.call.is_withdrawn() && self.inlet.owner.is_some() {
            self.forget();
        } else {
            self.streams.forgo(self.id());
        }
    }
}

/// The sending end of a stream.
#[derive(Debug)]
pub(crate) struct Output {
    number: u64,
    pub(crate) outlet: Arc<Outlet>,
    streams: Arc<Streams>,
}

impl Output {
    pub(crate) fn id(&self) -> String {
        format!("p{}", self.number)
    }

    /// Blocks until there is credit and sends content; `false` when no more is wanted.
    pub(crate) fn send(&self, call: &Call, content: &Content) -> Result<bool, CallError> {
        let text = Text::new(content)
            .map_err(|what| CallError::new(Code::InternalError, what.to_string()))?;
        let seq = loop {
            let ticket = {
                let mut state = lock(&self.outlet.state);
                if state.over {
                    return Ok(false);
                }
                if state.credit.may_send() {
                    break state.credit.send(text.size());
                }
                let ticket = Arc::new(Ticket::default());
                state.waiting = Some(Arc::clone(&ticket));
                ticket
            };
            self.streams.block(call, &ticket)?;
        };
        self.streams.tell(method::STREAM_DATA, &Frame::new(&self.id(), seq, &text))?;
        Ok(true)
    }

    /// Says that this was all, or why there is less than there should be.
    pub(crate) fn end(&self, error: Option<ErrorObject>) {
        let over = std::mem::replace(&mut lock(&self.outlet.state).over, true);
        if !over {
            let end = End { id: self.id().into(), error };
            self.streams.tell(method::STREAM_END, &end).unwrap_or_default();
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Nothing, if it has ended.
        self.end(Some(ErrorObject::new(Code::InternalError, "the stream was given up")));
        lock(&self.streams.table).outgoing.remove(&self.number);
    }
}
