//! The most frequent words of a text that comes in pieces. A word is a run of letters, apostrophes within
//! it included, and its case does not matter.

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// Parameters of `top`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TopParams {
    pub(crate) path: String,
    #[serde(default = "ten")]
    pub(crate) limit: usize,
}

fn ten() -> usize {
    10
}

/// The configuration.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Words that are left out, in lower case.
    ignore: HashSet<String>,
    /// Letters a word needs to count.
    shortest: usize,
}

/// A word and how often it occurs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Found {
    word: String,
    count: u64,
}

/// What was found in the whole text.
#[derive(Debug)]
pub(crate) struct Ranking {
    /// All words, most frequent first, then in the order of the alphabet.
    pub(crate) ranked: Vec<Found>,
    /// How many there are, each as often as it occurs.
    pub(crate) words: u64,
}

/// The words of what was read until now.
#[derive(Debug, Default)]
pub(crate) struct Words {
    /// By the bytes of their text, in lower case.
    counts: HashMap<Box<[u8]>, u64, RandomState>,
    /// The end of the last piece, which may be the beginning of a word.
    rest: Vec<u8>,
}

impl Words {
    /// Counts the next piece.
    pub(crate) fn add(&mut self, piece: &[u8]) {
        let whole = piece.iter().rposition(|byte| is_between(*byte)).map_or(0, |at| at + 1);
        let (whole, rest) = piece.split_at(whole);
        if !whole.is_empty() {
            let mut text = std::mem::take(&mut self.rest);
            text.extend_from_slice(whole);
            self.count(&mut text);
            text.clear();
            self.rest = text;
        }
        self.rest.extend_from_slice(rest);
    }

    /// Orders what was found, after the last piece.
    pub(crate) fn rank(mut self, config: &Config) -> Ranking {
        let mut rest = std::mem::take(&mut self.rest);
        self.count(&mut rest);
        let counts = |found: &Found| {
            found.word.chars().count() >= config.shortest && !config.ignore.contains(&found.word)
        };
        let found = |(word, count): (Box<[u8]>, u64)| Found {
            word: String::from_utf8_lossy(&word).into_owned(),
            count,
        };
        let mut ranked: Vec<Found> = self.counts.into_iter().map(found).filter(counts).collect();
        ranked.sort_unstable_by(|left, right| {
            right.count.cmp(&left.count).then_with(|| left.word.cmp(&right.word))
        });
        Ranking { words: ranked.iter().map(|found| found.count).sum(), ranked }
    }

    fn count(&mut self, text: &mut [u8]) {
        if text.is_ascii() {
            text.make_ascii_lowercase();
            each_ascii_word(text, |word| self.found(word));
            return;
        }
        // Line by line, so that one accent does not slow down all.
        for line in text.split_inclusive_mut(|byte| *byte == b'\n') {
            if line.is_ascii() {
                line.make_ascii_lowercase();
                each_ascii_word(line, |word| self.found(word));
            } else {
                let line = String::from_utf8_lossy(line).to_lowercase();
                each_word(&line, |word| self.found(word.as_bytes()));
            }
        }
    }

    fn found(&mut self, word: &[u8]) {
        match self.counts.get_mut(word) {
            Some(count) => *count += 1,
            None => drop(self.counts.insert(word.into(), 1)),
        }
    }
}

/// Whether a byte is surely no part of a word, nor of an apostrophe within one.
fn is_between(byte: u8) -> bool {
    byte.is_ascii() && !byte.is_ascii_alphabetic() && byte != b'\''
}

/// As [`each_word`], several times as fast, on what is surely one byte per letter.
fn each_ascii_word(text: &[u8], mut take: impl FnMut(&[u8])) {
    let mut rest = text;
    loop {
        let Some(start) = rest.iter().position(u8::is_ascii_lowercase) else { return };
        let (_, from) = rest.split_at(start);
        let mut end = 0;
        loop {
            end += from.iter().skip(end).take_while(|byte| byte.is_ascii_lowercase()).count();
            match from.get(end..) {
                Some([b'\'', b'a'..=b'z', ..]) => end += 1,
                Some(_) | None => break,
            }
        }
        let (word, after) = from.split_at(end);
        take(word);
        rest = after;
    }
}

