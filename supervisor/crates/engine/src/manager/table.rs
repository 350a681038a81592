//! The table of plugins, and the one task that owns it.
//!
//! It takes commands, reports and timers one at a time, lets the slot decide, and carries out what
//! the slot decided. It waits for nobody: orders and answers are sent, never awaited.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    bonds::{Bonds, Consequences, Group},
    directory::{Command, Directory, Wish},
    event::{Event as Happening, EventKind},
    launch::{Kitchen, Occasion},
    ledger::Step,
    needs,
    plug::{Enlisted, Plug},
    status::Muster,
    wheel::Wheel,
};
use crate::{
    clock,
    lifecycle::{
        Moment,
        identity::InstanceId,
        instance::{Motive, Rung},
        limiter::Lane,
        restart::Exit,
        slot::{Change, Effect, Event, Slot, State, Timer},
    },
    plugin::{
        Label,
        death::Death,
        instance::{self, Order, Report, Reporter},
    },
};

/// Orders that can be under way to one process; a process gets fewer in its whole life.
const ORDERS: usize = 32;
/// Reports that can be under way to the table.
const REPORTS: usize = 256;
/// How long those who were let go may take before the host ends without them.
const PARTING: Duration = Duration::from_secs(3);

/// The table.
#[derive(Debug)]
pub(crate) struct Table {
    pub(super) plugs: BTreeMap<Arc<str>, Plug>,
    bonds: Bonds,
    wheel: Wheel,
    kitchen: Kitchen,
    commands: mpsc::Receiver<Command>,
    reports: mpsc::Receiver<(Label, Report)>,
    reporter: mpsc::Sender<(Label, Report)>,
    /// What comes of work that the table has sent somebody to do.
    posted: mpsc::Receiver<(Arc<str>, Event)>,
    pub(super) posting: mpsc::Sender<(Arc<str>, Event)>,
    events: broadcast::Sender<Happening>,
    muster: watch::Sender<Muster>,
    pub(super) tasks: TaskTracker,
    dice: fastrand::Rng,
    /// What the slots count their time from.
    epoch: Instant,
    /// How urgent the starts are that come of what happens now.
    lane: Lane,
    farewells: Vec<oneshot::Sender<()>>,
}

/// What a slot decided, yet to be carried out.
#[derive(Debug)]
struct Decided {
    before: State,
    effects: Vec<Effect>,
}

impl Table {
    pub(crate) fn new(
        (mut plugs, groups): (BTreeMap<Arc<str>, Plug>, &[Group]),
        kitchen: Kitchen,
        commands: mpsc::Receiver<Command>,
        events: broadcast::Sender<Happening>,
        muster: watch::Sender<Muster>,
    ) -> Self {
        let (reporter, reports) = mpsc::channel(REPORTS);
        let (posting, posted) = mpsc::channel(REPORTS);
        let bonds = Bonds::tie(groups, &mut plugs);
        needs::introduce(&mut plugs);
        Self {
            plugs,
            bonds,
            wheel: Wheel::default(),
            kitchen,
            commands,
            reports,
            reporter,
            posted,
            posting,
            events,
            muster,
            tasks: TaskTracker::new(),
            dice: fastrand::Rng::new(),
            epoch: clock::now(),
            lane: Lane::First,
            farewells: Vec::new(),
        }
    }

    /// Refuses those that cannot run, and starts those that are wanted at once: whoever needs
    /// others waits for them.
    pub(crate) fn open(&mut self, eager: bool) {
        for name in self.names(|plug| plug.known.is_some()) {
            self.resume(&name);
        }
        for name in self.names(|plug| plug.refused.is_some()) {
            self.step(&name, Event::Refuse);
        }
        let wanted = self.names(|plug| eager && plug.is_eager() && plug.refused.is_none());
        self.muster.send_modify(|muster| muster.of = wanted.len());
        for name in &wanted {
            if let Some(plug) = self.plugs.get_mut(name) {
                plug.enlisted = Some(Enlisted::Awaited);
            }
        }
        // Those that need nobody first, so that nobody finds idle what is about to start.
        let (alone, others): (Vec<_>, Vec<_>) = wanted
            .into_iter()
            .partition(|name| self.plugs.get(name).is_some_and(|plug| plug.needs.is_empty()));
        for name in alone.iter().chain(&others) {
            self.step(name, Event::Wanted);
        }
    }

