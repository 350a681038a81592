//! What travels beside a call's own parameters, in `params._meta`: deadline, trace, identity, progress.
//! Not for the method's code to interpret; the host and the SDKs do.

use crate::id::Id;
use memchr::memchr_iter;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The member's name. It must be written like this, without escapes.
pub const MEMBER: &str = "_meta";

/// The members of `params._meta`. A reader ignores those it does not know.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// Milliseconds from the sending of the request until its answer is of no more use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// From the host: this call. From a plugin: the call on whose behalf it asks, whose deadline,
    /// cancellation and quota then hold for this one too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
    /// Equal for repetitions of one piece of work, which is to be done once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Asks for `$/progress` with this token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress_token: Option<Id<'static>>,
}

impl Meta {
    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads `params._meta`; parameters without it, or given by position, have the empty one. They are
    /// walked only if the name occurs in them at all.
    ///
    /// # Errors
    ///
    /// When it is there and malformed, to be answered with `InvalidParams`.
    pub fn from_params(params: Option<&RawValue>) -> Result<Self, serde_json::Error> {
        let Some(text) = params.map(RawValue::get) else { return Ok(Self::default()) };
        if !text.starts_with('{') || !mentions(text.as_bytes(), b'_', b"_meta\"") {
            return Ok(Self::default());
        }
        #[derive(Deserialize)]
        struct Params {
            #[serde(default, rename = "_meta")]
            meta: Option<Meta>,
        }
        let params: Params = serde_json::from_str(text)?;
        Ok(params.meta.unwrap_or_default())
    }
}

/// Begins an object with `meta` as its first member, and leaves it open; nothing if `meta` is empty.
pub(crate) fn open(out: &mut Vec<u8>, meta: &Meta) -> Result<(), serde_json::Error> {
    if meta.is_empty() {
        return Ok(());
    }
    out.extend_from_slice(br#"{"_meta":"#);
    serde_json::to_writer(out, meta)
}

/// Makes one object of what [`open`] left at `start` and the object that begins at `body` and ends with
/// `out`, without moving it: its opening bracket becomes the comma. A `_meta` of its own is taken out.
pub(crate) fn join(out: &mut Vec<u8>, start: usize, body: usize) -> Result<(), serde_json::Error> {
    let object = out.get_mut(body..).unwrap_or_default();
    if may_hold_meta(object) {
        let rest = without_meta(object)?;
        out.truncate(body);
        out.extend_from_slice(&rest);
        if let (true, Some(first)) = (start == body, out.get_mut(body)) {
            // Nothing was opened, so what is left opens itself.
            *first = b'{';
            if rest.len() == 1 {
                out.push(b'}');
            }
        }
        return Ok(());
    }
    if start == body {
        return Ok(());
    }
    let blank = object.len() - object.trim_ascii_start().len();
    let Some((bracket, inside)) = object.get_mut(blank..).and_then(<[u8]>::split_first_mut) else {
        return Ok(());
    };
    if inside.trim_ascii_start().first() == Some(&b'}') {
        out.truncate(body);
        out.push(b'}');
    } else {
        *bracket = b',';
    }
    Ok(())
}

/// Whether an object may have a member named `_meta`, written plainly or with an escape: nearly none
/// holds either text.
fn may_hold_meta(object: &[u8]) -> bool {
    mentions(object, b'_', b"_meta\"") || mentions(object, b'\\', b"\\u")
}

/// Whether `needle`, which begins with `first`, occurs in `text`. Cheaper than a prepared searcher for
/// what is searched once and mostly short.
fn mentions(text: &[u8], first: u8, needle: &[u8]) -> bool {
    memchr_iter(first, text).any(|at| text.get(at..).is_some_and(|here| here.starts_with(needle)))
}

/// An object's members but for `_meta`, each with a comma before it, and the closing bracket.
fn without_meta(object: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    let members: Members<'_> = serde_json::from_slice(object)?;
    let mut text = Vec::with_capacity(object.len());
    for (name, value) in members.0 {
        text.push(b',');
        serde_json::to_writer(&mut text, &name)?;
        text.push(b':');
        text.extend_from_slice(value.get().as_bytes());
    }
    text.push(b'}');
    Ok(text)
}

/// The members of an object in order, but for `_meta`.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersReader).map(Members)
    }
}

struct MembersReader;

impl<'de> Visitor<'de> for MembersReader {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            if name == MEMBER {
                map.next_value::<IgnoredAny>()?;
            } else {
                members.push((name, map.next_value()?));
            }
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Meta, serde_json::Error> {
        let raw = RawValue::from_string(text.to_owned()).unwrap();
        Meta::from_params(Some(&raw))
    }

    #[test]
    fn every_member_is_read() {
        let text = r#"{"a":1,"_meta":{"deadlineMs":5,"traceparent":"00-a-b-01","callId":"c","idempotencyKey":"k","progressToken":7,"later":{}}}"#;
        let meta = read(text).unwrap();
        assert_eq!(meta.deadline_ms, Some(5));
        assert_eq!(meta.traceparent.as_deref(), Some("00-a-b-01"));
        assert_eq!(meta.call_id.as_deref(), Some("c"));
        assert_eq!(meta.idempotency_key.as_deref(), Some("k"));
        assert_eq!(meta.progress_token, Some(Id::from(7)));
    }

    #[test]
    fn where_there_is_none_it_is_empty() {
        for text in [
            "{}",
            "[1,{\"_meta\":{\"callId\":\"x\"}}]",
            r#"{"b":{"_meta":{"callId":"x"}}}"#,
            r#"{"_meta":null}"#,
        ] {
            assert!(read(text).unwrap().is_empty(), "{text}");
        }
        assert!(Meta::from_params(None).unwrap().is_empty());
    }

    #[test]
    fn a_malformed_one_is_an_error() {
        for text in [
            r#"{"_meta":1}"#,
            r#"{"_meta":{"deadlineMs":-1}}"#,
            r#"{"_meta":{"progressToken":true}}"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
