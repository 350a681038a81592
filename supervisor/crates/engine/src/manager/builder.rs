//! How a host is put together and started.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use plugbay_manifest::{Package, Skipped, discover};
use plugbay_protocol::{ErrorObject, handshake::Peer};
use plugbay_sandbox::{Demand, FileGrant, Level, Protection};
use semver::Version;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    bonds::{self, Group},
    directory::{Command, Directory, Entry, Route, Used},
    edition::Edition,
    errand::Waiting,
    event,
    history::History,
    hold::Hold,
    host::{Host, News},
    launch::Kitchen,
    ledger::{Ledger, Share},
    mould::{Cast, Mould},
    plug::Plug,
    service::{Caller, Desk, Methods},
    standing::{self, Known},
    status::Muster,
    table::Table,
};
use crate::{
    clock,
    error::StartError,
    lifecycle::{
        limiter::Bounds,
        restart::Policy,
        slot::{Needs, Slot},
    },
    link::{Launcher, keeper::Keeper},
    log::{LogRecord, LogSink},
    plugin::{Counters, gate::Gate},
};

/// Commands that can be under way to the table.
const COMMANDS: usize = 256;

/// A host to be configured and started; see [`Host::builder`].
#[derive(Debug)]
pub struct HostBuilder {
    roots: Vec<PathBuf>,
    packages: Vec<Package>,
    keeper: Option<PathBuf>,
    mould: Mould,
    sink: LogSink,
    store: Option<PathBuf>,
    afresh: bool,
    methods: Methods,
    taken: Option<String>,
    eager: bool,
    groups: Vec<Group>,
    required: Vec<String>,
    environment: Option<Vec<(OsString, OsString)>>,
    name: Peer,
    python_sdk: Option<PathBuf>,
    launcher: Option<Arc<dyn Launcher>>,
}

impl HostBuilder {
    pub(crate) fn new() -> Self {
        Self {
            roots: Vec::new(),
            packages: Vec::new(),
            keeper: None,
            mould: Mould::default(),
            sink: LogSink::default(),
            store: None,
            afresh: false,
            methods: Methods::default(),
            taken: None,
            eager: true,
            groups: Vec::new(),
            required: Vec::new(),
            environment: None,
            name: Peer {
                name: "plugbay".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            python_sdk: None,
            launcher: None,
        }
    }

    /// Takes every plugin below a directory. Bad ones are skipped; see [`Host::skipped`].
    #[must_use]
    pub fn plugins(mut self, dir: impl AsRef<Path>) -> Self {
        self.roots.push(dir.as_ref().to_owned());
        self
    }

    /// Takes one plugin.
    #[must_use]
    pub fn plugin(mut self, package: Package) -> Self {
        self.packages.push(package);
        self
    }

    /// The configuration of a plugin. Checked against the plugin's schema before it is started; one
    /// that does not fit makes the plugin `failed`, with the reason.
    #[must_use]
    pub fn config(mut self, plugin: impl Into<String>, config: Value) -> Self {
        self.mould.configs.insert(plugin.into(), config);
        self
    }

    /// Opens a file or directory to a plugin, beyond what its manifest asks for.
    #[must_use]
    pub fn grant(mut self, plugin: impl Into<String>, grant: FileGrant) -> Self {
        self.mould.grants.entry(plugin.into()).or_default().push(grant);
        self
    }

    /// What must hold for a plugin to start at all.
    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.mould.level = level;
        self
    }

    /// What is demanded of one protection of every plugin, whatever the level: a plugin of which a
    /// required one does not hold whole is not started, and says why and how it can be had. A manifest
    /// can demand more, not less.
    #[must_use]
    pub fn demand(mut self, protection: Protection, demand: Demand) -> Self {
        self.mould.demands.insert(protection, demand);
        self
    }

    /// The program that serves as keeper. By default the host itself, if it calls `plugbay::init()`
    /// first in `main`, else `plugbay-keeper` beside it.
    #[must_use]
    pub fn keeper(mut self, program: impl Into<PathBuf>) -> Self {
        self.keeper = Some(program.into());
        self
    }

