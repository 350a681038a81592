//! From the start of the command to its end: signals are passed on, the wall clock is kept, and
//! nothing else happens. One `poll` over the process, the signals and the time that is left.

use std::{
    fs, io,
    os::fd::{AsFd as _, BorrowedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, killpg, raise},
        signalfd::{SfdFlags, SignalFd, siginfo},
    },
    unistd::Pid,
};
use plugbay_sandbox::{
    Beat, Cause, Child, Denial, Hit, Holder, Lessons, Limit, Limits, SECCOMP_KILL, Tally, Watcher,
    Wish,
};

use super::{
    pace::{self, Pace},
    relay::Relay,
    report::millis,
};
use crate::output::Terminal;

/// The signals that are meant for the command when they reach us.
const PASSED_ON: [Signal; 9] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
    Signal::SIGCONT,
    Signal::SIGTSTP,
];

/// How long a command that was asked to end may take: enough to flush, short enough for a script.
const GRACE: Duration = Duration::from_secs(2);

/// The signals to pass on, held back from us.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Blocks them, so that none is lost between here and the command's start. Those that we were
    /// told to ignore (`nohup`, a shell's background job) stay ignored.
    pub(crate) fn block() -> io::Result<Self> {
        let ignored = ignored(&fs::read_to_string("/proc/self/status")?);
        let mut set = SigSet::empty();
        for signal in PASSED_ON.into_iter().filter(|signal| !holds(ignored, *signal)) {
            set.add(signal);
        }
        set.thread_block()?;
        let descriptor =
            SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self(descriptor))
    }

    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn next(&self) -> io::Result<Option<siginfo>> {
        Ok(self.0.read_signal()?)
    }
}

/// The `SigIgn` mask of a `/proc/PID/status`.
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

fn holds(mask: u64, signal: Signal) -> bool {
    let bit = u32::try_from(signal as i32 - 1).unwrap_or(0);
    mask.checked_shr(bit).is_some_and(|shifted| shifted & 1 == 1)
}

/// How the command ended, and by whose doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    /// What the sandbox saw.
    pub(crate) exit: plugbay_sandbox::Exit,
    /// From exec to the end of the whole tree.
    pub(crate) wall: Duration,
    /// The wall limit passed.
    pub(crate) out_of_time: bool,
    /// The last signal that was passed on.
    pub(crate) passed_on: Option<i32>,
    /// What it was refused, as far as somebody watched.
    pub(crate) denials: Tally,
    /// The bound of what it writes, if it passed it.
    pub(crate) output: Option<Hit>,
    /// Whether it was ended for that.
    pub(crate) too_much_output: bool,
    /// What was seen beyond its grants, where that was to be learned.
    pub(crate) lessons: Lessons,
}

impl End {
    /// Every limit that it ran into, the wall clock's first.
    pub(crate) fn hits(&self, limits: &Limits) -> Vec<Hit> {
        let wall = limits.wall.filter(|_limit| self.out_of_time).map(|limit| Hit {
            limit: Limit::Wall,
            value: millis(limit),
            peak: Some(millis(self.wall)),
            times: 1,
            by: Holder::Timer,
        });
        wall.into_iter().chain(self.output.clone()).chain(self.exit.hits.iter().cloned()).collect()
    }

    /// All that it was refused, limits first.
    pub(crate) fn refusals(&self, limits: &Limits) -> Tally {
        let mut all = Tally::default();
        // Being slowed down or cut short is no refusal.
        let slowed = |hit: &Hit| hit.limit == Limit::CpuRate;
        let cut = |hit: &Hit| hit.limit == Limit::Output && !self.too_much_output;
        let hits = self.hits(limits).into_iter().filter(|hit| !slowed(hit) && !cut(hit));
        hits.for_each(|hit| all.add(Denial::of_limit(&hit)));
        all.absorb(&self.denials);
        all
    }

    /// The limit that ended it, if one but the wall clock's did.
    pub(crate) fn fatal(&self) -> Option<&Hit> {
        let output = self.output.as_ref().filter(|_| self.too_much_output);
        output.or_else(|| self.exit.fatal())
    }

    /// Why it ended, in words, when a limit or a signal that we did not pass on ended it.
    pub(crate) fn why(&self, limits: &Limits) -> Option<String> {
        if self.out_of_time {
            return self.hits(limits).first().map(passed);
        }
        if let Some(hit) = self.fatal() {
            return Some(passed(hit));
        }
        let signal = self.exit.signal?;
        match self.exit.cause {
            Some(Cause::Seccomp) => Some(SECCOMP_KILL.to_owned()),
            _ if self.passed_on == Some(signal) => None,
            _ => Some(format!("killed by {}", signal_name(signal))),
        }
    }

