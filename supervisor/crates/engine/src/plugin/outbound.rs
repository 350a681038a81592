//! Everything that goes to a plugin's stdin: written by whoever sends it when the pipe is free,
//! queued when it is not.
//!
//! ```text
//! send ──pipe free──► write(2) in the sender's own task, nobody is woken
//!   └────pipe full──► queue (bounded) ──► one task per plugin, many frames per write
//! ```
//!
//! The lock is held over one non-blocking write at most, never over an await.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::{Arc, Mutex},
    time::Instant,
};

use tokio::{net::unix::pipe, sync::Notify};

use super::{calls::CallId, lock, probe::Bell};
use crate::clock;

/// The most that waits for a plugin that does not read.
pub(crate) const QUEUE_MESSAGES: usize = 1024;
/// The same in bytes; one frame is always taken, however long.
pub(crate) const QUEUE_BYTES: usize = 16 << 20;
/// Frames per write.
const BATCH: usize = 64;

/// One frame on its way.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The bytes, framing included.
    pub(crate) bytes: Vec<u8>,
    /// The call that the frame asks for, if it asks.
    pub(crate) call: Option<CallId>,
}

/// Whether a frame counts against the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Refused when the queue is full.
    Counted,
    /// Taken also then: its number is bounded elsewhere (one cancel per call in flight).
    Exempt,
}

/// Why a frame was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendError {
    /// The queue is full: the plugin does not read.
    Full,
    /// Nothing can be sent any more. No byte of the frame has left.
    Closed,
}

#[derive(Debug)]
struct Queue {
    pipe: Option<Arc<pipe::Sender>>,
    frames: VecDeque<Frame>,
    /// How much of the first frame has been written.
    written: usize,
    bytes: usize,
    /// Since when the pipe has taken nothing of what is queued.
    stalled: Option<Instant>,
    closing: bool,
}

/// The way to a plugin's stdin.
#[derive(Debug)]
pub(crate) struct Outbound {
    queue: Mutex<Queue>,
    /// Something was queued, or the end was asked for.
    pending: Notify,
    /// The queue has shrunk.
    room: Notify,
    /// The plugin has closed its stdin.
    broken: Notify,
    /// Rung when the pipe is full.
    pub(crate) full: Bell,
}

impl Outbound {
    /// Takes the write end of the plugin's stdin.
    pub(crate) fn new(pipe: pipe::Sender) -> Self {
        let queue = Queue {
            pipe: Some(Arc::new(pipe)),
            frames: VecDeque::new(),
            written: 0,
            bytes: 0,
            stalled: None,
            closing: false,
        };
        Self {
            queue: Mutex::new(queue),
            pending: Notify::new(),
            room: Notify::new(),
            broken: Notify::new(),
            full: Bell::default(),
        }
    }

    /// Sends a frame, or queues it. Never waits.
    pub(crate) fn send(&self, frame: Frame, bound: Bound) -> Result<(), SendError> {
        let mut queue = lock(&self.queue);
        let Some(pipe) = queue.pipe.as_ref().filter(|_| !queue.closing) else {
            return Err(SendError::Closed);
        };
        let mut written = 0;
        if queue.frames.is_empty() {
            match write_now(pipe, &frame.bytes) {
                Ok(count) if count == frame.bytes.len() => return Ok(()),
                Ok(count) => written = count,
                Err(_) => {
                    queue.pipe = None;
                    drop(queue);
                    self.broken.notify_one();
                    return Err(SendError::Closed);
                }
            }
        } else if bound == Bound::Counted && !queue.has_room(frame.bytes.len()) {
            return Err(SendError::Full);
        }
        queue.push(frame, written);
        drop(queue);
        self.pending.notify_one();
        self.full.ring();
        Ok(())
    }

