//! Sealed starts by the path that plugins take: a keeper asked by its client, or by a whole host.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use plugbay::Host;
use plugbay_keeper::{Client, Event, Request};
use plugbay_sandbox::{Access, Enforcement, FileGrant, Spec, Status, scrub};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{
    clock::Watch,
    plain::INITIALIZE,
    sample::{Contender, Samples},
};

/// Starts by a keeper, one or many at once.
pub(super) struct ByKeeper {
    name: &'static str,
    client: Client,
    spec: Spec,
    crowd: usize,
    token: u64,
}

impl ByKeeper {
    /// With the same grant and limits as a plugin in `dir` that asks for nothing.
    pub(super) fn new(
        name: &'static str,
        dir: &Path,
        program: &Path,
        crowd: usize,
    ) -> Result<Self> {
        let client = Client::start(&plugbay_keeper::locate(None)?)?;
        let mut spec = Spec::new(program);
        spec.workdir = dir.to_owned();
        spec.env = scrub(&[], &[]);
        spec.files = vec![FileGrant::requested(dir, Access::Exec)];
        Ok(Self { name, client, spec, crowd, token: 0 })
    }

    fn event(&self) -> Result<(Event, Vec<OwnedFd>)> {
        loop {
            if let Some(event) = self.client.receive()? {
                return Ok(event);
            }
            poll(&mut [PollFd::new(self.client.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
        }
    }

    fn ask(&mut self) -> Result<()> {
        self.token += 1;
        let spec = Box::new(self.spec.clone());
        Ok(self.client.send(&Request::Spawn { token: self.token, spec })?)
    }

    fn started(&self) -> Result<(Enforcement, [OwnedFd; 4])> {
        let (event, fds) = self.event()?;
        match (event, <[OwnedFd; 4]>::try_from(fds)) {
            (Event::Started { enforcement, .. }, Ok(fds)) => Ok((*enforcement, fds)),
            (event, _) => bail!("not started: {event:?}"),
        }
    }

    fn ended(&self, how_many: usize) -> Result<()> {
        for _ in 0..how_many {
            let (event, _) = self.event()?;
            anyhow::ensure!(matches!(event, Event::Exited { .. }), "not ended: {event:?}");
        }
        Ok(())
    }
}

impl Contender for ByKeeper {
    fn name(&self) -> &str {
        self.name
    }

    fn turn(&mut self, samples: &mut Samples) -> Result<()> {
        let watch = Watch::start();
        for _ in 0..self.crowd {
            self.ask()?;
        }
        let mut running = Vec::with_capacity(self.crowd);
        for _ in 0..self.crowd {
            let (_, [input, output, error, process]) = self.started()?;
            let mut input = File::from(input);
            input.write_all(INITIALIZE)?;
            running.push((input, File::from(output), error, process));
        }
        let mut answer = [0; 4096];
        for (_, output, _, _) in &mut running {
            anyhow::ensure!(output.read(&mut answer)? > 0, "the plugin has ended");
        }
        samples.push(watch.elapsed());
        drop(running);
        self.ended(self.crowd)
    }
}

/// What the sealed starts were sealed with, in one line.
pub(super) fn layers(dir: &Path, program: &Path) -> Result<String> {
    let mut one = ByKeeper::new("", dir, program, 1)?;
    one.ask()?;
    let (enforcement, fds) = one.started()?;
    drop(fds);
    one.ended(1)?;
    let with = |status: Status| {
        let those = enforcement.layers.iter().filter(|report| report.status == status);
        those.map(|report| report.layer.to_string()).collect::<Vec<_>>().join(", ")
    };
    let (enforced, partial, absent) =
        (with(Status::Enforced), with(Status::Partial), with(Status::Absent));
    Ok(format!("enforced: {enforced}; partial: {partial}; absent: {absent}"))
}

/// Starts by a host: with handshake, and a call as the first answer.
pub(super) struct ByHost {
    name: &'static str,
    runtime: Runtime,
    host: Host,
}

impl ByHost {
    pub(super) fn new(name: &'static str, dir: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let package = plugbay::load(dir)?;
        let host = runtime.block_on(Host::builder().plugin(package).on_demand().start())?;
        Ok(Self { name, runtime, host })
    }
}

impl Contender for ByHost {
    fn name(&self) -> &str {
        self.name
    }

    fn turn(&mut self, samples: &mut Samples) -> Result<()> {
        let (name, host) = (self.name, &self.host);
        let time = self.runtime.block_on(async {
            let watch = Watch::start();
            host.start_plugin("rust").await.with_context(|| name)?;
            let _answer: Value = host.call("rust", "echo", &json!({"text": "first"})).await?;
            let time = watch.elapsed();
            host.stop_plugin("rust").await?;
            anyhow::Ok(time)
        })?;
        samples.push(time);
        Ok(())
    }
}

impl Drop for ByHost {
    fn drop(&mut self) {
        self.runtime.block_on(self.host.shutdown());
    }
}
