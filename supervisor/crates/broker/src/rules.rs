//! Which hosts were granted, and whether one that is asked for is among them. Pure.
//!
//! Two questions, since a name is not an address: may this *name* be asked for at this port, and may
//! the *address* that it leads to now be connected to. An address that is not of the internet must be
//! granted as an address (or block); a name that leads to it is not enough.

use std::{collections::BTreeSet, fmt, net::IpAddr, str::FromStr};

use plugbay_sandbox::HostGrant;
use thiserror::Error;

use crate::{
    address::{special, within},
    host::{Host, HostError},
};

/// The hosts of one grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// `*`: every host of the internet.
    Any,
    /// Exactly this one.
    Host(Host),
    /// `*.example.org`: every name below, at any depth, and not `example.org` itself.
    Below(String),
    /// `10.0.0.0/8`: every address in the block.
    Block(IpAddr, u8),
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PatternError {
    /// The host in it.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A star anywhere but in the place of the first labels.
    #[error("a `*` stands alone, or for the first part of a name as in *.example.org")]
    Star,
    /// A block that is none.
    #[error("a block of addresses is written as 10.0.0.0/8, without bits after its length")]
    Block,
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some((base, bits)) = text.split_once('/') {
            return block(base, bits).ok_or(PatternError::Block);
        }
        let star = text.strip_prefix("*.");
        match Host::parse(star.unwrap_or(text)) {
            _ if star.unwrap_or(text).contains('*') => Err(PatternError::Star),
            Ok(Host::Name(name)) if star.is_some() => Ok(Self::Below(name)),
            Ok(Host::Address(_)) if star.is_some() => Err(PatternError::Star),
            Ok(host) => Ok(Self::Host(host)),
            Err(error) => Err(error.into()),
        }
    }
}

fn block(base: &str, bits: &str) -> Option<Pattern> {
    let Ok(Host::Address(base)) = Host::parse(base) else { return None };
    let digits = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
    let bits: u8 = bits.parse().ok().filter(|_| digits)?;
    let (width, below) = match base {
        IpAddr::V4(base) => (32_u8, u128::from(u32::from(base))),
        IpAddr::V6(base) => (128, u128::from(base)),
    };
    let own = u32::from(width - bits.min(width));
    let rest = 1_u128.checked_shl(own).map_or(u128::MAX, |first| first - 1);
    (bits <= width && below & rest == 0).then_some(Pattern::Block(base, bits))
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Host(host) => host.fmt(f),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Block(base @ IpAddr::V4(_), bits) => write!(f, "{base}/{bits}"),
            Self::Block(base @ IpAddr::V6(_), bits) => write!(f, "[{base}]/{bits}"),
        }
    }
}

/// One grant: these hosts at this port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    pattern: Pattern,
    port: u16,
}

/// All that was granted to one process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules(Vec<Rule>);

/// A grant that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{grant}` is not a host that can be granted")]
pub struct RulesError {
    grant: String,
    source: PatternError,
}

impl Rules {
    /// The rules of these grants.
    ///
    /// # Errors
    /// [`RulesError`] names the first grant that is none.
    pub fn new<'g>(grants: impl IntoIterator<Item = &'g HostGrant>) -> Result<Self, RulesError> {
        let rule = |grant: &HostGrant| match grant.host.parse() {
            Ok(pattern) => Ok(Rule { pattern, port: grant.port }),
            Err(source) => Err(RulesError { grant: grant.host.clone(), source }),
        };
        grants.into_iter().map(rule).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this host may be asked for at this port.
    #[must_use]
    pub fn allow(&self, host: &Host, port: u16) -> bool {
        self.0.iter().any(|rule| rule.port == port && rule.pattern.has(host))
    }

    /// Whether this name may be asked for at some port.
    #[must_use]
    pub fn know(&self, host: &Host) -> bool {
        self.0.iter().any(|rule| rule.pattern.has(host))
    }

    /// Whether the address that an allowed host leads to may be connected to.
    ///
    /// # Errors
    /// What is special about the address, and would have to be granted by itself.
    pub fn reach(&self, host: &Host, address: IpAddr, port: u16) -> Result<(), &'static str> {
        let Some(kind) = special(address) else { return Ok(()) };
        let target = Host::from(address);
        let loopback = is_local(host) && address.to_canonical().is_loopback();
        let listed = |rule: &&Rule| match &rule.pattern {
            Pattern::Host(Host::Name(_)) => loopback && rule.pattern.is_localhost(),
            Pattern::Host(Host::Address(_)) | Pattern::Block(..) => rule.pattern.has(&target),
            Pattern::Any | Pattern::Below(_) => false,
        };
        let mut at_port = self.0.iter().filter(|rule| rule.port == port);
        at_port.find(listed).map(drop).ok_or(kind)
    }

    /// Every port that is granted for some host.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<u16> {
        self.0.iter().map(|rule| rule.port).collect()
    }
}

