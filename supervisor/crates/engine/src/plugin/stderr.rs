//! A plugin's stderr: always drained, cut into lines, rate-limited, its end kept for the record.
//!
//! What exceeds the rate of lines is dropped and counted in the log itself. The plugin is never stopped
//! by it; a flood is slowed to what reading it may cost the others.

use std::{
    collections::VecDeque,
    io,
    sync::Mutex,
    time::{Duration, Instant},
};

use memchr::{memchr, memchr_iter, memrchr};
use plugbay_protocol::{limits, notice::Level};
use tokio::{net::unix::pipe, sync::watch, time};

use super::{
    lock,
    rate::Bucket,
    remains::Remains,
    text::{Breaks, plain},
};
use crate::{
    clock,
    log::{LogRecord, LogSink, LogSource},
    plugin::Label,
};

/// How much of the end is kept.
const TAIL: usize = 64 << 10;
/// Lines per second in the long run, and at once.
const LINES_PER_SECOND: u32 = 1_000;
const LINES_BURST: u32 = 10_000;
/// Bytes per second in the long run, and at once: some forty times what is logged of lines of usual
/// length. Without it a plugin that writes as fast as it can keeps two processors busy, its own and
/// the one that drains it, and its neighbours wait for both (`tests/benches/run --only neighbour`).
const BYTES_PER_SECOND: u32 = 4 << 20;
const BYTES_BURST: u32 = 256 << 10;
/// The longest pause at a time, so that the end of the process is not missed for long.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes read before others get their turn: what a pipe holds, so that a flood wakes nobody more often than
/// it must.
const TURN: usize = 64 << 10;
const CHUNK: usize = 16 << 10;

/// The last bytes of a stream.
#[derive(Debug, Default)]
pub(crate) struct Tail(Mutex<VecDeque<u8>>);

impl Tail {
    fn push(&self, bytes: &[u8]) {
        let mut ring = lock(&self.0);
        let bytes = bytes.get(bytes.len().saturating_sub(TAIL)..).unwrap_or(bytes);
        let excess = (ring.len() + bytes.len()).saturating_sub(TAIL);
        ring.drain(..excess);
        ring.extend(bytes);
    }

    /// The kept end as text that is safe to print.
    pub(crate) fn text(&self) -> String {
        let bytes: Vec<u8> = lock(&self.0).iter().copied().collect();
        plain(&String::from_utf8_lossy(&bytes), Breaks::Keep)
    }
}

/// Cuts bytes into lines of at most the cap, and decides which are worth a record.
#[derive(Debug)]
pub(crate) struct Lines {
    open: Vec<u8>,
    rate: Bucket,
    dropped: u64,
}

/// What came out of a push: a line, or the count of lines that were dropped before it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line, without its end.
    Text(String),
    /// So many lines were dropped since the last one.
    Dropped(u64),
}

impl Lines {
    pub(crate) fn new(now: Instant) -> Self {
        let rate = Bucket::new(LINES_BURST, LINES_PER_SECOND, Duration::from_secs(1), now);
        Self { open: Vec::new(), rate, dropped: 0 }
    }

