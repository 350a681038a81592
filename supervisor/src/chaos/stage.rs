//! Where one row is played: a host with the sinner `chaos` and its healthy neighbour.

use std::{
    fs,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plugbay::{
    CallError, CallErrorKind, Cause, Death, EventKind, Events, Host, LogSource, PluginStatus,
};
use plugbay_sandbox::Layer;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    clock::{PATIENCE, now},
    ear::{Ear, Said},
    ground::{Ground, open},
    plan::Plan,
    unmet::{Unmet, broken, require},
    vitals,
};

/// The sinner's name.
pub(crate) const SINNER: &str = "chaos";

/// The stage of one row.
pub(crate) struct Stage {
    pub(crate) ground: Ground,
    /// Where the plugins of the host are.
    pub(crate) scene: PathBuf,
    pub(crate) host: Host,
    pub(crate) ear: Arc<Ear>,
    /// The sinner, as the row set it up.
    pub(crate) plan: Plan,
}

impl Stage {
    /// A host with the sinner and its neighbour.
    pub(crate) async fn set(plan: Plan) -> Result<Self, Unmet> {
        let ground = Ground::new()?;
        let scene = ground.scene("plugins")?;
        ground.put_neighbour(&scene)?;
        ground.put_sinner(&scene, SINNER, plan)?;
        let ear = Arc::<Ear>::default();
        let host = ground.open(&scene, &ear, |builder| builder.restart_policy(plan.tune)).await?;
        Ok(Self { ground, scene, host, ear, plan })
    }

    /// Sets the sins of the sinner's next start.
    pub(crate) fn next_start(&self, sins: &str) -> Result<(), Unmet> {
        let file = self.scene.join(SINNER).join("sins");
        fs::write(&file, sins)?;
        Ok(open(&file, 0o644)?)
    }

