//! Sins on the wire: bytes that are no messages, and messages that are lies.

use std::time::Duration;

use plugbay::{CallError, CallErrorKind, Cause, LogSource};
use serde_json::{Value, json};

use super::{
    Row,
    stage::{Plan, Stage, crash},
};

const LENGTHS: Plan = Plan::sinning("framing=content-length");

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row {
            number: 12,
            fault: "stray prints between frames",
            required: "a few tolerated; a flood is a protocol kill",
            plan: Plan::PLAIN,
            inject: |stage| Box::pin(stray_prints(stage)),
        },
        Row {
            number: 14,
            fault: "a frame begun and never finished",
            required: "protocol kill after the partial-frame timer, 10 s",
            plan: Plan::PLAIN,
            inject: |stage| Box::pin(unfinished(stage)),
        },
        Row {
            number: 16,
            fault: "100 000 brackets deep",
            required: "named error, no stack overflow; session goes on",
            plan: Plan::PLAIN,
            inject: |stage| Box::pin(deep(stage)),
        },
        Row {
            number: 17,
            fault: "invalid UTF-8, NUL, NaN, 1e999, …",
            required: "error or counted drop, one outcome; session goes on",
            plan: Plan::PLAIN,
            inject: |stage| Box::pin(garbage(stage)),
        },
        Row {
            number: 18,
            fault: "Content-Length negative, huge, twice, absent",
            required: "protocol kill each time; next call runs",
            plan: LENGTHS,
            inject: |stage| Box::pin(bad_lengths(stage)),
        },
        Row {
            number: 19,
            fault: "wrong, unknown, repeated, late ids",
            required: "dropped and counted; the right caller is unaffected",
            plan: Plan::PLAIN,
            inject: |stage| Box::pin(wrong_ids(stage)),
        },
        Row {
            number: 20,
            fault: "answers a notification; batch; id null",
            required: "as the specification has it; session goes on",
            plan: Plan::PLAIN,
            inject: |stage| Box::pin(odd_forms(stage)),
        },
    ]
}

/// Says something on stdout, then answers, or not.
async fn say(stage: &Stage, text: &str, times: u32, answer: bool) -> Result<Value, CallError> {
    stage.call("say", json!({"text": text, "times": times, "answer": answer})).await
}

/// Says something that may or may not serve as an answer, and waits half a second for one.
async fn answer_with(stage: &Stage, hex: &str) -> Result<Value, CallError> {
    let call = stage.host.call_with("chaos", "say").idle_timeout(Duration::from_millis(500));
    call.params(&json!({"hex": hex, "answer": false})).send().await
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn stray_prints(stage: &Stage) -> String {
    assert_eq!(say(stage, "chatty\n", 50, true).await.unwrap(), "said");
    stage.is_healthy().await;
    assert_eq!(stage.status().await.counts.stray_lines, 50);
    let logged = stage.from(LogSource::StrayStdout).len();
    assert_eq!(logged, 10, "the log is not flooded");
    let error = say(stage, "chatty\n", 10_000, true).await.unwrap_err();
    let Cause::Protocol(why) = crash(&error) else { panic!("{error}") };
    stage.is_healthy().await;
    format!("50 counted, {logged} logged; 10 000: killed, {why}")
}

async fn unfinished(stage: &Stage) -> String {
    stage.is_healthy().await;
    let text = "{\"jsonrpc\":\"2.0\",\"id\":$ID,";
    let (error, took) = stage.sin("say", json!({"text": text, "answer": false})).await;
    let Cause::Protocol(why) = crash(&error) else { panic!("{error}") };
    assert!(took >= Duration::from_secs(10) && took < Duration::from_secs(13), "{took:?}");
    stage.is_healthy().await;
    format!("after {took:.1?}: {why}")
}

async fn deep(stage: &Stage) -> String {
    let pid = stage.pid().await;
    assert_eq!(say(stage, &format!("{}\n", "[".repeat(100_000)), 1, true).await.unwrap(), "said");
    let (open, shut) = ("[".repeat(100_000), "]".repeat(100_000));
    let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{open}{shut}}}\n");
    let error = say(stage, &answer, 1, false).await.unwrap_err();
    let CallErrorKind::ProtocolViolation(what) = error.kind() else { panic!("{error}") };
    stage.is_healthy().await;
    assert_eq!(stage.pid().await, pid);
    format!("ProtocolViolation: {what}; same process answers")
}

