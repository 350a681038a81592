//! The life of one plugin name: what is wanted, what is, and what must be done about it.
//!
//! A slot outlives its processes. It holds a few facts: what is wished, whether its gate lets
//! automatic starts through, whether what it depends on is there, and its instances, each with a
//! life of its own ([`super::instance`]). Each event changes a fact; then the slot does whatever
//! brings its instances nearer to what is wanted: promotes a spare, starts what is missing. Where
//! it is ([`State`]) follows from the facts and is kept nowhere.
//!
//! Pure: [`Slot::step`] takes an event and returns effects. An event of an instance that is gone
//! changes nothing. A timer is armed by an effect and comes back as an event; arming it again
//! replaces it.
//!
//! With one instance, this is every way from state to state (`rested` is what [`Timer::Rest`] brings,
//! `due` is any other timer; `needs`, `yield`, `pause` and `banish` come from other plugins):
//!
//! ```text
//! backoff     refuse → failed · banish → quarantined · due, restart, start → starting, waiting ·
//!             stop → stopped
//! crashed     exited → backoff, failed, quarantined, stopped · due → fenced ·
//!             restart, start → restarting · stop → stopping
//! degraded    exited → backoff, failed, quarantined, stopped · dying → crashed ·
//!             banish, restart, yield → restarting · rested → resting · fitness, pause → running ·
//!             stop → stopping
//! failed      restart, start → starting, waiting · stop → stopped
//! fenced      exited → backoff, failed, idle, quarantined, starting, stopped, waiting
//! idle        refuse → failed · restart, start, wanted → starting, waiting · stop → stopped
//! quarantined refuse → failed · due, restart, start → starting, waiting · stop → stopped
//! restarting  due → fenced · exited → quarantined, starting, waiting · stop → stopping
//! resting     due → fenced · exited → idle · restart, start, wanted → restarting · stop → stopping
//! running     exited → backoff, failed, quarantined, stopped · dying → crashed ·
//!             fitness, pause → degraded · banish, restart, yield → restarting · rested → resting ·
//!             stop → stopping
//! starting    exited → backoff, failed, quarantined, stopped · dying → crashed ·
//!             ready → degraded, running · banish, restart, yield → restarting · stop → stopping
//! stopped     refuse → failed · restart, start → starting, waiting
//! stopping    due → fenced · restart, start → restarting · exited → stopped
//! waiting     refuse → failed · banish → quarantined · needs → starting · stop → stopped
//! ```
//!
//! What restrains a slot:
//! - Never are more trees alive than places (instances and spares), those that cannot be killed
//!   included. So a plugin with one place never runs twice.
//! - Spares are started when all active instances are ready, so that they do not delay them.
//! - One round of starts is judged once: deaths while the gate is shut already do not count again,
//!   or an outage that takes eight instances at once would trip the breaker at once.
//! - After a quarantine one instance is tried; the others follow when it has proved stable.

mod exchange;
mod standing;
mod state;

use std::time::Duration;

pub use exchange::{Change, Setback, Stage, SwapStrategy, Turn};
pub use standing::{Marks, Standing};
pub use state::{Hope, State};

use exchange::Exchange;

use super::{
    Moment,
    identity::{Generation, InstanceId},
    instance::{self, Fitness, Instance, Ladder, Motive, Phase, Role, Rung},
    restart::{Exit, History, Policy, Verdict},
};

/// Names a timer of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// The gate is to be opened.
    Gate,
    /// It is to be seen how long nobody has called.
    Rest,
    /// What an exchange of the generation waits for has taken its time.
    Exchange,
    /// What an instance waits for: its proof of stability, or the end of a rung.
    Instance(InstanceId),
}

/// Whether what a plugin depends on is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Needs {
    /// All of it, or there is nothing.
    Met,
    /// Not all of it.
    Missing(Hope),
}

