//! What happens to plugins, for whoever wants to follow it.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use plugbay_sandbox::Tally;
use tokio::sync::broadcast;

use super::{status::Muster, swap::SwapStatus};
use crate::{lifecycle::identity::InstanceId, plugin::death::Death};

/// Events kept for a subscriber that does not keep up.
pub(crate) const KEPT: usize = 1024;

/// Something that happened to a plugin.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Event {
    /// Which plugin.
    pub plugin: Arc<str>,
    /// Which process of it; `None` before the first.
    pub instance: Option<InstanceId>,
    /// When, by the wall clock.
    pub at: SystemTime,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EventKind {
    /// Its slot is in another state now.
    State {
        /// The state before.
        from: &'static str,
        /// The state now.
        to: &'static str,
    },
    /// A process of it ended.
    Died(Arc<Death>),
    /// A process of it was refused something: all of it so far, each kind with its count.
    Denied(Arc<Tally>),
    /// A process of it cannot be killed.
    Fenced,
    /// A plugin that it depends on was away for longer than the grace.
    DependencyLost(Arc<str>),
    /// It is back after it was lost.
    DependencyBack(Arc<str>),
    /// Its group fell too often and is left alone.
    GroupQuarantined {
        /// Which group.
        group: String,
        /// For how long.
        length: Duration,
    },
    /// The exchange of its version took a step.
    Swap(Box<SwapStatus>),
    /// It is one of those that start with the host, and has come up now, or failed to.
    Mustered(Muster),
}

/// A subscription to [`Event`]s.
#[derive(Debug)]
pub struct Events {
    receiver: broadcast::Receiver<Event>,
    missed: u64,
}

impl Events {
    pub(crate) fn new(receiver: broadcast::Receiver<Event>) -> Self {
        Self { receiver, missed: 0 }
    }

    /// Waits for the next event; `None` when the host is gone.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(count)) => {
                    self.missed = self.missed.saturating_add(count);
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// How many events this subscriber lost because it did not keep up.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }
}
