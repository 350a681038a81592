//! Too much, or nothing at all: floods on every pipe, and pipes that nobody reads.

use std::{sync::Arc, time::Duration};

use plugbay::{CallErrorKind, LogSource};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    super::{
        clock::now,
        plan::Plan,
        stage::{SINNER, Stage, crash, violation},
        unmet::{Observed, Unmet, broken, require},
        vitals::{growth, mebibytes},
    },
    Row,
};

const DEAF: Plan = Plan::PYTHON.with("[supervision]\nmax_inflight = 4096\ncircuit = false");
/// What it has to say takes a busy machine its time.
const LOUD: Plan = Plan::RUST.with("[limits]\ncall_timeout = \"110s\"");
/// What an endless line may cost the host at its highest: two caps on a frame, and a mebibyte. One cap
/// is the aim; up to 15.2 MiB were seen now and then, and why is not proven.
const TWO_FRAMES_AND_MEBIBYTE: u64 = 17 << 20;
/// Mebibytes beyond which nothing is a frame of anybody's.
const CEILING: u64 = 64;
/// Longest line of stderr in the log.
const LINE: usize = 16 << 10;

pub(super) fn rows() -> Vec<Row> {
    [
        Row::new(
            13,
            "1 GiB without a newline",
            "host grows < 2 frame caps + 1 MiB; named error",
            LOUD,
            |stage| Box::pin(endless(stage)),
        ),
        Row::new(
            21,
            "1 GiB of valid notifications",
            "some counted and dropped; then an overload kill",
            LOUD,
            |stage| Box::pin(chatter(stage)),
        ),
        Row::new(
            22,
            "64 MiB of lines on stderr",
            "never blocks the plugin; log bounded, drops counted",
            LOUD,
            |stage| Box::pin(mutter(stage)),
        ),
        Row::new(23, "100 MiB on stderr without a newline", "cut at 16 KiB", LOUD, |stage| {
            Box::pin(drone(stage))
        }),
        Row::new(
            24,
            "never reads its stdin",
            "Overloaded at once; the host never blocks",
            DEAF,
            |stage| Box::pin(deaf(stage)),
        ),
    ]
    .to_vec()
}

/// Four forms of a gibibyte on one line, or what is left of it when the plugin is stopped.
async fn endless(stage: &Stage) -> Observed {
    // What a first call of some size costs is no growth.
    stage.call("echo", json!({"load": "x".repeat(1 << 20)})).await?;
    let mut told = Vec::new();
    for (form, mib, times) in
        [("nothing", 1024_u64, 1), ("brackets", 1024, 1), ("answer", 1024, 1), ("answer", 64, 4)]
    {
        let sinning = async {
            let mut last = String::new();
            for _ in 0..times {
                let mut events = stage.host.subscribe();
                let (error, _) = stage.sin("endless", json!({"as": form, "mib": mib})).await?;
                let too_large = matches!(error.kind(), CallErrorKind::FrameTooLarge { .. });
                last = match too_large {
                    // Its call could be told; but of such a frame there is no end.
                    true if mib > CEILING => {
                        format!("FrameTooLarge, then {}", stage.death(&mut events).await?.cause)
                    }
                    true => "FrameTooLarge".to_owned(),
                    false => crash(&error)?.to_string(),
                };
            }
            Ok::<String, Unmet>(last)
        };
        let (sinned, grown) = growth(sinning).await?;
        let error = sinned?;
        require!(grown < TWO_FRAMES_AND_MEBIBYTE, "{form}: the host grew by {grown} bytes");
        told.push(format!("+{:.1} MiB, {error}", mebibytes(grown)));
        stage.is_healthy().await?;
    }
    Ok(told.join("; "))
}

async fn chatter(stage: &Stage) -> Observed {
    stage.is_healthy().await?;
    // A mebibyte of them is eighteen thousand.
    stage.call("chatter", json!({"mib": 1})).await?;
    let dropped = stage.status().await?.counts.dropped_notices;
    require!(dropped > 10_000, "{dropped} of 18 000 counted");
    let (error, took) = stage.sin("chatter", json!({"mib": 1024})).await?;
    let why = violation(&error)?;
    stage.is_healthy().await?;
    Ok(format!("{dropped} dropped; then {why}: killed in {took:.1?}"))
}

async fn mutter(stage: &Stage) -> Observed {
    let began = now();
    stage.call("mutter", json!({"mib": 64, "lines": true})).await?;
    let took = began.elapsed();
    let lines = stage.from(LogSource::Stderr).len();
    let bound = 10_000 + 1_000 * usize::try_from(took.as_secs() + 2)?;
    require!(lines <= bound, "{lines} lines logged");
    stage.call("mutter", json!({"mib": 0, "lines": true})).await?;
    let mut events = stage.host.subscribe();
    stage.host.stop_plugin(SINNER).await?;
    let death = stage.death(&mut events).await?;
    let kept = death.stderr_tail.len();
    require!(kept <= 64 << 10, "{kept} bytes kept in the record");
    let drops = stage.said(|said| said.text.contains("dropped"));
    let told = drops.first().ok_or_else(|| broken("the drops are not told"))?;
    stage.host.start_plugin(SINNER).await?;
    Ok(format!("{took:.1?}; {lines} lines logged; `{}`", told.text))
}

async fn drone(stage: &Stage) -> Observed {
    stage.call("mutter", json!({"mib": 100, "lines": false})).await?;
    stage.is_healthy().await?;
    let lines = stage.from(LogSource::Stderr);
    let longest = lines.iter().map(|said| said.length).max().unwrap_or(0);
    require!(longest > 0 && longest <= LINE, "a line of {longest} bytes was logged");
    Ok(format!("{} pieces logged, the longest of {longest} bytes", lines.len()))
}

async fn deaf(stage: &Stage) -> Observed {
    stage.is_healthy().await?;
    stage.answers("deaf", json!({}), "not listening").await?;
    let load = Arc::new(json!({"load": "x".repeat(64 << 10)}));
    let mut waiting = JoinSet::new();
    let (mut refused, mut late, mut slowest) = (0, 0, Duration::ZERO);
    for _ in 0..400 {
        let (host, load) = (stage.host.clone(), load.clone());
        waiting.spawn(async move {
            let began = now();
            let call = host.call_with(SINNER, "echo").params(&*load);
            let outcome = call.deadline(Duration::from_secs(3)).send::<Value>().await;
            (outcome, began.elapsed())
        });
    }
    while let Some(done) = waiting.join_next().await {
        let (outcome, took) = done?;
        let error = outcome.err().ok_or_else(|| broken("the deaf one answered"))?;
        if matches!(error.kind(), CallErrorKind::Overloaded { .. }) {
            refused += 1;
            slowest = slowest.max(took);
        } else if matches!(error.kind(), CallErrorKind::DeadlineExceeded { .. }) {
            late += 1;
        } else {
            return Err(broken(error));
        }
    }
    require!(refused > 20, "{refused} refused of 400, {late} late");
    require!(slowest < Duration::from_secs(1), "a refusal took {slowest:?}");
    stage.host.restart_plugin(SINNER).await?;
    stage.is_healthy().await?;
    Ok(format!("{refused} of 400 refused, the slowest in {slowest:.0?}; {late} met their deadline"))
}
