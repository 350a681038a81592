//! From a spec to a running, sealed process: tries the rungs of the ladder from the top, once, and
//! remembers which one holds.
//!
//! [`Launcher::begin`] clones and returns at once; [`Launch::advance`] takes in what the inside
//! reports, so that a caller with a poll loop (the keeper) is never blocked by a slow file system.
//! The launcher must live in a single-threaded process: after the clone ordinary code runs in the
//! copy, which is sound only if no other thread held a lock at that moment.

use std::{
    collections::HashMap,
    ffi::OsString,
    fs,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::fs::DirBuilderExt as _,
    },
    path::{Path, PathBuf},
    sync::Arc,
};

use nix::errno::Errno;
use thiserror::Error;

use crate::{
    cgroup::{self, Group, Lost},
    child::Child,
    denial::{Watch, Watched, Watcher},
    enforcement::{Enforcement, Layer, LayerReport, TreeKill},
    inlet::{self, Way},
    layers::confine::{self, Image, Programs},
    learn,
    limit::{Held, Limit},
    machine::Machine,
    plan::{self, Off, Plan, PlanError, Rights, Rung, SWITCHED_OFF, Unheld},
    proof::Proven,
    record::{self, Failure, Receiver, Record, Stage},
    seccomp::{self, SeccompError, Variant},
    shim::{self, Job, Task, Work},
    spare::Networks,
    spec::{Level, Limits, NetworkMode, Spec},
    sys::{self, Fork},
    watchdog::Watchdog,
};

