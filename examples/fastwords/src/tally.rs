//! Lines, words and bytes, as `wc` counts them, of a text that comes in pieces. Not what a word is made
//! of: see [`mod@crate::top`].

use serde::Serialize;

/// What was counted until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Tally {
    lines: usize,
    words: usize,
    bytes: usize,
    /// The next piece goes on with a word.
    #[serde(skip)]
    in_word: bool,
}

/// How many word starts a byte can count.
const BLOCK: usize = u8::MAX as usize;

impl Tally {
    /// Counts the next piece.
    pub(crate) fn add(&mut self, piece: &[u8]) {
        let (Some(first), Some(last)) = (piece.first(), piece.last()) else { return };
        self.lines += memchr::memchr_iter(b'\n', piece).count();
        self.bytes += piece.len();
        self.words += usize::from(!self.in_word && !is_space(*first)) + inner_starts(piece);
        self.in_word = !is_space(*last);
    }
}

/// Words that begin after the first byte. Counted in bytes, block by block, which compilers turn into
/// vector instructions.
fn inner_starts(piece: &[u8]) -> usize {
    let before = piece.chunks(BLOCK);
    let after = piece.get(1..).unwrap_or_default().chunks(BLOCK);
    before.zip(after).map(|(before, after)| usize::from(starts(before, after))).sum()
}

/// Counts the places where a space in `before` meets none in `after`.
fn starts(before: &[u8], after: &[u8]) -> u8 {
    let start = |(&before, &after): (&u8, &u8)| u8::from(is_space(before) & !is_space(after));
    before.iter().zip(after).map(start).fold(0, u8::wrapping_add)
}

/// Space, tab, line feed, vertical tab, form feed, carriage return.
fn is_space(byte: u8) -> bool {
    (byte == b' ') | (byte.wrapping_sub(b'\t') < 5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(pieces: &[&str]) -> (usize, usize, usize) {
        let mut tally = Tally::default();
        for piece in pieces {
            tally.add(piece.as_bytes());
        }
        (tally.lines, tally.words, tally.bytes)
    }

    #[test]
    fn words_are_what_stands_between_spaces() {
        assert_eq!(count(&["to be or\nnot to be\n"]), (2, 6, 19));
        assert_eq!(count(&[" caf\u{e9} "]), (0, 1, 7));
        assert_eq!(count(&[]), (0, 0, 0));
        assert_eq!(count(&["", "a", "", "b", " ", "c"]), (0, 2, 4));
    }

    #[test]
    fn the_most_starts_a_block_can_hold_are_counted() {
        assert_eq!(count(&[&" a".repeat(9 * BLOCK)]).1, 9 * BLOCK);
    }

    proptest! {
        #[test]
        fn pieces_count_as_the_whole(text in "[ a\n\t\u{b}\u{a0}x]{0,600}", at in 0_usize..600) {
            let at = (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
            let (left, right) = text.split_at(at);
            let expected = text.split([' ', '\n', '\t', '\u{b}']).filter(|word| !word.is_empty());
            let lines = text.matches('\n').count();
            prop_assert_eq!(count(&[left, right]), (lines, expected.count(), text.len()));
        }
    }
}
