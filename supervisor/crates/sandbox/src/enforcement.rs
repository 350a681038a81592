//! What was really enforced: one report per layer, returned by every start.
//!
//! A layer is never assumed: it is `Enforced` only when the kernel call that makes it hold has
//! returned success in the process that then executed the program.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    denial::Watched,
    limit::Held,
    proof::Proven,
    protection::{Grade, Protection},
};

/// One kernel mechanism of the sandbox, in the order in which they are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// Allow-listed environment.
    Environment,
    /// A process group and cgroup of its own, for the tree kill.
    Cgroup,
    /// User namespace.
    UserNamespace,
    /// Process id namespace with our reaper as its init.
    PidNamespace,
    /// Mount namespace with a root made of grants only.
    MountNamespace,
    /// Network namespace.
    NetworkNamespace,
    /// System V IPC namespace.
    IpcNamespace,
    /// Host name namespace.
    UtsNamespace,
    /// Cgroup namespace.
    CgroupNamespace,
    /// Files granted to another owner made usable by id-mapped mounts.
    IdMappedMounts,
    /// A dedicated, unprivileged user id.
    DedicatedUser,
    /// All capabilities dropped.
    Capabilities,
    /// Resource limits of the process.
    Rlimits,
    /// Descriptors closed, session detached, parent-death signal.
    ProcessHygiene,
    /// `no_new_privs`.
    NoNewPrivileges,
    /// Landlock: files.
    LandlockFiles,
    /// Landlock: TCP ports.
    LandlockNetwork,
    /// Landlock: abstract unix sockets and signals.
    LandlockScopes,
    /// The system call filter.
    Seccomp,
}

impl Layer {
    /// Every layer, in the order in which they are applied.
    pub const ALL: [Self; 19] = [
        Self::Environment,
        Self::Cgroup,
        Self::UserNamespace,
        Self::PidNamespace,
        Self::MountNamespace,
        Self::NetworkNamespace,
        Self::IpcNamespace,
        Self::UtsNamespace,
        Self::CgroupNamespace,
        Self::IdMappedMounts,
        Self::DedicatedUser,
        Self::Capabilities,
        Self::Rlimits,
        Self::ProcessHygiene,
        Self::NoNewPrivileges,
        Self::LandlockFiles,
        Self::LandlockNetwork,
        Self::LandlockScopes,
        Self::Seccomp,
    ];

    /// The layer's name in reports and in `REQUIRE_LAYERS`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Cgroup => "cgroup",
            Self::UserNamespace => "user-namespace",
            Self::PidNamespace => "pid-namespace",
            Self::MountNamespace => "mount-namespace",
            Self::NetworkNamespace => "network-namespace",
            Self::IpcNamespace => "ipc-namespace",
            Self::UtsNamespace => "uts-namespace",
            Self::CgroupNamespace => "cgroup-namespace",
            Self::IdMappedMounts => "id-mapped-mounts",
            Self::DedicatedUser => "dedicated-user",
            Self::Capabilities => "capabilities",
            Self::Rlimits => "rlimits",
            Self::ProcessHygiene => "process-hygiene",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::LandlockFiles => "landlock-files",
            Self::LandlockNetwork => "landlock-network",
            Self::LandlockScopes => "landlock-scopes",
            Self::Seccomp => "seccomp",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How far a layer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// The kernel took it, whole.
    Enforced,
    /// It holds in part; the reason says what is left open.
    Partial,
    /// It does not hold; the reason says why and what that means.
    Absent,
    /// The spec does not ask for it (for instance the network namespace under `--net full`).
    NotWanted,
}

/// What became of one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerReport {
    /// Which layer.
    pub layer: Layer,
    /// How far it holds.
    pub status: Status,
    /// Why, and with which consequence, in words. Empty when simply enforced.
    pub why: String,
}

/// How the whole process tree is killed, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TreeKill {
    /// One write to `cgroup.kill`.
    CgroupKill,
    /// Death of the pid namespace's init.
    PidNamespace,
    /// A subreaper that sweeps `/proc` until nothing is left, and a process group kill.
    Sweep,
}

/// What was really enforced on one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforcement {
    /// One report per layer, in the order of [`Layer::ALL`].
    pub layers: Vec<LayerReport>,
    /// One grade per protection, in the order of [`Protection::ALL`]; none for a limit that nobody
    /// asked for.
    #[serde(default)]
    pub protections: Vec<Grade>,
    /// How the tree will be killed.
    pub tree_kill: TreeKill,
    /// What was granted without being asked for (an interpreter's installation), in words.
    pub notes: Vec<String>,
    /// The limits that were asked for, and who holds each.
    pub limits: Vec<Held>,
    /// Who is told of what is refused.
    #[serde(default)]
    pub watched: Watched,
    /// Whether a canary has shown that what is reported is so.
    #[serde(default)]
    pub proven: Proven,
}

impl Enforcement {
    /// The report of one layer.
    #[must_use]
    pub fn layer(&self, layer: Layer) -> Option<&LayerReport> {
        self.layers.iter().find(|report| report.layer == layer)
    }

    /// The grade of one protection; `None` for a limit that nobody asked for.
    #[must_use]
    pub fn protection(&self, protection: Protection) -> Option<&Grade> {
        self.protections.iter().find(|grade| grade.protection == protection)
    }

    /// The report of a layer that holds, at least in part.
    #[must_use]
    pub fn holding(&self, layer: Layer) -> Option<&LayerReport> {
        let holds = |it: &&LayerReport| matches!(it.status, Status::Enforced | Status::Partial);
        self.layer(layer).filter(holds)
    }

    /// Whether it was started without a sandbox, at level `none`.
    #[must_use]
    pub fn is_unsealed(&self) -> bool {
        self.layer(Layer::NoNewPrivileges).is_some_and(|report| report.status == Status::Absent)
    }

    /// Whether a layer is wholly enforced.
    #[must_use]
    pub fn is_enforced(&self, layer: Layer) -> bool {
        self.layer(layer).is_some_and(|report| report.status == Status::Enforced)
    }
}
