//! `[config]`: a JSON Schema, or lists of the keys that must and may be given.

use serde_json::{Map, Value, json};

use super::{Files, schema};
use crate::{
    field::{Field, Section},
    key::CONFIG,
    manifest::ConfigSpec,
    neutral::echo,
    schema::{Keywords, Schema},
};

pub(super) fn read(field: &Field<'_>, files: &dyn Files) -> Option<ConfigSpec> {
    let section = &field.section()?;
    let keys: Vec<&str> = section.entries().map(|(name, ..)| name).collect();
    let lists = ["required", "optional"];
    let schema = if let Some(field) = section.get("schema") {
        section.refuse_unknown(&["schema"]);
        schema::read(&field, files)
    } else if keys.iter().any(|key| schema::is_keyword(key) && !lists.contains(key)) {
        schema::read_inline(field)
    } else if keys.is_empty() {
        None
    } else {
        section.refuse_unknown(&CONFIG.names().collect::<Vec<_>>());
        from_lists(section)
    };
    Some(ConfigSpec { schema })
}

/// The schema that says: these keys must be there, those may, and no others.
fn from_lists(section: &Section<'_>) -> Option<Schema> {
    let required = section.get("required").map_or(Some(Vec::new()), |field| read_keys(&field))?;
    let optional = section.get("optional").map_or(Some(Vec::new()), |field| read_keys(&field))?;
    if let Some(twice) = optional.iter().find(|key| required.contains(key)) {
        let message = format!("`{}` is both required and optional", echo(twice));
        section.wrong(message, "each key in one of the two lists");
    }
    let properties: Map<String, Value> = required
        .iter()
        .chain(&optional)
        .map(|key| ((*key).to_owned(), Value::Bool(true)))
        .collect();
    let document = json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    Schema::new(document, Keywords::Known).ok()
}

/// A list of configuration keys.
fn read_keys<'r>(field: &Field<'r>) -> Option<Vec<&'r str>> {
    let keys = field.texts("a list of keys")?;
    let mut seen = std::collections::BTreeSet::new();
    for key in &keys {
        if key.is_empty() || !seen.insert(*key) {
            field
                .wrong(format!("the key `{}` is empty or named twice", echo(key)), "each key once");
            return None;
        }
    }
    Some(keys)
}