    /// Takes up where an earlier host left off; another version has no past.
    fn resume(&mut self, name: &Arc<str>) {
        let now = self.now();
        let Some(plug) = self.plugs.get_mut(name) else { return };
        let version = plug.edition().manifest().plugin.version.to_string();
        let Some(known) = plug.known.take().filter(|known| known.version == version) else {
            return;
        };
        let before = plug.slot.state();
        let effects = plug.slot.resume(&known.standing, known.ago, now);
        self.carry_out(name, Decided { before, effects });
    }

    fn names(&self, test: impl Fn(&Plug) -> bool) -> Vec<Arc<str>> {
        let chosen = self.plugs.iter().filter(|(_, plug)| test(plug));
        chosen.map(|(name, _)| name.clone()).collect()
    }

    /// Runs until everyone is at rest after a shutdown, or until nobody holds the host any more.
    pub(crate) async fn run(mut self, directory: Arc<Directory>, abandoned: CancellationToken) {
        loop {
            let grace = self.bonds.due().and_then(|due| self.epoch.checked_add(due));
            let next = self.wheel.next().into_iter().chain(grace).min();
            tokio::select! {
                biased;
                () = abandoned.cancelled() => break,
                Some((label, report)) = self.reports.recv() => self.report(&label, report),
                Some((name, event)) = self.posted.recv() => {
                    self.lane = Lane::Awaited;
                    self.step(&name, event);
                }
                Some(command) = self.commands.recv() => self.command(command, &directory),
                () = until(next) => self.ring(),
            }
            if !self.farewells.is_empty() && self.is_at_rest() {
                break;
            }
        }
        directory.closing.cancel();
        // Whoever still runs loses the hold on its process, which kills the tree.
        for plug in self.plugs.values_mut() {
            plug.let_go();
        }
        self.commands.close();
        self.reports.close();
        self.tasks.close();
        // One that the kernel holds is left to the keeper, which stays for it.
        time::timeout(PARTING, self.tasks.wait()).await.ok();
        self.kitchen.launcher.goodbye();
        self.kitchen.ledger.close().await;
        for farewell in self.farewells.drain(..) {
            farewell.send(()).ok();
        }
    }

    fn is_at_rest(&self) -> bool {
        self.plugs.values().map(|plug| plug.slot.state()).all(|state| {
            // What cannot be killed is not waited for.
            state.is_at_rest() || state == State::Fenced
        })
    }

    fn command(&mut self, command: Command, directory: &Directory) {
        self.lane = Lane::Awaited;
        match command {
            Command::Wanted(name) => self.step(&name, Event::Wanted),
            Command::Control(name, wish, reply) => {
                // While the host goes down, nothing is started any more.
                let late = wish != Wish::Down && directory.closing.is_cancelled();
                if !late && self.plugs.get(&name).is_some_and(|plug| plug.refused.is_none()) {
                    if wish != Wish::Down {
                        self.bonds.absolve(&name);
                    }
                    let event = match wish {
                        Wish::Up => Event::Start,
                        Wish::Down => Event::Stop,
                        Wish::Again => Event::Restart,
                    };
                    self.step(&name, event);
                }
                reply.send(()).ok();
            }
            Command::Swap(name, wanted, reply) => {
                let late = directory.closing.is_cancelled();
                let told = if late { None } else { self.swap(&name, *wanted) };
                reply.send(told).ok();
            }
            Command::Decide { plugin, to, keep, reply } => {
                self.conclude_swap(&plugin, to, keep);
                reply.send(()).ok();
            }
            Command::Status(reply) => {
                let now = clock::now();
                let statuses = self.plugs.iter().map(|(name, plug)| {
                    let due = self.wheel.due(name, Timer::Gate);
                    plug.status(due.map(|due| due.saturating_duration_since(now)))
                });
                reply.send(statuses.collect()).ok();
            }
            Command::Deaths(name, reply) => {
                let deaths = self.plugs.get(&name).map(|plug| plug.deaths().cloned().collect());
                reply.send(deaths.unwrap_or_default()).ok();
            }
            Command::Shutdown(reply) => {
                directory.closing.cancel();
                self.farewells.push(reply);
                for name in self.names(|plug| plug.refused.is_none()) {
                    self.step(&name, Event::Stop);
                }
            }
        }
    }

