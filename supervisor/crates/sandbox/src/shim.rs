//! The processes between launcher and program.
//!
//! With namespaces: the *shim* is pid 1 of the new pid namespace (it builds the view and reaps), the
//! *stub* is the program's parent (many programs quit when their parent is pid 1), the program comes
//! third. Without namespaces the shim alone is parent, subreaper and tree killer.
//!
//! ```text
//! launcher ─clone(NEW*)─► shim ─fork─► stub ─fork─► program      (namespaces)
//! launcher ─fork────────► shim ─fork─► program                   (none)
//! ```
//! None of them reads a byte that the program wrote. Once the program has started, shim and stub hold
//! no capability and no descriptor but the one on which they report its end.

use std::{
    fs,
    os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
};

use ::landlock::RulesetCreated;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, setns},
    sys::{
        signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask},
        socket::{AddressFamily, SockFlag, SockType, socket},
    },
    unistd::{Gid, Pid, Uid, chown, sethostname},
};

use crate::{
    cgroup,
    enforcement::{Layer, Status},
    inlet,
    layers::{
        confine::{self, Image, Programs},
        idmap::Mapper,
        landlock,
        mount::{self, OwnLine},
    },
    machine::Machine,
    order,
    plan::{self, Identity, Plan, Rung},
    record::{Failure, Sender, Stage},
    sys::{self, Fork, Reaped},
    tree,
};

/// Start of the range of dedicated user ids: the process id of the shim is added. Process ids end at
/// 2^22, so the range ends below 2^31; systemd's table of ids (<https://systemd.io/UIDS-GIDS/>) lists
/// 0x70000000 to 0x7FFFFFFF as unused. Unique while the shim lives, with nothing to allocate.
pub(crate) const FIRST_DEDICATED_ID: u32 = 0x7000_0000;

/// Everything the shim needs, made by the launcher before the clone.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) task: Task<'a>,
    /// Stands in for `/tmp` where there is no mount namespace.
    pub(crate) private_tmp: Option<PathBuf>,
    /// A network namespace to join, made ahead of time.
    pub(crate) network: Option<OwnedFd>,
    /// Control groups to go into first of all.
    pub(crate) doors: Vec<BorrowedFd<'a>>,
    pub(crate) report: Sender,
    pub(crate) status: OwnedFd,
    pub(crate) launcher: (u32, u32),
}

/// What to do once everything around the program stands.
#[derive(Debug)]
pub(crate) enum Task<'a> {
    /// Known when this process was made.
    Known(Work<'a>),
    /// Told later: this process was made ahead of time.
    Awaited(Awaited<'a>),
}

/// What to execute, and what only the program's own process needs for that.
#[derive(Debug)]
pub(crate) struct Work<'a> {
    pub(crate) image: &'a Image,
    pub(crate) workdir: &'a Path,
    pub(crate) filter: &'a Programs,
    pub(crate) standard: [BorrowedFd<'a>; 3],
}

/// What is known of a task before it is given.
#[derive(Debug)]
pub(crate) struct Awaited<'a> {
    pub(crate) orders: order::Receiver,
    pub(crate) machine: &'a Machine,
    pub(crate) filter: &'a Programs,
    /// The owners that granted trees may have.
    pub(crate) owners: &'a [(u32, u32)],
}

/// Ends the process if a panic should ever unwind out of the code below: the frames above belong to
/// the launcher and must not run here.
struct ExitGuard;

impl Drop for ExitGuard {
    fn drop(&mut self) {
        sys::exit_now(EXIT_PANIC);
    }
}

const EXIT_FAILED: i32 = 1;
const EXIT_PANIC: i32 = 70;

/// The whole life of the shim.
pub(crate) fn run(job: Job<'_>) -> ! {
    let _guard = ExitGuard;
    sys::reset_signal_actions();
    let outcome = if job.plan.rung == Rung::Bare { run_bare(job) } else { run_in_namespaces(job) };
    sys::exit_now(if outcome.is_ok() { 0 } else { EXIT_FAILED })
}

