//! Which reach for a name a call is, and whether the grants cover it. Pure: the file system of the host
//! is an argument.
//!
//! This is advice for a person, never a decision: what the kernel makes of the call is up to the layers.
//! `run --explain` tells what is not covered as refused, `learn` makes grants of it.

use std::{
    ffi::OsStr,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::ffi::OsStrExt as _,
    path::{Component, Path, PathBuf},
};

use super::{Barrier, Denial, Fix, lesson::Use};
use crate::{
    deny,
    machine::{BaseEntry, BaseKind},
    plan::Rung,
    spec::{Access, Base, NetworkMode, Spec},
};

/// One path of a call: where its pieces are, and what it is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reach {
    /// The argument with the directory that a relative path starts from; `None`: the current one.
    pub(super) directory: Option<usize>,
    /// The argument with the address of the path.
    pub(super) path: usize,
    pub(super) want: Want,
}

/// What a path is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Want {
    /// To know of it: that it is there, and what it is.
    Look,
    /// To read it, or to list it.
    Read,
    /// To execute it.
    Execute,
    /// To change it.
    Change,
    /// To change it, or to make it where it is not there.
    Create,
    /// To make, replace or remove it, which changes its directory.
    Entry,
}

/// The paths that a call reaches for; empty when it reaches for none (or is a socket's).
pub(super) fn reaches(name: &str, args: &[u64; 6]) -> Vec<Reach> {
    let one = |directory, path, want| vec![Reach { directory, path, want }];
    let flags = |at: usize| args.get(at).copied().unwrap_or(0);
    match name {
        "open" => one(None, 0, opened(flags(1))),
        "openat" => one(Some(0), 1, opened(flags(2))),
        "access" => one(None, 0, accessed(flags(1))),
        "faccessat" | "faccessat2" => one(Some(0), 1, accessed(flags(2))),
        "execve" => one(None, 0, Want::Execute),
        "execveat" => one(Some(0), 1, Want::Execute),
        "stat" | "lstat" | "readlink" | "chdir" | "statfs" | "getxattr" | "lgetxattr"
        | "listxattr" | "llistxattr" => one(None, 0, Want::Look),
        "newfstatat" | "statx" | "readlinkat" | "inotify_add_watch" => one(Some(0), 1, Want::Look),
        "truncate" | "chmod" | "chown" | "lchown" | "utime" | "utimes" | "setxattr"
        | "lsetxattr" | "removexattr" | "lremovexattr" => one(None, 0, Want::Change),
        "fchmodat" | "fchmodat2" | "fchownat" | "utimensat" | "futimesat" => {
            one(Some(0), 1, Want::Change)
        }
        "creat" => one(None, 0, Want::Create),
        "mkdir" | "rmdir" | "unlink" | "mknod" => one(None, 0, Want::Entry),
        "mkdirat" | "unlinkat" | "mknodat" => one(Some(0), 1, Want::Entry),
        "symlink" => one(None, 1, Want::Entry),
        "symlinkat" => one(Some(1), 2, Want::Entry),
        "rename" => [one(None, 0, Want::Entry), one(None, 1, Want::Entry)].concat(),
        "link" => [one(None, 0, Want::Read), one(None, 1, Want::Entry)].concat(),
        "renameat" | "renameat2" => {
            [one(Some(0), 1, Want::Entry), one(Some(2), 3, Want::Entry)].concat()
        }
        "linkat" => [one(Some(0), 1, Want::Read), one(Some(2), 3, Want::Entry)].concat(),
        _ => Vec::new(),
    }
}

fn opened(flags: u64) -> Want {
    let has = |flag: i32| flags & u64::from(flag.cast_unsigned()) != 0;
    // A file without a name is made in the directory that is opened.
    if flags & TMPFILE == TMPFILE {
        return Want::Change;
    }
    if has(libc::O_PATH) {
        return Want::Look;
    }
    match (has(libc::O_CREAT), has(libc::O_WRONLY | libc::O_RDWR | libc::O_TRUNC)) {
        (true, _) => Want::Create,
        (false, true) => Want::Change,
        (false, false) => Want::Read,
    }
}

const TMPFILE: u64 = libc::O_TMPFILE.cast_unsigned() as u64;

