//! `Content-Length` framing: header lines, an empty line, a body of the length said. Unlike its many
//! implementations it survives what is not a header: bytes that are not part of a block are noise, and
//! the next `Content-Length:` or `Content-Type:` begins a block again, even in the middle of a line.

use super::{Decoder, State, Step};
use crate::limits;
use memchr::{memchr, memchr2_iter};

/// Why a header block cannot be obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// No `Content-Length` in the block.
    #[error("header block has no content-length")]
    MissingLength,
    /// More than one, equal or not: which one holds would be a guess.
    #[error("header block has more than one content-length")]
    DuplicateLength,
    /// Below zero.
    #[error("content-length is negative")]
    NegativeLength,
    /// Not a decimal integer.
    #[error("content-length is not a number")]
    MalformedLength,
    /// Above [`limits::MAX_FRAME_CEILING`]: not a long frame but a lie, so nothing is skipped for it.
    #[error("content-length is above any frame's size")]
    HugeLength,
    /// A line that is no header inside a block.
    #[error("header block has a line that is not a header")]
    MalformedLine,
    /// Longer than [`limits::HEADER_BLOCK`].
    #[error("header block is too long")]
    BlockTooLong,
}

/// What the lines of an unfinished block have said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Block {
    /// Bytes of the lines consumed.
    size: usize,
    length: Option<usize>,
    /// The first thing wrong with it, reported at its end so that the end is found.
    error: Option<HeaderError>,
}

/// What begins a block. Two names, because any `word:` would take a log line for a header.
const OPENERS: [&[u8]; 2] = [b"content-length:", b"content-type:"];

/// The part of a body searched for the id when the whole may not be kept.
const SALVAGED: usize = limits::READ_CHUNK;

impl Decoder {
    pub(super) fn step_header(&mut self) -> Option<Step> {
        loop {
            let found = match self.state {
                State::Ready | State::SkipLine => self.step_seek(),
                State::Header(block) => self.step_block(block),
                State::Body(length) => self.step_body(length),
                State::Doomed(length) => self.step_doomed(length),
                State::SkipBody(left) => self.step_skip(left),
            };
            match found {
                Found::Step(step) => return Some(step),
                Found::Onward => {}
                Found::NeedMore => return None,
            }
        }
    }

    /// Between frames: a block begins here, or there is noise up to where one may.
    fn step_seek(&mut self) -> Found {
        let received = self.received();
        if received.is_empty() {
            return Found::NeedMore;
        }
        let noise = match opener(received) {
            Some(0) => {
                self.state = State::Header(Block::default());
                return Found::Onward;
            }
            Some(at) => at,
            None => received.len() - opener_begun(received),
        };
        match noise {
            0 => Found::NeedMore,
            noise => {
                let blank = received.get(..noise).unwrap_or_default().trim_ascii().is_empty();
                let range = self.consume(noise);
                if blank { Found::Onward } else { Found::Step(Step::Noise(range)) }
            }
        }
    }

    /// Inside a block: one line more.
    fn step_block(&mut self, mut block: Block) -> Found {
        let room = limits::HEADER_BLOCK - block.size;
        let Some(at) = memchr(b'\n', self.bytes(self.scanned..self.end)) else {
            self.scanned = self.end;
            if self.buffered() <= room {
                return Found::NeedMore;
            }
            return self.refuse(HeaderError::BlockTooLong, room);
        };
        let length = self.scanned - self.start + at + 1;
        if length > room {
            return self.refuse(HeaderError::BlockTooLong, room);
        }
        let line = self.received().get(..length - 1).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            return self.end_block(block, length);
        }
        if !block.read(line) {
            // Perhaps the block was cut off and the next one begins within this line.
            return self.refuse(HeaderError::MalformedLine, 0);
        }
        block.size += length;
        self.consume(length);
        self.state = State::Header(block);
        Found::Onward
    }

    fn end_block(&mut self, block: Block, last_line: usize) -> Found {
        let length = match (block.error, block.length) {
            (Some(error), _) => return self.refuse(error, last_line),
            (None, None) => return self.refuse(HeaderError::MissingLength, last_line),
            (None, Some(length)) => length,
        };
        self.consume(last_line);
        self.state =
            if length > self.max_frame { State::Doomed(length) } else { State::Body(length) };
        Found::Onward
    }

    fn refuse(&mut self, error: HeaderError, consumed: usize) -> Found {
        self.consume(consumed);
        self.state = State::Ready;
        Found::Step(Step::BadHeader(error))
    }

    fn step_body(&mut self, length: usize) -> Found {
        if self.buffered() < length {
            return Found::NeedMore;
        }
        self.state = State::Ready;
        Found::Step(Step::Frame(self.consume(length)))
    }

    fn step_doomed(&mut self, length: usize) -> Found {
        let prefix = self.max_frame.min(SALVAGED);
        if self.buffered() < prefix {
            return Found::NeedMore;
        }
        self.state = State::SkipBody(length - prefix);
        Found::Step(Step::Oversize(self.discard(prefix)))
    }

    fn step_skip(&mut self, left: usize) -> Found {
        let left = left - self.discard(left).len();
        if left == 0 {
            self.state = State::Ready;
            return Found::Onward;
        }
        self.state = State::SkipBody(left);
        Found::NeedMore
    }
}

enum Found {
    Step(Step),
    /// Something was taken in; look again.
    Onward,
    NeedMore,
}

impl Block {
    /// Takes in one header line; `false` if it is none.
    fn read(&mut self, line: &[u8]) -> bool {
        let Some(colon) = memchr(b':', line) else { return false };
        let (name, rest) = line.split_at(colon);
        if name.is_empty() || !name.iter().all(|&byte| is_token(byte)) {
            return false;
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            let value = rest.get(1..).unwrap_or_default().trim_ascii();
            match length(value) {
                _ if self.length.is_some() => self.fail(HeaderError::DuplicateLength),
                Ok(length) => self.length = Some(length),
                Err(error) => self.fail(error),
            }
        }
        true
    }

    fn fail(&mut self, error: HeaderError) {
        self.error.get_or_insert(error);
        // A second length after a bad first one is a duplicate still.
        self.length.get_or_insert(0);
    }
}

/// A character of a header name, by RFC 9110.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn length(value: &[u8]) -> Result<usize, HeaderError> {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(HeaderError::MalformedLength);
    }
    if digits.len() < value.len() {
        return Err(HeaderError::NegativeLength);
    }
    let length = digits.iter().fold(0_usize, |sum, &digit| {
        sum.saturating_mul(10).saturating_add(usize::from(digit - b'0'))
    });
    if length > limits::MAX_FRAME_CEILING { Err(HeaderError::HugeLength) } else { Ok(length) }
}

/// Where the first opener stands.
fn opener(bytes: &[u8]) -> Option<usize> {
    memchr2_iter(b'c', b'C', bytes).find(|&at| {
        let here = bytes.get(at..).unwrap_or_default();
        OPENERS.iter().any(|name| {
            here.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
        })
    })
}

/// How many bytes at the end may be the beginning of an opener.
fn opener_begun(bytes: &[u8]) -> usize {
    let from = bytes.len().saturating_sub(OPENERS[0].len() - 1);
    let tail = bytes.get(from..).unwrap_or_default();
    (0..tail.len())
        .map(|at| tail.get(at..).unwrap_or_default())
        .find(|end| {
            OPENERS.iter().any(|name| {
                name.get(..end.len()).is_some_and(|start| start.eq_ignore_ascii_case(end))
            })
        })
        .map_or(0, <[u8]>::len)
}
