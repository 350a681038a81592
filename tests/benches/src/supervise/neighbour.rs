//! Calls to a healthy plugin while its neighbour misbehaves, against the same calls while it does not.
//!
//! The neighbour is the program of `plugbay chaos`. Each sin has turns of its own between turns of
//! peace, on a host with the restart policy that plugins have by default.

use std::{path::Path, time::Duration};

use anyhow::Result;
use plugbay::Host;
use serde_json::{Value, json};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
};

use crate::{Effort, clock::Watch, package, report::Section, sample::Samples};

/// Calls in a turn; each gives one 99th percentile.
const CALLS: usize = 2_000;
const ROUNDS: usize = 9;
/// The neighbour's 99th percentile over that of the turns of peace.
const TARGET: f64 = 2.0;
/// Calls of the sinner that are under way at once.
const SINNERS: usize = 4;
/// What a call of the sinner may take, so that the ones that never end make room for others.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the sinner is asked for, over and over.
struct Sin {
    name: &'static str,
    method: &'static str,
    params: fn() -> Value,
}

const SINS: [Sin; 11] = [
    Sin { name: "hangs in every call", method: "hang", params: || json!({}) },
    Sin { name: "dies in every call", method: "die", params: || json!({"signal": "SIGSEGV"}) },
    Sin { name: "exits in every call", method: "leave", params: || json!({"code": 1}) },
    Sin { name: "writes half an answer and dies", method: "partial", params: || json!({}) },
    Sin { name: "floods stdout with notices", method: "chatter", params: || json!({"mib": 256}) },
    Sin {
        name: "floods stderr with lines",
        method: "mutter",
        params: || json!({"mib": 64, "lines": true}),
    },
    Sin {
        name: "floods stderr without lines",
        method: "mutter",
        params: || json!({"mib": 64, "lines": false}),
    },
    Sin {
        name: "writes an endless line",
        method: "endless",
        params: || json!({"as": "answer", "mib": 256}),
    },
    Sin { name: "takes memory to its limit", method: "swallow", params: || json!({}) },
    Sin { name: "opens files to its limit", method: "files", params: || json!({}) },
    Sin { name: "keeps a processor busy", method: "spin", params: || json!({}) },
];

/// Every sin in turns with peace.
pub(crate) fn run(effort: Effort) -> Result<Vec<Section>> {
    let place = package::place()?;
    let (dir, _) = package::rust(place.path())?;
    let sinner = package::sinner(place.path())?;
    let rounds = effort.rounds(ROUNDS);
    let calls = if effort.quick { 50 } else { CALLS };
    let mut section = Section::facts("a neighbour's calls while another plugin misbehaves, p99");
    for sin in &SINS {
        let scene = Scene::set(&dir, &sinner)?;
        let (mut peace, mut war) = (Samples::default(), Samples::default());
        for _ in 0..rounds {
            peace.push(scene.turn(calls)?);
            let sinning = scene.let_loose(sin);
            war.push(scene.turn(calls)?);
            scene.runtime.block_on(async { drop(sinning) });
            scene.runtime.block_on(scene.host.restart_plugin("chaos")).ok();
        }
        let (peace, war) = (peace.median(), war.median());
        let ratio = war.div_duration_f64(peace);
        section = section.fact(
            sin.name,
            format!("{ratio:.2} times ({war:.1?} over {peace:.1?})"),
            Some((ratio <= TARGET, "2.00")),
        );
    }
    Ok(vec![section.note(format!(
        "medians of {rounds} turns of {calls} calls each; the sinner has {SINNERS} calls at once"
    ))])
}

/// A host with the two.
struct Scene {
    runtime: Runtime,
    host: Host,
}

impl Scene {
    fn set(healthy: &Path, sinner: &Path) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let builder =
            Host::builder().plugin(plugbay::load(healthy)?).plugin(plugbay::load(sinner)?);
        // What the sinner says is read and dropped, as a host with a bounded log does.
        let host = runtime.block_on(builder.on_log(|_| ()).start())?;
        runtime.block_on(host.start_plugin("rust"))?;
        runtime.block_on(host.start_plugin("chaos"))?;
        Ok(Self { runtime, host })
    }

    /// The 99th percentile of so many calls to the healthy one.
    fn turn(&self, calls: usize) -> Result<Duration> {
        let host = self.host.clone();
        self.runtime.block_on(self.runtime.spawn(async move { turn(&host, calls).await }))?
    }

    /// Has the sinner sin until the answer is dropped.
    fn let_loose(&self, sin: &Sin) -> JoinSet<()> {
        let mut sinning = JoinSet::new();
        let _entered = self.runtime.enter();
        for _ in 0..SINNERS {
            let (host, method, params) = (self.host.clone(), sin.method, (sin.params)());
            sinning.spawn(async move {
                loop {
                    let call = host.call_with("chaos", method).params(&params);
                    // It fails, one way or the other: that is what it is for.
                    if call.deadline(PATIENCE).send_raw().await.is_err() {
                        tokio::task::yield_now().await;
                    }
                }
            });
        }
        sinning
    }
}

/// The 99th percentile of so many calls to the plugin `rust`.
pub(super) async fn turn(host: &Host, calls: usize) -> Result<Duration> {
    let mut samples = Samples::default();
    let params = json!({"text": "the quick brown fox jumps over the lazy dog"});
    for _ in 0..calls {
        let watch = Watch::start();
        let answer: Value = host.call("rust", "echo", &params).await?;
        samples.push(watch.elapsed());
        std::hint::black_box(answer);
    }
    Ok(samples.quantile(990))
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.runtime.block_on(self.host.shutdown());
    }
}
