//! Plugins that live and give no sign of it, and those that only seem so. Time-outs are shortened
//! through the manifest: seconds stand for the catalogue's minutes.

use std::{sync::Arc, time::Duration};

use plugbay::{Cause, Death};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    super::{
        clock::now,
        plan::{Plan, Sinner},
        stage::{SINNER, Stage, crash},
        unmet::{Observed, Unmet, require},
    },
    Row,
};

const SHORT: Plan = Plan::PYTHON.with(
    "[limits]\ncall_timeout = \"60s\"\n[supervision.health]\nping_interval = \"200ms\"\n\
     ping_timeout = \"300ms\"\nhang_timeout = \"2s\"\nbusy_timeout = \"4s\"",
);
const DEAF: Plan = Plan::PYTHON.with("[supervision]\nmax_inflight = 4096\ncircuit = false");

pub(super) fn rows() -> Vec<Row> {
    [
        Row::new(
            32,
            "a busy loop, no answers",
            "degraded, then killed at its busy timeout",
            SHORT.sinning("promises"),
            |stage| Box::pin(spinning(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            32,
            "stands still, no answers",
            "killed at its hang timeout; where it stood in the log",
            SHORT.sinning("promises"),
            |stage| Box::pin(frozen(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            33,
            "works for longer than any timeout, and pongs",
            "never killed; its call is answered",
            SHORT.sinning("pings"),
            |stage| Box::pin(working(stage)),
        )
        .once()
        .to_vec(),
        Row::new(
            24,
            "never reads its stdin, for 30 s",
            "degraded after 5 s, killed for it after 30 s",
            DEAF,
            |stage| Box::pin(deaf(stage)),
        )
        .within(Duration::from_secs(120))
        .once()
        .to_vec(),
    ]
    .concat()
}

/// Has it fall silent in a call; how it ended, and after which time.
async fn silenced(stage: &Stage, method: &str) -> Result<(Arc<Death>, Duration), Unmet> {
    stage.is_healthy().await?;
    let mut events = stage.host.subscribe();
    let began = now();
    let sinning = stage.sin(method, json!({}));
    let degrading = stage.reaches("degraded");
    let (sin, degraded) = tokio::join!(sinning, degrading);
    degraded?;
    let took = began.elapsed();
    let cause = crash(&sin?.0)?;
    require!(matches!(cause, Cause::Watchdog { .. }), "the caller is told: {cause}");
    let death = stage.death(&mut events).await?;
    require!(death.cause == cause, "the caller is told {cause}, the record says {death}");
    stage.is_healthy().await?;
    Ok((death, took))
}

async fn spinning(stage: &Stage) -> Observed {
    let (death, took) = silenced(stage, "spin").await?;
    let timely = took >= Duration::from_secs(4) && took < Duration::from_secs(10);
    require!(timely, "{death} after {took:?}");
    require!(death.cause.token() == "watchdog(busy)", "{death}");
    Ok(format!("degraded, then: {death}"))
}

async fn frozen(stage: &Stage) -> Observed {
    let (death, took) = silenced(stage, "freeze").await?;
    let timely = took >= Duration::from_secs(2) && took < Duration::from_secs(8);
    require!(timely, "{death} after {took:?}");
    require!(death.cause.token() == "watchdog(hang)", "{death}");
    if stage.plan.sinner == Sinner::Python {
        let last = &death.stderr_tail;
        require!(last.contains("in freeze"), "no stack among its last words: `{last}`");
    }
    Ok(format!("degraded, then: {death}"))
}

async fn working(stage: &Stage) -> Observed {
    stage.is_healthy().await?;
    let pid = stage.pid().await?;
    let began = now();
    stage.answers("work", json!({"ms": 7000}), "done").await?;
    let took = began.elapsed();
    require!(stage.pid().await? == pid, "it was replaced");
    stage.is_healthy().await?;
    Ok(format!("answered after {took:.1?}, with a busy timeout of 4 s; same process"))
}

async fn deaf(stage: &Stage) -> Observed {
    stage.is_healthy().await?;
    stage.answers("deaf", json!({}), "not listening").await?;
    let mut events = stage.host.subscribe();
    let began = now();
    let load = Arc::new(json!({"load": "x".repeat(64 << 10)}));
    let mut waiting = JoinSet::new();
    for _ in 0..8 {
        let (host, load) = (stage.host.clone(), load.clone());
        waiting.spawn(async move {
            let call = host.call_with(SINNER, "echo").params(&*load);
            call.deadline(Duration::from_secs(60))
                .idle_timeout(Duration::from_secs(60))
                .send()
                .await
        });
    }
    stage.reaches("degraded").await?;
    let degraded = began.elapsed();
    let death = stage.death_within(Duration::from_secs(60), &mut events).await?;
    let killed = began.elapsed();
    require!(death.cause.token() == "watchdog(deaf)", "{death}");
    let timely = killed >= Duration::from_secs(29) && killed < Duration::from_secs(40);
    require!(timely, "killed after {killed:?}");
    while let Some(done) = waiting.join_next().await {
        let outcome: Result<Value, _> = done?;
        // One of which not a byte had left is made to its successor.
        if let Err(error) = outcome {
            crash(&error)?;
        }
    }
    stage.is_healthy().await?;
    Ok(format!("degraded after {degraded:.1?}; {death}, gone after {killed:.1?}"))
}