fn accessed(mode: u64) -> Want {
    let has = |bit: i32| mode & u64::from(bit.cast_unsigned()) != 0;
    match (has(libc::W_OK), has(libc::X_OK)) {
        (true, _) => Want::Change,
        (false, true) => Want::Execute,
        (false, false) => Want::Look,
    }
}

/// What is said of a path by those who have it.
pub(super) trait Host {
    /// The real path on the host; `None` when nothing is there.
    fn real(&self, path: &Path) -> Option<PathBuf>;
    /// Whether a real path is that of a directory.
    fn is_directory(&self, real: &Path) -> bool;
    /// Whether the process sees something there.
    fn is_inside(&self, path: &Path) -> bool;
}

/// What was granted, as far as paths and ports go.
#[derive(Debug)]
pub(super) struct Granted {
    files: Vec<(PathBuf, Access)>,
    denied: Vec<PathBuf>,
    sockets: Vec<PathBuf>,
    /// Whether names that were not granted do not exist inside.
    viewed: bool,
    /// Whether it is only learned what would have to be granted.
    learning: bool,
    /// Trees of the host in place of the process's own, to learn from.
    shown: Vec<PathBuf>,
    network: crate::spec::Network,
}

/// What the grants lack for a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lack {
    /// What would have to be granted, by its real name.
    pub(super) target: PathBuf,
    /// How far.
    pub(super) access: Access,
    /// How far it is granted now.
    pub(super) held: Option<Access>,
    /// What is done with it.
    pub(super) usage: Use,
}

/// Trees that are no business of grants, or of the process's own.
const OWN: [&str; 3] = ["/proc", "/dev", "/sys"];
/// Trees of which each view has one of its own.
const PRIVATE: [&str; 2] = ["/tmp", "/var/tmp"];
/// Small files that every view has.
const WRITTEN: [&str; 3] = ["/etc/passwd", "/etc/group", "/etc/hosts"];

impl Granted {
    pub(super) fn of(spec: &Spec, base: &[BaseEntry], rung: Rung, private: Option<&Path>) -> Self {
        let mut files: Vec<(PathBuf, Access)> =
            spec.files.iter().map(|grant| (grant.path.clone(), grant.access)).collect();
        if spec.base == Base::System {
            files.extend(base.iter().map(|entry| {
                let access = match entry.kind {
                    BaseKind::Settings => Access::Read,
                    BaseKind::Programs | BaseKind::Link(_) => Access::Exec,
                };
                (entry.path.clone(), access)
            }));
        }
        files.extend(private.map(|path| (path.to_owned(), Access::Write)));
        files.extend(WRITTEN.map(|path| (PathBuf::from(path), Access::Read)));
        Self {
            files,
            denied: spec.deny.clone(),
            sockets: spec.unix_sockets.clone(),
            viewed: rung != Rung::Bare,
            learning: false,
            shown: Vec::new(),
            network: spec.network.clone(),
        }
    }

    /// The same, to learn what is missing while everything is open and these trees of the host stand
    /// where else would be something of the process's own.
    pub(super) fn learning(self, shown: Vec<PathBuf>) -> Self {
        Self { learning: true, shown, ..self }
    }

    fn access(&self, path: &Path) -> Option<Access> {
        let above = self.files.iter().filter(|(granted, _)| {
            path.starts_with(granted) && !deny::parts(&self.denied, granted, path)
        });
        above.map(|(_, access)| *access).max()
    }

    /// Whether it is closed by name: no grant around it would open it.
    pub(super) fn is_denied(&self, path: &Path) -> bool {
        self.denied.iter().any(|denied| path.starts_with(denied)) && self.access(path).is_none()
    }

    /// Whether a directory on the way to something granted: it is there, and can be looked at.
    fn leads_on(&self, path: &Path) -> bool {
        self.files.iter().any(|(granted, _)| granted.starts_with(path))
    }

    /// Whether the process has something of its own there, whatever the host has.
    fn is_own(&self, path: &Path, host: &dyn Host) -> bool {
        let below = |trees: &[PathBuf]| trees.iter().any(|tree| path.starts_with(tree));
        let private = PRIVATE.iter().any(|own| path.starts_with(own));
        let private = self.viewed && private && !below(&self.shown) && host.is_inside(path);
        private || OWN.iter().any(|own| path.starts_with(own))
    }

