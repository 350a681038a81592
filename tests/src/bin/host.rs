//! A host of its own, for what must be measured or killed alone: `host SCENE ROOT TWIN [COUNT]`.
//!
//! - `endless` has a plugin write lines without an end and tells what that cost this process;
//! - `kills` has a plugin killed so often and tells what is left of it here;
//! - `serve` runs plugins that leave daemons, says `ready`, and waits to be killed.
//!
//! Results are lines of JSON on stdout. It serves as its own keeper, as an embedder's program does.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a fixture: a panic is a failure of the test"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plugbay::{CallError, CallErrorKind, Host, lifecycle::restart::Policy};
use plugbay_tests::vitals::{self, Vitals};
use serde_json::{Value, json};
use tokio::sync::Notify;

fn main() {
    plugbay::init();
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [scene, root, program, ..] = args.as_slice() else { panic!("three arguments") };
    let count = args.get(3).map_or(0, |count| count.to_str().unwrap().parse().unwrap());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        match scene.to_str() {
            Some("endless") => endless(root, program).await,
            Some("kills") => kills(root, program, count).await,
            Some("serve") => serve(root, program, count).await,
            _ => panic!("no such scene"),
        }
    });
}

/// Four forms of a gibibyte on one line, or what is left of it when the plugin is stopped.
async fn endless(root: &Path, program: &Path) {
    put(root, "twin", &[program.to_str().unwrap(), "twin"]);
    let host = open(root, Arc::default()).await;
    // What a first call of some size costs is no growth.
    let load = "x".repeat(1 << 20);
    host.call::<_, Value>("twin", "echo", &json!({"load": load})).await.unwrap();
    for form in ["nothing", "brackets", "answer", "many"] {
        let sin = async {
            if form == "many" {
                let mut last = None;
                for _ in 0..4 {
                    last = Some(sin(&host, "answer", 64).await);
                }
                return last.unwrap();
            }
            sin(&host, form, 1024).await
        };
        let (error, grown) = vitals::growth(sin).await;
        println!("{}", json!({"as": form, "grown": grown, "error": name(&error)}));
        let back: Value = host.call("twin", "echo", &json!([1])).await.unwrap();
        assert_eq!(back, json!([1]));
    }
    host.shutdown().await;
}

async fn sin(host: &Host, form: &str, mib: u64) -> CallError {
    let params = json!({"as": form, "mib": mib});
    host.call::<_, Value>("twin", "endless", &params).await.unwrap_err()
}

fn name(error: &CallError) -> String {
    match error.kind() {
        CallErrorKind::Crashed { cause, .. } => format!("Crashed: {cause}"),
        CallErrorKind::FrameTooLarge { what } => format!("FrameTooLarge: {what}"),
        other => panic!("{other:?}"),
    }
}

/// Kills a plugin in the middle of a call, again and again.
async fn kills(root: &Path, program: &Path, count: usize) {
    put(root, "twin", &[program.to_str().unwrap(), "twin"]);
    let hanging = Arc::<Notify>::default();
    let host = open(root, hanging.clone()).await;
    let warm = count / 10;
    let mut latencies = Vec::new();
    let mut before = None;
    for round in 0..count {
        if round == warm {
            before = Some(vitals(&host).await);
        }
        latencies.push(kill_one(&host, &hanging).await);
    }
    let (before, after) = (before.unwrap(), vitals(&host).await);
    latencies.sort();
    let millis = |at: usize| latencies[at].as_secs_f64() * 1000.0;
    println!(
        "{}",
        json!({
            "kills": count, "median": millis(count / 2), "p99": millis(count * 99 / 100),
            "resident": [before.resident, after.resident],
            "descriptors": [before.descriptors, after.descriptors],
            "threads": [before.threads, after.threads],
            "descendants": [before.descendants, after.descendants],
        })
    );
    host.shutdown().await;
}

/// What this process holds while the plugin runs and nothing is under way.
async fn vitals(host: &Host) -> Vitals {
    host.call::<_, Value>("twin", "echo", &json!([1])).await.unwrap();
    Vitals::now()
}

/// One kill; how long the caller waited for its error after it.
#[expect(clippy::disallowed_methods, reason = "real time is measured")]
async fn kill_one(host: &Host, hanging: &Notify) -> Duration {
    host.call::<_, Value>("twin", "echo", &json!([1])).await.unwrap();
    let pid = host.plugin("twin").await.unwrap().pid.unwrap();
    let call = async {
        let error = host.call::<_, Value>("twin", "hang", &json!({})).await.unwrap_err();
        (error, Instant::now())
    };
    let killing = async {
        hanging.notified().await;
        kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
        Instant::now()
    };
    let ((error, told), killed) = tokio::join!(call, killing);
    assert!(matches!(error.kind(), CallErrorKind::Crashed { .. }), "{error}");
    told.saturating_duration_since(killed)
}

/// Plugins in Python that leave daemons; the words `of=ROOT` name them all.
async fn serve(root: &Path, chaos: &Path, count: usize) {
    let token = format!("sinner-of={}", root.display());
    for number in 0..count {
        let name = format!("chaos{number}");
        put(root, &name, &["python3", "-I", "main.py", &format!("name={name}"), &token]);
        fs::copy(chaos, root.join(&name).join("main.py")).unwrap();
    }
    let host = open(root, Arc::default()).await;
    for number in 0..count {
        let plugin = format!("chaos{number}");
        let out: Value = host.call(&plugin, "daemons", &json!({"count": 3})).await.unwrap();
        assert_eq!(out, "they are out");
    }
    println!("ready");
    std::future::pending::<()>().await;
}

async fn open(root: &Path, hanging: Arc<Notify>) -> Host {
    let builder = Host::builder().plugins(root).restart_policy(at_once).on_log(move |record| {
        if record.message == "hanging" {
            hanging.notify_one();
        }
    });
    let host = builder.start().await.unwrap();
    assert!(host.skipped().is_empty(), "{:?}", host.skipped());
    host
}

fn at_once(policy: &mut Policy) {
    policy.first = Duration::ZERO;
    policy.base = Duration::ZERO;
    policy.cap = Duration::ZERO;
    policy.breaker = u32::MAX;
    policy.slow_breaker = u32::MAX;
}

fn put(root: &Path, name: &str, command: &[&str]) {
    let dir = root.join(name);
    fs::create_dir(&dir).unwrap();
    let command = serde_json::to_string(command).unwrap();
    let text = format!(
        "[plugin]\nname = \"{name}\"\nversion = \"1.0.0\"\n[runtime]\ncommand = {command}\n"
    );
    fs::write(dir.join("plugin.toml"), text).unwrap();
}
