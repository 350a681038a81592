//! The author's face: a plugin, its methods, and [`Plugin::run`].

use crate::claim::{self, RPC_FD};
use crate::context::Context;
use crate::error::Result;
use crate::method::{Handler, Method};
use crate::session::Session;
use crate::state::{Keeper, State};
use crate::task::Work;
use plugbay_protocol::method::is_reserved;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

pub(crate) type Hook = Box<dyn Fn(&Context) -> Result<()> + Send + Sync>;
type HealthHook = Box<dyn Fn(&Context) -> Result<Health> + Send + Sync>;
type Executor = Box<dyn Fn(Work) + Send + Sync>;

/// A named set of methods that a host can call.
///
/// ```no_run
/// use plugbay_sdk::{Context, ExitCode, Plugin, Result};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize)]
/// struct CountParams { path: String }
///
/// #[derive(Serialize)]
/// struct Count { words: usize }
///
/// fn main() -> ExitCode {
///     Plugin::new("words", "1.0.0")
///         .method("count", |params: CountParams, _: &Context| -> Result<Count> {
///             let text = std::fs::read_to_string(params.path)?;
///             Ok(Count { words: text.split_whitespace().count() })
///         })
///         .run()
/// }
/// ```
#[must_use = "a plugin does nothing before it is run"]
pub struct Plugin {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) methods: BTreeMap<String, Arc<Method>>,
    pub(crate) on_start: Vec<Hook>,
    pub(crate) on_stop: Vec<Hook>,
    pub(crate) on_drain: Vec<Hook>,
    pub(crate) on_health: Vec<HealthHook>,
    pub(crate) state: Option<Box<dyn Keeper>>,
    pub(crate) executor: Option<Executor>,
    pub(crate) threads: usize,
    /// What is wrong with it.
    pub(crate) faults: Vec<String>,
}

/// How a plugin is, by its own account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Able to work.
    Ok,
    /// Able to, but not as it should be.
    Degraded(String),
}

/// Handlers that run at once unless the author says otherwise.
const THREADS: usize = 32;

