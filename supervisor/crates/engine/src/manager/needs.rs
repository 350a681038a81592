//! Who waits for whom: what a plugin's dependencies are to its slot. Pure, over the table.

use std::{collections::BTreeMap, sync::Arc};

use super::plug::Plug;
use crate::lifecycle::slot::{Event, Hope, Needs, State};

type Plugs = BTreeMap<Arc<str>, Plug>;

/// Tells each plugin who depends on it. Dependencies never form a circle: whoever is part of one
/// is refused before.
pub(crate) fn introduce(plugs: &mut Plugs) {
    let pairs: Vec<(Arc<str>, Arc<str>)> = plugs
        .iter()
        .filter(|(_, plug)| plug.refused.is_none())
        .flat_map(|(name, plug)| plug.needs.iter().map(|need| (need.clone(), name.clone())))
        .collect();
    for (need, name) in pairs {
        if let Some(plug) = plugs.get_mut(&need) {
            plug.needed_by.push(name);
        }
    }
}

/// What follows for those who depend on a plugin from where it is now.
pub(crate) fn consequences(plugs: &Plugs, name: &str) -> Vec<(Arc<str>, Event)> {
    let dependents = plugs.get(name).into_iter().flat_map(|plug| &plug.needed_by);
    dependents
        .filter_map(|name| {
            let plug = plugs.get(name)?;
            let needs = of(plugs, plug);
            (needs != plug.slot.needs()).then(|| (name.clone(), Event::Needs(needs)))
        })
        .collect()
}

/// What a plugin that waits would say it waits for.
pub(crate) fn missing(plugs: &Plugs, name: &str) -> Option<String> {
    let plug = plugs.get(name)?;
    let missing: Vec<String> = plug
        .needs
        .iter()
        .filter_map(|need| Some((need, plugs.get(need)?.slot.state())))
        .filter(|(_, state)| offered(*state) != Needs::Met)
        .map(|(need, state)| format!("`{need}`, which is {}", state.name()))
        .collect();
    (!missing.is_empty()).then(|| format!("it waits for {}", missing.join(" and ")))
}

/// Whether all that a plugin depends on is there; without hope if one of them is.
fn of(plugs: &Plugs, plug: &Plug) -> Needs {
    let offers = plug.needs.iter().map(|need| match plugs.get(need) {
        Some(plug) => offered(plug.slot.state()),
        None => Needs::Missing(Hope::Lost),
    });
    offers.fold(Needs::Met, |all, one| match (all, one) {
        (Needs::Missing(Hope::Lost), _) | (_, Needs::Missing(Hope::Lost)) => {
            Needs::Missing(Hope::Lost)
        }
        (Needs::Met, one) => one,
        (all @ Needs::Missing(Hope::Coming), _) => all,
    })
}

/// Whether a plugin in this state is there for those who need it.
pub(crate) fn is_there(state: State) -> bool {
    offered(state) == Needs::Met
}

/// What a plugin in this state is to those who need it. One that a call would wake is there.
fn offered(state: State) -> Needs {
    if state.is_up() || state.is_woken_by_calls() {
        Needs::Met
    } else if state.is_on_its_way_up() {
        Needs::Missing(Hope::Coming)
    } else {
        Needs::Missing(Hope::Lost)
    }
}
