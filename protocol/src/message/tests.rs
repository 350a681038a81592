//! What the envelope accepts and refuses, and what a refusal still knows.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn refuse(frame: impl AsRef<[u8]>) -> ParseError {
    match Message::parse(frame.as_ref()) {
        Err(error) => error,
        Ok(message) => panic!("{message:?} was accepted"),
    }
}

/// The answer an error prescribes: id and code; `None` if it must not be answered.
fn answer(frame: &str) -> Option<(Option<Id<'static>>, i32)> {
    let error = refuse(frame);
    error.is_answerable().then(|| (error.answer_id().cloned(), error.to_error_object().code))
}

#[test]
fn a_request_borrows_everything_from_its_frame() {
    let frame = br#"{"jsonrpc":"2.0","id":"a","method":"m","params":{"x": [1]}}"#;
    let Ok(Message::Request { id, method, params }) = Message::parse(frame) else { panic!() };
    assert!(matches!(id, Id::Text(Cow::Borrowed("a"))));
    assert!(matches!(method, Cow::Borrowed("m")));
    assert_eq!(params.map(RawValue::get), Some(r#"{"x": [1]}"#));
}

#[test]
fn order_white_space_escapes_and_unknown_members_do_not_matter() {
    let frame = " {\t\"params\" : [ ] , \"x\":{\"id\":2}, \"m\\u0065thod\":\"\\u006d\",\"id\":1,\"jsonrpc\":\"2\\u002e0\"} \r";
    let message = Message::parse(frame.as_bytes()).unwrap();
    assert_eq!((message.id(), message.method()), (Some(&Id::from(1)), Some("m")));
}

#[test]
fn a_call_without_id_is_a_notification() {
    let message = Message::parse(br#"{"jsonrpc":"2.0","method":"m","params":null}"#).unwrap();
    assert!(matches!(message, Message::Notification { params: None, .. }));
}

#[test]
fn a_null_result_is_a_result_and_a_null_id_only_comes_with_an_error() {
    let frame = br#"{"jsonrpc":"2.0","id":3,"result":null}"#;
    let Ok(Message::Response { id: Some(id), outcome: Ok(result) }) = Message::parse(frame) else {
        panic!()
    };
    assert_eq!((id, result.get()), (Id::from(3), "null"));

    let frame = br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"m","data":[1]}}"#;
    let Ok(Message::Response { id: None, outcome: Err(error) }) = Message::parse(frame) else {
        panic!()
    };
    assert_eq!(error.known_code(), Some(Code::ParseError));
    assert_eq!(error.data.unwrap().get(), "[1]");

    assert_eq!(refuse(r#"{"jsonrpc":"2.0","id":null,"result":1}"#).kind(), Fault::Invalid);
}

#[test]
fn ids_of_other_types_are_refused_and_answered_with_null() {
    for id in ["null", "true", "false", "1.5", "1.0", "1e2", "[1]", "{}", "9223372036854775808"] {
        let frame = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"}}"#);
        assert_eq!(answer(&frame), Some((None, -32600)), "{id}");
    }
}

#[test]
fn what_is_wrong_with_a_call_is_answered_to_its_id() {
    for rest in [
        r#""method":"m""#,
        r#""jsonrpc":"1.0","method":"m""#,
        r#""jsonrpc":2.0,"method":"m""#,
        r#""jsonrpc":"2.0","method":1"#,
        r#""jsonrpc":"2.0","method":"\ud800""#,
        r#""jsonrpc":"2.0","method":"m","params":"bar""#,
        r#""jsonrpc":"2.0","method":"m","params":5"#,
        r#""jsonrpc":"2.0","method":"m","method":"n""#,
        r#""jsonrpc":"2.0","method":"m","result":1"#,
        r#""jsonrpc":"2.0""#,
    ] {
        assert_eq!(
            answer(&format!(r#"{{"id":7,{rest}}}"#)),
            Some((Some(Id::from(7)), -32600)),
            "{rest}"
        );
    }
}

#[test]
fn two_ids_are_nobodys() {
    let error = refuse(r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}"#);
    assert_eq!((error.kind(), error.answer_id()), (Fault::Invalid, None));
    assert!(error.detail().contains("`id`"));
}

#[test]
fn a_broken_response_is_never_answered_but_names_its_call() {
    for rest in [
        r#""result":1,"error":{"code":1,"message":"m"}"#,
        r#""result":1,"result":2"#,
        r#""error":"text""#,
        r#""error":{"code":"1","message":"m"}"#,
        r#""error":{"code":1}"#,
        r#""error":null"#,
        r#""result":NaN"#,
        r#""result":"cut sho"#,
    ] {
        let error = refuse(format!(r#"{{"jsonrpc":"2.0","id":7,{rest}}}"#));
        assert!(!error.is_answerable() && !error.is_noise(), "{rest}");
        assert_eq!(
            (error.salvaged_id(), error.shape()),
            (Some(&Id::from(7)), Shape::Answer),
            "{rest}"
        );
    }
}

#[test]
fn stray_prints_are_noise_and_attempts_are_not() {
    for noise in [
        "loading model...",
        "[INFO] ready",
        "42",
        "null",
        "\"text\"",
        "[1, 2, 3]",
        "{'a': 1}",
        "",
        r#"{"level":"info","message":"structured log"}"#,
        r#"{"id":1,"result":2}"#,
    ] {
        assert!(refuse(noise).is_noise(), "{noise}");
    }
    for meant in [
        r#"{"jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","params":{"#,
        r#"[{"jsonrpc":"2.0","method":"m"}]"#,
    ] {
        assert!(!refuse(meant).is_noise(), "{meant}");
    }
    assert!(refuse(b"\xff\xfe\x00").is_noise());
    let meant = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"\xff\"}";
    assert!(!refuse(meant).is_noise());
    assert_eq!(refuse(meant).kind(), Fault::NotUtf8);
}

#[test]
fn arrays_are_batches_if_they_are_json() {
    assert_eq!(refuse("[]").kind(), Fault::Batch);
    assert_eq!(refuse(" [1]").kind(), Fault::Batch);
    assert_eq!(answer("[1]"), Some((None, -32600)));
    assert_eq!(refuse("[1").kind(), Fault::NotJson);
    assert_eq!(refuse("[1] x").kind(), Fault::NotJson);
}

#[test]
fn too_deep_is_told_before_anything_is_parsed() {
    let deep = |depth: usize| {
        let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
        format!(r#"{{"jsonrpc":"2.0","id":4,"result":{open}{close}}}"#)
    };
    assert!(Message::parse(deep(128).as_bytes()).is_ok());
    let error = refuse(deep(129));
    assert_eq!((error.kind(), error.salvaged_id()), (Fault::TooDeep, Some(&Id::from(4))));
    assert!(!error.is_noise());
    assert_eq!(refuse("[".repeat(100_000)).kind(), Fault::TooDeep);
    assert_eq!(refuse("{\"a\":".repeat(100_000)).kind(), Fault::TooDeep);
}

#[test]
fn whatever_passes_the_depth_check_can_be_parsed_by_its_reader() {
    let inside = format!("{}{}", "[".repeat(127), "]".repeat(127));
    let frame = format!(r#"{{"jsonrpc":"2.0","method":"m","params":{inside}}}"#);
    let Ok(Message::Notification { params: Some(params), .. }) = Message::parse(frame.as_bytes())
    else {
        panic!()
    };
    assert!(serde_json::from_str::<Value>(params.get()).is_ok());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_id() -> impl Strategy<Value = Id<'static>> {
    prop_oneof![any::<i64>().prop_map(Id::from), any::<String>().prop_map(Id::from)]
}

/// Values out of those a member may have or may be given by mistake.
fn any_member() -> impl Strategy<Value = Value> {
    prop_oneof![
        any_json(),
        Just(json!("2.0")),
        Just(json!("m")),
        Just(json!(1)),
        Just(json!({"code": 1, "message": "m"})),
    ]
}

proptest! {
    #[test]
    fn a_request_written_reads_the_same(id in 0..=i64::MAX as u64, method: String, a in any_json()) {
        let params = json!({ "a": a });
        let mut frame = Vec::new();
        crate::write::request(&mut frame, id, &method, &params).unwrap();
        prop_assert!(!frame.contains(&b'\n'));
        let Ok(Message::Request { id: read, method: name, params: Some(raw) }) = Message::parse(&frame)
        else { panic!() };
        prop_assert_eq!(read.as_u64(), Some(id));
        prop_assert_eq!(name, method);
        prop_assert_eq!(serde_json::from_str::<Value>(raw.get()).unwrap(),
            serde_json::from_str::<Value>(&params.to_string()).unwrap());
    }

    #[test]
    fn a_response_written_reads_the_same(id in any_id(), result in any_json(), code: i32, text: String) {
        let mut frame = Vec::new();
        crate::write::response(&mut frame, &id, &result).unwrap();
        let Ok(Message::Response { id: Some(read), outcome: Ok(raw) }) = Message::parse(&frame)
        else { panic!() };
        prop_assert_eq!(&read, &id);
        prop_assert_eq!(raw.get(), result.to_string());

        let error = ErrorObject::new(code, text).with_data(&result).unwrap();
        let mut frame = Vec::new();
        crate::write::error(&mut frame, Some(&id), &error).unwrap();
        let Ok(Message::Response { id: Some(read), outcome: Err(back) }) = Message::parse(&frame)
        else { panic!() };
        prop_assert_eq!(&read, &id);
        prop_assert_eq!((back.code, back.message), (error.code, error.message));
    }

    /// Any mix of members, present or not, of right or wrong types: the parser agrees with a reading of
    /// the specification on a DOM, and the salvaged id with the member.
    #[test]
    fn the_envelope_agrees_with_the_specification(
        jsonrpc in prop::option::of(prop_oneof![4 => Just(json!("2.0")), 1 => any_member()]),
        id in prop::option::of(any_member()),
        method in prop::option::of(any_member()),
        params in prop::option::of(any_member()),
        result in prop::option::of(any_member()),
        error in prop::option::of(any_member()),
    ) {
        let members = [("jsonrpc", jsonrpc), ("id", id), ("method", method), ("params", params),
            ("result", result), ("error", error)];
        let object: serde_json::Map<_, _> = members.into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        let text = Value::Object(object.clone()).to_string();
        let parsed = Message::parse(text.as_bytes());
        prop_assert_eq!(parsed.is_ok(), valid(&object), "{} gave {:?}", text, parsed);
        let id = object.get("id").filter(|id| id.is_i64() || id.is_string());
        match parsed {
            Ok(message) => prop_assert_eq!(json!(message.id()), json!(id)),
            Err(error) => {
                prop_assert_eq!(error.kind(), Fault::Invalid);
                if error.salvaged_id().is_some() || !id.is_some_and(Value::is_string) {
                    prop_assert_eq!(json!(error.salvaged_id()), json!(id));
                }
            }
        }
    }
}

/// The specification, read off a DOM.
fn valid(object: &serde_json::Map<String, Value>) -> bool {
    let member = |name| object.get(name);
    let id_ok = |id: &Value| id.is_i64() || id.is_string();
    let error_ok = |error: &Value| serde_json::from_value::<ErrorObject>(error.clone()).is_ok();
    member("jsonrpc") == Some(&json!("2.0"))
        && match (member("method"), member("result"), member("error")) {
            (Some(method), None, None) => {
                method.is_string()
                    && member("params").is_none_or(|p| p.is_object() || p.is_array() || p.is_null())
                    && member("id").is_none_or(id_ok)
            }
            (None, Some(_), None) => member("id").is_some_and(id_ok),
            (None, None, Some(error)) => {
                error_ok(error) && member("id").is_some_and(|id| id.is_null() || id_ok(id))
            }
            _ => false,
        }
}
