//! Sins of whole families: closed pipes, daemons, orphans, bombs, and those who will not go.

use std::time::Duration;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plugbay::Cause;
use plugbay_sandbox::Layer;
use plugbay_tests::{Within, vitals};
use serde_json::json;

use super::{
    Row,
    stage::{Plan, Stage, crash, now},
};

const FEW: Plan = Plan::PLAIN.with("[limits]\npids = 40");
const SOON: Plan = Plan::PLAIN.with("[supervision]\nstop_timeout = \"1s\"");

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row {
            number: 25,
            fault: "closes stdout, stdin or stderr and lives",
            required: "stdout, stdin: protocol kill; stderr: nothing",
            plan: Plan::PLAIN,
            inject: |stage| Box::pin(closed_pipes(stage)),
        },
        Row {
            number: 26,
            fault: "leaves daemons: two forks, setsid, no pipes",
            required: "tree killed in 5 s; no survivor",
            plan: Plan::PLAIN,
            inject: |stage| Box::pin(daemons(stage)),
        },
        Row {
            number: 27,
            fault: "a child holds the pipes of the dead",
            required: "end seen by pidfd, told at once; child killed",
            plan: Plan::PLAIN,
            inject: |stage| Box::pin(held_pipes(stage)),
        },
        Row {
            number: 28,
            fault: "1 000 orphaned children die",
            required: "reaped; no zombie left after 1 s",
            plan: FEW,
            inject: |stage| Box::pin(orphans(stage)),
        },
        Row {
            number: 29,
            fault: "fork bomb",
            required: "meets its limit; cleared in 2 s",
            plan: FEW,
            inject: |stage| Box::pin(bomb(stage)),
        },
        Row {
            number: 30,
            fault: "ignores SIGTERM, shutdown, end of input",
            required: "killed at the end of its stop timeout",
            plan: SOON,
            inject: |stage| Box::pin(stubborn(stage)),
        },
    ]
}

async fn closed_pipes(stage: &Stage) -> String {
    let mut told = Vec::new();
    let first = stage.pid().await;
    assert_eq!(stage.call("close", json!({"fd": 2})).await.unwrap(), "closed");
    stage.is_healthy().await;
    assert_eq!(stage.pid().await, first);
    for fd in [1, 0] {
        let mut events = stage.host.subscribe();
        assert_eq!(stage.call("close", json!({"fd": fd})).await.unwrap(), "closed");
        let death = tokio::select! {
            death = stage.death(&mut events) => death,
            () = keep_writing(stage) => unreachable!("it writes for ever"),
        };
        let Cause::Protocol(why) = &death.cause else { panic!("{death}") };
        told.push(why.clone());
        stage.is_healthy().await;
    }
    format!("{}; without stderr it answers on", told.join("; "))
}

/// A closed stdin is seen when something is written to it.
async fn keep_writing(stage: &Stage) {
    let mut rhythm = tokio::time::interval(Duration::from_millis(10));
    loop {
        rhythm.tick().await;
        // Refused once it is seen, which is what is waited for.
        stage.host.notify("chaos", "anything", &json!({})).ok();
    }
}

async fn daemons(stage: &Stage) -> String {
    assert_eq!(stage.call("daemons", json!({"count": 3})).await.unwrap(), "they are out");
    let family = stage.sinners();
    assert_eq!(family.len(), 4, "the control: it and its daemons live");
    let mut events = stage.host.subscribe();
    kill(Pid::from_raw(stage.pid().await), Signal::SIGKILL).unwrap();
    let began = now();
    let left = vitals::survivors(&family, Within::of(Duration::from_secs(5)));
    let took = began.elapsed();
    assert_eq!(left, 0);
    stage.death(&mut events).await;
    stage.is_healthy().await;
    format!("3 daemons and their maker gone in {took:.0?}")
}

async fn held_pipes(stage: &Stage) -> String {
    stage.is_healthy().await;
    let mut events = stage.host.subscribe();
    let (error, took) = stage.sin("hold", json!({})).await;
    assert_eq!(crash(&error), Cause::Code(3));
    assert!(took < Duration::from_millis(500), "told after {took:?}");
    let death = stage.death(&mut events).await;
    assert!(death.stderr_tail.contains("held"), "{}", death.stderr_tail);
    stage.is_healthy().await;
    // Only the one that answers now is left.
    let family = stage.sinners().len();
    assert_eq!(family, 1);
    format!("Crashed with code 3 in {took:.0?}, child killed")
}

async fn orphans(stage: &Stage) -> String {
    let host = stage.keeper().await;
    let began = now();
    stage.call("orphans", json!({"count": 1000})).await.unwrap();
    let took = began.elapsed();
    let within = Within::of(Duration::from_secs(1));
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    loop {
        let family = vitals::descendants(host);
        let zombies = family.iter().filter(|pid| vitals::is_zombie(**pid)).count();
        if zombies == 0 {
            break;
        }
        assert!(!within.left().is_zero(), "{zombies} zombies left");
        pause.tick().await;
    }
    stage.is_healthy().await;
    format!("1000 orphaned in {took:.1?} under a limit of 40 processes, none left")
}

async fn bomb(stage: &Stage) -> String {
    stage.is_healthy().await;
    let rlimits = stage.layer(Layer::Rlimits).await;
    let unlimited = rlimits.contains("number of processes is not limited");
    let outcome = stage.call("bomb", json!({})).await.unwrap();
    assert_eq!(outcome, if unlimited { "burnt out" } else { "refused" }, "{rlimits}");
    let family = stage.sinners();
    let size = family.len();
    assert!(size > 1 && (size <= 40 || unlimited), "{size} processes under a limit of 40");
    let mut events = stage.host.subscribe();
    let began = now();
    kill(Pid::from_raw(stage.pid().await), Signal::SIGKILL).unwrap();
    let left = vitals::survivors(&family, Within::of(Duration::from_secs(2)));
    let took = began.elapsed();
    assert_eq!(left, 0);
    stage.death(&mut events).await;
    stage.is_healthy().await;
    let met = if unlimited { "not limited here, as reported, grew to" } else { "refused at" };
    format!("{met} {size} processes, cleared in {took:.0?}")
}

async fn stubborn(stage: &Stage) -> String {
    assert_eq!(stage.call("stubborn", json!({})).await.unwrap(), "try");
    let family = stage.sinners();
    assert_eq!(family.len(), 1);
    let began = now();
    stage.host.stop_plugin("chaos").await.unwrap();
    let took = began.elapsed();
    assert_eq!(vitals::survivors(&family, Within::of(Duration::ZERO)), 0);
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(4), "{took:?}");
    stage.host.start_plugin("chaos").await.unwrap();
    stage.is_healthy().await;
    format!("gone {took:.1?} after a stop with a timeout of 1 s")
}
