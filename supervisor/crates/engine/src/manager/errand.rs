//! A call on its way: which process, how long, what when it fails.
//!
//! A plugin that is starting or restarting is waited for; one that stays down is reported at once. A
//! call whose process dies is sent once more if that does no harm, and otherwise told to its caller.
//!
//! ```text
//! check ──► pick a process ──► admit (circuit) ──► send ──► outcome
//!              ▲  │ none up                          │ not taken, or lost and repeatable
//!              │  ▼                                  │
//!             wait ◄─────────────────────────────────┘
//! ```

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use plugbay_manifest::{Manifest, MethodSpec, Supervision};
use plugbay_protocol::{method as words, notice::Progress};
use serde_json::{Value, value::RawValue};
use tokio::{
    sync::{Semaphore, SemaphorePermit, mpsc},
    time,
};
use tokio_util::sync::CancellationToken;

use super::{
    directory::{Command, Directory, Entry, Route},
    edition::Edition,
    method::Method,
    report::{CallMetadata, CallReport, Course},
};
use crate::{
    clock,
    error::{CallError, CallErrorKind, Deadline},
    lifecycle::{identity::InstanceId, slot::State},
    plugin::{
        circuit::Verdict,
        count,
        death::Ending,
        lock,
        session::{Call, Chain, Failure, Session, Trace},
        stream::Luggage,
    },
};