fn run_in_namespaces(job: Job<'_>) -> Result<(), ()> {
    let ready = reported(&job.report, prepare(&job))?;
    match reported(&job.report, sys::fork(0, None).map_err(Failure::at(Stage::Fork)))? {
        Fork::Child => stub(job, ready),
        Fork::Parent { pid: stub, pidfd } => {
            drop((pidfd, ready));
            let status = job.status;
            // Whatever is owned is closed here: `settle` closes by number what owners do not know of.
            drop((job.report, job.network, job.task));
            settle(&[status.as_raw_fd()]);
            // Pid 1: reap whatever is orphaned here; when the stub ends the program has, and with
            // our exit the kernel kills the rest of the namespace.
            loop {
                match sys::wait_or_stop() {
                    // Without scopes the program can stop its parent, which would tell of no end.
                    Ok(Some(child)) if child.pid == stub && libc::WIFSTOPPED(child.status) => {
                        kill(Pid::from_raw(stub), Signal::SIGKILL).ok();
                    }
                    Ok(Some(child)) if child.pid == stub => return Ok(()),
                    Ok(_) => {}
                    Err(_no_children) => return Ok(()),
                }
            }
        }
    }
}

/// What is made before the first fork inside and used by the program's process.
#[derive(Debug)]
struct Ready {
    /// `None` where there is no Landlock, or the task is not known yet.
    ruleset: Option<RulesetCreated>,
    dedicated: Option<u32>,
    mapper: Mapper,
    /// What the view lacks and is not reported yet.
    lost: Vec<(Layer, String)>,
}

/// Everything before the first fork inside: maps, view, host name, loopback, ruleset.
fn prepare(job: &Job<'_>) -> Result<Ready, Failure> {
    enter_cgroups(job)?;
    keep_only(job)?;
    confine::unblock_signals();
    // What the terminal sends to the launcher's group is the launcher's to pass on: it would end the
    // stub, and with it everything.
    confine::detach_session()?;
    confine::die_with_parent(libc::SIGKILL)?;
    if launcher_is_gone(&job.status) {
        sys::exit_now(EXIT_FAILED);
    }
    let plan = job.plan;
    if let Some(network) = &job.network {
        setns(network, CloneFlags::CLONE_NEWNET).map_err(Failure::at(Stage::Clone))?;
    }
    if plan.rung == Rung::User {
        map_own_ids(job.launcher).map_err(Failure::at(Stage::UserMap))?;
    }
    let dedicated = dedicated_id(plan).map_err(Failure::at(Stage::User))?;
    // A name that says nothing of the host. Inside a masked container it may be refused; then the
    // host's name shows, which the report need not mention: the namespace itself is there.
    if plan.keeps(Layer::UtsNamespace) {
        sethostname("plugbay").ok();
    }
    own_private_tmp(job, dedicated)?;
    let mapped = dedicated.filter(|_| plan.keeps(Layer::IdMappedMounts));
    let (mut mapper, mut lost) = (Mapper::new(mapped), Vec::new());
    if let Task::Awaited(awaited) = &job.task {
        // While there is the host's `/proc` to make them by.
        let expected = |(uid, gid): &(u32, u32)| mapper.expect(*uid, *gid);
        awaited.owners.iter().try_for_each(expected).map_err(Failure::at(Stage::IdMap))?;
    }
    if let Some(view) = &plan.view {
        lost = mount::enter(view, &mut mapper, own_line(job, dedicated))?;
    }
    if plan.loopback {
        bring_up_loopback().map_err(Failure::at(Stage::Loopback))?;
    }
    open_way(job)?;
    hide()?;
    let ruleset = match &job.task {
        Task::Known(_) => {
            report_lost(job, &std::mem::take(&mut lost))?;
            ruleset(plan)?
        }
        Task::Awaited(_) => None,
    };
    Ok(Ready { ruleset, dedicated, mapper, lost })
}

/// Opens the inlets and hands them out: whoever is to be the broker holds them before the program runs,
/// and nobody inside does.
fn open_way(job: &Job<'_>) -> Result<(), Failure> {
    if job.plan.inlets.is_empty() {
        return Ok(());
    }
    let failed = Failure::at(Stage::Way);
    let own = job.plan.namespaces & libc::CLONE_NEWNET != 0 || job.network.is_some();
    if !own {
        // It would turn the host's own network round. No plan asks for it; nothing may.
        return Err(failed(Errno::EPERM));
    }
    let inlets = inlet::open(&job.plan.inlets).map_err(&failed)?;
    inlets.iter().try_for_each(|inlet| job.report.inlet(inlet)).map_err(failed)
}

fn own_line(job: &Job<'_>, dedicated: Option<u32>) -> OwnLine {
    let (uid, gid) = dedicated.map_or(job.launcher, |id| (id, id));
    OwnLine { uid, gid }
}

fn ruleset(plan: &Plan) -> Result<Option<RulesetCreated>, Failure> {
    plan.landlock.as_ref().map(landlock::build).transpose()
}