/// Why a process did not start. It never ran, not even half confined.
#[derive(Debug, Error)]
pub enum LaunchError {
    /// The spec cannot be honoured on this machine at its level.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A step of sealing failed.
    #[error(transparent)]
    Stage(#[from] Failure),
    /// The system call filter could not be compiled.
    #[error(transparent)]
    Filter(#[from] SeccompError),
    /// The calling process has more than one thread.
    #[error("a launcher needs a process with a single thread, this one has {0}")]
    Threads(usize),
    /// An argument, variable or path holds a NUL byte.
    #[error("an argument, a variable or a path contains a NUL byte")]
    Nul,
}

impl LaunchError {
    /// A failure to get descriptors or pipes, before anything was cloned.
    #[must_use]
    pub fn from_os(errno: Errno) -> Self {
        Failure::at(Stage::Clone)(errno).into()
    }
}

/// The three standard descriptors of the process.
#[derive(Debug)]
pub struct Stdio {
    /// Becomes descriptor 0.
    pub input: OwnedFd,
    /// Becomes descriptor 1.
    pub output: OwnedFd,
    /// Becomes descriptor 2.
    pub error: OwnedFd,
}

/// Starts sealed processes. One per launching process; keeps compiled filters and what it learned of
/// the ladder.
#[derive(Debug)]
pub struct Launcher {
    machine: Machine,
    lost: Vec<(Rung, String)>,
    filters: HashMap<Variant, Programs>,
    watch: Watch,
    networks: Networks,
    standby: Standbys,
    proven: Proven,
    sequence: u64,
    off: Off,
}

impl Launcher {
    /// Reads the machine's facts.
    ///
    /// # Errors
    /// [`LaunchError::Threads`] when this process has more than one thread.
    pub fn new() -> Result<Self, LaunchError> {
        let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
        if threads > 1 {
            return Err(LaunchError::Threads(threads));
        }
        let mut machine = Machine::read();
        if let Some(home) = &mut machine.cgroup {
            cgroup::enable(home);
            machine.classic.retain(|classic| !home.controllers.contains(&classic.controller));
        }
        cgroup::sweep(&machine);
        Ok(Self {
            machine,
            lost: Vec::new(),
            filters: HashMap::new(),
            watch: Watch::Nothing,
            networks: Networks::default(),
            standby: Standbys::default(),
            proven: Proven::Untried,
            sequence: 0,
            off: Off::default(),
        })
    }

    /// Asks to be told what processes are refused, of those that are started from now on. The
    /// watcher of each must be served ([`Child::take_watcher`]).
    pub fn watch(&mut self, watch: Watch) {
        self.watch = watch;
        self.filters.clear();
        self.standby = Standbys::default();
    }

    /// Takes in what a canary has shown: what it got through is absent from now on.
    pub(crate) fn believe(&mut self, proven: Proven, disproved: Vec<(Layer, String)>) {
        self.proven = proven;
        self.machine.disproved = disproved;
        self.standby = Standbys::default();
    }

    /// Leaves layers out of every start from now on, to show which attacks come through without them:
    /// what is started says so in its report. For nothing else, and reachable by nothing but this call.
    pub fn switch_off(&mut self, layers: &[Layer]) {
        self.off = Off::of(layers);
        if self.off.has(Layer::Cgroup) {
            self.machine.cgroup = None;
            self.machine.classic.clear();
        }
        if self.off.has(Layer::UserNamespace) {
            // All others of an ordinary user are inside it.
            self.lost.push((Rung::User, SWITCHED_OFF.to_owned()));
        }
    }

    /// The facts of this machine.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The rung on which the next process will be started, and why those above were lost.
    #[must_use]
    pub fn rung(&self, level: Level) -> (Rung, &[(Rung, String)]) {
        let ladder = Rung::ladder(&self.machine, level);
        let usable =
            ladder.into_iter().find(|rung| !self.lost.iter().any(|(lost, _)| lost == rung));
        (usable.unwrap_or(Rung::Bare), &self.lost)
    }

    /// Makes ready what a later start can use, so that it takes less time. For an idle moment; does
    /// nothing where the rung in use has nothing to prepare.
    pub fn prepare(&mut self, starts: usize) {
        if self.rung(Level::Standard).0 == Rung::Root {
            // Without spares a start makes its own namespace.
            self.networks.fill(starts).ok();
            self.stand_by();
        }
    }

    /// Clones the first process of `spec` and returns while it seals itself.
    ///
    /// # Errors
    /// [`LaunchError`]; nothing was executed.
    pub fn begin(&mut self, spec: Spec, stdio: Stdio) -> Result<Launch, LaunchError> {
        let mut launch = Launch::new(spec, stdio);
        self.attempt(&mut launch)?;
        Ok(launch)
    }

    /// Starts `spec` and waits until its program runs.
    ///
    /// # Errors
    /// [`LaunchError`]; nothing was executed.
    pub fn start(&mut self, spec: Spec, stdio: Stdio) -> Result<Child, LaunchError> {
        let launch = self.begin(spec, stdio)?;
        self.finish(launch)
    }

    /// Starts `spec` with everything open, and watches what it reaches for beyond its grants
    /// ([`Watcher::into_lessons`]); `shown` are directories of the host below its private `/tmp` that it
    /// sees as well.
    ///
    /// It is confined by nothing but its user, its limits and what no profile of system calls allows.
    ///
    /// # Errors
    /// [`LaunchError`]; nothing was executed.
    pub fn start_learning(
        &mut self,
        spec: Spec,
        shown: Vec<PathBuf>,
        stdio: Stdio,
    ) -> Result<Child, LaunchError> {
        self.watch(Watch::Lessons);
        let wide = learn::opened(&spec, &learn::entries(&self.machine.base), &shown);
        let mut launch = Launch::new(wide, stdio);
        launch.learning = Some(Box::new((spec, shown)));
        self.attempt(&mut launch)?;
        self.finish(launch)
    }

    fn finish(&mut self, mut launch: Launch) -> Result<Child, LaunchError> {
        loop {
            if let Some(child) = launch.advance(self, Wait::Block)? {
                return Ok(child);
            }
        }
    }

    /// Clones on the best rung that is left, falling where the kernel refuses.
    fn attempt(&mut self, launch: &mut Launch) -> Result<(), LaunchError> {
        loop {
            let level = launch.spec.level;
            let rung = self.rung(level).0;
            let mut plan = self.plan(&launch.spec, rung)?;
            if self.begin_ahead(launch, &plan) {
                return Ok(());
            }
            let known = self.machine.clone();
            let cgroup = self.cgroup(&launch.spec.limits);
            if known != self.machine {
                // What was to be held by it is to be held another way.
                plan = self.plan(&launch.spec, rung)?;
            }
            let is_member = cgroup.target().is_some();
            match self.clone_shim(launch, plan, cgroup) {
                Err(LaunchError::Stage(failure))
                    if is_member && NO_CLONE_INTO_CGROUP.contains(&failure.errno) =>
                {
                    // Its limits are planned anew without it: none is claimed that does not hold.
                    self.machine.cgroup = None;
                }
                Err(LaunchError::Stage(failure)) if failure.loses_rung() && rung != Rung::Bare => {
                    self.give_up_rung(rung, &failure);
                }
                other => return other,
            }
        }
    }

    fn plan(&self, spec: &Spec, rung: Rung) -> Result<Plan, PlanError> {
        let lost: Vec<&str> = self.lost.iter().map(|(_, why)| why.as_str()).collect();
        let plan = plan::plan(spec, &self.machine, rung, &lost.join("; "))
            .map_err(|error| error.with_remedy(spec, &self.machine))?;
        Ok(plan.without(&self.off, spec, &self.machine))
    }

    fn give_up_rung(&mut self, rung: Rung, failure: &Failure) {
        self.lost.push((rung, failure.to_string()));
    }

    fn clone_shim(
        &mut self,
        launch: &mut Launch,
        mut plan: Plan,
        cgroup: Group,
    ) -> Result<(), LaunchError> {
        let filter = self.filter(plan.filter.as_ref())?;
        let private =
            if plan.private_tmp { Some(PrivateTmp::make(self.machine.uid)?) } else { None };
        if let (Some(private), Some(landlock)) = (&private, &mut plan.landlock) {
            landlock.files.push((private.0.clone(), Rights::Write));
        }
        let spec = &launch.spec;
        let mut env: Vec<(OsString, OsString)> = relocate(&spec.env, private.as_ref());
        let own = inlet::instead(spec, &mut plan).map_err(Failure::at(Stage::Way))?;
        if own.is_some() || !plan.inlets.is_empty() {
            let token = own.as_ref().and_then(|(way, _)| way.token.as_deref());
            let port = own.as_ref().map_or(inlet::PROXY_PORT, |(_, port)| *port);
            inlet::add_variables(&mut env, port, token);
        }
        let pairs = env.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        let args = spec.args.iter().map(OsString::as_os_str);
        let image = Image::new(&spec.program, args, pairs).map_err(|_nul| LaunchError::Nul)?;
        let workdir = match &private {
            Some(private) if spec.workdir == Path::new("/tmp") => private.0.clone(),
            _ => spec.workdir.clone(),
        };
        let at_clone = Failure::at(Stage::Clone);
        let (receiver, report) = record::pair().map_err(&at_clone)?;
        let (status, status_inside) =
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(&at_clone)?;
        let standard =
            [launch.stdio.input.as_fd(), launch.stdio.output.as_fd(), launch.stdio.error.as_fd()];
        let network = self.spare_network(&mut plan);
        let forked = sys::fork(plan.namespaces, cgroup.target());
        match forked.map_err(&at_clone)? {
            Fork::Child => shim::run(Job {
                plan: &plan,
                task: Task::Known(Work {
                    image: &image,
                    workdir: &workdir,
                    filter: &filter,
                    standard,
                }),
                private_tmp: private.as_ref().map(|private| private.0.clone()),
                network,
                doors: cgroup.doors(),
                report,
                status: status_inside,
                launcher: (self.machine.uid, self.machine.gid),
            }),
            Fork::Parent { pid, pidfd } => {
                launch.attempt = Some(Attempt {
                    watching: self.watching(&plan),
                    rung: plan.rung,
                    report: receiver,
                    shim: pid,
                    shim_fd: pidfd,
                    status,
                    reports: plan.expected,
                    cgroup,
                    unheld: plan.unheld,
                    held: plan.held,
                    private,
                    main: None,
                    failure: None,
                    watcher: None,
                    watched: Watched::default(),
                    way: own.map(|(way, _)| way),
                });
                Ok(())
            }
        }
    }

    /// A ready network namespace instead of a new one, where there is one.
    fn spare_network(&mut self, plan: &mut Plan) -> Option<OwnedFd> {
        if plan.rung != Rung::Root || plan.namespaces & libc::CLONE_NEWNET == 0 {
            return None;
        }
        let spare = self.networks.take()?;
        plan.namespaces &= !libc::CLONE_NEWNET;
        Some(spare)
    }

    fn filter(&mut self, variant: Option<&Variant>) -> Result<Programs, LaunchError> {
        let Some(variant) = variant else {
            return Ok(Programs { plain: Arc::from([]), asking: None });
        };
        if let Some(known) = self.filters.get(variant) {
            return Ok(known.clone());
        }
        let compiled = |watch| -> Result<Arc<[libc::sock_filter]>, SeccompError> {
            Ok(confine::program(&seccomp::compile_watched(variant, watch)?))
        };
        let plain = compiled(Watch::Nothing)?;
        let asking = (self.watch != Watch::Nothing).then(|| compiled(self.watch)).transpose()?;
        let programs = Programs { plain, asking };
        self.filters.insert(*variant, programs.clone());
        Ok(programs)
    }

    fn watching(&self, plan: &Plan) -> Option<(Watch, Variant)> {
        plan.filter.filter(|_| self.watch != Watch::Nothing).map(|variant| (self.watch, variant))
    }

    /// Control groups with these limits. A kind that cannot be had is given up from now on, so that
    /// what is planned next neither counts on it nor reports it.
    fn cgroup(&mut self, limits: &Limits) -> Group {
        self.sequence += 1;
        let name = format!("{}-{}", std::process::id(), self.sequence);
        loop {
            match Group::create(&self.machine, &name, limits) {
                Ok(group) => return group,
                Err(Lost::Unified) => self.machine.cgroup = None,
                Err(Lost::Classic) => self.machine.classic.clear(),
            }
        }
    }
}

/// What a kernel or a container answers that cannot clone into a cgroup: no `clone3`, a `clone3` without
/// that field, or a cgroup that takes no members.
const NO_CLONE_INTO_CGROUP: [Errno; 6] =
    [Errno::ENOSYS, Errno::E2BIG, Errno::EINVAL, Errno::EBUSY, Errno::EACCES, Errno::EOPNOTSUPP];

mod asking;
mod standby;

use standby::Standbys;

/// Whether to wait for the inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until something happens.
    Block,
    /// Only what is there already.
    Poll,
}

/// A process on its way to exec.
#[derive(Debug)]
pub struct Launch {
    spec: Spec,
    stdio: Stdio,
    attempt: Option<Attempt>,
    /// What is really granted, and what is shown beside, where it is to be learned what is missing.
    learning: Option<Box<(Spec, Vec<PathBuf>)>>,
}

#[derive(Debug)]
struct Attempt {
    rung: Rung,
    report: Receiver,
    shim: i32,
    shim_fd: OwnedFd,
    status: OwnedFd,
    reports: Vec<LayerReport>,
    cgroup: Group,
    unheld: Unheld,
    held: Vec<Held>,
    private: Option<PrivateTmp>,
    main: Option<OwnedFd>,
    failure: Option<Failure>,
    /// What is to be watched, of which filter.
    watching: Option<(Watch, Variant)>,
    /// Who answers the filter's questions, and what it will be told.
    watcher: Option<Watcher>,
    watched: Watched,
    /// The way to a broker, as far as it is open.
    way: Option<Way>,
}

impl Launch {
    fn new(spec: Spec, stdio: Stdio) -> Self {
        Self { spec: spec.settled(), stdio, attempt: None, learning: None }
    }

