//! Golden transcripts: sessions written down once, replayed by everybody who speaks the protocol. This
//! reads them, matches what came against what was expected, and walks a replay step by step. Where
//! the bytes come from and how long to wait for them is the replayer's: nothing here does I/O.
//!
//! The format is specified in `protocol/golden/README.md`, the files lie beside it.
//!
//! ```
//! use plugbay_protocol::golden::{Action, Replay, Transcript};
//!
//! let transcript = Transcript::parse("calls.jsonl", r#"
//!     {"dir":"host","frame":{"jsonrpc":"2.0","id":1,"method":"echo"}}
//!     {"dir":"plugin","frame":{"jsonrpc":"2.0","id":"*","result":null}}
//! "#)?;
//! let mut replay = Replay::new(&transcript);
//! assert!(matches!(replay.advance(), Action::Send(line) if line.ends_with(b"}\n")));
//! assert_eq!(replay.advance(), Action::Await);
//! replay.received(&serde_json::json!({"jsonrpc": "2.0", "id": 1, "result": null}))?;
//! assert_eq!(replay.advance(), Action::Done);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use serde_json::{Map, Value};
use std::collections::{BTreeMap, VecDeque};

/// Who says a line of a transcript.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// The replayer sends it.
    Host,
    /// The plugin under test must.
    Plugin,
}

/// What a line of a transcript says.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// One message.
    Frame(Value),
    /// Bytes as they are, terminators included if there are any.
    Raw(Vec<u8>),
    /// The end of the stream.
    Eof,
}

/// One line of a transcript.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Where it stands in the file, from 1.
    pub line: usize,
    /// Who says it.
    pub speaker: Speaker,
    /// What.
    pub said: Said,
    /// Why, for whoever reads a failure.
    pub note: Option<String>,
}

/// A session.
#[derive(Debug, Clone, PartialEq)]
pub struct Transcript {
    /// The file's name.
    pub name: String,
    /// Its lines in order.
    pub steps: Vec<Step>,
}

/// A transcript that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct GoldenError {
    file: String,
    line: usize,
    what: String,
}

impl Transcript {
    /// Reads the text of the file called `name`.
    ///
    /// # Errors
    ///
    /// At the first line that is not of the format.
    pub fn parse(name: &str, text: &str) -> Result<Self, GoldenError> {
        let mut steps = Vec::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let step = step(index + 1, line).map_err(|what| GoldenError {
                file: name.to_owned(),
                line: index + 1,
                what,
            })?;
            steps.push(step);
        }
        Ok(Self { name: name.to_owned(), steps })
    }
}

fn step(line: usize, text: &str) -> Result<Step, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let Value::Object(mut members) = value else { return Err("not an object".to_owned()) };
    let speaker = match members.remove("dir").as_ref().and_then(Value::as_str) {
        Some("host") => Speaker::Host,
        Some("plugin") => Speaker::Plugin,
        Some(_) | None => return Err("`dir` must be \"host\" or \"plugin\"".to_owned()),
    };
    let note = match members.remove("note") {
        None => None,
        Some(Value::String(note)) => Some(note),
        Some(_) => return Err("`note` must be a string".to_owned()),
    };
    let said = said(members)?;
    if speaker == Speaker::Plugin && matches!(said, Said::Raw(_)) {
        return Err("only a host's bytes can be given raw".to_owned());
    }
    Ok(Step { line, speaker, said, note })
}

fn said(members: Map<String, Value>) -> Result<Said, String> {
    let mut members = members.into_iter();
    let (Some((name, value)), None) = (members.next(), members.next()) else {
        return Err("exactly one of `frame`, `raw`, `hex` and `eof` is needed".to_owned());
    };
    match (name.as_str(), value) {
        ("frame", value) => Ok(Said::Frame(value)),
        ("raw", Value::String(text)) => Ok(Said::Raw(text.into_bytes())),
        ("hex", Value::String(digits)) => bytes(&digits).map(Said::Raw),
        ("eof", Value::Bool(true)) => Ok(Said::Eof),
        (name, _) => Err(format!("`{name}` is unknown or has the wrong type")),
    }
}

