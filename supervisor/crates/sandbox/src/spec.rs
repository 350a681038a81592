//! What a caller wants of one sealed process: program, environment, grants, limits, level.
//!
//! A [`Spec`] is data. It holds no decision about *how* it is enforced (that is `plan`) and
//! touches nothing. Paths in it are absolute and already resolved (see `resolve`).

use std::{collections::BTreeSet, ffi::OsString, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    limit::Limit,
    protection::{Demand, Demands, Protection},
    seccomp::Calls,
};

/// The full description of one sealed process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// Absolute path of the program to execute.
    pub program: PathBuf,
    /// The whole argument vector, `argv[0]` included.
    pub args: Vec<OsString>,
    /// The exact environment; nothing is inherited (see [`crate::environment`]).
    pub env: Vec<(OsString, OsString)>,
    /// Working directory inside the sandbox. Must lie in a grant, in the base or in `/tmp`.
    pub workdir: PathBuf,
    /// Files and directories opened to the process, beyond the base.
    pub files: Vec<FileGrant>,
    /// Paths that stay hidden although a tree around them is granted; they exist, links followed.
    #[serde(default)]
    pub deny: Vec<PathBuf>,
    /// A granted directory whose changes go elsewhere.
    #[serde(default)]
    pub overlay: Option<Overlay>,
    /// Which system programs and libraries are readable without a grant.
    pub base: Base,
    /// Which network the process sees.
    pub network: Network,
    /// Pathname unix sockets that the process may reach (bound into its view).
    pub unix_sockets: Vec<PathBuf>,
    /// Resource limits.
    pub limits: Limits,
    /// What must hold for the process to start at all.
    pub level: Level,
    /// What is demanded of single protections, beyond the level.
    pub demands: Demands,
    /// Which system calls are allowed.
    pub profile: Profile,
}

impl Spec {
    /// A spec for `program` with deny-by-default everything: the system base, no grants, no network,
    /// an empty environment, `/tmp` as working directory and the default limits.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let program = program.into();
        Self {
            args: vec![program.clone().into_os_string()],
            program,
            env: Vec::new(),
            workdir: PathBuf::from("/tmp"),
            files: Vec::new(),
            deny: Vec::new(),
            overlay: None,
            base: Base::System,
            network: Network::default(),
            unix_sockets: Vec::new(),
            limits: Limits::default(),
            level: Level::Standard,
            demands: Demands::new(),
            profile: Profile::Default,
        }
    }

    /// Whether a protection was switched off.
    #[must_use]
    pub fn is_off(&self, protection: Protection) -> bool {
        self.demands.get(&protection) == Some(&Demand::Off)
    }

    /// The spec with what was switched off taken out of it: to switch a protection off is to grant what it
    /// keeps closed, or to lift the limit.
    #[must_use]
    pub fn settled(mut self) -> Self {
        let off = self.demands.iter().filter(|(_, demand)| **demand == Demand::Off);
        let off: Vec<Protection> = off.map(|(protection, _)| *protection).collect();
        for protection in off {
            match protection {
                Protection::FilesRead => self.open_root(protection, Access::Read),
                Protection::FilesWrite => self.open_root(protection, Access::Write),
                Protection::Network => {
                    self.network = Network { mode: NetworkMode::Full, ..Network::default() };
                }
                Protection::Limit(limit) => self.limits.lift(limit),
                // The plan leaves the filter out.
                Protection::SystemCalls
                // And refuses these.
                | Protection::FilesNames
                | Protection::FilesMetadata
                | Protection::SocketsUnix
                | Protection::SocketsAbstract
                | Protection::Processes
                | Protection::Ipc
                | Protection::Privileges
                | Protection::Environment
                | Protection::Descriptors
                | Protection::Lifetime => {}
            }
        }
        self
    }

    fn open_root(&mut self, protection: Protection, access: Access) {
        let origin = format!("`{protection}` was switched off");
        self.files.push(FileGrant { path: PathBuf::from("/"), access, origin });
    }
}

/// One file or directory tree opened to the process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileGrant {
    /// Absolute path, the same inside and outside.
    pub path: PathBuf,
    /// What may be done below it.
    pub access: Access,
    /// Who asked for it; named in the report (for instance "interpreter of `python3`").
    pub origin: String,
}

impl FileGrant {
    /// A grant that the user or the manifest asked for by name.
    pub fn requested(path: impl Into<PathBuf>, access: Access) -> Self {
        Self { path: path.into(), access, origin: "requested".to_owned() }
    }
}

