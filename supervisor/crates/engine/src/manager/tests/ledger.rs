//! What a host writes into its store, and that it never depends on being able to.

use std::time::Duration;

use plugbay_store::{Reader, RunId};
use serde_json::json;

use super::*;
use crate::Cause;

/// Says something and crashes on the method `crash`.
fn fragile() -> Stage {
    Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        fake.expect("crash").await;
        tokio::io::AsyncWriteExt::write_all(&mut fake.stderr, b"oh no\x1b[2J\n").await.unwrap();
        Cause::Signal(libc::SIGSEGV)
    })
}

async fn crashed(store: &Path, restart: &str) -> Host {
    let manifest = format!("[supervision]\nrestart = \"{restart}\"");
    let host = host_of(&fragile(), &manifest, |builder| builder.store(store)).await;
    host.call::<_, Value>("p", "crash", &json!({})).await.unwrap_err();
    host
}

fn states(reader: &Reader) -> Vec<String> {
    let mut changes = reader.changes("p", 99).unwrap();
    changes.reverse();
    changes.into_iter().map(|(_, change)| format!("{} → {}", change.from, change.to)).collect()
}

#[tokio::test]
async fn a_death_is_written_with_what_it_interrupted_and_what_follows() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state/store.db");
    let host = crashed(&path, "never").await;
    host.shutdown().await;
    let status = host.store().unwrap();
    assert_eq!((status.lost, status.error), (0, None));
    let reader = Reader::open(&path).unwrap().unwrap();
    let (run, death) = reader.deaths("p", 99).unwrap().remove(0);
    assert_eq!((death.cause.as_str(), death.calls_lost), ("signal(SIGSEGV)", 1));
    assert_eq!(death.in_flight[0].method, "crash");
    assert_eq!((death.version.as_str(), death.instance, death.requested), ("1.0.0", 1, false));
    assert_eq!(death.stderr, "oh no\\u{1b}[2J\n");
    let next = death.next.unwrap();
    assert_eq!((next.state.as_str(), next.after), ("stopped", None));
    assert_eq!(reader.run(run).unwrap().unwrap().pid, std::process::id());
    let states = states(&reader);
    assert_eq!(states.first().unwrap(), "idle → starting");
    assert_eq!(states.last().unwrap(), "crashed → stopped");
}

#[tokio::test]
async fn what_follows_a_crash_is_told_with_its_delay() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("store.db");
    let host = crashed(&path, "on-failure").await;
    host.shutdown().await;
    let deaths = Reader::open(&path).unwrap().unwrap().deaths("p", 99).unwrap();
    let next = deaths.last().unwrap().1.next.clone().unwrap();
    assert_eq!(next.state, "backoff");
    let delay = Duration::from_millis(125)..=Duration::from_millis(250);
    assert!(delay.contains(&next.after.unwrap()), "{next:?}");
}

#[tokio::test]
async fn each_host_is_a_run_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("store.db");
    for _ in 0..2 {
        crashed(&path, "never").await.shutdown().await;
    }
    let deaths = Reader::open(&path).unwrap().unwrap().deaths("p", 99).unwrap();
    let runs: Vec<RunId> = deaths.iter().map(|(run, _)| *run).collect();
    assert!(runs.len() == 2 && runs[0] > runs[1], "{runs:?}");
}

#[tokio::test]
async fn a_store_that_cannot_be_written_fails_no_call() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("store.db");
    std::fs::write(&path, "not a store").unwrap();
    let host = host_of(&echo(), "", |builder| builder.store(&path)).await;
    assert_eq!(host.call::<_, Value>("p", "m", &json!({"a": 1})).await.unwrap(), json!({"a": 1}));
    host.shutdown().await;
    let status = host.store().unwrap();
    assert_eq!(status.written, 0);
    assert!(status.lost > 0 && status.error.unwrap().contains("is damaged"));
    assert_eq!(std::fs::read(&path).unwrap(), b"not a store", "left as it is");
}

