//! The last calls of a plugin, how each of them went. Bounded in number and in bytes.
//!
//! Neither parameters nor results are kept: they may be long, and they may be secrets.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::{Instant, SystemTime},
};

use super::report::{CallReport, Notes};
use crate::plugin::lock;

/// Calls that are kept.
const KEPT: usize = 128;
/// Bytes of error texts that are kept.
const KEPT_BYTES: usize = 256 << 10;

/// The last calls of one plugin.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    calls: VecDeque<(Arc<str>, Notes)>,
    bytes: usize,
}

impl History {
    /// Keeps a call that has ended, and lets the oldest go.
    pub(crate) fn keep(&self, method: Arc<str>, notes: Notes) {
        let weight = weight(&notes);
        let mut ring = lock(&self.0);
        while ring.calls.len() >= KEPT || ring.bytes + weight > KEPT_BYTES {
            let Some((_, oldest)) = ring.calls.pop_front() else { break };
            ring.bytes -= self::weight(&oldest);
        }
        ring.bytes += weight;
        ring.calls.push_back((method, notes));
    }

    /// The calls that are kept, the last one last.
    pub(crate) fn reports(
        &self,
        plugin: &Arc<str>,
        now: Instant,
        wall: SystemTime,
    ) -> Vec<CallReport> {
        let calls = lock(&self.0).calls.clone();
        let report =
            |(method, notes): (_, Notes)| notes.into_report(plugin.clone(), method, now, wall);
        calls.into_iter().map(report).collect()
    }
}

/// Bytes of the texts in it.
fn weight(notes: &Notes) -> usize {
    let error = notes.error.as_ref().map_or(0, |error| error.weight());
    let metadata = notes.metadata.as_ref().map_or(0, |metadata| metadata.weight());
    error + metadata
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock,
        error::{CallError, CallErrorKind},
    };

    fn notes(text: usize) -> Notes {
        let mut notes = Notes::new(clock::now());
        let kind = CallErrorKind::InvalidParams("x".repeat(text));
        notes.error = (text > 0).then(|| CallError::new("p", "m", kind));
        notes
    }

    fn kept(history: &History) -> Vec<CallReport> {
        history.reports(&"p".into(), clock::now(), clock::wall())
    }

    #[test]
    fn the_last_calls_are_kept_and_the_oldest_go() {
        let history = History::default();
        for attempts in 0..1_000 {
            history.keep("m".into(), Notes { attempts, ..notes(0) });
        }
        let attempts: Vec<u32> = kept(&history).iter().map(|report| report.attempts).collect();
        assert_eq!(attempts, (872..1_000).collect::<Vec<u32>>());
    }

    #[test]
    fn long_errors_leave_room_for_fewer_calls() {
        let history = History::default();
        for _ in 0..100 {
            history.keep("m".into(), notes(KEPT_BYTES / 4));
            assert!(lock(&history.0).bytes <= KEPT_BYTES);
        }
        assert_eq!(kept(&history).len(), 3);
        history.keep("m".into(), notes(0));
        assert_eq!(kept(&history).len(), 4);
        assert_eq!(kept(&history).last().unwrap().outcome(), "ok");
    }
}
