//! The host's end of the conversation with one process: calls out, notices out, and who waits.
//!
//! What it is not: the reading side (`reader`), the answering side (`inbound`), or the life of the
//! process (`instance`). A call is one future and no task: the caller writes, sleeps on its own
//! deadline, and is woken once, by the reader.

mod terms;

use std::{
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use plugbay_manifest::IgnoredCancel;
use plugbay_protocol::{
    Code, ErrorObject, Id, Origin, limits,
    meta::Meta,
    method,
    notice::{Cancel, Progress},
    write,
};
use serde_json::value::RawValue;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::terms::length;
pub(crate) use self::terms::{Answer, Call, Chain, Failure, Manners, Settings, Tally, Trace};
use super::{
    Counters, Label,
    calls::{CallId, Calls, Refusal},
    count,
    death::{Cause, Ending, InFlight},
    inbound::{Inbox, Services},
    lock,
    outbound::{Bound, Frame, Outbound, SendError},
    probe::Probe,
    stream::{Outgoing, Streams},
};
use crate::{clock, link::Meter, log::LogSink};

/// What a caller waits with.
#[derive(Debug)]
pub(crate) struct Waiter {
    answer: oneshot::Sender<Reply>,
    method: Arc<str>,
    since: Instant,
    progress: Option<mpsc::Sender<Progress>>,
    progressed: Option<Instant>,
    /// Progress notices so far.
    notices: u64,
    chain: Option<Arc<Chain>>,
    until: Instant,
    /// Calls made on behalf of this one; they end with it.
    children: Vec<CancellationToken>,
}

/// What wakes a caller.
#[derive(Debug)]
struct Reply {
    answer: Answer,
    notices: u64,
}

/// The conversation with one process.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) label: Label,
    pub(crate) settings: Settings,
    pub(crate) counters: Arc<Counters>,
    pub(crate) sink: LogSink,
    pub(crate) outbound: Outbound,
    pub(crate) inbox: Inbox,
    pub(crate) probe: Probe,
    pub(crate) services: Arc<dyn Services>,
    /// Set when the handshake is done; only then may the plugin ask.
    pub(crate) greeted: AtomicBool,
    /// Tasks that answer the plugin.
    pub(crate) tasks: TaskTracker,
    /// The process is gone; whatever was done for it may stop.
    pub(crate) over: CancellationToken,
    /// The process is gone and what it had written is read: no answer comes any more, though why is
    /// not known yet.
    pub(crate) silent: CancellationToken,
    pub(crate) streams: Streams,
    /// Both sides named the feature.
    streaming: AtomicBool,
    me: Weak<Self>,
    calls: Mutex<Calls<Waiter>>,
    meter: Meter,
    /// How many calls occupy the plugin, for callers who compare; written under the lock of `calls`.
    busy: AtomicUsize,
    quiet: Notify,
    sentence: Mutex<Option<Cause>>,
    sentenced: Notify,
}

/// What a session is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) label: Label,
    pub(crate) settings: Settings,
    pub(crate) counters: Arc<Counters>,
    pub(crate) sink: LogSink,
    pub(crate) services: Arc<dyn Services>,
}

impl Session {
    /// A session over the plugin's stdin.
    pub(crate) fn new(parts: Parts, outbound: Outbound, meter: Meter) -> Arc<Self> {
        // Where ignoring a cancellation is punished, its place is not given up meanwhile.
        let grace = match parts.settings.ignored_cancel {
            IgnoredCancel::Kill => limits::CANCEL_GRACE * 4,
            IgnoredCancel::Leave => limits::CANCEL_GRACE,
        };
        let calls = Calls::new(parts.settings.max_in_flight, grace);
        Arc::new_cyclic(|me| Self {
            label: parts.label,
            settings: parts.settings,
            counters: parts.counters,
            sink: parts.sink,
            outbound,
            inbox: Inbox::default(),
            probe: Probe::default(),
            services: parts.services,
            greeted: AtomicBool::new(false),
            tasks: TaskTracker::new(),
            over: CancellationToken::new(),
            silent: CancellationToken::new(),
            streams: Streams::default(),
            streaming: AtomicBool::new(false),
            me: me.clone(),
            calls: Mutex::new(calls),
            meter,
            busy: AtomicUsize::new(0),
            quiet: Notify::new(),
            sentence: Mutex::new(None),
            sentenced: Notify::new(),
        })
    }

