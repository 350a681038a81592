//! What signs of life say of a process: well, slow, ailing, or to be killed.
//!
//! Being busy is no illness, and being slow no crime: a process is killed only when nothing at all
//! comes from it, for long, although it was asked. What counts as life is any frame it writes: an
//! answer, progress, a pong. Pure: time is an argument, a [`Duration`] since an epoch that the caller
//! chose once; processor time is asked for only when it decides something.
//!
//! ```text
//!               silent for an interval
//!  ┌──► well ────────────────────────────► asked ──miss, miss, miss──► ailing
//!  │     ▲                                   │                           │ still silent at `hang`:
//!  │     └──────────── any frame ────────────┴───────────────────────────┤  idle: killed (hang)
//!  │                                                                     │  not: killed at `busy`
//!  └──────────── its input moves, or a frame ──── deaf: input stands ◄───┘
//! ```
//!
//! A process is asked while a call is in flight and it says nothing; without calls only now and
//! then, so that a thousand idle plugins cost nothing worth counting. One whose input stands still
//! cannot be asked; it is judged by that.

use std::time::Duration;

/// Below this share of one processor a process counts as idle.
const IDLE_SHARE: f64 = 0.01;

/// The numbers of the watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    /// Whether the process answers pings whatever it does. One that does not promise that is not
    /// asked: its silence during a call says nothing.
    pub answers: bool,
    /// Silence with a call in flight before it is asked.
    pub interval: Duration,
    /// Silence without any call before it is asked.
    pub rest: Duration,
    /// Each of these without an answer is a miss.
    pub timeout: Duration,
    /// So many misses make it ailing.
    pub misses: u32,
    /// Silence before one that does nothing is killed.
    pub hang: Duration,
    /// Silence before one that works is killed.
    pub busy: Duration,
    /// Its input standing still for this long makes it ailing.
    pub deaf: Duration,
    /// Its input standing still for this long, without a frame from it, kills it if it does nothing.
    pub deaf_limit: Duration,
}

impl Default for Beat {
    /// Asked after 10 s of silence (5 min without calls), a miss per 5 s, ailing after three;
    /// killed after 60 s idle, 120 s busy; deaf after 5 s, killed for it after 30 s.
    fn default() -> Self {
        Self {
            answers: true,
            interval: Duration::from_secs(10),
            rest: Duration::from_secs(300),
            timeout: Duration::from_secs(5),
            misses: 3,
            hang: Duration::from_secs(60),
            busy: Duration::from_secs(120),
            deaf: Duration::from_secs(5),
            deaf_limit: Duration::from_secs(30),
        }
    }
}

/// What is seen of a process from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Vitals {
    /// Frames that came from it so far.
    pub frames: u64,
    /// Calls that somebody waits for.
    pub calls: usize,
    /// Since when its input has taken nothing of what is to be written, if it stands.
    pub stalled: Option<Duration>,
}

/// What a process is found to suffer from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ailment {
    /// It does not answer when asked for a sign of life.
    Silent,
    /// It does not read its input.
    Deaf,
}

/// Why a process is to be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stuck {
    /// Nothing came from it, and it did nothing.
    Hang,
    /// Nothing came from it, and it kept a processor busy.
    Busy,
    /// It did not read its input, and did nothing.
    Deaf,
}

impl Stuck {
    /// The word for it, for programs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hang => "hang",
            Self::Busy => "busy",
            Self::Deaf => "deaf",
        }
    }
}

/// How a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Health {
    /// Well, as far as is known.
    #[default]
    Well,
    /// It has missed so many pings, too few to mean something.
    Slow(u32),
    /// It is not well; it is called all the same.
    Ailing(Ailment),
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    Rest,
    /// Ask it for a sign of life.
    Ping,
    /// Kill it. The time is that of its silence.
    Kill(Stuck, Duration),
}

/// What a look at a process says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// What is to be done now.
    pub act: Act,
    /// How it is.
    pub health: Health,
    /// When to look again, if not before; `None` means: when there is news.
    pub due: Option<Duration>,
}

