//! The first message of TLS, as far as it says which host is meant.
//!
//! Bytes of the process come in as they arrive. Nothing is decrypted and nothing is kept: the name is
//! compared with the host of the tunnel, so that a tunnel to one host cannot be used for another
//! that is served at the same address.

use crate::bytes::Bytes;

/// The most that a first message may take, in all its records. Post-quantum ones have some 2 KiB.
pub const MAX_HELLO: usize = 32 << 10;

const RECORD_HANDSHAKE: u8 = 22;
const MAX_RECORD: usize = (16 << 10) + 256;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
/// Encrypted client hello, and the draft before it.
const ENCRYPTED: [u16; 2] = [0xfe0d, 0xffce];

/// What the bytes so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Perhaps the beginning of TLS: more is needed.
    More,
    /// Not TLS.
    Plain,
    /// A whole first message.
    Hello(Hello),
    /// It begins as TLS and is none, or says something twice.
    Broken,
}

/// What a first message says of its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The name, as it was sent.
    pub server_name: Option<String>,
    /// Whether there is another, hidden one.
    pub encrypted: bool,
}

/// Looks at the first bytes of a connection.
#[must_use]
pub fn look(bytes: &[u8]) -> Seen {
    let Some(first) = bytes.first() else { return Seen::More };
    if *first != RECORD_HANDSHAKE {
        return Seen::Plain;
    }
    match message(bytes) {
        Ok(Some(message)) => hello(&message).map_or(Seen::Broken, Seen::Hello),
        Ok(None) if bytes.len() < MAX_HELLO => Seen::More,
        Ok(None) | Err(Malformed) => Seen::Broken,
    }
}

struct Malformed;

/// The first handshake message, put together from its records. `None` while some of it is missing.
fn message(bytes: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let mut bytes = Bytes::new(bytes);
    let mut whole: Vec<u8> = Vec::new();
    loop {
        if let Some((head, rest)) = whole.split_first_chunk::<4>() {
            let [kind, high, middle, low] = *head;
            let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            if kind != CLIENT_HELLO || length > MAX_HELLO {
                return Err(Malformed);
            }
            if let Some(body) = rest.get(..length) {
                return Ok(Some(body.to_vec()));
            }
        }
        let (Some(kind), Some(major), Some(_minor), Some(length)) =
            (bytes.byte(), bytes.byte(), bytes.byte(), bytes.short())
        else {
            return Ok(None);
        };
        let length = usize::from(length);
        if kind != RECORD_HANDSHAKE || major != 3 || length == 0 || length > MAX_RECORD {
            return Err(Malformed);
        }
        match bytes.take(length) {
            Some(part) => whole.extend_from_slice(part),
            None => return Ok(None),
        }
    }
}

/// The body of a client hello. `None` when it is malformed.
fn hello(body: &[u8]) -> Option<Hello> {
    let mut body = Bytes::new(body);
    // Version and random.
    body.take(2 + 32)?;
    let session = body.byte()?;
    body.take(session.into())?;
    let suites = body.short()?;
    body.take(suites.into())?;
    let compressions = body.byte()?;
    body.take(compressions.into())?;
    let mut found = Hello { server_name: None, encrypted: false };
    if body.is_empty() {
        // Before TLS had extensions.
        return Some(found);
    }
    let length = body.short()?;
    let mut extensions = Bytes::new(body.take(length.into())?);
    while !extensions.is_empty() {
        let kind = extensions.short()?;
        let length = extensions.short()?;
        let data = extensions.take(length.into())?;
        if ENCRYPTED.contains(&kind) {
            found.encrypted = true;
        } else if kind == SERVER_NAME {
            let name = server_name(data)?;
            if found.server_name.replace(name).is_some() {
                return None;
            }
        }
    }
    body.is_empty().then_some(found)
}

