//! The plugin's stdout: frames out of bytes, each to where it belongs.
//!
//! One task per process. It never waits for anyone but the pipe: answers wake their callers,
//! questions become tasks, and what breaks the rules is counted, then punished. A plugin that
//! talks without end gives others their turn after every hundred frames or mebibyte.

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use plugbay_protocol::{
    Decoded, Decoder, Id, Message, ParseError, Shape, limits, method,
    notice::{Level, Log, Progress},
    write,
};
use serde_json::value::RawValue;
use tokio::{io::AsyncReadExt as _, net::unix::pipe, sync::watch, time};

use super::{
    calls::{CallId, Claim},
    count,
    death::Cause,
    inbound,
    outbound::{Bound, Frame},
    rate::Bucket,
    remains::Remains,
    session::{Answer, Session},
    stream::{self, Noted},
    text::{Breaks, plain},
};
use crate::{
    clock,
    log::{LogRecord, LogSource},
};

/// Frames, and bytes, before others get their turn.
const TURN_FRAMES: usize = 100;
const TURN_BYTES: usize = 1 << 20;
/// Stray lines per minute before it is a flood, and how many of them are logged.
const STRAY_PER_MINUTE: u32 = 100;
const STRAY_LOGGED: u32 = 10;
/// Longest piece of a stray line in the log.
const STRAY_SHOWN: usize = 512;
/// Broken or oversize frames per minute before the plugin is killed for them.
const STRIKES_PER_MINUTE: u32 = 8;
/// `$/log` records per second in the long run, and at once.
const LOGS_PER_SECOND: u32 = 1_000;
const LOGS_BURST: u32 = 10_000;
/// Notifications that nobody wants, per second in the long run and at once, before it is a flood.
const UNWANTED_PER_SECOND: u32 = 1_000;
const UNWANTED_BURST: u32 = 20_000;
/// Requests of the plugin per second in the long run, and at once; more are refused unread.
const ASKED_PER_SECOND: u32 = 50_000;
const ASKED_BURST: u32 = 20_000;
/// Notifications, but for a stream's data, per second in the long run, and at once; beyond that the plugin
/// is read more slowly. So few that less than one call in a hundred of its neighbours meets a flood: the
/// bench `neighbour` shows it.
const NOTICES_PER_SECOND: u32 = 5_000;
const NOTICES_BURST: u32 = 5_000;
/// Bytes of oversize frames per second in the long run, and at once; beyond that the same. Dropping them
/// at the speed of memory would keep two processors busy that the plugin's neighbours want.
const WASTE_PER_SECOND: u32 = 32 << 20;
const WASTE_BURST: u32 = 1 << 20;
/// A frame with more bytes than this is no frame of anybody's.
const ENDLESS: u64 = limits::MAX_FRAME_CEILING as u64;
/// The longest pause at a time, so that the end of the process is not missed for long.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the plugin may take to end or be seen ended after it has closed its stdout.
const EOF_GRACE: Duration = Duration::from_millis(500);

/// Reads until the end of the stream. When `exited` turns true, everything already in the pipe is
/// taken before `drained` is told; the caller decides how long to wait for the rest.
pub(crate) async fn run(
    session: Arc<Session>,
    mut pipe: pipe::Receiver,
    mut exited: watch::Receiver<bool>,
    drained: watch::Sender<bool>,
) {
    let mut reader = Reader::new(&session, clock::now());
    let mut leaving = false;
    loop {
        let read = tokio::select! {
            biased;
            read = reader.fill(&mut pipe) => read,
            changed = exited.changed(), if !leaving => {
                leaving = true;
                if changed.is_ok() {
                    reader.finish(&pipe).await;
                    reader.close(&drained);
                }
                continue;
            }
        };
        match read {
            Ok(0) => break,
            Ok(bytes) => {
                reader.digest(bytes).await;
                reader.pause(leaving).await;
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                session.condemn(Cause::Protocol("a frame was begun and not finished".into()));
                break;
            }
            Err(_) => break,
        }
    }
    if reader.decoder.is_partial() {
        count(&session.counters.partial_frames);
    }
    reader.close(&drained);
    if time::timeout(EOF_GRACE, exited.wait_for(|exited| *exited)).await.is_err() {
        session.condemn(Cause::Protocol("it closed its stdout".into()));
    }
}

struct Reader<'s> {
    session: &'s Arc<Session>,
    decoder: Decoder,
    stray: Bucket,
    stray_logged: u32,
    strikes: Bucket,
    logs: Bucket,
    logs_dropped: u64,
    unwanted: Bucket,
    asked: Bucket,
    notices: Bucket,
    waste: Bucket,
    /// Bytes dropped when the pauses were last reckoned, and when the present oversize frame began.
    discarded: u64,
    oversize_from: u64,
    /// How long nothing is to be read.
    owed: Duration,
    frames: usize,
    bytes: usize,
}

