//! What a handler may do besides returning: the face of a call.

use crate::call::{Call, Outcome, Ticket};
use crate::clock;
use crate::error::{CallError, Cancelled, Result};
use crate::log::Log;
use crate::progress::Progress;
use crate::request::Request;
use crate::session::Session;
use crate::stream;
use crate::timer::Alarm;
use plugbay_protocol::handshake::Initialize;
use plugbay_protocol::meta::Meta;
use plugbay_protocol::{Code, Id, method};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{self, Poll};
use std::time::{Duration, Instant};

/// One call, as its handler sees it. Cloning it is cheap, and a clone may go to another thread.
#[derive(Clone)]
pub struct Context {
    pub(crate) session: Arc<Session>,
    pub(crate) call: Arc<Call>,
}

/// About the call.
impl Context {
    /// The method called.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.call.method
    }

    /// The call's metadata.
    #[must_use]
    pub fn meta(&self) -> &Meta {
        &self.call.meta
    }

    /// When the answer will be of no more use.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.call.deadline
    }

    /// How long until then.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.call.deadline.map(|deadline| deadline.saturating_duration_since(clock::now()))
    }

    pub(crate) fn call_id(&self) -> Option<&Id<'static>> {
        self.call.id.as_ref()
    }
}

/// Being cancelled. An asynchronous handler is dropped where it waits when its call is; the others ask.
impl Context {
    /// Whether the answer is no longer wanted: the call was cancelled, or its deadline has passed.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.call.is_cancelled()
    }

    /// Ends a handler, with `?`, whose answer is no longer wanted. Cheap; for inner loops.
    ///
    /// # Errors
    ///
    /// [`Cancelled`], if it is.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() { Err(Cancelled) } else { Ok(()) }
    }

    /// Sleeps for `timeout`, or until cancelled; tells whether it was. Not for asynchronous handlers.
    #[must_use]
    pub fn wait_cancelled(&self, timeout: Option<Duration>) -> bool {
        let wanted = timeout.and_then(|timeout| clock::now().checked_add(timeout));
        let until = wanted.into_iter().chain(self.call.deadline).min();
        let ticket = Arc::new(Ticket::default());
        if self.call.attach(&ticket).is_ok() {
            self.session.wait(&self.call, &ticket, until);
            self.call.detach(&ticket);
        }
        self.is_cancelled()
    }

    /// Sleeps, in an asynchronous handler; shorter if the call is cancelled, because that drops it.
    ///
    /// ```
    /// # use plugbay_sdk::{Context, Plugin, Result, testing::Host};
    /// # use std::time::Duration;
    /// let plugin = Plugin::new("p", "1.0.0").method_async("wait", |_: (), ctx: Context| async move {
    ///     ctx.sleep(Duration::from_millis(5)).await;
    ///     Ok("waited")
    /// });
    /// assert_eq!(Host::new(plugin).call::<String>("wait", &())?, "waited");
    /// # Ok::<(), plugbay_sdk::CallError>(())
    /// ```
    pub async fn sleep(&self, duration: Duration) {
        let Some(due) = clock::now().checked_add(duration) else {
            return std::future::pending().await;
        };
        let ticket = Arc::new(Ticket::default());
        let _alarm = self.session.timer.set(due, &ticket);
        poll_fn(|task| ticket.poll(task).map(drop)).await;
    }

    /// Completes when the call is cancelled. For handlers that have something to put away first: an
    /// asynchronous handler that merely waits is dropped then anyway.
    pub async fn cancelled(&self) {
        let ticket = Arc::new(Ticket::default());
        if self.call.attach(&ticket).is_ok() {
            // What settles it does not matter: only cancelling does.
            poll_fn(|task| ticket.poll(task).map(drop)).await;
        }
    }
}

