//! Error codes and what travels with them. Not Rust errors of this crate: these are the ones that are
//! said on the wire, by a plugin or by the host in its place.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fmt;

/// Every code with a meaning of its own. A plugin may use any other integer outside JSON-RPC's
/// reserved block (-32768 to -32000) and outside this protocol's (-31099 to -31000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Code {
    /// The frame was not JSON.
    ParseError = -32700,
    /// The frame was JSON, but no message.
    InvalidRequest = -32600,
    /// There is no such method.
    MethodNotFound = -32601,
    /// The parameters do not fit the method.
    InvalidParams = -32602,
    /// The receiver is at fault: a bug, an uncaught exception.
    InternalError = -32603,
    /// The method failed, and its author chose no code.
    PluginError = -32000,
    /// A request came before `initialize` was answered.
    NotInitialized = -32002,
    /// The call was cancelled, by its caller or by its deadline.
    RequestCancelled = -32800,
    /// The plugin is not running now: starting, backing off, being swapped.
    Unavailable = -31001,
    /// The plugin died while the call was in flight.
    Crashed = -31002,
    /// The call took longer than it was given.
    DeadlineExceeded = -31003,
    /// Too many calls are in flight already.
    Overloaded = -31004,
    /// The caller was not granted what it asked for.
    PermissionDenied = -31005,
    /// The caller has used up what it was granted.
    QuotaExceeded = -31006,
    /// A frame passed the size cap and was discarded.
    FrameTooLarge = -31007,
    /// The two sides share no protocol version.
    UnsupportedVersion = -31008,
    /// The receiver is finishing its work and takes no more.
    Draining = -31009,
    /// The plugin failed too often and waits for an operator.
    Quarantined = -31010,
    /// The call would come back to a plugin that is waiting for it.
    CallCycle = -31011,
    /// A message was well formed and yet not allowed.
    ProtocolViolation = -31012,
}

impl Code {
    /// All of them, in the order of the specification's table.
    pub const ALL: &[Self] = &[
        Self::ParseError,
        Self::InvalidRequest,
        Self::MethodNotFound,
        Self::InvalidParams,
        Self::InternalError,
        Self::PluginError,
        Self::NotInitialized,
        Self::RequestCancelled,
        Self::Unavailable,
        Self::Crashed,
        Self::DeadlineExceeded,
        Self::Overloaded,
        Self::PermissionDenied,
        Self::QuotaExceeded,
        Self::FrameTooLarge,
        Self::UnsupportedVersion,
        Self::Draining,
        Self::Quarantined,
        Self::CallCycle,
        Self::ProtocolViolation,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn value(self) -> i32 {
        self as i32
    }

    /// The code with this number.
    #[must_use]
    pub fn from_value(value: i32) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.value() == value)
    }

    /// Its name in the specification, in logs and in the SDKs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ParseError => "ParseError",
            Self::InvalidRequest => "InvalidRequest",
            Self::MethodNotFound => "MethodNotFound",
            Self::InvalidParams => "InvalidParams",
            Self::InternalError => "InternalError",
            Self::PluginError => "PluginError",
            Self::NotInitialized => "NotInitialized",
            Self::RequestCancelled => "RequestCancelled",
            Self::Unavailable => "Unavailable",
            Self::Crashed => "Crashed",
            Self::DeadlineExceeded => "DeadlineExceeded",
            Self::Overloaded => "Overloaded",
            Self::PermissionDenied => "PermissionDenied",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::FrameTooLarge => "FrameTooLarge",
            Self::UnsupportedVersion => "UnsupportedVersion",
            Self::Draining => "Draining",
            Self::Quarantined => "Quarantined",
            Self::CallCycle => "CallCycle",
            Self::ProtocolViolation => "ProtocolViolation",
        }
    }

    /// Whether the same call may succeed later without anything being changed. What a host says in
    /// `data.retryable` of an error may be narrower: a call that may have run is not to be repeated
    /// unless its method is idempotent.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Unavailable | Self::Crashed | Self::Overloaded | Self::Draining)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.value())
    }
}

impl From<Code> for i32 {
    fn from(code: Code) -> Self {
        code.value()
    }
}

/// The `error` member of a response.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorObject {
    /// See [`Code`]; any other integer is the plugin's own.
    pub code: i32,
    /// One sentence for a person.
    pub message: String,
    /// Anything for a program; [`ErrorData`] when the host made the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

