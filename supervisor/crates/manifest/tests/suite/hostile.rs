//! The manifest parser is a door for untrusted bytes: whatever comes, it answers and goes on.

use std::time::{Duration, Instant};

use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::{Value, json};

use crate::{FULL, parse};

/// Pieces that TOML and our keys are made of, so that random texts get past the first line.
const PIECES: [&str; 34] = [
    "[",
    "]",
    "[[",
    "]]",
    "=",
    ".",
    ",",
    "{",
    "}",
    "\n",
    "\"",
    "'",
    "\"\"\"",
    "#",
    "\\u001b",
    " ",
    "plugin",
    "name",
    "version",
    "\"1.0.0\"",
    "runtime",
    "command",
    "methods",
    "params",
    "config",
    "permissions",
    "network",
    "filesystem",
    "limits",
    "memory",
    "\"$ref\"",
    "\"#\"",
    "true",
    "1e999",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        answer(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_text_gets_an_answer(text in "\\PC{0,400}") {
        answer(&text);
    }

    #[test]
    fn any_heap_of_pieces_gets_an_answer(
        pieces in proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..200)
    ) {
        answer(&pieces.concat());
    }

    #[test]
    fn a_mutated_manifest_gets_an_answer(text in mutated()) {
        answer(&text);
    }

    #[test]
    fn mutated_values_get_an_answer(
        line in any::<prop::sample::Index>(),
        value in proptest::sample::select(&[
            "0", "-1", "9223372036854775807", "0x1F", "nan", "inf", "1979-05-27", "\"\"", "[]",
            "{}", "[[]]", "true", "\"\\u0000\"", "\"99999999999999999999GB\"", "[1, \"a\"]",
        ][..]),
    ) {
        let mut lines: Vec<String> = FULL.lines().map(str::to_owned).collect();
        let at = line.index(lines.len());
        if let Some((key, _)) = lines[at].clone().split_once(" = ") {
            lines[at] = format!("{key} = {value}");
        }
        answer(&lines.join("\n"));
    }

    #[test]
    fn any_schema_and_value_get_an_answer(schema in schema(), value in value()) {
        check(&schema, &value);
    }
}

/// The same for as long as `PLUGBAY_FUZZ_SECONDS` says, one round when it says nothing.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how long to fuzz is for whoever runs the tests to say"
)]
fn the_door_holds_for_as_long_as_asked() {
    let seconds = std::env::var("PLUGBAY_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let (begun, most) = (Instant::now(), Duration::from_secs(seconds.unwrap_or(0)));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    loop {
        let mut runner = TestRunner::new(config.clone());
        runner
            .run(&(mutated(), schema(), value()), |(text, schema, value)| {
                answer(&text);
                check(&schema, &value);
                Ok(())
            })
            .unwrap_or_else(|failure| panic!("{failure}"));
        if begun.elapsed() >= most {
            return;
        }
    }
}

/// A valid manifest with some bytes changed, taken out, put in, or its end cut off.
fn mutated() -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), 0..4_u8, any::<u8>());
    proptest::collection::vec(edit, 1..12).prop_map(|edits| {
        let mut bytes = FULL.as_bytes().to_vec();
        for (place, kind, byte) in edits {
            let at = place.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, byte),
                _ => bytes.truncate(at.max(1)),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Declares a method with this schema and checks a value against it, if it is a schema at all.
fn check(schema: &Value, value: &Value) {
    let text = format!("{}[methods.x]\nparams = {}\n", crate::MINIMAL, toml_of(schema));
    match parse(&text) {
        Ok(manifest) => drop(manifest.methods["x"].validate_params(value)),
        Err(error) => drop(error.to_string()),
    }
}

/// Parses, and prints the error if there is one: both must end, without a panic.
fn answer(text: &str) {
    match parse(text) {
        Ok(manifest) => assert!(serde_json::to_string(&manifest).is_ok()),
        Err(error) => {
            let message = error.to_string();
            assert!(!message.contains(|c: char| c.is_control() && c != '\n'), "{message:?}");
            assert!(!error.problems().is_empty());
        }
    }
}

/// Schemas with references to themselves, cycles and nonsense.
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(true)),
        Just(json!({"type": "string", "pattern": "^a+$"})),
        Just(json!({"type": ["integer", "null"], "minimum": 3})),
        Just(json!({"$ref": "#"})),
        Just(json!({"$ref": "#/$defs/a"})),
        Just(json!({"enum": [1, "a", [], {}]})),
        Just(json!({"items": 3})),
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| json!({"allOf": [a, b]})),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| json!({"anyOf": [a, b], "$defs": {"a": {"$ref": "#"}}})),
            (inner.clone(), inner.clone())
                .prop_map(|(a, b)| json!({"properties": {"a": a}, "additionalProperties": b})),
            inner.clone().prop_map(|a| json!({"items": a, "unevaluatedItems": false})),
            inner.clone().prop_map(|a| json!({"not": a, "unevaluatedProperties": false})),
            (inner.clone(), inner).prop_map(
                |(a, b)| json!({"$defs": {"a": a}, "if": b, "then": {"$ref": "#/$defs/a"}})
            ),
        ]
    })
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(json!(null)), Just(json!(3)), Just(json!("aaa")), Just(json!(1.5))];
    leaf.prop_recursive(5, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            proptest::collection::hash_map("[abc]", inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A JSON value as an inline TOML value.
fn toml_of(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let entry =
                |(name, value): (&String, &Value)| format!("\"{name}\" = {}", toml_of(value));
            format!("{{ {} }}", members.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        Value::Array(elements) => {
            format!("[{}]", elements.iter().map(toml_of).collect::<Vec<_>>().join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

#[test]
fn deep_nesting_is_an_error_not_a_crash() {
    for open in ["[", "{ a = "] {
        answer(&format!("x = {}", open.repeat(20_000)));
    }
    answer(&format!("[{}]", vec!["a"; 20_000].join(".")));
    answer(&format!("{} = 1", vec!["a"; 20_000].join(".")));
}
