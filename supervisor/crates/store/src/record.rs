//! What is kept: plain values, as they stand in the tables.
//!
//! Texts of plugins may be in them. Whoever makes a record has made them safe to print, and whoever
//! shows one does so again; here they are only cut to their bound.

use std::time::{Duration, SystemTime};

/// One life of a host: instances are numbered anew in each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// When it began.
    pub at: SystemTime,
    /// What hosted.
    pub host: String,
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
}

/// Which run a record is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub(crate) i64);

impl RunId {
    /// The number; a later run has a greater one.
    #[must_use]
    pub fn number(self) -> i64 {
        self.0
    }
}

/// Something to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An instance ended.
    Death(Box<Death>),
    /// A call was answered.
    Call(Box<Call>),
    /// A plugin is in another state.
    Change(Change),
    /// How a plugin stands with the restart policy; replaces what stood there.
    Standing(Box<Standing>),
    /// Records that could not be kept.
    Loss {
        /// When that was noticed.
        at: SystemTime,
        /// How many.
        records: u64,
    },
}

/// How a plugin stands with the restart policy of its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which plugin.
    pub plugin: String,
    /// Its version: another one has failed nothing yet.
    pub version: String,
    /// When it stood so.
    pub at: SystemTime,
    /// Failures in a row.
    pub failures: u32,
    /// Passing difficulties in a row.
    pub passing: u32,
    /// The last delay before a restart.
    pub last_delay: Duration,
    /// Quarantines since the slow breaker was last empty.
    pub quarantines: u32,
    /// Whether the start after a quarantine has yet to prove itself.
    pub on_trial: bool,
    /// Thousandths of failures that the slow breaker holds.
    pub slow_level_milli: u64,
    /// For how long the slow breaker does not leak yet: what is left of the quarantine.
    pub rest: Duration,
    /// Whether it is in quarantine.
    pub quarantined: bool,
    /// How often the restart policy replaced an instance.
    pub restarts: u64,
}

/// How an instance ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Death {
    /// Of which plugin.
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
    /// Of which generation.
    pub generation: u64,
    /// Which instance.
    pub instance: u64,
    /// When.
    pub at: SystemTime,
    /// Its process id; `None` if it never ran.
    pub pid: Option<u32>,
    /// Why, as one token.
    pub cause: String,
    /// Why, in words.
    pub words: String,
    /// Whether the host wanted it to end.
    pub requested: bool,
    /// Whether it ended before it had said hello.
    pub before_hello: bool,
    /// How long it had run.
    pub uptime: Duration,
    /// The calls that had no answer yet: the oldest, at most a few.
    pub in_flight: Vec<InFlight>,
    /// How many calls had no answer in all.
    pub calls_lost: u64,
    /// The limits that it ran into; one that ended it is among them.
    pub limits: Vec<Hit>,
    /// What it was refused, by kind.
    pub denials: Vec<Denial>,
    /// How often it was refused something of further kinds.
    pub denied_more: u64,
    /// What it used.
    pub usage: Option<Usage>,
    /// The most memory that the whole tree used at once, in bytes.
    pub memory_peak: Option<u64>,
    /// What was decided then.
    pub next: Option<Next>,
    /// The end of what it wrote to stderr.
    pub stderr: String,
}

/// A call without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// The method.
    pub method: String,
    /// For how long.
    pub age: Duration,
}

/// A limit that it ran into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hit {
    /// Which, as one token.
    pub limit: String,
    /// What it is, in the limit's own unit.
    pub value: u64,
    /// The most that was seen, in the same.
    pub peak: Option<u64>,
    /// How often.
    pub times: u64,
    /// Who held it.
    pub by: String,
    /// All of it in words.
    pub words: String,
}

/// One kind of refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// What refused.
    pub layer: String,
    /// The rule that decided.
    pub rule: String,
    /// The system call.
    pub syscall: Option<String>,
    /// The path that was reached for.
    pub path: Option<String>,
    /// How often.
    pub times: u64,
    /// All of it, as JSON, for whoever knows what it means.
    pub details: String,
}

/// What an instance used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in user mode.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// Largest resident memory, in bytes.
    pub max_rss: u64,
}

/// What was decided after an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Next {
    /// The state that the plugin went into.
    pub state: String,
    /// When it is started again, counted from the end, if it is.
    pub after: Option<Duration>,
}

/// How a call went. Neither its parameters nor its result are kept: they may be secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Of which plugin.
    pub plugin: String,
    /// Which method.
    pub method: String,
    /// When it was made.
    pub at: SystemTime,
    /// How long it took in all.
    pub duration: Duration,
    /// How much of that passed before it was sent.
    pub waited: Duration,
    /// How often it was sent.
    pub attempts: u32,
    /// `ok`, or what went wrong, as one token.
    pub outcome: String,
    /// What went wrong, in words.
    pub error: Option<String>,
    /// Where in the plugin, as the plugin says.
    pub traceback: Option<String>,
    /// Which instance answered, if one was asked.
    pub instance: Option<u64>,
    /// Of which generation.
    pub generation: Option<u64>,
    /// Bytes of the request.
    pub bytes_in: u64,
    /// Bytes of the answer.
    pub bytes_out: u64,
    /// How often the plugin told of progress.
    pub progress: u64,
    /// Processor time, where it can be told to be this call's.
    pub cpu: Option<Duration>,
    /// The plugins that it came through, the first one first, in one line.
    pub callers: Option<String>,
    /// The trace that it belongs to.
    pub traceparent: Option<String>,
}

/// A plugin went from one state into another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Which plugin.
    pub plugin: String,
    /// Its instance then; `None` before the first.
    pub instance: Option<u64>,
    /// When.
    pub at: SystemTime,
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
    /// Why, if there is something to say.
    pub why: String,
}
