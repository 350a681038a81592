//! The examples of the JSON-RPC 2.0 specification, section 7, in its order and its words, each read by
//! [`Message::parse`]. Where this protocol departs from it (batches) the test says how.

use plugbay_protocol::{Code, Fault, Message};
use serde_json::{Value, json};

/// A reading in a form that can be compared: what it is, its id, and its content.
fn read(text: &str) -> Value {
    match Message::parse(text.as_bytes()) {
        Ok(Message::Request { id, method, params }) => json!(["request", id, method, params]),
        Ok(Message::Notification { method, params }) => json!(["notification", method, params]),
        Ok(Message::Response { id, outcome: Ok(result) }) => json!(["result", id, result]),
        Ok(Message::Response { id, outcome: Err(error) }) => {
            json!(["error", id, error.code, error.message])
        }
        Err(error) => json!(["refused", error.answer_id(), error.to_error_object().code]),
    }
}

#[test]
fn rpc_call_with_positional_parameters() {
    assert_eq!(
        read(r#"{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}"#),
        json!(["request", 1, "subtract", [42, 23]])
    );
    assert_eq!(read(r#"{"jsonrpc": "2.0", "result": 19, "id": 1}"#), json!(["result", 1, 19]));
    assert_eq!(
        read(r#"{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}"#),
        json!(["request", 2, "subtract", [23, 42]])
    );
    assert_eq!(read(r#"{"jsonrpc": "2.0", "result": -19, "id": 2}"#), json!(["result", 2, -19]));
}

#[test]
fn rpc_call_with_named_parameters() {
    assert_eq!(
        read(
            r#"{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}"#
        ),
        json!(["request", 3, "subtract", {"subtrahend": 23, "minuend": 42}])
    );
    assert_eq!(
        read(
            r#"{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}"#
        ),
        json!(["request", 4, "subtract", {"minuend": 42, "subtrahend": 23}])
    );
}

#[test]
fn a_notification() {
    assert_eq!(
        read(r#"{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}"#),
        json!(["notification", "update", [1, 2, 3, 4, 5]])
    );
    assert_eq!(
        read(r#"{"jsonrpc": "2.0", "method": "foobar"}"#),
        json!(["notification", "foobar", null])
    );
}

#[test]
fn rpc_call_of_non_existent_method() {
    assert_eq!(
        read(r#"{"jsonrpc": "2.0", "method": "foobar", "id": "1"}"#),
        json!(["request", "1", "foobar", null])
    );
    assert_eq!(
        read(
            r#"{"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "1"}"#
        ),
        json!(["error", "1", Code::MethodNotFound.value(), "Method not found"])
    );
}

#[test]
fn rpc_call_with_invalid_json() {
    assert_eq!(
        read(r#"{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]"#),
        json!(["refused", null, -32700])
    );
    assert_eq!(
        read(
            r#"{"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": null}"#
        ),
        json!(["error", null, -32700, "Parse error"])
    );
}

#[test]
fn rpc_call_with_invalid_request_object() {
    assert_eq!(
        read(r#"{"jsonrpc": "2.0", "method": 1, "params": "bar"}"#),
        json!(["refused", null, -32600])
    );
}

#[test]
fn rpc_call_batch_with_invalid_json() {
    let text = r#"[
        {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
        {"jsonrpc": "2.0", "method"
    ]"#;
    assert_eq!(read(text), json!(["refused", null, -32700]));
}

/// The specification answers each member; this protocol has no batches and answers the array, once,
/// with the error the specification has for an empty one.
#[test]
fn every_batch_is_refused_as_a_whole() {
    for text in [
        "[]",
        "[1]",
        "[1,2,3]",
        r#"[
            {"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},
            {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]},
            {"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},
            {"foo": "boo"},
            {"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},
            {"jsonrpc": "2.0", "method": "get_data", "id": "9"}
        ]"#,
        r#"[
            {"jsonrpc": "2.0", "method": "notify_sum", "params": [1,2,4]},
            {"jsonrpc": "2.0", "method": "notify_hello", "params": [7]}
        ]"#,
    ] {
        assert_eq!(read(text), json!(["refused", null, -32600]), "{text}");
        assert!(
            matches!(Message::parse(text.as_bytes()), Err(error) if error.kind() == Fault::Batch)
        );
    }
}