    /// Makes a call and waits for its one answer. Dropping the future cancels the call.
    pub(crate) async fn call(&self, call: Call<'_>) -> Result<Box<RawValue>, Failure> {
        let name = call.method.into();
        self.call_counted(call, name, clock::now(), &mut Tally::default()).await
    }

    /// The same, with a tally of what went back and forth. The method's name is taken as its caller
    /// keeps it and the time as its caller has it, so that no call makes a copy or looks twice.
    pub(crate) async fn call_counted(
        &self,
        call: Call<'_>,
        name: Arc<str>,
        now: Instant,
        tally: &mut Tally,
    ) -> Result<Box<RawValue>, Failure> {
        let (answer, answered) = oneshot::channel();
        let waiter = Waiter {
            answer,
            method: name,
            since: now,
            progress: call.progress.clone(),
            progressed: None,
            notices: 0,
            chain: call.chain.clone(),
            until: call.until,
            children: Vec::new(),
        };
        let caller = call.chain.as_ref().and_then(|chain| chain.plugins.last().cloned());
        let id = self.take(caller, waiter, now).map_err(|refusal| {
            let what = match refusal {
                Refusal::Full => "as many calls are in flight as it takes",
                Refusal::Share => "plugins have as many calls in flight as it takes of plugins",
                Refusal::Closed => return Failure::NotSent,
            };
            count(&self.counters.overloaded);
            Failure::Overloaded(what)
        })?;
        let must_end = self.settings.ignored_cancel == IgnoredCancel::Kill
            && !method::is_reserved(call.method);
        let mut hold = Hold { session: self, id, stage: Stage::Unsent, notices: 0, must_end };
        let (params, outgoing) = self.load(id, &call)?;
        let frame = self.request(id, &call, params.as_deref().or(call.params), now)?;
        tally.sent += length(&frame.bytes);
        let reading = if tally.metered { self.read_alone() } else { None };
        let sent = self.outbound.send(frame, Bound::Counted).map_err(|error| match error {
            SendError::Full => {
                count(&self.counters.overloaded);
                Failure::Overloaded("it does not read, and the queue to it is full")
            }
            SendError::Closed => Failure::NotSent,
        });
        if let Err(failure) = sent {
            if let Some(luggage) = call.luggage {
                lock(&luggage.sources).extend(outgoing.undo());
            }
            return Err(failure);
        }
        count(&self.counters.calls);
        hold.stage = Stage::Sent;
        // The streams of the parameters end with the call, however it ends.
        let lasting = outgoing.start_guarded();
        let outcome = self.wait(&mut hold, answered, &call, now).await;
        tally.cpu = reading.and_then(|before| self.used_alone(before));
        tally.note(&outcome, hold.notices);
        if outcome.is_err() {
            count(&self.counters.failed);
        } else if let (Some(luggage), Some(lasting)) = (call.luggage, lasting) {
            for intake in lock(&luggage.received).iter_mut() {
                intake.call = Some(lasting.clone());
            }
        }
        outcome
    }

    /// Processor time so far, if there is only one call that the plugin can be at work for; and how
    /// many there have been.
    fn read_alone(&self) -> Option<(u64, Duration)> {
        let taken = {
            let calls = lock(&self.calls);
            (calls.in_flight() <= 1).then(|| calls.taken())
        };
        Some((taken?, self.meter.read()?))
    }

