//! The life of one process: launched, greeted, used, ended.
//!
//! One task. It obeys the manager's orders, reports what happens, and sees to it that the end is
//! told in the right order: first to everyone who waits for an answer (at once), then to the
//! manager (the tree may take longer), last as a record.
//!
//! ```text
//! launch ──► greet ──hello──► serve ──────────────────► end ──► record
//!    │         │                │ main process gone,     ▲
//!    │         └── mute, refused, gone ── condemned ─────┤
//!    └── never ran ──────────────────────────────────────┘
//! ```

mod wreck;

use std::{
    fmt, io,
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use plugbay_broker::Rules;
use plugbay_manifest::Manifest;
use plugbay_protocol::{
    handshake::{Grants, Hello, Initialize, feature},
    method,
    notice::Level,
};
use plugbay_sandbox::{Enforcement, Spec, Tally};
use serde_json::value::RawValue;
use tokio::{
    net::unix::pipe,
    sync::{mpsc, watch},
    task::JoinSet,
    time,
};

use self::wreck::Wreck;
use super::{
    Label,
    death::{Cause, Death, Ending, InFlight},
    gate::{Gate, Pass},
    handshake,
    outbound::Outbound,
    outside::{self, Refusals},
    probe, reader,
    session::{Call, Failure, Manners, Parts, Session, Trace},
    stderr::{self, Tail},
};
use crate::{
    clock,
    lifecycle::{instance::Fitness, limiter::Lane},
    link::{Boxed, Exited, Launched, Launcher, Process},
    log::{LogRecord, LogSource},
};

/// A plugin that reports progress may take longer to start, but not longer than this.
const LONGEST_START: Duration = Duration::from_secs(300);
/// How long one that is killed for its silence may take to say what it was doing.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long the keeper may take to start a process. If it starts one later, it is let go at once.
const LAUNCH: Duration = Duration::from_secs(20);
/// How long a start keeps its place among those under way once the process runs. Four that hang must
/// not hold up everybody else for as long as they may hang.
const PLACE_HELD: Duration = Duration::from_secs(2);
/// How long whatever follows an end waits for those who lost a call by it: they go on to a spare by
/// themselves, and on a machine with few processors all that follows would be done before them.
const COURTESY: Duration = Duration::from_millis(1);
/// How long callers wait for the cause after the process is seen to be gone.
const SETTLE: Duration = Duration::from_millis(80);
/// How long the pipes of a process that is gone are read.
const LEFTOVERS: Duration = Duration::from_millis(500);
/// How long a plugin that closed its stdin may take to be gone.
const BROKEN_GRACE: Duration = Duration::from_millis(500);
/// How long the answer to `shutdown` is waited for here; the slot has its own, shorter bound.
const SHUTDOWN: Duration = Duration::from_secs(60);

/// Makes the spec, looking at the file system; runs on a thread that may block.
pub(crate) type SpecMaker = Box<dyn FnOnce() -> Result<Prepared, Cause> + Send>;

/// What is started, and what is said about it.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) spec: Spec,
    /// What the plugin is told of its grants.
    pub(crate) grants: Grants,
    /// What was found on the way to its program, for the report.
    pub(crate) notes: Vec<String>,
}

/// All that is needed to run a process.
pub(crate) struct Plan {
    pub(crate) parts: Parts,
    pub(crate) spec: SpecMaker,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) initialize: Initialize,
    pub(crate) start_timeout: Duration,
    pub(crate) launcher: Arc<dyn Launcher>,
    /// Where it waits for its turn to start, and in which lane.
    pub(crate) gate: Arc<Gate>,
    pub(crate) lane: Lane,
}

/// What the manager wants of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Drain,
    Shutdown,
    CloseInput,
    Terminate,
    Kill,
}

