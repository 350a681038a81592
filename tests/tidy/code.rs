//! Rust text with its comments and literals blanked out, so that a rule about code is not about
//! prose. Lines stay where they are.

/// The text with every comment, string and character literal as spaces.
pub(crate) fn bare(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = literal(rest, out.chars().next_back()).unwrap_or(0);
        if length == 0 {
            out.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            let (gone, left) = rest.split_at(length);
            out.extend(gone.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = left;
        }
    }
    out
}

/// How long the comment or literal is that starts here, if one does.
fn literal(text: &str, before: Option<char>) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(block(text));
    }
    if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let prefix = text.len() - text.trim_start_matches(['b', 'c']).len();
    let body = text.get(prefix.min(1)..)?;
    if let Some(raw) = body.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let inside = &raw[hashes + 1..];
            let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
            return Some(text.len() - inside.len() + length);
        }
    }
    if body.starts_with('"') {
        return Some(text.len() - body.len() + quoted(body, '"')?);
    }
    // A quote that is closed after one character is a literal; any other is a lifetime.
    let inside = body.strip_prefix('\'')?;
    let mut characters = inside.chars();
    let is_literal = match characters.next()? {
        '\\' => true,
        _ => characters.next() == Some('\''),
    };
    if is_literal { Some(text.len() - body.len() + quoted(body, '\'')?) } else { None }
}

/// The length of a literal that starts with its quote and knows backslashes.
fn quoted(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some(at + c.len_utf8()),
            _ => {}
        }
    }
    Some(text.len())
}

/// The length of a block comment; they nest.
fn block(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Whether a word stands in a line of code, whole.
pub(crate) fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part))
}

#[test]
fn comments_and_literals_are_blank() {
    let cases = [
        ("a // unsafe\nb", "a _\nb"),
        ("a /* x /* y */ z */ b", "a _ b"),
        (r#"f("un\"safe", 'x')"#, "f(_, _)"),
        ("r#\"a \" b\"# + 'a", "_ + 'a"),
        ("b\"x\" br\"y\" c", "_ _ c"),
        ("fn f<'a>(x: &'a str) -> '\\'';", "fn f<'a>(x: &'a str) -> _;"),
    ];
    for (text, kept) in cases {
        let blank = bare(text);
        assert_eq!(blank.chars().count(), text.chars().count());
        let pieces: Vec<&str> = kept.split('_').collect();
        let mut rest = blank.as_str();
        for piece in pieces {
            rest = rest.trim_start_matches(' ');
            rest = rest
                .strip_prefix(piece.trim_start_matches(' '))
                .unwrap_or_else(|| panic!("{text}: {blank:?}"));
        }
        assert!(rest.trim().is_empty(), "{text}: {blank:?}");
    }
}

#[test]
fn words_are_whole() {
    assert!(has_word("unsafe {", "unsafe") && has_word("x.sleep(1)", "sleep"));
    assert!(!has_word("is_unsafe()", "unsafe") && !has_word("unsafely", "unsafe"));
}
