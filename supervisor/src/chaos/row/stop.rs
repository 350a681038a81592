//! Stops at bad moments, and commands in any order.

use std::time::Duration;

use nix::sys::signal::Signal;
use plugbay::{Host, lifecycle::restart::Policy};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time};

use super::{
    super::{
        clock::{PATIENCE, Within, now},
        plan::{Plan, at_once},
        stage::{SINNER, Stage},
        unmet::{Observed, Unmet, broken, require},
        vitals::{carrying, survivors},
    },
    Row,
};

const BACKOFF: Plan = Plan::PYTHON.delayed().with("[supervision]\nbackoff_initial = \"2s\"");
const SOON: Plan = Plan::PYTHON.with("[supervision]\nstop_timeout = \"1s\"");
/// Commands in any order, over all workers.
const COMMANDS: usize = 10_000;
/// Who gives them, each one after the other.
const WORKERS: usize = 16;
/// To whom.
const PLUGINS: [&str; 4] = ["a", "b", "c", "d"];

pub(super) fn rows() -> Vec<Row> {
    [
        Row::new(43, "stopped in backoff", "done in 1 s; no later start", BACKOFF, |stage| {
            Box::pin(stopped_in_backoff(stage))
        })
        .once()
        .to_vec(),
        Row::new(
            43,
            "stopped in handshake",
            "done in 1 s and the stop's own time; no later start",
            SOON,
            |stage| Box::pin(stopped_in_handshake(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            44,
            "10 000 commands in any order, some given up",
            "never two processes of one plugin; all are obeyed",
            Plan::ABSENT,
            |stage| Box::pin(any_order(stage)),
        )
        .within(Duration::from_secs(300))
        .once()
        .to_vec(),
    ]
    .concat()
}

async fn stopped_in_backoff(stage: &Stage) -> Observed {
    stage.is_healthy().await?;
    stage.signal(Signal::SIGKILL).await?;
    stage.reaches("backoff").await?;
    let began = now();
    stage.host.stop_plugin(SINNER).await?;
    let took = began.elapsed();
    require!(took < Duration::from_secs(1), "stopped after {took:?}");
    stays_down(stage, Duration::from_millis(1500)).await?;
    Ok(format!("stopped in {took:.1?}; nothing after its delay of 1 s"))
}

async fn stopped_in_handshake(stage: &Stage) -> Observed {
    stage.is_healthy().await?;
    stage.next_start("mute")?;
    stage.host.stop_plugin(SINNER).await?;
    let (starting, stopping) = (stage.host.start_plugin(SINNER), async {
        stage.reaches("starting").await?;
        // The process runs and has been greeted once it has executed its program.
        let within = Within::of(PATIENCE);
        while stage.sinners().is_empty() && !within.left().is_zero() {
            time::sleep(Duration::from_millis(5)).await;
        }
        let began = now();
        stage.host.stop_plugin(SINNER).await?;
        Ok::<_, Unmet>(began.elapsed())
    });
    let (started, took) = tokio::join!(starting, stopping);
    let took = took?;
    require!(started.is_err(), "the start succeeded");
    require!(took < Duration::from_secs(2), "stopped after {took:?}");
    stays_down(stage, Duration::from_millis(500)).await?;
    Ok(format!("stopped in {took:.1?}, deaf to SIGTERM as it was; the start was told"))
}

/// Sees for so long that nothing is started.
async fn stays_down(stage: &Stage, for_so_long: Duration) -> Result<(), Unmet> {
    let before = stage.status().await?;
    time::sleep(for_so_long).await;
    let after = stage.status().await?;
    require!(after.state == "stopped", "it is {} again", after.state);
    require!(after.instance == before.instance, "a process was started after the stop");
    require!(stage.sinners().is_empty(), "something of it runs");
    Ok(())
}

async fn any_order(stage: &Stage) -> Observed {
    let theirs = stage.ground.scene("theirs")?;
    for name in PLUGINS {
        stage.ground.put_sinner(&theirs, name, Plan { manifest: SOON.manifest, ..Plan::RUST })?;
    }
    let policy: fn(&mut Policy) = at_once;
    let host =
        stage.ground.open(&theirs, &stage.ear, |builder| builder.restart_policy(policy)).await?;
    let began = now();
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let seed = u64::try_from(worker)?;
        workers.spawn(commands(host.clone(), fastrand::Rng::with_seed(seed)));
    }
    let watching = no_doubles(stage);
    let working = async {
        let mut sums = [0; 4];
        while let Some(done) = workers.join_next().await {
            for (sum, more) in sums.iter_mut().zip(done??) {
                *sum += more;
            }
        }
        Ok::<_, Unmet>(sums)
    };
    let [commands, calls, answered, given_up] = tokio::select! {
        sums = working => sums?,
        double = watching => return Err(double),
    };
    let took = began.elapsed();
    let started = obeyed(&host).await?;
    time::timeout(PATIENCE, host.shutdown()).await?;
    let left = survivors(&stage.sinners(), Within::of(Duration::from_secs(1)));
    require!(left == 0, "{left} processes are left");
    Ok(format!(
        "{commands} commands ({given_up} given up) and {calls} calls ({answered} answered) in \
         {took:.0?}; {started} processes, one at a time"
    ))
}

/// One worker: commands, calls, answered calls, and commands that it did not wait for.
async fn commands(host: Host, mut dice: fastrand::Rng) -> Result<[usize; 4], Unmet> {
    let [mut calls, mut answered, mut given_up] = [0; 3];
    for _ in 0..COMMANDS / WORKERS {
        let plugin = PLUGINS.get(dice.usize(..PLUGINS.len())).copied().unwrap_or_default();
        let patience = Duration::from_millis(if dice.bool() { 20_000 } else { dice.u64(..30) });
        let command = async {
            // Whether it was obeyed depends on what others want; that it ends is what counts.
            match dice.u8(..3) {
                0 => host.start_plugin(plugin).await.is_ok(),
                1 => host.stop_plugin(plugin).await.is_ok(),
                _ => host.restart_plugin(plugin).await.is_ok(),
            }
        };
        if time::timeout(patience, command).await.is_err() {
            require!(patience < Duration::from_secs(1), "a command to `{plugin}` has no end");
            given_up += 1;
        }
        if dice.u8(..4) == 0 {
            calls += 1;
            let call = host.call_with(plugin, "echo").deadline(Duration::from_secs(5));
            let outcome = time::timeout(PATIENCE, call.send::<Value>()).await;
            let late = |_| broken(format_args!("a call to `{plugin}` has no outcome"));
            answered += usize::from(outcome.map_err(late)?.is_ok());
        }
    }
    Ok([COMMANDS / WORKERS, calls, answered, given_up])
}

/// Looks all the time; returns only when it saw two processes of one plugin.
async fn no_doubles(stage: &Stage) -> Unmet {
    let mut look = time::interval(Duration::from_millis(10));
    loop {
        look.tick().await;
        for plugin in PLUGINS {
            let token = format!("{plugin}\0{}", stage.ground.token());
            let alive = carrying(&token);
            if alive.len() > 1 {
                return broken(format_args!("two processes of `{plugin}`: {alive:?}"));
            }
        }
    }
}

/// After all of it each plugin does as it is told; how many processes there were.
async fn obeyed(host: &Host) -> Result<u64, Unmet> {
    let mut started = 0;
    for plugin in PLUGINS {
        time::timeout(PATIENCE, host.stop_plugin(plugin)).await??;
        time::timeout(PATIENCE, host.start_plugin(plugin)).await??;
        let answer: Value = host.call(plugin, "echo", &json!({"well": 1})).await?;
        require!(answer.get("well") == Some(&json!(1)), "`{plugin}` answers {answer}");
        let status = host.plugin(plugin).await.ok_or_else(|| broken("a plugin is forgotten"))?;
        started += status.instance.map_or(0, |instance| instance.number());
    }
    Ok(started)
}
