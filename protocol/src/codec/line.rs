//! Newline framing: a frame is what stands before a line feed. Blank lines are skipped. Whether a line is
//! a message is not asked here.

use super::{Decoder, State, Step};
use memchr::memchr;

impl Decoder {
    pub(super) fn step_line(&mut self) -> Option<Step> {
        loop {
            let Some(at) = memchr(b'\n', self.bytes(self.scanned..self.end)) else {
                return self.step_open_line();
            };
            let length = self.scanned - self.start + at;
            if self.state == State::SkipLine {
                self.state = State::Ready;
                self.discard(length + 1);
                continue;
            }
            let line = self.received().get(..length).unwrap_or_default();
            let payload = line.strip_suffix(b"\r").unwrap_or(line);
            if payload.len() > self.max_frame {
                let gone = self.discard(length + 1);
                return Some(Step::Oversize(gone.start..gone.start + self.max_frame));
            }
            let (blank, length_of_payload) = (payload.trim_ascii().is_empty(), payload.len());
            let taken = self.consume(length + 1);
            if !blank {
                return Some(Step::Frame(taken.start..taken.start + length_of_payload));
            }
        }
    }

    /// No line feed in sight: all of it is one unfinished line.
    fn step_open_line(&mut self) -> Option<Step> {
        let length = self.buffered();
        if self.state == State::SkipLine {
            self.discard(length);
            return None;
        }
        self.scanned = self.end;
        // One byte over may yet turn out to be the carriage return of a line that fits.
        let over = length.saturating_sub(self.max_frame);
        if over == 0 || (over == 1 && self.received().last() == Some(&b'\r')) {
            return None;
        }
        self.state = State::SkipLine;
        let gone = self.discard(length);
        Some(Step::Oversize(gone.start..gone.start + self.max_frame))
    }
}
