//! The ledger: what happens to plugins, written into the store by a thread of its own.
//!
//! Nobody waits for it. A note goes into a bounded queue; one that finds no room is lost, and that
//! is counted, in the store too. So is a call beyond what is kept of one plugin in a second: at a
//! hundred thousand calls a second nobody reads their records, and a second of them fills a
//! plugin's share. A store that cannot be written costs records and a warning, never a call.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, SystemTime},
};

use plugbay_sandbox::Hit;
use plugbay_store::{Change, InFlight, Keep, Next, Record, Run, RunId, StoreError, Usage, Writer};
use tokio::{sync::watch, time};

use crate::{
    clock,
    lifecycle::identity::InstanceId,
    plugin::{
        death::{Cause, Death},
        lock,
    },
};

/// Notes that may be under way to the thread.
const QUEUE: usize = 1024;
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
    Died { plugin: Arc<str>, version: Arc<str>, death: Arc<Death>, next: Next },
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

    /// Notes how an instance ended, and what was decided then.
    pub(crate) fn died(
        &self,
        plugin: &Arc<str>,
        version: &str,
        death: &Arc<Death>,
        (state, after): (&str, Option<Duration>),
    ) {
        self.note(|| Note::Died {
            plugin: plugin.clone(),
            version: version.into(),
            death: death.clone(),
            next: Next { state: state.to_owned(), after },
        });
    }

    /// Notes that a plugin is in another state.
    pub(crate) fn changed(&self, plugin: &Arc<str>, instance: Option<InstanceId>, step: Step) {
        let (plugin, at) = (plugin.clone(), clock::wall());
        self.note(|| Note::Changed { plugin, instance, at, step });
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
        Note::Died { plugin, version, death, next } => {
            Record::Death(Box::new(died(&plugin, &version, &death, next)))
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

fn died(plugin: &str, version: &str, death: &Death, next: Next) -> plugbay_store::Death {
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
        usage: death.usage.map(|usage| Usage {
            user: usage.user,
            system: usage.system,
            max_rss: usage.max_rss,
        }),
        memory_peak: death.memory_peak,
        next: Some(next),
        stderr: death.stderr_tail.to_string(),
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