#[tokio::test]
async fn what_was_lost_is_said_once_the_store_can_be_written() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("store.db");
    std::fs::write(&path, "").unwrap();
    let host = crashed(&path, "never").await;
    while host.store().unwrap().lost == 0 {
        tokio::task::yield_now().await;
    }
    std::fs::remove_file(&path).unwrap();
    host.start_plugin("p").await.unwrap();
    host.shutdown().await;
    let lost = host.store().unwrap().lost;
    let reader = Reader::open(&path).unwrap().unwrap();
    assert_eq!(reader.lost_since(std::time::UNIX_EPOCH).unwrap(), lost);
}

#[tokio::test]
async fn without_a_store_nothing_is_kept_and_nothing_is_said() {
    let host = host_of(&echo(), "", |builder| builder).await;
    host.call::<_, Value>("p", "m", &json!({})).await.unwrap();
    assert_eq!(host.store(), None);
    host.shutdown().await;
}

/// Answers `m` with an error that has a traceback.
fn faulty() -> Stage {
    Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        while let Some(call) = fake.recv().await {
            let data = json!({"origin": "plugin", "traceback": "line 3\u{1b}[2J\nValueError"});
            let error = json!({"code": -32000, "message": "no\n\u{202e}book", "data": data});
            fake.send(&json!({"jsonrpc": "2.0", "id": call["id"], "error": error})).await;
        }
        Cause::Code(0)
    })
}

#[tokio::test]
async fn a_call_is_written_with_its_outcome_and_no_hostile_byte() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("store.db");
    let host = host_of(&faulty(), "", |builder| builder.store(&path)).await;
    host.call::<_, Value>("p", "m\u{1b}", &json!({"secret": "s3cret"})).await.unwrap_err();
    host.shutdown().await;
    let reader = Reader::open(&path).unwrap().unwrap();
    let (_, call) = reader.calls("p", 9).unwrap().remove(0);
    assert_eq!((call.method.as_str(), call.outcome.as_str()), (r"m\u{1b}", "error"));
    assert_eq!((call.attempts, call.instance, call.generation), (1, Some(1), Some(1)));
    assert!(call.bytes_in > 20 && call.bytes_out > 20, "{call:?}");
    let error = call.error.unwrap();
    assert!(error.contains(r"no\u{a}\u{202e}book"), "{error}");
    assert_eq!(call.traceback.unwrap(), "line 3\\u{1b}[2J\nValueError");
    assert!(!std::fs::read(&path).unwrap().windows(6).any(|bytes| bytes == b"s3cret"));
}

