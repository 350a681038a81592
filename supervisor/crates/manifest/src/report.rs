//! Collects the problems of one file while it is read, so that all are told at once.

use std::{cell::RefCell, ops::Range, path::Path};

use crate::{
    error::{ManifestError, Problem},
    excerpt::Excerpt,
};

/// How many problems are listed; the rest is counted.
const MAX_LISTED: usize = 20;

/// The problems found so far, and the text they are about.
#[derive(Debug)]
pub(crate) struct Report<'t> {
    text: &'t str,
    found: RefCell<Found>,
}

#[derive(Debug, Default)]
struct Found {
    problems: Vec<(usize, Problem)>,
    unlisted: usize,
}

/// A problem without its place.
#[derive(Debug, Default)]
pub(crate) struct Complaint {
    pub(crate) key: String,
    pub(crate) message: String,
    pub(crate) suggestion: Option<String>,
    pub(crate) allowed: Option<String>,
}

impl<'t> Report<'t> {
    pub(crate) fn new(text: &'t str) -> Self {
        Self { text, found: RefCell::default() }
    }

    /// Adds a problem at a place of the text.
    pub(crate) fn add(&self, span: &Range<usize>, complaint: Complaint) {
        let mut found = self.found.borrow_mut();
        if found.problems.len() >= MAX_LISTED {
            found.unlisted += 1;
            return;
        }
        let Complaint { key, message, suggestion, allowed } = complaint;
        let excerpt = Some(Excerpt::new(self.text, span));
        found.problems.push((span.start, Problem { excerpt, key, message, suggestion, allowed }));
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_clean(&self) -> bool {
        self.found.borrow().problems.is_empty()
    }

    /// The error of the file: the problems in the order in which they stand there.
    pub(crate) fn into_error(self, file: &Path) -> ManifestError {
        let Found { mut problems, unlisted } = self.found.into_inner();
        problems.sort_by_key(|(start, _)| *start);
        let problems = problems.into_iter().map(|(_, problem)| problem).collect();
        ManifestError { file: file.to_owned(), problems, unlisted }
    }
}
