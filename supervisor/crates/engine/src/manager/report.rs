//! How a call went: one shape, whatever came of it.
//!
//! A [`Course`] is a call under way, and takes notes. However the caller leaves it (an answer, an
//! error, a future dropped), the notes go into the plugin's history.

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use serde_json::value::RawValue;

use super::{
    directory::{Directory, Entry},
    edition::Edition,
    errand::Errand,
    method::Method,
};
use crate::{
    clock,
    error::{CallError, CallErrorKind},
    lifecycle::identity::{Generation, InstanceId},
    plugin::{Label, session::Tally},
};

/// How one call went; see [`CallBuilder::report`](super::CallBuilder::report) and
/// [`Host::history`](super::Host::history).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CallReport {
    /// The plugin that was called.
    pub plugin: Arc<str>,
    /// The method that was called.
    pub method: Arc<str>,
    /// Why there is no result, if there is none.
    pub error: Option<CallError>,
    /// The result. Its caller gets it; a history keeps none.
    pub output: Option<Box<RawValue>>,
    /// When the call was made.
    pub started: SystemTime,
    /// How long it took in all.
    pub duration: Duration,
    /// How much of that it waited for the plugin to come up.
    pub waited: Duration,
    /// How often it was sent: not at all, once, or once more after a crash.
    pub attempts: u32,
    /// The process that it was sent to last.
    pub instance: Option<InstanceId>,
    /// The generation of that process.
    pub generation: Option<Generation>,
    /// Bytes that went to the plugin.
    pub bytes_in: u64,
    /// Bytes of the result or error that came back.
    pub bytes_out: u64,
    /// Progress notices of the plugin.
    pub progress: u64,
    /// Processor time of the process meanwhile, children not included. Only in a report that was
    /// asked for, and only if no other call was in flight, so that it can be told to be this one's.
    pub cpu: Option<Duration>,
    /// What the caller passed along.
    pub metadata: CallMetadata,
}

/// What a caller passes along with a call, and who the caller is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallMetadata {
    /// The plugins that the call came through, the first one first; none if the host made it.
    pub callers: Vec<Arc<str>>,
    /// The W3C trace context.
    pub traceparent: Option<String>,
    /// What marks repetitions of one piece of work.
    pub idempotency_key: Option<String>,
}

impl CallMetadata {
    /// Bytes of the texts in it.
    pub(crate) fn weight(&self) -> usize {
        let callers = self.callers.len() * size_of::<Arc<str>>();
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        callers + text(&self.traceparent) + text(&self.idempotency_key)
    }
}

impl CallReport {
    /// What came of it, as one word for programs: `ok`, or [`CallErrorKind::name`].
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        self.error.as_ref().map_or("ok", |error| error.kind().name())
    }

    /// Where in the plugin it went wrong, if the plugin says so.
    #[must_use]
    pub fn traceback(&self) -> Option<String> {
        self.error.as_ref()?.traceback()
    }

    /// A call that was refused before the plugin was found, or its method.
    pub(crate) fn refused(errand: &Errand<'_>, started: Instant, error: CallError) -> Self {
        let (plugin, method) = (error.plugin().into(), error.method().into());
        let mut notes = Notes::new(started);
        notes.metadata = errand.metadata();
        notes.duration = clock::now().saturating_duration_since(started);
        notes.error = Some(error);
        notes.into_report(plugin, method, clock::now(), clock::wall())
    }
}

/// What is noted of a call. Small, because histories are made of it.
#[derive(Debug, Clone)]
pub(crate) struct Notes {
    pub(crate) started: Instant,
    pub(crate) duration: Duration,
    pub(crate) waited: Duration,
    pub(crate) attempts: u32,
    pub(crate) reached: Option<(Generation, InstanceId)>,
    pub(crate) tally: Tally,
    pub(crate) error: Option<CallError>,
    pub(crate) metadata: Option<Box<CallMetadata>>,
}

