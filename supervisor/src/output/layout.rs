//! JSON text laid out anew, compact or indented, token by token. Not a parser: the text has been
//! validated before (it is a [`RawValue`]), and numbers, key order and duplicate keys stay exactly
//! as the plugin wrote them, which a round trip through a document model would not keep.

use serde_json::value::RawValue;

/// All on one line, no blanks.
pub(crate) fn compact(json: &RawValue) -> String {
    lay_out(json.get(), Style::Compact)
}

/// Indented by two blanks, for reading.
pub(crate) fn pretty(json: &RawValue) -> String {
    lay_out(json.get(), Style::Pretty)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Compact,
    Pretty,
}

fn lay_out(json: &str, style: Style) -> String {
    let mut out = Writer { out: String::with_capacity(json.len()), style, depth: 0 };
    let mut rest = json.trim_ascii_start();
    while let Some(c) = rest.chars().next() {
        let token = match c {
            '"' => string_length(rest),
            '{' | '[' | '}' | ']' | ',' | ':' => 1,
            _ => scalar_length(rest),
        };
        let (now, later) = rest.split_at(token);
        rest = later.trim_ascii_start();
        out.token(now, rest);
    }
    out.out
}

struct Writer {
    out: String,
    style: Style,
    depth: usize,
}

impl Writer {
    /// Writes one token; `rest` is what follows it, to see whether a container is empty.
    fn token(&mut self, token: &str, rest: &str) {
        match token {
            "{" | "[" => self.open(token, rest),
            "}" | "]" => self.close(token),
            "," => {
                self.out.push(',');
                self.new_line();
            }
            ":" => self.out.push_str(if self.style == Style::Pretty { ": " } else { ":" }),
            _ => self.out.push_str(token),
        }
    }

    fn open(&mut self, token: &str, rest: &str) {
        self.out.push_str(token);
        self.depth += 1;
        if !rest.starts_with(['}', ']']) {
            self.new_line();
        }
    }

    fn close(&mut self, token: &str) {
        self.depth = self.depth.saturating_sub(1);
        if !self.out.ends_with(['{', '[']) {
            self.new_line();
        }
        self.out.push_str(token);
    }

    fn new_line(&mut self) {
        if self.style == Style::Pretty {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n("  ", self.depth));
        }
    }
}

/// The length of the string literal that `rest` begins with, quotes included.
fn string_length(rest: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of the number, `true`, `false` or `null` that `rest` begins with.
fn scalar_length(rest: &str) -> usize {
    rest.find(|c: char| matches!(c, ',' | ':' | '}' | ']') || c.is_ascii_whitespace())
        .unwrap_or(rest.len())
        .max(rest.chars().next().map_or(1, char::len_utf8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    const MESSY: &str =
        " { \"b\" : [ 1 ,2.50, 1e400 ] ,\n\"a\":{ },\"b\":\"x\\\"{ ,:}\" , \"n\" : null } ";

    #[test]
    fn compact_keeps_numbers_order_and_duplicates() {
        insta::assert_snapshot!(compact(&raw(MESSY)), @r#"{"b":[1,2.50,1e400],"a":{},"b":"x\"{ ,:}","n":null}"#);
    }

    #[test]
    fn pretty_indents_and_keeps_empty_containers_closed() {
        insta::assert_snapshot!(pretty(&raw(MESSY)), @r#"
        {
          "b": [
            1,
            2.50,
            1e400
          ],
          "a": {},
          "b": "x\"{ ,:}",
          "n": null
        }
        "#);
    }

    #[test]
    fn layout_agrees_with_serde_json() {
        let json = r#"{"a":[{},[],{"k":[true,false,null]}],"s":"\\\" é","n":-0.5}"#;
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(compact(&raw(&pretty(&raw(json)))), json);
        let ours: serde_json::Value = serde_json::from_str(&pretty(&raw(json))).unwrap();
        assert_eq!(ours, value);
    }

    #[test]
    fn scalars_alone_are_documents_too() {
        for scalar in ["1", "\"\"", "\"\\\\\"", "null", "12345678901234567890123"] {
            assert_eq!(compact(&raw(scalar)), scalar);
            assert_eq!(pretty(&raw(scalar)), scalar);
        }
    }
}
