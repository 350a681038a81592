//! The one timer for everything that is watched: looks happen on its beats, so that whoever waits in
//! `poll` needs no clock, and none wakes for a tree that nobody has to watch.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use crate::{child::Child, sys, watchdog};

/// Becomes readable when it is time to look; [`Beat::look`] then looks.
#[derive(Debug)]
pub struct Beat(OwnedFd);

impl Beat {
    /// Starts to beat.
    ///
    /// # Errors
    /// `EMFILE` and the like, when there can be no timer.
    pub fn start() -> Result<Self, Errno> {
        sys::timer(watchdog::BEAT).map(Self)
    }

    /// Looks at these trees, if it is time to, and kills those that have passed a limit.
    pub fn look<'a>(&self, children: impl IntoIterator<Item = &'a mut Child>) {
        let mut count = [0_u8; 8];
        // How many beats have passed does not matter.
        if nix::unistd::read(&self.0, &mut count).is_err() {
            return;
        }
        let free = watchdog::free_memory();
        children.into_iter().for_each(|child| child.look(free));
    }
}

impl AsFd for Beat {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
