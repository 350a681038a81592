//! The host: what an embedder holds.

use std::sync::Arc;

use plugbay_manifest::{Package, Skipped};
use plugbay_sandbox::Enforcement;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{broadcast, watch};
use tokio_util::sync::DropGuard;

use super::{
    builder::HostBuilder,
    call::{CallBuilder, typed},
    directory::{Command, Directory, Entry, Route, Wish},
    errand::{Errand, down},
    event::{Event, Events},
    hold::Kept,
    ledger::{Ledger, StoreStatus},
    report::CallReport,
    status::{Missing, Muster, PluginStatus, Readiness},
    swap::SwapBuilder,
};
use crate::{
    clock,
    error::{CallError, CallErrorKind, ControlError},
    lifecycle::slot::{Hope, State},
    plugin::{death::Death, session::Failure},
};

/// A running host of plugins. Cheap to clone; when the last clone is dropped, every plugin is
/// killed. [`shutdown`](Self::shutdown) stops them politely.
#[derive(Debug, Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: Arc<Directory>,
    news: News,
    skipped: Vec<Skipped>,
    ledger: Ledger,
    /// Dropped with the last clone; the table's task then ends everything.
    _hold: DropGuard,
}

/// What the table's task tells without being asked.
#[derive(Debug)]
pub(crate) struct News {
    pub(crate) events: broadcast::WeakSender<Event>,
    pub(crate) muster: watch::Receiver<Muster>,
}

impl Host {
    pub(crate) fn new(
        directory: Arc<Directory>,
        news: News,
        skipped: Vec<Skipped>,
        ledger: Ledger,
        hold: DropGuard,
    ) -> Self {
        Self { inner: Arc::new(Inner { directory, news, skipped, ledger, _hold: hold }) }
    }

    /// A host to be configured and started.
    #[must_use]
    pub fn builder() -> HostBuilder {
        HostBuilder::new()
    }

    /// Calls a method and reads its result.
    ///
    /// A plugin that is starting, or restarting after a crash, is waited for, within the call's
    /// deadline. A call that was sent to a process that then ended is sent once more if its method
    /// is declared `idempotent`; any other fails with [`CallErrorKind::Crashed`] and is never
    /// silently repeated.
    ///
    /// # Errors
    /// See [`CallErrorKind`].
    pub async fn call<P, R>(&self, plugin: &str, method: &str, params: &P) -> Result<R, CallError>
    where
        P: Serialize + ?Sized,
        R: DeserializeOwned,
    {
        let params = written(plugin, method, params)?;
        let errand = Errand::new(plugin, method, Some(&params));
        typed(plugin, method, &errand.run(&self.inner.directory).await?)
    }

    /// Calls a method with parameters that are JSON already; the result is not read either.
    ///
    /// # Errors
    /// See [`CallErrorKind`].
    pub async fn call_raw(
        &self,
        plugin: &str,
        method: &str,
        params: Option<&RawValue>,
    ) -> Result<Box<RawValue>, CallError> {
        Errand::new(plugin, method, params).run(&self.inner.directory).await
    }