    fn report(&mut self, label: &Label, report: Report) {
        self.lane = self.lane_after(&report);
        let Some(plug) = self.plugs.get_mut(&label.plugin) else { return };
        let instance = label.instance;
        let event = match report {
            Report::Running { pid, enforcement } => return plug.runs(instance, pid, enforcement),
            Report::Denied(denials) => {
                plug.denied(instance, denials.clone());
                return self.tell(&label.plugin, Some(instance), EventKind::Denied(denials));
            }
            Report::Ready { session, hello } => {
                let lost = plug.loses(instance, hello.as_deref());
                plug.greeted(instance, session, hello);
                lost.map_or(Event::Ready(instance), Event::Recall)
            }
            Report::Fitness(fitness, why) => {
                plug.ails(instance, why);
                Event::Fitness(instance, fitness)
            }
            Report::Dying => Event::Dying(instance),
            Report::Drained => Event::Drained(instance),
            Report::ShutDown => Event::ShutDown(instance),
            Report::Exited(death) => return self.exited(&label.plugin, *death),
        };
        self.step(&label.plugin, event);
    }

    /// A process is gone. What follows is decided before anybody hears of it, so that it stands in
    /// the record.
    fn exited(&mut self, name: &Arc<str>, mut death: Death) {
        let Some(plug) = self.plugs.get(name) else { return };
        let exit = death.cause.exit(&plug.slot.rules().policy, death.calls_lost > 0);
        let failed = matches!(exit, Exit::Failure | Exit::Exhausted | Exit::Permanent);
        let unasked = plug.slot.instances().iter().any(|instance| {
            instance.id() == death.instance && instance.motive() == Motive::Unasked
        });
        let Some(decided) = self.decide(name, Event::Exited(death.instance, exit)) else { return };
        let Some(plug) = self.plugs.get_mut(name) else { return };
        death.next = Some(plug.next());
        death.denials = plug.denied_to(death.instance);
        let death = Arc::new(death);
        plug.died(death.clone());
        let edition = plug.edition_of(death.generation);
        let version = edition.manifest().plugin.version.to_string();
        self.kitchen.ledger.died(name, &version, &death);
        self.tell(name, Some(death.instance), EventKind::Died(death));
        self.carry_out(name, decided);
        self.follow(name);
        let is_down = self.plugs.get(name).is_some_and(|plug| !plug.slot.state().is_up());
        if failed && unasked && is_down {
            let consequences = self.bonds.fell(name, self.now());
            self.suffer(consequences);
        }
    }

    /// Takes the steps that others force on plugins, unless everything ends anyway.
    fn suffer(&mut self, consequences: Consequences) {
        for (name, kind) in std::mem::take(&mut self.bonds.news) {
            self.tell(&name, None, kind);
        }
        if !self.farewells.is_empty() {
            return;
        }
        for (name, event) in consequences {
            let lacks = self.bonds.lacks(&name).cloned().collect();
            if let Some(plug) = self.plugs.get_mut(&name) {
                plug.lacks = lacks;
            }
            self.step(&name, event);
        }
    }

    /// The time that slots and bonds go by.
    fn now(&self) -> Duration {
        clock::now().saturating_duration_since(self.epoch)
    }

