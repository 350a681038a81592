//! From what is wanted to what will be done: the pure decision between a [`Spec`] and the layers.
//!
//! A plan names every step for one *rung* of the ladder, and the report that holds if each of
//! them succeeds. Nothing here makes a system call; `launch` carries the plan out and corrects the
//! report where the kernel refused something that the level allows to be missing.

use std::{
    borrow::Cow,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::resource::Resource;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    cgroup::Controller,
    deny,
    enforcement::{Layer, LayerReport, Status},
    inlet::{self, InletKind},
    limit::Held,
    machine::{BaseKind, Machine},
    protection::{Demand, Grade, Hold, Protection},
    remedy::{self, Situation},
    seccomp::Variant,
    spec::{Access, Base, Level, NetworkMode, Spec},
    view::{self, DEVICES, View},
};

/// How much the kernel lets us do, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// Root: every namespace without a user namespace, and a dedicated user per process.
    Root,
    /// An ordinary user with user namespaces: every namespace inside one.
    User,
    /// No namespaces: Landlock, seccomp and rlimits only.
    Bare,
}

impl Rung {
    /// The rungs worth trying here, best first.
    #[must_use]
    pub fn ladder(machine: &Machine, level: Level) -> Vec<Self> {
        match (level, machine.admin) {
            (Level::None, _) => vec![Self::Bare],
            // Root of a container that has no other ids: one user namespace more sets it apart.
            (_, true) if machine.uid == 0 && !machine.set_ids => {
                vec![Self::User, Self::Root, Self::Bare]
            }
            (_, true) => vec![Self::Root, Self::User, Self::Bare],
            (_, false) => vec![Self::User, Self::Bare],
        }
    }
}

/// Why a spec cannot be planned, before anything is started.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PlanError {
    /// A layer that the level requires is not there.
    #[error(
        "level `{}` requires {layer}, which is not available here: {why}{}",
        level.as_str(),
        in_words(ways)
    )]
    Required {
        /// Which layer.
        layer: Layer,
        /// What the spec asked for.
        level: Level,
        /// Why it is not there.
        why: String,
        /// How it can be had, each by itself.
        ways: Vec<String>,
    },
    /// A protection that is demanded would not hold.
    #[error(
        "`{protection}` is required{}, and would be {}: {why}{}",
        by_level(*level),
        hold.as_str(),
        in_words(ways)
    )]
    Unmet {
        /// Which.
        protection: Protection,
        /// The level that requires it; `None` when it was demanded by name.
        level: Option<Level>,
        /// How far it would hold.
        hold: Hold,
        /// What that means.
        why: String,
        /// How it can be had, each by itself.
        ways: Vec<String>,
    },
    /// A protection was to be off that cannot be taken out of the sandbox by itself.
    #[error(
        "`{0}` cannot be switched off by itself; prefer it, or switch everything off by level `none`"
    )]
    CannotBeOff(Protection),
    /// A grant that would hand the host's own kernel interfaces to the process.
    #[error("`{path}` cannot be granted: {why}")]
    Grant {
        /// The path as granted.
        path: PathBuf,
        /// Why not.
        why: &'static str,
    },
    /// A path that cannot be taken out of what is granted.
    #[error("`{path}` cannot be denied: {why}")]
    Deny {
        /// The path as denied.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A directory whose changes cannot be kept apart.
    #[error("the changes of `{path}` cannot be kept apart: {why}")]
    Overlay {
        /// The directory.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A path that is not absolute.
    #[error("`{0}` is not an absolute path")]
    Relative(PathBuf),
}

impl PlanError {
    /// What stands for the stage of a start that failed because something demanded would not hold.
    pub const UNMET: &str = "demands";

    /// The same with the ways to get what is missing, found by a look at the machine.
    #[must_use]
    pub(crate) fn with_remedy(mut self, spec: &Spec, machine: &Machine) -> Self {
        match &mut self {
            Self::Required { layer, ways, .. } => {
                let situation = Situation::read(machine);
                *ways = remedy::of_layer(*layer, Status::Absent, &situation);
            }
            Self::Unmet { protection, hold, ways, .. } => {
                let (protection, hold, by) = (*protection, *hold, Vec::new());
                let grade = Grade { protection, hold, by, consequence: String::new() };
                *ways = remedy::of_grade(&grade, spec, &Situation::read(machine));
            }
            Self::CannotBeOff(_)
            | Self::Grant { .. }
            | Self::Deny { .. }
            | Self::Overlay { .. }
            | Self::Relative(_) => {}
        }
        self
    }

    /// Whether it is that.
    #[must_use]
    pub fn is_unmet(&self) -> bool {
        matches!(self, Self::Required { .. } | Self::Unmet { .. })
    }
}

/// What Landlock allows below one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rights {
    /// List directories.
    List,
    /// Read files, list directories.
    Read,
    /// And execute.
    Exec,
    /// And create, change, remove.
    Write,
    /// Read, write and control a device.
    Device,
}

