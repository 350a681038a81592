//! The file system that a process sees: pure composition of mount steps from base and grants.
//!
//! A root made of nothing but what is listed closes what Landlock leaves open (stat, metadata
//! writes, pathname sockets): what is not granted is not there. The steps are carried out in order
//! by `layers::mount`; nothing is touched here.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use crate::{
    deny::{self, Cover},
    machine::{BaseEntry, BaseKind},
    spec::{Access, Base, FileGrant, NetworkMode, Overlay, Spec},
};

/// One step of building the root, in order. Parents of `at` are created as needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// An empty directory.
    Directory { at: PathBuf },
    /// A symbolic link.
    Link { at: PathBuf, target: PathBuf },
    /// A small file with these bytes.
    File { at: PathBuf, bytes: Vec<u8> },
    /// The host's tree at `source`, submounts included.
    Bind(Bind),
    /// An empty, bounded file system in memory.
    Memory { at: PathBuf, bytes: u64, mode: u32 },
    /// A tree of the host, whose changes go elsewhere.
    Overlay(Overlay),
    /// Something of the kind that is there, which cannot be opened.
    Mask { at: PathBuf },
    /// The process file system of the new pid namespace, read-only.
    Processes,
    /// An own instance of pseudo terminals at `/dev/pts`.
    Terminals,
}

/// A tree of the host inside the view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bind {
    /// Where it is on the host and, by rule, inside.
    pub(crate) path: PathBuf,
    /// Whether it may be changed.
    pub(crate) writable: bool,
    /// Why it is there.
    pub(crate) kind: BindKind,
}

/// Why a tree of the host is in the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BindKind {
    /// It belongs to the system base: read-only, as it is.
    Base,
    /// A device node that works.
    Device,
    /// It was granted; its owner is mapped to the process's user where that is a dedicated one.
    Grant,
    /// The whole host was granted. Its owner keeps it: the secrets of `/etc` and the home of root are
    /// not handed out with it.
    HostRoot,
}

impl Step {
    /// Where it comes to lie.
    pub(crate) fn at(&self) -> &Path {
        match self {
            Self::Directory { at }
            | Self::Link { at, .. }
            | Self::File { at, .. }
            | Self::Memory { at, .. }
            | Self::Mask { at } => at,
            Self::Bind(bind) => &bind.path,
            Self::Overlay(overlay) => &overlay.path,
            Self::Processes => Path::new("/proc"),
            Self::Terminals => Path::new("/dev/pts"),
        }
    }

    /// Whether it is a tree of the system base.
    pub(crate) fn is_base(&self) -> bool {
        matches!(self, Self::Bind(Bind { kind: BindKind::Base, .. }))
    }

    fn is_mount(&self) -> bool {
        match self {
            Self::Directory { .. } | Self::Link { .. } | Self::File { .. } => false,
            Self::Bind(_)
            | Self::Overlay(_)
            | Self::Memory { .. }
            | Self::Mask { .. }
            | Self::Processes
            | Self::Terminals => true,
        }
    }
}

/// The whole view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct View {
    /// `Some(writable)` when `/` itself was granted: the host's root is the root.
    pub(crate) host_root: Option<bool>,
    /// What is put into the root, in order.
    pub(crate) steps: Vec<Step>,
    /// For each step, whether it lies on a mount of another step (not on the root itself).
    pub(crate) nested: Vec<bool>,
}

/// Devices without state or secret.
pub(crate) const DEVICES: [&str; 5] =
    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Room for the places to mount on in a directory that is denied but for something in it.
const HOLLOW: u64 = 256 << 10;

