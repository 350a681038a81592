//! One plugin in the table: its slot, its processes, and what is published of them.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use plugbay_manifest::StartMode;
use plugbay_protocol::handshake::Hello;
use plugbay_sandbox::{Enforcement, Tally};
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};

use super::{
    directory::{Entry, Route},
    edition::Edition,
    standing::Known,
    status::{Counts, InstanceStatus, PluginStatus, Stay},
    swap::Followed,
};
use crate::{
    clock,
    lifecycle::{
        identity::{Generation, InstanceId},
        instance::{Instance, Phase, Role},
        slot::{Slot, State},
    },
    plugin::{
        Label,
        death::{Death, Next},
        instance::Order,
        session::Session,
    },
};

/// Deaths remembered per plugin.
const DEATHS_KEPT: usize = 16;
/// States remembered per plugin, the present one included.
const STAYS_KEPT: usize = 32;

/// One plugin in the table.
#[derive(Debug)]
pub(crate) struct Plug {
    pub(crate) entry: Arc<Entry>,
    pub(crate) slot: Slot,
    /// What it depends on.
    pub(crate) needs: Vec<Arc<str>>,
    /// Who depends on it.
    pub(crate) needed_by: Vec<Arc<str>>,
    /// What it is paused for.
    pub(crate) lacks: Vec<Arc<str>>,
    /// Why it can never run as it is.
    pub(crate) refused: Option<String>,
    /// How it stood when a host of this name was here before, until that is taken up.
    pub(crate) known: Option<Known>,
    /// Whether it is noted how it stands with the restart policy.
    pub(crate) is_remembered: bool,
    /// How its start with the host went so far, if it is one of those.
    pub(crate) enlisted: Option<Enlisted>,
    route: watch::Sender<Route>,
    /// The generation that callers were shown last.
    edition: Arc<Edition>,
    /// It, those that it may give way to, and the last ones before it.
    pub(super) editions: BTreeMap<Generation, Arc<Edition>>,
    /// The exchanges that are not over, and the last one that is.
    pub(super) exchanges: BTreeMap<Generation, Followed>,
    seats: BTreeMap<InstanceId, Seat>,
    /// What was enforced on the process that was started last.
    enforcement: Option<Arc<Enforcement>>,
    /// What its processes that are gone were refused.
    denied: Tally,
    deaths: VecDeque<Arc<Death>>,
    stays: VecDeque<Stay>,
}

/// How far a plugin is that starts with its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enlisted {
    /// Nothing is known yet.
    Awaited,
    /// It has come up, once at least.
    Up,
    /// It did not come up so far; it may yet.
    Failed,
}

/// What the table holds of one process.
#[derive(Debug)]
struct Seat {
    orders: mpsc::Sender<Order>,
    since: SystemTime,
    pid: Option<u32>,
    session: Option<Arc<Session>>,
    hello: Option<Arc<Hello>>,
    /// What is wrong with it, if something is.
    ails: Arc<str>,
    /// What it was refused so far.
    denied: Arc<Tally>,
}

impl Plug {
    /// A plugin that does not run yet.
    pub(crate) fn new(
        entry: Arc<Entry>,
        edition: Arc<Edition>,
        slot: Slot,
        route: watch::Sender<Route>,
        refused: Option<String>,
    ) -> Self {
        let first = Stay { state: slot.state().name(), since: clock::wall(), why: "".into() };
        let needs = edition.manifest().dependencies.plugins.keys();
        Self {
            needs: needs.map(|name| name.as_str().into()).collect(),
            needed_by: Vec::new(),
            lacks: Vec::new(),
            entry,
            slot,
            refused,
            known: None,
            is_remembered: false,
            enlisted: None,
            route,
            editions: BTreeMap::from([(edition.generation, edition.clone())]),
            edition,
            exchanges: BTreeMap::new(),
            seats: BTreeMap::new(),
            enforcement: None,
            denied: Tally::default(),
            deaths: VecDeque::new(),
            stays: VecDeque::from([first]),
        }
    }

    /// The generation that answers, or would.
    pub(crate) fn edition(&self) -> &Arc<Edition> {
        self.edition_of(self.slot.generation())
    }

    /// A generation, if it is still kept; else the one that answers.
    pub(crate) fn edition_of(&self, generation: Generation) -> &Arc<Edition> {
        self.editions.get(&generation).unwrap_or(&self.edition)
    }

    /// Whether it is started before it is called.
    pub(crate) fn is_eager(&self) -> bool {
        self.edition().manifest().supervision.start == StartMode::Eager
    }

    /// Who an instance of it is.
    pub(crate) fn label(&self, instance: InstanceId) -> Label {
        let one = self.slot.instances().iter().find(|one| one.id() == instance);
        let generation = one.map_or(self.slot.generation(), Instance::generation);
        Label { plugin: self.entry.name.clone(), generation, instance }
    }

