//! The questions that a process is asked to learn how it is, and the watch over it.
//!
//! What the answers mean is decided by [`lifecycle::pulse`](crate::lifecycle::pulse); here they are
//! asked. Two kinds: `$/ping`, of one that answers whatever it does, and `plugin/health`, of one that
//! can say itself whether it can work. Neither is a call: they take no place, and nobody counts them.
//!
//! One task per process, which it shares with the process's life. It sleeps on one timer, and is
//! woken by the first call after a time without calls and by a pipe that has become full.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use plugbay_manifest::Health as Asked;
use plugbay_protocol::{
    ErrorObject, Id,
    handshake::{Hello, feature},
    method, write,
};
use serde_json::value::RawValue;
use tokio::{
    sync::{Notify, oneshot},
    time,
};

use super::{
    death::Cause,
    instance::{Report, Reporter},
    lock,
    outbound::{Bound, Frame},
    session::Session,
    text::{Breaks, plain},
};
use crate::{
    clock,
    lifecycle::{
        instance::Fitness,
        pulse::{Act, Ailment, Beat, Health, Pulse, Readiness, Vitals},
    },
    link::Process,
};

/// Ids of probes. No call has them: the low bits of a call's id name its place, and the others are
/// never zero.
const PING: u64 = 1;
const HEALTH: u64 = 2;
/// A process without calls is asked this many times less often than one with calls.
const RESTING: u32 = 30;
/// The same for its own word on whether it can work, which takes longer to give.
const RESTING_WORD: u32 = 12;
/// However much happens, it is looked at no more often than this.
const PACE: Duration = Duration::from_secs(1);
/// The longest piece of a plugin's own words that is passed on.
const WORDS: usize = 200;

/// An answer as it came.
type Outcome = Result<Box<RawValue>, ErrorObject>;

/// Wakes one who sleeps, once, and costs nothing while nobody does.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    armed: AtomicBool,
    rung: Notify,
}

impl Bell {
    /// From now on the next ring wakes. What happened before is to be looked at after this.
    fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    /// Wakes whoever has armed it.
    pub(crate) fn ring(&self) {
        if self.armed.load(Ordering::SeqCst) && self.armed.swap(false, Ordering::SeqCst) {
            self.rung.notify_one();
        }
    }

    async fn rung(&self) {
        self.rung.notified().await;
    }
}

/// What a session keeps for the watch.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    /// Frames that came.
    frames: AtomicU64,
    /// Rung by calls.
    pub(crate) called: Bell,
    pinged: AtomicBool,
    word: Mutex<Option<oneshot::Sender<Outcome>>>,
}

impl Probe {
    /// A frame came.
    pub(crate) fn heard(&self) {
        self.frames.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes an answer, if it is one to a probe; gives it back if not.
    pub(crate) fn take(&self, id: &Id<'_>, outcome: Outcome) -> Option<Outcome> {
        let Id::Number(number) = id else { return Some(outcome) };
        match u64::try_from(*number) {
            Ok(PING) if self.pinged.swap(false, Ordering::Relaxed) => None,
            Ok(HEALTH) => match lock(&self.word).take() {
                Some(waiting) => {
                    // One who has stopped waiting had asked all the same.
                    waiting.send(outcome).ok();
                    None
                }
                None => Some(outcome),
            },
            Ok(_) | Err(_) => Some(outcome),
        }
    }
}

/// What the watch goes by.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    beat: Beat,
    asked: Asked,
    /// Whether it can say itself how it is.
    speaks: bool,
}

impl Rules {
    /// For a process with this hello, or none. `dice` in `0.0..1.0` spreads the questions to idle
    /// processes, so that those that started together are not asked together.
    pub(crate) fn new(asked: &Asked, hello: Option<&Hello>, dice: f64) -> Self {
        let has = |name| hello.is_some_and(|hello| hello.features.contains(name));
        let beat = Beat {
            answers: has(feature::PING),
            interval: asked.ping_interval,
            rest: (asked.ping_interval * RESTING).mul_f64(0.75 + dice / 2.0),
            timeout: asked.ping_timeout.max(Duration::from_millis(1)),
            hang: asked.hang_timeout,
            busy: asked.busy_timeout,
            ..Beat::default()
        };
        Self { beat, asked: asked.clone(), speaks: has(feature::HEALTH) }
    }
}

/// What is known of a process's fitness, from both kinds of questions.
#[derive(Debug, Default)]
struct Findings {
    ails: Option<&'static str>,
    /// Why it says that it cannot work.
    refuses: Option<String>,
    told: (Fitness, String),
}

impl Findings {
    /// What is to be told, if it differs from what was told last.
    fn news(&mut self) -> Option<(Fitness, Arc<str>)> {
        let now = match (&self.refuses, self.ails) {
            (Some(why), _) => (Fitness::Unready, why.clone()),
            (None, Some(what)) => (Fitness::Ailing, what.to_owned()),
            (None, None) => (Fitness::Fit, String::new()),
        };
        if now == self.told {
            return None;
        }
        self.told = now;
        Some((self.told.0, self.told.1.as_str().into()))
    }
}

/// Watches over a process that was greeted, until it is to be killed.
pub(crate) async fn watch(
    session: &Session,
    process: &Process,
    reporter: &Reporter,
    rules: Rules,
) -> Cause {
    let findings = Mutex::new(Findings::default());
    tokio::select! {
        cause = feel(session, process, reporter, &findings, rules.beat.clone()) => cause,
        never = listen(session, reporter, &findings, &rules) => never,
    }
}

