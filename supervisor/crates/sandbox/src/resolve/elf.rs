//! What an ELF program says about itself: processor and loader. Reads headers only.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::unix::{ffi::OsStrExt as _, fs::FileExt as _},
    path::{Path, PathBuf},
};

use super::ResolveError;

const HEADER: usize = 64;
const SEGMENT: usize = 56;
const MOST_SEGMENTS: u16 = 256;
const LOADER_SEGMENT: u32 = 3;
const LONGEST_LOADER: u64 = 4096;

/// The processor numbers that one meets, and their names.
const MACHINES: [(u16, &str); 9] = [
    (3, "x86 (32 bit)"),
    (8, "mips"),
    (20, "powerpc"),
    (21, "powerpc64"),
    (22, "s390x"),
    (40, "arm (32 bit)"),
    (62, "x86_64"),
    (183, "aarch64"),
    (243, "riscv"),
];

/// Whether a file begins like an ELF file.
pub(super) fn is_elf(head: &[u8]) -> bool {
    head.starts_with(b"\x7fELF")
}

/// Checks that a program is for this machine, and returns the loader it asks for.
pub(super) fn loader(file: &File, path: &Path) -> Result<Option<PathBuf>, ResolveError> {
    let broken = |why: &str| ResolveError::not_executable(path, why);
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0).map_err(|_short| broken("its ELF header is cut off"))?;
    let machine = half(&header, 18);
    if header.get(4..6) != Some(&[2, 1]) || machine != native() {
        let name = MACHINES.iter().find(|(number, _)| *number == machine).map(|(_, name)| *name);
        let machine = name.map_or_else(|| format!("machine type {machine}"), str::to_owned);
        return Err(ResolveError::WrongArch { path: path.to_owned(), machine });
    }
    if !matches!(half(&header, 16), 2 | 3) {
        return Err(broken("it is an object file or a core dump, not a program"));
    }
    let (start, size, count) = (long(&header, 32), half(&header, 54), half(&header, 56));
    if usize::from(size) != SEGMENT || count > MOST_SEGMENTS {
        return Err(broken("its ELF header is damaged"));
    }
    segments(file, start, count).map_err(|_damaged| broken("its ELF segments are cut off"))
}

fn segments(file: &File, start: u64, count: u16) -> io::Result<Option<PathBuf>> {
    for index in 0..u64::from(count) {
        let mut segment = [0; SEGMENT];
        let at = start.checked_add(index * SEGMENT as u64);
        file.read_exact_at(&mut segment, at.ok_or(io::ErrorKind::InvalidData)?)?;
        if word(&segment, 0) == LOADER_SEGMENT {
            let length = long(&segment, 32).min(LONGEST_LOADER);
            let mut name = vec![0; usize::try_from(length).unwrap_or(0)];
            file.read_exact_at(&mut name, long(&segment, 8))?;
            let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
            return Ok(Some(PathBuf::from(OsStr::from_bytes(name))));
        }
    }
    Ok(None)
}

/// The running processor's number.
fn native() -> u16 {
    let own = |(_, name): &&(u16, &str)| *name == std::env::consts::ARCH;
    MACHINES.iter().find(own).map_or(0, |(number, _)| *number)
}

fn bytes<const N: usize>(from: &[u8], at: usize) -> [u8; N] {
    from.get(at..at + N).and_then(|part| part.try_into().ok()).unwrap_or([0; N])
}

fn half(from: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes(from, at))
}

fn word(from: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes(from, at))
}

fn long(from: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes(from, at))
}