/// What happens to a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Somebody wants the plugin up. An operator's start is never refused and absolves its past.
    Start,
    /// A call came for a plugin that nobody wanted so far, or for a while; or its host starts. What
    /// an earlier host knew of it still counts.
    Wanted,
    /// Somebody wants it down. A second stop skips to SIGTERM, a third to the tree kill.
    Stop,
    /// Somebody wants it down and up again.
    Restart,
    /// The plugin can never run as it is (its configuration is refused).
    Refuse,
    /// What it depends on came or went.
    Needs(Needs),
    /// What it depends on was lost or is another now, or it falls with its group: what runs is
    /// ended, and started again when all that it needs is there.
    Yield,
    /// It is to take no calls until what it depends on is back, or may again.
    Pause(bool),
    /// Its group fell too often: it is left alone for this long, then tried once.
    Banish(Duration),
    /// The state of the old generation is this one's now, or could not be made so; answers
    /// [`Effect::HandOver`].
    HandedOver(Generation, bool),
    /// The exchange for this generation is to be given up: the old one stays, or answers again.
    Recall(Generation),
    /// This generation need not prove itself any longer.
    Accept(Generation),
    /// Nobody has called for this long; answers [`Timer::Rest`]. Zero while a call is in flight.
    Rested(Duration),
    /// The handshake is done.
    Ready(InstanceId),
    /// It is as well as this now.
    Fitness(InstanceId, Fitness),
    /// The main process is gone or was condemned; its tree is being killed.
    Dying(InstanceId),
    /// The last call in flight was answered, while draining.
    Drained(InstanceId),
    /// The plugin answered the `shutdown` request.
    ShutDown(InstanceId),
    /// The whole tree is gone.
    Exited(InstanceId, Exit),
    /// An armed timer is due.
    Due(Timer),
}

/// What must be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Start a process as this instance.
    Launch(InstanceId),
    /// Carry out this rung of the stop ladder.
    Descend(InstanceId, Rung),
    /// Bring this timer back when the time has passed. Replaces it if it was armed before.
    Arm(Timer, Duration),
    /// Forget this timer, if it is armed.
    Disarm(Timer),
    /// A process could not be killed: tell somebody.
    Alert(InstanceId),
    /// Make the state of the generation that answers that of this one, and say how it went.
    HandOver(Generation),
    /// The exchange for this generation took a turn: tell somebody.
    Exchange(Generation, Turn),
}

/// What a slot goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Processes that take calls.
    pub instances: usize,
    /// Processes kept ready to take the place of one that dies.
    pub spares: usize,
    /// Without a call for this long it is stopped until the next one.
    pub idle_stop: Option<Duration>,
    /// When it is started again.
    pub policy: Policy,
    /// How it is stopped.
    pub ladder: Ladder,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            instances: 1,
            spares: 0,
            idle_stop: None,
            policy: Policy::default(),
            ladder: Ladder::default(),
        }
    }
}

/// What is wished of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    /// Nothing, until a call comes.
    Nothing,
    Up,
    Down,
}

/// Whether automatic starts go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// After a quarantine: one, to see whether it lasts.
    Trial(Option<InstanceId>),
    Backoff(Duration),
    Quarantine(Duration),
    /// The policy wants it to stay down.
    Stopped,
    /// It cannot run.
    Failed,
}

/// The life of one plugin name.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    rules: Rules,
    wish: Wish,
    gate: Gate,
    needs: Needs,
    instances: Vec<Instance>,
    generation: Generation,
    newest: Option<InstanceId>,
    history: History,
    restarts: u64,
    /// Instances that died unasked and were not replaced yet.
    lost: u64,
    /// Whether one died unasked since the slot was last whole.
    wounded: bool,
    /// Whether [`Timer::Rest`] is armed.
    watched: bool,
    /// Whether it takes no calls because it lacks what it depends on.
    paused: bool,
    exchange: Option<Exchange>,
    /// What is exchanged for next.
    queued: Option<Change>,
}

impl Slot {
    /// A slot whose plugin is not wanted yet.
    #[must_use]
    pub fn new(rules: Rules, needs: Needs) -> Self {
        Self {
            rules,
            wish: Wish::Nothing,
            gate: Gate::Open,
            needs,
            instances: Vec::new(),
            generation: Generation::FIRST,
            newest: None,
            history: History::default(),
            restarts: 0,
            lost: 0,
            wounded: false,
            watched: false,
            paused: false,
            exchange: None,
            queued: None,
        }
    }

