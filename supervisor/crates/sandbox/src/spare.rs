//! Empty network namespaces made ahead of time, because making one is the dearest single part of a
//! sealed start (about half a millisecond; joining one costs ten microseconds).
//!
//! Only root can join a namespace that it made outside of a user namespace, so only the root rung has
//! spares. Each is used once.

use std::{
    fs::File,
    os::fd::{AsFd as _, OwnedFd},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns, unshare},
};

const OWN: &str = "/proc/self/ns/net";

/// The spares at hand.
#[derive(Debug, Default)]
pub(crate) struct Networks {
    ready: Vec<OwnedFd>,
}

impl Networks {
    /// Takes a spare, if there is one.
    pub(crate) fn take(&mut self) -> Option<OwnedFd> {
        self.ready.pop()
    }

    /// Makes spares until `wanted` are ready. Leaves this process in the namespace it was in.
    pub(crate) fn fill(&mut self, wanted: usize) -> Result<(), Errno> {
        while self.ready.len() < wanted {
            self.ready.push(make()?);
        }
        Ok(())
    }
}

fn make() -> Result<OwnedFd, Errno> {
    let open = || File::open(OWN).map_err(|_no_proc| Errno::ENOENT);
    let home = open()?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    let made = open();
    setns(home.as_fd(), CloneFlags::CLONE_NEWNET)?;
    made.map(OwnedFd::from)
}
