//! What goes wrong, in two directions: [`Error`] is how a handler fails towards its caller, [`CallError`]
//! how a call that the plugin made itself failed. Not the protocol's own refusals, which the session
//! makes without any handler's help.

use plugbay_protocol::{Code, ErrorData, ErrorObject, Origin};
use serde::Serialize;
use serde_json::value::RawValue;
use std::fmt;

/// What handlers return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How a call fails: the code, message and data its caller gets.
///
/// Anything that implements [`std::error::Error`] becomes one by `?`, with the code `PluginError` and a
/// message that names its causes. Like `anyhow::Error` this is therefore no [`std::error::Error`] itself.
///
/// ```
/// use plugbay_sdk::{Error, Result};
///
/// fn size(path: &str) -> Result<u64> {
///     if path.is_empty() {
///         return Err(Error::invalid_params("`path` is empty"));
///     }
///     Ok(std::fs::metadata(path)?.len())
/// }
/// assert_eq!(size("").unwrap_err().code(), -32602);
/// assert_eq!(size("/does/not/exist").unwrap_err().code(), -32000);
/// ```
pub struct Error(Box<ErrorObject>);

impl Error {
    /// An error with a code of one's own, or one of [`Code`].
    pub fn new(code: impl Into<i32>, message: impl Into<String>) -> Self {
        Self(Box::new(ErrorObject::new(code, message)))
    }

    /// The method failed, and a code of its own would say no more.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Code::PluginError, message)
    }

    /// The caller sent parameters this method cannot use.
    pub fn invalid_params(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidParams, message)
    }

    /// Adds data for a program to read. What cannot be written as JSON is left out.
    #[must_use]
    pub fn with_data(mut self, data: &(impl Serialize + ?Sized)) -> Self {
        if let Ok(data) = serde_json::value::to_raw_value(data) {
            self.0.data = Some(data);
        }
        self
    }

    /// The number on the wire.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.0.code
    }

    /// The sentence for a person.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The data for a program, as it goes on the wire.
    #[must_use]
    pub fn data(&self) -> Option<&RawValue> {
        self.0.data.as_deref()
    }

    pub(crate) fn object(&self) -> &ErrorObject {
        &self.0
    }

    /// An error this crate makes, marked as such.
    pub(crate) fn of_sdk(code: Code, message: impl Into<String>, data: &ErrorData) -> Self {
        Self(Box::new(ErrorObject::new(code, message).with_details(data)))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0.message, self.0.code)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("code", &self.0.code)
            .field("message", &self.0.message)
            .field("data", &self.0.data)
            .finish()
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let error: &(dyn std::error::Error + 'static) = &error;
        if error.is::<Cancelled>() {
            return Self::new(Code::RequestCancelled, "cancelled");
        }
        match error.downcast_ref::<CallError>() {
            Some(failed) if failed.withdrawn => Self::new(Code::RequestCancelled, "cancelled"),
            Some(failed) => Self::failed(failed.to_string())
                .with_data(&Failure { origin: Origin::Plugin, error: &failed.object }),
            None => Self::failed(chain(error)),
        }
    }
}

/// What became of a call we made, inside the error of the call we were made for. It goes into `data`
/// under another name than the protocol's own members, so that nobody takes it for ours.
#[derive(Serialize)]
struct Failure<'a> {
    origin: Origin,
    error: &'a ErrorObject,
}

/// An error and what caused it, in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Many errors repeat their source in their own text.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// The answer of the call being handled is no longer wanted: it was cancelled, or its deadline passed.
/// Let it pass with `?`; the caller is answered accordingly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the call was cancelled")]
#[non_exhaustive]
pub struct Cancelled;

/// A call that this plugin made, of the host or of another plugin, did not succeed.
///
/// Passed on with `?` it fails the call being handled as a failure of this plugin, with the cause in
/// its data: somebody else's code would mean something else to our caller. To pass the code on, say
/// so: `.map_err(|failed| Error::new(failed.code(), failed.message()))`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{} ({})", .object.message, .object.code)]
pub struct CallError {
    object: Box<ErrorObject>,
    /// The call on whose behalf it was made was cancelled, and so it was given up.
    withdrawn: bool,
}

impl CallError {
    /// The number on the wire.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.object.code
    }

    /// The code, when it is one of the protocol's.
    #[must_use]
    pub fn known_code(&self) -> Option<Code> {
        self.object.known_code()
    }

    /// The sentence for a person.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.object.message
    }

    /// The data for a program.
    #[must_use]
    pub fn data(&self) -> Option<&RawValue> {
        self.object.data.as_deref()
    }

    /// The data as the protocol defines it, when it has that form: whether to retry, what was not
    /// granted, what the other plugin died of.
    #[must_use]
    pub fn details(&self) -> Option<ErrorData> {
        self.object.details()
    }

    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self::from(ErrorObject::new(code, message))
    }

    pub(crate) fn withdrawn() -> Self {
        Self { withdrawn: true, ..Self::new(Code::RequestCancelled, "cancelled") }
    }

    pub(crate) fn into_object(self) -> ErrorObject {
        *self.object
    }

    pub(crate) fn host_gone() -> Self {
        Self::new(Code::Unavailable, "the host is gone")
    }
}

impl From<ErrorObject> for CallError {
    fn from(object: ErrorObject) -> Self {
        Self { object: Box::new(object), withdrawn: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("reading the index")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn a_strange_error_names_its_causes() {
        let error = Error::from(Outer("x".parse::<u8>().unwrap_err()));
        assert_eq!(error.code(), -32000);
        assert_eq!(error.message(), "reading the index: invalid digit found in string");
        assert!(error.data().is_none());
    }

    #[test]
    fn a_cause_that_is_repeated_is_said_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("reading: {0}")]
        struct Chatty(#[source] std::num::ParseIntError);
        let error = Error::from(Chatty("x".parse::<u8>().unwrap_err()));
        assert_eq!(error.message(), "reading: invalid digit found in string");
    }

    #[test]
    fn being_cancelled_passes_through() {
        assert_eq!(Error::from(Cancelled).code(), -32800);
        assert_eq!(Error::from(CallError::withdrawn()).code(), -32800);
    }

    #[test]
    fn the_failure_of_another_is_our_failure_with_a_cause() {
        let theirs = ErrorObject::new(Code::PermissionDenied, "not granted");
        let error = Error::from(CallError::from(theirs));
        assert_eq!((error.code(), error.message()), (-32000, "not granted (-31005)"));
        let data = error.data().unwrap().get();
        assert_eq!(data, r#"{"origin":"plugin","error":{"code":-31005,"message":"not granted"}}"#);
    }

    #[test]
    fn a_cancellation_that_was_not_ours_is_a_failure() {
        let theirs = ErrorObject::new(Code::RequestCancelled, "cancelled");
        assert_eq!(Error::from(CallError::from(theirs)).code(), -32000);
    }

    #[test]
    fn data_that_cannot_be_written_is_left_out() {
        let unwritable = std::collections::HashMap::from([((1, 2), 3)]);
        let error = Error::failed("no").with_data(&unwritable);
        assert!(error.data().is_none());
        assert_eq!(error.to_string(), "no (-32000)");
        assert!(format!("{error:?}").contains("-32000"));
    }
}
