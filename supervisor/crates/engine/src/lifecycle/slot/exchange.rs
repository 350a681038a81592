//! How one generation takes the place of another.
//!
//! The new one comes up beside the old one, aside from calls. When all of it is ready, the slot's
//! generation changes, in one step: who was aside answers, who answered stands aside. The old one
//! stays warm while the new one proves itself (the bake), and takes over again in one step if it
//! does not.
//!
//! ```text
//! parting ──all gone──► coming ──all ready──► (handing over) ──► baking ──in time──► leaving ──gone──► ∅
//!  exclusive only         │ one ends            │ fails              │ one ends, asked   ▲
//!                         └─────► aborted ──────┴──► leaving         └──► rolled back ───┘
//! ```
//!
//! The old generation is never told to go before the new one is ready, except where the two must
//! not run at once (`exclusive`).

use std::time::Duration;

use super::{Effect, Slot, Timer, Wish};
use crate::lifecycle::{
    identity::{Generation, InstanceId},
    instance::{self, Instance, Phase, Role},
    slot::Rules,
};

/// How long a new generation may take to be ready: a start may take five minutes.
const COMING: Duration = Duration::from_secs(360);
/// How long the state of the old generation may take to become the new one's.
const HAND_OVER: Duration = Duration::from_secs(15);

/// How a new generation takes the place of the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SwapStrategy {
    /// Both run for a while; calls go to the new one as soon as it is ready.
    #[default]
    Overlap,
    /// The same, and the old one's state becomes the new one's; calls wait meanwhile.
    Handoff,
    /// The old one is gone before the new one starts; calls wait meanwhile.
    Exclusive,
}

impl SwapStrategy {
    /// Its name in manifests and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::Handoff => "handoff",
            Self::Exclusive => "exclusive",
        }
    }
}

/// One generation for another, as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The new generation; higher than any before it.
    pub to: Generation,
    /// What its slot goes by then.
    pub rules: Rules,
    /// How it takes the old one's place.
    pub strategy: SwapStrategy,
    /// For how long it must prove itself.
    pub bake: Duration,
}

/// How far an exchange is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The old generation goes first.
    Parting,
    /// The new one comes up.
    Coming,
    /// The state of the old one becomes the new one's.
    HandingOver,
    /// The new one answers, and the old one stands by.
    Baking,
    /// It is decided; what lost goes.
    Leaving,
}

impl Stage {
    /// Its name in statuses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Parting => "parting",
            Self::Coming => "coming",
            Self::HandingOver => "handing over",
            Self::Baking => "baking",
            Self::Leaving => "leaving",
        }
    }
}

/// Why a new generation did not take, or keep, the old one's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setback {
    /// This process of it ended.
    Ended(InstanceId),
    /// The state was not handed over.
    State,
    /// It was not ready in time, or the state was not handed over in time.
    Late,
    /// This process of the old one cannot be killed.
    Stuck(InstanceId),
    /// Another change was wanted meanwhile.
    Superseded,
    /// Somebody, or what was measured, wanted the old one back.
    Recalled,
    /// The plugin was to stop, or to start anew.
    Disturbed,
}

/// A turn that an exchange took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It began, in the place of this generation.
    Begun(Generation),
    /// The new generation answers from now on.
    Switched,
    /// The new generation has proved itself, or nobody wanted to wait for that.
    Kept,
    /// The old generation has never been left.
    Aborted(Setback),
    /// The old generation answers again.
    RolledBack(Setback),
    /// What lost is gone.
    Over,
}

/// An exchange under way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Exchange {
    /// The one that came, whether it stays or not.
    to: Generation,
    strategy: SwapStrategy,
    bake: Duration,
    stage: Stage,
    /// The generation that does not answer, and what the slot goes by with it.
    other: (Generation, Rules),
}

impl Slot {
    /// How far an exchange is, and of what for what, if one is under way.
    #[must_use]
    pub fn exchange(&self) -> Option<(Stage, SwapStrategy, Generation)> {
        self.exchange.as_ref().map(|exchange| (exchange.stage, exchange.strategy, exchange.to))
    }

