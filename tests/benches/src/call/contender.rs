//! Who makes the calls: the floor's blocking loop, and a host on either kind of runtime.

use std::path::Path;

use anyhow::Result;
use futures_util::future::try_join_all;
use plugbay::Host;
use serde::{Deserialize, Serialize};
use tokio::runtime::{Builder, Runtime};

use crate::{
    clock::Watch,
    plain::{INITIALIZE, Plain},
    sample::{Contender, Samples},
};

/// The parameters and the result of `echo`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Text {
    text: String,
}

impl Text {
    /// About 100 bytes as JSON.
    pub(super) fn of_a_line() -> Self {
        Self {
            text: "the quick brown fox jumps over the lazy dog, twice over, and then once more "
                .into(),
        }
    }
}

#[derive(Serialize)]
pub(super) struct Request<'a, P> {
    pub(super) jsonrpc: &'a str,
    pub(super) id: u64,
    pub(super) method: &'a str,
    pub(super) params: P,
}

#[derive(Deserialize)]
pub(super) struct Response<R> {
    pub(super) id: u64,
    pub(super) result: R,
}

/// Blocking pipes, serde_json on both ends, nothing else.
pub(super) struct Floor {
    name: &'static str,
    child: Option<Plain>,
    in_turn: usize,
    next: u64,
    out: Vec<u8>,
}

impl Floor {
    pub(super) fn new(name: &'static str, program: &Path, in_turn: usize) -> Result<Self> {
        let child = greeted::<&str>(program, &[])?;
        Ok(Self { name, child: Some(child), in_turn, next: 0, out: Vec::new() })
    }
}

fn greeted<A: AsRef<std::ffi::OsStr>>(program: &Path, args: &[A]) -> Result<Plain> {
    let mut child = Plain::start(program.as_os_str(), args)?;
    child.write(INITIALIZE)?;
    child.read()?;
    Ok(child)
}

impl Contender for Floor {
    fn name(&self) -> &str {
        self.name
    }

    fn turn(&mut self, samples: &mut Samples) -> Result<()> {
        let Some(child) = &mut self.child else { return Ok(()) };
        let text = Text::of_a_line();
        for _ in 0..self.in_turn {
            let watch = Watch::start();
            self.next += 1;
            let request = Request { jsonrpc: "2.0", id: self.next, method: "echo", params: &text };
            self.out.clear();
            serde_json::to_writer(&mut self.out, &request)?;
            self.out.push(b'\n');
            child.write(&self.out)?;
            let response: Response<Text> = serde_json::from_slice(child.read()?)?;
            samples.push(watch.elapsed());
            anyhow::ensure!(response.id == self.next, "an answer to another request");
            std::hint::black_box(response.result.text);
        }
        Ok(())
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.child.take().map(Plain::end);
    }
}

/// The floor of many at once: all requests in one write.
pub(super) struct Batch {
    name: &'static str,
    child: Plain,
    callers: usize,
    batches: usize,
    out: Vec<u8>,
}

impl Batch {
    pub(super) fn new(
        name: &'static str,
        program: &Path,
        callers: usize,
        batches: usize,
    ) -> Result<Self> {
        let child = greeted::<&str>(program, &[])?;
        Ok(Self { name, child, callers, batches, out: Vec::new() })
    }
}

impl Contender for Batch {
    fn name(&self) -> &str {
        self.name
    }

    fn turn(&mut self, samples: &mut Samples) -> Result<()> {
        let text = Text::of_a_line();
        let watch = Watch::start();
        for _ in 0..self.batches {
            self.out.clear();
            for id in 0..self.callers {
                let id = u64::try_from(id)?;
                let request = Request { jsonrpc: "2.0", id, method: "echo", params: &text };
                serde_json::to_writer(&mut self.out, &request)?;
                self.out.push(b'\n');
            }
            self.child.write(&self.out)?;
            for _ in 0..self.callers {
                let response: Response<Text> = serde_json::from_slice(self.child.read()?)?;
                std::hint::black_box(response.result.text);
            }
        }
        let calls = u32::try_from(self.batches * self.callers)?;
        samples.push(watch.elapsed() / calls);
        Ok(())
    }
}

