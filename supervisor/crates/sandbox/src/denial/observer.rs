//! Looks at what a waiting call names: reads its path or address out of the process, bounded, and
//! compares it with the grants and with the host.
//!
//! Only for `run --explain` and `learn`. What the process has in its memory may change after it was
//! read, and a path may mean something else inside; so this is advice, and the call goes on to the
//! kernel and its layers.

use std::{
    collections::{HashSet, VecDeque},
    ffi::{OsStr, OsString},
    fs,
    io::IoSliceMut,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use nix::{
    sys::uio::{RemoteIoVec, process_vm_readv},
    unistd::Pid,
};

use super::{
    Denial, Fix,
    attempt::{self, Address, Granted, Host, Lack, Peer, Want},
    decode,
    lesson::{Contact, Lessons, Use, Way},
    question,
    secret::{secret, secret_socket},
};
use crate::{
    machine::BaseEntry,
    plan::Rung,
    resolve,
    seccomp::{self, Variant, Verdict},
    spec::Spec,
    sys,
};

/// How many links may stand behind one another, as the kernel has it.
const MOST_LINKS: usize = 40;
/// The longest path that is read, as the kernel has it.
const LONGEST_PATH: usize = 4096;
/// The longest address.
const LONGEST_ADDRESS: u64 = 128;
/// What is read at once: a page never lies half in memory.
const PAGE: u64 = 4096;

/// The most messages of one call that are looked at.
const MOST_MESSAGES: u64 = 4;
/// How much of a message is read: a question to a name server is shorter.
const LONGEST_QUESTION: u64 = 512;
/// The most that is remembered of what needs no second look.
const MOST_KNOWN: usize = 1 << 16;
/// How many scripts may interpret one another, as the kernel has it.
const MOST_SCRIPTS: usize = 4;

/// The grants of one process, and the host that they are about.
#[derive(Debug)]
pub(crate) struct Observer {
    granted: Granted,
    learning: Option<Learning>,
}

/// What is learned, and by which rules.
#[derive(Debug)]
struct Learning {
    lessons: Lessons,
    /// The filter that would hold with what is granted now.
    filter: Option<Variant>,
    /// Paths, as they were named, of which all is known.
    known: HashSet<(PathBuf, Want)>,
    /// Whether names that were not granted would not exist.
    viewed: bool,
}

/// What one call reaches for.
#[derive(Debug, Default)]
struct Reached {
    paths: Vec<(PathBuf, Want)>,
    peers: Vec<(Way, Peer)>,
    names: Vec<String>,
}

/// The host's file system, and the view of one process.
#[derive(Debug)]
struct Eyes {
    pid: i32,
}

impl Host for Eyes {
    fn real(&self, path: &Path) -> Option<PathBuf> {
        fs::canonicalize(path).ok()
    }

    fn is_directory(&self, real: &Path) -> bool {
        real.is_dir()
    }

    fn is_inside(&self, path: &Path) -> bool {
        let path = path.strip_prefix("/").unwrap_or(path);
        Path::new(&format!("/proc/{}/root", self.pid)).join(path).symlink_metadata().is_ok()
    }
}

impl Observer {
    /// `private` stands in for `/tmp` where there is no view.
    pub(crate) fn new(spec: &Spec, base: &[BaseEntry], rung: Rung, private: Option<&Path>) -> Self {
        Self { granted: Granted::of(spec, base, rung, private), learning: None }
    }

    /// The same, to learn what `spec` lacks while everything is open and `shown` stands where else
    /// would be something of the process's own. `filter` is the one that would hold.
    pub(crate) fn learning(self, shown: &[PathBuf], filter: Option<Variant>, rung: Rung) -> Self {
        let learning = Learning {
            lessons: Lessons::default(),
            filter,
            known: HashSet::new(),
            viewed: rung != Rung::Bare,
        };
        Self { granted: self.granted.learning(shown.to_vec()), learning: Some(learning) }
    }

    /// What was learned, if that was asked for.
    pub(super) fn into_lessons(self) -> Option<Lessons> {
        self.learning.map(|learning| learning.lessons)
    }

    /// What the grants lack for this call of the process `pid`, which waits. `still_waits` is asked
    /// after its memory was read: else it could be another process's by now.
    pub(super) fn look(
        &self,
        pid: i32,
        name: &str,
        args: &[u64; 6],
        still_waits: impl Fn() -> bool,
    ) -> Vec<Denial> {
        if self.learning.is_some() {
            return Vec::new();
        }
        let reached = reached(pid, name, args);
        if !still_waits() {
            return Vec::new();
        }
        let eyes = Eyes { pid };
        let paths = reached.paths.iter();
        let files = paths.filter_map(|(path, want)| self.granted.file(path, *want, &eyes));
        let peers = reached.peers.into_iter().filter(|(way, _)| *way != Way::Send);
        let peers = peers.filter_map(|(_, peer)| self.peer(name, peer, &eyes));
        files.chain(peers).map(|denial| named(denial, name)).collect()
    }

    fn peer(&self, name: &str, peer: Peer, host: &Eyes) -> Option<Denial> {
        match peer {
            Peer::Internet(address) => self.granted.address(name, address),
            Peer::Path(path) if name == "connect" => self.granted.socket(&path, host),
            Peer::Path(path) => self.granted.file(&path, Want::Entry, host),
        }
    }

    /// Notes what this call tells of the process's needs. The answer is whether it is a secret that is
    /// reached for, which is refused: then the process goes the way that it will go without.
    pub(super) fn learn(
        &mut self,
        pid: i32,
        name: &'static str,
        args: &[u64; 6],
        still_waits: impl Fn() -> bool,
    ) -> Secrecy {
        let Some(learning) = &mut self.learning else { return Secrecy::Open };
        learning.call(name, args);
        let reached = reached(pid, name, args);
        let socket = i32::try_from(args.first().copied().unwrap_or(0) & 0xffff_ffff).ok();
        let datagram = !reached.peers.is_empty()
            && socket.is_some_and(|socket| sys::is_datagram_socket(pid, socket));
        if !still_waits() {
            return Secrecy::Open;
        }
        let eyes = Eyes { pid };
        let lessons = &mut learning.lessons;
        reached.names.into_iter().for_each(|name| lessons.asked_for(name));
        let mut secrecy = Secrecy::Open;
        for (way, peer) in reached.peers {
            secrecy = secrecy.max(learning.peer(&self.granted, way, peer, datagram, &eyes));
        }
        for (path, want) in reached.paths {
            if want == Want::Execute
                && name.starts_with("execve")
                && let Some(program) = eyes.real(&path)
            {
                learning.lessons.executed(&program);
            }
            secrecy = secrecy.max(learning.path(&self.granted, path, want, &eyes));
        }
        secrecy
    }
}

/// Whether what a call reaches for is kept from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Secrecy {
    Open,
    Secret,
}