    /// Whether calls wait while the state of the old generation becomes the new one's.
    #[must_use]
    pub fn is_handing_over(&self) -> bool {
        self.stage() == Some(Stage::HandingOver)
    }

    /// Whether nobody takes calls on account of an exchange, and somebody soon will.
    #[must_use]
    pub fn holds_back(&self) -> bool {
        self.is_handing_over() || (self.is_held_back() && self.serving() == 0)
    }

    /// Exchanges the generation. One that is under way is given up if it has not switched, and kept
    /// if it has; of several that wait, the last one counts.
    pub fn swap(&mut self, change: Change) -> Vec<Effect> {
        let mut effects = Vec::new();
        match self.stage() {
            Some(Stage::Parting | Stage::Coming | Stage::HandingOver) => {
                self.abort(Setback::Superseded, &mut effects);
            }
            Some(Stage::Baking) => self.keep(&mut effects),
            Some(Stage::Leaving) | None => {}
        }
        if let Some(overtaken) = self.queued.replace(change) {
            let turn = Turn::Aborted(Setback::Superseded);
            effects.push(Effect::Exchange(overtaken.to, turn));
        }
        self.settle(&mut effects);
        effects
    }

    pub(super) fn stage(&self) -> Option<Stage> {
        self.exchange.as_ref().map(|exchange| exchange.stage)
    }

    /// Whether no process of the generation that answers is to be started, because it may not have
    /// the other beside itself.
    pub(super) fn is_held_back(&self) -> bool {
        let aside = self.instances.iter().any(|one| one.role() == Role::Aside);
        self.exchange.as_ref().is_some_and(|exchange| {
            exchange.strategy == SwapStrategy::Exclusive
                && (aside || matches!(exchange.stage, Stage::Parting | Stage::Coming))
        })
    }

    /// Takes an exchange as far as it goes now.
    pub(super) fn advance(&mut self, effects: &mut Vec<Effect>) {
        loop {
            let before = self.exchange().map(|(stage, _, to)| (stage, to));
            self.part_ways(effects);
            self.take_up(effects);
            match self.stage() {
                Some(Stage::Parting) => self.part(effects),
                Some(Stage::Coming) => self.bring_up(effects),
                Some(Stage::HandingOver | Stage::Baking | Stage::Leaving) | None => {}
            }
            if before == self.exchange().map(|(stage, _, to)| (stage, to)) {
                return;
            }
        }
    }

    /// Goes on when the old generation is gone. What cannot be killed would be waited for for ever.
    fn part(&mut self, effects: &mut Vec<Effect>) {
        if self.instances.is_empty() {
            self.begin_coming(effects);
        } else if let Some(stuck) = self.instances.iter().find(|one| is_stuck(one)) {
            self.abort(Setback::Stuck(stuck.id()), effects);
        }
    }

    fn begin_coming(&mut self, effects: &mut Vec<Effect>) {
        self.enter(Stage::Coming);
        effects.push(Effect::Arm(Timer::Exchange, COMING));
    }

    /// Ends an exchange when what lost is gone, or cannot be killed.
    fn part_ways(&mut self, effects: &mut Vec<Effect>) {
        let Some(exchange) = &self.exchange else { return };
        let leaves = |one: &Instance| one.role() == Role::Aside && !is_stuck(one);
        let present = self.instances.iter().any(leaves);
        if exchange.stage == Stage::Leaving && !present {
            effects.push(Effect::Exchange(exchange.to, Turn::Over));
            self.exchange = None;
        }
    }

