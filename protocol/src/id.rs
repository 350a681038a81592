//! The id that ties a response to its request: an integer or a string, nothing else. JSON-RPC 2.0
//! allows `null` and fractions but advises against both; here they are refused, and `null` remains
//! what it is in a response: "the id could not be read".

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// A request's id. `1` and `"1"` are different ids.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Id<'a> {
    /// An integer that fits in 64 bits, signed.
    Number(i64),
    /// A string, borrowed from the frame when it holds no escape.
    Text(Cow<'a, str>),
}

impl<'a> Id<'a> {
    /// The same id, free of the frame it was read from.
    #[must_use]
    pub fn into_owned(self) -> Id<'static> {
        match self {
            Self::Number(number) => Id::Number(number),
            Self::Text(text) => Id::Text(Cow::Owned(text.into_owned())),
        }
    }

    /// The id as an unsigned number, as [`crate::write::request`] writes them; `None` for any other.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Number(number) => u64::try_from(*number).ok(),
            Self::Text(_) => None,
        }
    }

    /// Reads an id from the exact text of one JSON value. `None`: it is not an id.
    pub(crate) fn from_json(text: &'a str) -> Option<Self> {
        if let Some(plain) = plain_string(text) {
            return Some(Self::Text(Cow::Borrowed(plain)));
        }
        if text.starts_with('"') {
            return serde_json::from_str(text).ok().map(|text| Self::Text(Cow::Owned(text)));
        }
        // A fraction or an exponent is no integer even where its value would be one.
        text.parse().ok().map(Self::Number)
    }
}

/// The inside of a JSON string that holds no escape, given the text of the whole value.
pub(crate) fn plain_string(text: &str) -> Option<&str> {
    let inside = text.strip_prefix('"')?.strip_suffix('"')?;
    memchr::memchr(b'\\', inside.as_bytes()).is_none().then_some(inside)
}

impl From<i64> for Id<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl<'a> From<&'a str> for Id<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Id<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
        }
    }
}

impl Serialize for Id<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_i64(*number),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

/// Always owned, so that `Id<'static>` can stand in a struct that outlives its frame.
impl<'de> Deserialize<'de> for Id<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(|id| match id {
            Id::Number(number) => Self::Number(number),
            Id::Text(text) => Self::Text(text),
        })
    }
}

struct Reader;

impl Visitor<'_> for Reader {
    type Value = Id<'static>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an integer or a string")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Id::Number(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        i64::try_from(number)
            .map(Id::Number)
            .map_err(|_too_large| E::custom("integer id does not fit in 64 bits, signed"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Id::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Self::Value, E> {
        Ok(Id::Text(Cow::Owned(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_integers_and_strings_are_ids() {
        assert_eq!(Id::from_json("0"), Some(Id::Number(0)));
        assert_eq!(Id::from_json("-7"), Some(Id::Number(-7)));
        assert_eq!(Id::from_json("9007199254740993"), Some(Id::Number(9_007_199_254_740_993)));
        assert_eq!(Id::from_json(r#""""#), Some(Id::from("")));
        for refused in ["null", "true", "1.0", "1e3", "9223372036854775808", "[1]", "{}"] {
            assert_eq!(Id::from_json(refused), None, "{refused}");
            assert!(serde_json::from_str::<Id<'_>>(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn plain_text_is_borrowed_and_escaped_text_is_decoded() {
        assert!(matches!(Id::from_json(r#""a b""#), Some(Id::Text(Cow::Borrowed("a b")))));
        assert_eq!(Id::from_json(r#""\u0061\n""#), Some(Id::from("a\n")));
        assert_eq!(Id::from_json(r#""\ud800""#), None, "a lone surrogate is not text");
    }

    #[test]
    fn text_and_number_of_the_same_digits_differ() {
        assert_ne!(Id::from("1"), Id::from(1));
    }

    #[test]
    fn an_id_survives_json() {
        for id in [Id::from(i64::MIN), Id::from(i64::MAX), Id::from("\"\u{1F980}\\")] {
            let text = serde_json::to_string(&id).unwrap();
            assert_eq!(serde_json::from_str::<Id<'static>>(&text).unwrap(), id);
            assert_eq!(Id::from_json(&text), Some(id));
        }
    }
}
