//! Sins of whole families: closed pipes, daemons, orphans, bombs, and those who will not go.

use std::time::Duration;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plugbay::Cause;
use plugbay_sandbox::Layer;
use serde_json::json;

use super::{
    super::{
        clock::{Within, now},
        neighbour,
        plan::Plan,
        stage::{SINNER, Stage, crash},
        unmet::{Observed, Unmet, broken, require},
        victim::Victim,
        vitals::{self, survivors},
    },
    Row,
};

const FEW: Plan = Plan::PYTHON.with("[limits]\npids = 40");
const SOON: Plan = Plan::PYTHON.with("[supervision]\nstop_timeout = \"1s\"");

pub(super) fn rows() -> Vec<Row> {
    [
        Row::new(
            25,
            "closes stdout, stdin or stderr and lives",
            "stdout, stdin: protocol kill; stderr: nothing",
            Plan::PYTHON,
            |stage| Box::pin(closed_pipes(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            26,
            "leaves daemons: two forks, setsid, no pipes",
            "tree killed in 5 s; no survivor",
            Plan::PYTHON,
            |stage| Box::pin(daemons(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            27,
            "a child holds the pipes of the dead",
            "end seen by pidfd, told at once; child killed",
            Plan::PYTHON,
            |stage| Box::pin(held_pipes(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            28,
            "1 000 orphaned children die",
            "reaped; no zombie left after 1 s",
            FEW,
            |stage| Box::pin(orphans(stage)),
        )
        .once()
        .to_vec(),
        Row::new(29, "fork bomb", "meets its limit; cleared in 2 s", FEW, |stage| {
            Box::pin(bomb(stage))
        })
        .once()
        .to_vec(),
        Row::new(
            30,
            "ignores SIGTERM, shutdown, end of input",
            "killed at the end of its stop timeout",
            SOON,
            |stage| Box::pin(stubborn(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            55,
            "kill -9 of the keeper, daemons about",
            "callers told; none left in 1 s; another keeper serves",
            Plan::PYTHON,
            |stage| Box::pin(keeper_killed(stage)),
        )
        .alone()
        .twice()
        .to_vec(),
        Row::new(
            55,
            "kill -9 of a host, daemons about",
            "no process of it is left in 1 s",
            Plan::PYTHON,
            |stage| Box::pin(host_killed(stage)),
        )
        .twice()
        .to_vec(),
    ]
    .concat()
}

async fn closed_pipes(stage: &Stage) -> Observed {
    let mut told = Vec::new();
    let first = stage.pid().await?;
    stage.answers("close", json!({"fd": 2}), "closed").await?;
    stage.is_healthy().await?;
    require!(stage.pid().await? == first, "it was replaced for closing its stderr");
    for fd in [1, 0] {
        let mut events = stage.host.subscribe();
        stage.answers("close", json!({"fd": fd}), "closed").await?;
        let death = tokio::select! {
            death = stage.death(&mut events) => death?,
            () = keep_writing(stage) => return Err(broken("it writes for ever")),
        };
        let Cause::Protocol(why) = &death.cause else { return Err(broken(death)) };
        told.push(why.clone());
        stage.is_healthy().await?;
    }
    Ok(format!("{}; without stderr it answers on", told.join("; ")))
}

/// A closed stdin is seen when something is written to it.
async fn keep_writing(stage: &Stage) {
    let mut rhythm = tokio::time::interval(Duration::from_millis(10));
    loop {
        rhythm.tick().await;
        // Refused once it is seen, which is what is waited for.
        stage.host.notify(SINNER, "anything", &json!({})).ok();
    }
}

async fn daemons(stage: &Stage) -> Observed {
    stage.answers("daemons", json!({"count": 3}), "they are out").await?;
    let family = stage.sinners();
    require!(family.len() == 4, "the control: {} of 4 processes live", family.len());
    let mut events = stage.host.subscribe();
    let began = stage.signal(Signal::SIGKILL).await?;
    let left = survivors(&family, Within::of(Duration::from_secs(5)));
    let took = began.elapsed();
    require!(left == 0, "{left} of 4 survive after {took:.1?}");
    stage.death(&mut events).await?;
    stage.is_healthy().await?;
    Ok(format!("3 daemons and their maker gone in {took:.0?}"))
}

async fn held_pipes(stage: &Stage) -> Observed {
    stage.is_healthy().await?;
    let mut events = stage.host.subscribe();
    let (error, took) = stage.sin("hold", json!({})).await?;
    require!(crash(&error)? == Cause::Code(3), "{error}");
    require!(took < Duration::from_millis(500), "told after {took:?}");
    let death = stage.death(&mut events).await?;
    require!(death.stderr_tail.contains("held"), "last words: `{}`", death.stderr_tail);
    stage.is_healthy().await?;
    let family = stage.sinners().len();
    require!(family == 1, "{family} processes, not only the one that answers now");
    Ok(format!("Crashed with code 3 in {took:.0?}, child killed"))
}

async fn orphans(stage: &Stage) -> Observed {
    let keeper = stage.keeper().await?;
    let began = now();
    stage.call("orphans", json!({"count": 1000})).await?;
    let took = began.elapsed();
    let within = Within::of(Duration::from_secs(1));
    let mut pause = tokio::time::interval(Duration::from_millis(10));
    loop {
        let family = vitals::descendants(keeper);
        let zombies = family.iter().filter(|pid| vitals::is_zombie(**pid)).count();
        if zombies == 0 {
            break;
        }
        require!(!within.left().is_zero(), "{zombies} zombies left");
        pause.tick().await;
    }
    stage.is_healthy().await?;
    Ok(format!("1000 orphaned in {took:.1?} under a limit of 40 processes, none left"))
}

async fn bomb(stage: &Stage) -> Observed {
    stage.is_healthy().await?;
    if stage.layer(Layer::Rlimits).await?.contains("number of processes is watched, not held") {
        return watched_bomb(stage).await;
    }
    stage.answers("bomb", json!({}), "refused").await?;
    let family = stage.sinners();
    let size = family.len();
    // Two more may be had: the limit leaves room for the sandbox's own.
    require!(size > 1 && size <= 42, "{size} processes under a limit of 40");
    let mut events = stage.host.subscribe();
    let began = stage.signal(Signal::SIGKILL).await?;
    let left = survivors(&family, Within::of(Duration::from_secs(2)));
    let took = began.elapsed();
    require!(left == 0, "{left} of {size} survive after {took:.1?}");
    stage.death(&mut events).await?;
    stage.is_healthy().await?;
    Ok(format!("refused at {size} processes, cleared in {took:.0?}"))
}

/// Where nothing holds the number, the keeper looks at it, and ends what has passed it.
async fn watched_bomb(stage: &Stage) -> Observed {
    let mut events = stage.host.subscribe();
    let began = now();
    // It may be ended before it can answer.
    let answered = stage.call("bomb", json!({})).await;
    let family = stage.sinners();
    let death = stage.death(&mut events).await?;
    let took = began.elapsed();
    require!(matches!(death.cause, Cause::Limit(_)), "the record says: {death}");
    let left = survivors(&family, Within::of(Duration::from_secs(2)));
    require!(left == 0, "{left} of {} survive", family.len());
    require!(took < Duration::from_secs(5), "ended after {took:?}");
    stage.is_healthy().await?;
    let grown = if answered.is_ok() { "grew at will" } else { "was growing" };
    Ok(format!("watched here, as reported: {grown}; {death}, cleared {took:.1?} after it began"))
}

async fn stubborn(stage: &Stage) -> Observed {
    stage.answers("stubborn", json!({}), "try").await?;
    let family = stage.sinners();
    require!(family.len() == 1, "the control: {} processes, not one", family.len());
    let began = now();
    stage.host.stop_plugin(SINNER).await?;
    let took = began.elapsed();
    let left = survivors(&family, Within::of(Duration::ZERO));
    require!(left == 0, "the stop has returned, and it lives");
    let timely = took >= Duration::from_secs(1) && took < Duration::from_secs(4);
    require!(timely, "gone after {took:?}");
    stage.host.start_plugin(SINNER).await?;
    stage.is_healthy().await?;
    Ok(format!("gone {took:.1?} after a stop with a timeout of 1 s"))
}

async fn keeper_killed(stage: &Stage) -> Observed {
    stage.answers("daemons", json!({"count": 3}), "they are out").await?;
    let family = stage.sinners();
    require!(family.len() == 4, "the control: {} of 4 processes live", family.len());
    let keeper = stage.keeper().await?;
    let killing = async {
        stage.hears("hanging", 1).await?;
        Ok::<_, Unmet>(kill(Pid::from_raw(keeper), Signal::SIGKILL)?)
    };
    let (sin, killed) = tokio::join!(stage.sin("hang", json!({})), killing);
    killed?;
    let (error, took) = sin?;
    let cause = crash(&error)?;
    // Which of the two is seen first is the kernel's choice.
    let known = [Cause::KeeperLost, Cause::Signal(Signal::SIGKILL as i32), Cause::Unknown];
    require!(known.contains(&cause), "the caller is told: {cause}");
    let left = survivors(&family, Within::of(Duration::from_secs(1)));
    require!(left == 0, "{left} of 4 processes survive their keeper");
    stage.is_healthy().await?;
    require!(stage.keeper().await? != keeper, "the dead keeper serves");
    neighbour::call(&stage.host).await?;
    Ok(format!("{cause}, told in {took:.0?}; 4 processes gone; a new keeper serves"))
}

async fn host_killed(stage: &Stage) -> Observed {
    let theirs = stage.ground.scene("theirs")?;
    for name in ["one", "two"] {
        stage.ground.put_sinner(&theirs, name, stage.plan)?;
    }
    let victim = Victim::start(stage.ground.program(), &theirs)?;
    let family: Vec<_> = victim.family().into_iter().filter_map(vitals::open).collect();
    let size = family.len();
    require!(size > 8, "the control: {size} processes, two plugins with three daemons each");
    let began = now();
    victim.kill()?;
    let left = survivors(&family, Within::of(Duration::from_secs(1)));
    require!(left == 0, "{left} of {size} processes survive their host");
    stage.is_healthy().await?;
    Ok(format!("2 plugins, 6 daemons and their keeper gone in {:.0?}", began.elapsed()))
}