impl<'s> Reader<'s> {
    fn new(session: &'s Arc<Session>, now: Instant) -> Self {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        Self {
            session,
            decoder: Decoder::new(session.settings.framing, session.settings.max_frame),
            stray: Bucket::new(STRAY_PER_MINUTE, STRAY_PER_MINUTE, minute, now),
            stray_logged: 0,
            strikes: Bucket::new(STRIKES_PER_MINUTE, STRIKES_PER_MINUTE, minute, now),
            logs: Bucket::new(LOGS_BURST, LOGS_PER_SECOND, second, now),
            logs_dropped: 0,
            unwanted: Bucket::new(UNWANTED_BURST, UNWANTED_PER_SECOND, second, now),
            asked: Bucket::new(ASKED_BURST, ASKED_PER_SECOND, second, now),
            notices: Bucket::new(NOTICES_BURST, NOTICES_PER_SECOND, second, now),
            waste: Bucket::new(WASTE_BURST, WASTE_PER_SECOND, second, now),
            discarded: 0,
            oversize_from: 0,
            owed: Duration::ZERO,
            frames: 0,
            bytes: 0,
        }
    }

    /// Waits for bytes. Inside a frame the silence is bounded; between frames it is not, and no
    /// timer runs.
    async fn fill(&mut self, pipe: &mut pipe::Receiver) -> io::Result<usize> {
        let partial = self.decoder.is_partial();
        let read = pipe.read(self.decoder.space());
        if partial { time::timeout(limits::PARTIAL_FRAME_TIMEOUT, read).await? } else { read.await }
    }

    /// Takes what the process that is gone has left; a child of it may hold the other end.
    async fn finish(&mut self, pipe: &pipe::Receiver) {
        let mut remains = Remains::of(pipe);
        while let Some(bytes) = remains.take(self.decoder.space()) {
            self.digest(bytes).await;
        }
    }

    /// All is read that will be: who waits for an answer hears it here, and can go elsewhere before
    /// anybody else has looked at the end.
    fn close(&self, drained: &watch::Sender<bool>) {
        self.session.silent.cancel();
        drained.send_replace(true);
    }

    /// Handles every frame that is whole.
    async fn digest(&mut self, bytes: usize) {
        self.decoder.filled(bytes);
        self.bytes += bytes;
        while self.step() {
            self.frames += 1;
            if self.frames >= TURN_FRAMES || self.bytes >= TURN_BYTES {
                self.frames = 0;
                self.bytes = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Leaves the pipe alone for as long as floods have earned it. One that is past its end is only read.
    async fn pause(&mut self, leaving: bool) {
        let discarded = self.decoder.discarded();
        if discarded > self.discarded {
            let dropped = discarded - std::mem::replace(&mut self.discarded, discarded);
            self.owed = self.owed.max(self.waste.spend(dropped, clock::now()));
            if discarded - self.oversize_from > ENDLESS {
                self.oversize_from = discarded;
                let what = format!("a frame of more than {ENDLESS} bytes, and no end of it");
                self.session.condemn(Cause::Protocol(what));
            }
        }
        let owed = std::mem::take(&mut self.owed);
        if !owed.is_zero() && !leaving {
            self.decoder.rest();
            time::sleep(owed.min(PAUSE)).await;
        }
    }

    /// Handles one decoded thing; `false` when there is none.
    fn step(&mut self) -> bool {
        let Self { session, decoder, asked, notices, owed, .. } = self;
        let session = *session;
        let fault = match decoder.next() {
            None => return false,
            Some(Decoded::Frame(frame)) => match heard(session, Message::parse(frame)) {
                Ok(Message::Response { id: Some(id), outcome }) => {
                    match respond(session, &id, outcome.map(RawValue::to_owned)) {
                        Ok(()) => return true,
                        Err(what) => Fault::Violation(what),
                    }
                }
                Ok(Message::Response { id: None, outcome }) => {
                    let what = outcome.err().map_or_else(String::new, |error| error.to_string());
                    Fault::Violation(format!("it could not read a frame of ours: {what}"))
                }
                Ok(Message::Request { id, method, params }) => {
                    let id = id.into_owned();
                    if asked.take(clock::now()) {
                        inbound::accept(session, id, &method, params);
                        return true;
                    }
                    Fault::TooMany(id)
                }
                Ok(Message::Notification { method, params }) => match &*method {
                    method::LOG => {
                        *owed = (*owed).max(notices.spend(1, clock::now()));
                        Fault::Log(params.map(RawValue::to_owned))
                    }
                    other => match notice(session, other, params) {
                        // Its credit bounds it.
                        Noted::Used if other == method::STREAM_DATA => return true,
                        Noted::Used => {
                            *owed = (*owed).max(notices.spend(1, clock::now()));
                            return true;
                        }
                        Noted::Unwanted => Fault::Unwanted,
                        Noted::Violation(what) => Fault::Violation(what),
                    },
                },
                Err(error) if error.is_noise() => Fault::Stray(shown(frame)),
                Err(error) => Fault::Broken(error),
            },
            Some(Decoded::Noise { bytes }) => Fault::Stray(shown(bytes)),
            Some(Decoded::Oversize { salvaged_id, shape, discarded }) => {
                self.oversize_from = discarded;
                Fault::Oversize { id: salvaged_id, shape }
            }
            Some(Decoded::BadHeader(error)) => {
                session.condemn(Cause::Protocol(error.to_string()));
                return true;
            }
        };
        self.punish(fault);
        true
    }

    fn punish(&mut self, fault: Fault) {
        match fault {
            Fault::Log(params) => self.log(params.as_deref()),
            Fault::Unwanted => {
                self.owed = self.owed.max(self.notices.spend(1, clock::now()));
                count(&self.session.counters.dropped_notices);
                self.unwanted("useless notifications");
            }
            Fault::TooMany(id) => {
                inbound::refuse_quota(self.session, &id);
                self.unwanted("requests beyond its quota");
            }
            Fault::Stray(line) => self.stray(line),
            Fault::Violation(what) => self.strike(&what),
            Fault::Broken(error) => self.broken(&error),
            Fault::Oversize { id, shape } => self.oversize(id.as_ref(), shape),
        }
    }

    /// A frame above the cap, already discarded. If it may be an answer whose call cannot be told, that
    /// call would wait in vain, so the process ends; nothing but a flood looks like that anyway.
    fn oversize(&mut self, id: Option<&Id<'_>>, shape: Shape) {
        count(&self.session.counters.oversize_frames);
        let call = id.and_then(call_id);
        match (shape, call) {
            (Shape::Call, _) => {}
            (Shape::Answer | Shape::Unknown, Some(call)) => {
                self.session.answer(call, Answer::TooLarge);
            }
            (Shape::Answer | Shape::Unknown, None) => {
                let what = "a frame passed the size cap and names no call".to_owned();
                self.session.condemn(Cause::Protocol(what));
            }
        }
        self.strike("a frame passed the size cap");
    }

    /// A line that is no message: logged at first, counted always, tolerated up to a flood.
    fn stray(&mut self, line: String) {
        count(&self.session.counters.stray_lines);
        if self.stray_logged < STRAY_LOGGED {
            self.stray_logged += 1;
            self.record(LogSource::StrayStdout, Level::Warn, line, None);
            if self.stray_logged == STRAY_LOGGED {
                let what = "further stray lines on stdout are counted, not logged".to_owned();
                self.record(LogSource::Host, Level::Warn, what, None);
            }
        }
        if !self.stray.take(clock::now()) {
            let what = format!("more than {STRAY_PER_MINUTE} stray lines a minute on stdout");
            self.session.condemn(Cause::Protocol(what));
        }
    }

    /// Something that nobody wants: ignored or refused, up to a flood.
    fn unwanted(&mut self, what: &str) {
        if !self.unwanted.take(clock::now()) {
            let what = format!("more than {UNWANTED_PER_SECOND} {what} a second");
            self.session.condemn(Cause::Protocol(what));
        }
    }

    /// A frame that was meant as a message and is none.
    fn broken(&mut self, error: &ParseError) {
        let call = error.salvaged_id().and_then(call_id);
        if let (Shape::Answer, Some(call)) = (error.shape(), call) {
            self.session.answer(call, Answer::Garbled(error.to_string()));
        } else if error.is_answerable() {
            let mut bytes = Vec::new();
            if write::error(&mut bytes, error.answer_id(), &error.to_error_object()).is_ok() {
                self.session.settings.framing.close(&mut bytes, 0);
                // Bounded by the strikes.
                self.session.outbound.send(Frame { bytes, call: None }, Bound::Exempt).ok();
            }
        }
        self.strike(&error.to_string());
    }

    fn strike(&mut self, what: &str) {
        count(&self.session.counters.violations);
        let what = plain(what, Breaks::Escape);
        if self.strikes.take(clock::now()) {
            self.record(LogSource::Host, Level::Warn, what, None);
        } else {
            self.session.condemn(Cause::Protocol(format!("too many broken frames, last: {what}")));
        }
    }

    fn log(&mut self, params: Option<&RawValue>) {
        if !self.logs.take(clock::now()) {
            self.logs_dropped += 1;
            self.unwanted("log records beyond its quota");
            return;
        }
        if self.logs_dropped > 0 {
            let what =
                format!("{} log records were dropped", std::mem::take(&mut self.logs_dropped));
            self.record(LogSource::Host, Level::Warn, what, None);
        }
        match params.map(|params| serde_json::from_str::<Log>(params.get())) {
            Some(Ok(log)) => {
                let message = plain(&log.message, Breaks::Escape);
                self.record(LogSource::Notification, log.level, message, log.fields);
            }
            Some(Err(_)) | None => count(&self.session.counters.dropped_notices),
        }
    }

    fn record(
        &self,
        source: LogSource,
        level: Level,
        message: String,
        fields: Option<Box<RawValue>>,
    ) {
        self.session.sink.write(&LogRecord {
            plugin: self.session.label.plugin.clone(),
            instance: self.session.label.instance,
            source,
            level,
            message,
            fields,
        });
    }
}

/// What needs more than the session: budgets of this reader.
enum Fault {
    Log(Option<Box<RawValue>>),
    Unwanted,
    TooMany(Id<'static>),
    Stray(String),
    Violation(String),
    Broken(ParseError),
    Oversize { id: Option<Id<'static>>, shape: Shape },
}

/// Any message is a sign of life.
fn heard<T, E>(session: &Session, message: Result<T, E>) -> Result<T, E> {
    if message.is_ok() {
        session.probe.heard();
    }
    message
}

/// Gives an answer to whoever waits. The error is a fault of the plugin's.
fn respond(
    session: &Arc<Session>,
    id: &Id<'_>,
    outcome: Result<Box<RawValue>, plugbay_protocol::ErrorObject>,
) -> Result<(), String> {
    let Some(outcome) = session.probe.take(id, outcome) else { return Ok(()) };
    let opened = outcome.as_ref().map_or(Ok(Vec::new()), |result| session.open_streams(result));
    let (answer, fault) = match (outcome, opened) {
        (Ok(result), Ok(streams)) => (Answer::Result(result, streams), Ok(())),
        (Ok(_), Err(what)) => (Answer::Garbled(what.clone()), Err(what)),
        (Err(error), _) => (Answer::Error(error), Ok(())),
    };
    match call_id(id).map_or(Claim::Unknown, |id| session.answer(id, answer)) {
        Claim::Waiting(()) => {}
        Claim::Abandoned | Claim::Stale => count(&session.counters.late_responses),
        Claim::Unknown => count(&session.counters.unknown_responses),
    }
    fault
}

/// A notification other than `$/log`, and what became of it.
fn notice(session: &Session, method: &str, params: Option<&RawValue>) -> Noted {
    let wanted = match method {
        method::STREAM_DATA | method::STREAM_END | method::STREAM_ACK | method::STREAM_DROP => {
            return params.map_or(Noted::Unwanted, |params| stream::note(session, method, params));
        }
        method::PROGRESS => params.is_some_and(|params| progress(session, params)),
        method::CANCEL => params.is_some_and(|params| session.inbox.cancel(params)),
        _ => false,
    };
    if wanted { Noted::Used } else { Noted::Unwanted }
}

fn progress(session: &Session, params: &RawValue) -> bool {
    #[derive(serde::Deserialize)]
    struct Token<'a> {
        #[serde(borrow)]
        token: Id<'a>,
    }
    let Ok(Token { token }) = serde_json::from_str(params.get()) else { return false };
    let id = match &token {
        // The token of a start, which needs no `_meta` to be known.
        Id::Text(text) if text == method::INITIALIZE => Some(CallId::FIRST),
        Id::Text(_) | Id::Number(_) => call_id(&token),
    };
    let Some(id) = id else { return false };
    session.progress(id, || serde_json::from_str::<Progress>(params.get()).ok())
}

fn call_id(id: &Id<'_>) -> Option<CallId> {
    match id {
        Id::Number(number) => CallId::from_wire(*number),
        Id::Text(_) => None,
    }
}

fn shown(bytes: &[u8]) -> String {
    let piece = bytes.get(..STRAY_SHOWN).unwrap_or(bytes);
    let text = plain(String::from_utf8_lossy(piece).trim_end(), Breaks::Escape);
    if piece.len() < bytes.len() { format!("{text}… ({} bytes)", bytes.len()) } else { text }
}