/// Calls `take` with every word of a text in lower case.
fn each_word(text: &str, mut take: impl FnMut(&str)) {
    let mut rest = text;
    while let Some(from) = first_letter(rest) {
        rest = from;
        let mut end = letters(rest);
        loop {
            let after = rest.get(end..).unwrap_or_default();
            let apostrophe = apostrophe(after.as_bytes());
            let more = letters(after.get(apostrophe..).unwrap_or_default());
            if apostrophe == 0 || more == 0 {
                break;
            }
            end += apostrophe + more;
        }
        let Some((word, after)) = rest.split_at_checked(end) else { return };
        take(word);
        rest = after;
    }
}

/// A text from its first letter on.
fn first_letter(mut text: &str) -> Option<&str> {
    loop {
        let may_be = |byte: u8| byte.is_ascii_alphabetic() || !byte.is_ascii();
        text = text.get(text.bytes().position(may_be)?..)?;
        let first = text.chars().next()?;
        if first.is_alphabetic() {
            return Some(text);
        }
        text = text.get(first.len_utf8()..)?;
    }
}

/// How many bytes of letters a text begins with.
fn letters(text: &str) -> usize {
    let ascii = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    let rest = text.get(ascii..).unwrap_or_default();
    if rest.bytes().next().is_none_or(|byte| byte.is_ascii()) {
        return ascii;
    }
    ascii + rest.find(|letter: char| !letter.is_alphabetic()).unwrap_or(rest.len())
}

/// The length of the apostrophe that a text begins with: typed, typeset, or none.
fn apostrophe(text: &[u8]) -> usize {
    match text {
        [b'\'', ..] => 1,
        [0xe2, 0x80, 0x99, ..] => 3,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        each_word(text, |word| words.push(word.to_owned()));
        if text.is_ascii() {
            let mut same: Vec<String> = Vec::new();
            each_ascii_word(text.as_bytes(), |word| {
                same.push(String::from_utf8_lossy(word).into());
            });
            assert_eq!(words, same);
        }
        words
    }

    fn rank(pieces: &[&[u8]], config: &Config) -> Vec<(String, u64)> {
        let mut words = Words::default();
        for piece in pieces {
            words.add(piece);
        }
        let ranked = words.rank(config).ranked;
        ranked.into_iter().map(|found| (found.word, found.count)).collect()
    }

    #[test]
    fn apostrophes_belong_to_words_only_between_letters() {
        assert_eq!(
            words("the king's \'tis rock'n'roll o'"),
            ["the", "king's", "tis", "rock'n'roll", "o"]
        );
        assert_eq!(
            words("l\u{2019}\u{e9}t\u{e9}\u{2019} \u{2019}a"),
            ["l\u{2019}\u{e9}t\u{e9}", "a"]
        );
        assert_eq!(words("a''b 'a'"), ["a", "b", "a"]);
    }

    #[test]
    fn digits_and_signs_are_between_words() {
        assert_eq!(
            words("b2b snake_case a\u{2014}b \u{663}x \u{1f980}"),
            ["b", "b", "snake", "case", "a", "b", "x"]
        );
        assert!(words("").is_empty() && words("12 -- \u{2014}").is_empty());
    }

    #[test]
    fn case_does_not_matter_and_ties_are_in_order() {
        let text =
            "The the THE \u{c9}t\u{e9} \u{e9}t\u{e9} b a \u{39f}\u{394}\u{39f}\u{3a3}".as_bytes();
        let expected = [
            ("the", 3),
            ("\u{e9}t\u{e9}", 2),
            ("a", 1),
            ("b", 1),
            ("\u{3bf}\u{3b4}\u{3bf}\u{3c2}", 1),
        ];
        let expected: Vec<_> = expected.map(|(word, count)| (word.to_owned(), count)).into();
        assert_eq!(rank(&[text], &Config::default()), expected);
    }

    #[test]
    fn bytes_that_are_no_text_are_between_words() {
        assert_eq!(rank(&[b"a\xffb"], &Config::default()).len(), 2);
    }

    #[test]
    fn the_configuration_says_what_counts() {
        let config = Config { ignore: HashSet::from(["the".to_owned()]), shortest: 3 };
        assert_eq!(rank(&[b"the an \xc3\xa9t\xc3\xa9 tea"], &config).len(), 2);
    }

    proptest! {
        #[test]
        fn both_ways_of_cutting_agree(text in "[ab'1 \n]{0,40}") {
            words(&text);
        }

        #[test]
        fn pieces_count_as_the_whole(text in "[ab' \n\u{e9}\u{2019}]{0,80}", size in 1_usize..40) {
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
            let config = Config::default();
            prop_assert_eq!(rank(&pieces, &config), rank(&[text.as_bytes()], &config));
        }
    }
}
