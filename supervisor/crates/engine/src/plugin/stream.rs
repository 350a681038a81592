//! The streams of one session: what arrives is kept for whoever takes it, what is sent waits for
//! credit. The account of that is the protocol's ([`Credit`], [`Window`]); here are those who wait.
//!
//! ```text
//!   plugin ── data, end ──► Inlet ◄── Intake ── next()          ack at half a window, drop when dropped
//!   plugin ◄── data, end ── Outlet ◄── Output ◄── pump ◄── Source: a caller's upload, or an Intake
//!          ── ack, drop ──►
//! ```
//!
//! A stream passed on between two plugins is an [`Intake`] of one session pumped into an [`Output`] of
//! the other: nothing is taken from the one before the other has room.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use plugbay_protocol::{
    Code, ErrorObject, limits, method,
    stream::{self, Ack, Content, Credit, Data, Drop as DropNotice, End, Found, Frame, Kind, Text},
    stream::{Violation, Window},
    write,
};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::{
    sync::{Notify, mpsc},
    time,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Label,
    calls::CallId,
    death::{Cause, Ending},
    lock,
    outbound::{self, Bound, SendError},
    session::Session,
};

/// Streams of a plugin's that are open at once; one more is not taken.
const MAX_OPEN: usize = 1024;
/// Notices about streams that wait for a plugin that does not read, before it is killed for it. An
/// honest one cannot cause so many: without reading what was acknowledged it may not go on.
const MAX_UNREAD: u32 = 4096;

/// Why a stream ended before its end.
#[derive(Debug, Clone)]
pub(crate) enum Broken {
    /// Its producer said so.
    Failed(ErrorObject),
    /// The other end broke the rules.
    Violated(Violation),
    /// The process of the other end is gone.
    Lost(Arc<Ending>),
    /// Nothing came for this long.
    Idle(Duration),
}

impl Broken {
    /// As it is said to a plugin that takes the stream of another.
    fn to_error_object(&self) -> ErrorObject {
        match self {
            Self::Failed(error) => error.clone(),
            Self::Violated(what) => ErrorObject::new(Code::ProtocolViolation, what.to_string()),
            Self::Lost(ending) => {
                let what = format!("the plugin ended during the stream: {}", ending.cause);
                ErrorObject::new(Code::Crashed, what)
            }
            Self::Idle(after) => {
                let what = format!("the stream brought nothing for {after:.1?}");
                ErrorObject::new(Code::DeadlineExceeded, what)
            }
        }
    }
}

/// The streams that are open, in both directions.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    table: Mutex<Table>,
    unread: AtomicU32,
}

#[derive(Debug, Default)]
struct Table {
    incoming: HashMap<String, Arc<Inlet>>,
    outgoing: HashMap<u64, Arc<Outlet>>,
    /// The last number given to a stream of ours.
    last: u64,
    ended: Option<Arc<Ending>>,
}

/// Where a stream of the plugin's arrives.
#[derive(Debug)]
struct Inlet {
    id: String,
    kind: Kind,
    state: Mutex<Inflow>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Inflow {
    window: Window,
    frames: VecDeque<Content>,
    over: Option<Result<(), Broken>>,
}

impl Inlet {
    fn finish(&self, how: Result<(), Broken>) {
        lock(&self.state).over.get_or_insert(how);
        self.arrived.notify_one();
    }
}

/// A stream of ours to the plugin, as far as credit goes.
#[derive(Debug)]
struct Outlet {
    /// The call it is a parameter of, whose idle deadline it resets.
    call: Option<CallId>,
    state: Mutex<Outflow>,
    moved: Notify,
}

#[derive(Debug, Default)]
struct Outflow {
    credit: Credit,
    over: bool,
}

impl Outlet {
    fn finish(&self) {
        lock(&self.state).over = true;
        self.moved.notify_one();
    }
}

impl Streams {
    /// Whether none is open.
    pub(crate) fn is_empty(&self) -> bool {
        let table = lock(&self.table);
        table.incoming.is_empty() && table.outgoing.is_empty()
    }

