//! `[dependencies]`: which Plugbay and which other plugins.

use semver::VersionReq;

use super::plugin::NAME_RULE;
use crate::{
    dependency::{Dependencies, Dependency, OnLoss},
    field::{Field, Section},
    key::DEPENDENCY,
    name::PluginName,
    neutral::echo,
};

pub(super) fn read(section: &Section<'_>, own: Option<&PluginName>) -> Dependencies {
    let mut dependencies = Dependencies::default();
    for (name, _, field) in section.entries() {
        if name == "plugbay" {
            dependencies.plugbay = read_range(&field).unwrap_or_default();
            continue;
        }
        let dependency = read_one(&field);
        match PluginName::new(name) {
            Ok(name) if own == Some(&name) => {
                field.wrong("a plugin cannot depend on itself", "the name of another plugin");
            }
            Ok(name) => {
                dependencies.plugins.extend(dependency.map(|dependency| (name, dependency)));
            }
            Err(error) => field.wrong(error.to_string(), format!("`plugbay`, or {NAME_RULE}")),
        }
    }
    dependencies
}

/// A range alone, or a table that also says what follows when the other plugin is lost.
fn read_one(field: &Field<'_>) -> Option<Dependency> {
    if field.value.get_ref().as_str().is_some() {
        return read_range(field).map(Dependency::of);
    }
    if !field.is_table() {
        field.wrong_kind("a version range, or a table");
        return None;
    }
    let section = field.section()?;
    section.refuse_unknown(&DEPENDENCY.names().collect::<Vec<_>>());
    let range = match section.get("version") {
        Some(field) => read_range(&field)?,
        None => VersionReq::STAR,
    };
    let defaults = Dependency::of(range);
    let on_loss = section.get("on_loss");
    let grace = section.get("grace").and_then(|field| field.duration());
    Some(Dependency {
        on_loss: on_loss
            .and_then(|field| field.choice(&OnLoss::ALL, OnLoss::as_str))
            .unwrap_or_default(),
        grace: grace.unwrap_or(defaults.grace),
        ..defaults
    })
}

/// A range of versions, in Cargo's notation.
fn read_range(field: &Field<'_>) -> Option<VersionReq> {
    let text = field.text()?;
    VersionReq::parse(text)
        .map_err(|error| {
            field.wrong(
                format!("`{}` is not a version range: {}", echo(text), echo(&error.to_string())),
                "a range as \"1.2\" (same major), \"~1.2.3\", \">=1.0, <3\" or \"*\"",
            );
        })
        .ok()
}
