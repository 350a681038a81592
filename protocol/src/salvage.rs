//! Reads what can be read of a frame that cannot be parsed: too long, too deep, cut short, or holding
//! something that is not JSON (Python's `NaN` is the classic). Knowing the id lets the one call it
//! belongs to fail at once with a reason, instead of waiting for its deadline.
//!
//! Not a parser: it walks the members of the outermost object and stops at the first thing it does
//! not understand. It never recurses, never allocates but for the id, and reads each byte once.

use crate::depth::after_string;
use crate::id::Id;

/// What a frame was meant to be, judged by the members it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Shape {
    /// It has a `method`: a request or a notification.
    Call,
    /// It has a `result` or an `error`, and no `method`.
    Answer,
    /// Neither was seen.
    #[default]
    Unknown,
}

/// The readable remains of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Salvage {
    /// Its id, when there is exactly one and it is well formed.
    pub(crate) id: Option<Id<'static>>,
    pub(crate) shape: Shape,
    /// It has a `jsonrpc` member, so somebody meant it for us: it is not noise.
    pub(crate) addressed: bool,
}

/// Longest id text worth salvaging: ids are short, and what is salvaged is copied.
const LONGEST_ID: usize = 256;

impl Salvage {
    /// Reads `prefix`, the whole or the beginning of a frame.
    pub(crate) fn scan(prefix: &[u8]) -> Self {
        let mut found = Self::default();
        let mut ids = 0_u32;
        let Some(mut rest) = skip(prefix, b'{') else { return found };
        while let Some((key, value)) = member(rest) {
            match key {
                b"jsonrpc" => found.addressed = true,
                b"method" => found.shape = Shape::Call,
                b"result" | b"error" if found.shape == Shape::Unknown => {
                    found.shape = Shape::Answer;
                }
                _ => {}
            }
            let Some(after) = after_value(value) else { break };
            if key == b"id" {
                ids += 1;
                found.id = id(value, after);
            }
            let Some(next) = skip(after, b',') else { break };
            rest = next;
        }
        if ids > 1 {
            found.id = None;
        }
        found
    }
}

/// What follows `wanted`, if it is the next byte that is not white space.
fn skip(bytes: &[u8], wanted: u8) -> Option<&[u8]> {
    bytes.trim_ascii_start().strip_prefix(&[wanted])
}

/// The next member: its key as written (no escapes decoded) and the text from its value on.
fn member(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = skip(bytes, b'"')?;
    let after = after_string(inside);
    let key = inside.get(..inside.len().checked_sub(after.len() + 1)?)?;
    Some((key, skip(after, b':')?.trim_ascii_start()))
}

/// What follows the value that `bytes` begin with; `None` when it does not end here.
fn after_value(bytes: &[u8]) -> Option<&[u8]> {
    let mut depth = 0_usize;
    let mut rest = bytes;
    loop {
        let (&byte, tail) = rest.split_first()?;
        match byte {
            b'"' => {
                rest = after_string(tail);
                if depth == 0 {
                    return (!rest.is_empty()).then_some(rest);
                }
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' if depth > 1 => depth -= 1,
            b']' | b'}' if depth == 1 => return Some(tail),
            b',' | b']' | b'}' if depth == 0 => return Some(rest),
            _ => {}
        }
        rest = tail;
    }
}

/// The id whose value lies between the start of `value` and `after`.
fn id(value: &[u8], after: &[u8]) -> Option<Id<'static>> {
    let text = value.get(..value.len().checked_sub(after.len())?)?.trim_ascii_end();
    if text.len() > LONGEST_ID {
        return None;
    }
    Id::from_json(std::str::from_utf8(text).ok()?).map(Id::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> (Option<Id<'static>>, Shape, bool) {
        let Salvage { id, shape, addressed } = Salvage::scan(text.as_bytes());
        (id, shape, addressed)
    }

    #[test]
    fn a_response_cut_short_still_names_its_call() {
        let cut = r#" {"jsonrpc": "2.0", "id": 41 , "result": {"text": "aaaaaaaa"#;
        assert_eq!(scan(cut), (Some(Id::from(41)), Shape::Answer, true));
    }

    #[test]
    fn a_call_is_told_from_an_answer() {
        let cut = r#"{"id":"x\"y","method":"m","params":[[["#;
        assert_eq!(scan(cut), (Some(Id::from("x\"y")), Shape::Call, false));
        let odd = r#"{"result":1,"method":"m","id":3}"#;
        assert_eq!(scan(odd), (Some(Id::from(3)), Shape::Call, false));
    }

    #[test]
    fn an_id_behind_a_whole_payload_is_found() {
        let frame = r#"{"result":{"id":9,"a":["}",{"id":8}]},"id":7}"#;
        assert_eq!(scan(frame), (Some(Id::from(7)), Shape::Answer, false));
    }

    #[test]
    fn what_is_not_json_inside_does_not_hide_the_id() {
        let frame = r#"{"jsonrpc":"2.0","id":5,"result":{"mean":NaN}}"#;
        assert_eq!(scan(frame), (Some(Id::from(5)), Shape::Answer, true));
        let frame = r#"{"jsonrpc":"2.0","result":NaN,"id":5}"#;
        assert_eq!(scan(frame), (Some(Id::from(5)), Shape::Answer, true));
    }

    #[test]
    fn two_ids_are_no_id() {
        assert_eq!(scan(r#"{"id":1,"id":2,"result":0}"#).0, None);
    }

    #[test]
    fn a_number_cut_short_is_no_id() {
        assert_eq!(scan(r#"{"jsonrpc":"2.0","id":12"#), (None, Shape::Unknown, true));
        assert_eq!(scan(r#"{"jsonrpc":"2.0","id":"12"#), (None, Shape::Unknown, true));
    }

    #[test]
    fn noise_yields_nothing() {
        for noise in
            ["", "{", "[INFO] ready", "{'id': 1}", r#"{"id"#, r#"{"id":"#, "{}}", "\"id\":1"]
        {
            assert_eq!(scan(noise), (None, Shape::Unknown, false), "{noise}");
        }
    }
}
