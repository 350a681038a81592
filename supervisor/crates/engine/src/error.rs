//! What goes wrong, for callers: one kind per thing that a caller may want to do about it.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use plugbay_keeper::KeeperError;
use plugbay_protocol::{Code, ErrorData, ErrorObject, Origin};

use crate::{
    lifecycle::identity::{Generation, InstanceId},
    plugin::{
        Label,
        death::{Cause, Ending},
    },
};

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

    /// The error's code in the protocol.
    #[must_use]
    pub fn code(&self) -> i32 {
        match self.kind() {
            CallErrorKind::UnknownPlugin { .. }
            | CallErrorKind::Unavailable { .. }
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
            CallErrorKind::ProtocolViolation(_) => Code::ProtocolViolation.value(),
            CallErrorKind::PermissionDenied { .. } => Code::PermissionDenied.value(),
            CallErrorKind::CallCycle { .. } => Code::CallCycle.value(),
            CallErrorKind::Plugin(error) => error.code,
        }
    }

    /// Whether the same call may be made again as it is: nothing of it has run.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self.kind() {
            CallErrorKind::Overloaded { .. } => true,
            CallErrorKind::Crashed { may_have_run, .. } => !may_have_run,
            CallErrorKind::DeadlineExceeded { which, .. } => *which == Deadline::Start,
            CallErrorKind::UnknownPlugin { .. }
            | CallErrorKind::UnknownMethod { .. }
            | CallErrorKind::InvalidParams(_)
            | CallErrorKind::UnexpectedResult(_)
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
    /// The host is shutting down.
    #[error("the host is shutting down")]
    ShuttingDown,
}
