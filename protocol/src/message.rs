//! One frame as a JSON-RPC 2.0 message: the envelope read in one pass, borrowed; `params` and `result`
//! left as the text they are. Not concerned with framing (see [`crate::codec`]) nor with what a method
//! means.
//!
//! Strict where a mistake would be answered to the wrong call (ids, duplicate members, both a result
//! and an error), tolerant where nothing is at stake (unknown members, white space, `"params": null`).

use crate::error::{Code, ErrorObject};
use crate::id::{Id, plain_string};
use crate::salvage::{Salvage, Shape};
use crate::{depth, limits};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// A message, borrowing from the frame it was read from.
#[derive(Debug, Clone)]
pub enum Message<'a> {
    /// Wants exactly one response.
    Request {
        /// To be repeated in the response.
        id: Id<'a>,
        /// What is asked for.
        method: Cow<'a, str>,
        /// An object or an array, if there is any.
        params: Option<&'a RawValue>,
    },
    /// Wants none, and must not get one.
    Notification {
        /// What happened.
        method: Cow<'a, str>,
        /// An object or an array, if there is any.
        params: Option<&'a RawValue>,
    },
    /// The answer to a request.
    Response {
        /// The request's id; `None` (`null` on the wire) when its sender could not read it, which
        /// comes with an error only.
        id: Option<Id<'a>>,
        /// The result, or why there is none.
        outcome: Result<&'a RawValue, ErrorObject>,
    },
}

impl<'a> Message<'a> {
    /// Reads one frame, its terminator or header already gone.
    ///
    /// # Errors
    ///
    /// [`ParseError`], which says what is wrong, what could be salvaged and how to answer it.
    pub fn parse(frame: &'a [u8]) -> Result<Self, ParseError> {
        if depth::exceeds(frame, limits::MAX_DEPTH) {
            return Err(ParseError::new(Fault::TooDeep, TOO_DEEP, frame));
        }
        let text = std::str::from_utf8(frame)
            .map_err(|error| ParseError::new(Fault::NotUtf8, error.to_string(), frame))?;
        match frame.trim_ascii_start().first() {
            Some(b'{') => {}
            Some(b'[') => return Err(not_an_object(text, Fault::Batch, NO_BATCH)),
            Some(_) | None => return Err(not_an_object(text, Fault::Invalid, NOT_AN_OBJECT)),
        }
        let envelope: Envelope<'a> = serde_json::from_str(text)
            .map_err(|error| ParseError::new(Fault::NotJson, error.to_string(), frame))?;
        envelope.interpret().map_err(|why| ParseError::new(Fault::Invalid, why, frame))
    }

    /// The method called or notified; `None` for a response.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        match self {
            Self::Request { method, .. } | Self::Notification { method, .. } => Some(method),
            Self::Response { .. } => None,
        }
    }

    /// The id carried, if any.
    #[must_use]
    pub fn id(&self) -> Option<&Id<'a>> {
        match self {
            Self::Request { id, .. } => Some(id),
            Self::Notification { .. } => None,
            Self::Response { id, .. } => id.as_ref(),
        }
    }
}

const TOO_DEEP: &str = "more than 128 brackets are open at once";
const NO_BATCH: &str = "batches are not part of this protocol";
const NOT_AN_OBJECT: &str = "a message is an object";

/// Why text that does not begin with `{` is refused: as what it is, or as not being JSON at all.
fn not_an_object(text: &str, fault: Fault, why: &'static str) -> ParseError {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => ParseError::new(fault, why, text.as_bytes()),
        Err(error) => ParseError::new(Fault::NotJson, error.to_string(), text.as_bytes()),
    }
}

/// The members of the outermost object, each as its text. A member that is there with the value
/// `null` is `Some`: presence and value are different questions in JSON-RPC.
#[derive(Default)]
struct Envelope<'a> {
    jsonrpc: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    duplicate: Option<&'static str>,
}

type Reason = Cow<'static, str>;

impl<'a> Envelope<'a> {
    fn interpret(self) -> Result<Message<'a>, Reason> {
        if let Some(name) = self.duplicate {
            return Err(format!("member `{name}` is there twice").into());
        }
        match self.jsonrpc.and_then(string).as_deref() {
            Some("2.0") => {}
            Some(_) | None => return Err("member `jsonrpc` must be \"2.0\"".into()),
        }
        match (self.method, self.result, self.error) {
            (Some(method), None, None) => self.call(method),
            (None, Some(result), None) => match self.response_id()? {
                Some(id) => Ok(Message::Response { id: Some(id), outcome: Ok(result) }),
                None => Err("a result must name the request it answers".into()),
            },
            (None, None, Some(error)) => {
                let object = serde_json::from_str(error.get())
                    .map_err(|why| format!("member `error` is not an error object: {why}"))?;
                Ok(Message::Response { id: self.response_id()?, outcome: Err(object) })
            }
            (None, None, None) => Err("neither a method nor a result nor an error".into()),
            (None, Some(_), Some(_)) => Err("both a result and an error".into()),
            (Some(_), _, _) => Err("both a method and a result or an error".into()),
        }
    }

    fn call(&self, method: &'a RawValue) -> Result<Message<'a>, Reason> {
        let Some(method) = string(method) else {
            return Err("member `method` must be a string".into());
        };
        let params = match self.params {
            Some(params) if params.get().starts_with(['{', '[']) => Some(params),
            Some(params) if params.get() == "null" => None,
            Some(_) => return Err("member `params` must be an object or an array".into()),
            None => None,
        };
        match self.id {
            None => Ok(Message::Notification { method, params }),
            Some(id) => match Id::from_json(id.get()) {
                Some(id) => Ok(Message::Request { id, method, params }),
                None => Err(BAD_ID.into()),
            },
        }
    }

    /// The id of a response, where `null` stands for one that could not be read.
    fn response_id(&self) -> Result<Option<Id<'a>>, Reason> {
        match self.id.map(RawValue::get) {
            None => Err("a response must have an id".into()),
            Some("null") => Ok(None),
            Some(text) => Id::from_json(text).map(Some).ok_or_else(|| BAD_ID.into()),
        }
    }
}