    /// A process is being started; its orders go here.
    pub(crate) fn seat(&mut self, instance: InstanceId, orders: mpsc::Sender<Order>) {
        let denied = Arc::default();
        let seat = Seat {
            orders,
            since: clock::wall(),
            pid: None,
            session: None,
            hello: None,
            ails: "".into(),
            denied,
        };
        self.seats.insert(instance, seat);
    }

    /// A process runs.
    pub(crate) fn runs(
        &mut self,
        instance: InstanceId,
        pid: Option<u32>,
        enforcement: Arc<Enforcement>,
    ) {
        if let Some(seat) = self.seats.get_mut(&instance) {
            seat.pid = pid;
            self.enforcement = Some(enforcement);
        }
    }

    /// A process was refused this so far.
    pub(crate) fn denied(&mut self, instance: InstanceId, denials: Arc<Tally>) {
        if let Some(seat) = self.seats.get_mut(&instance) {
            seat.denied = denials;
        }
    }

    /// What a process was refused.
    pub(crate) fn denied_to(&self, instance: InstanceId) -> Arc<Tally> {
        self.seats.get(&instance).map(|seat| seat.denied.clone()).unwrap_or_default()
    }

    /// A process is greeted; the route may lead to it when the slot says so.
    pub(crate) fn greeted(
        &mut self,
        instance: InstanceId,
        session: Arc<Session>,
        hello: Option<Arc<Hello>>,
    ) {
        if let Some(seat) = self.seats.get_mut(&instance) {
            seat.session = Some(session);
            seat.hello = hello;
        }
    }

    /// A process is not well, or well again.
    pub(crate) fn ails(&mut self, instance: InstanceId, why: Arc<str>) {
        if let Some(seat) = self.seats.get_mut(&instance) {
            seat.ails = why;
        }
    }

    /// A process is gone.
    pub(crate) fn died(&mut self, death: Arc<Death>) {
        if let Some(seat) = self.seats.remove(&death.instance) {
            self.denied.absorb(&seat.denied);
        }
        if self.deaths.len() >= DEATHS_KEPT {
            self.deaths.pop_front();
        }
        self.deaths.push_back(death);
    }

    /// Lets go of every process, which kills the trees.
    pub(crate) fn let_go(&mut self) {
        self.seats.clear();
    }

    /// Sends an order. A process that is gone needs none, and one gets fewer than fit.
    pub(crate) fn order(&self, instance: InstanceId, order: Order) {
        if let Some(seat) = self.seats.get(&instance) {
            seat.orders.try_send(order).ok();
        }
    }

    /// A process that has said hello, and what it said.
    pub(super) fn greeting(&self, instance: InstanceId) -> Option<(&Arc<Session>, Option<&Hello>)> {
        let seat = self.seats.get(&instance)?;
        Some((seat.session.as_ref()?, seat.hello.as_deref()))
    }

    /// How its processes ended, the last one last.
    pub(crate) fn deaths(&self) -> impl DoubleEndedIterator<Item = &Arc<Death>> {
        self.deaths.iter()
    }

    /// For how long nobody has called it; zero while somebody waits for an answer.
    pub(crate) fn rested(&self, now: Instant) -> Duration {
        let sessions = self.seats.values().filter_map(|seat| seat.session.as_ref());
        let busy = sessions.map(|session| session.in_flight()).any(|calls| calls > 0);
        if busy { Duration::ZERO } else { self.entry.used.ago(now) }
    }

    /// Shows callers where they are to go now, and remembers the state if it is another.
    pub(crate) fn publish(&mut self, why: Arc<str>) {
        let state = self.slot.state();
        let present = self.stays.back().is_some_and(|stay| stay.state == state.name());
        if !present {
            if self.stays.len() >= STAYS_KEPT {
                self.stays.pop_front();
            }
            let why = why.clone();
            self.stays.push_back(Stay { state: state.name(), since: clock::wall(), why });
        }
        let routable = self.able(Role::Active);
        let sessions: Vec<Arc<Session>> =
            routable.iter().filter_map(|seat| seat.session.clone()).collect();
        let standby: Vec<Arc<Session>> =
            self.able(Role::Spare).iter().filter_map(|seat| seat.session.clone()).collect();
        let hello = routable.iter().rev().find_map(|seat| seat.hello.clone());
        let newest = self.slot.newest();
        let edition = self.edition().clone();
        self.edition = edition.clone();
        self.light(!sessions.is_empty());
        let hold = self.slot.holds_back();
        if hold {
            self.entry.hold.open();
        }
        let first = sessions.first().cloned();
        let show = || {
            self.route.send_if_modified(|route| {
                let same =
                    route.leads_to(&sessions, &standby) && Arc::ptr_eq(&route.edition, &edition);
                if same && route.state == state && route.newest == newest && route.reason == why {
                    return false;
                }
                if !same {
                    (route.sessions, route.standby) = (sessions.into(), standby.into());
                }
                route.edition = edition;
                route.hello = hello.or(route.hello.take());
                (route.state, route.newest, route.reason) = (state, newest, why);
                true
            });
        };
        if hold {
            show();
        } else {
            // One that takes no more has more important things to complain of.
            let take = |method: &str, params: &RawValue| {
                first.iter().for_each(|session| drop(session.notify(method, params)));
            };
            self.entry.hold.close(take, show);
        }
    }