impl Learning {
    fn call(&mut self, name: &'static str, args: &[u64; 6]) {
        self.lessons.called(name);
        let Some(filter) = &self.filter else { return };
        let Ok(ruling) = seccomp::ruling(filter, name, args) else { return };
        if matches!(ruling.verdict, Verdict::Errno(_)) {
            self.lessons.needed(decode::denial(name, args, ruling, filter));
        }
    }

    fn peer(
        &mut self,
        granted: &Granted,
        way: Way,
        peer: Peer,
        datagram: bool,
        eyes: &Eyes,
    ) -> Secrecy {
        match peer {
            Peer::Internet(Address { ip: address, port }) => {
                self.lessons.contact(Contact { way, address, port, datagram, after: None });
                Secrecy::Open
            }
            Peer::Path(path) if way == Way::Bind => self.path(granted, path, Want::Entry, eyes),
            Peer::Path(path) => {
                let Some(Fix::Unix(real)) = granted.socket(&path, eyes).and_then(|it| it.fix)
                else {
                    return Secrecy::Open;
                };
                if let Some(why) = secret_socket(&real) {
                    self.lessons.withhold(&real, why);
                    return Secrecy::Secret;
                }
                self.lessons.socket(real);
                Secrecy::Open
            }
        }
    }

    fn path(&mut self, granted: &Granted, path: PathBuf, want: Want, eyes: &Eyes) -> Secrecy {
        let known = (path, want);
        if self.known.contains(&known) {
            return Secrecy::Open;
        }
        let path = &known.0;
        let lack = granted.lack(path, want, eyes);
        if lack.is_none() && matches!(want, Want::Create | Want::Entry) {
            self.lessons.forget(path);
        }
        let mut secrecy = Secrecy::Open;
        if let Some(lack) = lack.as_ref().filter(|lack| !granted.is_denied(&lack.target)) {
            secrecy = self.lack(path, lack, eyes);
        }
        let is_base = lack.is_none() && granted.is_settled(path);
        if (lack.is_some() || !is_base) && self.viewed {
            self.links(granted, path, eyes);
        }
        // What is not there may be made later; what is secret is asked about each time.
        let settled = lack.is_some() || is_base;
        if settled && secrecy == Secrecy::Open && self.known.len() < MOST_KNOWN {
            self.known.insert(known);
        }
        secrecy
    }