/// What happens to a process.
#[derive(Debug)]
pub(crate) enum Report {
    /// It runs.
    Running { pid: Option<u32>, enforcement: Arc<Enforcement> },
    /// It was refused something new; this is all of it so far.
    Denied(Arc<Tally>),
    /// It takes calls.
    Ready { session: Arc<Session>, hello: Option<Arc<Hello>> },
    /// It is as well as this now, and why.
    Fitness(Fitness, Arc<str>),
    /// Its main process is gone, or it was condemned.
    Dying,
    /// Nobody waits for an answer.
    Drained,
    /// It answered `shutdown`.
    ShutDown,
    /// Its tree is gone.
    Exited(Box<Death>),
}

/// Where reports go.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    pub(crate) label: Label,
    pub(crate) sender: mpsc::Sender<(Label, Report)>,
}

impl Reporter {
    /// Sends a report; a manager that is gone needs none.
    pub(super) async fn send(&self, report: Report) {
        self.sender.send((self.label.clone(), report)).await.ok();
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("parts", &self.parts).finish_non_exhaustive()
    }
}

/// Runs a process to its end; a panic on the way is an end as well.
pub(crate) async fn run(plan: Plan, mut orders: mpsc::Receiver<Order>, reporter: Reporter) {
    let born = clock::now();
    let label = plan.parts.label.clone();
    let mut wreck = None;
    let lived = wreck::caught(life(plan, &mut orders, &reporter, &mut wreck)).await;
    let death = match (lived, wreck) {
        (Ok(death), _) => death,
        (Err(cause), Some(wreck)) => wreck.clear(cause, &mut orders, &reporter, born).await,
        (Err(cause), None) => never_ran(&label, cause, born),
    };
    reporter.send(Report::Exited(Box::new(death))).await;
}

/// The whole life. What `wreck` is given can be cleared away if the rest falls over.
async fn life(
    plan: Plan,
    orders: &mut mpsc::Receiver<Order>,
    reporter: &Reporter,
    wreck: &mut Option<Wreck>,
) -> Death {
    let born = clock::now();
    let label = plan.parts.label.clone();
    let (spec, launcher) = (plan.spec, plan.launcher);
    let mut greeting = Greeting {
        manifest: plan.manifest,
        initialize: plan.initialize,
        timeout: plan.start_timeout,
        pass: None,
    };
    let launched = tokio::select! {
        biased;
        // Whatever the order is, nothing has been started that it could be about.
        _order = orders.recv() => Err(Cause::Requested),
        pass = plan.gate.clone().enter(plan.lane) => {
            greeting.pass = Some(pass);
            launch(spec, &*launcher).await
        }
    };
    if launched.as_ref().is_err_and(Cause::is_shortage) {
        plan.gate.close();
    }
    let opened = match launched {
        Ok((launched, grants, rules)) => {
            greeting.initialize.grants = grants;
            if launched.enforcement.is_unsealed() {
                warn(&plan.parts, "level none: it runs without a sandbox");
            }
            Instance::open(launched, rules, plan.parts, reporter.clone(), born).await
        }
        Err(cause) => Err(cause),
    };
    match opened {
        Ok(mut instance) => {
            *wreck = Some(instance.wreck());
            let sentence = instance.live(greeting, orders).await;
            instance.end(sentence, orders).await
        }
        Err(cause) => never_ran(&label, cause, born),
    }
}

/// A warning of ours among what the plugin says.
fn warn(parts: &Parts, message: &str) {
    parts.sink.write(&LogRecord {
        plugin: parts.label.plugin.clone(),
        instance: parts.label.instance,
        source: LogSource::Host,
        level: Level::Warn,
        message: message.to_owned(),
        fields: None,
    });
}

fn never_ran(label: &Label, cause: Cause, born: Instant) -> Death {
    Death {
        generation: label.generation,
        instance: label.instance,
        pid: None,
        cause,
        before_hello: true,
        at: clock::wall(),
        uptime: clock::now().saturating_duration_since(born),
        calls_lost: 0,
        in_flight: Vec::new(),
        limits: Vec::new(),
        denials: Arc::default(),
        next: None,
        stderr_tail: "".into(),
        usage: None,
        memory_peak: None,
    }
}

