//! A directory that a stranger may have written: never followed out of, never into another file
//! system, and nothing in it is opened that is not a regular file.
//!
//! Every name is resolved by the kernel below the directory's own descriptor (`RESOLVE_BENEATH`, no
//! links at all), so that what is moved or replaced meanwhile costs an error and nothing else.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        self, AtFlags, Dir, FileType, Gid, Mode, OFlags, RenameFlags, ResolveFlags, Stat, Timespec,
        Timestamps, Uid,
    },
    io::Errno,
};
use serde::Serialize;

/// The kernel gives up when something in the path is moved meanwhile; how often to try.
const ATTEMPTS: usize = 8;
/// Names that are read at once where all are removed.
const BATCH: usize = 10_000;

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// The mark of overlayfs for something removed.
    Whiteout,
    /// A pipe, a socket or a device.
    Special,
}

/// What is known of something without opening it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Thing {
    /// What it is.
    pub(crate) kind: Kind,
    /// Its length, as it says.
    pub(crate) size: u64,
    /// Its mode, without what would give rights.
    pub(crate) mode: u32,
    /// When it was last changed in any way: seconds, nanoseconds.
    #[serde(skip)]
    pub(crate) changed: (i64, i64),
    #[serde(skip)]
    modified: (i64, i64),
    /// Whose it is.
    #[serde(skip)]
    pub(crate) owner: (u32, u32),
}

impl Thing {
    fn of(stat: &Stat) -> Self {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Link,
            FileType::CharacterDevice if stat.st_rdev == 0 => Kind::Whiteout,
            FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Fifo
            | FileType::Socket
            | FileType::Unknown => Kind::Special,
        };
        let nanoseconds = |value| i64::try_from(value).unwrap_or(0);
        Self {
            kind,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mode: stat.st_mode & 0o777,
            changed: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
            modified: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
            owner: (stat.st_uid, stat.st_gid),
        }
    }
}

/// An open directory.
#[derive(Debug)]
pub(crate) struct Tree(OwnedFd);

