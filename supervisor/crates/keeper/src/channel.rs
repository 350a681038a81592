//! One end of the control socket: a message is one packet of JSON, with at most four descriptors.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use plugbay_sandbox::{Wait, packet};
use serde::{Serialize, de::DeserializeOwned};

use crate::error::KeeperError;

/// Largest message. Below the kernel's default socket buffer (`net.core.wmem_default`, 208 KiB, of
/// which bookkeeping takes a part), so that a packet always fits.
pub(crate) const MAX_MESSAGE: usize = 128 << 10;

#[derive(Debug)]
pub(crate) struct Channel {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Channel {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        Self { socket, buffer: vec![0; MAX_MESSAGE] }
    }

    pub(crate) fn send(&self, message: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        packet::send(self.socket.as_fd(), &[message], fds)
    }

    /// The next message; `None` at the end. [`Errno::EAGAIN`] inside the error when nothing is there.
    pub(crate) fn receive<T: DeserializeOwned>(
        &mut self,
    ) -> Result<Option<(T, Vec<OwnedFd>)>, KeeperError> {
        let received = packet::receive(self.socket.as_fd(), &mut self.buffer, Wait::Poll);
        let (length, fds) = received.map_err(|errno| KeeperError::Socket(errno.into()))?;
        if length == 0 {
            return Ok(None);
        }
        let bytes = self.buffer.get(..length).unwrap_or_default();
        let message = serde_json::from_slice(bytes).map_err(KeeperError::Decode)?;
        Ok(Some((message, fds)))
    }
}

/// The bytes of a message, within the limit.
pub(crate) fn encode(message: &impl Serialize) -> Result<Vec<u8>, KeeperError> {
    let bytes = serde_json::to_vec(message).map_err(KeeperError::Encode)?;
    if bytes.len() > MAX_MESSAGE {
        return Err(KeeperError::TooLarge { bytes: bytes.len(), most: MAX_MESSAGE });
    }
    Ok(bytes)
}
