//! The threads of a session, and which of them reads: leader and followers.
//!
//! Exactly one thread at a time, the *leader*, has the reader. Handing each call to a worker through a
//! queue would cost two thread switches per call, several times what a small call takes. So the leader
//! runs what it has read itself. Before it does, it puts the reader back, for whoever needs it first:
//!
//! ```text
//!               job read            done, and the reader is still there
//!     ► leading ────────► running ─────────────────────────────────────► leading
//!          ▲                 │ done, and somebody else leads
//!          │ summoned, or    ▼
//!          └──────────── following   at most one of these watches
//! ```
//!
//! If the job is not known to be quick, a follower is *summoned* at once and leads meanwhile. If it is,
//! nobody is, and a call costs no thread switch at all; one follower, the *watcher*, looks every [`TICK`]
//! and leads if the same job has been running since its last look. So a ping is answered and a
//! cancellation heard however long a handler takes. After [`QUIET`] looks without any job the watcher
//! goes to sleep for good, until the next job rings for it: an idle plugin never wakes up.
//!
//! A job that waits for the host leads while it waits, if nobody does: the answer then needs no switch
//! either. Threads are started when all others are busy, never more than the limit and one to read.
//!
//! Not here: what is read, and what a job is ([`Work`] knows).

use crate::call::Ticket;
use crate::{clock, lock};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

/// What a crew does its work for.
pub(crate) trait Work: Sized + Send + Sync + 'static {
    /// What the leader reads from.
    type Reader: Send;
    /// What threads do besides reading.
    type Job: Send;

    /// The crew that works for this.
    fn crew(&self) -> &Crew<Self>;

    /// Reads a little, blocking if there is nothing, until `deadline` if there is one.
    fn read(self: &Arc<Self>, reader: &mut Self::Reader, deadline: Option<Instant>) -> Step<Self>;

    /// Does a job. Must not panic.
    fn run(self: &Arc<Self>, job: Self::Job);

    /// Whether to expect a job to be done before another thread could be woken for it.
    fn is_quick(&self, job: &Self::Job) -> bool;

    /// Whether anything is waited for that only reading brings.
    fn awaits(&self) -> bool;

    /// Lets out the answers held back to go out together.
    fn flush(&self);

    /// Winds up after the end, on one thread.
    fn end(self: &Arc<Self>);
}

/// What reading a little brought.
pub(crate) enum Step<W: Work> {
    /// A job.
    Job(W::Job),
    /// Something that was dealt with at once, or nothing whole.
    Nothing,
    /// Nothing, and the deadline has come.
    Late,
    /// There is nothing more to read.
    End,
}

/// How often the watcher looks. Two looks decide, so a quick job that is not keeps the host waiting for
/// a ping at most twice this.
const TICK: Duration = Duration::from_millis(5);

/// Looks without any job after which the watcher goes to sleep.
const QUIET: u32 = 10;

/// The threads that work for a `W`.
pub(crate) struct Crew<W: Work> {
    state: Mutex<State<W>>,
    /// Rung for followers.
    bell: Condvar,
    /// Set when there is a job the leader did not read, so that it looks up.
    stir: AtomicBool,
}

struct State<W: Work> {
    /// There when nobody leads.
    reader: Option<W::Reader>,
    leader: Option<ThreadId>,
    ready: VecDeque<W::Job>,
    /// Jobs being done at once, at most.
    limit: usize,
    running: usize,
    threads: usize,
    /// Threads that follow.
    idle: usize,
    /// Followers called for and not come yet.
    summons: usize,
    watched: bool,
    /// A watcher is wanted.
    rung: bool,
    /// Times the reader was put back, as the watcher's clock.
    turn: u64,
    /// Nothing more will be read.
    over: bool,
    winding_up: bool,
    ended: bool,
    /// The thread that must return is doing a job.
    home_busy: bool,
}

type Guard<'a, W> = MutexGuard<'a, State<W>>;

impl<W: Work> Crew<W> {
    /// A crew of nobody yet, for one job at a time until [`Crew::set_limit`] says otherwise.
    pub(crate) fn new(reader: W::Reader) -> Self {
        let state = State {
            reader: Some(reader),
            leader: None,
            ready: VecDeque::new(),
            limit: 1,
            running: 0,
            threads: 1,
            idle: 0,
            summons: 0,
            watched: false,
            rung: false,
            turn: 0,
            over: false,
            winding_up: false,
            ended: false,
            home_busy: false,
        };
        Self { state: Mutex::new(state), bell: Condvar::new(), stir: AtomicBool::new(false) }
    }

    /// Has at most `limit` jobs done at once.
    pub(crate) fn set_limit(&self, limit: usize) {
        lock(&self.state).limit = limit.max(1);
    }

    /// Takes a job back that nobody has begun.
    pub(crate) fn withdraw(&self, wanted: impl Fn(&W::Job) -> bool) -> Option<W::Job> {
        let mut state = lock(&self.state);
        let position = state.ready.iter().position(wanted)?;
        state.ready.remove(position)
    }

