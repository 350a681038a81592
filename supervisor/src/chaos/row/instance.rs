//! Several processes of one plugin, and none: spares, instances, lazy starts, rest.

use std::time::Duration;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    super::{
        clock::now,
        plan::Plan,
        stage::{SINNER, Stage},
        unmet::{Observed, Unmet, broken, require},
    },
    Row,
};

const SPARE: Plan = Plan::PYTHON.with("[supervision]\nspares = 1");
const THREE: Plan = Plan::PYTHON.with("[supervision]\ninstances = 3");
const LAZY: Plan = Plan::PYTHON.with("[supervision]\nstart = \"lazy\"\nidle_stop = \"500ms\"");
/// Calls that are under way while one of three processes is killed.
const CALLS: usize = 60;

pub(super) fn rows() -> Vec<Row> {
    [
        Row::new(
            1,
            "kill -9 of the active one, a spare is ready",
            "the spare answers at once; another becomes spare",
            SPARE,
            |stage| Box::pin(failover(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            1,
            "kill -9 of one of three",
            "the others answer; there are three again",
            THREE,
            |stage| Box::pin(one_of_three(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            3,
            "lazy, and not called for a while",
            "started by a call, stopped when idle, and again",
            LAZY,
            |stage| Box::pin(lazy(stage)),
        )
        .twice()
        .to_vec(),
    ]
    .concat()
}

/// The processes of a role that are ready, by id.
async fn ready(stage: &Stage, role: &str) -> Result<Vec<i32>, Unmet> {
    let status = stage.status().await?;
    let of_role = status.instances.iter().filter(|one| one.role == role && one.state == "ready");
    Ok(of_role.filter_map(|one| one.pid.and_then(|pid| i32::try_from(pid).ok())).collect())
}

/// Waits until so many are ready in a role.
async fn musters(stage: &Stage, role: &str, count: usize) -> Result<Vec<i32>, Unmet> {
    let within = super::super::clock::Within::of(super::super::clock::PATIENCE);
    let mut look = tokio::time::interval(Duration::from_millis(5));
    loop {
        look.tick().await;
        let found = ready(stage, role).await?;
        if found.len() == count {
            return Ok(found);
        }
        require!(!within.left().is_zero(), "{} {role} are ready, not {count}", found.len());
    }
}

/// Waits until another one than `gone` is active. A call may be answered by the spare before it is one
/// by name.
async fn successor(stage: &Stage, gone: i32) -> Result<i32, Unmet> {
    let within = super::super::clock::Within::of(super::super::clock::PATIENCE);
    loop {
        let active = musters(stage, "active", 1).await?;
        if let Some(other) = active.into_iter().find(|pid| *pid != gone) {
            return Ok(other);
        }
        require!(!within.left().is_zero(), "the dead one counts as ready");
    }
}

async fn failover(stage: &Stage) -> Observed {
    let mut times = Vec::new();
    for _ in 0..5 {
        let spare = musters(stage, "spare", 1).await?;
        let active = musters(stage, "active", 1).await?;
        let active = active.first().copied().ok_or_else(|| broken("nobody is active"))?;
        stage.is_healthy().await?;
        kill(Pid::from_raw(active), Signal::SIGKILL)?;
        let began = now();
        // A call that is sent to the dying one may be lost with it; the next one is not.
        while stage.is_healthy().await.is_err() {
            require!(began.elapsed() < Duration::from_secs(5), "no call is answered");
        }
        times.push(began.elapsed());
        let serves = successor(stage, active).await?;
        require!(spare == [serves], "[{serves}] serves, not the spare {spare:?}");
    }
    times.sort_unstable();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    require!(median < Duration::from_millis(50), "answered again after {times:?}");
    Ok(format!("answered again in {median:.1?} (median of 5), by the spare each time"))
}

async fn one_of_three(stage: &Stage) -> Observed {
    let before = musters(stage, "active", 3).await?;
    let victim = before.first().copied().ok_or_else(|| broken("nobody is active"))?;
    let mut calls = JoinSet::new();
    for number in 0..CALLS {
        let host = stage.host.clone();
        calls.spawn(async move {
            host.call::<_, Value>(SINNER, "echo", &json!({"number": number})).await.is_ok()
        });
    }
    kill(Pid::from_raw(victim), Signal::SIGKILL)?;
    let mut answered = 0;
    while let Some(done) = calls.join_next().await {
        answered += usize::from(done?);
    }
    // Those that were sent to the dead one are lost with it.
    require!(answered * 3 >= CALLS, "{answered} of {CALLS} calls were answered");
    for _ in 0..CALLS {
        stage.is_healthy().await?;
    }
    let after = musters(stage, "active", 3).await?;
    require!(!after.contains(&victim), "the dead one is ready");
    Ok(format!("{answered} of {CALLS} calls in flight answered, all later ones; three again"))
}

async fn lazy(stage: &Stage) -> Observed {
    let status = stage.status().await?;
    require!(status.state == "idle", "it is {} before anybody called", status.state);
    require!(stage.sinners().is_empty(), "it runs before anybody called");
    let began = now();
    stage.is_healthy().await?;
    let first = began.elapsed();
    stage.reaches("idle").await?;
    let rested = began.elapsed();
    require!(stage.sinners().is_empty(), "something of it runs while it rests");
    stage.is_healthy().await?;
    Ok(format!("first answer in {first:.0?}, at rest after {rested:.1?}, answers again"))
}