/// What the view lacks is a partial layer; strict does not start with one.
fn report_lost(job: &Job<'_>, lost: &[(Layer, String)]) -> Result<(), Failure> {
    for layer in [Layer::IdMappedMounts, Layer::MountNamespace] {
        let here: Vec<&str> =
            lost.iter().filter(|(of, _)| *of == layer).map(|(_, text)| text.as_str()).collect();
        if here.is_empty() {
            continue;
        }
        let why = here.join("; ");
        if job.plan.strict {
            return Err(Failure { stage: Stage::Mount, errno: Errno::EOPNOTSUPP, subject: why });
        }
        job.report.layer(layer, Status::Partial, &why).map_err(Failure::at(Stage::Mount))?;
    }
    Ok(())
}

fn stub(job: Job<'_>, ready: Ready) -> ! {
    let outcome = start_program(job, ready).and_then(|(program, status)| {
        let ended = sys::wait(program, false).ok().flatten();
        ended.map(|ended| send_end(&status, &ended)).ok_or(())
    });
    sys::exit_now(if outcome.is_ok() { 0 } else { EXIT_FAILED })
}

/// Forks the program's process and hands its descriptor to the launcher. Returns in the parent only.
fn start_program(job: Job<'_>, ready: Ready) -> Result<(i32, OwnedFd), ()> {
    let forked = confine::die_with_parent(libc::SIGKILL)
        .and_then(|()| sys::fork(0, None).map_err(Failure::at(Stage::Fork)));
    match reported(&job.report, forked)? {
        Fork::Child => {
            let failure = become_program(&job, ready);
            job.report.failed(&failure);
            sys::exit_now(EXIT_FAILED)
        }
        Fork::Parent { pid, pidfd } => {
            drop(ready);
            let sent = job.report.main_process(pidfd.as_fd()).map_err(Failure::at(Stage::Fork));
            reported(&job.report, sent)?;
            drop((pidfd, job.report, job.network, job.task));
            settle(&[job.status.as_raw_fd()]);
            Ok((pid, job.status))
        }
    }
}

/// The program's own process: restrict, then execute. Returns only with the reason why not.
fn become_program(job: &Job<'_>, ready: Ready) -> Failure {
    let outcome = match &job.task {
        Task::Known(work) => {
            seal(job.plan, work, ready, &job.report).map(|()| work.image.execute())
        }
        Task::Awaited(awaited) => obey(job, awaited, ready),
    };
    outcome.unwrap_or_else(|failure| failure)
}

/// Waits for what to become, adds to the view what was granted, and becomes it.
fn obey(job: &Job<'_>, awaited: &Awaited<'_>, mut ready: Ready) -> Result<Failure, Failure> {
    let received = awaited.orders.receive().map_err(Failure::at(Stage::Order))?;
    // No order will come: the launcher has no use for this process.
    let Some(order) = received else { sys::exit_now(EXIT_FAILED) };
    let refused = |subject: String| Failure { stage: Stage::Order, errno: Errno::EINVAL, subject };
    let plan = plan::plan(&order.spec, awaited.machine, job.plan.rung, "")
        .map_err(|error| refused(error.to_string()))?;
    if let Some(view) = &plan.view {
        let line = own_line(job, ready.dedicated);
        ready.lost.extend(mount::add(view, order.trees, &mut ready.mapper, line)?);
    }
    report_lost(job, &ready.lost)?;
    ready.ruleset = ruleset(&plan)?;
    let image = Image::of(&order.spec).map_err(Failure::at(Stage::Order))?;
    let [input, output, error] = &order.standard;
    let standard = [input.as_fd(), output.as_fd(), error.as_fd()];
    let workdir = &order.spec.workdir;
    let work = Work { image: &image, workdir, filter: awaited.filter, standard };
    seal(&plan, &work, ready, &job.report)?;
    Ok(image.execute())
}

