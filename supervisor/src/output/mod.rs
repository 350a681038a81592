//! What reaches the user: data on stdout, talk on stderr, colours only where wanted, and no byte of
//! a plugin raw on a terminal.
//!
//! The only file that writes to the standard streams. (`run` hands them to the command untouched.)

pub(crate) mod denial;
pub(crate) mod edit;
pub(crate) mod file;
pub(crate) mod layout;
pub(crate) mod moment;
pub(crate) mod neutral;
pub(crate) mod sheet;

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::builder::styling::{AnsiColor, Style};
use serde::Serialize;
use serde_json::value::RawValue;

use self::neutral::Lines;
use crate::{env, failure::Failure};

/// How a verb ends: with a status, or with something to tell.
pub(crate) type Outcome = Result<ExitCode, Failure>;

/// How `--json` was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people.
    Human,
    /// One JSON document, for programs.
    Json,
}

impl Format {
    /// From the flag.
    pub(crate) fn from_flag(json: bool) -> Self {
        if json { Self::Json } else { Self::Human }
    }
}

/// The two output streams, and what they are attached to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal {
    /// Somebody watches stdout.
    pub(crate) stdout_is_tty: bool,
    /// Somebody watches stderr.
    pub(crate) stderr_is_tty: bool,
    colours: bool,
}

impl Terminal {
    /// Looks at the real streams and at `NO_COLOR` and `TERM`.
    pub(crate) fn detect() -> Self {
        Self {
            stdout_is_tty: io::stdout().is_terminal(),
            stderr_is_tty: io::stderr().is_terminal(),
            colours: env::wants_colours(),
        }
    }

    /// What paints text for stdout.
    pub(crate) fn on_stdout(self) -> Brush {
        Brush { colours: self.colours && self.stdout_is_tty }
    }

    /// What paints text for stderr.
    pub(crate) fn on_stderr(self) -> Brush {
        Brush { colours: self.colours && self.stderr_is_tty }
    }

    /// Writes text that is ours, or was neutralised, to stdout.
    pub(crate) fn data(self, text: &str) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        if !text.ends_with('\n') {
            out.write_all(b"\n")?;
        }
        Ok(out.flush()?)
    }

    /// Writes a value as a JSON document to stdout: indented for a reader, one line for a pipe.
    pub(crate) fn json(self, value: &impl Serialize) -> Result<(), Failure> {
        let text = if self.stdout_is_tty {
            serde_json::to_string_pretty(value)
        } else {
            serde_json::to_string(value)
        };
        self.data(&neutral::json(&text.map_err(io::Error::from)?))
    }

    /// Writes a plugin's result to stdout: indented for a reader, one line for a pipe or `--json`.
    pub(crate) fn result(self, result: &RawValue, format: Format) -> Result<(), Failure> {
        let indented = self.stdout_is_tty && format == Format::Human;
        let text = if indented { layout::pretty(result) } else { layout::compact(result) };
        self.data(&neutral::json(&text))
    }

    /// Writes one value of many to stdout, as a line.
    pub(crate) fn item(self, item: &RawValue) -> Result<(), Failure> {
        self.data(&neutral::json(&layout::compact(item)))
    }

    /// Writes bytes of a plugin to stdout: as they are, or as harmless text where somebody watches.
    pub(crate) fn bytes(self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        if self.stdout_is_tty {
            let text = String::from_utf8_lossy(bytes);
            out.write_all(neutral::text(&text, Lines::Keep).as_bytes())?;
        } else {
            out.write_all(bytes)?;
        }
        Ok(out.flush()?)
    }

    /// Says one line on stderr. That nobody listens is no reason to fail.
    pub(crate) fn say(self, text: &str) {
        let text = neutral::text(text, Lines::Keep);
        let _nobody_listens = writeln!(io::stderr().lock(), "{text}");
    }

    /// Says text that is ours, or was neutralised and then painted, on stderr.
    pub(crate) fn say_painted(self, text: &str) {
        let _nobody_listens = writeln!(io::stderr().lock(), "{text}");
    }

    /// Says one line on stderr behind a coloured word (`error`, `hint`, `warning`).
    pub(crate) fn say_as(self, tone: Tone, word: &str, text: &str) {
        let word = self.on_stderr().paint(tone, &format!("{word}:"));
        let text = neutral::text(text, Lines::Keep);
        let _nobody_listens = writeln!(io::stderr().lock(), "{word} {text}");
    }

    /// Shows a line that is replaced by the next one, on a stderr that somebody watches.
    pub(crate) fn progress(self, text: &str) {
        if self.stderr_is_tty && env::has_cursor() {
            let text: String = neutral::text(text, Lines::Escape).chars().take(100).collect();
            let _nobody_listens = write!(io::stderr().lock(), "\r\x1b[2K{text}");
        }
    }

    /// Removes the progress line.
    pub(crate) fn progress_done(self) {
        if self.stderr_is_tty && env::has_cursor() {
            let _nobody_listens = write!(io::stderr().lock(), "\r\x1b[2K");
        }
    }

    /// Tells of a failure: an `error:` line and a `hint:` line, or one JSON object.
    pub(crate) fn fail(self, failure: &Failure, format: Format) {
        if failure.quiet {
            return;
        }
        match format {
            Format::Json => self.say(&neutral::json(&failure.to_json())),
            Format::Human => {
                self.say_as(Tone::Bad, "error", &failure.message);
                if let Some(hint) = &failure.hint {
                    self.say_as(Tone::Note, "hint", hint);
                }
            }
        }
    }
}

