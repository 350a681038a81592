//! What serves one process from outside its sandbox: the broker of its way out to named hosts, and what
//! it was refused there, told together with what was refused inside.

use std::{sync::Arc, time::Duration};

use plugbay_broker::{Broker, Rules};
use plugbay_sandbox::{Spec, Tally, Way};
use tokio::{
    sync::watch::{self, error::RecvError},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::death::Cause;

/// How often refusals of a broker are told at most: a process can make thousands in a second.
const PAUSE: Duration = Duration::from_millis(250);

/// The rules of a spec's hosts, before anything is started.
pub(super) fn rules(spec: &Spec) -> Result<Rules, Cause> {
    Rules::new(&spec.network.hosts).map_err(|error| Cause::Launch {
        stage: "grants".to_owned(),
        errno: 0,
        message: error.to_string(),
    })
}

/// Serves a way out for as long as the tasks live.
pub(super) fn serve(
    way: Option<Way>,
    rules: Rules,
    tasks: &mut JoinSet<()>,
) -> Option<watch::Receiver<Arc<Tally>>> {
    let Way { inlets, token } = way?;
    let broker = Broker::new(rules, token);
    let denials = broker.denials();
    tasks.spawn(async move {
        if let Err(error) = broker.serve(inlets).await {
            tracing::error!(%error, "broker failed");
        }
    });
    Some(denials)
}

/// What a process was refused, by its sandbox and by its broker.
#[derive(Debug, Clone)]
pub(super) struct Refusals {
    inside: watch::Receiver<Arc<Tally>>,
    outside: Option<watch::Receiver<Arc<Tally>>>,
    /// When the broker's are to be told next, if there are new ones.
    due: Option<Instant>,
    told: Option<Instant>,
}

impl Refusals {
    pub(super) fn new(
        inside: watch::Receiver<Arc<Tally>>,
        outside: Option<watch::Receiver<Arc<Tally>>>,
    ) -> Self {
        Self { inside, outside, due: None, told: None }
    }

    /// All of them so far.
    pub(super) fn tally(&self) -> Arc<Tally> {
        let mut all = self.inside.borrow().clone();
        if let Some(outside) = &self.outside {
            let outside = outside.borrow();
            if outside.total() > 0 {
                Arc::make_mut(&mut all).absorb(&outside);
            }
        }
        all
    }

    /// Waits until there is something new to tell. May be given up at any point: what was new stays so.
    pub(super) async fn changed(&mut self) -> Result<(), RecvError> {
        let Some(outside) = &mut self.outside else { return self.inside.changed().await };
        if self.due.is_none() {
            tokio::select! {
                changed = self.inside.changed() => return changed,
                changed = outside.changed() => changed?,
            }
            let now = Instant::now();
            self.due = Some(self.told.map_or(now, |told| (told + PAUSE).max(now)));
        }
        let due = self.due.unwrap_or_else(Instant::now);
        tokio::select! {
            changed = self.inside.changed() => changed,
            () = sleep_until(due) => {
                (self.due, self.told) = (None, Some(due));
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use plugbay_sandbox::{Barrier, Denial};

    use super::*;

    fn add(sender: &watch::Sender<Arc<Tally>>, rule: &str) {
        sender.send_modify(|tally| {
            Arc::make_mut(tally).add(Denial::new(Barrier::Network, rule));
        });
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_the_brokers_refusals_is_told_now_and_then_and_whole() {
        let (inside, outside) = (watch::Sender::default(), watch::Sender::default());
        let mut refusals = Refusals::new(inside.subscribe(), Some(outside.subscribe()));
        let begun = Instant::now();
        add(&inside, "mounts");
        refusals.changed().await.unwrap();
        for count in 1..=4 {
            add(&outside, "hosts");
            refusals.changed().await.unwrap();
            assert_eq!(refusals.tally().total(), 1 + count);
        }
        assert_eq!(begun.elapsed(), 3 * PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_was_given_up_loses_nothing() {
        let (inside, outside) = (watch::Sender::<Arc<Tally>>::default(), watch::Sender::default());
        let mut refusals = Refusals::new(inside.subscribe(), Some(outside.subscribe()));
        add(&outside, "hosts");
        refusals.changed().await.unwrap();
        add(&outside, "hosts");
        let given_up = tokio::time::timeout(PAUSE / 2, refusals.changed()).await;
        assert!(given_up.is_err());
        refusals.changed().await.unwrap();
        assert_eq!(refusals.tally().total(), 2);
    }
}
