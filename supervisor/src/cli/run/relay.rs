//! A bound on what a command writes: its stdout and stderr are pipes, and what comes out of them is
//! passed on up to the bound. Past it the command is ended, or the rest is dropped.
//!
//! One thread, so nothing here may wait: a pipe is read without blocking, and our own streams, whose
//! mode is not ours to change, are written only when they say that they take something, and then no
//! more than a pipe takes at once. What waits for a slow reader is bounded; behind it the command waits,
//! as it would without us.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
};

use nix::{
    fcntl::{FcntlArg, OFlag, fcntl},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::stat::fstat,
    unistd::pipe2,
};
use plugbay_sandbox::{Hit, Holder, Limit};

/// What a pipe takes at once when it takes something.
const AT_ONCE: usize = 4096;

/// What is read at once, and so the most that waits for a reader.
const HELD: usize = 64 << 10;

/// What happens past the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Past {
    /// The command is ended.
    End,
    /// The rest is dropped, and the command goes on.
    Drop,
}

/// How much has passed. Pure.
#[derive(Debug)]
struct Meter {
    most: u64,
    passed: u64,
    dropped: u64,
}

impl Meter {
    /// How many of these bytes pass.
    fn admit(&mut self, bytes: usize) -> usize {
        let left = usize::try_from(self.most.saturating_sub(self.passed)).unwrap_or(usize::MAX);
        let passes = bytes.min(left);
        let count = |bytes: usize| u64::try_from(bytes).unwrap_or(u64::MAX);
        self.passed = self.passed.saturating_add(count(passes));
        self.dropped = self.dropped.saturating_add(count(bytes.saturating_sub(passes)));
        passes
    }
}

/// One pipe of the command, and the stream of ours that it goes to.
#[derive(Debug)]
struct Way {
    /// `None`: it is at its end, or nobody reads ours any more.
    from: Option<File>,
    to: File,
    held: Vec<u8>,
}

/// Both ways, or one where both streams are one.
#[derive(Debug)]
pub(super) struct Relay {
    ways: Vec<Way>,
    meter: Meter,
    past: Past,
}

impl Relay {
    /// A relay to our stdout and stderr, and what the command gets in their place.
    pub(super) fn new(most: u64, past: Past) -> io::Result<(Self, OwnedFd, OwnedFd)> {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let (mut ways, output) = Self::way(stdout.as_fd()).map(|(way, end)| (vec![way], end))?;
        let error = if is_one(stdout.as_fd(), stderr.as_fd()) {
            output.try_clone()?
        } else {
            let (way, end) = Self::way(stderr.as_fd())?;
            ways.push(way);
            end
        };
        let meter = Meter { most, passed: 0, dropped: 0 };
        Ok((Self { ways, meter, past }, output, error))
    }

    fn way(to: BorrowedFd<'_>) -> io::Result<(Way, OwnedFd)> {
        let (from, end) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&from, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let to = File::from(to.try_clone_to_owned()?);
        Ok((Way { from: Some(File::from(from)), to, held: Vec::new() }, end))
    }

    /// What is waited for: bytes of the command, or room for those that are held.
    pub(super) fn wishes(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.ways.iter().filter_map(|way| match &way.from {
            _ if !way.held.is_empty() => Some(PollFd::new(way.to.as_fd(), PollFlags::POLLOUT)),
            Some(from) => Some(PollFd::new(from.as_fd(), PollFlags::POLLIN)),
            None => None,
        })
    }

    /// Passes on what can be passed on now.
    pub(super) fn serve(&mut self) {
        for way in &mut self.ways {
            way.step(&mut self.meter);
        }
    }

    /// Whether the command is to be ended.
    pub(super) fn wants_end(&self) -> bool {
        self.past == Past::End && self.meter.dropped > 0
    }

