//! Too much, or nothing at all: floods on every pipe, and pipes that nobody reads.

use std::time::Duration;

use plugbay::{CallErrorKind, Cause, LogSource};
use plugbay_tests::command;
use serde_json::{Value, json};

use super::{
    Row,
    stage::{Plan, Sinner, Stage, crash, now},
};

const ABSENT: Plan = Plan { sinner: Sinner::Absent, ..Plan::PLAIN };
const DEAF: Plan = Plan::PLAIN.with("[supervision]\nmax_inflight = 4096");
/// The cap on a frame, and a mebibyte: what an endless line may cost the host.
const FRAME_AND_MEBIBYTE: u64 = 9 << 20;
/// Longest line of stderr in the log.
const LINE: usize = 16 << 10;

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row {
            number: 13,
            fault: "1 GiB without a newline",
            required: "host grows < frame cap + 1 MiB; named error",
            plan: ABSENT,
            inject: |stage| Box::pin(endless(stage)),
        },
        Row {
            number: 21,
            fault: "1 GiB of valid notifications",
            required: "some counted and dropped; then an overload kill",
            plan: Plan::RUST,
            inject: |stage| Box::pin(chatter(stage)),
        },
        Row {
            number: 22,
            fault: "64 MiB of lines on stderr",
            required: "never blocks the plugin; log bounded, drops counted",
            plan: Plan::RUST,
            inject: |stage| Box::pin(mutter(stage)),
        },
        Row {
            number: 23,
            fault: "100 MiB on stderr without a newline",
            required: "cut at 16 KiB",
            plan: Plan::RUST,
            inject: |stage| Box::pin(drone(stage)),
        },
        Row {
            number: 24,
            fault: "never reads its stdin",
            required: "Overloaded at once; the host never blocks",
            plan: DEAF,
            inject: |stage| Box::pin(deaf(stage)),
        },
    ]
}

/// In a host of its own, whose memory is only its own.
async fn endless(stage: &Stage) -> String {
    let program = stage.env.binaries().path("host");
    let root = stage.env.directory("memory", 0);
    let twin = stage.env.binaries().path("twin");
    let mut host = command(&program);
    host.args([std::path::Path::new("endless"), &root, &twin]);
    let output = tokio::task::spawn_blocking(move || host.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let mut told = Vec::new();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let grown = line["grown"].as_u64().unwrap();
        let (form, error) = (line["as"].as_str().unwrap(), line["error"].as_str().unwrap());
        assert!(grown < FRAME_AND_MEBIBYTE, "{form}: the host grew by {grown} bytes");
        told.push(format!("{form}: +{:.1} MiB, {error}", mebibytes(grown)));
    }
    assert_eq!(told.len(), 4, "{text}");
    told.join("; ")
}

fn mebibytes(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap()) / 1024.0
}

async fn chatter(stage: &Stage) -> String {
    stage.is_healthy_in_rust().await;
    // A mebibyte of them is eighteen thousand.
    stage.call("chatter", json!({"mib": 1})).await.unwrap();
    let dropped = stage.status().await.counts.dropped_notices;
    assert!(dropped > 10_000, "{dropped}");
    let (error, took) = stage.sin("chatter", json!({"mib": 1024})).await;
    let Cause::Protocol(why) = crash(&error) else { panic!("{error}") };
    stage.is_healthy_in_rust().await;
    format!("{dropped} dropped; then {why}: killed in {took:.1?}")
}

async fn mutter(stage: &Stage) -> String {
    let began = now();
    stage.call("mutter", json!({"mib": 64, "lines": true})).await.unwrap();
    let took = began.elapsed();
    let lines = stage.from(LogSource::Stderr).len();
    let bound = 10_000 + 1_000 * usize::try_from(took.as_secs() + 2).unwrap();
    assert!(lines <= bound, "{lines} lines logged");
    stage.call("mutter", json!({"mib": 0, "lines": true})).await.unwrap();
    let mut events = stage.host.subscribe();
    stage.host.stop_plugin("chaos").await.unwrap();
    let death = stage.death(&mut events).await;
    assert!(death.stderr_tail.len() <= 64 << 10);
    let drops = stage.said(|record| record.message.contains("dropped"));
    assert!(!drops.is_empty(), "the drops are not told");
    stage.host.start_plugin("chaos").await.unwrap();
    format!("{took:.1?}; {lines} lines logged; `{}`", drops[0].message)
}

async fn drone(stage: &Stage) -> String {
    stage.call("mutter", json!({"mib": 100, "lines": false})).await.unwrap();
    stage.is_healthy_in_rust().await;
    let lines = stage.from(LogSource::Stderr);
    let longest = lines.iter().map(|record| record.message.len()).max().unwrap_or(0);
    assert!(longest > 0 && longest <= LINE, "{longest}");
    format!("{} pieces logged, the longest of {longest} bytes", lines.len())
}

async fn deaf(stage: &Stage) -> String {
    stage.is_healthy().await;
    assert_eq!(stage.call("deaf", json!({})).await.unwrap(), "not listening");
    let load = json!({"load": "x".repeat(64 << 10)});
    let mut waiting = tokio::task::JoinSet::new();
    let (mut refused, mut slowest) = (0, Duration::ZERO);
    for _ in 0..400 {
        let (host, load) = (stage.host.clone(), load.clone());
        waiting.spawn(async move {
            let began = now();
            let call = host.call_with("chaos", "echo").params(&load);
            let error = call.deadline(Duration::from_secs(3)).send::<Value>().await.unwrap_err();
            (error, began.elapsed())
        });
    }
    let mut late = 0;
    while let Some(done) = waiting.join_next().await {
        let (error, took) = done.unwrap();
        match error.kind() {
            CallErrorKind::Overloaded { .. } => {
                refused += 1;
                slowest = slowest.max(took);
            }
            CallErrorKind::DeadlineExceeded { .. } => late += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(refused > 20, "{refused} refused of 400, {late} late");
    assert!(slowest < Duration::from_secs(1), "a refusal took {slowest:?}");
    stage.host.restart_plugin("chaos").await.unwrap();
    stage.is_healthy().await;
    format!("{refused} of 400 refused, the slowest in {slowest:.0?}; {late} met their deadline")
}
