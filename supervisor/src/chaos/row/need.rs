//! Plugins that need others, and crowds that fall together.

use std::{path::Path, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plugbay::Host;
use serde_json::{Value, json};
use tokio::time;

use super::{
    super::{
        clock::{PATIENCE, now},
        plan::Plan,
        stage::{self, Stage},
        unmet::{Observed, Unmet, broken, require},
    },
    Row,
};

/// Plugins that crash together.
const CROWD: usize = 50;
/// The most that may start in any one second: the limiter's burst and its rate.
const MOST_PER_SECOND: usize = 20 + 10;

pub(super) fn rows() -> Vec<Row> {
    [
        Row::new(
            46,
            "needs itself through another; needs nobody's",
            "both refused with the way there; others run",
            Plan::ABSENT,
            |stage| Box::pin(cycle(stage)),
        ),
        Row::new(
            43,
            "stopped while it waits for what it needs",
            "done in 1 s; no later start",
            Plan::ABSENT,
            |stage| Box::pin(stopped_waiting(stage)),
        ),
        Row::new(
            40,
            "50 plugins crash at once",
            "back one after the other; no wave, none is lost",
            Plan::ABSENT,
            |stage| Box::pin(crowd(stage)),
        ),
    ]
    .to_vec()
}

async fn state(host: &Host, name: &str) -> Result<(&'static str, String), Unmet> {
    let status = host.plugin(name).await.ok_or_else(|| broken("a plugin is forgotten"))?;
    Ok((status.state, status.reason.to_string()))
}

fn put(
    stage: &Stage,
    scene: &Path,
    name: &str,
    sins: &'static str,
    more: &'static str,
) -> Result<(), Unmet> {
    stage.ground.put_sinner(scene, name, Plan::RUST.sinning(sins).with(more))
}

async fn cycle(stage: &Stage) -> Observed {
    let theirs = stage.ground.scene("theirs")?;
    put(stage, &theirs, "egg", "", "[dependencies]\nhen = \"1\"")?;
    put(stage, &theirs, "hen", "", "[dependencies]\negg = \"1\"")?;
    put(stage, &theirs, "orphan", "", "[dependencies]\nnobody = \"1\"")?;
    put(stage, &theirs, "bystander", "", "")?;
    let host = stage.ground.open(&theirs, &stage.ear, |builder| builder).await?;
    let mut told = Vec::new();
    for (name, names) in
        [("egg", vec!["egg", "hen"]), ("hen", vec!["egg", "hen"]), ("orphan", vec!["nobody"])]
    {
        let (state, reason) = state(&host, name).await?;
        require!(state == "failed", "`{name}` is {state}: {reason}");
        let whole = names.iter().all(|other| reason.contains(other));
        require!(whole, "`{name}` is not told the way: {reason}");
        told.push(reason);
    }
    let answer: Value = host.call("bystander", "echo", &json!({"well": 1})).await?;
    require!(answer.get("well") == Some(&json!(1)), "the bystander answers {answer}");
    host.shutdown().await;
    told.dedup();
    Ok(told.join("; "))
}

async fn stopped_waiting(stage: &Stage) -> Observed {
    let theirs = stage.ground.scene("theirs")?;
    put(stage, &theirs, "slow", "slow=4000", "[supervision]\nstart_timeout = \"30s\"")?;
    put(stage, &theirs, "needy", "", "[dependencies]\nslow = \"1\"")?;
    // Not waited for: that is what the row is about.
    let host = Host::builder().plugins(&theirs).on_log(|_| ()).start().await?;
    let waiting = async {
        while state(&host, "needy").await?.0 != "waiting" {
            time::sleep(Duration::from_millis(5)).await;
        }
        Ok::<_, Unmet>(())
    };
    let never = |_late| broken("it does not wait for what it needs");
    time::timeout(Duration::from_secs(3), waiting).await.map_err(never)??;
    let began = now();
    host.stop_plugin("needy").await?;
    let took = began.elapsed();
    require!(took < Duration::from_secs(1), "stopped after {took:?}");
    time::timeout(PATIENCE, host.settled()).await?;
    let (slow, _) = state(&host, "slow").await?;
    require!(slow == "running", "what it needed is {slow}");
    let needy = host.plugin("needy").await.ok_or_else(|| broken("it is forgotten"))?;
    require!(needy.state == "stopped" && needy.instance.is_none(), "it was started all the same");
    host.shutdown().await;
    Ok(format!("stopped in {took:.1?}; not started when what it needed came up"))
}

async fn crowd(stage: &Stage) -> Observed {
    let theirs = stage.ground.scene("theirs")?;
    let names: Vec<String> = (0..CROWD).map(|number| format!("p{number}")).collect();
    for name in &names {
        put(stage, &theirs, name, "", "")?;
    }
    let host = stage.ground.open(&theirs, &stage.ear, |builder| builder).await?;
    let mut before = Vec::new();
    for name in &names {
        before.push(stage::pid(&host, name).await?);
    }
    for pid in &before {
        kill(Pid::from_raw(*pid), Signal::SIGKILL)?;
    }
    let began = now();
    let mut back: Vec<Duration> = Vec::new();
    let mut missing: Vec<usize> = (0..CROWD).collect();
    while !missing.is_empty() {
        time::sleep(Duration::from_millis(10)).await;
        let status = host.plugins().await;
        missing.retain(|at| {
            let (name, old) = (names.get(*at), before.get(*at));
            let now = status.iter().find(|one| Some(&*one.name) == name.map(String::as_str));
            let pid = now.filter(|one| one.state == "running").and_then(|one| one.pid);
            let is_back =
                pid.and_then(|pid| i32::try_from(pid).ok()).is_some_and(|pid| Some(&pid) != old);
            if is_back {
                back.push(began.elapsed());
            }
            !is_back
        });
        require!(began.elapsed() < Duration::from_secs(40), "{} are not back", missing.len());
    }
    let most = back
        .iter()
        .map(|from| {
            back.iter().filter(|at| **at >= *from && **at < *from + Duration::from_secs(1)).count()
        })
        .max()
        .unwrap_or(0);
    require!(most <= MOST_PER_SECOND + 2, "{most} came up within one second");
    for name in &names {
        let answer: Value = host.call(name, "echo", &json!({"well": 1})).await?;
        require!(answer.get("well") == Some(&json!(1)), "`{name}` answers {answer}");
    }
    let last = back.last().copied().unwrap_or_default();
    host.shutdown().await;
    Ok(format!("all {CROWD} back within {last:.1?}, at most {most} in one second"))
}