    /// Starts a plugin when it is first called, instead of with the host.
    #[must_use]
    pub fn on_demand(mut self) -> Self {
        self.eager = false;
        self
    }

    /// Plugins that belong together: see [`Group`].
    #[must_use]
    pub fn group(mut self, group: Group) -> Self {
        self.groups.push(group);
        self
    }

    /// A plugin without which the host is not [ready](Host::readiness). It changes nothing else: a
    /// host never ends for a plugin's sake.
    #[must_use]
    pub fn required(mut self, plugin: impl Into<String>) -> Self {
        self.required.push(plugin.into());
        self
    }

    /// How long calls in flight may take to finish when a plugin is stopped, whatever its manifest
    /// says.
    #[must_use]
    pub fn drain(mut self, drain: Duration) -> Self {
        self.mould.drain = Some(drain);
        self
    }

    /// Changes the restart policy of every plugin, after what its manifest says.
    #[must_use]
    pub fn restart_policy(mut self, tune: fn(&mut Policy)) -> Self {
        self.mould.tune = Some(tune);
        self
    }

    /// The environment that plugins may be granted variables from. By default this process's own.
    #[must_use]
    pub fn environment(mut self, variables: Vec<(OsString, OsString)>) -> Self {
        self.environment = Some(variables);
        self
    }