#[tokio::test]
async fn a_flood_of_calls_is_sampled_and_failures_are_not_crowded_out() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("store.db");
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        while let Some(call) = fake.recv().await {
            if call["method"] == "fail" {
                let error = json!({"code": -32000, "message": "no"});
                fake.send(&json!({"jsonrpc": "2.0", "id": call["id"], "error": error})).await;
            } else if call.get("id").is_some() {
                fake.answer(&call, json!({})).await;
            }
        }
        Cause::Code(0)
    });
    let host = host_of(&stage, "", |builder| builder.store(&path)).await;
    for _ in 0..500 {
        host.call::<_, Value>("p", "m", &json!({})).await.unwrap();
    }
    host.call::<_, Value>("p", "fail", &json!({})).await.unwrap_err();
    host.shutdown().await;
    assert_eq!(host.store().unwrap().lost, 0);
    let calls = Reader::open(&path).unwrap().unwrap().calls("p", 999).unwrap();
    assert!((21..400).contains(&calls.len()), "{}", calls.len());
    assert_eq!(calls.iter().filter(|(_, call)| call.outcome != "ok").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_death_stands_in_its_record() {
    let host = host_of(&fragile(), "", |builder| builder).await;
    let mut events = host.subscribe();
    host.call::<_, Value>("p", "crash", &json!({})).await.unwrap_err();
    let death = loop {
        if let crate::EventKind::Died(death) = events.next().await.unwrap().kind {
            break death;
        }
    };
    let next = death.next.unwrap();
    assert_eq!(next.state, "backoff");
    assert!(next.after.unwrap() <= Duration::from_millis(250), "{next:?}");
    let then = events.next().await.unwrap().kind;
    assert!(matches!(then, crate::EventKind::State { to: "backoff", .. }), "{then:?}");
}

#[tokio::test]
async fn no_plugin_gets_at_what_the_host_keeps() {
    let root = tempfile::tempdir().unwrap();
    let root_path = root.path().canonicalize().unwrap();
    let state = root_path.join("state");
    std::fs::create_dir(&state).unwrap();
    let file = state.join("history.db");
    let denied = Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = denied.clone();
    let stage = Stage::new(move |mut fake| {
        *told.lock().unwrap() = fake.spec.deny.clone();
        async move {
            fake.greet("p", &[]).await;
            fake.serve(without_meta).await
        }
    });
    let granting = |path: &Path| {
        format!("[permissions]\nfilesystem = {{ read = [\"{}\"] }}\n", path.display())
    };
    let keep = |builder: HostBuilder| builder.store(&file).withhold(&state).on_demand();
    let host = host_of(&stage, &granting(&root_path), keep).await;
    host.start_plugin("p").await.unwrap();
    assert!(denied.lock().unwrap().contains(&state), "{denied:?}");
    host.shutdown().await;
    for inside in [&state, &file] {
        let host = host_of(&stage, &granting(inside), keep).await;
        let error = host.start_plugin("p").await.unwrap_err().to_string();
        assert!(error.contains("is the host's own and cannot be granted"), "{error}");
    }
}

/// Is up at once and fails at once.
fn hopeless() -> Stage {
    Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        Cause::Code(1)
    })
}

/// A host that puts a plugin in quarantine at once.
async fn strict(stage: &Stage, store: &Path, more: fn(HostBuilder) -> HostBuilder) -> Host {
    let tuned = |builder: HostBuilder| builder.restart_policy(|policy| policy.breaker = 1);
    host_of(stage, "", |builder| more(tuned(builder.store(store)))).await
}

#[tokio::test]
async fn a_quarantine_outlives_its_host() {
    let root = tempfile::tempdir().unwrap();
    let store = root.path().join("store.db");
    let host = strict(&hopeless(), &store, |builder| builder).await;
    while host.plugin("p").await.unwrap().state != "quarantined" {
        tokio::task::yield_now().await;
    }
    host.shutdown().await;

    let stage = echo();
    let host = strict(&stage, &store, |builder| builder).await;
    let error = host.call::<_, Value>("p", "m", &json!({})).await.unwrap_err();
    assert_eq!(error.kind().name(), "quarantined", "{error}");
    let status = host.plugin("p").await.unwrap();
    assert_eq!((status.state, status.failures, stage.launches()), ("quarantined", 1, 0));
    let left = status.starts_in.unwrap();
    assert!(left <= Duration::from_secs(300) && left > Duration::from_secs(200), "{left:?}");
    host.shutdown().await;

    // Who begins afresh, or starts it by hand, is not refused; the latter is remembered.
    let host = strict(&echo(), &store, HostBuilder::afresh).await;
    host.call::<_, Value>("p", "m", &json!({})).await.unwrap();
    host.shutdown().await;
    let host = strict(&echo(), &store, HostBuilder::on_demand).await;
    host.call::<_, Value>("p", "m", &json!({})).await.unwrap_err();
    host.start_plugin("p").await.unwrap();
    host.shutdown().await;
    let host = strict(&echo(), &store, |builder| builder).await;
    host.call::<_, Value>("p", "m", &json!({})).await.unwrap();
}
