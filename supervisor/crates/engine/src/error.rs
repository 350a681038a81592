//! What goes wrong, for callers: one kind per thing that a caller may want to do about it.

use std::{collections::HashMap, fmt, path::PathBuf, sync::Arc, time::Duration};

use plugbay_keeper::KeeperError;
use plugbay_protocol::{Code, ErrorData, ErrorObject, Origin};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    lifecycle::identity::{Generation, InstanceId},
    plugin::{
        Label,
        death::{Cause, Ending},
        text::{Breaks, plain},
    },
};

/// Bytes of one text in an error that is kept.
const KEPT_TEXT: usize = 16 << 10;

/// A call that has no result.
#[derive(Debug, Clone)]
pub struct CallError(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    plugin: String,
    method: String,
    whose: Option<(Generation, InstanceId)>,
    kind: CallErrorKind,
}

/// Why a call has no result.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CallErrorKind {
    /// There is no plugin of this name.
    UnknownPlugin {
        /// A name that looks like it, if there is one.
        similar: Option<String>,
    },
    /// The plugin has no method of this name.
    UnknownMethod {
        /// The methods it has.
        known: Vec<String>,
    },
    /// The parameters do not fit the method, or cannot be written as JSON.
    InvalidParams(String),
    /// The result is not what the caller expected.
    UnexpectedResult(String),
    /// The result does not fit what the plugin's manifest says of the method.
    InvalidResult(String),
    /// The plugin does not run and is not on its way up.
    Unavailable {
        /// The slot's state.
        state: &'static str,
        /// Why it is in it.
        reason: String,
    },
    /// The plugin failed too often and waits for an operator, or for its trial.
    Quarantined {
        /// Why it failed last.
        reason: String,
    },
    /// The plugin was killed or ended while the call was in flight.
    Crashed {
        /// Why it ended.
        cause: Cause,
        /// The end of what it wrote to stderr, safe to print.
        stderr_tail: Arc<str>,
        /// Whether the plugin may have done the work, in part or whole, all the same.
        may_have_run: bool,
    },
    /// The call took longer than it was given.
    DeadlineExceeded {
        /// How long it took.
        after: Duration,
        /// What ran out.
        which: Deadline,
    },
    /// The method has kept failing, and is given a rest; nothing was sent.
    CircuitOpen {
        /// When it may be tried again.
        retry_after: Duration,
    },
    /// The caller cancelled it.
    Cancelled,
    /// More calls are in flight, or waiting to be sent, than the plugin takes.
    Overloaded {
        /// Which bound was met.
        what: &'static str,
    },
    /// The request or its answer passes the frame cap.
    FrameTooLarge {
        /// Which of the two, and by how much if that is known.
        what: String,
    },
    /// The answer was no valid response.
    ProtocolViolation(String),
    /// The caller, a plugin, was not granted what it asked for.
    PermissionDenied {
        /// What would allow it.
        grant: String,
    },
    /// The call would come back to a plugin that waits for it.
    CallCycle {
        /// The plugins on the way.
        chain: Vec<String>,
    },
    /// The host is shutting down.
    ShuttingDown,
    /// The plugin answered with an error of its own.
    Plugin(ErrorObject),
}

/// Which deadline passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// No answer and no progress for too long.
    Idle,
    /// The absolute cap.
    Cap,
    /// The plugin did not come up in time; nothing was sent.
    Start,
}

impl CallError {
    pub(crate) fn new(plugin: &str, method: &str, kind: CallErrorKind) -> Self {
        let (plugin, method) = (plugin.to_owned(), method.to_owned());
        Self(Box::new(Inner { plugin, method, whose: None, kind }))
    }

    pub(crate) fn of(mut self, label: &Label) -> Self {
        self.0.whose = Some((label.generation, label.instance));
        self
    }

    /// Why.
    #[must_use]
    pub fn kind(&self) -> &CallErrorKind {
        &self.0.kind
    }

    /// The plugin that was called.
    #[must_use]
    pub fn plugin(&self) -> &str {
        &self.0.plugin
    }

