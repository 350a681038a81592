//! Its life, threatened: killed, stopped, starved, restarted. No method of it is needed.

use std::time::Duration;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time;

use super::{
    super::{
        clock::{PATIENCE, Within, now},
        neighbour,
        unmet::{Observed, broken, require},
        vitals::{self, survivors},
    },
    Guest, Trial,
};

/// Restarts of one row.
const RESTARTS: u32 = 10;
/// Too little for any program that does something.
const LITTLE: u64 = 4 << 20;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        Trial::new(1, "kill -9 while idle", "recorded; another process takes its place", |guest| {
            Box::pin(killed(guest))
        }),
        Trial::new(
            4,
            "SIGSEGV, SIGABRT from outside",
            "recorded; another process follows",
            |guest| Box::pin(crashed(guest)),
        ),
        Trial::new(4, "SIGTERM from outside", "recorded; another process follows", |guest| {
            Box::pin(terminated(guest))
        }),
        Trial::new(
            33,
            "stopped for a second (SIGSTOP)",
            "nothing: the same process goes on",
            |guest| Box::pin(paused(guest)),
        ),
        Trial::new(
            26,
            "kill -9, with all it has started",
            "nothing of its tree is left in 5 s",
            |guest| Box::pin(tree(guest)),
        ),
        Trial::new(
            30,
            "an operator stops it",
            "gone in its stop timeout; nothing is left",
            |guest| Box::pin(stopped(guest)),
        ),
        Trial::new(
            34,
            "4 MiB of memory",
            "only it fails; serves again with its own limit",
            |guest| Box::pin(starved(guest)),
        ),
        Trial::new(42, "an operator restarts it 10 times", "comes up each time", |guest| {
            Box::pin(restarted(guest))
        }),
        Trial::new(
            55,
            "kill -9 of its keeper",
            "gone in 1 s; comes up with another keeper",
            |guest| Box::pin(keeper(guest)),
        ),
    ]
}

async fn killed(guest: &Guest) -> Observed {
    let (death, took) = guest.dies_of(Signal::SIGKILL).await?;
    Ok(format!("{death}; back after {took:.1?}"))
}

async fn crashed(guest: &Guest) -> Observed {
    let mut told = Vec::new();
    for signal in [Signal::SIGSEGV, Signal::SIGABRT] {
        let (death, took) = guest.dies_of(signal).await?;
        told.push(format!("{signal}: {death}, back after {took:.1?}"));
    }
    Ok(told.join("; "))
}

async fn terminated(guest: &Guest) -> Observed {
    let mut events = guest.host.subscribe();
    let before = guest.pid().await?;
    guest.signal(Signal::SIGTERM).await?;
    // It may be deaf to it, as pid 1 of old was; that is its right.
    let Ok(death) = time::timeout(Duration::from_secs(5), guest.death(&mut events)).await else {
        guest.is_well().await?;
        return Ok("it does not end of SIGTERM and goes on".to_owned());
    };
    let death = death?;
    guest.runs_again(before).await?;
    guest.is_well().await?;
    Ok(format!("{death}; another process follows"))
}

async fn paused(guest: &Guest) -> Observed {
    let before = guest.pid().await?;
    guest.signal(Signal::SIGSTOP).await?;
    time::sleep(Duration::from_secs(1)).await;
    guest.signal(Signal::SIGCONT).await?;
    guest.is_well().await?;
    require!(guest.pid().await? == before, "it was replaced");
    Ok("the same process goes on".to_owned())
}

async fn tree(guest: &Guest) -> Observed {
    let pid = guest.pid().await?;
    let mut family: Vec<_> =
        vitals::descendants(pid).into_iter().filter_map(vitals::open).collect();
    family.extend(vitals::open(pid));
    let began = now();
    guest.signal(Signal::SIGKILL).await?;
    let left = survivors(&family, Within::of(Duration::from_secs(5)));
    let (size, took) = (family.len(), began.elapsed());
    require!(left == 0, "{left} of {size} processes survive");
    guest.runs_again(pid).await?;
    guest.is_well().await?;
    Ok(format!("{size} processes gone in {took:.0?}"))
}

async fn stopped(guest: &Guest) -> Observed {
    let supervision = &guest.subject.package.manifest.supervision;
    let bound = supervision.stop_timeout + Duration::from_secs(7);
    let mut events = guest.host.subscribe();
    let pid = guest.pid().await?;
    let process = vitals::open(pid).ok_or_else(|| broken("its process is gone"))?;
    let began = now();
    let stopped = time::timeout(bound, guest.host.stop_plugin(guest.name())).await;
    stopped.map_err(|_late| broken(format_args!("it is not stopped after {bound:.0?}")))??;
    let took = began.elapsed();
    let left = survivors(&[process], Within::of(Duration::ZERO));
    require!(left == 0, "the stop has returned, and it lives");
    guest.death(&mut events).await?;
    let politely = if took < supervision.stop_timeout { "politely" } else { "by force" };
    guest.is_well().await?;
    Ok(format!("gone {politely} in {took:.1?} of {:.0?}", supervision.stop_timeout))
}

async fn starved(guest: &Guest) -> Observed {
    let mut poor = guest.subject.clone();
    poor.package.manifest.limits.memory = Some(LITTLE);
    poor.package.manifest.supervision.start_timeout = Duration::from_secs(5);
    let poor = poor.enter().await?;
    let name = poor.name().to_owned();
    let started = time::timeout(PATIENCE, poor.host.start_plugin(&name)).await;
    neighbour::call(&poor.host).await?;
    let deaths = poor.host.deaths(&name).await;
    let told = match (started, deaths.last()) {
        (Ok(Ok(())), _) => "it can do with that".to_owned(),
        (_, Some(death)) => death.to_string(),
        (_, None) => return Err(broken("it does not come up, and nobody says why")),
    };
    poor.leave().await?;
    guest.is_well().await?;
    Ok(told)
}

async fn restarted(guest: &Guest) -> Observed {
    let began = now();
    for round in 1..=RESTARTS {
        let again = time::timeout(Duration::from_secs(60), guest.host.restart_plugin(guest.name()));
        let late = |_| broken(format_args!("restart {round} has no end"));
        again.await.map_err(late)??;
    }
    guest.is_well().await?;
    Ok(format!("{RESTARTS} restarts, {:.0?} each", began.elapsed() / RESTARTS))
}

async fn keeper(guest: &Guest) -> Observed {
    let pid = guest.pid().await?;
    let mut at = pid;
    while let Some(parent) = vitals::parent(at).filter(|parent| *parent != vitals::own()) {
        at = parent;
    }
    require!(at > 1 && at != pid, "its keeper is not found");
    let process = vitals::open(pid).ok_or_else(|| broken("its process is gone"))?;
    kill(Pid::from_raw(at), Signal::SIGKILL)?;
    let left = survivors(&[process], Within::of(Duration::from_secs(1)));
    require!(left == 0, "it survives its keeper");
    guest.runs_again(pid).await?;
    guest.is_well().await?;
    Ok("gone with its keeper; another one serves".to_owned())
}