    /// Calls the sinner.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Result<Value, CallError> {
        self.host.call(SINNER, method, &params).await
    }

    /// Calls the sinner; any answer but `expected` breaks the row.
    pub(crate) async fn answers(
        &self,
        method: &str,
        params: Value,
        expected: impl Into<Value>,
    ) -> Result<(), Unmet> {
        let (answer, expected) = (self.call(method, params).await?, expected.into());
        require!(answer == expected, "`{method}` answered {answer}, not {expected}");
        Ok(())
    }

    /// The sinner is as healthy as anybody.
    pub(crate) async fn is_healthy(&self) -> Result<(), Unmet> {
        let answer = self.call("echo", json!({"are you": "well"})).await;
        let answer = answer.map_err(|error| broken(format_args!("not healthy: {error}")))?;
        require!(answer.get("are you") == Some(&json!("well")), "not healthy: {answer}");
        Ok(())
    }

    /// What is reported of a layer of the sinner's sandbox.
    pub(crate) async fn layer(&self, layer: Layer) -> Result<String, Unmet> {
        let enforcement = self.status().await?.enforcement;
        let report = enforcement.as_ref().and_then(|enforcement| enforcement.layer(layer));
        report.map(|report| report.why.clone()).ok_or_else(|| broken("no report of its sandbox"))
    }

    /// The keeper of this stage's host.
    pub(crate) async fn keeper(&self) -> Result<i32, Unmet> {
        let mut at = self.pid().await?;
        loop {
            let parent = vitals::parent(at).ok_or_else(|| broken("its keeper is gone"))?;
            if parent == vitals::own() {
                return Ok(at);
            }
            at = parent;
        }
    }

    /// Has the sinner sin in a call that must fail, and tells how it failed and how long it took.
    pub(crate) async fn sin(
        &self,
        method: &str,
        params: Value,
    ) -> Result<(CallError, Duration), Unmet> {
        let began = now();
        match self.call(method, params).await {
            Ok(answer) => Err(broken(format_args!("`{method}` was answered with {answer}"))),
            Err(error) => Ok((error, began.elapsed())),
        }
    }

    /// How the sinner is.
    pub(crate) async fn status(&self) -> Result<PluginStatus, Unmet> {
        self.host.plugin(SINNER).await.ok_or_else(|| broken("the host forgot the plugin"))
    }

    /// The sinner's process.
    pub(crate) async fn pid(&self) -> Result<i32, Unmet> {
        pid(&self.host, SINNER).await
    }

    /// Sends the sinner's process a signal, and says when.
    pub(crate) async fn signal(&self, signal: Signal) -> Result<Instant, Unmet> {
        kill(Pid::from_raw(self.pid().await?), signal)?;
        Ok(now())
    }

    /// The processes of the sinner that are there now, its descendants included.
    pub(crate) fn sinners(&self) -> Vec<OwnedFd> {
        vitals::carriers(&self.ground.token())
    }

    /// Waits until the sinner's last process has a death record.
    pub(crate) async fn death(&self, events: &mut Events) -> Result<Arc<Death>, Unmet> {
        self.death_within(PATIENCE, events).await
    }

    /// The same, with a patience of one's own.
    pub(crate) async fn death_within(
        &self,
        patience: Duration,
        events: &mut Events,
    ) -> Result<Arc<Death>, Unmet> {
        let died = async {
            while let Some(event) = events.next().await {
                if let EventKind::Died(death) = event.kind
                    && &*event.plugin == SINNER
                {
                    return Ok(death);
                }
            }
            Err(broken("the host is gone"))
        };
        timeout(patience, died).await.unwrap_or_else(|_late| {
            Err(broken(format_args!("it did not die within {patience:.0?}")))
        })
    }

    /// Waits until the sinner is in this state.
    pub(crate) async fn reaches(&self, state: &str) -> Result<(), Unmet> {
        self.reaches_within(PATIENCE, state).await
    }

    /// The same, with a patience of one's own.
    pub(crate) async fn reaches_within(
        &self,
        patience: Duration,
        state: &str,
    ) -> Result<(), Unmet> {
        let mut events = self.host.subscribe();
        let reached = async {
            while self.status().await?.state != state {
                events.next().await;
            }
            Ok(())
        };
        match timeout(patience, reached).await {
            Ok(reached) => reached,
            Err(_late) => {
                let now = self.status().await?;
                Err(broken(format_args!("it is {}, not {state}: {}", now.state, now.reason)))
            }
        }
    }

    /// Waits until the sinner has said this so often.
    pub(crate) async fn hears(&self, text: &str, times: usize) -> Result<(), Unmet> {
        self.ear.hears(SINNER, text, times).await
    }

    /// What the sinner said, as far as it fits.
    pub(crate) fn said(&self, fits: impl Fn(&Said) -> bool) -> Vec<Said> {
        self.ear.said(SINNER, fits)
    }

    /// What came from one of its streams.
    pub(crate) fn from(&self, source: LogSource) -> Vec<Said> {
        self.said(|said| said.source == source)
    }
}

/// The process of a plugin that runs.
pub(crate) async fn pid(host: &Host, plugin: &str) -> Result<i32, Unmet> {
    let status = host.plugin(plugin).await.ok_or_else(|| broken("there is no such plugin"))?;
    let pid = status.pid.and_then(|pid| i32::try_from(pid).ok());
    pid.ok_or_else(|| broken(format_args!("`{plugin}` does not run, it is {}", status.state)))
}

/// The cause that a caller is told.
pub(crate) fn crash(error: &CallError) -> Result<Cause, Unmet> {
    if let CallErrorKind::Crashed { cause, .. } = error.kind() {
        return Ok(cause.clone());
    }
    Err(broken(format_args!("the caller is not told of a crash: {error}")))
}

/// The caller is told that this signal was the end; or, where the machine is too busy to know that
/// within a tenth of a second, that it ended.
pub(crate) fn killed_by(error: &CallError, signal: Signal) -> Result<(), Unmet> {
    let cause = crash(error)?;
    let known = [Cause::Signal(signal as i32), Cause::Unknown];
    require!(known.contains(&cause), "the caller is told: {cause}");
    Ok(())
}

/// The caller is told that the protocol was broken; how.
pub(crate) fn violation(error: &CallError) -> Result<String, Unmet> {
    let cause = crash(error)?;
    if let Cause::Protocol(why) = cause {
        return Ok(why);
    }
    Err(broken(format_args!("not ended for the protocol: {cause}")))
}