/// Composes the view.
pub(crate) fn compose(spec: &Spec, base: &[BaseEntry]) -> View {
    let grants = needed(spec, base);
    let host_root = grants.iter().find(|grant| grant.path == Path::new("/"));
    let mut steps = Vec::new();
    if host_root.is_none() {
        if spec.base == Base::System {
            base_steps(&mut steps, base, shares_network(spec.network.mode));
        }
        identity_steps(&mut steps, spec.network.mode);
        if !is_below("/var/tmp", &grants, &spec.unix_sockets) {
            steps.push(Step::Link { at: "/var/tmp".into(), target: "/tmp".into() });
        }
        steps.push(Step::Directory { at: "/run".into() });
    }
    device_steps(&mut steps, spec.limits.tmp_size);
    steps.push(Step::Memory { at: "/tmp".into(), bytes: spec.limits.tmp_size, mode: 0o1777 });
    steps.push(Step::Processes);
    let below_root = grants.iter().filter(|grant| grant.path != Path::new("/"));
    let mut said: Vec<Step> = below_root.map(|grant| granted(grant, spec)).collect();
    said.extend(deny::covers(spec, base).iter().map(denied));
    // What lies deeper goes on top. The order of those in it is kept, so that one can be made ahead.
    said.sort_by(|one, other| one.at().cmp(other.at()));
    steps.extend(said);
    steps.extend(spec.unix_sockets.iter().map(|socket| {
        Step::Bind(Bind { path: socket.clone(), writable: true, kind: BindKind::Grant })
    }));
    let nested = nested(&steps);
    View { host_root: host_root.map(|grant| grant.access == Access::Write), steps, nested }
}

fn granted(grant: &FileGrant, spec: &Spec) -> Step {
    if let Some(overlay) = spec.overlay.as_ref().filter(|overlay| overlay.path == grant.path) {
        return Step::Overlay(overlay.clone());
    }
    Step::Bind(Bind {
        path: grant.path.clone(),
        writable: grant.access == Access::Write,
        kind: if grant.path.starts_with("/dev") { BindKind::Device } else { BindKind::Grant },
    })
}

fn denied(cover: &Cover<'_>) -> Step {
    match cover {
        Cover::Mask(at) => Step::Mask { at: (*at).to_owned() },
        Cover::Hollow(at) => Step::Memory { at: (*at).to_owned(), bytes: HOLLOW, mode: 0o555 },
    }
}

fn nested(steps: &[Step]) -> Vec<bool> {
    let mounts: HashSet<&Path> =
        steps.iter().filter(|step| step.is_mount()).map(Step::at).collect();
    steps
        .iter()
        .map(|step| step.at().ancestors().skip(1).any(|above| mounts.contains(above)))
        .collect()
}

/// Whether something is put below `at`, which must be a directory then.
fn is_below(at: &str, grants: &[FileGrant], sockets: &[PathBuf]) -> bool {
    let paths = grants.iter().map(|grant| &grant.path).chain(sockets);
    paths.into_iter().any(|path| path.starts_with(at))
}

/// Whether a mode uses the host's network stack.
pub(crate) fn shares_network(mode: NetworkMode) -> bool {
    match mode {
        NetworkMode::None | NetworkMode::Loopback | NetworkMode::Hosts => false,
        NetworkMode::Ports | NetworkMode::Full => true,
    }
}

/// The grants in path order, without those that a parent or the base already gives. A grant inside
/// another adds to it and never takes away, so that the result is the same without mounts.
pub(crate) fn needed(spec: &Spec, base: &[BaseEntry]) -> Vec<FileGrant> {
    let mut sorted = spec.files.clone();
    sorted.sort_by(|one, other| one.path.cmp(&other.path).then(other.access.cmp(&one.access)));
    let mut kept: Vec<FileGrant> = Vec::new();
    for grant in sorted {
        let by_base = spec.base == Base::System
            && grant.access <= Access::Exec
            && in_base(spec, &grant, base);
        let by_parent = kept.iter().any(|wider| {
            grant.path.starts_with(&wider.path)
                && wider.access >= grant.access
                && !deny::parts(&spec.deny, &wider.path, &grant.path)
                && !(grant.access == Access::Write && is_laid_between(spec, wider, &grant))
        });
        if !by_base && !by_parent {
            kept.push(grant);
        }
    }
    kept
}

/// Whether what is written by the inner grant would go into layers, or past them, but for that grant.
fn is_laid_between(spec: &Spec, outer: &FileGrant, inner: &FileGrant) -> bool {
    spec.overlay.as_ref().is_some_and(|overlay| {
        inner.path.starts_with(&overlay.path) && overlay.path.starts_with(&outer.path)
    })
}

fn in_base(spec: &Spec, grant: &FileGrant, base: &[BaseEntry]) -> bool {
    base.iter().any(|entry| {
        entry.kind == BaseKind::Programs
            && grant.path.starts_with(&entry.path)
            && !deny::parts(&spec.deny, &entry.path, &grant.path)
    })
}

