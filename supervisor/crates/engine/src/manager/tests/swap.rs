//! One version for another while callers call: the production engine, scripted plugins.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use plugbay_manifest::load;
use serde_json::json;
use tokio::time;

use super::*;
use crate::{CallErrorKind, Cause, Package, SwapError, SwapVerdict, lifecycle::slot::SwapStrategy};

const PATIENCE: Duration = Duration::from_secs(60);

/// Answers `who` with its generation, keeps a count that it can hand over, and dies of `crash`.
/// What a generation does when it starts is told by `fate`.
fn counting(fate: impl Fn(u64) -> Fate + Send + Sync + Clone + 'static) -> Stage {
    Stage::new(move |mut fake| {
        let fate = fate.clone();
        async move {
            let initialize = fake.expect("initialize").await;
            let generation = initialize["params"]["generation"].as_u64().unwrap();
            let fate = fate(generation);
            if fate == Fate::DiesAtStart {
                return Cause::Code(7);
            }
            let methods: &[&str] =
                if fate == Fate::Forgets { &["who"] } else { &["who", "crash", "count", "hang"] };
            let hello = json!({
                "version": 1,
                "features": ["cancel", "snapshot"],
                "plugin": {"name": "p", "version": "1.0.0"},
                "methods": methods,
            });
            fake.answer(&initialize, hello).await;
            let mut count = 0;
            while let Some(message) = fake.recv().await {
                match message["method"].as_str() {
                    Some("crash") => return Cause::Signal(libc::SIGSEGV),
                    Some("exit") => break,
                    Some("hang" | "initialized") => {}
                    Some("count") => {
                        count += 1;
                        fake.answer(&message, json!(count)).await;
                    }
                    Some("plugin/snapshot") => {
                        fake.answer(&message, json!({"stateVersion": 1, "state": count})).await;
                    }
                    Some("plugin/restore") if fate == Fate::RefusesState => {
                        let id = &message["id"];
                        let error = json!({"code": -32602, "message": "too old"});
                        fake.send(&json!({"jsonrpc": "2.0", "id": id, "error": error})).await;
                    }
                    Some("plugin/restore") => {
                        count = message["params"]["state"].as_i64().unwrap();
                        fake.answer(&message, Value::Null).await;
                    }
                    Some(_) if message.get("id").is_some() => {
                        fake.answer(&message, json!(generation)).await;
                    }
                    Some(_) | None => {}
                }
            }
            Cause::Code(0)
        }
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Works,
    DiesAtStart,
    Forgets,
    RefusesState,
}

/// Every generation works.
fn well(_: u64) -> Fate {
    Fate::Works
}

/// The second generation comes to this.
fn second(fate: Fate) -> impl Fn(u64) -> Fate + Send + Sync + Clone + 'static {
    move |generation| if generation == 2 { fate } else { Fate::Works }
}

/// Version 2 of `p`, with more text in its manifest.
fn next_version(more: &str) -> (Plugins, Package) {
    let plugins = Plugins::new().with("p", more);
    let file = plugins.path().join("p/plugin.toml");
    let text = std::fs::read_to_string(&file).unwrap().replace("1.0.0", "2.0.0");
    std::fs::write(&file, text).unwrap();
    let package = load(&plugins.path().join("p")).unwrap();
    (plugins, package)
}

async fn ask(host: &Host, method: &str) -> u64 {
    host.call("p", method, &json!({})).await.unwrap()
}

#[tokio::test]
async fn calls_go_to_the_new_version_when_it_is_ready_and_none_is_lost() {
    let host = host(&counting(well)).await;
    assert_eq!(ask(&host, "who").await, 1);
    let (_kept, package) = next_version("");
    let over = Arc::new(AtomicBool::new(false));
    let tasks = tokio_util::task::TaskTracker::new();
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (host, over) = (host.clone(), over.clone());
            tasks.spawn(async move {
                let mut answers = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    answers.push(ask(&host, "who").await);
                }
                answers
            })
        })
        .collect();
    let mut swap = host.swap("p", package).send().await.unwrap();
    let status = swap.switched().await.unwrap();
    assert_eq!((status.from_version.as_str(), status.to_version.as_str()), ("1.0.0", "2.0.0"));
    assert_eq!(ask(&host, "who").await, 2);
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        let answers = caller.await.unwrap();
        assert!(answers.is_sorted(), "a caller went back to the old version: {answers:?}");
    }
    swap.accept().await.unwrap();
    let status = time::timeout(PATIENCE, swap.over()).await.unwrap().unwrap();
    assert_eq!((status.verdict, status.downtime), (Some(SwapVerdict::Kept), Duration::ZERO));
    let steps: Vec<&str> = status.steps.iter().map(|step| step.what).collect();
    assert_eq!(steps, ["begun", "switched", "kept", "over"]);
    let plugin = host.plugin("p").await.unwrap();
    assert_eq!((plugin.version.as_str(), plugin.instances.len()), ("2.0.0", 1));
    assert_eq!(plugin.generation.number(), 2);
}

