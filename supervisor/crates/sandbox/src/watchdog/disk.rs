//! How much lies in the private directory that stands in for `/tmp` where there are no mounts.
//!
//! Counted entry by entry, a part of them at each look, so that a crowd of files costs no look more
//! than a few. The directory is the program's: it is entered by descriptors and never through links.
//!
//! Not seen: directories that the program has closed to itself, as long as they are, and what is deeper
//! than a path can name.

use std::{
    collections::VecDeque,
    fs::File,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags},
    io::Errno,
};

/// Entries that one look counts at most: some milliseconds.
const AT_ONCE: usize = 2_000;
/// What the file system may lose of its free space before a resting tree is looked at all the same.
const ALARM: u64 = 32 << 20;
/// What an entry costs, however empty: the same that a private `/tmp` in memory counts.
const ENTRY: u64 = 4096;

/// The directory, and how far it is counted.
#[derive(Debug)]
pub(super) struct Disk {
    place: PathBuf,
    /// The most that may lie in it, in bytes.
    pub(super) limit: u64,
    root: File,
    /// Directories below it that are still to be counted.
    open: VecDeque<PathBuf>,
    /// The one that is being read.
    current: Option<(PathBuf, Dir)>,
    sum: u64,
    /// How it was at the last look, as far as one can tell without going through it.
    seen: Signs,
}

/// What shows for the price of two calls that something may have been written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Signs {
    /// When the directory itself was changed last.
    changed: (i64, i64),
    /// Free bytes of its file system, whoever uses it.
    free: u64,
}