    /// Where it is: what is ready counts first, then what moves, then what keeps it down.
    #[must_use]
    pub fn state(&self) -> State {
        // Who stands aside counts only when all of it is to end.
        let counts = |one: &&Instance| one.role() != Role::Aside || self.wish != Wish::Up;
        let any = |test: fn(&Instance) -> bool| self.instances.iter().filter(counts).any(test);
        if self.serving() > 0 {
            return if self.is_whole() && !self.paused { State::Running } else { State::Degraded };
        }
        if any(|instance| instance.phase() == Phase::Starting) {
            return State::Starting;
        }
        if any(|instance| matches!(instance.phase(), Phase::Ending { .. })) {
            return match self.wish {
                Wish::Down => State::Stopping,
                Wish::Nothing => State::Resting,
                Wish::Up if any(|instance| instance.motive() == Motive::Unasked) => State::Crashed,
                Wish::Up => State::Restarting,
            };
        }
        if any(Instance::is_leaving) {
            return State::Fenced;
        }
        match (self.wish, self.gate, self.needs) {
            (Wish::Up | Wish::Nothing, Gate::Failed, _) => State::Failed,
            (Wish::Down, ..) | (Wish::Up, Gate::Stopped, _) => State::Stopped,
            (Wish::Nothing, ..) => State::Idle,
            (Wish::Up, Gate::Backoff(delay), _) => State::Backoff { delay },
            (Wish::Up, Gate::Quarantine(length), _) => State::Quarantined { length },
            (Wish::Up, Gate::Open | Gate::Trial(_), Needs::Missing(hope)) => State::Waiting(hope),
            // Not seen from outside: the step that leads here launches.
            (Wish::Up, Gate::Open | Gate::Trial(_), Needs::Met) => State::Starting,
        }
    }

    /// Its processes, those that are on their way down included.
    #[must_use]
    pub fn instances(&self) -> &[Instance] {
        &self.instances
    }

    /// Whether what it depends on is there, as far as it was told.
    #[must_use]
    pub fn needs(&self) -> Needs {
        self.needs
    }

    /// Whether it takes no calls until what it depends on is back.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// The version and configuration that is started.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The instance that was started last.
    #[must_use]
    pub fn newest(&self) -> Option<InstanceId> {
        self.newest
    }

