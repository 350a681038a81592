//! What plugins are to each other: losses with grace, groups, and what a host cannot do without.

use std::time::Duration;

use serde_json::json;
use tokio::time;

use super::*;
use crate::{
    Cause, ControlError, EventKind, Events, Group, StartError, lifecycle::group::Strategy,
};

/// Plugins by the names of their directories; `crash` crashes one, `pid` tells which run it is.
fn company() -> Stage {
    Stage::new(|mut fake| async move {
        let name = fake.spec.workdir.file_name().unwrap().to_string_lossy().into_owned();
        fake.greet(&name, &[]).await;
        let run = fake.number;
        while let Some(message) = fake.recv().await {
            match message["method"].as_str() {
                Some("crash") => return Cause::Signal(libc::SIGKILL),
                Some("exit") => break,
                Some(_) if message.get("id").is_some() => fake.answer(&message, json!(run)).await,
                Some(_) | None => {}
            }
        }
        Cause::Code(0)
    })
}

/// A host of `db` and of `app`, which needs it.
async fn pair(stage: &Stage, on_loss: &str) -> Host {
    let needs = format!(
        "[dependencies]\ndb = {{ version = \"1\", on_loss = \"{on_loss}\", grace = \"5s\" }}\n"
    );
    let plugins = Plugins::new().with("db", "").with("app", &needs);
    let host = Host::builder().plugins(plugins.path()).launcher(Arc::new(stage.clone()));
    let host = host.start().await.unwrap();
    host.start_plugin("app").await.unwrap();
    host
}

async fn run(host: &Host, plugin: &str) -> u64 {
    host.call(plugin, "run", &json!({})).await.unwrap()
}

async fn crash(host: &Host, plugin: &str) {
    host.call::<_, Value>(plugin, "crash", &json!({})).await.unwrap_err();
}

