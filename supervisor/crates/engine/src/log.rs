//! What plugins say, as records: lines of stderr, stray lines of stdout, `$/log` notifications.
//!
//! Every text in a record is safe to print. Where records go is the embedder's choice; without one
//! they become `tracing` events.

use std::{fmt, sync::Arc};

use plugbay_protocol::notice::Level;
use serde_json::value::RawValue;

use crate::lifecycle::identity::InstanceId;

/// Where a record comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogSource {
    /// A line of the plugin's stderr.
    Stderr,
    /// A line of the plugin's stdout that is no message.
    StrayStdout,
    /// A `$/log` notification.
    Notification,
    /// The host, about the plugin's output (lines dropped, a frame refused).
    Host,
}

impl LogSource {
    /// The source's name in logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stderr => "stderr",
            Self::StrayStdout => "stdout-stray",
            Self::Notification => "log",
            Self::Host => "host",
        }
    }
}

/// One thing a plugin said.
#[derive(Debug, Clone)]
pub struct LogRecord {
    /// Which plugin.
    pub plugin: Arc<str>,
    /// Which process of it.
    pub instance: InstanceId,
    /// By which way.
    pub source: LogSource,
    /// How much it matters.
    pub level: Level,
    /// The text, safe to print; one line.
    pub message: String,
    /// Details of a `$/log` notification, as the plugin sent them.
    pub fields: Option<Box<RawValue>>,
}

/// Where records go.
#[derive(Clone)]
pub(crate) struct LogSink(Arc<dyn Fn(&LogRecord) + Send + Sync>);

impl LogSink {
    pub(crate) fn new(sink: impl Fn(&LogRecord) + Send + Sync + 'static) -> Self {
        Self(Arc::new(sink))
    }

    pub(crate) fn write(&self, record: &LogRecord) {
        (self.0)(record);
    }
}

impl Default for LogSink {
    fn default() -> Self {
        Self::new(trace)
    }
}

impl fmt::Debug for LogSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogSink")
    }
}

/// The record as a `tracing` event of its level.
fn trace(record: &LogRecord) {
    macro_rules! event {
        ($level:ident) => {
            tracing::event!(
                target: "plugbay::plugin",
                tracing::Level::$level,
                plugin = &*record.plugin,
                instance = record.instance.number(),
                source = record.source.as_str(),
                fields = record.fields.as_deref().map(RawValue::get),
                "{}",
                record.message
            )
        };
    }
    match record.level {
        Level::Trace => event!(TRACE),
        Level::Debug => event!(DEBUG),
        Level::Info => event!(INFO),
        Level::Warn => event!(WARN),
        Level::Error => event!(ERROR),
    }
}
