//! Why a process ended, in words that survive: the cause, and the record that is kept of it.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use plugbay_sandbox::{Hit, Limit, SECCOMP_KILL, Stage, Tally};

use super::text::{Breaks, plain};
use crate::lifecycle::{
    identity::{Generation, InstanceId},
    pulse::Stuck,
    restart::{Exit, Policy},
};

/// Why a plugin's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// The host stopped it.
    Requested,
    /// It ended by itself with this status.
    Code(i32),
    /// A signal that nobody here sent killed it.
    Signal(i32),
    /// The system call filter killed it.
    Seccomp,
    /// It ran into a resource limit.
    Limit(Limit),
    /// It broke the protocol and was killed for it.
    Protocol(String),
    /// It went on with a call that was cancelled, and was killed for it, as its manifest wants it.
    CancelIgnored,
    /// It did not answer `initialize` in time and was killed.
    Mute {
        /// The time it was given.
        after: Duration,
    },
    /// It answered `initialize`, but did not say in time that it can work, and was killed.
    NotReady {
        /// The time it was given.
        after: Duration,
    },
    /// It gave no sign of life and was killed.
    Watchdog {
        /// What it was found doing.
        stuck: Stuck,
        /// How long it had been silent.
        after: Duration,
    },
    /// It answered `initialize` with something that cannot be worked with, and was killed.
    Handshake(String),
    /// It never ran: the sandbox could not be built or the program not be executed.
    Launch {
        /// The step that failed.
        stage: String,
        /// The kernel's error number; 0 if the kernel was not the one that refused.
        errno: i32,
        /// What went wrong, in words.
        message: String,
    },
    /// A task of the host's that served it fell over: a mistake of ours, or of a function that the
    /// embedder gave us.
    Host(String),
    /// Its keeper is gone, and everything with it.
    KeeperLost,
    /// It is gone, but nobody knows yet how.
    Unknown,
}

impl Cause {
    /// The cause as it goes over the wire (`data.cause`): one token, for programs.
    #[must_use]
    pub fn token(&self) -> String {
        match self {
            Self::Requested => "requested".to_owned(),
            Self::Code(code) => format!("exit({code})"),
            Self::Signal(number) => format!("signal({})", SignalName(*number)),
            Self::Seccomp => "seccomp".to_owned(),
            Self::Limit(limit) => format!("limit({})", limit.name()),
            Self::Protocol(_) => "protocol".to_owned(),
            Self::CancelIgnored => "cancel-ignored".to_owned(),
            Self::Mute { .. } => "mute".to_owned(),
            Self::NotReady { .. } => "unready".to_owned(),
            Self::Watchdog { stuck, .. } => format!("watchdog({})", stuck.name()),
            Self::Handshake(_) => "handshake".to_owned(),
            Self::Launch { stage, errno, .. } => format!("launch({stage}, {errno})"),
            Self::Host(_) => "host".to_owned(),
            Self::KeeperLost => "keeper".to_owned(),
            Self::Unknown => "unknown".to_owned(),
        }
    }

    /// What the restart policy makes of it. `calls_lost` says that somebody waited for an answer.
    #[must_use]
    pub fn exit(&self, policy: &Policy, calls_lost: bool) -> Exit {
        match self {
            Self::Code(code) => policy.exit_of(*code, calls_lost),
            Self::Limit(Limit::Memory) => Exit::Exhausted,
            Self::Requested => Exit::Clean,
            Self::Handshake(_) => Exit::Permanent,
            Self::Launch { errno, .. } if is_passing(*errno) => Exit::Passing,
            Self::Launch { .. } => Exit::Permanent,
            Self::KeeperLost => Exit::Passing,
            Self::Signal(_)
            | Self::Seccomp
            | Self::Limit(_)
            | Self::Protocol(_)
            | Self::CancelIgnored
            | Self::Mute { .. }
            | Self::Host(_)
            | Self::NotReady { .. }
            | Self::Watchdog { .. }
            | Self::Unknown => Exit::Failure,
        }
    }
}

impl Cause {
    /// Whether it is killed for saying nothing: what it is doing just then is worth knowing.
    pub(crate) fn is_silence(&self) -> bool {
        matches!(self, Self::Mute { .. } | Self::NotReady { .. } | Self::Watchdog { .. })
    }