/// What Landlock shall hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LandlockPlan {
    pub(crate) abi: u32,
    /// What may be there: system paths, and what the view holds.
    pub(crate) files: Vec<(PathBuf, Rights)>,
    /// What must be there, since it was asked for by name.
    pub(crate) grants: Vec<(PathBuf, Rights)>,
    /// `None`: TCP is not restricted. Otherwise the ports for connect and for bind.
    pub(crate) tcp: Option<(Vec<u16>, Vec<u16>)>,
    pub(crate) scopes: bool,
}

/// Whose ids the process gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Identity {
    /// A user id of its own, made from the shim's process id.
    Dedicated,
    /// The launcher's.
    Launcher,
}

/// Which limits nobody holds but whoever looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unheld {
    pub(crate) memory: bool,
    pub(crate) processes: bool,
}

impl Unheld {
    fn of(machine: &Machine, rung: Rung, dedicated: bool) -> Self {
        let counted = dedicated || rung == Rung::User;
        Self {
            memory: machine.holder(Controller::Memory).is_none(),
            processes: machine.holder(Controller::Pids).is_none() && !counted,
        }
    }
}

/// Everything that will be done for one process on one rung.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub(crate) rung: Rung,
    /// Whether anything is confined at all.
    pub(crate) sealed: bool,
    /// Whether a view that lacks something is no view.
    pub(crate) strict: bool,
    /// `CLONE_NEW*` flags.
    pub(crate) namespaces: i32,
    pub(crate) loopback: bool,
    /// What is to be opened inside for a broker outside.
    pub(crate) inlets: Vec<InletKind>,
    pub(crate) identity: Identity,
    pub(crate) view: Option<View>,
    pub(crate) landlock: Option<LandlockPlan>,
    pub(crate) filter: Option<Variant>,
    pub(crate) rlimits: Vec<(Resource, u64)>,
    pub(crate) unheld: Unheld,
    /// Who holds which limit, if every step succeeds.
    pub(crate) held: Vec<Held>,
    /// A private directory stands in for `/tmp` (no mount namespace).
    pub(crate) private_tmp: bool,
    /// The report, one entry per layer, if every step succeeds.
    pub(crate) expected: Vec<LayerReport>,
    /// What is left out on purpose: nothing, but where an attack table asks what a layer is good for.
    pub(crate) off: Off,
}

fn in_words(ways: &[String]) -> String {
    if ways.is_empty() { String::new() } else { format!("; to get it: {}", ways.join("; or ")) }
}

fn by_level(level: Option<Level>) -> String {
    level.map_or_else(String::new, |level| format!(" by level `{}`", level.as_str()))
}

