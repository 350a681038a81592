//! Sins on the wire: bytes that are no messages, and messages that are lies.

use std::time::Duration;

use plugbay::{CallError, CallErrorKind, LogSource};
use serde_json::{Value, json};

use super::{
    super::{
        plan::Plan,
        stage::{SINNER, Stage, violation},
        unmet::{Observed, Unmet, broken, require},
    },
    Row,
};

const LENGTHS: Plan = Plan::PYTHON.sinning("framing=content-length");

pub(super) fn rows() -> Vec<Row> {
    [
        Row::new(
            12,
            "stray prints between frames",
            "a few tolerated; a flood is a protocol kill",
            Plan::PYTHON,
            |stage| Box::pin(stray_prints(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            14,
            "a frame begun and never finished",
            "protocol kill after the partial-frame timer, 10 s",
            Plan::PYTHON,
            |stage| Box::pin(unfinished(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            16,
            "100 000 brackets deep",
            "named error, no stack overflow; session goes on",
            Plan::PYTHON,
            |stage| Box::pin(deep(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            17,
            "invalid UTF-8, NUL, NaN, 1e999, …",
            "error or counted drop, one outcome; session goes on",
            Plan::PYTHON,
            |stage| Box::pin(garbage(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            18,
            "Content-Length negative, huge, twice, absent",
            "protocol kill each time; next call runs",
            LENGTHS,
            |stage| Box::pin(bad_lengths(stage)),
        )
        .once()
        .to_vec(),
        Row::new(
            19,
            "wrong, unknown, repeated, late ids",
            "dropped and counted; the right caller is unaffected",
            Plan::PYTHON,
            |stage| Box::pin(wrong_ids(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            20,
            "answers a notification; batch; id null",
            "as the specification has it; session goes on",
            Plan::PYTHON,
            |stage| Box::pin(odd_forms(stage)),
        )
        .twice()
        .to_vec(),
    ]
    .concat()
}

/// Says something on stdout, then answers, or not.
async fn say(stage: &Stage, text: &str, times: u32, answer: bool) -> Result<Value, CallError> {
    stage.call("say", json!({"text": text, "times": times, "answer": answer})).await
}

/// Says something beside its answer.
async fn says(stage: &Stage, text: &str) -> Result<(), Unmet> {
    stage.answers("say", json!({"text": text}), "said").await
}

/// Says something that may or may not serve as an answer, and waits half a second for one.
async fn answer_with(stage: &Stage, hex: &str) -> Result<Value, CallError> {
    let call = stage.host.call_with(SINNER, "say").idle_timeout(Duration::from_millis(500));
    call.params(&json!({"hex": hex, "answer": false})).send().await
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The error of a call that must have failed.
fn refused(outcome: Result<Value, CallError>) -> Result<CallError, Unmet> {
    match outcome {
        Ok(answer) => Err(broken(format_args!("answered with {answer}"))),
        Err(error) => Ok(error),
    }
}

async fn stray_prints(stage: &Stage) -> Observed {
    stage.answers("say", json!({"text": "chatty\n", "times": 50}), "said").await?;
    stage.is_healthy().await?;
    let counted = stage.status().await?.counts.stray_lines;
    require!(counted == 50, "{counted} of 50 stray lines counted");
    let logged = stage.from(LogSource::StrayStdout).len();
    require!(logged == 10, "{logged} of 50 stray lines logged; the log is flooded or deaf");
    let why = violation(&refused(say(stage, "chatty\n", 10_000, true).await)?)?;
    stage.is_healthy().await?;
    Ok(format!("50 counted, {logged} logged; 10 000: killed, {why}"))
}

async fn unfinished(stage: &Stage) -> Observed {
    stage.is_healthy().await?;
    let text = "{\"jsonrpc\":\"2.0\",\"id\":$ID,";
    let (error, took) = stage.sin("say", json!({"text": text, "answer": false})).await?;
    let why = violation(&error)?;
    let timely = took >= Duration::from_secs(10) && took < Duration::from_secs(13);
    require!(timely, "after {took:?}: {why}");
    stage.is_healthy().await?;
    Ok(format!("after {took:.1?}: {why}"))
}

async fn deep(stage: &Stage) -> Observed {
    let pid = stage.pid().await?;
    says(stage, &format!("{}\n", "[".repeat(100_000))).await?;
    let (open, shut) = ("[".repeat(100_000), "]".repeat(100_000));
    let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":{open}{shut}}}\n");
    let error = refused(say(stage, &answer, 1, false).await)?;
    let CallErrorKind::ProtocolViolation(what) = error.kind() else { return Err(broken(error)) };
    stage.is_healthy().await?;
    require!(stage.pid().await? == pid, "the process was replaced");
    Ok(format!("ProtocolViolation: {what}; same process answers"))
}

async fn garbage(stage: &Stage) -> Observed {
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
        let outcome = made_of(answer_with(stage, &hex(&line)).await)?;
        outcomes.push(format!("{} {outcome}", String::from_utf8_lossy(result).escape_debug()));
        stage.is_healthy().await?;
    }
    let noise: [&[u8]; 4] =
        [b"\xff\xfe\xfd\n", b"\x00\x00\n", b"\xef\xbb\xbf{}\n", b"{\"jsonrpc\":\n"];
    for line in noise {
        stage.answers("say", json!({"hex": hex(line)}), "said").await?;
    }
    stage.is_healthy().await?;
    Ok(outcomes.join(", "))
}

/// What a caller was told of an answer that may be none.
fn made_of(outcome: Result<Value, CallError>) -> Observed {
    let error = match outcome {
        Ok(value) => return Ok(format!("taken as {value}")),
        Err(error) => error,
    };
    let kind = error.kind();
    let known = [
        (matches!(kind, CallErrorKind::ProtocolViolation(_)), "ProtocolViolation"),
        (matches!(kind, CallErrorKind::UnexpectedResult(_)), "UnexpectedResult"),
        (matches!(kind, CallErrorKind::DeadlineExceeded { .. }), "dropped, deadline"),
    ];
    let known = known.iter().find(|(is_it, _)| *is_it);
    known.map(|(_, name)| (*name).to_owned()).ok_or_else(|| broken(error))
}

async fn bad_lengths(stage: &Stage) -> Observed {
    let mut told = Vec::new();
    for header in [
        "Content-Length: -5\r\n\r\n",
        "Content-Length: 99999999999999999999\r\n\r\n",
        "Content-Length: 1073741824\r\n\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        "Content-Type: application/json\r\n\r\n{}",
        "Content-Length: 0x10\r\n\r\n",
    ] {
        stage.is_healthy().await?;
        told.push(violation(&refused(say(stage, header, 1, false).await)?)?);
    }
    stage.is_healthy().await?;
    Ok(told.join("; "))
}

async fn wrong_ids(stage: &Stage) -> Observed {
    let lies = [
        r#"{"jsonrpc":"2.0","id":999999999,"result":1}"#,
        r#"{"jsonrpc":"2.0","id":"$ID","result":2}"#,
        r#"{"jsonrpc":"2.0","id":-1,"result":3}"#,
        r#"{"jsonrpc":"2.0","id":0,"error":{"code":1,"message":"no"}}"#,
    ];
    says(stage, &format!("{}\n", lies.join("\n"))).await?;
    let unknown = stage.status().await?.counts.unknown_responses;
    require!(unknown == 4, "{unknown} of 4 unknown answers counted");
    let twice = "{\"jsonrpc\":\"2.0\",\"id\":$ID,\"result\":\"first\"}\n";
    stage.answers("say", json!({"text": twice, "times": 2}), "first").await?;
    stage.is_healthy().await?;
    let repeated = stage.status().await?.counts.late_responses;
    require!(repeated == 2, "{repeated} of 2 repeated answers counted");
    let cancel = plugbay::CancellationToken::new();
    let call = stage.host.call_with(SINNER, "answer_late").cancel(cancel.clone());
    let cancelling = async {
        let heard = stage.hears("remembered", 1).await;
        cancel.cancel();
        heard
    };
    let (outcome, heard) = tokio::join!(call.send::<Value>(), cancelling);
    heard?;
    let error = refused(outcome)?;
    require!(matches!(error.kind(), CallErrorKind::Cancelled), "{error}");
    stage.answers("answer_all", json!({}), "all answered").await?;
    let late = stage.status().await?.counts.late_responses;
    require!(late == 3, "{late} of 3 late answers counted");
    stage.is_healthy().await?;
    Ok(format!("{unknown} unknown and {late} late answers counted, callers got their own"))
}

async fn odd_forms(stage: &Stage) -> Observed {
    let pid = stage.pid().await?;
    for text in [
        "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,\"message\":\"what?\"}}\n",
        "{\"jsonrpc\":\"2.0\",\"result\":1}\n",
        "[{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":1}]\n",
        "[]\n",
        "{\"jsonrpc\":\"1.0\",\"id\":1,\"result\":1}\n",
        "{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"x\"}\n",
    ] {
        says(stage, text).await?;
    }
    stage.is_healthy().await?;
    require!(stage.pid().await? == pid, "the process was replaced");
    let violations = stage.status().await?.counts.violations;
    require!(violations >= 4, "{violations} of 6 counted as violations");
    Ok(format!("{violations} of 6 counted as violations, same process answers"))
}