    /// Readable when [`Launch::advance`] has something to do.
    #[must_use]
    pub fn readiness(&self) -> Option<BorrowedFd<'_>> {
        self.attempt.as_ref().map(|attempt| attempt.report.as_fd())
    }

    /// Gives the start up: kills what is there of it. [`Launch::advance`] then reports the failure.
    pub fn abandon(&self) {
        if let Some(attempt) = &self.attempt {
            sys::pidfd_signal(attempt.shim_fd.as_fd(), libc::SIGKILL).ok();
        }
    }

    /// Takes in what the inside reports. `Some` once the program runs; `None` when more is to come.
    ///
    /// # Errors
    /// [`LaunchError`] when the start failed for good; everything of it is gone then.
    pub fn advance(
        &mut self,
        launcher: &mut Launcher,
        wait: Wait,
    ) -> Result<Option<Child>, LaunchError> {
        loop {
            let Some(attempt) = &mut self.attempt else {
                return Err(Failure::at(Stage::Clone)(Errno::ESRCH).into());
            };
            if !attempt.has_record(wait) {
                return Ok(None);
            }
            match attempt.report.receive(wait) {
                Ok(Some(Record::Layer(report))) => attempt.correct(report),
                Ok(Some(Record::Main(process))) => attempt.main = Some(process),
                Ok(Some(Record::Failed(failure))) => attempt.failure = Some(failure),
                Ok(Some(Record::Listener(listener))) => {
                    let learning = self.learning.as_deref();
                    attempt.listen(listener, &self.spec, learning, &launcher.machine);
                }
                Ok(Some(Record::Inlet(inlet))) => {
                    attempt.way.get_or_insert_default().inlets.push(inlet);
                }
                Ok(None) => return self.conclude(launcher),
                Err(Errno::EAGAIN) => return Ok(None),
                Err(errno) => return Err(Failure::at(Stage::Clone)(errno).into()),
            }
        }
    }

