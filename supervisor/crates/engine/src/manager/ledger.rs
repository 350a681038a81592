//! The ledger: what happens to plugins, written into the store by a thread of its own.
//!
//! Nobody waits for it. A note goes into a bounded queue; one that finds no room is lost, and that
//! is counted, in the store too. Of one plugin's calls only so many are noted in a second: nobody
//! reads the records of a hundred thousand, and one second of them would push out all others. A
//! store that cannot be written costs records and a warning, never a call.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant, SystemTime},
};

use plugbay_sandbox::{Denial, Hit};
use plugbay_store::{Change, InFlight, Keep, Next, Record, Run, RunId, StoreError, Usage, Writer};
use tokio::{sync::watch, time};

use super::{
    report::{CallReport, Notes},
    standing,
};
use crate::{
    clock,
    lifecycle::{
        identity::{Generation, InstanceId},
        slot::Standing,
    },
    plugin::{
        death::{Cause, Death},
        lock,
        text::{Breaks, plain},
    },
};

/// Notes that may be under way to the thread.
const QUEUE: usize = 1024;
/// Calls of one plugin noted in one second, of either kind.
const CALLS_PER_SECOND: u64 = 20;
/// Notes written at once.
const BATCH: usize = 512;
/// How long the first note of a batch waits for others.
const GATHER: Duration = Duration::from_millis(50);
/// The store is pruned after so many records, and by every so many'th host that opens it: many
/// hosts live for one call.
const PRUNE_AFTER: usize = 512;
const PRUNING_RUN: i64 = 16;
/// How long the end of a host waits for what is still to be written.
const FAREWELL: Duration = Duration::from_secs(2);

/// How the store does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStatus {
    /// Records written by this host.
    pub written: u64,
    /// Records that could not be kept.
    pub lost: u64,
    /// Why the store cannot be written, if it cannot.
    pub error: Option<String>,
}

/// A hold on the ledger; one without a store takes every note and keeps none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger(Option<Arc<Desk>>);

#[derive(Debug)]
struct Desk {
    /// Nothing instead of a note says that no more will come.
    notes: SyncSender<Option<Note>>,
    shared: Arc<Shared>,
    done: watch::Receiver<bool>,
}

/// What may be noted of one plugin's calls in a second: so many that succeeded, and so many that did
/// not, which the others cannot crowd out.
#[derive(Debug)]
pub(crate) struct Share {
    epoch: Instant,
    good: AtomicU64,
    bad: AtomicU64,
}

impl Share {
    /// The share of one plugin.
    pub(crate) fn new(epoch: Instant) -> Self {
        Self { epoch, good: AtomicU64::new(0), bad: AtomicU64::new(0) }
    }

    /// Takes one from the share of this second, if something is left of it.
    fn take(&self, good: bool, now: Instant) -> bool {
        const COUNT: u64 = 0xff;
        let share = if good { &self.good } else { &self.bad };
        let second = now.saturating_duration_since(self.epoch).as_secs() << 8;
        let next = |seen: u64| match seen & COUNT {
            _ if seen & !COUNT != second => Some(second + 1),
            count if count < CALLS_PER_SECOND => Some(seen + 1),
            _ => None,
        };
        share.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

/// What both sides look at.
#[derive(Debug, Default)]
struct Shared {
    /// Lost, and not yet said in the store.
    unsaid: AtomicU64,
    lost: AtomicU64,
    written: AtomicU64,
    closing: AtomicBool,
    error: Mutex<Option<String>>,
}

/// What the thread is told.
#[derive(Debug)]
enum Note {
    Died { plugin: Arc<str>, version: Arc<str>, death: Arc<Death> },
    Called { plugin: Arc<str>, method: Arc<str>, notes: Box<Notes> },
    Stood { plugin: Arc<str>, version: Arc<str>, at: SystemTime, standing: Box<Standing> },
    Changed { plugin: Arc<str>, instance: Option<InstanceId>, at: SystemTime, step: Step },
}

/// From which state into which, and why.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    pub(crate) why: Arc<str>,
}

impl Ledger {
    /// A ledger in the store at `path`, which is opened by and by.
    pub(crate) fn open(path: PathBuf, host: String, version: String) -> Self {
        let (notes, queue) = sync_channel(QUEUE);
        let (finished, done) = watch::channel(false);
        let shared = Arc::new(Shared::default());
        let run = Run { at: clock::wall(), host, version, pid: std::process::id() };
        let clerk = Clerk { path, run, shared: shared.clone(), open: None, unpruned: 0 };
        let thread = std::thread::Builder::new().name("plugbay-store".to_owned());
        if let Err(error) = thread.spawn(move || clerk.run(&queue, &finished)) {
            *lock(&shared.error) = Some(format!("no thread for the store: {error}"));
        }
        Self(Some(Arc::new(Desk { notes, shared, done })))
    }

