//! Plugins that are tied together, and streams between a plugin and its caller.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plugbay::{
    CallError, CallErrorKind, Cause, Group, Host, HostBuilder, Items, lifecycle::group::Strategy,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    super::{
        clock::PATIENCE,
        plan::Plan,
        stage::{self, SINNER, Stage, killed_by},
        unmet::{Observed, Unmet, broken, require},
    },
    Row,
};

/// The members of a group, in its order; and one that is in none.
const MEMBERS: [&str; 3] = ["first", "second", "third"];
const BYSTANDER: &str = "bystander";
const STREAMS: Plan = Plan::PYTHON.sinning("streams");
/// More items at once than anybody may send without being asked for more.
const TOO_MANY: usize = 200;

pub(super) fn rows() -> Vec<Row> {
    [
        vec![
            Row::new(
                40,
                "kill -9 of one in a group, one for all",
                "all of it are new processes; others are the same",
                Plan::ABSENT,
                |stage| Box::pin(one_for_all(stage)),
            ),
            Row::new(
                40,
                "one in a group falls again and again",
                "the whole group is in quarantine; others run",
                Plan::ABSENT,
                |stage| Box::pin(hopeless_group(stage)),
            ),
            Row::new(
                43,
                "what they need is stopped: pause, stop, restart",
                "each does as its manifest says, then all are back",
                Plan::ABSENT,
                |stage| Box::pin(edges(stage)),
            ),
        ],
        Row::new(
            2,
            "kill -9 in the middle of a stream",
            "what was sent is read, then the cause; next call runs",
            STREAMS,
            |stage| Box::pin(killed_mid_stream(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            24,
            "200 items of a stream without credit",
            "the stream is broken and struck; the process lives",
            STREAMS,
            |stage| Box::pin(without_credit(stage)),
        )
        .twice()
        .to_vec(),
    ]
    .concat()
}

/// A host of the members, the second of which sins, and the bystander.
async fn tied(
    stage: &Stage,
    sins: &'static str,
    set: impl FnOnce(HostBuilder) -> HostBuilder,
) -> Result<Host, Unmet> {
    let theirs: PathBuf = stage.ground.scene("theirs")?;
    for name in MEMBERS.into_iter().chain([BYSTANDER]) {
        let sins = if name == "second" { sins } else { "" };
        stage.ground.put_sinner(&theirs, name, Plan::RUST.sinning(sins))?;
    }
    stage
        .ground
        .open(&theirs, &stage.ear, |builder| set(builder).restart_policy(Plan::RUST.tune))
        .await
}

async fn echoes(host: &Host, name: &str) -> Result<(), Unmet> {
    let answer: Value = host.call(name, "echo", &json!({"well": 1})).await?;
    require!(answer.get("well") == Some(&json!(1)), "`{name}` answers {answer}");
    Ok(())
}

/// The processes of all that run.
async fn pids(host: &Host) -> BTreeMap<String, u32> {
    let all = host.plugins().await.into_iter();
    all.filter(|status| status.state == "running")
        .filter_map(|status| Some((status.name.to_string(), status.pid?)))
        .collect()
}

/// Waits until the plugins of a host are as they should be.
async fn comes_to(host: &Host, what: &str, test: impl AsyncFn(&Host) -> bool) -> Result<(), Unmet> {
    let mut events = host.subscribe();
    let come = async {
        while !test(host).await {
            // Not every change is told.
            timeout(Duration::from_millis(20), events.next()).await.ok();
        }
    };
    timeout(PATIENCE, come).await.map_err(|_late| broken(format_args!("{what} did not come")))
}

fn slay(pid: u32) -> Result<(), Unmet> {
    Ok(kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGKILL)?)
}

async fn one_for_all(stage: &Stage) -> Observed {
    let group = Group::new("all", Strategy::OneForAll, MEMBERS);
    let host = tied(stage, "", |builder| builder.group(group)).await?;
    let before = pids(&host).await;
    require!(before.len() == MEMBERS.len() + 1, "only {before:?} run");
    let fallen = *before.get("second").ok_or_else(|| broken("it does not run"))?;
    slay(fallen)?;
    let anew = async |host: &Host| {
        let now = pids(host).await;
        MEMBERS.iter().all(|name| now.get(*name).is_some_and(|pid| before.get(*name) != Some(pid)))
    };
    comes_to(&host, "a new process of each member", anew).await?;
    for name in MEMBERS.into_iter().chain([BYSTANDER]) {
        echoes(&host, name).await?;
    }
    let same = pids(&host).await.get(BYSTANDER) == before.get(BYSTANDER);
    require!(same, "one that is in no group was started anew");
    host.shutdown().await;
    Ok("three new processes for one that fell, and the bystander is the same".to_owned())
}

async fn hopeless_group(stage: &Stage) -> Observed {
    let group = Group::new("all", Strategy::OneForAll, MEMBERS);
    let host = tied(stage, "crash=30", |builder| builder.group(group)).await?;
    let alone = async |host: &Host| {
        let all = host.plugins().await;
        let state = |name: &str| all.iter().find(|one| *one.name == *name).map(|one| one.state);
        MEMBERS.iter().all(|name| state(name) == Some("quarantined"))
    };
    comes_to(&host, "the quarantine of all members", alone).await?;
    echoes(&host, BYSTANDER).await?;
    let refused = host.call::<_, Value>("first", "echo", &json!({})).await;
    let told = match refused {
        Err(error) if matches!(error.kind(), CallErrorKind::Quarantined { .. }) => error,
        other => return Err(broken(format_args!("a member in quarantine answers {other:?}"))),
    };
    host.shutdown().await;
    Ok(format!("all three in quarantine, and the bystander answers; {told}"))
}

async fn edges(stage: &Stage) -> Observed {
    let theirs = stage.ground.scene("theirs")?;
    stage.ground.put_sinner(&theirs, "need", Plan::RUST)?;
    for (name, edge) in [("pauses", "pause"), ("stops", "stop"), ("renews", "restart")] {
        let more = format!(
            "[dependencies.need]\nversion = \"1\"\non_loss = \"{edge}\"\ngrace = \"20ms\"\n"
        );
        stage.ground.put_sinner_with(&theirs, name, Plan::RUST, &more)?;
    }
    let host = stage.ground.open(&theirs, &stage.ear, |builder| builder).await?;
    let before = pids(&host).await;
    host.stop_plugin("need").await?;
    let lost = async |host: &Host| {
        let (pauses, stops) = (host.plugin("pauses").await, host.plugin("stops").await);
        pauses.is_some_and(|one| one.reason.contains("paused without"))
            && stops.is_some_and(|one| one.state == "waiting")
    };
    comes_to(&host, "a pause and a wait", lost).await?;
    echoes(&host, "renews").await?;
    host.start_plugin("need").await?;
    let other = |now: &BTreeMap<String, u32>, name: &str| {
        now.get(name).is_some_and(|pid| before.get(name) != Some(pid))
    };
    let back = async |host: &Host| {
        let now = pids(host).await;
        now.len() == before.len() && other(&now, "stops") && other(&now, "renews")
    };
    comes_to(&host, "a new process of those that are to have one", back).await?;
    for name in ["pauses", "stops", "renews"] {
        echoes(&host, name).await?;
    }
    require!(!other(&pids(&host).await, "pauses"), "one that was to pause is another");
    host.shutdown().await;
    Ok("one paused and went on, one waited and one went on to be started anew".to_owned())
}

/// Has the sinner answer with a stream of these items, and does not let it end.
async fn streamed(stage: &Stage, items: usize, each: bool) -> Result<Items, CallError> {
    let mut text = String::new();
    let mut line = |message: Value| text.push_str(&format!("{message}\n"));
    let numbers: Vec<usize> = (1..=items).collect();
    let data = |seq: usize, items: &[usize]| {
        let params = json!({"id": "s1", "seq": seq, "items": items});
        json!({"jsonrpc": "2.0", "method": "stream/data", "params": params})
    };
    let result = json!({"$stream": "s1", "kind": "json"});
    line(json!({"jsonrpc": "2.0", "id": "$ID", "result": result}));
    if each {
        numbers.iter().for_each(|number| line(data(*number, &[*number])));
    } else {
        line(data(1, &numbers));
    }
    let params = json!({"text": text.replace("\"$ID\"", "$ID"), "answer": false});
    stage.host.call_with(SINNER, "say").params(&params).stream().await
}

async fn killed_mid_stream(stage: &Stage) -> Observed {
    let mut items = streamed(stage, 3, false).await?;
    for expected in 1..=2 {
        let item = items.next::<usize>().await?;
        require!(item == Some(expected), "item {expected} is {item:?}");
    }
    stage.signal(Signal::SIGKILL).await?;
    let last = items.next::<usize>().await?;
    require!(last == Some(3), "what was sent before the end is {last:?}");
    let error = match timeout(PATIENCE, items.next::<usize>()).await? {
        Err(error) => error,
        Ok(more) => return Err(broken(format_args!("the stream goes on with {more:?}"))),
    };
    killed_by(&error, Signal::SIGKILL)?;
    stage.is_healthy().await?;
    Ok(format!("three items, then: {error}"))
}

async fn without_credit(stage: &Stage) -> Observed {
    let pid = stage.pid().await?;
    let mut items = streamed(stage, TOO_MANY, true).await?;
    // Whoever reads asks for more; so nobody does before it has gone too far.
    let struck = async |host: &Host| {
        host.plugin(SINNER).await.is_some_and(|status| status.counts.violations > 0)
    };
    comes_to(&stage.host, "a strike", struck).await?;
    let mut read = 0;
    let error = loop {
        match timeout(PATIENCE, items.next::<usize>()).await? {
            Ok(Some(_item)) => read += 1,
            Ok(None) => return Err(broken("the stream came to a good end")),
            Err(error) => break error,
        }
    };
    require!(read < TOO_MANY, "all items were taken");
    require!(!matches!(stage::crash(&error), Ok(Cause::Signal(_))), "it was killed: {error}");
    stage.is_healthy().await?;
    require!(stage.pid().await? == pid, "the process is another");
    Ok(format!("{read} items read, then: {error}"))
}
