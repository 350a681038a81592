//! Cuts a byte stream into frames, whatever the pieces it arrives in and whatever the bytes are.
//!
//! It never holds more than one frame's cap plus one read ([`limits::READ_CHUNK`]), never scans a byte
//! twice for a terminator, and hands out frames as borrowed slices of its own buffer. It does not read:
//! the caller fills [`Decoder::space`] from wherever the bytes come.
//!
//! ```text
//!   buf  [ consumed | start … scanned … end | spare ]
//!                     └ the frame so far ┘    └ space()
//! ```
//!
//! A frame over the cap is reported at once as [`Decoded::Oversize`], with the id found in the part that
//! was kept; its bytes are dropped as they arrive and the stream goes on behind it.

mod header;
mod line;

use crate::id::Id;
use crate::limits;
use crate::salvage::{Salvage, Shape};
use crate::write::flatten;
pub use header::HeaderError;
use std::io::Write as _;
use std::ops::Range;

/// How frames are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Framing {
    /// One object per line, ended by a line feed; a carriage return before it is dropped.
    #[default]
    Line,
    /// Header lines, an empty line, and as many bytes as `Content-Length` said, as in LSP.
    ContentLength,
}

impl Framing {
    /// Appends `payload` as one frame. In [`Framing::Line`] its line breaks become spaces.
    pub fn frame(self, out: &mut Vec<u8>, payload: &[u8]) {
        let start = out.len();
        out.extend_from_slice(payload);
        if self == Self::Line {
            flatten(out.get_mut(start..).unwrap_or_default());
        }
        self.close(out, start);
    }

    /// Makes one frame of what was appended to `out` since it was `start` long, by [`crate::write`].
    pub fn close(self, out: &mut Vec<u8>, start: usize) {
        match self {
            Self::Line => out.push(b'\n'),
            Self::ContentLength => {
                let mut header = Vec::with_capacity(32);
                let length = out.len().saturating_sub(start);
                // Writing to a vector cannot fail.
                drop(write!(header, "Content-Length: {length}\r\n\r\n"));
                out.splice(start..start, header);
            }
        }
    }
}

/// What came out of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// One frame, without terminator or header.
    Frame(&'a [u8]),
    /// A frame passed the cap. Said once per frame, as soon as it is certain.
    Oversize {
        /// The frame's id, if it stood in the part that was kept.
        salvaged_id: Option<Id<'static>>,
        /// Whether the frame was a call or an answer, which is whose id it is.
        shape: Shape,
        /// Bytes dropped up to now; [`Decoder::discarded`] goes on counting.
        discarded: u64,
    },
    /// Bytes between frames. Only with [`Framing::ContentLength`]; with [`Framing::Line`] every line is
    /// a frame and [`crate::ParseError::is_noise`] tells.
    Noise {
        /// As many of them as are known to be noise by now.
        bytes: &'a [u8],
    },
    /// A header block that cannot be obeyed. Decoding goes on at the next header.
    BadHeader(HeaderError),
}

/// An incremental decoder over one stream.
///
/// ```
/// use plugbay_protocol::{Decoded, Decoder, Framing};
///
/// let mut stream: &[u8] = b"{\"a\":1}\n{\"b\"";
/// let mut decoder = Decoder::new(Framing::Line, 1024);
/// let read = std::io::Read::read(&mut stream, decoder.space())?;
/// decoder.filled(read);
/// assert_eq!(decoder.next(), Some(Decoded::Frame(b"{\"a\":1}")));
/// assert_eq!(decoder.next(), None);
/// assert!(decoder.is_partial());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    framing: Framing,
    max_frame: usize,
    /// Initialised from end to end; `start..end` is what was received and not yet consumed.
    buf: Vec<u8>,
    start: usize,
    /// Up to here there is no terminator.
    scanned: usize,
    end: usize,
    chunk: usize,
    /// Furthest `end` since the buffer was last empty.
    peak: usize,
    state: State,
    discarded: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At a frame's beginning or inside it.
    Ready,
    /// Dropping the rest of a line that passed the cap.
    SkipLine,
    /// Inside a header block whose lines so far said this.
    Header(header::Block),
    /// Waiting for a body of this length.
    Body(usize),
    /// Waiting for enough of an oversize body to look for its id in.
    Doomed(usize),
    /// Dropping so many more bytes of one.
    SkipBody(usize),
}

/// What a decoder asks of its first reads: thousands of idle plugins hold no more than this.
const FIRST_CHUNK: usize = 8 << 10;

/// Longest buffer kept when there is nothing in it, whatever it was used for.
const KEPT: usize = 256 << 10;

/// Longest buffer kept for a next frame as long as the last. Growing anew costs as much as copying, so a
/// plugin that answers in megabytes keeps its buffer; one that did so once gives it back with the
/// next short frame.
const KEPT_BUSY: usize = 2 << 20;

impl Decoder {
    /// A decoder that accepts frames of up to `max_frame` bytes. It holds no memory until first asked
    /// for [`Decoder::space`].
    #[must_use]
    pub fn new(framing: Framing, max_frame: usize) -> Self {
        Self {
            framing,
            max_frame: max_frame.max(1),
            buf: Vec::new(),
            start: 0,
            scanned: 0,
            end: 0,
            chunk: FIRST_CHUNK,
            peak: 0,
            state: State::Ready,
            discarded: 0,
        }
    }

