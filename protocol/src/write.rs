//! Writes messages: each function appends one JSON object to `out`, without framing (see
//! [`crate::Framing::close`]). Nothing is built first and copied after; on an error `out` is as it was.
//!
//! What is appended never holds a line feed or a carriage return, whatever text the caller passes
//! through as [`serde_json::value::RawValue`]: in JSON they can only stand between tokens, so they are
//! replaced by spaces. A pretty-printed payload can therefore not break newline framing.

use crate::error::ErrorObject;
use crate::id::Id;
use crate::meta::{self, Meta};
use memchr::memchr2;
use serde::Serialize;
use serde::ser::Error as _;

/// Appends a request. `params` must be written as an object or an array; `()` and `None` are left out.
///
/// # Errors
///
/// When `params` cannot be written as JSON, or is neither an object nor an array nor nothing.
pub fn request(
    out: &mut Vec<u8>,
    id: u64,
    method: &str,
    params: &(impl Serialize + ?Sized),
) -> Result<(), serde_json::Error> {
    call(out, Some(id), method, params, None)
}

/// As [`request`], with `meta` placed in `params._meta`. A `_meta` already in `params` is replaced, so
/// that what a caller passes on cannot pose as the host's. Parameters given by position have no room
/// for it and go without.
///
/// # Errors
///
/// As [`request`].
pub fn request_with_meta(
    out: &mut Vec<u8>,
    id: u64,
    method: &str,
    params: &(impl Serialize + ?Sized),
    meta: &Meta,
) -> Result<(), serde_json::Error> {
    call(out, Some(id), method, params, Some(meta))
}

/// Appends a notification; `params` as in [`request`].
///
/// # Errors
///
/// As [`request`].
pub fn notification(
    out: &mut Vec<u8>,
    method: &str,
    params: &(impl Serialize + ?Sized),
) -> Result<(), serde_json::Error> {
    call(out, None, method, params, None)
}

