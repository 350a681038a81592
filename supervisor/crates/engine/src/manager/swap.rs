//! What an exchange of generations looks like from outside: asked for, followed, told.

use std::{
    collections::BTreeSet,
    fmt,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use plugbay_manifest::{Manifest, Package};
use serde_json::Value;
use tokio::sync::watch;

use super::{
    directory::{Command, Directory},
    launch::Recipe,
    mould::Cast,
};
use crate::{
    clock,
    lifecycle::{
        identity::Generation,
        slot::{Rules, Setback, Stage, SwapStrategy},
    },
};

/// A version that did not take the place of the one before it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SwapError {
    /// There is no plugin of this name.
    #[error("there is no plugin `{0}`")]
    UnknownPlugin(String),
    /// The new version cannot be run in the place of this plugin.
    #[error("the new version of `{plugin}` cannot take its place: {what}")]
    Unfit {
        /// Which.
        plugin: String,
        /// Why.
        what: String,
    },
    /// It lacks methods that callers may rely on.
    #[error(
        "the new version of `{plugin}` has no method `{}` any more; callers may rely on it (force it \
         if they do not)",
        methods.join("`, `")
    )]
    Incompatible {
        /// Which.
        plugin: String,
        /// What it lacks.
        methods: Vec<String>,
    },
    /// It asks for more than the old one.
    #[error(
        "the new version of `{plugin}` asks for more than the old one: {} (to be granted on purpose)",
        asked.join(", ")
    )]
    Wider {
        /// Which.
        plugin: String,
        /// What it asks for that was not asked for before.
        asked: Vec<String>,
    },
    /// The old version was not left.
    #[error("{0}")]
    NotTaken(Box<SwapStatus>),
    /// The host is shutting down.
    #[error("the host is shutting down")]
    ShuttingDown,
}

/// How long a new version proves itself before the old one goes, if nobody says otherwise.
pub(crate) const BAKE: Duration = Duration::from_secs(300);

/// How an exchange came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SwapVerdict {
    /// The new version answers, and stays.
    Kept,
    /// The old version was never left.
    Aborted,
    /// The new version answered for a while; the old one does again.
    RolledBack,
}

impl SwapVerdict {
    /// Its name in reports: `kept`, `aborted`, `rolled back`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Aborted => "aborted",
            Self::RolledBack => "rolled back",
        }
    }
}

/// One step that an exchange took.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SwapStep {
    /// What: `begun`, the name of a stage, `switched`, a verdict, `over`.
    pub what: &'static str,
    /// How long after the beginning.
    pub after: Duration,
}

/// An exchange at one moment; see [`Swap`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SwapStatus {
    /// Which plugin.
    pub plugin: Arc<str>,
    /// The generation that answered before.
    pub from: Generation,
    /// Its version.
    pub from_version: String,
    /// The generation that is to answer.
    pub to: Generation,
    /// Its version.
    pub to_version: String,
    /// How it takes the old one's place.
    pub strategy: &'static str,
    /// When it was asked for.
    pub since: SystemTime,
    /// How far it is: `queued`, `parting`, `coming`, `handing over`, `baking`, `leaving`, `over`.
    pub stage: &'static str,
    /// Whether the new generation answers, or did for a while.
    pub switched: bool,
    /// How it came out, once that is clear.
    pub verdict: Option<SwapVerdict>,
    /// Why it came out so, if there is something to say; and what else is worth knowing.
    pub why: Arc<str>,
    /// The steps it took, the first one first.
    pub steps: Vec<SwapStep>,
    /// For how long nobody answered on its account.
    pub downtime: Duration,
    /// Bytes of state that were handed over.
    pub state_bytes: Option<u64>,
    /// Calls that the old generation finished since this began.
    pub calls_old: u64,
    /// Calls that the new generation finished.
    pub calls_new: u64,
}

impl SwapStatus {
    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stage == "over"
    }
}

impl fmt::Display for SwapStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plugin, from_version, to_version, stage, .. } = self;
        write!(f, "`{plugin}` {from_version} → {to_version}: ")?;
        match self.verdict {
            Some(verdict) => f.write_str(verdict.name())?,
            None => f.write_str(stage)?,
        }
        if self.why.is_empty() { Ok(()) } else { write!(f, " ({})", self.why) }
    }
}

/// An exchange under way. Dropping it changes nothing: the exchange goes on.
#[derive(Debug, Clone)]
pub struct Swap {
    told: watch::Receiver<SwapStatus>,
    directory: Arc<Directory>,
}

