//! Where a slot is, as it is shown.

use std::time::Duration;

/// Whether a slot that waits for others may hope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hope {
    /// They are on their way up.
    Coming,
    /// One of them stays down until somebody changes something.
    Lost,
}

/// Where a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Not wanted yet, or not for a while: starts with the next call.
    Idle,
    /// Wanted, but what it depends on is not there.
    Waiting(Hope),
    /// Being started and greeted.
    Starting,
    /// Ready for calls.
    Running,
    /// Takes calls, but not as it should: too few instances, or they are not well.
    Degraded,
    /// On its way down, to be started again.
    Restarting,
    /// On its way down because nobody called for a while.
    Resting,
    /// On its way down for good.
    Stopping,
    /// Ended unasked; what follows is decided when all of it is gone.
    Crashed,
    /// Failed; starts again when the delay has passed.
    Backoff {
        /// The delay.
        delay: Duration,
    },
    /// Failed too often; one trial when the time has passed.
    Quarantined {
        /// How long.
        length: Duration,
    },
    /// Cannot run until somebody changes something.
    Failed,
    /// Not wanted.
    Stopped,
    /// What is left of it cannot be killed; nothing starts until it is gone.
    Fenced,
}

impl State {
    /// The state's name in statuses and events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Waiting(_) => "waiting",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Degraded => "degraded",
            Self::Restarting => "restarting",
            Self::Resting => "resting",
            Self::Stopping => "stopping",
            Self::Crashed => "crashed",
            Self::Backoff { .. } => "backoff",
            Self::Quarantined { .. } => "quarantined",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Fenced => "fenced",
        }
    }

    /// Whether a call that comes now may wait for the plugin to become ready.
    #[must_use]
    pub fn is_on_its_way_up(self) -> bool {
        match self {
            Self::Idle
            | Self::Waiting(Hope::Coming)
            | Self::Starting
            | Self::Running
            | Self::Degraded
            | Self::Restarting
            | Self::Resting
            | Self::Crashed
            | Self::Backoff { .. } => true,
            Self::Waiting(Hope::Lost)
            | Self::Stopping
            | Self::Quarantined { .. }
            | Self::Failed
            | Self::Stopped
            | Self::Fenced => false,
        }
    }

    /// Whether instances of it are up, well or not.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Degraded)
    }

    /// Whether a call is what it waits for.
    #[must_use]
    pub fn is_woken_by_calls(self) -> bool {
        matches!(self, Self::Idle | Self::Resting)
    }

    /// Whether no process is left and none will be started without being asked.
    #[must_use]
    pub fn is_at_rest(self) -> bool {
        match self {
            Self::Idle | Self::Failed | Self::Stopped => true,
            Self::Waiting(_)
            | Self::Starting
            | Self::Running
            | Self::Degraded
            | Self::Restarting
            | Self::Resting
            | Self::Stopping
            | Self::Crashed
            | Self::Backoff { .. }
            | Self::Quarantined { .. }
            | Self::Fenced => false,
        }
    }
}
