//! Looks at what a waiting call names: reads its path or address out of the process, bounded, and
//! compares it with the grants and with the host.
//!
//! Only for `--explain`. What the process has in its memory may change after it was read, and a path
//! may mean something else inside; so this is advice, and the call goes on to the kernel and its layers.

use std::{
    ffi::OsStr,
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
    Denial,
    attempt::{self, Granted, Host, Peer, Want},
};
use crate::{machine::BaseEntry, plan::Rung, spec::Spec};

/// The longest path that is read, as the kernel has it.
const LONGEST_PATH: usize = 4096;
/// The longest address.
const LONGEST_ADDRESS: u64 = 128;
/// What is read at once: a page never lies half in memory.
const PAGE: u64 = 4096;

/// The grants of one process, and the host that they are about.
#[derive(Debug)]
pub(crate) struct Observer {
    granted: Granted,
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

    fn is_inside(&self, path: &Path) -> bool {
        let path = path.strip_prefix("/").unwrap_or(path);
        Path::new(&format!("/proc/{}/root", self.pid)).join(path).symlink_metadata().is_ok()
    }
}

impl Observer {
    /// `private` stands in for `/tmp` where there is no view.
    pub(crate) fn new(spec: &Spec, base: &[BaseEntry], rung: Rung, private: Option<&Path>) -> Self {
        Self { granted: Granted::of(spec, base, rung, private) }
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
        if matches!(name, "connect" | "bind") {
            let [_, address, length, ..] = *args;
            let bytes = read(pid, address, length.min(LONGEST_ADDRESS));
            return bytes
                .filter(|_| still_waits())
                .and_then(|bytes| attempt::peer(&bytes))
                .and_then(|peer| self.peer(name, peer, &Eyes { pid }))
                .map(|denial| named(denial, name))
                .into_iter()
                .collect();
        }
        let reaches = attempt::reaches(name, args).into_iter();
        let paths = reaches.filter_map(|reach| {
            let address = *args.get(reach.path)?;
            let directory = reach.directory.and_then(|at| args.get(at).copied());
            Some((path(pid, directory, address)?, reach.want))
        });
        let paths: Vec<(PathBuf, Want)> = paths.collect();
        if !still_waits() {
            return Vec::new();
        }
        let lacking = paths.iter().filter_map(|(path, want)| {
            self.granted.file(path, *want, &Eyes { pid }).map(|denial| named(denial, name))
        });
        lacking.collect()
    }

    fn peer(&self, name: &str, peer: Peer, host: &Eyes) -> Option<Denial> {
        match peer {
            Peer::Internet(address) => self.granted.address(name, address),
            Peer::Path(path) if name == "connect" => self.granted.socket(&path, host),
            Peer::Path(path) => self.granted.file(&path, Want::Entry, host),
        }
    }
}

fn named(denial: Denial, name: &str) -> Denial {
    Denial { syscall: Some(name.to_owned()), ..denial }
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
