//! The life of one plugin name: what is wanted, what is, and what must be done about it.
//!
//! A slot outlives its processes. Each process run in it is an instance, numbered from 1, never
//! reused; every event from a process carries its instance, and an event of another instance
//! changes nothing. Pure: [`Slot::step`] takes an event and returns effects; timers are armed by an
//! effect and come back as an event, and only the timer armed last counts.
//!
//! ```text
//!            start                 ready                  stop
//! IDLE ────────────► STARTING ──────────────► RUNNING ───────────┐
//! STOPPED ──────────►   │ │                     │ │              ▼
//! FAILED ───────────►   │ └──────dying──────────┘ └─────────► ENDING ──exited──► STOPPED (stay)
//!                       │                                      │  │              STARTING (start)
//!                       └── exited ──► judged ◄────exited──────┘  └─timer─► FENCED
//!                                        │
//!                                        ├──► BACKOFF ──timer──► STARTING
//!                                        ├──► QUARANTINED ──timer──► STARTING (a trial)
//!                                        ├──► STOPPED
//!                                        └──► FAILED
//! ```
//!
//! The stop ladder lives in ENDING: drain, `shutdown` request, end of input, SIGTERM, tree kill.
//! Each rung has a bound, so a stop ends or is FENCED (the kernel holds a process that cannot be
//! killed; nothing is started in its place until it is gone).

use std::time::Duration;

use super::{
    identity::InstanceId,
    restart::{Exit, History, Policy, Verdict},
};

/// Names one armed timer; the one armed last is the only one that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(u64);

/// A rung of the stop ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// No new calls; those in flight may finish.
    Drain,
    /// The plugin was asked to shut down.
    Shutdown,
    /// Its input was closed.
    Eof,
    /// It was sent SIGTERM.
    Terminate,
    /// Its whole tree is being killed.
    Kill,
}

/// What follows when an instance has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Stay down.
    Stay,
    /// Start the next instance at once.
    Start,
    /// Let the restart policy decide: nobody asked for this end.
    Judge,
}

/// Where a slot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not wanted yet: starts with the first call.
    Idle,
    /// A process is being started and greeted.
    Starting,
    /// Ready for calls.
    Running,
    /// On its way down.
    Ending {
        /// How far down the ladder.
        rung: Rung,
        /// What follows.
        next: Next,
    },
    /// Failed; starts again when the delay has passed.
    Backoff {
        /// The delay.
        delay: Duration,
    },
    /// Failed too often; one trial when the time has passed.
    Quarantined {
        /// How long.
        length: Duration,
    },
    /// Cannot run until somebody changes something.
    Failed,
    /// Not wanted.
    Stopped,
    /// Its last process cannot be killed; nothing starts until it is gone.
    Fenced {
        /// What follows when it is gone after all.
        next: Next,
    },
}

impl State {
    /// The state's name in statuses and events.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Ending { next: Next::Judge, .. } => "crashed",
            Self::Ending { next: Next::Start, .. } => "restarting",
            Self::Ending { next: Next::Stay, .. } => "stopping",
            Self::Backoff { .. } => "backoff",
            Self::Quarantined { .. } => "quarantined",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Fenced { .. } => "fenced",
        }
    }

    /// Whether a call that comes now may wait for the plugin to become ready.
    #[must_use]
    pub fn is_on_its_way_up(self) -> bool {
        match self {
            Self::Idle | Self::Starting | Self::Running | Self::Backoff { .. } => true,
            Self::Ending { next, .. } => next != Next::Stay,
            Self::Quarantined { .. } | Self::Failed | Self::Stopped | Self::Fenced { .. } => false,
        }
    }

    /// Whether no process is left and none will be started without being asked.
    #[must_use]
    pub fn is_at_rest(self) -> bool {
        match self {
            Self::Idle | Self::Failed | Self::Stopped => true,
            Self::Starting
            | Self::Running
            | Self::Ending { .. }
            | Self::Backoff { .. }
            | Self::Quarantined { .. }
            | Self::Fenced { .. } => false,
        }
    }
}