fn bytes(digits: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> = digits.chars().filter(|digit| !digit.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16))
        .collect::<Result<_, _>>()
        .map_err(|error| format!("`hex` is not hexadecimal: {error}"))
}

/// What wildcards of one session stood for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bindings(BTreeMap<String, Value>);

/// Where and how an actual value differs from the expected one.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("at `{path}`: expected {expected}, got {actual}")]
pub struct Mismatch {
    /// Where, such as `error.code`; empty for the whole.
    pub path: String,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub actual: String,
}

impl Bindings {
    /// Compares as JSON values. `"*"` matches anything; `"*name"` too, and whatever it met first it
    /// must meet again. Numbers are equal when their values are. Objects must have the same members.
    ///
    /// # Errors
    ///
    /// The first difference.
    pub fn match_value(&mut self, expected: &Value, actual: &Value) -> Result<(), Mismatch> {
        self.compare(expected, actual, &mut String::new())
    }

    /// `template` with every `"*name"` replaced by what it stood for.
    #[must_use]
    pub fn fill(&self, template: &Value) -> Value {
        match template {
            Value::String(text) => {
                wildcard(text).and_then(|name| self.0.get(name)).unwrap_or(template).clone()
            }
            Value::Array(items) => items.iter().map(|item| self.fill(item)).collect(),
            Value::Object(members) => members
                .iter()
                .map(|(name, value)| (name.clone(), self.fill(value)))
                .collect::<Map<_, _>>()
                .into(),
            Value::Null | Value::Bool(_) | Value::Number(_) => template.clone(),
        }
    }

    fn compare(
        &mut self,
        expected: &Value,
        actual: &Value,
        path: &mut String,
    ) -> Result<(), Mismatch> {
        let differ = |path: &str| Mismatch {
            path: path.to_owned(),
            expected: expected.to_string(),
            actual: actual.to_string(),
        };
        match (expected, actual) {
            (Value::String(text), actual) if wildcard(text).is_some() => {
                let name = wildcard(text).unwrap_or_default();
                if name.is_empty() {
                    return Ok(());
                }
                let bound = self.0.entry(name.to_owned()).or_insert_with(|| actual.clone()).clone();
                if same(&bound, actual) { Ok(()) } else { Err(differ(path)) }
            }
            (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
                for (index, (expected, actual)) in left.iter().zip(right).enumerate() {
                    self.inside(&format!("[{index}]"), expected, actual, path)?;
                }
                Ok(())
            }
            (Value::Object(left), Value::Object(right)) if left.len() == right.len() => {
                for (name, expected) in left {
                    let Some(actual) = right.get(name) else { return Err(differ(path)) };
                    self.inside(&format!(".{name}"), expected, actual, path)?;
                }
                Ok(())
            }
            (left, right) if same(left, right) => Ok(()),
            _ => Err(differ(path)),
        }
    }

    fn inside(
        &mut self,
        part: &str,
        expected: &Value,
        actual: &Value,
        path: &mut String,
    ) -> Result<(), Mismatch> {
        let length = path.len();
        path.push_str(if path.is_empty() { part.trim_start_matches('.') } else { part });
        let compared = self.compare(expected, actual, path);
        path.truncate(length);
        compared
    }
}

fn wildcard(text: &str) -> Option<&str> {
    text.strip_prefix('*')
}

/// Equality in which `1` and `1.0` are one number, inside arrays and objects too.
fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || (left.is_f64() || right.is_f64()) && left.as_f64() == right.as_f64()
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|(left, right)| same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(name, value)| right.get(name).is_some_and(|other| same(value, other)))
        }
        (left, right) => left == right,
    }
}

/// What a replayer is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Send these bytes to the plugin.
    Send(Vec<u8>),
    /// Close the stream to the plugin.
    Close,
    /// Wait for something of the plugin's, and give it to [`Replay::received`] or [`Replay::ended`].
    Await,
    /// Nothing: everything expected has come.
    Done,
}

/// A replay under way.
#[derive(Debug)]
pub struct Replay<'a> {
    transcript: &'a Transcript,
    next: usize,
    /// Expected of the plugin and not come yet, in order.
    pending: VecDeque<&'a Step>,
    bindings: Bindings,
}