fn seal(plan: &Plan, work: &Work<'_>, ready: Ready, report: &Sender) -> Result<(), Failure> {
    let sealed = plan.sealed;
    confine::detach_session()?;
    confine::die_with_parent(libc::SIGKILL)?;
    confine::limit_resources(&plan.rlimits)?;
    let drops = sealed && plan.keeps(Layer::Capabilities);
    if drops {
        confine::drop_bounding_set()?;
    }
    if let Some(id) = ready.dedicated.filter(|_| sealed) {
        confine::open_pipes(work.standard)?;
        confine::become_user(id)?;
    }
    if drops {
        confine::drop_capabilities()?;
    }
    if sealed {
        confine::die_with_parent(libc::SIGKILL)?;
    }
    confine::enter_directory(work.workdir)?;
    confine::arrange_descriptors(work.standard)?;
    if plan.keeps(Layer::ProcessHygiene) {
        confine::close_the_rest()?;
    }
    if sealed && plan.keeps(Layer::NoNewPrivileges) {
        confine::forbid_new_privileges()?;
    }
    if let Some(ruleset) = ready.ruleset {
        landlock::apply(ruleset)?;
    }
    if plan.filter.is_none() || !plan.keeps(Layer::Seccomp) {
        return Ok(());
    }
    match confine::filter(work.filter)? {
        // The copy in this process closes with exec: the program never holds its own judge.
        Some(listener) => {
            let listener = listener.as_ref().map(OwnedFd::as_fd).map_err(|errno| *errno);
            report.listener(listener).map_err(Failure::at(Stage::Seccomp))
        }
        None => Ok(()),
    }
}

/// Without namespaces: parent, subreaper and tree killer in one. It is outside the program's Landlock
/// domain, so the program cannot signal it.
fn run_bare(job: Job<'_>) -> Result<(), ()> {
    let watched = watch_signals();
    let ready = reported(&job.report, prepare_bare(&job))?;
    let private_tmp = job.private_tmp.clone();
    let (program, status) = start_program_bare(job, ready)?;
    let mut main_ended = false;
    loop {
        // TERM comes from the launcher (kill the tree) or from its death.
        let stop = watched.wait().map_err(drop)? == Signal::SIGTERM;
        while let Ok(Some(child)) = sys::wait(-1, true) {
            if child.pid == program {
                send_end(&status, &child);
                main_ended = true;
            }
        }
        if stop || main_ended {
            tree::kill_descendants(|child| {
                if child.pid == program {
                    send_end(&status, &child);
                }
            });
            if let Some(directory) = private_tmp.filter(|_| launcher_is_gone(&status)) {
                // Else the launcher does it; an orphan has nobody behind it. Follows no link.
                fs::remove_dir_all(directory).ok();
            }
            return Ok(());
        }
    }
}

fn prepare_bare(job: &Job<'_>) -> Result<Ready, Failure> {
    enter_cgroups(job)?;
    keep_only(job)?;
    confine::detach_session()?;
    confine::die_with_parent(libc::SIGTERM)?;
    if launcher_is_gone(&job.status) {
        sys::exit_now(EXIT_FAILED);
    }
    let subreaper = sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0);
    subreaper.map_err(Failure::at(Stage::Session))?;
    let dedicated = dedicated_id(job.plan).map_err(Failure::at(Stage::User))?;
    own_private_tmp(job, dedicated)?;
    hide()?;
    let mapper = Mapper::new(dedicated);
    Ok(Ready { ruleset: ruleset(job.plan)?, dedicated, mapper, lost: Vec::new() })
}

/// The directory that stands in for `/tmp`, where there is one, is the dedicated user's.
fn own_private_tmp(job: &Job<'_>, dedicated: Option<u32>) -> Result<(), Failure> {
    let (Some(id), Some(directory)) = (dedicated, &job.private_tmp) else { return Ok(()) };
    chown(directory, Some(Uid::from_raw(id)), Some(Gid::from_raw(id)))
        .map_err(Failure::at(Stage::User))
}

fn start_program_bare(job: Job<'_>, ready: Ready) -> Result<(i32, OwnedFd), ()> {
    let forked = sys::fork(0, None).map_err(Failure::at(Stage::Fork));
    match reported(&job.report, forked)? {
        Fork::Child => {
            confine::unblock_signals();
            let failure = become_program(&job, ready);
            job.report.failed(&failure);
            sys::exit_now(EXIT_FAILED)
        }
        Fork::Parent { pid, pidfd } => {
            let sent = job.report.main_process(pidfd.as_fd()).map_err(Failure::at(Stage::Fork));
            reported(&job.report, sent)?;
            drop((pidfd, ready, job.report, job.task));
            close_all_but(&[job.status.as_raw_fd()]);
            Ok((pid, job.status))
        }
    }
}

/// The signals that the bare shim waits for, blocked so that none is lost between waits. A broken pipe
/// is blocked too: telling a dead launcher of an end must not end the sweep half way.
fn watch_signals() -> SigSet {
    let mut watched = SigSet::empty();
    watched.add(Signal::SIGCHLD);
    watched.add(Signal::SIGTERM);
    let mut blocked = watched;
    blocked.add(Signal::SIGPIPE);
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&blocked), None).ok();
    watched
}