/// Waits for what is told of a plugin, states and bonds only.
async fn told(events: &mut Events, plugin: &str, wanted: &str) {
    loop {
        let event = events.next().await.unwrap();
        let what = match event.kind {
            EventKind::State { to, .. } => to.to_owned(),
            EventKind::DependencyLost(need) => format!("lost {need}"),
            EventKind::DependencyBack(need) => format!("got {need} back"),
            EventKind::GroupQuarantined { group, length } => format!("{group} {length:?}"),
            EventKind::Died(_)
            | EventKind::Denied(_)
            | EventKind::Fenced
            | EventKind::Swap(_)
            | EventKind::Mustered(_) => continue,
        };
        if &*event.plugin == plugin && what == wanted {
            return;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_crashes_and_is_back_at_once_disturbs_nobody() {
    for on_loss in ["notify", "pause", "stop", "restart"] {
        let stage = company();
        let host = pair(&stage, on_loss).await;
        let before = run(&host, "app").await;
        crash(&host, "db").await;
        host.start_plugin("db").await.unwrap();
        time::sleep(Duration::from_secs(30)).await;
        assert_eq!(run(&host, "app").await, before, "{on_loss}");
        assert_eq!(stage.launches(), 3, "{on_loss}");
    }
}

#[tokio::test(start_paused = true)]
async fn past_the_grace_each_rule_does_what_it_says() {
    for (on_loss, during, again) in
        [("notify", "running", false), ("pause", "degraded", false), ("restart", "running", true)]
    {
        let host = pair(&company(), on_loss).await;
        let before = run(&host, "app").await;
        let mut events = host.subscribe();
        let start = time::Instant::now();
        host.stop_plugin("db").await.unwrap();
        told(&mut events, "app", "lost db").await;
        assert_eq!(start.elapsed().as_secs(), 5, "{on_loss}");
        let status = host.plugin("app").await.unwrap();
        assert_eq!(status.state, during, "{on_loss}: {}", status.reason);
        host.start_plugin("db").await.unwrap();
        told(&mut events, "app", "got db back").await;
        if again {
            told(&mut events, "app", "running").await;
        }
        assert_eq!(run(&host, "app").await != before, again, "{on_loss}");
        assert_eq!(host.plugin("app").await.unwrap().state, "running");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_pauses_makes_its_callers_wait_and_says_for_whom() {
    let host = pair(&company(), "pause").await;
    let mut events = host.subscribe();
    host.stop_plugin("db").await.unwrap();
    told(&mut events, "app", "degraded").await;
    let status = host.plugin("app").await.unwrap();
    assert!(status.reason.contains("it is paused without `db`"), "{}", status.reason);
    let call = host.call_with("app", "run").deadline(Duration::from_secs(3));
    call.send::<u64>().await.unwrap_err();
    let params = json!({});
    let call = host.call::<_, u64>("app", "run", &params);
    let (answered, started) = tokio::join!(call, host.start_plugin("db"));
    started.unwrap();
    answered.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_that_stops_waits_for_the_other_and_comes_back_with_it() {
    let stage = company();
    let host = pair(&stage, "stop").await;
    let mut events = host.subscribe();
    host.stop_plugin("db").await.unwrap();
    told(&mut events, "app", "waiting").await;
    assert_eq!(stage.alive(), 0);
    host.start_plugin("db").await.unwrap();
    told(&mut events, "app", "running").await;
    assert_eq!(host.plugin("app").await.unwrap().failures, 0);
}

async fn group_of(stage: &Stage, strategy: Strategy) -> Host {
    let plugins = Plugins::new().with("a", "").with("b", "").with("c", "").with("d", "");
    let host = Host::builder().plugins(plugins.path()).launcher(Arc::new(stage.clone()));
    let host = host.group(Group::new("trio", strategy, ["c", "b", "a"])).start().await.unwrap();
    for name in ["a", "b", "c", "d"] {
        host.start_plugin(name).await.unwrap();
    }
    host
}

async fn runs(host: &Host) -> [u64; 4] {
    let mut runs = [0; 4];
    for (place, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        runs[place] = run(host, name).await;
    }
    runs
}

#[tokio::test(start_paused = true)]
async fn the_strategy_of_a_group_says_who_is_started_anew() {
    for (strategy, fall) in [
        (Strategy::OneForOne, [false, true, false, false]),
        (Strategy::RestForOne, [true, true, false, false]),
        (Strategy::OneForAll, [true, true, true, false]),
    ] {
        let host = group_of(&company(), strategy).await;
        let before = runs(&host).await;
        crash(&host, "b").await;
        time::sleep(Duration::from_secs(5)).await;
        let after = runs(&host).await;
        for place in 0..4 {
            assert_eq!(before[place] != after[place], fall[place], "{strategy:?} {place}");
        }
        if fall[0] {
            assert!(after[0] > after[1], "{strategy:?}: in their order");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_falls_too_often_is_left_alone_tried_again_and_the_others_go_on() {
    let host = group_of(&company(), Strategy::OneForAll).await;
    let other = run(&host, "d").await;
    let mut events = host.subscribe();
    let start = time::Instant::now();
    for _ in 0..6 {
        crash(&host, "b").await;
    }
    told(&mut events, "b", "trio 300s").await;
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    told(&mut events, "a", "quarantined").await;
    let states = host.plugins().await;
    let states: Vec<_> = states.iter().map(|status| (&*status.name, status.state)).collect();
    let left = "quarantined";
    assert_eq!(states, [("a", left), ("b", left), ("c", left), ("d", "running")]);
    assert_eq!(run(&host, "d").await, other);
    for name in ["c", "b", "a"] {
        told(&mut events, name, "running").await;
    }
    assert!(start.elapsed() < Duration::from_secs(370), "{:?}", start.elapsed());
    runs(&host).await;
}

#[tokio::test(start_paused = true)]
async fn an_operator_ends_the_quarantine_of_a_member() {
    let host = group_of(&company(), Strategy::OneForOne).await;
    let mut events = host.subscribe();
    for _ in 0..6 {
        crash(&host, "b").await;
    }
    told(&mut events, "b", "quarantined").await;
    host.start_plugin("b").await.unwrap();
    crash(&host, "b").await;
    run(&host, "b").await;
}

#[tokio::test]
async fn groups_that_cannot_be_are_refused_by_name() {
    let needs = "[dependencies]\na = \"1\"\n";
    let start = |groups: Vec<Group>| async {
        let plugins = Plugins::new().with("a", "").with("b", needs);
        let builder = Host::builder().plugins(plugins.path()).launcher(Arc::new(company()));
        groups.into_iter().fold(builder, crate::HostBuilder::group).start().await.unwrap_err()
    };
    let group = |members: &[&str]| Group::new("g", Strategy::RestForOne, members.iter().copied());
    for (groups, what) in [
        (vec![group(&["a", "x"])], "there is no plugin `x`"),
        (vec![group(&["a"]), group(&["b", "a"])], "`a` is in a group already"),
        (vec![group(&["b", "a"])], "`a` would wait for `b`, which needs `a`"),
    ] {
        let error = start(groups).await;
        assert!(matches!(&error, StartError::Group { what: told, .. } if told == what), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_required_plugin_makes_the_host_not_ready_and_ends_nothing() {
    let plugins = Plugins::new().with("a", "").with("b", "");
    let builder = Host::builder().plugins(plugins.path()).launcher(Arc::new(company()));
    let host = builder.required("a").start().await.unwrap();
    host.start_plugin("a").await.unwrap();
    host.start_plugin("b").await.unwrap();
    assert!(host.readiness().ready);
    host.stop_plugin("b").await.unwrap();
    assert!(host.readiness().ready);
    host.stop_plugin("a").await.unwrap();
    let readiness = host.readiness();
    assert!(!readiness.ready);
    assert_eq!((&*readiness.missing[0].plugin, readiness.missing[0].state), ("a", "stopped"));
    host.start_plugin("b").await.unwrap();
    run(&host, "b").await;
    let builder = Host::builder().plugins(plugins.path()).launcher(Arc::new(company()));
    let error = builder.required("x").start().await.unwrap_err();
    assert!(matches!(&error, StartError::NotThere(name) if name == "x"), "{error}");
    assert!(matches!(host.start_plugin("x").await, Err(ControlError::UnknownPlugin(_))));
}