impl Plugin {
    /// A plugin with no methods yet, named as its `plugin.toml` does.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            methods: BTreeMap::new(),
            on_start: Vec::new(),
            on_stop: Vec::new(),
            on_drain: Vec::new(),
            on_health: Vec::new(),
            state: None,
            executor: None,
            threads: THREADS,
            faults: Vec::new(),
        }
    }

    /// Makes a function callable as `name`. Its parameters are read as `P`, by name from an object or
    /// by position from an array; what does not fit is refused with what `serde` says.
    ///
    /// The handler may block: others run beside it, on threads that are started as they are needed. A
    /// panic in it is answered as an `InternalError`.
    pub fn method<P, R, F>(self, name: &str, handler: F) -> Self
    where
        P: DeserializeOwned + 'static,
        R: Serialize,
        F: Fn(P, &Context) -> Result<R> + Send + Sync + 'static,
    {
        self.add(name, Handler::from_fn(handler))
    }

    /// Makes an asynchronous function callable as `name`, otherwise as [`Plugin::method`]. While it
    /// waits it takes no thread, and when its call is cancelled it is dropped where it waits.
    ///
    /// ```
    /// use plugbay_sdk::{Context, Plugin, Result, Value, json};
    ///
    /// let plugin = Plugin::new("both", "1.0.0")
    ///     .method_async("both", |_: (), ctx: Context| async move {
    ///         let host: Value = ctx.call_async("host/info", &()).await?;
    ///         let words: u64 = ctx.call_plugin_async("words", "count", &json!({})).await?;
    ///         Ok(json!({"host": host, "words": words}))
    ///     });
    /// # let host = plugbay_sdk::testing::Host::new(plugin).stub_plugin("words", "count", |_| Ok(json!(7)));
    /// # assert_eq!(host.call::<Value>("both", &())?["words"], 7);
    /// # Ok::<(), plugbay_sdk::CallError>(())
    /// ```
    ///
    /// Futures that need a runtime of their own, such as `tokio`'s sockets and timers, need
    /// [`Plugin::executor`] too.
    pub fn method_async<P, R, F, T>(self, name: &str, handler: F) -> Self
    where
        P: DeserializeOwned + 'static,
        R: Serialize,
        F: Fn(P, Context) -> T + Send + Sync + 'static,
        T: Future<Output = Result<R>> + Send + 'static,
    {
        self.add(name, Handler::from_async_fn(handler))
    }

    /// Has asynchronous handlers run by a runtime of the author's. It is given futures, to be run to
    /// their end; dropping one fails its call.
    ///
    /// ```text
    /// let runtime = tokio::runtime::Runtime::new()?;
    /// let handle = runtime.handle().clone();
    /// plugin.executor(move |future| drop(handle.spawn(future))).run()
    /// ```
    pub fn executor(
        mut self,
        spawn: impl Fn(std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync + 'static,
    ) -> Self {
        self.executor = Some(Box::new(spawn));
        self
    }

    /// Checks at the start that the configuration fits `T`, and fails the start if it does not. Read
    /// it by [`Context::config`].
    pub fn config<T: DeserializeOwned + Send + Sync + 'static>(self) -> Self {
        self.on_start(|ctx| ctx.config::<T>().map(drop))
    }

    /// Runs `hook` before the first call, after those given before; its error fails the start. It may
    /// log, and show its progress, but not call the host: that comes later.
    pub fn on_start(
        mut self,
        hook: impl Fn(&Context) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.on_start.push(Box::new(hook));
        self
    }

    /// Runs `hook` after the last call. Quickly: if the host has gone, the process is to end within a
    /// second.
    pub fn on_stop(
        mut self,
        hook: impl Fn(&Context) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.on_stop.push(Box::new(hook));
        self
    }

    /// Runs `hook` when a successor takes over: calls that run go on, new ones are refused.
    pub fn on_drain(
        mut self,
        hook: impl Fn(&Context) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.on_drain.push(Box::new(hook));
        self
    }

    /// Asks `hook` whether the plugin is able to work; an error says that calls had better go elsewhere.
    /// It runs on a thread of its own, so that being busy is no reason to be late.
    pub fn on_health(
        mut self,
        hook: impl Fn(&Context) -> Result<Health> + Send + Sync + 'static,
    ) -> Self {
        self.on_health.push(Box::new(hook));
        self
    }

    /// Gives its state to the next version of this plugin, and takes that of the one before it. What
    /// the methods use is usually the same thing, in an `Arc`.
    pub fn state(mut self, state: impl State + 'static) -> Self {
        self.state = Some(Box::new(state));
        self
    }

    /// Runs at most so many handlers at once, 32 if not said; with 1, one after the other. It never is
    /// more than the host allows.
    pub fn threads(mut self, most: usize) -> Self {
        self.threads = most.max(1);
        self
    }

    /// Serves the host on standard input and output, until it is done with us.
    ///
    /// From here on standard input is empty and standard output goes where standard error does, for
    /// this process and its children: what is printed is logged, and cannot be taken for a message.
    #[must_use = "it is the status to end the process with"]
    pub fn run(self) -> ExitCode {
        if !self.faults.is_empty() {
            complain(&format!("{}: {}", self.name, self.faults.join("; ")));
            return ExitCode::FAILURE;
        }
        let named = rpc_fd();
        if named.is_none() && io::stdin().is_terminal() {
            let hint = "is a Plugbay plugin and waits for a host on standard input; to call it: \
                        plugbay call DIRECTORY METHOD";
            complain(&format!("{} {hint}", self.name));
        }
        match claim::claim(named.as_deref()) {
            Ok(wire) => {
                Session::new(self, wire, Box::new(leave)).serve();
                ExitCode::SUCCESS
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                complain(&format!("{}: failed to {error}{cause}", self.name));
                ExitCode::FAILURE
            }
        }
    }

    fn add(mut self, name: &str, handler: Handler) -> Self {
        if is_reserved(name) {
            self.faults.push(format!("the method name `{name}` belongs to the protocol"));
        }
        let method = Method::new(name, handler);
        if self.methods.insert(name.to_owned(), method).is_some() {
            self.faults.push(format!("there are two methods `{name}`"));
        }
        self
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plugin")
            .field("name", &self.name)
            .field("version", &self.version)
            .field("methods", &self.methods)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the face of a plugin process")]
fn rpc_fd() -> Option<String> {
    std::env::var(RPC_FD).ok()
}

/// Says something to whoever started us, who may have closed even that.
fn complain(text: &str) {
    drop(writeln!(io::stderr(), "{text}"));
}

/// Leaves although the first thread is in a handler that does not return.
#[expect(clippy::exit, reason = "the thread that should return cannot")]
fn leave(status: u8) {
    std::process::exit(status.into())
}