    /// A call with a deadline, progress or cancellation of its own.
    pub fn call_with<'h>(&'h self, plugin: &'h str, method: &'h str) -> CallBuilder<'h> {
        CallBuilder::new(&self.inner.directory, plugin, method)
    }

    /// Sends a notification to a plugin that is up. There is no answer, and no waiting. While one
    /// version hands over to another, a thousand of them are kept, and go to whoever answers next.
    ///
    /// # Errors
    /// When the plugin is unknown or not up, or does not read.
    pub fn notify(
        &self,
        plugin: &str,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<(), CallError> {
        let entry = self.inner.directory.find(plugin, method)?;
        let fail = |kind| CallError::new(plugin, method, kind);
        entry.used.note(clock::now());
        let mut route = entry.route.borrow().clone();
        if route.pick(&[]).is_none() {
            let params = written(plugin, method, params)?;
            match entry.hold.keep(method, &params) {
                Kept::Yes => return Ok(()),
                Kept::Full => {
                    let what = "as many notices wait for another version as may";
                    return Err(fail(CallErrorKind::Overloaded { what }));
                }
                // Somebody may have come up this very moment.
                Kept::Closed => route = entry.route.borrow().clone(),
            }
        }
        let Some(session) = route.pick(&[]) else { return Err(fail(down(&route))) };
        session.notify(method, params).map_err(|failure| {
            fail(match failure {
                Failure::Overloaded(what) => CallErrorKind::Overloaded { what },
                Failure::Unwritable(what) => CallErrorKind::InvalidParams(what),
                Failure::RequestTooLarge(bytes) => {
                    CallErrorKind::FrameTooLarge { what: format!("{bytes} bytes") }
                }
                Failure::NotSent
                | Failure::Deadline { .. }
                | Failure::Cancelled
                | Failure::AnswerTooLarge
                | Failure::Garbled(_)
                | Failure::Streamed
                | Failure::Lost(_)
                | Failure::Plugin(_) => down(&route),
            })
        })
    }

    /// How every plugin is, by name.
    pub async fn plugins(&self) -> Vec<PluginStatus> {
        self.inner.directory.ask(Command::Status).await.unwrap_or_default()
    }

    /// How one plugin is.
    pub async fn plugin(&self, plugin: &str) -> Option<PluginStatus> {
        self.plugins().await.into_iter().find(|status| *status.name == *plugin)
    }

    /// How far the plugins are that start with the host: so many up, of so many. Changes are told
    /// as [`EventKind::Mustered`](super::EventKind::Mustered).
    #[must_use]
    pub fn muster(&self) -> Muster {
        *self.inner.news.muster.borrow()
    }

    /// The directories that looked like plugins and were not taken, with the reason.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.inner.skipped
    }

    /// What was really enforced on the plugin's present process, or its last.
    pub async fn enforcement(&self, plugin: &str) -> Option<Arc<Enforcement>> {
        self.plugin(plugin).await?.enforcement
    }

    /// How the plugin's last processes ended, the last one last.
    pub async fn deaths(&self, plugin: &str) -> Vec<Arc<Death>> {
        self.inner
            .directory
            .ask(|reply| Command::Deaths(plugin.into(), reply))
            .await
            .unwrap_or_default()
    }

    /// How the store does that this host writes; `None` if it was given none.
    #[must_use]
    pub fn store(&self) -> Option<StoreStatus> {
        self.inner.ledger.status()
    }

    /// How the last calls of a plugin went, the last one last: at most 128, without their results.
    /// Empty for a plugin that is not there.
    #[must_use]
    pub fn history(&self, plugin: &str) -> Vec<CallReport> {
        let entry = self.inner.directory.entries.get(plugin);
        entry.map_or_else(Vec::new, |entry| {
            entry.history.reports(&entry.name, clock::now(), clock::wall())
        })
    }

    /// Follows what happens to plugins from now on.
    #[must_use]
    pub fn subscribe(&self) -> Events {
        let receiver = match self.inner.news.events.upgrade() {
            Some(sender) => sender.subscribe(),
            None => broadcast::channel(1).1,
        };
        Events::new(receiver)
    }

    /// Starts a plugin and waits until it takes calls. Ends backoff and quarantine; the plugin's
    /// past failures no longer count.
    ///
    /// # Errors
    /// When it is unknown, or did not come up at the first attempt.
    pub async fn start_plugin(&self, plugin: &str) -> Result<(), ControlError> {
        self.control(plugin, Wish::Up, up).await
    }

    /// Stops a plugin and waits until nothing of it runs: calls in flight may finish, then it is
    /// asked to shut down, then made to. A second stop meanwhile goes straight to SIGTERM, a third
    /// to the kill.
    ///
    /// # Errors
    /// When it is unknown, the kernel cannot kill it, or somebody started it again meanwhile.
    pub async fn stop_plugin(&self, plugin: &str) -> Result<(), ControlError> {
        self.control(plugin, Wish::Down, |name, route| {
            match route.state {
                State::Idle | State::Failed | State::Stopped => Some(Ok(())),
                State::Stopping | State::Resting | State::Crashed => None,
                State::Fenced => Some(Err(ControlError::Fenced(name.to_owned()))),
                // A stop that was taken leads to none of these: something came after it.
                State::Waiting(_)
                | State::Starting
                | State::Running
                | State::Degraded
                | State::Restarting
                | State::Backoff { .. }
                | State::Quarantined { .. } => Some(Err(ControlError::Overtaken(name.to_owned()))),
            }
        })
        .await
    }

    /// Stops a plugin and starts it again, and waits until it takes calls.
    ///
    /// # Errors
    /// When it is unknown, or did not come up.
    pub async fn restart_plugin(&self, plugin: &str) -> Result<(), ControlError> {
        let before = self.entry(plugin)?.route.borrow().newest;
        self.control(plugin, Wish::Again, |name, route| {
            let settled = route.newest > before || route.state.is_at_rest();
            if settled { up(name, route) } else { None }
        })
        .await
    }

    /// Another version, or configuration, of a plugin takes the place of the one that runs, and no call
    /// is lost: the new one is started beside the old one and answers from the moment that it is
    /// ready; the old one finishes what it has begun, and stands by for a while in case that the new
    /// one fails.
    pub fn swap<'h>(&'h self, plugin: &'h str, package: Package) -> SwapBuilder<'h> {
        SwapBuilder::new(&self.inner.directory, plugin, package)
    }

    /// Waits until every plugin has either come up or failed to, at least once. Plugins that are
    /// started by their first call are not waited for.
    pub async fn settled(&self) {
        for entry in self.inner.directory.entries.values() {
            let mut route = entry.route.clone();
            let name = &entry.name;
            let settled = |route: &Route| up(name, route).is_some();
            // A closed route has settled for good.
            drop(route.wait_for(settled).await);
        }
    }

    /// Whether every plugin that was [required](HostBuilder::required) takes calls, or would if one
    /// came. A host that is not ready goes on as well as it can: nothing is stopped or refused.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let directory = &self.inner.directory;
        let missing: Vec<Missing> = directory
            .required
            .iter()
            .filter_map(|name| {
                let route = directory.entries.get(name)?.route.borrow();
                let there = !route.sessions.is_empty() || route.state.is_woken_by_calls();
                let (state, reason) = (route.state.name(), route.reason.clone());
                (!there).then(|| Missing { plugin: name.clone(), state, reason })
            })
            .collect();
        Readiness { ready: missing.is_empty(), missing }
    }

    /// Stops every plugin and waits until nothing runs. Calls made from now on fail.
    pub async fn shutdown(&self) {
        // An error says that it is done already.
        self.inner.directory.ask(Command::Shutdown).await.ok();
    }

    fn entry(&self, plugin: &str) -> Result<&Arc<Entry>, ControlError> {
        let entries = &self.inner.directory.entries;
        entries.get(plugin).ok_or_else(|| ControlError::UnknownPlugin(plugin.to_owned()))
    }

    async fn control(
        &self,
        plugin: &str,
        wish: Wish,
        done: impl Fn(&str, &Route) -> Option<Result<(), ControlError>>,
    ) -> Result<(), ControlError> {
        let entry = self.entry(plugin)?;
        let mut route = entry.route.clone();
        let name = entry.name.clone();
        self.inner.directory.ask(|reply| Command::Control(name, wish, reply)).await?;
        loop {
            if let Some(outcome) = done(plugin, &route.borrow_and_update()) {
                return outcome;
            }
            route.changed().await.map_err(|_closed| ControlError::ShuttingDown)?;
        }
    }
}

/// Whether the plugin takes calls, or would if one came; or why not.
fn up(plugin: &str, route: &Route) -> Option<Result<(), ControlError>> {
    match route.state {
        State::Running | State::Degraded if !route.sessions.is_empty() => Some(Ok(())),
        // It came up, and nobody called it for so long that it rests again.
        State::Idle | State::Resting => Some(Ok(())),
        State::Waiting(Hope::Coming)
        | State::Starting
        | State::Running
        | State::Degraded
        | State::Restarting
        | State::Stopping
        | State::Crashed => None,
        State::Waiting(Hope::Lost)
        | State::Backoff { .. }
        | State::Quarantined { .. }
        | State::Failed
        | State::Stopped
        | State::Fenced => Some(Err(ControlError::NotStarted {
            plugin: plugin.to_owned(),
            state: route.state.name(),
            reason: route.reason.to_string(),
        })),
    }
}

fn written(
    plugin: &str,
    method: &str,
    params: &(impl Serialize + ?Sized),
) -> Result<Box<RawValue>, CallError> {
    to_raw_value(params).map_err(|error| {
        CallError::new(plugin, method, CallErrorKind::InvalidParams(error.to_string()))
    })
}
