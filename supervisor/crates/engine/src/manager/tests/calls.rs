//! Calls: results, deadlines, progress, cancellation, bounds.

use std::{sync::Mutex, time::Duration};

use serde_json::json;
use tokio::time;

use super::*;
use crate::{CallErrorKind, CancellationToken, Cause, Deadline, EventKind};

#[tokio::test]
async fn a_call_has_a_typed_result() {
    let stage = echo();
    let host = host(&stage).await;
    let sum: std::collections::BTreeMap<String, u32> =
        host.call("p", "add", &json!({"a": 1, "b": 2})).await.unwrap();
    assert_eq!(sum["b"], 2);
    let wrong = host.call::<_, String>("p", "add", &json!({"a": 1})).await.unwrap_err();
    assert!(matches!(wrong.kind(), CallErrorKind::UnexpectedResult(_)), "{wrong}");
    host.shutdown().await;
    assert_eq!(stage.alive(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_calls_at_once_each_get_their_own_answer() {
    let host = host(&echo()).await;
    let calls = (0..60_u32).map(|number| {
        let host = host.clone();
        async move {
            for round in 0..50 {
                let sent = json!({"number": number, "round": round});
                let back: Value = host.call("p", "echo", &sent).await.unwrap();
                assert_eq!(back, sent);
            }
        }
    });
    futures_util::future::join_all(calls).await;
    host.shutdown().await;
}

#[tokio::test]
async fn names_that_are_wrong_are_told_before_anything_is_sent() {
    let host = host_of(&echo(), "[methods.echo]\n", |builder| builder.on_demand()).await;
    let plugin = host.call::<_, Value>("q", "echo", &()).await.unwrap_err();
    assert_eq!(plugin.to_string(), "call to `q.echo`: there is no such plugin");
    let method = host.call::<_, Value>("p", "ecko", &()).await.unwrap_err();
    assert_eq!(method.to_string(), "call to `p.ecko`: there is no such method; it has: echo");
    let scalar = host.call::<_, Value>("p", "echo", &5).await;
    let kind = scalar.unwrap_err();
    assert!(!matches!(kind.kind(), CallErrorKind::UnknownMethod { .. }));
}

#[tokio::test(start_paused = true)]
async fn a_silent_call_ends_at_its_deadline_and_the_plugin_is_told() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        let call = fake.expect("wait").await;
        assert_eq!(call["params"]["_meta"]["deadlineMs"], 3000);
        let cancel = fake.expect("$/cancel").await;
        assert_eq!(cancel["params"]["id"], call["id"]);
        assert_eq!(cancel["params"]["reason"], "deadline");
        fake.answer(&call, json!("late")).await;
        fake.serve(without_meta).await
    });
    let host = host(&stage).await;
    let call = host.call_with("p", "wait").idle_timeout(Duration::from_secs(3));
    let error = call.send::<Value>().await.unwrap_err();
    let CallErrorKind::DeadlineExceeded { which: Deadline::Idle, .. } = error.kind() else {
        panic!("{error}")
    };
    host.call::<_, Value>("p", "after", &json!({})).await.unwrap();
    assert_eq!(host.plugin("p").await.unwrap().counts.late_responses, 1);
}

#[tokio::test(start_paused = true)]
async fn progress_resets_the_idle_deadline_and_not_the_cap() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        let call = fake.expect("slow").await;
        let token = call["params"]["_meta"]["progressToken"].clone();
        for value in 1.. {
            time::sleep(Duration::from_secs(1)).await;
            let params = json!({"token": token, "value": value, "total": 9});
            fake.send(&json!({"jsonrpc": "2.0", "method": "$/progress", "params": params})).await;
        }
        Cause::Code(0)
    });
    let host = host(&stage).await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let listener = seen.clone();
    let error = host
        .call_with("p", "slow")
        .idle_timeout(Duration::from_secs(2))
        .deadline(Duration::from_millis(5500))
        .on_progress(move |progress| listener.lock().unwrap().push(progress.fraction()))
        .send::<Value>()
        .await
        .unwrap_err();
    let CallErrorKind::DeadlineExceeded { which: Deadline::Cap, after } = error.kind() else {
        panic!("{error}")
    };
    assert!((5500..5600).contains(&after.as_millis()), "{after:?}");
    assert_eq!(seen.lock().unwrap().len(), 5);
}

