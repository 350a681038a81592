//! Tests of the room: what a schema may be, and what it may cost.

use serde_json::json;

use super::*;

fn schema(document: Value) -> Schema {
    Schema::new(document, Keywords::Any).unwrap()
}

fn faults(document: Value) -> Vec<String> {
    let faults = Schema::new(document, Keywords::Known).unwrap_err();
    faults.into_iter().map(|fault| format!("{}: {}", fault.pointer, fault.message)).collect()
}

/// A schema in which each definition refers to the next one.
fn chain(length: usize, link: impl Fn(Value) -> Value) -> Value {
    let mut definitions = serde_json::Map::new();
    for n in 0..length {
        let next = json!({ "$ref": format!("#/$defs/a{}", n + 1) });
        definitions.insert(format!("a{n}"), link(next));
    }
    definitions.insert(format!("a{length}"), json!({ "type": "string" }));
    json!({ "$ref": "#/$defs/a0", "$defs": definitions })
}

#[test]
fn a_reference_may_recurse_into_the_value() {
    let tree = schema(json!({
        "type": "object",
        "properties": { "children": { "type": "array", "items": { "$ref": "#" } } },
        "additionalProperties": false
    }));
    assert_eq!(tree.validate(&json!({"children": [{"children": []}, {}]})), Ok(()));
    let wrong = tree.validate(&json!({"children": [{"children": [{"x": 1}]}]}));
    assert!(wrong.unwrap_err()[0].contains("`/children/0/children/0`"));
}

#[test]
fn a_reference_may_not_circle_on_the_spot() {
    let circles = [
        json!({ "$ref": "#" }),
        json!({ "allOf": [{ "$ref": "#" }] }),
        json!({ "properties": { "a": { "not": { "$ref": "#/properties/a" } } } }),
        json!({ "$ref": "#/$defs/a", "$defs": {
            "a": { "anyOf": [true, { "$ref": "#/$defs/b" }] },
            "b": { "if": { "$ref": "#/$defs/a" } }
        } }),
    ];
    for document in circles {
        assert!(faults(document)[0].contains("refers to itself without going into the value"));
    }
}

#[test]
fn references_stay_in_the_document() {
    let outside =
        ["http://example.org/a", "file:///etc/passwd", "other.json#/a", "#anchor", "//host"];
    for reference in outside {
        assert!(faults(json!({ "$ref": reference }))[0].contains("leaves the schema"));
    }
    assert!(faults(json!({ "$ref": "#/$defs/x" }))[0].contains("refers to nothing"));
    assert!(faults(json!({ "$dynamicRef": "#a" }))[0].contains("not supported"));
    let nested = json!({ "properties": { "a": { "$id": "http://example.org/b" } } });
    assert!(faults(nested)[0].contains("at the top of a schema only"));
    assert!(
        faults(json!({ "$schema": "http://example.org/mine" }))[0].contains("unknown `$schema`")
    );
}

#[test]
fn references_may_be_escaped() {
    let document = json!({ "$ref": "#/$defs/a%20~1b", "$defs": { "a /b": { "type": "null" } } });
    assert_eq!(schema(document.clone()).validate(&json!(null)), Ok(()));
    assert!(schema(document).validate(&json!(1)).is_err());
}

#[test]
fn older_drafts_are_understood() {
    let document = json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "definitions": { "s": { "type": "string" } },
        "items": [{ "$ref": "#/definitions/s" }, { "type": "integer" }]
    });
    assert_eq!(schema(document.clone()).validate(&json!(["a", 1])), Ok(()));
    assert!(schema(document).validate(&json!([1, "a"])).is_err());
}

#[test]
fn a_pattern_has_no_backtracking() {
    let document = json!({ "pattern": "^(a+)+$" });
    let long = format!("{}b", "a".repeat(50_000));
    assert!(schema(document).validate(&json!(long)).is_err());
    for pattern in ["(?=a)b", "(a)\\1", "((a{1000}){1000}){1000}", "["] {
        assert!(
            faults(json!({ "pattern": pattern }))[0].starts_with("/pattern: not a"),
            "{pattern}"
        );
    }
}

#[test]
fn what_doubles_with_every_reference_is_not_run() {
    let doubling = chain(40, |next| json!({ "allOf": [next, next] }));
    let message = schema(doubling).validate(&json!("x")).unwrap_err();
    assert!(message[0].contains("more than 1000000 steps"), "{message:?}");
}

#[test]
fn what_doubles_with_every_level_of_the_value_is_not_run() {
    let document =
        json!({ "properties": { "a": { "allOf": [{ "$ref": "#" }, { "$ref": "#" }] } } });
    let mut value = json!({});
    for _ in 0..60 {
        value = json!({ "a": value });
    }
    assert!(schema(document).validate(&value).unwrap_err()[0].contains("steps"));
}