/// However much progress a plugin reports, a call ends after this unless the caller says otherwise.
const CAP: Duration = Duration::from_secs(600);

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
    pub(crate) async fn run(&self, directory: &Directory) -> Result<Box<RawValue>, CallError> {
        let mut course = Course::begin(directory, self, clock::now())?;
        let outcome = self.pursue(directory, &mut course).await;
        course.end(outcome.as_ref().err());
        outcome
    }

    /// Runs it, and tells all about it.
    pub(crate) async fn report(&self, directory: &Directory) -> CallReport {
        let started = clock::now();
        match Course::begin(directory, self, started) {
            Ok(mut course) => {
                course.notes.tally.metered = true;
                let outcome = self.pursue(directory, &mut course).await;
                course.report(outcome)
            }
            Err(error) => CallReport::refused(self, started, error),
        }
    }

    /// Tries process after process: the next one when one did not take the call, and once more when
    /// one died of a call that may be repeated. A call that was lost and finds nobody to repeat it
    /// stays lost: it may have run.
    async fn pursue(
        &self,
        directory: &Directory,
        course: &mut Course<'_>,
    ) -> Result<Box<RawValue>, CallError> {
        let idle = self.idle.unwrap_or(course.method.idle);
        let until = self.until.unwrap_or(course.notes.started + CAP);
        let mut passed: Vec<InstanceId> = Vec::new();
        let repeats = self.may_repeat(&course.method);
        let mut lost: Option<CallError> = None;
        loop {
            if let Some(session) = pick(course.entry, &passed) {
                if session.label.generation != course.edition.generation {
                    self.check_again(course).map_err(|error| lost.take().unwrap_or(error))?;
                }
                let outcome = self.attempt(&session, course, idle, until).await;
                let failed = |kind| CallError::new(self.plugin, self.method, kind);
                match outcome {
                    Ok(result) => return Ok(result),
                    Err(Setback::NotTaken) => passed.push(session.label.instance),
                    Err(Setback::Lost(kind)) if lost.is_none() && repeats && !self.given_up() => {
                        lost = Some(failed(kind).of(&session.label));
                        passed.push(session.label.instance);
                    }
                    Err(Setback::Lost(kind) | Setback::Final(kind)) => {
                        return Err(failed(kind).of(&session.label));
                    }
                    Err(Setback::Refused(kind)) => return Err(lost.unwrap_or(failed(kind))),
                }
                continue;
            }
            let wait = Wait { passed: &passed, idle, until, again: lost.is_some() };
            let waiting = course.seen;
            let waited = self.await_route(directory, course.entry, wait).await;
            course.seen = clock::now();
            course.notes.waited += course.seen.saturating_duration_since(waiting);
            if let Err(error) = waited {
                return Err(lost.unwrap_or(error));
            }
        }
    }

    /// Sends it to one process.
    async fn attempt(
        &self,
        session: &Arc<Session>,
        course: &mut Course<'_>,
        idle: Duration,
        until: Instant,
    ) -> Result<Box<RawValue>, Setback> {
        let (method, notes, now) = (&*course.method, &mut course.notes, course.seen);
        let pass = method
            .admit(now)
            .map_err(|retry_after| Setback::Refused(CallErrorKind::CircuitOpen { retry_after }))?;
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
        notes.reach(&session.label);
        // What may be repeated need not wait until it is known why the process died, if another one
        // can have it now.
        let hurry = notes.attempts <= 1 && self.may_repeat(method);
        let outcome = tokio::select! {
            biased;
            outcome = session.call_counted(call, method.name.clone(), now, &mut notes.tally) => outcome,
            () = elsewhere(course.entry, session), if hurry => Err(Failure::Lost(Ending::unknown())),
        };
        course.seen = clock::now();
        let (verdict, outcome) = match outcome {
            Ok(result) => match self.check_result(&course.edition, method, &result) {
                Ok(()) => (Verdict::Good, Ok(result)),
                Err(kind) => (Verdict::Bad, Err(Setback::Final(kind))),
            },
            Err(failure) => (method.verdict(&failure), Err(Setback::from(failure))),
        };
        if matches!(outcome, Err(Setback::NotTaken | Setback::Refused(_))) {
            notes.attempts -= 1;
        }
        pass.settle(verdict, course.seen);
        outcome
    }

    /// Whether the call may be sent again although it may have run. One with a stream cannot: part
    /// of the stream is gone.
    fn may_repeat(&self, method: &Method) -> bool {
        let streams = self.luggage.is_some_and(|luggage| !lock(&luggage.sources).is_empty());
        !streams && (method.idempotent || self.trace.idempotency_key.is_some())
    }

    fn given_up(&self) -> bool {
        self.cancel.is_some_and(CancellationToken::is_cancelled)
    }

    /// Waits until another instance is up, while that can be hoped for.
    async fn await_route(
        &self,
        directory: &Directory,
        entry: &Entry,
        wait: Wait<'_>,
    ) -> Result<(), CallError> {
        let failed = |kind| CallError::new(self.plugin, self.method, kind);
        let place = entry.waiting.enter(self.chain.is_some());
        // Who had a place in a process that died waits in any case.
        if place.is_none() && !wait.again {
            count(&entry.counters.overloaded);
            let what = "as many calls wait for it to come up as it takes";
            return Err(failed(CallErrorKind::Overloaded { what }));
        }
        tokio::select! {
            up = hope(directory, entry, wait) => up,
            () = directory.closing.cancelled() => Err(CallErrorKind::ShuttingDown),
            () = cancelled(self.cancel) => Err(CallErrorKind::Cancelled),
        }
        .map_err(failed)
    }

    /// What the caller passes along, if anything.
    pub(crate) fn metadata(&self) -> Option<Box<CallMetadata>> {
        let Trace { traceparent, idempotency_key } = self.trace;
        if traceparent.is_none() && idempotency_key.is_none() && self.chain.is_none() {
            return None;
        }
        let callers = self.chain.as_ref().map_or_else(Vec::new, |chain| chain.plugins.clone());
        let (traceparent, idempotency_key) = (traceparent.clone(), idempotency_key.clone());
        Some(Box::new(CallMetadata { callers, traceparent, idempotency_key }))
    }

    /// What can be known to be wrong without asking the plugin.
    pub(crate) fn check(&self, entry: &Entry) -> Result<(Arc<Edition>, Arc<Method>), CallError> {
        let edition = entry.edition();
        let manifest = edition.manifest();
        if let Some(method) = edition.catalog.known(self.method) {
            if method.checks_params
                && let Some(spec) = manifest.methods.get(self.method)
            {
                self.check_params(spec)?;
            }
            return Ok((edition, method));
        }
        let route = entry.route.borrow();
        let known: Vec<String> = match &route.hello {
            _ if edition.catalog.is_declared() => manifest.methods.keys().cloned().collect(),
            Some(hello) => hello.methods.clone(),
            None => Vec::new(),
        };
        let said = known.iter().any(|name| name == self.method)
            || (known.is_empty() && !words::is_reserved(self.method));
        if said {
            let method = edition.catalog.undeclared(self.method, !route.sessions.is_empty());
            drop(route);
            return Ok((edition, method));
        }
        Err(CallError::new(self.plugin, self.method, CallErrorKind::UnknownMethod { known }))
    }

    /// The generation that it was checked against is not the one that answers now.
    fn check_again(&self, course: &mut Course<'_>) -> Result<(), CallError> {
        (course.edition, course.method) = self.check(course.entry)?;
        Ok(())
    }

    /// The parameters are read only for a method that declares what they must be. Those with streams
    /// in them are not all there yet.
    fn check_params(&self, spec: &MethodSpec) -> Result<(), CallError> {
        if self.luggage.is_some_and(|luggage| !lock(&luggage.sources).is_empty()) {
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

    /// The result is read only for a method that declares what it must be. One with streams in it
    /// is not all there yet.
    fn check_result(
        &self,
        edition: &Edition,
        method: &Method,
        result: &RawValue,
    ) -> Result<(), CallErrorKind> {
        let streams = self.luggage.is_some_and(|luggage| !lock(&luggage.received).is_empty());
        if streams || !method.checks_result {
            return Ok(());
        }
        let Some(spec) = edition.manifest().methods.get(self.method) else { return Ok(()) };
        serde_json::from_str::<Value>(result.get())
            .map_err(|error| error.to_string())
            .and_then(|result| spec.validate_result(&result).map_err(|all| all.join("; ")))
            .map_err(CallErrorKind::InvalidResult)
    }
}

/// Why an attempt has no result, and what may follow.
#[derive(Debug)]
enum Setback {
    /// The process did not take it: another one may.
    NotTaken,
    /// The process is gone, and may have done it.
    Lost(CallErrorKind),
    /// It was not tried.
    Refused(CallErrorKind),
    /// That is the outcome.
    Final(CallErrorKind),
}

impl From<Failure> for Setback {
    fn from(failure: Failure) -> Self {
        Self::Final(match failure {
            Failure::NotSent => return Self::NotTaken,
            Failure::Overloaded(what) => {
                return Self::Refused(CallErrorKind::Overloaded { what });
            }
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
            Failure::Lost(ending) => return Self::Lost(CallErrorKind::lost(&ending)),
            Failure::Plugin(error) => CallErrorKind::Plugin(error),
        })
    }
}

/// The process that takes the next call, of those that did not turn it away.
fn pick(entry: &Entry, passed: &[InstanceId]) -> Option<Arc<Session>> {
    entry.route.borrow().pick(passed).cloned()
}

/// Waits until a process will answer nothing any more while another one takes calls, or is ready to.
async fn elsewhere(entry: &Entry, session: &Session) {
    session.silent.cancelled().await;
    let mut route = entry.route.clone();
    let other = |route: &Route| route.pick(&[session.label.instance]).is_some();
    if route.wait_for(other).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Callers that wait for a plugin to come up: as many as it will take once it is, so that nobody
/// waits only to be refused then.
#[derive(Debug)]
pub(crate) struct Waiting {
    all: Semaphore,
    /// How many of them may be plugins.
    plugins: Semaphore,
}

impl Waiting {
    /// What a manifest says that a plugin takes.
    pub(crate) fn new(manifest: &Manifest) -> Self {
        let Supervision { max_inflight, instances, .. } = manifest.supervision;
        let places = usize::try_from(u64::from(max_inflight) * u64::from(instances));
        let places = places.unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let plugins = (places - places / 4).max(1);
        Self { all: Semaphore::new(places), plugins: Semaphore::new(plugins) }
    }

    /// A place for the host or a plugin, if there is one.
    fn enter(&self, of_plugin: bool) -> Option<[Option<SemaphorePermit<'_>>; 2]> {
        let plugin = if of_plugin { Some(self.plugins.try_acquire().ok()?) } else { None };
        Some([plugin, Some(self.all.try_acquire().ok()?)])
    }
}

/// What is waited for, and how long.
#[derive(Debug, Clone, Copy)]
struct Wait<'w> {
    /// The instances that did not take the call.
    passed: &'w [InstanceId],
    idle: Duration,
    until: Instant,
    /// Whether it was sent before.
    again: bool,
}

/// Waits for an instance that did not turn the call away, waking an idle plugin; ends when there is no hope.
///
/// A start has a deadline of its own, so while one is under way the call's silence is not counted:
/// only its cap ends the wait. Between starts the caller's patience ends it, which is as long as the
/// call may be silent, and at least as long as a start may take.
async fn hope(directory: &Directory, entry: &Entry, wait: Wait<'_>) -> Result<(), CallErrorKind> {
    let mut route = entry.route.clone();
    let begun = clock::now();
    let patience = wait.idle.max(entry.edition().manifest().supervision.start_timeout);
    let patience = begun.checked_add(patience).map_or(wait.until, |due| due.min(wait.until));
    loop {
        let seen = route.borrow_and_update().clone();
        if seen.pick(wait.passed).is_some() {
            return Ok(());
        }
        if seen.state.is_woken_by_calls() {
            let wanted = directory.commands.send(Command::Wanted(entry.name.clone()));
            wanted.await.map_err(|_closed| CallErrorKind::ShuttingDown)?;
        } else if !seen.state.is_on_its_way_up() {
            return Err(down(&seen));
        }
        let due = if seen.state == State::Starting { wait.until } else { patience };
        tokio::select! {
            biased;
            changed = route.changed() => changed.map_err(|_closed| CallErrorKind::ShuttingDown)?,
            () = time::sleep_until(due.into()) => {
                let after = clock::now().saturating_duration_since(begun);
                return Err(CallErrorKind::DeadlineExceeded { after, which: Deadline::Start });
            }
        }
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
