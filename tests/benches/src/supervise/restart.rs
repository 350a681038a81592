//! One plugin that is killed and started again, over and over: whether anything is left behind.

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plugbay::{EventKind, Host};
use tokio::runtime::Builder;

use super::vitals::Vitals;
use crate::{Effort, clock::Watch, package, report::Section};

const RESTARTS: u32 = 10_000;
/// Restarts before the first look, so that caches and pools have their size.
const WARM: u32 = 200;
/// What the allocators of two processes may wander by.
const TARGET_BYTES: u64 = 1 << 20;

/// Kills it so often, and compares the supervisor before and after.
pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let (warm, restarts) = if effort.quick { (5, 20) } else { (WARM, RESTARTS) };
    let place = package::place()?;
    let (dir, _) = package::rust(place.path())?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let host = Host::builder().plugin(plugbay::load(&dir)?).start().await?;
        host.start_plugin("rust").await?;
        kills(&host, warm).await?;
        let before = Vitals::now()?;
        let watch = Watch::start();
        kills(&host, restarts).await?;
        let each = watch.elapsed() / restarts;
        let after = Vitals::now()?;
        host.shutdown().await;
        let grown = after.private.saturating_sub(before.private);
        let kib = |bytes: u64| format!("{} KiB", bytes / 1024);
        let flat = |now: u64, then: u64| Some((now <= then, "no more than before"));
        Ok(vec![
            Section::facts(format!("{restarts} restarts of one plugin after kill -9"))
                .fact(
                    "memory of host and keeper has grown by",
                    kib(grown),
                    Some((grown <= TARGET_BYTES, "1024 KiB")),
                )
                .fact(
                    "descriptors of host and keeper",
                    format!("{} before, {} after", before.descriptors, after.descriptors),
                    flat(after.descriptors, before.descriptors),
                )
                .fact(
                    "threads of host and keeper",
                    format!("{} before, {} after", before.threads, after.threads),
                    flat(after.threads, before.threads),
                )
                .fact("from kill to ready again", format!("{each:.2?}"), None),
        ])
    })
}

/// Kills it, starts it by hand and waits until it is ready again, so often. By hand, because a
/// host restarts nobody ten thousand times in a row, and not more than ten a second.
async fn kills(host: &Host, times: u32) -> Result<()> {
    let mut events = host.subscribe();
    for _ in 0..times {
        let status = host.plugin("rust").await.context("the plugin is gone")?;
        let pid = status.pid.context("it does not run")?;
        kill(Pid::from_raw(pid.try_into()?), Signal::SIGKILL)?;
        while !matches!(events.next().await.context("the host is gone")?.kind, EventKind::Died(_)) {
        }
        host.start_plugin("rust").await?;
    }
    Ok(())
}
