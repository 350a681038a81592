//! A place in the parsed file: the value, its key, and where complaints about it go.
//!
//! Readers ask a field for what they need; a wrong shape is reported here, in one wording, and the
//! reader goes on with what is left.

use std::{ops::Range, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::{
    neutral::{self, echo},
    quantity,
    report::{Complaint, Report},
    suggest,
};

/// One value of the file.
#[derive(Debug)]
pub(crate) struct Field<'r> {
    report: &'r Report<'r>,
    /// The dotted key, harmless to print.
    pub(crate) key: String,
    pub(crate) value: &'r Spanned<DeValue<'r>>,
}

/// A table of the file with its known keys.
#[derive(Debug)]
pub(crate) struct Section<'r> {
    report: &'r Report<'r>,
    pub(crate) key: String,
    span: Range<usize>,
    table: &'r DeTable<'r>,
}

/// `parent.child`, the child quoted when it could not be written bare.
fn dotted(parent: &str, child: &str) -> String {
    let bare = (1..=64).contains(&child.len())
        && child.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let mut key = String::with_capacity(parent.len() + child.len() + 3);
    key.push_str(parent);
    if !parent.is_empty() {
        key.push('.');
    }
    if bare {
        key.push_str(child);
    } else {
        key.push('"');
        key.push_str(&echo(child));
        key.push('"');
    }
    key
}

/// A list of words for a message.
pub(crate) fn listed<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    words.into_iter().collect::<Vec<_>>().join(", ")
}

impl<'r> Section<'r> {
    /// The whole file as a section.
    pub(crate) fn root(report: &'r Report<'r>, table: &'r DeTable<'r>) -> Self {
        Self { report, key: String::new(), span: 0..0, table }
    }

    /// The value of a key, if it is written.
    pub(crate) fn get(&self, name: &str) -> Option<Field<'r>> {
        let value = self.table.get(name)?;
        Some(Field { report: self.report, key: dotted(&self.key, name), value })
    }

    /// The value of a key that must be written.
    pub(crate) fn require(&self, name: &str, what: &str) -> Option<Field<'r>> {
        let field = self.get(name);
        if field.is_none() {
            let complaint = Complaint {
                key: dotted(&self.key, name),
                message: "missing".to_owned(),
                allowed: Some(what.to_owned()),
                suggestion: None,
            };
            self.report.add(&self.span, complaint);
        }
        field
    }

    /// Every entry: the key as written, where it stands, and its field.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&'r str, Range<usize>, Field<'r>)> + '_ {
        self.table.iter().map(|(name, value)| {
            let text: &'r str = name.get_ref();
            let key = dotted(&self.key, text);
            (text, name.span(), Field { report: self.report, key, value })
        })
    }

    /// Reports every key that is not among the known ones.
    pub(crate) fn refuse_unknown(&self, known: &[&str]) {
        for (name, span, field) in self.entries() {
            if !known.contains(&name) {
                let nearest = suggest::nearest(name, known.iter().copied());
                self.report.add(
                    &span,
                    Complaint {
                        key: field.key,
                        message: "unknown key".to_owned(),
                        suggestion: nearest.map(|word| format!("`{word}`")),
                        allowed: Some(listed(known.iter().copied())),
                    },
                );
            }
        }
    }

    /// Reports something wrong with the section as a whole.
    pub(crate) fn wrong(&self, message: impl Into<String>, allowed: &str) {
        let allowed = Some(allowed.to_owned());
        let complaint =
            Complaint { key: self.key.clone(), message: message.into(), allowed, suggestion: None };
        self.report.add(&self.span, complaint);
    }
}

impl<'r> Field<'r> {
    /// Reports something wrong with this value.
    pub(crate) fn wrong(&self, message: impl Into<String>, allowed: impl Into<String>) {
        self.complain(message, None, Some(allowed.into()));
    }

    /// Reports something wrong with this value, with a guess at what was meant.
    pub(crate) fn complain(
        &self,
        message: impl Into<String>,
        suggestion: Option<String>,
        allowed: Option<String>,
    ) {
        let (key, message) = (self.key.clone(), message.into());
        let complaint = Complaint { key, message, suggestion, allowed };
        self.report.add(&self.value.span(), complaint);
    }

    /// Reports something wrong with this value at another place, such as its key.
    pub(crate) fn wrong_at(&self, span: &Range<usize>, message: String, allowed: &str) {
        let (key, allowed) = (self.key.clone(), Some(allowed.to_owned()));
        self.report.add(span, Complaint { key, message, allowed, suggestion: None });
    }

    /// Reports something wrong with a part of this value.
    pub(crate) fn wrong_within(&self, span: &Range<usize>, message: String) {
        let complaint = Complaint { key: self.key.clone(), message, ..Complaint::default() };
        self.report.add(span, complaint);
    }

    /// Reports the wrong kind of value.
    pub(crate) fn wrong_kind(&self, wanted: &str) {
        self.wrong(format!("expected {wanted}, found {}", kind(self.value.get_ref())), wanted);
    }