/// A directory that is granted for writing and stays as it is: what is changed lies in layers of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// The directory, the same inside and outside; granted for writing.
    pub path: PathBuf,
    /// The directory of the layers, which belongs to the owner of `path` and which nobody else may enter.
    pub layers: PathBuf,
    /// How it is done.
    pub way: Layering,
}

/// How a directory is shown changed without being changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layering {
    /// By overlayfs: changes go to `upper` in the layers, beside an empty `work`.
    Kernel,
    /// By `tree` in the layers, a copy made before.
    Copy,
}

/// What may be done below a granted path. Each contains the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Read files and list directories.
    Read,
    /// Read, and execute programs.
    Exec,
    /// Read, execute, and create, change and remove.
    Write,
}

/// Which system files are readable and executable without a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Base {
    /// `/usr`, `/bin`, `/lib*`, `/sbin`, `/opt` and the harmless parts of `/etc`.
    System,
    /// Nothing but what was granted.
    Bare,
}

/// Which network the process sees.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Network {
    /// The mode; ports below count only in [`NetworkMode::Ports`].
    pub mode: NetworkMode,
    /// TCP ports that may be connected to, on any host (Landlock filters by port, not address).
    pub connect: BTreeSet<u16>,
    /// TCP ports that may be listened on.
    pub listen: BTreeSet<u16>,
    /// The hosts that may be connected to; they count only in [`NetworkMode::Hosts`].
    pub hosts: BTreeSet<HostGrant>,
}

/// Hosts at one port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostGrant {
    /// A name, `*.` and a name, an address, a block of addresses, or `*`. Read by the broker.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// The network modes, from least to most.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// No network at all: an empty network namespace, no internet sockets.
    #[default]
    None,
    /// An own loopback, unreachable from outside.
    Loopback,
    /// An own loopback, and from there through a broker to the named hosts.
    Hosts,
    /// The host's network, TCP to and on the named ports only.
    Ports,
    /// The host's network without filter.
    Full,
}

/// Resource limits. `None` means: not limited by us (the host's own limit holds).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Bytes of memory of the whole tree.
    pub memory: Option<u64>,
    /// Processes and threads of the whole tree.
    pub pids: Option<u64>,
    /// CPU share in thousandths of one core (1500 = one and a half cores).
    pub cpu_milli: Option<u64>,
    /// Total CPU time of one process.
    pub cpu_time: Option<Duration>,
    /// Wall clock time of the process, counted by the supervisor.
    pub wall: Option<Duration>,
    /// Open descriptors per process.
    pub open_files: Option<u64>,
    /// Bytes of the largest file that may be written.
    pub file_size: Option<u64>,
    /// Bytes of the private `/tmp` (and of `/dev/shm`).
    pub tmp_size: u64,
}

impl Limits {
    /// Takes a limit away. The private `/tmp` has a size in any case.
    fn lift(&mut self, limit: Limit) {
        match limit {
            Limit::Memory => self.memory = None,
            Limit::Processes => self.pids = None,
            Limit::CpuRate => self.cpu_milli = None,
            Limit::CpuTime => self.cpu_time = None,
            Limit::Wall => self.wall = None,
            Limit::FileSize => self.file_size = None,
            Limit::OpenFiles => self.open_files = None,
            Limit::Disk | Limit::Output => {}
        }
    }
}

impl Default for Limits {
    /// Wide enough for interpreters and small builds, narrow enough that a runaway is contained:
    /// 1 GiB memory, 512 processes, 1,024 descriptors, 256 MiB of `/tmp`; no CPU, wall or file limit.
    fn default() -> Self {
        Self {
            memory: Some(1 << 30),
            pids: Some(512),
            cpu_milli: None,
            cpu_time: None,
            wall: None,
            open_files: Some(1024),
            file_size: None,
            tmp_size: 256 << 20,
        }
    }
}

/// What must hold for the process to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Every wanted layer must be enforced.
    Strict,
    /// Landlock, seccomp, no_new_privs and rlimits must be enforced; the rest is best effort, reported.
    #[default]
    Standard,
    /// No sandbox at all: only process hygiene. Loud in every report.
    None,
}

impl Level {
    /// Its word in flags, manifests and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Standard => "standard",
            Self::None => "none",
        }
    }
}

/// A named system call profile; the rules are data under `profiles/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// For plugins: everything ordinary programs need, nothing else.
    #[default]
    Default,
    /// For builds and tests: also scheduling calls and ptrace of own children.
    Ci,
    /// For one program: only the calls that its list names.
    Strict(Calls),
}
