//! Sudden ends: killed, crashed, gone without a word.

use std::time::Duration;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plugbay::{CallErrorKind, Cause, Deadline};
use serde_json::{Value, json};

use super::{
    Row,
    stage::{Plan, Sinner, Stage, crash, now},
};

/// Kills whose latency is measured; the median counts, because one may meet a busy moment.
const KILLS: usize = 9;
/// How long after the death of a plugin its callers may be left waiting.
const TOLD: Duration = Duration::from_millis(100);

const ALWAYS: Plan = Plan::PLAIN.with("[supervision]\nrestart = \"always\"");
const CREW: Plan = Plan { sinner: Sinner::Crew, ..Plan::PLAIN };

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row {
            number: 1,
            fault: "kill -9 mid-call",
            required: "Crashed with the cause, once, in 100 ms; next call runs",
            plan: Plan::PLAIN,
            inject: |stage| Box::pin(killed_mid_call(stage)),
        },
        Row {
            number: 2,
            fault: "kill -9 in the middle of an answer",
            required: "partial frame dropped and counted; as 1",
            plan: Plan::PLAIN,
            inject: |stage| Box::pin(killed_mid_answer(stage)),
        },
        Row {
            number: 3,
            fault: "exit 0 while idle",
            required: "recorded and told; `on-failure` leaves it stopped",
            plan: Plan::PLAIN,
            inject: |stage| Box::pin(left_idle(stage)),
        },
        Row {
            number: 3,
            fault: "exit 0 while idle, restart always",
            required: "the next call finds it again",
            plan: ALWAYS,
            inject: |stage| Box::pin(left_and_came_back(stage)),
        },
        Row {
            number: 4,
            fault: "SIGSEGV, SIGABRT, SIGBUS, SIGILL",
            required: "the signal is the cause; last words in the record",
            plan: Plan::PLAIN,
            inject: |stage| Box::pin(fatal_signals(stage)),
        },
        Row {
            number: 5,
            fault: "uncaught exception in a worker thread",
            required: "deadline fires; the process is not killed",
            plan: CREW,
            inject: |stage| Box::pin(thread_fell_over(stage)),
        },
    ]
}

async fn killed_mid_call(stage: &Stage) -> String {
    let mut latencies = Vec::new();
    for round in 1..=KILLS {
        stage.is_healthy().await;
        let pid = stage.pid().await;
        let sinning = async { (stage.sin("hang", json!({})).await, now()) };
        let killing = async {
            stage.hears("hanging", round).await;
            kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
            now()
        };
        let (((error, _), told), killed) = tokio::join!(sinning, killing);
        latencies.push(told.saturating_duration_since(killed));
        assert_eq!(crash(&error), Cause::Signal(libc::SIGKILL));
        let CallErrorKind::Crashed { stderr_tail, may_have_run, .. } = error.kind() else {
            unreachable!()
        };
        assert!(stderr_tail.contains("hanging") && *may_have_run, "{stderr_tail}");
    }
    stage.is_healthy().await;
    let status = stage.status().await;
    assert_eq!((status.counts.failed, status.in_flight), (u64::try_from(KILLS).unwrap(), 0));
    latencies.sort();
    let median = latencies[KILLS / 2];
    assert!(median < TOLD, "told after {latencies:?}");
    format!("Crashed by SIGKILL, told in {median:.1?} (median of {KILLS})")
}

async fn killed_mid_answer(stage: &Stage) -> String {
    stage.is_healthy().await;
    let (error, took) = stage.sin("partial", json!({})).await;
    assert_eq!(crash(&error), Cause::Signal(libc::SIGKILL));
    stage.is_healthy().await;
    let partial = stage.status().await.counts.partial_frames;
    assert_eq!(partial, 1);
    format!("Crashed in {took:.0?}, {partial} partial frame counted, next call answered")
}

async fn left_idle(stage: &Stage) -> String {
    let mut events = stage.host.subscribe();
    assert_eq!(stage.call("leave", json!({"code": 0})).await.unwrap(), "bye");
    let death = stage.death(&mut events).await;
    assert_eq!((&death.cause, death.calls_lost), (&Cause::Code(0), 0));
    stage.reaches("stopped").await;
    let error = stage.call("echo", json!({})).await.unwrap_err();
    let CallErrorKind::Unavailable { state, reason } = error.kind() else { panic!("{error}") };
    assert!(reason.contains("code 0"), "`{reason}` does not tell why");
    stage.host.start_plugin("chaos").await.unwrap();
    stage.is_healthy().await;
    format!("`{death}`, {state}; an operator starts it again")
}

async fn left_and_came_back(stage: &Stage) -> String {
    let mut events = stage.host.subscribe();
    assert_eq!(stage.call("leave", json!({"code": 0})).await.unwrap(), "bye");
    let death = stage.death(&mut events).await;
    assert_eq!(death.cause, Cause::Code(0));
    stage.is_healthy().await;
    let status = stage.status().await;
    let instance = status.instance.unwrap();
    assert_eq!(instance.number(), 2);
    format!("`{death}`, instance {instance} answers")
}

async fn fatal_signals(stage: &Stage) -> String {
    let mut seen = Vec::new();
    for signal in [Signal::SIGSEGV, Signal::SIGABRT, Signal::SIGBUS, Signal::SIGILL] {
        stage.is_healthy().await;
        let mut events = stage.host.subscribe();
        let (error, _) = stage.sin("die", json!({"signal": signal.as_str()})).await;
        let cause = crash(&error);
        assert_eq!(cause, Cause::Signal(signal as i32));
        let death = stage.death(&mut events).await;
        assert_eq!(death.cause, cause);
        assert!(death.stderr_tail.contains(signal.as_str()), "{}", death.stderr_tail);
        assert!(!death.before_hello && death.calls_lost == 1);
        seen.push(cause.token());
    }
    stage.is_healthy().await;
    seen.join(" ")
}

async fn thread_fell_over(stage: &Stage) -> String {
    stage.is_healthy().await;
    let pid = stage.pid().await;
    let deadline = Duration::from_millis(500);
    let call = stage.host.call_with("chaos", "delegate").deadline(deadline);
    let error = call.send::<Value>().await.unwrap_err();
    let CallErrorKind::DeadlineExceeded { after, which: Deadline::Cap } = error.kind() else {
        panic!("{error}")
    };
    stage.hears("the helper fell over", 1).await;
    stage.is_healthy().await;
    assert_eq!(stage.pid().await, pid);
    format!("deadline after {after:.1?}, traceback logged, same process answers")
}
