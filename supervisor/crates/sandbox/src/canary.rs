//! The canary: a program started again (see `proof`), inside a sandbox and outside, to try what a
//! plugin must not do and to say what it met. It decides nothing and judges nothing.
//!
//! One act per argument, as `name` or `name=value`; one line of answer per act, so that a canary
//! that dies half-way has told how far it came. Every act is harmless where it succeeds.

use std::{
    env,
    ffi::OsString,
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write as _},
    net::{Ipv4Addr, TcpStream},
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::{PermissionsExt as _, chroot},
            net::{SocketAddr, UnixStream},
        },
    },
    path::PathBuf,
    thread,
};

use nix::{
    sched::{CloneFlags, sched_getaffinity, sched_setaffinity, unshare},
    sys::{
        signal::kill,
        socket::{AddressFamily, SockFlag, SockType, socket},
    },
    unistd::{Pid, getuid},
};

/// The first argument that makes this process a canary.
pub const VERB: &str = "__canary";

/// Something to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Read a file.
    Read(PathBuf),
    /// Create a file in a directory, and remove it.
    Create(PathBuf),
    /// Set a file's mode to what it is by convention, 0644.
    Mode(PathBuf),
    /// Ask whether a process can be signalled.
    Signal(i32),
    /// Set a process's processor affinity to what it is.
    Affinity(i32),
    /// Connect to a TCP port of this machine.
    Tcp(u16),
    /// Connect to a unix socket in the file system.
    Unix(PathBuf),
    /// Connect to an abstract unix socket.
    Abstract(String),
    /// Make a netlink socket.
    Netlink,
    /// Change the root directory to `/`.
    Chroot,
    /// Make a user namespace. Changes the canary, so it comes last.
    UserNamespace,
    /// Be root.
    Root,
    /// Tell a field of `/proc/self/status`.
    Status(String),
    /// Tell which namespace of a kind this is.
    Namespace(String),
    /// Tell which descriptors beyond the standard three would be inherited.
    Descriptors,
    /// Open so many files.
    OpenFiles(u64),
    /// Start so many threads.
    Threads(u64),
    /// Use so many bytes of memory.
    Memory(u64),
    /// Write so many bytes into one temporary file.
    Fill(u64),
}

/// What an act met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Met {
    /// It could be done.
    Done,
    /// The kernel refused, with this error.
    Refused(i32),
    /// What was told.
    Told(String),
}

/// Plays the canary if the arguments say so. The status is what its process is to end with.
pub fn run_if_asked() -> Option<i32> {
    let mut words = env::args_os().skip(1);
    (words.next()? == VERB).then(|| perform(words))
}

fn perform(words: impl Iterator<Item = OsString>) -> i32 {
    for word in words {
        let Some(act) = word.to_str().and_then(Act::parse) else { return 2 };
        let line = attempt(&act).unwrap_or_else(|error| Met::Refused(number(&error))).to_line();
        let told = io::stdout().write_all(line.as_bytes());
        if told.and_then(|()| io::stdout().flush()).is_err() {
            return 1;
        }
    }
    0
}

fn number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EIO)
}