    /// What the grants lack for a path, absolute and without `..`; `None` when it is covered, or when
    /// it would not have worked outside either.
    pub(super) fn lack(&self, path: &Path, want: Want, host: &dyn Host) -> Option<Lack> {
        // `/proc/self` is another one to whoever looks from outside.
        if OWN.iter().any(|own| path.starts_with(own)) {
            return None;
        }
        let real = || host.real(path);
        let parent = || host.real(path.parent()?);
        let (target, access, usage) = match want {
            Want::Look => (real()?, Access::Read, Use::Look),
            Want::Read => {
                let real = real()?;
                let usage = if host.is_directory(&real) { Use::List } else { Use::Read };
                (real, Access::Read, usage)
            }
            Want::Execute => {
                let real = real()?;
                let look = host.is_directory(&real);
                let (access, usage) =
                    if look { (Access::Read, Use::Look) } else { (Access::Exec, Use::Execute) };
                (real, access, usage)
            }
            Want::Change => (real()?, Access::Write, Use::Change),
            Want::Create => match real().filter(|real| !host.is_directory(real)) {
                Some(real) => (real, Access::Write, Use::Change),
                None => (parent()?, Access::Write, Use::Make),
            },
            Want::Entry => (parent()?, Access::Write, Use::Make),
        };
        let held = self.access(&target);
        // Who lists a directory on the way sees only what is granted in it, which is worth a lesson.
        let passes = access == Access::Read && !(self.learning && usage == Use::List);
        let covered = match held {
            Some(held) => held >= access,
            None => passes && self.leads_on(&target) || self.is_own(&target, host),
        };
        (!covered).then_some(Lack { target, access, held, usage })
    }

    /// Whether a path belongs, by its text, to what every view has: nothing can change that.
    pub(super) fn is_settled(&self, path: &Path) -> bool {
        self.access(path).is_some() || OWN.iter().any(|own| path.starts_with(own))
    }

    /// Whether a directory can be looked at, for what is granted in it or around it.
    pub(super) fn has_entry(&self, directory: &Path, host: &dyn Host) -> bool {
        self.access(directory).is_some() || self.is_own(directory, host)
    }

    /// What the grants lack for a path, as a refusal with its fix.
    pub(super) fn file(&self, path: &Path, want: Want, host: &dyn Host) -> Option<Denial> {
        let Lack { target, access, held, .. } = self.lack(path, want, host)?;
        if self.is_denied(&target) {
            let denial = Denial::new(Barrier::Files, "denied-by-name");
            return Some(Denial { path: Some(path.to_owned()), ..denial });
        }
        let rule = if held.is_some() { "granted-for-reading" } else { "not-granted" };
        Some(Denial {
            path: Some(path.to_owned()),
            fix: Some(Fix::File { path: target, access }),
            ..Denial::new(Barrier::Files, rule)
        })
    }

    /// What the grants lack for the path of a unix socket.
    pub(super) fn socket(&self, path: &Path, host: &dyn Host) -> Option<Denial> {
        let target = host.real(path)?;
        // Without a view the filter lets who may make sockets reach all of them; others make none.
        let open = !self.viewed && !self.learning;
        let covered = open || self.access(&target).is_some() || self.sockets.contains(&target);
        (!covered).then(|| Denial {
            path: Some(path.to_owned()),
            fix: Some(Fix::Unix(target)),
            ..Denial::new(Barrier::Files, "not-granted")
        })
    }

    /// What the grants lack for an address of the internet.
    pub(super) fn address(&self, name: &str, address: Address) -> Option<Denial> {
        let (host, port, local) = (address.ip.to_string(), address.port, address.ip.is_loopback());
        let (rule, fix) = match (self.network.mode, name) {
            (NetworkMode::Ports, "connect") if !self.network.connect.contains(&port) => {
                ("port-not-granted", Fix::Connect(port))
            }
            (NetworkMode::Ports, "bind") if port != 0 && !self.network.listen.contains(&port) => {
                ("port-not-granted", Fix::Listen(port))
            }
            (NetworkMode::Loopback, "connect") if !local => {
                ("loopback-only", Fix::Network(NetworkMode::Full))
            }
            _ => return None,
        };
        Some(Denial {
            host: Some(host),
            port: Some(port),
            fix: Some(fix),
            ..Denial::new(Barrier::Network, rule)
        })
    }
}

