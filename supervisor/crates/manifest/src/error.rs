//! What is wrong with a manifest: every problem with its place, its key and what is allowed.
//!
//! ```text
//! words/plugin.toml:3:1: `plugin.nmae`: unknown key
//!   |
//! 3 | nmae = "words"
//!   | ^^^^ did you mean `name`?
//!   = allowed: name, version, type, description, authors, license
//! ```

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::{excerpt::Excerpt, neutral};

/// Why a manifest is not taken: one or more problems of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestError {
    pub(crate) file: PathBuf,
    pub(crate) problems: Vec<Problem>,
    /// Problems beyond those listed.
    pub(crate) unlisted: usize,
}

impl ManifestError {
    /// A single problem with the file as a whole.
    pub(crate) fn whole(file: &Path, message: impl Into<String>) -> Self {
        let problem = Problem {
            excerpt: None,
            key: String::new(),
            message: message.into(),
            suggestion: None,
            allowed: None,
        };
        Self { file: file.to_owned(), problems: vec![problem], unlisted: 0 }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The problems, in the order of the file. Never empty.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }
}

impl std::error::Error for ManifestError {}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display().to_string();
        let file = neutral::echo_path(&file);
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            f.write_str(&file)?;
            problem.fmt(f)?;
        }
        if self.unlisted > 0 {
            write!(f, "\n\n{file}: and {} more problems", self.unlisted)?;
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub(crate) excerpt: Option<Excerpt>,
    pub(crate) key: String,
    pub(crate) message: String,
    pub(crate) suggestion: Option<String>,
    pub(crate) allowed: Option<String>,
}

impl Problem {
    /// The line, from 1; `None` when it is about the file as a whole.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        self.excerpt.as_ref().map(|excerpt| excerpt.line)
    }

    /// The column in characters, from 1.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        self.excerpt.as_ref().map(|excerpt| excerpt.column)
    }

    /// The dotted key, as `limits.memory`; empty when it is about no key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What was probably meant.
    #[must_use]
    pub fn suggestion(&self) -> Option<&str> {
        self.suggestion.as_deref()
    }

    /// What is allowed in that place.
    #[must_use]
    pub fn allowed(&self) -> Option<&str> {
        self.allowed.as_deref()
    }
}

impl fmt::Display for Problem {
    /// What follows the file's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(excerpt) = &self.excerpt {
            write!(f, ":{}:{}", excerpt.line, excerpt.column)?;
        }
        f.write_str(": ")?;
        if !self.key.is_empty() {
            write!(f, "`{}`: ", self.key)?;
        }
        f.write_str(&self.message)?;
        let gutter = match &self.excerpt {
            Some(excerpt) => excerpt.draw(f, self.suggestion.as_deref())?,
            None => {
                if let Some(suggestion) = &self.suggestion {
                    write!(f, "; did you mean {suggestion}?")?;
                }
                1
            }
        };
        if let Some(allowed) = &self.allowed {
            write!(f, "\n{:gutter$} = allowed: {allowed}", "")?;
        }
        Ok(())
    }
}