    /// What it goes by.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// How often the restart policy replaced an instance.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Failures in a row, without stability between them.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.history.failures()
    }

    /// Takes one event and says what must be done, in order.
    pub fn step(&mut self, event: Event, moment: Moment) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Start => self.start(&mut effects),
            Event::Wanted if self.wish == Wish::Nothing && self.gate != Gate::Failed => {
                self.wish = Wish::Up;
            }
            Event::Wanted => {}
            Event::Stop => self.stop(&mut effects),
            Event::Restart => self.restart(&mut effects),
            Event::Refuse if self.instances.is_empty() => self.shut(Gate::Failed, &mut effects),
            Event::Refuse => {}
            Event::Needs(needs) => self.needs = needs,
            Event::Yield => self.release(&mut effects),
            Event::Pause(paused) => self.paused = paused,
            Event::Banish(length) => self.banish(length, &mut effects),
            Event::HandedOver(to, done) => self.handed_over(to, done, &mut effects),
            Event::Recall(to) => self.recall(to, &mut effects),
            Event::Accept(to) => self.accept(to, &mut effects),
            Event::Rested(rested) => self.rested(rested, &mut effects),
            Event::Ready(id) => self.ready(id, &mut effects),
            Event::Fitness(id, fitness) => {
                self.pass(id, instance::Event::Fitness(fitness), &mut effects);
            }
            Event::Dying(id) => {
                if let Some(one) = self.get(id).cloned() {
                    self.falls(&one, &mut effects);
                }
                self.pass(id, instance::Event::Dying, &mut effects);
            }
            Event::Drained(id) => self.pass(id, instance::Event::Drained, &mut effects),
            Event::ShutDown(id) => self.pass(id, instance::Event::ShutDown, &mut effects),
            Event::Exited(id, exit) => self.exited(id, exit, moment, &mut effects),
            Event::Due(Timer::Instance(id)) => {
                self.pass(id, instance::Event::Due, &mut effects);
            }
            Event::Due(Timer::Gate) => self.open(),
            Event::Due(Timer::Exchange) => self.exchange_due(&mut effects),
            // What is asked then is answered with `Rested`.
            Event::Due(Timer::Rest) => {}
        }
        self.settle(&mut effects);
        debug_assert!(self.present() <= self.places(), "more processes than places: {self:?}");
        effects
    }

    fn start(&mut self, effects: &mut Vec<Effect>) {
        let leaving = self.instances.iter().any(Instance::is_leaving);
        if self.wish == Wish::Up && self.gate == Gate::Open && !leaving {
            return;
        }
        self.wish = Wish::Up;
        self.absolve(effects);
        // Those that leave are replaced when they are gone, however they came to it.
        for id in self.those(Instance::is_leaving) {
            self.pass(id, instance::Event::End, effects);
        }
    }

    fn stop(&mut self, effects: &mut Vec<Effect>) {
        let again = self.wish == Wish::Down;
        self.conclude(effects);
        self.wish = Wish::Down;
        self.open_for_good(effects);
        let event = if again { instance::Event::Hasten } else { instance::Event::End };
        for id in self.those(|_| true) {
            self.pass(id, event, effects);
        }
    }

    fn restart(&mut self, effects: &mut Vec<Effect>) {
        self.conclude(effects);
        let present = self.those(|instance| !instance.is_leaving());
        self.start(effects);
        if present.is_empty() {
            return;
        }
        if self.serving() > 0 {
            self.absolve(effects);
        } else {
            self.open_for_good(effects);
        }
        for id in present {
            self.pass(id, instance::Event::End, effects);
        }
    }

    fn release(&mut self, effects: &mut Vec<Effect>) {
        if self.wish == Wish::Up {
            self.conclude(effects);
            for id in self.those(|instance| !instance.is_leaving()) {
                self.pass(id, instance::Event::End, effects);
            }
        }
    }

    fn banish(&mut self, length: Duration, effects: &mut Vec<Effect>) {
        if self.wish == Wish::Up && !matches!(self.gate, Gate::Stopped | Gate::Failed) {
            self.shut(Gate::Quarantine(length), effects);
            self.release(effects);
        }
    }

    fn rested(&mut self, rested: Duration, effects: &mut Vec<Effect>) {
        let Some(enough) = self.rules.idle_stop.filter(|_| self.watched) else { return };
        let short = enough.saturating_sub(rested);
        if !short.is_zero() || self.exchange.is_some() {
            let again = if short.is_zero() { enough } else { short };
            effects.push(Effect::Arm(Timer::Rest, again));
            return;
        }
        self.wish = Wish::Nothing;
        self.open_for_good(effects);
        for id in self.those(|_| true) {
            self.pass(id, instance::Event::End, effects);
        }
    }

    fn ready(&mut self, id: InstanceId, effects: &mut Vec<Effect>) {
        if self.get(id).is_some_and(|instance| instance.phase() == Phase::Starting) {
            self.pass(id, instance::Event::Ready, effects);
            let proof = self.history.stable_after(&self.rules.policy);
            effects.push(Effect::Arm(Timer::Instance(id), proof));
        }
    }

    fn exited(&mut self, id: InstanceId, exit: Exit, moment: Moment, effects: &mut Vec<Effect>) {
        let Some(place) = self.instances.iter().position(|instance| instance.id() == id) else {
            return;
        };
        let gone = self.instances.remove(place);
        effects.push(Effect::Disarm(Timer::Instance(id)));
        if gone.role() == Role::Aside {
            return self.fell_aside(&gone, effects);
        }
        if self.falls(&gone, effects) {
            return;
        }
        if self.gate == Gate::Trial(Some(id)) && gone.motive() == Motive::Asked {
            // It was not tried after all.
            self.gate = Gate::Trial(None);
        }
        if gone.motive() == Motive::Unasked && self.wish == Wish::Up {
            self.lost = self.lost.saturating_add(1);
            self.wounded = true;
            self.judge(exit, moment, effects);
        }
    }

    fn judge(&mut self, exit: Exit, moment: Moment, effects: &mut Vec<Effect>) {
        let last_word = matches!(exit, Exit::Permanent | Exit::Declined);
        match self.gate {
            Gate::Failed | Gate::Stopped => return,
            Gate::Backoff(_) | Gate::Quarantine(_) if !last_word => return,
            Gate::Backoff(_) | Gate::Quarantine(_) | Gate::Open | Gate::Trial(_) => {}
        }
        let policy = &self.rules.policy;
        let gate = match self.history.judge(policy, exit, moment.now, moment.dice) {
            Verdict::Start(delay) => Gate::Backoff(delay),
            Verdict::Quarantine(length) => Gate::Quarantine(length),
            Verdict::Stop => Gate::Stopped,
            Verdict::Fail | Verdict::GiveUp => Gate::Failed,
        };
        self.shut(gate, effects);
    }

    /// Hands an event to an instance, and takes what it answers as the slot's own.
    fn pass(&mut self, id: InstanceId, event: instance::Event, effects: &mut Vec<Effect>) {
        let Some(instance) = self.instances.iter_mut().find(|instance| instance.id() == id) else {
            return;
        };
        let aside = instance.role() == Role::Aside;
        for effect in instance.step(event, &self.rules.ladder) {
            match effect {
                instance::Effect::Descend(rung) => effects.push(Effect::Descend(id, rung)),
                instance::Effect::Arm(after) => {
                    effects.push(Effect::Arm(Timer::Instance(id), after));
                }
                instance::Effect::Alert => effects.push(Effect::Alert(id)),
                instance::Effect::Stable if aside => {}
                instance::Effect::Stable => {
                    self.history.stable();
                    if self.gate == Gate::Trial(Some(id)) {
                        self.gate = Gate::Open;
                    }
                }
            }
        }
    }

    /// Brings the instances nearer to what is wanted.
    fn settle(&mut self, effects: &mut Vec<Effect>) {
        self.promote();
        self.advance(effects);
        for _ in 0..self.missing() {
            self.launch(effects);
        }
        if self.serving() >= self.rules.instances {
            self.wounded = false;
        }
        let watch = self.rules.idle_stop.filter(|_| self.wish == Wish::Up && self.serving() > 0);
        match watch {
            Some(after) if !self.watched => effects.push(Effect::Arm(Timer::Rest, after)),
            None if self.watched => effects.push(Effect::Disarm(Timer::Rest)),
            Some(_) | None => {}
        }
        self.watched = watch.is_some();
    }

    /// Lets able spares take the places of active instances that are missing or unready.
    fn promote(&mut self) {
        let able = |instance: &&mut Instance| instance.role() == Role::Spare && instance.is_able();
        while self.instances.iter().filter(|one| one.is_routable()).count() < self.rules.instances {
            let full = self.serving() >= self.rules.instances;
            let Some(spare) = self.instances.iter_mut().find(able) else { break };
            spare.assign(Role::Active);
            let unable = |one: &&mut Instance| {
                one.role() == Role::Active && one.is_ready() && !one.is_able()
            };
            if full && let Some(relieved) = self.instances.iter_mut().find(unable) {
                relieved.assign(Role::Spare);
            }
        }
        let unready = |one: &&mut Instance| one.role() == Role::Spare && one.is_ready();
        while self.serving() < self.rules.instances {
            // Better an unready one in its place than none: it may recover.
            let Some(unready) = self.instances.iter_mut().find(unready) else { return };
            unready.assign(Role::Active);
        }
    }

    /// How many are to be started now.
    fn missing(&self) -> usize {
        if self.wish != Wish::Up || self.needs != Needs::Met {
            return 0;
        }
        let (instances, spares) = (self.rules.instances, self.rules.spares);
        if self.is_held_back() {
            return 0;
        }
        let own = |one: &&Instance| one.role() != Role::Aside && !one.is_leaving();
        let present = self.instances.iter().filter(own).count();
        let wanted = match self.gate {
            Gate::Open if self.serving() >= instances => instances + spares,
            Gate::Open => instances,
            Gate::Trial(None) => present + 1,
            Gate::Trial(Some(_))
            | Gate::Backoff(_)
            | Gate::Quarantine(_)
            | Gate::Stopped
            | Gate::Failed => 0,
        };
        wanted.saturating_sub(present).min(self.places().saturating_sub(self.present()))
    }

    fn launch(&mut self, effects: &mut Vec<Effect>) {
        let id = self.newest.map_or(InstanceId::FIRST, InstanceId::next);
        self.newest = Some(id);
        self.instances.push(Instance::new(id, self.generation));
        if self.gate == Gate::Trial(None) {
            self.gate = Gate::Trial(Some(id));
        }
        if self.lost > 0 {
            self.lost -= 1;
            self.restarts = self.restarts.saturating_add(1);
        }
        effects.push(Effect::Launch(id));
    }

    /// The time of the gate has passed.
    fn open(&mut self) {
        match self.gate {
            Gate::Backoff(_) => self.gate = Gate::Open,
            Gate::Quarantine(_) => self.gate = Gate::Trial(None),
            Gate::Open | Gate::Trial(_) | Gate::Stopped | Gate::Failed => {}
        }
    }

    fn shut(&mut self, gate: Gate, effects: &mut Vec<Effect>) {
        match (self.gate, gate) {
            (_, Gate::Backoff(after) | Gate::Quarantine(after)) => {
                effects.push(Effect::Arm(Timer::Gate, after));
            }
            (Gate::Backoff(_) | Gate::Quarantine(_), _) => {
                effects.push(Effect::Disarm(Timer::Gate));
            }
            (Gate::Open | Gate::Trial(_) | Gate::Stopped | Gate::Failed, _) => {}
        }
        self.gate = gate;
    }

    /// Opens the gate whatever it was shut for.
    fn open_for_good(&mut self, effects: &mut Vec<Effect>) {
        self.shut(Gate::Open, effects);
        self.lost = 0;
        self.wounded = false;
    }

    /// The same, and nothing that was counts any more.
    fn absolve(&mut self, effects: &mut Vec<Effect>) {
        self.open_for_good(effects);
        self.history.absolve();
    }

    /// The trees that the generation in charge may have alive.
    fn places(&self) -> usize {
        self.rules.instances + self.rules.spares
    }

    /// Its trees that are alive.
    fn present(&self) -> usize {
        self.instances.iter().filter(|one| one.role() != Role::Aside).count()
    }

    /// Active instances that are ready, well or not.
    fn serving(&self) -> usize {
        let ready = |one: &&Instance| one.role() == Role::Active && one.is_ready();
        self.instances.iter().filter(ready).count()
    }

    /// Whether all is as it should be, or at least nothing was lost.
    fn is_whole(&self) -> bool {
        let well = |one: &Instance| match one.phase() {
            // What follows from silence is told when it has ended.
            Phase::Ready(Fitness::Fit | Fitness::Silent) => true,
            Phase::Ready(Fitness::Ailing | Fitness::Unready) => one.role() == Role::Spare,
            Phase::Unkillable { .. } => false,
            Phase::Starting | Phase::Ending { .. } => true,
        };
        let mut own = self.instances.iter().filter(|one| one.role() != Role::Aside);
        !self.wounded && own.all(well)
    }

    fn get(&self, id: InstanceId) -> Option<&Instance> {
        self.instances.iter().find(|instance| instance.id() == id)
    }

    fn those(&self, test: fn(&Instance) -> bool) -> Vec<InstanceId> {
        self.instances.iter().filter(|one| test(one)).map(Instance::id).collect()
    }
}

#[cfg(test)]
mod diagram;
#[cfg(test)]
mod exchange_tests;
#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
