//! Streams: how a message refers to one, what its notifications carry, and the account of credit that
//! both of its ends keep. Who waits for credit, and what is done with the items, is the business of
//! whoever has the pipe.
//!
//! ```text
//!   sender    Credit::may_send ──► stream/data {seq} ──►  Window::receive    receiver
//!             Credit::acknowledge ◄── stream/ack {seq} ◄──  Window::take
//! ```

mod credit;
mod reference;

pub use credit::{Credit, Size, Violation, Window};
pub use reference::{Found, Kind, Reference, find, replace};

use crate::error::ErrorObject;
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Parameters of `stream/data` as they are read: the content is still text.
#[derive(Debug, Clone, Deserialize)]
pub struct Data<'a> {
    /// Which stream of the sender's.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// Which frame of it, from 1.
    pub seq: u64,
    /// Values, if it is a stream of values.
    #[serde(borrow, default)]
    items: Option<&'a RawValue>,
    /// Bytes, if it is a stream of bytes.
    #[serde(borrow, default)]
    b64: Option<&'a RawValue>,
}

/// What one frame brings.
#[derive(Debug, Clone)]
pub enum Content {
    /// Values, each as its text.
    Items(Vec<Box<RawValue>>),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Data<'_> {
    /// Reads the content of a stream of this kind, and what it counts for.
    ///
    /// # Errors
    ///
    /// When it is of the other kind, holds nothing or too much, or cannot be read.
    pub fn content(&self, kind: Kind) -> Result<(Content, Size), Violation> {
        match (kind, self.items, self.b64) {
            (Kind::Json, Some(text), None) => {
                let items: Vec<Box<RawValue>> =
                    serde_json::from_str(text.get()).map_err(|_array| Violation::Content)?;
                let size = Size::of_items(items.len(), text.get().len())?;
                Ok((Content::Items(items), size))
            }
            (Kind::Bytes, None, Some(text)) => {
                let bytes = serde_json::from_str::<Cow<'_, str>>(text.get())
                    .ok()
                    .and_then(|text| BASE64.decode(text.as_bytes()).ok())
                    .filter(|bytes| !bytes.is_empty())
                    .ok_or(Violation::Content)?;
                Ok((Content::Bytes(bytes), Size { items: 1, bytes: text.get().len() }))
            }
            _ => Err(Violation::Content),
        }
    }
}

/// Parameters of `stream/data` as they are written.
#[derive(Debug, Clone, Serialize)]
pub struct Frame<'a> {
    id: &'a str,
    seq: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    items: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b64: Option<&'a RawValue>,
}

impl<'a> Frame<'a> {
    /// The frame that carries `text` as number `seq` of a stream of this kind.
    #[must_use]
    pub fn new(id: &'a str, seq: u64, text: &'a Text) -> Self {
        let (items, b64) = match text.kind {
            Kind::Json => (Some(&*text.raw), None),
            Kind::Bytes => (None, Some(&*text.raw)),
        };
        Self { id, seq, items, b64 }
    }
}

/// Content in the words of the wire: the array of values, or the base64 of bytes.
#[derive(Debug, Clone)]
pub struct Text {
    raw: Box<RawValue>,
    kind: Kind,
    size: Size,
}

impl Text {
    /// Writes content down.
    ///
    /// # Errors
    ///
    /// When it holds nothing, or more values than a frame may.
    pub fn new(content: &Content) -> Result<Self, Violation> {
        let (raw, kind, items) = match content {
            Content::Items(items) => {
                (serde_json::value::to_raw_value(items), Kind::Json, items.len())
            }
            Content::Bytes(bytes) => {
                let count = usize::from(!bytes.is_empty());
                (serde_json::value::to_raw_value(&BASE64.encode(bytes)), Kind::Bytes, count)
            }
        };
        let raw = raw.map_err(|_unwritable| Violation::Content)?;
        let size = Size::of_items(items, raw.get().len())?;
        Ok(Self { raw, kind, size })
    }

    /// What it counts for.
    #[must_use]
    pub fn size(&self) -> Size {
        self.size
    }
}

/// Parameters of `stream/end`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct End<'a> {
    /// Which stream of the sender's.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// Why there is less than there should be, if there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorObject>,
}

/// Parameters of `stream/ack`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ack<'a> {
    /// Which stream of the receiver's of this notice.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// The last frame that was taken.
    pub seq: u64,
}

/// Parameters of `stream/drop`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Drop<'a> {
    /// Which stream of the receiver's of this notice.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(text: &str, kind: Kind) -> Result<(Content, Size), Violation> {
        serde_json::from_str::<Data<'_>>(text).unwrap().content(kind)
    }

    fn written(content: &Content) -> String {
        let text = Text::new(content).unwrap();
        serde_json::to_string(&Frame::new("s1", 3, &text)).unwrap()
    }

    #[test]
    fn what_is_written_is_read_and_counted_alike() {
        let items = vec![RawValue::from_string("{\"a\": 1}".to_owned()).unwrap()];
        for (sent, kind) in
            [(Content::Items(items), Kind::Json), (Content::Bytes(vec![0, 255, 10]), Kind::Bytes)]
        {
            let (read, size) = content(&written(&sent), kind).unwrap();
            assert_eq!(format!("{read:?}"), format!("{sent:?}"));
            assert_eq!(size, Text::new(&sent).unwrap().size());
        }
    }

    #[test]
    fn bytes_are_one_item_and_count_as_on_the_wire() {
        let text = written(&Content::Bytes(b"abc".to_vec()));
        assert_eq!(text, r#"{"id":"s1","seq":3,"b64":"YWJj"}"#);
        assert_eq!(content(&text, Kind::Bytes).unwrap().1, Size { items: 1, bytes: 6 });
    }

    #[test]
    fn content_must_be_of_the_kind_and_not_nothing() {
        for (text, kind) in [
            (r#"{"id":"s","seq":1,"items":[]}"#, Kind::Json),
            (r#"{"id":"s","seq":1,"items":{}}"#, Kind::Json),
            (r#"{"id":"s","seq":1,"b64":"YQ=="}"#, Kind::Json),
            (r#"{"id":"s","seq":1,"items":[1],"b64":"YQ=="}"#, Kind::Json),
            (r#"{"id":"s","seq":1}"#, Kind::Bytes),
            (r#"{"id":"s","seq":1,"b64":""}"#, Kind::Bytes),
            (r#"{"id":"s","seq":1,"b64":"YQ"}"#, Kind::Bytes),
            (r#"{"id":"s","seq":1,"items":[1]}"#, Kind::Bytes),
        ] {
            assert_eq!(content(text, kind).unwrap_err(), Violation::Content, "{text}");
        }
        let many = format!(r#"{{"id":"s","seq":1,"items":[{}0]}}"#, "0,".repeat(64));
        assert_eq!(content(&many, Kind::Json).unwrap_err(), Violation::Content);
        assert!(Text::new(&Content::Items(Vec::new())).is_err());
        assert!(Text::new(&Content::Bytes(Vec::new())).is_err());
    }
}
