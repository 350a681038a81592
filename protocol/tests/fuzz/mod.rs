//! The body of the fuzz target `codec`, shared by `fuzz/fuzz_targets/codec.rs` (libFuzzer, nightly) and
//! `tests/codec.rs` (a property test, stable). It asserts what must hold for any bytes at all.

use plugbay_protocol::{Decoded, Decoder, Framing, HeaderError, Id, Message, Shape, limits, meta};

/// What a stream decodes to, freed of the decoder. Noise is joined and blanks dropped, because where a
/// piece of it ends depends on how the bytes arrived; nothing else may.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Decoding {
    /// Frames and faults, in order.
    pub(crate) items: Vec<Item>,
    /// All bytes between frames that are not white space.
    pub(crate) noise: Vec<u8>,
    /// Bytes of oversize frames.
    pub(crate) discarded: u64,
    /// Bytes left over at the end.
    pub(crate) left: usize,
    /// Whether the stream ended inside a frame.
    pub(crate) partial: bool,
}

/// One thing decoded.
#[derive(Debug, PartialEq)]
pub(crate) enum Item {
    /// A frame.
    Frame(Vec<u8>),
    /// An oversize one.
    Oversize(Option<Id<'static>>, Shape),
    /// A bad header block.
    BadHeader(HeaderError),
}

/// Decodes `stream`, handed over in pieces whose lengths `pieces` repeats, and checks on the way that
/// memory stays bounded and that frames keep to the cap.
pub(crate) fn decode(framing: Framing, cap: usize, stream: &[u8], pieces: &[usize]) -> Decoding {
    let mut decoder = Decoder::new(framing, cap);
    let mut decoding = Decoding::default();
    let mut lengths = pieces.iter().copied().chain([usize::MAX]).cycle();
    let mut rest = stream;
    let mut out = 0;
    while !rest.is_empty() {
        let space = decoder.space();
        assert!(!space.is_empty(), "no room for one more byte");
        let wanted = lengths.next().unwrap_or(1).clamp(1, limits::READ_CHUNK);
        let (now, later) = rest.split_at(wanted.min(space.len()).min(rest.len()));
        space[..now.len()].copy_from_slice(now);
        decoder.filled(now.len());
        rest = later;
        while let Some(decoded) = decoder.next() {
            match decoded {
                Decoded::Frame(frame) => {
                    assert!(frame.len() <= cap, "a frame of {} passed a cap of {cap}", frame.len());
                    out += frame.len();
                    decoding.items.push(Item::Frame(frame.to_vec()));
                }
                Decoded::Noise { bytes } => {
                    out += bytes.len();
                    decoding.noise.extend(bytes.iter().filter(|byte| !byte.is_ascii_whitespace()));
                }
                Decoded::Oversize { salvaged_id, shape, discarded } => {
                    assert!(discarded > 0);
                    decoding.items.push(Item::Oversize(salvaged_id, shape));
                }
                Decoded::BadHeader(error) => decoding.items.push(Item::BadHeader(error)),
            }
        }
        let bound = cap + limits::READ_CHUNK;
        assert!(decoder.capacity() <= bound, "{} held, bound {bound}", decoder.capacity());
    }
    decoding.discarded = decoder.discarded();
    decoding.left = decoder.buffered();
    decoding.partial = decoder.is_partial();
    let accounted = out + decoding.left + usize::try_from(decoding.discarded).unwrap_or(usize::MAX);
    assert!(accounted <= stream.len(), "bytes came out that never went in");
    decoding
}

/// Reads `frame` as a message and checks what every reading promises.
pub(crate) fn read(frame: &[u8]) {
    match Message::parse(frame) {
        Ok(
            Message::Request { params: Some(params), .. }
            | Message::Notification { params: Some(params), .. },
        ) => {
            let whole: Result<serde_json::Value, _> = serde_json::from_str(params.get());
            // Only text that no string can hold may fail later: a lone surrogate, a number too large.
            if let Err(error) = whole {
                let why = error.to_string();
                assert!(!why.contains("recursion"), "{why}");
            }
            drop(meta::Meta::from_params(Some(params)));
        }
        Ok(_) => {}
        Err(error) => {
            let answer = error.to_error_object();
            assert!(answer.code < 0 && !answer.message.is_empty());
            if let Some(id) = error.answer_id() {
                assert_eq!(error.salvaged_id(), Some(id));
            }
        }
    }
}

/// The target: the first three bytes choose framing, cap and pieces, the rest is the stream.
pub(crate) fn door(data: &[u8]) {
    let Some((&[framing, cap, pieces], stream)) = data.split_first_chunk::<3>() else { return };
    let framing = if framing % 2 == 0 { Framing::Line } else { Framing::ContentLength };
    let cap = 1 + usize::from(cap) * 8;
    let pieces = [usize::from(pieces % 16) + 1, usize::from(pieces / 16) * 97 + 1];
    let whole = decode(framing, cap, stream, &[]);
    let pieced = decode(framing, cap, stream, &pieces);
    assert_eq!(whole, pieced, "how the bytes arrive must not matter");
    for item in &whole.items {
        if let Item::Frame(frame) = item {
            read(frame);
        }
    }
    read(stream);
}