/// Makes the spec and has it started. An error means that nothing is left of it.
async fn launch(
    spec: SpecMaker,
    launcher: &dyn Launcher,
) -> Result<(Launched, Grants, Rules), Cause> {
    let Prepared { spec, grants, notes } = tokio::task::spawn_blocking(spec)
        .await
        .map_err(|error| refused("resolve", error.to_string()))??;
    let rules = outside::rules(&spec)?;
    let launched = time::timeout(LAUNCH, launcher.launch(spec)).await.map_err(|_elapsed| {
        let message = format!("the keeper did not answer within {LAUNCH:?}");
        Cause::Launch { stage: "keeper".to_owned(), errno: libc::EAGAIN, message }
    })?;
    let mut launched = launched?;
    Arc::make_mut(&mut launched.enforcement).notes.extend(notes);
    Ok((launched, grants, rules))
}

/// What is said first, and what is made of the answer.
struct Greeting {
    manifest: Arc<Manifest>,
    initialize: Initialize,
    timeout: Duration,
    /// Given back when the plugin has answered, or takes long.
    pass: Option<Pass>,
}

struct Instance {
    process: Arc<Process>,
    session: Arc<Session>,
    reporter: Reporter,
    tail: Arc<Tail>,
    gone: watch::Sender<bool>,
    stdout: watch::Receiver<bool>,
    stderr: watch::Receiver<bool>,
    tasks: JoinSet<()>,
    denials: Refusals,
    denials_told: u64,
    born: Instant,
    greeted: bool,
    requested: bool,
}

impl Instance {
    /// Takes the pipes of a process that was started.
    async fn open(
        launched: Launched,
        rules: Rules,
        parts: Parts,
        reporter: Reporter,
        born: Instant,
    ) -> Result<Self, Cause> {
        let Launched { process, stdin, stdout, stderr, enforcement, denials, way } = launched;
        let pid = process.pid();
        let session = Session::new(parts, Outbound::new(writer(stdin)?), process.meter());
        let tail = Arc::new(Tail::default());
        let gone = watch::Sender::new(false);
        let (stdout_drained, stdout_told) = watch::channel(false);
        let (stderr_drained, stderr_told) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(reader::run(session.clone(), reads(stdout)?, gone.subscribe(), stdout_drained));
        tasks.spawn(talk(
            session.clone(),
            reads(stderr)?,
            tail.clone(),
            gone.subscribe(),
            stderr_drained,
        ));
        tasks.spawn(feed(session.clone()));
        let denials = Refusals::new(denials, outside::serve(way, rules, &mut tasks));
        reporter.send(Report::Running { pid, enforcement }).await;
        Ok(Self {
            process: Arc::new(process),
            session,
            reporter,
            tail,
            gone,
            stdout: stdout_told,
            stderr: stderr_told,
            tasks,
            denials,
            denials_told: 0,
            born,
            greeted: false,
            requested: false,
        })
    }