/// A plugin that answers `$/cancel` with what `answer` makes of the call.
fn cancellable(answer: fn(&Value) -> Option<Value>) -> Stage {
    Stage::new(move |mut fake| async move {
        fake.greet("p", &[]).await;
        let call = fake.expect("wait").await;
        let cancel = fake.expect("$/cancel").await;
        assert_eq!(cancel["params"]["id"], call["id"]);
        if let Some(answer) = answer(&call) {
            fake.send(&answer).await;
        }
        fake.serve(without_meta).await
    })
}

async fn cancel_one(stage: &Stage) -> Result<Value, crate::CallError> {
    let host = host(stage).await;
    host.start_plugin("p").await.unwrap();
    let token = CancellationToken::new();
    let call = host.call_with("p", "wait").cancel(token.clone()).send();
    let (outcome, ()) = tokio::join!(call, async {
        time::sleep(Duration::from_millis(10)).await;
        token.cancel();
    });
    host.call::<_, Value>("p", "after", &json!({})).await.unwrap();
    outcome
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_is_answered_once_whatever_the_plugin_does() {
    let obeys = cancellable(|call| {
        let error = json!({"code": -32800, "message": "cancelled"});
        Some(json!({"jsonrpc": "2.0", "id": call["id"], "error": error}))
    });
    let error = cancel_one(&obeys).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::Cancelled), "{error}");

    let finishes = cancellable(|call| {
        Some(json!({"jsonrpc": "2.0", "id": call["id"], "result": "done all the same"}))
    });
    assert_eq!(cancel_one(&finishes).await.unwrap(), "done all the same");

    let before = time::Instant::now();
    let error = cancel_one(&cancellable(|_| None)).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::Cancelled), "{error}");
    assert!(before.elapsed() >= plugbay_protocol::limits::CANCEL_GRACE);
}

