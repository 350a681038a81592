//! The last run of this user: its report, kept in the state directory, and what `plugbay why` makes of
//! it. What nobody watched is never called allowed.

use std::{
    fs::{self, Permissions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use plugbay_sandbox::{FileGrant, Watched};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    exit::Exit,
    failure::Failure,
    output::{
        Format, Terminal,
        denial::Shown,
        file,
        neutral::{self, Lines},
    },
};

/// The file's name.
const NAME: &str = "last-run.json";

/// Keeps a report as that of the last run, for its user alone: a command line may hold secrets. Two
/// runs that end together leave one of the two, whole.
pub(super) fn keep(
    document: &impl Serialize,
    directory: &Path,
    grants: &[FileGrant],
) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let unfinished = directory.join(format!("{NAME}.{}", std::process::id()));
    let mut file = file::create(&unfinished, grants)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    let written = serde_json::to_vec(document)
        .map_err(io::Error::from)
        .and_then(|bytes| file.write_all(&bytes))
        .and_then(|()| fs::rename(&unfinished, directory.join(NAME)));
    if written.is_err() {
        fs::remove_file(&unfinished)?;
    }
    written
}

/// The parts of a report that matter here.
#[derive(Debug, Deserialize)]
struct Past {
    command: Vec<String>,
    outcome: Outcome,
    denials: Denials,
    /// Whether it was sealed at all.
    level: String,
}

#[derive(Debug, Deserialize)]
struct Outcome {
    code: Option<i32>,
    signal: Option<String>,
    error: Option<String>,
    why: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Denials {
    watched: Watched,
    kinds: Vec<Shown>,
    others: u64,
}

/// Tells of the last run, as a text or as the report itself.
pub(crate) fn tell(
    state: Option<PathBuf>,
    format: Format,
    terminal: Terminal,
) -> Result<(), Failure> {
    let nothing = || {
        Failure::new(Exit::NotFound, "no run is kept")
            .hint("`plugbay run` keeps its last one in the state directory (PLUGBAY_STATE)")
    };
    let path = state.ok_or_else(nothing)?.join(NAME);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(nothing()),
        Err(error) => return Err(unreadable(&path, error)),
    };
    if format == Format::Json {
        let raw: Box<RawValue> =
            serde_json::from_str(&text).map_err(|error| unreadable(&path, error))?;
        return terminal.json(&raw);
    }
    let past: Past = serde_json::from_str(&text).map_err(|error| unreadable(&path, error))?;
    terminal.data(&neutral::text(&past.lines().join("\n"), Lines::Keep))
}

fn unreadable(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Answered, format!("read `{}`: {error}", path.display()))
}

impl Past {
    fn lines(&self) -> Vec<String> {
        let mut lines =
            vec![format!("command: {}", self.command.join(" ").replace('\n', " ")), self.end()];
        let mut shown: Vec<&Shown> = self.denials.kinds.iter().collect();
        shown.sort_by_key(|one| !one.has_fix());
        lines.extend(shown.iter().map(|one| format!("denied: {}", one.line())));
        if self.denials.others > 0 {
            lines.push(format!("denied: {} more, not told apart", self.denials.others));
        }
        lines.extend(self.blind_spots());
        lines
    }

    fn end(&self) -> String {
        let Outcome { code, signal, error, why } = &self.outcome;
        let how = match (code, signal, error) {
            (Some(code), ..) => format!("exit status {code}"),
            (_, Some(signal), _) => format!("killed by {signal}"),
            (.., Some(error)) => format!("it never ran: {error}"),
            (None, None, None) => "unknown".to_owned(),
        };
        let why = why.as_ref().map_or_else(String::new, |why| format!("; {why}"));
        format!("ended: {how}{why}")
    }

    /// What may have been refused without a word.
    fn blind_spots(&self) -> Vec<String> {
        let watched = &self.denials.watched;
        let mut lines = Vec::new();
        if self.outcome.error.is_some() {
            return lines;
        }
        if self.level == "none" {
            lines.push("not sealed: level none refuses nothing".to_owned());
        } else if !watched.calls {
            let why = if watched.why.is_empty() { "nobody listened" } else { &watched.why };
            lines.push(format!("not watched: system calls, files and addresses ({why})"));
        } else if !watched.attempts {
            let again = "run it again with --explain, or let `plugbay learn` write what it needs";
            lines.push(format!("not watched: files and addresses; to know of them, {again}"));
        } else {
            lines.push(
                "watched: system calls; files and addresses as far as advice goes".to_owned(),
            );
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn past(watched: &str, kinds: &str) -> Vec<String> {
        let text = format!(
            r#"{{"command": ["cat", "/x"], "level": "standard", "more": 1,
                "outcome": {{"code": 1, "signal": null, "error": null, "why": null}},
                "denials": {{"watched": {watched}, "kinds": [{kinds}], "others": 0}}}}"#
        );
        serde_json::from_str::<Past>(&text).unwrap().lines()
    }

    #[test]
    fn what_was_not_watched_is_said_and_never_called_allowed() {
        let calls = past(r#"{"calls": true, "attempts": false, "why": ""}"#, "");
        insta::assert_snapshot!(calls.join("\n"), @r"
        command: cat /x
        ended: exit status 1
        not watched: files and addresses; to know of them, run it again with --explain, or let `plugbay learn` write what it needs
        ");
        let nothing = past(r#"{"calls": false, "attempts": false, "why": "EBUSY"}"#, "");
        assert_eq!(nothing[2], "not watched: system calls, files and addresses (EBUSY)");
    }

    #[test]
    fn refusals_come_with_their_flag() {
        let kind = r#"{"layer": "files", "rule": "not-granted", "syscall": "openat", "detail": null,
            "path": "/x", "host": null, "port": null, "errno": null, "count": 2,
            "fix": "--read /x"}"#;
        let lines = past(r#"{"calls": true, "attempts": true, "why": ""}"#, kind);
        assert_eq!(lines[2], "denied: openat `/x`, 2 times; to allow it: --read /x");
    }

    #[test]
    fn a_kept_report_is_its_users_alone_and_replaces_the_last() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("state");
        for number in [1, 2] {
            keep(&Value::from(number), &directory, &[]).unwrap();
        }
        let file = directory.join(NAME);
        assert_eq!(fs::read_to_string(&file).unwrap(), "2");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
    }
}
