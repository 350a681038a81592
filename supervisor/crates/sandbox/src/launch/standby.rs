//! A whole start made ahead of time: shim, stub and the program's own process, in all namespaces and
//! on the view of a spec without grants, stopped before anything that the next spec will decide.
//!
//! ```text
//! prepare ─► standing by ─(order: spec, pipes, granted trees)─► sealed ─► exec
//!                 └─(host's mounts or settings changed, other shape, launcher gone)─► killed
//! ```
//! Nothing untrusted has run in it, and it is used once. What it becomes is sealed and reported like
//! any other start; a spec that it does not suit starts the ordinary way. Only root can prepare: as an
//! ordinary user the ids are the launcher's own, and an idle start would count against its limits.

use std::{
    fs::{self, File},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::stat::fstat,
    unistd::pipe2,
};

use super::{Attempt, Launch, LaunchError, Launcher, Wait};
use crate::{
    denial::Watched,
    layers::mount,
    machine::Machine,
    order,
    plan::{self, Plan, Rung},
    record::{self, Failure, Record, Stage},
    shim::{self, Awaited, Job, Task},
    spec::{Level, Spec},
    sys::{self, Fork},
    view::View,
};

/// Owners of granted trees that are remembered.
const MOST_OWNERS: usize = 4;

/// The start at hand, and what the next one will look like.
#[derive(Debug, Default)]
pub(super) struct Standbys {
    ready: Option<Standby>,
    /// The last spec, without what differs from start to start.
    shape: Option<Spec>,
    /// Who owned the trees that were granted, the latest first.
    owners: Vec<(u32, u32)>,
    /// One failed to get ready: this machine has a reason, which an ordinary start will tell.
    given_up: bool,
}

/// One start that waits for its order.
#[derive(Debug)]
struct Standby {
    plan: Plan,
    orders: order::Sender,
    /// Whose trees it can take.
    owners: Vec<(u32, u32)>,
    surroundings: Surroundings,
    /// `None` once it is used.
    attempt: Option<Attempt>,
}

impl Launcher {
    /// Makes a start ahead, if there is none.
    pub(super) fn stand_by(&mut self) {
        if self.standby.ready.is_none() && !self.standby.given_up {
            self.standby.ready = self.make().ok();
            self.standby.given_up = self.standby.ready.is_none();
        }
    }

    fn make(&mut self) -> Result<Standby, LaunchError> {
        let shape = self.standby.shape.clone().unwrap_or_else(|| shape(&Spec::new("/")));
        let cgroup = self.cgroup(&shape.limits);
        let plan = plan::plan(&shape, &self.machine, Rung::Root, "")?;
        let filter = self.filter(plan.filter.as_ref())?;
        let at_clone = Failure::at(Stage::Clone);
        if self.standby.owners.is_empty() {
            self.standby.owners.push((self.machine.uid, self.machine.gid));
        }
        let owners = self.standby.owners.clone();
        let surroundings = Surroundings::look(&self.machine).map_err(&at_clone)?;
        let (receiver, report) = record::pair().map_err(&at_clone)?;
        let (orders, inside) = order::pair().map_err(&at_clone)?;
        let (status, status_inside) = pipe2(OFlag::O_CLOEXEC).map_err(&at_clone)?;
        let forked = sys::fork(plan.namespaces, cgroup.target());
        match forked.map_err(&at_clone)? {
            Fork::Child => shim::run(Job {
                plan: &plan,
                task: Task::Awaited(Awaited {
                    orders: inside,
                    machine: &self.machine,
                    filter: &filter,
                    owners: &owners,
                }),
                private_tmp: None,
                network: None,
                doors: cgroup.doors(),
                report,
                status: status_inside,
                launcher: (self.machine.uid, self.machine.gid),
            }),
            Fork::Parent { pid, pidfd } => {
                let attempt = Attempt {
                    rung: plan.rung,
                    report: receiver,
                    shim: pid,
                    shim_fd: pidfd,
                    status,
                    reports: Vec::new(),
                    cgroup,
                    unheld: plan.unheld,
                    held: Vec::new(),
                    private: None,
                    main: None,
                    failure: None,
                    watching: None,
                    watcher: None,
                    watched: Watched::default(),
                    way: None,
                };
                Ok(Standby { plan, orders, owners, surroundings, attempt: Some(attempt) })
            }
        }
    }

    /// Lets the start at hand become `launch`, if it suits. If not, it is gone afterwards.
    pub(super) fn begin_ahead(&mut self, launch: &mut Launch, plan: &Plan) -> bool {
        // What is made ahead has no way out of its network, and every layer.
        let ahead = plan.inlets.is_empty() && self.off.is_empty();
        if plan.rung != Rung::Root || launch.spec.level == Level::None || !ahead {
            return false;
        }
        let ready = self.standby.ready.take();
        self.standby.shape = Some(shape(&launch.spec));
        let Some(mut standby) = ready else { return false };
        match standby.is_well() {
            Ok(()) => {}
            Err(_broken) => {
                self.standby.given_up = true;
                return false;
            }
        }
        let attempt = standby.command(launch, plan, &self.machine, &mut self.standby.owners);
        launch.attempt = attempt.map(|attempt| Attempt {
            reports: plan.expected.clone(),
            watching: self.watching(plan),
            unheld: plan.unheld,
            held: plan.held.clone(),
            ..attempt
        });
        launch.attempt.is_some()
    }
}

