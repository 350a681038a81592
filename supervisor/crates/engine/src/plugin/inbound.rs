//! What a plugin asks of the host: taken, bounded, answered exactly once.
//!
//! Each question is one task of the session. Who answers is behind [`Services`]; here are the
//! rules: only after the handshake, no id twice, so many at once and no more, nothing after the
//! process is gone, and whatever flows down from the call on whose behalf it asks.

use std::{
    collections::HashMap,
    fmt,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::FutureExt as _;
use plugbay_protocol::{
    Code, ErrorData, ErrorObject, Id, Origin, limits, meta::Meta, method, write,
};
use serde_json::value::RawValue;
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::{
    Label,
    calls::CallId,
    count,
    death::Cause,
    lock,
    outbound::{Bound, Frame, SendError},
    session::{Chain, Session},
    stream::{Intake, Outgoing, Source},
};
use crate::{clock, link::Boxed};

/// The longest a question may stay open when nothing else bounds it.
const LONGEST: Duration = Duration::from_secs(600);

/// A plugin's question.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) caller: Label,
    pub(crate) method: String,
    pub(crate) params: Option<Box<RawValue>>,
    /// The plugins it came through, the asking one last, and when it must be answered.
    pub(crate) chain: Chain,
    pub(crate) cancel: CancellationToken,
    /// The streams that its parameters refer to.
    pub(crate) streams: Vec<Intake>,
}

/// What a question is answered with.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) result: Box<RawValue>,
    /// The streams that it refers to, by the names it gives them.
    pub(crate) streams: Vec<(String, Source)>,
}

impl From<Box<RawValue>> for Served {
    fn from(result: Box<RawValue>) -> Self {
        Self { result, streams: Vec::new() }
    }
}

/// Who answers.
pub(crate) trait Services: fmt::Debug + Send + Sync {
    /// Answers one question. Dropping the future abandons it.
    fn serve(&self, question: Question) -> Boxed<'static, Result<Served, ErrorObject>>;
}

/// The questions that are open.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Mutex<HashMap<Id<'static>, CancellationToken>>);

impl Inbox {
    /// Opens a question; refuses a second one of the same id, and one too many.
    fn open(&self, id: &Id<'static>, most: usize) -> Result<CancellationToken, ErrorObject> {
        let mut open = lock(&self.0);
        if open.contains_key(id) {
            return Err(ErrorObject::new(Code::InvalidRequest, format!("id {id} is in use")));
        }
        if open.len() >= most {
            let message = format!("{most} requests are unanswered already");
            let details = ErrorData { retryable: Some(true), ..ErrorData::new(Origin::Host) };
            return Err(ErrorObject::new(Code::Overloaded, message).with_details(&details));
        }
        let token = CancellationToken::new();
        open.insert(id.clone(), token.clone());
        Ok(token)
    }

    fn close(&self, id: &Id<'static>) {
        lock(&self.0).remove(id);
    }

    /// The plugin no longer wants the answer that its `$/cancel` names.
    pub(crate) fn cancel(&self, params: &RawValue) -> bool {
        let Ok(cancel) = serde_json::from_str::<plugbay_protocol::notice::Cancel>(params.get())
        else {
            return false;
        };
        lock(&self.0).get(&cancel.id).is_some_and(|token| {
            token.cancel();
            true
        })
    }
}

/// Takes a request of the plugin.
pub(crate) fn accept(
    session: &Arc<Session>,
    id: Id<'static>,
    method: &str,
    params: Option<&RawValue>,
) {
    count(&session.counters.host_calls);
    if method == method::PING {
        return refuse_or(session, &id, Ok(RawValue::NULL.to_owned()));
    }
    if !session.greeted.load(Ordering::Acquire) {
        let error = ErrorObject::new(Code::NotInitialized, "wait for `initialized`");
        return refuse_or(session, &id, Err(error));
    }
    let question = match open(session, &id, method, params) {
        Ok(question) => question,
        Err(error) => return refuse_or(session, &id, Err(error)),
    };
    let task = answer(session.clone(), id, question);
    session.tasks.spawn(task);
}

fn open(
    session: &Arc<Session>,
    id: &Id<'static>,
    method: &str,
    params: Option<&RawValue>,
) -> Result<Question, ErrorObject> {
    let meta = Meta::from_params(params)
        .map_err(|error| ErrorObject::new(Code::InvalidParams, format!("`_meta`: {error}")))?;
    let streams = params.map_or(Ok(Vec::new()), |params| session.open_streams(params));
    let streams = streams.map_err(|what| ErrorObject::new(Code::InvalidParams, what))?;
    let cancel = session.inbox.open(id, session.settings.max_questions)?;
    let chain = match causes(session, &meta, &cancel, clock::now()) {
        Ok(chain) => chain,
        Err(error) => {
            session.inbox.close(id);
            return Err(error);
        }
    };
    Ok(Question {
        caller: session.label.clone(),
        method: method.to_owned(),
        params: params.map(RawValue::to_owned),
        chain,
        cancel,
        streams,
    })
}