fn base_steps(steps: &mut Vec<Step>, base: &[BaseEntry], host_network: bool) {
    for entry in base.iter().filter(|entry| host_network || !entry.network_only) {
        steps.push(match &entry.kind {
            BaseKind::Link(target) => Step::Link { at: entry.path.clone(), target: target.clone() },
            BaseKind::Programs | BaseKind::Settings => {
                Step::Bind(Bind { path: entry.path.clone(), writable: false, kind: BindKind::Base })
            }
        });
    }
}

/// Names for the few ids that exist inside, instead of the host's user list. The process's own line
/// is added when its id is known.
fn identity_steps(steps: &mut Vec<Step>, network: NetworkMode) {
    let mut file = |at: &str, text: &str| {
        steps.push(Step::File { at: at.into(), bytes: text.as_bytes().to_vec() });
    };
    file("/etc/passwd", "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n");
    file("/etc/group", "nogroup:x:65534:\n");
    if !shares_network(network) {
        file("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n");
    }
    if network == NetworkMode::Hosts {
        // The broker's, which knows the granted names.
        file("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n");
    }
}

fn device_steps(steps: &mut Vec<Step>, shared_memory: u64) {
    steps.push(Step::Memory { at: "/dev".into(), bytes: 64 << 10, mode: 0o755 });
    steps.extend(DEVICES.iter().map(|device| {
        Step::Bind(Bind { path: device.into(), writable: true, kind: BindKind::Device })
    }));
    for (at, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "/proc/self/fd/0"),
        ("/dev/stdout", "/proc/self/fd/1"),
        ("/dev/stderr", "/proc/self/fd/2"),
        ("/dev/ptmx", "pts/ptmx"),
    ] {
        steps.push(Step::Link { at: at.into(), target: target.into() });
    }
    steps.push(Step::Memory { at: "/dev/shm".into(), bytes: shared_memory, mode: 0o1777 });
    steps.push(Step::Terminals);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Vec<BaseEntry> {
        let programs = |path: &str| BaseEntry {
            path: path.into(),
            kind: BaseKind::Programs,
            network_only: false,
        };
        let link = BaseEntry {
            path: "/bin".into(),
            kind: BaseKind::Link("usr/bin".into()),
            network_only: false,
        };
        let resolver = BaseEntry {
            path: "/etc/resolv.conf".into(),
            kind: BaseKind::Settings,
            network_only: true,
        };
        vec![programs("/usr"), link, resolver]
    }

    fn grants(list: &[(&str, Access)]) -> Vec<FileGrant> {
        list.iter().map(|(path, access)| FileGrant::requested(*path, *access)).collect()
    }

    fn opened(files: Vec<FileGrant>, base: Base) -> Spec {
        Spec { files, base, ..Spec::new("/usr/bin/true") }
    }

    fn paths(list: &[FileGrant]) -> Vec<String> {
        list.iter().map(|grant| grant.path.display().to_string()).collect()
    }

    #[test]
    fn var_tmp_is_a_link_unless_something_is_granted_below_it() {
        let link = Step::Link { at: "/var/tmp".into(), target: "/tmp".into() };
        let steps = |path: &str| {
            let spec =
                Spec { files: grants(&[(path, Access::Read)]), ..Spec::new("/usr/bin/true") };
            compose(&spec, &base()).steps
        };
        assert!(steps("/srv").contains(&link));
        assert!(!steps("/var/tmp/data").contains(&link));
    }

    #[test]
    fn a_grant_inside_a_wider_one_is_dropped() {
        let list = grants(&[("/a/b", Access::Read), ("/a", Access::Write), ("/ab", Access::Read)]);
        assert_eq!(paths(&needed(&opened(list, Base::System), &base())), ["/a", "/ab"]);
    }

    #[test]
    fn a_stronger_grant_inside_a_weaker_one_stays_after_it() {
        let list = grants(&[("/a/out", Access::Write), ("/a", Access::Read)]);
        assert_eq!(paths(&needed(&opened(list, Base::System), &base())), ["/a", "/a/out"]);
    }

    #[test]
    fn a_grant_below_something_denied_opens_it_again_on_top() {
        let mut spec = opened(
            grants(&[("/a", Access::Read), ("/a/b/c", Access::Read), ("/a/x", Access::Read)]),
            Base::System,
        );
        spec.deny = vec!["/a/b".into(), "/a/b/c/key".into()];
        assert_eq!(paths(&needed(&spec, &base())), ["/a", "/a/b/c"]);
        let view = compose(&spec, &base());
        let last: Vec<String> =
            view.steps.iter().map(|step| step.at().display().to_string()).collect();
        assert_eq!(last[last.len() - 4..], ["/a", "/a/b", "/a/b/c", "/a/b/c/key"]);
        assert!(view.nested[view.nested.len() - 3..].iter().all(|nested| *nested));
        assert!(matches!(view.steps.last(), Some(Step::Mask { .. })));
    }

    #[test]
    fn an_overlay_is_laid_whatever_is_granted_around_it() {
        let mut spec = opened(
            grants(&[
                ("/a", Access::Write),
                ("/a/w", Access::Write),
                ("/a/w/out", Access::Write),
                ("/a/w/lib", Access::Exec),
            ]),
            Base::System,
        );
        spec.overlay = Some(Overlay {
            path: "/a/w".into(),
            layers: "/l".into(),
            way: crate::spec::Layering::Kernel,
        });
        assert_eq!(paths(&needed(&spec, &base())), ["/a", "/a/w", "/a/w/out"]);
        let steps = compose(&spec, &base()).steps;
        assert_eq!(steps.iter().filter(|step| matches!(step, Step::Overlay(_))).count(), 1);
    }

    #[test]
    fn the_base_covers_reading_but_not_writing() {
        let list = grants(&[("/usr/share", Access::Read), ("/usr/local", Access::Write)]);
        assert_eq!(paths(&needed(&opened(list.clone(), Base::System), &base())), ["/usr/local"]);
        assert_eq!(paths(&needed(&opened(list, Base::Bare), &base())).len(), 2);
    }

    #[test]
    fn a_bare_view_has_no_system_trees() {
        let mut spec = Spec::new("/x/prog");
        spec.base = Base::Bare;
        let view = compose(&spec, &base());
        assert!(
            !view
                .steps
                .iter()
                .any(|step| matches!(step, Step::Bind(bind) if bind.path.starts_with("/usr")))
        );
    }

    #[test]
    fn resolver_settings_come_with_the_host_network_only() {
        let has_resolver = |mode| {
            let mut spec = Spec::new("/usr/bin/x");
            spec.network.mode = mode;
            let steps = compose(&spec, &base()).steps;
            steps
                .iter()
                .any(|step| matches!(step, Step::Bind(bind) if bind.path.ends_with("resolv.conf")))
        };
        assert!(!has_resolver(NetworkMode::None));
        assert!(has_resolver(NetworkMode::Full));
    }

    #[test]
    fn grants_come_after_the_private_directories_that_may_hold_them() {
        let mut spec = Spec::new("/usr/bin/x");
        spec.files = grants(&[("/tmp/data", Access::Read)]);
        let steps = compose(&spec, &base()).steps;
        let place = |wanted: &dyn Fn(&Step) -> bool| steps.iter().position(wanted).unwrap();
        let private =
            place(&|step| matches!(step, Step::Memory { at, .. } if at == Path::new("/tmp")));
        let grant =
            place(&|step| matches!(step, Step::Bind(bind) if bind.path == Path::new("/tmp/data")));
        assert!(private < grant);
    }

    #[test]
    fn what_lies_on_another_mount_is_known() {
        let mut spec = Spec::new("/usr/bin/x");
        spec.files = grants(&[
            ("/home/a", Access::Read),
            ("/home/a/out", Access::Write),
            ("/tmp/x", Access::Read),
        ]);
        let view = compose(&spec, &base());
        let is_nested = |path: &str| {
            let place = view.steps.iter().position(|step| step.at() == Path::new(path)).unwrap();
            view.nested[place]
        };
        for path in ["/home/a/out", "/tmp/x", "/dev/shm", "/dev/null", "/dev/fd"] {
            assert!(is_nested(path), "{path}");
        }
        for path in ["/home/a", "/tmp", "/usr", "/bin", "/etc/passwd"] {
            assert!(!is_nested(path), "{path}");
        }
    }

    #[test]
    fn granting_the_root_uses_the_hosts_root_under_private_directories() {
        let mut spec = Spec::new("/usr/bin/x");
        spec.files = grants(&[("/", Access::Read)]);
        let view = compose(&spec, &base());
        assert_eq!(view.host_root, Some(false));
        assert!(view.steps.contains(&Step::Processes));
    }
}