    /// Those of a role that can take calls, unless none is to.
    fn able(&self, role: Role) -> Vec<&Seat> {
        let none = self.slot.is_paused() || self.slot.is_handing_over();
        let instances = self.slot.instances().iter().filter(|_| !none);
        instances
            .filter(|instance| instance.role() == role && instance.is_able())
            .filter_map(|instance| self.seats.get(&instance.id()))
            .collect()
    }

    /// What was decided: its state, and when it is started again, if it is.
    pub(crate) fn next(&self) -> Next {
        let state = self.slot.state();
        let after = match state {
            State::Backoff { delay } => Some(delay),
            State::Quarantined { length } => Some(length),
            State::Starting => Some(Duration::ZERO),
            State::Idle
            | State::Waiting(_)
            | State::Running
            | State::Degraded
            | State::Restarting
            | State::Resting
            | State::Stopping
            | State::Crashed
            | State::Failed
            | State::Stopped
            | State::Fenced => None,
        };
        Next { state: state.name(), after }
    }

    /// Why it is in its state. `missing` names what it waits for.
    pub(crate) fn why(&self, missing: Option<String>) -> Arc<str> {
        let state = self.slot.state();
        match (state, &self.refused, self.deaths.back()) {
            (State::Failed, Some(refused), _) => refused.as_str().into(),
            (State::Waiting(_), ..) => missing.unwrap_or_default().into(),
            (State::Degraded, ..) => self.shortcomings().into(),
            (State::Idle | State::Running | State::Resting, ..) | (_, _, None) => "".into(),
            (_, _, Some(death)) => death.to_string().into(),
        }
    }

    /// What is not as it should be, of a plugin that is up.
    fn shortcomings(&self) -> String {
        let count = |test: fn(&Instance) -> bool| {
            self.slot.instances().iter().filter(|instance| test(instance)).count()
        };
        let all = self.slot.rules().instances;
        let ready = count(Instance::is_routable);
        let mut told = Vec::new();
        if ready < all {
            told.push(format!("{ready} of {all} instances take calls"));
        }
        if self.slot.is_paused() {
            let lacks: Vec<String> = self.lacks.iter().map(|need| format!("`{need}`")).collect();
            told.push(format!("it is paused without {}", lacks.join(" and ")));
        }
        let ails: BTreeSet<&str> = self.seats.values().map(|seat| &*seat.ails).collect();
        told.extend(ails.into_iter().filter(|why| !why.is_empty()).map(str::to_owned));
        if count(|one| matches!(one.phase(), Phase::Unkillable { .. })) > 0 {
            told.push("a process cannot be killed".to_owned());
        }
        if let Some(death) = self.deaths.back().filter(|_| ready < all) {
            told.push(format!("last: {death}"));
        }
        told.join("; ")
    }

    /// How it is. `starts_in` is what is left of its delay or quarantine.
    pub(crate) fn status(&self, starts_in: Option<Duration>) -> PluginStatus {
        let route = self.route.borrow();
        let instances: Vec<InstanceStatus> =
            self.slot.instances().iter().filter_map(|one| self.instance(one)).collect();
        let now = self.stays.back();
        let mut denials = self.denied.clone();
        self.seats.values().for_each(|seat| denials.absorb(&seat.denied));
        PluginStatus {
            name: self.entry.name.clone(),
            version: self.edition().manifest().plugin.version.to_string(),
            state: self.slot.state().name(),
            since: now.map_or(SystemTime::UNIX_EPOCH, |stay| stay.since),
            reason: route.reason.clone(),
            starts_in,
            generation: self.slot.generation(),
            instance: self.slot.newest(),
            pid: instances.iter().find_map(|one| one.pid),
            restarts: self.slot.restarts(),
            failures: self.slot.failures(),
            in_flight: instances.iter().map(|one| one.in_flight).sum(),
            instances,
            last_death: self.deaths.back().cloned(),
            enforcement: self.enforcement.clone(),
            denials,
            open_circuits: self.edition().catalog.refused(),
            counts: Counts::of(&self.entry.counters),
            stays: self.stays.iter().cloned().collect(),
            swap: self.exchanges.values().next_back().map(|one| one.told.borrow().clone()),
        }
    }

    fn instance(&self, instance: &Instance) -> Option<InstanceStatus> {
        let seat = self.seats.get(&instance.id())?;
        Some(InstanceStatus {
            instance: instance.id(),
            generation: instance.generation(),
            role: match instance.role() {
                Role::Active => "active",
                Role::Spare => "spare",
                Role::Aside => "aside",
            },
            state: instance.phase().name(),
            since: seat.since,
            pid: seat.pid,
            in_flight: seat.session.as_ref().map_or(0, |session| session.in_flight()),
        })
    }
}
