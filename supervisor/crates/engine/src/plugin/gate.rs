//! The gate that every start of a host goes through. Who may go is decided by
//! [`lifecycle::limiter`](crate::lifecycle::limiter); here is only the waiting.
//!
//! Each start waits for itself alone: it is poked when something has changed and it may be next, and
//! has a timer only when nothing but time stands in its way.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time};

use super::lock;
use crate::{
    clock,
    lifecycle::limiter::{Bounds, Lane, Limiter, Ticket, Turn},
};

/// The gate.
#[derive(Debug)]
pub(crate) struct Gate {
    epoch: Instant,
    line: Mutex<Line>,
}

#[derive(Debug)]
struct Line {
    limiter: Limiter,
    waiting: HashMap<Ticket, Arc<Notify>>,
}

impl Gate {
    /// An open gate with nobody in it.
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        let line = Line { limiter: Limiter::new(bounds), waiting: HashMap::new() };
        Arc::new(Self { epoch: clock::now(), line: Mutex::new(line) })
    }

    /// Waits for a place. Dropping the future gives the turn up.
    pub(crate) async fn enter(self: Arc<Self>, lane: Lane) -> Pass {
        let poked = Arc::new(Notify::new());
        let ticket = {
            let mut line = lock(&self.line);
            let ticket = line.limiter.enter(lane);
            line.waiting.insert(ticket, poked.clone());
            ticket
        };
        let pass = Pass { gate: self, ticket };
        loop {
            match pass.gate.turn(ticket) {
                Turn::Go => return pass,
                Turn::Wait(None) => poked.notified().await,
                Turn::Wait(Some(until)) => {
                    let until = pass.gate.epoch + until;
                    // Whether time or a poke woke it makes no difference.
                    time::timeout_at(until.into(), poked.notified()).await.ok();
                }
            }
        }
    }

    /// The machine was short of something; those who can wait keep away for a while.
    pub(crate) fn close(&self) {
        let now = self.now();
        lock(&self.line).limiter.close(now);
    }

    fn turn(&self, ticket: Ticket) -> Turn {
        let now = self.now();
        let mut line = lock(&self.line);
        let turn = line.limiter.turn(ticket, now);
        if turn == Turn::Go {
            line.waiting.remove(&ticket);
            line.poke();
        }
        turn
    }

    fn leave(&self, ticket: Ticket) {
        let mut line = lock(&self.line);
        line.limiter.leave(ticket);
        line.waiting.remove(&ticket);
        line.poke();
    }

    fn now(&self) -> Duration {
        clock::now().saturating_duration_since(self.epoch)
    }
}

impl Line {
    /// Wakes whoever may be next; the others could only find that they are not.
    fn poke(&self) {
        for head in self.limiter.heads() {
            if let Some(poked) = self.waiting.get(&head) {
                poked.notify_one();
            }
        }
    }
}

/// A place in the gate, or in the line before it. Dropping it gives it up.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    ticket: Ticket,
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.leave(self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;

    use super::*;

    fn one_place() -> Arc<Gate> {
        Gate::new(Bounds { places: 1, ..Bounds::default() })
    }

    #[tokio::test]
    async fn a_place_given_back_wakes_the_next_and_one_who_left_the_line_blocks_nobody() {
        let gate = one_place();
        let first = gate.clone().enter(Lane::First).await;
        let mut line = JoinSet::new();
        let gone = line.spawn(gate.clone().enter(Lane::First));
        tokio::task::yield_now().await;
        line.spawn(gate.clone().enter(Lane::First));
        tokio::task::yield_now().await;
        gone.abort();
        assert!(line.join_next().await.unwrap().is_err(), "it gave up");
        drop(first);
        drop(line.join_next().await.unwrap().unwrap());
        assert_eq!((gate.waiting(), gate.under_way()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_of_restarts_is_spread_over_time() {
        let gate = Gate::new(Bounds::default());
        let start = clock::now();
        let mut crowd = JoinSet::new();
        for _ in 0..50 {
            crowd.spawn(gate.clone().enter(Lane::Again));
        }
        let mut went = Vec::new();
        while let Some(pass) = crowd.join_next().await {
            drop(pass.unwrap());
            went.push(clock::now().saturating_duration_since(start));
        }
        assert_eq!(went[19], Duration::ZERO, "the burst");
        assert!(went[49] >= Duration::from_millis(2900), "{:?}", went[49]);
        assert!(went[49] < Duration::from_millis(3500), "{:?}", went[49]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shortage_holds_up_the_line_but_not_what_is_awaited() {
        let gate = one_place();
        let start = clock::now();
        gate.close();
        drop(gate.clone().enter(Lane::Awaited).await);
        assert_eq!(clock::now(), start);
        drop(gate.clone().enter(Lane::First).await);
        assert!(clock::now() >= start + Duration::from_secs(5));
    }

    impl Gate {
        fn waiting(&self) -> usize {
            lock(&self.line).limiter.waiting()
        }

        fn under_way(&self) -> usize {
            lock(&self.line).limiter.under_way()
        }
    }
}
