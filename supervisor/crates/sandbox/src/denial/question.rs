//! The name that a query to a name server asks for. Pure; the bytes are a stranger's.

/// The longest name, in text.
const LONGEST: usize = 253;
/// What stands before the first name.
const HEADER: usize = 12;

/// The name in a DNS query of one question; `None` for whatever else the bytes may be.
pub(super) fn name(bytes: &[u8]) -> Option<String> {
    let (header, mut rest) = bytes.split_at_checked(HEADER)?;
    let flags = header.get(2).copied()?;
    // A question and no answer, of the ordinary kind, one name, no answers inside.
    let is_query = flags & 0b1111_1000 == 0 && header.get(4..8)? == [0, 1, 0, 0];
    if !is_query {
        return None;
    }
    let mut name = String::new();
    loop {
        let (length, after) = rest.split_first()?;
        let (label, after) = after.split_at_checked(usize::from(*length))?;
        rest = after;
        if label.is_empty() {
            break;
        }
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
        if *length > 63 || !label.iter().all(plain) || name.len() + label.len() > LONGEST {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
    }
    // An address is asked for (A, AAAA, SVCB, HTTPS), of the internet.
    let kind = rest.get(..4)?;
    let wanted = [1_u16, 28, 64, 65].map(u16::to_be_bytes);
    let is_address =
        wanted.iter().any(|wanted| kind.starts_with(wanted)) && kind.ends_with(&[0, 1]);
    (is_address && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(name: &str, kind: u8) -> Vec<u8> {
        let mut bytes = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label.bytes());
        }
        bytes.extend([0, 0, kind, 0, 1]);
        bytes
    }

    #[test]
    fn a_query_names_its_host() {
        assert_eq!(name(&query("Index.Crates.IO", 1)).as_deref(), Some("index.crates.io"));
        assert_eq!(name(&query("example.org", 28)).as_deref(), Some("example.org"));
    }

    #[test]
    fn what_is_no_query_for_an_address_names_nothing() {
        assert_eq!(name(&query("4.3.2.1.in-addr.arpa", 12)), None);
        assert_eq!(name(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"), None);
        let mut answer = query("example.org", 1);
        answer[2] |= 0x80;
        assert_eq!(name(&answer), None);
        let whole = query("example.org", 1);
        for length in 0..whole.len() {
            assert_eq!(name(&whole[..length]), None, "{length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_name_a_plain_host_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let Some(name) = name(&bytes) {
                prop_assert!(name.len() <= LONGEST);
                prop_assert!(name.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it)));
            }
        }
    }
}
