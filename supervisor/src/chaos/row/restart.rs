//! Ends that come again and again: delays, both breakers, quarantine and the way out of it.

use std::time::Duration;

use nix::sys::signal::Signal;
use plugbay::{
    CallErrorKind,
    lifecycle::restart::{Exit, History, Policy, Verdict},
};
use serde_json::json;

use super::{
    super::{
        clock::now,
        plan::Plan,
        stage::{SINNER, Stage},
        unmet::{Observed, Unmet, broken, require},
    },
    Row,
};

/// A life of 50 ms with delays to match: a fortieth of the catalogue's.
const LOOP: Plan = Plan::PYTHON.delayed().sinning("crash=50").with(
    "[supervision]\nbackoff_initial = \"12ms\"\nbackoff_max = \"1500ms\"\nquarantine = \"1h\"",
);
/// Each life is long enough to count as stable.
const SLOW_LOOP: Plan = Plan::PYTHON.delayed().sinning("crash=150").with(
    "[supervision]\nbackoff_initial = \"10ms\"\nbackoff_reset = \"50ms\"\nquarantine = \"1h\"",
);
const SHORT_QUARANTINE: Plan = Plan::PYTHON.delayed().with(
    "[supervision]\nbackoff_initial = \"10ms\"\nbreaker = 3\nquarantine = \"700ms\"\n\
     backoff_reset = \"100ms\"",
);
const QUARANTINE: Plan = Plan::PYTHON
    .delayed()
    .with("[supervision]\nbackoff_initial = \"10ms\"\nbreaker = 3\nquarantine = \"1h\"");
/// A month, as far as breakers are concerned.
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);

pub(super) fn rows() -> Vec<Row> {
    [
        Row::new(
            37,
            "crashes soon after each start",
            "delays grow; quarantined by the 8th",
            LOOP,
            |stage| Box::pin(crash_loop(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            38,
            "crashes after each time of stability",
            "the slow breaker quarantines it",
            SLOW_LOOP,
            |stage| Box::pin(slow_loop(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            39,
            "crashes once a month (on a made-up clock)",
            "always 0.25 s of delay, never a quarantine",
            Plan::ABSENT,
            |_| Box::pin(std::future::ready(monthly())),
        )
        .once()
        .to_vec(),
        Row::new(
            41,
            "quarantined, then mended",
            "a trial by itself; full service without an operator",
            SHORT_QUARANTINE,
            |stage| Box::pin(mended(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            42,
            "an operator starts a broken plugin 20 times",
            "each start is tried, none is refused or counted",
            QUARANTINE,
            |stage| Box::pin(insistent_operator(stage)),
        )
        .twice()
        .to_vec(),
    ]
    .concat()
}

async fn crash_loop(stage: &Stage) -> Observed {
    stage.reaches("quarantined").await?;
    let deaths = stage.host.deaths(SINNER).await;
    require!(deaths.len() == 8, "quarantined after {} crashes", deaths.len());
    let pauses = pauses(stage).await?;
    let (first, last) = (pauses.first(), pauses.last());
    let (Some(first), Some(last)) = (first, last) else { return Err(broken("no delays")) };
    require!(*last > *first * 8, "delays: {pauses:.0?}");
    let (error, took) = stage.sin("echo", json!({})).await?;
    require!(matches!(error.kind(), CallErrorKind::Quarantined { .. }), "{error}");
    require!(took < Duration::from_millis(100), "callers wait for {took:?}");
    require!(stage.sinners().is_empty(), "something of it runs");
    Ok(format!("delays {first:.0?} to {last:.0?}, quarantined at the 8th; callers told at once"))
}

/// The time from each death of the sinner to the start after it.
async fn pauses(stage: &Stage) -> Result<Vec<Duration>, Unmet> {
    let deaths = stage.host.deaths(SINNER).await;
    let mut pauses = Vec::new();
    for pair in deaths.windows(2) {
        let [before, after] = pair else { continue };
        let apart = after.at.duration_since(before.at)?;
        pauses.push(apart.saturating_sub(after.uptime));
    }
    Ok(pauses)
}

async fn slow_loop(stage: &Stage) -> Observed {
    let began = now();
    stage.reaches("quarantined").await?;
    let status = stage.status().await?;
    let deaths = stage.host.deaths(SINNER).await.len();
    require!((10..=11).contains(&deaths), "quarantined after {deaths} crashes");
    require!(status.failures <= 2, "{} failures in a row: they were not stable", status.failures);
    require!(stage.sinners().is_empty(), "something of it runs");
    Ok(format!("{deaths} crashes, stable before each, quarantined after {:.1?}", began.elapsed()))
}

/// Two years, on the policy's own default numbers.
fn monthly() -> Observed {
    let (policy, mut history) = (Policy::default(), History::default());
    for month in 1..=24 {
        let verdict = history.judge(&policy, Exit::Failure, MONTH * month, 1.0);
        let expected = Verdict::Start(Duration::from_millis(250));
        require!(verdict == expected, "in month {month}: {verdict:?}");
        history.stable();
    }
    Ok("24 months: 0.25 s each time".to_owned())
}

async fn mended(stage: &Stage) -> Observed {
    stage.is_healthy().await?;
    stage.next_start("stillborn")?;
    stage.signal(Signal::SIGKILL).await?;
    stage.reaches("quarantined").await?;
    let began = now();
    stage.next_start("")?;
    stage.reaches("running").await?;
    let took = began.elapsed();
    stage.is_healthy().await?;
    require!(took < Duration::from_secs(3), "the trial came after {took:?}");
    Ok(format!("back after {took:.1?} of a quarantine of 700 ms, nobody asked"))
}

async fn insistent_operator(stage: &Stage) -> Observed {
    const STARTS: u64 = 20;
    stage.is_healthy().await?;
    stage.next_start("stillborn")?;
    stage.signal(Signal::SIGKILL).await?;
    stage.reaches("quarantined").await?;
    let before = started(stage).await?;
    for round in 1..=STARTS {
        if stage.host.start_plugin(SINNER).await.is_ok() {
            return Err(broken(format_args!("start {round} of the broken plugin succeeded")));
        }
        let so_far = started(stage).await?.saturating_sub(before);
        require!(so_far >= round, "start {round} was refused: {so_far} processes were started");
    }
    stage.next_start("")?;
    stage.host.start_plugin(SINNER).await?;
    stage.is_healthy().await?;
    let failures = stage.status().await?.failures;
    require!(failures == 0, "{failures} failures are counted after an operator's start");
    Ok(format!("{STARTS} of {STARTS} tried; mended, the next one serves"))
}

/// How many processes were started in the slot so far.
async fn started(stage: &Stage) -> Result<u64, Unmet> {
    Ok(stage.status().await?.instance.map_or(0, |instance| instance.number()))
}
