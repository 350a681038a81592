//! `[dependencies]`: what must be there for a plugin to start, and what follows when it is lost.
//!
//! Data only. Whether it is there is for [`resolve`](crate::resolve()), who acts on a loss is the
//! engine.

use std::{collections::BTreeMap, time::Duration};

use semver::VersionReq;
use serde::Serialize;

use crate::{name::PluginName, quantity};

/// `[dependencies]`: what must be there for the plugin to start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Dependencies {
    /// Which versions of Plugbay it works with.
    pub plugbay: VersionReq,
    /// Other plugins, started before it.
    pub plugins: BTreeMap<PluginName, Dependency>,
}

/// One plugin that another needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Dependency {
    /// `version`: which versions of it.
    #[serde(rename = "version")]
    pub range: VersionReq,
    /// What follows when it is lost while the plugin runs.
    pub on_loss: OnLoss,
    /// How long it may be away before that counts as lost.
    #[serde(serialize_with = "quantity::serialize_duration")]
    pub grace: Duration,
}

impl Dependency {
    /// A dependency of which only the versions are said.
    pub(crate) fn of(range: VersionReq) -> Self {
        Self { range, on_loss: OnLoss::default(), grace: Duration::from_secs(5) }
    }
}

/// What follows for a plugin when one that it needs is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnLoss {
    /// Nothing but an event: its own calls will tell it.
    #[default]
    Notify,
    /// It takes no calls until the other is back.
    Pause,
    /// It is stopped, and started when the other is back.
    Stop,
    /// It is started again when the other is back.
    Restart,
}

impl OnLoss {
    /// Every rule.
    pub const ALL: [Self; 4] = [Self::Notify, Self::Pause, Self::Stop, Self::Restart];

    /// The word for it in `plugin.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Pause => "pause",
            Self::Stop => "stop",
            Self::Restart => "restart",
        }
    }
}
