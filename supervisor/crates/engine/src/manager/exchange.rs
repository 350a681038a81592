//! The table's part in an exchange of generations: it keeps the editions, starts what the slot
//! wants started, hands over state, and tells how it goes.

use std::sync::{Arc, atomic::Ordering};

use plugbay_protocol::handshake::Hello;
use tokio::sync::watch;

use super::{
    edition::Edition,
    event::EventKind,
    handover,
    plug::Plug,
    swap::{Followed, SwapStatus, SwapVerdict, Wanted, stage_name},
    table::Table,
};
use crate::{
    clock,
    lifecycle::{
        identity::{Generation, InstanceId},
        slot::{Change, Event, Setback, Stage, Turn},
    },
    plugin::{
        session::Session,
        text::{Breaks, plain},
    },
};

/// Editions kept beside the one that answers, to go back to.
const EDITIONS_KEPT: usize = 3;

/// Old and new processes, each old one with the new one that takes its place.
type Pairs = Vec<(Arc<Session>, Arc<Session>)>;

impl Table {
    /// Exchanges the version of a plugin.
    pub(super) fn swap(
        &mut self,
        name: &Arc<str>,
        wanted: Wanted,
    ) -> Option<watch::Receiver<SwapStatus>> {
        let plug = self.plugs.get_mut(name)?;
        let (change, told) = plug.prepare(wanted);
        self.exchange(name, change);
        Some(told)
    }

    /// Somebody has seen enough of a new version.
    pub(super) fn conclude_swap(&mut self, name: &Arc<str>, to: Generation, keep: bool) {
        self.step(name, if keep { Event::Accept(to) } else { Event::Recall(to) });
    }

    /// An exchange took a turn.
    pub(super) fn turn(&mut self, name: &Arc<str>, to: Generation, turn: Turn) {
        let Some(plug) = self.plugs.get_mut(name) else { return };
        plug.turn(to, turn);
        let Some(status) = plug.exchanges.get(&to).map(|one| one.told.borrow().clone()) else {
            return;
        };
        tracing::info!(plugin = &**name, "{status}");
        let newest = plug.slot.newest();
        self.tell(name, newest, EventKind::Swap(Box::new(status)));
    }

    /// The state of the old generation is to become the new one's.
    pub(super) fn hand_over(&mut self, name: &Arc<str>, to: Generation) {
        let Some(plug) = self.plugs.get_mut(name) else { return };
        let posted = (name.clone(), self.posting.clone());
        let outcome = plug.pairs(to);
        let Some(followed) = plug.exchanges.get(&to) else { return };
        let told = followed.told.clone();
        followed.step(Stage::HandingOver.name(), |status| {
            status.stage = Stage::HandingOver.name();
        });
        self.tasks.spawn(async move {
            let (name, posting) = posted;
            let outcome = match outcome {
                Ok(pairs) => handover::run(pairs).await.map(Some),
                Err(Unhanded::Nothing) => Ok(None),
                Err(Unhanded::Impossible(why)) => Err(why),
            };
            let done = outcome.is_ok();
            told.send_modify(|status| match outcome {
                Ok(Some(bytes)) => status.state_bytes = Some(bytes),
                Ok(None) => status.why = "it keeps no state; the new version began empty".into(),
                Err(why) => status.why = why.into(),
            });
            posting.send((name, Event::HandedOver(to, done))).await.ok();
        });
    }
}

/// Why no state is handed over.
enum Unhanded {
    /// There is none.
    Nothing,
    /// There is no telling which process is to have it.
    Impossible(String),
}

