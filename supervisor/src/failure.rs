//! A verb that failed: one clear line, perhaps a hint, and the exit code. Not the plugin's own
//! error values, which arrive as data and are turned into one of these at the edge.

use std::{fmt, io, process::ExitCode};

use serde::Serialize;
use serde_json::value::RawValue;

use crate::exit::Exit;

/// What a verb returns when it could not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: Exit,
    /// What went wrong, lower case, no full stop. May quote untrusted text: neutralised when shown.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// The JSON-RPC error behind it, if a plugin or the engine gave one.
    pub(crate) rpc: Option<Rpc>,
    /// Whether the failure is only that nobody reads our output any more.
    pub(crate) quiet: bool,
}

/// The JSON-RPC face of a failure, for `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Rpc {
    /// The error code.
    pub(crate) code: i32,
    /// The data that came with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<Box<RawValue>>,
}

impl Failure {
    /// A failure without a hint.
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string(), hint: None, rpc: None, quiet: false }
    }

    /// A mistake on the command line.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The same, with the line that says what to do.
    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// The status to end with: nothing is wrong when only the reader went away.
    pub(crate) fn code(&self) -> ExitCode {
        if self.quiet { Exit::Ok.into() } else { self.exit.into() }
    }

    /// The failure as one JSON object, for `--json`.
    pub(crate) fn to_json(&self) -> String {
        let body = Body {
            error: Inner {
                exit: self.exit.code(),
                message: &self.message,
                hint: self.hint.as_deref(),
                rpc: self.rpc.as_ref(),
            },
        };
        serde_json::to_string(&body).unwrap_or_else(|_| String::from("{\"error\":{}}"))
    }
}

/// Output that could not be written. A reader that went away (`| head`) is no failure to shout of.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let quiet = error.kind() == io::ErrorKind::BrokenPipe;
        Self { quiet, ..Self::new(Exit::Answered, format!("write the output: {error}")) }
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    exit: u8,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rpc: Option<&'a Rpc>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_names_exit_message_and_hint() {
        let failure = Failure::usage("no such thing").hint("try another");
        insta::assert_snapshot!(failure.to_json(), @r#"{"error":{"exit":2,"message":"no such thing","hint":"try another"}}"#);
    }

    #[test]
    fn a_reader_that_went_away_is_quiet() {
        let gone = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(gone.quiet);
        assert!(!Failure::from(io::Error::from(io::ErrorKind::StorageFull)).quiet);
    }
}
