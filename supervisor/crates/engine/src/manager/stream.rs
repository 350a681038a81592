//! Streams from the caller's side: the items of a result as they come, and the end into which the
//! items of a parameter are put. Neither keeps more than a window: who is slow makes the other wait.

use std::{collections::VecDeque, time::Duration};

use plugbay_protocol::{
    Code, ErrorObject, limits,
    stream::{Content, Kind},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::mpsc;

use super::call::typed;
use crate::{
    error::{CallError, CallErrorKind, Deadline},
    plugin::stream::{Broken, Intake, Part, Source},
};

/// Items of an upload that are taken before there is credit for them.
const AHEAD: usize = 1;
/// Bytes of one frame.
const FRAME: usize = limits::READ_CHUNK;

/// The items of a stream that a plugin sends, as they come. Dropping it tells the plugin that the rest
/// is not wanted.
#[derive(Debug)]
pub struct Items {
    plugin: String,
    method: String,
    intake: Intake,
    idle: Duration,
    ready: VecDeque<Box<RawValue>>,
}

impl Items {
    pub(crate) fn new(plugin: &str, method: &str, intake: Intake, idle: Duration) -> Self {
        let (plugin, method) = (plugin.to_owned(), method.to_owned());
        Self { plugin, method, intake, idle, ready: VecDeque::new() }
    }

    /// Whether it is values or bytes.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.intake.kind()
    }

    /// The name by which the result refers to it.
    #[must_use]
    pub fn id(&self) -> &str {
        self.intake.id()
    }

    /// The next value; `None` at the end. Cancelling the future loses nothing.
    ///
    /// # Errors
    /// When the plugin failed, ended, broke the rules or brought nothing for the call's idle time;
    /// when the value is not as expected, or the stream is one of bytes.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, CallError> {
        let Some(item) = self.next_raw().await? else { return Ok(None) };
        typed(&self.plugin, &self.method, &item).map(Some)
    }

    /// The next value's text; `None` at the end.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub async fn next_raw(&mut self) -> Result<Option<Box<RawValue>>, CallError> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Ok(Some(item));
            }
            match self.content().await? {
                None => return Ok(None),
                Some(Content::Items(items)) => self.ready.extend(items),
                Some(Content::Bytes(_)) => return Err(self.unexpected("a stream of bytes")),
            }
        }
    }

    /// The next bytes, never none; `None` at the end.
    ///
    /// # Errors
    /// As [`next`](Self::next), or when the stream is one of values.
    pub async fn next_bytes(&mut self) -> Result<Option<Vec<u8>>, CallError> {
        match self.content().await? {
            None => Ok(None),
            Some(Content::Bytes(bytes)) => Ok(Some(bytes)),
            Some(Content::Items(_)) => Err(self.unexpected("a stream of values")),
        }
    }

    async fn content(&mut self) -> Result<Option<Content>, CallError> {
        let taken = self.intake.next(self.idle).await;
        taken.map_err(|broken| {
            let kind = match broken {
                Broken::Failed(error) => CallErrorKind::Plugin(error),
                Broken::Violated(what) => CallErrorKind::ProtocolViolation(what.to_string()),
                Broken::Lost(ending) => CallErrorKind::lost(&ending),
                Broken::Idle(after) => {
                    CallErrorKind::DeadlineExceeded { after, which: Deadline::Idle }
                }
            };
            CallError::new(&self.plugin, &self.method, kind).of(self.intake.label())
        })
    }

    fn unexpected(&self, what: &str) -> CallError {
        let kind = CallErrorKind::UnexpectedResult(format!("it is {what}"));
        CallError::new(&self.plugin, &self.method, kind)
    }
}

/// What a call was answered with: a result, and the streams it refers to.
#[derive(Debug)]
pub struct Reply {
    result: Box<RawValue>,
    streams: Vec<Items>,
}

impl Reply {
    pub(crate) fn new(result: Box<RawValue>, streams: Vec<Items>) -> Self {
        Self { result, streams }
    }

    /// The result's text. A stream stands in it as `{"$stream": id, "kind": …}`.
    #[must_use]
    pub fn result(&self) -> &RawValue {
        &self.result
    }

    /// The result's text, and its streams in the order in which it refers to them.
    #[must_use]
    pub fn into_parts(self) -> (Box<RawValue>, Vec<Items>) {
        (self.result, self.streams)
    }

    /// The stream that is the whole result.
    ///
    /// # Errors
    /// The reply as it is, when the result is more than one stream, or something else.
    pub fn into_stream(mut self) -> Result<Items, Self> {
        let whole = || -> Option<()> {
            let [only] = self.streams.as_slice() else { return None };
            let reference = serde_json::from_str::<Named<'_>>(self.result.get()).ok()?;
            (reference.id == only.id()).then_some(())
        };
        match whole().and_then(|()| self.streams.pop()) {
            Some(items) => Ok(items),
            None => Err(self),
        }
    }
}

#[derive(serde::Deserialize)]
struct Named<'a> {
    #[serde(rename = "$stream", borrow)]
    id: std::borrow::Cow<'a, str>,
}

/// Nobody takes any more: the call was answered, failed or was cancelled, or the plugin has enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no more of the stream is wanted")]
#[non_exhaustive]
pub struct UploadError;

/// Where the items of a parameter are put. To the plugin, one that is dropped before [`end`](Self::end)
/// has failed.
#[derive(Debug)]
pub struct Upload {
    parts: mpsc::Sender<Part>,
}

impl Upload {
    pub(crate) fn new() -> (Self, Source) {
        let (parts, source) = mpsc::channel(AHEAD);
        (Self { parts }, Source::Upload(source))
    }

    /// Puts a value in, and waits until the plugin has room for it.
    ///
    /// # Errors
    /// When no more is wanted, which the call's outcome says more about; or when the value cannot be
    /// written as JSON, which fails the stream.
    pub async fn send(&mut self, item: &(impl Serialize + ?Sized)) -> Result<(), UploadError> {
        match to_raw_value(item) {
            Ok(item) => self.send_raw(item).await,
            Err(error) => {
                self.put(Part::End(Some(failed(&error.to_string())))).await?;
                Err(UploadError)
            }
        }
    }

    /// Puts a value in that is JSON already.
    ///
    /// # Errors
    /// When no more is wanted.
    pub async fn send_raw(&mut self, item: Box<RawValue>) -> Result<(), UploadError> {
        self.put(Part::Content(Content::Items(vec![item]))).await
    }

    /// Puts bytes in, in pieces if there are many.
    ///
    /// # Errors
    /// When no more is wanted.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        for piece in bytes.chunks(FRAME) {
            self.put(Part::Content(Content::Bytes(piece.to_vec()))).await?;
        }
        Ok(())
    }

    /// Says that this was all.
    pub async fn end(self) {
        // That no more is wanted is no failure any more.
        self.put(Part::End(None)).await.ok();
    }

    /// Says that there should have been more, and why there is not.
    pub async fn fail(self, why: &str) {
        self.put(Part::End(Some(failed(why)))).await.ok();
    }

    async fn put(&self, part: Part) -> Result<(), UploadError> {
        self.parts.send(part).await.map_err(|_closed| UploadError)
    }
}

fn failed(why: &str) -> ErrorObject {
    ErrorObject::new(Code::PluginError, why)
}
