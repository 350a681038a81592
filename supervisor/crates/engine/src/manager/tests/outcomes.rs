//! What comes of calls when things go wrong, and how it is told: repeated or not, refused early,
//! waited for, reported, kept.

use std::time::Duration;

use serde_json::json;
use tokio::time;

use super::*;
use crate::{CallErrorKind, CancellationToken, Cause, Deadline};

/// Dies of every call of the first `deaths` processes, and echoes after.
fn mortal(deaths: u64) -> Stage {
    Stage::new(move |mut fake| async move {
        fake.greet("p", &[]).await;
        if fake.number <= deaths {
            fake.recv().await;
            return Cause::Signal(libc::SIGKILL);
        }
        fake.serve(without_meta).await
    })
}

const IDEMPOTENT: &str = "[methods.get]\nidempotent = true\n[methods.put]\n";

/// A plugin of these methods that runs this script after its greeting.
fn declared(deaths: u64) -> Stage {
    Stage::new(move |mut fake| async move {
        fake.greet("p", &["get", "put"]).await;
        if fake.number <= deaths {
            fake.recv().await;
            return Cause::Signal(libc::SIGKILL);
        }
        fake.serve(without_meta).await
    })
}

fn may_have_run(error: &crate::CallError) -> bool {
    matches!(error.kind(), CallErrorKind::Crashed { may_have_run: true, .. })
}

