//! Makes text of unknown origin harmless to echo: no control character, no direction override
//! reaches a terminal or a log through an error message.

use std::borrow::Cow;

/// How much of one foreign word is echoed.
const MAX_ECHO: usize = 80;

/// Whether a character may change what a terminal shows beyond itself.
pub(crate) fn is_unsafe(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// The text with every unsafe character as `\u{…}`, cut at a bounded length.
pub(crate) fn echo(text: &str) -> Cow<'_, str> {
    let cut = text.char_indices().nth(MAX_ECHO).map(|(at, _)| at);
    if cut.is_none() && !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len().min(MAX_ECHO * 2));
    for c in text.chars().take(MAX_ECHO) {
        push(&mut out, c);
    }
    if cut.is_some() {
        out.push('…');
    }
    Cow::Owned(out)
}

/// A path, whole, with every unsafe character as `\u{…}`.
pub(crate) fn echo_path(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        push(&mut out, c);
    }
    Cow::Owned(out)
}

/// Adds one character, spelled out when it is unsafe.
fn push(out: &mut String, c: char) {
    if is_unsafe(c) {
        out.extend(c.escape_unicode());
    } else {
        out.push(c);
    }
}

/// One line of source with every unsafe character replaced by one visible column, so that a caret
/// below it still points at the right place.
pub(crate) fn column_wise(line: &str) -> impl Iterator<Item = char> + '_ {
    line.chars().map(|c| match c {
        '\t' => ' ',
        c if is_unsafe(c) => '\u{fffd}',
        c => c,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_is_untouched() {
        assert!(matches!(echo("naïve 文字"), Cow::Borrowed("naïve 文字")));
    }

    #[test]
    fn escapes_and_overrides_are_spelled_out() {
        assert_eq!(echo("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(echo("a\nb"), "a\\u{a}b");
        assert_eq!(echo("\u{202e}txt"), "\\u{202e}txt");
    }

    #[test]
    fn long_text_is_cut() {
        let long = "é".repeat(200);
        assert_eq!(echo(&long).chars().count(), MAX_ECHO + 1);
    }

    #[test]
    fn an_excerpt_keeps_its_columns() {
        assert_eq!(column_wise("a\tb\u{1b}c").collect::<String>(), "a b\u{fffd}c");
    }
}
