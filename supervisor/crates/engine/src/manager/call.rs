//! A call, as the caller puts it together: how long it may take, and what to do meanwhile.

use std::{collections::BTreeMap, fmt, mem, time::Duration};

use plugbay_protocol::{
    notice::Progress,
    stream::{Kind, Reference},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    directory::Directory,
    errand::Errand,
    report::CallReport,
    stream::{Items, Reply, Upload},
};
use crate::{
    clock,
    error::{CallError, CallErrorKind},
    plugin::{
        session::Trace,
        stream::{Luggage, Source},
    },
};

/// Progress notices kept for a caller that does not keep up; later ones are dropped.
const PROGRESS_KEPT: usize = 32;

/// A call that is being put together; see [`Host::call_with`](super::Host::call_with).
#[must_use = "nothing is called before `send`"]
pub struct CallBuilder<'h> {
    directory: &'h Directory,
    plugin: &'h str,
    method: &'h str,
    params: Result<Option<Box<RawValue>>, String>,
    idle: Option<Duration>,
    deadline: Option<Duration>,
    on_progress: Option<Listener>,
    cancel: Option<CancellationToken>,
    trace: Trace,
    uploads: Vec<(String, Source)>,
}

type Listener = Box<dyn FnMut(Progress) + Send>;

impl fmt::Debug for CallBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallBuilder")
            .field("plugin", &self.plugin)
            .field("method", &self.method)
            .field("params", &self.params)
            .field("idle", &self.idle)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl<'h> CallBuilder<'h> {
    pub(crate) fn new(directory: &'h Directory, plugin: &'h str, method: &'h str) -> Self {
        Self {
            directory,
            plugin,
            method,
            params: Ok(None),
            idle: None,
            deadline: None,
            on_progress: None,
            cancel: None,
            trace: Trace::default(),
            uploads: Vec::new(),
        }
    }

    /// The parameters: anything that is written as an object or an array. None by default.
    pub fn params(mut self, params: &(impl Serialize + ?Sized)) -> Self {
        self.params = to_raw_value(params).map(Some).map_err(|error| error.to_string());
        self
    }

    /// The call is answered within this time, whatever happens: waiting for a restart included,
    /// progress or not. Ten minutes by default.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The call fails when nothing is heard of it for this long; progress starts the time anew.
    /// By default what the method's `timeout` says, or the plugin's `call_timeout`.
    pub fn idle_timeout(mut self, idle: Duration) -> Self {
        self.idle = Some(idle);
        self
    }

    /// Called for each progress notice, in the caller's own task. Notices that come faster than
    /// they are taken are dropped.
    pub fn on_progress(mut self, listener: impl FnMut(Progress) + Send + 'static) -> Self {
        self.on_progress = Some(Box::new(listener));
        self
    }

    /// Cancels the call when the token is. The plugin is told, and gets two seconds to answer;
    /// dropping the future cancels as well, without waiting.
    pub fn cancel(mut self, token: CancellationToken) -> Self {
        self.cancel = Some(token);
        self
    }

    /// Passes a W3C trace context on.
    pub fn traceparent(mut self, traceparent: impl Into<String>) -> Self {
        self.trace.traceparent = Some(traceparent.into());
        self
    }

    /// Marks repetitions of one piece of work, for plugins that can tell.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.trace.idempotency_key = Some(key.into());
        self
    }

    /// Adds a parameter that is sent as a stream, and gives the end to put its items in. Do so while
    /// the call waits for its answer: `tokio::join!` does both.
    pub fn upload(mut self, name: &str, kind: Kind) -> (Self, Upload) {
        let (upload, source) = Upload::new();
        self.params = self.params.and_then(|params| with_stream(params.as_deref(), name, kind));
        self.uploads.push((name.to_owned(), source));
        (self, upload)
    }

    /// Makes the call and reads the result.
    ///
    /// # Errors
    /// See [`CallErrorKind`].
    pub async fn send<R: DeserializeOwned>(self) -> Result<R, CallError> {
        let (plugin, method) = (self.plugin, self.method);
        typed(plugin, method, &self.send_raw().await?)
    }

    /// Makes the call and returns the result's text.
    ///
    /// # Errors
    /// See [`CallErrorKind`].
    pub async fn send_raw(self) -> Result<Box<RawValue>, CallError> {
        let (plugin, method) = (self.plugin, self.method);
        let (result, streams) = self.run().await?.into_parts();
        if streams.is_empty() {
            return Ok(result);
        }
        Err(streamed(plugin, method))
    }

    /// Makes the call and returns the result's text, with the streams it refers to. They may go on
    /// for as long as they bring something: the deadline is about the answer.
    ///
    /// # Errors
    /// See [`CallErrorKind`].
    pub async fn open(self) -> Result<Reply, CallError> {
        self.run().await
    }

    /// Makes a call whose whole result is a stream, and returns its items.
    ///
    /// # Errors
    /// See [`CallErrorKind`].
    pub async fn stream(self) -> Result<Items, CallError> {
        let (plugin, method) = (self.plugin, self.method);
        self.run().await?.into_stream().map_err(|_result| {
            let what = "it is no stream".to_owned();
            CallError::new(plugin, method, CallErrorKind::UnexpectedResult(what))
        })
    }

    /// Makes the call and tells all about it, whatever came of it: the result or the error, how
    /// long it took, how long it waited, who was asked. Who asks only for a report has no way to take
    /// a result that is a stream, so that is an error; see [`report_open`](Self::report_open).
    pub async fn report(self) -> CallReport {
        let (plugin, method) = (self.plugin, self.method);
        let (mut report, reply) = self.report_open().await;
        match reply.map(Reply::into_parts) {
            Ok((result, streams)) if streams.is_empty() => report.output = Some(result),
            Ok(_) => report.error = Some(streamed(plugin, method)),
            // It says so.
            Err(_) => {}
        }
        report
    }

    /// Makes the call, tells all about it up to its answer, and gives the answer beside: it may be a
    /// stream, or hold some. The report has no output of its own.
    pub async fn report_open(mut self) -> (CallReport, Result<Reply, CallError>) {
        let (directory, plugin, method) = (self.directory, self.plugin, self.method);
        let idle = self.silence();
        let luggage = Luggage::of(mem::take(&mut self.uploads));
        let mut report = match self.take_params() {
            Ok(params) => {
                let (errand, listening) = self.errand(params.as_deref(), &luggage);
                listening.during(errand.report(directory)).await
            }
            Err(error) => CallReport::refused(&self.errand(None, &luggage).0, clock::now(), error),
        };
        let items = |intake| Items::new(plugin, method, intake, idle);
        let streams = luggage.unpack().into_iter().map(items).collect();
        let reply = match (report.output.take(), &report.error) {
            (Some(result), None) => Ok(Reply::new(result, streams)),
            (_, Some(error)) => Err(error.clone()),
            (None, None) => Err(CallError::new(plugin, method, CallErrorKind::Cancelled)),
        };
        (report, reply)
    }

    /// How long it may be silent. Of a plugin that is not there nobody asks for it.
    fn silence(&self) -> Duration {
        let entry = self.directory.entries.get(self.plugin);
        let usual = entry.map(|entry| entry.edition().manifest().call_timeout(self.method));
        self.idle.or(usual).unwrap_or_default()
    }

    async fn run(mut self) -> Result<Reply, CallError> {
        let (directory, plugin, method) = (self.directory, self.plugin, self.method);
        let idle = self.silence();
        let luggage = Luggage::of(mem::take(&mut self.uploads));
        let params = self.take_params()?;
        let (errand, listening) = self.errand(params.as_deref(), &luggage);
        let result = listening.during(errand.run(directory)).await?;
        let items = |intake| Items::new(plugin, method, intake, idle);
        Ok(Reply::new(result, luggage.unpack().into_iter().map(items).collect()))
    }

    fn take_params(&mut self) -> Result<Option<Box<RawValue>>, CallError> {
        mem::replace(&mut self.params, Ok(None)).map_err(|what| {
            CallError::new(self.plugin, self.method, CallErrorKind::InvalidParams(what))
        })
    }

    fn errand<'e>(
        &'e mut self,
        params: Option<&'e RawValue>,
        luggage: &'e Luggage,
    ) -> (Errand<'e>, Listening) {
        let mut errand = Errand::new(self.plugin, self.method, params);
        errand.idle = self.idle;
        errand.until = self.deadline.and_then(|deadline| clock::now().checked_add(deadline));
        errand.cancel = self.cancel.as_ref();
        errand.trace = &self.trace;
        errand.luggage = Some(luggage);
        let listening = self.on_progress.take().map(|listener| {
            let (sender, notices) = mpsc::channel(PROGRESS_KEPT);
            errand.progress = Some(sender);
            (listener, notices)
        });
        (errand, Listening(listening))
    }
}