impl Swap {
    /// How it is now.
    #[must_use]
    pub fn status(&self) -> SwapStatus {
        self.told.borrow().clone()
    }

    /// Waits for the next change; `None` when nothing more will happen.
    pub async fn next(&mut self) -> Option<SwapStatus> {
        if self.told.borrow().is_over() {
            return None;
        }
        self.told.changed().await.ok()?;
        Some(self.told.borrow_and_update().clone())
    }

    /// Waits until the new version answers, or is known not to.
    ///
    /// # Errors
    /// When the old version was not left.
    pub async fn switched(&mut self) -> Result<SwapStatus, SwapError> {
        let known = |status: &SwapStatus| status.switched || status.verdict.is_some();
        let status = self.wait(known).await?;
        if status.switched { Ok(status) } else { Err(SwapError::NotTaken(Box::new(status))) }
    }

    /// Waits until the new version has proved itself and the old one is gone, or the other way
    /// round.
    ///
    /// # Errors
    /// When the host ends meanwhile.
    pub async fn over(&mut self) -> Result<SwapStatus, SwapError> {
        self.wait(SwapStatus::is_over).await
    }

    async fn wait(
        &mut self,
        test: impl FnMut(&SwapStatus) -> bool,
    ) -> Result<SwapStatus, SwapError> {
        let status = self.told.wait_for(test).await;
        status.map(|status| status.clone()).map_err(|_closed| SwapError::ShuttingDown)
    }

    /// Gives the exchange up: the old version stays, or answers again.
    ///
    /// # Errors
    /// When the host ends.
    pub async fn roll_back(&self) -> Result<(), SwapError> {
        self.decide(false).await
    }

    /// Lets the old version go without waiting any longer.
    ///
    /// # Errors
    /// When the host ends.
    pub async fn accept(&self) -> Result<(), SwapError> {
        self.decide(true).await
    }

    async fn decide(&self, keep: bool) -> Result<(), SwapError> {
        let (plugin, to) = {
            let status = self.told.borrow();
            (status.plugin.clone(), status.to)
        };
        let asked = self.directory.ask(|reply| Command::Decide { plugin, to, keep, reply }).await;
        asked.map_err(|_closed| SwapError::ShuttingDown)
    }
}

/// An exchange that is being put together; see [`Host::swap`](super::Host::swap).
#[must_use = "nothing is exchanged before `send`"]
#[derive(Debug)]
pub struct SwapBuilder<'h> {
    directory: &'h Arc<Directory>,
    plugin: &'h str,
    package: Package,
    config: Option<Value>,
    strategy: Option<SwapStrategy>,
    bake: Duration,
    force: bool,
    widen: bool,
}

impl<'h> SwapBuilder<'h> {
    pub(crate) fn new(directory: &'h Arc<Directory>, plugin: &'h str, package: Package) -> Self {
        Self {
            directory,
            plugin,
            package,
            config: None,
            strategy: None,
            bake: BAKE,
            force: false,
            widen: false,
        }
    }

    /// How the new version takes the old one's place; by default `overlap`.
    pub fn strategy(mut self, strategy: SwapStrategy) -> Self {
        self.strategy = Some(strategy);
        self
    }

    /// For how long the old version stands by: five minutes by default. The new one's crash within
    /// this time brings the old one back.
    pub fn bake(mut self, bake: Duration) -> Self {
        self.bake = bake;
        self
    }

    /// Another configuration than the one that the host gave the plugin.
    pub fn config(mut self, config: Value) -> Self {
        self.config = Some(config);
        self
    }

    /// Takes a new version that lacks methods of the old one.
    pub fn force(mut self) -> Self {
        self.force = true;
        self
    }

    /// Takes a new version that asks for more than the old one.
    pub fn widen(mut self) -> Self {
        self.widen = true;
        self
    }

    /// Checks the new version, and begins.
    ///
    /// # Errors
    /// When it cannot take the old one's place: the old one is untouched then.
    pub async fn send(self) -> Result<Swap, SwapError> {
        let plugin = self.plugin.to_owned();
        let entry = self.directory.entries.get(self.plugin);
        let entry = entry.ok_or_else(|| SwapError::UnknownPlugin(plugin.clone()))?;
        let before = entry.edition();
        let (old, new) = (before.manifest(), &self.package.manifest);
        check(&plugin, old, new, self.force, self.widen)?;
        let counters = entry.counters.clone();
        let Cast { recipe, rules, unfit } =
            self.directory.mould.cast(self.package, self.config, counters);
        if let Some(what) = unfit {
            return Err(SwapError::Unfit { plugin, what });
        }
        let strategy = self.strategy.unwrap_or_default();
        let wanted = Wanted { recipe, rules, strategy, bake: self.bake, force: self.force };
        let name = entry.name.clone();
        let asked = self.directory.ask(|reply| Command::Swap(name, Box::new(wanted), reply)).await;
        match asked {
            Ok(Some(told)) => Ok(Swap { told, directory: self.directory.clone() }),
            Ok(None) | Err(_) => Err(SwapError::ShuttingDown),
        }
    }
}

