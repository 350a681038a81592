//! The keeper's loop: one thread, one `poll`, and a timer only once after a start.
//!
//! ```text
//! Spawn ─► starting ─(exec)─► running ─(tree gone)─► Exited
//!              └─(stage failed)─► Failed
//! brain gone ─► kill every tree ─► exit when none is left
//! ```

use std::{
    collections::{BTreeMap, VecDeque},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{pipe2, setsid},
};
use plugbay_sandbox::{
    Beat, Child, Launch, LaunchError, Launcher, PlanError, Spec, Stdio, Tally, Wait, Watch, proof,
};

use crate::{
    channel::{self, Channel},
    error::KeeperError,
    message::{Event, Failure, Passage, Request, Token},
    program::PROOFS,
    refusal::{Refusals, now},
};

/// How many starts are kept prepared: a restart, and one that comes while that is under way. Each
/// costs the kernel some 50 KiB. (That is of namespaces; one whole start is kept beside them.)
const SPARES: usize = 2;

/// A time without anything to do before the next start is prepared: a program that has just been
/// started, and the brain that waits for it, have better use for the processor.
const LULL: Duration = Duration::from_millis(20);

/// Milliseconds between looks at descriptors that cannot be waited for.
const NAP: u16 = 20;

/// Exit codes, seen by nobody but a person who looks.
const EXIT_DONE: i32 = 0;
const EXIT_BROKEN: i32 = 70;

/// The whole life of the keeper. Returns its exit code.
pub(crate) fn serve(brain: i32) -> i32 {
    // A session of its own: a Ctrl-C at the terminal reaches the brain, which then stops in order.
    setsid().ok();
    nix::unistd::chdir("/").ok();
    raise_descriptor_limit();
    match Keeper::new(brain) {
        Ok(mut keeper) => {
            keeper.run();
            EXIT_DONE
        }
        Err(_cannot_serve) => EXIT_BROKEN,
    }
}

struct Keeper {
    brain: OwnedFd,
    control: Channel,
    launcher: Launcher,
    starting: BTreeMap<Token, Starting>,
    running: BTreeMap<Token, Running>,
    /// Events that the brain has not taken yet. At most a few per process, so bounded by them.
    outbox: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    state: State,
    /// Beats while a limit of some process holds only by being looked at.
    beat: Option<Beat>,
    /// A start has used what was made ahead of time.
    unprepared: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Serving,
    /// The brain is gone or said goodbye: everything is being killed.
    Ending,
}

struct Starting {
    launch: Launch,
    /// The brain's ends of the pipes.
    ends: [OwnedFd; 3],
}

struct Running {
    child: Child,
    refusals: Refusals,
}

/// What a descriptor in the poll set stands for.
#[derive(Debug, Clone, Copy)]
enum Source {
    Control,
    Brain,
    Starting(Token),
    Running(Token),
    Refusals(Token),
    Beat,
}

impl Keeper {
    fn new(brain: i32) -> Result<Self, KeeperError> {
        let socket = std::io::stdin().as_fd().try_clone_to_owned().map_err(KeeperError::Socket)?;
        let brain_fd = plugbay_sandbox::process::open(brain)
            .map_err(|errno| KeeperError::Socket(errno.into()))?;
        // The number could have been reused before it was opened; our parent's cannot.
        if nix::unistd::getppid().as_raw() != brain {
            return Err(KeeperError::Gone);
        }
        let mut launcher = Launcher::new().map_err(|_threads| KeeperError::Gone)?;
        if let Ok(canary) = std::env::current_exe() {
            let place = std::env::var_os(PROOFS).map(std::path::PathBuf::from);
            proof::prove(&mut launcher, &canary, place.as_deref());
        }
        launcher.watch(Watch::Denials);
        Ok(Self {
            brain: brain_fd,
            control: Channel::new(socket),
            launcher,
            starting: BTreeMap::new(),
            running: BTreeMap::new(),
            outbox: VecDeque::new(),
            state: State::Serving,
            beat: None,
            unprepared: true,
        })
    }

