//! What holds for any bytes in any pieces: the same decoding, bounded memory, no panic. The last test is
//! the fuzz target's body over mutated seeds; `PLUGBAY_FUZZ_SECONDS` says for how long, two by default.

#![expect(
    clippy::indexing_slicing,
    reason = "an integration test's helpers are not `in tests` for clippy"
)]

mod fuzz;

use fuzz::{Item, decode, door, read};
use plugbay_protocol::Framing;
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// Streams that look like something: frames, headers, noise and rubbish in a row.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let token = prop_oneof![
        3 => prop::sample::select(TOKENS).prop_map(|token| token.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (any::<u8>(), 0..600_usize).prop_map(|(byte, times)| vec![byte; times]),
        1 => (0..80_usize).prop_map(|n| format!("Content-Length: {n}\r\n\r\n").into_bytes()),
    ];
    prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
}

const TOKENS: &[&str] = &[
    "\n",
    "\r\n",
    "\r",
    "\r\n\r\n",
    " ",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    "\\u00",
    ",",
    ":",
    "null",
    "-1",
    "1e9",
    "NaN",
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":",
    "{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"m\"}",
    "\"params\":",
    "\"error\":{\"code\":1,\"message\":\"m\"}",
    "Content-Length: ",
    "content-length:",
    "Content-Type: x\r\n",
    "Content-Length: 20\r\n\r\n",
    "Content-Length: -3\r\n",
    "Conten",
    "X: y\r\n",
    "99999999999999999999",
    "\u{FEFF}",
    "\u{1F980}",
    "\"_meta\":{\"deadlineMs\":1}",
];

proptest! {
    #[test]
    fn the_pieces_bytes_arrive_in_do_not_matter(
        stream in stream(),
        cap in 1..300_usize,
        pieces in prop::collection::vec(1..50_usize, 1..8),
    ) {
        for framing in [Framing::Line, Framing::ContentLength] {
            let whole = decode(framing, cap, &stream, &[]);
            prop_assert_eq!(&whole, &decode(framing, cap, &stream, &pieces));
            prop_assert_eq!(&whole, &decode(framing, cap, &stream, &[1]));
        }
    }

    #[test]
    fn lines_are_what_splitting_the_stream_gives(stream in stream(), cap in 1..300_usize) {
        let decoding = decode(Framing::Line, cap, &stream, &[7]);
        let mut lines: Vec<&[u8]> = stream.split(|&byte| byte == b'\n').collect();
        let left = lines.pop().unwrap_or_default();
        let trimmed = |line: &[u8]| line.strip_suffix(b"\r").unwrap_or(line).to_vec();
        let expected: Vec<Option<Vec<u8>>> = lines.into_iter().map(trimmed)
            .filter(|line| line.len() > cap || !line.trim_ascii().is_empty())
            .map(|line| (line.len() <= cap).then_some(line))
            .chain((trimmed(left).len() > cap).then_some(None))
            .collect();
        let got: Vec<Option<Vec<u8>>> = decoding.items.into_iter()
            .map(|item| if let Item::Frame(frame) = item { Some(frame) } else { None })
            .collect();
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn any_text_is_read_or_refused(stream in stream()) {
        read(&stream);
    }
}

/// A generator good enough to wander and small enough to need no crate: xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(drawn).unwrap_or(0) % bound.max(1)
    }

    fn mutate(&mut self, data: &mut Vec<u8>) {
        for _ in 0..=self.below(6) {
            let at = self.below(data.len() + 1);
            match self.below(6) {
                0 => {
                    let token = TOKENS[self.below(TOKENS.len())];
                    data.splice(at..at, token.bytes());
                }
                1 => data.truncate(at),
                2 if at < data.len() => data[at] = u8::try_from(self.below(256)).unwrap_or(0),
                3 if at < data.len() => data[at] ^= 1 << self.below(8),
                4 => {
                    let end = (at + self.below(40)).min(data.len());
                    data.drain(at..end);
                }
                _ => {
                    let copy = data[at..(at + self.below(200)).min(data.len())].to_vec();
                    let to = self.below(data.len() + 1);
                    data.splice(to..to, copy);
                }
            }
        }
        data.truncate(4096);
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long to fuzz is for whoever runs the tests to say, and lasts real time"
)]
fn fuzzing_time() -> impl Fn() -> bool {
    let seconds = std::env::var("PLUGBAY_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let (begun, most) = (Instant::now(), Duration::from_secs(seconds.unwrap_or(2)));
    move || begun.elapsed() < most
}

#[test]
fn the_fuzz_target_holds_on_mutated_seeds() {
    let seeds: Vec<Vec<u8>> = [
        "\0\u{10}\u{5}{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"add\",\"params\":{\"a\":1,\"_meta\":{}}}\n",
        "\u{1}\u{10}\u{5}noise\r\nContent-Length: 37\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":null}",
        "\u{1}\u{1}\u{33}Content-Type: x\r\nContent-Length: 70\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"error\":{",
        "\0\u{1}\u{21}{\"id\":9,\"result\":[[[[[[\"\\\"\"]]]]]]}\r\n\n[1]\n",
    ]
    .iter()
    .map(|seed| seed.as_bytes().to_vec())
    .collect();
    let (mut random, mut corpus, mut rounds) = (Random(0x9E37_79B9_7F4A_7C15), seeds, 0_u64);
    let go_on = fuzzing_time();
    while go_on() {
        let chosen = random.below(corpus.len());
        let mut data = corpus[chosen].clone();
        random.mutate(&mut data);
        door(&data);
        // Keep some of what was made, so that mutations add up; never so much as to drown the seeds.
        if random.below(8) == 0 && corpus.len() < 256 {
            corpus.push(data);
        } else if random.below(64) == 0 && chosen >= 4 {
            corpus[chosen] = data;
        }
        rounds += 1;
    }
    assert!(rounds > 0);
}
