//! Lives of processes: greetings, crashes, restarts, stops.

use std::time::Duration;

use plugbay_sandbox::Spec;
use serde_json::json;
use tokio::time;

use super::*;
use crate::{
    CallErrorKind, Cause, ControlError, EventKind,
    link::{Boxed, Launched, Launcher},
};

/// Crashes on the method `crash`, echoes everything else.
fn fragile() -> Stage {
    Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        while let Some(message) = fake.recv().await {
            match message["method"].as_str() {
                Some("crash") => return Cause::Signal(libc::SIGKILL),
                Some("exit") => break,
                Some(_) if message.get("id").is_some() => {
                    let answer = without_meta(&message);
                    fake.answer(&message, answer).await;
                }
                Some(_) | None => {}
            }
        }
        Cause::Code(0)
    })
}

#[tokio::test(start_paused = true)]
async fn a_crash_fails_the_call_at_once_and_the_next_call_succeeds() {
    let stage = fragile();
    let host = host(&stage).await;
    host.start_plugin("p").await.unwrap();
    let before = time::Instant::now();
    let error = host.call::<_, Value>("p", "crash", &json!({})).await.unwrap_err();
    assert!(before.elapsed() < Duration::from_millis(100));
    let CallErrorKind::Crashed { cause: Cause::Signal(libc::SIGKILL), .. } = error.kind() else {
        panic!("{error}")
    };
    let back: Value = host.call("p", "m", &json!({"a": 1})).await.unwrap();
    assert_eq!(back, json!({"a": 1}));
    assert!(before.elapsed() < Duration::from_millis(300));
    let status = host.plugin("p").await.unwrap();
    assert_eq!((status.state, instance(&status), status.restarts), ("running", 2, 1));
    let deaths = host.deaths("p").await;
    assert_eq!((deaths.len(), deaths[0].calls_lost), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn every_call_in_flight_fails_with_the_process() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        for _ in 0..20 {
            fake.expect("m").await;
        }
        Cause::Code(3)
    });
    let host = host(&stage).await;
    let mut events = host.subscribe();
    let params = json!({});
    let calls = (0..20).map(|_| host.call::<_, Value>("p", "m", &params));
    for outcome in futures_util::future::join_all(calls).await {
        let error = outcome.unwrap_err();
        assert!(matches!(error.kind(), CallErrorKind::Crashed { cause: Cause::Code(3), .. }));
        assert_eq!(error.to_error_object().details().unwrap().cause.unwrap(), "exit(3)");
    }
    let death = loop {
        if let EventKind::Died(death) = events.next().await.unwrap().kind {
            break death;
        }
    };
    assert_eq!((death.calls_lost, death.in_flight.len()), (20, 16));
    assert!(death.in_flight.iter().all(|call| &*call.method == "m"), "{death:?}");
}

#[tokio::test]
async fn an_answer_that_was_written_before_the_end_is_delivered() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        let call = fake.expect("m").await;
        fake.answer(&call, json!("last words")).await;
        Cause::Code(1)
    });
    let host = host(&stage).await;
    assert_eq!(host.call::<_, Value>("p", "m", &json!({})).await.unwrap(), "last words");
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_always_fails_is_quarantined_and_released_by_hand() {
    let stage = Stage::new(|mut fake| async move {
        fake.expect("initialize").await;
        if fake.number <= 8 {
            return Cause::Code(1);
        }
        Cause::Code(2)
    });
    let host = host(&stage).await;
    let call = host.call_with("p", "m").idle_timeout(Duration::from_secs(200));
    let error = call.send::<Value>().await.unwrap_err();
    let CallErrorKind::Quarantined { reason } = error.kind() else { panic!("{error}") };
    assert_eq!(reason, "exited before its hello: exited with code 1");
    assert_eq!(stage.launches(), 8);
    let error = host.start_plugin("p").await.unwrap_err();
    let ControlError::NotStarted { state: "backoff", reason, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(reason, "exited before its hello: exited with code 2");
}

#[tokio::test(start_paused = true)]
async fn mute_and_gone_before_hello_are_different_failures() {
    let mute = Stage::new(|mut fake| async move {
        fake.expect("initialize").await;
        std::future::pending().await
    });
    let host_of_mute = host(&mute).await;
    let error = host_of_mute.start_plugin("p").await.unwrap_err().to_string();
    assert!(error.ends_with("ran, but did not answer `initialize` within 10s"), "{error}");

    let gone = Stage::new(|_| async { Cause::Code(9) });
    let error = host(&gone).await.start_plugin("p").await.unwrap_err().to_string();
    assert!(error.ends_with("exited before its hello: exited with code 9"), "{error}");
}

#[tokio::test]
async fn a_hello_that_does_not_fit_the_manifest_is_final() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &["a", "c"]).await;
        std::future::pending().await
    });
    let host = host_of(&stage, "[methods.a]\n[methods.b]\n", |builder| builder).await;
    let error = host.call::<_, Value>("p", "a", &json!({})).await.unwrap_err();
    let CallErrorKind::Unavailable { state: "failed", reason } = error.kind() else {
        panic!("{error}")
    };
    assert!(reason.contains("answers method `c`, which its manifest does not declare"), "{reason}");
    assert_eq!(stage.launches(), 1);
}

