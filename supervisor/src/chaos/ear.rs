//! What plugins say while a row is played, kept within bounds: a flood must not fill the listener.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use plugbay::{LogRecord, LogSource};
use tokio::{sync::Notify, time::timeout};

use super::{
    clock::PATIENCE,
    unmet::{Unmet, broken},
};

/// Records kept; a flood that passes the host's own bound by far is seen by it.
const KEPT: usize = 100_000;
/// Bytes kept of one.
const LONGEST: usize = 300;

/// One record, cut.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) plugin: Box<str>,
    pub(crate) source: LogSource,
    /// How long it was.
    pub(crate) length: usize,
    /// Its beginning.
    pub(crate) text: String,
}

/// Everything heard so far.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    records: Mutex<Vec<Said>>,
    more: Notify,
}

impl Ear {
    /// Takes a record down.
    pub(crate) fn hear(&self, record: &LogRecord) {
        let mut records = self.records();
        if records.len() < KEPT {
            let end = record.message.floor_char_boundary(LONGEST);
            records.push(Said {
                plugin: (*record.plugin).into(),
                source: record.source,
                length: record.message.len(),
                text: record.message.get(..end).unwrap_or_default().to_owned(),
            });
        }
        drop(records);
        self.more.notify_waiters();
    }

    /// What a plugin said, as far as it fits.
    pub(crate) fn said(&self, plugin: &str, fits: impl Fn(&Said) -> bool) -> Vec<Said> {
        let records = self.records();
        records.iter().filter(|said| &*said.plugin == plugin && fits(said)).cloned().collect()
    }

    /// Waits until a plugin has said this so often.
    pub(crate) async fn hears(&self, plugin: &str, text: &str, times: usize) -> Result<(), Unmet> {
        self.hears_within(PATIENCE, plugin, text, times).await
    }

    /// The same, with a patience of one's own.
    pub(crate) async fn hears_within(
        &self,
        patience: Duration,
        plugin: &str,
        text: &str,
        times: usize,
    ) -> Result<(), Unmet> {
        let heard = async {
            loop {
                let more = self.more.notified();
                tokio::pin!(more);
                more.as_mut().enable();
                if self.said(plugin, |said| said.text.contains(text)).len() >= times {
                    return;
                }
                more.await;
            }
        };
        let deaf = |_| broken(format_args!("`{text}` is not heard from `{plugin}`"));
        timeout(patience, heard).await.map_err(deaf)
    }

    fn records(&self) -> MutexGuard<'_, Vec<Said>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
