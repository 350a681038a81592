//! Plugins that use up what they were given.

use std::time::Duration;

use plugbay::{Cause, Limit};
use plugbay_sandbox::Layer;
use serde_json::json;

use super::{
    super::{
        plan::Plan,
        stage::{Stage, crash},
        unmet::{Observed, require},
        vitals::{Vitals, mebibytes},
    },
    Row,
};

const MEMORY: Plan = Plan::PYTHON.with("[limits]\nmemory = \"96MiB\"");
const FILES: Plan = Plan::PYTHON.with("[limits]\nopen_files = 200");

pub(super) fn rows() -> Vec<Row> {
    [
        Row::new(
            34,
            "takes all the memory it can get",
            "its limit is met and told; only it dies",
            MEMORY,
            |stage| Box::pin(swallowed(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            35,
            "opens 100 000 files",
            "met by its own limit; the host loses no descriptor",
            FILES,
            |stage| Box::pin(opened(stage)),
        )
        .twice()
        .to_vec(),
    ]
    .concat()
}

async fn swallowed(stage: &Stage) -> Observed {
    stage.is_healthy().await?;
    let mut events = stage.host.subscribe();
    let before = Vitals::now().resident;
    let (error, took) = stage.sin("swallow", json!({})).await?;
    let grown = Vitals::now().resident.saturating_sub(before);
    require!(grown < 8 << 20, "the host grew by {:.1} MiB", mebibytes(grown));
    let told = crash(&error)?;
    let death = stage.death(&mut events).await?;
    // Where no cgroup counts, the kernel refuses memory and the program falls over that.
    let counted = !stage.layer(Layer::Rlimits).await?.contains("RLIMIT_DATA");
    let is_memory = matches!(death.cause, Cause::Limit(Limit::Memory));
    require!(is_memory || !counted, "memory is counted here, but the record says: {death}");
    let peak = death.memory_peak.or(death.usage.map(|usage| usage.max_rss)).unwrap_or(0);
    // What is mapped but not its own (libraries, the interpreter) is not counted.
    require!(peak < 160 << 20, "it had {:.0} MiB under a limit of 96", mebibytes(peak));
    require!(took < Duration::from_secs(20), "it fell after {took:?}");
    stage.is_healthy().await?;
    Ok(format!("{told}; {death}, peak {:.0} MiB of 96, in {took:.1?}", mebibytes(peak)))
}

async fn opened(stage: &Stage) -> Observed {
    stage.is_healthy().await?;
    let pid = stage.pid().await?;
    let before = Vitals::now().descriptors;
    let count = stage.call("files", json!({})).await?.as_u64().unwrap_or(u64::MAX);
    require!(count > 100 && count < 200, "{count} files opened under a limit of 200");
    let after = Vitals::now().descriptors;
    require!(after <= before, "the host has {after} descriptors after {before}");
    stage.is_healthy().await?;
    require!(stage.pid().await? == pid, "it was replaced");
    Ok(format!("refused after {count} of 200, same process answers"))
}
