//! Parameters of the `$/` notifications. Not their routing.

use crate::id::Id;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use serde_json::value::RawValue;

/// Parameters of `$/cancel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The request whose answer is no longer wanted, by the id its sender gave it.
    pub id: Id<'static>,
    /// Why, for a log: `deadline`, `caller`, `shutdown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Parameters of `$/progress`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Progress {
    /// What the request gave as `_meta.progressToken`.
    pub token: Id<'static>,
    /// How far the work is, in any unit; never falling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Number>,
    /// Where it ends, in the same unit, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Number>,
    /// What is being done, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Anything for a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

impl Progress {
    /// Says no more than that the work goes on, which is enough to reset an idle deadline.
    #[must_use]
    pub fn new(token: Id<'static>) -> Self {
        Self { token, value: None, total: None, message: None, data: None }
    }

    /// How much is done, from 0 to 1, if both `value` and `total` say so.
    #[must_use]
    pub fn fraction(&self) -> Option<f64> {
        let (value, total) = (self.value.as_ref()?.as_f64()?, self.total.as_ref()?.as_f64()?);
        (total > 0.0).then(|| (value / total).clamp(0.0, 1.0))
    }
}

/// How much a log line matters, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", from = "std::borrow::Cow<'_, str>")]
pub enum Level {
    /// For whoever follows every step.
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// Worth keeping. Also what a level nobody knows is taken for.
    #[default]
    Info,
    /// Worth a look.
    Warn,
    /// Something failed.
    Error,
}

/// By the names loggers of other languages use, in any case.
impl From<std::borrow::Cow<'_, str>> for Level {
    fn from(name: std::borrow::Cow<'_, str>) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "trace" => Self::Trace,
            "debug" => Self::Debug,
            "warn" | "warning" => Self::Warn,
            "error" | "critical" | "fatal" => Self::Error,
            _ => Self::Info,
        }
    }
}

/// Parameters of `$/log`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Log {
    /// How much it matters.
    #[serde(default)]
    pub level: Level,
    /// What happened.
    pub message: String,
    /// An object of details, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Box<RawValue>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(name: &str) -> Level {
        serde_json::from_str::<Log>(&format!(r#"{{"level":"{name}","message":"m"}}"#))
            .unwrap()
            .level
    }

    #[test]
    fn levels_are_read_by_the_names_other_loggers_use() {
        assert_eq!(level("WARNING"), Level::Warn);
        assert_eq!(level("critical"), Level::Error);
        assert_eq!(level("trace"), Level::Trace);
        assert_eq!(level("info"), Level::Info);
        assert_eq!(level("NOTICE"), Level::Info, "unknown levels are not lost");
        assert_eq!(serde_json::to_string(&Level::Info).unwrap(), r#""info""#);
        assert!(Level::Error > Level::Warn);
    }

    #[test]
    fn progress_keeps_integers_integers() {
        let text = r#"{"token":"t","value":1,"total":4}"#;
        let progress: Progress = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&progress).unwrap(), text);
        assert_eq!(progress.fraction(), Some(0.25));
        assert_eq!(Progress::new(Id::from(1)).fraction(), None);
    }

    #[test]
    fn cancel_takes_either_kind_of_id_and_no_other() {
        assert!(serde_json::from_str::<Cancel>(r#"{"id":4}"#).is_ok());
        assert!(serde_json::from_str::<Cancel>(r#"{"id":"4","reason":"deadline"}"#).is_ok());
        assert!(serde_json::from_str::<Cancel>(r#"{"id":null}"#).is_err());
    }
}
