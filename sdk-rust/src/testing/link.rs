//! The host's end of the wire: a thread that reads what the plugin says, and what was made of it.

use super::{Line, impatient};
use crate::call::{Call, Ticket};
use crate::error::{CallError, Error, Result};
use crate::stream::table::{Intake, Peer, Streams};
use crate::stream::{self, Pour};
use crate::wire::{Arrival, Closed, Reader, Writer};
use crate::{clock, lock};
use plugbay_protocol::meta::Meta;
use plugbay_protocol::notice::Log;
use plugbay_protocol::{Code, Decoded, ErrorObject, Framing, Id, Message, limits, method, write};
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

/// What the plugin's calls of the host are answered with, by method.
pub(super) type Stubs = HashMap<String, Box<dyn Fn(Value) -> Result<Value> + Send + Sync>>;

/// The name under which calls of another plugin are stubbed.
pub(super) fn of_plugin(plugin: &str, method: &str) -> String {
    format!("{plugin}: {method}")
}

/// A value of ours, which JSON can say.
pub(super) fn to_json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// The host's end of the wire.
pub(super) struct Link {
    stream: UnixStream,
    writer: Writer,
    stubs: Stubs,
    pub(super) streams: Arc<Streams>,
    heard: Mutex<Heard>,
    /// Told when the plugin has ended.
    ended: Condvar,
}

/// What the plugin said.
#[derive(Default)]
struct Heard {
    last: u64,
    open: BTreeMap<u64, Arc<Slot>>,
    logs: Vec<Line>,
    notifications: Vec<(String, Value)>,
    ended: bool,
}

impl Link {
    pub(super) fn new(stream: UnixStream, stubs: Stubs) -> io::Result<Arc<Self>> {
        let mut reader = Reader::new(stream.try_clone()?.into());
        reader.decoder.set_max_frame(limits::MAX_FRAME_CEILING);
        let writer = Writer::new(stream.try_clone()?.into());
        let link = Arc::new_cyclic(|me: &Weak<Self>| Self {
            stream,
            writer,
            stubs,
            streams: Streams::new(Weak::clone(me) as Weak<dyn Peer>),
            heard: Mutex::default(),
            ended: Condvar::new(),
        });
        link.streams.agree(true);
        let listener = Arc::clone(&link);
        thread::Builder::new()
            .name("plugbay-host".to_owned())
            .spawn(move || listener.listen(&mut reader))
            .map(|_detached| link)
    }

    /// Calls the plugin; with metadata, also for progress.
    pub(super) fn ask(
        &self,
        method: &str,
        params: &(impl Serialize + ?Sized),
        meta: Option<Meta>,
    ) -> Result<Arc<Slot>, CallError> {
        let slot = {
            let mut heard = lock(&self.heard);
            if heard.ended {
                return Err(hung_up());
            }
            heard.last += 1;
            let slot = Arc::new(Slot::new(heard.last));
            heard.open.insert(slot.id, Arc::clone(&slot));
            slot
        };
        let mut frame = Vec::new();
        let (written, uploads) = stream::sending(&self.streams, None, || match meta {
            None => write::request(&mut frame, slot.id, method, params),
            Some(mut meta) => {
                let token = i64::try_from(slot.id).unwrap_or_default();
                meta.progress_token.get_or_insert(Id::from(token));
                meta.call_id.get_or_insert_with(|| format!("call-{}", slot.id));
                write::request_with_meta(&mut frame, slot.id, method, params, &meta)
            }
        });
        written.map_err(|why| CallError::new(Code::InvalidParams, why.to_string()))?;
        self.send(frame)?;
        uploads.into_iter().for_each(Pour::run_beside);
        Ok(slot)
    }