    /// The method that was called.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.0.method
    }

    /// Which generation of the plugin, if it came that far.
    #[must_use]
    pub fn generation(&self) -> Option<Generation> {
        self.0.whose.map(|(generation, _)| generation)
    }

    /// Which process of the plugin, if it came that far.
    #[must_use]
    pub fn instance(&self) -> Option<InstanceId> {
        self.0.whose.map(|(_, instance)| instance)
    }

    /// What the plugin says of where it went wrong, safe to print: the traceback of an exception,
    /// or the end of stderr of a process that is gone.
    #[must_use]
    pub fn traceback(&self) -> Option<String> {
        if let CallErrorKind::Plugin(error) = self.kind() {
            return traceback(error);
        }
        let CallErrorKind::Crashed { stderr_tail, .. } = self.kind() else { return None };
        Some(stderr_tail.to_string()).filter(|tail| !tail.trim().is_empty())
    }

    /// The error with its texts cut, to be kept.
    pub(crate) fn abridged(&self) -> Self {
        let mut error = self.clone();
        if let CallErrorKind::Plugin(said) = &mut error.0.kind {
            if said.data.as_deref().is_some_and(|data| data.get().len() > KEPT_TEXT) {
                said.data = brief(said);
            }
            cut(&mut said.message);
        } else if let CallErrorKind::Crashed { stderr_tail, .. } = &mut error.0.kind {
            *stderr_tail = end(stderr_tail).into();
        } else if let CallErrorKind::InvalidParams(what)
        | CallErrorKind::UnexpectedResult(what)
        | CallErrorKind::InvalidResult(what)
        | CallErrorKind::ProtocolViolation(what) = &mut error.0.kind
        {
            cut(what);
        }
        error
    }

    /// Bytes of an abridged error, give or take a few.
    pub(crate) fn weight(&self) -> usize {
        let own = if let CallErrorKind::Plugin(error) = self.kind() {
            error.message.len() + error.data.as_deref().map_or(0, |data| data.get().len())
        } else if let CallErrorKind::Crashed { stderr_tail, .. } = self.kind() {
            stderr_tail.len()
        } else if let CallErrorKind::InvalidParams(what)
        | CallErrorKind::UnexpectedResult(what)
        | CallErrorKind::InvalidResult(what)
        | CallErrorKind::ProtocolViolation(what) = self.kind()
        {
            what.len()
        } else {
            0
        };
        own + self.0.plugin.len() + self.0.method.len() + size_of::<Inner>()
    }

    /// The error's code in the protocol.
    #[must_use]
    pub fn code(&self) -> i32 {
        match self.kind() {
            CallErrorKind::UnknownPlugin { .. }
            | CallErrorKind::Unavailable { .. }
            | CallErrorKind::CircuitOpen { .. }
            | CallErrorKind::ShuttingDown => Code::Unavailable.value(),
            CallErrorKind::UnknownMethod { .. } => Code::MethodNotFound.value(),
            CallErrorKind::InvalidParams(_) => Code::InvalidParams.value(),
            CallErrorKind::UnexpectedResult(_) => Code::InternalError.value(),
            CallErrorKind::Quarantined { .. } => Code::Quarantined.value(),
            CallErrorKind::Crashed { .. } => Code::Crashed.value(),
            CallErrorKind::DeadlineExceeded { .. } => Code::DeadlineExceeded.value(),
            CallErrorKind::Cancelled => Code::RequestCancelled.value(),
            CallErrorKind::Overloaded { .. } => Code::Overloaded.value(),
            CallErrorKind::FrameTooLarge { .. } => Code::FrameTooLarge.value(),
            CallErrorKind::ProtocolViolation(_) | CallErrorKind::InvalidResult(_) => {
                Code::ProtocolViolation.value()
            }
            CallErrorKind::PermissionDenied { .. } => Code::PermissionDenied.value(),
            CallErrorKind::CallCycle { .. } => Code::CallCycle.value(),
            CallErrorKind::Plugin(error) => error.code,
        }
    }

    /// Whether the same call may be made again as it is: nothing of it has run.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.kind() {
            CallErrorKind::Overloaded { .. } | CallErrorKind::CircuitOpen { .. } => true,
            CallErrorKind::Crashed { may_have_run, .. } => !may_have_run,
            CallErrorKind::DeadlineExceeded { which, .. } => *which == Deadline::Start,
            CallErrorKind::UnknownPlugin { .. }
            | CallErrorKind::UnknownMethod { .. }
            | CallErrorKind::InvalidParams(_)
            | CallErrorKind::UnexpectedResult(_)
            | CallErrorKind::InvalidResult(_)
            | CallErrorKind::Unavailable { .. }
            | CallErrorKind::Quarantined { .. }
            | CallErrorKind::Cancelled
            | CallErrorKind::FrameTooLarge { .. }
            | CallErrorKind::ProtocolViolation(_)
            | CallErrorKind::PermissionDenied { .. }
            | CallErrorKind::CallCycle { .. }
            | CallErrorKind::ShuttingDown
            | CallErrorKind::Plugin(_) => false,
        }
    }

    /// The error as it is said over the wire. A plugin's own error is passed on as it is.
    #[must_use]
    pub fn to_error_object(&self) -> ErrorObject {
        let mut details = ErrorData {
            plugin: Some(self.0.plugin.clone()),
            generation: self.generation().map(Generation::number),
            retryable: Some(self.is_retryable()),
            ..ErrorData::new(Origin::Host)
        };
        match self.kind() {
            CallErrorKind::Plugin(error) => return error.clone(),
            CallErrorKind::Crashed { cause, stderr_tail, may_have_run } => {
                details.cause = Some(cause.token());
                details.stderr_tail = Some(stderr_tail.to_string());
                details.may_have_run = Some(*may_have_run);
            }
            CallErrorKind::DeadlineExceeded { which, .. } => {
                details.may_have_run = Some(*which != Deadline::Start);
            }
            CallErrorKind::CircuitOpen { retry_after } => {
                details.retry_after_ms = u64::try_from(retry_after.as_millis()).ok();
            }
            CallErrorKind::InvalidResult(_) => details.may_have_run = Some(true),
            CallErrorKind::PermissionDenied { grant } => details.grant_hint = Some(grant.clone()),
            CallErrorKind::CallCycle { chain } => details.chain = Some(chain.clone()),
            CallErrorKind::UnknownPlugin { .. }
            | CallErrorKind::UnknownMethod { .. }
            | CallErrorKind::InvalidParams(_)
            | CallErrorKind::UnexpectedResult(_)
            | CallErrorKind::Unavailable { .. }
            | CallErrorKind::Quarantined { .. }
            | CallErrorKind::Cancelled
            | CallErrorKind::Overloaded { .. }
            | CallErrorKind::FrameTooLarge { .. }
            | CallErrorKind::ProtocolViolation(_)
            | CallErrorKind::ShuttingDown => {}
        }
        ErrorObject::new(self.code(), self.to_string()).with_details(&details)
    }
}