/// What happens to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants the plugin up. An operator's start is never refused and absolves its past.
    Start,
    /// A call came for a plugin that was never wanted so far.
    Wanted,
    /// Somebody wants it down. A second stop skips to SIGTERM, a third to the tree kill.
    Stop,
    /// Somebody wants it down and up again.
    Restart,
    /// The plugin can never run as it is (its configuration is refused).
    Refuse,
    /// The handshake is done.
    Ready {
        /// Whose.
        instance: InstanceId,
    },
    /// The main process is gone or was condemned; its tree is being killed.
    Dying {
        /// Whose.
        instance: InstanceId,
    },
    /// The last call in flight was answered, while draining.
    Drained {
        /// Whose.
        instance: InstanceId,
    },
    /// The plugin answered the `shutdown` request.
    ShutDown {
        /// Whose.
        instance: InstanceId,
    },
    /// The whole tree is gone.
    Exited {
        /// Whose.
        instance: InstanceId,
        /// How the main process ended.
        exit: Exit,
    },
    /// An armed timer is due.
    Due(TimerId),
}

/// What must be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Start a process as this instance.
    Launch {
        /// As which instance.
        instance: InstanceId,
    },
    /// Say when no call is in flight.
    Drain {
        /// Whose.
        instance: InstanceId,
    },
    /// Send the `shutdown` request and say when it is answered.
    Shutdown {
        /// Whose.
        instance: InstanceId,
    },
    /// Close its input.
    CloseInput {
        /// Whose.
        instance: InstanceId,
    },
    /// Send SIGTERM to the main process.
    Terminate {
        /// Whose.
        instance: InstanceId,
    },
    /// Kill the whole tree.
    Kill {
        /// Whose.
        instance: InstanceId,
    },
    /// Bring this timer back when the time has passed. Replaces any timer armed before.
    Arm {
        /// Which.
        timer: TimerId,
        /// When.
        after: Duration,
    },
    /// A process could not be killed: tell somebody.
    Alert {
        /// Whose.
        instance: InstanceId,
    },
}

/// How long each rung of the stop ladder may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ladder {
    /// Calls in flight may finish.
    pub drain: Duration,
    /// From the `shutdown` request on.
    pub shutdown: Duration,
    /// From the end of input on.
    pub eof: Duration,
    /// From SIGTERM on.
    pub terminate: Duration,
    /// From the tree kill until the slot is fenced.
    pub kill: Duration,
    /// Between kills of a fenced tree.
    pub fenced: Duration,
}

impl Default for Ladder {
    /// 30 s, 5 s, 2 s, 3 s, 5 s: 45 s in all; a fenced tree is killed again every 30 s.
    fn default() -> Self {
        Self {
            drain: Duration::from_secs(30),
            shutdown: Duration::from_secs(5),
            eof: Duration::from_secs(2),
            terminate: Duration::from_secs(3),
            kill: Duration::from_secs(5),
            fenced: Duration::from_secs(30),
        }
    }
}

/// The life of one plugin name.
#[derive(Debug, Clone)]
pub struct Slot {
    state: State,
    instance: Option<InstanceId>,
    history: History,
    policy: Policy,
    ladder: Ladder,
    armed: Option<TimerId>,
    timers: u64,
    restarts: u64,
    now: Duration,
}

impl Slot {
    /// A slot whose plugin is not wanted yet.
    #[must_use]
    pub fn new(policy: Policy, ladder: Ladder) -> Self {
        Self {
            state: State::Idle,
            instance: None,
            history: History::default(),
            policy,
            ladder,
            armed: None,
            timers: 0,
            restarts: 0,
            now: Duration::ZERO,
        }
    }

    /// When the restart policy applies to this plugin, and what its exit statuses mean.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Tells the time, as a span since whatever moment the caller counts from. It is what the slow
    /// breaker leaks by; nothing else here reads it.
    pub fn tell_time(&mut self, now: Duration) {
        self.now = now;
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The instance that runs, or ran last; `None` before the first.
    #[must_use]
    pub fn instance(&self) -> Option<InstanceId> {
        self.instance
    }

    /// How often the restart policy started it again.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Failures in a row, without stability between them.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.history.failures()
    }