impl Disk {
    /// Watches `place`. `None` when it is not there: then nothing is in it either.
    pub(super) fn of(place: &Path, limit: u64) -> Option<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = File::from(fs::open(place, flags, Mode::empty()).ok()?);
        let (open, current) = (VecDeque::new(), None);
        let (place, seen) = (place.to_owned(), Signs::default());
        Some(Self { place, limit, root, open, current, sum: 0, seen })
    }

    /// Whether a look is worth it although the tree seems to rest: it has done something here, or a part of
    /// what it may use was used, or not everything is counted yet.
    pub(super) fn stirs(&self) -> bool {
        let now = self.signs();
        let used = self.seen.free.saturating_sub(now.free);
        self.current.is_some()
            || now.changed != self.seen.changed
            || used > (self.limit / 4).min(ALARM)
    }

    fn signs(&self) -> Signs {
        let changed = fs::fstat(&self.root).map_or((0, 0), |about| {
            (about.st_mtime, i64::try_from(about.st_mtime_nsec).unwrap_or(0))
        });
        let free = fs::fstatvfs(&self.root)
            .map_or(0, |about| about.f_bfree.saturating_mul(about.f_frsize));
        Signs { changed, free }
    }

    /// Goes on counting; tells how much there is at least, once that is too much. `pids` are those
    /// that may hold files which have no name any more.
    pub(super) fn look(&mut self, pids: &[i32]) -> Option<u64> {
        if self.current.is_none() {
            self.seen = self.signs();
            self.sum = self.nameless(pids);
            self.open.push_back(PathBuf::from("."));
        }
        for _ in 0..AT_ONCE {
            if self.sum > self.limit {
                let sum = self.sum;
                self.begin_anew();
                return Some(sum);
            }
            if !self.step() {
                self.begin_anew();
                return None;
            }
        }
        None
    }

    fn begin_anew(&mut self) {
        self.open.clear();
        self.current = None;
    }

    /// One entry; `false` when all are counted.
    fn step(&mut self) -> bool {
        let Some((path, list)) = &mut self.current else { return self.enter_next() };
        let Some(Ok(entry)) = list.next() else {
            self.current = None;
            return self.enter_next();
        };
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            return true;
        }
        let about = list.fd().and_then(|at| fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW));
        // Gone since.
        let Ok(about) = about else { return true };
        let blocks = u64::try_from(about.st_blocks).unwrap_or(0).saturating_mul(512);
        self.sum = self.sum.saturating_add(blocks.max(ENTRY));
        if FileType::from_raw_mode(about.st_mode) == FileType::Directory {
            let name = std::ffi::OsStr::from_bytes(name.to_bytes());
            self.open.push_back(path.join(name));
        }
        true
    }

    fn enter_next(&mut self) -> bool {
        while let Some(path) = self.open.pop_front() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            let entered: Result<_, Errno> =
                fs::openat2(&self.root, &path, flags, Mode::empty(), resolve);
            if let Ok(list) = entered.and_then(Dir::new) {
                self.current = Some((path, list));
                return true;
            }
        }
        false
    }

    /// Bytes in files that were removed and are still open.
    fn nameless(&self, pids: &[i32]) -> u64 {
        let sizes = pids.iter().flat_map(|pid| {
            let listed = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
            listed.flatten().filter_map(|descriptor| {
                let path = descriptor.path();
                // The name first: a foreign file system may never answer.
                let target = std::fs::read_link(&path).ok()?;
                let removed = target.as_os_str().as_bytes().ends_with(b" (deleted)");
                if !removed || !target.starts_with(&self.place) {
                    return None;
                }
                let about = std::fs::metadata(&path).ok()?;
                Some(std::os::unix::fs::MetadataExt::blocks(&about).saturating_mul(512))
            })
        });
        sizes.fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(place: &Path, limit: u64) -> Option<u64> {
        Disk::of(place, limit).unwrap().look(&[])
    }

    #[test]
    fn files_in_all_directories_are_counted_and_links_are_not_followed() {
        let place = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("large"), vec![1; 1 << 20]).unwrap();
        std::fs::create_dir_all(place.path().join("a/b")).unwrap();
        std::os::unix::fs::symlink(outside.path(), place.path().join("link")).unwrap();
        std::fs::write(place.path().join("a/b/file"), vec![1; 100 << 10]).unwrap();
        assert!(count(place.path(), 64 << 10).is_some());
        assert_eq!(count(place.path(), 256 << 10), None);
    }

    #[test]
    fn empty_files_count_as_well() {
        let place = tempfile::tempdir().unwrap();
        for number in 0..50 {
            std::fs::write(place.path().join(number.to_string()), "").unwrap();
        }
        assert_eq!(count(place.path(), 50 * ENTRY), None);
        assert!(count(place.path(), 49 * ENTRY).is_some());
    }

    #[test]
    fn a_crowd_is_counted_over_several_looks() {
        let place = tempfile::tempdir().unwrap();
        for number in 0..AT_ONCE + 10 {
            std::fs::write(place.path().join(number.to_string()), "").unwrap();
        }
        let mut disk = Disk::of(place.path(), u64::try_from(AT_ONCE + 5).unwrap() * ENTRY).unwrap();
        assert_eq!(disk.look(&[]), None);
        assert!(disk.look(&[]).is_some());
    }

    #[test]
    fn a_new_file_stirs_it_and_a_look_settles_it() {
        let place = tempfile::tempdir().unwrap();
        let mut disk = Disk::of(place.path(), u64::MAX).unwrap();
        assert_eq!(disk.look(&[]), None);
        std::fs::write(place.path().join("file"), "").unwrap();
        assert!(disk.stirs());
        assert_eq!(disk.look(&[]), None);
        assert_eq!(disk.seen.changed, disk.signs().changed);
    }

    #[test]
    fn what_was_removed_and_is_open_is_counted() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("gone");
        std::fs::write(&path, vec![1; 100 << 10]).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let own = std::process::id().try_into().unwrap();
        assert!(Disk::of(place.path(), 64 << 10).unwrap().look(&[own]).is_some());
        drop(file);
        assert_eq!(Disk::of(place.path(), 64 << 10).unwrap().look(&[own]), None);
    }
}