    /// Greets and serves, until the main process is gone (`None`) or must go (the reason).
    async fn live(
        &mut self,
        greeting: Greeting,
        orders: &mut mpsc::Receiver<Order>,
    ) -> Option<Cause> {
        let asked = greeting.manifest.supervision.health.clone();
        let greeted = greet(self.session.clone(), greeting);
        let broken = broken(self.session.clone());
        tokio::pin!(greeted, broken);
        let session = self.session.clone();
        let mut watch: Boxed<'static, Cause> = Box::pin(std::future::pending());
        let mut denials = self.denials.clone();
        let mut told = false;
        loop {
            tokio::select! {
                biased;
                () = self.process.main_ended() => {
                    if !told {
                        time::sleep(COURTESY).await;
                    }
                    return None;
                }
                cause = session.condemned() => return Some(cause),
                () = &mut broken => {
                    return Some(Cause::Protocol("it closed its stdin".into()));
                }
                order = orders.recv() => self.obey(order),
                () = session.silent.cancelled(), if !told => {
                    // Where another one can take the calls, it does before the end is seen.
                    told = true;
                    time::sleep(COURTESY).await;
                    self.reporter.send(Report::Fitness(Fitness::Silent, "".into())).await;
                }
                Ok(()) = denials.changed() => self.tell_denials().await,
                ended = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Some(Err(fallen)) = ended {
                        return Some(Cause::Host(fallen.to_string()));
                    }
                }
                // One that is on its way down is bounded by that.
                cause = &mut watch, if !self.requested => return Some(cause),
                answer = &mut greeted, if !self.greeted => match answer {
                    Ok(hello) => {
                        self.greeted = true;
                        watch = self.watch(probe::Rules::new(
                            &asked,
                            hello.as_deref(),
                            fastrand::f64(),
                        ));
                        self.reporter.send(Report::Ready { session: session.clone(), hello }).await;
                    }
                    Err(cause) => return Some(cause),
                },
            }
        }
    }

    /// The watch over it, apart from the rest of its life.
    fn watch(&self, rules: probe::Rules) -> Boxed<'static, Cause> {
        let (session, process) = (self.session.clone(), self.process.clone());
        let reporter = self.reporter.clone();
        Box::pin(async move { probe::watch(&session, &process, &reporter, rules).await })
    }

    fn obey(&mut self, order: Option<Order>) {
        self.requested = true;
        match order {
            Some(Order::Drain) => {
                let (session, reporter) = (self.session.clone(), self.reporter.clone());
                self.tasks.spawn(async move {
                    session.quiet().await;
                    reporter.send(Report::Drained).await;
                });
            }
            Some(Order::Shutdown) => {
                let (session, reporter) = (self.session.clone(), self.reporter.clone());
                self.tasks.spawn(async move {
                    shut_down(&session).await;
                    reporter.send(Report::ShutDown).await;
                });
            }
            Some(Order::CloseInput) => self.session.outbound.close(),
            Some(Order::Terminate) => {
                self.process.signal(libc::SIGTERM);
                self.process.signal(libc::SIGCONT);
            }
            Some(Order::Kill) | None => self.process.kill(),
        }
    }

    /// Tells of refusals that nobody was told of yet.
    async fn tell_denials(&mut self) {
        let tally = self.denials.tally();
        if tally.total() > self.denials_told {
            self.denials_told = tally.total();
            self.reporter.send(Report::Denied(tally)).await;
        }
    }

    /// Tells everyone, cleans up, and writes the record.
    async fn end(mut self, sentence: Option<Cause>, orders: &mut mpsc::Receiver<Order>) -> Death {
        let seen = clock::now();
        let silent = sentence.as_ref().is_some_and(Cause::is_silence);
        let condemned = sentence.is_some() && !silent;
        if condemned {
            self.process.kill();
        }
        self.reporter.send(Report::Dying).await;
        if silent {
            self.last_words().await;
        }
        // Everyone who waits is told within a tenth of a second, whatever is known by then. A
        // plugin that broke the rules gets no last word.
        let known = if condemned {
            None
        } else {
            self.gone.send_replace(true);
            self.settle(clock::now()).await
        };
        let sentence = sentence.or_else(|| self.requested.then_some(Cause::Requested));
        let told = sentence.clone().or_else(|| known.map(|exited| exited.cause));
        let ending = Arc::new(Ending {
            cause: told.unwrap_or(Cause::Unknown),
            stderr_tail: self.tail.text().into(),
        });
        let lost = self.session.end(&ending);
        let exited = tree_gone(&self.process, orders).await;
        self.tell_denials().await;
        self.gone.send_replace(true);
        self.leftovers(seen).await;
        Death {
            generation: self.session.label.generation,
            instance: self.session.label.instance,
            pid: self.process.pid(),
            before_hello: !self.greeted,
            at: clock::wall(),
            uptime: seen.saturating_duration_since(self.born),
            calls_lost: lost.len(),
            in_flight: InFlight::oldest(lost),
            cause: sentence.unwrap_or(exited.cause),
            limits: exited.limits,
            denials: Arc::default(),
            next: None,
            stderr_tail: self.tail.text().into(),
            usage: exited.usage,
            memory_peak: exited.memory_peak,
        }
    }

    /// Has a silent process say where it is: most runtimes write their stacks when they are aborted.
    /// Those who wait for its answers have waited long already, and get the stacks for it.
    async fn last_words(&self) {
        self.process.signal(libc::SIGABRT);
        // One that is stopped would not take the signal.
        self.process.signal(libc::SIGCONT);
        time::timeout(LAST_WORDS, self.process.main_ended()).await.ok();
        self.process.kill();
    }

    /// Reads what the process left in its pipes and learns how it ended, for a short time.
    async fn settle(&self, seen: Instant) -> Option<Exited> {
        let (mut stdout, mut stderr) = (self.stdout.clone(), self.stderr.clone());
        let until = time::Instant::from_std(seen + SETTLE);
        let pipes = async {
            stdout.wait_for(|drained| *drained).await.ok();
            stderr.wait_for(|drained| *drained).await.ok();
        };
        let (_drained, exited) = tokio::join!(
            time::timeout_at(until, pipes),
            time::timeout_at(until, self.process.exited()),
        );
        exited.ok()
    }

    /// What to clear away if this falls over.
    fn wreck(&self) -> Wreck {
        let (process, session) = (self.process.clone(), self.session.clone());
        Wreck { process, session, tail: self.tail.clone() }
    }

    /// Gives the pipes a little longer, for the log and the record, then closes them.
    async fn leftovers(&mut self, seen: Instant) {
        let until = time::Instant::from_std(seen + LEFTOVERS);
        let pipes = async {
            self.stdout.wait_for(|drained| *drained).await.ok();
            self.stderr.wait_for(|drained| *drained).await.ok();
        };
        time::timeout_at(until, pipes).await.ok();
        self.tasks.shutdown().await;
    }
}

