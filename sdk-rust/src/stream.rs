//! What comes or goes bit by bit, as a type that stands in parameters and results like any other. Reading
//! or writing it as JSON is where it is tied to the session: a scope, which the session opens around both,
//! has the streams that came with a message and takes those that are to go with one.

pub(crate) mod table;

use crate::call::Call;
use crate::context::Context;
use crate::error::{CallError, Error, Result};
use crate::method::guarded;
use plugbay_protocol::stream::{Content, Kind, Reference};
use plugbay_protocol::{Code, ErrorData, Origin};
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::ser::{Error as _, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread;
use table::{Intake, Output, Streams};

type Producer = Box<dyn Iterator<Item = Result<Content>> + Send>;

/// Values that come, or go, bit by bit, and no faster than the other side takes them.
///
/// A handler returns one to answer with a stream, and has one in its parameters to be sent one:
///
/// ```
/// use plugbay_sdk::{Context, Plugin, Result, Stream, testing::Host};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Numbers { numbers: Stream<u64> }
///
/// let plugin = Plugin::new("sums", "1.0.0")
///     .method("upto", |most: (u64,), _: &Context| -> Result<Stream<u64>> {
///         Ok(Stream::of(1..=most.0))
///     })
///     .method("total", |params: Numbers, _: &Context| -> Result<u64> {
///         let mut total = 0;
///         for number in params.numbers {
///             total += number?;
///         }
///         Ok(total)
///     });
/// let host = Host::new(plugin);
/// let numbers = host.call::<Stream<u64>>("upto", &(100,))?;
/// assert_eq!(host.call::<u64>("total", &Numbers { numbers })?, 5050);
/// # Ok::<(), plugbay_sdk::CallError>(())
/// ```
///
/// It does the same in what a plugin asks of another. A stream that came may be passed on as it is. What is
/// dropped is not wanted any more, and its producer stops. It can be written in a type of one's own and not by
/// `json!`, which would write it before there is a message to go with.
pub struct Stream<T> {
    end: End,
    ready: VecDeque<Box<RawValue>>,
    values: PhantomData<fn() -> T>,
}

/// Bytes that come, or go, bit by bit; otherwise as [`Stream`]. Its items are never empty.
#[derive(Debug)]
pub struct ByteStream(End);

/// Where the content comes from. Empty once it was sent.
struct End(Mutex<Option<Producing>>);

enum Producing {
    Here(Producer),
    There(Intake),
}

/// Bytes in one item of a stream that is read from something.
const PIECE: usize = 64 << 10;

impl<T> Stream<T> {
    fn from_end(end: End) -> Self {
        Self { end, ready: VecDeque::new(), values: PhantomData }
    }
}

impl<T: Serialize + 'static> Stream<T> {
    /// Of these values.
    pub fn of(values: impl IntoIterator<Item = T, IntoIter: Send + 'static>) -> Self {
        Self::new(values.into_iter().map(Ok))
    }

    /// Of these values, until one is an error, which ends it.
    pub fn new(values: impl IntoIterator<Item = Result<T>, IntoIter: Send + 'static>) -> Self {
        let contents = values.into_iter().map(|value| {
            let text = to_raw_value(&value?);
            text.map(|text| Content::Items(vec![text])).map_err(|why| unsayable(&why.to_string()))
        });
        Self::from_end(End::here(Box::new(contents)))
    }
}

impl ByteStream {
    /// Of these pieces, until one is an error, which ends it.
    pub fn new(
        pieces: impl IntoIterator<Item = Result<Vec<u8>>, IntoIter: Send + 'static>,
    ) -> Self {
        let filled =
            pieces.into_iter().filter(|piece| !matches!(piece, Ok(bytes) if bytes.is_empty()));
        Self(End::here(Box::new(filled.map(|piece| piece.map(Content::Bytes)))))
    }