/// The watch over one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulse {
    beat: Beat,
    frames: u64,
    /// When the last sign of life was seen.
    heard: Duration,
    /// Since when calls have been in flight, as far as was seen.
    called: Option<Duration>,
    /// When it was asked, if it has not answered.
    asked: Option<Duration>,
    /// From when on its silence counts.
    quiet: Duration,
    /// Since when its input has stood still.
    deaf: Option<Duration>,
    /// What processor time it had used, and when that was.
    weighed: Option<(Duration, Option<Duration>)>,
    due: Option<Duration>,
}

impl Pulse {
    /// The watch over a process that has just been greeted.
    #[must_use]
    pub fn new(beat: Beat, now: Duration) -> Self {
        Self {
            beat,
            frames: 0,
            heard: now,
            called: None,
            asked: None,
            quiet: now,
            deaf: None,
            weighed: None,
            due: None,
        }
    }

    /// Looks at the process. `cpu` tells the processor time of its tree so far, if that is known.
    pub fn look(
        &mut self,
        now: Duration,
        vitals: Vitals,
        mut cpu: impl FnMut() -> Option<Duration>,
    ) -> Reading {
        self.forgive(now);
        self.note(now, vitals);
        let act = self.decide(now, vitals, &mut cpu);
        self.due = self.next(now, vitals);
        Reading { act, health: self.health(now), due: self.due }
    }

    /// Time in which the host itself did not run (stopped, starved) is not held against the plugin:
    /// its signs of life may wait unread.
    fn forgive(&mut self, now: Duration) {
        let Some(due) = self.due else { return };
        let late = now.saturating_sub(due);
        if late <= self.beat.timeout / 2 {
            return;
        }
        self.heard += late;
        self.quiet += late;
        for mark in [&mut self.called, &mut self.asked, &mut self.deaf].into_iter().flatten() {
            *mark += late;
        }
        self.weighed = None;
    }

    /// Takes in what is seen.
    fn note(&mut self, now: Duration, vitals: Vitals) {
        if vitals.frames != self.frames {
            self.frames = vitals.frames;
            self.heard = now;
            self.asked = None;
            self.weighed = None;
        }
        self.called = (vitals.calls > 0).then(|| self.called.unwrap_or(now));
        self.deaf = vitals.stalled.map(|since| self.deaf.unwrap_or(since));
        if self.deaf.is_none() && self.asked.is_none() {
            self.weighed = None;
        }
    }

    fn decide(
        &mut self,
        now: Duration,
        vitals: Vitals,
        cpu: &mut impl FnMut() -> Option<Duration>,
    ) -> Act {
        if let Some(since) = self.deaf {
            let silence = now.saturating_sub(since.max(self.heard));
            if let Some(act) = self.judge(now, silence, self.beat.deaf_limit, Stuck::Deaf, cpu) {
                return act;
            }
        }
        if self.asked.is_some() {
            let silence = now.saturating_sub(self.quiet);
            let act = self.judge(now, silence, self.beat.hang, Stuck::Hang, cpu);
            return act.unwrap_or(Act::Rest);
        }
        if !self.beat.answers || self.deaf.is_some() || now < self.ask_at() {
            return Act::Rest;
        }
        self.asked = Some(now);
        self.quiet = if vitals.calls > 0 { self.silent_since() } else { now };
        self.weighed = Some((now, cpu()));
        Act::Ping
    }

    /// Whether a silence is long enough to kill for, given what it did meanwhile.
    fn judge(
        &mut self,
        now: Duration,
        silence: Duration,
        limit: Duration,
        stuck: Stuck,
        cpu: &mut impl FnMut() -> Option<Duration>,
    ) -> Option<Act> {
        if silence >= self.beat.busy.max(limit) {
            let stuck = if self.is_idle(now, cpu) { stuck } else { Stuck::Busy };
            return Some(Act::Kill(stuck, silence));
        }
        if silence >= limit && self.is_idle(now, cpu) {
            return Some(Act::Kill(stuck, silence));
        }
        if self.weighed.is_none() {
            self.weighed = Some((now, cpu()));
        }
        None
    }