/// A host with one plugin, on a runtime of its own.
pub(super) struct Guest {
    pub(super) runtime: Runtime,
    pub(super) host: Host,
}

impl Guest {
    pub(super) fn current(dir: &Path) -> Result<Self> {
        Self::on(Builder::new_current_thread().enable_all().build()?, dir)
    }

    pub(super) fn multi(dir: &Path) -> Result<Self> {
        Self::on(Builder::new_multi_thread().enable_all().build()?, dir)
    }

    fn on(runtime: Runtime, dir: &Path) -> Result<Self> {
        let package = plugbay::load(dir)?;
        let host = runtime.block_on(Host::builder().plugin(package).start())?;
        runtime.block_on(host.settled());
        Ok(Self { runtime, host })
    }

    /// Runs a task of the runtime, as an application's code would, and waits for it.
    pub(super) fn run<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.runtime.block_on(async { self.runtime.spawn(task).await? })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.runtime.block_on(self.host.shutdown());
    }
}

/// Calls of a host, one after the other.
pub(super) struct Calls {
    name: &'static str,
    guest: Guest,
    plugin: &'static str,
    in_turn: usize,
}

impl Calls {
    pub(super) fn current(
        name: &'static str,
        dir: &Path,
        plugin: &'static str,
        in_turn: usize,
    ) -> Result<Self> {
        Ok(Self { name, guest: Guest::current(dir)?, plugin, in_turn })
    }

    pub(super) fn multi(
        name: &'static str,
        dir: &Path,
        plugin: &'static str,
        in_turn: usize,
    ) -> Result<Self> {
        Ok(Self { name, guest: Guest::multi(dir)?, plugin, in_turn })
    }
}

impl Contender for Calls {
    fn name(&self) -> &str {
        self.name
    }

    fn turn(&mut self, samples: &mut Samples) -> Result<()> {
        let (host, plugin, in_turn) = (self.guest.host.clone(), self.plugin, self.in_turn);
        let times = self.guest.run(async move {
            let text = Text::of_a_line();
            let mut times = Vec::with_capacity(in_turn);
            for _ in 0..in_turn {
                let watch = Watch::start();
                let answer: Text = host.call(plugin, "echo", &text).await?;
                times.push(watch.elapsed());
                std::hint::black_box(answer.text);
            }
            Ok(times)
        })?;
        times.into_iter().for_each(|time| samples.push(time));
        Ok(())
    }
}

/// Many callers of a host at once, each calling again as soon as it has its answer.
pub(super) struct Crowd {
    name: &'static str,
    guest: Guest,
    callers: usize,
    calls_each: usize,
}

impl Crowd {
    pub(super) fn current(
        name: &'static str,
        dir: &Path,
        callers: usize,
        calls_each: usize,
    ) -> Result<Self> {
        Ok(Self { name, guest: Guest::current(dir)?, callers, calls_each })
    }

    pub(super) fn multi(
        name: &'static str,
        dir: &Path,
        callers: usize,
        calls_each: usize,
    ) -> Result<Self> {
        Ok(Self { name, guest: Guest::multi(dir)?, callers, calls_each })
    }
}

impl Contender for Crowd {
    fn name(&self) -> &str {
        self.name
    }

    fn turn(&mut self, samples: &mut Samples) -> Result<()> {
        let calls_each = self.calls_each;
        let host = &self.guest.host;
        let caller = || {
            let host = host.clone();
            async move {
                let text = Text::of_a_line();
                for _ in 0..calls_each {
                    let answer: Text = host.call("rust", "echo", &text).await?;
                    std::hint::black_box(answer.text);
                }
                anyhow::Ok(())
            }
        };
        let watch = Watch::start();
        let tasks: Vec<_> = (0..self.callers).map(|_| self.guest.runtime.spawn(caller())).collect();
        let ended = self.guest.runtime.block_on(try_join_all(tasks))?;
        let calls = u32::try_from(self.callers * calls_each)?;
        samples.push(watch.elapsed() / calls);
        ended.into_iter().collect()
    }
}