    /// How urgent the starts are that come of a report.
    fn lane_after(&self, report: &Report) -> Lane {
        match report {
            // Somebody wanted it down and up again, or it would have a delay.
            Report::Exited(_) => Lane::Awaited,
            // Spares, and those that waited for this one.
            Report::Running { .. }
            | Report::Denied(_)
            | Report::Ready { .. }
            | Report::Fitness(..)
            | Report::Dying
            | Report::Drained
            | Report::ShutDown => {
                if self.muster.borrow().is_complete() {
                    Lane::Again
                } else {
                    Lane::First
                }
            }
        }
    }

    /// Takes a step, and those that follow from it for others: who needs this plugin is told when
    /// it comes or goes.
    pub(super) fn step(&mut self, name: &Arc<str>, event: Event) {
        let mut agenda = VecDeque::from([(name.clone(), event)]);
        while let Some((name, event)) = agenda.pop_front() {
            if let Some(decided) = self.decide(&name, event) {
                self.carry_out(&name, decided);
            }
            agenda.extend(needs::consequences(&self.plugs, &name));
            self.remind(&name);
            let consequences = self.bonds.follow(&self.plugs, &name, self.now());
            self.suffer(consequences);
        }
    }

    /// Takes the steps that follow for others from one that this plugin took.
    fn follow(&mut self, name: &Arc<str>) {
        let consequences: Vec<_> = needs::consequences(&self.plugs, name).into_iter().collect();
        self.remind(name);
        for (name, event) in consequences {
            self.step(&name, event);
        }
        let consequences = self.bonds.follow(&self.plugs, name, self.now());
        self.suffer(consequences);
    }

    /// Says anew what those wait for who wait for this one.
    fn remind(&mut self, name: &Arc<str>) {
        let dependents = self.plugs.get(name).map(|plug| plug.needed_by.clone());
        for name in dependents.unwrap_or_default() {
            let missing = needs::missing(&self.plugs, &name);
            if let Some(plug) = self.plugs.get_mut(&name)
                && matches!(plug.slot.state(), State::Waiting(_))
            {
                plug.publish(plug.why(missing));
            }
        }
    }

    /// Lets the slot decide.
    fn decide(&mut self, name: &Arc<str>, event: Event) -> Option<Decided> {
        let moment = Moment { now: self.now(), dice: self.dice.f64() };
        self.decide_by(name, |slot| slot.step(event, moment))
    }

    /// Notes also how the plugin stands with the restart policy now. That a host goes down absolves
    /// nobody.
    fn decide_by(
        &mut self,
        name: &Arc<str>,
        decide: impl FnOnce(&mut Slot) -> Vec<Effect>,
    ) -> Option<Decided> {
        let now = self.now();
        let plug = self.plugs.get_mut(name)?;
        let (before, marks) = (plug.slot.state(), plug.slot.marks());
        let effects = decide(&mut plug.slot);
        if plug.is_remembered && self.farewells.is_empty() && plug.slot.marks() != marks {
            let version = plug.edition().manifest().plugin.version.to_string();
            self.kitchen.ledger.stands(name, &version, plug.slot.standing(now));
        }
        Some(Decided { before, effects })
    }

    /// Lets the slot take up an exchange.
    pub(super) fn exchange(&mut self, name: &Arc<str>, change: Change) {
        let Some(decided) = self.decide_by(name, |slot| slot.swap(change)) else { return };
        self.carry_out(name, decided);
        self.follow(name);
    }

    /// Shows callers the outcome, does what was decided, and tells who follows. Callers come first:
    /// a spare that takes over waits for nothing else.
    fn carry_out(&mut self, name: &Arc<str>, Decided { before, effects }: Decided) {
        let missing = needs::missing(&self.plugs, name);
        let Some(plug) = self.plugs.get_mut(name) else { return };
        let (after, newest) = (plug.slot.state(), plug.slot.newest());
        let why = plug.why(missing);
        plug.publish(why.clone());
        if after.name() != before.name() {
            let step = Step { from: before.name(), to: after.name(), why };
            self.kitchen.ledger.changed(name, newest, step);
            self.count(name, after);
            let kind = EventKind::State { from: before.name(), to: after.name() };
            self.tell(name, newest, kind);
        }
        for effect in effects {
            self.perform(name, effect);
        }
    }

