//! Handlers without their types: parameters come as text, answers go as text, and in between it is the
//! author's function that is called. Which thread calls it is the crew's business.

use crate::context::Context;
use crate::crew::Pace;
use crate::error::{Error, Result};
use crate::params;
use crate::stream::{self, Pour};
use plugbay_protocol::{Code, ErrorData, Id, Origin, write};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;

/// A whole answer, without framing; empty when nobody waits for one.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) frame: Vec<u8>,
    /// The streams that go with it.
    pub(crate) streams: Vec<Pour>,
}

/// A handler's work on one call.
pub(crate) type Serving = Pin<Box<dyn Future<Output = Result<Answer>> + Send>>;

type Sync = dyn Fn(Option<&str>, &Context) -> Result<Answer> + Send + std::marker::Sync;
type Async = dyn Fn(Option<&str>, Context) -> Result<Serving> + Send + std::marker::Sync;

/// The author's function.
pub(crate) enum Handler {
    /// Answers when it returns.
    Sync(Box<Sync>),
    /// Returns what will answer.
    Async(Box<Async>),
}

/// A method of the plugin.
#[derive(Debug)]
pub(crate) struct Method {
    pub(crate) name: Arc<str>,
    pub(crate) handler: Handler,
    pub(crate) pace: Pace,
}

impl Method {
    pub(crate) fn new(name: &str, handler: Handler) -> Arc<Self> {
        Arc::new(Self { name: name.into(), handler, pace: Pace::unknown() })
    }
}

impl Handler {
    pub(crate) fn from_fn<P, R, F>(function: F) -> Self
    where
        P: DeserializeOwned + 'static,
        R: Serialize,
        F: Fn(P, &Context) -> Result<R> + Send + std::marker::Sync + 'static,
    {
        Self::Sync(Box::new(move |text, ctx| {
            let params = stream::reading(ctx, || params::read(text))?;
            answer(ctx, &function(params, ctx)?)
        }))
    }

    pub(crate) fn from_async_fn<P, R, F, T>(function: F) -> Self
    where
        P: DeserializeOwned + 'static,
        R: Serialize,
        F: Fn(P, Context) -> T + Send + std::marker::Sync + 'static,
        T: Future<Output = Result<R>> + Send + 'static,
    {
        Self::Async(Box::new(move |text, ctx| {
            let params = stream::reading(&ctx, || params::read(text))?;
            let serving = function(params, ctx.clone());
            Ok(Box::pin(async move { answer(&ctx, &serving.await?) }))
        }))
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sync(_) => "Sync",
            Self::Async(_) => "Async",
        })
    }
}

/// Room for a small answer, so that it takes one allocation.
const SMALL: usize = 256;

fn answer(ctx: &Context, result: &impl Serialize) -> Result<Answer> {
    let Some(id) = ctx.call_id() else { return Ok(Answer::default()) };
    let write = || written(id, result);
    let (frame, streams) = stream::sending(&ctx.session.streams, Some(&ctx.call), write);
    Ok(Answer { frame: frame?, streams })
}

fn written(id: &Id<'static>, result: &impl Serialize) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(SMALL);
    write::response(&mut out, id, result).map_err(|error| {
        let message = format!("the result cannot be written: {}", params::reason(&error));
        Error::of_sdk(Code::InternalError, message, &ErrorData::new(Origin::Plugin))
    })?;
    Ok(out)
}

/// Runs code of the author's; a panic in it is an error like any other. What the panic left half done
/// is the author's, who shares it between calls only through types that allow for it.
pub(crate) fn guarded<T>(code: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|payload| {
        let said = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("of a reason it did not say");
        let message = format!("the handler panicked: {said}");
        Error::of_sdk(Code::InternalError, message, &ErrorData::new(Origin::Plugin))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        assert_eq!(guarded(|| 7).unwrap(), 7);
        let error = guarded(|| panic!("index {} of {}", 3, 2)).unwrap_err();
        assert_eq!((error.code(), error.message()), (-32603, "the handler panicked: index 3 of 2"));
        let error = guarded(|| std::panic::panic_any(5)).unwrap_err();
        assert!(error.message().contains("did not say"));
    }

    #[test]
    fn an_unwritable_result_is_our_fault() {
        let unwritable = std::collections::HashMap::from([((1, 2), 3)]);
        let error = written(&Id::from(1), &unwritable).unwrap_err();
        assert_eq!(error.code(), -32603);
    }
}