/// The one host name of the extension.
fn server_name(data: &[u8]) -> Option<String> {
    let mut data = Bytes::new(data);
    let length = data.short()?;
    let mut list = Bytes::new(data.take(length.into())?);
    let (kind, length) = (list.byte()?, list.short()?);
    let name = list.take(length.into())?;
    let only = kind == 0 && list.is_empty() && data.is_empty();
    let name = String::from_utf8(name.to_vec()).ok()?;
    (only && name.is_ascii()).then_some(name)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefixed(width: usize, bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
        [&length[4 - width..], bytes].concat()
    }

    fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &prefixed(2, data)].concat()
    }

    fn name_extension(name: &str) -> Vec<u8> {
        extension(0, &prefixed(2, &[&[0][..], &prefixed(2, name.as_bytes())].concat()))
    }

    fn handshake(extensions: &[u8]) -> Vec<u8> {
        let body = [
            &[3, 3][..],
            &[7; 32],
            &prefixed(1, &[]),
            &prefixed(2, &[0x13, 0x01]),
            &prefixed(1, &[0]),
            &prefixed(2, extensions),
        ]
        .concat();
        [&[1][..], &prefixed(3, &body)].concat()
    }

    fn records(message: &[u8], size: usize) -> Vec<u8> {
        message
            .chunks(size)
            .flat_map(|part| [&[22, 3, 1][..], &prefixed(2, part)].concat())
            .collect()
    }

    /// A client hello for this name.
    pub(crate) fn client_hello(name: &str) -> Vec<u8> {
        records(&handshake(&name_extension(name)), 16 << 10)
    }

    fn named(name: &str) -> Seen {
        Seen::Hello(Hello { server_name: Some(name.to_owned()), encrypted: false })
    }

    #[test]
    fn the_name_is_found_in_one_record_or_in_many() {
        assert_eq!(look(&client_hello("a.example")), named("a.example"));
        let message = handshake(&[extension(10, &[1, 2]), name_extension("a.example")].concat());
        for size in [1, 2, 3, 50] {
            assert_eq!(look(&records(&message, size)), named("a.example"), "{size}");
        }
    }

    #[test]
    fn no_name_and_a_hidden_name_are_told() {
        let none = records(&handshake(&[]), 99);
        assert_eq!(look(&none), Seen::Hello(Hello { server_name: None, encrypted: false }));
        let hidden = [extension(0xfe0d, &[0; 9]), name_extension("front.example")].concat();
        let Seen::Hello(hello) = look(&records(&handshake(&hidden), 999)) else { panic!() };
        assert!(hello.encrypted);
    }

    #[test]
    fn two_names_are_not_a_choice() {
        let twice = [name_extension("a.example"), name_extension("b.example")].concat();
        assert_eq!(look(&records(&handshake(&twice), 999)), Seen::Broken);
        let one = [&[0][..], &prefixed(2, b"a"), &[0], &prefixed(2, b"b")].concat();
        let list = extension(0, &prefixed(2, &one));
        assert_eq!(look(&records(&handshake(&list), 999)), Seen::Broken);
    }

    #[test]
    fn anything_else_is_plain_and_an_endless_beginning_ends() {
        assert_eq!(look(b"SSH-2.0-"), Seen::Plain);
        assert_eq!(look(b""), Seen::More);
        assert_eq!(look(&[22, 2, 0, 0, 5]), Seen::Broken);
        let endless = records(&[&[1, 0, 0x7f, 0xff][..], &[0; 40 << 10]].concat(), 999);
        assert_eq!(look(&endless[..MAX_HELLO]), Seen::Broken);
    }

    proptest! {
        #[test]
        fn a_part_of_a_hello_is_never_a_whole_one(name in "[a-z.]{1,40}", at in 0_usize..999) {
            let whole = client_hello(&name);
            let part = &whole[..at % whole.len()];
            prop_assert_eq!(look(part), Seen::More);
        }

        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..600), tls: bool) {
            let bytes = if tls { [&[22, 3, 1, 1, 0, 1, 0, 0, 0xfc][..], &bytes].concat() } else { bytes };
            prop_assert_eq!(look(&bytes) == Seen::Plain, bytes.first().is_some_and(|first| *first != 22));
        }

        #[test]
        fn a_changed_byte_is_judged(at in 0_usize..999, byte: u8) {
            let mut hello = client_hello("a.example");
            let at = at % hello.len();
            hello[at] = byte;
            prop_assert_eq!(look(&hello) == Seen::Plain, hello[0] != 22);
        }
    }
}
