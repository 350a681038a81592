//! The broker's parsers are a door for untrusted bytes: whatever comes, they answer and go on.

use std::time::{Duration, Instant};

use plugbay_broker::{Host, Rules, hello, names, request, socks};
use plugbay_sandbox::HostGrant;
use proptest::{prelude::*, test_runner::TestRunner};

/// What a client says first, by each door.
const SEEDS: [&[u8]; 6] = [
    b"CONNECT files.example.org:443 HTTP/1.1\r\nProxy-Authorization: Basic cGx1Z2JheTp0\r\n\r\n",
    b"POST http://files.example.org/x HTTP/1.1\r\nContent-Length: 3\r\nConnection: x, te\r\n\r\nabc",
    b"\x05\x01\x00\x03\x11files.example.org\x01\xbb",
    b"\x01\x08plugbay!\x04word",
    b"\x07\x07\x01\0\0\x01\0\0\0\0\0\0\x05files\x07example\x03org\0\0\x01\0\x01",
    b"\x16\x03\x01\x00\x45\x01\0\0\x41\x03\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\
      \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x02\x13\x01\x01\0\0\x16\0\0\0\x12\0\x10\0\0\x0dfiles.example",
];

#[test]
fn the_seeds_are_what_clients_say() {
    let [tunnel, plain, .., greeting, login, question, hello] = &SEEDS;
    assert!([tunnel, plain].iter().all(|seed| matches!(request::read(seed), Ok(Some(_)))));
    assert!(matches!(socks::request(greeting), Ok(Some(_))));
    assert!(matches!(socks::login(login), Ok(Some(_))));
    assert!(question.len() > 12 && matches!(hello::look(hello), hello::Seen::Hello(_)));
}

/// A seed with some bytes changed, taken out, put in, or its end cut off.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), 0..5_u8, any::<u8>());
    let edits = proptest::collection::vec(edit, 0..12);
    (prop::sample::select(&SEEDS[..]), edits).prop_map(|(seed, edits)| {
        let mut bytes = seed.to_vec();
        for (place, kind, byte) in edits {
            let at = place.index(bytes.len());
            match kind {
                0 => bytes.splice(at..=at, [byte]).for_each(drop),
                1 if bytes.len() > 1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, byte),
                3 => bytes.extend_from_within(at..),
                _ => bytes.truncate(at.max(1)),
            }
        }
        bytes
    })
}

/// Every door is shown the bytes. What comes out of one keeps within what it promises.
fn knock(bytes: &[u8], rules: &Rules) {
    if let Ok(Some(read)) = request::read(bytes) {
        assert!(read.length <= bytes.len().min(request::MAX_HEAD));
        if let request::Asked::Plain { head, .. } = read.asked {
            assert!(head.ends_with(b"\r\n\r\n"));
        }
    }
    if let hello::Seen::Hello(hello) = hello::look(bytes) {
        assert!(hello.server_name.is_none_or(|name| name.is_ascii()));
    }
    for password in [false, true] {
        let used = socks::greeting(bytes, password).ok().flatten().map_or(0, |(_, used)| used);
        assert!(used <= bytes.len());
    }
    let used = socks::login(bytes).ok().flatten().map_or(0, |(_, used)| used);
    assert!(used <= bytes.len());
    if let Ok(Some(((host, port), _))) = socks::request(bytes) {
        assert!(port > 0 && Host::parse(&host.to_string()) == Ok(host));
    }
    if let Some(answer) = names::answer(bytes, rules, &mut names::Names::default()) {
        assert!(answer.bytes.len() <= bytes.len() + 16);
    }
}

/// For as long as `PLUGBAY_FUZZ_SECONDS` says, one round when it says nothing.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "how long to fuzz is for whoever runs the tests to say"
)]
fn the_doors_hold_for_as_long_as_asked() {
    let seconds = std::env::var("PLUGBAY_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok());
    let (begun, most) = (Instant::now(), Duration::from_secs(seconds.unwrap_or(0)));
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    let grant = HostGrant { host: "*.example.org".to_owned(), port: 443 };
    let rules = Rules::new([&grant]).unwrap();
    loop {
        let mut runner = TestRunner::new(config.clone());
        runner
            .run(&mutated(), |bytes| {
                knock(&bytes, &rules);
                Ok(())
            })
            .unwrap_or_else(|failure| panic!("{failure}"));
        if begun.elapsed() >= most {
            return;
        }
    }
}