    /// What plugins are told that hosts them.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>, version: impl Into<String>) -> Self {
        self.name = Peer { name: name.into(), version: version.into() };
        self
    }

    /// The directory of the Python SDK that plugins with `sdk = "python"` are given. By default the
    /// one installed with this program.
    #[must_use]
    pub fn python_sdk(mut self, dir: impl Into<PathBuf>) -> Self {
        self.python_sdk = Some(dir.into());
        self
    }

    /// Takes what plugins say: stderr, stray stdout, `$/log`. By default it becomes `tracing`
    /// events. Called by the tasks that read from plugins, so it must not block.
    #[must_use]
    pub fn on_log(mut self, sink: impl Fn(&LogRecord) + Send + Sync + 'static) -> Self {
        self.sink = LogSink::new(sink);
        self
    }

    /// Keeps on disk how plugins end, are called and change their state: in this file, which is made
    /// with its directory where it is missing, bounded, and may be shared by several hosts. Written
    /// aside, so that nothing waits for it; one that cannot be written costs records and nothing
    /// else: see [`Host::store`]. Of the calls of one plugin, twenty in a second are kept that
    /// succeeded, and twenty that did not. By default nothing is kept. Read by
    /// [`store`](crate::store). No plugin gets at the file: see [`withhold`](Self::withhold).
    #[must_use]
    pub fn store(mut self, file: impl Into<PathBuf>) -> Self {
        let file = file.into();
        for end in ["", "-wal", "-shm"] {
            let mut name = file.clone().into_os_string();
            name.push(end);
            self.mould.withheld.push(name.into());
        }
        self.store = Some(file);
        self
    }

    /// Begins without what the store knows of failures, quarantines and restarts, and leaves that as it
    /// is: for a host that a person starts for one purpose. Otherwise a host with a store goes on where
    /// the last one of its [name](Self::name) left off, unless the plugin has another version now.
    #[must_use]
    pub fn afresh(mut self) -> Self {
        self.afresh = true;
        self
    }

    /// Keeps a path from every plugin, whatever it is granted: inside a granted tree it stays hidden,
    /// and a grant of it, or of something in it, is refused. Where mounts cannot be had, a plugin whose
    /// grants would show it does not start. What is there counts when a process is started, so a
    /// directory that exists is better withheld than files that come and go.
    #[must_use]
    pub fn withhold(mut self, path: impl Into<PathBuf>) -> Self {
        self.mould.withheld.push(path.into());
        self
    }

    /// Adds a method that plugins can call on the host. The name must not be one of the protocol's
    /// (`host/…`, `$/…`, `initialize`); `app/…` is a good habit.
    #[must_use]
    pub fn method<P, R, F, W>(mut self, name: &str, handler: F) -> Self
    where
        P: DeserializeOwned + Send + 'static,
        R: Serialize,
        W: Future<Output = Result<R, ErrorObject>> + Send + 'static,
        F: Fn(Caller, P) -> W + Send + Sync + 'static,
    {
        if !self.methods.add(name, handler) {
            self.taken.get_or_insert_with(|| name.to_owned());
        }
        self
    }

    /// Starts processes by other means than a keeper.
    #[cfg(test)]
    pub(crate) fn launcher(mut self, launcher: Arc<dyn Launcher>) -> Self {
        self.launcher = Some(launcher);
        self
    }

    /// Starts the host: finds the plugins, checks their configurations, and starts them. Does not
    /// wait for them; calls do. Must be called within a tokio runtime, of either kind.
    ///
    /// # Errors
    /// See [`StartError`]. A plugin that is bad on its own does not fail the host.
    pub async fn start(mut self) -> Result<Host, StartError> {
        if let Some(name) = self.taken {
            return Err(StartError::MethodName(name));
        }
        let roots = std::mem::take(&mut self.roots);
        let found = tokio::task::spawn_blocking(move || search(&roots)).await;
        let (mut packages, skipped) =
            found.map_err(|error| StartError::Search(error.to_string()))??;
        packages.append(&mut self.packages);
        self.check_names(&packages)?;
        let launcher = match self.launcher.take() {
            Some(launcher) => launcher,
            None => keeper(self.keeper.as_deref())?,
        };
        let known = self.known().await;
        Ok(self.open(packages, skipped, launcher, known))
    }

    /// How the plugins of an earlier host of this name stood. A store that cannot be read costs that
    /// and nothing else; the one that writes it says why.
    async fn known(&self) -> BTreeMap<String, Known> {
        let Some(file) = self.store.clone().filter(|_| !self.afresh) else {
            return BTreeMap::new();
        };
        let (host, now) = (self.name.name.clone(), clock::wall());
        let read = tokio::task::spawn_blocking(move || standing::known(&file, &host, now)).await;
        read.ok().and_then(Result::ok).unwrap_or_default()
    }

    fn check_names(&self, packages: &[Package]) -> Result<(), StartError> {
        let mut names = std::collections::BTreeSet::new();
        for package in packages {
            if !names.insert(package.manifest.plugin.name.as_str()) {
                return Err(StartError::DuplicatePlugin(package.manifest.plugin.name.to_string()));
            }
        }
        let spoken_of =
            self.mould.configs.keys().chain(self.mould.grants.keys()).chain(&self.required);
        if let Some(stranger) = spoken_of.into_iter().find(|name| !names.contains(name.as_str())) {
            return Err(StartError::NotThere(stranger.clone()));
        }
        let manifests = packages.iter().map(|package| &package.manifest);
        let manifests = manifests.map(|manifest| (manifest.plugin.name.as_str(), manifest));
        bonds::check(&self.groups, &manifests.collect())
    }

    fn open(
        mut self,
        packages: Vec<Package>,
        skipped: Vec<Skipped>,
        launcher: Arc<dyn Launcher>,
        mut known: BTreeMap<String, Known>,
    ) -> Host {
        let environment = self.environment.clone().unwrap_or_else(|| std::env::vars_os().collect());
        self.mould.home = home(&environment);
        let unresolved = unresolved(&packages);
        let ledger = self.ledger();
        let plugs: BTreeMap<Arc<str>, Plug> = packages
            .into_iter()
            .map(|package| {
                let reason = unresolved.get(package.manifest.plugin.name.as_str()).cloned();
                let mut plug = self.plug(package, reason, &ledger);
                plug.known = known.remove(&*plug.entry.name);
                plug.is_remembered = self.store.is_some() && !self.afresh;
                (plug.entry.name.clone(), plug)
            })
            .collect();
        let (commands, queue) = mpsc::channel::<Command>(COMMANDS);
        let entries = plugs.iter().map(|(name, plug)| (name.clone(), plug.entry.clone())).collect();
        let directory = Arc::new(Directory {
            entries,
            commands,
            methods: self.methods,
            host: self.name,
            mould: self.mould,
            required: self.required.iter().map(|name| name.as_str().into()).collect(),
            closing: CancellationToken::new(),
        });
        let kitchen = Kitchen {
            launcher,
            services: Arc::new(Desk(Arc::downgrade(&directory))),
            sink: self.sink,
            ledger: ledger.clone(),
            host: directory.host.clone(),
            host_methods: directory.methods.names(),
            environment: Arc::new(environment),
            python_sdk: self.python_sdk,
            gate: Gate::new(Bounds::default()),
        };
        let (events, _) = broadcast::channel(event::KEPT);
        let weak = events.downgrade();
        let (muster, mustered) = watch::channel(Muster::default());
        let mut table = Table::new((plugs, &self.groups), kitchen, queue, events, muster);
        table.open(self.eager);
        let abandoned = CancellationToken::new();
        let task = table.run(directory.clone(), abandoned.clone());
        TaskTracker::new().spawn(task);
        let news = News { events: weak, muster: mustered };
        Host::new(directory, news, skipped, ledger, abandoned.drop_guard())
    }

    fn ledger(&self) -> Ledger {
        let Peer { name, version } = self.name.clone();
        let file = self.store.clone();
        file.map_or_else(Ledger::default, |file| Ledger::open(file, name, version))
    }

    fn plug(&self, package: Package, unresolved: Option<String>, ledger: &Ledger) -> Plug {
        let counters = Arc::new(Counters::default());
        let Cast { recipe, rules, unfit } = self.mould.cast(package, None, counters.clone());
        let manifest = recipe.manifest.clone();
        let name: Arc<str> = manifest.plugin.name.as_str().into();
        let slot = Slot::new(rules, Needs::Met);
        let edition = Arc::new(Edition::new(slot.generation(), recipe));
        let (sender, route) = watch::channel(Route::nowhere(slot.state(), edition.clone()));
        let waiting = Waiting::new(&manifest);
        let entry = Entry {
            name,
            route,
            counters,
            history: History::default(),
            ledger: ledger.clone(),
            share: Share::new(clock::now()),
            waiting,
            hold: Hold::default(),
            used: Used::new(clock::now()),
        };
        Plug::new(Arc::new(entry), edition, slot, sender, unresolved.or(unfit))
    }
}

