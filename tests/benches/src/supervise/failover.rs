//! A plugin that is killed while it is in use: how long until somebody is answered again, with a
//! spare that stands by and without one. Beside it, what the kernel alone takes to let anybody know.

use std::{ffi::OsStr, path::Path, time::Duration};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plugbay::{Host, PluginStatus, lifecycle::restart::Policy};
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::{
    Effort,
    clock::Watch,
    package,
    plain::{INITIALIZE, Plain},
    report::Section,
    sample::Samples,
};

/// The plugin with a spare, and the one without.
const SPARE: &str = "spares1";
const ALONE: &str = "spares0";
/// The call, as a bare process gets it.
const ECHO: &[u8] =
    b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":{\"text\":\"x\"}}\n";

const KILLS: usize = 40;
const CALLS: usize = 4_000;
/// Calls made by themselves, with a pause before each like the one before each kill.
const LONE_CALLS: usize = 400;
/// Calls right before a kill in a rush.
const RUSH: usize = 200;
const PAUSE: Duration = Duration::from_millis(5);
const STARTS: usize = 20;
/// With a spare: so many times what a call takes at its slowest.
const TARGET_TIMES: f64 = 3.0;
/// Without one: what a start takes, and this.
const TARGET_BEYOND: Duration = Duration::from_millis(300);

/// Kills it so often, with and without a spare, and bare processes beside.
pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let place = package::place()?;
        package::spared(place.path(), 1)?;
        package::spared(place.path(), 0)?;
        let (_, program) = package::rust(place.path())?;
        let builder = Host::builder().plugins(place.path()).restart_policy(patient).on_demand();
        let host = builder.start().await?;
        for (name, count) in [(SPARE, 2), (ALONE, 1)] {
            host.start_plugin(name).await?;
            ready(&host, name, count).await?;
        }
        let taken = Taken::take(&host, &program, effort).await?;
        host.shutdown().await;
        Ok(vec![taken.section()])
    })
}

/// The times of everything that is compared.
#[derive(Debug, Default)]
struct Taken {
    /// The kernel alone: from the kill to the end of the pipe, and to the answer of another process.
    end: Samples,
    other: Samples,
    rush: Samples,
    lone: Samples,
    with: Samples,
    with_in_rush: Samples,
    without: Samples,
    starts: Samples,
}

impl Taken {
    async fn take(host: &Host, program: &Path, effort: Effort) -> Result<Self> {
        let mut taken = Self::default();
        for _ in 0..effort.rounds(CALLS) {
            taken.rush.push(call(host).await?);
        }
        // A process is killed in a quiet moment; a call in one costs more than in a rush of calls.
        for _ in 0..effort.rounds(LONE_CALLS) {
            tokio::time::sleep(PAUSE).await;
            taken.lone.push(call(host).await?);
        }
        for _ in 0..effort.rounds(KILLS) {
            taken.bare(program).await?;
            taken.with.push(killed(host, SPARE, 2).await?);
            taken.without.push(killed(host, ALONE, 1).await?);
            for _ in 0..RUSH {
                call(host).await?;
            }
            taken.with_in_rush.push(killed(host, SPARE, 2).await?);
        }
        for _ in 0..effort.rounds(STARTS) {
            host.stop_plugin(ALONE).await?;
            let watch = Watch::start();
            host.start_plugin(ALONE).await?;
            taken.starts.push(watch.elapsed());
        }
        Ok(taken)
    }

    /// What nobody can be quicker than: the same program without a sandbox, and one thread that
    /// blocks on its pipe and then asks another one.
    async fn bare(&mut self, program: &Path) -> Result<()> {
        let mut pair = [plain(program)?, plain(program)?];
        tokio::time::sleep(PAUSE).await;
        let [active, spare] = &mut pair;
        let watch = Watch::start();
        active.slay()?;
        self.end.push(watch.elapsed());
        spare.write(ECHO)?;
        spare.read()?;
        self.other.push(watch.elapsed());
        pair.into_iter().try_for_each(Plain::end)
    }

    fn section(self) -> Section {
        let times = |over: &Samples| self.with.median().div_duration_f64(over.quantile(990));
        let in_rush = self.with_in_rush.median().div_duration_f64(self.rush.quantile(990));
        let floor = self.end.median();
        let (in_quiet, over_rush) = (times(&self.lone), times(&self.rush));
        let beyond = self.without.median().saturating_sub(self.starts.median());
        let floors = floor.div_duration_f64(self.rush.quantile(990));
        let measured = [
            ("a bare process: kill -9 to the end of its pipe".to_owned(), self.end),
            ("a bare process: kill -9 to the answer of another".to_owned(), self.other),
            ("a call, one after the other".to_owned(), self.rush),
            (format!("a call, {} ms after the last", PAUSE.as_millis()), self.lone),
            ("kill -9 to the next answer, with a spare".to_owned(), self.with),
            ("the same right after many calls".to_owned(), self.with_in_rush),
            ("kill -9 to the next answer, without".to_owned(), self.without),
            ("a start".to_owned(), self.starts),
        ];
        let target = |name: &str, times: f64| {
            (name.to_owned(), format!("{times:.1}"), Some((times <= TARGET_TIMES, "3")))
        };
        let facts = [
            target(
                "with a spare, over the p99 of calls in quiet moments, as the kills are",
                in_quiet,
            ),
            target("with a spare, over the p99 of calls in a rush", over_rush),
            target("with a spare and right after a rush, over the p99 of calls in it", in_rush),
            (
                "the end of a bare process's pipe alone, over the p99 of calls in a rush"
                    .to_owned(),
                format!("{floors:.1}"),
                None,
            ),
            (
                "without, beyond what a start takes".to_owned(),
                format!("{beyond:.1?}"),
                Some((beyond <= TARGET_BEYOND, "300 ms")),
            ),
        ];
        facts.into_iter().fold(
            Section::new("an active instance is killed", &measured),
            |section, (name, value, target)| section.fact(name, value, target),
        )
    }
}

async fn call(host: &Host) -> Result<Duration> {
    let watch = Watch::start();
    echo(host, SPARE).await?;
    Ok(watch.elapsed())
}

/// A bare process that has said hello.
fn plain(program: &Path) -> Result<Plain> {
    let mut plain = Plain::start::<&OsStr>(program.as_os_str(), &[])?;
    plain.write(INITIALIZE)?;
    plain.read()?;
    Ok(plain)
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
    // Until it is known that it is gone, it counts.
    gone(host, plugin, pid).await?;
    ready(host, plugin, ready_before).await?;
    Ok(took)
}

/// Waits until nothing is left of a process.
async fn gone(host: &Host, plugin: &str, pid: u32) -> Result<()> {
    until(host, plugin, |status| status.instances.iter().all(|one| one.pid != Some(pid))).await
}

/// Waits until so many instances are ready.
async fn ready(host: &Host, plugin: &str, count: usize) -> Result<()> {
    let ready = |status: &PluginStatus| {
        status.instances.iter().filter(|one| one.state == "ready").count() >= count
    };
    until(host, plugin, ready).await
}

async fn until(host: &Host, plugin: &str, test: impl Fn(&PluginStatus) -> bool) -> Result<()> {
    let mut events = host.subscribe();
    while !test(&host.plugin(plugin).await.context("the plugin is gone")?) {
        // Not every change is an event; but something always follows soon.
        tokio::time::timeout(Duration::from_millis(10), events.next()).await.ok();
    }
    Ok(())
}
