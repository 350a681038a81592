//! The table of plugins, and the one task that owns it.
//!
//! It takes commands, reports and timers one at a time, lets the slot decide, and carries out what
//! the slot decided. It waits for nobody: orders and answers are sent, never awaited.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use plugbay_sandbox::Enforcement;
use tokio::{
    sync::{broadcast, mpsc, oneshot, watch},
    time,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    directory::{Command, Directory, Entry, Route, Wish},
    event::{Event as Happening, EventKind},
    launch::{Kitchen, Occasion, Recipe},
    ledger::Step,
    status::{Counts, PluginStatus},
};
use crate::{
    clock,
    lifecycle::{
        identity::Generation,
        slot::{Effect, Event, Slot, State, TimerId},
    },
    plugin::{
        Label,
        death::Death,
        instance::{self, Order, Report, Reporter},
    },
};

/// Deaths remembered per plugin.
const DEATHS_KEPT: usize = 16;
/// Orders that can be under way to one process; a process gets fewer in its whole life.
const ORDERS: usize = 32;
/// Reports that can be under way to the table.
const REPORTS: usize = 256;

/// One plugin in the table.
#[derive(Debug)]
pub(crate) struct Plug {
    entry: Arc<Entry>,
    recipe: Recipe,
    slot: Slot,
    route: watch::Sender<Route>,
    orders: Option<mpsc::Sender<Order>>,
    due: Option<(Instant, TimerId)>,
    pid: Option<u32>,
    enforcement: Option<Arc<Enforcement>>,
    deaths: VecDeque<Arc<Death>>,
    since: SystemTime,
    refused: Option<String>,
}

impl Plug {
    /// A plugin that does not run yet. One that is refused never will.
    pub(crate) fn new(
        entry: Arc<Entry>,
        recipe: Recipe,
        slot: Slot,
        route: watch::Sender<Route>,
        refused: Option<String>,
    ) -> Self {
        Self {
            entry,
            recipe,
            slot,
            route,
            orders: None,
            due: None,
            pid: None,
            enforcement: None,
            deaths: VecDeque::new(),
            since: clock::wall(),
            refused,
        }
    }
}

/// The table.
#[derive(Debug)]
pub(crate) struct Table {
    plugs: BTreeMap<Arc<str>, Plug>,
    timers: BTreeSet<(Instant, Arc<str>)>,
    kitchen: Kitchen,
    commands: mpsc::Receiver<Command>,
    reports: mpsc::Receiver<(Label, Report)>,
    reporter: mpsc::Sender<(Label, Report)>,
    events: broadcast::Sender<Happening>,
    tasks: TaskTracker,
    dice: fastrand::Rng,
    /// What the slots count their time from.
    epoch: Instant,
    farewells: Vec<oneshot::Sender<()>>,
}

impl Table {
    pub(crate) fn new(
        plugs: Vec<Plug>,
        kitchen: Kitchen,
        commands: mpsc::Receiver<Command>,
        events: broadcast::Sender<Happening>,
    ) -> Self {
        let (reporter, reports) = mpsc::channel(REPORTS);
        let plugs = plugs.into_iter().map(|plug| (plug.entry.name.clone(), plug)).collect();
        Self {
            plugs,
            timers: BTreeSet::new(),
            kitchen,
            commands,
            reports,
            reporter,
            events,
            tasks: TaskTracker::new(),
            dice: fastrand::Rng::new(),
            epoch: clock::now(),
            farewells: Vec::new(),
        }
    }

    /// Refuses those that cannot run, and starts the others if they are wanted at once.
    pub(crate) fn open(&mut self, eager: bool) {
        let names: Vec<_> =
            self.plugs.iter().map(|(name, plug)| (name.clone(), plug.refused.is_some())).collect();
        for (name, refused) in names {
            if refused {
                self.step(&name, Event::Refuse);
            } else if eager {
                self.step(&name, Event::Start);
            }
        }
    }