#[test]
fn nested_unevaluated_is_not_run() {
    let mut document = json!(true);
    for _ in 0..30 {
        document = json!({ "unevaluatedProperties": { "type": "integer" }, "allOf": [document] });
    }
    assert!(schema(document).validate(&json!({ "a": 1 })).unwrap_err()[0].contains("steps"));
}

#[test]
fn a_long_chain_of_references_does_not_overflow_a_small_stack() {
    let links: [fn(Value) -> Value; 4] = [
        |next| next,
        |next| json!({ "oneOf": [{ "type": "integer" }, next] }),
        |next| json!({ "unevaluatedProperties": false, "anyOf": [next] }),
        |next| json!({ "properties": { "a": next } }),
    ];
    let small = thread::Builder::new().stack_size(1 << 20);
    let work = move || {
        for link in links {
            for length in [30, 100, 400, 1200] {
                let schema = schema(chain(length, link));
                // Too deep is an answer; not answering is not.
                drop(schema.validate(&json!({ "a": { "a": 1 } })));
            }
        }
    };
    small.spawn(work).unwrap().join().unwrap();
    let endless = chain(3000, |next| json!({ "allOf": [next] }));
    assert!(faults(endless)[0].contains("nests"));
}

#[test]
fn a_deep_value_does_not_overflow_a_small_stack() {
    let list = schema(json!({ "properties": { "a": { "anyOf": [{ "$ref": "#" }, false] } } }));
    let work = move || {
        for depth in [10, 100, 120] {
            let mut value = json!({});
            for _ in 0..depth {
                value = json!({ "a": value });
            }
            assert_eq!(list.validate(&value), Ok(()), "{depth}");
        }
    };
    thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap().join().unwrap();
}

#[test]
fn slips_are_found_in_schemas_written_by_hand_only() {
    let document = json!({ "properties": { "a": { "tpye": "string", "x-mine": 1 } } });
    assert_eq!(
        faults(document.clone()),
        ["/properties/a/tpye: unknown keyword `tpye`; did you mean `type`?"]
    );
    assert!(Schema::new(document, Keywords::Any).is_ok());
    let types = json!({ "properties": { "type": { "type": ["nul", "string"] } } });
    assert_eq!(faults(types), ["/properties/type/type: unknown type `nul`; did you mean `null`?"]);
}

#[test]
fn keywords_of_the_wrong_form_are_told_by_the_meta_schema() {
    let faults = faults(json!({ "properties": 3, "required": "a" }));
    assert!(faults.iter().any(|fault| fault.starts_with("/properties: ")), "{faults:?}");
    assert!(faults.iter().any(|fault| fault.starts_with("/required: ")), "{faults:?}");
}

#[test]
fn a_value_is_not_repeated_in_what_is_said_of_it() {
    let secret = schema(json!({ "properties": { "password": { "minLength": 20 } } }));
    let message = secret.validate(&json!({ "password": "hunter2" })).unwrap_err();
    assert_eq!(message, ["`/password`: the value is shorter than 20 characters"]);
}

#[test]
fn defaults_are_filled_in_without_touching_what_is_there() {
    let document = json!({ "properties": {
        "a": { "default": 1 },
        "b": { "properties": { "c": { "default": [2] } } },
        "d": { "default": { "x": 0 } }
    } });
    let filled = schema(document).with_defaults(json!({ "b": {}, "d": { "y": 1 } }));
    assert_eq!(filled, json!({ "a": 1, "b": { "c": [2] }, "d": { "y": 1 } }));
}

#[test]
fn every_keyword_with_schemas_is_known_as_a_keyword() {
    let holders = json!({
        "not": 1, "if": 1, "then": 1, "else": 1, "additionalProperties": 1,
        "unevaluatedProperties": 1, "propertyNames": 1, "additionalItems": 1, "contains": 1,
        "unevaluatedItems": 1, "contentSchema": 1, "items": 1, "allOf": [1], "anyOf": [1],
        "oneOf": [1], "prefixItems": [1], "properties": {"a": 1}, "patternProperties": {"a": 1},
        "dependentSchemas": {"a": 1}, "dependencies": {"a": 1}, "$defs": {"a": 1},
        "definitions": {"a": 1}
    });
    let mut seen = 0;
    keyword::each_child(holders.as_object().unwrap(), |keyword, _, _, child| {
        assert!(is_keyword(keyword) && child == &json!(1));
        seen += 1;
    });
    assert_eq!(seen, holders.as_object().unwrap().len());
}
