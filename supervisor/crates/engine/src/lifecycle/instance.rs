//! The life of one process, as far as its slot decides about it. Pure.
//!
//! ```text
//! starting    ready → ready · end, hasten → terminate · dying → kill
//! ready       end, hasten → drain · dying → kill
//! drain       dying → kill · drained, due → shutdown · hasten → terminate
//! shutdown    due, shut down → eof · dying → kill · hasten → terminate
//! eof         dying → kill · due, hasten → terminate
//! terminate   due, dying, hasten → kill
//! kill        due → unkillable
//! ```
//!
//! The stop ladder: calls in flight may finish, the `shutdown` request, the end of input, SIGTERM,
//! the tree kill. Each rung has a bound, so an end comes, or the process is unkillable (the kernel
//! holds it) and keeps its place. From everywhere, *exited* leads out: the slot forgets the
//! instance.

use std::time::Duration;

use super::identity::{Generation, InstanceId};

/// A rung of the stop ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// From the tree kill until the process counts as unkillable.
    pub kill: Duration,
    /// Between kills of an unkillable tree.
    pub fenced: Duration,
}

impl Default for Ladder {
    /// 30 s, 5 s, 2 s, 3 s, 5 s: 45 s in all; an unkillable tree is killed again every 30 s.
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

/// How well a ready instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Fitness {
    /// Nothing is wrong with it.
    #[default]
    Fit,
    /// It is slow to answer for itself; it is called all the same.
    Ailing,
    /// It says, or shows, that it can take no calls; those in flight go on.
    Unready,
    /// It has said its last word: it is about to be seen to end.
    Silent,
}

/// Whether an end was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Motive {
    /// Yes: a stop, a restart, a rest.
    Asked,
    /// No: the restart policy has its say.
    Unasked,
}

/// What an instance is for, once it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// It takes calls.
    Active,
    /// It takes calls as soon as an active one is lost.
    Spare,
    /// It is of a generation that does not answer: not yet, or not any more.
    Aside,
}

/// How far an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Being started and greeted.
    Starting,
    /// The handshake is done.
    Ready(Fitness),
    /// On its way down.
    Ending {
        /// How far down the ladder.
        rung: Rung,
        /// Whether somebody wanted that.
        motive: Motive,
    },
    /// It cannot be killed.
    Unkillable {
        /// Whether its end was asked for.
        motive: Motive,
    },
}

impl Phase {
    /// The phase's name in statuses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready(Fitness::Fit) => "ready",
            Self::Ready(Fitness::Ailing) => "ailing",
            Self::Ready(Fitness::Unready) => "unready",
            Self::Ready(Fitness::Silent) => "silent",
            Self::Ending { rung: Rung::Drain, .. } => "draining",
            Self::Ending { motive: Motive::Asked, .. } => "stopping",
            Self::Ending { motive: Motive::Unasked, .. } => "dying",
            Self::Unkillable { .. } => "unkillable",
        }
    }
}

/// What happens to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The handshake is done.
    Ready,
    /// It is as well as this now.
    Fitness(Fitness),
    /// Its slot wants it to end, politely.
    End,
    /// Its slot wants that to go faster.
    Hasten,
    /// The main process is gone or was condemned; its tree is being killed.
    Dying,
    /// The last call in flight was answered, while draining.
    Drained,
    /// The plugin answered the `shutdown` request.
    ShutDown,
    /// Its timer is due.
    Due,
}

/// What must be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Carry out this rung of the ladder.
    Descend(Rung),
    /// Bring its timer back after this; replaces the one armed before.
    Arm(Duration),
    /// It has been ready for as long as its slot wanted to see.
    Stable,
    /// It could not be killed: tell somebody.
    Alert,
}

/// One process of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    id: InstanceId,
    generation: Generation,
    role: Role,
    phase: Phase,
}

impl Instance {
    /// One that is being started. It is a spare until its slot needs it.
    #[must_use]
    pub fn new(id: InstanceId, generation: Generation) -> Self {
        Self { id, generation, role: Role::Spare, phase: Phase::Starting }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> InstanceId {
        self.id
    }

    /// Which version and configuration it is of.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// What it is for.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// How far it is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the handshake is done and nothing has ended it since.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready(_))
    }

    /// Whether it can take calls, if that is what it is for.
    #[must_use]
    pub fn is_able(&self) -> bool {
        matches!(self.phase, Phase::Ready(Fitness::Fit | Fitness::Ailing))
    }

    /// Whether it takes calls now.
    #[must_use]
    pub fn is_routable(&self) -> bool {
        self.role == Role::Active && self.is_able()
    }