    /// Whether the thread that called [`serve`] is doing a job, and so cannot return.
    pub(crate) fn is_home_busy(&self) -> bool {
        lock(&self.state).home_busy
    }

    fn wait<'a>(&self, state: Guard<'a, W>) -> Guard<'a, W> {
        self.bell.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows until summoned, until the watch shows a need, or until the end.
    fn follow<'a>(&self, mut state: Guard<'a, W>) -> Guard<'a, W> {
        state.idle += 1;
        let mut watch: Option<Watch> = None;
        while !state.over {
            if state.summons > 0 {
                state.summons -= 1;
                break;
            }
            if std::mem::take(&mut state.rung) && !state.watched {
                state.watched = true;
                watch = Some(Watch { seen: state.turn, quiet: 0 });
            }
            let Some(watching) = &mut watch else {
                state = self.wait(state);
                continue;
            };
            let waited = self.bell.wait_timeout(state, TICK);
            let timeout;
            (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            if timeout.timed_out() {
                match watching.look(state.turn, state.reader.is_some()) {
                    Look::Lead => break,
                    Look::Stay => {}
                    Look::Sleep => {
                        state.watched = false;
                        watch = None;
                    }
                }
            }
        }
        if watch.is_some() {
            state.watched = false;
        }
        state.idle -= 1;
        state
    }

    /// Makes sure that somebody watches.
    fn ring(&self, state: &mut State<W>) {
        if !state.watched && !state.rung && state.idle > state.summons {
            state.rung = true;
            self.bell.notify_one();
        }
    }
}

/// What a watcher remembers between two looks.
#[derive(Debug)]
struct Watch {
    seen: u64,
    quiet: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// The same job has been running since the last look: lead.
    Lead,
    /// All is well.
    Stay,
    /// All is quiet.
    Sleep,
}

impl Watch {
    fn look(&mut self, turn: u64, leaderless: bool) -> Look {
        let unchanged = std::mem::replace(&mut self.seen, turn) == turn;
        if unchanged && leaderless {
            return Look::Lead;
        }
        self.quiet = if unchanged { self.quiet + 1 } else { 0 };
        if self.quiet < QUIET { Look::Stay } else { Look::Sleep }
    }
}

/// Reads and works until the end; other threads join as needed.
pub(crate) fn serve<W: Work>(work: &Arc<W>) {
    let mut state = attend(work, true);
    while !state.ended {
        state = work.crew().wait(state);
    }
}

/// Gives the crew a job from outside its reading.
pub(crate) fn push<W: Work>(work: &Arc<W>, job: W::Job) {
    let crew = work.crew();
    let mut state = lock(&crew.state);
    state.ready.push_back(job);
    crew.stir.store(true, Ordering::SeqCst);
    // The leader looks up by itself when it has pushed this.
    if state.leader != Some(thread::current().id()) {
        muster(work, &mut state);
    }
}

/// Makes sure of a second thread, so that the first job need not.
pub(crate) fn prepare<W: Work>(work: &Arc<W>) {
    let mut state = lock(&work.crew().state);
    if state.threads == 1 {
        hire(work, &mut state);
    }
}

/// Blocks a job until `ticket` is settled; `false` if `deadline` came first. Leads meanwhile, if nobody
/// else does.
pub(crate) fn wait<W: Work>(work: &Arc<W>, ticket: &Ticket, deadline: Option<Instant>) -> bool {
    let crew = work.crew();
    while !ticket.is_settled() {
        let mut state = lock(&crew.state);
        let Some(mut reader) = state.reader.take() else {
            drop(state);
            return ticket.wait(deadline);
        };
        state.leader = Some(thread::current().id());
        drop(state);
        let step = lead(work, &mut reader, deadline, || ticket.is_settled());
        let mut state = lock(&crew.state);
        let late = matches!(step, Step::Late);
        stand_down(work, &mut state, reader, step);
        // What this thread leaves behind must not wait for the watcher.
        if !state.ready.is_empty() || work.awaits() {
            muster(work, &mut state);
        } else {
            crew.ring(&mut state);
        }
        if state.over && !state.winding_up && state.idle == 0 {
            // Somebody must wind up even if this job never ends.
            hire(work, &mut state);
        }
        drop(state);
        if late {
            return ticket.is_settled();
        }
    }
    true
}