async fn garbage(stage: &Stage) -> String {
    let before = b"{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":";
    let results: [&[u8]; 9] = [
        b"\"\xff\xfe\"",
        b"\"\x00\"",
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"\"\\ud800\"",
        b"123456789012345678901234567890123456789012345678901234567890",
        b"'single'",
        b"01",
    ];
    let mut outcomes = Vec::new();
    for result in results {
        let line = [before.as_slice(), result, b"}\n"].concat();
        let outcome = match answer_with(stage, &hex(&line)).await {
            Ok(value) => format!("taken as {value}"),
            Err(error) => match error.kind() {
                CallErrorKind::ProtocolViolation(_) => "ProtocolViolation".to_owned(),
                CallErrorKind::UnexpectedResult(_) => "UnexpectedResult".to_owned(),
                CallErrorKind::DeadlineExceeded { .. } => "dropped, deadline".to_owned(),
                other => panic!("{}: {other:?}", String::from_utf8_lossy(result)),
            },
        };
        outcomes.push(format!("{} {outcome}", String::from_utf8_lossy(result).escape_debug()));
        stage.is_healthy().await;
    }
    let noise: [&[u8]; 4] =
        [b"\xff\xfe\xfd\n", b"\x00\x00\n", b"\xef\xbb\xbf{}\n", b"{\"jsonrpc\":\n"];
    for line in noise {
        let said = stage.call("say", json!({"hex": hex(line)})).await;
        assert_eq!(said.unwrap(), "said");
    }
    stage.is_healthy().await;
    outcomes.join(", ")
}

async fn bad_lengths(stage: &Stage) -> String {
    let mut told = Vec::new();
    for header in [
        "Content-Length: -5\r\n\r\n",
        "Content-Length: 99999999999999999999\r\n\r\n",
        "Content-Length: 1073741824\r\n\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "Content-Type: application/json\r\n\r\n{}",
        "Content-Length: 0x10\r\n\r\n",
    ] {
        stage.is_healthy().await;
        let error = say(stage, header, 1, false).await.unwrap_err();
        let Cause::Protocol(why) = crash(&error) else { panic!("{header:?}: {error}") };
        told.push(why);
    }
    stage.is_healthy().await;
    told.join("; ")
}

async fn wrong_ids(stage: &Stage) -> String {
    let lies = [
        r#"{"jsonrpc":"2.0","id":999999999,"result":1}"#,
        r#"{"jsonrpc":"2.0","id":"$ID","result":2}"#,
        r#"{"jsonrpc":"2.0","id":-1,"result":3}"#,
        r#"{"jsonrpc":"2.0","id":0,"error":{"code":1,"message":"no"}}"#,
    ];
    let text = format!("{}\n", lies.join("\n"));
    assert_eq!(say(stage, &text, 1, true).await.unwrap(), "said");
    let unknown = stage.status().await.counts.unknown_responses;
    assert_eq!(unknown, 4);
    let twice = "{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":\"first\"}\n";
    assert_eq!(say(stage, twice, 2, true).await.unwrap(), "first");
    stage.is_healthy().await;
    assert_eq!(stage.status().await.counts.late_responses, 2);
    let cancel = plugbay::CancellationToken::new();
    let call = stage.host.call_with("chaos", "answer_late").cancel(cancel.clone());
    let cancelling = async {
        stage.hears("remembered", 1).await;
        cancel.cancel();
    };
    let (outcome, ()) = tokio::join!(call.send::<Value>(), cancelling);
    let error = outcome.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::Cancelled), "{error}");
    assert_eq!(stage.call("answer_all", json!({})).await.unwrap(), "all answered");
    let late = stage.status().await.counts.late_responses;
    assert_eq!(late, 3);
    stage.is_healthy().await;
    format!("{unknown} unknown and {late} late answers counted, callers got their own")
}

async fn odd_forms(stage: &Stage) -> String {
    let pid = stage.pid().await;
    for text in [
        "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,\"message\":\"what?\"}}\n",
        "{\"jsonrpc\":\"2.0\",\"result\":1}\n",
        "[{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":1}]\n",
        "[]\n",
        "{\"jsonrpc\":\"1.0\",\"id\":1,\"result\":1}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"x\"}\n",
    ] {
        assert_eq!(say(stage, text, 1, true).await.unwrap(), "said", "{text}");
    }
    stage.is_healthy().await;
    assert_eq!(stage.pid().await, pid);
    let violations = stage.status().await.counts.violations;
    assert!(violations >= 4, "{violations} counted");
    format!("{violations} of 6 counted as violations, same process answers")
}