/// An address of the internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) ip: IpAddr,
    pub(super) port: u16,
}

/// What the bytes of a `sockaddr` name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Peer {
    Internet(Address),
    Path(PathBuf),
}

/// Reads a `sockaddr`; `None` for families and shapes that are no business of grants.
pub(super) fn peer(bytes: &[u8]) -> Option<Peer> {
    let (family, rest) = bytes.split_first_chunk::<2>()?;
    let internet = |port: [u8; 2], ip: IpAddr| {
        let port = u16::from_be_bytes(port);
        Some(Peer::Internet(Address { ip: ip.to_canonical(), port }))
    };
    match i32::from(u16::from_ne_bytes(*family)) {
        libc::AF_INET => {
            let (port, rest) = rest.split_first_chunk::<2>()?;
            let (ip, _) = rest.split_first_chunk::<4>()?;
            internet(*port, Ipv4Addr::from(*ip).into())
        }
        libc::AF_INET6 => {
            let (port, rest) = rest.split_first_chunk::<2>()?;
            let (ip, _) = rest.get(4..)?.split_first_chunk::<16>()?;
            internet(*port, Ipv6Addr::from(*ip).into())
        }
        libc::AF_UNIX => {
            let end = rest.iter().position(|byte| *byte == 0).unwrap_or(rest.len());
            let path = rest.get(..end).filter(|path| path.first() == Some(&b'/'))?;
            Some(Peer::Path(PathBuf::from(OsStr::from_bytes(path))))
        }
        _ => None,
    }
}

