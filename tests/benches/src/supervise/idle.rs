//! Many plugins that nobody calls: what each costs the supervisor.

use std::{path::Path, time::Duration};

use anyhow::Result;
use plugbay::Host;
use tokio::runtime::Builder;

use super::vitals::Vitals;
use crate::{Effort, clock::Watch, package, report::Section};

const PLUGINS: u64 = 1_000;
/// Memory of the supervisor per plugin beyond the first.
const TARGET_BYTES: u64 = 64 << 10;
/// Share of a core that all of them together may cost.
const TARGET_SHARE: f64 = 0.005;

/// Starts them all, waits, and tells what they cost.
pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let count = if effort.quick { 20 } else { PLUGINS };
    let watched = Duration::from_secs(if effort.quick { 1 } else { 20 });
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let first = started(1).await?;
        let before = Vitals::now()?;
        first.1.shutdown().await;
        drop(first);
        let watch = Watch::start();
        let (place, host) = started(count).await?;
        let took = watch.elapsed();
        let after = Vitals::now()?;
        tokio::time::sleep(watched).await;
        let busy = Vitals::now()?.busy_ns.saturating_sub(after.busy_ns);
        let each = after.private.saturating_sub(before.private) / (count - 1).max(1);
        let share = Duration::from_nanos(busy).div_duration_f64(watched);
        let running =
            host.plugins().await.iter().filter(|status| status.state == "running").count();
        host.shutdown().await;
        drop(place);
        let kib = f64::from(u32::try_from(each)?) / 1024.0;
        Ok(vec![
            Section::facts(format!("{count} idle plugins, {running} of them running"))
                .fact(
                    "memory of host and keeper, each beyond the first",
                    format!("{kib:.1} KiB"),
                    Some((each <= TARGET_BYTES, "64 KiB")),
                )
                .fact(
                    "processor time of host and keeper while idle",
                    format!("{:.3} % of a core", share * 100.0),
                    Some((share <= TARGET_SHARE, "0.5 %")),
                )
                .fact("start of all of them", format!("{took:.2?}"), None)
                .fact("descriptors of host and keeper", after.descriptors.to_string(), None),
        ])
    })
}

/// A host with so many plugins that have all come up, and the place they lie in.
async fn started(count: u64) -> Result<(tempfile::TempDir, Host)> {
    let place = package::place()?;
    for number in 0..count {
        package::numbered(place.path(), number)?;
    }
    let host = Host::builder().plugins(place.path() as &Path).start().await?;
    host.settled().await;
    Ok((place, host))
}