/// Waits until the whole tree is gone; the manager may have it killed again.
async fn tree_gone(process: &Process, orders: &mut mpsc::Receiver<Order>) -> Exited {
    let mut open = true;
    loop {
        tokio::select! {
            exited = process.exited() => return exited,
            order = orders.recv(), if open => {
                open = order.is_some();
                process.kill();
            }
        }
    }
}

/// The plugin has closed its stdin, and is not just about to be gone.
async fn broken(session: Arc<Session>) {
    session.outbound.broken().await;
    time::sleep(BROKEN_GRACE).await;
}

async fn feed(session: Arc<Session>) {
    session.outbound.run().await;
}

async fn talk(
    session: Arc<Session>,
    pipe: pipe::Receiver,
    tail: Arc<Tail>,
    gone: watch::Receiver<bool>,
    drained: watch::Sender<bool>,
) {
    stderr::drain(pipe, &session.label, &tail, &session.sink, gone, drained).await;
}

/// Greets a plugin that knows Plugbay's words. The error is why it must go.
async fn greet(session: Arc<Session>, greeting: Greeting) -> Result<Option<Arc<Hello>>, Cause> {
    if session.settings.manners == Manners::Plain {
        session.greeted.store(true, Ordering::Release);
        return Ok(None);
    }
    let params = serde_json::value::to_raw_value(&greeting.initialize)
        .map_err(|error| Cause::Handshake(error.to_string()))?;
    let answer = match opened(&session, &params, greeting.timeout, greeting.pass).await {
        Ok(answer) => answer,
        Err(Failure::Deadline { after, .. }) => return Err(Cause::Mute { after }),
        Err(Failure::Plugin(error)) => return Err(Cause::Handshake(error.to_string())),
        Err(Failure::AnswerTooLarge) => return Err(Cause::Handshake("it is too long".into())),
        Err(Failure::Garbled(what)) => return Err(Cause::Handshake(what)),
        Err(Failure::Streamed) => return Err(Cause::Handshake("it is a stream".into())),
        Err(Failure::RequestTooLarge(_) | Failure::Unwritable(_) | Failure::Overloaded(_)) => {
            return Err(Cause::Handshake("its configuration does not fit in a frame".into()));
        }
        // Its stdin is closed or it is gone: whoever watches the process knows more.
        Err(Failure::NotSent | Failure::Lost(_) | Failure::Cancelled) => {
            return std::future::pending().await;
        }
    };
    let hello: Hello = serde_json::from_str(answer.get())
        .map_err(|error| Cause::Handshake(format!("not a hello: {error}")))?;
    handshake::check(&hello, &greeting.manifest).map_err(Cause::Handshake)?;
    if hello.features.agreed(&greeting.initialize.features).contains(feature::STREAMS) {
        session.allow_streams();
    }
    session.greeted.store(true, Ordering::Release);
    // If it cannot be sent, the process is on its way out and that is seen elsewhere.
    session.notify(method::INITIALIZED, &()).ok();
    let warm = probe::warm(&session, &greeting.manifest.supervision.health, &hello);
    if time::timeout(greeting.timeout, warm).await.is_err() {
        return Err(Cause::NotReady { after: greeting.timeout });
    }
    Ok(Some(Arc::new(hello)))
}

