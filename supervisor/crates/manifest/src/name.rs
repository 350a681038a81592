//! The name of a plugin: what callers, directories, logs and metrics know it by.
//!
//! Narrow on purpose: a name is safe as a file name, a metric label and a terminal line.

use std::{borrow::Borrow, fmt, str::FromStr};

use serde::{Serialize, Serializer};

/// The longest name, in bytes.
const MAX_LENGTH: usize = 64;

/// The names that mean something else where a plugin's name may stand.
const RESERVED: [&str; 2] = ["plugbay", "host"];

/// A valid plugin name: `[a-z][a-z0-9-]{0,63}`, and none of the reserved words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PluginName(String);

impl PluginName {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// Says which rule the text breaks.
    pub fn new(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > MAX_LENGTH {
            return Err(NameError::TooLong);
        }
        if !is_word(text) {
            return Err(NameError::Characters);
        }
        if RESERVED.contains(&text) {
            return Err(NameError::Reserved);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether the text is `[a-z][a-z0-9-]*`.
pub(crate) fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl fmt::Display for PluginName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PluginName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl AsRef<str> for PluginName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for PluginName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Serialize for PluginName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// Why a text is not a plugin name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is no text.
    #[error("the name is empty")]
    Empty,
    /// More than 64 bytes.
    #[error("the name is longer than 64 characters")]
    TooLong,
    /// A character outside the allowed set, or a first character that is not a letter.
    #[error("the name has a character that is not allowed")]
    Characters,
    /// A word with a meaning of its own.
    #[error("the name is reserved")]
    Reserved,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_taken() {
        for name in ["a", "words", "word-stats-2", &"x".repeat(64)] {
            assert_eq!(PluginName::new(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn each_rule_has_its_own_error() {
        let cases = [
            ("", NameError::Empty),
            ("plugbay", NameError::Reserved),
            ("Words", NameError::Characters),
            ("2words", NameError::Characters),
            ("-words", NameError::Characters),
            ("../etc", NameError::Characters),
            ("wörter", NameError::Characters),
            ("a\u{1b}[2J", NameError::Characters),
        ];
        for (text, error) in cases {
            assert_eq!(PluginName::new(text), Err(error), "{text:?}");
        }
        assert_eq!(PluginName::new(&"x".repeat(65)), Err(NameError::TooLong));
    }
}