    /// Processor time since `before`, if no other call has come in between.
    fn used_alone(&self, before: (u64, Duration)) -> Option<Duration> {
        let (taken, used) = before;
        (lock(&self.calls).taken() == taken).then(|| self.meter.read()?.checked_sub(used)).flatten()
    }

    /// Takes the streams of the parameters aboard. What it gives stands for the call's own text.
    fn load(
        &self,
        id: CallId,
        call: &Call<'_>,
    ) -> Result<(Option<Box<RawValue>>, Outgoing), Failure> {
        let nothing = (None, Outgoing::default());
        if call.luggage.is_none() && !self.has_streams() {
            return Ok(nothing);
        }
        let (Some(params), Some(me)) = (call.params, self.me.upgrade()) else {
            return Ok(nothing);
        };
        let referred = match call.luggage {
            Some(luggage) => me.refer(params, &mut lock(&luggage.sources), Some(id)),
            None => me.refer(params, &mut Vec::new(), None),
        };
        let referred = referred.map_err(Failure::Unwritable)?;
        Ok(referred.map_or(nothing, |(params, outgoing)| (Some(params), outgoing)))
    }

    async fn wait(
        &self,
        hold: &mut Hold<'_>,
        mut answered: oneshot::Receiver<Reply>,
        call: &Call<'_>,
        started: Instant,
    ) -> Result<Box<RawValue>, Failure> {
        let first = earlier(started, call.idle, call.until);
        let sleep = time::sleep_until(first.into());
        tokio::pin!(sleep);
        let mut cancelling = false;
        loop {
            tokio::select! {
                biased;
                reply = &mut answered => {
                    hold.stage = Stage::Answered;
                    hold.notices = reply.as_ref().map_or(0, |reply| reply.notices);
                    return self.judge(reply.map(|reply| reply.answer), call, cancelling);
                }
                () = cancelled(call.cancel), if !cancelling => {
                    cancelling = true;
                    if self.outbound.recall(hold.id) {
                        hold.stage = Stage::Unsent;
                        return Err(Failure::Cancelled);
                    }
                    hold.cancel("caller");
                    let grace = clock::now() + limits::CANCEL_GRACE;
                    sleep.as_mut().reset(grace.min(call.until).into());
                }
                () = &mut sleep => {
                    let now = clock::now();
                    let last = self.progressed(hold.id).unwrap_or(started);
                    let due = earlier(last, call.idle, call.until);
                    if !cancelling && due > now {
                        sleep.as_mut().reset(due.into());
                        continue;
                    }
                    if cancelling {
                        hold.abandon(None);
                        return Err(Failure::Cancelled);
                    }
                    hold.abandon(Some("deadline"));
                    let after = now.saturating_duration_since(started);
                    return Err(Failure::Deadline { idle: now < call.until, after });
                }
            }
        }
    }

    /// What an answer means to the caller.
    fn judge(
        &self,
        answer: Result<Answer, oneshot::error::RecvError>,
        call: &Call<'_>,
        cancelling: bool,
    ) -> Result<Box<RawValue>, Failure> {
        match answer {
            Ok(Answer::Result(result, streams)) => match call.luggage {
                Some(luggage) => {
                    *lock(&luggage.received) = streams;
                    Ok(result)
                }
                None if streams.is_empty() => Ok(result),
                None => Err(Failure::Streamed),
            },
            Ok(Answer::Error(error))
                if cancelling && error.known_code() == Some(Code::RequestCancelled) =>
            {
                Err(Failure::Cancelled)
            }
            Ok(Answer::Error(error)) => Err(Failure::Plugin(disown(error))),
            Ok(Answer::TooLarge) => Err(Failure::AnswerTooLarge),
            Ok(Answer::Garbled(what)) => Err(Failure::Garbled(what)),
            Ok(Answer::Lost { sent: false, .. }) if cancelling => Err(Failure::Cancelled),
            Ok(Answer::Lost { sent: false, .. }) => Err(Failure::NotSent),
            Ok(Answer::Lost { ending, sent: true }) => Err(Failure::Lost(ending)),
            Err(_closed) => Err(Failure::Lost(Ending::unknown())),
        }
    }