/// Plans `spec` for `rung`. Pure: same arguments, same plan.
///
/// # Errors
/// [`PlanError`] when the spec cannot be honoured here at its level.
pub(crate) fn plan(
    spec: &Spec,
    machine: &Machine,
    rung: Rung,
    lost: &str,
) -> Result<Plan, PlanError> {
    check_paths(spec)?;
    let spec = &*narrowed(spec, rung);
    check_deny(spec, machine, rung, lost)?;
    check_overlay(spec, rung, lost)?;
    let sealed = spec.level != Level::None;
    let dedicated = sealed && machine.set_ids && machine.uid == 0 && rung != Rung::User;
    let identity = if dedicated { Identity::Dedicated } else { Identity::Launcher };
    let namespaces = if sealed { namespaces(rung, spec.network.mode) } else { 0 };
    let brokered = spec.network.mode == NetworkMode::Hosts;
    let plan = Plan {
        rung,
        sealed,
        strict: spec.level == Level::Strict
            && !demand::is_layer_excused(spec, Layer::MountNamespace),
        namespaces,
        loopback: rung != Rung::Bare
            && matches!(spec.network.mode, NetworkMode::Loopback | NetworkMode::Hosts),
        inlets: if sealed && brokered && rung != Rung::Bare {
            inlet::kinds(&spec.network)
        } else {
            Vec::new()
        },
        identity,
        view: (sealed && rung != Rung::Bare).then(|| view::compose(spec, &machine.base)),
        landlock: (sealed && machine.landlock_abi > 0).then(|| landlock(spec, machine, rung)),
        filter: filter(spec, rung),
        rlimits: rlimits(spec, machine, rung, dedicated),
        unheld: Unheld::of(machine, rung, dedicated),
        held: report::held(spec, machine, rung, dedicated),
        private_tmp: sealed && rung == Rung::Bare,
        expected: report::expected(spec, machine, rung, dedicated, lost),
        off: Off::default(),
    };
    demand::check(spec, &plan.expected, &grades(spec, &plan.expected, &plan.held))?;
    Ok(plan)
}

/// The system call filter of a spec, if it has one.
pub(crate) fn filter(spec: &Spec, rung: Rung) -> Option<Variant> {
    let spec = &*narrowed(spec, rung);
    let wanted = spec.level != Level::None && !spec.is_off(Protection::SystemCalls);
    wanted.then(|| Variant {
        profile: spec.profile,
        network: filtered(spec.network.mode, rung),
        ipc_namespace: rung != Rung::Bare,
        listen: may_listen(spec, rung),
        unix: rung != Rung::Bare || !closes_unix_sockets(spec),
        attributes: rung != Rung::Bare || !closes_attributes(spec),
    })
}

/// Whether the filter keeps unix sockets closed where no view hides them: nobody asked for one, or for
/// all of them.
pub(crate) fn closes_unix_sockets(spec: &Spec) -> bool {
    let everything = spec.files.iter().any(|grant| grant.path == Path::new("/"));
    spec.unix_sockets.is_empty() && !everything && !spec.is_off(Protection::SocketsUnix)
}

/// Whether the filter lets nobody change modes and times where no view protects those outside. That
/// costs what is granted, too, so only for who requires it.
pub(crate) fn closes_attributes(spec: &Spec) -> bool {
    spec.demands.get(&Protection::FilesMetadata) == Some(&Demand::Require)
}

fn check_paths(spec: &Spec) -> Result<(), PlanError> {
    let grants = spec.files.iter().map(|grant| &grant.path);
    let named = grants.chain(&spec.unix_sockets).chain(&spec.deny);
    for path in named.chain([&spec.program, &spec.workdir]) {
        if !path.is_absolute() {
            return Err(PlanError::Relative(path.clone()));
        }
    }
    for grant in &spec.files {
        let why = if grant.path.starts_with("/proc") {
            "the process gets a /proc of its own"
        } else if grant.path == Path::new("/dev") {
            "the process gets a /dev of its own; grant single devices"
        } else {
            continue;
        };
        return Err(PlanError::Grant { path: grant.path.clone(), why });
    }
    Ok(())
}