impl Pattern {
    /// Whether the host is one of these.
    fn has(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Any, _) => true,
            (Self::Host(granted), _) if granted == host => true,
            (Self::Host(_), Host::Address(address)) => self.is_localhost() && address.is_loopback(),
            (Self::Below(parent), Host::Name(name)) => {
                name.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
            }
            (Self::Block(base, bits), Host::Address(address)) => within(*address, *base, *bits),
            (Self::Host(_) | Self::Block(..), Host::Name(_))
            | (Self::Below(_), Host::Address(_)) => false,
        }
    }

    /// Who grants `localhost` means the loopback of the host that we run on.
    fn is_localhost(&self) -> bool {
        matches!(self, Self::Host(Host::Name(name)) if name == "localhost")
    }
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Name(name) => name == "localhost",
        Host::Address(address) => address.is_loopback(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules(grants: &[(&str, u16)]) -> Rules {
        let grant =
            |(host, port): &(&str, u16)| HostGrant { host: (*host).to_owned(), port: *port };
        let grants: Vec<HostGrant> = grants.iter().map(grant).collect();
        Rules::new(&grants).unwrap()
    }

    fn host(text: &str) -> Host {
        Host::parse(text).unwrap()
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_is_granted_as_itself_and_nothing_that_looks_like_it() {
        let rules = rules(&[("allowed.example", 443)]);
        for same in ["allowed.example", "ALLOWED.example", "allowed.example."] {
            assert!(rules.allow(&host(same), 443), "{same}");
        }
        for other in [
            "other.example",
            "allowed.example.evil.tld",
            "evilallowed.example",
            "evil.allowed.example",
            "xn--allwed-4ve.example",
            "93.184.216.34",
        ] {
            assert!(!rules.allow(&host(other), 443), "{other}");
        }
        assert!(!rules.allow(&host("allowed.example"), 80));
    }

    #[test]
    fn a_star_stands_for_what_is_below_and_not_for_the_top() {
        let rules = rules(&[("*.example.org", 443)]);
        for below in ["a.example.org", "a.b.example.org"] {
            assert!(rules.allow(&host(below), 443), "{below}");
        }
        for other in ["example.org", "evilexample.org", "example.org.evil", "org"] {
            assert!(!rules.allow(&host(other), 443), "{other}");
        }
    }

    #[test]
    fn a_name_that_leads_inside_is_not_followed() {
        let named = rules(&[("allowed.example", 443), ("*", 80)]);
        let name = host("allowed.example");
        assert_eq!(named.reach(&name, address("93.184.216.34"), 443), Ok(()));
        for inside in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:10.0.0.1"] {
            assert!(named.reach(&name, address(inside), 443).is_err(), "{inside}");
            assert!(
                named.reach(&name, address(inside), 80).is_err(),
                "{inside}: `*` is the internet"
            );
        }
    }

    #[test]
    fn a_special_address_is_reached_when_it_is_granted_as_such() {
        let rules = rules(&[
            ("db.example", 5432),
            ("10.0.0.7", 5432),
            ("10.9.0.0/16", 80),
            ("[fd00::]/8", 80),
        ]);
        let name = host("db.example");
        assert_eq!(rules.reach(&name, address("10.0.0.7"), 5432), Ok(()));
        assert!(rules.reach(&name, address("10.0.0.8"), 5432).is_err());
        assert!(rules.reach(&name, address("10.0.0.7"), 80).is_err());
        assert!(rules.allow(&host("10.9.8.7"), 80) && rules.allow(&host("fd12::1"), 80));
        assert_eq!(rules.reach(&host("10.9.8.7"), address("10.9.8.7"), 80), Ok(()));
        assert!(!rules.allow(&host("10.10.0.1"), 80));
    }

    #[test]
    fn localhost_is_the_loopback_and_only_by_its_own_name() {
        let granted = rules(&[("localhost", 8080)]);
        for spelled in ["localhost", "127.0.0.1", "[::1]"] {
            assert!(granted.allow(&host(spelled), 8080), "{spelled}");
            assert_eq!(granted.reach(&host(spelled), address("127.0.0.1"), 8080), Ok(()));
        }
        assert!(granted.reach(&host("localhost"), address("10.0.0.1"), 8080).is_err());
        let both = rules(&[("localhost", 8080), ("rebound.example", 8080)]);
        assert!(both.reach(&host("rebound.example"), address("127.0.0.1"), 8080).is_err());
    }

    #[test]
    fn patterns_are_read_and_written() {
        for text in
            ["*", "a.example", "*.a.example", "10.0.0.7", "[::1]", "10.0.0.0/8", "[fd00::]/8"]
        {
            assert_eq!(text.parse::<Pattern>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "*.",
            "a.*",
            "*a.example",
            "*.*.example",
            "*.10.0.0.1",
            "10.0.0.1/8",
            "10.0.0.0/33",
        ] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_upsets_a_pattern_or_is_wider_than_its_end(
            text in "\\PC{0,30}|[*]?[.a-z0-9/-]{0,30}",
            asked in "[a-z0-9.-]{1,30}",
        ) {
            let (Ok(pattern), Ok(asked)) = (text.parse::<Pattern>(), Host::parse(&asked)) else {
                return Ok(());
            };
            if let (true, Pattern::Below(parent), Host::Name(name)) = (pattern.has(&asked), &pattern, &asked) {
                let end = format!(".{parent}");
                prop_assert!(name.ends_with(&end));
            }
        }
    }
}