/// A caller that takes no streams got one.
fn streamed(plugin: &str, method: &str) -> CallError {
    let what = "it is a stream, to be taken by `open` or `stream`".to_owned();
    CallError::new(plugin, method, CallErrorKind::UnexpectedResult(what))
}

/// Who wants to hear of progress, if somebody does.
struct Listening(Option<(Listener, mpsc::Receiver<Progress>)>);

impl Listening {
    /// Tells the listener what comes while a call is under way.
    async fn during<T>(self, call: impl Future<Output = T>) -> T {
        let Some((mut listener, mut notices)) = self.0 else { return call.await };
        tokio::pin!(call);
        loop {
            tokio::select! {
                biased;
                Some(notice) = notices.recv() => listener(notice),
                outcome = &mut call => {
                    while let Ok(notice) = notices.try_recv() {
                        listener(notice);
                    }
                    return outcome;
                }
            }
        }
    }
}

/// Parameters with one more member, that refers to a stream by its own name.
fn with_stream(
    params: Option<&RawValue>,
    name: &str,
    kind: Kind,
) -> Result<Option<Box<RawValue>>, String> {
    let text = params.map_or("null", RawValue::get);
    let mut members = serde_json::from_str::<Option<BTreeMap<String, Box<RawValue>>>>(text)
        .map_err(|_array| "a stream is a member of parameters that are an object".to_owned())?
        .unwrap_or_default();
    let reference = to_raw_value(&Reference { id: name.into(), kind });
    members.insert(name.to_owned(), reference.map_err(|error| error.to_string())?);
    to_raw_value(&members).map(Some).map_err(|error| error.to_string())
}

/// Reads a result as what the caller expects.
pub(crate) fn typed<R: DeserializeOwned>(
    plugin: &str,
    method: &str,
    result: &RawValue,
) -> Result<R, CallError> {
    serde_json::from_str(result.get()).map_err(|error| {
        CallError::new(plugin, method, CallErrorKind::UnexpectedResult(error.to_string()))
    })
}