/// What flows down: from the call it names; from the only one in flight, if it names none; or from
/// nothing. A plugin that leaves the name out does not get out of the chain by that.
fn causes(
    session: &Session,
    meta: &Meta,
    cancel: &CancellationToken,
    now: Instant,
) -> Result<Chain, ErrorObject> {
    let mut chain = match &meta.call_id {
        None => session.adopt_only(cancel).unwrap_or_else(|| Chain {
            plugins: vec![session.label.plugin.clone()],
            until: now + LONGEST,
        }),
        Some(text) => {
            let id = text.parse().ok().and_then(CallId::from_wire).ok_or_else(|| {
                ErrorObject::new(Code::InvalidParams, "`_meta.callId` is no call of yours")
            })?;
            session.adopt(id, cancel).ok_or_else(|| {
                let message = "the call on whose behalf it asks is over";
                ErrorObject::new(Code::RequestCancelled, message)
            })?
        }
    };
    if let Some(millis) = meta.deadline_ms
        && let Some(wanted) = now.checked_add(Duration::from_millis(millis))
    {
        chain.until = chain.until.min(wanted);
    }
    Ok(chain)
}

async fn answer(session: Arc<Session>, id: Id<'static>, question: Question) {
    let cancel = question.cancel.clone();
    let until = question.chain.until;
    let outcome = tokio::select! {
        biased;
        () = session.over.cancelled() => {
            session.inbox.close(&id);
            return;
        }
        () = cancel.cancelled() => {
            Err(ErrorObject::new(Code::RequestCancelled, "cancelled"))
        }
        outcome = AssertUnwindSafe(session.services.serve(question)).catch_unwind() => {
            let fell = |_| ErrorObject::new(Code::InternalError, "the host's method fell over");
            outcome.map_err(fell).flatten()
        }
        () = time::sleep_until(until.into()) => {
            Err(ErrorObject::new(Code::DeadlineExceeded, "the deadline of the call has passed"))
        }
    };
    session.inbox.close(&id);
    let (outcome, outgoing) = match outcome.and_then(|served| unload(&session, served)) {
        Ok((result, outgoing)) => (Ok(result), outgoing),
        Err(error) => (Err(error), Outgoing::default()),
    };
    if let Some(bytes) = response(&session, &id, outcome) {
        tokio::select! {
            () = session.outbound.send_patiently(Frame { bytes, call: None }) => {}
            () = session.over.cancelled() => return,
        }
        outgoing.start(&session.over);
    }
}

/// Makes streams of ours of those in an answer.
fn unload(
    session: &Arc<Session>,
    served: Served,
) -> Result<(Box<RawValue>, Outgoing), ErrorObject> {
    let Served { result, mut streams } = served;
    if streams.is_empty() {
        return Ok((result, Outgoing::default()));
    }
    let referred = session.refer(&result, &mut streams, None).map_err(|what| {
        ErrorObject::new(Code::InternalError, format!("the answer is a stream: {what}"))
    })?;
    Ok(referred.unwrap_or((result, Outgoing::default())))
}

/// Answers a request of a plugin that has asked too much to be listened to.
pub(crate) fn refuse_quota(session: &Session, id: &Id<'static>) {
    count(&session.counters.host_calls);
    let details = ErrorData {
        retryable: Some(true),
        retry_after_ms: Some(1_000),
        ..ErrorData::new(Origin::Host)
    };
    let error = ErrorObject::new(Code::QuotaExceeded, "it has asked more than it may in a second");
    refuse_or(session, id, Err(error.with_details(&details)));
}

/// Answers without a task. A plugin that asks on and on and does not read is killed for it.
fn refuse_or(session: &Session, id: &Id<'static>, outcome: Result<Box<RawValue>, ErrorObject>) {
    let Some(bytes) = response(session, id, outcome) else { return };
    if session.outbound.send(Frame { bytes, call: None }, Bound::Counted) == Err(SendError::Full) {
        session.condemn(Cause::Protocol("it asks on and on and reads no answers".into()));
    }
}

fn response(
    session: &Session,
    id: &Id<'static>,
    outcome: Result<Box<RawValue>, ErrorObject>,
) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let written = match &outcome {
        Ok(result)
            if result.get().len() > session.settings.max_frame.min(limits::MAX_FRAME_CEILING) =>
        {
            let error = ErrorObject::new(Code::FrameTooLarge, "the result passes the frame cap");
            write::error(&mut bytes, Some(id), &error)
        }
        Ok(result) => write::response(&mut bytes, id, result),
        Err(error) => write::error(&mut bytes, Some(id), error),
    };
    written.ok()?;
    session.settings.framing.close(&mut bytes, 0);
    Some(bytes)
}