    /// Sends a frame, waiting for room. The frame is dropped if the way closes.
    pub(crate) async fn send_patiently(&self, frame: Frame) {
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if self.is_roomy(frame.bytes.len()) {
                self.send(frame, Bound::Exempt).ok();
                return;
            }
            room.await;
        }
    }

    /// Writes what is queued, until the end was asked for and everything is written, or the
    /// plugin has closed its stdin.
    pub(crate) async fn run(&self) {
        loop {
            let pending = self.pending.notified();
            match self.next() {
                Next::Write(pipe) => {
                    if pipe.writable().await.is_err() || self.flush(&pipe).is_err() {
                        self.shut();
                        self.broken.notify_one();
                        return;
                    }
                    self.room.notify_waiters();
                }
                Next::Wait => pending.await,
                Next::End => return,
            }
        }
    }

    /// Since when the pipe has taken nothing, although something is queued.
    pub(crate) fn stalled(&self) -> Option<Instant> {
        lock(&self.queue).stalled
    }

    /// Waits until the plugin has closed its stdin while the host still wanted to write.
    pub(crate) async fn broken(&self) {
        self.broken.notified().await;
    }

    /// Closes the plugin's stdin once everything queued is written. Nothing more is taken.
    pub(crate) fn close(&self) {
        let mut queue = lock(&self.queue);
        queue.closing = true;
        if queue.frames.is_empty() {
            queue.pipe = None;
        }
        drop(queue);
        self.pending.notify_one();
        self.room.notify_waiters();
    }

    /// Closes at once. Gives back the calls of which not one byte has left.
    pub(crate) fn shut(&self) -> Vec<CallId> {
        let mut queue = lock(&self.queue);
        queue.closing = true;
        queue.pipe = None;
        let begun = usize::from(queue.written > 0);
        let unsent = queue.frames.iter().skip(begun).filter_map(|frame| frame.call).collect();
        queue.frames = VecDeque::new();
        queue.bytes = 0;
        queue.stalled = None;
        drop(queue);
        self.pending.notify_one();
        self.room.notify_waiters();
        unsent
    }

    /// Takes a queued call back, if not one byte of it has left.
    pub(crate) fn recall(&self, call: CallId) -> bool {
        let mut queue = lock(&self.queue);
        let begun = usize::from(queue.written > 0);
        let place = queue.frames.iter().skip(begun).position(|frame| frame.call == Some(call));
        let Some(frame) = place.and_then(|place| queue.frames.remove(place + begun)) else {
            return false;
        };
        queue.bytes -= frame.bytes.len();
        if queue.frames.is_empty() {
            queue.stalled = None;
        }
        drop(queue);
        self.room.notify_waiters();
        true
    }

    /// Whether a frame of this length would be taken now, or refused for good.
    pub(crate) fn is_roomy(&self, length: usize) -> bool {
        let queue = lock(&self.queue);
        queue.closing || queue.pipe.is_none() || queue.has_room(length)
    }

    fn next(&self) -> Next {
        let mut queue = lock(&self.queue);
        if queue.frames.is_empty() {
            if queue.closing {
                queue.pipe = None;
            }
            return if queue.pipe.is_none() { Next::End } else { Next::Wait };
        }
        queue.pipe.clone().map_or(Next::End, Next::Write)
    }

    /// Writes as much of the queue as the pipe takes now.
    fn flush(&self, pipe: &pipe::Sender) -> io::Result<()> {
        let mut queue = lock(&self.queue);
        while !queue.frames.is_empty() {
            match pipe.try_write_vectored(&queue.batch()) {
                Ok(count) => queue.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

enum Next {
    Write(Arc<pipe::Sender>),
    Wait,
    End,
}

impl Queue {
    fn has_room(&self, length: usize) -> bool {
        self.frames.is_empty()
            || (self.frames.len() < QUEUE_MESSAGES && self.bytes + length <= QUEUE_BYTES)
    }

    fn push(&mut self, frame: Frame, written: usize) {
        if self.frames.is_empty() {
            self.written = written;
            self.stalled = Some(clock::now());
        }
        self.bytes += frame.bytes.len();
        self.frames.push_back(frame);
    }

    fn batch(&self) -> Vec<IoSlice<'_>> {
        let mut skip = self.written;
        self.frames
            .iter()
            .take(BATCH)
            .map(|frame| {
                let rest = frame.bytes.get(skip..).unwrap_or_default();
                skip = 0;
                IoSlice::new(rest)
            })
            .collect()
    }

    fn advance(&mut self, count: usize) {
        self.written += count;
        while let Some(first) = self.frames.front() {
            let length = first.bytes.len();
            if self.written < length {
                break;
            }
            self.written -= length;
            self.bytes -= length;
            self.frames.pop_front();
        }
        self.stalled = (!self.frames.is_empty()).then(clock::now);
    }
}

/// Writes until all is written or the pipe is full; says how much was written.
fn write_now(pipe: &pipe::Sender, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match pipe.try_write(rest) {
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    fn frame(bytes: &[u8]) -> Frame {
        Frame { bytes: bytes.to_vec(), call: None }
    }

    /// A queue whose pipe nobody reads, filled until the kernel takes no more.
    async fn stuck() -> (Outbound, pipe::Receiver) {
        let (sender, receiver) = pipe::pipe().unwrap();
        sender.writable().await.unwrap();
        let outbound = Outbound::new(sender);
        while lock(&outbound.queue).frames.is_empty() {
            outbound.send(frame(&[b'-'; 4096]), Bound::Counted).unwrap();
        }
        (outbound, receiver)
    }

    #[tokio::test]
    async fn a_free_pipe_is_written_without_the_task() {
        let (sender, mut receiver) = pipe::pipe().unwrap();
        sender.writable().await.unwrap();
        let outbound = Outbound::new(sender);
        outbound.send(frame(b"hello"), Bound::Counted).unwrap();
        let mut bytes = [0; 5];
        receiver.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"hello");
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_takes_exempt_frames() {
        let (outbound, _receiver) = stuck().await;
        let mut taken = 0;
        while outbound.send(frame(b"x"), Bound::Counted).is_ok() {
            taken += 1;
        }
        assert_eq!(taken, QUEUE_MESSAGES - 1);
        assert_eq!(outbound.send(frame(b"x"), Bound::Counted), Err(SendError::Full));
        assert_eq!(outbound.send(frame(b"x"), Bound::Exempt), Ok(()));
    }

    #[tokio::test]
    async fn the_byte_bound_holds() {
        let (outbound, _receiver) = stuck().await;
        outbound.send(frame(&vec![0; QUEUE_BYTES - 8192]), Bound::Counted).unwrap();
        assert_eq!(outbound.send(frame(&[0; 8192]), Bound::Counted), Err(SendError::Full));
    }

    #[tokio::test]
    async fn what_was_queued_arrives_in_order_and_whole_before_the_end() {
        let (sender, mut receiver) = pipe::pipe().unwrap();
        let outbound = Arc::new(Outbound::new(sender));
        let mut expected = Vec::new();
        for number in 0..500_u32 {
            let line = format!("{number:>1000}\n").into_bytes();
            expected.extend_from_slice(&line);
            outbound.send(frame(&line), Bound::Counted).unwrap();
        }
        outbound.close();
        assert_eq!(outbound.send(frame(b"late"), Bound::Counted), Err(SendError::Closed));
        let mut bytes = Vec::new();
        let (read, ()) = tokio::join!(receiver.read_to_end(&mut bytes), outbound.run());
        read.unwrap();
        assert_eq!(bytes, expected);
    }

    #[tokio::test]
    async fn a_closed_reader_is_seen_and_nothing_is_taken_after() {
        let (sender, receiver) = pipe::pipe().unwrap();
        sender.writable().await.unwrap();
        let outbound = Outbound::new(sender);
        drop(receiver);
        assert_eq!(outbound.send(frame(b"x"), Bound::Counted), Err(SendError::Closed));
        outbound.broken().await;
    }

    #[tokio::test]
    async fn shutting_names_the_calls_that_never_left() {
        let (outbound, _receiver) = stuck().await;
        let call = CallId::from_wire(65_536).unwrap();
        outbound.send(Frame { bytes: b"x".to_vec(), call: Some(call) }, Bound::Counted).unwrap();
        assert_eq!(outbound.shut(), [call]);
        assert!(!outbound.recall(call));
    }

    #[tokio::test]
    async fn a_queued_call_can_be_taken_back() {
        let (outbound, _receiver) = stuck().await;
        let call = CallId::from_wire(65_536).unwrap();
        outbound.send(Frame { bytes: b"x".to_vec(), call: Some(call) }, Bound::Counted).unwrap();
        assert!(outbound.recall(call));
        assert_eq!(outbound.shut(), []);
    }
}
