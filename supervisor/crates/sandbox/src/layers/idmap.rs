//! Id-mapped mounts: a tree that belongs to somebody else, usable by the dedicated user.
//!
//! Inside the mapped mount the owner of the granted tree and the dedicated user have changed places;
//! every other id stays. Files that the process makes belong to the owner on disk, so nothing is left
//! behind that nobody owns.

use std::{
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use nix::errno::Errno;

use crate::sys::{self, Fork, MountChange};

/// The greatest id that exists; `u32::MAX` means "no id".
const LAST_ID: u32 = u32::MAX - 1;

/// Maps trees to one dedicated user; makes one user namespace per distinct owner.
#[derive(Debug)]
pub(crate) struct Mapper {
    target: Option<u32>,
    made: Vec<((u32, u32), OwnedFd)>,
}

impl Mapper {
    /// A mapper to the dedicated user `target` (the group has the same number), or one that does
    /// nothing when the process keeps the launcher's user.
    pub(crate) fn new(target: Option<u32>) -> Self {
        Self { target, made: Vec::new() }
    }

    /// Whether there is a dedicated user to map to.
    pub(crate) fn is_needed(&self) -> bool {
        self.target.is_some()
    }

    /// Makes ready what trees of this owner will need: later there may be no `/proc` to make it by.
    pub(crate) fn expect(&mut self, uid: u32, gid: u32) -> Result<(), Errno> {
        match self.target {
            Some(target) => self.namespace(uid, gid, target).map(drop),
            None => Ok(()),
        }
    }

    /// Makes `tree`, which belongs to `uid` and `gid`, belong to the dedicated user inside. The error
    /// says what that means for the process.
    pub(crate) fn apply(&mut self, tree: BorrowedFd<'_>, uid: u32, gid: u32) -> Result<(), String> {
        let Some(target) = self.target else { return Ok(()) };
        let namespace = self.namespace(uid, gid, target).map_err(|errno| {
            format!(
                "its owner cannot be mapped ({}): usable as far as its mode allows others",
                errno.desc()
            )
        })?;
        let change = |recursive| MountChange {
            set: libc::MOUNT_ATTR_IDMAP,
            user_namespace: Some(namespace),
            recursive,
            ..MountChange::default()
        };
        // A submount of a kind that cannot be mapped refuses the whole tree: then map its top only.
        sys::change_mount(tree, change(true)).or_else(|_refused| sys::change_mount(tree, change(false))).map_err(
            |errno| {
                format!(
                    "this file system cannot map its owner ({}): usable as far as its mode allows others",
                    errno.desc()
                )
            },
        )
    }

    fn namespace(&mut self, uid: u32, gid: u32, target: u32) -> Result<BorrowedFd<'_>, Errno> {
        let place = match self.made.iter().position(|(owner, _)| *owner == (uid, gid)) {
            Some(place) => place,
            None => {
                let made = make_namespace(&swap(uid, target), &swap(gid, target))?;
                self.made.push(((uid, gid), made));
                self.made.len() - 1
            }
        };
        self.made.get(place).map(|(_, namespace)| namespace.as_fd()).ok_or(Errno::ENOENT)
    }
}

/// The id map in which `one` and `other` have changed places: `inside outside count` per line.
fn swap(one: u32, other: u32) -> String {
    let (low, high) = (one.min(other), one.max(other));
    let mut map = String::new();
    let mut line = |inside: u32, outside: u32, count: u32| {
        if count > 0 {
            // Writing to a string cannot fail.
            writeln!(map, "{inside} {outside} {count}").ok();
        }
    };
    line(0, 0, low);
    if low == high {
        line(low, low, 1);
    } else {
        line(low, high, 1);
        line(low + 1, low + 1, high - low - 1);
        line(high, low, 1);
    }
    line(high.saturating_add(1), high.saturating_add(1), LAST_ID.saturating_sub(high));
    map
}

/// A user namespace with these maps. It lives as long as its descriptor: the child that makes it
/// exists only until the descriptor is open.
fn make_namespace(users: &str, groups: &str) -> Result<OwnedFd, Errno> {
    let (our_end, child_end) = std::io::pipe().map_err(|error| raw(&error))?;
    let (hold, release) = std::io::pipe().map_err(|error| raw(&error))?;
    match sys::fork(libc::CLONE_NEWUSER, None)? {
        Fork::Child => {
            drop(release);
            announce_and_wait(child_end, hold);
        }
        Fork::Parent { pid, .. } => {
            drop((child_end, hold));
            let made = map_and_open(our_end, users, groups);
            drop(release);
            sys::wait(pid, false)?;
            made
        }
    }
}

fn announce_and_wait(mut announce: std::io::PipeWriter, mut hold: std::io::PipeReader) -> ! {
    // The number by which the mounted /proc knows us; our own namespace counts differently.
    let number = fs::read_link("/proc/self").unwrap_or_default();
    drop(announce.write_all(number.to_string_lossy().as_bytes()));
    drop(announce);
    drop(hold.read(&mut [0]));
    sys::exit_now(0)
}

fn map_and_open(
    mut announced: std::io::PipeReader,
    users: &str,
    groups: &str,
) -> Result<OwnedFd, Errno> {
    let mut number = String::new();
    announced.read_to_string(&mut number).map_err(|error| raw(&error))?;
    let number: u32 = number.parse().map_err(|_no_proc| Errno::ENOENT)?;
    let write = |file: &str, text: &str| fs::write(format!("/proc/{number}/{file}"), text);
    write("uid_map", users).map_err(|error| raw(&error))?;
    write("gid_map", groups).map_err(|error| raw(&error))?;
    let namespace =
        fs::File::open(format!("/proc/{number}/ns/user")).map_err(|error| raw(&error))?;
    Ok(namespace.into())
}

fn raw(error: &std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where a map sends an inside id.
    fn outside(map: &str, id: u32) -> Option<u32> {
        map.lines().find_map(|line| {
            let fields: Vec<u32> = line.split(' ').map(|field| field.parse().unwrap()).collect();
            let offset = id.checked_sub(fields[0])?;
            (offset < fields[2]).then(|| fields[1] + offset)
        })
    }

    #[test]
    fn the_owner_and_the_dedicated_user_change_places() {
        let map = swap(1000, 0x7000_1234);
        assert_eq!(outside(&map, 1000), Some(0x7000_1234));
        assert_eq!(outside(&map, 0x7000_1234), Some(1000));
        assert_eq!(outside(&map, 0), Some(0));
        assert_eq!(outside(&map, LAST_ID), Some(LAST_ID));
    }

    proptest! {
        #[test]
        fn a_swap_is_its_own_inverse_for_every_id(one in 0..=LAST_ID, other in 0..=LAST_ID, id in 0..=LAST_ID) {
            let map = swap(one, other);
            for id in [id, one, other] {
                let there = outside(&map, id);
                prop_assert!(there.is_some());
                prop_assert_eq!(there.and_then(|there| outside(&map, there)), Some(id));
            }
            prop_assert!(map.lines().count() <= 5);
        }
    }
}
