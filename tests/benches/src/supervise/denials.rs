//! A million refused calls by one plugin: what they cost the supervisor, and what its neighbour feels.

use std::time::Duration;

use anyhow::{Context as _, Result};
use plugbay::Host;
use serde_json::{Value, json};
use tokio::{runtime::Builder, task::JoinSet};

use super::{neighbour::turn, vitals::Vitals};
use crate::{Effort, clock::Watch, package, report::Section, sample::Samples};

const REFUSALS: u64 = 1_000_000;
/// Of a core.
const SHARE: f64 = 0.2;
const NEIGHBOUR: f64 = 2.0;
/// Calls in a turn; each gives one 99th percentile.
const CALLS: usize = 2_000;
/// Longer than a million refusals take.
const PATIENCE: Duration = Duration::from_secs(600);

/// One flood, and as many turns of the neighbour's calls as fit into it.
pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let place = package::place()?;
    let (healthy, _) = package::rust(place.path())?;
    let sinner = package::sinner(place.path())?;
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let refusals = if effort.quick { REFUSALS / 100 } else { REFUSALS };
    let calls = if effort.quick { 50 } else { CALLS };
    let section = runtime.block_on(async {
        let builder = Host::builder().plugin(plugbay::load(&healthy)?);
        let host = builder.plugin(plugbay::load(&sinner)?).on_log(|_| ()).start().await?;
        host.start_plugin("rust").await?;
        host.start_plugin("chaos").await?;
        let found = flood(&host, refusals, calls).await;
        host.shutdown().await;
        found
    })?;
    Ok(vec![section])
}

async fn flood(host: &Host, refusals: u64, calls: usize) -> Result<Section> {
    let mut peace = Samples::default();
    for _ in 0..9 {
        peace.push(turn(host, calls).await?);
    }
    // Alone first: what the neighbour's calls cost the supervisor is not the flood's.
    let (before, watch) = (Vitals::now()?, Watch::start());
    let refused = flooding(host.clone(), refusals / 2).await?;
    let (took, busy) = (watch.elapsed(), Vitals::now()?.busy_ns - before.busy_ns);
    let mut war = Samples::default();
    let mut rest = JoinSet::new();
    rest.spawn(flooding(host.clone(), refusals - refusals / 2));
    let refused = loop {
        match rest.try_join_next() {
            Some(more) => break refused + more.context("the flood was cut short")??,
            None => war.push(turn(host, calls).await?),
        }
    };
    anyhow::ensure!(refused == refusals, "{refused} of {refusals} calls were refused");
    let share = Duration::from_nanos(busy).div_duration_f64(took);
    let (calm, flooded) = (peace.median(), war.median());
    let ratio = flooded.div_duration_f64(calm);
    Ok(Section::facts(format!("{refusals} refused calls of one plugin"))
        .fact(
            "host and keeper together",
            format!(
                "{:.1} % of a core, {refusals} refusals at {:.0} a second",
                share * 100.0,
                rate(refusals / 2, took)
            ),
            Some((share < SHARE, "under 20 %")),
        )
        .fact(
            "a neighbour's calls meanwhile, p99",
            format!("{ratio:.2} times ({flooded:.1?} over {calm:.1?})"),
            Some((ratio <= NEIGHBOUR, "2.00")),
        )
        .note(format!(
            "medians of turns of {calls} calls each; {} turns in the flood",
            war.count()
        )))
}

/// Has the sinner make calls that its filter refuses; how many were.
async fn flooding(host: Host, count: u64) -> Result<u64> {
    let call = host.call_with("chaos", "refused").params(&json!({"count": count}));
    let refused: Value = serde_json::from_str(call.deadline(PATIENCE).send_raw().await?.get())?;
    refused.as_u64().context("it does not say how many were refused")
}

fn rate(count: u64, took: Duration) -> f64 {
    let count = Duration::from_secs(count);
    count.div_duration_f64(took)
}