    fn request(
        &self,
        id: CallId,
        call: &Call<'_>,
        params: Option<&RawValue>,
        now: Instant,
    ) -> Result<Frame, Failure> {
        let length = params.map_or(0, |params| params.get().len());
        let mut bytes = Vec::with_capacity(length + call.method.len() + 160);
        let meta = match self.settings.manners {
            Manners::Plain => Meta::default(),
            Manners::Plugbay => self.meta(id, call, now),
        };
        write::request_with_meta(&mut bytes, id.number(), call.method, &params, &meta)
            .map_err(|error| Failure::Unwritable(error.to_string()))?;
        if bytes.len() > self.settings.max_frame {
            return Err(Failure::RequestTooLarge(bytes.len()));
        }
        self.settings.framing.close(&mut bytes, 0);
        Ok(Frame { bytes, call: Some(id) })
    }

    fn meta(&self, id: CallId, call: &Call<'_>, now: Instant) -> Meta {
        let given = call.idle.min(call.until.saturating_duration_since(now));
        Meta {
            deadline_ms: u64::try_from(given.as_millis()).ok(),
            call_id: Some(id.number().to_string()),
            progress_token: i64::try_from(id.number()).ok().map(Id::Number),
            traceparent: call.trace.traceparent.clone(),
            idempotency_key: call.trace.idempotency_key.clone(),
        }
    }

