//! Untrusted text made harmless for a terminal: every character that could move the cursor, change
//! a title, reverse the reading order or hide itself is written as a visible escape.
//!
//! Not a filter: nothing is dropped, so that what a plugin sent can still be read off the screen.

use std::{borrow::Cow, fmt::Write as _};

/// What a line break in the text becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    /// Line feeds and tabs stay: text of several lines.
    Keep,
    /// Line feeds and tabs are escaped too: text that must stay on its line.
    Escape,
}

/// Makes `text` harmless.
pub(crate) fn text(text: &str, lines: Lines) -> Cow<'_, str> {
    let Some(first) = text.find(|c| is_hazard(c, lines)) else { return Cow::Borrowed(text) };
    let (clean, rest) = text.split_at(first);
    let mut out = String::with_capacity(text.len() + 16);
    out.push_str(clean);
    for c in rest.chars() {
        if is_hazard(c, lines) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// Makes JSON text harmless without changing its meaning: outside ASCII, hazards can only stand in
/// strings, where `\uXXXX` says the same. (`serde_json` escapes C0 controls, but neither DEL nor C1
/// controls nor bidirectional overrides.)
pub(crate) fn json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_json_hazard) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if !is_json_hazard(c) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a String cannot fail.
            let _infallible = write!(out, "\\u{unit:04x}");
        }
    }
    Cow::Owned(out)
}

fn is_json_hazard(c: char) -> bool {
    c >= '\x7f' && is_hazard(c, Lines::Keep)
}

fn is_hazard(c: char, lines: Lines) -> bool {
    match c {
        '\n' | '\t' => lines == Lines::Escape,
        _ => c.is_control() || is_deceiving(c),
    }
}

/// Characters that print nothing or reorder what is printed: bidirectional controls, line and
/// paragraph separators, invisible operators, byte order mark, interlinear marks, tags. The joiners
/// U+200C and U+200D stay: several scripts cannot be written without them.
fn is_deceiving(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(hostile: &str) -> String {
        text(hostile, Lines::Escape).into_owned()
    }

    #[test]
    fn ordinary_text_is_borrowed_unchanged() {
        for plain in ["", "words", "naïve café", "日本語", "👩‍👩‍👧", "क्‍ष", "tab\there\n"]
        {
            assert!(matches!(text(plain, Lines::Keep), Cow::Borrowed(same) if same == plain));
        }
    }

    #[test]
    fn escape_sequences_become_visible() {
        assert_eq!(line("\x1b[2J\x1b]0;owned\x07"), r"\u{1b}[2J\u{1b}]0;owned\u{7}");
        assert_eq!(line("\x1bP+q\x1b\\ \x08\x7f"), r"\u{1b}P+q\u{1b}\ \u{8}\u{7f}");
    }

    #[test]
    fn carriage_returns_never_pass() {
        assert_eq!(text("ok\rfail\n", Lines::Keep), "ok\\rfail\n");
    }

    #[test]
    fn c1_controls_become_visible() {
        // U+009B is a one-character CSI on terminals that read 8-bit controls.
        assert_eq!(line("\u{9b}31m\u{90}q\u{9d}0;t\u{9c}"), r"\u{9b}31m\u{90}q\u{9d}0;t\u{9c}");
    }

    #[test]
    fn reading_order_cannot_be_reversed() {
        assert_eq!(
            line("user\u{202e}nimda\u{2066}x\u{2069}"),
            r"user\u{202e}nimda\u{2066}x\u{2069}"
        );
        assert_eq!(line("\u{200f}\u{61c}\u{e0041}\u{feff}"), r"\u{200f}\u{61c}\u{e0041}\u{feff}");
    }

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(line("a\nerror: forged\tb\u{2028}c"), r"a\nerror: forged\tb\u{2028}c");
        assert_eq!(text("a\n\tb", Lines::Keep), "a\n\tb");
    }

    #[test]
    fn json_keeps_its_meaning() {
        for hostile in ["\u{9b}31m", "\u{202e}gnp", "\u{e0041}", "\x7f", "\x1b[2J", "plain é 👩‍👩‍👧"]
        {
            let encoded = serde_json::to_string(hostile).unwrap();
            let safe = json(&encoded);
            assert!(!safe.contains(|c| is_hazard(c, Lines::Escape)), "{safe:?}");
            assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), hostile);
        }
    }
}