impl Tree {
    /// Opens one by a path that we trust.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(fs::open(path, flags, Mode::empty())?))
    }

    fn beneath(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        let flags = flags | OFlags::CLOEXEC;
        for _ in 1..ATTEMPTS {
            match fs::openat2(&self.0, path, flags, mode, resolve) {
                Err(Errno::AGAIN) => {}
                other => return Ok(other?),
            }
        }
        Ok(fs::openat2(&self.0, path, flags, mode, resolve)?)
    }

    /// A directory below.
    pub(crate) fn enter(&self, path: &Path) -> io::Result<Self> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        self.beneath(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map(Self)
    }

    /// What is there; `None` when nothing is.
    pub(crate) fn about(&self, path: &Path) -> io::Result<Option<Thing>> {
        match self.beneath(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(found) => Ok(Some(Thing::of(&fs::fstat(found)?))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            // Something on the way is no directory.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A regular file, to be read. Does not wait, whatever it is.
    pub(crate) fn read(&self, path: &Path) -> io::Result<File> {
        let seen = self.about(path)?.map(|thing| thing.kind);
        if seen != Some(Kind::File) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::NOCTTY;
        let file = File::from(self.beneath(path, flags, Mode::empty())?);
        if file.metadata()?.is_file() {
            return Ok(file);
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }

    /// Where a link leads.
    pub(crate) fn link(&self, path: &Path) -> io::Result<PathBuf> {
        let link = self.beneath(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
        let target = fs::readlinkat(&link, "", Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()).into())
    }

    /// The names in it, sorted, at most so many.
    pub(crate) fn names(&self, most: usize) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            if names.len() >= most {
                break;
            }
            names.push(name.to_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Whether overlayfs shows nothing of the directory below.
    pub(crate) fn is_opaque(&self) -> bool {
        let mut value = [0_u8; 4];
        let length = fs::fgetxattr(&self.0, "user.overlay.opaque", &mut value);
        length.is_ok_and(|length| value.get(..length) == Some(b"y"))
    }

    /// The owner of the directory itself.
    pub(crate) fn owner(&self) -> io::Result<(u32, u32)> {
        let stat = fs::fstat(&self.0)?;
        Ok((stat.st_uid, stat.st_gid))
    }

    /// Makes a directory that its owner can use.
    pub(crate) fn make_directory(&self, name: &OsStr, mode: u32) -> io::Result<Self> {
        fs::mkdirat(&self.0, name, Mode::from_raw_mode(0o700))?;
        let made = self.enter(Path::new(name))?;
        fs::fchmod(&made.0, Mode::from_raw_mode(mode & 0o777 | 0o700))?;
        Ok(made)
    }

    /// Changes the mode of the directory itself; its owner can go on using it.
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        Ok(fs::fchmod(&self.0, Mode::from_raw_mode(mode & 0o777 | 0o700))?)
    }

    /// A new file that nobody has opened before.
    pub(crate) fn make_file(&self, name: &OsStr) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        self.beneath(Path::new(name), flags, Mode::from_raw_mode(0o600)).map(File::from)
    }

    /// A new link.
    pub(crate) fn make_link(&self, name: &OsStr, target: &Path) -> io::Result<()> {
        Ok(fs::symlinkat(target, &self.0, name)?)
    }

    /// Moves one over another.
    pub(crate) fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        Ok(fs::renameat(&self.0, from, &self.0, to)?)
    }

    /// Gives something in it to somebody.
    pub(crate) fn give(&self, name: &OsStr, (uid, gid): (u32, u32)) -> io::Result<()> {
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        Ok(fs::chownat(&self.0, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Removes whatever has this name, with all below it.
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        match self.about(Path::new(name))?.map(|thing| thing.kind) {
            None => Ok(()),
            Some(Kind::Directory) => {
                fs::chmodat(&self.0, name, Mode::from_raw_mode(0o700), AtFlags::empty())?;
                self.enter(Path::new(name))?.clear()?;
                Ok(fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
            }
            Some(_) => Ok(fs::unlinkat(&self.0, name, AtFlags::empty())?),
        }
    }

    /// Removes everything in it. However deep it is: each directory's own are moved up before it goes, so
    /// that nothing here is as deep as the tree.
    pub(crate) fn clear(&self) -> io::Result<()> {
        let mut moved = 0_u64;
        loop {
            let names = self.names(BATCH)?;
            if names.is_empty() {
                return Ok(());
            }
            for name in names {
                self.empty(&name, &mut moved)?;
            }
        }
    }

    fn empty(&self, name: &OsStr, moved: &mut u64) -> io::Result<()> {
        if !self.is_directory(name)? {
            return Ok(fs::unlinkat(&self.0, name, AtFlags::empty())?);
        }
        let inner = self.enter(Path::new(name))?;
        loop {
            let names = inner.names(BATCH)?;
            if names.is_empty() {
                return Ok(fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)?);
            }
            for name in names {
                if inner.is_directory(&name)? {
                    self.hoist(&inner, &name, moved)?;
                } else {
                    fs::unlinkat(&inner.0, &name, AtFlags::empty())?;
                }
            }
        }
    }

    /// Whether it is one; it can be entered and moved then.
    fn is_directory(&self, name: &OsStr) -> io::Result<bool> {
        let found = self.about(Path::new(name))?.is_some_and(|it| it.kind == Kind::Directory);
        if found {
            fs::chmodat(&self.0, name, Mode::from_raw_mode(0o700), AtFlags::empty())?;
        }
        Ok(found)
    }

    fn hoist(&self, from: &Self, name: &OsStr, moved: &mut u64) -> io::Result<()> {
        loop {
            *moved += 1;
            let to = format!("removed-{moved}");
            match fs::renameat_with(&from.0, name, &self.0, &to, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                other => return Ok(other?),
            }
        }
    }
}

/// Copies what a file holds, its holes left out, and gives the copy its mode and time. Nothing that would
/// give rights is copied.
pub(crate) fn pour(from: &File, to: &File, thing: &Thing) -> io::Result<()> {
    let mut at = 0;
    while at < thing.size {
        let data = match fs::seek(from, fs::SeekFrom::Data(at)) {
            Ok(data) => data.min(thing.size),
            // Nothing but a hole is left.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let hole = fs::seek(from, fs::SeekFrom::Hole(data))?.min(thing.size);
        fs::seek(from, fs::SeekFrom::Start(data))?;
        fs::seek(to, fs::SeekFrom::Start(data))?;
        io::copy(&mut io::Read::take(from, hole.saturating_sub(data)), &mut &*to)?;
        if hole <= at {
            break;
        }
        at = hole;
    }
    fs::ftruncate(to, thing.size)?;
    fs::fchmod(to.as_fd(), Mode::from_raw_mode(thing.mode & 0o777))?;
    let time = |(seconds, nanoseconds)| Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times =
        Timestamps { last_access: time(thing.modified), last_modification: time(thing.modified) };
    Ok(fs::futimens(to, &times)?)
}
