//! The facts of this machine that a plan depends on, read once per launcher.
//!
//! Only what must be known *before* a start is read here. Whether namespaces really work is not
//! guessed from files: the launcher tries them and falls to the next rung (availability bits lie).

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    cgroup::{self, Controller},
    enforcement::Layer,
    limit::Holder,
    sys,
};

const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
const CAP_SYS_ADMIN: u32 = 21;

/// System trees that every program may read and execute. Never homes, `/root`, `/var` or `/etc`.
pub(crate) const TREES: [&str; 10] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/nix/store",
    "/gnu/store",
];

/// The parts of `/etc` that programs need and that hold no secret: loader, certificates (not keys),
/// name service, time zone, alternatives, and the settings of common tools.
const SETTINGS: [&str; 20] = [
    "/etc/alternatives",
    "/etc/crypto-policies",
    "/etc/fonts",
    "/etc/java-17-openjdk",
    "/etc/java-21-openjdk",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/locale.alias",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/nsswitch.conf",
    "/etc/os-release",
    "/etc/perl",
    "/etc/pki/tls/certs",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/terminfo",
];

/// Parts of `/etc` that only a process with the host's network needs.
const NETWORK_SETTINGS: [&str; 2] = ["/etc/resolv.conf", "/etc/hosts"];

/// One system path that exists here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseEntry {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: BaseKind,
    /// Whether only a process with the host's network sees it.
    pub network_only: bool,
}

/// What a system path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseKind {
    /// A directory of programs and libraries: readable and executable.
    Programs,
    /// Settings: readable.
    Settings,
    /// A symbolic link, recreated as it is.
    Link(PathBuf),
}

/// The facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Effective user id of the launcher.
    pub uid: u32,
    /// Effective group id of the launcher.
    pub gid: u32,
    /// `CAP_SYS_ADMIN`: namespaces without a user namespace.
    pub admin: bool,
    /// `CAP_SETUID` and `CAP_SETGID`: a dedicated user for each process.
    pub set_ids: bool,
    /// Landlock's ABI version; 0 when absent.
    pub landlock_abi: u32,
    /// The system paths that exist here.
    pub base: Vec<BaseEntry>,
    /// Our own directory in a writable cgroup v2 hierarchy, if there is one.
    pub cgroup: Option<cgroup::Home>,
    /// Our own directories in writable cgroup v1 hierarchies, for controllers that v2 does not give.
    pub classic: Vec<cgroup::Classic>,
    /// Layers that a canary got through although the kernel took them, and what it showed.
    pub disproved: Vec<(Layer, String)>,
}

impl Machine {
    /// Reads the facts of this machine and process.
    #[must_use]
    pub fn read() -> Self {
        let mut base: Vec<BaseEntry> = Vec::new();
        base.extend(TREES.iter().filter_map(|path| entry(path, BaseKind::Programs, false)));
        base.extend(SETTINGS.iter().filter_map(|path| entry(path, BaseKind::Settings, false)));
        base.extend(NETWORK_SETTINGS.iter().filter_map(|path| settled_entry(path)));
        let cgroup = cgroup::home();
        let held = cgroup.as_ref().map_or(&[][..], |home| &home.controllers);
        Self {
            classic: cgroup::classic_homes(held),
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            admin: sys::has_capability(CAP_SYS_ADMIN),
            set_ids: sys::has_capability(CAP_SETUID) && sys::has_capability(CAP_SETGID),
            landlock_abi: sys::landlock_abi(),
            base,
            cgroup,
            disproved: Vec::new(),
        }
    }

    /// Who would hold this controller's limit for a tree, if anybody.
    #[must_use]
    pub fn holder(&self, controller: Controller) -> Option<Holder> {
        let unified = self.cgroup.as_ref().is_some_and(|it| it.controllers.contains(&controller));
        let classic = || self.classic.iter().any(|it| it.controller == controller);
        if unified { Some(Holder::CgroupV2) } else { classic().then_some(Holder::CgroupV1) }
    }
}

fn entry(path: &str, kind: BaseKind, network_only: bool) -> Option<BaseEntry> {
    let path = PathBuf::from(path);
    let kind = match fs::read_link(&path) {
        Ok(target) => BaseKind::Link(target),
        Err(_not_a_link) => fs::symlink_metadata(&path).ok().map(|_exists| kind)?,
    };
    Some(BaseEntry { path, kind, network_only })
}

/// Network settings are often links into `/run`, which is not part of the view: follow them.
fn settled_entry(path: &str) -> Option<BaseEntry> {
    Path::new(path).exists().then(|| BaseEntry {
        path: PathBuf::from(path),
        kind: BaseKind::Settings,
        network_only: true,
    })
}
