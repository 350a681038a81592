//! Faults that are harmless once, and must be harmless many times over.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use super::{
    super::{
        clock::now,
        plan::Plan,
        stage::{Stage, crash},
        unmet::{Observed, Unmet, broken, require},
        vitals::{Vitals, mebibytes},
    },
    Row,
};

/// Kills in a row.
const KILLS: usize = 300;
/// After which the host has got used to them.
const WARM: usize = 60;
/// How much resident memory the kills after that may cost: allocator noise, not one page per kill.
const NOISE: u64 = 2 << 20;

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new(
            1,
            "kill -9 mid-call, 300 times",
            "every caller told; the host holds what it held before",
            Plan::RUST,
            |stage| Box::pin(killed_for_ever(stage)),
        )
        .within(Duration::from_secs(240)),
    ]
}

async fn killed_for_ever(stage: &Stage) -> Observed {
    let mut latencies = Vec::new();
    let mut before = None;
    for round in 1..=KILLS {
        if round == WARM {
            before = Some(held(stage).await?);
        }
        stage.is_healthy().await?;
        let sinning = async { (stage.sin("hang", json!({})).await, now()) };
        let killing = async {
            stage.hears("hanging", round).await?;
            stage.signal(Signal::SIGKILL).await
        };
        let ((sin, told), killed) = tokio::join!(sinning, killing);
        // On a busy machine the status may come after the caller was told.
        crash(&sin?.0)?;
        latencies.push(told.saturating_duration_since(killed?));
    }
    let before = before.ok_or_else(|| broken("nothing was measured"))?;
    let after = held(stage).await?;
    if let Some(more) = after.more_than(&before) {
        return Err(broken(format_args!("the host holds {more}")));
    }
    let grown = after.resident.saturating_sub(before.resident);
    require!(grown < NOISE, "the host grew by {:.1} MiB", mebibytes(grown));
    latencies.sort_unstable();
    let at = |percent: usize| latencies.get(KILLS * percent / 100).copied().unwrap_or_default();
    Ok(format!(
        "told in {:.1?} (median), {:.1?} (p99); +{:.1} MiB, nothing else more",
        at(50),
        at(99),
        mebibytes(grown)
    ))
}

/// What this host holds while the plugin runs and nothing is under way.
async fn held(stage: &Stage) -> Result<Vitals, Unmet> {
    stage.is_healthy().await?;
    Ok(Vitals::now())
}
