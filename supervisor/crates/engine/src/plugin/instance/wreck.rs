//! What a panic leaves of the task of a process: the tree, and those who wait for an answer.
//!
//! A panic there is a mistake of ours, or of a function that the embedder gave us. It costs the
//! process that it was about, and no more: the slot hears of an end like any other.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use futures_util::FutureExt as _;
use tokio::sync::mpsc;

use super::{Order, Report, Reporter, never_ran, tree_gone};
use crate::{
    link::Process,
    plugin::{
        death::{Cause, Death, Ending, InFlight},
        session::Session,
        stderr::Tail,
        text::{Breaks, plain},
    },
};

/// Runs a task to its end. The error is that it fell over, and what it said.
pub(super) async fn caught<T>(task: impl Future<Output = T>) -> Result<T, Cause> {
    AssertUnwindSafe(task).catch_unwind().await.map_err(|panic| fallen(&*panic))
}

/// What is said of a panic.
fn fallen(panic: &(dyn Any + Send)) -> Cause {
    let words = panic.downcast_ref::<&str>().copied();
    let words = words.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Cause::Host(plain(words.unwrap_or("a panic without words"), Breaks::Escape))
}

/// What is left when the task of a process falls over: whoever waits for an answer, and the tree.
#[derive(Debug)]
pub(super) struct Wreck {
    pub(super) process: Arc<Process>,
    pub(super) session: Arc<Session>,
    pub(super) tail: Arc<Tail>,
}

impl Wreck {
    /// Tells everyone, and waits until the tree is gone.
    pub(super) async fn clear(
        self,
        cause: Cause,
        orders: &mut mpsc::Receiver<Order>,
        reporter: &Reporter,
        born: Instant,
    ) -> Death {
        tracing::error!(plugin = &*reporter.label.plugin, %cause, "task of a process fell over");
        self.process.kill();
        reporter.send(Report::Dying).await;
        let stderr_tail: Arc<str> = self.tail.text().into();
        let ending = Ending { cause: cause.clone(), stderr_tail: stderr_tail.clone() };
        let lost = self.session.end(&Arc::new(ending));
        let exited = tree_gone(&self.process, orders).await;
        Death {
            pid: self.process.pid(),
            before_hello: !self.session.greeted.load(Ordering::Acquire),
            calls_lost: lost.len(),
            in_flight: InFlight::oldest(lost),
            limits: exited.limits,
            stderr_tail,
            usage: exited.usage,
            memory_peak: exited.memory_peak,
            ..never_ran(&reporter.label, cause, born)
        }
    }
}
