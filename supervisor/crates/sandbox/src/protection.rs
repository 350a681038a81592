//! What is promised of a sealed process, each thing by itself: its name, how far it is demanded, and
//! how far it holds.
//!
//! A layer is how; a [`Protection`] is what for. Several layers may serve one protection, and one
//! layer serves several. Which of them hold is decided in `plan`; nothing here does anything.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{enforcement::Layer, limit::Limit};

/// One thing promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Protection {
    /// No file can be read without a grant.
    FilesRead,
    /// No file can be made, changed or removed without a grant.
    FilesWrite,
    /// What is not granted cannot even be seen: no name, no size, no date.
    FilesNames,
    /// Mode, times and attributes of what is not granted stay as they are.
    FilesMetadata,
    /// No service on a unix socket in the file system can be reached without a grant.
    SocketsUnix,
    /// No service on an abstract unix socket can be reached.
    SocketsAbstract,
    /// Nothing on the network can be reached without a grant, and nothing reaches in.
    Network,
    /// Other processes can be neither seen, signalled, traced nor slowed down.
    Processes,
    /// Shared memory, semaphores and message queues of others cannot be reached.
    Ipc,
    /// No rights are gained: no set-uid program, no capability, no root.
    Privileges,
    /// The kernel's seldom used parts cannot be reached.
    SystemCalls,
    /// Variables of the host's environment are unknown without a grant.
    Environment,
    /// No descriptor is inherited but the standard three.
    Descriptors,
    /// Nothing of the tree outlives its end, or whoever started it.
    Lifetime,
    /// A limit holds.
    Limit(Limit),
}

/// A name that is none of a protection.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not a protection")]
pub struct UnknownProtection(String);

impl Protection {
    /// Every protection, in the order of reports.
    pub const ALL: [Self; 22] = [
        Self::FilesRead,
        Self::FilesWrite,
        Self::FilesNames,
        Self::FilesMetadata,
        Self::SocketsUnix,
        Self::SocketsAbstract,
        Self::Network,
        Self::Processes,
        Self::Ipc,
        Self::Privileges,
        Self::SystemCalls,
        Self::Environment,
        Self::Descriptors,
        Self::Lifetime,
        Self::Limit(Limit::Memory),
        Self::Limit(Limit::Processes),
        Self::Limit(Limit::CpuRate),
        Self::Limit(Limit::CpuTime),
        Self::Limit(Limit::Wall),
        Self::Limit(Limit::FileSize),
        Self::Limit(Limit::OpenFiles),
        Self::Limit(Limit::Disk),
    ];

    /// Its name in reports, flags and manifests.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FilesRead => "files.read",
            Self::FilesWrite => "files.write",
            Self::FilesNames => "files.names",
            Self::FilesMetadata => "files.metadata",
            Self::SocketsUnix => "sockets.unix",
            Self::SocketsAbstract => "sockets.abstract",
            Self::Network => "network",
            Self::Processes => "processes",
            Self::Ipc => "ipc",
            Self::Privileges => "privileges",
            Self::SystemCalls => "system-calls",
            Self::Environment => "environment",
            Self::Descriptors => "descriptors",
            Self::Lifetime => "lifetime",
            Self::Limit(Limit::Memory) => "limits.memory",
            Self::Limit(Limit::Processes) => "limits.processes",
            Self::Limit(Limit::CpuRate) => "limits.cpu-rate",
            Self::Limit(Limit::CpuTime) => "limits.cpu-time",
            Self::Limit(Limit::Wall) => "limits.wall",
            Self::Limit(Limit::FileSize) => "limits.file-size",
            Self::Limit(Limit::OpenFiles) => "limits.open-files",
            Self::Limit(Limit::Disk) => "limits.disk",
            // No part of a start: held by whoever gave the process its streams, so not in `ALL`.
            Self::Limit(Limit::Output) => "limits.output",
        }
    }

    /// Whether it can be switched off by itself. The others cost nothing where they hold, and go only
    /// with all ([`Level::None`](crate::Level::None)).
    #[must_use]
    pub fn can_be_off(self) -> bool {
        match self {
            Self::FilesRead
            | Self::FilesWrite
            | Self::SocketsUnix
            | Self::Network
            | Self::SystemCalls => true,
            Self::Limit(limit) => limit != Limit::Disk,
            Self::FilesNames
            | Self::FilesMetadata
            | Self::SocketsAbstract
            | Self::Processes
            | Self::Ipc
            | Self::Privileges
            | Self::Environment
            | Self::Descriptors
            | Self::Lifetime => false,
        }
    }
}

impl fmt::Display for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Protection {
    type Err = UnknownProtection;

    fn from_str(name: &str) -> Result<Self, UnknownProtection> {
        let known = Self::ALL.into_iter().find(|known| known.name() == name);
        known.ok_or_else(|| UnknownProtection(name.to_owned()))
    }
}

impl TryFrom<String> for Protection {
    type Error = UnknownProtection;

    fn try_from(name: String) -> Result<Self, UnknownProtection> {
        name.parse()
    }
}

impl From<Protection> for String {
    fn from(protection: Protection) -> Self {
        protection.name().to_owned()
    }
}

/// How far a protection is demanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Demand {
    /// Nobody asks for it: it is not set up, whatever the level.
    Off,
    /// As far as it can be had; what of it is missing is reported.
    Prefer,
    /// It holds whole, or the process does not start.
    Require,
}

impl Demand {
    /// Every demand, the strongest first.
    pub const ALL: [Self; 3] = [Self::Require, Self::Prefer, Self::Off];

    /// Its word in flags, manifests and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Require => "require",
            Self::Prefer => "prefer",
            Self::Off => "off",
        }
    }
}

/// What is demanded beyond the level, by protection. What is not named is as the level has it.
pub type Demands = BTreeMap<Protection, Demand>;

/// How far a protection holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hold {
    /// Whole.
    Enforced,
    /// In part, or not at every moment.
    Degraded,
    /// Not at all.
    Absent,
    /// It is not wanted: what it would keep closed was granted, or it was switched off.
    Off,
}

impl Hold {
    /// Its word in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforced => "enforced",
            Self::Degraded => "degraded",
            Self::Absent => "absent",
            Self::Off => "off",
        }
    }
}

/// What became of one protection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grade {
    /// Which.
    pub protection: Protection,
    /// How far it holds.
    pub hold: Hold,
    /// The layers that hold it, as far as it holds.
    pub by: Vec<Layer>,
    /// What the process can do where it does not hold whole. Empty where it does and there is nothing
    /// to add.
    pub consequence: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_leads_back_to_its_protection() {
        for protection in Protection::ALL {
            assert_eq!(protection.name().parse(), Ok(protection));
        }
        assert!("files".parse::<Protection>().is_err());
    }

    #[test]
    fn demands_travel_as_names() {
        let demands = Demands::from([(Protection::Limit(Limit::Memory), Demand::Require)]);
        let text = serde_json::to_string(&demands).unwrap();
        assert_eq!(text, "{\"limits.memory\":\"require\"}");
        assert_eq!(serde_json::from_str::<Demands>(&text).unwrap(), demands);
        assert!(serde_json::from_str::<Demands>("{\"all\":\"require\"}").is_err());
    }
}