    /// Text without control characters.
    pub(crate) fn text(&self) -> Option<&'r str> {
        let Some(text) = self.value.get_ref().as_str() else {
            self.wrong_kind("a text");
            return None;
        };
        self.check_text(text, |_| false).then_some(text)
    }

    /// Text of several lines.
    pub(crate) fn prose(&self) -> Option<String> {
        let Some(text) = self.value.get_ref().as_str() else {
            self.wrong_kind("a text");
            return None;
        };
        self.check_text(text, |c| matches!(c, '\n' | '\t')).then(|| text.trim().to_owned())
    }

    /// Refuses what could rewrite a terminal, wherever the text is shown later.
    fn check_text(&self, text: &str, extra: impl Fn(char) -> bool) -> bool {
        let bad = text.chars().find(|&c| neutral::is_unsafe(c) && !extra(c));
        if let Some(c) = bad {
            let message = format!("the text has the invisible character `{}`", c.escape_unicode());
            self.wrong(message, "printable characters");
        }
        bad.is_none()
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self) -> Option<bool> {
        let flag = self.value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong_kind("true or false");
        }
        flag
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, all: &[T], word: impl Fn(T) -> &'static str) -> Option<T> {
        let text = self.text()?;
        let found = all.iter().copied().find(|&option| word(option) == text);
        if found.is_none() {
            let words = || all.iter().map(|&option| word(option));
            let nearest = suggest::nearest(text, words()).map(|word| format!("\"{word}\""));
            let allowed = listed(
                words()
                    .map(|word| format!("\"{word}\""))
                    .collect::<Vec<_>>()
                    .iter()
                    .map(String::as_str),
            );
            self.complain(
                format!("`{}` is not one of the choices", echo(text)),
                nearest,
                Some(allowed),
            );
        }
        found
    }

    /// The elements of a list.
    pub(crate) fn list(&self, wanted: &str) -> Option<Vec<Self>> {
        let DeValue::Array(array) = self.value.get_ref() else {
            self.wrong_kind(wanted);
            return None;
        };
        let element = |(index, value)| Self {
            report: self.report,
            key: format!("{}[{index}]", self.key),
            value,
        };
        Some(array.iter().enumerate().map(element).collect())
    }

    /// A list of texts; a single text is a list of one when `lone` says so.
    pub(crate) fn texts(&self, wanted: &str) -> Option<Vec<&'r str>> {
        let fields = self.list(wanted)?;
        let texts: Vec<&str> = fields.iter().filter_map(Self::text).collect();
        (texts.len() == fields.len()).then_some(texts)
    }

    /// Whether it is a table.
    pub(crate) fn is_table(&self) -> bool {
        matches!(self.value.get_ref(), DeValue::Table(_))
    }

    /// A table.
    pub(crate) fn section(&self) -> Option<Section<'r>> {
        let DeValue::Table(table) = self.value.get_ref() else {
            self.wrong_kind("a table");
            return None;
        };
        let (report, key, span) = (self.report, self.key.clone(), self.value.span());
        Some(Section { report, key, span, table })
    }

    /// A whole number within bounds.
    pub(crate) fn count(&self, bounds: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let Some(integer) = self.value.get_ref().as_integer() else {
            self.wrong_kind("a whole number");
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| bounds.contains(number));
        if number.is_none() {
            let allowed = format!("a whole number from {} to {}", bounds.start(), bounds.end());
            self.wrong(format!("`{}` is out of range", echo(integer.as_str())), allowed);
        }
        number
    }

    /// A duration such as `"30s"`, longer than nothing and at most a day.
    pub(crate) fn duration(&self) -> Option<Duration> {
        const ALLOWED: &str =
            "a number and a unit (us, ms, s, m, h) as \"30s\", above zero, at most \"24h\"";
        let Some(text) = self.value.get_ref().as_str() else {
            self.wrong(
                format!("expected a duration, found {}", kind(self.value.get_ref())),
                ALLOWED,
            );
            return None;
        };
        match quantity::parse_duration(text) {
            Ok(duration) if duration.is_zero() || duration > Duration::from_secs(86_400) => {
                self.wrong(format!("`{}` is out of range", echo(text)), ALLOWED);
                None
            }
            Ok(duration) => Some(duration),
            Err(error) => {
                self.wrong(format!("`{}` is not a duration: {error}", echo(text)), ALLOWED);
                None
            }
        }
    }

    /// A size in bytes such as `"256MiB"` or a bare number of bytes, at least `least`.
    pub(crate) fn size(&self, least: u64) -> Option<u64> {
        let allowed = || {
            format!(
                "bytes, or a number and a unit (KiB, MiB, GiB, TiB; KB, MB, GB, TB) as \"256MiB\", \
             at least {least} bytes"
            )
        };
        let value = self.value.get_ref();
        let parsed = if let Some(integer) = value.as_integer() {
            let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
            number.ok_or_else(|| format!("`{}` is out of range", echo(integer.as_str())))
        } else if let Some(text) = value.as_str() {
            quantity::parse_size(text)
                .map_err(|error| format!("`{}` is not a size: {error}", echo(text)))
        } else {
            Err(format!("expected a size, found {}", kind(value)))
        };
        match parsed {
            Ok(size) if size >= least => Some(size),
            Ok(size) => {
                self.wrong(format!("{size} bytes are too few to run anything"), allowed());
                None
            }
            Err(message) => {
                self.wrong(message, allowed());
                None
            }
        }
    }
}

/// What a value is, in words.
pub(crate) fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(true) => "true",
        DeValue::Boolean(false) => "false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
