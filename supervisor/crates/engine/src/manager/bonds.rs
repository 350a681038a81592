//! What plugins are to each other, beyond who waits for whom: edges that say what the loss of a
//! dependency means, and groups that fall together.
//!
//! The decisions are [`lifecycle::edge`](crate::lifecycle::edge) and
//! [`lifecycle::group`](crate::lifecycle::group); here they are told what the table sees, and what
//! they say becomes events of slots. No task and no lock: the table's own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use plugbay_manifest::{Manifest, OnLoss as Asked};

use super::{event::EventKind, needs, plug::Plug};
use crate::{
    error::StartError,
    lifecycle::{
        edge::{Edge, OnLoss, Turn},
        group::{self, Answer, Bounds, Strategy},
        slot::{Event, State},
    },
};

/// Plugins that are started, restarted and left alone together.
///
/// The members are named in the order in which they are started. Of a group that is
/// [`Strategy::RestForOne`] or [`Strategy::OneForAll`], each waits for the one before it to be up.
/// A group whose members fall more than `intensity` times within `period` is put in quarantine, all
/// of it, for five minutes at first; the host goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its name, for the log.
    pub name: String,
    /// Who is started again when a member has fallen.
    pub strategy: Strategy,
    /// Its plugins, the first one first.
    pub members: Vec<String>,
    /// So many falls are borne.
    pub intensity: u32,
    /// In this time; that which ends on the group's behalf take is not counted.
    pub period: Duration,
}

impl Default for Group {
    /// Nobody, one for one, five falls in 60 s.
    fn default() -> Self {
        let Bounds { intensity, period, .. } = Bounds::default();
        let (strategy, members) = (Strategy::default(), Vec::new());
        Self { name: String::new(), strategy, members, intensity, period }
    }
}

impl Group {
    /// A group with the usual bounds.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        strategy: Strategy,
        members: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let members = members.into_iter().map(Into::into).collect();
        Self { name: name.into(), strategy, members, ..Self::default() }
    }

    /// Whether a member waits for the one before it.
    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let ordered = if self.strategy.is_ordered() { self.members.len() } else { 0 };
        let all = self.members.iter().map(String::as_str);
        all.clone().zip(all.skip(1)).take(ordered)
    }
}

/// Whether the groups can be: each member is there and in one group only, and nobody would wait
/// for itself.
pub(crate) fn check(
    groups: &[Group],
    manifests: &BTreeMap<&str, &Manifest>,
) -> Result<(), StartError> {
    let mut taken = BTreeSet::new();
    let mut needs: BTreeMap<&str, Vec<&str>> = manifests
        .iter()
        .map(|(name, manifest)| {
            (*name, manifest.dependencies.plugins.keys().map(|need| need.as_str()).collect())
        })
        .collect();
    for group in groups {
        let refuse = |what| StartError::Group { group: group.name.clone(), what };
        for member in &group.members {
            if !manifests.contains_key(member.as_str()) {
                return Err(refuse(format!("there is no plugin `{member}`")));
            }
            if !taken.insert(member.as_str()) {
                return Err(refuse(format!("`{member}` is in a group already")));
            }
        }
        for (before, after) in group.pairs() {
            if leads(&needs, before, after) {
                return Err(refuse(format!(
                    "`{after}` would wait for `{before}`, which needs `{after}`"
                )));
            }
            needs.entry(after).or_default().push(before);
        }
    }
    Ok(())
}

/// Whether one plugin needs another, through whomever.
fn leads<'a>(needs: &BTreeMap<&'a str, Vec<&'a str>>, from: &'a str, to: &str) -> bool {
    let (mut seen, mut agenda) = (BTreeSet::new(), vec![from]);
    while let Some(name) = agenda.pop() {
        if name == to {
            return true;
        }
        if seen.insert(name) {
            agenda.extend(needs.get(name).into_iter().flatten());
        }
    }
    false
}

type Plugs = BTreeMap<Arc<str>, Plug>;

/// Everything that ties plugins to each other.
#[derive(Debug, Default)]
pub(crate) struct Bonds {
    /// By who depends, and on whom.
    edges: BTreeMap<(Arc<str>, Arc<str>), Edge>,
    parties: Vec<Party>,
    /// Which party a plugin is in, and as which member.
    member: BTreeMap<Arc<str>, (usize, usize)>,
    /// What happened that others want to know.
    pub(crate) news: Vec<(Arc<str>, EventKind)>,
}

#[derive(Debug)]
struct Party {
    name: String,
    members: Vec<Arc<str>>,
    group: group::Group,
    /// Who is being ended on its behalf.
    ending: BTreeSet<Arc<str>>,
}

/// What follows for whom.
pub(crate) type Consequences = Vec<(Arc<str>, Event)>;