    /// Whether the machine was short of something that every start needs. A step that runs under
    /// the plugin's own limits says nothing of the machine: a plugin that is allowed no process must
    /// not keep others from starting.
    pub(crate) fn is_shortage(&self) -> bool {
        let Self::Launch { stage, errno, .. } = self else { return false };
        let before_limits = ["keeper", "start", "descriptors", "pipes", Stage::Clone.describe()];
        let short = [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE];
        before_limits.contains(&stage.as_str()) && short.contains(errno)
    }
}

/// Errors of a start that are the machine's and may pass.
fn is_passing(errno: i32) -> bool {
    [libc::EAGAIN, libc::ENOMEM, libc::EMFILE, libc::ENFILE, libc::ENOSPC, libc::EINTR]
        .contains(&errno)
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested => f.write_str("stopped by the host"),
            Self::Code(code) => write!(f, "exited with code {code}"),
            Self::Signal(number) => write!(f, "killed by {}", SignalName(*number)),
            Self::Seccomp => f.write_str(SECCOMP_KILL),
            Self::Limit(limit) => write!(f, "ran into its {} limit", limit.words()),
            Self::Protocol(what) => write!(f, "broke the protocol: {what}"),
            Self::CancelIgnored => f.write_str("went on with a call that was cancelled"),
            Self::Mute { after } => {
                write!(f, "ran, but did not answer `initialize` within {}", whole(*after))
            }
            Self::NotReady { after } => {
                let after = whole(*after);
                write!(f, "answered `initialize`, but did not say within {after} that it can work")
            }
            Self::Watchdog { stuck: Stuck::Hang, after } => {
                write!(f, "gave no sign of life for {} and did nothing", whole(*after))
            }
            Self::Watchdog { stuck: Stuck::Busy, after } => {
                write!(f, "gave no sign of life for {} while it was busy", whole(*after))
            }
            Self::Watchdog { stuck: Stuck::Deaf, after } => {
                write!(f, "did not read its input for {}", whole(*after))
            }
            Self::Handshake(what) => write!(f, "answered `initialize` wrongly: {what}"),
            Self::Launch { stage, errno: 0, message } => {
                write!(f, "could not be started at step `{stage}`: {message}")
            }
            Self::Launch { stage, errno, message } => {
                write!(f, "could not be started at step `{stage}`: {message} (errno {errno})")
            }
            Self::Host(what) => write!(f, "the host's own task for it fell over: {what}"),
            Self::KeeperLost => f.write_str("the keeper is gone, and every plugin with it"),
            Self::Unknown => f.write_str("gone, for a reason not known yet"),
        }
    }
}

/// A duration to the tenth of a second; further digits say nothing of a silence.
fn whole(duration: Duration) -> impl fmt::Display {
    let tenths = u64::try_from(duration.as_millis() / 100).unwrap_or(u64::MAX);
    format!("{:?}", Duration::from_millis(tenths.saturating_mul(100)))
}

/// A signal's customary name.
struct SignalName(i32);

impl fmt::Display for SignalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(i32, &str); 24] = [
            (libc::SIGHUP, "SIGHUP"),
            (libc::SIGINT, "SIGINT"),
            (libc::SIGQUIT, "SIGQUIT"),
            (libc::SIGILL, "SIGILL"),
            (libc::SIGTRAP, "SIGTRAP"),
            (libc::SIGABRT, "SIGABRT"),
            (libc::SIGBUS, "SIGBUS"),
            (libc::SIGFPE, "SIGFPE"),
            (libc::SIGKILL, "SIGKILL"),
            (libc::SIGUSR1, "SIGUSR1"),
            (libc::SIGSEGV, "SIGSEGV"),
            (libc::SIGUSR2, "SIGUSR2"),
            (libc::SIGPIPE, "SIGPIPE"),
            (libc::SIGALRM, "SIGALRM"),
            (libc::SIGTERM, "SIGTERM"),
            (libc::SIGSTKFLT, "SIGSTKFLT"),
            (libc::SIGXCPU, "SIGXCPU"),
            (libc::SIGXFSZ, "SIGXFSZ"),
            (libc::SIGVTALRM, "SIGVTALRM"),
            (libc::SIGPROF, "SIGPROF"),
            (libc::SIGIO, "SIGIO"),
            (libc::SIGPWR, "SIGPWR"),
            (libc::SIGSYS, "SIGSYS"),
            (libc::SIGCHLD, "SIGCHLD"),
        ];
        match NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

