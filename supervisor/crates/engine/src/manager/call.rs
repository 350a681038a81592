//! A call, from the caller's side: which plugin, how long, what to do meanwhile.
//!
//! A plugin that is starting or restarting is waited for, within the call's own deadline; one that
//! stays down is reported at once.

use std::{
    collections::BTreeMap,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use plugbay_manifest::MethodSpec;
use plugbay_protocol::{
    method as words,
    notice::Progress,
    stream::{Kind, Reference},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};
use tokio::{sync::mpsc, time};
use tokio_util::sync::CancellationToken;

use super::{
    directory::{Command, Directory, Entry, Route},
    stream::{Items, Reply, Upload},
};
use crate::{
    clock,
    error::{CallError, CallErrorKind, Deadline},
    lifecycle::{identity::InstanceId, slot::State},
    plugin::{
        session::{Call, Chain, Failure, Session, Trace},
        stream::{Luggage, Source},
    },
};

/// However much progress a plugin reports, a call ends after this unless the caller says otherwise.
const CAP: Duration = Duration::from_secs(600);
/// Progress notices kept for a caller that does not keep up; later ones are dropped.
const PROGRESS_KEPT: usize = 32;

/// What is called, and how.
#[derive(Debug)]
pub(crate) struct Errand<'a> {
    pub(crate) plugin: &'a str,
    pub(crate) method: &'a str,
    pub(crate) params: Option<&'a RawValue>,
    pub(crate) idle: Option<Duration>,
    pub(crate) until: Option<Instant>,
    pub(crate) progress: Option<mpsc::Sender<Progress>>,
    pub(crate) cancel: Option<&'a CancellationToken>,
    pub(crate) chain: Option<Arc<Chain>>,
    pub(crate) trace: &'a Trace,
    pub(crate) luggage: Option<&'a Luggage>,
}

impl<'a> Errand<'a> {
    /// A plain call.
    pub(crate) fn new(plugin: &'a str, method: &'a str, params: Option<&'a RawValue>) -> Self {
        Self {
            plugin,
            method,
            params,
            idle: None,
            until: None,
            progress: None,
            cancel: None,
            chain: None,
            trace: &Trace::NONE,
            luggage: None,
        }
    }

    /// Runs it.
    pub(crate) async fn run(self, directory: &Directory) -> Result<Box<RawValue>, CallError> {
        let entry = directory.find(self.plugin, self.method)?;
        self.check(entry)?;
        let idle = self.idle.unwrap_or_else(|| entry.manifest.call_timeout(self.method));
        let started = clock::now();
        let until = self.until.unwrap_or(started + CAP);
        let mut past: Option<InstanceId> = None;
        loop {
            let up = entry.route.borrow().session.clone();
            if let Some(session) = up.filter(|session| Some(session.label.instance) > past) {
                match self.send(&session, idle, until).await {
                    Err(Failure::NotSent) => past = Some(session.label.instance),
                    outcome => {
                        return outcome.map_err(|failure| self.error(failure).of(&session.label));
                    }
                }
            }
            let patience = started.checked_add(idle).map_or(until, |due| due.min(until));
            let wait = Wait { past, started, patience };
            self.await_route(directory, entry, &wait).await?;
        }
    }

    async fn send(
        &self,
        session: &Arc<Session>,
        idle: Duration,
        until: Instant,
    ) -> Result<Box<RawValue>, Failure> {
        let call = Call {
            method: self.method,
            params: self.params,
            idle,
            until,
            progress: self.progress.clone(),
            cancel: self.cancel,
            chain: self.chain.clone(),
            trace: self.trace,
            luggage: self.luggage,
        };
        session.call(call).await
    }

    /// Waits until a later instance is up, while that can be hoped for.
    async fn await_route(
        &self,
        directory: &Directory,
        entry: &Entry,
        wait: &Wait,
    ) -> Result<(), CallError> {
        tokio::select! {
            up = hope(directory, entry, wait.past) => up,
            () = directory.closing.cancelled() => Err(CallErrorKind::ShuttingDown),
            () = cancelled(self.cancel) => Err(CallErrorKind::Cancelled),
            () = time::sleep_until(wait.patience.into()) => {
                let after = clock::now().saturating_duration_since(wait.started);
                Err(CallErrorKind::DeadlineExceeded { after, which: Deadline::Start })
            }
        }
        .map_err(|kind| CallError::new(self.plugin, self.method, kind))
    }

    /// What can be known to be wrong without asking the plugin.
    fn check(&self, entry: &Entry) -> Result<(), CallError> {
        let declared = &entry.manifest.methods;
        if let Some(spec) = declared.get(self.method) {
            return self.check_params(spec);
        }
        let known: Vec<String> = if declared.is_empty() {
            let hello = entry.route.borrow().hello.clone();
            hello.map(|hello| hello.methods.clone()).unwrap_or_default()
        } else {
            declared.keys().cloned().collect()
        };
        let said = known.is_empty() || known.iter().any(|name| name == self.method);
        if said && !words::is_reserved(self.method) {
            return Ok(());
        }
        Err(CallError::new(self.plugin, self.method, CallErrorKind::UnknownMethod { known }))
    }

