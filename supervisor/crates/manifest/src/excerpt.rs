//! The place of a problem: line, column, and the piece of the line that a caret points at.
//!
//! Bounded whatever the file: a line of 200 KiB shows a window around the place.

use std::{fmt, ops::Range};

use crate::neutral;

/// The longest piece of a line that is shown.
const MAX_WIDTH: usize = 100;
/// How much is shown before the place when a line is cut.
const LEAD: usize = 30;

/// Where, and what stands there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excerpt {
    /// From 1.
    pub(crate) line: usize,
    /// In characters, from 1.
    pub(crate) column: usize,
    /// The piece of the line, harmless to print.
    piece: String,
    /// Where in the piece the mark starts, in characters.
    offset: usize,
    /// How long the mark is; at least 1.
    width: usize,
}

impl Excerpt {
    /// The place of a byte range of the text. Ranges outside the text are moved into it.
    pub(crate) fn new(text: &str, span: &Range<usize>) -> Self {
        let start = floor(text, span.start);
        let end = floor(text, span.end).max(start);
        let before = text.get(..start).unwrap_or_default();
        let line = before.bytes().filter(|&b| b == b'\n').count() + 1;
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = text.get(line_start..).unwrap_or_default();
        let source = rest.split('\n').next().unwrap_or_default().trim_end_matches('\r');
        let column = text.get(line_start..start).unwrap_or_default().chars().count();
        let marked = text.get(start..end).unwrap_or_default();
        let width = marked.split('\n').next().unwrap_or_default().trim_end().chars().count();
        Self::window(line, column, width, source)
    }

    /// Cuts the line to a window around the mark.
    fn window(line: usize, column: usize, width: usize, source: &str) -> Self {
        let skipped = if column < MAX_WIDTH - LEAD { 0 } else { column - LEAD };
        let mut piece: String = if skipped > 0 { "…".to_owned() } else { String::new() };
        let offset = column - skipped + usize::from(skipped > 0);
        let mut characters = neutral::column_wise(source).skip(skipped);
        piece.extend(characters.by_ref().take(MAX_WIDTH));
        let room = piece.chars().count().saturating_sub(offset);
        if characters.next().is_some() {
            piece.push('…');
        }
        Self { line, column: column + 1, piece, offset, width: width.min(room).max(1) }
    }

    /// Draws the line with its mark; returns the width of the line number for what follows.
    pub(crate) fn draw(
        &self,
        f: &mut fmt::Formatter<'_>,
        suggestion: Option<&str>,
    ) -> Result<usize, fmt::Error> {
        let number = self.line.to_string();
        let gutter = number.len();
        write!(f, "\n{:gutter$} |\n{number} |", "")?;
        if !self.piece.trim_end().is_empty() {
            write!(f, " {}", self.piece.trim_end())?;
        }
        write!(f, "\n{:gutter$} | {:offset$}", "", "", offset = self.offset)?;
        f.write_str(&"^".repeat(self.width))?;
        if let Some(suggestion) = suggestion {
            write!(f, " did you mean {suggestion}?")?;
        }
        Ok(gutter)
    }
}

/// The nearest character boundary at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at.min(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `draw` writes.
    struct Drawn<'e>(&'e Excerpt);

    impl fmt::Display for Drawn<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.draw(f, None).map(|_| ())
        }
    }

    #[test]
    fn the_caret_stands_under_the_place() {
        let text = "one\ntwo = 2\nthree\n";
        let excerpt = Excerpt::new(text, &(10..11));
        assert_eq!((excerpt.line, excerpt.column), (2, 7));
        assert_eq!(Drawn(&excerpt).to_string(), "\n  |\n2 | two = 2\n  |       ^");
    }

    #[test]
    fn columns_count_characters_not_bytes() {
        let excerpt = Excerpt::new("ä = 1\n", &(5..6));
        assert_eq!(excerpt.column, 5);
    }

    #[test]
    fn a_long_line_shows_a_window() {
        let text = format!("{}X{}", "a".repeat(100_000), "b".repeat(100_000));
        let drawn = Drawn(&Excerpt::new(&text, &(100_000..100_001))).to_string();
        assert!(drawn.len() < 400, "{}", drawn.len());
        let lines: Vec<&str> = drawn.lines().collect();
        let at = lines[3].chars().position(|c| c == '^').unwrap();
        assert_eq!(lines[2].chars().nth(at), Some('X'));
    }

    #[test]
    fn a_span_outside_the_text_is_moved_into_it() {
        let excerpt = Excerpt::new("é", &(1..usize::MAX));
        assert_eq!((excerpt.line, excerpt.column), (1, 1));
        assert_eq!(Excerpt::new("", &(7..9)).line, 1);
    }
}