#[tokio::test]
async fn a_configuration_that_does_not_fit_keeps_the_plugin_down() {
    let stage = echo();
    let manifest = "[config]\nrequired = [\"url\"]\n";
    let host = host_of(&stage, manifest, |builder| builder).await;
    let error = host.call::<_, Value>("p", "m", &json!({})).await.unwrap_err();
    let CallErrorKind::Unavailable { state: "failed", reason } = error.kind() else {
        panic!("{error}")
    };
    assert!(reason.contains("configuration") && reason.contains("url"), "{reason}");
    assert!(host.start_plugin("p").await.is_err());
    assert_eq!(stage.launches(), 0);
}

#[tokio::test]
async fn a_polite_plugin_is_stopped_without_a_signal() {
    let stage = echo();
    let host = host(&stage).await;
    host.start_plugin("p").await.unwrap();
    host.stop_plugin("p").await.unwrap();
    assert_eq!((stage.alive(), stage.signals()), (0, Vec::new()));
    let error = host.call::<_, Value>("p", "m", &json!({})).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::Unavailable { state: "stopped", .. }));
    host.start_plugin("p").await.unwrap();
    host.restart_plugin("p").await.unwrap();
    assert_eq!(instance(&host.plugin("p").await.unwrap()), 3);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_ignores_everything_is_killed_in_bounded_time() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        std::future::pending().await
    });
    let host = host(&stage).await;
    host.start_plugin("p").await.unwrap();
    let before = time::Instant::now();
    host.stop_plugin("p").await.unwrap();
    // Nothing is in flight, so nothing is drained; then its own `stop_timeout`, 5 s by default.
    assert!(before.elapsed() < Duration::from_secs(6), "{:?}", before.elapsed());
    assert_eq!(stage.signals(), [libc::SIGTERM, libc::SIGCONT]);
    assert_eq!(stage.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stop_lets_calls_in_flight_finish() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        let call = fake.expect("slow").await;
        time::sleep(Duration::from_secs(5)).await;
        fake.answer(&call, json!("finished")).await;
        fake.serve(without_meta).await
    });
    let host = host(&stage).await;
    host.start_plugin("p").await.unwrap();
    let params = json!({});
    let call = host.call::<_, Value>("p", "slow", &params);
    let stop = async {
        time::sleep(Duration::from_secs(1)).await;
        host.stop_plugin("p").await.unwrap();
    };
    let (outcome, ()) = tokio::join!(call, stop);
    assert_eq!(outcome.unwrap(), "finished");
}

#[tokio::test]
async fn a_call_wakes_a_plugin_that_is_started_on_demand() {
    let stage = echo();
    let host = host_of(&stage, "", |builder| builder.on_demand()).await;
    host.settled().await;
    assert_eq!(stage.launches(), 0);
    host.call::<_, Value>("p", "m", &json!({})).await.unwrap();
    assert_eq!(stage.launches(), 1);
}

#[tokio::test]
async fn when_the_last_hold_is_dropped_everything_is_killed() {
    let stage = echo();
    let host = host(&stage).await;
    host.start_plugin("p").await.unwrap();
    let mut events = host.subscribe();
    assert_eq!(stage.alive(), 1);
    drop(host);
    while events.next().await.is_some() {}
    assert_eq!(stage.alive(), 0);
}

#[tokio::test]
async fn calls_after_a_shutdown_fail() {
    let host = host(&echo()).await;
    host.start_plugin("p").await.unwrap();
    host.shutdown().await;
    let error = host.call::<_, Value>("p", "m", &json!({})).await.unwrap_err();
    assert!(matches!(
        error.kind(),
        CallErrorKind::ShuttingDown | CallErrorKind::Unavailable { state: "stopped", .. }
    ));
    host.shutdown().await;
}

