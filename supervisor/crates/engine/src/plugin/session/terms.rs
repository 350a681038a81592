//! The terms of a conversation: how a plugin is spoken to, what a call is made of, what comes back.
//! Only types; what happens between them is the session's.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use plugbay_manifest::IgnoredCancel;
use plugbay_protocol::{ErrorObject, Framing, notice::Progress};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::plugin::{
    death::Ending,
    stream::{Intake, Luggage},
};

/// How one plugin is spoken to.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) framing: Framing,
    /// Whether the plugin knows Plugbay's own words (`_meta`, `$/cancel`, the handshake).
    pub(crate) manners: Manners,
    pub(crate) max_frame: usize,
    pub(crate) max_in_flight: usize,
    /// Questions of the plugin's that may be open at once.
    pub(crate) max_questions: usize,
    pub(crate) ignored_cancel: IgnoredCancel,
}

/// What may be said beside plain JSON-RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Plugbay's protocol.
    Plugbay,
    /// JSON-RPC 2.0 and nothing else.
    Plain,
}

/// The plugins that a call came through, and what flows down from them.
#[derive(Debug)]
pub(crate) struct Chain {
    /// Who called whom, the first caller first.
    pub(crate) plugins: Vec<Arc<str>>,
    /// Nothing below may take longer.
    pub(crate) until: Instant,
}

/// What comes back for a call.
#[derive(Debug)]
pub(crate) enum Answer {
    /// With the streams it refers to.
    Result(Box<RawValue>, Vec<Intake>),
    Error(ErrorObject),
    /// The answer passed the frame cap.
    TooLarge,
    /// The answer was no valid response.
    Garbled(String),
    /// The process ended. The flag says whether the call had left the host.
    Lost {
        ending: Arc<Ending>,
        sent: bool,
    },
}

/// What is counted of a call, over all its attempts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Bytes of the request.
    pub(crate) sent: u64,
    /// Bytes of the result or the error.
    pub(crate) received: u64,
    /// Progress notices.
    pub(crate) progress: u64,
    /// Whether processor time is wanted; to ask for it is not free.
    pub(crate) metered: bool,
    /// Processor time of the plugin, if all that it used meanwhile must have been for this call.
    pub(crate) cpu: Option<Duration>,
}

/// One call to be made.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: &'a str,
    pub(crate) params: Option<&'a RawValue>,
    /// Without progress for this long, the call fails.
    pub(crate) idle: Duration,
    /// After this, the call fails whatever happens.
    pub(crate) until: Instant,
    pub(crate) progress: Option<mpsc::Sender<Progress>>,
    pub(crate) cancel: Option<&'a CancellationToken>,
    pub(crate) chain: Option<Arc<Chain>>,
    pub(crate) trace: &'a Trace,
    /// The streams of its parameters and of its result, if it may have any.
    pub(crate) luggage: Option<&'a Luggage>,
}

/// What the caller wants passed on unread.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trace {
    pub(crate) traceparent: Option<String>,
    pub(crate) idempotency_key: Option<String>,
}

impl Trace {
    /// Nothing.
    pub(crate) const NONE: Self = Self { traceparent: None, idempotency_key: None };
}

/// Why a call has no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing was sent, and nothing can be: try the next process.
    NotSent,
    Overloaded(&'static str),
    /// The request passes the frame cap.
    RequestTooLarge(usize),
    /// The parameters cannot be written.
    Unwritable(String),
    Deadline {
        idle: bool,
        after: Duration,
    },
    Cancelled,
    AnswerTooLarge,
    Garbled(String),
    /// The result refers to streams, and the caller takes none.
    Streamed,
    Lost(Arc<Ending>),
    Plugin(ErrorObject),
}

impl Tally {
    pub(super) fn note(&mut self, outcome: &Result<Box<RawValue>, Failure>, notices: u64) {
        self.progress += notices;
        self.received += match outcome {
            Ok(result) => length(result.get().as_bytes()),
            Err(failure) => failure.length(),
        };
    }
}

impl Failure {
    /// Bytes of the error, if the plugin answered with one.
    fn length(&self) -> u64 {
        let Self::Plugin(error) = self else { return 0 };
        let data = error.data.as_deref().map_or("", RawValue::get);
        length(error.message.as_bytes()) + length(data.as_bytes())
    }
}

pub(super) fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
