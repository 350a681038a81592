//! The format, the matcher and the order of a replay.

use super::*;
use serde_json::json;

fn matches(expected: Value, actual: Value) -> Result<(), String> {
    Bindings::default().match_value(&expected, &actual).map_err(|mismatch| mismatch.to_string())
}

#[test]
fn values_are_compared_as_json() {
    assert!(
        matches(json!({"a": 1, "b": [true, null]}), json!({"b": [true, null], "a": 1.0})).is_ok()
    );
    assert!(matches(json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_993_i64)).is_ok());
    assert!(matches(json!(9_007_199_254_740_993_i64), json!(9_007_199_254_740_992_i64)).is_err());
    assert!(matches(json!(1), json!("1")).is_err());
    assert!(matches(json!([1]), json!([1, 2])).is_err());
}

#[test]
fn a_difference_is_located() {
    let (expected, actual) = (json!({"a": [{"b": 1}]}), json!({"a": [{"b": 2}]}));
    assert_eq!(matches(expected, actual), Err("at `a[0].b`: expected 1, got 2".to_owned()));
}

#[test]
fn members_must_be_exactly_those_expected() {
    assert!(matches(json!({"a": 1}), json!({"a": 1, "b": 2})).is_err());
    assert!(matches(json!({"a": "*"}), json!({"b": 1})).is_err());
    assert!(matches(json!({"a": "*"}), json!({"a": null})).is_ok());
}

#[test]
fn a_named_wildcard_meets_the_same_value_again_and_fills_it_in() {
    let mut bindings = Bindings::default();
    assert!(bindings.match_value(&json!({"id": "*x"}), &json!({"id": 7})).is_ok());
    assert!(bindings.match_value(&json!(["*x"]), &json!([7])).is_ok());
    assert!(bindings.match_value(&json!("*x"), &json!("7")).is_err());
    assert_eq!(
        bindings.fill(&json!({"id": "*x", "other": ["*y"]})),
        json!({"id": 7, "other": ["*y"]})
    );
}

#[test]
fn lines_that_are_not_of_the_format_are_refused_with_their_place() {
    for line in [
        "{",
        "[]",
        r#"{"frame":{}}"#,
        r#"{"dir":"nobody","frame":{}}"#,
        r#"{"dir":"host"}"#,
        r#"{"dir":"host","frame":{},"raw":""}"#,
        r#"{"dir":"host","eof":false}"#,
        r#"{"dir":"host","hex":"0g"}"#,
        r#"{"dir":"host","frame":{},"note":1}"#,
        r#"{"dir":"plugin","raw":"x"}"#,
        r#"{"dir":"host","frame":{},"speed":1}"#,
    ] {
        let error = Transcript::parse("t.jsonl", &format!("\n{line}\n")).unwrap_err();
        assert!(error.to_string().starts_with("t.jsonl:2: "), "{error}");
    }
    let read = Transcript::parse("t", r#"{"dir":"host","hex":"0a ff","note":"n"}"#).unwrap();
    assert_eq!(read.steps[0].said, Said::Raw(vec![0x0A, 0xFF]));
    assert_eq!(read.steps[0].note.as_deref(), Some("n"));
}

const CALL: &str = r#"
{"dir":"host","raw":"go\n"}
{"dir":"plugin","frame":{"method":"$/progress","params":1}}
{"dir":"plugin","frame":{"method":"$/progress","params":2}}
{"dir":"plugin","frame":{"id":"*a","result":1},"note":"the answer"}
{"dir":"host","frame":{"id":"*a"}}
{"dir":"host","eof":true}
{"dir":"plugin","eof":true}
"#;

fn progress(n: u32) -> Value {
    json!({"method": "$/progress", "params": n})
}

#[test]
fn a_replay_sends_when_all_expected_has_come() {
    let transcript = Transcript::parse("t", CALL).unwrap();
    let mut replay = Replay::new(&transcript);
    assert_eq!(replay.advance(), Action::Send(b"go\n".to_vec()));
    assert_eq!(replay.advance(), Action::Await);
    replay.received(&progress(1)).unwrap();
    replay.received(&json!({"method": "$/log", "params": {}})).unwrap();
    replay.received(&progress(2)).unwrap();
    assert_eq!(replay.advance(), Action::Await);
    replay.received(&json!({"id": 5, "result": 1})).unwrap();
    assert_eq!(replay.advance(), Action::Send(b"{\"id\":5}\n".to_vec()));
    assert_eq!(replay.advance(), Action::Close);
    assert_eq!(replay.advance(), Action::Await);
    replay.ended().unwrap();
    assert_eq!(replay.advance(), Action::Done);
}

#[test]
fn progress_may_not_come_late_nor_out_of_order() {
    let transcript = Transcript::parse("t", CALL).unwrap();
    let mut replay = Replay::new(&transcript);
    replay.advance();
    assert!(replay.received(&progress(2)).is_err());
    replay.received(&progress(1)).unwrap();
    let late = replay.received(&json!({"id": 5, "result": 1})).unwrap_err();
    assert!(late.to_string().starts_with("t:4: "), "{late}");
}

#[test]
fn progress_may_come_before_its_turn() {
    let text = r#"
{"dir":"plugin","frame":{"id":1}}
{"dir":"plugin","frame":{"method":"$/progress","params":1}}
{"dir":"plugin","frame":{"id":2}}"#;
    let transcript = Transcript::parse("t", text).unwrap();
    let mut replay = Replay::new(&transcript);
    replay.received(&progress(1)).unwrap();
    replay.received(&json!({"id": 1})).unwrap();
    replay.received(&json!({"id": 2})).unwrap();
    assert_eq!(replay.advance(), Action::Done);
}

#[test]
fn the_unexpected_and_the_end_too_early_are_deviations() {
    let transcript = Transcript::parse("t", CALL).unwrap();
    let mut replay = Replay::new(&transcript);
    assert!(replay.received(&json!({"id": 1})).is_err(), "before anything was sent");
    replay.advance();
    assert!(replay.received(&json!({"method": "host/info"})).is_err());
    let early = replay.ended().unwrap_err();
    assert!(early.to_string().contains("ended before it"), "{early}");
}