    /// Notes how an instance ended.
    pub(crate) fn died(&self, plugin: &Arc<str>, version: &str, death: &Arc<Death>) {
        self.note(|| Note::Died {
            plugin: plugin.clone(),
            version: version.into(),
            death: death.clone(),
        });
    }

    /// Notes how a call went, unless the plugin's share of this second is used up.
    pub(crate) fn called(&self, share: &Share, course: (&Arc<str>, &Arc<str>), notes: &Notes) {
        if self.0.is_none() || !share.take(notes.error.is_none(), clock::now()) {
            return;
        }
        let (plugin, method) = (course.0.clone(), course.1.clone());
        self.note(|| Note::Called { plugin, method, notes: Box::new(notes.clone()) });
    }

    /// Notes that a plugin is in another state.
    pub(crate) fn changed(&self, plugin: &Arc<str>, instance: Option<InstanceId>, step: Step) {
        let (plugin, at) = (plugin.clone(), clock::wall());
        self.note(|| Note::Changed { plugin, instance, at, step });
    }

    /// Notes how a plugin stands with the restart policy now.
    pub(crate) fn stands(&self, plugin: &Arc<str>, version: &str, standing: Standing) {
        self.note(|| Note::Stood {
            plugin: plugin.clone(),
            version: version.into(),
            at: clock::wall(),
            standing: Box::new(standing),
        });
    }

    fn note(&self, note: impl FnOnce() -> Note) {
        let Some(desk) = &self.0 else { return };
        if desk.notes.try_send(Some(note())).is_err() {
            desk.shared.lose(1);
        }
    }

    /// How the store does; `None` without one.
    pub(crate) fn status(&self) -> Option<StoreStatus> {
        self.0.as_ref().map(|desk| desk.shared.status())
    }

    /// Nothing more comes: waits until everything is written, for a short time.
    pub(crate) async fn close(&self) {
        let Some(desk) = &self.0 else { return };
        desk.shared.closing.store(true, Ordering::Release);
        // In a full queue there is no room, and the thread sees the flag.
        desk.notes.try_send(None).ok();
        let mut done = desk.done.clone();
        drop(time::timeout(FAREWELL, done.wait_for(|done| *done)).await);
    }
}

impl Shared {
    fn lose(&self, records: u64) {
        self.unsaid.fetch_add(records, Ordering::Relaxed);
        self.lost.fetch_add(records, Ordering::Relaxed);
    }

    fn status(&self) -> StoreStatus {
        StoreStatus {
            written: self.written.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            error: lock(&self.error).clone(),
        }
    }
}

/// The thread's side.
#[derive(Debug)]
struct Clerk {
    path: PathBuf,
    run: Run,
    shared: Arc<Shared>,
    open: Option<(Writer, RunId)>,
    unpruned: usize,
}

impl Clerk {
    fn run(mut self, queue: &Receiver<Option<Note>>, finished: &watch::Sender<bool>) {
        loop {
            let (records, last) = gather(queue, &self.shared.closing);
            if !records.is_empty() {
                self.write(records);
            }
            if last {
                break;
            }
        }
        // Closing the file may take longer than somebody wants to wait.
        finished.send_replace(true);
    }

    fn write(&mut self, mut records: Vec<Record>) {
        let told = u64::try_from(records.len()).unwrap_or(u64::MAX);
        let unsaid = self.shared.unsaid.swap(0, Ordering::Relaxed);
        if unsaid > 0 {
            records.push(Record::Loss { at: clock::wall(), records: unsaid });
        }
        match self.try_write(&records) {
            Ok(()) => {
                self.shared.written.fetch_add(told, Ordering::Relaxed);
                *lock(&self.shared.error) = None;
            }
            Err(error) => {
                if !matches!(error, StoreError::Full { .. } | StoreError::Busy { .. }) {
                    self.open = None;
                }
                self.shared.lose(told);
                self.shared.unsaid.fetch_add(unsaid, Ordering::Relaxed);
                let text = error.to_string();
                let before = lock(&self.shared.error).replace(text.clone());
                if before.as_ref() != Some(&text) {
                    tracing::warn!(error = text, "store could not be written");
                }
            }
        }
    }

