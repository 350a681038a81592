//! The words on Plugbay's wire: messages, method names, handshake, error codes, limits and the
//! codec that cuts a byte stream into frames.
//!
//! What it is *not*: a transport. Nothing here reads, writes, spawns, waits or knows the time; bytes
//! come in through [`Decoder`] and go out through [`mod@write`]. That is what lets the host, the
//! SDK, a fuzzer and a test share one implementation, and why this crate may be used without tokio.
//!
//! ```text
//!   bytes ──► Decoder ──► Decoded::Frame(&[u8]) ──► Message::parse ──► Request / Notification / Response
//!             bounded     borrowed, never copied     one pass, params and result left as RawValue
//!   bytes ◄── Framing ◄── write::{request, notification, response, error}
//! ```
//!
//! The specification is `docs/protocol.md`; a test holds the two to the same names and codes.
//!
//! ```
//! use plugbay_protocol::{Decoded, Decoder, Framing, Message, write};
//!
//! let mut out = Vec::new();
//! write::request(&mut out, 7, "add", &serde_json::json!({"a": 1, "b": 2}))?;
//! Framing::Line.close(&mut out, 0);
//!
//! let mut decoder = Decoder::new(Framing::Line, plugbay_protocol::limits::MAX_FRAME);
//! decoder.push(&out);
//! let Some(Decoded::Frame(frame)) = decoder.next() else { panic!("one whole frame went in") };
//! assert!(matches!(Message::parse(frame)?, Message::Request { method, .. } if method == "add"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod codec;
mod depth;
pub mod error;
#[cfg(feature = "golden")]
pub mod golden;
pub mod handshake;
mod id;
pub mod limits;
pub mod message;
pub mod meta;
pub mod method;
pub mod notice;
mod salvage;
pub mod stream;
pub mod write;

pub use codec::{Decoded, Decoder, Framing, HeaderError};
pub use error::{Code, ErrorData, ErrorObject, Origin};
pub use id::Id;
pub use message::{Fault, Message, ParseError};
pub use salvage::Shape;

/// The protocol's major version, as negotiated by [`handshake::negotiate`]. It is not the version of
/// this crate nor of the host: it changes only when a peer that knows the old one would misread us.
pub const VERSION: u32 = 1;