/// Only mounts take something out of a granted tree. Without them the process would have what it was
/// denied, so it does not start.
fn check_deny(spec: &Spec, machine: &Machine, rung: Rung, lost: &str) -> Result<(), PlanError> {
    let refused = |path: &Path, why: String| Err(PlanError::Deny { path: path.to_owned(), why });
    for path in &spec.deny {
        if let Some(why) = deny::refusal(path, spec) {
            return refused(path, why.to_owned());
        }
    }
    if rung != Rung::Bare || spec.level == Level::None {
        return Ok(());
    }
    deny::covers(spec, &machine.base).first().map_or(Ok(()), |cover| {
        refused(
            cover.at(),
            format!("it lies in what is granted, and only mounts could hide it: {lost}"),
        )
    })
}

/// Only mounts show a directory changed that is not.
fn check_overlay(spec: &Spec, rung: Rung, lost: &str) -> Result<(), PlanError> {
    match &spec.overlay {
        Some(overlay) if rung == Rung::Bare => Err(PlanError::Overlay {
            path: overlay.path.clone(),
            why: format!("there is no mount namespace: {lost}"),
        }),
        Some(_) | None => Ok(()),
    }
}

/// The spec as far as this rung can hold it: an own loopback takes a network namespace. Without one
/// there is no network at all, since the only loopback there is would be the host's.
fn narrowed(spec: &Spec, rung: Rung) -> Cow<'_, Spec> {
    if rung != Rung::Bare || spec.network.mode != NetworkMode::Loopback {
        return Cow::Borrowed(spec);
    }
    let mut spec = spec.clone();
    spec.network.mode = NetworkMode::None;
    Cow::Owned(spec)
}

fn may_listen(spec: &Spec, rung: Rung) -> bool {
    match spec.network.mode {
        NetworkMode::None => false,
        NetworkMode::Hosts if rung == Rung::Bare => false,
        NetworkMode::Ports => !spec.network.listen.is_empty(),
        NetworkMode::Loopback | NetworkMode::Hosts | NetworkMode::Full => true,
    }
}

/// What the filter sees of a mode: the way out to named hosts leads over the own loopback; or over one
/// port of the host's, where that is all there is.
fn filtered(mode: NetworkMode, rung: Rung) -> NetworkMode {
    match (mode, rung) {
        (NetworkMode::Hosts, Rung::Bare) => NetworkMode::Ports,
        (NetworkMode::Hosts, Rung::Root | Rung::User) => NetworkMode::Loopback,
        (mode, _) => mode,
    }
}

fn namespaces(rung: Rung, network: NetworkMode) -> i32 {
    let mut flags = libc::CLONE_NEWPID
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWCGROUP;
    if !view::shares_network(network) {
        flags |= libc::CLONE_NEWNET;
    }
    match rung {
        Rung::Root => flags,
        Rung::User => flags | libc::CLONE_NEWUSER,
        Rung::Bare => 0,
    }
}

fn landlock(spec: &Spec, machine: &Machine, rung: Rung) -> LandlockPlan {
    let files =
        if rung == Rung::Bare { host_rules(spec, machine) } else { view_rules(spec, machine) };
    let grants = view::needed(spec, &machine.base).into_iter().map(|grant| {
        let rights = match grant.access {
            Access::Read => Rights::Read,
            Access::Exec => Rights::Exec,
            Access::Write if is_device(&grant.path) => Rights::Device,
            Access::Write => Rights::Write,
        };
        (grant.path, rights)
    });
    let tcp = match spec.network.mode {
        NetworkMode::None => Some((Vec::new(), Vec::new())),
        // The one port of the broker is added when it is known.
        NetworkMode::Hosts if rung == Rung::Bare => Some((Vec::new(), Vec::new())),
        NetworkMode::Ports => Some((
            spec.network.connect.iter().copied().collect(),
            spec.network.listen.iter().copied().collect(),
        )),
        NetworkMode::Loopback | NetworkMode::Hosts | NetworkMode::Full => None,
    };
    LandlockPlan {
        abi: machine.landlock_abi,
        files,
        grants: grants.collect(),
        tcp: tcp.filter(|_ports| machine.landlock_abi >= 4),
        scopes: machine.landlock_abi >= 6,
    }
}

