//! A value that a schema takes, as an example to copy: each member the simplest there is. It is
//! checked before it is shown; where none is found that holds, none is given.

use serde_json::{Map, Value, json};

/// How deep an example goes.
const DEPTH: usize = 4;
/// The longest example, in bytes.
const LENGTH: usize = 400;

/// An example of what `schema` takes, as JSON: the required members, or these and another one, or all.
pub(super) fn of(schema: &Value, holds: impl Fn(&Value) -> bool) -> Option<String> {
    let least = value(schema, "…", DEPTH)?;
    let fits = |value: &Value| holds(value) && value.to_string().len() <= LENGTH;
    let says_something =
        |value: &Value| value.as_object().is_none_or(|members| !members.is_empty());
    let mut all = vec![least.clone()];
    let members = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let optional = members.filter(|(name, _)| least.get(name.as_str()).is_none());
    let optional = optional.filter_map(|(name, member)| Some((name, value(member, "…", DEPTH)?)));
    let optional: Vec<_> = optional.collect();
    let with = |some: &[(&String, Value)]| {
        let mut more = least.clone();
        for (name, value) in some {
            if let Some(members) = more.as_object_mut() {
                members.insert((*name).clone(), value.clone());
            }
        }
        more
    };
    all.extend(optional.iter().map(|one| with(std::slice::from_ref(one))));
    all.push(with(&optional));
    let said = all.iter().find(|value| says_something(value) && fits(value));
    said.or_else(|| all.first().filter(|value| fits(value))).map(Value::to_string)
}

/// The simplest value. `name` is what a text stands for.
fn value(schema: &Value, name: &str, depth: usize) -> Option<Value> {
    let given = schema.get("examples").and_then(|examples| examples.get(0));
    let choice = schema.get("enum").and_then(|choice| choice.get(0));
    let said = given.or(schema.get("default")).or(schema.get("const")).or(choice);
    if let Some(said) = said {
        return Some(said.clone());
    }
    let depth = depth.checked_sub(1)?;
    match kind(schema) {
        "object" => object(schema, depth),
        "array" => {
            let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
            let item = schema.get("items").and_then(|items| value(items, name, depth));
            match (least, item) {
                (0 | 1, Some(item)) => Some(json!([item])),
                (0, None) => Some(json!([])),
                _ => None,
            }
        }
        "string" => Some(Value::from(name)),
        "integer" | "number" => Some(schema.get("minimum").cloned().unwrap_or(json!(1))),
        "boolean" => Some(json!(true)),
        "null" => Some(Value::Null),
        _ => None,
    }
}

fn object(schema: &Value, depth: usize) -> Option<Value> {
    let required = schema.get("required").and_then(Value::as_array);
    let names = required.into_iter().flatten().filter_map(Value::as_str);
    let mut members = Map::new();
    for name in names {
        let member = schema.get("properties").and_then(|all| all.get(name));
        let member = member.map_or(Some(json!("…")), |member| value(member, "…", depth))?;
        members.insert(name.to_owned(), member);
    }
    Some(Value::Object(members))
}

fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or_default(),
        _ if schema.get("properties").is_some() => "object",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_required_is_in_it_and_nothing_else() {
        let schema = json!({
            "type": "object",
            "required": ["text", "top", "flags"],
            "properties": {
                "text": {"type": "string"},
                "top": {"type": "integer", "minimum": 3},
                "flags": {"type": "array", "items": {"enum": ["a", "b"]}},
                "more": {"type": "boolean"},
            },
        });
        let text = of(&schema, |_| true).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value, json!({"text": "…", "top": 3, "flags": ["a"]}));
    }

    #[test]
    fn where_no_value_can_be_told_none_is() {
        let of = |schema: &Value| super::of(schema, |_| true);
        assert_eq!(of(&json!({"$ref": "#/x"})), None);
        assert_eq!(of(&json!({"type": "array", "minItems": 7, "items": {"type": "null"}})), None);
        assert_eq!(of(&json!({"type": "string", "default": "x".repeat(1_000)})), None);
        let mut deep = json!({"type": "string"});
        for _ in 0..50 {
            deep = json!({"type": "array", "items": deep, "minItems": 1});
        }
        assert_eq!(of(&deep), None);
    }

    #[test]
    fn what_the_schema_gives_itself_comes_first() {
        let of = |schema: &Value| super::of(schema, |_| true);
        assert_eq!(of(&json!({"type": "object", "examples": [{"a": 1}]})).unwrap(), r#"{"a":1}"#);
        assert_eq!(of(&json!({"type": "integer", "default": 7})).unwrap(), "7");
    }

    #[test]
    fn an_example_holds_and_says_something() {
        let schema = json!({"type": "object", "properties": {
            "path": {"type": "integer"}, "text": {"type": "string"}, "x": {"$ref": "#/x"},
        }});
        assert_eq!(of(&schema, |_| true).unwrap(), r#"{"path":1}"#);
        assert_eq!(of(&schema, |it| it.get("text").is_some()).unwrap(), r#"{"text":"…"}"#);
        let both = |it: &Value| it.as_object().unwrap().len() == 2;
        assert_eq!(of(&schema, both).unwrap(), r#"{"path":1,"text":"…"}"#);
        assert_eq!(of(&schema, |_| false), None);
        assert_eq!(of(&json!({"type": "object"}), |_| true).unwrap(), "{}");
    }
}
