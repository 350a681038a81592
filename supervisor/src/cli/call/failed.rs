//! A call that failed, as a line, a hint and an exit code. Pure.

use plugbay::{CallError, CallErrorKind, Cause, Death};
use plugbay_sandbox::PlanError;

use crate::{
    exit::Exit,
    failure::{Failure, Rpc},
    output::neutral::{self, Lines},
};

/// Explains a failure, with the last death of the plugin where it says more.
pub(crate) fn explain(error: &CallError, death: Option<&Death>) -> Failure {
    let object = error.to_error_object();
    // What a plugin says stays on its line, so that it cannot pass for a line of ours.
    let message = neutral::text(&error.to_string(), Lines::Escape).into_owned();
    let exit = exit(error.kind(), death);
    let mut failure = Failure::new(exit, message);
    failure.rpc = Some(Rpc { code: object.code, data: object.data });
    if exit == Exit::Denied {
        return failure
            .hint("`plugbay doctor` shows what holds here; --prefer NAME does without it");
    }
    match hint(error.kind(), death) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn exit(kind: &CallErrorKind, death: Option<&Death>) -> Exit {
    match kind {
        CallErrorKind::UnknownPlugin { .. } | CallErrorKind::UnknownMethod { .. } => Exit::NotFound,
        CallErrorKind::InvalidParams(_) => Exit::Usage,
        CallErrorKind::Unavailable { .. } | CallErrorKind::Quarantined { .. } => not_started(death),
        CallErrorKind::ShuttingDown => Exit::NotStarted,
        CallErrorKind::Crashed { .. }
        | CallErrorKind::UnexpectedResult(_)
        | CallErrorKind::InvalidResult(_)
        | CallErrorKind::FrameTooLarge { .. }
        | CallErrorKind::ProtocolViolation(_) => Exit::Crashed,
        CallErrorKind::DeadlineExceeded { .. } => Exit::Deadline,
        CallErrorKind::Plugin(_)
        | CallErrorKind::Cancelled
        | CallErrorKind::Overloaded { .. }
        | CallErrorKind::CircuitOpen { .. }
        | CallErrorKind::PermissionDenied { .. }
        | CallErrorKind::CallCycle { .. }
        | _ => Exit::Answered,
    }
}

/// Whether it was a level or a demand that refused: the kernel was not asked.
fn not_started(death: Option<&Death>) -> Exit {
    match death.map(|death| &death.cause) {
        Some(Cause::Launch { stage, .. }) if stage == PlanError::UNMET => Exit::Denied,
        _ => Exit::NotStarted,
    }
}

fn hint(kind: &CallErrorKind, death: Option<&Death>) -> Option<String> {
    if let CallErrorKind::Crashed { stderr_tail, .. } = kind {
        return said(stderr_tail);
    }
    if let CallErrorKind::Unavailable { .. } | CallErrorKind::Quarantined { .. } = kind {
        return death
            .and_then(|death| said(&death.stderr_tail))
            .or_else(|| Some("`plugbay check` and `plugbay doctor` may tell why".to_owned()));
    }
    let hint = if matches!(kind, CallErrorKind::DeadlineExceeded { .. }) {
        "--deadline gives it more time"
    } else if matches!(kind, CallErrorKind::UnknownMethod { .. }) {
        "`plugbay info` shows the methods"
    } else {
        return None;
    };
    Some(hint.to_owned())
}

/// The end of what the plugin wrote to stderr, if it wrote something.
fn said(tail: &str) -> Option<String> {
    (!tail.trim().is_empty()).then(|| format!("it said:\n{}", tail.trim_end()))
}