/// Whether a path is a device's, or a directory of devices; shared memory holds ordinary files.
fn is_device(path: &Path) -> bool {
    path.starts_with("/dev") && !path.starts_with("/dev/shm")
}

/// Rules for a view: it holds nothing that was not granted, so few and wide rules say it all.
fn view_rules(spec: &Spec, machine: &Machine) -> Vec<(PathBuf, Rights)> {
    let mut files: Vec<(PathBuf, Rights)> = Vec::new();
    if spec.base == Base::System {
        let programs = machine.base.iter().filter(|entry| entry.kind == BaseKind::Programs);
        files.extend(programs.map(|entry| (entry.path.clone(), Rights::Exec)));
    }
    files.extend([
        ("/".into(), Rights::List),
        ("/etc".into(), if grants_root(spec) { Rights::List } else { Rights::Read }),
        ("/proc".into(), Rights::Read),
        ("/dev".into(), Rights::Device),
        ("/dev/shm".into(), Rights::Write),
        ("/tmp".into(), Rights::Write),
    ]);
    files
}

/// Whether the host's root is the root: then `/etc` is the host's, and readable as far as granted.
fn grants_root(spec: &Spec) -> bool {
    spec.files.iter().any(|grant| grant.path == Path::new("/"))
}

/// Rules for the host's own tree: each system path by itself.
fn host_rules(spec: &Spec, machine: &Machine) -> Vec<(PathBuf, Rights)> {
    let mut files: Vec<(PathBuf, Rights)> = Vec::new();
    if spec.base == Base::System {
        let shared = view::shares_network(spec.network.mode);
        for entry in machine.base.iter().filter(|entry| shared || !entry.network_only) {
            let rights = match entry.kind {
                BaseKind::Settings => Rights::Read,
                // What a link leads to has an entry of its own, but the name must resolve too.
                BaseKind::Programs | BaseKind::Link(_) => Rights::Exec,
            };
            files.push((entry.path.clone(), rights));
        }
    }
    files.extend(DEVICES.map(|device| (PathBuf::from(device), Rights::Device)));
    files.extend(
        ["passwd", "group", "hosts"].map(|name| (Path::new("/etc").join(name), Rights::Read)),
    );
    files.push(("/proc".into(), Rights::Read));
    files
}

fn rlimits(spec: &Spec, machine: &Machine, rung: Rung, dedicated: bool) -> Vec<(Resource, u64)> {
    let limits = &spec.limits;
    let mut list = vec![(Resource::RLIMIT_CORE, 0)];
    if spec.level != Level::None {
        list.extend([
            (Resource::RLIMIT_MSGQUEUE, 0),
            (Resource::RLIMIT_RTPRIO, 0),
            (Resource::RLIMIT_NICE, 0),
            (Resource::RLIMIT_MEMLOCK, 64 << 10),
        ]);
    }
    let mut bound =
        |resource, value: Option<u64>| list.extend(value.map(|value| (resource, value)));
    bound(Resource::RLIMIT_NOFILE, limits.open_files);
    bound(Resource::RLIMIT_FSIZE, limits.file_size);
    bound(Resource::RLIMIT_CPU, limits.cpu_time.map(whole_seconds));
    if machine.holder(Controller::Memory).is_none() {
        bound(Resource::RLIMIT_DATA, limits.memory);
    }
    let counted = machine.holder(Controller::Pids).is_some();
    if !counted && (dedicated || rung == Rung::User) {
        // Two of them are our own shim and stub where they share the user.
        bound(Resource::RLIMIT_NPROC, limits.pids.map(|pids| pids.saturating_add(2)));
    }
    list
}

/// Rounded up: the kernel counts whole seconds, and nobody shall get less than he was given.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)).max(1)
}

mod demand;
mod grade;
mod off;
mod report;

pub(crate) use off::{Off, SWITCHED_OFF};

#[cfg(test)]
mod tests;

pub(crate) use grade::grades;
pub(crate) use report::landlock_since;