    /// Whether it did nothing since it was weighed last. What is not known counts as work.
    fn is_idle(&mut self, now: Duration, cpu: &mut impl FnMut() -> Option<Duration>) -> bool {
        let used = cpu();
        let before =
            self.weighed.filter(|(at, _)| now.saturating_sub(*at) >= self.beat.timeout / 2);
        if before.is_some() || self.weighed.is_none() {
            self.weighed = Some((now, used));
        }
        let (Some((at, Some(before))), Some(used)) = (before, used) else { return false };
        let span = now.saturating_sub(at).as_secs_f64();
        used.saturating_sub(before).as_secs_f64() < span * IDLE_SHARE
    }

    fn health(&self, now: Duration) -> Health {
        let passed = |since: Option<Duration>| since.map(|since| now.saturating_sub(since));
        if passed(self.deaf).is_some_and(|deaf| deaf >= self.beat.deaf) {
            return Health::Ailing(Ailment::Deaf);
        }
        match self.missed(now) {
            0 => Health::Well,
            few if few < self.beat.misses => Health::Slow(few),
            _ => Health::Ailing(Ailment::Silent),
        }
    }

    fn missed(&self, now: Duration) -> u32 {
        let Some(asked) = self.asked else { return 0 };
        let timeout = self.beat.timeout.as_nanos().max(1);
        u32::try_from(now.saturating_sub(asked).as_nanos() / timeout).unwrap_or(u32::MAX)
    }

    /// Since when it has been silent although it might have had something to say.
    fn silent_since(&self) -> Duration {
        self.called.map_or(self.heard, |called| called.max(self.heard))
    }

    /// When it is to be asked.
    fn ask_at(&self) -> Duration {
        let patience = if self.called.is_some() { self.beat.interval } else { self.beat.rest };
        self.silent_since().saturating_add(patience)
    }

    /// When the next look is worth it.
    fn next(&self, now: Duration, vitals: Vitals) -> Option<Duration> {
        let later =
            |at: Duration| if at > now { at } else { now.saturating_add(self.beat.timeout) };
        let deaf = self.deaf.map(|since| {
            let ailing = since.saturating_add(self.beat.deaf);
            let limit = since.max(self.heard).saturating_add(self.beat.deaf_limit);
            if ailing > now { ailing } else { later(limit).min(now + self.beat.timeout) }
        });
        let asked = self.asked.map(|asked| {
            let miss = asked + self.beat.timeout * (self.missed(now).saturating_add(1));
            [self.beat.hang, self.beat.busy]
                .into_iter()
                .map(|limit| self.quiet.saturating_add(limit))
                .filter(|at| *at > now)
                .fold(later(miss), Duration::min)
        });
        let idle = vitals.stalled.is_none() && self.asked.is_none() && self.beat.answers;
        let ask = idle.then(|| later(self.ask_at()));
        [deaf, asked, ask].into_iter().flatten().min()
    }
}

/// Whether a plugin that is asked takes calls: the answers in a row decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    failures: u32,
    successes: u32,
    bad: u32,
    good: u32,
    ready: bool,
}

impl Readiness {
    /// Of a plugin that said that it is ready; `failures` bad answers in a row take it out of
    /// service, `successes` good ones put it back.
    #[must_use]
    pub fn new(failures: u32, successes: u32) -> Self {
        let (failures, successes) = (failures.max(1), successes.max(1));
        Self { failures, successes, bad: 0, good: 0, ready: true }
    }

    /// Takes an answer; says whether the plugin counts as ready now.
    pub fn answered(&mut self, well: bool) -> bool {
        if well {
            (self.good, self.bad) = (self.good.saturating_add(1), 0);
            self.ready |= self.good >= self.successes;
        } else {
            (self.bad, self.good) = (self.bad.saturating_add(1), 0);
            self.ready &= self.bad < self.failures;
        }
        self.ready
    }

    /// Whether the answers so far leave the matter as it was: all good while it is ready.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.ready && self.bad == 0
    }
}

#[cfg(test)]
#[path = "pulse_tests.rs"]
mod tests;
