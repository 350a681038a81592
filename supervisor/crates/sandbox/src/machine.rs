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
    shim::FIRST_DEDICATED_ID,
    sys,
};

const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;
const CAP_SYS_ADMIN: u32 = 21;

/// Where process ids end, and so the ids of dedicated users after the first.
const MOST_PIDS: u64 = 1 << 22;

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
    /// `CAP_SETUID` and `CAP_SETGID`, and ids that they can be used for: a dedicated user for each
    /// process.
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
            set_ids: sys::has_capability(CAP_SETUID)
                && sys::has_capability(CAP_SETGID)
                && has_dedicated_ids("/proc/self/uid_map")
                && has_dedicated_ids("/proc/self/gid_map"),
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

/// Whether the ids of dedicated users exist here: a container of an ordinary user has a few only.
/// Where that cannot be read, they are taken to.
fn has_dedicated_ids(map: &str) -> bool {
    fs::read_to_string(map).map_or(true, |map| covers_dedicated_ids(&map))
}

/// Whether one line of an id map (`inside outside count`) covers all of them.
fn covers_dedicated_ids(map: &str) -> bool {
    let (first, last) = (u64::from(FIRST_DEDICATED_ID), u64::from(FIRST_DEDICATED_ID) + MOST_PIDS);
    map.lines().any(|line| {
        let numbers: Vec<u64> = line.split_whitespace().flat_map(str::parse).collect();
        matches!(numbers[..], [inside, _, count] if inside <= first && last <= inside + count)
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_of_an_ordinary_user_has_no_dedicated_ids() {
        assert!(covers_dedicated_ids("         0          0 4294967295\n"));
        assert!(covers_dedicated_ids("0 1000 1\n1 100000 4294967294\n"));
        for few in ["0 0 1\n", "0 1000 1\n1 100000 65536\n", "0 0 1879048192\n", "", "x"] {
            assert!(!covers_dedicated_ids(few), "{few}");
        }
    }
}