#[tokio::test]
async fn a_call_that_the_old_version_has_begun_is_finished_by_it() {
    let answered = Arc::new(tokio::sync::Notify::new());
    let gate = answered.clone();
    let stage = Stage::new(move |mut fake| {
        let gate = gate.clone();
        async move {
            fake.greet("p", &[]).await;
            let mut held = None;
            loop {
                tokio::select! {
                    message = fake.recv() => match message {
                        None => return Cause::Code(0),
                        Some(message) if message["method"] == "slow" => held = Some(message),
                        Some(message) if message["method"] == "exit" => return Cause::Code(0),
                        Some(message) if message.get("id").is_some() => {
                            fake.answer(&message, json!(fake.number)).await;
                        }
                        Some(_) => {}
                    },
                    () = gate.notified(), if held.is_some() => {
                        let message = held.take().unwrap();
                        fake.answer(&message, json!(fake.number)).await;
                    }
                }
            }
        }
    });
    let host = host(&stage).await;
    host.settled().await;
    let (_kept, package) = next_version("");
    let caller = host.clone();
    let slow = tokio_util::task::TaskTracker::new()
        .spawn(async move { caller.call::<_, u64>("p", "slow", &json!({})).await });
    while host.plugin("p").await.unwrap().in_flight == 0 {
        tokio::task::yield_now().await;
    }
    let mut swap = host.swap("p", package).bake(Duration::ZERO).send().await.unwrap();
    swap.switched().await.unwrap();
    assert_eq!(host.call::<_, u64>("p", "who", &json!({})).await.unwrap(), 2);
    answered.notify_one();
    assert_eq!(slow.await.unwrap().unwrap(), 1, "the old one answers what it was asked");
    time::timeout(PATIENCE, swap.over()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_version_that_does_not_come_up_leaves_the_old_one_answering_and_says_why() {
    let host = host(&counting(second(Fate::DiesAtStart))).await;
    assert_eq!(ask(&host, "who").await, 1);
    let (_kept, package) = next_version("");
    let mut swap = host.swap("p", package).send().await.unwrap();
    let error = swap.switched().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("1.0.0 → 2.0.0: aborted (exited before its hello: exited with code 7"),
        "{error}"
    );
    assert_eq!(ask(&host, "who").await, 1);
    assert_eq!(host.plugin("p").await.unwrap().failures, 0, "that is not the old one's failure");
}

#[tokio::test]
async fn a_crash_while_it_proves_itself_brings_the_old_version_back() {
    let host = host(&counting(well)).await;
    assert_eq!(ask(&host, "who").await, 1);
    let (_kept, package) = next_version("");
    let mut swap = host.swap("p", package).send().await.unwrap();
    swap.switched().await.unwrap();
    host.call::<_, Value>("p", "crash", &json!({})).await.unwrap_err();
    let status = time::timeout(PATIENCE, swap.over()).await.unwrap().unwrap();
    assert_eq!(status.verdict, Some(SwapVerdict::RolledBack));
    assert!(status.why.contains("SIGSEGV"), "{status}");
    assert_eq!(ask(&host, "who").await, 1);
}

#[tokio::test]
async fn the_old_version_can_be_called_back_while_it_stands_by() {
    let host = host(&counting(well)).await;
    assert_eq!(ask(&host, "who").await, 1);
    let (_kept, package) = next_version("");
    let mut swap = host.swap("p", package).send().await.unwrap();
    swap.switched().await.unwrap();
    swap.roll_back().await.unwrap();
    assert_eq!(ask(&host, "who").await, 1);
    let status = time::timeout(PATIENCE, swap.over()).await.unwrap().unwrap();
    assert_eq!(status.verdict, Some(SwapVerdict::RolledBack));
}

#[tokio::test]
async fn state_is_handed_over_whole() {
    let host = host(&counting(well)).await;
    for expected in 1..=5 {
        assert_eq!(ask(&host, "count").await, expected);
    }
    for expected in 6..=9 {
        let (_kept, package) = next_version("");
        let swap = host.swap("p", package).strategy(SwapStrategy::Handoff).bake(Duration::ZERO);
        let mut swap = swap.send().await.unwrap();
        let status = swap.switched().await.unwrap();
        assert!(status.state_bytes.is_some(), "{status}");
        assert_eq!(ask(&host, "count").await, expected);
        time::timeout(PATIENCE, swap.over()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn state_that_is_refused_leaves_the_old_version_with_it() {
    let host = host(&counting(second(Fate::RefusesState))).await;
    assert_eq!(ask(&host, "count").await, 1);
    let (_kept, package) = next_version("");
    let swap = host.swap("p", package).strategy(SwapStrategy::Handoff).send().await;
    let error = swap.unwrap().switched().await.unwrap_err();
    assert!(error.to_string().contains("did not take the state: too old"), "{error}");
    assert_eq!(ask(&host, "count").await, 2);
}

#[tokio::test]
async fn calls_wait_while_an_exclusive_plugin_is_exchanged() {
    let stage = counting(well);
    let host = host(&stage).await;
    assert_eq!(ask(&host, "who").await, 1);
    let (_kept, package) = next_version("");
    let swap = host.swap("p", package).strategy(SwapStrategy::Exclusive);
    let mut swap = swap.bake(Duration::ZERO).send().await.unwrap();
    assert_eq!(ask(&host, "who").await, 2, "the call waits for the new version");
    let status = time::timeout(PATIENCE, swap.over()).await.unwrap().unwrap();
    assert!(status.downtime > Duration::ZERO, "{status:?}");
    assert_eq!((stage.launches(), stage.alive()), (2, 1));
}

#[tokio::test]
async fn notices_wait_in_order_for_whoever_answers_next() {
    let (heard, mut hear) = tokio::sync::mpsc::unbounded_channel();
    let stage = Stage::new(move |mut fake| {
        let heard = heard.clone();
        async move {
            fake.greet("p", &[]).await;
            while let Some(message) = fake.recv().await {
                match message["method"].as_str() {
                    Some("exit") => break,
                    Some("note") => {
                        heard
                            .send((fake.number, message["params"]["n"].as_u64().unwrap()))
                            .unwrap();
                    }
                    Some(_) if message.get("id").is_some() => {
                        fake.answer(&message, Value::Null).await;
                    }
                    Some(_) | None => {}
                }
            }
            Cause::Code(0)
        }
    });
    let host = host(&stage).await;
    host.settled().await;
    host.notify("p", "note", &json!({"n": 0})).unwrap();
    let (_kept, package) = next_version("");
    let swap = host.swap("p", package).strategy(SwapStrategy::Exclusive);
    let mut swap = swap.bake(Duration::ZERO).send().await.unwrap();
    for number in 1..=100 {
        host.notify("p", "note", &json!({"n": number})).unwrap();
    }
    swap.switched().await.unwrap();
    host.notify("p", "note", &json!({"n": 101})).unwrap();
    let mut all = Vec::new();
    while all.len() < 102 {
        all.push(time::timeout(PATIENCE, hear.recv()).await.unwrap().unwrap());
    }
    let expected: Vec<_> =
        (0..=101).map(|number| (if number == 0 { 1 } else { 2 }, number)).collect();
    assert_eq!(all, expected);
}

#[tokio::test]
async fn a_version_that_lacks_methods_is_refused_unless_forced() {
    let methods = "[methods.who]\n[methods.crash]\n[methods.count]\n[methods.hang]\n";
    let host = host_of(&counting(second(Fate::Forgets)), methods, |builder| builder).await;
    assert_eq!(ask(&host, "who").await, 1);
    let (_kept, package) = next_version("[methods.who]\n");
    let error = host.swap("p", package).send().await.unwrap_err();
    assert!(matches!(&error, SwapError::Incompatible { methods, .. } if methods.len() == 3));
    let (_kept, package) = next_version("[methods.who]\n");
    let mut swap = host.swap("p", package).force().send().await.unwrap();
    swap.switched().await.unwrap();
    assert_eq!(ask(&host, "who").await, 2);
    let error = host.call::<_, Value>("p", "count", &json!({})).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::UnknownMethod { .. }), "{error}");
}

#[tokio::test]
async fn a_version_whose_process_lacks_methods_is_refused_too() {
    let host = host(&counting(second(Fate::Forgets))).await;
    assert_eq!(ask(&host, "who").await, 1);
    let (_kept, package) = next_version("");
    let mut swap = host.swap("p", package).send().await.unwrap();
    let error = swap.switched().await.unwrap_err();
    assert!(error.to_string().contains("does not answer `crash`"), "{error}");
    let status = time::timeout(PATIENCE, swap.over()).await.unwrap().unwrap();
    assert!(status.why.contains("does not answer `crash`"), "{status}");
    assert_eq!(ask(&host, "who").await, 1);
}

#[tokio::test]
async fn a_version_that_asks_for_more_is_taken_on_purpose_only() {
    let host = host(&counting(well)).await;
    assert_eq!(ask(&host, "who").await, 1);
    let (_kept, package) = next_version("[permissions]\nnetwork = [443]\n");
    let error = host.swap("p", package).send().await.unwrap_err();
    assert!(matches!(&error, SwapError::Wider { asked, .. } if asked.len() == 1), "{error}");
    let (_kept, package) = next_version("[permissions]\nnetwork = [443]\n");
    let mut swap = host.swap("p", package).widen().send().await.unwrap();
    swap.switched().await.unwrap();
    let (_kept, package) = next_version("");
    host.swap("p", package).send().await.unwrap().switched().await.unwrap();
}

#[tokio::test]
async fn what_cannot_take_the_place_is_refused_before_anything_starts() {
    let stage = counting(well);
    let host = host(&stage).await;
    assert_eq!(ask(&host, "who").await, 1);
    let other = Plugins::new().with("q", "");
    let package = load(&other.path().join("q")).unwrap();
    let error = host.swap("p", package).send().await.unwrap_err();
    assert!(error.to_string().contains("it is `q`"), "{error}");
    let (_kept, package) = next_version("");
    let error = host.swap("nobody", package).send().await.unwrap_err();
    assert!(matches!(error, SwapError::UnknownPlugin(_)));
    assert_eq!(stage.launches(), 1);
}
