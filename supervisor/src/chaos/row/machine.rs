//! Faults of the machine, and of whoever embeds the host.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use nix::sys::{
    resource::{Resource, getrlimit, setrlimit},
    signal::Signal,
};
use plugbay::Host;
use rustix::process::{Pid, Rlimit, prlimit};
use serde_json::{Value, json};

use super::{
    super::{
        ear::Ear,
        plan::Plan,
        stage::{SINNER, Stage},
        unmet::{Observed, Unmet, broken, require},
    },
    Row,
};

const DELAYED: Plan = Plan::PYTHON.delayed().with("[supervision]\nbackoff_initial = \"100ms\"");
/// What a keeper with two plugins waits for at once, and a little more: a limit below that number is
/// refused by `poll` itself.
const FEWEST: u64 = 10;
/// Descriptors of a poor host.
const POOR: u64 = 64;
/// More plugins than a poor host has descriptors for.
const CROWD: usize = 16;

pub(super) fn rows() -> Vec<Row> {
    [
        Row::new(
            7,
            "the keeper is out of descriptors (EMFILE)",
            "backoff, not counted; recovers when freed",
            DELAYED,
            |stage| Box::pin(keeper_without_descriptors(stage)),
        ),
        Row::new(
            7,
            "the host is out of descriptors (EMFILE)",
            "backoff, not counted; recovers when freed",
            DELAYED,
            |stage| Box::pin(host_without_descriptors(stage)),
        ),
        Row::new(
            58,
            "the host's own log sink panics",
            "that plugin starts again; the host holds",
            Plan::ABSENT,
            |stage| Box::pin(panicking_sink(stage)),
        ),
        Row::new(
            75,
            "a host with 64 descriptors, and 16 plugins",
            "those that fit serve; the others say why not",
            Plan::ABSENT,
            |stage| Box::pin(poor_host(stage)),
        ),
    ]
    .to_vec()
}

async fn keeper_without_descriptors(stage: &Stage) -> Observed {
    stage.is_healthy().await?;
    let keeper = stage.keeper().await?;
    let keeper = Pid::from_raw(keeper).ok_or_else(|| broken("the keeper has no number"))?;
    let limits = rustix::process::Resource::Nofile;
    let room = full(keeper.as_raw_nonzero().get());
    let few = |hard| Rlimit { current: Some(room), maximum: hard };
    let before = prlimit(Some(keeper), limits, few(None));
    // Without the right to set a limit of none the hard one is left as it is.
    let before = match before {
        Ok(before) => before,
        Err(_) => {
            let own = rustix::process::getrlimit(limits);
            prlimit(Some(keeper), limits, few(own.maximum))?
        }
    };
    let starved = starve(stage).await;
    prlimit(Some(keeper), limits, before)?;
    recovered(stage, starved?).await
}

/// A limit that leaves a process no descriptor more, and enough to wait for those it has.
fn full(pid: i32) -> u64 {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let open: BTreeSet<u64> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    (FEWEST..).find(|number| !open.contains(number)).unwrap_or(FEWEST)
}

async fn host_without_descriptors(stage: &Stage) -> Observed {
    stage.is_healthy().await?;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    // What is open stays open; nothing can be added.
    setrlimit(Resource::RLIMIT_NOFILE, 4, hard)?;
    let starved = starve(stage).await;
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
    recovered(stage, starved?).await
}

/// Kills the sinner while it cannot be started again; tells why not.
async fn starve(stage: &Stage) -> Observed {
    let before = stage.status().await?.failures;
    let mut events = stage.host.subscribe();
    stage.signal(Signal::SIGKILL).await?;
    // Its own death, and that of a start.
    let mut death = stage.death_within(Duration::from_secs(40), &mut events).await?;
    while death.pid.is_some() {
        death = stage.death_within(Duration::from_secs(40), &mut events).await?;
    }
    stage.reaches("backoff").await?;
    let counted = stage.status().await?.failures.saturating_sub(before);
    require!(counted <= 1, "{counted} failures are counted, the kill was one");
    Ok(death.to_string())
}

async fn recovered(stage: &Stage, why: String) -> Observed {
    let began = super::super::clock::now();
    stage.reaches("running").await?;
    stage.is_healthy().await?;
    let took = began.elapsed();
    require!(took < Duration::from_secs(15), "it came back after {took:?}");
    Ok(format!("{why}; back {took:.1?} after there were some again"))
}

async fn panicking_sink(stage: &Stage) -> Observed {
    let theirs = stage.ground.scene("theirs")?;
    stage.ground.put_sinner(&theirs, SINNER, Plan::RUST)?;
    let heard = stage.ear.clone();
    let ear = Arc::<Ear>::default();
    let host = stage
        .ground
        .open(&theirs, &ear, |builder| {
            builder.restart_policy(super::super::plan::at_once).on_log(move |record| {
                heard.hear(record);
                #[expect(clippy::panic, reason = "the panic of an embedder's sink is the fault")]
                if record.message.contains("hanging") {
                    panic!("a sink that cannot take this");
                }
            })
        })
        .await?;
    let first = super::super::stage::pid(&host, SINNER).await?;
    // What a panic prints is not what is looked at, and a backtrace would cost memory.
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = host.call_with(SINNER, "hang").deadline(Duration::from_secs(10));
    let began = super::super::clock::now();
    let error = outcome.send::<Value>().await.err().ok_or_else(|| broken("it was answered"))?;
    let took = began.elapsed();
    require!(took < Duration::from_secs(5), "its caller was told after {took:?}: {error}");
    for _ in 0..3 {
        let answer: Value = host.call(SINNER, "echo", &json!({"well": 1})).await?;
        require!(answer.get("well") == Some(&json!(1)), "it answers {answer}");
    }
    let second = super::super::stage::pid(&host, SINNER).await?;
    require!(second != first, "the process whose task was lost goes on");
    host.shutdown().await;
    Ok(format!("{}; another process answers", error.kind()))
}

async fn poor_host(stage: &Stage) -> Observed {
    let theirs = stage.ground.scene("theirs")?;
    let names: Vec<String> = (0..CROWD).map(|number| format!("p{number}")).collect();
    for name in &names {
        stage.ground.put_sinner(&theirs, name, Plan::RUST)?;
    }
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, POOR, hard)?;
    let served = crowd(stage, &theirs, &names).await;
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
    served
}

async fn crowd(stage: &Stage, theirs: &std::path::Path, names: &[String]) -> Observed {
    let host = stage.ground.open(theirs, &stage.ear, |builder| builder).await?;
    let (mut up, mut told) = (0, String::new());
    for name in names {
        let status = host.plugin(name).await.ok_or_else(|| broken("a plugin is forgotten"))?;
        if status.state == "running" {
            answers(&host, name).await?;
            up += 1;
        } else {
            let reason = status.reason.to_string();
            let known =
                ["descriptor", "open files", "(errno 24)"].iter().any(|word| reason.contains(word));
            require!(known, "`{name}` is {}: {reason}", status.state);
            require!(status.state != "failed", "`{name}` is given up: {reason}");
            told = reason;
        }
    }
    require!(up > 0 && up < names.len(), "{up} of {} run with {POOR} descriptors", names.len());
    host.shutdown().await;
    Ok(format!("{up} of {} serve; the others: {told}", names.len()))
}

async fn answers(host: &Host, name: &str) -> Result<(), Unmet> {
    let answer: Value = host.call(name, "echo", &json!({"well": 1})).await?;
    require!(answer.get("well") == Some(&json!(1)), "`{name}` answers {answer}");
    Ok(())
}
