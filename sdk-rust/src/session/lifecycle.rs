//! The opening of a session and its end: `initialize`, `shutdown`, `exit`, and the host going away.

use super::{Job, Session, serving};
use crate::call::Call;
use crate::context::Context;
use crate::crew::{self, Step, Work as _};
use crate::error::Result;
use crate::method::guarded;
use crate::plugin::{Health, Hook};
use crate::table::{End, Phase};
use crate::{clock, lock, params};
use plugbay_protocol::handshake::{
    Hello, Initialize, Peer, WireLimits, feature, negotiate, unsupported,
};
use plugbay_protocol::meta::Meta;
use plugbay_protocol::notice::Level;
use plugbay_protocol::{Id, VERSION, limits, method};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::Duration;

/// Why and how far the session has ended.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    /// The host said `exit`, so nobody wants what is still running.
    told: bool,
    /// The stop hooks have run.
    stopped: bool,
}

const VERSIONS: &[u32] = &[VERSION];
const FEATURES: [&str; 5] =
    [feature::CANCEL, feature::DRAIN, feature::PING, feature::PROGRESS, feature::STREAMS];

/// How long calls may run on when the host has gone: what it asked may matter to others.
const DRAIN: Duration = Duration::from_millis(400);
/// How long they have to notice that they are cancelled. Together less than the second we may take.
const NOTICE: Duration = Duration::from_millis(300);

impl Session {
    /// Opens the session, now or, if there are hooks to run, by a job. `None`: answered already.
    pub(super) fn initialize(
        self: &Arc<Self>,
        id: Id<'static>,
        params: Option<&RawValue>,
    ) -> Option<Step<Self>> {
        let text = params.map(RawValue::get);
        let offer: Initialize = match params::read(text) {
            Ok(offer) => offer,
            Err(error) => {
                self.refuse(Some(&id), error.object());
                return None;
            }
        };
        let Some(version) = negotiate(VERSIONS, &offer.versions) else {
            self.refuse(Some(&id), &unsupported(VERSIONS, &offer.versions));
            return None;
        };
        self.adopt(offer);
        if self.plugin.on_start.is_empty() {
            self.open(&id, version, Ok(()));
            return None;
        }
        lock(&self.table).phase = Phase::Opening;
        Some(Step::Job(Job::Own(Box::new(move |session| {
            // The one token that needs no asking for.
            let token = Some(Id::from(method::INITIALIZE));
            let meta = Meta { progress_token: token, ..Meta::default() };
            let started = session.run_start_hooks(meta);
            session.open(&id, version, started);
            session.flush();
        }))))
    }

    fn adopt(&self, offer: Initialize) {
        let WireLimits { max_frame_bytes, max_inflight } = offer.limits;
        let frame = usize::try_from(max_frame_bytes).unwrap_or(usize::MAX);
        self.max_out.store(frame, Ordering::Relaxed);
        let accepted = frame.clamp(limits::MAX_FRAME, limits::MAX_FRAME_CEILING);
        self.max_in.store(accepted, Ordering::Relaxed);
        let inflight = usize::try_from(max_inflight).unwrap_or(usize::MAX).max(1);
        self.max_inflight.store(inflight, Ordering::Relaxed);
        self.crew.set_limit(inflight.min(self.plugin.threads));
        lock(&self.configs).clear();
        self.streams.agree(offer.features.contains(feature::STREAMS));
        *lock(&self.offer) = Arc::new(offer);
    }

    fn run_start_hooks(self: &Arc<Self>, meta: Meta) -> Result<()> {
        let call = Arc::new(Call::new(None, method::INITIALIZE.into(), meta));
        let context = Context { session: Arc::clone(self), call };
        self.plugin.on_start.iter().try_for_each(|hook| guarded(|| hook(&context)).flatten())
    }

    /// Answers `initialize`. The phase changes with the answer: no call is taken before it, none that
    /// follows it refused.
    fn open(self: &Arc<Self>, id: &Id<'_>, version: u32, started: Result<()>) {
        let mut table = lock(&self.table);
        match started {
            Ok(()) => {
                self.answer(id, &self.hello(version));
                table.phase = Phase::Open;
            }
            Err(error) => {
                self.refuse(Some(id), error.object());
                table.phase = Phase::New;
            }
        }
        drop(table);
        self.flush();
        // While the host reads that, so that its first call need not wait for it.
        crew::prepare(self);
    }

    fn hello(&self, version: u32) -> Hello {
        let plugin = &self.plugin;
        Hello {
            version,
            features: FEATURES
                .into_iter()
                .chain((!plugin.on_health.is_empty()).then_some(feature::HEALTH))
                .chain(plugin.state.is_some().then_some(feature::SNAPSHOT))
                .collect(),
            plugin: Peer { name: plugin.name.clone(), version: plugin.version.clone() },
            methods: plugin.methods.keys().cloned().collect(),
            subscribes: Vec::new(),
            publishes: Vec::new(),
        }
    }

    /// Takes no more calls; the answer comes when none is left.
    pub(super) fn shutdown(&self, id: Id<'static>) -> Step<Self> {
        match lock(&self.table).drain(End::Shutdown(id)) {
            Some(end) => Step::Job(serving::told(end)),
            None => Step::Nothing,
        }
    }