impl Notes {
    pub(crate) fn new(started: Instant) -> Self {
        Self {
            started,
            duration: Duration::ZERO,
            waited: Duration::ZERO,
            attempts: 0,
            reached: None,
            tally: Tally::default(),
            error: None,
            metadata: None,
        }
    }

    /// It is sent to this process.
    pub(crate) fn reach(&mut self, label: &Label) {
        self.attempts += 1;
        self.reached = Some((label.generation, label.instance));
    }

    /// The report. Instants become times of the wall clock as it is now.
    pub(crate) fn into_report(
        self,
        plugin: Arc<str>,
        method: Arc<str>,
        now: Instant,
        wall: SystemTime,
    ) -> CallReport {
        let age = now.saturating_duration_since(self.started);
        CallReport {
            plugin,
            method,
            error: self.error,
            output: None,
            started: wall.checked_sub(age).unwrap_or(wall),
            duration: self.duration,
            waited: self.waited,
            attempts: self.attempts,
            instance: self.reached.map(|(_, instance)| instance),
            generation: self.reached.map(|(generation, _)| generation),
            bytes_in: self.tally.sent,
            bytes_out: self.tally.received,
            progress: self.tally.progress,
            cpu: self.tally.cpu,
            metadata: self.metadata.map(|metadata| *metadata).unwrap_or_default(),
        }
    }
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct Course<'c> {
    pub(crate) entry: &'c Entry,
    /// The generation that it was checked against.
    pub(crate) edition: Arc<Edition>,
    pub(crate) method: Arc<Method>,
    pub(crate) notes: Notes,
    /// When the clock was last looked at.
    pub(crate) seen: Instant,
    errand: &'c Errand<'c>,
    ended: bool,
}

impl<'c> Course<'c> {
    /// Sets out, if plugin, method and parameters are right.
    pub(crate) fn begin(
        directory: &'c Directory,
        errand: &'c Errand<'c>,
        started: Instant,
    ) -> Result<Self, CallError> {
        let entry = directory.find(errand.plugin, errand.method)?;
        let (edition, method) = errand.check(entry)?;
        entry.used.note(started);
        let notes = Notes::new(started);
        Ok(Self { entry, edition, method, notes, seen: started, errand, ended: false })
    }

    /// It has an outcome.
    pub(crate) fn end(mut self, error: Option<&CallError>) {
        self.close(error);
    }

    /// It has an outcome, and somebody wants to know all of it.
    pub(crate) fn report(mut self, outcome: Result<Box<RawValue>, CallError>) -> CallReport {
        let (output, error) = match outcome {
            Ok(output) => (Some(output), None),
            Err(error) => (None, Some(error)),
        };
        let notes = self.close(error.as_ref());
        let notes = Notes { error, ..notes };
        let (plugin, method) = (self.entry.name.clone(), self.method.name.clone());
        let report = notes.into_report(plugin, method, clock::now(), clock::wall());
        CallReport { output, ..report }
    }

    fn close(&mut self, error: Option<&CallError>) -> Notes {
        self.ended = true;
        let blank = Notes::new(self.notes.started);
        let mut notes = mem::replace(&mut self.notes, blank);
        notes.duration = self.seen.saturating_duration_since(notes.started);
        notes.metadata = self.errand.metadata();
        notes.error = error.map(CallError::abridged);
        self.edition.finished.fetch_add(1, Ordering::Relaxed);
        let Entry { name, ledger, share, .. } = self.entry;
        ledger.called(share, (name, &self.method.name), &notes);
        self.entry.history.keep(self.method.name.clone(), notes.clone());
        notes
    }
}

/// The caller has dropped the future.
impl Drop for Course<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let error =
                CallError::new(self.errand.plugin, self.errand.method, CallErrorKind::Cancelled);
            self.seen = clock::now();
            self.close(Some(&error));
        }
    }
}