/// The longest name of a method in a record; callers may be plugins.
const METHOD: usize = 128;
/// Calls named in a record.
const IN_FLIGHT: usize = 16;

/// A call that had no answer when the process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// The method, safe to print and cut to its bound.
    pub method: Box<str>,
    /// For how long it had been under way.
    pub age: Duration,
}

impl InFlight {
    /// As much of a method's name as is kept of it.
    pub(crate) fn name(method: &str) -> Box<str> {
        method.get(..method.floor_char_boundary(METHOD)).unwrap_or_default().into()
    }

    /// The oldest few of those that were lost, the oldest first.
    pub(crate) fn oldest(mut lost: Vec<Self>) -> Vec<Self> {
        lost.sort_by_key(|call| std::cmp::Reverse(call.age));
        lost.truncate(IN_FLIGHT);
        for call in &mut lost {
            call.method = plain(&call.method, Breaks::Escape).into();
        }
        lost
    }
}

/// How one process of a plugin ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Death {
    /// Of which version and configuration.
    pub generation: Generation,
    /// Which process.
    pub instance: InstanceId,
    /// Its process id; `None` if it never ran.
    pub pid: Option<u32>,
    /// Why it ended.
    pub cause: Cause,
    /// Whether it ended before the handshake was done.
    pub before_hello: bool,
    /// When, by the wall clock.
    pub at: SystemTime,
    /// How long it had run.
    pub uptime: Duration,
    /// How many calls failed with it.
    pub calls_lost: usize,
    /// The calls that failed with it: the oldest few, the oldest first.
    pub in_flight: Vec<InFlight>,
    /// The limits that it or one of its children ran into, whether or not that ended it.
    pub limits: Vec<Hit>,
    /// What it was refused, as far as somebody watched.
    pub denials: Arc<Tally>,
    /// What was decided after it; `None` until the slot has judged.
    pub next: Option<Next>,
    /// The end of what it wrote to stderr, safe to print.
    pub stderr_tail: Arc<str>,
    /// Processor time and memory of the whole tree, if the keeper knows.
    pub usage: Option<Usage>,
    /// The most memory that the whole tree used at once, in bytes, where the kernel counted it.
    pub memory_peak: Option<u64>,
}

/// What follows an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// The state that the plugin is in now.
    pub state: &'static str,
    /// When a process is started again, counted from the end, if one is.
    pub after: Option<Duration>,
}

/// What a process used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time in user mode.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// Largest resident memory, in bytes.
    pub max_rss: u64,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let early = self.before_hello && matches!(self.cause, Cause::Code(_) | Cause::Signal(_));
        if early {
            f.write_str("exited before its hello: ")?;
        }
        match self.fatal() {
            Some(hit) => write!(f, "ran into {hit}"),
            None => write!(f, "{}", self.cause),
        }
    }
}

impl Death {
    /// The limit that ended it, if one did and its value is known.
    #[must_use]
    pub fn fatal(&self) -> Option<&Hit> {
        let Cause::Limit(limit) = self.cause else { return None };
        self.limits.iter().find(|hit| hit.limit == limit)
    }
}

/// What callers are told who lost their answer.
#[derive(Debug, Clone)]
pub(crate) struct Ending {
    pub(crate) cause: Cause,
    pub(crate) stderr_tail: Arc<str>,
}

impl Ending {
    /// Nobody knows why, or not yet.
    pub(crate) fn unknown() -> Arc<Self> {
        Arc::new(Self { cause: Cause::Unknown, stderr_tail: "".into() })
    }
}

#[cfg(test)]
mod tests {
    use plugbay_sandbox::Holder;

    use super::*;

    fn death(cause: Cause) -> Death {
        Death {
            generation: Generation::FIRST,
            instance: InstanceId::FIRST,
            pid: Some(2),
            cause,
            before_hello: true,
            at: SystemTime::UNIX_EPOCH,
            uptime: Duration::ZERO,
            calls_lost: 0,
            in_flight: Vec::new(),
            limits: Vec::new(),
            denials: Arc::default(),
            next: None,
            stderr_tail: "".into(),
            usage: None,
            memory_peak: None,
        }
    }

