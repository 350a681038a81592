//! A host as somebody writes it, brought into the one form in which hosts are compared.
//!
//! Names are lower case without a final dot; addresses are addresses, whichever way they were
//! spelled. What a resolver might read as an address and we do not (`127.1`, `0x7f000001`,
//! `2130706433`) is no host at all.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use thiserror::Error;

/// The longest name that DNS has room for.
const MAX_NAME: usize = 253;
/// The longest part between two dots.
const MAX_LABEL: usize = 63;

/// A host in its one form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// A name, lower case, without a final dot.
    Name(String),
    /// An address; one of IPv4 is never dressed up as IPv6.
    Address(IpAddr),
}

/// Why a text is no host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HostError {
    /// Neither a name nor an address.
    #[error("not a host name or an address")]
    Malformed,
    /// A number that some resolvers read as an address.
    #[error("an address is written as 192.0.2.1 or [2001:db8::1]")]
    Spelling,
    /// Letters beyond ASCII.
    #[error("a name with other letters is written in its ASCII form (xn--…)")]
    NotAscii,
}

impl Host {
    /// Reads a name, an IPv4 address, or an IPv6 address with or without brackets.
    ///
    /// # Errors
    /// [`HostError`] for everything else.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if !text.is_ascii() {
            return Err(HostError::NotAscii);
        }
        if let Some(rest) = text.strip_prefix('[') {
            let inner = rest.strip_suffix(']').ok_or(HostError::Malformed)?;
            return sixth(inner);
        }
        if text.contains(':') {
            return sixth(text);
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.len() > MAX_NAME || !name.split('.').all(is_label) {
            return Err(HostError::Malformed);
        }
        if name.rsplit('.').next().is_some_and(is_number) {
            let address: Ipv4Addr = name.parse().map_err(|_odd| HostError::Spelling)?;
            return Ok(Self::Address(address.into()));
        }
        Ok(Self::Name(name))
    }

    /// Reads `HOST:PORT`, as it stands in a request.
    #[must_use]
    pub fn with_port(text: &str) -> Option<(Self, u16)> {
        let (host, port) = text.rsplit_once(':')?;
        if host.contains(':') && !host.starts_with('[') {
            return None;
        }
        Some((Self::parse(host).ok()?, port_number(port)?))
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

impl fmt::Display for Host {
    /// As it is written before a port: IPv6 in brackets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// A port above zero, in plain digits.
#[must_use]
pub fn port_number(text: &str) -> Option<u16> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

fn sixth(text: &str) -> Result<Host, HostError> {
    let address: Ipv6Addr = text.parse().map_err(|_odd| HostError::Malformed)?;
    Ok(IpAddr::from(address).into())
}

/// One part of a name. The underscore is no host's by the book, and in use.
fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Whether a resolver may take a name that ends in this for an address.
fn is_number(label: &str) -> bool {
    let hex = label.strip_prefix("0x");
    hex.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
        || label.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Result<Host, HostError> {
        Ok(Host::Name(text.to_owned()))
    }

    #[test]
    fn one_name_has_one_form() {
        for text in ["files.example.org", "FILES.Example.ORG", "files.example.org."] {
            assert_eq!(Host::parse(text), name("files.example.org"), "{text}");
        }
        assert_ne!(Host::parse("xn--fles-1oa.example.org"), name("files.example.org"));
        assert_eq!(Host::parse("a_b.example"), name("a_b.example"));
    }

    #[test]
    fn one_address_has_one_form() {
        for text in ["127.0.0.1", "127.0.0.1.", "::ffff:127.0.0.1", "[::ffff:7f00:1]"] {
            let address = Host::Address(IpAddr::from([127, 0, 0, 1]));
            assert_eq!(Host::parse(text), Ok(address), "{text}");
        }
        assert_eq!(Host::parse("[::1]"), Host::parse("0:0:0:0:0:0:0:1"));
    }

    #[test]
    fn a_number_that_may_be_an_address_is_no_host() {
        for text in
            ["2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "1.2.3.4.5", "0x", "a.1"]
        {
            assert_eq!(Host::parse(text), Err(HostError::Spelling), "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            ".",
            "..",
            "a..b",
            "-a",
            "a-",
            "a b",
            "a/b",
            "a@b",
            "a%00",
            "[::1",
            "::1]",
            "fe80::1%eth0",
        ] {
            assert_eq!(Host::parse(text), Err(HostError::Malformed), "{text}");
        }
        assert_eq!(Host::parse("fílés.example"), Err(HostError::NotAscii));
        assert!(Host::parse(&"a".repeat(64)).is_err());
        assert!(Host::parse(&"a.".repeat(200)).is_err());
    }

    #[test]
    fn a_port_belongs_to_the_last_colon() {
        let of = |text| Host::with_port(text).map(|(host, port)| (host.to_string(), port));
        assert_eq!(of("a.example:443"), Some(("a.example".to_owned(), 443)));
        assert_eq!(of("[2001:db8::1]:80"), Some(("[2001:db8::1]".to_owned(), 80)));
        for text in ["a.example", "a:0", "a:65536", "a:+1", "a:", ":1", "2001:db8::1:80"] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_and_read_alike(text in "\\PC{0,40}|[a-z0-9.:x\\[\\]-]{0,40}") {
            if let Ok(host) = Host::parse(&text) {
                prop_assert_eq!(Host::parse(&host.to_string()), Ok(host));
            }
        }
    }
}