    /// Takes bytes; a line longer than the cap is cut there.
    pub(crate) fn push(&mut self, bytes: &[u8], now: Instant, out: &mut Vec<Line>) {
        let bytes = self.skip(bytes, now, out);
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            self.extend(piece, now, out);
            if pieces.peek().is_some() {
                self.emit(now, out);
            }
        }
    }

    /// In a flood, lines that lie whole within `bytes` are counted and not cut; gives the rest.
    fn skip<'b>(&mut self, bytes: &'b [u8], now: Instant, out: &mut Vec<Line>) -> &'b [u8] {
        // A longer piece may have lines in it that count as several.
        let (true, Some(last)) = (bytes.len() <= limits::STDERR_LINE, memrchr(b'\n', bytes)) else {
            return bytes;
        };
        if !self.rate.is_empty(now) {
            return bytes;
        }
        let (whole, rest) = bytes.split_at(last + 1);
        let first = memchr(b'\n', whole).unwrap_or(last);
        let (head, others) = whole.split_at(first + 1);
        self.extend(head.strip_suffix(b"\n").unwrap_or(head), now, out);
        self.emit(now, out);
        let others = memchr_iter(b'\n', others).count();
        self.dropped = self.dropped.saturating_add(u64::try_from(others).unwrap_or(u64::MAX));
        rest
    }

    /// The stream has ended: what is left is a line, and what was dropped is said.
    pub(crate) fn finish(&mut self, now: Instant, out: &mut Vec<Line>) {
        if !self.open.is_empty() {
            self.emit(now, out);
        }
        if self.dropped > 0 {
            out.push(Line::Dropped(std::mem::take(&mut self.dropped)));
        }
    }

    fn extend(&mut self, mut piece: &[u8], now: Instant, out: &mut Vec<Line>) {
        while self.open.len() + piece.len() > limits::STDERR_LINE {
            let (head, rest) = piece.split_at(limits::STDERR_LINE - self.open.len());
            self.open.extend_from_slice(head);
            self.emit(now, out);
            piece = rest;
        }
        self.open.extend_from_slice(piece);
    }

    fn emit(&mut self, now: Instant, out: &mut Vec<Line>) {
        if self.rate.take(now) {
            if self.dropped > 0 {
                out.push(Line::Dropped(std::mem::take(&mut self.dropped)));
            }
            let line = self.open.strip_suffix(b"\r").unwrap_or(&self.open);
            out.push(Line::Text(plain(&String::from_utf8_lossy(line), Breaks::Escape)));
        } else {
            self.dropped += 1;
        }
        self.open.clear();
    }
}

