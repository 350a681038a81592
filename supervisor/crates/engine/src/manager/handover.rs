//! The state of one generation becomes the next one's: asked for, measured, given.
//!
//! It is copied, never moved: whatever fails, the old process has all of it and goes on.

use std::{sync::Arc, time::Duration};

use plugbay_protocol::{
    handshake::{Hello, feature},
    method,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time;

use crate::{
    clock,
    plugin::{
        session::{Call, Failure, Session, Trace},
        text::{Breaks, plain},
    },
};

/// How long calls in flight may take to finish, while new ones wait.
const QUIET: Duration = Duration::from_secs(2);
/// How long a process may take to give its state, or to take it.
const EACH: Duration = Duration::from_secs(5);

/// What `plugin/snapshot` answers.
#[derive(Deserialize)]
struct Snapshot<'a> {
    #[serde(rename = "stateVersion")]
    _version: u64,
    #[serde(borrow, rename = "state")]
    _state: &'a RawValue,
}

/// Whether a plugin can give its state, and take it.
pub(crate) fn is_able(hello: Option<&Hello>) -> bool {
    hello.is_some_and(|hello| hello.features.contains(feature::SNAPSHOT))
}

/// Hands the state of each process to the one that takes its place; says how much it was.
pub(crate) async fn run(pairs: Vec<(Arc<Session>, Arc<Session>)>) -> Result<u64, String> {
    let mut bytes = 0_u64;
    for (from, to) in pairs {
        bytes += hand_over(&from, &to).await?;
    }
    Ok(bytes)
}

async fn hand_over(from: &Session, to: &Session) -> Result<u64, String> {
    if time::timeout(QUIET, from.quiet()).await.is_err() {
        return Err(format!("calls in flight did not finish within {QUIET:?}"));
    }
    let state = ask(from, method::PLUGIN_SNAPSHOT, None)
        .await
        .map_err(|why| format!("the old version did not give its state: {why}"))?;
    if let Err(error) = serde_json::from_str::<Snapshot<'_>>(state.get()) {
        return Err(format!("the old version's state is none: {error}"));
    }
    ask(to, method::PLUGIN_RESTORE, Some(&state))
        .await
        .map_err(|why| format!("the new version did not take the state: {why}"))?;
    Ok(u64::try_from(state.get().len()).unwrap_or(u64::MAX))
}

async fn ask(
    session: &Session,
    method: &str,
    params: Option<&RawValue>,
) -> Result<Box<RawValue>, String> {
    let call = Call {
        method,
        params,
        idle: EACH,
        until: clock::now() + EACH,
        progress: None,
        cancel: None,
        chain: None,
        trace: &Trace::NONE,
        luggage: None,
    };
    session.call(call).await.map_err(|failure| match failure {
        Failure::Plugin(error) => plain(&error.message, Breaks::Escape),
        Failure::Deadline { after, .. } => format!("nothing came within {after:?}"),
        Failure::RequestTooLarge(bytes) => format!("it has {bytes} bytes, more than a frame"),
        Failure::AnswerTooLarge => "it is larger than a frame may be".to_owned(),
        Failure::Garbled(what) => what,
        Failure::Lost(ending) => ending.cause.to_string(),
        Failure::Streamed => "a stream came instead".to_owned(),
        Failure::NotSent | Failure::Overloaded(_) | Failure::Unwritable(_) | Failure::Cancelled => {
            "it takes no calls".to_owned()
        }
    })
}