    /// Begins the exchange that waits, if none is under way.
    fn take_up(&mut self, effects: &mut Vec<Effect>) {
        if self.exchange.is_some() {
            return;
        }
        let Some(Change { to, rules, strategy, bake }) = self.queued.take() else { return };
        effects.push(Effect::Exchange(to, Turn::Begun(self.generation)));
        let stage = match strategy {
            SwapStrategy::Exclusive => Stage::Parting,
            SwapStrategy::Overlap | SwapStrategy::Handoff => Stage::Coming,
        };
        let serves = self.wish == Wish::Up && self.serving() > 0;
        self.exchange = Some(Exchange { to, strategy, bake, stage, other: (to, rules) });
        if !serves {
            // There is nothing that could be kept, and no place to wait for.
            self.switch(effects);
            self.absolve(effects);
            self.dismiss(effects);
            effects.push(Effect::Exchange(to, Turn::Kept));
        } else if stage == Stage::Parting {
            for id in self.those(|one| !one.is_leaving()) {
                self.pass(id, instance::Event::End, effects);
            }
        } else {
            self.begin_coming(effects);
        }
    }

    /// Starts what the new generation lacks, and goes on when all of it is ready.
    fn bring_up(&mut self, effects: &mut Vec<Effect>) {
        let Some(Exchange { to, strategy, other: (_, rules), .. }) = &self.exchange else { return };
        let (to, strategy, wanted) = (*to, *strategy, rules.instances);
        let present = self.instances.iter().filter(|one| one.generation() == to).count();
        for _ in present..wanted {
            self.launch_aside(to, effects);
        }
        let able = self.instances.iter().filter(|one| one.generation() == to && one.is_able());
        if able.count() < wanted {
            return;
        }
        if strategy == SwapStrategy::Handoff && self.serving() > 0 {
            self.enter(Stage::HandingOver);
            effects.push(Effect::Arm(Timer::Exchange, HAND_OVER));
            effects.push(Effect::HandOver(to));
        } else {
            self.commit(effects);
        }
    }

    /// The state was handed over, or was not.
    pub(super) fn handed_over(&mut self, to: Generation, done: bool, effects: &mut Vec<Effect>) {
        let current = self.exchange.as_ref().is_some_and(|exchange| exchange.to == to);
        if !current || self.stage() != Some(Stage::HandingOver) {
            return;
        }
        if done {
            self.commit(effects);
        } else {
            self.abort(Setback::State, effects);
        }
    }

    /// The time that an exchange had is over.
    pub(super) fn exchange_due(&mut self, effects: &mut Vec<Effect>) {
        match self.stage() {
            Some(Stage::Coming | Stage::HandingOver) => self.abort(Setback::Late, effects),
            Some(Stage::Baking) => self.keep(effects),
            Some(Stage::Parting | Stage::Leaving) | None => {}
        }
    }

    /// Somebody wants the old generation back, or not to lose it.
    pub(super) fn recall(&mut self, to: Generation, effects: &mut Vec<Effect>) {
        if self.exchange.as_ref().is_some_and(|exchange| exchange.to == to) {
            self.give_up(Setback::Recalled, effects);
        }
    }

    /// Somebody has seen enough of the bake.
    pub(super) fn accept(&mut self, to: Generation, effects: &mut Vec<Effect>) {
        let current = self.exchange.as_ref().is_some_and(|exchange| exchange.to == to);
        if current && self.stage() == Some(Stage::Baking) {
            self.keep(effects);
        }
    }

    /// Something else is wanted of the slot: an exchange is brought to an end, either way.
    pub(super) fn conclude(&mut self, effects: &mut Vec<Effect>) {
        if let Some(waiting) = self.queued.take() {
            let turn = Turn::Aborted(Setback::Disturbed);
            effects.push(Effect::Exchange(waiting.to, turn));
        }
        match self.stage() {
            Some(Stage::Parting | Stage::Coming | Stage::HandingOver) => {
                self.abort(Setback::Disturbed, effects);
            }
            Some(Stage::Baking) => self.keep(effects),
            Some(Stage::Leaving) | None => {}
        }
    }

    /// A process ends that nobody asked to. Says whether an exchange takes care of that.
    pub(super) fn falls(&mut self, one: &Instance, effects: &mut Vec<Effect>) -> bool {
        let Some((stage, _, to)) = self.exchange() else { return false };
        let fails = stage == Stage::Baking && one.generation() == to && !one.is_leaving();
        if fails {
            self.roll_back(Setback::Ended(one.id()), effects);
        }
        fails
    }

