//! Several processes of one plugin, spares, starts on demand, rest, and waiting for others.

use std::time::Duration;

use serde_json::json;
use tokio::time;

use super::*;
use crate::{CallErrorKind, Cause, ControlError, EventKind, Events};

/// Answers `who` with the number of its launch, `hang` never, and dies of `crash`.
fn numbered() -> Stage {
    Stage::new(|mut fake| async move {
        let name = fake.spec.workdir.file_name().unwrap().to_str().unwrap().to_owned();
        fake.greet(&name, &[]).await;
        let number = fake.number;
        while let Some(message) = fake.recv().await {
            match message["method"].as_str() {
                Some("crash") => return Cause::Signal(libc::SIGKILL),
                Some("exit") => break,
                Some("hang") => {}
                Some(_) if message.get("id").is_some() => {
                    fake.answer(&message, json!(number)).await;
                }
                Some(_) | None => {}
            }
        }
        Cause::Code(0)
    })
}

async fn who(host: &Host) -> u64 {
    host.call("p", "who", &json!({})).await.unwrap()
}

/// Waits until a plugin is in a state.
async fn reaches(events: &mut Events, plugin: &str, state: &str) {
    while let Some(event) = events.next().await {
        if *event.plugin == *plugin
            && matches!(event.kind, EventKind::State { to, .. } if to == state)
        {
            return;
        }
    }
    panic!("`{plugin}` never was {state}");
}

