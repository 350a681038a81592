//! `[sandbox]`: what must hold for the plugin to be started.

use std::collections::BTreeMap;

use crate::{
    field::{Section, listed},
    key::SANDBOX,
    neutral::echo,
    sandbox::{Demand, Level, PROTECTIONS, SWITCHABLE, Sandbox},
    suggest,
};

pub(super) fn read(section: &Section<'_>) -> Sandbox {
    section.refuse_unknown(&SANDBOX.names().chain(["protections"]).collect::<Vec<_>>());
    let level = section.get("level").and_then(|field| field.choice(&Level::ALL, Level::as_str));
    let table = section.get("protections").and_then(|field| field.section());
    Sandbox { level, protections: table.map(|table| protections(&table)).unwrap_or_default() }
}

/// `[sandbox.protections]`, or that of a profile: every key is the name of one.
pub(super) fn protections(section: &Section<'_>) -> BTreeMap<&'static str, Demand> {
    let mut demands = BTreeMap::new();
    for (name, _, field) in section.entries() {
        let demand = field.choice(&Demand::ALL, Demand::as_str);
        let Some(known) = PROTECTIONS.into_iter().find(|known| *known == name) else {
            let nearest = suggest::nearest(name, PROTECTIONS).map(|near| format!("\"{near}\""));
            let message = format!("`{}` is not a protection", echo(name));
            field.complain(message, nearest, Some(listed(PROTECTIONS)));
            continue;
        };
        if demand == Some(Demand::Off) && !SWITCHABLE.contains(&known) {
            let message = format!("`{known}` cannot be off by itself");
            let allowed = format!("\"require\" or \"prefer\"; off can be {}", listed(SWITCHABLE));
            field.wrong(message, allowed);
        }
        demands.extend(demand.map(|demand| (known, demand)));
    }
    demands
}
