//! The seam between the engine and whoever starts processes.
//!
//! In production that is the keeper (`link::keeper`); tests put a scripted plugin behind it, at the
//! other end of the same pipes. Nothing else in the engine knows which.

mod cpu;
#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod keeper;
mod readiness;

use std::{fmt, os::fd::OwnedFd, pin::Pin, sync::Arc, time::Duration};

use plugbay_sandbox::{Enforcement, Hit, Spec, Tally, Way};
use tokio::{io::unix::AsyncFd, sync::watch};

use crate::plugin::death::{Cause, Usage};

/// A future of a seam, boxed.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Starts processes.
pub(crate) trait Launcher: fmt::Debug + Send + Sync + 'static {
    /// Starts one. An error means: it never ran, and nothing of it is left.
    fn launch(&self, spec: Spec) -> Boxed<'_, Result<Launched, Cause>>;

    /// Nothing will be started any more, and everything may be let go.
    fn goodbye(&self);
}

/// A process that runs.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) process: Process,
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) enforcement: Arc<Enforcement>,
    /// What it was refused so far; the latest word only.
    pub(crate) denials: watch::Receiver<Arc<Tally>>,
    /// Its way out to named hosts, for whoever is to be its broker.
    pub(crate) way: Option<Way>,
}

/// How a process ended, once its whole tree is gone.
#[derive(Debug, Clone)]
pub(crate) struct Exited {
    pub(crate) cause: Cause,
    pub(crate) usage: Option<Usage>,
    /// The most memory that the tree used at once, in bytes.
    pub(crate) memory_peak: Option<u64>,
    /// The limits that it ran into.
    pub(crate) limits: Vec<Hit>,
}

/// What can be done to a process.
pub(crate) trait Control: fmt::Debug + Send + Sync {
    /// Sends a signal to the main process.
    fn signal(&self, signal: i32);
    /// Kills the whole tree.
    fn kill(&self);
    /// The processor time of the main process so far, if it can be told.
    fn cpu_time(&self) -> Option<Duration>;
    /// The same of the main process and all that descends from it; coarser.
    fn tree_time(&self) -> Option<Duration>;
}

/// Tells the processor time of a process.
#[derive(Debug, Clone)]
pub(crate) struct Meter(Arc<dyn Control>);

impl Meter {
    /// The time so far; `None` when the process is gone, or nobody can tell.
    pub(crate) fn read(&self) -> Option<Duration> {
        self.0.cpu_time()
    }
}

/// A hold on a process. Letting go of it kills the tree.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Option<u32>,
    main: Option<AsyncFd<OwnedFd>>,
    exited: watch::Receiver<Option<Exited>>,
    control: Arc<dyn Control>,
}

impl Process {
    /// `main` is the main process's pidfd, which becomes readable when it ends; `exited` is set when
    /// the tree is gone, and its sender dropped if nobody will ever know.
    pub(crate) fn new(
        pid: Option<u32>,
        main: Option<AsyncFd<OwnedFd>>,
        exited: watch::Receiver<Option<Exited>>,
        control: Arc<dyn Control>,
    ) -> Self {
        Self { pid, main, exited, control }
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid
    }

    pub(crate) fn signal(&self, signal: i32) {
        self.control.signal(signal);
    }

    pub(crate) fn kill(&self) {
        self.control.kill();
    }

    /// What tells the processor time of the main process, without a hold on it.
    pub(crate) fn meter(&self) -> Meter {
        Meter(self.control.clone())
    }

    /// How much processor time it and its descendants have used, if that can be said.
    pub(crate) fn tree_time(&self) -> Option<Duration> {
        self.control.tree_time()
    }

    /// Waits until the main process has ended, whatever its children do.
    pub(crate) async fn main_ended(&self) {
        let tree = self.exited();
        match &self.main {
            Some(pidfd) => tokio::select! {
                _ready = pidfd.readable() => {}
                _exited = tree => {}
            },
            None => drop(tree.await),
        }
    }

    /// Waits until the whole tree is gone.
    pub(crate) async fn exited(&self) -> Exited {
        let mut exited = self.exited.clone();
        match exited.wait_for(Option::is_some).await {
            Ok(known) => known.clone().unwrap_or(Exited::unseen(Cause::Unknown)),
            Err(_closed) => Exited::unseen(Cause::KeeperLost),
        }
    }
}

impl Exited {
    /// An end that nobody could measure.
    pub(crate) fn unseen(cause: Cause) -> Self {
        Self { cause, usage: None, memory_peak: None, limits: Vec::new() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exited.borrow().is_none() {
            self.control.kill();
        }
    }
}
