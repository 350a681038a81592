//! `[supervision]`: when a plugin runs, how long things may take, and what follows when it fails.
//!
//! Numbers and words only. Who acts on them is the engine.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::quantity;

/// When a plugin that has ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Not at all.
    Never,
    /// When it crashed, was killed, or ended with a failure.
    #[default]
    OnFailure,
    /// Whenever it ended without being asked to.
    Always,
}

impl Restart {
    /// Every policy.
    pub const ALL: [Self; 3] = [Self::Never, Self::OnFailure, Self::Always];

    /// The word for it in `plugin.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
        }
    }
}

/// When a plugin is started first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartMode {
    /// With its host.
    #[default]
    Eager,
    /// By the first call to it.
    Lazy,
}

impl StartMode {
    /// Every mode.
    pub const ALL: [Self; 2] = [Self::Eager, Self::Lazy];

    /// The word for it in `plugin.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eager => "eager",
            Self::Lazy => "lazy",
        }
    }
}

/// What an exit status says of an end that nobody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitRule {
    /// It had finished.
    Clean,
    /// It failed; counts.
    Failure,
    /// A passing difficulty: starts again, does not count.
    Passing,
    /// It wants to stay down.
    StayDown,
    /// Starting it again cannot help.
    Permanent,
}

impl ExitRule {
    /// Every rule.
    pub const ALL: [Self; 5] =
        [Self::Clean, Self::Failure, Self::Passing, Self::StayDown, Self::Permanent];

    /// The word for it in `plugin.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Failure => "failure",
            Self::Passing => "passing",
            Self::StayDown => "stay-down",
            Self::Permanent => "permanent",
        }
    }
}

/// What follows when a plugin does not answer a cancelled call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum IgnoredCancel {
    /// The caller is answered by the host, and the plugin may go on.
    #[default]
    Leave,
    /// The process is killed; other calls it has are lost with it.
    Kill,
}

impl IgnoredCancel {
    /// Every rule.
    pub const ALL: [Self; 2] = [Self::Leave, Self::Kill];

    /// The word for it in `plugin.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leave => "leave",
            Self::Kill => "kill",
        }
    }
}

/// `[supervision]`: when the plugin runs, how long things may take, what follows when it fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Supervision {
    /// When it is started again.
    pub restart: Restart,
    /// When it is started first.
    pub start: StartMode,
    /// From the start of the process to the end of the handshake; progress extends it.
    #[serde(serialize_with = "quantity::serialize_duration")]
    pub start_timeout: Duration,
    /// How long calls in flight may take to finish when it is stopped.
    #[serde(serialize_with = "quantity::serialize_duration")]
    pub drain_timeout: Duration,
    /// From the request to shut down to the kill of the tree.
    #[serde(serialize_with = "quantity::serialize_duration")]
    pub stop_timeout: Duration,
    /// Without a call for this long it is stopped; the next call starts it.
    #[serde(serialize_with = "quantity::serialize_optional_duration")]
    pub idle_stop: Option<Duration>,
    /// Processes that take calls.
    pub instances: u32,
    /// Processes kept ready to take the place of one that dies.
    pub spares: u32,
    /// Calls that may be under way at once in one process; more are refused as overloaded.
    pub max_inflight: u32,
    /// The wait before the first restart; doubles with each further failure.
    #[serde(serialize_with = "quantity::serialize_duration")]
    pub backoff_initial: Duration,
    /// The longest wait before a restart.
    #[serde(serialize_with = "quantity::serialize_duration")]
    pub backoff_max: Duration,
    /// How long it must run well for the failures before to be forgotten.
    #[serde(serialize_with = "quantity::serialize_duration")]
    pub backoff_reset: Duration,
    /// So many failures in a row put it in quarantine.
    pub breaker: u32,
    /// So many failures within what has not leaked away put it in quarantine, however far apart.
    pub slow_breaker: u32,
    /// How long it takes for one failure to leak out of the slow breaker.
    #[serde(serialize_with = "quantity::serialize_duration")]
    pub slow_breaker_leak: Duration,
    /// The length of the first quarantine; doubles with each trial that fails.
    #[serde(serialize_with = "quantity::serialize_duration")]
    pub quarantine: Duration,
    /// The longest quarantine.
    #[serde(serialize_with = "quantity::serialize_duration")]
    pub quarantine_max: Duration,
    /// After so many quarantines in a row it is given up; `None` means never.
    pub give_up_after: Option<u32>,
    /// What follows when it does not answer a cancelled call.
    pub ignored_cancel: IgnoredCancel,
    /// Whether a method that keeps failing is refused at once for a while.
    pub circuit: bool,
    /// What its exit statuses mean, where that is not the custom.
    pub exit_codes: BTreeMap<u8, ExitRule>,
    /// How it is asked whether it is well.
    pub health: Health,
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            restart: Restart::default(),
            start: StartMode::default(),
            start_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(5),
            idle_stop: None,
            instances: 1,
            spares: 0,
            max_inflight: 64,
            backoff_initial: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
            backoff_reset: Duration::from_secs(60),
            breaker: 8,
            slow_breaker: 10,
            slow_breaker_leak: Duration::from_secs(300),
            quarantine: Duration::from_secs(300),
            quarantine_max: Duration::from_secs(3600),
            give_up_after: None,
            ignored_cancel: IgnoredCancel::default(),
            circuit: true,
            exit_codes: BTreeMap::new(),
            health: Health::default(),
        }
    }
}

/// `[supervision.health]`: how a plugin is asked whether it is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// How often a plugin with calls in flight that says nothing is asked for a sign of life.
    #[serde(serialize_with = "quantity::serialize_duration")]
    pub ping_interval: Duration,
    /// How long it may take to give one.
    #[serde(serialize_with = "quantity::serialize_duration")]
    pub ping_timeout: Duration,
    /// Without a sign of life and without progress for this long, it is killed as hung.
    #[serde(serialize_with = "quantity::serialize_duration")]
    pub hang_timeout: Duration,
    /// The same while it keeps a processor busy.
    #[serde(serialize_with = "quantity::serialize_duration")]
    pub busy_timeout: Duration,
    /// How often a plugin with the feature `health` is asked whether it is ready.
    #[serde(serialize_with = "quantity::serialize_duration")]
    pub ready_interval: Duration,
    /// How long it may take to say.
    #[serde(serialize_with = "quantity::serialize_duration")]
    pub ready_timeout: Duration,
    /// So many bad answers in a row take it out of service.
    pub ready_failures: u32,
    /// So many good ones put it back.
    pub ready_successes: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            ping_interval: Duration::from_secs(10),
            ping_timeout: Duration::from_secs(5),
            hang_timeout: Duration::from_secs(60),
            busy_timeout: Duration::from_secs(120),
            ready_interval: Duration::from_secs(5),
            ready_timeout: Duration::from_secs(2),
            ready_failures: 3,
            ready_successes: 2,
        }
    }
}
