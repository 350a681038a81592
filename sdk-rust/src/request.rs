//! A call that the plugin makes: what is asked, for how long, and the waiting.

use crate::call::Outcome;
use crate::clock;
use crate::context::{Context, Waited};
use crate::error::CallError;
use crate::params;
use crate::timer::late;
use plugbay_protocol::Code;
use plugbay_protocol::meta::Meta;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use std::future::poll_fn;
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
    timeout: Option<Duration>,
}

impl<'a> Request<'a> {
    pub(crate) fn new(context: &'a Context, method: &'a str) -> Self {
        Self { context, method, params: Ok(None), timeout: None }
    }

    /// Says with which parameters: something that is written as an object or an array, or as nothing.
    pub fn params(self, params: &(impl Serialize + ?Sized)) -> Self {
        self.written(to_raw_value(params))
    }

    pub(crate) fn written(mut self, params: Result<Box<RawValue>, serde_json::Error>) -> Self {
        self.params = params.map(Some);
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
    pub fn send<R: DeserializeOwned>(self) -> Result<R, CallError> {
        let (waited, deadline) = (self.begin()?, self.deadline());
        let outcome = waited.block(deadline).unwrap_or_else(|| Err(late()));
        read(outcome)
    }

    /// As [`Request::send`], in an asynchronous handler.
    ///
    /// # Errors
    ///
    /// As [`Request::send`].
    pub async fn send_async<R: DeserializeOwned>(self) -> Result<R, CallError> {
        let mut waited = self.begin()?;
        let _alarm = self.deadline().map(|due| waited.alarm(due));
        read(poll_fn(|task| waited.poll(task)).await)
    }

    fn deadline(&self) -> Option<Instant> {
        self.timeout.and_then(|timeout| clock::now().checked_add(timeout))
    }

    fn begin(&self) -> Result<Waited<'a>, CallError> {
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
        let ticket = session.ask(&self.context.call, self.method, params.as_deref(), &meta)?;
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
