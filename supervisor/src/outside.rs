//! The broker of a command that may reach named hosts: in a thread of its own, which is made once the
//! command runs, since until then a process that seals must have one only.

use std::{io, sync::Arc, thread::JoinHandle};

use plugbay_broker::{Broker, Rules};
use plugbay_sandbox::{NetworkMode, Spec, Tally, Way};
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
};

use crate::{exit::Exit, failure::Failure};

/// Names that are looked up at a time, each by a thread.
const LOOKUP_THREADS: usize = 8;

/// A broker in the making: all that can fail, before anything runs.
#[derive(Debug)]
pub(crate) struct Prepared {
    rules: Rules,
    runtime: Runtime,
}

/// A broker at work, if the command has one.
#[derive(Debug, Default)]
pub(crate) struct Outside(Option<Working>);

#[derive(Debug)]
struct Working {
    broker: Arc<Broker>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Prepared {
    /// What the spec's network needs outside: nothing, but for named hosts.
    pub(crate) fn of(spec: &Spec) -> Result<Option<Self>, Failure> {
        if spec.network.mode != NetworkMode::Hosts {
            return Ok(None);
        }
        let rules = Rules::new(&spec.network.hosts).map_err(Failure::usage)?;
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().max_blocking_threads(LOOKUP_THREADS).build();
        let runtime = runtime.map_err(|error| Failure::new(Exit::NotSealed, error))?;
        Ok(Some(Self { rules, runtime }))
    }

    /// Goes to work. Without a way there is nothing to serve (level none).
    pub(crate) fn serve(self, way: Option<Way>) -> io::Result<Outside> {
        let Some(Way { inlets, token }) = way else { return Ok(Outside::default()) };
        let broker = Broker::new(self.rules, token);
        let (stop, stopped) = oneshot::channel();
        let (work, runtime) = (broker.clone(), self.runtime);
        let thread = std::thread::Builder::new().name("broker".to_owned());
        let thread = thread.spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    // It ends when it cannot wait for an inlet; then nothing comes out any more.
                    _ended = work.serve(inlets) => {}
                    _stop = stopped => {}
                }
            });
            // A name that is still being looked up is waited for by nobody.
            runtime.shutdown_background();
        })?;
        Ok(Outside(Some(Working { broker, stop, thread })))
    }
}

impl Outside {
    /// Ends, and tells what was refused.
    pub(crate) fn end(self) -> Tally {
        let Some(Working { broker, stop, thread }) = self.0 else { return Tally::default() };
        // Refused when it has ended by itself.
        stop.send(()).ok();
        thread.join().ok();
        Tally::clone(&broker.denials().borrow())
    }
}
