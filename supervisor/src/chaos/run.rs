//! Plays many rows, a few at once, each in a process of its own, and never longer than its bound.
//!
//! Whatever ends this process ends them too, and everything below them; nothing is left in the file
//! system but what a kill -9 of this very process leaves.

use std::{
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use nix::sys::signal::{SigSet, Signal};
use tempfile::TempDir;

use super::{
    clock::{Within, now, polled},
    play::Played,
    vitals,
};
use crate::env;

/// What a process may take beyond the bound of its row, for its start and its end.
const GRACE: Duration = Duration::from_secs(30);
/// What is kept of a process's last words.
const LAST_WORDS: usize = 2000;

/// One row to be played.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// The arguments of this program that play it.
    pub(crate) words: Vec<OsString>,
    /// When it is given up.
    pub(crate) bound: Duration,
}

/// What came of one.
#[derive(Debug)]
pub(crate) struct Done {
    /// Which of the jobs.
    pub(crate) index: usize,
    /// What its process told.
    pub(crate) played: Played,
    /// How long it took.
    pub(crate) took: Duration,
}

/// What all players share.
#[derive(Debug)]
struct Table {
    queue: Mutex<VecDeque<(usize, Job)>>,
    playing: Mutex<BTreeMap<u32, OwnedFd>>,
    interrupted: AtomicBool,
    directory: PathBuf,
    program: PathBuf,
}

/// Plays them all; `told` hears of each as it is done. The error is that it was interrupted.
pub(crate) fn all(
    jobs: Vec<Job>,
    at_once: usize,
    told: impl Fn(&Done) + Sync,
) -> io::Result<Option<Vec<Done>>> {
    let directory = directory()?;
    let table = Arc::new(Table {
        queue: Mutex::new(jobs.into_iter().enumerate().collect()),
        playing: Mutex::default(),
        interrupted: AtomicBool::new(false),
        directory: directory.path().to_owned(),
        program: env::own_program()?,
    });
    watch(&table)?;
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..at_once.max(1) {
            scope.spawn(|| {
                while let Some((index, job)) = table.next() {
                    let began = now();
                    let played = table.play(&job);
                    let one = Done { index, played, took: began.elapsed() };
                    told(&one);
                    lock(&done).push(one);
                }
            });
        }
    });
    drop(directory);
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|one| one.index);
    Ok((!table.interrupted.load(Ordering::Relaxed)).then_some(done))
}

/// A directory for all of them, which every user can enter.
fn directory() -> io::Result<TempDir> {
    let directory = tempfile::Builder::new().prefix("plugbay-chaos-").tempdir()?;
    super::ground::open(directory.path(), 0o755)?;
    Ok(directory)
}

/// Ends the players when somebody wants us to end.
fn watch(table: &Arc<Table>) -> io::Result<()> {
    let ends: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    ends.thread_block()?;
    let table = table.clone();
    let wait = move || {
        if ends.wait().is_ok() {
            table.interrupted.store(true, Ordering::Relaxed);
            lock(&table.queue).clear();
            for process in lock(&table.playing).values() {
                kill(process);
            }
        }
    };
    thread::Builder::new().name("chaos-signals".to_owned()).spawn(wait).map(drop)
}

fn kill(process: &OwnedFd) {
    // It may have ended.
    plugbay_sandbox::process::signal(process.as_fd(), Signal::SIGKILL as i32).ok();
}

impl Table {
    fn next(&self) -> Option<(usize, Job)> {
        lock(&self.queue).pop_front()
    }

    fn play(&self, job: &Job) -> Played {
        match self.start(job) {
            Ok(child) => self.hear(child, job.bound + GRACE),
            Err(error) => Played::broken(format!("its process did not start: {error}")),
        }
    }

    fn start(&self, job: &Job) -> io::Result<Child> {
        #[expect(clippy::disallowed_methods, reason = "the host under test is this very program")]
        let mut command = Command::new(&self.program);
        command.args(&job.words).env("TMPDIR", &self.directory);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }

    /// Waits for a player and what it tells, not longer than it may take.
    fn hear(&self, mut child: Child, bound: Duration) -> Played {
        let process = i32::try_from(child.id()).ok().and_then(vitals::open);
        let Some(process) = process else {
            return Played::broken("its process cannot be watched");
        };
        if let Ok(twin) = process.try_clone() {
            lock(&self.playing).insert(child.id(), twin);
        }
        if self.interrupted.load(Ordering::Relaxed) {
            kill(&process);
        }
        let (told, said) = (child.stdout.take(), child.stderr.take());
        let told = thread::spawn(move || told.map(read).unwrap_or_default());
        let said = thread::spawn(move || said.map(read).unwrap_or_default());
        let ended = Within::of(bound).readable(&mut [polled(process.as_fd())]);
        if !ended {
            kill(&process);
        }
        let status = child.wait();
        lock(&self.playing).remove(&child.id());
        let told = told.join().unwrap_or_default();
        let said = said.join().unwrap_or_default();
        if let Ok(played) = serde_json::from_str::<Played>(told.trim()) {
            return played;
        }
        let how = match status {
            _ if !ended => format!("was still at it after {bound:.0?} and was killed"),
            Ok(status) => format!("ended with {status}"),
            Err(error) => format!("was lost: {error}"),
        };
        Played::broken(format!("the host of this row {how}; it said: {}", said.trim()))
    }
}

/// Everything that a stream says, its end at least.
fn read(mut stream: impl io::Read) -> String {
    let (mut kept, mut chunk) = (Vec::new(), [0; 8192]);
    while let Ok(count) = stream.read(&mut chunk)
        && count > 0
    {
        kept.extend_from_slice(chunk.get(..count).unwrap_or_default());
        let over = kept.len().saturating_sub(64 * LAST_WORDS);
        kept.drain(..over);
    }
    String::from_utf8_lossy(&kept).into_owned()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Below whom this process is started: what ends that one ends this one.
pub(crate) fn follow_parent() {
    // Without it, a row outlives a killed `plugbay chaos` until its own bound.
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).ok();
}
