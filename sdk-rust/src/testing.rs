//! A host in memory, for unit tests of a plugin.
//!
//! ```
//! use plugbay_sdk::{Context, Plugin, Result, Value, json, testing::Host};
//!
//! fn plugin() -> Plugin {
//!     Plugin::new("greeter", "1.0.0").method("greet", |_: (), ctx: &Context| -> Result<String> {
//!         let info: Value = ctx.call("host/info", &())?;
//!         ctx.log().info("greeted");
//!         Ok(format!("hello, {}", info["name"]))
//!     })
//! }
//!
//! let host = Host::new(plugin()).stub("host/info", |_| Ok(json!({"name": "bay"})));
//! assert_eq!(host.call::<String>("greet", &())?, "hello, \"bay\"");
//! assert_eq!(host.logs()[0].message, "greeted");
//! # Ok::<(), plugbay_sdk::CallError>(())
//! ```
//!
//! The plugin runs as it would in its process, threads and all; only the two pipes are a socket pair. There
//! is no sandbox: what the plugin opens, it opens. And no engine: no restarts, no deadlines enforced.

mod link;

use crate::error::{CallError, Result};
use crate::plugin::Plugin;
use crate::session::Session;
use crate::{claim, lock};
use link::{Link, Slot, Stubs, to_json};
use plugbay_protocol::handshake::{Hello, Initialize, Peer, WireLimits, feature};
use plugbay_protocol::meta::Meta;
use plugbay_protocol::notice::{Cancel, Level};
use plugbay_protocol::{Code, Id, VERSION, method};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::to_raw_value;
use serde_json::{Map, Value};
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

/// How long a test waits before it fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a plugin in threads of this process and returns the host's end of the wire. For tests of the
/// protocol itself; others have [`Host`].
///
/// # Errors
///
/// When there are no more file descriptors or threads.
pub fn connect(plugin: Plugin) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    let wire =
        claim::Wire { input: theirs.try_clone()?.into(), output: theirs.try_clone()?.into() };
    let theirs = Arc::new(theirs);
    let end = Arc::clone(&theirs);
    let hang_up = move |_status| drop(end.shutdown(Shutdown::Both));
    let session = Session::new(plugin, wire, Box::new(hang_up));
    let serve = move || {
        session.serve();
        // Threads still in a handler hold the session, and with it the wire, open.
        drop(theirs.shutdown(Shutdown::Both));
    };
    let thread = thread::Builder::new().name("plugbay-0".to_owned());
    thread.spawn(serve).map(|_detached| ours)
}

/// Speaks to a plugin in this process, and records what it says by itself.
///
/// The session is opened by the first call; a plugin that refuses to start is that call's error.
#[must_use = "a plugin in memory starts with the first call"]
pub struct Host {
    /// Until it runs.
    plugin: Mutex<Option<Plugin>>,
    offer: Initialize,
    stubs: Mutex<Stubs>,
    link: OnceLock<Result<Open, CallError>>,
}

struct Open {
    link: Arc<Link>,
    hello: Hello,
}

/// A log line of the plugin.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// What happened.
    pub message: String,
    /// The details.
    pub fields: Map<String, Value>,
}

/// Before the first call.
impl Host {
    /// A host of `plugin` with nothing to configure.
    pub fn new(plugin: Plugin) -> Self {
        let host =
            Peer { name: "plugbay-sdk".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        let info = to_json(&host);
        let offer = Initialize {
            versions: vec![VERSION],
            host,
            features: [feature::CANCEL, feature::PING, feature::PROGRESS, feature::STREAMS]
                .into_iter()
                .collect(),
            config: None,
            grants: Default::default(),
            limits: WireLimits::default(),
            generation: 1,
            restart: Default::default(),
            resume_state: None,
        };
        let host = Self {
            plugin: Mutex::new(Some(plugin)),
            offer,
            stubs: Mutex::default(),
            link: OnceLock::new(),
        };
        host.stub(method::HOST_INFO, move |_| Ok(info.clone()))
            .stub(method::HOST_CONFIG, |_| Ok(Value::Null))
    }

    /// Configures the plugin.
    pub fn config(mut self, config: impl Serialize) -> Self {
        self.offer.config = to_raw_value(&config).ok();
        let config = to_json(&config);
        self.stub(method::HOST_CONFIG, move |_| Ok(config.clone()))
    }

    /// Says what the host accepts of the plugin.
    pub fn limits(mut self, limits: WireLimits) -> Self {
        self.offer.limits = limits;
        self
    }

    /// Says something else in the handshake: what is granted, that this is a restart.
    pub fn offer(mut self, change: impl FnOnce(&mut Initialize)) -> Self {
        change(&mut self.offer);
        self
    }

    /// Answers the plugin's calls of a host's method.
    pub fn stub(
        self,
        method: &str,
        answer: impl Fn(Value) -> Result<Value> + Send + Sync + 'static,
    ) -> Self {
        lock(&self.stubs).insert(method.to_owned(), Box::new(answer));
        self
    }

    /// Answers the plugin's calls of another plugin.
    pub fn stub_plugin(
        self,
        plugin: &str,
        method: &str,
        answer: impl Fn(Value) -> Result<Value> + Send + Sync + 'static,
    ) -> Self {
        self.stub(&link::of_plugin(plugin, method), answer)
    }
}

/// Talking to the plugin.
impl Host {
    /// Calls a method and waits for the result.
    ///
    /// # Errors
    ///
    /// What the plugin answers; `DeadlineExceeded` when it does not within ten seconds.
    pub fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<R, CallError> {
        self.start(method, params)?.result()
    }

