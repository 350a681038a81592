//! How deep a frame's brackets go, found without parsing and without recursion.
//!
//! A frame with at most `limit` opening brackets cannot nest deeper than that, wherever they stand,
//! so nearly every frame is cleared by one count that the compiler vectorises. Only the rest pay for
//! a scan that knows what a string is.

use memchr::memchr2;

/// Whether more than `limit` brackets are open at once somewhere in `frame`. On text that is not
/// JSON the answer is approximate, and the parser that follows says what is wrong with it.
pub(crate) fn exceeds(frame: &[u8], limit: usize) -> bool {
    frame.len() > limit && openings(frame) > limit && deepest_exceeds(frame, limit)
}

/// `[` and `{` differ in one bit, and no other byte equals either with that bit set.
fn openings(frame: &[u8]) -> usize {
    frame.iter().filter(|&&byte| byte | 0x20 == b'{').count()
}

fn deepest_exceeds(frame: &[u8], limit: usize) -> bool {
    let mut depth = 0_usize;
    let mut rest = frame;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'"' => rest = after_string(tail),
            b'[' | b'{' => {
                depth += 1;
                if depth > limit {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// What follows the string whose opening quote was just passed; nothing if it never closes.
pub(crate) fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some(at) = memchr2(b'"', b'\\', rest) {
        if rest.get(at) == Some(&b'"') {
            return rest.get(at + 1..).unwrap_or_default();
        }
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Vec<u8> {
        ["[".repeat(depth), "]".repeat(depth)].concat().into_bytes()
    }

    #[test]
    fn the_limit_itself_is_allowed_and_one_more_is_not() {
        assert!(!exceeds(&nested(128), 128));
        assert!(exceeds(&nested(129), 128));
        assert!(exceeds(&[b'['; 100_000], 128), "unclosed brackets count too");
    }

    #[test]
    fn breadth_is_not_depth() {
        assert!(!exceeds(&b"[]".repeat(10_000), 128));
        assert!(!exceeds(&b"{\"a\":{}},".repeat(10_000), 128));
    }

    #[test]
    fn brackets_inside_strings_do_not_count() {
        let mut frame = b"{\"a\\\"".to_vec();
        frame.extend([b'['; 1_000]);
        frame.extend_from_slice(b"\\\\\":1}");
        assert!(!exceeds(&frame, 128));
    }

    #[test]
    fn an_unclosed_string_ends_the_scan() {
        let mut frame = vec![b'"', b'\\'];
        frame.extend([b'{'; 1_000]);
        assert!(!exceeds(&frame, 128));
    }
}
