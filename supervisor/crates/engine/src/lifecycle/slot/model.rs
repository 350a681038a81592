//! For tests: a world around one slot, with a clock that only the test moves.
//!
//! It carries the slot's effects out, and complains about those that cannot be: two processes in
//! one place, an order to nobody, a number used twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Change, Effect, Event, Generation, InstanceId, Moment, Needs, Rules, Slot, SwapStrategy, Timer,
    Turn,
};
use crate::lifecycle::{instance::Rung, restart::Exit};

/// The instance of this number.
pub(super) fn nth(number: u64) -> InstanceId {
    (1..number).fold(InstanceId::FIRST, |instance, _| instance.next())
}

/// A slot, and what is true around it.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) slot: Slot,
    /// The processes whose trees are not gone.
    pub(super) alive: BTreeSet<InstanceId>,
    /// When which timer is due, since the beginning.
    pub(super) timers: BTreeMap<Timer, Duration>,
    /// The last order to each process.
    pub(super) rungs: BTreeMap<InstanceId, Rung>,
    pub(super) now: Duration,
    pub(super) dice: f64,
    launched: Option<InstanceId>,
    /// The generation that state is to be handed over to.
    pub(super) handing: Option<Generation>,
    /// What became of exchanges.
    pub(super) turns: Vec<(Generation, Turn)>,
    /// The generation that was swapped in last.
    pub(super) youngest: Generation,
}

impl World {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            slot: Slot::new(rules, Needs::Met),
            alive: BTreeSet::new(),
            timers: BTreeMap::new(),
            rungs: BTreeMap::new(),
            now: Duration::ZERO,
            dice: 1.0,
            launched: None,
            handing: None,
            turns: Vec::new(),
            youngest: Generation::FIRST,
        }
    }

    /// Gives the slot an event and carries out what it says.
    pub(super) fn step(&mut self, event: Event) -> Vec<Effect> {
        if let Event::Exited(instance, _) = event {
            self.alive.remove(&instance);
        }
        let moment = Moment { now: self.now, dice: self.dice };
        let effects = self.slot.step(event, moment);
        self.carry_out_all(&effects);
        effects
    }

    /// Exchanges the generation for the next one, with as many instances as now.
    pub(super) fn swap(&mut self, strategy: SwapStrategy, bake: Duration) -> Vec<Effect> {
        self.youngest = self.youngest.next();
        let rules = self.slot.rules().clone();
        let effects = self.slot.swap(Change { to: self.youngest, rules, strategy, bake });
        self.carry_out_all(&effects);
        effects
    }

    fn carry_out_all(&mut self, effects: &[Effect]) {
        for effect in effects {
            self.carry_out(*effect);
        }
        let rules = self.slot.rules();
        let mut trees = BTreeMap::<Generation, usize>::new();
        for instance in self.slot.instances() {
            *trees.entry(instance.generation()).or_default() += 1;
        }
        let places = rules.instances + rules.spares;
        assert!(trees.values().all(|alive| *alive <= places), "more alive than places");
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Launch(instance) => {
                assert!(Some(instance) > self.launched, "a number used twice");
                self.launched = Some(instance);
                self.alive.insert(instance);
            }
            Effect::Descend(instance, rung) => {
                assert!(self.alive.contains(&instance), "an order to nobody");
                self.rungs.insert(instance, rung);
            }
            Effect::Arm(timer, after) => {
                self.timers.insert(timer, self.now + after);
            }
            Effect::Disarm(timer) => {
                self.timers.remove(&timer);
            }
            Effect::HandOver(to) => self.handing = Some(to),
            Effect::Exchange(to, turn) => self.turns.push((to, turn)),
            Effect::Alert(instance) => assert!(self.alive.contains(&instance)),
        }
    }

    /// Lets the time of a timer pass.
    pub(super) fn elapse(&mut self, timer: Timer) {
        let due = self.timers.remove(&timer).expect("the timer is armed");
        self.now = self.now.max(due);
    }

    /// Lets the time of a timer pass, and tells the slot.
    pub(super) fn pass(&mut self, timer: Timer) -> Vec<Effect> {
        self.elapse(timer);
        self.step(Event::Due(timer))
    }

    pub(super) fn exit(&mut self, instance: InstanceId, exit: Exit) -> Vec<Effect> {
        self.step(Event::Exited(instance, exit))
    }

    pub(super) fn exit_all(&mut self, exit: Exit) {
        for instance in self.alive.clone() {
            self.exit(instance, exit);
        }
    }

    /// Everyone who starts becomes ready, and whoever starts thereupon.
    pub(super) fn ready_all(&mut self) {
        let mut seen = BTreeSet::new();
        while let Some(instance) = self.alive.difference(&seen).next().copied() {
            self.step(Event::Ready(instance));
            seen.insert(instance);
        }
    }

    /// Who takes calls.
    pub(super) fn routable(&self) -> Vec<InstanceId> {
        let routable = self.slot.instances().iter().filter(|instance| instance.is_routable());
        routable.map(super::Instance::id).collect()
    }
}
