//! Every method name of the protocol, in one list, with who may send it. A plugin's own methods are
//! not here: they are any name that [`is_reserved`] does not claim.

/// Host to plugin, first of all: who we are, what you may do.
pub const INITIALIZE: &str = "initialize";
/// Host to plugin: the handshake is done, both sides may call.
pub const INITIALIZED: &str = "initialized";
/// Host to plugin: finish what is running, take no more, answer when done.
pub const SHUTDOWN: &str = "shutdown";
/// Host to plugin: leave now.
pub const EXIT: &str = "exit";
/// Either side: the answer to a request is no longer wanted.
pub const CANCEL: &str = "$/cancel";
/// Either side: a request that asked for it is this far.
pub const PROGRESS: &str = "$/progress";
/// Plugin to host: a structured log line.
pub const LOG: &str = "$/log";
/// Either side: are you reading?
pub const PING: &str = "$/ping";
/// Either side: the next items of a stream.
pub const STREAM_DATA: &str = "stream/data";
/// Either side: no more items.
pub const STREAM_END: &str = "stream/end";
/// Either side: items up to here were taken, send more.
pub const STREAM_ACK: &str = "stream/ack";
/// Either side: the rest of the stream is not wanted.
pub const STREAM_DROP: &str = "stream/drop";
/// Plugin to host: a fact for whoever subscribed.
pub const EVENT_PUBLISH: &str = "event/publish";
/// Host to plugin: a fact it subscribed to.
pub const EVENT_DELIVER: &str = "event/deliver";
/// Plugin to host: who hosts me?
pub const HOST_INFO: &str = "host/info";
/// Plugin to host: my configuration as it is now.
pub const HOST_CONFIG: &str = "host/config.get";
/// Plugin to host: call a method of another plugin.
pub const HOST_CALL: &str = "host/call";
/// Host to plugin: are you able to work?
pub const PLUGIN_HEALTH: &str = "plugin/health";
/// Host to plugin: a successor takes over; finish what you have.
pub const PLUGIN_DRAIN: &str = "plugin/drain";
/// Host to plugin: hand over your state.
pub const PLUGIN_SNAPSHOT: &str = "plugin/snapshot";
/// Host to plugin: take over this state.
pub const PLUGIN_RESTORE: &str = "plugin/restore";
/// Host to plugin: your configuration changed.
pub const PLUGIN_RECONFIGURE: &str = "plugin/reconfigure";

/// Who may send a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The host only.
    ToPlugin,
    /// The plugin only.
    ToHost,
    /// Either.
    Both,
}

/// Whether a method is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Exactly once.
    Request,
    /// Never.
    Notification,
}

/// One row of [`ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// The name on the wire.
    pub name: &'static str,
    /// Who may send it.
    pub direction: Direction,
    /// Whether it is answered.
    pub kind: Kind,
    /// The feature both sides must have named in the handshake, if it needs one.
    pub feature: Option<&'static str>,
    /// What it is for, in a few words.
    pub summary: &'static str,
}

const fn row(
    name: &'static str,
    direction: Direction,
    kind: Kind,
    feature: Option<&'static str>,
    summary: &'static str,
) -> Method {
    Method { name, direction, kind, feature, summary }
}

use crate::handshake::feature;
use Direction::{Both, ToHost, ToPlugin};
use Kind::{Notification, Request};

/// Every method of the protocol, in the order of the specification.
pub const ALL: &[Method] = &[
    row(INITIALIZE, ToPlugin, Request, None, "open the session"),
    row(INITIALIZED, ToPlugin, Notification, None, "the session is open"),
    row(SHUTDOWN, ToPlugin, Request, None, "finish and take no more"),
    row(EXIT, ToPlugin, Notification, None, "leave now"),
    row(CANCEL, Both, Notification, None, "the answer is no longer wanted"),
    row(PROGRESS, Both, Notification, None, "a request is this far"),
    row(LOG, ToHost, Notification, None, "a structured log line"),
    row(PING, Both, Request, None, "are you reading"),
    row(STREAM_DATA, Both, Notification, Some(feature::STREAMS), "the next items"),
    row(STREAM_END, Both, Notification, Some(feature::STREAMS), "no more items"),
    row(STREAM_ACK, Both, Notification, Some(feature::STREAMS), "items were taken, send more"),
    row(STREAM_DROP, Both, Notification, Some(feature::STREAMS), "the rest is not wanted"),
    row(EVENT_PUBLISH, ToHost, Request, Some(feature::EVENTS), "a fact for subscribers"),
    row(EVENT_DELIVER, ToPlugin, Request, Some(feature::EVENTS), "a fact subscribed to"),
    row(HOST_INFO, ToHost, Request, None, "who hosts me"),
    row(HOST_CONFIG, ToHost, Request, None, "my configuration now"),
    row(HOST_CALL, ToHost, Request, None, "call another plugin"),
    row(PLUGIN_HEALTH, ToPlugin, Request, Some(feature::HEALTH), "are you able to work"),
    row(PLUGIN_DRAIN, ToPlugin, Request, Some(feature::DRAIN), "finish, a successor takes over"),
    row(PLUGIN_SNAPSHOT, ToPlugin, Request, Some(feature::SNAPSHOT), "hand over your state"),
    row(PLUGIN_RESTORE, ToPlugin, Request, Some(feature::SNAPSHOT), "take over this state"),
    row(PLUGIN_RECONFIGURE, ToPlugin, Request, Some(feature::RECONFIGURE), "new configuration"),
];

/// The protocol's method of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Method> {
    ALL.iter().find(|method| method.name == name)
}

/// Whether `name` belongs to the protocol, now or in a later version, so that a plugin may not
/// declare it: the groups `host/ plugin/ event/ stream/ $/`, the bare words of the lifecycle, and
/// `rpc.`, which JSON-RPC 2.0 keeps for itself.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    match name.split_once('/') {
        Some((group, _)) => matches!(group, "$" | "host" | "plugin" | "event" | "stream"),
        None => {
            matches!(name, INITIALIZE | INITIALIZED | SHUTDOWN | EXIT) || name.starts_with("rpc.")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_of_the_protocol_is_reserved_and_listed_once() {
        for (index, method) in ALL.iter().enumerate() {
            assert!(is_reserved(method.name), "{}", method.name);
            assert!(ALL[..index].iter().all(|other| other.name != method.name));
            assert_eq!(find(method.name), Some(method));
        }
    }

    #[test]
    fn later_names_of_a_group_are_reserved_too() {
        for name in ["host/kv.get", "$/anything", "plugin/", "rpc.discover", "stream/x/y"] {
            assert!(is_reserved(name), "{name}");
        }
    }

    #[test]
    fn a_plugins_own_names_are_free() {
        for name in ["count", "text/count", "hostname", "$dollar", "shutdowns", "", "my/host/x"] {
            assert!(!is_reserved(name), "{name}");
        }
    }
}
