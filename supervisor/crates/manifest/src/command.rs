//! Splits a command line into words as a shell would, without a shell.
//!
//! Quotes and backslashes work. What only a shell could do (`|`, `>`, `$VAR`, `&&`) is refused
//! instead of being passed on as a plain word, because that is never what was meant.

/// Why a command line cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SplitError {
    #[error("there is no program")]
    Empty,
    #[error("a quote is not closed")]
    OpenQuote,
    #[error("a backslash has nothing after it")]
    OpenEscape,
    #[error("`{0}` needs a shell, and no shell is used")]
    Shell(char),
}

/// Characters that mean something to a shell when they stand outside quotes.
const SHELL: [char; 9] = ['|', '&', ';', '<', '>', '(', ')', '$', '`'];

/// What surrounds the current character.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Single,
    Double,
}

/// The words of a command line.
pub(crate) fn split(line: &str) -> Result<Vec<String>, SplitError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = Quote::None;
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Quote::None, c) if c.is_whitespace() => words.extend(word.take()),
            (Quote::None, '\'') => (quote, _) = (Quote::Single, word.get_or_insert_default()),
            (Quote::None, '"') => (quote, _) = (Quote::Double, word.get_or_insert_default()),
            (Quote::Single, '\'') | (Quote::Double, '"') => quote = Quote::None,
            (Quote::None, '\\') => {
                let next = characters.next().ok_or(SplitError::OpenEscape)?;
                word.get_or_insert_default().push(next);
            }
            (Quote::Double, '\\') => {
                let next = characters.next().ok_or(SplitError::OpenQuote)?;
                let word = word.get_or_insert_default();
                if !matches!(next, '"' | '\\' | '$' | '`') {
                    word.push('\\');
                }
                word.push(next);
            }
            (Quote::None, c) if SHELL.contains(&c) => return Err(SplitError::Shell(c)),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote != Quote::None {
        return Err(SplitError::OpenQuote);
    }
    words.extend(word);
    if words.is_empty() { Err(SplitError::Empty) } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_quotes_and_escapes() {
        let cases: [(&str, &[&str]); 6] = [
            ("python3 -I main.py", &["python3", "-I", "main.py"]),
            ("  ./run   --fast ", &["./run", "--fast"]),
            ("awk '{ print $1 }'", &["awk", "{ print $1 }"]),
            (r#"say "a \"b\" \n""#, &["say", r#"a "b" \n"#]),
            (r"one\ word", &["one word"]),
            ("empty '' \"\"", &["empty", "", ""]),
        ];
        for (line, words) in cases {
            assert_eq!(split(line).unwrap(), words, "{line}");
        }
    }

    #[test]
    fn what_needs_a_shell_is_refused() {
        assert_eq!(split("a | b"), Err(SplitError::Shell('|')));
        assert_eq!(split("a && b"), Err(SplitError::Shell('&')));
        assert_eq!(split("a > out"), Err(SplitError::Shell('>')));
        assert_eq!(split("run $HOME"), Err(SplitError::Shell('$')));
        assert!(split("a '|' b").is_ok());
    }

    #[test]
    fn unfinished_lines_say_why() {
        assert_eq!(split(""), Err(SplitError::Empty));
        assert_eq!(split("  "), Err(SplitError::Empty));
        assert_eq!(split("a 'b"), Err(SplitError::OpenQuote));
        assert_eq!(split("a \"b\\"), Err(SplitError::OpenQuote));
        assert_eq!(split("a \\"), Err(SplitError::OpenEscape));
    }
}
