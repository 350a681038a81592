//! The account of a stream: how far its sender is ahead, as each end keeps it. Pure.
//!
//! A sender may send while it is ahead by less than the window, so the last frame may go beyond it;
//! a receiver acknowledges when it has taken half of a window. So neither ever waits for the other
//! to move first, whatever the size of the items.

use crate::limits::{STREAM_FRAME_ITEMS, STREAM_WINDOW_BYTES, STREAM_WINDOW_ITEMS};
use std::collections::VecDeque;

/// What a frame counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Values; a frame of bytes counts as one.
    pub items: u32,
    /// Bytes of the content as it is written on the wire.
    pub bytes: usize,
}

impl Size {
    /// Of a frame with so many values; none and too many are not allowed.
    pub(super) fn of_items(items: usize, bytes: usize) -> Result<Self, Violation> {
        match u32::try_from(items) {
            Ok(items) if (1..=STREAM_FRAME_ITEMS).contains(&items) => Ok(Self { items, bytes }),
            Ok(_) | Err(_) => Err(Violation::Content),
        }
    }

    fn add(&mut self, other: Self) {
        self.items = self.items.saturating_add(other.items);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    fn subtract(&mut self, other: Self) {
        self.items = self.items.saturating_sub(other.items);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }

    /// Whether it fills one `part` of the window.
    fn fills(self, part: u32) -> bool {
        let bytes = usize::try_from(STREAM_WINDOW_BYTES / part).unwrap_or(usize::MAX);
        self.items >= STREAM_WINDOW_ITEMS / part || self.bytes >= bytes
    }
}

/// How the other end of a stream broke its rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A frame's number is not the next one.
    #[error("a frame of the stream is missing, or came twice")]
    Order,
    /// The sender did not wait for credit.
    #[error("more was sent than was acknowledged")]
    Credit,
    /// A frame holds nothing, too much, what cannot be read, or the other kind.
    #[error("a frame of the stream has no valid content")]
    Content,
    /// What was not sent was acknowledged.
    #[error("what was never sent was acknowledged")]
    Acknowledgement,
}

/// What a sender may send.
#[derive(Debug, Default)]
pub struct Credit {
    /// Frames without acknowledgement, the oldest first.
    unacknowledged: VecDeque<Size>,
    ahead: Size,
    /// The last frame sent.
    sent: u64,
}

impl Credit {
    /// Whether the next frame may be sent now.
    #[must_use]
    pub fn may_send(&self) -> bool {
        !self.ahead.fills(1)
    }

    /// Takes a frame into account; gives its number.
    pub fn send(&mut self, size: Size) -> u64 {
        self.ahead.add(size);
        self.unacknowledged.push_back(size);
        self.sent += 1;
        self.sent
    }

    /// The receiver has taken everything up to frame `seq`.
    ///
    /// # Errors
    ///
    /// When that frame was not sent. Repeating an older number is no error, and nothing.
    pub fn acknowledge(&mut self, seq: u64) -> Result<(), Violation> {
        if seq > self.sent {
            return Err(Violation::Acknowledgement);
        }
        let left = usize::try_from(self.sent - seq).unwrap_or(usize::MAX);
        while self.unacknowledged.len() > left {
            let Some(size) = self.unacknowledged.pop_front() else { break };
            self.ahead.subtract(size);
        }
        Ok(())
    }
}

/// What a receiver has received, and taken.
#[derive(Debug, Default)]
pub struct Window {
    /// Frames received and not taken, the oldest first.
    waiting: VecDeque<Size>,
    /// All that was received and not acknowledged.
    ahead: Size,
    /// What was taken since the last acknowledgement.
    taken: Size,
    received: u64,
}

impl Window {
    /// Takes an arriving frame into account.
    ///
    /// # Errors
    ///
    /// When it is out of order, or the sender had no credit for it.
    pub fn receive(&mut self, seq: u64, size: Size) -> Result<(), Violation> {
        if seq != self.received + 1 {
            return Err(Violation::Order);
        }
        if self.ahead.fills(1) {
            return Err(Violation::Credit);
        }
        self.received = seq;
        self.ahead.add(size);
        self.waiting.push_back(size);
        Ok(())
    }

    /// The oldest frame is taken. Gives the number to acknowledge, if it is time to.
    pub fn take(&mut self) -> Option<u64> {
        let size = self.waiting.pop_front()?;
        self.taken.add(size);
        if !self.taken.fills(2) {
            return None;
        }
        self.ahead.subtract(std::mem::take(&mut self.taken));
        let waiting = u64::try_from(self.waiting.len()).unwrap_or(u64::MAX);
        Some(self.received.saturating_sub(waiting))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: Size = Size { items: 1, bytes: 10 };

    #[test]
    fn a_sender_waits_after_a_window_and_goes_on_when_acknowledged() {
        let mut credit = Credit::default();
        for number in 1..=64 {
            assert!(credit.may_send());
            assert_eq!(credit.send(ONE), number);
        }
        assert!(!credit.may_send());
        credit.acknowledge(1).unwrap();
        assert!(credit.may_send());
        credit.acknowledge(1).unwrap();
        credit.acknowledge(0).unwrap();
        assert_eq!(credit.send(ONE), 65);
        assert!(!credit.may_send(), "an old number gives nothing");
        assert_eq!(credit.acknowledge(66), Err(Violation::Acknowledgement));
    }

    #[test]
    fn bytes_count_too() {
        let mut credit = Credit::default();
        credit.send(Size { items: 1, bytes: 1 << 20 });
        assert!(!credit.may_send());
    }

    #[test]
    fn who_sends_without_credit_is_found_out() {
        let mut window = Window::default();
        for seq in 1..=64 {
            window.receive(seq, ONE).unwrap();
        }
        assert_eq!(window.receive(65, ONE), Err(Violation::Credit));
        assert_eq!(window.receive(66, ONE), Err(Violation::Order));
    }

    #[test]
    fn half_a_window_is_acknowledged_at_once() {
        let mut window = Window::default();
        for seq in 1..=40 {
            window.receive(seq, ONE).unwrap();
        }
        let acks: Vec<_> = (0..40).filter_map(|_| window.take()).collect();
        assert_eq!(acks, [32]);
        assert_eq!(window.take(), None);
    }

    proptest! {
        /// Whatever the sizes and the order of events: never a violation, never a standstill.
        #[test]
        fn two_honest_ends_agree_and_never_block(
            sizes in prop::collection::vec((1_u32..=64, 1_usize..2_000_000), 1..300),
            choices in prop::collection::vec(any::<bool>(), 0..600),
        ) {
            let (mut credit, mut window) = (Credit::default(), Window::default());
            let mut choices = choices.into_iter();
            let (mut sent, mut taken) = (0, 0);
            while taken < sizes.len() {
                let may_send = sent < sizes.len() && credit.may_send();
                let may_take = taken < sent;
                prop_assert!(may_send || may_take, "standstill");
                if may_send && (!may_take || choices.next().unwrap_or(true)) {
                    let (items, bytes) = sizes[sent];
                    let size = Size { items, bytes };
                    prop_assert_eq!(window.receive(credit.send(size), size), Ok(()));
                    sent += 1;
                } else {
                    taken += 1;
                    if let Some(seq) = window.take() {
                        prop_assert_eq!(credit.acknowledge(seq), Ok(()));
                    }
                }
            }
        }
    }
}
