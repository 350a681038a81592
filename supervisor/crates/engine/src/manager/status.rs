//! What can be said of a plugin at one moment.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use plugbay_sandbox::{Enforcement, Tally};

use super::swap::SwapStatus;
use crate::{
    lifecycle::identity::{Generation, InstanceId},
    plugin::{Counters, death::Death},
};

/// A plugin at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PluginStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Its version, as its manifest says.
    pub version: String,
    /// Its slot's state: `idle waiting starting running degraded restarting resting stopping crashed
    /// backoff quarantined failed stopped fenced`.
    pub state: &'static str,
    /// Since when.
    pub since: SystemTime,
    /// Why, if there is something to say.
    pub reason: Arc<str>,
    /// How long it is until it is started again, in backoff or quarantine.
    pub starts_in: Option<Duration>,
    /// Which version and configuration it is.
    pub generation: Generation,
    /// The process that was started last; `None` before the first.
    pub instance: Option<InstanceId>,
    /// Its processes, those on their way down included.
    pub instances: Vec<InstanceStatus>,
    /// The process id of the first of them that has one.
    pub pid: Option<u32>,
    /// How often the restart policy started a process again.
    pub restarts: u64,
    /// Failures in a row, without stability between them.
    pub failures: u32,
    /// Calls in flight, in all its processes.
    pub in_flight: usize,
    /// How the last process ended.
    pub last_death: Option<Arc<Death>>,
    /// What was really enforced on the process that runs, or ran last.
    pub enforcement: Option<Arc<Enforcement>>,
    /// What its processes were refused, each kind with its count and with what would allow it. Whether
    /// anybody watched is told by `enforcement.watched`.
    pub denials: Tally,
    /// The methods that have kept failing and are refused, but for a trial now and then.
    pub open_circuits: Vec<Arc<str>>,
    /// What happened on its pipes, over all its processes.
    pub counts: Counts,
    /// The states it was in lately, the present one last.
    pub stays: Vec<Stay>,
    /// The exchange of its version that is under way, or the last one.
    pub swap: Option<SwapStatus>,
}

/// How far the plugins are that start with their host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Muster {
    /// So many are to be started.
    pub of: usize,
    /// So many of them have come up.
    pub up: usize,
    /// So many have failed to, so far; they may yet.
    pub failed: usize,
}

impl Muster {
    /// Whether every one of them has come up, or failed to.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.up + self.failed >= self.of
    }
}

/// Whether a host has what it cannot do without.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Readiness {
    /// Whether every plugin that is required takes calls.
    pub ready: bool,
    /// Those that do not.
    pub missing: Vec<Missing>,
}

/// A required plugin that takes no calls.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Missing {
    /// Its name.
    pub plugin: Arc<str>,
    /// Its state.
    pub state: &'static str,
    /// Why it is in that state.
    pub reason: Arc<str>,
}

/// One process at one moment.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct InstanceStatus {
    /// Which.
    pub instance: InstanceId,
    /// Of which version and configuration.
    pub generation: Generation,
    /// `active`: it takes calls when it is ready; `spare`: when an active one is lost.
    pub role: &'static str,
    /// `starting ready ailing unready silent draining stopping dying unkillable`.
    pub state: &'static str,
    /// When it was started.
    pub since: SystemTime,
    /// Its process id, once it runs.
    pub pid: Option<u32>,
    /// Calls in flight.
    pub in_flight: usize,
}

/// A state that a plugin was in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stay {
    /// Which.
    pub state: &'static str,
    /// Since when.
    pub since: SystemTime,
    /// Why, if there is something to say.
    pub why: Arc<str>,
}

/// What happened on a plugin's pipes, over all its processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Calls sent.
    pub calls: u64,
    /// Calls sent that got no result.
    pub failed: u64,
    /// Calls refused because a bound was met.
    pub overloaded: u64,
    /// Lines on stdout that are no messages.
    pub stray_lines: u64,
    /// Responses to calls that were never made.
    pub unknown_responses: u64,
    /// Responses that came late, or twice.
    pub late_responses: u64,
    /// Frames that broke the protocol.
    pub violations: u64,
    /// Frames that passed the size cap.
    pub oversize_frames: u64,
    /// Frames cut short by the end of the process.
    pub partial_frames: u64,
    /// Notifications that nobody here knows or wants.
    pub dropped_notices: u64,
    /// What the plugin asked of the host.
    pub host_calls: u64,
}

impl Counts {
    pub(crate) fn of(counters: &Counters) -> Self {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Self {
            calls: get(&counters.calls),
            failed: get(&counters.failed),
            overloaded: get(&counters.overloaded),
            stray_lines: get(&counters.stray_lines),
            unknown_responses: get(&counters.unknown_responses),
            late_responses: get(&counters.late_responses),
            violations: get(&counters.violations),
            oversize_frames: get(&counters.oversize_frames),
            partial_frames: get(&counters.partial_frames),
            dropped_notices: get(&counters.dropped_notices),
            host_calls: get(&counters.host_calls),
        }
    }
}