impl Act {
    /// The act as one argument.
    pub fn to_word(&self) -> String {
        match self {
            Self::Read(path) => format!("read={}", path.display()),
            Self::Create(path) => format!("create={}", path.display()),
            Self::Mode(path) => format!("mode={}", path.display()),
            Self::Signal(pid) => format!("signal={pid}"),
            Self::Affinity(pid) => format!("affinity={pid}"),
            Self::Tcp(port) => format!("tcp={port}"),
            Self::Unix(path) => format!("unix={}", path.display()),
            Self::Abstract(name) => format!("abstract={name}"),
            Self::Netlink => "netlink".to_owned(),
            Self::Chroot => "chroot".to_owned(),
            Self::UserNamespace => "user-namespace".to_owned(),
            Self::Root => "root".to_owned(),
            Self::Status(field) => format!("status={field}"),
            Self::Namespace(kind) => format!("namespace={kind}"),
            Self::Descriptors => "descriptors".to_owned(),
            Self::OpenFiles(count) => format!("open-files={count}"),
            Self::Threads(count) => format!("threads={count}"),
            Self::Memory(bytes) => format!("memory={bytes}"),
            Self::Fill(bytes) => format!("fill={bytes}"),
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        Some(match name {
            "read" => Self::Read(value.into()),
            "create" => Self::Create(value.into()),
            "mode" => Self::Mode(value.into()),
            "signal" => Self::Signal(value.parse().ok()?),
            "affinity" => Self::Affinity(value.parse().ok()?),
            "tcp" => Self::Tcp(value.parse().ok()?),
            "unix" => Self::Unix(value.into()),
            "abstract" => Self::Abstract(value.to_owned()),
            "netlink" => Self::Netlink,
            "chroot" => Self::Chroot,
            "user-namespace" => Self::UserNamespace,
            "root" => Self::Root,
            "status" => Self::Status(value.to_owned()),
            "namespace" => Self::Namespace(value.to_owned()),
            "descriptors" => Self::Descriptors,
            "open-files" => Self::OpenFiles(value.parse().ok()?),
            "threads" => Self::Threads(value.parse().ok()?),
            "memory" => Self::Memory(value.parse().ok()?),
            "fill" => Self::Fill(value.parse().ok()?),
            _ => return None,
        })
    }
}

impl Met {
    fn to_line(&self) -> String {
        match self {
            Self::Done => "done\n".to_owned(),
            Self::Refused(errno) => format!("refused {errno}\n"),
            Self::Told(text) => format!("told {}\n", text.replace('\n', " ")),
        }
    }

    /// Reads the answers of a canary, as many as it gave.
    pub fn parse_lines(text: &str) -> Vec<Self> {
        text.lines().map_while(Self::parse).collect()
    }

    fn parse(line: &str) -> Option<Self> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("done", _) => Some(Self::Done),
            ("refused", errno) => errno.parse().ok().map(Self::Refused),
            ("told", text) => Some(Self::Told(text.to_owned())),
            _ => None,
        }
    }
}

/// Tries an act in this very process.
pub fn attempt(act: &Act) -> io::Result<Met> {
    match act {
        Act::Read(path) => fs::read(path).map(drop)?,
        Act::Create(directory) => create(directory.join("canary"))?,
        Act::Mode(path) => fs::set_permissions(path, Permissions::from_mode(0o644))?,
        Act::Signal(pid) => kill(Pid::from_raw(*pid), None)?,
        Act::Affinity(pid) => {
            let process = Pid::from_raw(*pid);
            sched_setaffinity(process, &sched_getaffinity(process)?)?;
        }
        Act::Tcp(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).map(drop)?,
        Act::Unix(path) => UnixStream::connect(path).map(drop)?,
        Act::Abstract(name) => {
            UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?).map(drop)?;
        }
        Act::Netlink => {
            socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)
                .map(drop)?;
        }
        Act::Chroot => chroot("/")?,
        Act::UserNamespace => unshare(CloneFlags::CLONE_NEWUSER)?,
        Act::Root if getuid().is_root() => {}
        Act::Root => return Ok(Met::Refused(libc::EPERM)),
        Act::Status(field) => return status(field),
        Act::Namespace(kind) => {
            let link = fs::read_link(format!("/proc/self/ns/{kind}"))?;
            return Ok(Met::Told(link.display().to_string()));
        }
        Act::Descriptors => return descriptors(),
        Act::OpenFiles(count) => open_files(*count)?,
        Act::Threads(count) => threads(*count)?,
        Act::Memory(bytes) => memory(*bytes)?,
        Act::Fill(bytes) => fill(*bytes)?,
    }
    Ok(Met::Done)
}

fn create(path: PathBuf) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(&path)?;
    fs::remove_file(path)
}

fn status(field: &str) -> io::Result<Met> {
    let status = fs::read_to_string("/proc/self/status")?;
    let found = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Ok(Met::Told(found.unwrap_or_default().trim().to_owned()))
}