/// Appends a successful response.
///
/// # Errors
///
/// When `result` cannot be written as JSON.
pub fn response(
    out: &mut Vec<u8>,
    id: &Id<'_>,
    result: &(impl Serialize + ?Sized),
) -> Result<(), serde_json::Error> {
    whole(out, |out| {
        out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        serde_json::to_writer(&mut *out, id)?;
        out.extend_from_slice(br#","result":"#);
        serde_json::to_writer(&mut *out, result)
    })
}

/// Appends an error response. `None` as id is `null`: the request's could not be read.
///
/// # Errors
///
/// None in practice; the type is that of the other writers.
pub fn error(
    out: &mut Vec<u8>,
    id: Option<&Id<'_>>,
    error: &ErrorObject,
) -> Result<(), serde_json::Error> {
    whole(out, |out| {
        out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
        serde_json::to_writer(&mut *out, &id)?;
        out.extend_from_slice(br#","error":"#);
        serde_json::to_writer(&mut *out, error)
    })
}

fn call(
    out: &mut Vec<u8>,
    id: Option<u64>,
    method: &str,
    params: &(impl Serialize + ?Sized),
    meta: Option<&Meta>,
) -> Result<(), serde_json::Error> {
    whole(out, |out| {
        out.extend_from_slice(br#"{"jsonrpc":"2.0""#);
        if let Some(id) = id {
            out.extend_from_slice(br#","id":"#);
            serde_json::to_writer(&mut *out, &id)?;
        }
        out.extend_from_slice(br#","method":"#);
        serde_json::to_writer(&mut *out, method)?;
        let before = out.len();
        out.extend_from_slice(br#","params":"#);
        let start = out.len();
        if let Some(meta) = meta {
            meta::open(out, meta)?;
        }
        let body = out.len();
        serde_json::to_writer(&mut *out, params)?;
        match out.get(body..).unwrap_or_default().trim_ascii_start().first() {
            Some(b'{') if meta.is_some() => meta::join(out, start, body)?,
            Some(b'{') => {}
            Some(b'[') => drop(out.drain(start..body)),
            Some(b'n') if start == body => out.truncate(before),
            Some(b'n') => {
                out.truncate(body);
                out.push(b'}');
            }
            _ => return Err(serde_json::Error::custom("params must be an object or an array")),
        }
        Ok(())
    })
}

/// Runs `write`, closes the object it opened and flattens it to one line; or undoes it.
fn whole(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), serde_json::Error>,
) -> Result<(), serde_json::Error> {
    let start = out.len();
    let written = write(out);
    if written.is_ok() {
        out.push(b'}');
        flatten(out.get_mut(start..).unwrap_or_default());
    } else {
        out.truncate(start);
    }
    written
}

/// Replaces every line feed and carriage return by a space. In valid JSON they are white space.
pub(crate) fn flatten(mut text: &mut [u8]) {
    while let Some(at) = memchr2(b'\n', b'\r', text) {
        let (_, tail) = text.split_at_mut(at);
        let Some((byte, rest)) = tail.split_first_mut() else { return };
        *byte = b' ';
        text = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use crate::message::Message;
    use serde_json::json;
    use serde_json::value::RawValue;

    fn text(write: impl FnOnce(&mut Vec<u8>) -> Result<(), serde_json::Error>) -> String {
        let mut out = b"before ".to_vec();
        write(&mut out).unwrap();
        assert!(Message::parse(&out[7..]).is_ok());
        String::from_utf8(out.split_off(7)).unwrap()
    }

    #[test]
    fn messages_are_compact_and_in_the_usual_order() {
        assert_eq!(
            text(|out| request(out, 1, "add", &json!({"a": 1}))),
            r#"{"jsonrpc":"2.0","id":1,"method":"add","params":{"a":1}}"#
        );
        assert_eq!(
            text(|out| notification(out, "say \"hi\"", &[1, 2])),
            r#"{"jsonrpc":"2.0","method":"say \"hi\"","params":[1,2]}"#
        );
        assert_eq!(
            text(|out| response(out, &Id::from("a"), &())),
            r#"{"jsonrpc":"2.0","id":"a","result":null}"#
        );
        assert_eq!(
            text(|out| error(out, None, &ErrorObject::new(Code::ParseError, "no"))),
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"no"}}"#
        );
    }

    #[test]
    fn no_parameters_are_no_member() {
        let bare = r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#;
        assert_eq!(text(|out| request(out, 1, "m", &())), bare);
        assert_eq!(text(|out| request(out, 1, "m", &None::<Vec<u8>>)), bare);
    }

    #[test]
    fn a_scalar_is_refused_and_leaves_no_trace() {
        for scalar in [json!(5), json!("x"), json!(true)] {
            let mut out = b"kept".to_vec();
            assert!(request(&mut out, 1, "m", &scalar).is_err());
            assert_eq!(out, b"kept");
        }
        let unwritable = std::collections::HashMap::from([((1, 2), 3)]);
        let mut out = b"kept".to_vec();
        assert!(response(&mut out, &Id::from(1), &unwritable).is_err());
        assert_eq!(out, b"kept");
    }

    #[test]
    fn pretty_text_passed_through_stays_on_one_line() {
        let raw = RawValue::from_string("{\r\n  \"a\": [1,\n2]\n}".to_owned()).unwrap();
        let line = text(|out| request(out, 1, "m", &raw));
        assert!(!line.contains(['\n', '\r']), "{line}");
        let line = text(|out| response(out, &Id::from(1), &raw));
        assert!(!line.contains(['\n', '\r']), "{line}");
    }

    #[test]
    fn meta_is_added_to_objects_and_to_nothing() {
        let meta = Meta { deadline_ms: Some(250), ..Meta::default() };
        let with = |params| text(|out| request_with_meta(out, 1, "m", &params, &meta));
        let head = r#"{"jsonrpc":"2.0","id":1,"method":"m","params":"#;
        assert_eq!(
            with(json!({"a": 1})),
            format!(r#"{head}{{"_meta":{{"deadlineMs":250}},"a":1}}}}"#)
        );
        assert_eq!(with(json!({})), format!(r#"{head}{{"_meta":{{"deadlineMs":250}}}}}}"#));
        assert_eq!(with(json!(null)), format!(r#"{head}{{"_meta":{{"deadlineMs":250}}}}}}"#));
        assert_eq!(with(json!([1])), format!("{head}[1]}}"));
    }

    #[test]
    fn a_callers_meta_cannot_pose_as_the_hosts() {
        let meta = Meta { call_id: Some("real".to_owned()), ..Meta::default() };
        for forged in [
            r#"{"_meta":{"callId":"forged"},"a":1}"#,
            r#"{"a":1,"_meta":{"callId":"forged"}}"#,
            r#"{"a":1,"_m\u0065ta":{"callId":"forged"}}"#,
            r#" { "_meta" : 7 , "a":1, "_meta": {"callId":"forged"} }"#,
        ] {
            let raw = RawValue::from_string(forged.to_owned()).unwrap();
            let line = text(|out| request_with_meta(out, 1, "m", &raw, &meta));
            assert!(
                line.ends_with(r#""params":{"_meta":{"callId":"real"},"a":1}}"#),
                "{forged} became {line}"
            );
        }
    }

    #[test]
    fn a_host_with_nothing_to_say_still_takes_the_callers_meta_out() {
        for (given, left) in [
            (r#"{"_meta":{"callId":"forged"},"a":1}"#, r#"{"a":1}"#),
            (r#"{"_meta":{"callId":"forged"}}"#, "{}"),
            (r#"{"u":"\u00e9"}"#, r#"{"u":"\u00e9"}"#),
        ] {
            let raw = RawValue::from_string(given.to_owned()).unwrap();
            let line = text(|out| request_with_meta(out, 1, "m", &raw, &Meta::default()));
            assert!(line.ends_with(&format!(r#""params":{left}}}"#)), "{given} became {line}");
            let line = text(|out| request(out, 1, "m", &raw));
            assert!(line.ends_with(&format!(r#""params":{given}}}"#)), "what is one's own is kept");
        }
    }

    #[test]
    fn text_that_only_mentions_meta_is_kept() {
        let meta = Meta { deadline_ms: Some(1), ..Meta::default() };
        let raw =
            RawValue::from_string(r#"{"t":"_meta","o":{"_meta":1},"u":"\u00e9"}"#.into()).unwrap();
        let line = text(|out| request_with_meta(out, 1, "m", &raw, &meta));
        assert!(line.ends_with(r#","t":"_meta","o":{"_meta":1},"u":"\u00e9"}}"#), "{line}");
    }
}