    /// Runs until everyone is at rest after a shutdown, or until nobody holds the host any more.
    pub(crate) async fn run(mut self, directory: Arc<Directory>, abandoned: CancellationToken) {
        loop {
            let next = self.timers.first().map(|(due, _)| *due);
            tokio::select! {
                biased;
                () = abandoned.cancelled() => break,
                Some((label, report)) = self.reports.recv() => self.report(&label, report),
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
            plug.orders = None;
        }
        self.commands.close();
        self.reports.close();
        self.tasks.close();
        self.tasks.wait().await;
        self.kitchen.launcher.goodbye();
        self.kitchen.ledger.close().await;
        for farewell in self.farewells.drain(..) {
            farewell.send(()).ok();
        }
    }

    fn is_at_rest(&self) -> bool {
        self.plugs.values().map(|plug| plug.slot.state()).all(|state| {
            // What cannot be killed is not waited for.
            state.is_at_rest() || matches!(state, State::Fenced { .. })
        })
    }

    fn command(&mut self, command: Command, directory: &Directory) {
        match command {
            Command::Wanted(name) => self.step(&name, Event::Wanted),
            Command::Control(name, wish, reply) => {
                if !self.is_refused(&name) {
                    self.step(
                        &name,
                        match wish {
                            Wish::Up => Event::Start,
                            Wish::Down => Event::Stop,
                            Wish::Again => Event::Restart,
                        },
                    );
                }
                reply.send(()).ok();
            }
            Command::Status(reply) => {
                let statuses = self.plugs.values().map(Plug::status).collect();
                reply.send(statuses).ok();
            }
            Command::Deaths(name, reply) => {
                let deaths =
                    self.plugs.get(&name).map(|plug| plug.deaths.iter().cloned().collect());
                reply.send(deaths.unwrap_or_default()).ok();
            }
            Command::Shutdown(reply) => {
                directory.closing.cancel();
                self.farewells.push(reply);
                let plugs = self.plugs.iter().filter(|(_, plug)| plug.refused.is_none());
                let names: Vec<_> = plugs.map(|(name, _)| name.clone()).collect();
                for name in names {
                    self.step(&name, Event::Stop);
                }
            }
        }
    }

    fn is_refused(&self, name: &str) -> bool {
        self.plugs.get(name).is_none_or(|plug| plug.refused.is_some())
    }

    fn report(&mut self, label: &Label, report: Report) {
        let Some(plug) = self.plugs.get_mut(&label.plugin) else { return };
        let instance = label.instance;
        let present = plug.slot.instance() == Some(instance);
        let mut ended = None;
        let event = match report {
            Report::Running { pid, enforcement } if present => {
                plug.pid = pid;
                plug.enforcement = Some(enforcement);
                return;
            }
            Report::Running { .. } => return,
            Report::Ready { session, hello } => {
                if present && plug.slot.state() == State::Starting {
                    plug.route.send_modify(|route| {
                        route.session = Some(session);
                        route.hello = hello;
                    });
                }
                Event::Ready { instance }
            }
            Report::Dying => Event::Dying { instance },
            Report::Drained => Event::Drained { instance },
            Report::ShutDown => Event::ShutDown { instance },
            Report::Exited(death) => {
                ended = Some(death.clone());
                let exit = death.cause.exit(plug.slot.policy(), death.calls_lost > 0);
                plug.died(death.clone(), present);
                let kind = EventKind::Died(death);
                let happening = Happening {
                    plugin: label.plugin.clone(),
                    instance: Some(instance),
                    at: clock::wall(),
                    kind,
                };
                // Nobody may be listening.
                self.events.send(happening).ok();
                Event::Exited { instance, exit }
            }
        };
        self.step(&label.plugin, event);
        if let (Some(death), Some(plug)) = (ended, self.plugs.get(&label.plugin)) {
            let version = plug.entry.manifest.plugin.version.to_string();
            self.kitchen.ledger.died(&label.plugin, &version, &death, plug.next());
        }
    }

    /// Lets the slot decide, does what it decided, and tells who follows.
    fn step(&mut self, name: &Arc<str>, event: Event) {
        let dice = self.dice.f64();
        let Some(plug) = self.plugs.get_mut(name) else { return };
        let before = plug.slot.state();
        plug.slot.tell_time(clock::now().saturating_duration_since(self.epoch));
        let effects = plug.slot.step(event, dice);
        if plug.slot.state() != before {
            plug.since = clock::wall();
            plug.publish();
            self.tell(
                name,
                EventKind::State {
                    from: before.name(),
                    to: self.plugs.get(name).map_or("", |plug| plug.slot.state().name()),
                },
            );
        }
        for effect in effects {
            self.perform(name, effect);
        }
    }

    fn tell(&self, name: &Arc<str>, kind: EventKind) {
        let plug = self.plugs.get(name);
        let instance = plug.and_then(|plug| plug.slot.instance());
        if let EventKind::State { from, to } = kind {
            let why = plug.map_or_else(|| "".into(), Plug::reason);
            self.kitchen.ledger.changed(name, instance, Step { from, to, why });
        }
        let happening = Happening { plugin: name.clone(), instance, at: clock::wall(), kind };
        // Nobody may be listening.
        self.events.send(happening).ok();
    }

    fn perform(&mut self, name: &Arc<str>, effect: Effect) {
        let Some(plug) = self.plugs.get_mut(name) else { return };
        match effect {
            Effect::Launch { instance } => {
                let generation = Generation::FIRST;
                let label = Label { plugin: name.clone(), generation, instance };
                let plan = plug.recipe.plan(
                    &self.kitchen,
                    Occasion {
                        label: label.clone(),
                        restarts: plug.slot.restarts(),
                        reason: plug.deaths.back().map(|death| death.cause.token()),
                    },
                );
                let (orders, taken) = mpsc::channel(ORDERS);
                plug.orders = Some(orders);
                let reporter = Reporter { label, sender: self.reporter.clone() };
                self.tasks.spawn(instance::run(plan, taken, reporter));
            }
            Effect::Drain { .. } => plug.order(Order::Drain),
            Effect::Shutdown { .. } => plug.order(Order::Shutdown),
            Effect::CloseInput { .. } => plug.order(Order::CloseInput),
            Effect::Terminate { .. } => plug.order(Order::Terminate),
            Effect::Kill { .. } => plug.order(Order::Kill),
            Effect::Arm { timer, after } => {
                if let Some((due, _)) = plug.due.take() {
                    self.timers.remove(&(due, name.clone()));
                }
                if let Some(due) = clock::now().checked_add(after) {
                    plug.due = Some((due, timer));
                    self.timers.insert((due, name.clone()));
                }
            }
            Effect::Alert { .. } => {
                tracing::error!(plugin = &**name, "process could not be killed");
                self.tell(name, EventKind::Fenced);
            }
        }
    }

    /// The timers that are due.
    fn ring(&mut self) {
        let now = clock::now();
        while let Some((due, _)) = self.timers.first()
            && *due <= now
        {
            let Some((_, name)) = self.timers.pop_first() else { return };
            let timer = self.plugs.get_mut(&name).and_then(|plug| plug.due.take());
            if let Some((_, timer)) = timer {
                self.step(&name, Event::Due(timer));
            }
        }
    }
}

impl Plug {
    /// Sends an order. A process that is gone needs none, and one gets fewer than fit.
    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            orders.try_send(order).ok();
        }
    }

    fn died(&mut self, death: Arc<Death>, present: bool) {
        if present {
            self.pid = None;
            self.orders = None;
        }
        if self.deaths.len() >= DEATHS_KEPT {
            self.deaths.pop_front();
        }
        self.deaths.push_back(death);
    }

    /// What was decided: its state, and when it is started again, if it is.
    fn next(&self) -> (&'static str, Option<Duration>) {
        let state = self.slot.state();
        let after = match state {
            State::Backoff { delay } => Some(delay),
            State::Quarantined { length } => Some(length),
            State::Starting => Some(Duration::ZERO),
            State::Idle
            | State::Running
            | State::Ending { .. }
            | State::Failed
            | State::Stopped
            | State::Fenced { .. } => None,
        };
        (state.name(), after)
    }

    /// Why it is in its state.
    fn reason(&self) -> Arc<str> {
        match (self.slot.state(), &self.refused, self.deaths.back()) {
            (State::Failed, Some(refused), _) => refused.as_str().into(),
            (State::Idle | State::Running, ..) | (_, _, None) => "".into(),
            (_, _, Some(death)) => death.to_string().into(),
        }
    }

    fn publish(&self) {
        let (state, instance, reason) = (self.slot.state(), self.slot.instance(), self.reason());
        self.route.send_modify(|route| {
            route.state = state;
            route.instance = instance;
            route.reason = reason;
            if state != State::Running {
                route.session = None;
            }
        });
    }

    fn status(&self) -> PluginStatus {
        let route = self.route.borrow();
        PluginStatus {
            name: self.entry.name.clone(),
            version: self.entry.manifest.plugin.version.to_string(),
            state: self.slot.state().name(),
            since: self.since,
            reason: self.reason(),
            generation: Generation::FIRST,
            instance: self.slot.instance(),
            pid: self.pid,
            restarts: self.slot.restarts(),
            failures: self.slot.failures(),
            in_flight: route.session.as_ref().map_or(0, |session| session.in_flight()),
            last_death: self.deaths.back().cloned(),
            enforcement: self.enforcement.clone(),
            counts: Counts::of(&self.entry.counters),
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