/// The descriptors beyond the standard three that a program started from here would inherit.
fn descriptors() -> io::Result<Met> {
    let mut beyond: Vec<i32> = Vec::new();
    for entry in fs::read_dir("/proc/self/fdinfo")? {
        let entry = entry?;
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(info) = fs::read_to_string(entry.path()) else { continue };
        if number > libc::STDERR_FILENO && !closes_on_exec(&info) {
            beyond.push(number);
        }
    }
    beyond.sort_unstable();
    Ok(Met::Told(beyond.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")))
}

/// Reads the octal `flags` of a `/proc/PID/fdinfo/FD`.
fn closes_on_exec(info: &str) -> bool {
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & libc::O_CLOEXEC != 0)
}

fn open_files(count: u64) -> io::Result<()> {
    (0..count).map(|_| File::open("/dev/null")).collect::<io::Result<Vec<File>>>().map(drop)
}

fn threads(count: u64) -> io::Result<()> {
    for _ in 0..count {
        // They end with the process.
        thread::Builder::new().stack_size(64 << 10).spawn(thread::park)?;
    }
    Ok(())
}

fn memory(bytes: u64) -> io::Result<()> {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut block: Vec<u8> = Vec::new();
    block.try_reserve_exact(bytes).or(Err(io::Error::from_raw_os_error(libc::ENOMEM)))?;
    block.resize(bytes, 1);
    std::hint::black_box(block.last());
    Ok(())
}

/// Writes a file of so many bytes where temporary files go, and removes it.
fn fill(bytes: u64) -> io::Result<()> {
    let path = env::temp_dir().join(format!("plugbay-canary-{}", std::process::id()));
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let written = io::copy(&mut io::Read::take(io::repeat(1), bytes), &mut file).map(drop);
    fs::remove_file(path)?;
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_survive_the_command_line() {
        for act in [
            Act::Read("/a=b c".into()),
            Act::Create("/x".into()),
            Act::Mode("/x".into()),
            Act::Signal(42),
            Act::Affinity(42),
            Act::Tcp(443),
            Act::Unix("/s".into()),
            Act::Abstract("name".into()),
            Act::Netlink,
            Act::Chroot,
            Act::UserNamespace,
            Act::Root,
            Act::Status("Seccomp".into()),
            Act::Namespace("net".into()),
            Act::Descriptors,
            Act::OpenFiles(1),
            Act::Threads(2),
            Act::Memory(3),
            Act::Fill(4),
        ] {
            assert_eq!(Act::parse(&act.to_word()), Some(act));
        }
        assert_eq!(Act::parse("dance"), None);
        assert_eq!(Act::parse("tcp=many"), None);
    }

    #[test]
    fn answers_are_read_as_far_as_they_go() {
        let met = [Met::Done, Met::Refused(13), Met::Told("net:[4026531840]".into())];
        let text: String = met.iter().map(Met::to_line).collect();
        assert_eq!(Met::parse_lines(&text), met);
        assert_eq!(Met::parse_lines("done\nref"), [Met::Done]);
    }

    #[test]
    fn refusals_come_with_their_error() {
        let met = attempt(&Act::Read("/no/such/file".into())).unwrap_err();
        assert_eq!(number(&met), libc::ENOENT);
        assert_eq!(attempt(&Act::Signal(i32::MAX)).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn inheritable_descriptors_are_told_from_others() {
        assert!(closes_on_exec("pos:\t0\nflags:\t02100000\nmnt_id:\t9\n"));
        assert!(!closes_on_exec("pos:\t0\nflags:\t0100002\n"));
    }

    #[test]
    fn outside_a_sandbox_the_acts_succeed() {
        let here = std::env::temp_dir();
        let own = i32::try_from(std::process::id()).unwrap();
        for act in [
            Act::Create(here),
            Act::Signal(own),
            Act::Affinity(own),
            Act::Netlink,
            Act::OpenFiles(8),
            Act::Memory(1 << 20),
            Act::Fill(4096),
        ] {
            assert_eq!(attempt(&act).unwrap(), Met::Done, "{act:?}");
        }
        assert!(matches!(attempt(&Act::Namespace("net".into())).unwrap(), Met::Told(_)));
    }
}