/// A path without `.` and `..`, by its text alone.
pub(super) fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(part) => plain.push(part),
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::FileGrant;

    /// Everything below `/srv`, `/tmp` and `/usr` exists that is not called `missing`.
    struct Fake;

    impl Host for Fake {
        fn real(&self, path: &Path) -> Option<PathBuf> {
            let there = ["/srv", "/tmp", "/usr", "/proc"].iter().any(|tree| path.starts_with(tree));
            let missing = path.components().any(|part| part.as_os_str() == "missing");
            (there && !missing || path == Path::new("/")).then(|| path.to_owned())
        }

        fn is_directory(&self, real: &Path) -> bool {
            real.ends_with("directory")
        }

        fn is_inside(&self, path: &Path) -> bool {
            path == Path::new("/tmp") || path.starts_with("/tmp/own")
        }
    }

    fn granted() -> Granted {
        let mut spec = Spec::new("/usr/bin/true");
        spec.base = Base::Bare;
        spec.files = vec![
            FileGrant::requested("/srv/read", Access::Read),
            FileGrant::requested("/srv/write", Access::Write),
        ];
        Granted::of(&spec, &[], Rung::User, None)
    }

    fn lacks(path: &str, want: Want) -> Option<(String, Fix)> {
        let denial = granted().file(Path::new(path), want, &Fake)?;
        Some((denial.rule, denial.fix.unwrap()))
    }

    fn file(path: &str, access: Access) -> Fix {
        Fix::File { path: path.into(), access }
    }

    #[test]
    fn what_is_granted_and_what_is_not_there_is_no_denial() {
        for (path, want) in [
            ("/srv/read/a", Want::Read),
            ("/srv/write/a", Want::Change),
            ("/srv/write/new", Want::Entry),
            ("/srv", Want::Read),
            ("/srv/other/missing", Want::Read),
            ("/tmp/new", Want::Entry),
            ("/tmp/own/a", Want::Read),
            ("/proc/self/x", Want::Read),
        ] {
            assert_eq!(lacks(path, want), None, "{path}");
        }
    }

    #[test]
    fn what_is_missing_is_named_with_the_least_grant() {
        let refused = lacks("/srv/other/a", Want::Read).unwrap();
        assert_eq!(refused, ("not-granted".to_owned(), file("/srv/other/a", Access::Read)));
        let changed = lacks("/srv/read/a", Want::Change).unwrap();
        assert_eq!(changed, ("granted-for-reading".to_owned(), file("/srv/read/a", Access::Write)));
        let made = lacks("/srv/read/missing", Want::Entry).unwrap();
        assert_eq!(made.1, file("/srv/read", Access::Write));
        assert_eq!(lacks("/tmp/a", Want::Read).unwrap().1, file("/tmp/a", Access::Read));
        let run = lacks("/srv/read/a", Want::Execute).unwrap();
        assert_eq!(run.1, file("/srv/read/a", Access::Exec));
        let there = lacks("/srv/other/a", Want::Create).unwrap();
        assert_eq!(there.1, file("/srv/other/a", Access::Write));
        let gone = lacks("/srv/other/a", Want::Entry).unwrap();
        assert_eq!(gone.1, file("/srv/other", Access::Write));
    }

    #[test]
    fn what_is_done_with_a_path_is_told_apart() {
        let usage =
            |path: &str, want| granted().lack(Path::new(path), want, &Fake).map(|lack| lack.usage);
        assert_eq!(usage("/srv/other/directory", Want::Read), Some(Use::List));
        assert_eq!(usage("/srv/other/directory", Want::Execute), Some(Use::Look));
        assert_eq!(usage("/srv/other/directory", Want::Create), Some(Use::Make));
        assert_eq!(usage("/srv/other/a", Want::Create), Some(Use::Change));
        assert_eq!(usage("/srv/other/missing", Want::Create), Some(Use::Make));
        assert_eq!(usage("/srv/other/a", Want::Look), Some(Use::Look));
    }

    #[test]
    fn what_is_only_shown_to_learn_from_is_not_the_processes_own() {
        let shown = granted().learning(vec!["/tmp/own".into()]);
        let lack = shown.lack(Path::new("/tmp/own/a"), Want::Read, &Fake).unwrap();
        assert_eq!(lack.target, Path::new("/tmp/own/a"));
        assert_eq!(shown.lack(Path::new("/tmp/new"), Want::Entry, &Fake), None);
    }

    #[test]
    fn ports_beyond_the_list_are_named() {
        let mut granted = granted();
        granted.network.mode = NetworkMode::Ports;
        granted.network.connect.insert(443);
        let lacks = |name, port| {
            let address = Address { ip: Ipv4Addr::LOCALHOST.into(), port };
            granted.address(name, address).and_then(|denial| denial.fix)
        };
        assert_eq!(lacks("connect", 443), None);
        assert_eq!(lacks("connect", 80), Some(Fix::Connect(80)));
        assert_eq!(lacks("bind", 8080), Some(Fix::Listen(8080)));
        assert_eq!(lacks("bind", 0), None);
    }

    #[test]
    fn what_is_denied_by_name_has_no_fix() {
        let mut granted = granted();
        granted.denied = vec!["/srv/write/key".into(), "/srv".into()];
        let rule = |path: &str| granted.file(Path::new(path), Want::Read, &Fake);
        assert_eq!(rule("/srv/write/file"), None);
        let denial = rule("/srv/write/key").unwrap();
        assert_eq!((denial.rule.as_str(), denial.fix), ("denied-by-name", None));
    }

    #[test]
    fn addresses_are_read_from_bytes_of_any_length() {
        let inet = [&2_u16.to_ne_bytes()[..], &443_u16.to_be_bytes(), &[10, 0, 0, 1]].concat();
        let address = Address { ip: Ipv4Addr::new(10, 0, 0, 1).into(), port: 443 };
        assert_eq!(peer(&inet), Some(Peer::Internet(address)));
        let unix = [&1_u16.to_ne_bytes()[..], b"/run/x\0rest"].concat();
        assert_eq!(peer(&unix), Some(Peer::Path("/run/x".into())));
        for length in 0..inet.len() {
            assert_eq!(peer(&inet[..length]), None);
        }
        assert_eq!(peer(&[1, 0, 0, b'a']), None);
    }

    #[test]
    fn flags_say_what_a_file_is_opened_for() {
        let open = |flags: i32| {
            reaches("openat", &[0, 0, u64::from(flags.cast_unsigned()), 0, 0, 0])[0].want
        };
        assert_eq!(open(libc::O_RDONLY | libc::O_CLOEXEC), Want::Read);
        assert_eq!(open(libc::O_RDWR), Want::Change);
        assert_eq!(open(libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC), Want::Create);
        assert_eq!(open(libc::O_PATH | libc::O_CLOEXEC), Want::Look);
        assert_eq!(open(libc::O_TMPFILE | libc::O_RDWR), Want::Change);
        assert_eq!(plain(Path::new("/a/./b/../../../c")), Path::new("/c"));
    }
}
