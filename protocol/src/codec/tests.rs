//! The decoder case by case. What holds for any bytes in any pieces is in `tests/codec.rs`.

use super::*;
use proptest::prelude::*;

/// What came out, freed of the buffer.
#[derive(Debug, Clone, PartialEq)]
enum Out {
    Frame(String),
    Oversize(Option<Id<'static>>, Shape),
    Noise(String),
    BadHeader(HeaderError),
}

fn drain(decoder: &mut Decoder, out: &mut Vec<Out>) {
    while let Some(decoded) = decoder.next() {
        out.push(match decoded {
            Decoded::Frame(bytes) => Out::Frame(String::from_utf8_lossy(bytes).into_owned()),
            Decoded::Oversize { salvaged_id, shape, .. } => Out::Oversize(salvaged_id, shape),
            Decoded::Noise { bytes } => Out::Noise(String::from_utf8_lossy(bytes).into_owned()),
            Decoded::BadHeader(error) => Out::BadHeader(error),
        });
    }
}

/// Decodes in one piece and byte by byte, which must agree but for where noise is cut.
fn decode(framing: Framing, cap: usize, bytes: impl AsRef<[u8]>) -> Vec<Out> {
    let (mut whole, mut single) = (Vec::new(), Vec::new());
    let mut decoder = Decoder::new(framing, cap);
    decoder.push(bytes.as_ref());
    drain(&mut decoder, &mut whole);
    let mut decoder = Decoder::new(framing, cap);
    for byte in bytes.as_ref() {
        decoder.push(&[*byte]);
        drain(&mut decoder, &mut single);
    }
    let is_noise = |out: &&Out| matches!(out, Out::Noise(_));
    assert!(
        whole.iter().filter(|out| !is_noise(out)).eq(single.iter().filter(|out| !is_noise(out)))
    );
    whole
}

fn line(cap: usize, bytes: impl AsRef<[u8]>) -> Vec<Out> {
    decode(Framing::Line, cap, bytes)
}

fn header(cap: usize, bytes: impl AsRef<[u8]>) -> Vec<Out> {
    decode(Framing::ContentLength, cap, bytes)
}

fn frame(text: &str) -> Out {
    Out::Frame(text.to_owned())
}

#[test]
fn lines_end_with_or_without_carriage_return_and_blank_ones_are_skipped() {
    assert_eq!(line(9, "a\nb\r\n\n \r\n\t\n  c\n"), [frame("a"), frame("b"), frame("  c")]);
}

#[test]
fn a_carriage_return_inside_a_line_stays() {
    assert_eq!(line(9, "a\rb\r\r\n"), [frame("a\rb\r")]);
}

#[test]
fn a_line_of_exactly_the_cap_passes_whatever_ends_it() {
    assert_eq!(line(4, "abcd\nabcd\r\n"), [frame("abcd"), frame("abcd")]);
    let over = Out::Oversize(None, Shape::Unknown);
    assert_eq!(line(4, "abcde\nok\n"), [over.clone(), frame("ok")]);
    assert_eq!(line(4, "abcde\r\nok\n"), [over.clone(), frame("ok")]);
    assert_eq!(line(4, "abcd\rx\nok\n"), [over, frame("ok")]);
}

#[test]
fn an_oversize_line_is_told_at_once_and_names_its_call() {
    let mut decoder = Decoder::new(Framing::Line, 64);
    decoder.push(br#"{"jsonrpc":"2.0","id":17,"result":""#);
    assert_eq!(decoder.next(), None);
    decoder.push(&[b'x'; 40]);
    let Some(Decoded::Oversize { salvaged_id, shape, discarded }) = decoder.next() else {
        panic!()
    };
    assert_eq!((salvaged_id, shape, discarded), (Some(Id::from(17)), Shape::Answer, 75));
    for _ in 0..1_000 {
        decoder.push(&[b'x'; 1_000]);
        assert_eq!(decoder.next(), None, "it is told once");
        assert_eq!(decoder.buffered(), 0);
    }
    assert!(decoder.is_partial());
    decoder.push(b"\"}\nnext\n");
    assert_eq!(decoder.next(), Some(Decoded::Frame(b"next")));
    assert_eq!(decoder.discarded(), 75 + 1_000_000 + 3);
    assert!(!decoder.is_partial());
}

#[test]
fn the_id_is_looked_for_only_where_the_cap_reaches() {
    let behind = format!("{{\"result\":\"{}\",\"id\":1}}\n", "x".repeat(100));
    assert_eq!(line(50, behind), [Out::Oversize(None, Shape::Answer)]);
}

#[test]
fn header_frames_follow_each_other() {
    let stream = "Content-Length: 2\r\n\r\n{}content-LENGTH:3\n\nabc";
    assert_eq!(header(9, stream), [frame("{}"), frame("abc")]);
}

#[test]
fn other_headers_are_read_over_wherever_they_stand() {
    let stream =
        "Content-Type: application/json; charset=utf-8\r\nContent-Length: 1\r\nX-A: b\r\n\r\nz";
    assert_eq!(header(9, stream), [frame("z")]);
}

#[test]
fn a_body_may_hold_anything() {
    assert_eq!(
        header(99, "Content-Length: 21\r\n\r\nContent-Length: 1\r\n\r\n"),
        [frame("Content-Length: 1\r\n\r\n")]
    );
    assert_eq!(
        header(9, "Content-Length: 0\r\n\r\nContent-Length: 1\r\n\r\nx"),
        [frame(""), frame("x")]
    );
}

#[test]
fn noise_is_told_and_the_next_header_found_even_inside_a_line() {
    assert_eq!(
        header(
            9,
            "warming up\r\nINFO: cold\r\nloading...Content-Length: 1\r\n\r\nx\r\n\r\ncContent-Length: 1\r\n\r\ny"
        ),
        [
            Out::Noise("warming up\r\nINFO: cold\r\nloading...".to_owned()),
            frame("x"),
            Out::Noise("\r\n\r\nc".to_owned()),
            frame("y"),
        ]
    );
}

#[test]
fn every_bad_length_has_its_name_and_the_stream_goes_on() {
    use HeaderError::{
        DuplicateLength, HugeLength, MalformedLength, MissingLength, NegativeLength,
    };
    for (block, error) in [
        ("Content-Type: x", MissingLength),
        ("Content-Length: 1\r\nContent-Length: 1", DuplicateLength),
        ("Content-Length: 1\r\ncontent-length: 2", DuplicateLength),
        ("Content-Length: -1", NegativeLength),
        ("Content-Length: -99999999999999999999999", NegativeLength),
        ("Content-Length: ", MalformedLength),
        ("Content-Length: +1", MalformedLength),
        ("Content-Length: 1 1", MalformedLength),
        ("Content-Length: 0x10", MalformedLength),
        ("Content-Length: 1.5", MalformedLength),
        ("Content-Length: --1", MalformedLength),
        ("Content-Length: 67108865", HugeLength),
        ("Content-Length: 99999999999999999999999", HugeLength),
        ("Content-Length: x\r\nContent-Length: 1", MalformedLength),
    ] {
        let stream = format!("{block}\r\n\r\nContent-Length: 2\r\n\r\nok");
        assert_eq!(header(9, stream), [Out::BadHeader(error), frame("ok")], "{block}");
    }
}

#[test]
fn a_block_cut_off_by_the_next_one_costs_only_itself() {
    let stream = "Content-Length: 5\r\nTraceback of Content-Length: 2\r\n\r\nok";
    assert_eq!(
        header(9, stream),
        [
            Out::BadHeader(HeaderError::MalformedLine),
            Out::Noise("Traceback of ".to_owned()),
            frame("ok"),
        ]
    );
}

#[test]
fn a_block_that_never_ends_is_cut() {
    for filler in ["x".repeat(5_000), "X-A: b\r\n".repeat(600)] {
        let stream = format!("Content-Type: a\r\n{filler}\r\nContent-Length: 2\r\n\r\nok");
        let out = header(9, stream);
        assert_eq!(out.first(), Some(&Out::BadHeader(HeaderError::BlockTooLong)));
        assert_eq!(out.last(), Some(&frame("ok")));
    }
}

#[test]
fn an_oversize_body_is_skipped_by_count_and_names_its_call() {
    let body =
        format!(r#"{{"jsonrpc":"2.0","id":"q","method":"m","params":["{}"]}}"#, "x".repeat(500));
    let stream = format!("Content-Length: {}\r\n\r\n{body}Content-Length: 2\r\n\r\nok", body.len());
    assert_eq!(header(64, stream), [Out::Oversize(Some(Id::from("q")), Shape::Call), frame("ok")]);
}

#[test]
fn a_decoder_holds_nothing_before_it_is_used_and_little_after() {
    let mut decoder = Decoder::new(Framing::Line, 8 << 20);
    assert_eq!(decoder.capacity(), 0);
    decoder.push(b"{}\n");
    assert!(decoder.next().is_some() && decoder.capacity() <= FIRST_CHUNK);
    for (size, kept) in [(4 << 20, KEPT), (1 << 20, KEPT_BUSY)] {
        decoder.push(&[vec![b'x'; size], b"\n".to_vec()].concat());
        assert!(decoder.next().is_some());
        assert!(!decoder.space().is_empty());
        assert!(decoder.capacity() <= kept, "{} kept after {size}", decoder.capacity());
    }
    decoder.push(b"{}\n");
    assert!(decoder.next().is_some() && !decoder.space().is_empty());
    assert!(decoder.capacity() <= KEPT, "{} kept after a short frame", decoder.capacity());
}

/// The byte of an endless stream at a place.
type ByteAt = Box<dyn Fn(usize) -> u8>;

#[test]
fn memory_stays_below_the_cap_and_one_read_whatever_comes() {
    let cap = 1 << 20;
    let bound = cap + limits::READ_CHUNK;
    let mut streams: Vec<(Framing, ByteAt)> = Vec::new();
    streams.push((Framing::Line, Box::new(|_| b'[')));
    streams.push((Framing::Line, Box::new(|at| if at % (1 << 20) == 0 { b'\n' } else { b'a' })));
    streams.push((Framing::Line, Box::new(|at| if at % 1_500_000 == 0 { b'\n' } else { b'\r' })));
    streams
        .push((Framing::ContentLength, Box::new(|at| b"Content-Length: 1048576\r\n\r\n"[at % 27])));
    streams.push((Framing::ContentLength, Box::new(|at| b"content-length:"[at % 15])));
    streams.push((Framing::ContentLength, Box::new(|_| b'c')));
    for (framing, byte) in streams {
        let mut decoder = Decoder::new(framing, cap);
        let (mut at, mut most) = (0, 0);
        while at < 6 << 20 {
            let space = decoder.space();
            let n = space.len();
            space.iter_mut().enumerate().for_each(|(offset, slot)| *slot = byte(at + offset));
            decoder.filled(n);
            at += n;
            most = most.max(decoder.capacity());
            while decoder.next().is_some() {
                most = most.max(decoder.capacity());
            }
        }
        assert!(most <= bound, "{framing:?} held {most}, bound {bound}");
    }
}

#[test]
fn frames_that_pile_up_unread_are_all_kept() {
    let mut decoder = Decoder::new(Framing::Line, 16);
    let many = "0123456789abcde\n".repeat(20_000);
    decoder.push(many.as_bytes());
    let mut frames = 0;
    while let Some(decoded) = decoder.next() {
        assert_eq!(decoded, Decoded::Frame(b"0123456789abcde"));
        frames += 1;
    }
    assert_eq!(frames, 20_000);
}

#[test]
fn a_long_line_in_small_pieces_is_scanned_once() {
    // Quadratic scanning of 8 MiB in pieces of 1 KiB would read 34 GiB and take minutes.
    let mut decoder = Decoder::new(Framing::Line, 8 << 20);
    for _ in 0..8 * 1024 {
        decoder.push(&[b'x'; 1_000]);
        assert_eq!(decoder.next(), None);
        assert_eq!(decoder.scanned, decoder.end, "the scan resumes where it stopped");
    }
}

proptest! {
    #[test]
    fn what_is_framed_is_decoded(payloads in prop::collection::vec("[^\r\n]{1,40}", 0..20)) {
        for framing in [Framing::Line, Framing::ContentLength] {
            let mut stream = Vec::new();
            for payload in &payloads {
                framing.frame(&mut stream, payload.as_bytes());
            }
            let expected: Vec<Out> = payloads.iter()
                .filter(|payload| framing == Framing::ContentLength || !payload.as_bytes().trim_ascii().is_empty())
                .map(|payload| frame(payload)).collect();
            prop_assert_eq!(decode(framing, 200, &stream), expected);
        }
    }
}

#[test]
fn a_new_cap_holds_from_the_next_frame_on() {
    let mut out = Vec::new();
    let mut decoder = Decoder::new(Framing::Line, 3);
    decoder.push(b"abc\nabcd\n");
    drain(&mut decoder, &mut out);
    decoder.set_max_frame(4);
    decoder.push(b"abcd\nabcde\n");
    drain(&mut decoder, &mut out);
    let over = Out::Oversize(None, Shape::Unknown);
    assert_eq!(out, [frame("abc"), over.clone(), frame("abcd"), over]);
}