    fn run(&mut self) {
        while self.state == State::Serving || !self.running.is_empty() || !self.starting.is_empty()
        {
            for source in self.wait() {
                match source {
                    Source::Control => self.take_requests(),
                    Source::Brain => self.end(),
                    Source::Starting(token) => self.advance(token),
                    Source::Running(token) => self.finish(token),
                    Source::Refusals(token) => self.refuse(token),
                    Source::Beat => self.look(),
                }
            }
            self.tell_refusals();
            self.flush();
        }
    }

    /// How long to wait for something to do before the next start is prepared instead.
    fn lull(&self) -> Option<Duration> {
        let idle = self.state == State::Serving && self.starting.is_empty();
        (self.unprepared && idle).then_some(LULL)
    }

    /// Waits until something is ready and says what. Uses a lull to make the next start short.
    fn wait(&mut self) -> Vec<Source> {
        let (serving, now) = (self.state == State::Serving, now());
        let mut interest = PollFlags::POLLIN;
        if !self.outbox.is_empty() {
            interest |= PollFlags::POLLOUT;
        }
        let mut watched: Vec<(Source, BorrowedFd<'_>, PollFlags)> = Vec::new();
        if serving {
            watched.push((Source::Control, self.control.as_fd(), interest));
            watched.push((Source::Brain, self.brain.as_fd(), PollFlags::POLLIN));
        }
        watched.extend(self.starting.iter().filter_map(|(token, starting)| {
            Some((Source::Starting(*token), starting.launch.readiness()?, PollFlags::POLLIN))
        }));
        // While the brain does not take what it was told, nothing is due.
        let listened = self.outbox.is_empty();
        let mut alarm: Option<Duration> = None;
        for (token, running) in &self.running {
            watched.push((Source::Running(*token), running.child.tree(), PollFlags::POLLIN));
            let (listener, later) = running.refusals.wish(now, listened);
            watched.extend(listener.map(|fd| (Source::Refusals(*token), fd, PollFlags::POLLIN)));
            alarm = alarm.into_iter().chain(later).min();
        }
        let beat = self.beat.iter().map(|beat| (Source::Beat, beat.as_fd(), PollFlags::POLLIN));
        watched.extend(beat);
        let mut polled: Vec<PollFd<'_>> =
            watched.iter().map(|(_, fd, interest)| PollFd::new(*fd, *interest)).collect();
        let lull = self.lull().filter(|lull| alarm.is_none_or(|alarm| *lull < alarm));
        match poll(&mut polled, timeout(lull.or(alarm))) {
            Ok(0) => {
                if lull.is_some() {
                    self.unprepared = false;
                    self.launcher.prepare(SPARES);
                }
                return Vec::new();
            }
            Ok(_) | Err(Errno::EINTR) => {}
            // Out of memory for the call, or more descriptors than may be open: somebody has lowered
            // the limit since.
            Err(_too_many) => in_pieces(&mut polled, most_at_once()),
        }
        let ready = polled.iter().zip(&watched).filter(|(polled, _)| polled.any().unwrap_or(false));
        ready.map(|(_, (source, _, _))| *source).collect()
    }

    fn take_requests(&mut self) {
        loop {
            match self.control.receive::<Request>() {
                Ok(Some((request, _no_descriptors))) => self.obey(request),
                Err(KeeperError::Socket(error))
                    if error.kind() == std::io::ErrorKind::WouldBlock =>
                {
                    return;
                }
                // The end of the socket, or a brain that does not speak our language.
                Ok(None) | Err(_) => return self.end(),
            }
        }
    }

    fn obey(&mut self, request: Request) {
        match request {
            Request::Spawn { token, spec } => self.spawn(token, *spec),
            Request::Signal { token, signal } => {
                if let Some(running) = self.running.get(&token) {
                    running.child.signal(signal).ok();
                }
            }
            Request::Kill { token } => {
                if let Some(running) = self.running.get(&token) {
                    running.child.kill();
                } else if let Some(starting) = self.starting.get(&token) {
                    starting.launch.abandon();
                }
            }
            Request::Goodbye => self.end(),
        }
    }

    fn spawn(&mut self, token: Token, spec: Spec) {
        if self.starting.contains_key(&token) || self.running.contains_key(&token) {
            let message = "the token is in use".to_owned();
            return self.failed(token, Failure { stage: None, errno: None, message });
        }
        self.unprepared = true;
        let pipes = standard_pipes().map_err(LaunchError::from_os);
        let begun = pipes.and_then(|(stdio, ends)| Ok((self.launcher.begin(spec, stdio)?, ends)));
        match begun {
            Ok((launch, ends)) => {
                self.starting.insert(token, Starting { launch, ends });
            }
            Err(error) => self.failed(token, failure(&error)),
        }
    }

    fn advance(&mut self, token: Token) {
        let Some(mut starting) = self.starting.remove(&token) else { return };
        match starting.launch.advance(&mut self.launcher, Wait::Poll) {
            Ok(None) => {
                self.starting.insert(token, starting);
            }
            Ok(Some(child)) => self.started(token, child, starting.ends),
            Err(error) => self.failed(token, failure(&error)),
        }
    }

    fn started(&mut self, token: Token, mut child: Child, ends: [OwnedFd; 3]) {
        let enforcement = Box::new(child.enforcement().clone());
        let process = child.process().try_clone_to_owned();
        let mut fds = Vec::from(ends);
        fds.extend(process.ok());
        let way = child.take_way().map(|way| {
            let inlets = way.inlets.iter().map(|inlet| inlet.kind).collect();
            fds.extend(way.inlets.into_iter().map(|inlet| inlet.socket));
            Passage { inlets, token: way.token }
        });
        let event = Event::Started { token, pid: child.pid(), enforcement, way };
        if self.state == State::Ending {
            child.kill();
        }
        let refusals = Refusals::of(child.take_watcher());
        self.running.insert(token, Running { child, refusals });
        self.watch();
        self.tell(&event, fds);
    }

    /// Beats exactly while there is something to look at. Without a timer nothing is looked at, which
    /// is as good as can be had: the host is out of descriptors, and the next start tries again.
    fn watch(&mut self) {
        if !self.running.values().any(|running| running.child.is_watched()) {
            self.beat = None;
        } else if self.beat.is_none() {
            self.beat = Beat::start().ok();
        }
    }

    fn look(&mut self) {
        if let Some(beat) = &self.beat {
            beat.look(self.running.values_mut().map(|running| &mut running.child));
        }
    }

    fn failed(&mut self, token: Token, failure: Failure) {
        self.tell(&Event::Failed { token, failure }, Vec::new());
    }

    fn finish(&mut self, token: Token) {
        if let Some(Running { child, mut refusals }) = self.running.remove(&token) {
            if let Some(denials) = refusals.untold() {
                self.tell(&Event::Denied { token, denials }, Vec::new());
            }
            let exit = child.finish();
            self.watch();
            self.tell(&Event::Exited { token, exit }, Vec::new());
        }
    }

    fn refuse(&mut self, token: Token) {
        if let Some(running) = self.running.get_mut(&token) {
            running.refusals.serve(now());
        }
    }

    /// Tells what is due, if the brain has taken everything that was told before: what it does not
    /// read must not pile up here.
    fn tell_refusals(&mut self) {
        if !self.outbox.is_empty() {
            return;
        }
        let now = now();
        let due = self.running.iter_mut();
        let due: Vec<(Token, Tally)> =
            due.filter_map(|(token, running)| Some((*token, running.refusals.due(now)?))).collect();
        for (token, denials) in due {
            self.tell(&Event::Denied { token, denials }, Vec::new());
        }
    }

    fn end(&mut self) {
        self.state = State::Ending;
        for running in self.running.values() {
            running.child.kill();
        }
        for starting in self.starting.values() {
            starting.launch.abandon();
        }
    }

    fn tell(&mut self, event: &Event, fds: Vec<OwnedFd>) {
        if let Ok(bytes) = channel::encode(event) {
            self.outbox.push_back((bytes, fds));
        }
        self.flush();
    }

    fn flush(&mut self) {
        while let Some((bytes, fds)) = self.outbox.front() {
            let borrowed: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
            match self.control.send(bytes, &borrowed) {
                Ok(()) => {
                    self.outbox.pop_front();
                }
                Err(Errno::EAGAIN | Errno::ENOBUFS) => return,
                Err(_brain_is_gone) => {
                    self.outbox.clear();
                    return;
                }
            }
        }
    }
}

/// Rounded up to whole milliseconds: better late by one than spinning through the last.
fn timeout(left: Option<Duration>) -> PollTimeout {
    left.map_or(PollTimeout::NONE, |left| {
        let rounded = left.saturating_add(Duration::from_micros(999));
        PollTimeout::try_from(rounded).unwrap_or(PollTimeout::MAX)
    })
}

/// Looks at descriptors that cannot be waited for all at once. Where nothing is ready, a nap: it is looked
/// again soon.
fn in_pieces(polled: &mut [PollFd<'_>], most: usize) {
    let ready = |piece: &mut [PollFd<'_>]| poll(piece, PollTimeout::ZERO).unwrap_or(0);
    if polled.chunks_mut(most.max(1)).map(ready).sum::<i32>() == 0 {
        poll(&mut [], NAP).ok();
    }
}

/// How many descriptors the kernel takes in one call.
fn most_at_once() -> usize {
    let soft = getrlimit(Resource::RLIMIT_NOFILE).map_or(1, |(soft, _)| soft);
    usize::try_from(soft).unwrap_or(usize::MAX)
}

/// Each process costs a handful of descriptors here; the usual soft limit of 1,024 is for `select`.
fn raise_descriptor_limit() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok();
    }
}

/// Three pipes: the ends for the program and those for the brain, in the order in, out, error.
fn standard_pipes() -> Result<(Stdio, [OwnedFd; 3]), Errno> {
    let (input, to_input) = pipe2(OFlag::O_CLOEXEC)?;
    let (from_output, output) = pipe2(OFlag::O_CLOEXEC)?;
    let (from_error, error) = pipe2(OFlag::O_CLOEXEC)?;
    Ok((Stdio { input, output, error }, [to_input, from_output, from_error]))
}

fn failure(error: &LaunchError) -> Failure {
    let (stage, errno) = match error {
        LaunchError::Stage(failure) => {
            (Some(failure.stage.describe().to_owned()), Some(failure.errno as i32))
        }
        LaunchError::Plan(error) if error.is_unmet() => (Some(PlanError::UNMET.to_owned()), None),
        LaunchError::Plan(_)
        | LaunchError::Filter(_)
        | LaunchError::Threads(_)
        | LaunchError::Nul => (None, None),
    };
    Failure { stage, errno, message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn more_descriptors_than_may_be_open_are_looked_at_in_pieces() {
        let pipes: Vec<_> = (0..5).map(|_| std::io::pipe().unwrap()).collect();
        (&pipes[3].1).write_all(b"x").unwrap();
        let mut polled: Vec<_> =
            pipes.iter().map(|(end, _)| PollFd::new(end.as_fd(), PollFlags::POLLIN)).collect();
        in_pieces(&mut polled, 2);
        let ready: Vec<_> = polled.iter().map(|one| one.any().unwrap()).collect();
        assert_eq!(ready, [false, false, false, true, false]);
    }
}