    /// What else is worth a line: limits that it ran into and survived, where that may be why it
    /// failed.
    pub(crate) fn notes(&self) -> Vec<String> {
        let failed = self.exit.code != Some(0);
        let fatal = self.exit.fatal();
        let others = self.exit.hits.iter().filter(|hit| failed && Some(*hit) != fatal);
        others.filter_map(survived).chain(self.cut()).collect()
    }

    /// That not all of its output was passed on, whether or not it failed.
    fn cut(&self) -> Option<String> {
        let hit = self.output.as_ref().filter(|_| !self.too_much_output)?;
        let dropped = hit.limit.amount(hit.peak?.saturating_sub(hit.value));
        Some(format!("its output was cut: {dropped} more were dropped, at {hit}"))
    }
}

fn passed(hit: &Hit) -> String {
    format!("killed: it passed {hit}")
}

/// A limit that did not end the program itself, in words.
fn survived(hit: &Hit) -> Option<String> {
    let times = hit.times;
    match hit.limit {
        Limit::Memory => Some(format!("processes killed in it: {times}, at {hit}")),
        Limit::Processes => Some(format!("new processes refused: {times}, at {hit}")),
        Limit::CpuRate
        | Limit::CpuTime
        | Limit::Wall
        | Limit::FileSize
        | Limit::OpenFiles
        | Limit::Disk
        | Limit::Output => None,
    }
}

/// `SIGSEGV`, or `signal 35` where there is no name.
pub(crate) fn signal_name(signal: i32) -> String {
    Signal::try_from(signal)
        .map_or_else(|_| format!("signal {signal}"), |signal| signal.as_str().to_owned())
}

/// What is done beside watching.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// Passes on what the command writes.
    pub(super) relay: Option<Relay>,
    /// Tells a person that the command still runs.
    pub(super) pace: Option<(Pace, Terminal)>,
}

impl Beside {
    /// How long until there is something to be said.
    fn left(&self, elapsed: Duration) -> Option<Duration> {
        self.pace.as_ref().map(|(pace, _)| pace.left(elapsed))
    }

    fn step(&mut self, child: &mut Child, elapsed: Duration) {
        if let Some(relay) = &mut self.relay {
            relay.serve();
            if relay.wants_end() {
                child.kill();
            }
        }
        if let Some((pace, terminal)) = &mut self.pace
            && let Some(text) = pace.step(elapsed)
        {
            pace::say(&text, *terminal);
        }
    }

    /// Passes on what is left, as long as somebody reads it and nobody wants us to end.
    fn finish(&mut self, signals: &Signals, patience: Option<Duration>) {
        let Some(relay) = &mut self.relay else { return };
        let started = now();
        let stop = || {
            let late = patience.is_some_and(|patience| now().duration_since(started) >= patience);
            late || signals.next().is_ok_and(|info| info.as_ref().is_some_and(is_deadly))
        };
        relay.drain(stop, PollTimeout::from(LOOK));
    }
}

/// How often it is looked whether we are to end while a slow reader takes what is left, in
/// milliseconds.
const LOOK: u8 = 200;

fn is_deadly(info: &siginfo) -> bool {
    let signal = i32::try_from(info.ssi_signo).ok();
    let deadly = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];
    signal.is_some_and(|signal| deadly.contains(&signal))
}

/// Watches until the command and everything it started are gone.
pub(crate) fn until_end(
    mut child: Child,
    signals: &Signals,
    wall: Option<Duration>,
    mut beside: Beside,
) -> io::Result<End> {
    let started = now();
    let mut patience = Patience::new(started, wall);
    let mut watcher = child.take_watcher();
    let mut passed_on = None;
    let beat = if child.is_watched() { Some(Beat::start()?) } else { None };
    loop {
        let left = patience
            .left(now())
            .into_iter()
            .chain(beside.left(now().duration_since(started)))
            .min();
        if wait(&child, signals, beat.as_ref(), watcher.as_ref(), &beside, left)? {
            break;
        }
        if let Some(watcher) = &mut watcher {
            watcher.serve(now());
        }
        if let Some(beat) = &beat {
            beat.look([&mut child]);
        }
        while let Some(info) = signals.next()? {
            passed_on = pass_on(&child, &info).or(passed_on);
        }
        beside.step(&mut child, now().duration_since(started));
        match patience.step(now()) {
            Step::Wait => {}
            // Refused only when it has just ended, which the next wait sees.
            Step::Ask => {
                let _ended = child.signal(libc::SIGTERM);
            }
            Step::Kill => child.kill(),
        }
    }
    let out_of_time = patience.is_over();
    let wall = now().duration_since(started);
    let exit = child.finish();
    beside.finish(signals, out_of_time.then_some(GRACE));
    let (denials, lessons) = watcher.map(Watcher::into_lessons).unwrap_or_default();
    let output = beside.relay.as_ref().and_then(Relay::hit);
    let too_much_output = beside.relay.as_ref().is_some_and(Relay::wants_end);
    Ok(End { exit, wall, out_of_time, passed_on, denials, output, too_much_output, lessons })
}