/// Feels the pulse.
async fn feel(
    session: &Session,
    process: &Process,
    reporter: &Reporter,
    findings: &Mutex<Findings>,
    beat: Beat,
) -> Cause {
    let epoch = clock::now();
    let answers = beat.answers;
    let pace = beat.interval.min(PACE);
    let mut pulse = Pulse::new(beat, Duration::ZERO);
    loop {
        let now = clock::now();
        let vitals = vitals(session, epoch);
        let reading = pulse.look(now - epoch, vitals, || process.tree_time());
        match reading.act {
            Act::Rest => {}
            Act::Ping => ask(session, PING, method::PING),
            Act::Kill(stuck, after) => return Cause::Watchdog { stuck, after },
        }
        lock(findings).ails = words(reading.health);
        tell(reporter, findings).await;
        let due = reading.due.map(|due| epoch + due);
        sleep(session, due, vitals, answers).await;
        // Whatever rings meanwhile is seen with the next look; a busy plugin is not looked at for
        // each of its calls.
        time::sleep_until((now + pace).min(due.unwrap_or(now + pace)).into()).await;
    }
}

/// Sleeps until then, or until something happens that the pulse wants to know of.
async fn sleep(session: &Session, due: Option<Instant>, vitals: Vitals, answers: bool) {
    let for_calls = answers && vitals.calls == 0;
    if for_calls {
        session.probe.called.arm();
    }
    session.outbound.full.arm();
    // What happened before the bells were armed.
    let called = for_calls && session.waiting() > 0;
    let stalled = vitals.stalled.is_none() && session.outbound.stalled().is_some();
    if called || stalled {
        return;
    }
    let due = async {
        match due {
            Some(due) => time::sleep_until(due.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = due => {}
        () = session.probe.called.rung() => {}
        () = session.outbound.full.rung() => {}
    }
}

fn vitals(session: &Session, epoch: Instant) -> Vitals {
    let stalled = session.outbound.stalled();
    Vitals {
        frames: session.probe.frames.load(Ordering::Relaxed),
        calls: session.waiting(),
        stalled: stalled.map(|since| since.saturating_duration_since(epoch)),
    }
}

fn words(health: Health) -> Option<&'static str> {
    match health {
        Health::Well | Health::Slow(_) => None,
        Health::Ailing(Ailment::Silent) => Some("it gives no signs of life"),
        Health::Ailing(Ailment::Deaf) => Some("it does not read its input"),
    }
}

async fn tell(reporter: &Reporter, findings: &Mutex<Findings>) {
    let news = lock(findings).news();
    if let Some((fitness, why)) = news {
        reporter.send(Report::Fitness(fitness, why)).await;
    }
}

/// Asks one that can say so whether it can work, again and again.
async fn listen(
    session: &Session,
    reporter: &Reporter,
    findings: &Mutex<Findings>,
    rules: &Rules,
) -> Cause {
    if !rules.speaks {
        return std::future::pending().await;
    }
    let asked = &rules.asked;
    let mut readiness = Readiness::new(asked.ready_failures, asked.ready_successes);
    loop {
        let busy = session.waiting() > 0 || !readiness.is_settled();
        time::sleep(asked.ready_interval * if busy { 1 } else { RESTING_WORD }).await;
        let word = word(session, asked.ready_timeout).await;
        let ready = readiness.answered(word.is_ok());
        lock(findings).refuses = word
            .err()
            .filter(|_| !ready)
            .or_else(|| (!ready).then(|| "it has yet to prove that it can work again".to_owned()));
        tell(reporter, findings).await;
    }
}

/// Waits until a process that can say so says that it can work.
pub(crate) async fn warm(session: &Session, asked: &Asked, hello: &Hello) {
    if hello.features.contains(feature::HEALTH) {
        while word(session, asked.ready_timeout).await.is_err() {
            time::sleep(asked.ready_interval.min(PACE)).await;
        }
    }
}

/// What a process says of itself; the error is why it cannot work.
async fn word(session: &Session, patience: Duration) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    struct Word {
        status: String,
        message: Option<String>,
    }
    let (reply, answer) = oneshot::channel();
    *lock(&session.probe.word) = Some(reply);
    ask(session, HEALTH, method::PLUGIN_HEALTH);
    let answer = time::timeout(patience, answer).await;
    let raw = match answer {
        Err(_elapsed) => return Err(format!("it did not say within {patience:?} how it is")),
        Ok(Err(_closed)) => return Err("it did not say how it is".to_owned()),
        Ok(Ok(Err(error))) => return Err(format!("it says: {}", shown(&error.message))),
        Ok(Ok(Ok(raw))) => raw,
    };
    match serde_json::from_str::<Word>(raw.get()) {
        Ok(word) if word.status == "failing" => {
            let message = word.message.unwrap_or_else(|| "it cannot work".to_owned());
            Err(format!("it says: {}", shown(&message)))
        }
        Ok(_) => Ok(()),
        Err(_) => Err("it did not say in a known way how it is".to_owned()),
    }
}

fn shown(text: &str) -> String {
    plain(&text.chars().take(WORDS).collect::<String>(), Breaks::Escape)
}

fn ask(session: &Session, id: u64, method: &str) {
    let mut bytes = Vec::new();
    if write::request(&mut bytes, id, method, &None::<()>).is_ok() {
        session.settings.framing.close(&mut bytes, 0);
        session.probe.pinged.fetch_or(id == PING, Ordering::Relaxed);
        // One that cannot be asked is judged by its silence.
        session.outbound.send(Frame { bytes, call: None }, Bound::Exempt).ok();
    }
}