    /// Takes one event and says what must be done, in order. `dice` in `0.0..=1.0` spreads delays.
    pub fn step(&mut self, event: Event, dice: f64) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Start => self.start(&mut effects),
            Event::Wanted if self.state == State::Idle => self.launch(&mut effects),
            Event::Wanted => {}
            Event::Stop => self.stop(&mut effects),
            Event::Restart => self.restart(&mut effects),
            Event::Refuse => self.refuse(),
            Event::Ready { instance } if Some(instance) == self.instance => {
                self.ready(&mut effects);
            }
            Event::Dying { instance } if Some(instance) == self.instance => {
                self.dying(&mut effects);
            }
            Event::Drained { instance } if Some(instance) == self.instance => {
                self.climb(Rung::Drain, &mut effects);
            }
            Event::ShutDown { instance } if Some(instance) == self.instance => {
                self.climb(Rung::Shutdown, &mut effects);
            }
            Event::Exited { instance, exit } if Some(instance) == self.instance => {
                self.exited(exit, dice, &mut effects);
            }
            Event::Ready { .. }
            | Event::Dying { .. }
            | Event::Drained { .. }
            | Event::ShutDown { .. }
            | Event::Exited { .. } => {}
            Event::Due(timer) if self.armed == Some(timer) => self.due(&mut effects),
            Event::Due(_) => {}
        }
        effects
    }

    fn start(&mut self, effects: &mut Vec<Effect>) {
        match self.state {
            State::Idle
            | State::Stopped
            | State::Failed
            | State::Backoff { .. }
            | State::Quarantined { .. } => {
                self.history.absolve();
                self.launch(effects);
            }
            State::Ending { rung, .. } => {
                self.history.absolve();
                self.state = State::Ending { rung, next: Next::Start };
            }
            State::Fenced { .. } => self.state = State::Fenced { next: Next::Start },
            State::Starting | State::Running => {}
        }
    }

    fn stop(&mut self, effects: &mut Vec<Effect>) {
        match self.state {
            State::Idle
            | State::Stopped
            | State::Failed
            | State::Backoff { .. }
            | State::Quarantined { .. } => self.rest(State::Stopped),
            State::Starting => self.enter(Rung::Terminate, Next::Stay, effects),
            State::Running => self.enter(Rung::Drain, Next::Stay, effects),
            State::Ending { rung, next: Next::Stay } => {
                let further = if rung < Rung::Terminate { Rung::Terminate } else { Rung::Kill };
                if further > rung {
                    self.enter(further, Next::Stay, effects);
                }
            }
            State::Ending { rung, next: Next::Start | Next::Judge } => {
                self.state = State::Ending { rung, next: Next::Stay };
            }
            State::Fenced { .. } => self.state = State::Fenced { next: Next::Stay },
        }
    }

    fn restart(&mut self, effects: &mut Vec<Effect>) {
        match self.state {
            State::Starting => self.enter(Rung::Terminate, Next::Start, effects),
            State::Running => {
                self.history.absolve();
                self.enter(Rung::Drain, Next::Start, effects);
            }
            State::Idle
            | State::Stopped
            | State::Failed
            | State::Backoff { .. }
            | State::Quarantined { .. }
            | State::Ending { .. }
            | State::Fenced { .. } => self.start(effects),
        }
    }

    fn refuse(&mut self) {
        if self.state.is_at_rest() {
            self.rest(State::Failed);
        }
    }

    fn ready(&mut self, effects: &mut Vec<Effect>) {
        if self.state == State::Starting {
            self.state = State::Running;
            self.arm(self.history.stable_after(&self.policy), effects);
        }
    }

    fn dying(&mut self, effects: &mut Vec<Effect>) {
        match self.state {
            State::Starting | State::Running => self.enter(Rung::Kill, Next::Judge, effects),
            State::Ending { rung, next } if rung < Rung::Kill => {
                self.enter(Rung::Kill, next, effects);
            }
            State::Ending { .. }
            | State::Fenced { .. }
            | State::Idle
            | State::Stopped
            | State::Failed
            | State::Backoff { .. }
            | State::Quarantined { .. } => {}
        }
    }

    fn exited(&mut self, exit: Exit, dice: f64, effects: &mut Vec<Effect>) {
        let next = match self.state {
            State::Starting | State::Running => Next::Judge,
            State::Ending { next, .. } | State::Fenced { next } => next,
            State::Idle
            | State::Stopped
            | State::Failed
            | State::Backoff { .. }
            | State::Quarantined { .. } => return,
        };
        match next {
            Next::Stay => self.rest(State::Stopped),
            Next::Start => self.launch(effects),
            Next::Judge => match self.history.judge(&self.policy, exit, self.now, dice) {
                Verdict::Start(delay) => {
                    self.state = State::Backoff { delay };
                    self.arm(delay, effects);
                }
                Verdict::Quarantine(length) => {
                    self.state = State::Quarantined { length };
                    self.arm(length, effects);
                }
                Verdict::Stop => self.rest(State::Stopped),
                Verdict::Fail | Verdict::GiveUp => self.rest(State::Failed),
            },
        }
    }

    fn due(&mut self, effects: &mut Vec<Effect>) {
        self.armed = None;
        match self.state {
            State::Running => self.history.stable(),
            State::Backoff { .. } | State::Quarantined { .. } => {
                self.restarts = self.restarts.saturating_add(1);
                self.launch(effects);
            }
            State::Ending { rung: Rung::Kill, next } => {
                self.state = State::Fenced { next };
                effects.extend(self.instance.map(|instance| Effect::Alert { instance }));
                self.arm(self.ladder.fenced, effects);
            }
            State::Ending { rung, .. } => self.climb(rung, effects),
            State::Fenced { .. } => {
                effects.extend(self.instance.map(|instance| Effect::Kill { instance }));
                self.arm(self.ladder.fenced, effects);
            }
            State::Idle | State::Starting | State::Failed | State::Stopped => {}
        }
    }

    /// One rung down, if the slot still stands on `from`.
    fn climb(&mut self, from: Rung, effects: &mut Vec<Effect>) {
        let State::Ending { rung, next } = self.state else { return };
        if rung == from {
            let below = match rung {
                Rung::Drain => Rung::Shutdown,
                Rung::Shutdown => Rung::Eof,
                Rung::Eof => Rung::Terminate,
                Rung::Terminate | Rung::Kill => Rung::Kill,
            };
            self.enter(below, next, effects);
        }
    }

    fn enter(&mut self, rung: Rung, next: Next, effects: &mut Vec<Effect>) {
        let Some(instance) = self.instance else { return };
        self.state = State::Ending { rung, next };
        let (effect, bound) = match rung {
            Rung::Drain => (Effect::Drain { instance }, self.ladder.drain),
            Rung::Shutdown => (Effect::Shutdown { instance }, self.ladder.shutdown),
            Rung::Eof => (Effect::CloseInput { instance }, self.ladder.eof),
            Rung::Terminate => (Effect::Terminate { instance }, self.ladder.terminate),
            Rung::Kill => (Effect::Kill { instance }, self.ladder.kill),
        };
        effects.push(effect);
        self.arm(bound, effects);
    }

    fn launch(&mut self, effects: &mut Vec<Effect>) {
        let instance = self.instance.map_or(InstanceId::FIRST, InstanceId::next);
        self.instance = Some(instance);
        self.state = State::Starting;
        self.armed = None;
        effects.push(Effect::Launch { instance });
    }

    fn rest(&mut self, state: State) {
        self.armed = None;
        self.state = state;
    }

    fn arm(&mut self, after: Duration, effects: &mut Vec<Effect>) {
        self.timers += 1;
        let timer = TimerId(self.timers);
        self.armed = Some(timer);
        effects.push(Effect::Arm { timer, after });
    }
}

#[cfg(test)]
#[path = "slot_tests.rs"]
mod tests;
