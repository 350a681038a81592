//! Sudden ends: killed, crashed, gone without a word.

use std::time::Duration;

use nix::sys::signal::Signal;
use plugbay::{CallErrorKind, Cause, Deadline};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    super::{
        clock::{PATIENCE, Within, now},
        plan::Plan,
        stage::{SINNER, Stage, killed_by},
        unmet::{Observed, broken, require},
    },
    Row,
};

/// Kills whose latency is measured; the median counts, because one may meet a busy moment.
const KILLS: usize = 9;
/// How long after the death of a plugin its callers may be left waiting.
const TOLD: Duration = Duration::from_millis(100);

/// A deadline that a method is expected to keep; missing a shorter one says nothing of it.
const IN_TIME: Duration = Duration::from_secs(6);

const ALWAYS: Plan = Plan::PYTHON.with("[supervision]\nrestart = \"always\"");

pub(super) fn rows() -> Vec<Row> {
    [
        Row::new(
            1,
            "kill -9 mid-call",
            "Crashed with the cause, once, in 100 ms; next call runs",
            Plan::PYTHON,
            |stage| Box::pin(killed_mid_call(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            1,
            "kill -9 mid-call, the call has a key",
            "made once more, in the next process, and answered",
            Plan::PYTHON,
            |stage| Box::pin(repeated(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            2,
            "kill -9 in the middle of an answer",
            "partial frame dropped and counted; as 1",
            Plan::PYTHON,
            |stage| Box::pin(killed_mid_answer(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            3,
            "exit 0 while idle",
            "recorded and told; `on-failure` leaves it stopped",
            Plan::PYTHON,
            |stage| Box::pin(left_idle(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            3,
            "exit 0 while idle, restart always",
            "the next call finds it again",
            ALWAYS,
            |stage| Box::pin(left_and_came_back(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            4,
            "SIGSEGV, SIGABRT, SIGBUS, SIGILL",
            "the signal is the cause; last words in the record",
            Plan::PYTHON,
            |stage| Box::pin(fatal_signals(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            5,
            "a method that fails every time",
            "refused at once after 20; the others are not",
            Plan::PYTHON,
            |stage| Box::pin(failing_method(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            5,
            "a worker thread falls over, the main one lives",
            "deadline fires; the process is not killed",
            Plan::PYTHON,
            |stage| Box::pin(thread_fell_over(stage)),
        )
        .twice()
        .to_vec(),
    ]
    .concat()
}

async fn killed_mid_call(stage: &Stage) -> Observed {
    let mut latencies = Vec::new();
    for round in 1..=KILLS {
        stage.is_healthy().await?;
        let sinning = async { (stage.sin("hang", json!({})).await, now()) };
        let killing = async {
            stage.hears("hanging", round).await?;
            stage.signal(Signal::SIGKILL).await
        };
        let ((sin, told), killed) = tokio::join!(sinning, killing);
        let (error, _) = sin?;
        latencies.push(told.saturating_duration_since(killed?));
        killed_by(&error, Signal::SIGKILL)?;
        if let CallErrorKind::Crashed { stderr_tail, may_have_run, .. } = error.kind() {
            require!(stderr_tail.contains("hanging"), "last words: `{stderr_tail}`");
            require!(*may_have_run, "the caller is told that nothing can have run");
        }
    }
    stage.is_healthy().await?;
    let status = stage.status().await?;
    let failed = usize::try_from(status.counts.failed)?;
    require!(failed == KILLS, "{failed} calls failed of {KILLS} that were killed");
    require!(status.in_flight == 0, "{} calls are still in flight", status.in_flight);
    latencies.sort_unstable();
    let median = latencies.get(KILLS / 2).copied().unwrap_or_default();
    require!(median < TOLD, "told after {latencies:?}");
    Ok(format!("Crashed by SIGKILL, told in {median:.1?} (median of {KILLS})"))
}

async fn repeated(stage: &Stage) -> Observed {
    stage.is_healthy().await?;
    let before = stage.pid().await?;
    // It cannot be quicker than the kill while it is stopped.
    stage.signal(Signal::SIGSTOP).await?;
    let params = json!({"are you": "well"});
    let call = stage.host.call_with(SINNER, "echo").params(&params).idempotency_key("once");
    let killing = async {
        let within = Within::of(PATIENCE);
        while stage.status().await?.in_flight == 0 && !within.left().is_zero() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stage.signal(Signal::SIGKILL).await
    };
    let (outcome, killed) = tokio::join!(call.send::<Value>(), killing);
    let took = killed?.elapsed();
    let answer = outcome.map_err(|error| broken(format_args!("not made again: {error}")))?;
    require!(answer.get("are you") == Some(&json!("well")), "answered with {answer}");
    require!(stage.pid().await? != before, "the dead process has answered");
    Ok(format!("answered {took:.0?} after the kill, by the next process"))
}

async fn failing_method(stage: &Stage) -> Observed {
    stage.is_healthy().await?;
    let mut calls = JoinSet::new();
    for _ in 0..40 {
        let host = stage.host.clone();
        calls.spawn(async move {
            let call = host.call_with(SINNER, "hang").deadline(IN_TIME);
            call.send::<Value>().await.err()
        });
    }
    while calls.join_next().await.is_some() {}
    let (error, took) = stage.sin("hang", json!({})).await?;
    require!(matches!(error.kind(), CallErrorKind::CircuitOpen { .. }), "{error}");
    require!(took < Duration::from_millis(100), "refused after {took:?}");
    stage.is_healthy().await?;
    Ok(format!("refused in {took:.1?} after 40 deadlines; the others answer"))
}

async fn killed_mid_answer(stage: &Stage) -> Observed {
    stage.is_healthy().await?;
    let (error, took) = stage.sin("partial", json!({})).await?;
    killed_by(&error, Signal::SIGKILL)?;
    stage.is_healthy().await?;
    let partial = stage.status().await?.counts.partial_frames;
    require!(partial == 1, "{partial} partial frames counted");
    Ok(format!("Crashed in {took:.0?}, {partial} partial frame counted, next call answered"))
}

async fn left_idle(stage: &Stage) -> Observed {
    let mut events = stage.host.subscribe();
    stage.answers("leave", json!({"code": 0}), "bye").await?;
    let death = stage.death(&mut events).await?;
    require!(death.cause == Cause::Code(0), "the record says: {death}");
    require!(death.calls_lost == 0, "{} calls lost", death.calls_lost);
    stage.reaches("stopped").await?;
    let (error, _) = stage.sin("echo", json!({})).await?;
    let CallErrorKind::Unavailable { state, reason } = error.kind() else {
        return Err(broken(error));
    };
    require!(reason.contains("code 0"), "`{reason}` does not tell why");
    stage.host.start_plugin(SINNER).await?;
    stage.is_healthy().await?;
    Ok(format!("`{death}`, {state}; an operator starts it again"))
}

async fn left_and_came_back(stage: &Stage) -> Observed {
    let mut events = stage.host.subscribe();
    stage.answers("leave", json!({"code": 0}), "bye").await?;
    let death = stage.death(&mut events).await?;
    require!(death.cause == Cause::Code(0), "the record says: {death}");
    stage.is_healthy().await?;
    let restarts = stage.status().await?.restarts;
    require!(restarts == 1, "{restarts} restarts");
    Ok(format!("`{death}`, restarted once, answers"))
}

async fn fatal_signals(stage: &Stage) -> Observed {
    let mut seen = Vec::new();
    for signal in [Signal::SIGSEGV, Signal::SIGABRT, Signal::SIGBUS, Signal::SIGILL] {
        stage.is_healthy().await?;
        let mut events = stage.host.subscribe();
        let (error, _) = stage.sin("die", json!({"signal": signal.as_str()})).await?;
        killed_by(&error, signal)?;
        let death = stage.death(&mut events).await?;
        let cause = &death.cause;
        require!(*cause == Cause::Signal(signal as i32), "the record says {death}");
        let last = &death.stderr_tail;
        require!(last.contains(signal.as_str()), "the record's last words: `{last}`");
        require!(!death.before_hello && death.calls_lost == 1, "{death:?}");
        seen.push(cause.token());
    }
    stage.is_healthy().await?;
    Ok(seen.join(" "))
}

async fn thread_fell_over(stage: &Stage) -> Observed {
    stage.is_healthy().await?;
    let pid = stage.pid().await?;
    let deadline = Duration::from_millis(500);
    let outcome: Result<Value, _> =
        stage.host.call_with(SINNER, "delegate").deadline(deadline).send().await;
    let error = outcome.err().ok_or_else(|| broken("the call was answered"))?;
    let CallErrorKind::DeadlineExceeded { after, which: Deadline::Cap } = error.kind() else {
        return Err(broken(error));
    };
    stage.hears("the helper fell over", 1).await?;
    stage.is_healthy().await?;
    require!(stage.pid().await? == pid, "the process was replaced");
    Ok(format!("deadline after {after:.1?}, traceback logged, same process answers"))
}