    /// A process that stood aside is gone.
    pub(super) fn fell_aside(&mut self, gone: &Instance, effects: &mut Vec<Effect>) {
        let Some((stage, _, to)) = self.exchange() else { return };
        if gone.generation() == to && matches!(stage, Stage::Coming | Stage::HandingOver) {
            self.abort(Setback::Ended(gone.id()), effects);
        }
    }

    /// The old generation is kept, or comes back.
    fn give_up(&mut self, setback: Setback, effects: &mut Vec<Effect>) {
        match self.stage() {
            Some(Stage::Parting | Stage::Coming | Stage::HandingOver) => {
                self.abort(setback, effects);
            }
            Some(Stage::Baking) => self.roll_back(setback, effects),
            Some(Stage::Leaving) | None => {}
        }
    }

    fn abort(&mut self, setback: Setback, effects: &mut Vec<Effect>) {
        let Some(to) = self.exchange.as_ref().map(|exchange| exchange.to) else { return };
        self.dismiss(effects);
        effects.push(Effect::Exchange(to, Turn::Aborted(setback)));
    }

    fn commit(&mut self, effects: &mut Vec<Effect>) {
        let Some((to, bake)) = self.exchange.as_ref().map(|one| (one.to, one.bake)) else { return };
        self.switch(effects);
        self.absolve(effects);
        effects.push(Effect::Exchange(to, Turn::Switched));
        if bake.is_zero() {
            self.keep(effects);
        } else {
            self.enter(Stage::Baking);
            effects.push(Effect::Arm(Timer::Exchange, bake));
        }
    }

    fn keep(&mut self, effects: &mut Vec<Effect>) {
        let Some(to) = self.exchange.as_ref().map(|exchange| exchange.to) else { return };
        self.dismiss(effects);
        effects.push(Effect::Exchange(to, Turn::Kept));
    }

    fn roll_back(&mut self, setback: Setback, effects: &mut Vec<Effect>) {
        let Some(to) = self.exchange.as_ref().map(|exchange| exchange.to) else { return };
        self.switch(effects);
        self.absolve(effects);
        self.dismiss(effects);
        effects.push(Effect::Exchange(to, Turn::RolledBack(setback)));
    }

    /// Who was aside answers, who answered stands aside.
    fn switch(&mut self, effects: &mut Vec<Effect>) {
        let Some(exchange) = &mut self.exchange else { return };
        std::mem::swap(&mut self.generation, &mut exchange.other.0);
        std::mem::swap(&mut self.rules, &mut exchange.other.1);
        for instance in &mut self.instances {
            let own = instance.generation() == self.generation;
            instance.assign(if own { Role::Spare } else { Role::Aside });
        }
        self.promote();
        // Its proof of being stable is another's now.
        if self.watched {
            effects.push(Effect::Disarm(Timer::Rest));
            self.watched = false;
        }
    }

    /// Lets those go that stand aside.
    fn dismiss(&mut self, effects: &mut Vec<Effect>) {
        if matches!(self.stage(), Some(Stage::Coming | Stage::HandingOver | Stage::Baking)) {
            effects.push(Effect::Disarm(Timer::Exchange));
        }
        self.enter(Stage::Leaving);
        for id in self.those(|one| one.role() == Role::Aside && !one.is_leaving()) {
            self.pass(id, instance::Event::End, effects);
        }
    }

    fn enter(&mut self, stage: Stage) {
        if let Some(exchange) = &mut self.exchange {
            exchange.stage = stage;
        }
    }

    fn launch_aside(&mut self, to: Generation, effects: &mut Vec<Effect>) {
        let id = self.newest.map_or(InstanceId::FIRST, InstanceId::next);
        self.newest = Some(id);
        let mut instance = Instance::new(id, to);
        instance.assign(Role::Aside);
        self.instances.push(instance);
        effects.push(Effect::Launch(id));
    }
}

/// Whether it cannot be killed.
fn is_stuck(instance: &Instance) -> bool {
    matches!(instance.phase(), Phase::Unkillable { .. })
}