fn search(roots: &[PathBuf]) -> Result<(Vec<Package>, Vec<Skipped>), StartError> {
    let (mut packages, mut skipped) = (Vec::new(), Vec::new());
    for root in roots {
        let readable = std::fs::read_dir(root);
        readable.map_err(|source| StartError::PluginDirectory { path: root.clone(), source })?;
        let mut found = discover(root);
        packages.append(&mut found.packages);
        skipped.append(&mut found.skipped);
    }
    Ok((packages, skipped))
}

fn keeper(program: Option<&Path>) -> Result<Arc<dyn Launcher>, StartError> {
    let program = plugbay_keeper::locate(program).map_err(StartError::Keeper)?;
    Ok(Arc::new(Keeper::start(program).map_err(StartError::Keeper)?))
}

/// Why some cannot run at all: made for another host, or without what they depend on.
fn unresolved(packages: &[Package]) -> HashMap<String, String> {
    let Ok(version) = Version::parse(env!("CARGO_PKG_VERSION")) else { return HashMap::new() };
    let manifests = packages.iter().map(|package| &package.manifest);
    let resolution = plugbay_manifest::resolve(&version, manifests);
    let reasons = resolution.unresolved.into_iter();
    reasons.map(|bad| (bad.name.to_string(), bad.reason.to_string())).collect()
}

fn home(environment: &[(OsString, OsString)]) -> Option<PathBuf> {
    let home = environment.iter().find(|(name, _)| name == "HOME");
    home.map(|(_, home)| PathBuf::from(home)).filter(|home| home.is_absolute())
}