/// Talking to the host.
impl Context {
    /// Calls a method of the host, such as `host/info`, and waits for the result. With nothing to say,
    /// `params` are `&()`.
    ///
    /// ```
    /// # use plugbay_sdk::{Context, Result};
    /// # use serde::Deserialize;
    /// #[derive(Deserialize)]
    /// struct Info { name: String }
    ///
    /// fn greet(_: (), ctx: &Context) -> Result<String> {
    ///     let info: Info = ctx.call("host/info", &())?;
    ///     Ok(format!("hello, {}", info.name))
    /// }
    /// # let plugin = plugbay_sdk::Plugin::new("p", "1.0.0").method("greet", greet);
    /// # let host = plugbay_sdk::testing::Host::new(plugin);
    /// # assert_eq!(host.call::<String>("greet", &())?, "hello, plugbay-sdk");
    /// # Ok::<(), plugbay_sdk::CallError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// What the host answers, or why it could not be asked.
    pub fn call<R: DeserializeOwned>(
        &self,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<R, CallError> {
        self.request(method).params(params).send()
    }

    /// Calls a method of another plugin and waits for the result.
    ///
    /// # Errors
    ///
    /// What that plugin answers, or the host in its place.
    pub fn call_plugin<R: DeserializeOwned>(
        &self,
        plugin: &str,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<R, CallError> {
        self.request_plugin(plugin, method, params).send()
    }

    /// As [`Context::call`], in an asynchronous handler.
    ///
    /// # Errors
    ///
    /// As [`Context::call`].
    pub async fn call_async<R: DeserializeOwned>(
        &self,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<R, CallError> {
        let request = self.request(method).params(params);
        request.send_async().await
    }

    /// As [`Context::call_plugin`], in an asynchronous handler.
    ///
    /// # Errors
    ///
    /// As [`Context::call_plugin`].
    pub async fn call_plugin_async<R: DeserializeOwned>(
        &self,
        plugin: &str,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<R, CallError> {
        let request = self.request_plugin(plugin, method, params);
        request.send_async().await
    }

    /// Prepares a call of the host with more to say about it, such as how long it may take.
    pub fn request<'a>(&'a self, method: &'a str) -> Request<'a> {
        Request::new(self, method)
    }

    fn request_plugin<'a>(
        &'a self,
        plugin: &str,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Request<'a> {
        #[derive(Serialize)]
        struct Ask<'a> {
            plugin: &'a str,
            method: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            params: Option<Box<RawValue>>,
        }
        self.request(method::HOST_CALL).written(|| {
            let params = Some(to_raw_value(params)?).filter(|params| params.get() != "null");
            to_raw_value(&Ask { plugin, method, params })
        })
    }

    /// Tells the host something that has no answer.
    ///
    /// # Errors
    ///
    /// When it cannot be said: it is too long, or is no JSON object or array, or the host is gone.
    pub fn notify(
        &self,
        method: &str,
        params: &(impl Serialize + ?Sized),
    ) -> Result<(), CallError> {
        self.session.notify(method, params)
    }

    /// Tells the caller how far the work is; free of charge if it did not ask.
    pub fn progress(&self, progress: impl Into<Progress>) {
        let Some(token) = &self.call.meta.progress_token else { return };
        let notice = progress.into().into_notice(token.clone());
        // Progress may be dropped; a host that is gone is noticed by reading.
        drop(self.session.notify(method::PROGRESS, &notice));
    }

    /// Begins a log line.
    pub fn log(&self) -> Log<'_> {
        Log::new(&self.session)
    }
}

/// About the session.
impl Context {
    /// The plugin's configuration, read once per type. None at all is `null` to a type that takes it
    /// and an empty object to any other.
    ///
    /// ```
    /// # use plugbay_sdk::{Context, Plugin, Result, json, testing::Host};
    /// # use serde::Deserialize;
    /// #[derive(Deserialize)]
    /// struct Config { language: String }
    ///
    /// let plugin = Plugin::new("words", "1.0.0")
    ///     .config::<Config>()
    ///     .method("language", |_: (), ctx: &Context| -> Result<String> {
    ///         Ok(ctx.config::<Config>()?.language.clone())
    ///     });
    /// let host = Host::new(plugin).config(json!({"language": "en"}));
    /// assert_eq!(host.call::<String>("language", &())?, "en");
    /// # Ok::<(), plugbay_sdk::CallError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// When it does not fit. [`Plugin::config`](crate::Plugin::config) finds that out at the start.
    pub fn config<T: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<T>> {
        self.session.config()
    }

    /// What the host said at the beginning: who it is, what it granted, whether this is a restart.
    #[must_use]
    pub fn handshake(&self) -> Arc<Initialize> {
        self.session.offer()
    }

    /// The same session outside of any call, as for a thread of the plugin's own: it is not cancelled,
    /// has no deadline, and what it asks of the host is nobody's behalf.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { session: Arc::clone(&self.session), call: Arc::default() }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("call", &self.call).finish_non_exhaustive()
    }
}

/// An answer waited for, and given up when it is no longer.
pub(crate) struct Waited<'a> {
    context: &'a Context,
    ticket: Arc<Ticket>,
    reason: &'static str,
}

impl<'a> Waited<'a> {
    pub(crate) fn new(context: &'a Context, ticket: Arc<Ticket>) -> Self {
        Self { context, ticket, reason: "caller" }
    }

    /// Blocks for the answer; `None` if `deadline` came first.
    pub(crate) fn block(&mut self, deadline: Option<Instant>) -> Option<Outcome> {
        self.context.session.wait(&self.context.call, &self.ticket, deadline);
        let outcome = self.ticket.take();
        if outcome.is_none() {
            self.reason = "deadline";
        }
        outcome
    }

    /// Reads the answer within the streams that it refers to.
    pub(crate) fn read<T>(&self, read: impl FnOnce() -> T) -> T {
        stream::receiving(&self.context.session.streams, self.ticket.take_streams(), read)
    }

    /// Has the waiting end at `due`.
    pub(crate) fn alarm(&mut self, due: Instant) -> Alarm {
        self.context.session.timer.set(due, &self.ticket)
    }

    /// Waits for the answer, as a future's `poll` does.
    pub(crate) fn poll(&mut self, task: &task::Context<'_>) -> Poll<Outcome> {
        let outcome = self.ticket.poll(task);
        if matches!(&outcome, Poll::Ready(Err(error)) if error.known_code() == Some(Code::DeadlineExceeded))
        {
            // Of no matter if the host said so: then nobody needs to be told.
            self.reason = "deadline";
        }
        outcome
    }
}

/// What was not answered is cancelled: the call it was for may have been, or it took too long, or the
/// future that waited for it was dropped.
impl Drop for Waited<'_> {
    fn drop(&mut self) {
        self.context.call.detach(&self.ticket);
        self.context.session.give_up(&self.ticket, self.reason);
    }
}
