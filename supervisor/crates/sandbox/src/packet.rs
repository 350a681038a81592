//! Packets with descriptors over a sequenced unix socket: what the record stream and the keeper's
//! control socket are made of.

use std::{
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    sys::socket::{ControlMessage, MsgFlags, sendmsg},
};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

use crate::launch::Wait;

/// The most descriptors that one packet carries.
pub const MOST_DESCRIPTORS: usize = 32;
/// What they take of a control message.
const SPACE: usize = rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS));

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
/// Descriptors that this process has no room for do not arrive, and the packet does without them:
/// whoever counts on them counts them.
///
/// # Errors
/// `EAGAIN` when nothing is there and `wait` is [`Wait::Poll`] or the socket is non-blocking;
/// `EMSGSIZE` when the packet does not fit the buffer.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    wait: Wait,
) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut flags = RecvFlags::CMSG_CLOEXEC;
    if wait == Wait::Poll {
        flags |= RecvFlags::DONTWAIT;
    }
    let mut parts = [IoSliceMut::new(buffer)];
    let message = loop {
        match recvmsg(socket, &mut parts, &mut control, flags) {
            Err(errno) if errno == rustix::io::Errno::INTR => {}
            other => break other.map_err(|errno| Errno::from_raw(errno.raw_os_error()))?,
        }
    };
    let mut fds = Vec::new();
    for control in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = control {
            fds.extend(received);
        }
    }
    if message.flags.contains(ReturnFlags::TRUNC) {
        return Err(Errno::EMSGSIZE);
    }
    Ok((message.bytes, fds))
}