    /// The process is gone.
    pub(crate) fn end(&self, ending: &Arc<Ending>) {
        let mut table = lock(&self.table);
        table.ended = Some(ending.clone());
        let incoming = std::mem::take(&mut table.incoming);
        let outgoing = std::mem::take(&mut table.outgoing);
        drop(table);
        incoming.into_values().for_each(|inlet| inlet.finish(Err(Broken::Lost(ending.clone()))));
        outgoing.into_values().for_each(|outlet| outlet.finish());
    }

    fn inlet(&self, id: &str) -> Option<Arc<Inlet>> {
        lock(&self.table).incoming.get(id).cloned()
    }

    fn close_inlet(&self, id: &str) -> Option<Arc<Inlet>> {
        lock(&self.table).incoming.remove(id)
    }

    fn outlet(&self, id: &str) -> Option<(u64, Arc<Outlet>)> {
        let number = id.strip_prefix('h')?.parse().ok()?;
        lock(&self.table).outgoing.get(&number).map(|outlet| (number, outlet.clone()))
    }
}

/// What became of a notice about a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// It was of use.
    Used,
    /// It is about no open stream, or cannot be read.
    Unwanted,
    /// It breaks the rules.
    Violation(String),
}

/// Takes a notice of the plugin's.
pub(crate) fn note(session: &Session, method: &str, params: &RawValue) -> Noted {
    if !session.has_streams() {
        return Noted::Unwanted;
    }
    let text = params.get();
    let noted = match method {
        method::STREAM_DATA => serde_json::from_str(text).ok().map(|data| arrive(session, &data)),
        method::STREAM_END => serde_json::from_str(text).ok().map(|end| finish(session, end)),
        method::STREAM_ACK => serde_json::from_str(text).ok().map(|ack| credit(session, &ack)),
        _ => serde_json::from_str(text).ok().map(|unwanted| forgo(session, &unwanted)),
    };
    noted.unwrap_or(Noted::Unwanted)
}

fn arrive(session: &Session, data: &Data<'_>) -> Noted {
    let Some(inlet) = session.streams.inlet(&data.id) else { return Noted::Unwanted };
    let received = data.content(inlet.kind).and_then(|(content, size)| {
        let mut state = lock(&inlet.state);
        state.window.receive(data.seq, size)?;
        state.frames.push_back(content);
        Ok(())
    });
    match received {
        Ok(()) => {
            inlet.arrived.notify_one();
            Noted::Used
        }
        Err(what) => {
            inlet.finish(Err(Broken::Violated(what)));
            session.forgo(&inlet.id);
            Noted::Violation(what.to_string())
        }
    }
}

fn finish(session: &Session, end: End<'_>) -> Noted {
    let Some(inlet) = session.streams.close_inlet(&end.id) else { return Noted::Unwanted };
    inlet.finish(end.error.map_or(Ok(()), |error| Err(Broken::Failed(error))));
    session.hush();
    Noted::Used
}

fn credit(session: &Session, ack: &Ack<'_>) -> Noted {
    let Some((number, outlet)) = session.streams.outlet(&ack.id) else { return Noted::Unwanted };
    if let Err(what) = lock(&outlet.state).credit.acknowledge(ack.seq) {
        drop(lock(&session.streams.table).outgoing.remove(&number));
        outlet.finish();
        return Noted::Violation(what.to_string());
    }
    outlet.moved.notify_one();
    if let Some(call) = outlet.call {
        session.progress(call, || None);
    }
    Noted::Used
}

fn forgo(session: &Session, unwanted: &DropNotice<'_>) -> Noted {
    let Some((number, outlet)) = session.streams.outlet(&unwanted.id) else {
        return Noted::Unwanted;
    };
    drop(lock(&session.streams.table).outgoing.remove(&number));
    outlet.finish();
    Noted::Used
}

/// What a call brings along beside its text: the streams of its parameters, and room for those of its
/// result.
#[derive(Debug, Default)]
pub(crate) struct Luggage {
    /// By the id that the parameters name them by. Taken when the call is sent.
    pub(crate) sources: Mutex<Vec<(String, Source)>>,
    pub(crate) received: Mutex<Vec<Intake>>,
}

impl Luggage {
    /// Of these streams of parameters.
    pub(crate) fn of(sources: impl IntoIterator<Item = (String, Source)>) -> Self {
        Self { sources: Mutex::new(sources.into_iter().collect()), received: Mutex::default() }
    }

