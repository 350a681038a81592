//! What callers see of the table: who is there, and the route to whoever is up.
//!
//! The set of plugins is fixed when the host starts; the routes change. A route is read without
//! asking the table's task, so that a call costs no hop.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use plugbay_manifest::nearest;
use plugbay_protocol::handshake::{Hello, Peer};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::{
    edition::Edition,
    errand::Waiting,
    history::History,
    hold::Hold,
    ledger::{Ledger, Share},
    mould::Mould,
    service::Methods,
    status::PluginStatus,
    swap::{SwapStatus, Wanted},
};
use crate::{
    error::{CallError, CallErrorKind, ControlError},
    lifecycle::{
        identity::{Generation, InstanceId},
        slot::State,
    },
    plugin::{Counters, death::Death, session::Session},
};

/// Where calls to a plugin go now.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) state: State,
    /// The process that was started last.
    pub(crate) newest: Option<InstanceId>,
    /// Who answers: the active instances that are ready.
    pub(crate) sessions: Arc<[Arc<Session>]>,
    /// Who would: the spares that are ready, the next to be promoted first. A caller whom the active
    /// ones have turned away does not wait for the promotion.
    pub(crate) standby: Arc<[Arc<Session>]>,
    /// What one of them said of itself.
    pub(crate) hello: Option<Arc<Hello>>,
    /// Why it is in this state.
    pub(crate) reason: Arc<str>,
    /// The generation that answers, or would.
    pub(crate) edition: Arc<Edition>,
}

impl Route {
    /// Before anything is started.
    pub(crate) fn nowhere(state: State, edition: Arc<Edition>) -> Self {
        let (sessions, standby, reason) = (Arc::new([]), Arc::new([]), "".into());
        Self { state, newest: None, sessions, standby, hello: None, reason, edition }
    }

    /// Whom to call: of those that did not turn this call away before, the one with the fewest
    /// calls in flight. Among equals chance decides, so that each gets its share. If all of them
    /// did, the spare that is about to stand in for them.
    pub(crate) fn pick(&self, passed: &[InstanceId]) -> Option<&Arc<Session>> {
        let open = |session: &&Arc<Session>| !passed.contains(&session.label.instance);
        let active = match &*self.sessions {
            [] => None,
            [only] => Some(only).filter(open),
            several => {
                let (late, early) = several.split_at(fastrand::usize(..several.len()));
                early.iter().chain(late).filter(open).min_by_key(|session| session.busy())
            }
        };
        active.or_else(|| self.standby.iter().find(open))
    }

    /// Whether it leads to exactly these, and these would stand in for them.
    pub(crate) fn leads_to(&self, sessions: &[Arc<Session>], standby: &[Arc<Session>]) -> bool {
        let same = |ours: &[Arc<Session>], theirs: &[Arc<Session>]| {
            ours.len() == theirs.len()
                && ours.iter().zip(theirs).all(|(one, other)| Arc::ptr_eq(one, other))
        };
        same(&self.sessions, sessions) && same(&self.standby, standby)
    }
}

/// One plugin, as callers see it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: Arc<str>,
    pub(crate) route: watch::Receiver<Route>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) history: History,
    pub(crate) ledger: Ledger,
    /// What of its calls goes into the ledger.
    pub(crate) share: Share,
    pub(crate) waiting: Waiting,
    /// Notices that wait while nobody takes them.
    pub(crate) hold: Hold,
    pub(crate) used: Used,
}

impl Entry {
    /// The generation that answers, or would.
    pub(crate) fn edition(&self) -> Arc<Edition> {
        self.route.borrow().edition.clone()
    }
}

/// When a plugin was called last. Written by every call, read now and then.
#[derive(Debug)]
pub(crate) struct Used {
    epoch: Instant,
    nanos: AtomicU64,
}

impl Used {
    /// Never, so far.
    pub(crate) fn new(epoch: Instant) -> Self {
        Self { epoch, nanos: AtomicU64::new(0) }
    }

    /// It is called.
    pub(crate) fn note(&self, now: Instant) {
        let nanos = now.saturating_duration_since(self.epoch).as_nanos();
        self.nanos.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long ago that was.
    pub(crate) fn ago(&self, now: Instant) -> Duration {
        let last = Duration::from_nanos(self.nanos.load(Ordering::Relaxed));
        now.saturating_duration_since(self.epoch).saturating_sub(last)
    }
}

/// What the table's task is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// A call came for a plugin that waits for one.
    Wanted(Arc<str>),
    /// Start, stop or restart; answered when the slot has taken it.
    Control(Arc<str>, Wish, oneshot::Sender<()>),
    /// Exchange the version; answered when the slot has taken it. Nothing if there is no such plugin.
    Swap(Arc<str>, Box<Wanted>, oneshot::Sender<Option<watch::Receiver<SwapStatus>>>),
    /// Keep the new version, or go back to the old one.
    Decide { plugin: Arc<str>, to: Generation, keep: bool, reply: oneshot::Sender<()> },
    /// Say how everyone is.
    Status(oneshot::Sender<Vec<PluginStatus>>),
    /// Say how the processes of one ended, the last one last.
    Deaths(Arc<str>, oneshot::Sender<Vec<Arc<Death>>>),
    /// Stop everyone; answered when everyone is at rest.
    Shutdown(oneshot::Sender<()>),
}

/// What is wished of a plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Up,
    Down,
    Again,
}

/// Everything that callers, and the plugins' own questions, need.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) entries: HashMap<Arc<str>, Arc<Entry>>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) methods: Methods,
    pub(crate) host: Peer,
    pub(crate) mould: Mould,
    /// The plugins without which the host is not ready.
    pub(crate) required: Vec<Arc<str>>,
    /// Set when the host goes down.
    pub(crate) closing: CancellationToken,
}

impl Directory {
    /// The plugin that a call is for.
    pub(crate) fn find(&self, plugin: &str, method: &str) -> Result<&Arc<Entry>, CallError> {
        self.entries.get(plugin).ok_or_else(|| {
            let similar = self.similar(plugin);
            CallError::new(plugin, method, CallErrorKind::UnknownPlugin { similar })
        })
    }

    /// Asks the table's task something, and waits for the answer.
    pub(crate) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, ControlError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(command(reply)).await;
        sent.map_err(|_closed| ControlError::ShuttingDown)?;
        answer.await.map_err(|_closed| ControlError::ShuttingDown)
    }

    /// The known name that is closest to `wanted`, if one is close.
    fn similar(&self, wanted: &str) -> Option<String> {
        nearest(wanted, self.entries.keys().map(|name| &**name)).map(str::to_owned)
    }
}
