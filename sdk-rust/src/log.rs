//! Structured log lines for the host: a message for people, and fields that are data. Not standard error,
//! which the host logs too, line by line.

use crate::session::Session;
use plugbay_protocol::notice::Level;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;
use std::fmt;

/// One log line in the making: fields first, then the message, at a level.
///
/// ```
/// use plugbay_sdk::{Context, Plugin, Result};
///
/// let plugin = Plugin::new("words", "1.0.0").method("index", |_: (), ctx: &Context| -> Result<()> {
///     ctx.log().field("words", 1320).field("language", "en").info("index built");
///     Ok(())
/// });
/// # let host = plugbay_sdk::testing::Host::new(plugin);
/// # host.call::<()>("index", &())?;
/// # assert_eq!(host.logs()[0].message, "index built");
/// # Ok::<(), plugbay_sdk::CallError>(())
/// ```
#[must_use = "nothing is logged before a level is named, as by `info`"]
pub struct Log<'a> {
    session: &'a Session,
    fields: BTreeMap<&'a str, Box<RawValue>>,
}

impl<'a> Log<'a> {
    pub(crate) fn new(session: &'a Session) -> Self {
        Self { session, fields: BTreeMap::new() }
    }

    /// Adds a field. A value that cannot be written as JSON is replaced by the reason why.
    pub fn field(mut self, name: &'a str, value: impl Serialize) -> Self {
        let written =
            to_raw_value(&value).or_else(|why| to_raw_value(&format!("unwritable: {why}")));
        if let Ok(value) = written {
            self.fields.insert(name, value);
        }
        self
    }

    /// Logs for whoever follows every step.
    pub fn trace(self, message: impl AsRef<str>) {
        self.write(Level::Trace, message);
    }

    /// Logs for whoever looks for a fault.
    pub fn debug(self, message: impl AsRef<str>) {
        self.write(Level::Debug, message);
    }

    /// Logs what is worth keeping.
    pub fn info(self, message: impl AsRef<str>) {
        self.write(Level::Info, message);
    }

    /// Logs what is worth a look.
    pub fn warn(self, message: impl AsRef<str>) {
        self.write(Level::Warn, message);
    }

    /// Logs a failure.
    pub fn error(self, message: impl AsRef<str>) {
        self.write(Level::Error, message);
    }

    /// Logs at a level that is not known before.
    pub fn write(self, level: Level, message: impl AsRef<str>) {
        self.session.log(level, message.as_ref(), &self.fields);
    }
}

impl fmt::Debug for Log<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("fields", &self.fields).finish_non_exhaustive()
    }
}
