//! One version takes another's place while callers call: nothing fails, nothing is lost or done twice.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use plugbay::{Host, Package, SwapStrategy, SwapVerdict};
use plugbay_tests::{PATIENCE, TestEnv};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout};

use super::golden::{Sdk, host};

/// Callers at once, and how often the version is exchanged under them.
const CALLERS: u64 = 4;
const SWAPS: usize = 8;

const MANIFEST: &str = r#"
[plugin]
name = "counter"
version = "1.0.0"
type = "test"

[runtime]
command = ["python3", "main.py"]
sdk = "python"
"#;

const PROGRAM: &str = r#"
import time

from plugbay import Plugin

plugin = Plugin("counter", "1.0.0")
kept = {"count": 0}


@plugin.method
def count():
    kept["count"] += 1
    return kept["count"]


@plugin.snapshot
def snapshot():
    return kept


@plugin.restore
def restore(before):
    if FATE == "import":
        raise RuntimeError("cannot read that")
    kept.update(before)


@plugin.method
def end():
    raise SystemExit(9)


if FATE == "start":
    raise SystemExit(7)
plugin.run()
"#;

/// Writes a version of the counter that comes to this.
fn counter(env: &TestEnv, name: &str, fate: &str) -> PathBuf {
    let dir = env.root().join(name).join("counter");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("plugin.toml"), MANIFEST).unwrap();
    fs::write(dir.join("main.py"), format!("FATE = {fate:?}\n{PROGRAM}")).unwrap();
    dir
}

fn package(dir: &Path) -> Package {
    plugbay::load(dir).unwrap()
}

async fn counting(env: &TestEnv) -> Host {
    let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk-python/src");
    let builder = Host::builder()
        .keeper(env.binaries().path("plugbay-keeper"))
        .python_sdk(sdk.canonicalize().unwrap())
        .plugin(package(&counter(env, "plugins", "works")));
    let host = builder.start().await.unwrap();
    host.settled().await;
    host
}

async fn count(host: &Host) -> u64 {
    host.call("counter", "count", &json!({})).await.unwrap()
}

/// Exchanges the version again and again, until all that was before is gone.
async fn exchange(host: &Host, name: &str, strategy: SwapStrategy, package: impl Fn() -> Package) {
    for _ in 0..SWAPS {
        let swap = host.swap(name, package()).strategy(strategy).bake(Duration::ZERO);
        let mut swap = swap.send().await.unwrap();
        let status = timeout(PATIENCE, swap.over()).await.unwrap().unwrap();
        assert_eq!(status.verdict, Some(SwapVerdict::Kept), "{status}");
        assert_eq!(status.state_bytes.is_some(), strategy == SwapStrategy::Handoff, "{status:?}");
    }
}

#[test]
fn a_counter_is_exact_through_handoffs_while_it_counts() {
    let env = crate::env();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let host = counting(&env).await;
        let next = counter(&env, "next", "works");
        let stop = Arc::new(AtomicBool::new(false));
        let mut callers = JoinSet::new();
        for _ in 0..CALLERS {
            let (host, stop) = (host.clone(), stop.clone());
            callers.spawn(async move {
                let mut seen = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    seen.push(count(&host).await);
                }
                seen
            });
        }
        exchange(&host, "counter", SwapStrategy::Handoff, || package(&next)).await;
        stop.store(true, Ordering::Relaxed);
        let seen = callers.join_all().await;
        for answers in &seen {
            assert!(answers.is_sorted(), "the count went back");
        }
        let all: Vec<u64> = seen.into_iter().flatten().collect();
        let distinct: BTreeSet<u64> = all.iter().copied().collect();
        assert_eq!(distinct.len(), all.len(), "a number was given twice");
        assert_eq!(distinct.last().copied(), Some(u64::try_from(all.len()).unwrap()));
        host.shutdown().await;
    });
}

#[test]
fn no_call_fails_while_sealed_programs_are_exchanged() {
    let env = crate::env();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let host = host(&env, Sdk::Rust).await;
        let dir = env.root().join("plugins/golden");
        let stop = Arc::new(AtomicBool::new(false));
        let mut callers = JoinSet::new();
        for number in 0..CALLERS {
            let (host, stop) = (host.clone(), stop.clone());
            callers.spawn(async move {
                let mut made = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    let params = json!({"caller": number, "call": made});
                    let answer: Value = host.call("golden", "echo", &params).await.unwrap();
                    assert_eq!(answer, params);
                    let done: Value =
                        host.call("golden", "slow", &json!({"steps": 2})).await.unwrap();
                    assert_eq!(done, "done");
                    made += 1;
                }
                made
            });
        }
        exchange(&host, "golden", SwapStrategy::Overlap, || package(&dir)).await;
        stop.store(true, Ordering::Relaxed);
        assert!(callers.join_all().await.into_iter().all(|made| made > 0));
        let status = host.plugin("golden").await.unwrap();
        assert_eq!((status.counts.failed, status.restarts), (0, 0));
        assert_eq!(status.generation.number(), u64::try_from(SWAPS).unwrap() + 1);
        host.shutdown().await;
    });
}

#[test]
fn whatever_a_new_version_fails_at_the_old_one_goes_on_and_the_reason_is_told() {
    let env = crate::env();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let host = counting(&env).await;
        let mut expected = 0;
        for (fate, reason) in [("start", "code 7"), ("import", "cannot read that")] {
            let swap = host.swap("counter", package(&counter(&env, fate, fate)));
            let mut swap = swap.strategy(SwapStrategy::Handoff).send().await.unwrap();
            let error = timeout(PATIENCE, swap.switched()).await.unwrap().unwrap_err();
            assert!(error.to_string().contains(reason), "{fate}: {error}");
            timeout(PATIENCE, swap.over()).await.unwrap().unwrap();
            expected += 1;
            assert_eq!(count(&host).await, expected, "after {fate}");
        }
        let swap = host.swap("counter", package(&counter(&env, "later", "works")));
        let mut swap = swap.strategy(SwapStrategy::Handoff).send().await.unwrap();
        timeout(PATIENCE, swap.switched()).await.unwrap().unwrap();
        host.call::<_, Value>("counter", "end", &json!({})).await.unwrap_err();
        let status = timeout(PATIENCE, swap.over()).await.unwrap().unwrap();
        assert_eq!(status.verdict, Some(SwapVerdict::RolledBack), "{status}");
        // On a busy machine the tree is killed before it is known with which code the program ended.
        assert!(status.why.contains("code 9") || status.why.contains("SIGKILL"), "{status}");
        assert_eq!(count(&host).await, expected + 1, "the old one has its own state still");
        host.shutdown().await;
    });
}