    pub(super) fn notify(
        &self,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<(), CallError> {
        let mut frame = Vec::new();
        write::notification(&mut frame, method, params)
            .map_err(|why| CallError::new(Code::InvalidParams, why.to_string()))?;
        self.send(frame)
    }

    pub(super) fn hang_up(&self) {
        // It may have ended by itself.
        drop(self.stream.shutdown(Shutdown::Write));
    }

    pub(super) fn wait_ended(&self, patience: Duration) -> bool {
        let heard = lock(&self.heard);
        let waited = self.ended.wait_timeout_while(heard, patience, |heard| !heard.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    pub(super) fn logs(&self) -> Vec<Line> {
        lock(&self.heard).logs.clone()
    }

    pub(super) fn notifications(&self) -> Vec<(String, Value)> {
        lock(&self.heard).notifications.clone()
    }

    fn send(&self, mut frame: Vec<u8>) -> Result<(), CallError> {
        Framing::Line.close(&mut frame, 0);
        self.writer.send(&frame).map_err(|Closed| hung_up())
    }

    fn listen(&self, reader: &mut Reader) {
        loop {
            match reader.decoder.next() {
                Some(Decoded::Frame(frame)) => self.hear(frame),
                Some(Decoded::Oversize { .. } | Decoded::Noise { .. } | Decoded::BadHeader(_)) => {}
                None => match reader.fill(None) {
                    Arrival::Bytes => {}
                    Arrival::Late | Arrival::End => break,
                },
            }
        }
        self.streams.close();
        let mut heard = lock(&self.heard);
        heard.ended = true;
        let lost = std::mem::take(&mut heard.open);
        drop(heard);
        for slot in lost.into_values() {
            slot.settle(Err(hung_up()));
        }
        self.ended.notify_all();
    }

    fn hear(&self, frame: &[u8]) {
        match Message::parse(frame) {
            Ok(Message::Request { id, method, params }) => self.answer(&id, &method, params),
            Ok(Message::Notification { method, params }) => self.told(&method, params),
            Ok(Message::Response { id, outcome }) => {
                let slot =
                    id.and_then(|id| id.as_u64()).and_then(|id| lock(&self.heard).open.remove(&id));
                if let Some(slot) = slot {
                    let outcome = outcome.map(RawValue::to_owned).map_err(CallError::from);
                    let opened = outcome.and_then(|result| {
                        let streams = self.open(result.get())?;
                        lock(&slot.state).streams = streams;
                        Ok(result)
                    });
                    slot.settle(opened);
                }
            }
            Err(fault) => {
                let said = Value::from(String::from_utf8_lossy(frame));
                lock(&self.heard).notifications.push((fault.to_string(), said));
            }
        }
    }

    /// The streams that a message refers to, which belong to no call in particular.
    fn open(&self, text: &str) -> Result<Vec<Intake>, CallError> {
        let opened = self.streams.open(&Arc::default(), text, Some(&Arc::default()));
        opened.map_err(|error| CallError::new(Code::ProtocolViolation, error.message().to_owned()))
    }

    fn answer(&self, id: &Id<'_>, name: &str, params: Option<&RawValue>) {
        let params = without_meta(parsed(params));
        let outcome = if name == method::HOST_CALL {
            let word = |name: &str| params.get(name).and_then(Value::as_str).unwrap_or_default();
            let name = of_plugin(word("plugin"), word("method"));
            self.stubbed(&name, params.get("params").cloned().unwrap_or_default())
        } else {
            self.stubbed(name, params)
        };
        let mut frame = Vec::new();
        let written = match outcome {
            Ok(result) => write::response(&mut frame, id, &result),
            Err(error) => write::error(&mut frame, Some(id), error.object()),
        };
        if written.is_ok() {
            // A plugin that has ended waits for nothing.
            drop(self.send(frame));
        }
    }

    fn stubbed(&self, name: &str, params: Value) -> Result<Value> {
        match self.stubs.get(name) {
            Some(stub) => stub(params),
            None => Err(Error::new(Code::MethodNotFound, format!("no stub for `{name}`"))),
        }
    }

    fn told(&self, name: &str, params: Option<&RawValue>) {
        let mut value = parsed(params);
        let mut heard = lock(&self.heard);
        match name {
            method::LOG => {
                if let Ok(Log { level, message, fields }) = serde_json::from_value(value) {
                    let fields = fields.and_then(|fields| serde_json::from_str(fields.get()).ok());
                    heard.logs.push(Line { level, message, fields: fields.unwrap_or_default() });
                }
            }
            method::PROGRESS => {
                let token = value.get("token").and_then(Value::as_u64);
                let slot = token.and_then(|token| heard.open.get(&token).map(Arc::clone));
                drop(heard);
                if let (Some(slot), Some(told)) = (slot, value.as_object_mut()) {
                    told.remove("token");
                    slot.show(value);
                }
            }
            method::STREAM_DATA | method::STREAM_END | method::STREAM_ACK | method::STREAM_DROP => {
                drop(heard);
                if let Some(params) = params {
                    self.streams.notice(name, params);
                }
            }
            name => heard.notifications.push((name.to_owned(), value)),
        }
    }
}

impl Peer for Link {
    fn send(&self, frame: Vec<u8>) -> Result<(), CallError> {
        Self::send(self, frame)
    }

    fn wait(self: Arc<Self>, _: &Call, ticket: &Ticket) {
        ticket.wait(None);
    }
}

fn parsed(params: Option<&RawValue>) -> Value {
    params.and_then(|params| serde_json::from_str(params.get()).ok()).unwrap_or_default()
}

/// The metadata is the SDK's, not what a test compares.
fn without_meta(mut params: Value) -> Value {
    let Some(members) = params.as_object_mut() else { return params };
    if members.remove("_meta").is_some() && members.is_empty() {
        return Value::Null;
    }
    params
}

fn hung_up() -> CallError {
    CallError::from(ErrorObject::new(Code::Crashed, "the plugin has ended"))
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// Where the answer to one call is awaited.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) id: u64,
    state: Mutex<Shown>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Shown {
    outcome: Option<Result<Box<RawValue>, CallError>>,
    streams: Vec<Intake>,
    progress: Vec<Value>,
}

impl Slot {
    fn new(id: u64) -> Self {
        Self { id, state: Mutex::default(), changed: Condvar::new() }
    }

    fn settle(&self, outcome: Result<Box<RawValue>, CallError>) {
        lock(&self.state).outcome = Some(outcome);
        self.changed.notify_all();
    }

    fn show(&self, progress: Value) {
        lock(&self.state).progress.push(progress);
        self.changed.notify_all();
    }

    pub(super) fn progress(&self) -> Vec<Value> {
        lock(&self.state).progress.clone()
    }

    /// Waits for the result, and reads it within the streams that it refers to.
    pub(super) fn read<T>(
        &self,
        link: &Link,
        patience: Duration,
        read: impl FnOnce(&RawValue) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        let result = self.wait(patience)?;
        let streams = std::mem::take(&mut lock(&self.state).streams);
        stream::receiving(&link.streams, streams, || read(&result))
    }

    pub(super) fn wait(&self, patience: Duration) -> Result<Box<RawValue>, CallError> {
        self.wait_for(patience, |shown| shown.outcome.clone())?
    }

    pub(super) fn wait_progress(&self, count: usize, patience: Duration) -> Result<(), CallError> {
        self.wait_for(patience, |shown| (shown.progress.len() >= count).then_some(()))
    }

    fn wait_for<T>(
        &self,
        patience: Duration,
        wanted: impl Fn(&Shown) -> Option<T>,
    ) -> Result<T, CallError> {
        let deadline = clock::now() + patience;
        let mut state = lock(&self.state);
        loop {
            if let Some(found) = wanted(&state) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Err(impatient());
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
