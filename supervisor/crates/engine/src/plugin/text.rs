//! Plugin output made safe to show: what a plugin prints must not move a cursor, change a colour,
//! forge a log line or reverse the reading direction of a terminal or a log viewer.

use std::fmt::Write as _;

/// The text with everything invisible or commanding spelled out (`\u{1b}`); tabs stay, and line
/// breaks stay if `breaks` are wanted.
pub(crate) fn plain(text: &str, breaks: Breaks) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\t' => out.push(c),
            '\n' if breaks == Breaks::Keep => out.push(c),
            c if is_unsafe(c) => {
                // Writing to a `String` cannot fail.
                write!(out, "{}", c.escape_unicode()).ok();
            }
            c => out.push(c),
        }
    }
    out
}

/// What becomes of line breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Breaks {
    /// They stay.
    Keep,
    /// They are spelled out, as everything else that commands.
    Escape,
}

/// Control characters, bidirectional overrides and isolates, line and paragraph separators, and
/// invisible joiners.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_spelled_out_and_words_stay() {
        assert_eq!(plain("grüße\t✓", Breaks::Escape), "grüße\t✓");
        assert_eq!(plain("\u{1b}[2Jx\r\n", Breaks::Escape), r"\u{1b}[2Jx\u{d}\u{a}");
        assert_eq!(plain("a\nb\u{202e}c", Breaks::Keep), "a\nb\\u{202e}c");
    }
}
