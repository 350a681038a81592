//! The two ends of the wire, as bytes: [`Reader`] cuts frames out of what arrives, [`Writer`] lets whole
//! frames out. Not what the frames mean (the session's), nor where the ends come from ([`crate::claim`]).

use crate::clock;
use crate::lock;
use plugbay_protocol::{Decoder, Framing, limits};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::time::Instant;

/// Where frames come from. Whoever holds it is the leader.
#[derive(Debug)]
pub(crate) struct Reader {
    input: File,
    /// What was received and not yet handled.
    pub(crate) decoder: Decoder,
}

/// What came of waiting for bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Some did.
    Bytes,
    /// None in time.
    Late,
    /// There will be no more.
    End,
}

impl Reader {
    pub(crate) fn new(input: OwnedFd) -> Self {
        Self { input: input.into(), decoder: Decoder::new(Framing::Line, limits::MAX_FRAME) }
    }

    /// Blocks for bytes, until `deadline` if there is one.
    pub(crate) fn fill(&mut self, deadline: Option<Instant>) -> Arrival {
        if let Some(deadline) = deadline
            && !self.is_readable_before(deadline)
        {
            return Arrival::Late;
        }
        loop {
            match self.input.read(self.decoder.space()) {
                Ok(0) => return Arrival::End,
                Ok(count) => {
                    self.decoder.filled(count);
                    return Arrival::Bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A wire that cannot be read has ended, whatever the reason.
                Err(_) => return Arrival::End,
            }
        }
    }

    fn is_readable_before(&self, deadline: Instant) -> bool {
        loop {
            let left = deadline.saturating_duration_since(clock::now());
            // One that cannot be expressed is as good as none.
            let timeout = Timespec::try_from(left).ok();
            let mut ends = [PollFd::new(&self.input, PollFlags::IN)];
            match poll(&mut ends, timeout.as_ref()) {
                Ok(0) => return false,
                Err(rustix::io::Errno::INTR) => {}
                // Also on an error: reading will tell which.
                Ok(_) | Err(_) => return true,
            }
        }
    }
}

/// Where frames go. Queued ones go out with the next that is sent, or by [`Writer::flush`], all in one
/// system call.
#[derive(Debug)]
pub(crate) struct Writer(Mutex<Outgoing>);

#[derive(Debug)]
struct Outgoing {
    output: File,
    queued: Vec<u8>,
    closed: bool,
}

/// Queued bytes above which waiting for more saves nothing.
const FULL: usize = 64 << 10;

/// The wire lets nothing out any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

impl Writer {
    pub(crate) fn new(output: OwnedFd) -> Self {
        Self(Mutex::new(Outgoing { output: output.into(), queued: Vec::new(), closed: false }))
    }

    /// Lets frames out now.
    pub(crate) fn send(&self, frames: &[u8]) -> Result<(), Closed> {
        let mut outgoing = lock(&self.0);
        if outgoing.queued.is_empty() {
            return outgoing.write(frames);
        }
        outgoing.queued.extend_from_slice(frames);
        outgoing.flush()
    }

    /// Lets frames out at the next [`Writer::flush`].
    pub(crate) fn queue(&self, frames: &[u8]) -> Result<(), Closed> {
        let mut outgoing = lock(&self.0);
        if outgoing.queued.len() + frames.len() < FULL {
            outgoing.queued.extend_from_slice(frames);
            return Ok(());
        }
        outgoing.flush()?;
        outgoing.write(frames)
    }

    /// Lets out what is queued.
    pub(crate) fn flush(&self) -> Result<(), Closed> {
        lock(&self.0).flush()
    }

    /// Lets out what is queued, and nothing after it.
    pub(crate) fn close(&self) {
        let mut outgoing = lock(&self.0);
        // Nobody is left to be told if this fails.
        outgoing.flush().unwrap_or_default();
        outgoing.closed = true;
    }
}

impl Outgoing {
    fn flush(&mut self) -> Result<(), Closed> {
        if self.queued.is_empty() {
            return Ok(());
        }
        let queued = std::mem::take(&mut self.queued);
        let written = self.write(&queued);
        self.queued = queued;
        self.queued.clear();
        written
    }

    fn write(&mut self, frames: &[u8]) -> Result<(), Closed> {
        if self.closed {
            return Err(Closed);
        }
        self.output.write_all(frames).map_err(|_gone| {
            self.closed = true;
            Closed
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plugbay_protocol::Decoded;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    fn pair() -> (Reader, Writer) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Reader::new(ours.into()), Writer::new(theirs.into()))
    }

    #[test]
    fn queued_frames_go_out_in_order_and_at_once() {
        let (mut reader, writer) = pair();
        writer.queue(b"{\"a\":1}\n").unwrap();
        let soon = clock::now() + Duration::from_millis(1);
        assert_eq!(reader.fill(Some(soon)), Arrival::Late);
        writer.queue(b"{\"a\":2}\n").unwrap();
        writer.send(b"{\"a\":3}\n").unwrap();
        assert_eq!(reader.fill(None), Arrival::Bytes);
        for expected in [b"{\"a\":1}", b"{\"a\":2}", b"{\"a\":3}"] {
            assert_eq!(reader.decoder.next(), Some(Decoded::Frame(expected)));
        }
    }

    #[test]
    fn a_closed_wire_takes_no_more_but_lets_out_what_it_took() {
        let (mut reader, writer) = pair();
        writer.queue(b"{}\n").unwrap();
        writer.close();
        assert_eq!(writer.send(b"{}\n"), Err(Closed));
        drop(writer);
        assert_eq!(reader.fill(None), Arrival::Bytes);
        assert_eq!(reader.fill(None), Arrival::End);
    }

    #[test]
    fn a_host_that_is_gone_is_noticed() {
        let (reader, writer) = pair();
        drop(reader);
        assert_eq!(writer.send(b"{}\n"), Err(Closed));
        assert_eq!(writer.queue(b"{}\n"), Ok(()));
        assert_eq!(writer.flush(), Err(Closed));
    }

    #[test]
    fn much_is_not_queued() {
        let (mut reader, writer) = pair();
        writer.queue(&[b'x'; FULL]).unwrap();
        assert_eq!(reader.fill(None), Arrival::Bytes);
    }
}