    fn try_write(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let (writer, run) = match &mut self.open {
            Some((writer, run)) => (writer, *run),
            None => {
                let mut writer = Writer::open(&self.path, Keep::default())?;
                let run = writer.begin(&self.run)?;
                if run.number() % PRUNING_RUN == 0 {
                    self.unpruned = PRUNE_AFTER;
                }
                let open = self.open.insert((writer, run));
                (&mut open.0, open.1)
            }
        };
        writer.write(run, records)?;
        self.unpruned += records.len();
        if self.unpruned >= PRUNE_AFTER {
            self.unpruned = 0;
            writer.prune(clock::wall())?;
        }
        Ok(())
    }
}

/// Waits for a note and takes those that follow it closely. Says whether it was the last time.
fn gather(queue: &Receiver<Option<Note>>, closing: &AtomicBool) -> (Vec<Record>, bool) {
    let mut records = Vec::new();
    let is_closing = || closing.load(Ordering::Acquire);
    let mut next = if is_closing() {
        queue.recv_timeout(Duration::ZERO)
    } else {
        queue.recv().map_err(RecvTimeoutError::from)
    };
    let until = clock::now() + GATHER;
    loop {
        match next {
            Ok(Some(note)) => records.push(record(note)),
            Ok(None) | Err(RecvTimeoutError::Disconnected) => return (records, true),
            Err(RecvTimeoutError::Timeout) => return (records, is_closing()),
        }
        if records.len() >= BATCH {
            return (records, false);
        }
        let left = until.saturating_duration_since(clock::now());
        next = queue.recv_timeout(if is_closing() { Duration::ZERO } else { left });
    }
}

fn record(note: Note) -> Record {
    match note {
        Note::Died { plugin, version, death } => {
            Record::Death(Box::new(died(&plugin, &version, &death)))
        }
        Note::Called { plugin, method, notes } => {
            let report = notes.into_report(plugin, method, clock::now(), clock::wall());
            Record::Call(Box::new(called(&report)))
        }
        Note::Stood { plugin, version, at, standing } => {
            Record::Standing(Box::new(standing::row(&plugin, &version, at, &standing)))
        }
        Note::Changed { plugin, instance, at, step } => Record::Change(Change {
            plugin: plugin.to_string(),
            instance: instance.map(InstanceId::number),
            at,
            from: step.from.to_owned(),
            to: step.to.to_owned(),
            why: step.why.to_string(),
        }),
    }
}

fn died(plugin: &str, version: &str, death: &Death) -> plugbay_store::Death {
    let in_flight = death.in_flight.iter();
    plugbay_store::Death {
        plugin: plugin.to_owned(),
        version: version.to_owned(),
        generation: death.generation.number(),
        instance: death.instance.number(),
        at: death.at,
        pid: death.pid,
        cause: death.cause.token(),
        words: death.to_string(),
        requested: death.cause == Cause::Requested,
        before_hello: death.before_hello,
        uptime: death.uptime,
        in_flight: in_flight
            .map(|call| InFlight { method: call.method.to_string(), age: call.age })
            .collect(),
        calls_lost: u64::try_from(death.calls_lost).unwrap_or(u64::MAX),
        limits: death.limits.iter().map(hit).collect(),
        denials: death.denials.kinds().iter().map(denial).collect(),
        denied_more: death.denials.others(),
        usage: death.usage.map(|usage| Usage {
            user: usage.user,
            system: usage.system,
            max_rss: usage.max_rss,
        }),
        memory_peak: death.memory_peak,
        next: death.next.map(|next| Next { state: next.state.to_owned(), after: next.after }),
        stderr: death.stderr_tail.to_string(),
    }
}

fn called(report: &CallReport) -> plugbay_store::Call {
    let line = |text: &str| plain(text, Breaks::Escape);
    let callers: Vec<&str> = report.metadata.callers.iter().map(|caller| &**caller).collect();
    plugbay_store::Call {
        plugin: report.plugin.to_string(),
        method: line(&report.method),
        at: report.started,
        duration: report.duration,
        waited: report.waited,
        attempts: report.attempts,
        outcome: report.outcome().to_owned(),
        error: report.error.as_ref().map(|error| line(&error.kind().to_string())),
        traceback: report.traceback().map(|text| plain(&text, Breaks::Keep)),
        instance: report.instance.map(InstanceId::number),
        generation: report.generation.map(Generation::number),
        bytes_in: report.bytes_in,
        bytes_out: report.bytes_out,
        progress: report.progress,
        cpu: report.cpu,
        callers: (!callers.is_empty()).then(|| callers.join(" → ")),
        traceparent: report.metadata.traceparent.as_deref().map(line),
    }
}

fn denial(denial: &Denial) -> plugbay_store::Denial {
    let path = denial.path.as_ref().map(|path| path.to_string_lossy());
    plugbay_store::Denial {
        layer: denial.layer.name().to_owned(),
        rule: denial.rule.clone(),
        syscall: denial.syscall.clone(),
        path: path.map(|path| plain(&path, Breaks::Escape)),
        times: denial.count,
        // Of texts and numbers; it can always be written.
        details: serde_json::to_string(denial).unwrap_or_default(),
    }
}

fn hit(hit: &Hit) -> plugbay_store::Hit {
    plugbay_store::Hit {
        limit: hit.limit.name().to_owned(),
        value: hit.value,
        peak: hit.peak,
        times: hit.times,
        by: hit.by.words().to_owned(),
        words: hit.to_string(),
    }
}