/// What a coloured word means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Holds, works.
    Good,
    /// In part, take care.
    Warn,
    /// Does not hold, failed.
    Bad,
    /// By the way.
    Note,
    /// A heading.
    Head,
}

/// Paints, or does not, for one stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Brush {
    colours: bool,
}

impl Brush {
    /// Never paints.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self { colours: false }
    }

    /// Paints text that is ours or was neutralised before.
    pub(crate) fn paint(self, tone: Tone, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let style = match tone {
            Tone::Good => Style::new().fg_color(Some(AnsiColor::Green.into())),
            Tone::Warn => Style::new().fg_color(Some(AnsiColor::Yellow.into())),
            Tone::Bad => Style::new().bold().fg_color(Some(AnsiColor::Red.into())),
            Tone::Note => Style::new().fg_color(Some(AnsiColor::Cyan.into())),
            Tone::Head => Style::new().bold(),
        };
        format!("{style}{text}{style:#}")
    }
}

/// Columns of text under a heading, as wide as their widest cell; no lines drawn.
#[derive(Debug)]
pub(crate) struct Table(comfy_table::Table);

impl Table {
    /// A table with these headings.
    pub(crate) fn new(headings: &[&str]) -> Self {
        let mut table = Self::bare();
        table.0.set_header(headings);
        table
    }

    /// A table without headings.
    pub(crate) fn bare() -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
        Self(table)
    }

    /// Adds a row of untrusted cells.
    pub(crate) fn row<const N: usize>(&mut self, cells: [&str; N]) {
        self.0.add_row(cells.map(|cell| neutral::text(cell, Lines::Escape).into_owned()));
    }

    /// The table as lines without trailing blanks.
    pub(crate) fn lines(&self) -> String {
        // Every cell has a blank before it, the first one for nothing.
        let line =
            |line: String| format!("{}\n", line.strip_prefix(' ').unwrap_or(&line).trim_end());
        self.0.lines().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_left_out_when_unwanted() {
        assert_eq!(Brush { colours: false }.paint(Tone::Bad, "no"), "no");
        assert_eq!(Brush { colours: true }.paint(Tone::Head, "yes"), "\x1b[1myes\x1b[0m");
    }

    #[test]
    fn a_cell_cannot_leave_its_cell() {
        let mut table = Table::new(&["NAME", "WHAT"]);
        table.row(["words", "counts\nfake row"]);
        table.row(["evil\x1b[2J", "x\u{202e}"]);
        insta::assert_snapshot!(table.lines(), @r"
        NAME           WHAT
        words          counts\nfake row
        evil\u{1b}[2J  x\u{202e}
        ");
    }
}
