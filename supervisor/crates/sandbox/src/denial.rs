//! What a process was refused, in words that tell how to allow it.
//!
//! ```text
//! filter (asks about its refusals only) ─► listener ─► Watcher: decode, count, answer the filter's errno
//!                                                        └─► Denial { layer, rule, call, …, count, fix }
//! ```
//! Nothing that is allowed is asked about, so nothing is on the path of a working program. A listener
//! that is gone leaves every refusal refused.

mod attempt;
mod decode;
pub mod lesson;
mod observer;
mod question;
pub mod secret;
mod tally;
mod watcher;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{
    limit::{Hit, Limit},
    protection::{Demand, Protection},
    spec::{Access, NetworkMode, Profile},
};

pub use lesson::Lessons;
pub(crate) use observer::Observer;
pub use tally::Tally;
pub use watcher::{Watcher, Wish};

/// What of a process is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Watch {
    /// Nothing: the filter answers by itself.
    #[default]
    Nothing,
    /// What the filter refuses.
    Denials,
    /// And every reach for a file or an address by name, to tell afterwards what of it was not granted.
    /// Costs some microseconds for each, and is only advice: the process may change a name in its
    /// memory after it was read.
    Attempts,
    /// And every other system call but the commonest, to learn what would have to be granted
    /// ([`crate::Launcher::start_learning`]).
    Lessons,
}

/// What refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Barrier {
    /// The system call filter.
    Seccomp,
    /// A file that was not granted, or not for this: Landlock and the view.
    Files,
    /// An address or port that was not granted.
    Network,
    /// A limit.
    Limit,
}

impl Barrier {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Seccomp => "seccomp",
            Self::Files => "files",
            Self::Network => "network",
            Self::Limit => "limit",
        }
    }
}

/// What would have allowed it. Spelled as a flag or as a line of a manifest by whoever shows it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fix {
    /// Another network mode.
    Network(NetworkMode),
    /// A port to connect to.
    Connect(u16),
    /// A host to connect to, by way of the broker.
    Host {
        /// A name or an address, IPv6 in brackets.
        host: String,
        /// At this port.
        port: u16,
    },
    /// A port to listen on.
    Listen(u16),
    /// Another system call profile.
    Profile(Profile),
    /// A system call more in the list of a strict filter.
    Call(String),
    /// Not to demand a protection, or not as much.
    Demand(Protection, Demand),
    /// A grant of a path.
    File {
        /// Which.
        path: PathBuf,
        /// How far.
        access: Access,
    },
    /// A unix socket.
    Unix(PathBuf),
    /// A higher limit, in the unit of [`Limit`].
    Limit(Limit, u64),
}

/// One kind of refusal, and how often it was met.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// What refused.
    pub layer: Barrier,
    /// The rule that decided, by the name that it has in the profile.
    pub rule: String,
    /// The system call.
    pub syscall: Option<String>,
    /// What distinguishes this use of it, such as `AF_INET`.
    pub detail: Option<String>,
    /// The path, where one was named and could be read.
    pub path: Option<PathBuf>,
    /// The address, where one was named.
    pub host: Option<String>,
    /// The port, where one was named.
    pub port: Option<u16>,
    /// The error that the process saw, where it saw one.
    pub errno: Option<i32>,
    /// How often.
    pub count: u64,
    /// What would have allowed it; `None` where nothing does.
    pub fix: Option<Fix>,
}

impl Denial {
    /// A refusal met once, of which nothing is known but what refused it.
    #[must_use]
    pub fn new(layer: Barrier, rule: impl Into<String>) -> Self {
        Self {
            layer,
            rule: rule.into(),
            syscall: None,
            detail: None,
            path: None,
            host: None,
            port: None,
            errno: None,
            count: 1,
            fix: None,
        }
    }

    /// A limit that was run into. How much more would have been enough is not known, so the fix is
    /// eight times as much: most of what is a little too large fits, and a runaway is still held.
    #[must_use]
    pub fn of_limit(hit: &Hit) -> Self {
        let value = hit.value.saturating_mul(8);
        Self {
            count: hit.times.max(1),
            fix: Some(Fix::Limit(hit.limit, value)),
            ..Self::new(Barrier::Limit, hit.limit.name())
        }
    }

    /// Whether the two are one kind.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let key = |one: &Self| (one.layer, one.errno, one.port);
        key(self) == key(other)
            && self.rule == other.rule
            && self.syscall == other.syscall
            && self.detail == other.detail
            && self.path == other.path
            && self.host == other.host
            && self.fix == other.fix
    }
}

/// Who was told of refusals. What nobody watched may have been refused without a word.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Watched {
    /// Refusals of the system call filter are known.
    pub calls: bool,
    /// Files and addresses that were reached for are known.
    pub attempts: bool,
    /// Why not, where watching was asked for and refused.
    pub why: String,
}