/// The traceback that a plugin's SDK put into an error, if it did.
fn traceback(error: &ErrorObject) -> Option<String> {
    #[derive(Deserialize)]
    struct Trace {
        traceback: Option<String>,
    }
    let trace: Trace = serde_json::from_str(error.data.as_deref()?.get()).ok()?;
    trace.traceback.map(|text| plain(&text, Breaks::Keep))
}

/// What is kept of data that is too long: the traceback, or its end.
fn brief(error: &ErrorObject) -> Option<Box<RawValue>> {
    let traceback = traceback(error)?;
    to_raw_value(&HashMap::from([("traceback", end(&traceback))])).ok()
}

/// Cuts a text to what is kept.
fn cut(text: &mut String) {
    if text.len() > KEPT_TEXT {
        text.truncate(text.floor_char_boundary(KEPT_TEXT));
        text.push('…');
    }
}

/// The end of a text, as much as is kept.
fn end(text: &str) -> &str {
    let start = text.ceil_char_boundary(text.len().saturating_sub(KEPT_TEXT));
    text.get(start..).unwrap_or_default()
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call to `{}.{}`: {}", self.0.plugin, self.0.method, self.0.kind)
    }
}

impl std::error::Error for CallError {}

impl CallErrorKind {
    /// The process that worked on it is gone.
    pub(crate) fn lost(ending: &Ending) -> Self {
        Self::Crashed {
            cause: ending.cause.clone(),
            stderr_tail: ending.stderr_tail.clone(),
            may_have_run: true,
        }
    }

    /// The kind as one word, for programs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::UnknownPlugin { .. } => "unknown-plugin",
            Self::UnknownMethod { .. } => "unknown-method",
            Self::InvalidParams(_) => "invalid-params",
            Self::UnexpectedResult(_) => "unexpected-result",
            Self::InvalidResult(_) => "invalid-result",
            Self::Unavailable { .. } => "unavailable",
            Self::Quarantined { .. } => "quarantined",
            Self::Crashed { .. } => "crashed",
            Self::DeadlineExceeded { .. } => "deadline",
            Self::CircuitOpen { .. } => "circuit-open",
            Self::Cancelled => "cancelled",
            Self::Overloaded { .. } => "overloaded",
            Self::FrameTooLarge { .. } => "frame-too-large",
            Self::ProtocolViolation(_) => "protocol-violation",
            Self::PermissionDenied { .. } => "permission-denied",
            Self::CallCycle { .. } => "call-cycle",
            Self::ShuttingDown => "shutting-down",
            Self::Plugin(_) => "error",
        }
    }
}