/// A plugin that does not care about cancellations and answers everything but `wait`.
fn stubborn() -> Stage {
    Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        while let Some(message) = fake.recv().await {
            if message["method"] != "wait" && message.get("id").is_some() {
                fake.answer(&message, json!(1)).await;
            }
        }
        Cause::Code(0)
    })
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_ignores_a_cancellation_is_killed_if_its_manifest_wants_that() {
    let kill = "[supervision]\nignored_cancel = \"kill\"\n";
    let cancelled = async |host: &Host| {
        let token = CancellationToken::new();
        token.cancel();
        host.call_with("p", "wait").cancel(token).send::<Value>().await.unwrap_err();
    };
    let late = async |host: &Host| {
        let call = host.call_with("p", "wait").idle_timeout(Duration::from_secs(1));
        call.send::<Value>().await.unwrap_err();
    };
    let dropped = async |host: &Host| {
        let call = host.call_with("p", "wait").send::<Value>();
        time::timeout(Duration::from_millis(5), call).await.unwrap_err();
    };
    for way in 0..3 {
        let host = host_of(&stubborn(), kill, |builder| builder).await;
        host.start_plugin("p").await.unwrap();
        let mut events = host.subscribe();
        match way {
            0 => cancelled(&host).await,
            1 => late(&host).await,
            _ => dropped(&host).await,
        }
        let death = loop {
            if let EventKind::Died(death) = events.next().await.unwrap().kind {
                break death;
            }
        };
        assert_eq!(death.cause, Cause::CancelIgnored);

        let host = host_of(&stubborn(), "", |builder| builder).await;
        host.start_plugin("p").await.unwrap();
        match way {
            0 => cancelled(&host).await,
            1 => late(&host).await,
            _ => dropped(&host).await,
        }
        time::sleep(Duration::from_secs(60)).await;
        assert!(host.deaths("p").await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_does_not_outlive_its_deadline() {
    let host = host(&stubborn()).await;
    host.start_plugin("p").await.unwrap();
    let token = CancellationToken::new();
    let before = time::Instant::now();
    let call = host.call_with("p", "wait").deadline(Duration::from_secs(1)).cancel(token.clone());
    let (outcome, ()) = tokio::join!(call.send::<Value>(), async {
        time::sleep(Duration::from_millis(500)).await;
        token.cancel();
    });
    assert!(matches!(outcome.unwrap_err().kind(), CallErrorKind::Cancelled));
    assert!(before.elapsed() < Duration::from_millis(1100));
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_stops_when_told_to_lives_on() {
    let obeys = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        while let Some(message) = fake.recv().await {
            if message["method"] == "$/cancel" {
                let error = json!({"code": -32800, "message": "cancelled"});
                let id = &message["params"]["id"];
                fake.send(&json!({"jsonrpc": "2.0", "id": id, "error": error})).await;
            }
        }
        Cause::Code(0)
    });
    let kill = "[supervision]\nignored_cancel = \"kill\"\n";
    let host = host_of(&obeys, kill, |builder| builder).await;
    for _ in 0..3 {
        let call = host.call_with("p", "wait").idle_timeout(Duration::from_secs(1));
        call.send::<Value>().await.unwrap_err();
    }
    time::sleep(Duration::from_secs(60)).await;
    assert!(host.deaths("p").await.is_empty());
}

#[tokio::test]
async fn dropping_the_future_cancels_the_call() {
    let stage = cancellable(|_| None);
    let host = host(&stage).await;
    host.start_plugin("p").await.unwrap();
    let call = host.call_with("p", "wait").send::<Value>();
    time::timeout(Duration::from_millis(50), call).await.unwrap_err();
    host.call::<_, Value>("p", "after", &json!({})).await.unwrap();
}

#[tokio::test]
async fn one_call_too_many_is_refused_at_once() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        let first = fake.expect("m").await;
        let second = fake.expect("m").await;
        fake.expect("tell").await;
        fake.answer(&second, json!(2)).await;
        fake.answer(&first, json!(1)).await;
        fake.serve(without_meta).await
    });
    let host = host_of(&stage, "[supervision]\nmax_inflight = 2\n", |builder| builder).await;
    host.start_plugin("p").await.unwrap();
    let params = json!({});
    let one = host.call::<_, u32>("p", "m", &params);
    let two = host.call::<_, u32>("p", "m", &params);
    let three = async {
        let error = host.call::<_, u32>("p", "m", &json!({})).await.unwrap_err();
        assert!(matches!(error.kind(), CallErrorKind::Overloaded { .. }), "{error}");
        assert!(error.is_retryable());
        host.notify("p", "tell", &json!({})).unwrap();
    };
    let (one, two, ()) = tokio::join!(one, two, three);
    assert_eq!((one.unwrap(), two.unwrap()), (1, 2));
    assert_eq!(host.plugin("p").await.unwrap().counts.overloaded, 1);
}

#[tokio::test]
async fn a_plugin_that_does_not_read_overloads_and_does_not_block() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        std::future::pending().await
    });
    let host = host(&stage).await;
    host.start_plugin("p").await.unwrap();
    let megabyte = json!({"x": "x".repeat(1 << 20)});
    let mut taken = 0;
    let error = loop {
        match host.notify("p", "n", &megabyte) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error.kind(), CallErrorKind::Overloaded { .. }), "{error}");
    assert!((15..=16).contains(&taken), "{taken}");
}

#[tokio::test]
async fn a_plugins_error_is_passed_on_but_not_its_claim_to_be_the_host() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        let call = fake.recv().await.unwrap();
        let data = json!({"origin": "host", "retryable": true});
        let error = json!({"code": 7, "message": "no", "data": data});
        fake.send(&json!({"jsonrpc": "2.0", "id": call["id"], "error": error})).await;
        fake.serve(without_meta).await
    });
    let error = host(&stage).await.call::<_, Value>("p", "m", &json!({})).await.unwrap_err();
    let CallErrorKind::Plugin(object) = error.kind() else { panic!("{error}") };
    assert_eq!((object.code, object.message.as_str()), (7, "no"));
    assert_eq!(object.details().unwrap().origin, plugbay_protocol::Origin::Plugin);
}