/// A new generation, as the table is asked for it.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) recipe: Recipe,
    pub(crate) rules: Rules,
    pub(crate) strategy: SwapStrategy,
    pub(crate) bake: Duration,
    pub(crate) force: bool,
}

/// What can be known to be wrong before anything is started.
fn check(
    plugin: &str,
    old: &Manifest,
    new: &Manifest,
    force: bool,
    widen: bool,
) -> Result<(), SwapError> {
    let unfit = |what| SwapError::Unfit { plugin: plugin.to_owned(), what };
    if new.plugin.name.as_str() != plugin {
        return Err(unfit(format!("it is `{}`", new.plugin.name)));
    }
    if new.dependencies.plugins != old.dependencies.plugins {
        let what = "it depends on other plugins than before, which takes a new host";
        return Err(unfit(what.to_owned()));
    }
    let lost: Vec<&String> =
        old.methods.keys().filter(|method| !new.methods.contains_key(*method)).collect();
    if !force && !new.methods.is_empty() && !lost.is_empty() {
        let methods = lost.into_iter().cloned().collect();
        return Err(SwapError::Incompatible { plugin: plugin.to_owned(), methods });
    }
    let asked = asked_beyond(old, new);
    if !widen && !asked.is_empty() {
        return Err(SwapError::Wider { plugin: plugin.to_owned(), asked });
    }
    Ok(())
}

/// What a manifest asks for that another one does not.
fn asked_beyond(old: &Manifest, new: &Manifest) -> Vec<String> {
    let asked = |manifest: &Manifest| {
        let mut leaves = BTreeSet::new();
        let permissions = serde_json::to_value(&manifest.permissions).unwrap_or_default();
        gather(&permissions, "", &mut leaves);
        leaves
    };
    let (old, new) = (asked(old), asked(new));
    new.difference(&old).cloned().collect()
}

/// The single grants in a tree of them, as `place: grant`. Nothing asked for is no grant.
fn gather(value: &Value, place: &str, leaves: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                let place = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
                gather(member, &place, leaves);
            }
        }
        Value::Array(members) => members.iter().for_each(|one| gather(one, place, leaves)),
        Value::Null | Value::Bool(false) => {}
        Value::String(word) if word == "none" => {}
        Value::String(word) => {
            leaves.insert(format!("{place}: {word}"));
        }
        Value::Bool(true) | Value::Number(_) => {
            leaves.insert(format!("{place}: {value}"));
        }
    }
}

/// The exchange as the table follows it.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) told: watch::Sender<SwapStatus>,
    pub(crate) force: bool,
    pub(crate) setback: Option<Setback>,
    began: Instant,
    /// Since when nobody answers.
    dark: Option<Instant>,
    /// What the old generation had finished at the beginning.
    pub(crate) finished: u64,
}

impl Followed {
    pub(crate) fn new(status: SwapStatus, force: bool) -> Self {
        Self {
            told: watch::Sender::new(status),
            force,
            setback: None,
            began: clock::now(),
            dark: None,
            finished: 0,
        }
    }

    /// It took a step.
    pub(crate) fn step(&self, what: &'static str, more: impl FnOnce(&mut SwapStatus)) {
        let after = clock::now().saturating_duration_since(self.began);
        self.told.send_modify(|status| {
            status.steps.push(SwapStep { what, after });
            more(status);
        });
    }

    /// Whether somebody answers now.
    pub(crate) fn lit(&mut self, lit: bool) {
        let now = clock::now();
        match (lit, self.dark) {
            (true, Some(since)) => {
                let dark = now.saturating_duration_since(since);
                self.told.send_modify(|status| status.downtime += dark);
                self.dark = None;
            }
            (false, None) => self.dark = Some(now),
            (true, None) | (false, Some(_)) => {}
        }
    }
}

/// The name of a stage, or that it waits for its turn.
pub(crate) fn stage_name(stage: Option<Stage>) -> &'static str {
    stage.map_or("queued", Stage::name)
}
