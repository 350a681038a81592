//! Packets with descriptors over a sequenced unix socket: what the record stream and the keeper's
//! control socket are made of.

use std::{
    io::{IoSlice, IoSliceMut},
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
};

use crate::{launch::Wait, sys};

/// The most descriptors that one packet carries.
pub const MOST_DESCRIPTORS: usize = 32;

/// Sends one packet made of `parts`, with descriptors.
///
/// # Errors
/// `EAGAIN` when the socket is non-blocking and full, `EPIPE` when the other end is closed,
/// `EMSGSIZE` when the packet is larger than the socket's buffer.
pub fn send(socket: BorrowedFd<'_>, parts: &[&[u8]], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let raw: Vec<RawFd> = fds.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let rights = if raw.is_empty() { &[][..] } else { &rights[..] };
    let parts: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), &parts, rights, MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Receives one packet into `buffer`: its length and its descriptors (all close-on-exec). A length of
/// 0 is the end: every sender is closed.
///
/// # Errors
/// `EAGAIN` when nothing is there and `wait` is [`Wait::Poll`] or the socket is non-blocking;
/// `EMSGSIZE` when the packet does not fit the buffer.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    wait: Wait,
) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut control = nix::cmsg_space!([RawFd; MOST_DESCRIPTORS]);
    let mut flags = MsgFlags::MSG_CMSG_CLOEXEC;
    if wait == Wait::Poll {
        flags |= MsgFlags::MSG_DONTWAIT;
    }
    let mut parts = [IoSliceMut::new(buffer)];
    let message = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), flags) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    let mut fds = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            fds.extend(numbers.into_iter().map(sys::adopt));
        }
    }
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(Errno::EMSGSIZE);
    }
    Ok((message.bytes, fds))
}