/// Waits until the tree is gone (`true`), something is to be done or the time is up.
fn wait(
    child: &Child,
    signals: &Signals,
    beat: Option<&Beat>,
    watcher: Option<&Watcher>,
    beside: &Beside,
    left: Option<Duration>,
) -> io::Result<bool> {
    let (listener, pause) = match watcher.map_or(Wish::Nothing, |watcher| watcher.wish(now())) {
        Wish::Readable(listener) => (Some(listener), None),
        Wish::Later(pause) => (None, Some(pause)),
        Wish::Nothing => (None, None),
    };
    let left = [left, pause].into_iter().flatten().min();
    // Rounded up to whole milliseconds: better late by one than spinning through the last.
    let timeout = left.map_or(PollTimeout::NONE, |left| {
        let rounded = left.saturating_add(Duration::from_micros(999));
        PollTimeout::try_from(rounded).unwrap_or(PollTimeout::MAX)
    });
    let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut polled = vec![readable(child.tree()), readable(signals.as_fd())];
    polled.extend(listener.map(readable));
    polled.extend(beat.map(|beat| readable(beat.as_fd())));
    polled.extend(beside.relay.iter().flat_map(Relay::wishes));
    match poll(&mut polled, timeout) {
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok(false),
        Err(errno) => return Err(errno.into()),
    }
    Ok(polled.first().and_then(PollFd::any).unwrap_or(false))
}

/// Passes one signal on. What the terminal sends goes to the command's whole process group, as it
/// would without us; what a process sends to us goes to the command alone.
fn pass_on(child: &Child, info: &siginfo) -> Option<i32> {
    let signal = i32::try_from(info.ssi_signo).ok()?;
    let from_terminal = info.ssi_code == libc::SI_KERNEL;
    match signal {
        libc::SIGTSTP => stop_together(child),
        libc::SIGCONT => to_group(child, Signal::SIGCONT),
        _ if from_terminal => {
            if let Ok(signal) = Signal::try_from(signal) {
                to_group(child, signal);
            }
        }
        // Refused only when it has just ended.
        _ => {
            let _ended = child.signal(signal);
        }
    }
    Some(signal)
}

fn to_group(child: &Child, signal: Signal) {
    let group = child.pid().and_then(|pid| i32::try_from(pid).ok());
    if let Some(group) = group {
        // Refused only when it has just ended.
        let _ended = killpg(Pid::from_raw(group), signal);
    }
}

/// The command is in a session of its own, where the kernel discards SIGTSTP unless it is handled:
/// so its group is stopped for good, and we with it, until the shell continues us.
fn stop_together(child: &Child) {
    to_group(child, Signal::SIGSTOP);
    // Cannot be refused: a process may always signal itself.
    let _infallible = raise(Signal::SIGSTOP);
}

/// The wall limit: ask when it passes, kill when asking did not help. Pure.
#[derive(Debug)]
struct Patience {
    next: Option<Instant>,
    asked: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Step {
    Wait,
    Ask,
    Kill,
}

impl Patience {
    fn new(started: Instant, wall: Option<Duration>) -> Self {
        Self { next: wall.and_then(|wall| started.checked_add(wall)), asked: false }
    }

    /// How long until the next step.
    fn left(&self, now: Instant) -> Option<Duration> {
        self.next.map(|next| next.saturating_duration_since(now))
    }

    fn step(&mut self, now: Instant) -> Step {
        if self.next.is_none_or(|next| now < next) {
            return Step::Wait;
        }
        self.next = if self.asked { None } else { now.checked_add(GRACE) };
        if std::mem::replace(&mut self.asked, true) { Step::Kill } else { Step::Ask }
    }

