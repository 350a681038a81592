//! `[plugin]`: who the plugin is.

use semver::Version;

use crate::{
    field::{Field, Section},
    key::PLUGIN,
    manifest::PluginInfo,
    name::{PluginName, is_word},
    neutral::echo,
};

/// The rule of names, for messages.
pub(super) const NAME_RULE: &str = "a name of a-z, 0-9 and -, that starts with a letter, at most 64 characters, not `plugbay` or `host`";

/// The longest description, in bytes.
const MAX_DESCRIPTION: usize = 4096;

pub(super) fn read(section: &Section<'_>) -> Option<PluginInfo> {
    section.refuse_unknown(&PLUGIN.names().collect::<Vec<_>>());
    let name = section.require("name", NAME_RULE).and_then(|field| read_name(&field));
    let version = section
        .require("version", "a semantic version, as \"1.2.3\"")
        .and_then(|field| read_version(&field));
    let kind = section.get("type").and_then(|field| read_kind(&field));
    let description = section.get("description").and_then(|field| read_description(&field));
    let authors = section.get("authors").and_then(|field| read_authors(&field));
    let license = section.get("license").and_then(|field| field.text().map(str::to_owned));
    Some(PluginInfo {
        name: name?,
        version: version?,
        kind: kind.unwrap_or_else(|| "plugin".to_owned()),
        description: description.unwrap_or_default(),
        authors: authors.unwrap_or_default(),
        license,
    })
}

fn read_name(field: &Field<'_>) -> Option<PluginName> {
    let text = field.text()?;
    PluginName::new(text)
        .map_err(|error| {
            let fixed = text.to_lowercase().replace(['_', ' ', '.'], "-");
            let suggestion = PluginName::new(&fixed).ok().map(|name| format!("\"{name}\""));
            field.complain(error.to_string(), suggestion, Some(NAME_RULE.to_owned()));
        })
        .ok()
}

fn read_version(field: &Field<'_>) -> Option<Version> {
    let text = field.text()?;
    Version::parse(text)
        .map_err(|error| {
            let padded = [format!("{text}.0"), format!("{text}.0.0"), text.replacen('v', "", 1)];
            let fixed = padded.iter().find(|text| Version::parse(text).is_ok());
            field.complain(
                format!("`{}` is not a version: {}", echo(text), echo(&error.to_string())),
                fixed.map(|text| format!("\"{text}\"")),
                Some(
                    "a semantic version: MAJOR.MINOR.PATCH, as \"1.2.3\" or \"1.0.0-beta.1\""
                        .to_owned(),
                ),
            );
        })
        .ok()
}

fn read_kind(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    if is_word(text) && text.len() <= 64 {
        return Some(text.to_owned());
    }
    field.wrong("not a word", "a word of a-z, 0-9 and -, that starts with a letter");
    None
}

fn read_description(field: &Field<'_>) -> Option<String> {
    let text = field.prose()?;
    if text.len() > MAX_DESCRIPTION {
        field.wrong("the text is too long", format!("at most {MAX_DESCRIPTION} bytes"));
    }
    Some(text)
}

/// One author as a text, or several as a list.
fn read_authors(field: &Field<'_>) -> Option<Vec<String>> {
    if field.value.get_ref().is_str() {
        return field.text().map(|text| vec![text.to_owned()]);
    }
    let texts = field.texts("a text or a list of texts")?;
    Some(texts.into_iter().map(str::to_owned).collect())
}