    /// The inside has closed its end: exec succeeded, or there is a failure.
    fn conclude(&mut self, launcher: &mut Launcher) -> Result<Option<Child>, LaunchError> {
        let Some(attempt) = self.attempt.take() else { return Ok(None) };
        match attempt.into_child(&self.spec, launcher.proven.clone()) {
            Ok(child) => Ok(Some(child)),
            Err((_, failure))
                if failure.stage == Stage::Cgroup && !launcher.machine.classic.is_empty() =>
            {
                launcher.machine.classic.clear();
                launcher.attempt(self).map(|()| None)
            }
            Err((rung, failure)) if failure.loses_rung() && rung != Rung::Bare => {
                launcher.give_up_rung(rung, &failure);
                launcher.attempt(self).map(|()| None)
            }
            Err((_, failure)) => Err(failure.into()),
        }
    }
}

impl Attempt {
    fn correct(&mut self, report: LayerReport) {
        if let Some(known) = self.reports.iter_mut().find(|known| known.layer == report.layer) {
            *known = report;
        }
    }

    /// Neither a failure nor a program: the shim was killed before it could say more.
    fn vanished(&self, spec: &Spec) -> Failure {
        let mut hits = self.cgroup.hits(&spec.limits).into_iter();
        match hits.find(|hit| hit.limit == Limit::Memory) {
            Some(hit) => Failure::about(Stage::Within, hit.to_string())(Errno::ERANGE),
            None => Failure::at(Stage::Clone)(Errno::ESRCH),
        }
    }