const BAD_ID: &str = "member `id` must be a string or an integer of 64 bits";

/// A JSON string's value, borrowed when it holds no escape; `None` for any other JSON.
fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    match plain_string(raw.get()) {
        Some(plain) => Some(Cow::Borrowed(plain)),
        None => serde_json::from_str(raw.get()).ok().map(Cow::Owned),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Envelope<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EnvelopeReader)
    }
}

/// By hand rather than derived: a derived reader stops at a duplicate, and reads `null` as absent.
struct EnvelopeReader;

impl<'de> Visitor<'de> for EnvelopeReader {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON-RPC message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut envelope = Envelope::default();
        while let Some(member) = map.next_key::<Member>()? {
            let (name, slot) = match member {
                Member::Jsonrpc => ("jsonrpc", &mut envelope.jsonrpc),
                Member::Id => ("id", &mut envelope.id),
                Member::Method => ("method", &mut envelope.method),
                Member::Params => ("params", &mut envelope.params),
                Member::Result => ("result", &mut envelope.result),
                Member::Error => ("error", &mut envelope.error),
                Member::Other => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if slot.replace(map.next_value()?).is_some() {
                envelope.duplicate = Some(name);
            }
        }
        Ok(envelope)
    }
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Member {
    Jsonrpc,
    Id,
    Method,
    Params,
    Result,
    Error,
    #[serde(other)]
    Other,
}

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its bytes are not UTF-8.
    NotUtf8,
    /// Its text is not one JSON value. On a plugin's stdout this is what stray prints look like.
    NotJson,
    /// It nests deeper than [`limits::MAX_DEPTH`]; it was not parsed.
    TooDeep,
    /// It is an array. JSON-RPC's batches are refused, the empty one too.
    Batch,
    /// It is JSON but not a message.
    Invalid,
}

/// A frame that is not a message: why, and what could be read of it all the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {detail}", what = self.fault.describe())]
pub struct ParseError {
    fault: Fault,
    detail: Cow<'static, str>,
    salvage: Salvage,
}

impl Fault {
    const fn describe(self) -> &'static str {
        match self {
            Self::NotUtf8 => "not UTF-8",
            Self::NotJson => "not JSON",
            Self::TooDeep => "nested too deep",
            Self::Batch => "a batch",
            Self::Invalid => "not a JSON-RPC 2.0 message",
        }
    }
}

impl ParseError {
    fn new(fault: Fault, detail: impl Into<Cow<'static, str>>, frame: &[u8]) -> Self {
        let mut salvage = Salvage::scan(frame);
        if fault == Fault::Batch {
            salvage.addressed = memchr::memmem::find(frame, b"\"jsonrpc\"").is_some();
        }
        Self { fault, detail: detail.into(), salvage }
    }

    /// Which kind of wrong it is.
    #[must_use]
    pub fn kind(&self) -> Fault {
        self.fault
    }

    /// What exactly was wrong, for a log.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The id read from the frame all the same. With [`Shape::Answer`] it is the call that will get
    /// no other answer.
    #[must_use]
    pub fn salvaged_id(&self) -> Option<&Id<'static>> {
        self.salvage.id.as_ref()
    }

    /// What the frame was meant to be.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.salvage.shape
    }

    /// Whether a host should take it for something printed by accident: nothing in it says that it
    /// was meant as a message. Noise is logged and counted, and never answered.
    #[must_use]
    pub fn is_noise(&self) -> bool {
        !self.salvage.addressed && self.fault != Fault::TooDeep
    }

    /// Whether the specification lets us answer: anything but a broken response, which would only
    /// set two peers complaining to each other.
    #[must_use]
    pub fn is_answerable(&self) -> bool {
        self.salvage.shape != Shape::Answer
    }

    /// The id to answer with: the request's where it is known beyond doubt, else `None`, which is
    /// `null` on the wire.
    #[must_use]
    pub fn answer_id(&self) -> Option<&Id<'static>> {
        match self.fault {
            Fault::Invalid | Fault::TooDeep => self.salvage.id.as_ref(),
            Fault::NotUtf8 | Fault::NotJson | Fault::Batch => None,
        }
    }

    /// The error to answer with.
    #[must_use]
    pub fn to_error_object(&self) -> ErrorObject {
        let code = match self.fault {
            Fault::NotUtf8 | Fault::NotJson | Fault::TooDeep => Code::ParseError,
            Fault::Batch | Fault::Invalid => Code::InvalidRequest,
        };
        ErrorObject::new(code, self.to_string())
    }
}

#[cfg(test)]
mod tests;