    /// Of all that can be read.
    pub fn read(mut source: impl Read + Send + 'static) -> Self {
        Self::new(std::iter::from_fn(move || {
            let mut piece = vec![0; PIECE];
            loop {
                return match source.read(&mut piece) {
                    Ok(0) => None,
                    Ok(count) => {
                        piece.truncate(count);
                        Some(Ok(piece))
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => Some(Err(error.into())),
                };
            }
        }))
    }

    /// As its [`Iterator`] does, in an asynchronous handler.
    pub async fn next_async(&mut self) -> Option<Result<Vec<u8>, CallError>> {
        self.0.next_async().await.map(|content| content.and_then(bytes))
    }
}

impl<T: DeserializeOwned> Stream<T> {
    /// As its [`Iterator`] does, in an asynchronous handler.
    pub async fn next_async(&mut self) -> Option<Result<T, CallError>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(read(&item));
            }
            match self.end.next_async().await?.and_then(items) {
                Ok(items) => self.ready.extend(items),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Blocks for each value. What its producer failed with is the last item.
impl<T: DeserializeOwned> Iterator for Stream<T> {
    type Item = Result<T, CallError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(read(&item));
            }
            match self.end.next()?.and_then(items) {
                Ok(items) => self.ready.extend(items),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// Blocks for each piece. What its producer failed with is the last item.
impl Iterator for ByteStream {
    type Item = Result<Vec<u8>, CallError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|content| content.and_then(bytes))
    }
}

impl End {
    fn here(producer: Producer) -> Self {
        Self(Mutex::new(Some(Producing::Here(producer))))
    }

    fn producing(&mut self) -> &mut Option<Producing> {
        self.0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn next(&mut self) -> Option<Result<Content, CallError>> {
        let next = match self.producing().as_mut()? {
            Producing::Here(producer) => {
                producer.next().map(|made| made.map_err(|error| error.object().clone().into()))
            }
            Producing::There(intake) => intake.next().transpose(),
        };
        self.fuse(next)
    }

    async fn next_async(&mut self) -> Option<Result<Content, CallError>> {
        let next = poll_fn(|task| match self.producing() {
            Some(Producing::There(intake)) => intake.poll(task).map(Result::transpose),
            Some(Producing::Here(producer)) => Poll::Ready(
                producer.next().map(|made| made.map_err(|error| error.object().clone().into())),
            ),
            None => Poll::Ready(None),
        })
        .await;
        self.fuse(next)
    }

    /// After the end, or a failure, there is nothing.
    fn fuse(
        &mut self,
        next: Option<Result<Content, CallError>>,
    ) -> Option<Result<Content, CallError>> {
        if !matches!(next, Some(Ok(_))) {
            *self.producing() = None;
        }
        next
    }

    /// Puts it aboard of the message that is being written.
    fn write<S: Serializer>(&self, kind: Kind, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(producing) = crate::lock(&self.0).take() else {
            return Err(S::Error::custom("a stream can be sent once"));
        };
        let producer: Producer = match producing {
            Producing::Here(producer) => producer,
            Producing::There(mut intake) => Box::new(std::iter::from_fn(move || {
                intake.next().transpose().map(|taken| taken.map_err(Error::from))
            })),
        };
        let id = with_scope(|scope| scope.send(producer)).map_err(S::Error::custom)?;
        Reference { id: id.into(), kind }.serialize(serializer)
    }

    /// Takes it out of the message that is being read.
    fn read<'de, D: Deserializer<'de>>(kind: Kind, deserializer: D) -> Result<Self, D::Error> {
        let reference = Reference::deserialize(deserializer)?;
        if reference.kind != kind {
            return Err(D::Error::custom("a stream of another kind"));
        }
        let intake = with_scope(|scope| scope.claim(&reference.id)).map_err(D::Error::custom)?;
        Ok(Self(Mutex::new(Some(Producing::There(intake)))))
    }
}

impl<T> Serialize for Stream<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.end.write(Kind::Json, serializer)
    }
}

impl Serialize for ByteStream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.write(Kind::Bytes, serializer)
    }
}

impl<'de, T> Deserialize<'de> for Stream<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        End::read(Kind::Json, deserializer).map(Self::from_end)
    }
}

impl<'de> Deserialize<'de> for ByteStream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        End::read(Kind::Bytes, deserializer).map(Self)
    }
}

impl<T> fmt::Debug for Stream<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("end", &self.end).finish_non_exhaustive()
    }
}

impl fmt::Debug for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match &*crate::lock(&self.0) {
            None => "Over",
            Some(Producing::Here(_)) => "Here",
            Some(Producing::There(_)) => "There",
        })
    }
}

fn read<T: DeserializeOwned>(item: &RawValue) -> Result<T, CallError> {
    serde_json::from_str(item.get()).map_err(|why| {
        CallError::new(Code::ProtocolViolation, format!("the item is not as expected: {why}"))
    })
}

fn items(content: Content) -> Result<Vec<Box<RawValue>>, CallError> {
    match content {
        Content::Items(items) => Ok(items),
        Content::Bytes(_) => Err(CallError::new(Code::ProtocolViolation, "bytes among values")),
    }
}

fn bytes(content: Content) -> Result<Vec<u8>, CallError> {
    match content {
        Content::Bytes(bytes) => Ok(bytes),
        Content::Items(_) => Err(CallError::new(Code::ProtocolViolation, "values among bytes")),
    }
}