/// What the plugin said does not fit the transcript.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct Deviation {
    place: String,
    what: String,
}

impl<'a> Replay<'a> {
    /// At the beginning of `transcript`.
    #[must_use]
    pub fn new(transcript: &'a Transcript) -> Self {
        Self { transcript, next: 0, pending: VecDeque::new(), bindings: Bindings::default() }
    }

    /// What to do now. The plugin's lines up to the host's next one are awaited before that is sent.
    pub fn advance(&mut self) -> Action {
        self.expect_up_to_next_host_line();
        if !self.pending.is_empty() {
            return Action::Await;
        }
        let Some(step) = self.transcript.steps.get(self.next) else { return Action::Done };
        self.next += 1;
        match &step.said {
            Said::Frame(frame) => {
                Action::Send(format!("{}\n", self.bindings.fill(frame)).into_bytes())
            }
            Said::Raw(bytes) => Action::Send(bytes.clone()),
            Said::Eof => Action::Close,
        }
    }

    /// Takes a message of the plugin's. Log lines may come at any time; progress may come before its
    /// turn, in its own order; everything else comes exactly in turn.
    ///
    /// # Errors
    ///
    /// When it is not what the transcript expects.
    pub fn received(&mut self, message: &Value) -> Result<(), Deviation> {
        self.expect_up_to_next_host_line();
        let method = message.get("method").and_then(Value::as_str);
        let position = match method {
            Some("$/log") => match self.position(is_log) {
                None => return Ok(()),
                found => found,
            },
            Some("$/progress") => self.position(is_progress),
            Some(_) | None => self.position(|step| !is_log(step)),
        };
        let Some((at, step)) = position else {
            return Err(self.deviation(None, format!("nothing was expected, got {message}")));
        };
        let Said::Frame(expected) = &step.said else {
            return Err(self.deviation(Some(step), format!("the end was expected, got {message}")));
        };
        let mut bindings = self.bindings.clone();
        bindings
            .match_value(expected, message)
            .map_err(|mismatch| self.deviation(Some(step), format!("{mismatch}, in {message}")))?;
        self.bindings = bindings;
        self.pending.remove(at);
        Ok(())
    }

    /// Takes the end of the plugin's stream.
    ///
    /// # Errors
    ///
    /// When more was expected.
    pub fn ended(&mut self) -> Result<(), Deviation> {
        self.expect_up_to_next_host_line();
        match self.pending.pop_front() {
            Some(Step { said: Said::Eof, .. }) => Ok(()),
            Some(step) => Err(self.deviation(Some(step), "the stream ended before it".to_owned())),
            None if self.next == self.transcript.steps.len() => Ok(()),
            None => Err(self.deviation(None, "the stream ended too early".to_owned())),
        }
    }

    /// Makes the plugin's lines up to the host's next one pending, and sends nothing.
    fn expect_up_to_next_host_line(&mut self) {
        while let Some(step) = self.transcript.steps.get(self.next)
            && step.speaker == Speaker::Plugin
        {
            self.pending.push_back(step);
            self.next += 1;
        }
    }

    fn position(&self, wanted: impl Fn(&Step) -> bool) -> Option<(usize, &'a Step)> {
        self.pending.iter().copied().enumerate().find(|(_, step)| wanted(step))
    }

    fn deviation(&self, step: Option<&Step>, what: String) -> Deviation {
        let name = &self.transcript.name;
        let place = match step {
            Some(Step { line, note: Some(note), .. }) => format!("{name}:{line} ({note})"),
            Some(Step { line, note: None, .. }) => format!("{name}:{line}"),
            None => name.clone(),
        };
        Deviation { place, what }
    }
}

fn is_method(step: &Step, method: &str) -> bool {
    matches!(&step.said, Said::Frame(frame) if frame.get("method").and_then(Value::as_str) == Some(method))
}

fn is_log(step: &Step) -> bool {
    is_method(step, "$/log")
}

fn is_progress(step: &Step) -> bool {
    is_method(step, "$/progress")
}

#[cfg(test)]
mod tests;
