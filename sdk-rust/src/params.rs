//! A call's parameters: its metadata taken out, and what is left read as the handler's type.
//!
//! Metadata is no parameter, so a handler must not see it, not even one that refuses unknown members or
//! takes whatever comes. Hosts write it first, which is why nearly always only it is parsed here and
//! the rest copied as text. Not the parsing of messages: the protocol's.

use crate::error::{Error, Result};
use plugbay_protocol::meta::{MEMBER, Meta};
use serde::de::{DeserializeOwned, Deserializer as _, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::any::TypeId;
use std::borrow::Cow;
use std::fmt;

const QUOTED: &str = "\"_meta\"";

/// Parameters without their metadata, as text, and the metadata.
pub(crate) fn split(params: Option<&RawValue>) -> Result<(Option<String>, Meta)> {
    let Some(text) = params.map(RawValue::get) else { return Ok((None, Meta::default())) };
    if text.starts_with('[') || !text.contains(QUOTED) {
        return Ok((Some(text.to_owned()), Meta::default()));
    }
    let (text, meta) = match split_first(text) {
        Some(split) => split,
        None => split_anywhere(text),
    }
    .map_err(|error| Error::invalid_params(format!("`_meta`: {}", reason(&error))))?;
    Ok((Some(text), meta))
}

type Split = std::result::Result<(String, Meta), serde_json::Error>;

/// The usual case: metadata stands first and nowhere else. `None` when this is not it.
fn split_first(text: &str) -> Option<Split> {
    let value = text.strip_prefix('{')?.trim_ascii_start().strip_prefix(QUOTED)?;
    let value = value.trim_ascii_start().strip_prefix(':')?;
    let mut values = serde_json::Deserializer::from_str(value).into_iter::<&RawValue>();
    let meta = match values.next()?.and_then(metadata) {
        Ok(meta) => meta,
        Err(error) => return Some(Err(error)),
    };
    let rest = value.get(values.byte_offset()..)?.trim_ascii_start();
    let members = rest.strip_prefix(',').unwrap_or(rest);
    (!members.contains(QUOTED)).then(|| Ok((format!("{{{members}"), meta)))
}

/// The general case: all members are walked.
fn split_anywhere(text: &str) -> Split {
    let members = serde_json::Deserializer::from_str(text).deserialize_map(Members)?;
    let mut meta = Meta::default();
    let mut kept = String::with_capacity(text.len());
    for (name, value) in members {
        if name == MEMBER {
            meta = metadata(value)?;
            continue;
        }
        kept.push(if kept.is_empty() { '{' } else { ',' });
        kept.push_str(&serde_json::to_string(&name)?);
        kept.push(':');
        kept.push_str(value.get());
    }
    kept.push_str(if kept.is_empty() { "{}" } else { "}" });
    Ok((kept, meta))
}

/// An object; a derived reader would take an array too.
fn metadata(value: &RawValue) -> std::result::Result<Meta, serde_json::Error> {
    match value.get() {
        "null" => Ok(Meta::default()),
        text if text.starts_with('{') => serde_json::from_str(text),
        _ => Err(serde_json::Error::custom("must be an object")),
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(
        self,
        mut map: A,
    ) -> std::result::Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

/// Parameters as a handler's type. None at all are `null` to a type that takes it, such as an
/// [`Option`], and an empty object to any other.
pub(crate) fn read<P: DeserializeOwned + 'static>(text: Option<&str>) -> Result<P> {
    let read = match text {
        None => serde_json::from_str("null").or_else(|_no_null| serde_json::from_str("{}")),
        Some(text) if TypeId::of::<P>() == TypeId::of::<()>() && is_empty(text) => {
            serde_json::from_str("null")
        }
        Some(text) => serde_json::from_str(text),
    };
    read.map_err(|error| Error::invalid_params(reason(&error)))
}

/// Whether there is nothing between the brackets.
fn is_empty(text: &str) -> bool {
    let inside = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    inside.trim_ascii().is_empty()
}

/// What `serde` says, without a place in a text that nobody wrote on more than one line.
pub(crate) fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(place) if error.is_data() => text.get(..place).unwrap_or_default().to_owned(),
        Some(_) | None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::{Map, Value, json};

    fn split_text(text: &str) -> Result<(Option<String>, Meta)> {
        split(Some(&RawValue::from_string(text.to_owned()).unwrap()))
    }

    #[test]
    fn metadata_is_taken_out_wherever_it_stands() {
        for (text, left) in [
            (r#"{"_meta":{"callId":"c"}}"#, "{}"),
            (r#"{"_meta":{"callId":"c"},"a":1}"#, r#"{"a":1}"#),
            (r#"{ "_meta" : {"callId":"c"} , "a":1}"#, r#"{ "a":1}"#),
            (r#"{"a":1,"_meta":{"callId":"c"}}"#, r#"{"a":1}"#),
            (r#"{"_meta":{"callId":"x"},"a":1,"_meta":{"callId":"c"}}"#, r#"{"a":1}"#),
            (r#"{"_meta":{"callId":"c"},"o":{"_meta":1}}"#, r#"{"o":{"_meta":1}}"#),
        ] {
            let (kept, meta) = split_text(text).unwrap();
            assert_eq!(kept.as_deref(), Some(left), "{text}");
            assert_eq!(meta.call_id.as_deref(), Some("c"), "{text}");
        }
    }

    #[test]
    fn what_only_mentions_it_is_kept() {
        for text in
            [r#"{"t":"_meta"}"#, r#"{"o":{"_meta":1}}"#, r#"["_meta"]"#, r#"{"_meta":null}"#]
        {
            let (kept, meta) = split_text(text).unwrap();
            assert!(meta.is_empty());
            if !text.contains("null") {
                assert_eq!(kept.as_deref(), Some(text));
            }
        }
        assert_eq!(split(None).unwrap().0, None);
    }

    #[test]
    fn malformed_metadata_is_the_callers_mistake() {
        for text in [r#"{"_meta":1}"#, r#"{"_meta":{"callId":1},"a":2}"#, r#"{"a":1,"_meta":[0]}"#]
        {
            assert_eq!(split_text(text).unwrap_err().code(), -32602, "{text}");
        }
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        #[serde(default)]
        a: u8,
    }

    #[test]
    fn no_parameters_fit_what_needs_none() {
        assert_eq!(read::<Strict>(None).unwrap(), Strict { a: 0 });
        assert_eq!(read::<Value>(None).unwrap(), Value::Null);
        assert_eq!(read::<Option<Strict>>(None).unwrap(), None);
        for text in [None, Some("{}"), Some("[]"), Some("{ }")] {
            assert!(read::<()>(text).is_ok(), "{text:?}");
        }
        assert!(read::<()>(Some(r#"{"a":1}"#)).is_err());
    }

    #[test]
    fn parameters_go_by_name_or_by_position() {
        assert_eq!(read::<Strict>(Some(r#"{"a":7}"#)).unwrap().a, 7);
        assert_eq!(read::<Strict>(Some("[7]")).unwrap().a, 7);
    }

    #[test]
    fn a_misfit_is_explained() {
        #[derive(Debug, Deserialize)]
        struct Needs {
            #[expect(dead_code, reason = "only its absence matters")]
            path: String,
        }
        let error = read::<Needs>(None).unwrap_err();
        assert_eq!((error.code(), error.message()), (-32602, "missing field `path`"));
        let error = read::<Strict>(Some(r#"{"b":1}"#)).unwrap_err();
        assert_eq!(error.message(), "unknown field `b`, expected `a`");
    }

    fn member() -> impl Strategy<Value = (String, Value)> {
        let name = prop_oneof![Just("_meta".to_owned()), "[a-z_\"\\\\]{0,6}"];
        let value = prop_oneof![
            Just(json!({"callId": "c"})),
            Just(json!(null)),
            Just(json!({"_meta": {"callId": 1}})),
            "[a-z\"_\\\\]{0,8}".prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
        ];
        (name, value)
    }

    proptest! {
        #[test]
        fn what_is_left_is_the_object_without_metadata(
            members in proptest::collection::vec(member(), 0..6),
        ) {
            let object: Map<String, Value> = members.into_iter().collect();
            let text = Value::Object(object.clone()).to_string();
            let mut wanted = object;
            let meta = wanted.remove("_meta").unwrap_or(Value::Null);
            match split_text(&text) {
                Ok((kept, found)) => {
                    let kept: Value = serde_json::from_str(&kept.unwrap()).unwrap();
                    prop_assert_eq!(kept, Value::Object(wanted));
                    prop_assert_eq!(found.call_id.is_some(), meta.get("callId").is_some());
                }
                Err(_) => prop_assert!(!meta.is_null()),
            }
        }
    }
}
