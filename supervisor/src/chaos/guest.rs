//! Faults from outside, committed against a plugin of the user's own: it is started in hosts of ours,
//! killed, stopped and starved there, and must come back. Instances that run elsewhere are never
//! touched: every signal goes to a process that the host of this very row has started.

pub(crate) mod call;
pub(crate) mod life;

use std::{pin::Pin, sync::Arc, time::Duration};

use nix::sys::signal::Signal;
use plugbay::{CallError, Death, EventKind, Events, Host, Package, lifecycle::restart::Policy};
use serde_json::{Value, value::RawValue};
use tokio::time;

use super::{
    clock::{PATIENCE, now},
    ear::Ear,
    ground::Ground,
    neighbour, stage,
    unmet::{Observed, Unmet, broken, impossible, require},
    vitals,
};

/// How long a row may take at most.
const BOUND: Duration = Duration::from_secs(120);

/// What a row does with a guest.
pub(crate) type Inject = for<'g> fn(&'g Guest) -> Pin<Box<dyn Future<Output = Observed> + 'g>>;

/// One fault from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trial {
    /// Its number in the catalogue.
    pub(crate) number: u32,
    /// What happens.
    pub(crate) fault: &'static str,
    /// What must come of it.
    pub(crate) required: &'static str,
    inject: Inject,
    /// When the row is given up.
    pub(crate) bound: Duration,
}

impl Trial {
    const fn new(number: u32, fault: &'static str, required: &'static str, inject: Inject) -> Self {
        Self { number, fault, required, inject, bound: BOUND }
    }
}

/// Every fault that can be committed from outside, by number.
pub(crate) fn catalogue() -> Vec<Trial> {
    let mut trials = [life::trials(), call::trials()].concat();
    trials.sort_by_key(|trial| trial.number);
    trials
}

/// The user's plugin, and a harmless call of it if there is one.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// The plugin.
    pub(crate) package: Package,
    /// The plugins that it depends on.
    pub(crate) dependencies: Vec<Package>,
    /// Its configuration.
    pub(crate) config: Option<Value>,
    /// A method and its parameters.
    pub(crate) call: Option<(String, Option<Box<RawValue>>)>,
}

/// The subject in a host of a row.
pub(crate) struct Guest {
    pub(crate) subject: Subject,
    pub(crate) host: Host,
    ground: Ground,
}

impl Subject {
    /// The plugin's name.
    pub(crate) fn name(&self) -> &str {
        self.package.manifest.plugin.name.as_str()
    }

    /// Opens a host with it and a healthy neighbour.
    pub(crate) async fn enter(self) -> Result<Guest, Unmet> {
        let ground = Ground::new()?;
        let scene = ground.scene("plugins")?;
        ground.put_neighbour(&scene)?;
        let subject = self.clone();
        let host = ground
            .open(&scene, &Arc::<Ear>::default(), |mut builder| {
                if let Some(config) = self.config {
                    builder = builder.config(self.package.manifest.plugin.name.as_str(), config);
                }
                for package in self.dependencies {
                    builder = builder.plugin(package);
                }
                builder.plugin(self.package).restart_policy(soon)
            })
            .await?;
        Ok(Guest { subject, host, ground })
    }
}

/// Its own policy, without the delays that would make a row long and the breakers that would end it.
fn soon(policy: &mut Policy) {
    super::plan::at_once(policy);
    policy.mode = plugbay::lifecycle::restart::Mode::Always;
}

impl Guest {
    /// Commits one fault.
    pub(crate) async fn suffer(&self, trial: &Trial) -> Observed {
        self.is_well().await?;
        (trial.inject)(self).await
    }

    fn name(&self) -> &str {
        self.subject.name()
    }

    /// It runs, and answers if it can be called.
    async fn is_well(&self) -> Result<(), Unmet> {
        let started = time::timeout(PATIENCE, self.host.start_plugin(self.name())).await;
        started.map_err(|_late| broken("it does not come up"))??;
        if self.subject.call.is_some() {
            let answered = self.call(Duration::from_secs(30)).await;
            answered.map_err(|error| broken(format_args!("not well: {error}")))?;
        }
        Ok(())
    }

    /// Makes the harmless call. Without one the row cannot be played: [`Self::method`] says so.
    async fn call(&self, deadline: Duration) -> Result<Box<RawValue>, CallError> {
        let (method, params) = self.subject.call.clone().unwrap_or_default();
        let mut call = self.host.call_with(self.name(), &method).deadline(deadline);
        if let Some(params) = &params {
            call = call.params(params);
        }
        call.send_raw().await
    }

    /// The method of the harmless call.
    fn method(&self) -> Result<&str, Unmet> {
        let call = self.subject.call.as_ref();
        let none = || impossible("needs a call that does no harm: name one with --call");
        Ok(call.ok_or_else(none)?.0.as_str())
    }

    async fn pid(&self) -> Result<i32, Unmet> {
        stage::pid(&self.host, self.name()).await
    }

    /// Sends its process a signal, by descriptor, so that it hits nobody else.
    async fn signal(&self, signal: Signal) -> Result<(), Unmet> {
        let pid = self.pid().await?;
        let ours = vitals::descendants(vitals::own()).contains(&pid);
        require!(ours, "process {pid} is none of this host's");
        let process = vitals::open(pid).ok_or_else(|| broken("its process is gone"))?;
        Ok(plugbay_sandbox::process::signal(std::os::fd::AsFd::as_fd(&process), signal as i32)?)
    }

    /// Waits until a process of it has a death record.
    async fn death(&self, events: &mut Events) -> Result<Arc<Death>, Unmet> {
        let died = async {
            while let Some(event) = events.next().await {
                if let EventKind::Died(death) = event.kind
                    && *event.plugin == *self.name()
                {
                    return Ok(death);
                }
            }
            Err(broken("the host is gone"))
        };
        let late = |_| broken(format_args!("it did not die within {PATIENCE:.0?}"));
        time::timeout(PATIENCE, died).await.map_err(late)?
    }

    /// Has it die of a signal, and come back by itself; how it died, and when it was back.
    async fn dies_of(&self, signal: Signal) -> Result<(Arc<Death>, Duration), Unmet> {
        let mut events = self.host.subscribe();
        let before = self.pid().await?;
        self.signal(signal).await?;
        let began = now();
        let death = self.death(&mut events).await?;
        self.runs_again(before).await?;
        let took = began.elapsed();
        self.is_well().await?;
        Ok((death, took))
    }

    /// Waits until another process than this one takes calls.
    async fn runs_again(&self, before: i32) -> Result<(), Unmet> {
        let mut events = self.host.subscribe();
        let back = async {
            loop {
                let status = self.host.plugin(self.name()).await;
                let status = status.ok_or_else(|| broken("the host forgot it"))?;
                let pid = status.pid.and_then(|pid| i32::try_from(pid).ok());
                let ready = matches!(status.state, "running" | "degraded");
                if ready && pid.is_some_and(|pid| pid != before) {
                    return Ok(());
                }
                require!(status.state != "failed", "it is given up: {}", status.reason);
                time::timeout(Duration::from_millis(100), events.next()).await.ok();
            }
        };
        let late = |_| broken("it does not come back");
        time::timeout(PATIENCE, back).await.map_err(late)?
    }

    /// Ends the host; the neighbour was well to the last.
    pub(crate) async fn leave(self) -> Result<(), Unmet> {
        neighbour::call(&self.host).await?;
        let down = time::timeout(Duration::from_secs(60), self.host.shutdown()).await;
        down.map_err(|_late| broken("the host does not shut down"))?;
        drop(self.ground);
        Ok(())
    }
}