impl Plug {
    /// Takes up a new generation; what becomes of it is told there.
    fn prepare(&mut self, wanted: Wanted) -> (Change, watch::Receiver<SwapStatus>) {
        let Wanted { recipe, rules, strategy, bake, force } = wanted;
        let newest = self.editions.keys().next_back().copied();
        let to = newest.unwrap_or(Generation::FIRST).next();
        let from = self.edition();
        let version = |edition: &Edition| edition.manifest().plugin.version.to_string();
        let edition = Arc::new(Edition::new(to, recipe));
        let status = SwapStatus {
            plugin: self.entry.name.clone(),
            from: from.generation,
            from_version: version(from),
            to,
            to_version: version(&edition),
            strategy: strategy.name(),
            since: clock::wall(),
            stage: stage_name(None),
            switched: false,
            verdict: None,
            why: "".into(),
            steps: Vec::new(),
            downtime: std::time::Duration::ZERO,
            state_bytes: None,
            calls_old: 0,
            calls_new: 0,
        };
        let followed = Followed::new(status, force);
        let told = followed.told.subscribe();
        self.exchanges.retain(|_, one| !one.told.borrow().is_over());
        self.exchanges.insert(to, followed);
        self.editions.insert(to, edition);
        (Change { to, rules, strategy, bake }, told)
    }

    /// An exchange took a turn: notes it, with what is known of the reason.
    fn turn(&mut self, to: Generation, turn: Turn) {
        let stage = match self.slot.exchange() {
            Some((stage, _, current)) if current == to => stage.name(),
            Some(_) | None => "over",
        };
        let reason = match turn {
            Turn::Aborted(setback) | Turn::RolledBack(setback) => self.reason(setback),
            // How a process ended is known when all of it is gone.
            Turn::Over => match self.exchanges.get(&to).and_then(|one| one.setback) {
                Some(setback @ Setback::Ended(_)) => self.reason(setback),
                Some(_) | None => None,
            },
            Turn::Begun(_) | Turn::Switched | Turn::Kept => None,
        };
        let from = match turn {
            Turn::Begun(from) => Some(self.edition_of(from).clone()),
            Turn::Switched | Turn::Kept | Turn::Aborted(_) | Turn::RolledBack(_) | Turn::Over => {
                None
            }
        };
        if from.is_some() {
            self.refused = None;
        }
        let Some(followed) = self.exchanges.get_mut(&to) else { return };
        if let Turn::Aborted(setback) | Turn::RolledBack(setback) = turn {
            followed.setback = Some(setback);
        }
        if let Some(from) = &from {
            followed.finished = from.finished.load(Ordering::Relaxed);
        }
        let new = self.editions.get(&to).map(|one| one.finished.load(Ordering::Relaxed));
        let before = followed.told.borrow().from;
        let old = self.editions.get(&before).map(|one| one.finished.load(Ordering::Relaxed));
        let begun = followed.finished;
        followed.step(what(turn), |status| {
            status.stage = stage;
            status.switched |= matches!(turn, Turn::Switched | Turn::Kept);
            status.verdict = verdict(turn).or(status.verdict);
            if let Some(from) = &from {
                status.from = from.generation;
                status.from_version = from.manifest().plugin.version.to_string();
            }
            if let Some(reason) = reason.filter(|_| status.why.is_empty() || turn == Turn::Over) {
                status.why = reason;
            }
            status.calls_old = old.unwrap_or(begun).saturating_sub(begun);
            status.calls_new = new.unwrap_or(0);
        });
        if turn == Turn::Over || matches!(turn, Turn::Aborted(Setback::Superseded)) {
            self.forget();
        }
    }

    /// The generation to do without, because a process of it lacks methods that are called now.
    pub(super) fn loses(
        &mut self,
        instance: InstanceId,
        hello: Option<&Hello>,
    ) -> Option<Generation> {
        let (stage, _, to) = self.slot.exchange()?;
        let of_new =
            self.slot.instances().iter().any(|one| {
                one.id() == instance && one.generation() == to && stage == Stage::Coming
            });
        let followed = self.exchanges.get(&to).filter(|one| of_new && !one.force)?;
        let before = self.entry.route.borrow().hello.clone()?;
        let now = hello?;
        let lost: Vec<String> = before
            .methods
            .iter()
            .filter(|method| !now.methods.contains(method))
            .map(|method| format!("`{}`", plain(method, Breaks::Escape)))
            .collect();
        if lost.is_empty() {
            return None;
        }
        let why = format!("it does not answer {} any more", lost.join(", "));
        followed.told.send_modify(|status| status.why = why.into());
        Some(to)
    }

