//! One row, played in a process of its own, which is the host that is put to the test: its memory,
//! descriptors, threads and children are nobody else's, and when it hangs it can be ended.

use std::time::Duration;

use plugbay::CancellationToken;
use serde::{Deserialize, Serialize};
use tokio::{runtime::Runtime, task::JoinSet, time};

use super::{
    clock::{PATIENCE, Within},
    ear::Ear,
    ground::Ground,
    guest::{Subject, Trial},
    neighbour::{self, Pulse},
    row::{Company, Row},
    stage::Stage,
    unmet::{Unmet, broken, require},
    vitals::{Vitals, carrying, mebibytes, survivors},
};

/// How long the kernel and the runtime may take to let go of what is over.
const SETTLE: Duration = Duration::from_secs(10);
/// What one round may leave of resident memory: what an allocator keeps of a flood, not a leak per
/// call. Several rounds are compared with each other more closely.
const KEPT_ONCE: u64 = 64 << 20;
/// What rounds after the first may add altogether.
const KEPT_MORE: u64 = 6 << 20;

/// What came of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Outcome {
    /// What is required was observed.
    Held,
    /// It was not.
    Broken,
    /// This machine or user cannot show it.
    Skipped,
}

/// The same, in full.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Played {
    pub(crate) outcome: Outcome,
    /// What was observed, or why not.
    pub(crate) observed: String,
    /// How the healthy neighbour fared meanwhile.
    pub(crate) neighbour: Option<Pulse>,
    /// What this host held before and after.
    pub(crate) vitals: Option<[Vitals; 2]>,
}

impl Played {
    /// A row that told nothing more than why it does not hold.
    pub(crate) fn broken(why: impl Into<String>) -> Self {
        Self { outcome: Outcome::Broken, observed: why.into(), neighbour: None, vitals: None }
    }
}

/// Plays a row so many times, and sees to it that nothing else has happened.
pub(crate) fn play(row: &Row, rounds: u32) -> Played {
    played(rounds, async || once(row).await)
}

/// The same with a plugin of the user's own.
pub(crate) fn play_guest(trial: &Trial, subject: &Subject, rounds: u32) -> Played {
    played(rounds, async || visit(trial, subject.clone()).await)
}

fn played(rounds: u32, round: impl AsyncFn() -> Round) -> Played {
    match runtime() {
        Ok(runtime) => runtime.block_on(watched(rounds, round)),
        Err(error) => Played::broken(format!("no runtime: {error}")),
    }
}

/// What one round tells, and how the neighbour fared.
type Round = Result<(String, Option<Pulse>), Unmet>;

fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        // Threads that have nothing to do would pass for a leak.
        .thread_keep_alive(Duration::from_millis(50))
        .enable_all()
        .build()
}

async fn watched(rounds: u32, round: impl AsyncFn() -> Round) -> Played {
    match all(rounds, round).await {
        Ok(played) => played,
        Err(Unmet::Broken(why)) => Played::broken(why),
        Err(Unmet::Impossible(why)) => Played { outcome: Outcome::Skipped, ..Played::broken(why) },
    }
}

async fn all(rounds: u32, play: impl AsyncFn() -> Round) -> Result<Played, Unmet> {
    warm_up().await?;
    let before = settled(None).await;
    let (mut last, mut first) = (None, before);
    for round in 0..rounds.max(1) {
        last = Some(play().await?);
        let now = settled(Some(before)).await;
        if let Some(more) = now.more_than(&before) {
            return Err(broken(format_args!("the host has leaked: {more}")));
        }
        if round == 0 {
            first = now;
        }
    }
    let after = Vitals::now();
    let grown = after.resident.saturating_sub(before.resident);
    require!(grown < KEPT_ONCE, "the host kept {:.1} MiB of memory", mebibytes(grown));
    let more = after.resident.saturating_sub(first.resident);
    require!(more < KEPT_MORE, "{:.1} MiB more are kept after {rounds} rounds", mebibytes(more));
    let (observed, pulse) = last.ok_or_else(|| broken("no round was played"))?;
    Ok(Played { outcome: Outcome::Held, observed, neighbour: pulse, vitals: Some([before, after]) })
}

/// A host with the neighbour alone: what a first one costs is no leak.
async fn warm_up() -> Result<(), Unmet> {
    let ground = Ground::new()?;
    let scene = ground.scene("plugins")?;
    ground.put_neighbour(&scene)?;
    let host = ground.open(&scene, &std::sync::Arc::<Ear>::default(), |builder| builder).await?;
    neighbour::call(&host).await?;
    host.shutdown().await;
    Ok(())
}

/// One round: sets the stage, commits the fault beside a neighbour that is called all along, and
/// sees to it that nothing of the sinner is left.
async fn once(row: &Row) -> Round {
    let stage = Stage::set(row.plan).await?;
    let over = CancellationToken::new();
    let mut pulse = JoinSet::new();
    if row.neighbour == Company::Spared {
        pulse.spawn(neighbour::keep_calling(stage.host.clone(), over.clone()));
    }
    let injected = time::timeout(row.bound, (row.inject)(&stage)).await;
    over.cancel();
    let pulse = pulse.join_next().await;
    let late = |_| broken(format_args!("it came to no end within {:.0?}", row.bound));
    let observed = injected.map_err(late)??;
    let pulse = pulse.transpose()?.transpose()?;
    neighbour::call(&stage.host).await?;
    let down = time::timeout(PATIENCE, stage.host.shutdown()).await;
    down.map_err(|_late| broken("the host does not shut down"))?;
    let left = survivors(&stage.sinners(), Within::of(Duration::from_secs(1)));
    let names = carrying(&stage.ground.token());
    require!(left == 0, "{left} processes of the plugin are left: {names:?}");
    Ok((observed, pulse))
}

/// One round of a fault from outside.
async fn visit(trial: &Trial, subject: Subject) -> Round {
    let guest = subject.enter().await?;
    let over = CancellationToken::new();
    let mut pulse = JoinSet::new();
    // The death of the keeper is one that all share.
    if trial.number != 55 {
        pulse.spawn(neighbour::keep_calling(guest.host.clone(), over.clone()));
    }
    let suffered = time::timeout(trial.bound, guest.suffer(trial)).await;
    over.cancel();
    let pulse = pulse.join_next().await;
    let late = |_| broken(format_args!("it came to no end within {:.0?}", trial.bound));
    let observed = suffered.map_err(late)??;
    let pulse = pulse.transpose()?.transpose()?;
    guest.leave().await?;
    Ok((observed, pulse))
}

/// What this process holds, once it holds no more than before or has had its time.
async fn settled(before: Option<Vitals>) -> Vitals {
    let within = Within::of(SETTLE);
    let mut pause = time::interval(Duration::from_millis(20));
    let mut last = Vitals::now();
    loop {
        pause.tick().await;
        let now = Vitals::now();
        let still = match &before {
            Some(before) => now.more_than(before).is_some(),
            // The first time there is nothing to compare with but a moment ago.
            None => {
                now.children > 0 || now.more_than(&last).is_some() || last.more_than(&now).is_some()
            }
        };
        if !still || within.left().is_zero() {
            return now;
        }
        last = now;
    }
}