    /// A successor takes over: takes no more calls, and runs the hooks.
    pub(super) fn leave(&self, id: Id<'static>) -> Step<Self> {
        lock(&self.table).phase = Phase::Leaving;
        Step::Job(Job::Own(Box::new(move |session| {
            session.run_hooks(&session.plugin.on_drain, method::PLUGIN_DRAIN);
            let end = lock(&session.table).drain(End::Drain(id));
            if let Some(end) = end {
                session.run(serving::told(end));
            }
        })))
    }

    /// No call is left, and the successor may go on.
    pub(super) fn drained(self: &Arc<Self>, id: &Id<'_>) {
        self.answer(id, &());
    }

    /// Gives the plugin's state for the version that is to take over.
    pub(super) fn give_state(id: Id<'static>) -> Step<Self> {
        Step::Job(Job::Own(Box::new(move |session| {
            let Some(state) = &session.plugin.state else { return };
            match guarded(|| state.give()).flatten() {
                Ok(given) => {
                    session.answer(&id, &json!({"stateVersion": state.version(), "state": given}));
                }
                Err(error) => session.refuse(Some(&id), error.object()),
            }
            session.flush();
        })))
    }

    /// Takes the state of the version before this one.
    pub(super) fn take_state(id: Id<'static>, params: Option<&RawValue>) -> Step<Self> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Given {
            state_version: u64,
            state: Box<RawValue>,
        }
        let given = params::read::<Given>(params.map(RawValue::get));
        Step::Job(Job::Own(Box::new(move |session| {
            let Some(state) = &session.plugin.state else { return };
            let taken = given.and_then(|Given { state_version, state: given }| {
                guarded(|| state.take(state_version, &given)).flatten()
            });
            match taken {
                Ok(()) => session.answer(&id, &()),
                Err(error) => session.refuse(Some(&id), error.object()),
            }
            session.flush();
        })))
    }

    /// Says how the plugin is, from a thread that has nothing else to do.
    pub(super) fn tell_health(self: &Arc<Self>, id: Id<'static>) -> Step<Self> {
        let session = Arc::clone(self);
        let own = id.clone();
        let thread = thread::Builder::new().name("plugbay-health".to_owned());
        match thread.spawn(move || session.say_health(&own)) {
            Ok(_detached) => Step::Nothing,
            // A limit of the sandbox: in turn, then.
            Err(_) => Step::Job(Job::Own(Box::new(move |session| session.say_health(&id)))),
        }
    }

    fn say_health(self: &Arc<Self>, id: &Id<'_>) {
        let call = Arc::new(Call::new(None, method::PLUGIN_HEALTH.into(), Meta::default()));
        let context = Context { session: Arc::clone(self), call };
        let mut worse = Vec::new();
        let mut failed = None;
        for hook in &self.plugin.on_health {
            match guarded(|| hook(&context)).flatten() {
                Ok(Health::Ok) => {}
                Ok(Health::Degraded(what)) => worse.push(what),
                Err(error) => failed = Some(error.message().to_owned()),
            }
        }
        let answer = match failed {
            Some(message) => json!({"status": "failing", "message": message}),
            None if worse.is_empty() => json!({"status": "ok"}),
            None => json!({"status": "degraded", "message": worse.join("; ")}),
        };
        self.answer(id, &answer);
        self.flush();
    }

    fn run_hooks(self: &Arc<Self>, hooks: &[Hook], why: &str) {
        let call = Arc::new(Call::new(None, why.into(), Meta::default()));
        let context = Context { session: Arc::clone(self), call };
        for hook in hooks {
            if let Err(error) = guarded(|| hook(&context)).flatten() {
                let fields = to_raw_value(error.message()).map(|text| ("error", text));
                let fields = BTreeMap::from_iter(fields);
                self.log(Level::Error, &format!("a hook of `{why}` failed"), &fields);
            }
        }
    }

    /// No call is left: puts the plugin's things away and says so.
    pub(super) fn stopped(self: &Arc<Self>, id: &Id<'_>) {
        self.run_stop_hooks();
        self.answer(id, &());
    }

    fn run_stop_hooks(self: &Arc<Self>) {
        if std::mem::replace(&mut lock(&self.leaving).stopped, true) {
            return;
        }
        self.run_hooks(&self.plugin.on_stop, method::SHUTDOWN);
    }

    /// There is nothing more to read: because we were told to leave, or because the host has gone.
    pub(super) fn over(&self, told: bool) -> Step<Self> {
        lock(&self.leaving).told = told;
        self.outbox.close();
        self.streams.close();
        Step::End
    }

    /// Lets calls finish, then cancels them, then gives up on them.
    pub(super) fn wind_up(self: &Arc<Self>) {
        if !lock(&self.leaving).told {
            self.wait_until_empty(DRAIN);
        }
        // What nobody cancelled is not answered as cancelled.
        self.writer.close();
        for call in lock(&self.table).inflight() {
            call.cancel();
        }
        self.wait_until_empty(NOTICE);
        if lock(&self.table).phase != Phase::New {
            self.run_stop_hooks();
        }
        if self.crew.is_home_busy() {
            (self.abandon)(0);
        }
    }

    fn wait_until_empty(&self, patience: Duration) -> bool {
        let Some(deadline) = clock::now().checked_add(patience) else { return false };
        let mut table = lock(&self.table);
        while !table.is_empty() {
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.emptied.wait_timeout(table, left);
            table = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
