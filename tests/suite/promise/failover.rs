//! A plugin with a spare is killed while it is in use: no call that may be repeated fails.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plugbay::{EventKind, Events, Host, PluginStatus};
use plugbay_tests::PATIENCE;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::timeout};

use super::golden::{Sdk, host_with};

/// Callers at once, and how often the plugin is killed under them.
const CALLERS: u64 = 8;
const KILLS: usize = 3;

/// Calls on and on until told to stop; says how often it was answered.
async fn caller(host: Host, number: u64, stop: Arc<AtomicBool>) -> u64 {
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        let params = json!({"caller": number, "call": answered});
        let call = host.call_with("golden", "echo").params(&params);
        let key = format!("{number}-{answered}");
        let answer: Value = call.idempotency_key(key).send().await.unwrap();
        assert_eq!(answer, params);
        answered += 1;
    }
    answered
}

async fn status(host: &Host) -> PluginStatus {
    host.plugin("golden").await.unwrap()
}

/// Waits until an active instance and a spare are ready.
async fn whole(host: &Host, events: &mut Events) {
    let is_whole = |status: PluginStatus| {
        status.instances.iter().filter(|instance| instance.state == "ready").count() == 2
    };
    while !is_whole(status(host).await) {
        // Becoming a spare is no event; whatever happens next is worth a look.
        timeout(Duration::from_millis(20), events.next()).await.ok();
    }
}

async fn killed_while_in_use(host: &Host) {
    let mut events = host.subscribe();
    whole(host, &mut events).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for number in 0..CALLERS {
        callers.spawn(caller(host.clone(), number, stop.clone()));
    }
    for _ in 0..KILLS {
        let now = status(host).await;
        let active = now.instances.iter().find(|instance| instance.role == "active").unwrap();
        let pid = Pid::from_raw(active.pid.unwrap().try_into().unwrap());
        kill(pid, Signal::SIGKILL).unwrap();
        while !matches!(events.next().await.unwrap().kind, EventKind::Died(_)) {}
        whole(host, &mut events).await;
    }
    stop.store(true, Ordering::Relaxed);
    for answered in callers.join_all().await {
        assert!(answered > 0);
    }
    let now = status(host).await;
    assert_eq!((now.restarts, now.state), (KILLS.try_into().unwrap(), "running"));
}

#[test]
fn with_a_spare_no_call_that_may_be_repeated_fails() {
    let env = crate::env();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let host = host_with(&env, Sdk::Rust, "spares = 1\n").await;
        timeout(PATIENCE, killed_while_in_use(&host)).await.unwrap();
        host.shutdown().await;
    });
}