/// Waits until so many processes of `p` are ready, in whichever role.
async fn ready(host: &Host, count: usize) {
    loop {
        let status = host.plugin("p").await.unwrap();
        if status.instances.iter().filter(|one| one.state == "ready").count() >= count {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_call_goes_to_the_instance_with_the_fewest_calls() {
    let host = host_of(&numbered(), "[supervision]\ninstances = 3\n", |builder| builder).await;
    ready(&host, 3).await;
    let params = json!({});
    let tasks = tokio_util::task::TaskTracker::new();
    // Two hang, each where no other does; the third is left for all the rest.
    let hanging: Vec<_> = (0..2)
        .map(|_| {
            let (host, params) = (host.clone(), params.clone());
            tasks.spawn(async move { host.call::<_, Value>("p", "hang", &params).await })
        })
        .collect();
    while host.plugin("p").await.unwrap().in_flight < 2 {
        tokio::task::yield_now().await;
    }
    let free = who(&host).await;
    for _ in 0..20 {
        assert_eq!(who(&host).await, free);
    }
    let busy: Vec<_> =
        host.plugin("p").await.unwrap().instances.iter().map(|one| one.in_flight).collect();
    assert_eq!(busy.iter().sum::<usize>(), 2);
    assert!(busy.iter().all(|calls| *calls < 2), "{busy:?}");
    hanging.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn chance_gives_each_idle_instance_its_share() {
    let host = host_of(&numbered(), "[supervision]\ninstances = 4\n", |builder| builder).await;
    ready(&host, 4).await;
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 4 {
        seen.insert(who(&host).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_spare_takes_over_at_once_and_is_replaced() {
    let stage = numbered();
    let host = host_of(&stage, "[supervision]\nspares = 1\n", |builder| builder).await;
    ready(&host, 2).await;
    assert_eq!(who(&host).await, 1);
    let before = time::Instant::now();
    host.call::<_, Value>("p", "crash", &json!({})).await.unwrap_err();
    assert_eq!(who(&host).await, 2);
    assert!(before.elapsed() < Duration::from_millis(100), "no start was waited for");
    assert_eq!(host.plugin("p").await.unwrap().state, "running");
    while stage.launches() < 3 {
        time::sleep(Duration::from_millis(1)).await;
    }
    ready(&host, 2).await;
    assert_eq!((stage.launches(), stage.alive()), (3, 2));
    let status = host.plugin("p").await.unwrap();
    let roles: Vec<_> = status.instances.iter().map(|one| one.role).collect();
    assert_eq!((roles, status.restarts), (vec!["active", "spare"], 1));
    assert_eq!(who(&host).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_spare_is_called_before_it_is_promoted() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        let number = fake.number;
        while let Some(message) = fake.recv().await {
            let hangs_up = message["method"] == "hang_up";
            let (sender, stdin) = tokio::net::unix::pipe::pipe().unwrap();
            if hangs_up {
                fake.stdin = stdin;
            }
            fake.answer(&message, json!(number)).await;
            if hangs_up {
                // It is there, says nothing, and cannot be told anything.
                sender.writable().await.unwrap();
                std::future::pending::<()>().await;
            }
        }
        Cause::Code(0)
    });
    let host = host_of(&stage, "[supervision]\nspares = 1\n", |builder| builder).await;
    ready(&host, 2).await;
    host.call::<_, u64>("p", "hang_up", &json!({})).await.unwrap();
    let before = time::Instant::now();
    assert_eq!(who(&host).await, 2);
    assert!(before.elapsed() < Duration::from_millis(400), "the verdict was waited for");
    assert_eq!(host.plugin("p").await.unwrap().instances[0].role, "active");
}

#[tokio::test(start_paused = true)]
async fn a_plugin_of_several_goes_on_with_those_it_has() {
    let host = host_of(&numbered(), "[supervision]\ninstances = 2\n", |builder| builder).await;
    ready(&host, 2).await;
    let mut events = host.subscribe();
    host.call::<_, Value>("p", "crash", &json!({})).await.unwrap_err();
    reaches(&mut events, "p", "degraded").await;
    let status = host.plugin("p").await.unwrap();
    assert!(status.reason.starts_with("1 of 2 instances take calls"), "{}", status.reason);
    who(&host).await;
    reaches(&mut events, "p", "running").await;
    ready(&host, 2).await;
}

#[tokio::test]
async fn a_lazy_plugin_is_started_by_its_first_call() {
    let stage = numbered();
    let host = host_of(&stage, "[supervision]\nstart = \"lazy\"\n", |builder| builder).await;
    host.settled().await;
    assert_eq!((stage.launches(), host.plugin("p").await.unwrap().state), (0, "idle"));
    assert_eq!(who(&host).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_nobody_calls_rests_until_it_is_called() {
    let stage = numbered();
    let manifest = "[supervision]\nidle_stop = \"5m\"\n";
    let host = host_of(&stage, manifest, |builder| builder).await;
    ready(&host, 1).await;
    let mut events = host.subscribe();
    let start = time::Instant::now();
    time::sleep(Duration::from_secs(200)).await;
    who(&host).await;
    reaches(&mut events, "p", "idle").await;
    let rested = start.elapsed();
    assert!((500..502).contains(&rested.as_secs()), "{rested:?} after the start");
    assert_eq!(stage.alive(), 0);
    assert_eq!(who(&host).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_was_looked_away_from_has_come_up_although_it_rests() {
    let manifest = "[supervision]\nidle_stop = \"1ms\"\n";
    let host = host_of(&numbered(), manifest, HostBuilder::on_demand).await;
    let mut events = host.subscribe();
    let start = host.start_plugin("p");
    let mut start = std::pin::pin!(start);
    // Asked for, and not looked at again before it rests.
    std::future::poll_fn(|cx| {
        assert!(start.as_mut().poll(cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    reaches(&mut events, "p", "running").await;
    reaches(&mut events, "p", "idle").await;
    time::timeout(Duration::from_secs(60), start).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_in_flight_keeps_a_plugin_from_its_rest() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        let call = fake.expect("m").await;
        time::sleep(Duration::from_secs(400)).await;
        fake.answer(&call, json!("late")).await;
        fake.serve(without_meta).await
    });
    let manifest = "[supervision]\nidle_stop = \"5m\"\n";
    let host = host_of(&stage, manifest, |builder| builder).await;
    let call = host.call_with("p", "m").idle_timeout(Duration::from_secs(500));
    assert_eq!(call.send::<Value>().await.unwrap(), "late");
}

/// `p`, which needs `q`.
async fn pair(stage: &Stage, more: impl FnOnce(HostBuilder) -> HostBuilder) -> Host {
    let plugins = Plugins::new().with("p", "[dependencies]\nq = \"*\"\n").with("q", "");
    let builder = Host::builder().plugins(plugins.path()).launcher(Arc::new(stage.clone()));
    more(builder).start().await.unwrap()
}

/// `p` greets at once, `q` after ten seconds.
fn slow_need() -> Stage {
    Stage::new(|mut fake| async move {
        let name = fake.spec.workdir.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "q" {
            time::sleep(Duration::from_secs(9)).await;
        }
        fake.greet(&name, &[]).await;
        fake.serve(without_meta).await
    })
}

#[tokio::test(start_paused = true)]
async fn a_plugin_waits_for_what_it_needs() {
    let stage = slow_need();
    let host = pair(&stage, |builder| builder).await;
    let status = host.plugin("p").await.unwrap();
    assert_eq!(status.state, "waiting");
    assert_eq!(&*status.reason, "it waits for `q`, which is starting");
    assert!(!host.muster().is_complete());
    host.call::<_, Value>("p", "m", &json!({})).await.unwrap();
    let muster = host.muster();
    assert_eq!((muster.of, muster.up, muster.failed), (2, 2, 0));
    let stays = host.plugin("p").await.unwrap().stays;
    let states: Vec<_> = stays.iter().map(|stay| stay.state).collect();
    assert_eq!(states, ["idle", "waiting", "starting", "running"]);
    assert_eq!(&*stays[1].why, "it waits for `q`, which is starting");
}

#[tokio::test(start_paused = true)]
async fn who_fails_at_first_and_comes_up_later_is_counted_as_up() {
    let stage = Stage::new(|mut fake| async move {
        if fake.number == 1 {
            return Cause::Code(1);
        }
        fake.greet("p", &[]).await;
        fake.serve(without_meta).await
    });
    let host = host(&stage).await;
    let mut events = host.subscribe();
    let mut told = Vec::new();
    while told.len() < 2 {
        if let EventKind::Mustered(muster) = events.next().await.unwrap().kind {
            told.push((muster.of, muster.up, muster.failed));
        }
    }
    assert_eq!(told, [(1, 0, 1), (1, 1, 0)]);
    assert!(host.muster().is_complete());
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_wait_at_once() {
    let stage = slow_need();
    let host = pair(&stage, |builder| builder).await;
    let before = time::Instant::now();
    host.stop_plugin("p").await.unwrap();
    assert!(before.elapsed() < Duration::from_millis(10));
    host.start_plugin("q").await.unwrap();
    host.settled().await;
    assert_eq!((stage.launches(), host.plugin("p").await.unwrap().state), (1, "stopped"));
}

#[tokio::test(start_paused = true)]
async fn without_hope_a_plugin_is_not_waited_for() {
    let host = pair(&slow_need(), |builder| builder).await;
    host.stop_plugin("q").await.unwrap();
    let error = host.call::<_, Value>("p", "m", &json!({})).await.unwrap_err();
    let CallErrorKind::Unavailable { state: "waiting", reason } = error.kind() else {
        panic!("{error}")
    };
    assert_eq!(reason, "it waits for `q`, which is stopped");
    let error = host.start_plugin("p").await.unwrap_err();
    assert!(matches!(error, ControlError::NotStarted { state: "waiting", .. }), "{error}");
    host.start_plugin("q").await.unwrap();
    host.start_plugin("p").await.unwrap();
}

#[tokio::test]
async fn what_a_call_would_wake_is_there() {
    let stage = numbered();
    let host = pair(&stage, |builder| builder.on_demand()).await;
    assert_eq!(host.call::<_, Value>("p", "who", &json!({})).await.unwrap(), 1);
    assert_eq!(stage.launches(), 1);
}