/// Tells the launcher of a failure and turns it into "give up".
fn reported<T>(report: &Sender, outcome: Result<T, Failure>) -> Result<T, ()> {
    outcome.map_err(|failure| report.failed(&failure))
}

/// Into its control groups, before anything is made that would have to be moved after it.
fn enter_cgroups(job: &Job<'_>) -> Result<(), Failure> {
    job.doors.iter().try_for_each(|door| cgroup::enter(*door)).map_err(Failure::at(Stage::Cgroup))
}

/// Drops what the copy of the launcher brought along: other programs' pipes, the control socket. The
/// launcher's own 0, 1 and 2 stay as place holders, so that no descriptor made here gets their numbers
/// before the program's are put there.
fn keep_only(job: &Job<'_>) -> Result<(), Failure> {
    if !job.plan.keeps(Layer::ProcessHygiene) {
        return Ok(());
    }
    let mut kept: Vec<RawFd> = match &job.task {
        Task::Known(work) => work.standard.iter().map(|fd| fd.as_raw_fd()).collect(),
        Task::Awaited(awaited) => vec![awaited.orders.number()],
    };
    kept.extend(job.network.as_ref().map(AsRawFd::as_raw_fd));
    kept.extend([0, 1, 2, job.report.as_fd().as_raw_fd(), job.status.as_raw_fd()]);
    sys::close_all_except(&kept).map_err(Failure::at(Stage::Descriptors))
}

/// Not readable by the program, neither its memory nor the environment that it was copied with. Done
/// before the program exists; exec makes the program's own process an ordinary one again.
fn hide() -> Result<(), Failure> {
    sys::prctl(libc::PR_SET_DUMPABLE, 0, 0).map(drop).map_err(Failure::at(Stage::Session))
}

/// From here on this process only waits: no descriptors, no capabilities.
fn settle(kept: &[RawFd]) {
    close_all_but(kept);
    // Each is a belt over braces that already hold (Landlock, pid 1's immunity, other user); a kernel
    // that refuses one of them leaves the others.
    confine::drop_capabilities().ok();
    confine::forbid_new_privileges().ok();
}

fn close_all_but(kept: &[RawFd]) {
    sys::close_all_except(kept).ok();
}

/// The launcher holds the reading end of the status pipe for as long as it lives.
fn launcher_is_gone(status: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(status.as_fd(), PollFlags::empty())];
    poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// One line each: the launcher's ids stand for themselves, nobody else exists.
fn map_own_ids((uid, gid): (u32, u32)) -> Result<(), Errno> {
    let write = |file: &str, text: String| {
        fs::write(file, text)
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
    };
    write("/proc/self/setgroups", "deny".to_owned())?;
    write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}

/// The dedicated user's id: from the pid of this process as the launcher's `/proc` shows it.
fn dedicated_id(plan: &Plan) -> Result<Option<u32>, Errno> {
    if plan.identity == Identity::Launcher {
        return Ok(None);
    }
    let link = fs::read_link("/proc/self").map_err(|_no_proc| Errno::ENOENT)?;
    let pid: u32 = link.to_string_lossy().parse().map_err(|_not_a_pid| Errno::ENOENT)?;
    Ok(Some(FIRST_DEDICATED_ID.saturating_add(pid)))
}

fn bring_up_loopback() -> Result<(), Errno> {
    let control = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    sys::loopback_up(control.as_fd())
}

/// How many bytes tell of a program's end.
pub(crate) const END_BYTES: usize = 28;

fn send_end(status: &OwnedFd, ended: &Reaped) {
    let micros = |time: libc::timeval| {
        u64::try_from(time.tv_sec).unwrap_or(0).saturating_mul(1_000_000)
            + u64::try_from(time.tv_usec).unwrap_or(0)
    };
    let mut bytes = Vec::with_capacity(END_BYTES);
    bytes.extend(ended.status.to_le_bytes());
    bytes.extend(micros(ended.usage.ru_utime).to_le_bytes());
    bytes.extend(micros(ended.usage.ru_stime).to_le_bytes());
    bytes.extend(u64::try_from(ended.usage.ru_maxrss).unwrap_or(0).to_le_bytes());
    // If the launcher is gone nobody is left to tell.
    nix::unistd::write(status, &bytes).ok();
}
