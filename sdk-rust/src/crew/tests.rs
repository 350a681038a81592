//! The crew on work made up for it: what is read comes from a channel, and a job is a function. What it
//! does for real plugins is in `tests/`.

use super::*;
use std::sync::atomic::AtomicUsize;
use std::sync::mpsc::{self, Receiver, Sender};

type Reader = Receiver<(bool, Job)>;
type Job = Box<dyn FnOnce(&Arc<Made>) + Send>;

/// Work whose reader is a channel of jobs, each claimed to be quick or not.
struct Made {
    crew: Crew<Self>,
    ended: AtomicUsize,
}

impl Work for Made {
    type Reader = Reader;
    type Job = (bool, Job);

    fn crew(&self) -> &Crew<Self> {
        &self.crew
    }

    fn read(self: &Arc<Self>, reader: &mut Reader, deadline: Option<Instant>) -> Step<Self> {
        let Some(deadline) = deadline else {
            return reader.recv().map_or(Step::End, Step::Job);
        };
        match reader.recv_timeout(deadline.saturating_duration_since(clock::now())) {
            Ok(job) => Step::Job(job),
            Err(mpsc::RecvTimeoutError::Timeout) => Step::Late,
            Err(mpsc::RecvTimeoutError::Disconnected) => Step::End,
        }
    }

    fn run(self: &Arc<Self>, (_, job): (bool, Job)) {
        job(self);
    }

    fn is_quick(&self, (quick, _): &(bool, Job)) -> bool {
        *quick
    }

    fn awaits(&self) -> bool {
        false
    }

    fn flush(&self) {}

    fn end(self: &Arc<Self>) {
        self.ended.fetch_add(1, Ordering::SeqCst);
    }
}

fn start(limit: usize) -> (Sender<(bool, Job)>, Arc<Made>, thread::JoinHandle<()>) {
    let (send, reader) = mpsc::channel();
    let crew = Crew::new(reader);
    crew.set_limit(limit);
    let made = Arc::new(Made { crew, ended: AtomicUsize::new(0) });
    let work = Arc::clone(&made);
    (send, made, thread::spawn(move || serve(&work)))
}

/// A job that ends when told to, and says when it has begun.
fn held() -> (Job, Receiver<()>, Sender<()>) {
    let (begun, says) = mpsc::channel();
    let (release, told) = mpsc::channel::<()>();
    let job = move |_: &Arc<Made>| {
        begun.send(()).unwrap();
        told.recv().unwrap_or_default();
    };
    (Box::new(job), says, release)
}

#[test]
fn every_job_is_done_and_the_end_comes_once() {
    let (send, made, home) = start(8);
    let (says, heard) = mpsc::channel();
    for _ in 0..50 {
        let says = says.clone();
        let job = move |_: &Arc<Made>| says.send(()).unwrap();
        send.send((true, Box::new(job))).unwrap();
    }
    drop((says, send));
    assert_eq!(heard.iter().count(), 50);
    home.join().unwrap();
    assert_eq!(made.ended.load(Ordering::SeqCst), 1);
}

#[test]
fn reading_goes_on_whatever_a_job_claimed() {
    for quick in [true, false] {
        let (send, _made, home) = start(8);
        let holds: Vec<_> = (0..4)
            .map(|_| {
                let (job, begun, release) = held();
                send.send((quick, job)).unwrap();
                // Read although all those before it still run.
                begun.recv().unwrap();
                release
            })
            .collect();
        drop(holds);
        drop(send);
        home.join().unwrap();
    }
}

#[test]
fn no_more_jobs_run_than_the_limit_and_none_is_lost() {
    let (send, made, home) = start(2);
    let (first, begun, release_first) = held();
    send.send((false, first)).unwrap();
    begun.recv().unwrap();
    let (second, begun, release_second) = held();
    send.send((false, second)).unwrap();
    begun.recv().unwrap();
    let (third, begun, release_third) = held();
    send.send((false, third)).unwrap();
    assert!(begun.try_recv().is_err());
    drop(release_first);
    begun.recv().unwrap();
    assert_eq!(lock(&made.crew.state).running, 2);
    drop((release_second, release_third, send));
    home.join().unwrap();
    assert!(lock(&made.crew.state).threads <= 3);
}

#[test]
fn a_job_that_waits_leads_and_gives_away_what_it_reads() {
    let (send, _made, home) = start(4);
    let ticket = Arc::new(Ticket::default());
    let awaited = Arc::clone(&ticket);
    let waits = move |work: &Arc<Made>| assert!(wait(work, &awaited, None));
    send.send((true, Box::new(waits))).unwrap();
    let (job, begun, release) = held();
    send.send((true, job)).unwrap();
    begun.recv().unwrap();
    let settles = move |_: &Arc<Made>| {
        ticket.settle(Err(crate::error::CallError::withdrawn()));
    };
    send.send((true, Box::new(settles))).unwrap();
    drop((release, send));
    home.join().unwrap();
}

#[test]
fn a_wait_ends_in_time() {
    let (send, _made, home) = start(4);
    let (says, heard) = mpsc::channel();
    let waits = move |work: &Arc<Made>| {
        let soon = clock::now() + Duration::from_millis(5);
        says.send(wait(work, &Ticket::default(), Some(soon))).unwrap();
    };
    send.send((true, Box::new(waits))).unwrap();
    assert!(!heard.recv().unwrap());
    drop(send);
    home.join().unwrap();
}

#[test]
fn jobs_from_outside_are_done_while_the_leader_reads() {
    let (send, made, home) = start(4);
    let (job, begun, release) = held();
    push(&made, (true, job));
    begun.recv().unwrap();
    let (job, _begun, _release) = held();
    made.crew.set_limit(1);
    push(&made, (true, job));
    assert!(made.crew.withdraw(|_| true).is_some(), "nobody had begun it");
    drop((release, send));
    home.join().unwrap();
}

#[test]
fn a_watcher_leads_only_if_nothing_moved() {
    let mut watch = Watch { seen: 1, quiet: 0 };
    assert_eq!(watch.look(2, true), Look::Stay, "another job");
    assert_eq!(watch.look(2, false), Look::Stay, "somebody reads");
    assert_eq!(watch.look(2, true), Look::Lead);
    for _ in 2..QUIET {
        assert_eq!(watch.look(2, false), Look::Stay);
    }
    assert_eq!(watch.look(2, false), Look::Sleep);
}

#[test]
fn pace_is_that_of_the_last_job_without_its_waiting() {
    let pace = Pace::unknown();
    assert!(!pace.is_quick());
    pace.learn(clock::now(), Duration::ZERO);
    assert!(pace.is_quick());
    let long_ago = clock::now().checked_sub(Duration::from_secs(1)).unwrap();
    pace.learn(long_ago, Duration::ZERO);
    assert!(!pace.is_quick());
    pace.learn(long_ago, Duration::from_secs(2));
    assert!(pace.is_quick());
}
