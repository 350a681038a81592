//! A plugin that is killed while it is in use: how long until somebody is answered again, with a
//! spare that stands by and without one.

use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plugbay::{Host, PluginStatus, lifecycle::restart::Policy};
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::{Effort, clock::Watch, package, report::Section, sample::Samples};

const KILLS: usize = 40;
const CALLS: usize = 4_000;
/// Calls made by themselves, with a pause before each like the one before each kill.
const LONE_CALLS: usize = 400;
const PAUSE: Duration = Duration::from_millis(5);
const STARTS: usize = 20;
/// With a spare: so many times what a call takes at its slowest.
const TARGET_TIMES: f64 = 3.0;
/// Without one: what a start takes, and this.
const TARGET_BEYOND: Duration = Duration::from_millis(300);

/// Kills it so often, with and without a spare.
pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let place = package::place()?;
        package::spared(place.path(), 1)?;
        package::spared(place.path(), 0)?;
        let builder = Host::builder().plugins(place.path()).restart_policy(patient);
        let host = builder.start().await?;
        let (spare, alone) = ("spares1", "spares0");
        ready(&host, spare, 2).await?;
        ready(&host, alone, 1).await?;
        let mut calls = Samples::default();
        for _ in 0..effort.rounds(CALLS) {
            let watch = Watch::start();
            echo(&host, spare).await?;
            calls.push(watch.elapsed());
        }
        // A process is killed in a quiet moment; a call in one costs more than in a rush of calls.
        let mut lone = Samples::default();
        for _ in 0..effort.rounds(LONE_CALLS) {
            tokio::time::sleep(PAUSE).await;
            let watch = Watch::start();
            echo(&host, spare).await?;
            lone.push(watch.elapsed());
        }
        let (mut with, mut without) = (Samples::default(), Samples::default());
        for _ in 0..effort.rounds(KILLS) {
            with.push(killed(&host, spare, 2).await?);
            without.push(killed(&host, alone, 1).await?);
        }
        let mut starts = Samples::default();
        for _ in 0..effort.rounds(STARTS) {
            host.stop_plugin(alone).await?;
            let watch = Watch::start();
            host.start_plugin(alone).await?;
            starts.push(watch.elapsed());
        }
        host.shutdown().await;
        let times = with.median().div_duration_f64(calls.quantile(990));
        let lone_times = with.median().div_duration_f64(lone.quantile(990));
        let beyond = without.median().saturating_sub(starts.median());
        let measured = [
            ("a call, one after the other".to_owned(), calls),
            (format!("a call, {} ms after the last", PAUSE.as_millis()), lone),
            ("kill -9 to the next answer, with a spare".to_owned(), with),
            ("kill -9 to the next answer, without".to_owned(), without),
            ("a start".to_owned(), starts),
        ];
        Ok(vec![
            Section::new("an active instance is killed", &measured)
                .fact(
                    "with a spare, over the p99 of calls in a rush",
                    format!("{times:.1}"),
                    Some((times <= TARGET_TIMES, "3")),
                )
                .fact(
                    "with a spare, over the p99 of calls in quiet moments, as the kills are",
                    format!("{lone_times:.1}"),
                    Some((lone_times <= TARGET_TIMES, "3")),
                )
                .fact(
                    "without, beyond what a start takes",
                    format!("{beyond:.1?}"),
                    Some((beyond <= TARGET_BEYOND, "300 ms")),
                ),
        ])
    })
}

/// As it comes, but without the breakers.
fn patient(policy: &mut Policy) {
    policy.breaker = u32::MAX;
    policy.slow_breaker = u32::MAX;
    policy.stable_after = Duration::ZERO;
    policy.base = policy.first;
    policy.cap = policy.first;
}

async fn echo(host: &Host, plugin: &str) -> Result<Value> {
    Ok(host.call(plugin, "echo", &json!({"text": "x"})).await?)
}

/// Kills the instance that takes the calls, and calls until somebody answers; then waits until all
/// is as before.
async fn killed(host: &Host, plugin: &str, ready_before: usize) -> Result<Duration> {
    let status = host.plugin(plugin).await.context("the plugin is gone")?;
    let active = status.instances.iter().find(|one| one.role == "active" && one.state == "ready");
    let pid = active.and_then(|one| one.pid).context("nothing is active")?;
    let watch = Watch::start();
    kill(Pid::from_raw(pid.try_into()?), Signal::SIGKILL)?;
    while echo(host, plugin).await.is_err() {}
    let took = watch.elapsed();
    ready(host, plugin, ready_before).await?;
    Ok(took)
}

/// Waits until so many instances are ready.
async fn ready(host: &Host, plugin: &str, count: usize) -> Result<()> {
    let mut events = host.subscribe();
    let up = |status: &PluginStatus| {
        status.instances.iter().filter(|one| one.state == "ready").count() >= count
    };
    while !up(&host.plugin(plugin).await.context("the plugin is gone")?) {
        // Not every change is an event; but something always follows soon.
        tokio::time::timeout(Duration::from_millis(10), events.next()).await.ok();
    }
    Ok(())
}
