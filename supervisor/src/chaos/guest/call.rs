//! Its calls, disturbed. They need a method that does no harm.

use std::time::Duration;

use nix::sys::signal::Signal;
use plugbay::{CallErrorKind, CancellationToken};
use serde_json::value::RawValue;
use tokio::{task::JoinSet, time};

use super::{
    super::{
        clock::{PATIENCE, now},
        unmet::{Observed, Unmet, broken, require},
    },
    Guest, Trial,
};

/// Calls at once, at most, over what it takes.
const MOST: usize = 256;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        Trial::new(
            1,
            "kill -9 mid-call",
            "the caller is told at once; the next is answered",
            |guest| Box::pin(killed(guest)),
        ),
        Trial::new(
            5,
            "a call that meets its deadline",
            "told in time; the process goes on",
            |guest| Box::pin(late(guest)),
        ),
        Trial::new(
            19,
            "a call that is cancelled",
            "resolved in 3 s; the process goes on",
            |guest| Box::pin(cancelled(guest)),
        ),
        Trial::new(
            24,
            "more calls at once than it takes",
            "each has one outcome; then it is well",
            |guest| Box::pin(crowd(guest)),
        ),
    ]
}

/// Waits until the call that was made is under way.
async fn under_way(guest: &Guest) -> Result<(), Unmet> {
    let mut look = time::interval(Duration::from_millis(2));
    let seen = async {
        loop {
            look.tick().await;
            let status = guest.host.plugin(guest.name()).await;
            if status.is_some_and(|status| status.in_flight > 0) {
                return;
            }
        }
    };
    let late = |_| broken("its call does not get under way");
    time::timeout(PATIENCE, seen).await.map_err(late)
}

async fn killed(guest: &Guest) -> Observed {
    guest.method()?;
    let before = guest.pid().await?;
    // It cannot be quicker than the kill while it is stopped.
    guest.signal(Signal::SIGSTOP).await?;
    let calling = async { (guest.call(Duration::from_secs(30)).await, now()) };
    let killing = async {
        under_way(guest).await?;
        guest.signal(Signal::SIGKILL).await?;
        Ok::<_, Unmet>(now())
    };
    let ((outcome, told), killed) = tokio::join!(calling, killing);
    let took = told.saturating_duration_since(killed?);
    let told = match outcome {
        // An idempotent method is called again, within its deadline.
        Ok(_) => format!("called again and answered after {took:.1?}"),
        Err(error) => {
            let crashed = matches!(error.kind(), CallErrorKind::Crashed { .. });
            require!(crashed, "the caller is told: {error}");
            require!(took < Duration::from_millis(500), "told after {took:?}");
            format!("Crashed, told in {took:.1?}")
        }
    };
    guest.runs_again(before).await?;
    guest.is_well().await?;
    Ok(told)
}

async fn late(guest: &Guest) -> Observed {
    guest.method()?;
    let before = guest.pid().await?;
    guest.signal(Signal::SIGSTOP).await?;
    let began = now();
    let outcome = guest.call(Duration::from_millis(500)).await;
    let took = began.elapsed();
    guest.signal(Signal::SIGCONT).await?;
    let error = outcome.err().ok_or_else(|| broken("a stopped process has answered"))?;
    let deadline = matches!(error.kind(), CallErrorKind::DeadlineExceeded { .. });
    require!(deadline, "the caller is told: {error}");
    require!(took < Duration::from_secs(2), "told after {took:?}");
    guest.is_well().await?;
    require!(guest.pid().await? == before, "it was replaced");
    Ok(format!("told after {took:.1?} of 0.5 s; the same process goes on"))
}

async fn cancelled(guest: &Guest) -> Observed {
    let method = guest.method()?;
    let before = guest.pid().await?;
    guest.signal(Signal::SIGSTOP).await?;
    let cancel = CancellationToken::new();
    let params: Option<Box<RawValue>> =
        guest.subject.call.as_ref().and_then(|(_, params)| params.clone());
    let mut call = guest.host.call_with(guest.name(), method).cancel(cancel.clone());
    if let Some(params) = &params {
        call = call.params(params);
    }
    let cancelling = async {
        let seen = under_way(guest).await;
        cancel.cancel();
        seen.map(|()| now())
    };
    let (outcome, began) = tokio::join!(call.send_raw(), cancelling);
    let took = began?.elapsed();
    guest.signal(Signal::SIGCONT).await?;
    let error = outcome.err().ok_or_else(|| broken("a stopped process has answered"))?;
    require!(matches!(error.kind(), CallErrorKind::Cancelled), "the caller is told: {error}");
    require!(took < Duration::from_secs(3), "told after {took:?}");
    guest.is_well().await?;
    let same = if guest.pid().await? == before { "the same" } else { "another" };
    Ok(format!("resolved in {took:.1?}; {same} process goes on"))
}

async fn crowd(guest: &Guest) -> Observed {
    let method = guest.method()?.to_owned();
    let takes = usize::try_from(guest.subject.package.manifest.supervision.max_inflight)?;
    let size = (takes * 2).min(takes + MOST);
    let mut waiting = JoinSet::new();
    let params = guest.subject.call.as_ref().and_then(|(_, params)| params.clone());
    for _ in 0..size {
        let (host, name) = (guest.host.clone(), guest.name().to_owned());
        let (method, params) = (method.clone(), params.clone());
        waiting.spawn(async move {
            let mut call = host.call_with(&name, &method).deadline(Duration::from_secs(30));
            if let Some(params) = &params {
                call = call.params(params);
            }
            call.send_raw().await.map(drop)
        });
    }
    let (mut answered, mut refused, mut failed) = (0, 0, 0);
    while let Some(done) = time::timeout(Duration::from_secs(60), waiting.join_next()).await? {
        match done? {
            Ok(()) => answered += 1,
            Err(error) if matches!(error.kind(), CallErrorKind::Overloaded { .. }) => refused += 1,
            Err(_) => failed += 1,
        }
    }
    require!(answered + refused + failed == size, "some of {size} calls have no outcome");
    require!(answered > 0, "none of {size} calls was answered");
    guest.is_well().await?;
    Ok(format!("of {size}: {answered} answered, {refused} refused as too many, {failed} failed"))
}