fn unsayable(why: &str) -> Error {
    let data = ErrorData::new(Origin::Plugin);
    Error::of_sdk(Code::InternalError, format!("an item cannot be written: {why}"), &data)
}

/// A message that is being read or written.
struct Scope {
    streams: Arc<Streams>,
    /// The call whose result is being written.
    call: Option<Arc<Call>>,
    came: Vec<Intake>,
    going: Vec<Pour>,
}

thread_local! {
    static SCOPE: RefCell<Option<Scope>> = const { RefCell::new(None) };
}

fn with_scope<T>(
    use_it: impl FnOnce(&mut Scope) -> Result<T, &'static str>,
) -> Result<T, &'static str> {
    SCOPE.with_borrow_mut(|scope| match scope {
        Some(scope) => use_it(scope),
        None => Err("a stream is only in a call or an answer"),
    })
}

impl Scope {
    fn send(&mut self, items: Producer) -> Result<String, &'static str> {
        if !self.streams.are_agreed() {
            return Err("the other side takes no streams");
        }
        let output = self.streams.output(self.call.clone());
        let id = output.id();
        self.going.push(Pour {
            output,
            items,
            behalf: self.call.clone().unwrap_or_default(),
            whole: None,
        });
        Ok(id)
    }

    fn claim(&mut self, id: &str) -> Result<Intake, &'static str> {
        let place = self.came.iter().position(|intake| intake.id() == id);
        place.map(|place| self.came.swap_remove(place)).ok_or("there is no such stream")
    }
}

/// Reads a message that came with these streams. Those that nobody claims are dropped.
pub(crate) fn receiving<T>(
    streams: &Arc<Streams>,
    came: Vec<Intake>,
    read: impl FnOnce() -> T,
) -> T {
    if came.is_empty() {
        return read();
    }
    let scope = Scope { streams: Arc::clone(streams), call: None, came, going: Vec::new() };
    within(scope, read).0
}

/// Writes a message, and gives the streams that it takes along; of the result of `call`, if there is one.
pub(crate) fn sending<T>(
    streams: &Arc<Streams>,
    call: Option<&Arc<Call>>,
    write: impl FnOnce() -> T,
) -> (T, Vec<Pour>) {
    let (streams, call) = (Arc::clone(streams), call.map(Arc::clone));
    within(Scope { streams, call, came: Vec::new(), going: Vec::new() }, write)
}

fn within<T>(scope: Scope, run: impl FnOnce() -> T) -> (T, Vec<Pour>) {
    let outer = Outer(SCOPE.replace(Some(scope)));
    let done = run();
    let scope = SCOPE.take();
    drop(outer);
    (done, scope.map(|scope| scope.going).unwrap_or_default())
}

/// The scope around one, which is there again afterwards, also when the author's code panics.
struct Outer(Option<Scope>);

impl Drop for Outer {
    fn drop(&mut self) {
        drop(SCOPE.replace(self.0.take()));
    }
}

/// A stream to be sent.
pub(crate) struct Pour {
    pub(crate) output: Output,
    items: Producer,
    /// The call whose cancellation ends it.
    pub(crate) behalf: Arc<Call>,
    /// Lasts as long as the answer that it is part of.
    pub(crate) whole: Option<Arc<dyn Send + Sync>>,
}

impl Pour {
    /// Sends it all, as fast as it is taken.
    pub(crate) fn run(mut self) {
        loop {
            let sent = match guarded(|| self.items.next()) {
                Ok(Some(Ok(content))) => self.output.send(&self.behalf, &content),
                Ok(None) => return self.output.end(None),
                Ok(Some(Err(error))) | Err(error) => {
                    return self.output.end(Some(error.object().clone()));
                }
            };
            match sent {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => return self.output.end(Some(error.into_object())),
            }
        }
    }

    /// Does so on a thread of its own. If it may have none, it is dropped, which says so.
    pub(crate) fn run_beside(self) {
        let thread = thread::Builder::new().name("plugbay-stream".to_owned());
        drop(thread.spawn(move || self.run()));
    }

    /// Sends nothing: nobody was told of it.
    pub(crate) fn withdraw(self) {
        self.output.outlet.finish();
    }
}

impl fmt::Debug for Pour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pour").field("output", &self.output).finish_non_exhaustive()
    }
}

/// Reads parameters within the streams that came with them.
pub(crate) fn reading<T>(ctx: &Context, read: impl FnOnce() -> T) -> T {
    receiving(&ctx.session.streams, ctx.call.take_streams(), read)
}