/// Says hello first. The place among the starts is given back with the answer or after a while: one
/// that takes long is waiting for something, not working the machine.
async fn opened(
    session: &Session,
    params: &RawValue,
    timeout: Duration,
    mut pass: Option<Pass>,
) -> Result<Box<RawValue>, Failure> {
    let answer = session.call(opening(params, timeout));
    let late = time::sleep(PLACE_HELD);
    tokio::pin!(answer, late);
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            () = &mut late, if pass.is_some() => pass = None,
        }
    }
}

fn opening(params: &RawValue, timeout: Duration) -> Call<'_> {
    Call {
        method: method::INITIALIZE,
        params: Some(params),
        idle: timeout,
        until: clock::now() + timeout.max(LONGEST_START),
        progress: None,
        cancel: None,
        chain: None,
        trace: &Trace::NONE,
        luggage: None,
    }
}

/// Asks a plugin to shut down, and tells it to exit when it is ready to.
async fn shut_down(session: &Session) {
    if session.settings.manners == Manners::Plain {
        return;
    }
    let call = Call {
        method: method::SHUTDOWN,
        params: None,
        idle: SHUTDOWN,
        until: clock::now() + SHUTDOWN,
        progress: None,
        cancel: None,
        chain: None,
        trace: &Trace::NONE,
        luggage: None,
    };
    // Those who run may finish; what they send without end does not.
    session.cut_streams();
    if session.call(call).await.is_ok() {
        session.notify(method::EXIT, &()).ok();
    }
}

fn writer(fd: OwnedFd) -> Result<pipe::Sender, Cause> {
    pipe::Sender::from_owned_fd(fd).map_err(|error| unpiped(&error))
}

fn reads(fd: OwnedFd) -> Result<pipe::Receiver, Cause> {
    pipe::Receiver::from_owned_fd(fd).map_err(|error| unpiped(&error))
}

fn unpiped(error: &io::Error) -> Cause {
    let errno = error.raw_os_error().unwrap_or(0);
    Cause::Launch { stage: "pipes".to_owned(), errno, message: error.to_string() }
}

fn refused(stage: &str, message: String) -> Cause {
    Cause::Launch { stage: stage.to_owned(), errno: 0, message }
}
