//! The first exchange: the host says who it is and what the plugin may do, the plugin says who it is
//! and what it can. Not the exchange itself (deadlines, checks against the manifest): the engine's.

use crate::error::{Code, ErrorData, ErrorObject, Origin};
use crate::limits;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeSet;

/// Abilities a side may have or lack within one protocol version. A method or member that needs one
/// is used only if both sides named it.
pub mod feature {
    /// `$/cancel` stops work, rather than being read and ignored.
    pub const CANCEL: &str = "cancel";
    /// `$/progress` is sent when a token asks for it.
    pub const PROGRESS: &str = "progress";
    /// `$/ping` is answered even while every handler is busy, so silence means a hang.
    pub const PING: &str = "ping";
    /// `stream/*`.
    pub const STREAMS: &str = "streams";
    /// `event/*`.
    pub const EVENTS: &str = "events";
    /// `plugin/health`.
    pub const HEALTH: &str = "health";
    /// `plugin/drain`.
    pub const DRAIN: &str = "drain";
    /// `plugin/snapshot` and `plugin/restore`.
    pub const SNAPSHOT: &str = "snapshot";
    /// `plugin/reconfigure`.
    pub const RECONFIGURE: &str = "reconfigure";

    /// Every feature this version of the protocol knows.
    pub const ALL: &[&str] =
        &[CANCEL, PROGRESS, PING, STREAMS, EVENTS, HEALTH, DRAIN, SNAPSHOT, RECONFIGURE];
}

/// A set of feature names. Names nobody here knows are kept and harmless.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Features(BTreeSet<String>);

impl Features {
    /// Whether `name` is among them.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// What both sides have: the only features that may be used.
    #[must_use]
    pub fn agreed(&self, other: &Self) -> Self {
        Self(self.0.intersection(&other.0).cloned().collect())
    }

    /// The names, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl<S: Into<String>> FromIterator<S> for Features {
    fn from_iter<I: IntoIterator<Item = S>>(names: I) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }
}

/// A name and a version, of a program rather than of the protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// What it is called.
    pub name: String,
    /// Its own version, for people.
    pub version: String,
}

/// What the host will accept from the plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WireLimits {
    /// Largest frame, in bytes.
    pub max_frame_bytes: u64,
    /// Most requests of the plugin unanswered at once.
    pub max_inflight: u32,
}

impl Default for WireLimits {
    fn default() -> Self {
        Self {
            max_frame_bytes: u64::try_from(limits::MAX_FRAME).unwrap_or(u64::MAX),
            max_inflight: limits::MAX_INFLIGHT,
        }
    }
}

/// What the plugin was granted, so that it can adapt rather than find out by being refused. The words
/// are for the plugin's information; what holds is what the kernel enforces.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Grants {
    /// Paths it may read.
    pub read: Vec<String>,
    /// Paths it may write.
    pub write: Vec<String>,
    /// Paths it may execute.
    pub exec: Vec<String>,
    /// Where it may connect to or listen: `loopback`, `443`, `example.org:443`, `listen:8080`, `full`.
    pub network: Vec<String>,
    /// Names of environment variables it was given.
    pub env: Vec<String>,
    /// Methods of `host/*` it may call.
    pub host: Vec<String>,
    /// Plugins it may call through `host/call`.
    pub plugins: Vec<String>,
}

/// Why this process is not the first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Restart {
    /// How often the plugin was restarted before.
    pub count: u32,
    /// What ended the last one, such as `exit(3)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Parameters of `initialize`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Initialize {
    /// Protocol versions the host speaks.
    pub versions: Vec<u32>,
    /// Who hosts.
    pub host: Peer,
    /// What the host can.
    #[serde(default)]
    pub features: Features,
    /// The plugin's configuration, already checked against its schema; `null` if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Box<RawValue>>,
    /// What it may do.
    #[serde(default)]
    pub grants: Grants,
    /// What the host will accept.
    #[serde(default)]
    pub limits: WireLimits,
    /// Which generation of the plugin this process belongs to, from 1.
    #[serde(default)]
    pub generation: u64,
    /// Whether and why it was restarted.
    #[serde(default)]
    pub restart: Restart,
    /// What `plugin/snapshot` gave in the process before this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_state: Option<Box<RawValue>>,
}

/// Result of `initialize`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version to speak, one of those offered.
    pub version: u32,
    /// What the plugin can.
    #[serde(default)]
    pub features: Features,
    /// Who it is. The host compares the name with the manifest.
    pub plugin: Peer,
    /// The methods it answers.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Topics it wants delivered.
    #[serde(default)]
    pub subscribes: Vec<String>,
    /// Topics it will publish on.
    #[serde(default)]
    pub publishes: Vec<String>,
}

/// The version to speak: the highest both know.
///
/// ```
/// use plugbay_protocol::handshake::negotiate;
/// assert_eq!(negotiate(&[1, 2, 3], &[2, 1]), Some(2));
/// assert_eq!(negotiate(&[2], &[1]), None);
/// ```
#[must_use]
pub fn negotiate(ours: &[u32], theirs: &[u32]) -> Option<u32> {
    ours.iter().copied().filter(|version| theirs.contains(version)).max()
}

/// What a plugin answers to `initialize` when [`negotiate`] finds nothing.
#[must_use]
pub fn unsupported(ours: &[u32], theirs: &[u32]) -> ErrorObject {
    let details = ErrorData { supported: Some(ours.to_vec()), ..ErrorData::new(Origin::Plugin) };
    ErrorObject::new(
        Code::UnsupportedVersion,
        format!("no common protocol version: {theirs:?} offered, {ours:?} supported"),
    )
    .with_details(&details)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimal_initialize_is_enough() {
        let text = r#"{"versions":[1],"host":{"name":"h","version":"1"},"future":true}"#;
        let initialize: Initialize = serde_json::from_str(text).unwrap();
        assert_eq!(initialize.limits, WireLimits::default());
        assert_eq!(initialize.restart.count, 0);
        assert!(initialize.config.is_none() && initialize.resume_state.is_none());
    }

    #[test]
    fn members_are_camel_case() {
        let text = r#"{"versions":[1],"host":{"name":"h","version":"1"},"features":["cancel"],"config":{"a": 1},"grants":{"read":["/data"],"write":[],"exec":[],"network":[],"env":[],"host":[],"plugins":[]},"limits":{"maxFrameBytes":8388608,"maxInflight":64},"generation":2,"restart":{"count":1,"reason":"exit(3)"},"resumeState":[0]}"#;
        let initialize: Initialize = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&initialize).unwrap(), text);
    }

    #[test]
    fn only_features_of_both_sides_are_agreed() {
        let host: Features = ["cancel", "streams", "from-the-future"].into_iter().collect();
        let plugin: Features = ["streams", "cancel", "ping"].into_iter().collect();
        let agreed = host.agreed(&plugin);
        assert_eq!(agreed.iter().collect::<Vec<_>>(), ["cancel", "streams"]);
        assert!(agreed.contains(feature::STREAMS) && !agreed.contains(feature::PING));
    }

    #[test]
    fn a_refusal_names_what_would_have_worked() {
        let error = unsupported(&[1], &[2, 3]);
        assert_eq!(error.known_code(), Some(Code::UnsupportedVersion));
        assert_eq!(error.details().unwrap().supported, Some(vec![1]));
    }
}