    /// The streams of the result.
    pub(crate) fn unpack(&self) -> Vec<Intake> {
        std::mem::take(&mut *lock(&self.received))
    }
}

/// Where the content of a stream of ours comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A caller in this process.
    Upload(mpsc::Receiver<Part>),
    /// Another plugin, which may be silent for so long.
    Relay(Intake, Duration),
}

/// What a caller puts into a stream. One that just stops has not finished.
#[derive(Debug)]
pub(crate) enum Part {
    Content(Content),
    End(Option<ErrorObject>),
}

impl Source {
    async fn next(&mut self) -> Result<Option<Content>, ErrorObject> {
        match self {
            Self::Upload(parts) => match parts.recv().await {
                Some(Part::Content(content)) => Ok(Some(content)),
                Some(Part::End(None)) => Ok(None),
                Some(Part::End(Some(error))) => Err(error),
                None => {
                    let what = "its producer stopped before the end";
                    Err(ErrorObject::new(Code::RequestCancelled, what))
                }
            },
            Self::Relay(intake, idle) => {
                intake.next(*idle).await.map_err(|broken| broken.to_error_object())
            }
        }
    }
}

/// The taking end of a stream. Dropping it says that the rest is not wanted.
pub(crate) struct Intake {
    inlet: Arc<Inlet>,
    session: Arc<Session>,
    /// Keeps the streams of the call's parameters going; gone with the last stream of its result.
    pub(crate) call: Option<Arc<DropGuard>>,
}

impl Intake {
    /// The plugin's name for it.
    pub(crate) fn id(&self) -> &str {
        &self.inlet.id
    }

    /// Whose it is.
    pub(crate) fn label(&self) -> &Label {
        &self.session.label
    }

    pub(crate) fn kind(&self) -> Kind {
        self.inlet.kind
    }

    /// As what another plugin is sent, by this name.
    pub(crate) fn relay(self, idle: Duration) -> (String, Source) {
        (self.id().to_owned(), Source::Relay(self, idle))
    }

    /// Takes what comes next; `None` at the end. Waits no longer than `idle`.
    pub(crate) async fn next(&mut self, idle: Duration) -> Result<Option<Content>, Broken> {
        let inlet = self.inlet.clone();
        let arrival = async {
            loop {
                if let Some(taken) = self.take() {
                    return taken;
                }
                inlet.arrived.notified().await;
            }
        };
        let Ok(taken) = time::timeout(idle, arrival).await else {
            self.inlet.finish(Err(Broken::Idle(idle)));
            self.session.forgo(&self.inlet.id);
            self.call = None;
            return Err(Broken::Idle(idle));
        };
        if !matches!(taken, Ok(Some(_))) {
            self.call = None;
        }
        taken
    }

    fn take(&self) -> Option<Result<Option<Content>, Broken>> {
        let mut state = lock(&self.inlet.state);
        let Some(content) = state.frames.pop_front() else {
            return state.over.clone().map(|how| how.map(|()| None));
        };
        let ack = state.window.take().filter(|_| state.over.is_none());
        drop(state);
        if let Some(seq) = ack {
            let notice = Ack { id: self.inlet.id.as_str().into(), seq };
            self.session.tell(method::STREAM_ACK, &notice);
        }
        Some(Ok(Some(content)))
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        if lock(&self.inlet.state).over.is_none() {
            self.session.forgo(&self.inlet.id);
        }
    }
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").field("inlet", &self.inlet).finish_non_exhaustive()
    }
}

/// The sending end of a stream.
pub(crate) struct Output {
    number: u64,
    outlet: Arc<Outlet>,
    session: Arc<Session>,
}

impl Output {
    fn name(&self) -> String {
        name(self.number)
    }

    /// Sends content when there is credit for it; `false` when no more is wanted.
    async fn send(&self, content: &Content) -> Result<bool, ErrorObject> {
        let unsayable = |what: String| ErrorObject::new(Code::InternalError, what);
        let text = Text::new(content).map_err(|what| unsayable(what.to_string()))?;
        let seq = loop {
            {
                let mut state = lock(&self.outlet.state);
                if state.over {
                    return Ok(false);
                }
                if state.credit.may_send() {
                    break state.credit.send(text.size());
                }
            }
            self.outlet.moved.notified().await;
        };
        let name = self.name();
        let bytes = self
            .session
            .framed(method::STREAM_DATA, &Frame::new(&name, seq, &text))
            .ok_or_else(|| ErrorObject::new(Code::FrameTooLarge, "an item passes the frame cap"))?;
        self.session.outbound.send_patiently(outbound::Frame { bytes, call: None }).await;
        Ok(true)
    }