    fn lack(&mut self, path: &Path, lack: &Lack, eyes: &Eyes) -> Secrecy {
        let made = lack.usage == Use::Make;
        let subject = if made { path } else { lack.target.as_path() };
        if let Some(why) = secret(subject) {
            self.lessons.withhold(subject, why);
            return if lack.usage == Use::Look { Secrecy::Open } else { Secrecy::Secret };
        }
        if self.viewed && !eyes.is_inside(&lack.target) {
            self.lessons.hide(&lack.target);
        }
        let directory = made || eyes.is_directory(&lack.target);
        self.lessons.touch(&lack.target, directory, lack.usage);
        Secrecy::Open
    }

    /// The links on the way must be there as well as what they lead to.
    fn links(&mut self, granted: &Granted, path: &Path, eyes: &Eyes) {
        for link in links(path) {
            if let Some(directory) = link.parent()
                && !granted.has_entry(directory, eyes)
            {
                self.lessons.touch(directory, true, Use::Link);
            }
        }
    }
}

/// The programs that interpret a script, one after the other, as they are named.
fn interpreters(script: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    while let Some(next) = resolve::interpreter(found.last().map_or(script, PathBuf::as_path))
        && found.len() < MOST_SCRIPTS
    {
        found.push(next);
    }
    found
}

