//! `[sandbox]`: what must hold for the plugin to be started.
//!
//! A plugin may ask for more than its host does, by itself. To ask for less is a wish that only the
//! host can grant. The names are those of the sandbox, which this crate does not know; the engine's
//! tests hold them together.

use std::collections::BTreeMap;

use serde::Serialize;

/// What must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Sandbox {
    /// The level; `None` when the host's is as good as any.
    pub level: Option<Level>,
    /// What is demanded of single protections, by their names.
    pub protections: BTreeMap<&'static str, Demand>,
}

/// What must hold for a process to start at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Every wanted layer and protection.
    Strict,
    /// The essential layers; the rest as far as the machine allows.
    Standard,
    /// Nothing: the plugin is made to run without a sandbox.
    None,
}

impl Level {
    /// Every level, the strongest first.
    pub const ALL: [Self; 3] = [Self::Strict, Self::Standard, Self::None];

    /// The word for it in `plugin.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Standard => "standard",
            Self::None => "none",
        }
    }
}

/// How far a protection is demanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Demand {
    /// It holds whole, or the plugin does not start.
    Require,
    /// As far as it can be had, whatever the level above says of it.
    Prefer,
    /// The plugin can do nothing useful under it.
    Off,
}

impl Demand {
    /// Every demand, the strongest first.
    pub const ALL: [Self; 3] = [Self::Require, Self::Prefer, Self::Off];

    /// The word for it in `plugin.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Require => "require",
            Self::Prefer => "prefer",
            Self::Off => "off",
        }
    }
}

/// The names of all protections.
pub const PROTECTIONS: [&str; 22] = [
    "files.read",
    "files.write",
    "files.names",
    "files.metadata",
    "sockets.unix",
    "sockets.abstract",
    "network",
    "processes",
    "ipc",
    "privileges",
    "system-calls",
    "environment",
    "descriptors",
    "lifetime",
    "limits.memory",
    "limits.processes",
    "limits.cpu-rate",
    "limits.cpu-time",
    "limits.wall",
    "limits.file-size",
    "limits.open-files",
    "limits.disk",
];

/// Those that can be `off`: the others go only with the whole sandbox.
pub const SWITCHABLE: [&str; 12] = [
    "files.read",
    "files.write",
    "sockets.unix",
    "network",
    "system-calls",
    "limits.memory",
    "limits.processes",
    "limits.cpu-rate",
    "limits.cpu-time",
    "limits.wall",
    "limits.file-size",
    "limits.open-files",
];