    /// Says that there is no more, or why there is less than there should be.
    fn end(&self, error: Option<ErrorObject>) {
        if !lock(&self.outlet.state).over {
            self.session.tell(method::STREAM_END, &End { id: self.name().into(), error });
        }
    }

    /// Completes when no more is wanted.
    async fn over(&self) {
        while !lock(&self.outlet.state).over {
            self.outlet.moved.notified().await;
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        drop(lock(&self.session.streams.table).outgoing.remove(&self.number));
        self.session.hush();
    }
}

fn name(number: u64) -> String {
    format!("h{number}")
}

/// Streams of ours that a message refers to, to be set going once it has been sent.
#[derive(Default)]
pub(crate) struct Outgoing(Vec<(Output, String, Source)>);

impl Outgoing {
    /// Sets them going. They end with `until`.
    pub(crate) fn start(self, until: &CancellationToken) {
        for (output, _, source) in self.0 {
            let tasks = output.session.tasks.clone();
            tasks.spawn(pump(source, output, until.clone()));
        }
    }

    /// Sets them going, if there are any. They end with what it gives.
    pub(crate) fn start_guarded(self) -> Option<Arc<DropGuard>> {
        if self.0.is_empty() {
            return None;
        }
        let until = CancellationToken::new();
        self.start(&until);
        Some(Arc::new(until.drop_guard()))
    }

    /// Gives the sources back, by their names: the message was not sent.
    pub(crate) fn undo(self) -> Vec<(String, Source)> {
        self.0.into_iter().map(|(_, name, source)| (name, source)).collect()
    }
}

/// Sends what comes out of `source` until either end has enough, or the call is over.
async fn pump(mut source: Source, output: Output, until: CancellationToken) {
    let work = async {
        loop {
            let content = tokio::select! {
                biased;
                () = output.over() => return None,
                content = source.next() => content,
            };
            let sent = match content {
                Ok(Some(content)) => output.send(&content).await,
                Ok(None) => return Some(None),
                Err(error) => return Some(Some(error)),
            };
            match sent {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Some(error)),
            }
        }
    };
    let end = tokio::select! {
        biased;
        () = output.session.over.cancelled() => None,
        end = work => end,
        // Who took it may not have heard that the call is over.
        () = until.cancelled() => {
            Some(Some(ErrorObject::new(Code::RequestCancelled, "the call is over")))
        }
    };
    if let Some(error) = end {
        output.end(error);
    }
}

/// References of a message, as they are found in its text.
impl Session {
    /// Opens the streams that the plugin's message refers to. It must be called before the message's
    /// successor is read: that may be the first frame.
    pub(crate) fn open_streams(self: &Arc<Self>, text: &RawValue) -> Result<Vec<Intake>, String> {
        if !self.has_streams() {
            return Ok(Vec::new());
        }
        let found = stream::find(text.get());
        if found.is_empty() {
            return Ok(Vec::new());
        }
        let mut table = lock(&self.streams.table);
        if let Some(why) = refusal(&table, &found) {
            return Err(why);
        }
        let over = table.ended.clone().map(|ending| Err(Broken::Lost(ending)));
        let opened = found.into_iter().map(|Found { id, kind, .. }| {
            let state = Mutex::new(Inflow { over: over.clone(), ..Inflow::default() });
            let inlet = Arc::new(Inlet { id: id.clone(), kind, state, arrived: Notify::new() });
            if over.is_none() {
                table.incoming.insert(id, inlet.clone());
            }
            Intake { inlet, session: self.clone(), call: None }
        });
        Ok(opened.collect())
    }

