//! `[limits]` and `[supervision]`: what a plugin may use, and how it is kept alive.
//!
//! Numbers only. Who counts them is the sandbox (resources) and the engine (time, restarts).

use std::time::Duration;

use serde::Serialize;

use crate::quantity;

/// `[limits]`: what the plugin may use at most. `None` means: the sandbox's default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of memory of the whole process tree.
    pub memory: Option<u64>,
    /// `cpu`: share of the processors, in thousandths of one core (1500 = one and a half).
    #[serde(rename = "cpu", serialize_with = "quantity::serialize_optional_milli")]
    pub cpu_milli: Option<u64>,
    /// Processes and threads of the whole tree.
    pub pids: Option<u64>,
    /// Open descriptors per process.
    pub open_files: Option<u64>,
    /// Bytes of the largest file that may be written.
    pub file_size: Option<u64>,
    /// How long one call may take unless its method says otherwise.
    #[serde(serialize_with = "quantity::serialize_duration")]
    pub call_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: None,
            cpu_milli: None,
            pids: None,
            open_files: None,
            file_size: None,
            call_timeout: Duration::from_secs(30),
        }
    }
}

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

/// `[supervision]`: when the plugin is restarted and how long things may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Supervision {
    /// When it is started again.
    pub restart: Restart,
    /// From the start of the process to the end of the handshake.
    #[serde(serialize_with = "quantity::serialize_duration")]
    pub start_timeout: Duration,
    /// From the request to shut down to the kill of the tree.
    #[serde(serialize_with = "quantity::serialize_duration")]
    pub stop_timeout: Duration,
    /// Calls that may be under way at once; more are refused at once as overloaded.
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
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            restart: Restart::default(),
            start_timeout: Duration::from_secs(10),
            stop_timeout: Duration::from_secs(5),
            max_inflight: 64,
            backoff_initial: Duration::from_millis(500),
            backoff_max: Duration::from_secs(60),
            backoff_reset: Duration::from_secs(60),
        }
    }
}