/// The links on the way to what a path leads to, each by the real name of its directory. None for a
/// path that leads nowhere.
fn links(path: &Path) -> Vec<PathBuf> {
    if fs::canonicalize(path).is_ok_and(|real| real == path) {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut at = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = path.iter().map(OsStr::to_owned).collect();
    while let Some(part) = rest.pop_front() {
        match part.as_bytes() {
            b"/" => at = PathBuf::from("/"),
            b"." => {}
            b".." => drop(at.pop()),
            _ => at.push(&part),
        }
        let Ok(target) = fs::read_link(&at) else { continue };
        found.push(at.clone());
        at.pop();
        if found.len() > MOST_LINKS {
            return Vec::new();
        }
        target.iter().rev().for_each(|part| rest.push_front(part.to_owned()));
    }
    found
}

fn named(denial: Denial, name: &str) -> Denial {
    Denial { syscall: Some(name.to_owned()), ..denial }
}

/// What a call of a waiting process reaches for, read out of its memory.
fn reached(pid: i32, name: &str, args: &[u64; 6]) -> Reached {
    let [_, second, third, _, fifth, sixth] = *args;
    let mut reached = Reached::default();
    match name {
        "connect" => reached.peers.extend(peer(pid, second, third).map(|it| (Way::Connect, it))),
        "bind" => reached.peers.extend(peer(pid, second, third).map(|it| (Way::Bind, it))),
        "sendto" => message(pid, (second, third), (fifth, sixth), &mut reached),
        "sendmmsg" => {
            // Each is a `msghdr` of 56 bytes and a length, padded.
            for number in 0..third.min(MOST_MESSAGES) {
                let header = second.saturating_add(number.saturating_mul(64));
                let Some([name, length, vector, _]) = words(pid, header) else { break };
                let Some([base, size]) = words(pid, vector) else { break };
                message(pid, (base, size), (name, length & 0xffff_ffff), &mut reached);
            }
        }
        _ => {
            let paths = attempt::reaches(name, args).into_iter().filter_map(|reach| {
                let address = *args.get(reach.path)?;
                let directory = reach.directory.and_then(|at| args.get(at).copied());
                Some((path(pid, directory, address)?, reach.want))
            });
            reached.paths.extend(paths);
            let executed = reached.paths.iter().filter(|(_, want)| *want == Want::Execute);
            let scripts: Vec<PathBuf> = executed.flat_map(|(path, _)| interpreters(path)).collect();
            reached.paths.extend(scripts.into_iter().map(|path| (path, Want::Execute)));
        }
    }
    reached
}

/// One message that is sent: whom to, and the name it asks for.
fn message(pid: i32, bytes: (u64, u64), address: (u64, u64), reached: &mut Reached) {
    if address.0 != 0 {
        reached.peers.extend(peer(pid, address.0, address.1).map(|it| (Way::Send, it)));
    }
    let text = read(pid, bytes.0, bytes.1.min(LONGEST_QUESTION));
    reached.names.extend(text.and_then(|text| question::name(&text)));
}

fn peer(pid: i32, address: u64, length: u64) -> Option<Peer> {
    attempt::peer(&read(pid, address, length.min(LONGEST_ADDRESS))?)
}

fn words<const N: usize>(pid: i32, address: u64) -> Option<[u64; N]> {
    let bytes = read(pid, address, u64::try_from(N * 8).ok()?)?;
    let mut chunks = bytes.as_chunks::<8>().0.iter();
    let mut words = [0; N];
    for word in &mut words {
        *word = u64::from_ne_bytes(*chunks.next()?);
    }
    Some(words)
}

/// The path at an address, absolute and without `..`; a relative one from a directory's descriptor.
fn path(pid: i32, directory: Option<u64>, address: u64) -> Option<PathBuf> {
    let text = text(pid, address).filter(|text| !text.is_empty())?;
    let path = Path::new(OsStr::from_bytes(&text));
    if path.is_absolute() {
        return Some(attempt::plain(path));
    }
    // The kernel looks at the low half of a descriptor only.
    let number = directory.and_then(|fd| u32::try_from(fd & 0xffff_ffff).ok());
    let link = match number.map(u32::cast_signed) {
        None | Some(libc::AT_FDCWD) => format!("/proc/{pid}/cwd"),
        Some(number) => format!("/proc/{pid}/fd/{number}"),
    };
    let start = fs::read_link(link).ok().filter(|start| start.is_absolute())?;
    Some(attempt::plain(&start.join(path)))
}

/// The bytes up to the first zero, a page at a time.
fn text(pid: i32, mut address: u64) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    while text.len() < LONGEST_PATH {
        let chunk = read(pid, address, PAGE - address % PAGE)?;
        if let Some(end) = chunk.iter().position(|byte| *byte == 0) {
            text.extend_from_slice(chunk.get(..end)?);
            return Some(text);
        }
        address = address.checked_add(u64::try_from(chunk.len()).ok()?)?;
        text.extend(chunk);
    }
    None
}

fn read(pid: i32, address: u64, length: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    let remote = RemoteIoVec { base: usize::try_from(address).ok()?, len: bytes.len() };
    let mut local = [IoSliceMut::new(&mut bytes)];
    let count = process_vm_readv(Pid::from_raw(pid), &mut local, &[remote]).ok()?;
    bytes.truncate(count);
    (count > 0).then_some(bytes)
}
