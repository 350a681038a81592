//! What a process that was made ahead of time waits for: the spec that it shall become, the program's
//! standard descriptors, and the granted trees.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, socketpair},
};

use crate::{launch::Wait, packet, spec::Spec};

/// Largest order. Below the kernel's default socket buffer, so that a packet always fits.
const MAX_ORDER: usize = 128 << 10;

/// An order as it arrives.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) spec: Spec,
    pub(crate) standard: [OwnedFd; 3],
    /// Copies of the granted trees, in the order of the view's steps.
    pub(crate) trees: Vec<OwnedFd>,
}

/// The two ends: the launcher's and the one inside. Both are close-on-exec.
pub(crate) fn pair() -> Result<(Sender, Receiver), Errno> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    Ok((Sender(ours), Receiver(theirs)))
}

/// The launcher's end. Dropping it sends the waiting process away.
#[derive(Debug)]
pub(crate) struct Sender(OwnedFd);

impl Sender {
    /// Sends the one order. Refuses, with [`Errno::EMSGSIZE`] or [`Errno::EINVAL`], what cannot be
    /// written as one packet.
    pub(crate) fn send(
        &self,
        spec: &Spec,
        standard: [BorrowedFd<'_>; 3],
        trees: &[OwnedFd],
    ) -> Result<(), Errno> {
        let bytes = serde_json::to_vec(spec).map_err(|_not_text| Errno::EINVAL)?;
        let fds: Vec<BorrowedFd<'_>> =
            standard.into_iter().chain(trees.iter().map(AsFd::as_fd)).collect();
        if bytes.len() > MAX_ORDER || fds.len() > packet::MOST_DESCRIPTORS {
            return Err(Errno::EMSGSIZE);
        }
        packet::send(self.0.as_fd(), &[&bytes], &fds)
    }
}

/// The end inside.
#[derive(Debug)]
pub(crate) struct Receiver(OwnedFd);

impl Receiver {
    /// Its number, to be spared when others are closed.
    pub(crate) fn number(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// Waits for the order. `None` when there will be none.
    pub(crate) fn receive(&self) -> Result<Option<Order>, Errno> {
        let mut buffer = vec![0_u8; MAX_ORDER];
        let (length, fds) = packet::receive(self.0.as_fd(), &mut buffer, Wait::Block)?;
        if length == 0 {
            return Ok(None);
        }
        let spec = serde_json::from_slice(buffer.get(..length).unwrap_or_default())
            .map_err(|_not_ours| Errno::EBADMSG)?;
        let mut fds = fds.into_iter();
        let mut next = || fds.next().ok_or(Errno::EBADMSG);
        let standard = [next()?, next()?, next()?];
        Ok(Some(Order { spec, standard, trees: fds.collect() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn null() -> OwnedFd {
        std::fs::File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn an_order_arrives_whole() {
        let (sender, receiver) = pair().unwrap();
        let (spec, null) = (Spec::new("/bin/true"), null());
        let standard = [null.as_fd(); 3];
        sender.send(&spec, standard, &[null.try_clone().unwrap()]).unwrap();
        let order = receiver.receive().unwrap().unwrap();
        assert_eq!((order.spec, order.trees.len()), (spec, 1));
    }

    #[test]
    fn a_launcher_that_is_gone_means_no_order() {
        let (sender, receiver) = pair().unwrap();
        drop(sender);
        assert!(receiver.receive().unwrap().is_none());
    }

    #[test]
    fn more_trees_than_a_packet_carries_are_refused() {
        let (sender, _receiver) = pair().unwrap();
        let null = null();
        let trees: Vec<OwnedFd> =
            (0..packet::MOST_DESCRIPTORS).map(|_| null.try_clone().unwrap()).collect();
        let refused = sender.send(&Spec::new("/bin/true"), [null.as_fd(); 3], &trees);
        assert_eq!(refused, Err(Errno::EMSGSIZE));
    }
}