/// Drains `pipe` to its end. When `exited` turns true, everything already in the pipe is taken
/// before `drained` is told; the caller decides how long to wait for the rest.
pub(crate) async fn drain(
    pipe: pipe::Receiver,
    label: &Label,
    tail: &Tail,
    sink: &LogSink,
    mut exited: watch::Receiver<bool>,
    drained: watch::Sender<bool>,
) {
    let mut lines = Lines::new(clock::now());
    let second = Duration::from_secs(1);
    let mut pace = Bucket::new(BYTES_BURST, BYTES_PER_SECOND, second, clock::now());
    let (mut taken, mut owed, mut leaving) = (0_usize, Duration::ZERO, false);
    loop {
        if !owed.is_zero() && taken == 0 {
            time::sleep(std::mem::take(&mut owed).min(PAUSE)).await;
        }
        let read = read_once(|chunk| pipe.try_read(chunk), label, tail, sink, &mut lines);
        match read {
            Ok(0) => break,
            Ok(count) => {
                taken += count;
                if !leaving {
                    owed = pace.spend(u64::try_from(count).unwrap_or(u64::MAX), clock::now());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !owed.is_zero() => taken = 0,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                taken = 0;
                tokio::select! {
                    ready = pipe.readable() => if ready.is_err() { break },
                    changed = exited.changed(), if !leaving => {
                        leaving = true;
                        if changed.is_ok() {
                            let mut remains = Remains::of(&pipe);
                            let mut rest = |chunk: &mut [u8]| Ok(remains.take(chunk).unwrap_or(0));
                            while read_once(&mut rest, label, tail, sink, &mut lines)
                                .is_ok_and(|count| count > 0)
                            {
                                tokio::task::consume_budget().await;
                            }
                            drained.send_replace(true);
                        }
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
        if taken >= TURN {
            taken = 0;
            tokio::task::yield_now().await;
        }
    }
    let mut out = Vec::new();
    lines.finish(clock::now(), &mut out);
    record(label, sink, out);
    drained.send_replace(true);
}

/// One read, and what it means. The buffer lives on the stack: an idle plugin costs nothing.
fn read_once(
    read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    label: &Label,
    tail: &Tail,
    sink: &LogSink,
    lines: &mut Lines,
) -> io::Result<usize> {
    let mut chunk = [0_u8; CHUNK];
    let count = read(&mut chunk)?;
    let bytes = chunk.get(..count).unwrap_or_default();
    tail.push(bytes);
    let mut out = Vec::new();
    lines.push(bytes, clock::now(), &mut out);
    record(label, sink, out);
    Ok(count)
}

fn record(label: &Label, sink: &LogSink, lines: Vec<Line>) {
    for line in lines {
        let (source, level, message) = match line {
            Line::Text(text) => (LogSource::Stderr, Level::Info, text),
            Line::Dropped(count) => {
                (LogSource::Host, Level::Warn, format!("{count} lines of stderr were dropped"))
            }
        };
        sink.write(&LogRecord {
            plugin: label.plugin.clone(),
            instance: label.instance,
            source,
            level,
            message,
            fields: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(line: &str) -> Line {
        Line::Text(line.to_owned())
    }

    #[test]
    fn lines_are_whole_whatever_the_reads_were() {
        let now = clock::now();
        let mut lines = Lines::new(now);
        let mut out = Vec::new();
        for bytes in [&b"on"[..], b"e\ntwo\r\n", b"", b"\nthr", b"ee"] {
            lines.push(bytes, now, &mut out);
        }
        lines.finish(now, &mut out);
        assert_eq!(out, [text("one"), text("two"), text(""), text("three")]);
    }

    #[test]
    fn a_line_without_end_is_cut_at_the_cap() {
        let now = clock::now();
        let mut lines = Lines::new(now);
        let mut out = Vec::new();
        lines.push(&vec![b'x'; limits::STDERR_LINE * 2 + 1], now, &mut out);
        lines.finish(now, &mut out);
        let lengths: Vec<usize> = out
            .iter()
            .map(|line| match line {
                Line::Text(text) => text.len(),
                Line::Dropped(_) => 0,
            })
            .collect();
        assert_eq!(lengths, [limits::STDERR_LINE, limits::STDERR_LINE, 1]);
    }

    #[test]
    fn a_flood_is_dropped_and_the_count_is_said() {
        let now = clock::now();
        let mut lines = Lines::new(now);
        let mut out = Vec::new();
        lines.push(&b"x\n".repeat(25_000), now, &mut out);
        assert_eq!(out.len(), 10_000);
        lines.push(b"later\n", now + Duration::from_secs(1), &mut out);
        assert_eq!(out[10_000..], [Line::Dropped(15_000), text("later")]);
    }

    #[test]
    fn a_flood_is_counted_alike_in_large_pieces_and_small() {
        let now = clock::now();
        let flood = b"half a line, and the rest of it\n\nx\r\n".repeat(20_000);
        let dropped = |piece: usize| {
            let mut lines = Lines::new(now);
            let mut out = Vec::new();
            flood.chunks(piece).for_each(|bytes| lines.push(bytes, now, &mut out));
            lines.push(b"open", now, &mut out);
            lines.finish(now, &mut out);
            assert_eq!(out.len(), 10_001);
            out.pop()
        };
        // Three lines in each, and the one that was open at the end.
        assert_eq!(dropped(CHUNK), Some(Line::Dropped(60_001 - 10_000)));
        assert_eq!(dropped(1), dropped(CHUNK));
    }

    #[test]
    fn the_tail_keeps_the_last_bytes() {
        let tail = Tail::default();
        tail.push(b"begin");
        tail.push(&vec![b'y'; TAIL - 3]);
        tail.push(b"end");
        let text = tail.text();
        assert_eq!(text.len(), TAIL);
        assert!(text.ends_with("yend") && text.starts_with('y'));
        tail.push(&vec![b'z'; TAIL * 3]);
        assert_eq!(tail.text().len(), TAIL);
    }

    proptest! {
        #[test]
        fn cutting_does_not_depend_on_how_the_bytes_arrive(
            bytes in prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..600),
            cuts in prop::collection::vec(0_usize..600, 0..6),
        ) {
            let now = clock::now();
            let mut whole = Vec::new();
            let mut lines = Lines::new(now);
            lines.push(&bytes, now, &mut whole);
            lines.finish(now, &mut whole);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut lines = Lines::new(now);
            for pair in cuts.windows(2) {
                lines.push(&bytes[pair[0]..pair[1]], now, &mut pieces);
            }
            lines.finish(now, &mut pieces);
            prop_assert_eq!(whole, pieces);
        }
    }
}
