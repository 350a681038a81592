//! `[limits]`: what a plugin may use.
//!
//! Numbers only. Who counts them is the sandbox (resources) and the engine (time, frames).

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
    /// Bytes of the longest message it may send or be sent.
    pub max_frame: u64,
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
            max_frame: 8 << 20,
        }
    }
}