impl ErrorObject {
    /// An error with a code of this protocol, or with a plugin's own.
    pub fn new(code: impl Into<i32>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), data: None }
    }

    /// Adds `data`.
    ///
    /// # Errors
    ///
    /// When `data` cannot be written as JSON, such as a map whose keys are no strings. [`ErrorData`]
    /// always can.
    pub fn with_data(
        mut self,
        data: &(impl Serialize + ?Sized),
    ) -> Result<Self, serde_json::Error> {
        self.data = Some(serde_json::value::to_raw_value(data)?);
        Ok(self)
    }

    /// Adds what this protocol says about an error.
    #[must_use]
    pub fn with_details(self, details: &ErrorData) -> Self {
        let plain = self.clone();
        self.with_data(details).unwrap_or(plain)
    }

    /// The code, when it is one of this protocol.
    #[must_use]
    pub fn known_code(&self) -> Option<Code> {
        Code::from_value(self.code)
    }

    /// The data as this protocol defines it; `None` when there is none or it is something else.
    #[must_use]
    pub fn details(&self) -> Option<ErrorData> {
        serde_json::from_str(self.data.as_deref()?.get()).ok()
    }
}

/// Equal when they read the same, `data` to the letter.
impl PartialEq for ErrorObject {
    fn eq(&self, other: &Self) -> bool {
        self.code == other.code
            && self.message == other.message
            && self.data.as_deref().map(RawValue::get) == other.data.as_deref().map(RawValue::get)
    }
}

impl Eq for ErrorObject {}

impl fmt::Display for ErrorObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.known_code() {
            Some(code) => write!(f, "{} [{code}]", self.message),
            None => write!(f, "{} [{}]", self.message, self.code),
        }
    }
}

impl std::error::Error for ErrorObject {}

/// Who made an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The host, about a plugin. A host removes this claim from what a plugin sends.
    #[default]
    Host,
    /// The plugin, through its SDK.
    Plugin,
}

/// What this protocol says about an error, in `error.data`. All of it but the origin may be absent;
/// what a reader does not know it ignores.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorData {
    /// Who made the error.
    pub origin: Origin,
    /// The plugin it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// The generation of that plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Whether the call may be repeated as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retryable: Option<bool>,
    /// When to, in milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Whether the plugin may have done the work, in part or whole, all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub may_have_run: Option<bool>,
    /// What killed the plugin: `exit(3)`, `signal(SIGSEGV)`, `seccomp`, `rlimit(cpu)`, `oom`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The last lines the plugin wrote to stderr.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr_tail: Option<String>,
    /// The permission that was missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    /// The grant that would give it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant_hint: Option<String>,
    /// The limit that was passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The protocol versions the sender speaks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supported: Option<Vec<u32>>,
    /// The plugins on the way of a call that came back to one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<Vec<String>>,
}

impl ErrorData {
    /// Nothing but the origin.
    #[must_use]
    pub fn new(origin: Origin) -> Self {
        Self { origin, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_listed_once_and_found_by_its_number() {
        for (index, &code) in Code::ALL.iter().enumerate() {
            assert_eq!(Code::from_value(code.value()), Some(code));
            assert!(!Code::ALL[..index].contains(&code), "{code} is listed twice");
            assert_eq!(code.name(), format!("{code:?}"));
        }
        assert_eq!(Code::from_value(-31_000), None);
    }

    #[test]
    fn details_are_camel_case_and_say_only_what_is_known() {
        let details = ErrorData {
            generation: Some(3),
            may_have_run: Some(true),
            cause: Some("signal(SIGKILL)".to_owned()),
            ..ErrorData::new(Origin::Host)
        };
        let error = ErrorObject::new(Code::Crashed, "plugin died").with_details(&details);
        let text = serde_json::to_string(&error).unwrap();
        assert_eq!(
            text,
            r#"{"code":-31002,"message":"plugin died","data":{"origin":"host","generation":3,"mayHaveRun":true,"cause":"signal(SIGKILL)"}}"#
        );
        let back: ErrorObject = serde_json::from_str(&text).unwrap();
        assert_eq!(back, error);
        assert_eq!(back.details(), Some(details));
    }

    #[test]
    fn data_of_another_shape_is_not_mistaken_for_details() {
        let error = ErrorObject::new(17, "no").with_data(&["not", "ours"]).unwrap();
        assert_eq!((error.known_code(), error.details()), (None, None));
        assert_eq!(error.to_string(), "no [17]");
    }
}