#[tokio::test]
async fn what_happens_is_told_in_order() {
    let host =
        host_of(&fragile(), "[supervision]\nrestart = \"never\"\n", |builder| builder.on_demand())
            .await;
    let mut events = host.subscribe();
    host.call::<_, Value>("p", "crash", &json!({})).await.unwrap_err();
    let mut told = Vec::new();
    while told.last().is_none_or(|last| last != "crashed → stopped") {
        told.push(match events.next().await.unwrap().kind {
            EventKind::State { from, to } => format!("{from} → {to}"),
            EventKind::Died(death) => death.to_string(),
            EventKind::Fenced => "fenced".to_owned(),
            other @ (EventKind::DependencyLost(_)
            | EventKind::DependencyBack(_)
            | EventKind::GroupQuarantined { .. }) => format!("{other:?}"),
            EventKind::Mustered(_) => "mustered".to_owned(),
            EventKind::Swap(_) => "swap".to_owned(),
            EventKind::Denied(_) => "denied".to_owned(),
        });
    }
    let expected = [
        "idle → starting",
        "starting → running",
        "running → crashed",
        "killed by SIGKILL",
        "crashed → stopped",
    ];
    assert_eq!(told, expected);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_crashes_leave_nothing_behind() {
    let stage = fragile();
    let host = host_of(&stage, "", |builder| {
        builder.restart_policy(|policy| {
            policy.breaker = u32::MAX;
            policy.slow_breaker = u32::MAX;
        })
    })
    .await;
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    host.start_plugin("p").await.unwrap();
    let before = descriptors();
    for _ in 0..1000 {
        host.call::<_, Value>("p", "crash", &json!({})).await.unwrap_err();
        host.start_plugin("p").await.unwrap();
    }
    assert_eq!((stage.alive(), stage.launches()), (1, 1001));
    // Other tests of this process open and close pipes meanwhile.
    assert!(descriptors() < before + 200, "{} from {before}", descriptors());
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_fails_again_and_again_though_stable_is_quarantined() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        time::sleep(Duration::from_secs(61)).await;
        Cause::Signal(libc::SIGSEGV)
    });
    let host = host(&stage).await;
    let mut events = host.subscribe();
    let start = time::Instant::now();
    loop {
        let kind = events.next().await.unwrap().kind;
        if matches!(kind, EventKind::State { to: "quarantined", .. }) {
            break;
        }
    }
    assert!(start.elapsed() < Duration::from_secs(15 * 60), "{:?}", start.elapsed());
    assert_eq!(host.plugin("p").await.unwrap().failures, 1, "it was stable before each");
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_was_mended_in_quarantine_comes_back_by_itself() {
    let stage = Stage::new(|mut fake| async move {
        if fake.number <= 8 {
            return Cause::Code(1);
        }
        fake.greet("p", &[]).await;
        fake.serve(without_meta).await
    });
    let host = host(&stage).await;
    let mut events = host.subscribe();
    let mut states = Vec::new();
    while states.last() != Some(&"running") {
        if let EventKind::State { to, .. } = events.next().await.unwrap().kind {
            states.push(to);
        }
    }
    assert_eq!(states[states.len() - 3..], ["quarantined", "starting", "running"]);
    assert_eq!(host.call::<_, Value>("p", "m", &json!({"a": 1})).await.unwrap(), json!({"a": 1}));
}

#[tokio::test(start_paused = true)]
async fn exit_statuses_mean_what_the_manifest_says() {
    let stage = Stage::new(|_| async { Cause::Code(3) });
    let rules = "[supervision.exit_codes]\n3 = \"permanent\"\n";
    let host = host_of(&stage, rules, |builder| builder).await;
    let error = host.call::<_, Value>("p", "m", &json!({})).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::Unavailable { state: "failed", .. }), "{error}");
    assert_eq!(stage.launches(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_a_start_overtakes_ends_and_says_so() {
    let host = host(&fragile()).await;
    host.start_plugin("p").await.unwrap();
    let (stopped, started) = tokio::join!(host.stop_plugin("p"), host.start_plugin("p"));
    started.unwrap();
    assert!(matches!(stopped, Err(ControlError::Overtaken(_))), "{stopped:?}");
    host.stop_plugin("p").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_started_while_the_host_goes_down() {
    let host = host(&fragile()).await;
    host.start_plugin("p").await.unwrap();
    let (started, ()) = tokio::join!(
        async {
            tokio::task::yield_now().await;
            host.restart_plugin("p").await
        },
        host.shutdown()
    );
    assert!(started.is_err(), "it was started");
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_task_of_a_process_costs_that_process_only() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        std::future::pending().await
    });
    let host = host(&stage).await;
    host.start_plugin("p").await.unwrap();
    stage.stumble();
    let long = Duration::from_secs(3600);
    let call = host.call_with("p", "m").idle_timeout(long).deadline(long).send::<Value>();
    let (outcome, stopped) = tokio::join!(call, host.stop_plugin("p"));
    let error = outcome.unwrap_err();
    let CallErrorKind::Crashed { cause: Cause::Host(why), .. } = error.kind() else {
        panic!("{error}")
    };
    assert_eq!(why, "stumbled over signal 15");
    stopped.unwrap();
    let death = host.deaths("p").await.pop().unwrap();
    // The call, and the request to shut down.
    assert_eq!((&death.cause, death.calls_lost), (&Cause::Host(why.clone()), 2));
    assert_eq!((stage.alive(), host.plugin("p").await.unwrap().state), (0, "stopped"));
    host.start_plugin("p").await.unwrap();
}

/// Falls over instead of starting anything.
#[derive(Debug)]
struct Clumsy;

impl Launcher for Clumsy {
    fn launch(&self, _spec: Spec) -> Boxed<'_, Result<Launched, Cause>> {
        panic!("stumbled at the start")
    }

    fn goodbye(&self) {}
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_a_start_is_a_start_that_failed() {
    let plugins = Plugins::new().with("p", "");
    let builder = Host::builder().plugins(plugins.path()).launcher(Arc::new(Clumsy));
    let host = builder.on_demand().start().await.unwrap();
    host.start_plugin("p").await.unwrap_err();
    let death = host.deaths("p").await.pop().unwrap();
    assert_eq!((&death.cause, death.pid), (&Cause::Host("stumbled at the start".into()), None));
}