    /// Counts those that are started with the host: who has come up, and who has not so far.
    fn count(&mut self, name: &Arc<str>, state: State) {
        let Some(plug) = self.plugs.get_mut(name) else { return };
        let on_its_way = matches!(state, State::Starting | State::Crashed | State::Waiting(_));
        let now = match plug.enlisted {
            Some(Enlisted::Awaited | Enlisted::Failed) if state.is_up() => Enlisted::Up,
            Some(Enlisted::Awaited) if !on_its_way => Enlisted::Failed,
            Some(Enlisted::Awaited | Enlisted::Failed | Enlisted::Up) | None => return,
        };
        let before = plug.enlisted.replace(now);
        self.muster.send_modify(|muster| {
            muster.up += usize::from(now == Enlisted::Up);
            muster.failed += usize::from(now == Enlisted::Failed);
            muster.failed -= usize::from(before == Some(Enlisted::Failed));
        });
        let muster = *self.muster.borrow();
        self.tell(name, None, EventKind::Mustered(muster));
    }

    pub(super) fn tell(&self, name: &Arc<str>, instance: Option<InstanceId>, kind: EventKind) {
        let happening = Happening { plugin: name.clone(), instance, at: clock::wall(), kind };
        // Nobody may be listening.
        self.events.send(happening).ok();
    }

    fn perform(&mut self, name: &Arc<str>, effect: Effect) {
        let Some(plug) = self.plugs.get_mut(name) else { return };
        match effect {
            Effect::Launch(instance) => self.launch(name, instance),
            Effect::Descend(instance, rung) => plug.order(instance, order(rung)),
            Effect::Arm(timer, after) => match clock::now().checked_add(after) {
                Some(due) => self.wheel.arm(name, timer, due),
                None => self.wheel.disarm(name, timer),
            },
            Effect::Disarm(timer) => self.wheel.disarm(name, timer),
            Effect::Alert(instance) => {
                tracing::error!(plugin = &**name, %instance, "process could not be killed");
                self.tell(name, Some(instance), EventKind::Fenced);
            }
            Effect::HandOver(to) => self.hand_over(name, to),
            Effect::Exchange(to, turn) => self.turn(name, to, turn),
        }
    }

    fn launch(&mut self, name: &Arc<str>, instance: InstanceId) {
        let Some(plug) = self.plugs.get_mut(name) else { return };
        let label = plug.label(instance);
        let occasion = Occasion {
            label: label.clone(),
            restarts: plug.slot.restarts(),
            reason: plug.deaths().next_back().map(|death| death.cause.token()),
            lane: self.lane,
        };
        let plan = plug.edition_of(label.generation).recipe.plan(&self.kitchen, occasion);
        let (orders, taken) = mpsc::channel(ORDERS);
        plug.seat(instance, orders);
        let reporter = Reporter { label, sender: self.reporter.clone() };
        self.tasks.spawn(instance::run(plan, taken, reporter));
    }

    /// The timers that are due.
    fn ring(&mut self) {
        self.lane = Lane::Again;
        let now = clock::now();
        while let Some((name, timer)) = self.wheel.pop(now) {
            let event = match timer {
                Timer::Rest => {
                    let rested = self.plugs.get(&name).map(|plug| plug.rested(now));
                    Event::Rested(rested.unwrap_or(Duration::ZERO))
                }
                Timer::Gate | Timer::Exchange | Timer::Instance(_) => Event::Due(timer),
            };
            self.step(&name, event);
        }
        let consequences = self.bonds.ring(self.now());
        self.suffer(consequences);
    }
}

fn order(rung: Rung) -> Order {
    match rung {
        Rung::Drain => Order::Drain,
        Rung::Shutdown => Order::Shutdown,
        Rung::Eof => Order::CloseInput,
        Rung::Terminate => Order::Terminate,
        Rung::Kill => Order::Kill,
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