impl Bonds {
    /// Ties the plugins. Members of an ordered group need those before them from now on.
    pub(crate) fn tie(groups: &[Group], plugs: &mut Plugs) -> Self {
        let mut bonds = Self::default();
        for (name, plug) in plugs.iter().filter(|(_, plug)| plug.refused.is_none()) {
            for (need, asked) in &plug.edition().manifest().dependencies.plugins {
                let edge = Edge::new(rule(asked.on_loss), asked.grace);
                bonds.edges.insert((name.clone(), need.as_str().into()), edge);
            }
        }
        for (party, group) in groups.iter().enumerate() {
            for (before, after) in group.pairs() {
                let before: Arc<str> = before.into();
                if let Some(plug) = plugs.get_mut(after).filter(|one| !one.needs.contains(&before))
                {
                    plug.needs.push(before);
                }
            }
            let members: Vec<Arc<str>> =
                group.members.iter().map(|name| name.as_str().into()).collect();
            for (place, name) in members.iter().enumerate() {
                bonds.member.insert(name.clone(), (party, place));
            }
            let bounds =
                Bounds { intensity: group.intensity, period: group.period, ..Bounds::default() };
            bonds.parties.push(Party {
                name: group.name.clone(),
                group: group::Group::new(group.strategy, members.len(), bounds),
                members,
                ending: BTreeSet::new(),
            });
        }
        bonds
    }

    /// A plugin has taken a step: those that depend on it may have lost it or got it back.
    pub(crate) fn follow(&mut self, plugs: &Plugs, name: &Arc<str>, now: Duration) -> Consequences {
        self.note_ending(plugs, name, now);
        let Some(plug) = plugs.get(name) else { return Vec::new() };
        let there = needs::is_there(plug.slot.state());
        let mut consequences = Vec::new();
        for dependent in &plug.needed_by {
            let key = (dependent.clone(), name.clone());
            if let Some(turn) = self.edges.get_mut(&key).and_then(|edge| edge.hear(there, now)) {
                self.turn(&key, turn, &mut consequences);
            }
        }
        consequences
    }

    /// When the next grace has passed.
    pub(crate) fn due(&self) -> Option<Duration> {
        self.edges.values().filter_map(Edge::due).min()
    }

    /// Time has passed: what was missed too long is lost.
    pub(crate) fn ring(&mut self, now: Duration) -> Consequences {
        let due: Vec<_> = self
            .edges
            .iter_mut()
            .filter_map(|(key, edge)| Some((key.clone(), edge.ring(now)?)))
            .collect();
        let mut consequences = Vec::new();
        for (key, turn) in due {
            self.turn(&key, turn, &mut consequences);
        }
        consequences
    }

    fn turn(&mut self, key: &(Arc<str>, Arc<str>), turn: Turn, consequences: &mut Consequences) {
        let (name, need) = key;
        let event = match turn {
            Turn::Lost(OnLoss::Pause) | Turn::Back(OnLoss::Pause) => {
                Some(Event::Pause(self.lacks(name).next().is_some()))
            }
            Turn::Lost(OnLoss::Stop) | Turn::Back(OnLoss::Restart) => Some(Event::Yield),
            Turn::Lost(OnLoss::Notify | OnLoss::Restart)
            | Turn::Back(OnLoss::Notify | OnLoss::Stop) => None,
        };
        consequences.extend(event.map(|event| (name.clone(), event)));
        let kind = match turn {
            Turn::Lost(_) => EventKind::DependencyLost(need.clone()),
            Turn::Back(_) => EventKind::DependencyBack(need.clone()),
        };
        self.news.push((name.clone(), kind));
    }

    /// What a plugin is paused for.
    pub(crate) fn lacks<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Arc<str>> {
        let own = self.edges.iter().filter(move |((dependent, _), _)| **dependent == *name);
        own.filter(|(_, edge)| edge.lost() == Some(OnLoss::Pause)).map(|((_, need), _)| need)
    }

    /// A plugin has fallen, unasked, and is not up any more.
    pub(crate) fn fell(&mut self, name: &Arc<str>, now: Duration) -> Consequences {
        let Some((party, place)) = self.member.get(name).copied() else { return Vec::new() };
        let Some(party) = self.parties.get_mut(party) else { return Vec::new() };
        match party.group.fell(place, now) {
            Answer::Restart(others) => {
                // The last one first, as they were started.
                let others = others.into_iter().rev();
                let names = others.filter_map(|other| party.members.get(other).cloned());
                names.map(|name| (name, Event::Yield)).collect()
            }
            Answer::Quarantine(length) => {
                let kind = EventKind::GroupQuarantined { group: party.name.clone(), length };
                self.news.push((name.clone(), kind));
                let names = party.members.iter().rev().cloned();
                names.map(|name| (name, Event::Banish(length))).collect()
            }
        }
    }

    /// Somebody wants a plugin up; its group's past does not count.
    pub(crate) fn absolve(&mut self, name: &str) {
        let party = self.member.get(name).and_then(|(party, _)| self.parties.get_mut(*party));
        if let Some(party) = party {
            party.group.absolve();
        }
    }

    /// The clock of a group stands still while members of it are ended on its behalf.
    fn note_ending(&mut self, plugs: &Plugs, name: &Arc<str>, now: Duration) {
        let party = self.member.get(name).and_then(|(party, _)| self.parties.get_mut(*party));
        let (Some(party), Some(plug)) = (party, plugs.get(name)) else { return };
        if plug.slot.state() == State::Restarting {
            party.ending.insert(name.clone());
        } else {
            party.ending.remove(name);
        }
        party.group.stand(!party.ending.is_empty(), now);
    }
}

fn rule(asked: Asked) -> OnLoss {
    match asked {
        Asked::Notify => OnLoss::Notify,
        Asked::Pause => OnLoss::Pause,
        Asked::Stop => OnLoss::Stop,
        Asked::Restart => OnLoss::Restart,
    }
}