    /// Sends a notification.
    pub(crate) fn notify(
        &self,
        method: &str,
        params: &(impl serde::Serialize + ?Sized),
    ) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        write::notification(&mut bytes, method, params)
            .map_err(|error| Failure::Unwritable(error.to_string()))?;
        if bytes.len() > self.settings.max_frame {
            return Err(Failure::RequestTooLarge(bytes.len()));
        }
        self.settings.framing.close(&mut bytes, 0);
        self.outbound.send(Frame { bytes, call: None }, Bound::Counted).map_err(|error| match error
        {
            SendError::Full => Failure::Overloaded("it does not read, and the queue to it is full"),
            SendError::Closed => Failure::NotSent,
        })
    }

    /// Tells the plugin that an answer is no longer wanted.
    fn cancel_notice(&self, id: CallId, reason: &str) {
        let Ok(number) = i64::try_from(id.number()) else { return };
        if self.settings.manners == Manners::Plain {
            return;
        }
        let cancel = Cancel { id: Id::Number(number), reason: Some(reason.to_owned()) };
        let mut bytes = Vec::new();
        if write::notification(&mut bytes, method::CANCEL, &cancel).is_ok() {
            self.settings.framing.close(&mut bytes, 0);
            // A plugin that is gone needs no notice.
            self.outbound.send(Frame { bytes, call: None }, Bound::Exempt).ok();
        }
    }

    /// A plugin that has been told to stop a call, and whose caller is answered, is given a grace,
    /// and then killed.
    fn expect_an_end(&self, id: CallId) {
        let Some(me) = self.me.upgrade() else { return };
        let session = me.clone();
        me.tasks.spawn(async move {
            let grace = time::sleep(limits::CANCEL_GRACE);
            if session.over.run_until_cancelled(grace).await.is_some()
                && lock(&session.calls).is_owed(id)
            {
                session.condemn(Cause::CancelIgnored);
            }
        });
    }

    fn progressed(&self, id: CallId) -> Option<Instant> {
        lock(&self.calls).get_mut(id).and_then(|waiter| waiter.progressed)
    }

    /// Gives an answer to whoever waits for it; says what became of it.
    pub(crate) fn answer(&self, id: CallId, answer: Answer) -> super::calls::Claim<()> {
        use super::calls::Claim;
        let (claim, quiet) = {
            let mut calls = lock(&self.calls);
            let claim = calls.complete(id);
            self.busy.store(calls.in_flight(), Ordering::Relaxed);
            (claim, calls.in_flight() == 0)
        };
        if quiet {
            self.quiet.notify_waiters();
        }
        match claim {
            Claim::Waiting(waiter) => {
                waiter.tell(answer);
                Claim::Waiting(())
            }
            Claim::Abandoned => Claim::Abandoned,
            Claim::Stale => Claim::Stale,
            Claim::Unknown => Claim::Unknown,
        }
    }

    /// Notes progress, which resets the idle deadline, and passes it on to who asked for it. One
    /// who does not keep up misses some.
    pub(crate) fn progress(&self, id: CallId, progress: impl FnOnce() -> Option<Progress>) -> bool {
        let mut calls = lock(&self.calls);
        let Some(waiter) = calls.get_mut(id) else { return false };
        waiter.progressed = Some(clock::now());
        waiter.notices += 1;
        if let Some(listener) = &waiter.progress
            && let Some(progress) = progress()
        {
            listener.try_send(progress).ok();
        }
        true
    }

    /// What flows down to a call that the plugin makes on behalf of `id`; `None` if that call is
    /// over. `token` is cancelled when it ends otherwise than by an answer.
    pub(crate) fn adopt(&self, id: CallId, token: &CancellationToken) -> Option<Chain> {
        let mut calls = lock(&self.calls);
        let waiter = calls.get_mut(id)?;
        waiter.children.push(token.clone());
        let mut plugins =
            waiter.chain.as_ref().map_or_else(Vec::new, |chain| chain.plugins.clone());
        plugins.push(self.label.plugin.clone());
        Some(Chain { plugins, until: waiter.until })
    }

    /// The same for a call that the plugin does not name, if there is only one that it can mean.
    pub(crate) fn adopt_only(&self, token: &CancellationToken) -> Option<Chain> {
        let only = lock(&self.calls).only()?;
        self.adopt(only, token)
    }

    fn take(
        &self,
        caller: Option<Arc<str>>,
        waiter: Waiter,
        now: Instant,
    ) -> Result<CallId, Refusal> {
        let mut calls = lock(&self.calls);
        let taken = calls.insert(caller, waiter, now);
        self.busy.store(calls.in_flight(), Ordering::Relaxed);
        drop(calls);
        self.probe.called.ring();
        taken.map_err(|(refusal, _waiter)| refusal)
    }

    fn forget(&self, id: CallId) {
        let mut calls = lock(&self.calls);
        drop(calls.remove(id));
        self.busy.store(calls.in_flight(), Ordering::Relaxed);
    }

    /// Calls that occupy the plugin, as far as that can be said without a lock.
    pub(crate) fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    /// Calls that somebody waits for.
    pub(crate) fn waiting(&self) -> usize {
        lock(&self.calls).waiting()
    }

    /// Calls that occupy the plugin.
    pub(crate) fn in_flight(&self) -> usize {
        lock(&self.calls).in_flight()
    }

    /// Waits until nobody waits for an answer.
    pub(crate) async fn quiet(&self) {
        loop {
            let quiet = self.quiet.notified();
            tokio::pin!(quiet);
            quiet.as_mut().enable();
            if lock(&self.calls).waiting() == 0 && self.streams.is_empty() {
                return;
            }
            quiet.await;
        }
    }

    /// A stream is over: perhaps all is quiet now.
    pub(crate) fn hush(&self) {
        self.quiet.notify_waiters();
    }

    /// Whether both sides know streams.
    pub(crate) fn has_streams(&self) -> bool {
        self.streaming.load(Ordering::Relaxed)
    }

    /// Both sides know streams.
    pub(crate) fn allow_streams(&self) {
        self.streaming.store(true, Ordering::Relaxed);
    }

    /// The process has broken the rules and is to be killed. The first sentence counts.
    pub(crate) fn condemn(&self, cause: Cause) {
        lock(&self.sentence).get_or_insert(cause);
        self.sentenced.notify_one();
    }

    /// Waits for a sentence.
    pub(crate) async fn condemned(&self) -> Cause {
        loop {
            let sentenced = self.sentenced.notified();
            if let Some(cause) = lock(&self.sentence).clone() {
                return cause;
            }
            sentenced.await;
        }
    }

    /// The process is gone: everyone who waits is told why, at once. Says who did.
    pub(crate) fn end(&self, ending: &Arc<Ending>) -> Vec<InFlight> {
        self.over.cancel();
        self.tasks.close();
        let unsent = self.outbound.shut();
        self.streams.end(ending);
        let mut calls = lock(&self.calls);
        let now = clock::now();
        let mut lost = Vec::new();
        for id in unsent {
            if let Some(waiter) = calls.remove(id) {
                waiter.tell(Answer::Lost { ending: ending.clone(), sent: false });
            }
        }
        for waiter in calls.close() {
            let age = now.saturating_duration_since(waiter.since);
            lost.push(InFlight { method: InFlight::name(&waiter.method), age });
            waiter.tell(Answer::Lost { ending: ending.clone(), sent: true });
        }
        self.busy.store(0, Ordering::Relaxed);
        drop(calls);
        self.quiet.notify_waiters();
        lost
    }
}