    /// Calls a method without waiting. It is given a token to show its progress with.
    ///
    /// # Errors
    ///
    /// When it cannot be called.
    pub fn start(
        &self,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<Pending, CallError> {
        self.start_with(method, params, Meta::default())
    }

    /// As [`Host::start`], with metadata of one's own.
    ///
    /// # Errors
    ///
    /// As [`Host::start`].
    pub fn start_with(
        &self,
        method: &str,
        params: &(impl Serialize + ?Sized),
        meta: Meta,
    ) -> Result<Pending, CallError> {
        let link = &self.open()?.link;
        let slot = link.ask(method, params, Some(meta))?;
        Ok(Pending { link: Arc::clone(link), slot })
    }

    /// Calls a method that is not to answer.
    ///
    /// # Errors
    ///
    /// When the plugin has ended.
    pub fn notify(
        &self,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<(), CallError> {
        self.open()?.link.notify(method, params)
    }

    /// Waits for the plugin to say that it still reads, and for all that it said before.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn ping(&self) -> Result<(), CallError> {
        self.open()?.link.ask(method::PING, &(), None)?.wait(PATIENCE).map(drop)
    }

    /// Ends the session in order: `shutdown`, `exit`, and the plugin's own end.
    ///
    /// # Errors
    ///
    /// When the plugin does not end.
    pub fn shutdown(&self) -> Result<(), CallError> {
        let link = &self.open()?.link;
        link.ask(method::SHUTDOWN, &(), None)?.wait(PATIENCE)?;
        link.notify(method::EXIT, &())?;
        self.wait_ended()
    }

    /// Ends the plugin's input, as a host that dies does.
    ///
    /// # Errors
    ///
    /// When the plugin never was there.
    pub fn hang_up(&self) -> Result<(), CallError> {
        self.open()?.link.hang_up();
        Ok(())
    }

    /// Waits for the plugin to end.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn wait_ended(&self) -> Result<(), CallError> {
        if self.open()?.link.wait_ended(PATIENCE) { Ok(()) } else { Err(impatient()) }
    }

    /// What the plugin said of itself.
    ///
    /// # Errors
    ///
    /// When it refused to start.
    pub fn hello(&self) -> Result<Hello, CallError> {
        Ok(self.open()?.hello.clone())
    }

    /// What the plugin has logged until now; [`Host::ping`] waits for what it is about to.
    #[must_use]
    pub fn logs(&self) -> Vec<Line> {
        self.seen().map(Link::logs).unwrap_or_default()
    }

    /// Other notifications until now, as method and parameters.
    #[must_use]
    pub fn notifications(&self) -> Vec<(String, Value)> {
        self.seen().map(Link::notifications).unwrap_or_default()
    }

    fn seen(&self) -> Option<&Link> {
        self.link.get()?.as_ref().ok().map(|open| &*open.link)
    }

    fn open(&self) -> Result<&Open, CallError> {
        self.link.get_or_init(|| self.begin()).as_ref().map_err(Clone::clone)
    }

    fn begin(&self) -> Result<Open, CallError> {
        let Some(plugin) = lock(&self.plugin).take() else { return Err(CallError::host_gone()) };
        if !plugin.faults.is_empty() {
            return Err(CallError::new(Code::ProtocolViolation, plugin.faults.join("; ")));
        }
        let unable = |error: io::Error| CallError::new(Code::Unavailable, error.to_string());
        let stream = connect(plugin).map_err(unable)?;
        let link = Link::new(stream, std::mem::take(&mut lock(&self.stubs))).map_err(unable)?;
        let said = link.ask(method::INITIALIZE, &self.offer, None)?.wait(PATIENCE)?;
        let hello = serde_json::from_str(said.get())
            .map_err(|why| CallError::new(Code::ProtocolViolation, why.to_string()))?;
        link.notify(method::INITIALIZED, &())?;
        Ok(Open { hello, link })
    }
}

/// A host that is forgotten hangs up.
impl Drop for Host {
    fn drop(&mut self) {
        if let Some(link) = self.seen() {
            link.hang_up();
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("offer", &self.offer).finish_non_exhaustive()
    }
}

fn impatient() -> CallError {
    CallError::new(Code::DeadlineExceeded, "nothing came in time")
}

/// A call without an answer so far.
#[derive(Debug)]
pub struct Pending {
    link: Arc<Link>,
    slot: Arc<Slot>,
}

impl Pending {
    /// Tells the plugin that the answer is no longer wanted.
    ///
    /// # Errors
    ///
    /// When the plugin has ended.
    pub fn cancel(&self) -> Result<(), CallError> {
        let id = Id::from(i64::try_from(self.slot.id).unwrap_or_default());
        self.link.notify(method::CANCEL, &Cancel { id, reason: Some("caller".to_owned()) })
    }

    /// Waits for the result.
    ///
    /// # Errors
    ///
    /// What the plugin answers; `DeadlineExceeded` when it does not within ten seconds.
    pub fn result<R: DeserializeOwned>(&self) -> Result<R, CallError> {
        self.slot.read(&self.link, PATIENCE, |result| {
            serde_json::from_str(result.get())
                .map_err(|why| CallError::new(Code::ProtocolViolation, why.to_string()))
        })
    }

    /// Waits until this much progress was shown.
    ///
    /// # Errors
    ///
    /// When it was not within ten seconds.
    pub fn wait_progress(&self, count: usize) -> Result<(), CallError> {
        self.slot.wait_progress(count, PATIENCE)
    }

    /// The progress shown until now, without the token.
    #[must_use]
    pub fn progress(&self) -> Vec<Value> {
        self.slot.progress()
    }
}
