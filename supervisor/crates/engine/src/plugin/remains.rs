//! What a process that is gone left in a pipe.
//!
//! The runtime learns that a pipe is readable when it next asks the kernel; the end of a process may
//! be known before. So here the kernel is asked directly, until it says that the pipe is empty.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::AsFd as _,
};

use tokio::net::unix::pipe;

/// A second hold on a pipe, to be read without the runtime. It does not block either.
#[derive(Debug)]
pub(super) struct Remains(Option<File>);

impl Remains {
    /// What is left in `pipe`; nothing, if no second hold on it can be had.
    pub(super) fn of(pipe: &pipe::Receiver) -> Self {
        Self(pipe.as_fd().try_clone_to_owned().ok().map(File::from))
    }

    /// Reads some of it; `None` when the pipe is empty for now, or at its end.
    pub(super) fn take(&mut self, buffer: &mut [u8]) -> Option<usize> {
        loop {
            match self.0.as_mut()?.read(buffer) {
                Ok(0) => return None,
                Ok(count) => return Some(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }
}
