//! SOCKS5 (RFC 1928), as far as it is served: connect by name or address; with a name and password
//! (RFC 1929) where there are any.

use std::net::IpAddr;

use thiserror::Error;

use crate::{bytes::Bytes, host::Host};

/// The first byte of every SOCKS5 connection.
pub const VERSION: u8 = 5;

/// How a client may log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Not at all.
    Nothing = 0,
    /// With a name and a password.
    Password = 2,
    /// In none of the ways that it offered.
    Refused = 0xff,
}

/// Answers to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Connected.
    Done = 0,
    /// It was not granted.
    Forbidden = 2,
    /// The host is not there.
    Unreachable = 4,
    /// The host does not want to.
    Refused = 5,
    /// Only connections are made here.
    Command = 7,
    /// A kind of address that does not exist.
    Address = 8,
}

/// Why a message is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a SOCKS5 request that is served here")]
pub struct SocksError(pub Answer);

/// A message, if it is whole, and how many bytes it took.
pub type Read<T> = Result<Option<(T, usize)>, SocksError>;

const MALFORMED: SocksError = SocksError(Answer::Command);

/// Reads the ways to log in that the client offers, and picks one.
///
/// # Errors
/// [`SocksError`] for anything that is no SOCKS5.
pub fn greeting(bytes: &[u8], password: bool) -> Read<Method> {
    let mut rest = Bytes::new(bytes);
    let (Some(version), Some(count)) = (rest.byte(), rest.byte()) else { return Ok(None) };
    if version != VERSION {
        return Err(MALFORMED);
    }
    let Some(offered) = rest.take(count.into()) else { return Ok(None) };
    let wanted = if password { Method::Password } else { Method::Nothing };
    let method = if offered.contains(&(wanted as u8)) { wanted } else { Method::Refused };
    Ok(Some((method, bytes.len() - rest.len())))
}

/// Reads the password of a login; the name does not matter.
///
/// # Errors
/// [`SocksError`] for another version of it.
pub fn login(bytes: &[u8]) -> Read<Vec<u8>> {
    let mut rest = Bytes::new(bytes);
    let Some(version) = rest.byte() else { return Ok(None) };
    if version != 1 {
        return Err(MALFORMED);
    }
    let mut text = || {
        let length = rest.byte()?;
        rest.take(length.into())
    };
    let (Some(_name), Some(password)) = (text(), text()) else { return Ok(None) };
    Ok(Some((password.to_vec(), bytes.len() - rest.len())))
}

/// Reads whom to connect to.
///
/// # Errors
/// [`SocksError`] with the answer for what is not served.
pub fn request(bytes: &[u8]) -> Read<(Host, u16)> {
    let mut rest = Bytes::new(bytes);
    let (Some(version), Some(command), Some(_), Some(kind)) =
        (rest.byte(), rest.byte(), rest.byte(), rest.byte())
    else {
        return Ok(None);
    };
    if version != VERSION || command != 1 {
        return Err(MALFORMED);
    }
    let host = match kind {
        1 => rest.array::<4>().map(|address| Ok(IpAddr::from(address).into())),
        4 => rest.array::<16>().map(|address| Ok(IpAddr::from(address).into())),
        3 => rest.byte().and_then(|length| rest.take(length.into())).map(named),
        _ => return Err(SocksError(Answer::Address)),
    };
    let (Some(host), Some(port)) = (host, rest.short()) else { return Ok(None) };
    if port == 0 {
        return Err(SocksError(Answer::Address));
    }
    Ok(Some(((host?, port), bytes.len() - rest.len())))
}

fn named(name: &[u8]) -> Result<Host, SocksError> {
    let text = str::from_utf8(name).ok().and_then(|name| Host::parse(name).ok());
    text.ok_or(SocksError(Answer::Address))
}

/// The answer as it is sent. Which address of ours the connection has is nobody's business.
#[must_use]
pub fn answer(answer: Answer) -> [u8; 10] {
    [VERSION, answer as u8, 0, 1, 0, 0, 0, 0, 0, 0]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(bytes: &[u8]) -> Read<(Host, u16)> {
        request(&[&[5, 1, 0][..], bytes].concat())
    }

    #[test]
    fn a_greeting_is_answered_with_what_is_wanted() {
        assert_eq!(greeting(&[5, 2, 0, 2, 9], false), Ok(Some((Method::Nothing, 4))));
        assert_eq!(greeting(&[5, 2, 0, 2], true), Ok(Some((Method::Password, 4))));
        assert_eq!(greeting(&[5, 1, 0], true), Ok(Some((Method::Refused, 3))));
        assert_eq!(greeting(&[5, 2, 0], true), Ok(None));
        assert!(greeting(&[4, 1, 0], false).is_err());
    }

    #[test]
    fn a_login_gives_the_password() {
        assert_eq!(login(b"\x01\x01u\x03pwd"), Ok(Some((b"pwd".to_vec(), 7))));
        assert_eq!(login(b"\x01\x01u\x03pw"), Ok(None));
    }

    #[test]
    fn hosts_come_by_name_or_address() {
        let name = |host: &str, port| Ok(Some(((Host::parse(host).unwrap(), port), 0)));
        let got = |bytes: &[u8]| asked(bytes).map(|some| some.map(|(asked, _)| (asked, 0)));
        assert_eq!(got(b"\x03\x09A.Example\x01\xbb"), name("a.example", 443));
        assert_eq!(got(b"\x01\x7f\0\0\x01\0\x50"), name("127.0.0.1", 80));
        let mapped = [&[4][..], &[0; 10], &[0xff, 0xff, 10, 0, 0, 1], &[0, 80]].concat();
        assert_eq!(got(&mapped), name("10.0.0.1", 80));
    }

    #[test]
    fn what_is_not_served_has_its_answer() {
        assert_eq!(request(&[5, 3, 0, 1, 1, 1, 1, 1, 0, 53]), Err(SocksError(Answer::Command)));
        assert_eq!(asked(&[9, 0, 0]), Err(SocksError(Answer::Address)));
        assert_eq!(asked(b"\x03\x05127.1\0\x50"), Err(SocksError(Answer::Address)));
        assert_eq!(asked(b"\x03\x01a\0\0"), Err(SocksError(Answer::Address)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_and_nothing_beyond(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let within = |used: Option<usize>| used.is_none_or(|used| used <= bytes.len());
            let asked = [&[5, 1, 0][..], &bytes].concat();
            prop_assert!(within(greeting(&bytes, false).ok().flatten().map(|(_, used)| used)));
            prop_assert!(within(login(&bytes).ok().flatten().map(|(_, used)| used)));
            prop_assert!(request(&asked).ok().flatten().is_none_or(|(_, used)| used <= asked.len()));
        }
    }
}