    /// Whether the limit passed.
    fn is_over(&self) -> bool {
        self.asked
    }
}

#[expect(clippy::disallowed_methods, reason = "the wall clock limit of `run` is kept here")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(signal: Option<i32>, cause: Option<Cause>) -> End {
        let code = if signal.is_none() { Some(0) } else { None };
        let exit =
            plugbay_sandbox::Exit { code, signal, cause, ..plugbay_sandbox::Exit::default() };
        let denials = Tally::default();
        End {
            exit,
            wall: Duration::ZERO,
            out_of_time: false,
            passed_on: None,
            denials,
            output: None,
            too_much_output: false,
            lessons: Lessons::default(),
        }
    }

    fn memory() -> Hit {
        let by = Holder::CgroupV2;
        Hit { limit: Limit::Memory, value: 1 << 30, peak: Some(1 << 30), times: 2, by }
    }

    #[test]
    fn patience_asks_once_then_kills_once() {
        let start = now();
        let mut patience = Patience::new(start, Some(Duration::from_secs(1)));
        assert_eq!(patience.left(start), Some(Duration::from_secs(1)));
        assert_eq!(patience.step(start), Step::Wait);
        let over = start + Duration::from_secs(1);
        assert_eq!(patience.step(over), Step::Ask);
        assert_eq!(patience.step(over), Step::Wait);
        assert_eq!(patience.left(over), Some(GRACE));
        assert_eq!(patience.step(over + GRACE), Step::Kill);
        assert_eq!(patience.step(over + GRACE * 2), Step::Wait);
        assert_eq!(patience.left(over), None);
        assert!(patience.is_over());
    }

    #[test]
    fn without_a_limit_patience_is_endless() {
        let mut patience = Patience::new(now(), None);
        assert_eq!(patience.left(now()), None);
        assert_eq!(patience.step(now()), Step::Wait);
        assert!(!Patience::new(now(), Some(Duration::MAX)).is_over());
    }

    #[test]
    fn ignored_signals_are_read_from_the_kernels_mask() {
        let mask = ignored("Name:\tx\nSigIgn:\t0000000000000003\nSigCgt:\t0\n");
        assert!(holds(mask, Signal::SIGHUP) && holds(mask, Signal::SIGINT));
        assert!(!holds(mask, Signal::SIGQUIT));
        assert_eq!(ignored("no such line"), 0);
    }

    #[test]
    fn limits_are_named_with_their_value_and_peak() {
        let limits = Limits { wall: Some(Duration::from_secs(2)), ..Limits::default() };
        let why = |end: &End| end.why(&limits).unwrap_or_default();
        let wall = Duration::from_millis(2004);
        let timed = End { out_of_time: true, wall, ..end(Some(15), None) };
        let words = "killed: it passed its wall clock limit of 2s (peak 2.004s, held by timer)";
        assert_eq!(why(&timed), words);
        let mut hogged = end(Some(9), Some(Cause::Memory));
        hogged.exit.hits.push(memory());
        let words = "killed: it passed its memory limit of 1GiB (peak 1GiB, held by cgroup v2)";
        assert_eq!((why(&hogged).as_str(), hogged.notes()), (words, Vec::new()));
        assert_eq!(why(&end(Some(11), None)), "killed by SIGSEGV");
        assert_eq!(why(&end(Some(35), None)), "killed by signal 35");
        let filtered = why(&end(Some(31), Some(Cause::Seccomp)));
        assert!(filtered.contains("another architecture"), "{filtered}");
    }

    #[test]
    fn a_failure_after_the_kill_of_a_child_is_explained_and_a_success_is_left_alone() {
        let mut ended = end(None, None);
        ended.exit.hits.push(memory());
        assert_eq!((ended.why(&Limits::default()), ended.notes()), (None, Vec::new()));
        ended.exit.code = Some(137);
        let words =
            "processes killed in it: 2, at its memory limit of 1GiB (peak 1GiB, held by cgroup v2)";
        assert_eq!(ended.notes(), [words]);
    }

    #[test]
    fn output_past_its_bound_is_told_also_where_it_was_only_cut() {
        let by = Holder::Relay;
        let hit = Hit { limit: Limit::Output, value: 1024, peak: Some(3072), times: 1, by };
        let mut ended = End { output: Some(hit), ..end(None, None) };
        let words = "its output was cut: 2KiB more were dropped, at its output limit of 1KiB (peak \
                     3KiB, held by relay)";
        assert_eq!((ended.why(&Limits::default()), ended.notes()), (None, vec![words.to_owned()]));
        assert_eq!(ended.refusals(&Limits::default()).total(), 0);
        ended.too_much_output = true;
        let words = "killed: it passed its output limit of 1KiB (peak 3KiB, held by relay)";
        assert_eq!(ended.why(&Limits::default()).as_deref(), Some(words));
        assert_eq!(ended.notes(), [] as [String; 0]);
    }

    #[test]
    fn an_ordinary_end_needs_no_words() {
        assert_eq!(end(None, None).why(&Limits::default()), None);
        let interrupted = End { passed_on: Some(2), ..end(Some(2), None) };
        assert_eq!(interrupted.why(&Limits::default()), None);
    }
}