impl fmt::Display for CallErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownPlugin { similar: Some(name) } => {
                write!(f, "there is no such plugin; did you mean `{name}`?")
            }
            Self::UnknownPlugin { similar: None } => f.write_str("there is no such plugin"),
            Self::UnknownMethod { known } => {
                write!(f, "there is no such method; it has: {}", known.join(", "))
            }
            Self::InvalidParams(what) => write!(f, "the parameters do not fit: {what}"),
            Self::UnexpectedResult(what) => write!(f, "the result is not as expected: {what}"),
            Self::InvalidResult(what) => {
                write!(f, "the result does not fit what the method declares: {what}")
            }
            Self::Unavailable { state, reason } if reason.is_empty() => {
                write!(f, "the plugin is {state}")
            }
            Self::Unavailable { state, reason } => write!(f, "the plugin is {state}: {reason}"),
            Self::Quarantined { reason } => {
                write!(f, "the plugin failed too often and is quarantined; last: {reason}")
            }
            Self::Crashed { cause, stderr_tail, .. } => {
                write!(f, "the plugin ended during the call: {cause}")?;
                match stderr_tail.lines().rfind(|line| !line.trim().is_empty()) {
                    Some(line) => write!(f, "; its last words: {line}"),
                    None => Ok(()),
                }
            }
            Self::DeadlineExceeded { after, which: Deadline::Idle } => {
                write!(f, "no answer and no progress, given up after {after:.1?}")
            }
            Self::DeadlineExceeded { after, which: Deadline::Cap } => {
                write!(f, "not finished in time, given up after {after:.1?}")
            }
            Self::DeadlineExceeded { after, which: Deadline::Start } => {
                write!(f, "the plugin did not come up within {after:.1?}")
            }
            Self::CircuitOpen { retry_after } => {
                write!(f, "the method failed too often and is not tried for {retry_after:.1?}")
            }
            Self::Cancelled => f.write_str("cancelled"),
            Self::Overloaded { what } => write!(f, "the plugin is overloaded: {what}"),
            Self::FrameTooLarge { what } => write!(f, "too large for one frame: {what}"),
            Self::ProtocolViolation(what) => write!(f, "the answer is no valid response: {what}"),
            Self::PermissionDenied { grant } => write!(f, "not granted; `{grant}` would allow it"),
            Self::CallCycle { chain } => {
                write!(f, "the call would come back to where it waits: {}", chain.join(" → "))
            }
            Self::ShuttingDown => f.write_str("the host is shutting down"),
            Self::Plugin(error) => write!(f, "{error}"),
        }
    }
}

/// A host that could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The keeper, which starts all processes, could not be started.
    #[error("no keeper")]
    Keeper(#[source] KeeperError),
    /// The search for plugins was broken off.
    #[error("the search for plugins was broken off: {0}")]
    Search(String),
    /// The directory of plugins could not be read.
    #[error("the plugin directory `{}` cannot be read", path.display())]
    PluginDirectory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Two plugins have the same name.
    #[error("two plugins are called `{0}`")]
    DuplicatePlugin(String),
    /// Configuration or grants were given for a plugin that is not there.
    #[error("`{0}` was configured, but there is no such plugin")]
    NotThere(String),
    /// A group of plugins cannot be as it was asked for.
    #[error("the group `{group}` cannot be: {what}")]
    Group {
        /// Which.
        group: String,
        /// Why not.
        what: String,
    },
    /// A host method's name belongs to the protocol or was taken twice.
    #[error("a host method cannot be called `{0}`: the name is taken")]
    MethodName(String),
}

/// A plugin that could not be controlled as asked.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// There is no plugin of this name.
    #[error("there is no plugin `{0}`")]
    UnknownPlugin(String),
    /// It did not come up.
    #[error("`{plugin}` did not come up, it is {state}: {reason}")]
    NotStarted {
        /// Which.
        plugin: String,
        /// Its state now.
        state: &'static str,
        /// Why.
        reason: String,
    },
    /// It cannot be killed; the kernel holds it.
    #[error("`{0}` cannot be killed, the kernel holds it")]
    Fenced(String),
    /// Somebody started it again before it had stopped.
    #[error("`{0}` was started again before it had stopped")]
    Overtaken(String),
    /// The host is shutting down.
    #[error("the host is shutting down")]
    ShuttingDown,
}