    /// The parameters are read only for a method that declares what they must be.
    fn check_params(&self, spec: &MethodSpec) -> Result<(), CallError> {
        if spec.params.is_none() {
            return Ok(());
        }
        let text = self.params.map_or("null", RawValue::get);
        let checked = serde_json::from_str::<Value>(text)
            .map_err(|error| error.to_string())
            .and_then(|params| spec.validate_params(&params).map_err(|all| all.join("; ")));
        checked.map_err(|what| {
            CallError::new(self.plugin, self.method, CallErrorKind::InvalidParams(what))
        })
    }

    fn error(&self, failure: Failure) -> CallError {
        let kind = match failure {
            Failure::NotSent => CallErrorKind::ShuttingDown,
            Failure::Overloaded(what) => CallErrorKind::Overloaded { what },
            Failure::RequestTooLarge(bytes) => {
                CallErrorKind::FrameTooLarge { what: format!("the request has {bytes} bytes") }
            }
            Failure::AnswerTooLarge => {
                CallErrorKind::FrameTooLarge { what: "the plugin's answer".to_owned() }
            }
            Failure::Unwritable(what) => CallErrorKind::InvalidParams(what),
            Failure::Deadline { idle, after } => {
                let which = if idle { Deadline::Idle } else { Deadline::Cap };
                CallErrorKind::DeadlineExceeded { after, which }
            }
            Failure::Cancelled => CallErrorKind::Cancelled,
            Failure::Garbled(what) => CallErrorKind::ProtocolViolation(what),
            Failure::Streamed => {
                CallErrorKind::UnexpectedResult("it is a stream, to be taken by `open`".to_owned())
            }
            Failure::Lost(ending) => CallErrorKind::lost(&ending),
            Failure::Plugin(error) => CallErrorKind::Plugin(error),
        };
        CallError::new(self.plugin, self.method, kind)
    }
}

/// What is waited for, and how long.
struct Wait {
    /// The instance that did not take the call.
    past: Option<InstanceId>,
    started: Instant,
    patience: Instant,
}

/// Waits for an instance after `past`, waking an idle plugin; ends when there is no hope.
async fn hope(
    directory: &Directory,
    entry: &Entry,
    past: Option<InstanceId>,
) -> Result<(), CallErrorKind> {
    let mut route = entry.route.clone();
    loop {
        let seen = route.borrow_and_update().clone();
        if seen.session.as_ref().is_some_and(|session| Some(session.label.instance) > past) {
            return Ok(());
        }
        if seen.state == State::Idle {
            let wanted = directory.commands.send(Command::Wanted(entry.name.clone()));
            wanted.await.map_err(|_closed| CallErrorKind::ShuttingDown)?;
        } else if !seen.state.is_on_its_way_up() {
            return Err(down(&seen));
        }
        route.changed().await.map_err(|_closed| CallErrorKind::ShuttingDown)?;
    }
}

/// Why a plugin that stays down cannot be called.
pub(crate) fn down(route: &Route) -> CallErrorKind {
    let reason = route.reason.to_string();
    if matches!(route.state, State::Quarantined { .. }) {
        CallErrorKind::Quarantined { reason }
    } else {
        CallErrorKind::Unavailable { state: route.state.name(), reason }
    }
}

async fn cancelled(token: Option<&CancellationToken>) {
    match token {
        Some(token) => token.cancelled().await,
        None => std::future::pending().await,
    }
}

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
        let what = "it is a stream, to be taken by `open` or `stream`".to_owned();
        Err(CallError::new(plugin, method, CallErrorKind::UnexpectedResult(what)))
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

    async fn run(self) -> Result<Reply, CallError> {
        let params = self.params.map_err(|what| {
            CallError::new(self.plugin, self.method, CallErrorKind::InvalidParams(what))
        })?;
        let mut errand = Errand::new(self.plugin, self.method, params.as_deref());
        errand.idle = self.idle;
        errand.until = self.deadline.and_then(|deadline| clock::now().checked_add(deadline));
        errand.cancel = self.cancel.as_ref();
        errand.trace = &self.trace;
        let luggage = Luggage::of(self.uploads);
        errand.luggage = Some(&luggage);
        let idle =
            self.directory.find(self.plugin, self.method)?.manifest.call_timeout(self.method);
        let idle = self.idle.unwrap_or(idle);
        let reply = |result| {
            let items = |intake| Items::new(self.plugin, self.method, intake, idle);
            Reply::new(result, luggage.unpack().into_iter().map(items).collect())
        };
        let Some(mut listener) = self.on_progress else {
            return errand.run(self.directory).await.map(reply);
        };
        let (sender, mut notices) = mpsc::channel(PROGRESS_KEPT);
        errand.progress = Some(sender);
        let call = errand.run(self.directory);
        tokio::pin!(call);
        loop {
            tokio::select! {
                biased;
                Some(notice) = notices.recv() => listener(notice),
                outcome = &mut call => {
                    while let Ok(notice) = notices.try_recv() {
                        listener(notice);
                    }
                    return outcome.map(reply);
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