    /// Why an exchange failed, as far as it is known by now.
    fn reason(&self, setback: Setback) -> Option<Arc<str>> {
        Some(match setback {
            Setback::Ended(id) => match self.deaths().find(|death| death.instance == id) {
                Some(death) => death.to_string().into(),
                None => format!("process {id} of it ended").into(),
            },
            // That was told where it happened.
            Setback::State => return None,
            Setback::Late => "it was not ready in time".into(),
            Setback::Stuck(id) => {
                format!("process {id} of the old version cannot be killed").into()
            }
            Setback::Superseded => "another version was wanted meanwhile".into(),
            Setback::Recalled => "the old version was wanted back".into(),
            Setback::Disturbed => "the plugin was stopped or restarted meanwhile".into(),
        })
    }

    /// Lets go of editions that nothing leads back to.
    fn forget(&mut self) {
        let (current, pending) = (self.slot.generation(), &self.exchanges);
        let waits = |one: &Generation| {
            pending.get(one).is_some_and(|followed| !followed.told.borrow().is_over())
        };
        let alive: Vec<Generation> =
            self.slot.instances().iter().map(|one| one.generation()).collect();
        let idle: Vec<Generation> = self
            .editions
            .keys()
            .filter(|one| **one != current && !waits(one) && !alive.contains(one))
            .copied()
            .collect();
        for one in idle.iter().take(idle.len().saturating_sub(EDITIONS_KEPT)) {
            self.editions.remove(one);
        }
    }

    /// Whether somebody answers, for an exchange that has to say for how long nobody did.
    pub(super) fn light(&mut self, lit: bool) {
        let current = self.slot.exchange().map(|(_, _, to)| to);
        for (to, followed) in &mut self.exchanges {
            // One that is over by now ends with the first answer.
            if lit || Some(*to) == current {
                followed.lit(lit);
            }
        }
    }

    /// Who hands its state to whom.
    fn pairs(&self, to: Generation) -> Result<Pairs, Unhanded> {
        let of = |test: &dyn Fn(Generation) -> bool| -> Vec<InstanceId> {
            let all = self.slot.instances().iter();
            all.filter(|one| test(one.generation()) && one.is_able()).map(|one| one.id()).collect()
        };
        let (old, new) = (of(&|one| one == self.slot.generation()), of(&|one| one == to));
        let greeted = |id: &InstanceId| self.greeting(*id);
        let able = |id: &InstanceId| greeted(id).is_some_and(|(_, hello)| handover::is_able(hello));
        if !old.iter().chain(&new).all(able) {
            return Err(Unhanded::Nothing);
        }
        if old.len() != new.len() {
            let why =
                format!("{} processes cannot share out the state of {}", new.len(), old.len());
            return Err(Unhanded::Impossible(why));
        }
        let session = |id: &InstanceId| greeted(id).map(|(session, _)| session.clone());
        Ok(old.iter().zip(&new).filter_map(|(a, b)| session(a).zip(session(b))).collect())
    }
}

fn what(turn: Turn) -> &'static str {
    match turn {
        Turn::Begun(_) => "begun",
        Turn::Switched => "switched",
        Turn::Kept => "kept",
        Turn::Aborted(_) => "aborted",
        Turn::RolledBack(_) => "rolled back",
        Turn::Over => "over",
    }
}

fn verdict(turn: Turn) -> Option<SwapVerdict> {
    match turn {
        Turn::Kept => Some(SwapVerdict::Kept),
        Turn::Aborted(_) => Some(SwapVerdict::Aborted),
        Turn::RolledBack(_) => Some(SwapVerdict::RolledBack),
        Turn::Begun(_) | Turn::Switched | Turn::Over => None,
    }
}
