//! A call that the plugin makes: what is asked, for how long, and the waiting.

use crate::call::Outcome;
use crate::clock;
use crate::context::{Context, Waited};
use crate::error::CallError;
use crate::params;
use crate::stream::{self, Pour};
use crate::timer::late;
use plugbay_protocol::Code;
use plugbay_protocol::meta::Meta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A call of the host, made by [`Context::request`].
///
/// ```
/// # use plugbay_sdk::{Context, Result, json, Value};
/// # use std::time::{Duration, Instant};
/// fn handler(_: (), ctx: &Context) -> Result<Value> {
///     let request = ctx.request("host/call").params(&json!({"plugin": "other", "method": "slow"}));
///     Ok(request.timeout(Duration::from_secs(2)).send()?)
/// }
/// ```
#[derive(Debug)]
#[must_use = "nothing is asked before it is sent"]
pub struct Request<'a> {
    context: &'a Context,
    method: &'a str,
    /// Written at once, so that the request needs no type for them.
    params: Result<Option<Box<RawValue>>, serde_json::Error>,
    /// The streams that go with them.
    streams: Vec<Pour>,
    timeout: Option<Duration>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(context: &'a Context, method: &'a str) -> Self {
        Self { context, method, params: Ok(None), streams: Vec::new(), timeout: None }
    }

    /// Says with which parameters: something that is written as an object or an array, or as nothing.
    pub fn params(self, params: &(impl Serialize + ?Sized)) -> Self {
        self.written(|| to_raw_value(params))
    }

    pub(crate) fn written(
        mut self,
        write: impl FnOnce() -> Result<Box<RawValue>, serde_json::Error>,
    ) -> Self {
        let (params, streams) = stream::sending(&self.context.session.streams, None, write);
        self.params = params.map(Some);
        self.streams = streams;
        self
    }

    /// Waits no longer than this, and tells the host so.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Asks, and waits for the result.
    ///
    /// # Errors
    ///
    /// What the host answers; `DeadlineExceeded` when it does not in time; why it could not be asked.
    pub fn send<R: DeserializeOwned>(mut self) -> Result<R, CallError> {
        let (mut waited, deadline) = (self.begin()?, self.deadline());
        let outcome = waited.block(deadline).unwrap_or_else(|| Err(late()));
        waited.read(|| read(outcome))
    }

    /// As [`Request::send`], in an asynchronous handler.
    ///
    /// # Errors
    ///
    /// As [`Request::send`].
    pub async fn send_async<R: DeserializeOwned>(mut self) -> Result<R, CallError> {
        let mut waited = self.begin()?;
        let _alarm = self.deadline().map(|due| waited.alarm(due));
        let outcome = poll_fn(|task| waited.poll(task)).await;
        waited.read(|| read(outcome))
    }

    fn deadline(&self) -> Option<Instant> {
        self.timeout.and_then(|timeout| clock::now().checked_add(timeout))
    }

    fn begin(&mut self) -> Result<Waited<'a>, CallError> {
        let params = self.params.as_ref().map_err(|why| {
            CallError::new(Code::InvalidParams, format!("the parameters cannot be written: {why}"))
        })?;
        let millis = |timeout: Duration| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let meta = Meta {
            call_id: self.context.call.meta.call_id.clone(),
            deadline_ms: self.timeout.map(millis),
            ..Meta::default()
        };
        let session = &self.context.session;
        let feeds = self.streams.iter().map(|pour| Arc::clone(&pour.output.outlet)).collect();
        let call = &self.context.call;
        let ticket = session.ask(call, self.method, params.as_deref(), &meta, feeds)?;
        for mut pour in self.streams.drain(..) {
            pour.behalf = Arc::clone(call);
            pour.run_beside();
        }
        Ok(Waited::new(self.context, ticket))
    }
}

fn read<R: DeserializeOwned>(outcome: Outcome) -> Result<R, CallError> {
    let result = outcome?;
    serde_json::from_str(result.get()).map_err(|error| {
        let message = format!("the answer is not as expected: {}", params::reason(&error));
        CallError::new(Code::ProtocolViolation, message)
    })
}