    fn into_child(self, spec: &Spec, proven: Proven) -> Result<Child, (Rung, Failure)> {
        let failure =
            self.failure.clone().or_else(|| self.main.is_none().then(|| self.vanished(spec)));
        let tree_kill = match (self.cgroup.can_kill(), self.rung) {
            (true, _) => TreeKill::CgroupKill,
            (false, Rung::Root | Rung::User) => TreeKill::PidNamespace,
            (false, Rung::Bare) => TreeKill::Sweep,
        };
        let enforcement = Enforcement {
            protections: plan::grades(spec, &self.reports, &self.held),
            layers: self.reports,
            tree_kill,
            limits: self.held,
            notes: notes(spec),
            watched: self.watched,
            proven,
        };
        match (failure, self.main) {
            (None, Some(main)) => Ok(Child {
                watchdog: Watchdog::of(
                    self.unheld,
                    &spec.limits,
                    (self.shim, self.rung),
                    main.as_fd(),
                    self.private.as_ref().map(|private| private.0.as_path()),
                ),
                main,
                shim: self.shim,
                shim_fd: self.shim_fd,
                status: self.status,
                cgroup: self.cgroup,
                private: self.private,
                way: self.way,
                rung: self.rung,
                limits: spec.limits.clone(),
                enforcement,
                watcher: self.watcher,
            }),
            (failure, _) => {
                sys::pidfd_signal(self.shim_fd.as_fd(), libc::SIGKILL).ok();
                sys::wait(self.shim, false).ok();
                Err((self.rung, failure.unwrap_or_else(|| Failure::at(Stage::Clone)(Errno::ESRCH))))
            }
        }
    }
}