/// What a thread of the crew does all its life. Returns with the lock held, at the end.
fn attend<W: Work>(work: &Arc<W>, home: bool) -> Guard<'_, W> {
    let crew = work.crew();
    let me = thread::current().id();
    let mut state = lock(&crew.state);
    let mut flushed = true;
    loop {
        if let Some(job) = next_job(work, &mut state) {
            state = perform(work, state, job, home);
            flushed = false;
        } else if state.over {
            if std::mem::replace(&mut state.winding_up, true) {
                return state;
            }
            drop(state);
            work.end();
            state = lock(&crew.state);
            state.ended = true;
            crew.bell.notify_all();
            return state;
        } else if let Some(mut reader) = state.reader.take() {
            state.leader = Some(me);
            drop(state);
            let step = lead(work, &mut reader, None, || false);
            state = lock(&crew.state);
            stand_down(work, &mut state, reader, step);
            flushed = false;
        } else if !std::mem::replace(&mut flushed, true) {
            // Looks again afterwards: what is missed in between, nobody rings for.
            drop(state);
            work.flush();
            state = lock(&crew.state);
        } else {
            state = crew.follow(state);
        }
    }
}

/// Reads until there is a job, or an end, or something else to do.
fn lead<W: Work>(
    work: &Arc<W>,
    reader: &mut W::Reader,
    deadline: Option<Instant>,
    enough: impl Fn() -> bool,
) -> Step<W> {
    let crew = work.crew();
    loop {
        match work.read(reader, deadline) {
            Step::Nothing if enough() || crew.stir.swap(false, Ordering::SeqCst) => {
                return Step::Nothing;
            }
            Step::Nothing => {}
            step @ (Step::Job(_) | Step::Late | Step::End) => return step,
        }
    }
}

/// Ends a lead: puts the reader back, and the job where it will be found.
fn stand_down<W: Work>(work: &Arc<W>, state: &mut State<W>, reader: W::Reader, step: Step<W>) {
    state.leader = None;
    state.turn = state.turn.wrapping_add(1);
    match step {
        Step::Job(job) => state.ready.push_back(job),
        Step::Nothing | Step::Late => {}
        Step::End => {
            state.over = true;
            work.crew().bell.notify_all();
            return;
        }
    }
    state.reader = Some(reader);
}

/// The next job, if this thread may begin it: there must be one left to read.
fn next_job<W: Work>(work: &Arc<W>, state: &mut State<W>) -> Option<W::Job> {
    if state.ready.is_empty() || state.running >= state.limit {
        return None;
    }
    let alone = state.threads == 1;
    if state.running + 1 >= state.threads && !state.over && !hire(work, state) && !alone {
        return None;
    }
    state.ready.pop_front()
}

fn perform<'a, W: Work>(
    work: &'a Arc<W>,
    mut state: Guard<'a, W>,
    job: W::Job,
    home: bool,
) -> Guard<'a, W> {
    let crew = work.crew();
    let quick = work.is_quick(&job);
    state.running += 1;
    state.home_busy |= home;
    if !state.ready.is_empty() {
        muster(work, &mut state);
    }
    if state.reader.is_some() {
        if quick {
            crew.ring(&mut state);
        } else {
            summon(work, &mut state);
        }
    }
    drop(state);
    if !quick {
        work.flush();
    }
    work.run(job);
    if !quick {
        work.flush();
    }
    let mut state = lock(&crew.state);
    state.running -= 1;
    state.home_busy &= !home;
    state
}

/// Calls for a thread to do what is ready.
fn muster<W: Work>(work: &Arc<W>, state: &mut State<W>) {
    if state.running < state.limit || state.reader.is_some() {
        summon(work, state);
    }
}

/// Calls for a thread to look what is to be done.
fn summon<W: Work>(work: &Arc<W>, state: &mut State<W>) {
    if state.idle > state.summons {
        state.summons += 1;
        work.crew().bell.notify_one();
    } else {
        hire(work, state);
    }
}

/// Starts a thread, unless there are enough. If that is refused, which the limits of a sandbox may do,
/// the crew makes do with the threads there are.
fn hire<W: Work>(work: &Arc<W>, state: &mut State<W>) -> bool {
    if state.threads > state.limit && !state.over {
        return false;
    }
    let name = format!("plugbay-{}", state.threads);
    let shared = Arc::clone(work);
    match thread::Builder::new().name(name).spawn(move || drop(attend(&shared, false))) {
        Ok(_joined_by_nobody) => {
            state.threads += 1;
            true
        }
        Err(_) => {
            state.limit = state.threads.saturating_sub(1).max(1);
            false
        }
    }
}

/// How long a job took, on its own account: what it spent waiting for the host is left out.
#[derive(Debug)]
pub(crate) struct Pace {
    quick: AtomicBool,
}

/// What a job may take and still be quick: some times what it costs to wake a thread.
const QUICK: Duration = Duration::from_micros(50);

impl Pace {
    /// Not known, which is not quick.
    pub(crate) fn unknown() -> Self {
        Self { quick: AtomicBool::new(false) }
    }

    pub(crate) fn is_quick(&self) -> bool {
        self.quick.load(Ordering::Relaxed)
    }

    /// Learns from a job that began at `begun` and waited for `waited`.
    pub(crate) fn learn(&self, begun: Instant, waited: Duration) {
        let quick = clock::now().saturating_duration_since(begun) <= QUICK + waited;
        if quick != self.is_quick() {
            self.quick.store(quick, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests;