#[tokio::test(start_paused = true)]
async fn a_lost_call_of_an_idempotent_method_is_sent_once_more() {
    let host = host_of(&declared(1), IDEMPOTENT, |builder| builder).await;
    let report = host.call_with("p", "get").params(&json!({"a": 1})).report().await;
    assert_eq!(report.output.unwrap().get(), r#"{"a":1}"#);
    assert_eq!((report.attempts, report.instance.unwrap().number()), (2, 2));

    let host = host_of(&declared(2), IDEMPOTENT, |builder| builder).await;
    let report = host.call_with("p", "get").report().await;
    assert!(may_have_run(&report.error.unwrap()));
    assert_eq!((report.attempts, report.instance.unwrap().number()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn any_other_lost_call_is_not_repeated_unless_its_caller_gives_it_a_key() {
    let host = host_of(&declared(2), IDEMPOTENT, |builder| builder).await;
    let error = host.call_with("p", "put").send::<Value>().await.unwrap_err();
    assert!(may_have_run(&error), "{error}");
    assert!(!error.is_retryable());
    let keyed = host.call_with("p", "put").params(&json!({})).idempotency_key("7");
    assert_eq!(keyed.send::<Value>().await.unwrap(), json!({}));
}

#[tokio::test(start_paused = true)]
async fn a_lost_call_that_finds_nobody_to_repeat_it_may_have_run() {
    let more = format!("[supervision]\nrestart = \"never\"\n{IDEMPOTENT}");
    let host = host_of(&declared(1), &more, |builder| builder).await;
    let error = host.call_with("p", "get").send::<Value>().await.unwrap_err();
    assert!(may_have_run(&error), "{error}");

    let host = host_of(&declared(1), IDEMPOTENT, |builder| builder).await;
    let before = time::Instant::now();
    let call = host.call_with("p", "get").deadline(Duration::from_millis(100));
    let error = call.send::<Value>().await.unwrap_err();
    assert!(may_have_run(&error), "{error}");
    assert!(before.elapsed() < Duration::from_millis(150));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_is_not_repeated() {
    let host = host_of(&declared(1), IDEMPOTENT, |builder| builder).await;
    let token = CancellationToken::new();
    host.start_plugin("p").await.unwrap();
    let call = host.call_with("p", "get").cancel(token.clone()).report();
    let (report, ()) = tokio::join!(call, async { token.cancel() });
    assert_eq!(report.attempts, 1);
    assert!(report.error.is_some());
}

/// Leaves calls of `mute` unanswered while it is told to be, and refuses those of `wrong`.
fn moody() -> Stage {
    Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        let mut mute = true;
        while let Some(message) = fake.recv().await {
            match message["method"].as_str() {
                Some("mute") if mute => {}
                Some("recover") => mute = false,
                Some("wrong") => {
                    let error = json!({"code": 4, "message": "no such word"});
                    let id = &message["id"];
                    fake.send(&json!({"jsonrpc": "2.0", "id": id, "error": error})).await;
                }
                Some(_) if message.get("id").is_some() => fake.answer(&message, json!(1)).await,
                Some(_) | None => {}
            }
        }
        Cause::Code(0)
    })
}

async fn mute(host: &Host) -> Result<Value, crate::CallError> {
    host.call_with("p", "mute").idle_timeout(Duration::from_secs(1)).send().await
}

#[tokio::test(start_paused = true)]
async fn a_method_that_keeps_failing_is_refused_until_its_trials_succeed() {
    let host = host(&moody()).await;
    host.start_plugin("p").await.unwrap();
    let calls = (0..20).map(|_| mute(&host));
    for outcome in futures_util::future::join_all(calls).await {
        assert!(matches!(
            outcome.unwrap_err().kind(),
            CallErrorKind::DeadlineExceeded { which: Deadline::Idle, .. }
        ));
    }
    let before = time::Instant::now();
    let error = mute(&host).await.unwrap_err();
    assert_eq!(before.elapsed(), Duration::ZERO);
    let CallErrorKind::CircuitOpen { retry_after } = error.kind() else { panic!("{error}") };
    assert!(error.is_retryable());
    let told = error.to_error_object().details().unwrap().retry_after_ms;
    assert_eq!(told, u64::try_from(retry_after.as_millis()).ok());
    assert_eq!(host.plugin("p").await.unwrap().open_circuits, ["mute".into()]);
    // The other methods are as they were.
    host.call::<_, Value>("p", "other", &json!({})).await.unwrap();

    time::sleep(*retry_after).await;
    assert!(matches!(
        mute(&host).await.unwrap_err().kind(),
        CallErrorKind::DeadlineExceeded { .. }
    ));
    let again = mute(&host).await.unwrap_err();
    assert!(matches!(again.kind(), CallErrorKind::CircuitOpen { .. }), "{again}");

    host.notify("p", "recover", &json!({})).unwrap();
    time::sleep(*retry_after).await;
    for _ in 0..30 {
        mute(&host).await.unwrap();
    }
    assert!(host.plugin("p").await.unwrap().open_circuits.is_empty());
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_methods_own_and_deadlines_in_a_hurry_do_not_count() {
    let host = host(&moody()).await;
    for _ in 0..40 {
        let error = host.call::<_, Value>("p", "wrong", &json!({})).await.unwrap_err();
        assert!(matches!(error.kind(), CallErrorKind::Plugin(_)), "{error}");
        let call = host.call_with("p", "mute").deadline(Duration::from_millis(100));
        let error = call.send::<Value>().await.unwrap_err();
        assert!(matches!(error.kind(), CallErrorKind::DeadlineExceeded { .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_manifest_can_do_without_the_breaker() {
    let host = host_of(&moody(), "[supervision]\ncircuit = false\n", |builder| builder).await;
    for _ in 0..40 {
        let error = mute(&host).await.unwrap_err();
        assert!(matches!(error.kind(), CallErrorKind::DeadlineExceeded { .. }), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_death_is_no_failure_of_the_method_however_many_calls_it_takes_with_it() {
    let host = host(&mortal(1)).await;
    host.start_plugin("p").await.unwrap();
    let params = json!({});
    let calls = (0..30).map(|_| host.call::<_, Value>("p", "m", &params));
    for outcome in futures_util::future::join_all(calls).await {
        assert!(may_have_run(&outcome.unwrap_err()));
    }
    host.call::<_, Value>("p", "m", &json!({})).await.unwrap();
}

#[tokio::test]
async fn a_result_that_its_manifest_does_not_allow_is_an_error() {
    let more = "[methods.n]\n[methods.n.result]\ntype = \"integer\"\n";
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &["n"]).await;
        fake.serve(|call| call["params"]["n"].clone()).await
    });
    let host = host_of(&stage, more, |builder| builder).await;
    assert_eq!(host.call::<_, u32>("p", "n", &json!({"n": 3})).await.unwrap(), 3);
    let error = host.call::<_, Value>("p", "n", &json!({"n": "three"})).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::InvalidResult(_)), "{error}");
    assert_eq!(error.code(), -31012);
}

/// Takes its time to start.
fn slow(start: Duration) -> Stage {
    Stage::new(move |mut fake| async move {
        time::sleep(start).await;
        fake.greet("p", &[]).await;
        fake.serve(without_meta).await
    })
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_start_does_not_count_as_the_calls_silence() {
    let host = host_of(&slow(Duration::from_secs(9)), "", |builder| builder.on_demand()).await;
    let call = host.call_with("p", "m").idle_timeout(Duration::from_secs(1));
    let report = call.report().await;
    assert!(report.error.is_none(), "{report:?}");
    assert!((8_900..9_100).contains(&report.waited.as_millis()), "{report:?}");

    let host = host_of(&slow(Duration::from_secs(9)), "", |builder| builder.on_demand()).await;
    let call = host.call_with("p", "m").deadline(Duration::from_secs(1));
    let error = call.send::<Value>().await.unwrap_err();
    let CallErrorKind::DeadlineExceeded { which: Deadline::Start, .. } = error.kind() else {
        panic!("{error}")
    };
}

#[tokio::test(start_paused = true)]
async fn as_many_wait_for_a_start_as_will_be_taken_and_no_more() {
    let more = "[supervision]\nmax_inflight = 3\n";
    let host = host_of(&slow(Duration::from_secs(1)), more, |builder| builder.on_demand()).await;
    let params = json!({});
    let calls = (0..5).map(|_| host.call::<_, Value>("p", "m", &params));
    let outcomes = futures_util::future::join_all(calls).await;
    let (taken, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
    assert_eq!((taken.len(), refused.len()), (3, 2));
    for error in refused {
        let error = error.unwrap_err();
        assert!(matches!(error.kind(), CallErrorKind::Overloaded { .. }), "{error}");
    }
    assert_eq!(host.plugin("p").await.unwrap().counts.overloaded, 2);
}

#[tokio::test(start_paused = true)]
async fn a_report_tells_all_of_a_call_and_the_history_keeps_it() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        let call = fake.expect("m").await;
        let token = &call["params"]["_meta"]["progressToken"];
        for value in 1..=3 {
            let params = json!({"token": token, "value": value});
            fake.send(&json!({"jsonrpc": "2.0", "method": "$/progress", "params": params})).await;
        }
        time::sleep(Duration::from_secs(2)).await;
        fake.answer(&call, json!("done")).await;
        let call = fake.expect("m").await;
        let data = json!({"type": "KeyError", "traceback": "Traceback:\n\u{1b}[31m line 3\n"});
        let error = json!({"code": -32000, "message": "KeyError: 'x'", "data": data});
        fake.send(&json!({"jsonrpc": "2.0", "id": call["id"], "error": error})).await;
        fake.expect("m").await;
        fake.serve(without_meta).await
    });
    let host = host(&stage).await;
    host.start_plugin("p").await.unwrap();
    let good = host.call_with("p", "m").params(&json!({"a": 1})).traceparent("00-1").report().await;
    assert_eq!((good.outcome(), good.attempts, good.progress), ("ok", 1, 3));
    assert_eq!((&*good.plugin, &*good.method, good.bytes_out), ("p", "m", 6));
    assert_eq!((good.waited, good.duration.as_secs()), (Duration::ZERO, 2));
    assert!((60..300).contains(&good.bytes_in), "{good:?}");
    assert_eq!(good.metadata.traceparent.as_deref(), Some("00-1"));
    assert_eq!(good.output.unwrap().get(), "\"done\"");

    let bad = host.call_with("p", "m").report().await;
    assert_eq!((bad.outcome(), bad.output.is_none()), ("error", true));
    assert_eq!(bad.traceback().unwrap(), "Traceback:\n\\u{1b}[31m line 3\n");

    let dropped = host.call_with("p", "m").idempotency_key("k").report();
    time::timeout(Duration::from_millis(5), dropped).await.unwrap_err();
    let unknown = host.call_with("q", "m").report().await;
    assert_eq!((unknown.outcome(), &*unknown.plugin), ("unknown-plugin", "q"));
    assert!(host.history("q").is_empty());

    let history = host.history("p");
    let outcomes: Vec<_> = history.iter().map(crate::CallReport::outcome).collect();
    assert_eq!(outcomes, ["ok", "error", "cancelled"]);
    assert!(history.iter().all(|report| report.output.is_none()));
    assert_eq!(history[0].bytes_in, good.bytes_in);
    assert_eq!(history[1].traceback(), bad.traceback());
    assert_eq!(history[2].metadata.idempotency_key.as_deref(), Some("k"));
    assert!(history[0].started <= history[1].started);
}

#[tokio::test]
async fn processor_time_is_told_of_a_call_that_was_alone() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        let alone = fake.expect("m").await;
        fake.answer(&alone, json!(1)).await;
        let (one, two) = (fake.expect("m").await, fake.expect("m").await);
        fake.answer(&one, json!(1)).await;
        fake.answer(&two, json!(1)).await;
        fake.serve(without_meta).await
    });
    let host = host(&stage).await;
    let alone = host.call_with("p", "m").report().await;
    assert_eq!(alone.cpu, Some(Duration::from_millis(1)));
    let (one, two) =
        tokio::join!(host.call_with("p", "m").report(), host.call_with("p", "m").report());
    assert_eq!((one.cpu, two.cpu), (None, None));
    assert_eq!(host.history("p")[0].cpu, alone.cpu);
}

#[tokio::test]
async fn the_history_keeps_no_more_of_an_error_than_its_end() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        for _ in 0..40 {
            let call = fake.expect("m").await;
            let trace = format!("{}last line", "x".repeat(200 << 10));
            let data = json!({"traceback": trace, "more": "y".repeat(200 << 10)});
            let error = json!({"code": 1, "message": "é".repeat(30 << 10), "data": data});
            fake.send(&json!({"jsonrpc": "2.0", "id": call["id"], "error": error})).await;
        }
        fake.serve(without_meta).await
    });
    let host = host(&stage).await;
    for _ in 0..40 {
        let report = host.call_with("p", "m").report().await;
        assert!(report.traceback().unwrap().len() > 200 << 10);
        assert!(report.bytes_out > 400 << 10);
    }
    let history = host.history("p");
    assert!((4..16).contains(&history.len()), "{}", history.len());
    for report in history {
        let (error, trace) = (report.error.as_ref().unwrap(), report.traceback().unwrap());
        assert!(trace.ends_with("last line") && trace.len() <= 16 << 10);
        assert!(error.to_string().len() < 17 << 10);
    }
}