impl Waiter {
    /// Wakes the caller. One who has just gone away is no fault of the plugin.
    fn tell(self, answer: Answer) {
        self.answer.send(Reply { answer, notices: self.notices }).ok();
    }

    fn cancel_children(&self) {
        for child in &self.children {
            child.cancel();
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Unsent,
    Sent,
    Cancelled,
    Answered,
}

/// A call's place in the slab, given back however the caller leaves.
#[derive(Debug)]
struct Hold<'s> {
    session: &'s Session,
    id: CallId,
    stage: Stage,
    /// Progress notices that came, once that is known.
    notices: u64,
    /// Whether the plugin is killed if it does not stop when told to.
    must_end: bool,
}

impl Hold<'_> {
    /// Asks the plugin to stop; its answer is still waited for.
    fn cancel(&mut self, reason: &str) {
        self.stage = Stage::Cancelled;
        self.session.cancel_notice(self.id, reason);
        let mut calls = lock(&self.session.calls);
        if let Some(waiter) = calls.get_mut(self.id) {
            waiter.cancel_children();
        }
    }

    /// The caller is answered by us; the plugin is told unless it was before, or answers nobody any
    /// more.
    fn abandon(&mut self, notice: Option<&str>) {
        self.stage = Stage::Answered;
        let abandoned = lock(&self.session.calls).abandon(self.id, clock::now());
        if let Some(waiter) = abandoned {
            self.notices = waiter.notices;
            waiter.cancel_children();
            self.session.quiet.notify_waiters();
            if notice.is_some() && self.session.outbound.recall(self.id) {
                self.session.forget(self.id);
                return;
            }
            if self.session.silent.is_cancelled() {
                return;
            }
            if let Some(reason) = notice {
                self.session.cancel_notice(self.id, reason);
            }
            if self.must_end {
                self.session.expect_an_end(self.id);
            }
        }
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        match self.stage {
            Stage::Unsent => {
                self.session.forget(self.id);
                self.session.quiet.notify_waiters();
            }
            Stage::Sent => self.abandon(Some("caller")),
            Stage::Cancelled => self.abandon(None),
            Stage::Answered => {}
        }
    }
}

fn earlier(from: Instant, idle: Duration, until: Instant) -> Instant {
    from.checked_add(idle).map_or(until, |due| due.min(until))
}

async fn cancelled(token: Option<&CancellationToken>) {
    match token {
        Some(token) => token.cancelled().await,
        None => std::future::pending().await,
    }
}

/// A plugin's error, without the claim that the host made it.
fn disown(error: ErrorObject) -> ErrorObject {
    match error.details() {
        Some(mut details) if details.origin == Origin::Host => {
            details.origin = Origin::Plugin;
            error.with_details(&details)
        }
        Some(_) | None => error,
    }
}