    #[test]
    fn causes_have_a_token_for_programs_and_words_for_people() {
        let killed = Cause::Signal(libc::SIGKILL);
        assert_eq!(killed.token(), "signal(SIGKILL)");
        assert_eq!(killed.to_string(), "killed by SIGKILL");
        assert_eq!(Cause::Code(3).token(), "exit(3)");
        assert_eq!(Cause::Signal(34).to_string(), "killed by signal 34");
    }

    #[test]
    fn a_missing_program_is_permanent_and_a_full_machine_is_not() {
        let exit = |errno| {
            let cause = Cause::Launch { stage: "exec".into(), errno, message: String::new() };
            cause.exit(&Policy::default(), false)
        };
        assert_eq!(exit(libc::ENOENT), Exit::Permanent);
        assert_eq!(exit(libc::EAGAIN), Exit::Passing);
    }

    #[test]
    fn a_silence_reads_as_what_was_found_and_is_one_token_for_programs() {
        let cause = |stuck, millis| Cause::Watchdog { stuck, after: Duration::from_millis(millis) };
        let hang = cause(Stuck::Hang, 60_001);
        assert_eq!(hang.to_string(), "gave no sign of life for 60s and did nothing");
        assert_eq!(hang.token(), "watchdog(hang)");
        let busy = cause(Stuck::Busy, 120_250);
        assert_eq!(busy.to_string(), "gave no sign of life for 120.2s while it was busy");
        assert_eq!(cause(Stuck::Deaf, 30_000).to_string(), "did not read its input for 30s");
        assert_eq!(hang.exit(&Policy::default(), false), Exit::Failure);
    }

    #[test]
    fn a_plugins_own_limits_are_no_shortage_of_the_machine() {
        let shortage = |stage: &str, errno| {
            Cause::Launch { stage: stage.into(), errno, message: String::new() }.is_shortage()
        };
        assert!(shortage(Stage::Clone.describe(), libc::EAGAIN));
        assert!(shortage("start", libc::EMFILE));
        assert!(!shortage(Stage::Fork.describe(), libc::EAGAIN));
        assert!(!shortage(Stage::Exec.describe(), libc::EAGAIN));
        assert!(!shortage("start", libc::ENOENT));
    }

    #[test]
    fn a_limit_is_told_with_its_value_and_peak() {
        let hit = Hit {
            limit: Limit::Memory,
            value: 64 << 20,
            peak: Some(64 << 20),
            times: 1,
            by: Holder::CgroupV2,
        };
        let other = Hit { limit: Limit::Processes, value: 8, ..hit.clone() };
        let death = Death { limits: vec![other, hit], ..death(Cause::Limit(Limit::Memory)) };
        let words = "ran into its memory limit of 64MiB (peak 64MiB, held by cgroup v2)";
        assert_eq!(death.to_string(), words);
        assert_eq!(death.cause.token(), "limit(memory)");
        let unseen = Death { limits: Vec::new(), ..death };
        assert_eq!(unseen.to_string(), "ran into its memory limit");
    }

    #[test]
    fn the_oldest_calls_are_named_and_their_names_are_harmless() {
        let call = |method: &str, secs| InFlight {
            method: InFlight::name(method),
            age: Duration::from_secs(secs),
        };
        let mut lost: Vec<InFlight> = (0..40).map(|age| call("m", age)).collect();
        lost.push(call(&format!("\u{1b}[2J{}", "ü".repeat(100)), 99));
        let oldest = InFlight::oldest(lost);
        assert_eq!((oldest.len(), oldest[1].age), (16, Duration::from_secs(39)));
        assert!(oldest[0].method.starts_with(r"\u{1b}[2Jüü"), "{oldest:?}");
        assert_eq!(oldest[0].method.chars().filter(|c| *c == 'ü').count(), 62);
    }

    #[test]
    fn exit_before_hello_and_mute_read_differently() {
        let exited = death(Cause::Code(1)).to_string();
        let mute = death(Cause::Mute { after: Duration::from_secs(10) }).to_string();
        assert_eq!(exited, "exited before its hello: exited with code 1");
        assert_eq!(mute, "ran, but did not answer `initialize` within 10s");
    }
}
