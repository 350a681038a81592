//! `[dependencies]`: which Plugbay and which other plugins.

use semver::VersionReq;

use super::plugin::NAME_RULE;
use crate::{
    field::{Field, Section},
    manifest::Dependencies,
    name::PluginName,
    neutral::echo,
};

pub(super) fn read(section: &Section<'_>, own: Option<&PluginName>) -> Dependencies {
    let mut dependencies = Dependencies::default();
    for (name, _, field) in section.entries() {
        let range = read_range(&field);
        if name == "plugbay" {
            dependencies.plugbay = range.unwrap_or_default();
            continue;
        }
        match PluginName::new(name) {
            Ok(name) if own == Some(&name) => {
                field.wrong("a plugin cannot depend on itself", "the name of another plugin");
            }
            Ok(name) => {
                dependencies.plugins.extend(range.map(|range| (name, range)));
            }
            Err(error) => field.wrong(error.to_string(), format!("`plugbay`, or {NAME_RULE}")),
        }
    }
    dependencies
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
