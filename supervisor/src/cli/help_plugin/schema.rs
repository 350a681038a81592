//! A JSON Schema in words: one line for each member, with its type, its bounds and what it is for.
//!
//! Not a validator, and not the whole of JSON Schema: what is said is what people need to write a
//! value; what is not understood here is left out, never wrong. A schema is hostile input: depth and
//! length are bounded, and every text is made harmless.

use serde_json::{Map, Value};

use crate::output::neutral::{self, Lines};

/// How deep members of members are told.
const DEPTH: usize = 4;
/// Members told of one object.
const MEMBERS: usize = 64;
/// The longest text taken over from a schema, in characters.
const TEXT: usize = 200;
/// Values told of a choice.
const CHOICES: usize = 12;

/// What a value of this schema looks like: a line for each member of an object, else one line.
pub(super) fn members(schema: &Value, indent: usize) -> String {
    let mut out = String::new();
    match properties(schema) {
        Some(members) if !members.is_empty() => tell(&mut out, schema, members, indent, DEPTH),
        _ => entry(&mut out, &told(schema), schema, indent),
    }
    out
}

fn tell(
    out: &mut String,
    schema: &Value,
    members: &Map<String, Value>,
    indent: usize,
    depth: usize,
) {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let width = members.keys().map(|name| text(name).chars().count()).max().unwrap_or(0).min(24);
    for (name, member) in members.iter().take(MEMBERS) {
        let need = if required.contains(&name.as_str()) { ", required" } else { "" };
        entry(out, &format!("{:<width$}  {}{need}", text(name), told(member)), member, indent);
        let inner = member.get("items").unwrap_or(member);
        if depth > 1
            && let Some(inside) = properties(inner)
        {
            tell(out, inner, inside, indent + 4, depth - 1);
        }
    }
    if members.len() > MEMBERS {
        let more = members.len() - MEMBERS;
        out.push_str(&format!("{:indent$}and {more} more\n", ""));
    }
}

/// One line, and its description.
fn entry(out: &mut String, told: &str, schema: &Value, indent: usize) {
    let description = schema.get("description").or_else(|| schema.get("title"));
    let what = description.and_then(Value::as_str).map(text).unwrap_or_default();
    let gap = if what.is_empty() { "" } else { ": " };
    out.push_str(&format!("{:indent$}{told}{gap}{what}\n", ""));
}

fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties").and_then(Value::as_object)
}

/// Type, bounds and default.
fn told(schema: &Value) -> String {
    let mut parts = vec![kind(schema)];
    parts.extend(bounds(schema));
    parts.extend(schema.get("format").and_then(Value::as_str).map(text));
    parts.extend(schema.get("pattern").and_then(Value::as_str).map(|it| format!("/{}/", text(it))));
    parts.extend(schema.get("default").map(|it| format!("default {}", value(it))));
    parts.join(", ")
}

fn kind(schema: &Value) -> String {
    if let Some(choice) = schema.get("enum").and_then(Value::as_array) {
        let mut words: Vec<String> = choice.iter().take(CHOICES).map(value).collect();
        if choice.len() > CHOICES {
            words.push("…".to_owned());
        }
        return words.join(" | ");
    }
    if let Some(constant) = schema.get("const") {
        return value(constant);
    }
    match schema.get("type") {
        Some(Value::String(name)) if name == "array" => match schema.get("items") {
            Some(items) => format!("list of {}", kind(items)),
            None => "list".to_owned(),
        },
        Some(Value::String(name)) => text(name),
        Some(Value::Array(names)) => {
            let names: Vec<String> = names.iter().filter_map(Value::as_str).map(text).collect();
            names.join(" or ")
        }
        _ if properties(schema).is_some() => "object".to_owned(),
        _ => "any value".to_owned(),
    }
}

fn bounds(schema: &Value) -> Option<String> {
    let number = |key: &str| schema.get(key).filter(|it| it.is_number()).map(Value::to_string);
    let range = |low: Option<String>, high: Option<String>, unit: &str| match (low, high) {
        (Some(low), Some(high)) => Some(format!("{low} to {high}{unit}")),
        (Some(low), None) => Some(format!("at least {low}{unit}")),
        (None, Some(high)) => Some(format!("at most {high}{unit}")),
        (None, None) => None,
    };
    range(number("minimum"), number("maximum"), "")
        .or_else(|| range(number("minLength"), number("maxLength"), " characters"))
        .or_else(|| range(number("minItems"), number("maxItems"), " items"))
        .or_else(|| number("exclusiveMinimum").map(|low| format!("more than {low}")))
}

/// A value of the schema's as JSON.
fn value(value: &Value) -> String {
    text(&value.to_string())
}

/// Text of the schema's, harmless, on one line and cut to its bound.
fn text(text: &str) -> String {
    let mut cut: String = text.chars().take(TEXT).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    neutral::text(&cut, Lines::Escape).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_object_is_told_member_by_member() {
        let schema = json!({
            "type": "object",
            "required": ["text"],
            "properties": {
                "text": {"type": "string", "maxLength": 100, "description": "what is counted"},
                "top": {"type": "integer", "minimum": 1, "maximum": 9, "default": 5},
                "order": {"enum": ["up", "down"]},
                "where": {"type": "array", "items": {"type": "object", "properties": {
                    "line": {"type": ["integer", "null"]}
                }}},
            },
        });
        insta::assert_snapshot!(members(&schema, 2), @r#"
        order  "up" | "down"
        text   string, at most 100 characters, required: what is counted
        top    integer, 1 to 9, default 5
        where  list of object
            line  integer or null
        "#);
    }

    #[test]
    fn what_is_no_object_is_one_line() {
        assert_eq!(
            members(&json!({"type": "array", "items": {"type": "string"}}), 0),
            "list of string\n"
        );
        assert_eq!(members(&json!({}), 0), "any value\n");
        assert_eq!(members(&json!(true), 0), "any value\n");
        assert_eq!(members(&json!({"const": 1, "title": "one"}), 0), "1: one\n");
    }

    #[test]
    fn a_hostile_schema_is_bounded_and_harmless() {
        let mut deep = json!({"type": "string", "description": "\x1b[2J\nerror: forged"});
        for _ in 0..50 {
            deep = json!({"type": "object", "properties": {"a\u{202e}": deep}});
        }
        let wide: Map<String, Value> = (0..500).map(|n| (format!("k{n}"), json!({}))).collect();
        let wide = json!({"properties": wide, "description": "x".repeat(10_000)});
        let (deep, wide) = (members(&deep, 0), members(&wide, 0));
        assert_eq!(deep.lines().count(), DEPTH);
        assert_eq!(wide.lines().count(), MEMBERS + 1);
        assert!(!deep.contains(['\x1b', '\u{202e}']));
        let long = members(&json!({"description": "y\x1b".repeat(10_000)}), 0);
        assert!(long.chars().count() < 2_000 && !long.contains('\x1b'), "{long}");
    }
}
