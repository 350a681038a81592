//! What the broker refuses, and how that is told: to the client in its own protocol, to the user as a
//! denial with what would have allowed it.

use std::net::IpAddr;

use plugbay_sandbox::{Barrier, Denial, Fix};

use crate::{hello::Hello, host::Host, names::Question, socks};

/// Why a connection was not made, or was ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The host was not granted at this port.
    Host(Host, u16),
    /// It was, and leads to an address that is none of the internet's.
    Address(Host, u16, IpAddr, &'static str),
    /// TLS for another host than the tunnel was made for.
    ServerName(Host, u16, Mismatch),
    /// Without the word that only this process was given.
    Token,
    /// The name leads nowhere. No matter of grants.
    Unknown(Host),
    /// Nobody answers there. No matter of grants.
    Unreachable(Host, u16),
}

/// How TLS does not fit its tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// It names another host.
    Other(String),
    /// It names none.
    Nothing,
    /// It hides the name.
    Hidden,
    /// It cannot be read.
    Broken,
}

impl Mismatch {
    /// Whether a first message fits a tunnel to this host. An address has no name to be compared.
    pub(crate) fn of(hello: &Hello, host: &Host) -> Option<Self> {
        match (&hello.server_name, host) {
            _ if hello.encrypted => Some(Self::Hidden),
            (None, Host::Address(_)) => None,
            (None, Host::Name(_)) => Some(Self::Nothing),
            (Some(name), _) => {
                let same = Host::parse(name).is_ok_and(|named| named == *host);
                (!same).then(|| Self::Other(name.clone()))
            }
        }
    }

    fn words(&self) -> String {
        match self {
            Self::Other(name) => {
                let name: String = name.chars().take(100).flat_map(char::escape_debug).collect();
                format!("TLS asks for {name}")
            }
            Self::Nothing => "TLS without a server name".to_owned(),
            Self::Hidden => "TLS with an encrypted server name".to_owned(),
            Self::Broken => "malformed TLS".to_owned(),
        }
    }
}

impl Refusal {
    /// The denial, where it is one; `how` is the door by which it was asked.
    pub(crate) fn denial(&self, how: &str) -> Option<Denial> {
        let of = |rule: &str, host: &Host, port: u16| Denial {
            host: Some(bare(host)),
            port: Some(port),
            ..Denial::new(Barrier::Network, rule)
        };
        match self {
            Self::Host(host, port) => Some(Denial {
                detail: Some(how.to_owned()),
                fix: Some(Fix::Host { host: host.to_string(), port: *port }),
                ..of("hosts", host, *port)
            }),
            Self::Address(host, port, address, kind) => Some(Denial {
                detail: Some(format!("it leads to {address}, which is {kind}")),
                fix: Some(Fix::Host { host: Host::from(*address).to_string(), port: *port }),
                ..of("special-addresses", host, *port)
            }),
            Self::ServerName(host, port, mismatch) => {
                Some(Denial { detail: Some(mismatch.words()), ..of("server-name", host, *port) })
            }
            Self::Token => Some(Denial::new(Barrier::Network, "broker-token")),
            Self::Unknown(_) | Self::Unreachable(..) => None,
        }
    }

    /// The same for a client of HTTP: status and text.
    pub(crate) fn status(&self) -> (&'static str, String) {
        match self {
            Self::Host(host, port) => ("403 Forbidden", format!("{host}:{port} was not granted")),
            Self::Address(host, _, address, kind) => {
                ("403 Forbidden", format!("{host} leads to {address}, which is {kind}"))
            }
            Self::ServerName(.., mismatch) => ("403 Forbidden", mismatch.words()),
            Self::Token => {
                let text = "this broker serves another process".to_owned();
                ("407 Proxy Authentication Required", text)
            }
            Self::Unknown(host) => ("502 Bad Gateway", format!("{host} was not found")),
            Self::Unreachable(host, port) => {
                ("502 Bad Gateway", format!("{host}:{port} does not answer"))
            }
        }
    }

    /// The same for a client of SOCKS5.
    pub(crate) fn socks(&self) -> socks::Answer {
        match self {
            Self::Host(..) | Self::Address(..) | Self::ServerName(..) | Self::Token => {
                socks::Answer::Forbidden
            }
            Self::Unknown(_) => socks::Answer::Unreachable,
            Self::Unreachable(..) => socks::Answer::Refused,
        }
    }
}

/// A name that the name service did not give. Which port was meant it is never told, so the fix is for
/// the one that most names are asked for.
pub(crate) fn unnamed(question: &Question) -> Denial {
    let host = Host::parse(&question.name).ok().filter(|_| question.address);
    let what = if question.address { "name service" } else { "name service, not for an address" };
    Denial {
        host: Some(question.name.chars().take(255).collect()),
        detail: Some(what.to_owned()),
        fix: host.map(|host| Fix::Host { host: host.to_string(), port: USUAL_PORT }),
        ..Denial::new(Barrier::Network, "hosts")
    }
}

const USUAL_PORT: u16 = 443;

/// A host as a denial has it: without brackets.
fn bare(host: &Host) -> String {
    match host {
        Host::Name(name) => name.clone(),
        Host::Address(address) => address.to_string(),
    }
}

/// Compares without telling by the time it takes where the difference is.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    let differing = one.iter().zip(other).fold(0, |sum, (one, other)| sum | (one ^ other));
    one.len() == other.len() && differing == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    fn hello(name: Option<&str>) -> Hello {
        Hello { server_name: name.map(str::to_owned), encrypted: false }
    }

    #[test]
    fn tls_must_be_for_the_host_of_its_tunnel() {
        let host = name("a.example");
        assert_eq!(Mismatch::of(&hello(Some("A.example")), &host), None);
        assert_eq!(Mismatch::of(&hello(None), &host), Some(Mismatch::Nothing));
        let other = Mismatch::Other("b.example".to_owned());
        assert_eq!(Mismatch::of(&hello(Some("b.example")), &host), Some(other));
        let hidden = Hello { encrypted: true, ..hello(Some("a.example")) };
        assert_eq!(Mismatch::of(&hidden, &host), Some(Mismatch::Hidden));
        assert_eq!(Mismatch::of(&hello(None), &name("10.0.0.1")), None);
    }

    #[test]
    fn a_host_is_refused_with_the_grant_that_would_allow_it() {
        let refused = Refusal::Host(name("a.example"), 443).denial("CONNECT").unwrap();
        let fix = Fix::Host { host: "a.example".to_owned(), port: 443 };
        assert_eq!((refused.rule.as_str(), refused.fix), ("hosts", Some(fix)));
        let inside = Refusal::Address(name("a.example"), 80, [10, 0, 0, 1].into(), "private");
        let fix = Fix::Host { host: "10.0.0.1".to_owned(), port: 80 };
        assert_eq!(inside.denial("").unwrap().fix, Some(fix));
        assert_eq!(Refusal::Unknown(name("a.example")).denial(""), None);
    }

    #[test]
    fn words_are_the_same_only_when_they_are() {
        assert!(same(b"abc", b"abc"));
        for other in [&b"abd"[..], b"ab", b"abcd", b""] {
            assert!(!same(b"abc", other));
        }
    }
}
