//! References: the objects in parameters and results that stand for a stream. Found in the text, in
//! one pass and without reading it as values, because nearly no message has one and a host passes
//! on what it does not read.

use memchr::{memchr, memmem};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::ops::Range;

/// The member that makes an object a reference.
const MEMBER: &str = "\"$stream\"";
/// The longest id, in bytes.
const ID: usize = 64;

/// What a stream is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// JSON values.
    Json,
    /// Bytes.
    Bytes,
}

/// What stands in place of a value that is sent as a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reference<'a> {
    /// The stream's name, chosen by its sender.
    #[serde(rename = "$stream", borrow)]
    pub id: Cow<'a, str>,
    /// What it is made of.
    pub kind: Kind,
}

/// A reference and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its text's place.
    pub span: Range<usize>,
    /// The stream's name.
    pub id: String,
    /// What it is made of.
    pub kind: Kind,
}

/// Every reference in a valid JSON text.
#[must_use]
pub fn find(text: &str) -> Vec<Found> {
    if memmem::find(text.as_bytes(), MEMBER.as_bytes()).is_none() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(quote) = text.get(at..).and_then(|rest| memchr(b'"', rest.as_bytes())) {
        let start = at + quote;
        at = end_of_string(text, start);
        if text.get(start..at) == Some(MEMBER)
            && let Some(reference) = read(text, start)
        {
            at = reference.span.end;
            found.push(reference);
        }
    }
    found
}

/// `text` with each reference, by its place among those that [`find`] gave, under another name.
#[must_use]
pub fn replace(text: &str, found: &[Found], names: &[String]) -> String {
    let mut replaced = String::with_capacity(text.len() + 8 * found.len());
    let mut from = 0;
    for (reference, name) in found.iter().zip(names) {
        replaced.push_str(text.get(from..reference.span.start).unwrap_or_default());
        let renamed = Reference { id: Cow::Borrowed(name), kind: reference.kind };
        replaced.push_str(&serde_json::to_string(&renamed).unwrap_or_default());
        from = reference.span.end;
    }
    replaced.push_str(text.get(from..).unwrap_or_default());
    replaced
}

/// Past the closing quote of the string that begins at `start`.
fn end_of_string(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let mut at = start + 1;
    loop {
        match bytes.get(at) {
            None => return bytes.len(),
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}

/// The reference whose member begins at `member`, if what surrounds it is one.
fn read(text: &str, member: usize) -> Option<Found> {
    let before = text.get(..member)?.trim_end();
    let start = before.strip_suffix('{')?.len();
    let mut values =
        serde_json::Deserializer::from_str(text.get(start..)?).into_iter::<Reference<'_>>();
    let reference = values.next()?.ok()?;
    let span = start..start + values.byte_offset();
    let id = reference.id.into_owned();
    (1..=ID).contains(&id.len()).then_some(Found { span, id, kind: reference.kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> Vec<String> {
        find(text).into_iter().map(|found| found.id).collect()
    }

    #[test]
    fn references_are_found_wherever_a_value_may_stand() {
        assert_eq!(ids(r#"{"$stream":"a","kind":"json"}"#), ["a"]);
        let text = r#"{"x":[1,{ "$stream" : "a", "kind":"bytes"}],"y":{"z":{"$stream":"b","kind":"json"}}}"#;
        let found = find(text);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].kind, found[1].kind), (Kind::Bytes, Kind::Json));
        assert_eq!(&text[found[0].span.clone()], r#"{ "$stream" : "a", "kind":"bytes"}"#);
    }

    #[test]
    fn what_only_looks_like_one_is_data() {
        for data in [
            r#"{"text":"{\"$stream\":\"a\",\"kind\":\"json\"}"}"#,
            r#"{"text":"\"$stream"}"#,
            r#"["$stream","kind"]"#,
            r#"{"$stream":"a"}"#,
            r#"{"$stream":"a","kind":"text"}"#,
            r#"{"$stream":"a","kind":"json","more":1}"#,
            r#"{"kind":"json","$stream":"a"}"#,
            r#"{"$stream":7,"kind":"json"}"#,
            r#"{"$stream":"","kind":"json"}"#,
            r#"{"a":"\\","$stream":"a","kind":"json"}"#,
        ] {
            assert_eq!(ids(data), [""; 0], "{data}");
        }
        let long = format!(r#"{{"$stream":"{}","kind":"json"}}"#, "x".repeat(65));
        assert_eq!(ids(&long), [""; 0]);
    }

    #[test]
    fn one_after_data_that_looks_like_one_is_found() {
        let text = r#"[{"$stream":"a"},"\"$stream\"",{"$stream":"b","kind":"json"}]"#;
        assert_eq!(ids(text), ["b"]);
    }

    #[test]
    fn replacing_changes_nothing_else() {
        let text =
            r#"{"n":1.10,"a":{"$stream":"a","kind":"json"}, "b":{"$stream":"b","kind":"bytes"} }"#;
        let replaced = replace(text, &find(text), &["h1".to_owned(), "h2".to_owned()]);
        let expected = text.replace("\"a\",", "\"h1\",").replace("\"b\",", "\"h2\",");
        assert_eq!(replaced, expected);
    }
}