    /// Accepts frames of up to `max_frame` bytes from the next step on: what a frame may have is agreed in
    /// the handshake, which is itself made of frames.
    pub fn set_max_frame(&mut self, max_frame: usize) {
        self.max_frame = max_frame.max(1);
    }

    /// Where to put the next bytes; never empty. Memory is bounded if [`Decoder::next`] was called until
    /// it had nothing more before this is.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start == self.end || self.buf.len() - self.end < self.chunk {
            self.compact();
        }
        if self.buf.len() - self.end < self.chunk {
            self.grow();
        }
        self.buf.get_mut(self.end..).unwrap_or_default()
    }

    /// Gives back memory that what is left does not need. [`Decoder::space`] does it too; this is for a
    /// reader that pauses first.
    pub fn rest(&mut self) {
        self.compact();
    }

    /// Says that the first `n` bytes of [`Decoder::space`] were filled.
    pub fn filled(&mut self, n: usize) {
        let spare = self.buf.len() - self.end;
        if n >= spare {
            self.chunk = (self.chunk * 2).min(limits::READ_CHUNK);
        }
        self.end += n.min(spare);
        self.peak = self.peak.max(self.end);
    }

    /// Copies `bytes` in, all of them: for bytes that are in memory already. Memory stays bounded if the
    /// pieces are of [`limits::READ_CHUNK`] at most and [`Decoder::next`] is emptied between them.
    pub fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let space = self.space();
            let (now, later) = bytes.split_at(bytes.len().min(space.len()));
            if let Some(room) = space.get_mut(..now.len()) {
                room.copy_from_slice(now);
            }
            self.filled(now.len());
            bytes = later;
        }
    }

    /// The next thing in what was received; `None` when more bytes are needed.
    #[expect(
        clippy::should_implement_trait,
        reason = "the item borrows from the decoder, which an iterator's cannot"
    )]
    pub fn next(&mut self) -> Option<Decoded<'_>> {
        let step = match self.framing {
            Framing::Line => self.step_line(),
            Framing::ContentLength => self.step_header(),
        }?;
        Some(match step {
            Step::Frame(range) => Decoded::Frame(self.bytes(range)),
            Step::Noise(range) => Decoded::Noise { bytes: self.bytes(range) },
            Step::Oversize(prefix) => {
                let Salvage { id, shape, addressed: _ } = Salvage::scan(self.bytes(prefix));
                Decoded::Oversize { salvaged_id: id, shape, discarded: self.discarded }
            }
            Step::BadHeader(error) => Decoded::BadHeader(error),
        })
    }

    /// Whether a frame has begun and not ended, so that a stream ending here was cut short.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        self.start < self.end || self.state != State::Ready
    }

    /// Bytes received and not yet handed out.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.end - self.start
    }

    /// Bytes of oversize frames dropped, over the stream's life.
    #[must_use]
    pub fn discarded(&self) -> u64 {
        self.discarded
    }

    /// Bytes of memory held: at most the frame cap plus [`limits::READ_CHUNK`].
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buf.capacity()
    }

    fn bytes(&self, range: Range<usize>) -> &[u8] {
        self.buf.get(range).unwrap_or_default()
    }

    fn received(&self) -> &[u8] {
        self.bytes(self.start..self.end)
    }

    /// Takes `n` bytes off the front.
    fn consume(&mut self, n: usize) -> Range<usize> {
        let from = self.start;
        self.start = from.saturating_add(n).min(self.end);
        self.scanned = self.start;
        from..self.start
    }

    /// Drops `n` bytes off the front as part of an oversize frame.
    fn discard(&mut self, n: usize) -> Range<usize> {
        let gone = self.consume(n);
        self.discarded =
            self.discarded.saturating_add(u64::try_from(gone.len()).unwrap_or(u64::MAX));
        gone
    }

    /// Moves what is left to the front. A byte is moved at most once per frame it belongs to: after this
    /// a frame begins at zero, and only growth makes more room for it.
    fn compact(&mut self) {
        if self.start > 0 {
            self.buf.copy_within(self.start..self.end, 0);
            self.scanned -= self.start;
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == 0 {
            let busy = self.peak >= self.buf.len() / 4 && self.buf.len() <= KEPT_BUSY;
            if self.buf.len() > KEPT && !busy {
                self.buf = Vec::new();
            }
            self.peak = 0;
        }
    }

    fn grow(&mut self) {
        let bound = self.max_frame.saturating_add(limits::READ_CHUNK);
        // Past the bound only if the caller let frames pile up.
        let most = if self.end < bound { bound } else { self.end + self.chunk };
        let wanted = (self.buf.len() * 2).max(self.end + self.chunk).min(most);
        self.buf.reserve_exact(wanted.saturating_sub(self.buf.len()));
        self.buf.resize(wanted.max(self.buf.len()), 0);
    }
}

/// What one step of a framing found, as places in the buffer: borrowing waits until it is returned.
enum Step {
    Frame(Range<usize>),
    Noise(Range<usize>),
    /// The range is where to look for the id; it is discarded already.
    Oversize(Range<usize>),
    BadHeader(HeaderError),
}

#[cfg(test)]
mod tests;