    /// Passes on what the command left behind, as fast as it is read, until `stop` says otherwise.
    pub(super) fn drain(&mut self, mut stop: impl FnMut() -> bool, look: PollTimeout) {
        // Nobody writes any more: what a pipe does not have now it will never have.
        while !stop() {
            self.serve();
            let waiting = self.ways.iter().any(|way| !way.held.is_empty());
            if !waiting && self.ways.iter().all(Way::is_dry) {
                return;
            }
            let mut wishes: Vec<PollFd<'_>> = self.wishes().collect();
            // Interrupted or refused: then it is tried at once.
            let _early = poll(&mut wishes, look);
        }
    }

    /// The bound as a limit that was run into, if it was.
    pub(super) fn hit(&self) -> Option<Hit> {
        let Meter { most, passed, dropped } = self.meter;
        (dropped > 0).then(|| Hit {
            limit: Limit::Output,
            value: most,
            peak: Some(passed.saturating_add(dropped)),
            times: 1,
            by: Holder::Relay,
        })
    }
}

impl Way {
    /// Reads when nothing is held, then writes what the reader takes.
    fn step(&mut self, meter: &mut Meter) {
        if self.held.is_empty() {
            self.read(meter);
        }
        while !self.held.is_empty() && takes(&self.to) {
            self.write();
        }
    }

    fn read(&mut self, meter: &mut Meter) {
        let Some(from) = &mut self.from else { return };
        let mut bytes = vec![0; HELD];
        match from.read(&mut bytes) {
            Ok(0) => self.from = None,
            Ok(count) => {
                bytes.truncate(meter.admit(count));
                self.held = bytes;
            }
            Err(error) if would_pass(&error) => {}
            Err(_) => self.from = None,
        }
    }

    fn write(&mut self) {
        let piece = self.held.get(..AT_ONCE).unwrap_or(&self.held);
        match self.to.write(piece) {
            Ok(count) => drop(self.held.drain(..count.min(self.held.len()))),
            Err(error) if would_pass(&error) => {}
            // Nobody reads: the command is to meet the same as it would without us.
            Err(_) => {
                self.from = None;
                self.held.clear();
            }
        }
    }

    /// Whether there is nothing to be read now.
    fn is_dry(&self) -> bool {
        self.from.as_ref().is_none_or(|from| {
            let mut wish = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
            poll(&mut wish, PollTimeout::ZERO).is_ok()
                && wish.iter().all(|wish| {
                    !wish.revents().is_some_and(|events| events.contains(PollFlags::POLLIN))
                })
        })
    }
}

fn would_pass(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Whether a stream takes something now, or would fail at once.
fn takes(to: &File) -> bool {
    let mut wish = [PollFd::new(to.as_fd(), PollFlags::POLLOUT)];
    poll(&mut wish, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Whether two streams lead to the same place: then one pipe keeps the order of what is written.
fn is_one(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    let place = |fd: BorrowedFd<'_>| fstat(fd).map(|found| (found.st_dev, found.st_ino)).ok();
    one.as_raw_fd() == other.as_raw_fd() || place(one).is_some_and(|it| Some(it) == place(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_bound_passes() {
        let mut meter = Meter { most: 10, passed: 0, dropped: 0 };
        assert_eq!([meter.admit(6), meter.admit(4)], [6, 4]);
        assert_eq!(meter.dropped, 0);
        assert_eq!([meter.admit(3), meter.admit(1)], [0, 0]);
        assert_eq!((meter.passed, meter.dropped), (10, 4));
    }

    #[test]
    fn a_reader_that_went_away_ends_the_way_and_a_slow_one_is_waited_for() {
        let (out, into) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let (mut way, end) = Relay::way(into.as_fd()).unwrap();
        drop(into);
        let mut writer = File::from(end);
        let mut meter = Meter { most: 1 << 20, passed: 0, dropped: 0 };
        while way.held.is_empty() {
            writer.write_all(&[7; 1000]).unwrap();
            way.step(&mut meter);
        }
        drop(out);
        way.step(&mut meter);
        way.step(&mut meter);
        assert!(way.held.is_empty() && way.from.is_none());
    }
}