    /// Puts names of ours in place of those by which `text` refers to `sources`. `None` when it refers
    /// to none.
    pub(crate) fn refer(
        self: &Arc<Self>,
        text: &RawValue,
        sources: &mut Vec<(String, Source)>,
        call: Option<CallId>,
    ) -> Result<Option<(Box<RawValue>, Outgoing)>, String> {
        if !self.has_streams() {
            return if sources.is_empty() { Ok(None) } else { Err("it takes no streams".into()) };
        }
        let found = stream::find(text.get());
        if found.is_empty() {
            return Ok(None);
        }
        for Found { id, .. } in &found {
            if !sources.iter().any(|(name, _)| name == id) {
                return Err(format!("`{id}` is no stream that comes with it"));
            }
        }
        let mut outgoing = Outgoing::default();
        for Found { id, .. } in &found {
            let place = sources.iter().position(|(name, _)| name == id);
            let Some((name, source)) = place.map(|place| sources.swap_remove(place)) else {
                return Err(format!("`{id}` is referred to twice"));
            };
            outgoing.0.push((self.output(call), name, source));
        }
        let names: Vec<String> = outgoing.0.iter().map(|(output, ..)| output.name()).collect();
        let text = stream::replace(text.get(), &found, &names);
        let text = RawValue::from_string(text).map_err(|error| error.to_string())?;
        Ok(Some((text, outgoing)))
    }

    fn output(self: &Arc<Self>, call: Option<CallId>) -> Output {
        let outlet = Arc::new(Outlet { call, state: Mutex::default(), moved: Notify::new() });
        let mut table = lock(&self.streams.table);
        table.last += 1;
        let number = table.last;
        if table.ended.is_some() {
            outlet.finish();
        } else {
            table.outgoing.insert(number, outlet.clone());
        }
        Output { number, outlet, session: self.clone() }
    }

    /// Ends every stream that the plugin still sends: the host has waited long enough.
    pub(crate) fn cut_streams(&self) {
        let incoming = std::mem::take(&mut lock(&self.streams.table).incoming);
        for inlet in incoming.into_values() {
            let error = ErrorObject::new(Code::Draining, "the plugin is being stopped");
            inlet.finish(Err(Broken::Failed(error)));
            self.tell(method::STREAM_DROP, &DropNotice { id: inlet.id.as_str().into() });
        }
        self.hush();
    }

    /// The rest of a stream of the plugin's is not wanted.
    fn forgo(&self, id: &str) {
        if self.streams.close_inlet(id).is_some() {
            self.tell(method::STREAM_DROP, &DropNotice { id: id.into() });
            self.hush();
        }
    }

    /// Sends a short notice about a stream, also to a plugin whose queue is full: there are few of
    /// them, unless it sends on and on and reads nothing.
    fn tell(&self, method: &str, notice: &impl Serialize) {
        let Some(bytes) = self.framed(method, notice) else { return };
        let frame = outbound::Frame { bytes, call: None };
        let unread = &self.streams.unread;
        if self.outbound.is_roomy(frame.bytes.len()) {
            unread.store(0, Ordering::Relaxed);
        } else if unread.fetch_add(1, Ordering::Relaxed) >= MAX_UNREAD {
            let what = "it streams on and on and does not read what it is answered";
            return self.condemn(Cause::Protocol(what.into()));
        }
        match self.outbound.send(frame, Bound::Exempt) {
            // A plugin that is gone needs no notice.
            Ok(()) | Err(SendError::Closed | SendError::Full) => {}
        }
    }

    /// A notification as it goes over the wire, if it can.
    fn framed(&self, method: &str, params: &impl Serialize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        write::notification(&mut bytes, method, params).ok()?;
        if bytes.len() > self.settings.max_frame {
            return None;
        }
        self.settings.framing.close(&mut bytes, 0);
        Some(bytes)
    }
}

fn refusal(table: &Table, found: &[Found]) -> Option<String> {
    if found.len() > limits::STREAMS_PER_MESSAGE {
        return Some(format!("it refers to {} streams", found.len()));
    }
    if table.incoming.len() + found.len() > MAX_OPEN {
        return Some(format!("{MAX_OPEN} streams are open already"));
    }
    let twice = found.iter().enumerate().find(|(place, Found { id, .. })| {
        let before = found.iter().take(*place);
        table.incoming.contains_key(id) || before.into_iter().any(|other| other.id == *id)
    });
    twice.map(|(_, Found { id, .. })| format!("the stream id `{id}` is in use"))
}
