//! One conversation with a host, from `initialize` to the end: what each message means.
//!
//! Not here: threads ([`crate::crew`]), bytes ([`crate::wire`]), the opening and the end ([`lifecycle`]),
//! the work on a call ([`serving`]), the author's face ([`crate::plugin`]).

mod lifecycle;
mod serving;

use crate::call::{Call, Outbox, Ticket};
use crate::crew::{Crew, Step, Work};
use crate::error::{CallError, Cancelled, Error, Result};
use crate::method::{Answer, Method};
use crate::plugin::Plugin;
use crate::stream::table::{Outlet, Peer as Other, Streams};
use crate::table::{Phase, Table};
use crate::task::Task;
use crate::timer::Timer;
use crate::wire::{Arrival, Closed, Reader, Writer};
use crate::{claim, clock, crew, lock, params};
use lifecycle::Leaving;
use plugbay_protocol::handshake::{Initialize, Peer};
use plugbay_protocol::meta::Meta;
use plugbay_protocol::notice::{Cancel, Level, Log};
use plugbay_protocol::{
    Code, Decoded, ErrorData, ErrorObject, Framing, Id, Message, Origin, ParseError, Shape, limits,
    method, write,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::Instant;

/// Ends a process, with this status, whose first thread does not return.
pub(crate) type Abandon = Box<dyn Fn(u8) + Send + Sync>;

/// A configuration, as one type or another.
type Configs = HashMap<TypeId, Arc<dyn Any + Send + Sync>>;

/// One conversation.
pub(crate) struct Session {
    plugin: Plugin,
    crew: Crew<Self>,
    writer: Writer,
    outbox: Outbox,
    pub(crate) timer: Arc<Timer>,
    pub(crate) streams: Arc<Streams>,
    table: Mutex<Table>,
    /// Told when the table is empty.
    emptied: Condvar,
    offer: Mutex<Arc<Initialize>>,
    configs: Mutex<Configs>,
    /// The host takes requests.
    opened: AtomicBool,
    leaving: Mutex<Leaving>,
    /// Largest frame we accept.
    max_in: AtomicUsize,
    /// Largest frame the host accepts.
    max_out: AtomicUsize,
    /// Most calls unanswered, in either direction.
    max_inflight: AtomicUsize,
    abandon: Abandon,
}

/// Something of the session's own.
type OwnWork = Box<dyn FnOnce(&Arc<Session>) + Send>;

/// What a thread of the crew does besides reading.
pub(crate) enum Job {
    /// Begins to serve a call.
    Call(Arc<Call>, Arc<Method>, Option<String>),
    /// Goes on with one.
    Task(Arc<Task>, Arc<Method>),
    /// Does something of the session's own.
    Own(OwnWork),
}

impl Session {
    pub(crate) fn new(plugin: Plugin, wire: claim::Wire, abandon: Abandon) -> Arc<Self> {
        let nobody = Peer { name: String::new(), version: String::new() };
        let offer = Initialize {
            versions: Vec::new(),
            host: nobody,
            features: std::iter::empty::<&str>().collect(),
            config: None,
            grants: Default::default(),
            limits: Default::default(),
            generation: 0,
            restart: Default::default(),
            resume_state: None,
        };
        Arc::new_cyclic(|me: &Weak<Self>| Self {
            plugin,
            crew: Crew::new(Reader::new(wire.input)),
            writer: Writer::new(wire.output),
            outbox: Outbox::default(),
            timer: Arc::default(),
            streams: Streams::new(Weak::clone(me) as Weak<dyn Other>),
            table: Mutex::default(),
            emptied: Condvar::new(),
            offer: Mutex::new(Arc::new(offer)),
            configs: Mutex::default(),
            opened: AtomicBool::new(false),
            leaving: Mutex::default(),
            max_in: AtomicUsize::new(limits::MAX_FRAME),
            max_out: AtomicUsize::new(limits::MAX_FRAME),
            max_inflight: AtomicUsize::new(usize::try_from(limits::MAX_INFLIGHT).unwrap_or(64)),
            abandon,
        })
    }

    /// Serves until the host says `exit` or goes away.
    pub(crate) fn serve(self: &Arc<Self>) {
        crew::serve(self);
    }
}

/// What the crew asks.
impl Work for Session {
    type Reader = Reader;
    type Job = Job;

    fn crew(&self) -> &Crew<Self> {
        &self.crew
    }

    fn read(self: &Arc<Self>, reader: &mut Reader, deadline: Option<Instant>) -> Step<Self> {
        reader.decoder.set_max_frame(self.max_in.load(Ordering::Relaxed));
        match reader.decoder.next() {
            Some(Decoded::Frame(frame)) => return self.receive(frame),
            Some(Decoded::Oversize { salvaged_id, shape, .. }) => self.oversize(salvaged_id, shape),
            // Between lines there is nothing.
            Some(Decoded::Noise { .. } | Decoded::BadHeader(_)) => {}
            None => {
                self.flush();
                match reader.fill(deadline) {
                    Arrival::Bytes => {}
                    Arrival::Late => return Step::Late,
                    Arrival::End => return self.over(false),
                }
            }
        }
        Step::Nothing
    }

    fn run(self: &Arc<Self>, job: Job) {
        match job {
            Job::Call(call, method, params) => self.serve_call(call, &method, params.as_deref()),
            Job::Task(task, _) => task.poll(),
            Job::Own(work) => work(self),
        }
    }

    fn is_quick(&self, job: &Job) -> bool {
        match job {
            Job::Call(_, method, _) | Job::Task(_, method) => method.pace.is_quick(),
            Job::Own(_) => false,
        }
    }

    fn awaits(&self) -> bool {
        !self.outbox.is_empty() || self.streams.are_awaited()
    }

    fn flush(&self) {
        self.noticed(self.writer.flush());
    }

    fn end(self: &Arc<Self>) {
        self.wind_up();
    }
}

/// What arrives.
impl Session {
    fn receive(self: &Arc<Self>, frame: &[u8]) -> Step<Self> {
        match Message::parse(frame) {
            Ok(Message::Request { id, method, params }) => self.request(id, &method, params),
            Ok(Message::Notification { method, params }) => self.notified(&method, params),
            Ok(Message::Response { id, outcome }) => {
                if let Some(id) = id {
                    self.answered(&id, outcome.map(RawValue::to_owned));
                }
                Step::Nothing
            }
            Err(fault) => {
                self.unreadable(&fault);
                Step::Nothing
            }
        }
    }

    fn request(self: &Arc<Self>, id: Id<'_>, name: &str, params: Option<&RawValue>) -> Step<Self> {
        let phase = lock(&self.table).phase;
        if let (Phase::Open, Some(method)) = (phase, self.plugin.methods.get(name)) {
            return self.accept(Some(id), method, params);
        }
        let refusal = match (name, phase) {
            (method::PING, _) => {
                self.answer(&id, &Empty {});
                return Step::Nothing;
            }
            (method::INITIALIZE, Phase::New) => {
                return self.initialize(id.into_owned(), params).unwrap_or(Step::Nothing);
            }
            (
                method::INITIALIZE,
                Phase::Opening | Phase::Open | Phase::Leaving | Phase::Draining,
            ) => Error::new(Code::InvalidRequest, "initialized already"),
            (_, Phase::New | Phase::Opening) => {
                Error::new(Code::NotInitialized, "`initialize` comes first")
            }
            (method::SHUTDOWN, Phase::Open | Phase::Leaving) => {
                return self.shutdown(id.into_owned());
            }
            (method::PLUGIN_DRAIN, Phase::Open) => return self.leave(id.into_owned()),
            (method::PLUGIN_HEALTH, Phase::Open | Phase::Leaving | Phase::Draining)
                if !self.plugin.on_health.is_empty() =>
            {
                return self.tell_health(id.into_owned());
            }
            (method::PLUGIN_SNAPSHOT, Phase::Open) if self.plugin.state.is_some() => {
                return Self::give_state(id.into_owned());
            }
            (method::PLUGIN_RESTORE, Phase::Open) if self.plugin.state.is_some() => {
                return Self::take_state(id.into_owned(), params);
            }
            (name, Phase::Leaving | Phase::Draining)
                if name == method::SHUTDOWN || !method::is_reserved(name) =>
            {
                Error::new(Code::Draining, "shutting down")
            }
            (name, Phase::Open | Phase::Leaving | Phase::Draining) => {
                Error::new(Code::MethodNotFound, format!("no method `{name}`"))
            }
        };
        self.refuse(Some(&id), refusal.object());
        Step::Nothing
    }

    fn notified(self: &Arc<Self>, name: &str, params: Option<&RawValue>) -> Step<Self> {
        match name {
            method::CANCEL => self.cancel(params),
            method::INITIALIZED => {
                let open = lock(&self.table).phase == Phase::Open;
                self.opened.store(open, Ordering::SeqCst);
            }
            method::EXIT => return self.over(true),
            method::STREAM_DATA | method::STREAM_END | method::STREAM_ACK | method::STREAM_DROP => {
                if let Some(params) = params {
                    self.streams.notice(name, params);
                }
            }
            name => {
                let open = lock(&self.table).phase == Phase::Open;
                if let (true, Some(method)) = (open, self.plugin.methods.get(name)) {
                    return self.accept(None, method, params);
                }
            }
        }
        Step::Nothing
    }

    /// Takes a call on, or refuses it at once.
    fn accept(
        &self,
        id: Option<Id<'_>>,
        method: &Arc<Method>,
        params: Option<&RawValue>,
    ) -> Step<Self> {
        let admitted = params::split(params).and_then(|(text, meta)| {
            let id = id.as_ref().map(|id| id.clone().into_owned());
            let call = Arc::new(Call::new(id, Arc::clone(&method.name), meta));
            let limit = self.max_inflight.load(Ordering::Relaxed);
            lock(&self.table).admit(&call, limit)?;
            if let (Some(text), Some(_)) = (&text, &call.id) {
                match self.streams.open(&call, text, None) {
                    Ok(streams) => call.bring(streams),
                    Err(error) => {
                        lock(&self.table).expel(&call);
                        return Err(error);
                    }
                }
            }
            Ok(Job::Call(call, Arc::clone(method), text))
        });
        match admitted {
            Ok(job) => Step::Job(job),
            Err(error) => {
                match &id {
                    Some(id) => self.refuse(Some(id), error.object()),
                    None => self.dropped(&method.name, &error),
                }
                Step::Nothing
            }
        }
    }

    /// A notification that came to nothing: nobody is told but the log.
    fn dropped(&self, method: &str, error: &Error) {
        let mut fields = BTreeMap::new();
        for (name, text) in [("method", method), ("error", error.message())] {
            if let Ok(value) = to_raw_value(text) {
                fields.insert(name, value);
            }
        }
        self.log(Level::Warn, "a notification failed", &fields);
    }

    fn cancel(self: &Arc<Self>, params: Option<&RawValue>) {
        let read = params.and_then(|params| serde_json::from_str::<Cancel>(params.get()).ok());
        let Some(call) = read.and_then(|cancel| lock(&self.table).find(&cancel.id)) else { return };
        call.cancel();
        let waiting = |job: &Job| matches!(job, Job::Call(other, ..) if Arc::ptr_eq(other, &call));
        if self.crew.withdraw(waiting).is_some() {
            drop(self.finish(&call, Ok(Answer::default())));
        }
    }

    fn answered(&self, id: &Id<'_>, outcome: Result<Box<RawValue>, ErrorObject>) {
        let ticket = id.as_u64().and_then(|id| self.outbox.take(id)).unwrap_or_default();
        // Ended here unless streams of the answer hold on to them.
        let feeds = Arc::new(ticket.take_feeds());
        let opened = outcome.map_err(CallError::from).and_then(|result| {
            let call = ticket.call.get().map(Arc::clone).unwrap_or_default();
            let streams =
                self.streams.open(&call, result.get(), Some(&feeds)).map_err(|error| {
                    CallError::new(Code::ProtocolViolation, error.message().to_owned())
                })?;
            ticket.bring(streams);
            Ok(result)
        });
        ticket.settle(opened);
    }

    fn unreadable(&self, fault: &ParseError) {
        if fault.is_answerable() {
            self.refuse(fault.answer_id(), &fault.to_error_object());
        } else if let Some(id) = fault.salvaged_id() {
            let message = format!("the answer cannot be read: {fault}");
            self.answered(id, Err(ErrorObject::new(Code::ProtocolViolation, message)));
        }
    }

    fn oversize(&self, id: Option<Id<'static>>, shape: Shape) {
        let limit = self.max_in.load(Ordering::Relaxed);
        let error = too_large(limit);
        match (shape, id) {
            (Shape::Answer, Some(id)) => self.answered(&id, Err(error.object().clone())),
            (Shape::Answer, None) => {}
            (Shape::Call | Shape::Unknown, id) => self.refuse(id.as_ref(), error.object()),
        }
    }
}

/// What goes out.
impl Session {
    /// Calls the host on behalf of `call`.
    pub(crate) fn ask(
        &self,
        call: &Arc<Call>,
        method: &str,
        params: Option<&RawValue>,
        meta: &Meta,
        feeds: Vec<Arc<Outlet>>,
    ) -> Result<Arc<Ticket>, CallError> {
        if !self.opened.load(Ordering::SeqCst) {
            let message = "the host takes no calls before it has opened the session";
            return Err(CallError::new(Code::NotInitialized, message));
        }
        let ticket = self.outbox.open(self.max_inflight.load(Ordering::Relaxed))?;
        ticket.call.get_or_init(|| Arc::clone(call));
        ticket.feed(feeds);
        let mut frame = Vec::with_capacity(256);
        let written = write::request_with_meta(&mut frame, ticket.id, method, &params, meta)
            .map_err(|why| CallError::new(Code::InvalidParams, why.to_string()))
            .and_then(|()| self.seal(&mut frame))
            .and_then(|()| call.attach(&ticket).map_err(|Cancelled| CallError::withdrawn()))
            .and_then(|()| self.writer.send(&frame).map_err(|Closed| CallError::host_gone()));
        match written {
            Ok(()) => Ok(ticket),
            Err(error) => {
                self.outbox.take(ticket.id);
                call.detach(&ticket);
                Err(error)
            }
        }
    }

    /// Forgets a call of ours, and tells the host if it may forget it too.
    pub(crate) fn give_up(&self, ticket: &Ticket, reason: &str) {
        let Ok(id) = i64::try_from(ticket.id) else { return };
        if self.outbox.take(ticket.id).is_some() {
            drop(ticket.take_feeds());
            let cancel = Cancel { id: Id::from(id), reason: Some(reason.to_owned()) };
            // A host that is gone needs no telling.
            drop(self.notify(method::CANCEL, &cancel));
        }
    }

    /// Blocks a handler until `ticket` is settled, or until `deadline`.
    pub(crate) fn wait(self: &Arc<Self>, call: &Call, ticket: &Ticket, deadline: Option<Instant>) {
        let begun = clock::now();
        crew::wait(self, ticket, deadline);
        call.add_waited(clock::now().saturating_duration_since(begun));
    }

    fn notify_frame(&self, mut frame: Vec<u8>) -> Result<(), CallError> {
        self.seal(&mut frame)?;
        self.writer.send(&frame).map_err(|Closed| CallError::host_gone())
    }

    pub(crate) fn notify(
        &self,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<(), CallError> {
        let mut frame = Vec::with_capacity(256);
        write::notification(&mut frame, method, params)
            .map_err(|why| CallError::new(Code::InvalidParams, why.to_string()))?;
        self.notify_frame(frame)
    }

    pub(crate) fn log(&self, level: Level, message: &str, fields: &BTreeMap<&str, Box<RawValue>>) {
        let message = message.get(..message.floor_char_boundary(LOG_MESSAGE)).unwrap_or(message);
        let fields = (!fields.is_empty()).then(|| to_raw_value(fields).ok()).flatten();
        let line = Log { level, message: message.to_owned(), fields };
        // Logging must not fail: what is too long goes without its fields, and a host that is gone
        // does not read.
        if self.notify(method::LOG, &line).is_err() {
            drop(self.notify(method::LOG, &Log { fields: None, ..line }));
        }
    }

    fn answer(&self, id: &Id<'_>, result: &impl Serialize) {
        let mut frame = Vec::with_capacity(64);
        if write::response(&mut frame, id, result).is_ok() {
            self.let_out(Some(id), frame);
        }
    }

    fn refuse(&self, id: Option<&Id<'_>>, error: &ErrorObject) {
        let mut frame = Vec::with_capacity(256);
        if write::error(&mut frame, id, error).is_ok() {
            self.let_out(id, frame);
        }
    }

    /// Queues an answer; one that the host would not accept is replaced by the reason.
    fn let_out(&self, id: Option<&Id<'_>>, mut frame: Vec<u8>) {
        let limit = self.max_out.load(Ordering::Relaxed);
        if frame.len() > limit {
            frame.clear();
            if write::error(&mut frame, id, too_large(limit).object()).is_err() {
                return;
            }
        }
        Framing::Line.close(&mut frame, 0);
        self.noticed(self.writer.queue(&frame));
    }

    /// Ends a frame of ours that is no answer.
    fn seal(&self, frame: &mut Vec<u8>) -> Result<(), CallError> {
        let limit = self.max_out.load(Ordering::Relaxed);
        if frame.len() > limit {
            return Err(CallError::from(too_large(limit).object().clone()));
        }
        Framing::Line.close(frame, 0);
        Ok(())
    }

    /// If nothing can be said any more there will be no answers either. The end is for reading to see.
    fn noticed(&self, written: Result<(), Closed>) {
        if written.is_err() {
            self.outbox.close();
        }
    }
}

impl Other for Session {
    fn send(&self, frame: Vec<u8>) -> Result<(), CallError> {
        self.notify_frame(frame)
    }

    fn wait(self: Arc<Self>, call: &Call, ticket: &Ticket) {
        Self::wait(&self, call, ticket, None);
    }
}

/// What the host said at the beginning.
impl Session {
    pub(crate) fn offer(&self) -> Arc<Initialize> {
        Arc::clone(&lock(&self.offer))
    }

    pub(crate) fn config<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<T>> {
        let known = lock(&self.configs).get(&TypeId::of::<T>()).map(Arc::clone);
        if let Some(Ok(config)) = known.map(Arc::downcast) {
            return Ok(config);
        }
        let offer = self.offer();
        let text = offer.config.as_deref().map(RawValue::get).filter(|text| *text != "null");
        let config = Arc::new(params::read::<T>(text).map_err(|error| {
            Error::new(error.code(), format!("the configuration: {}", error.message()))
        })?);
        let shared: Arc<dyn Any + Send + Sync> = Arc::clone(&config) as _;
        lock(&self.configs).insert(TypeId::of::<T>(), shared);
        Ok(config)
    }
}

/// Longest log message; the rest of a longer one is cut.
const LOG_MESSAGE: usize = 16 << 10;

/// `{}`.
#[derive(Serialize)]
struct Empty {}

fn too_large(limit: usize) -> Error {
    let data = ErrorData { limit: u64::try_from(limit).ok(), ..ErrorData::new(Origin::Plugin) };
    Error::of_sdk(Code::FrameTooLarge, format!("a frame of more than {limit} bytes"), &data)
}