    /// Whether it is on its way down, or would be if it could be killed.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        matches!(self.phase, Phase::Ending { .. } | Phase::Unkillable { .. })
    }

    /// Whether its end, if it came now, would be one that was asked for.
    #[must_use]
    pub fn motive(&self) -> Motive {
        match self.phase {
            Phase::Starting | Phase::Ready(_) => Motive::Unasked,
            Phase::Ending { motive, .. } | Phase::Unkillable { motive } => motive,
        }
    }

    /// Gives it another role.
    pub(super) fn assign(&mut self, role: Role) {
        self.role = role;
    }

    /// Takes one event and says what must be done, in order.
    pub fn step(&mut self, event: Event, ladder: &Ladder) -> Vec<Effect> {
        match (event, self.phase) {
            (Event::Ready, Phase::Starting) => {
                self.phase = Phase::Ready(Fitness::Fit);
                Vec::new()
            }
            // Who has said its last word does not recover.
            (Event::Fitness(_), Phase::Ready(Fitness::Silent)) => Vec::new(),
            (Event::Fitness(fitness), Phase::Ready(_)) => {
                self.phase = Phase::Ready(fitness);
                Vec::new()
            }
            (Event::End | Event::Hasten, Phase::Starting) => {
                self.enter(Rung::Terminate, Motive::Asked, ladder)
            }
            (Event::End | Event::Hasten, Phase::Ready(_)) => {
                self.enter(Rung::Drain, Motive::Asked, ladder)
            }
            (Event::End, Phase::Ending { rung, .. }) => {
                self.phase = Phase::Ending { rung, motive: Motive::Asked };
                Vec::new()
            }
            (Event::End | Event::Hasten, Phase::Unkillable { .. }) => {
                self.phase = Phase::Unkillable { motive: Motive::Asked };
                Vec::new()
            }
            (Event::Hasten, Phase::Ending { rung, .. }) => self.hasten(rung, ladder),
            (Event::Dying, Phase::Starting | Phase::Ready(_)) => {
                self.enter(Rung::Kill, Motive::Unasked, ladder)
            }
            (Event::Dying, Phase::Ending { rung, motive }) if rung < Rung::Kill => {
                self.enter(Rung::Kill, motive, ladder)
            }
            (Event::Drained, Phase::Ending { rung: rung @ Rung::Drain, motive })
            | (Event::ShutDown, Phase::Ending { rung: rung @ Rung::Shutdown, motive }) => {
                self.enter(below(rung), motive, ladder)
            }
            (Event::Due, _) => self.due(ladder),
            (
                Event::Ready | Event::Fitness(_) | Event::Dying | Event::Drained | Event::ShutDown,
                _,
            ) => Vec::new(),
        }
    }

    fn due(&mut self, ladder: &Ladder) -> Vec<Effect> {
        match self.phase {
            Phase::Starting => Vec::new(),
            Phase::Ready(_) => vec![Effect::Stable],
            Phase::Ending { rung: Rung::Kill, motive } => {
                self.phase = Phase::Unkillable { motive };
                vec![Effect::Alert, Effect::Arm(ladder.fenced)]
            }
            Phase::Ending { rung, motive } => self.enter(below(rung), motive, ladder),
            Phase::Unkillable { .. } => {
                vec![Effect::Descend(Rung::Kill), Effect::Arm(ladder.fenced)]
            }
        }
    }

    /// To SIGTERM, or on to the kill.
    fn hasten(&mut self, rung: Rung, ladder: &Ladder) -> Vec<Effect> {
        match rung {
            Rung::Drain | Rung::Shutdown | Rung::Eof => {
                self.enter(Rung::Terminate, Motive::Asked, ladder)
            }
            Rung::Terminate => self.enter(Rung::Kill, Motive::Asked, ladder),
            Rung::Kill => {
                self.phase = Phase::Ending { rung, motive: Motive::Asked };
                Vec::new()
            }
        }
    }

    fn enter(&mut self, rung: Rung, motive: Motive, ladder: &Ladder) -> Vec<Effect> {
        self.phase = Phase::Ending { rung, motive };
        let bound = match rung {
            Rung::Drain => ladder.drain,
            Rung::Shutdown => ladder.shutdown,
            Rung::Eof => ladder.eof,
            Rung::Terminate => ladder.terminate,
            Rung::Kill => ladder.kill,
        };
        vec![Effect::Descend(rung), Effect::Arm(bound)]
    }
}

fn below(rung: Rung) -> Rung {
    match rung {
        Rung::Drain => Rung::Shutdown,
        Rung::Shutdown => Rung::Eof,
        Rung::Eof => Rung::Terminate,
        Rung::Terminate | Rung::Kill => Rung::Kill,
    }
}