impl Standby {
    /// Whether it is waiting or still getting ready, as it should.
    fn is_well(&mut self) -> Result<(), Errno> {
        let Some(attempt) = &mut self.attempt else { return Err(Errno::ESRCH) };
        loop {
            match attempt.report.receive(Wait::Poll) {
                Ok(Some(Record::Main(process))) => attempt.main = Some(process),
                Ok(
                    Some(
                        Record::Layer(_)
                        | Record::Failed(_)
                        | Record::Listener(_)
                        | Record::Inlet(_),
                    )
                    | None,
                ) => {
                    return Err(Errno::ESRCH);
                }
                Err(Errno::EAGAIN) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Sends the order, if this is the start that the plan wants.
    fn command(
        mut self,
        launch: &Launch,
        plan: &Plan,
        machine: &Machine,
        owners: &mut Vec<(u32, u32)>,
    ) -> Option<Attempt> {
        let added = added(&self.plan, plan)?;
        if self.surroundings.have_changed(machine) {
            return None;
        }
        let trees = mount::trees(plan.view.as_ref()?.steps.get(added..)?)?;
        remember(owners, &trees);
        if !trees.iter().filter_map(owner).all(|owner| self.owners.contains(&owner)) {
            return None;
        }
        self.attempt.as_mut()?.cgroup.change(machine, &launch.spec.limits)?;
        let stdio = &launch.stdio;
        let standard = [stdio.input.as_fd(), stdio.output.as_fd(), stdio.error.as_fd()];
        self.orders.send(&launch.spec, standard, &trees).ok()?;
        self.attempt.take()
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        if let Some(attempt) = &self.attempt {
            sys::pidfd_signal(attempt.shim_fd.as_fd(), libc::SIGKILL).ok();
            sys::wait(attempt.shim, false).ok();
        }
    }
}

/// What a start can be prepared for: everything but the program and what it is granted.
fn shape(spec: &Spec) -> Spec {
    Spec {
        program: "/".into(),
        args: Vec::new(),
        env: Vec::new(),
        workdir: "/".into(),
        files: Vec::new(),
        deny: Vec::new(),
        overlay: None,
        unix_sockets: Vec::new(),
        ..spec.clone()
    }
}

/// The place of the first step that `wanted` has and `prepared` has not, if that is all they differ in
/// as far as it was prepared.
fn added(prepared: &Plan, wanted: &Plan) -> Option<usize> {
    let same = prepared.rung == wanted.rung
        && prepared.sealed == wanted.sealed
        && prepared.strict == wanted.strict
        && prepared.namespaces == wanted.namespaces
        && prepared.loopback == wanted.loopback
        && prepared.identity == wanted.identity
        && prepared.filter == wanted.filter;
    let (
        View { host_root: None, steps, nested },
        View { host_root: None, steps: more, nested: too },
    ) = (prepared.view.as_ref()?, wanted.view.as_ref()?)
    else {
        return None;
    };
    (same && more.starts_with(steps) && too.starts_with(nested)).then_some(steps.len())
}

fn remember(owners: &mut Vec<(u32, u32)>, trees: &[OwnedFd]) {
    for owner in trees.iter().filter_map(owner) {
        if !owners.contains(&owner) {
            owners.truncate(MOST_OWNERS - 1);
            owners.insert(0, owner);
        }
    }
}

fn owner(tree: &OwnedFd) -> Option<(u32, u32)> {
    fstat(tree).ok().map(|found| (found.st_uid, found.st_gid))
}

/// What of the host a view was made from, to see whether it has changed since.
#[derive(Debug)]
struct Surroundings {
    mounts: File,
    settings: Vec<(u64, i64, i64)>,
}

impl Surroundings {
    fn look(machine: &Machine) -> Result<Self, Errno> {
        let mounts = File::open("/proc/self/mountinfo").map_err(|_no_proc| Errno::ENOENT)?;
        Ok(Self { mounts, settings: settings(machine) })
    }

    /// Whether something was mounted or unmounted, or a file or directory of the base was replaced.
    /// (What changes within them is seen through the view.)
    fn have_changed(&self, machine: &Machine) -> bool {
        let mut polled = [PollFd::new(self.mounts.as_fd(), PollFlags::POLLPRI)];
        poll(&mut polled, PollTimeout::ZERO) != Ok(0) || self.settings != settings(machine)
    }
}

/// When each directory that the base lies in was changed last.
fn settings(machine: &Machine) -> Vec<(u64, i64, i64)> {
    let mut parents: Vec<&Path> =
        machine.base.iter().filter_map(|entry| entry.path.parent()).collect();
    parents.sort_unstable();
    parents.dedup();
    let found = parents.into_iter().filter_map(|parent| fs::metadata(parent).ok());
    found.map(|found| (found.ino(), found.mtime(), found.mtime_nsec())).collect()
}
