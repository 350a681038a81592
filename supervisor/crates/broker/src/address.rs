//! Which addresses are not the internet: the host itself, its networks, its cloud's metadata, and
//! whatever wraps one of these. A name that leads to one of them is not followed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Blocks of IPv4 that are not globally reachable, and what they are (IANA's special-purpose registry).
const FOURTH: [([u8; 4], u8, &str); 16] = [
    ([0, 0, 0, 0], 8, "of this host"),
    ([10, 0, 0, 0], 8, "private"),
    ([100, 64, 0, 0], 10, "of a provider's own network"),
    ([127, 0, 0, 0], 8, "loopback"),
    ([169, 254, 0, 0], 16, "link-local (metadata services are there)"),
    ([172, 16, 0, 0], 12, "private"),
    ([192, 0, 0, 0], 24, "reserved"),
    ([192, 0, 2, 0], 24, "for documentation"),
    ([192, 88, 99, 0], 24, "a relay"),
    ([192, 168, 0, 0], 16, "private"),
    ([198, 18, 0, 0], 15, "for benchmarks"),
    ([198, 51, 100, 0], 24, "for documentation"),
    ([203, 0, 113, 0], 24, "for documentation"),
    // Azure answers its guests' platform questions here, though it is registered as public.
    ([168, 63, 129, 16], 32, "a cloud's metadata service"),
    ([224, 0, 0, 0], 4, "multicast"),
    ([240, 0, 0, 0], 4, "reserved"),
];

/// The part of IPv6 that is given out to the internet.
const GLOBAL: (u16, u8) = (0x2000, 3);

/// Blocks within [`GLOBAL`] that are not globally reachable, or hold an address of IPv4 that may be
/// anything.
const SIXTH: [([u16; 2], u8, &str); 4] = [
    ([0x2001, 0], 23, "reserved, or a tunnel to another address"),
    ([0x2001, 0xdb8], 32, "for documentation"),
    ([0x2002, 0], 16, "a tunnel to another address"),
    ([0x3fff, 0], 20, "for documentation"),
];

/// What is special about an address; `None` for those of the internet.
#[must_use]
pub fn special(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => fourth(address),
        IpAddr::V6(address) => sixth(address),
    }
}

fn fourth(address: Ipv4Addr) -> Option<&'static str> {
    let found = FOURTH
        .iter()
        .find(|(block, bits, _)| within(address.into(), Ipv4Addr::from(*block).into(), *bits));
    found.map(|(.., what)| *what)
}

fn sixth(address: Ipv6Addr) -> Option<&'static str> {
    let block = |first, second| Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0).into();
    if !within(address.into(), block(GLOBAL.0, 0), GLOBAL.1) {
        return Some(match address.segments() {
            [0, 0, 0, 0, 0, 0, 0, 1] => "loopback",
            [0xfe80..=0xfebf, ..] => "link-local",
            [0xfc00..=0xfdff, ..] => "private",
            [0xff00..=0xffff, ..] => "multicast",
            [0x64, 0xff9b, ..] => "a translated address",
            _ => "reserved",
        });
    }
    let found = SIXTH
        .iter()
        .find(|([first, second], bits, _)| within(address.into(), block(*first, *second), *bits));
    found.map(|(.., what)| *what)
}

/// Whether an address lies in the block of this many leading bits.
#[must_use]
pub fn within(address: IpAddr, block: IpAddr, bits: u8) -> bool {
    let shared = |differing: u32| differing >= u32::from(bits);
    match (address, block) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            shared((u32::from(one) ^ u32::from(other)).leading_zeros())
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            shared((u128::from(one) ^ u128::from(other)).leading_zeros())
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_special(text: &str) -> bool {
        special(text.parse().unwrap()).is_some()
    }

    #[test]
    fn the_host_its_networks_and_metadata_are_special_in_every_dress() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "168.63.129.16",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.19.255.255",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(is_special(text), "{text}");
        }
    }

    #[test]
    fn the_internet_is_not_special() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.0",
            "93.184.216.34",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "2606:4700::1111",
            "2001:4860:4860::8888",
            "2a00::1",
        ] {
            assert!(!is_special(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_mapped_address_is_judged_as_itself(bits: u32) {
            let plain = Ipv4Addr::from(bits);
            prop_assert_eq!(special(plain.into()), special(plain.to_ipv6_mapped().into()));
        }

        #[test]
        fn an_address_lies_in_every_block_around_it(bits: u128, length in 0_u8..=128) {
            let address = Ipv6Addr::from(bits);
            let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            prop_assert!(within(address.into(), Ipv6Addr::from(bits & mask).into(), length));
        }
    }
}