/// What was granted without being asked for.
fn notes(spec: &Spec) -> Vec<String> {
    let unasked = spec.files.iter().filter(|grant| grant.origin != "requested");
    let hosts = spec.network.mode == NetworkMode::Hosts;
    let beyond = if hosts { inlet::beyond(&spec.network) } else { 0 };
    let narrow = (beyond > 0).then(|| {
        format!("{beyond} of the granted ports are reached by clients that know proxies only")
    });
    unasked
        .map(|grant| {
            let access = match grant.access {
                crate::spec::Access::Read => "read",
                crate::spec::Access::Exec => "read and execute",
                crate::spec::Access::Write => "write",
            };
            format!("granted by itself: {access} `{}` ({})", grant.path.display(), grant.origin)
        })
        .chain(narrow)
        .collect()
}

/// The private directory instead of `/tmp` where the environment names that.
fn relocate(
    env: &[(OsString, OsString)],
    private: Option<&PrivateTmp>,
) -> Vec<(OsString, OsString)> {
    env.iter()
        .map(|(name, value)| match private {
            Some(private) if value == "/tmp" => (name.clone(), private.0.clone().into_os_string()),
            _ => (name.clone(), value.clone()),
        })
        .collect()
}

/// A directory of the process's own below the host's temporary directory, removed with it.
#[derive(Debug)]
pub(crate) struct PrivateTmp(PathBuf);

impl PrivateTmp {
    fn make(uid: u32) -> Result<Self, LaunchError> {
        let failed = |error: std::io::Error| {
            LaunchError::from(Failure {
                stage: Stage::Mount,
                errno: Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)),
                subject: "private directory below /tmp".to_owned(),
            })
        };
        let mut sequence = 0_u32;
        loop {
            let path =
                PathBuf::from(format!("/tmp/plugbay-{uid}-{}-{sequence}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error)
                    if error.kind() == std::io::ErrorKind::AlreadyExists && sequence < 10_000 =>
                {
                    sequence += 1;
                }
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

impl Drop for PrivateTmp {
    fn drop(&mut self) {
        // Does not follow links; what cannot be removed is only rubbish in /tmp.
        drop(fs::remove_dir_all(&self.0));
    }
}
