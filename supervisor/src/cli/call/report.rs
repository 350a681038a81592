//! The document that `call --report` writes: what was enforced and how the call went. For programs;
//! the names in it are stable. Neither parameters nor the result are in it: they may be secrets.

use std::{
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use plugbay::{CallError, Death};
use plugbay_sandbox::{Enforcement, FileGrant, Level};
use serde::Serialize;
use serde_json::value::RawValue;

use super::request::Request;
use crate::{exit::Exit, failure::Failure, output::file};

/// The version of the document's shape.
const VERSION: u32 = 1;

/// A report to be written, and where it goes.
#[derive(Debug)]
pub(crate) struct Report {
    target: Option<(PathBuf, File)>,
    plugin: String,
    plugin_version: String,
    method: String,
    level: Level,
    grants: Vec<FileGrant>,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    version: u32,
    plugin: &'a str,
    plugin_version: &'a str,
    method: &'a str,
    level: Level,
    /// What was granted on the command line, beyond the manifest.
    grants: &'a [FileGrant],
    enforcement: Option<&'a Enforcement>,
    /// Null when the call was answered.
    error: Option<Error>,
    /// How the plugin ended, when it was not we who stopped it.
    death: Option<Ended<'a>>,
}

#[derive(Debug, Serialize)]
struct Error {
    code: i32,
    message: String,
    data: Option<Box<RawValue>>,
}

#[derive(Debug, Serialize)]
struct Ended<'a> {
    cause: String,
    before_hello: bool,
    user_ms: Option<u128>,
    system_ms: Option<u128>,
    max_rss_bytes: Option<u64>,
    stderr_tail: &'a str,
}

impl Report {
    /// Opens the file before anything runs.
    pub(crate) fn open(target: Option<&Path>, request: &Request) -> Result<Self, Failure> {
        let target = target.map(|path| {
            let made = file::create(path, &request.grants);
            made.map(|file| (path.to_owned(), file)).map_err(|error| {
                Failure::new(Exit::NotStarted, format!("write `{}`: {error}", path.display()))
            })
        });
        Ok(Self {
            target: target.transpose()?,
            plugin: request.name().to_owned(),
            plugin_version: request.version(),
            method: request.method.clone(),
            level: request.level,
            grants: request.grants.clone(),
        })
    }

    /// Writes the document, if it was asked for.
    pub(crate) fn write(
        self,
        outcome: &Result<Box<RawValue>, CallError>,
        enforcement: Option<&Enforcement>,
        death: Option<&Death>,
    ) -> Result<(), Failure> {
        let Some((path, mut file)) = self.target else { return Ok(()) };
        let document = Document {
            version: VERSION,
            plugin: &self.plugin,
            plugin_version: &self.plugin_version,
            method: &self.method,
            level: self.level,
            grants: &self.grants,
            enforcement,
            error: outcome.as_ref().err().map(|error| {
                let object = error.to_error_object();
                Error { code: object.code, message: object.message, data: object.data }
            }),
            death: death.map(|death| Ended {
                cause: death.cause.token(),
                before_hello: death.before_hello,
                user_ms: death.usage.map(|usage| usage.user.as_millis()),
                system_ms: death.usage.map(|usage| usage.system.as_millis()),
                max_rss_bytes: death.usage.map(|usage| usage.max_rss),
                stderr_tail: &death.stderr_tail,
            }),
        };
        let text = serde_json::to_string_pretty(&document).map_err(io::Error::from);
        text.and_then(|text| writeln!(file, "{text}")).map_err(|error| {
            Failure::new(Exit::Answered, format!("write `{}`: {error}", path.display()))
        })
    }
}
