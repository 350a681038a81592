//! The name service inside: it knows the granted names, gives each an address that stands for it, and
//! asks nobody.
//!
//! A client that takes no proxy connects to such an address, arrives at the broker, and the broker
//! knows from the address which name was meant. What the name really leads to is found out at that
//! moment, outside. So no question leaves the sandbox, whatever is written into it.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
};

use crate::{bytes::Bytes, host::Host, rules::Rules};

/// Where the addresses lie that stand for names: a block meant for benchmarks, which no host has.
pub const STAND_INS: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 18, 0, 0), 15);

/// The most names that have one at a time.
const MOST_NAMES: usize = 4096;
/// The first is the loopback interface's own, so that it looks like one with a network.
const FIRST: u32 = 2;

/// How long an answer may be kept, in seconds.
const KEPT: u32 = 60;

const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const CLASS_INTERNET: u16 = 1;
/// Kinds that every resolver asks for beside the address, and gets an empty answer to: AAAA, SVCB, HTTPS.
const QUIET: [u16; 3] = [28, 64, 65];

/// The names that were asked for, and the addresses that stand for them.
#[derive(Debug, Default)]
pub struct Names {
    by_name: HashMap<String, Ipv4Addr>,
    by_address: HashMap<Ipv4Addr, String>,
}

impl Names {
    /// The name that an address stands for.
    #[must_use]
    pub fn meant_by(&self, address: IpAddr) -> Option<Host> {
        let IpAddr::V4(address) = address.to_canonical() else { return None };
        self.by_address.get(&address).map(|name| Host::Name(name.clone()))
    }

    /// The address that stands for a name; `None` when there are too many names.
    fn stand_in(&mut self, name: &str) -> Option<Ipv4Addr> {
        if let Some(known) = self.by_name.get(name) {
            return Some(*known);
        }
        let place = u32::try_from(self.by_name.len()).ok()?;
        if self.by_name.len() >= MOST_NAMES {
            return None;
        }
        let address = Ipv4Addr::from(u32::from(STAND_INS.0) + FIRST + place);
        self.by_name.insert(name.to_owned(), address);
        self.by_address.insert(address, name.to_owned());
        Some(address)
    }
}

/// An answer, and what was refused in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The message to send back.
    pub bytes: Vec<u8>,
    /// The name, if it is not granted or was asked for something else than its address.
    pub refused: Option<Question>,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The name.
    pub name: String,
    /// Whether it was asked for its address.
    pub address: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Code {
    Fine = 0,
    Malformed = 1,
    Failure = 2,
    NoSuchName = 3,
    NotDone = 4,
    Refused = 5,
}

/// Answers one question. `None` when it deserves no answer at all.
#[must_use]
pub fn answer(query: &[u8], rules: &Rules, names: &mut Names) -> Option<Answer> {
    let mut rest = Bytes::new(query);
    let id = rest.array::<2>()?;
    let flags = rest.short()?;
    let counts = [rest.short()?, rest.short()?, rest.short()?, rest.short()?];
    if flags & 0x8000 != 0 {
        // An answer. Two services that answer each other never end.
        return None;
    }
    let recursion = flags & 0x0100;
    let plain = |code| Answer { bytes: message(id, recursion, code, &[], None), refused: None };
    if flags & 0x7800 != 0 {
        return Some(plain(Code::NotDone));
    }
    let question = (counts[0] == 1).then(|| question(&mut rest)).flatten();
    let Some((name, kind, class)) = question else { return Some(plain(Code::Malformed)) };
    let asked = query.get(HEADER..query.len() - rest.len())?;
    let (code, address) = judge(&name, kind, class, rules, names);
    // Of one look-up that asks for several kinds, one is told.
    let told = matches!(code, Code::NoSuchName | Code::Refused) && !QUIET.contains(&kind);
    let refused = told.then_some(Question { name, address: kind == TYPE_A });
    Some(Answer { bytes: message(id, recursion, code, asked, address), refused })
}

fn judge(
    name: &str,
    kind: u16,
    class: u16,
    rules: &Rules,
    names: &mut Names,
) -> (Code, Option<Ipv4Addr>) {
    let granted = match Host::parse(name) {
        Ok(host @ Host::Name(_)) if rules.know(&host) => host.to_string(),
        Ok(_) | Err(_) => return (Code::NoSuchName, None),
    };
    match kind {
        _ if class != CLASS_INTERNET => (Code::Refused, None),
        TYPE_A => match names.stand_in(&granted) {
            Some(address) => (Code::Fine, Some(address)),
            None => (Code::Failure, None),
        },
        _ if QUIET.contains(&kind) => (Code::Fine, None),
        _ => (Code::Refused, None),
    }
}

/// The one question: name, kind, class. `None` when it is malformed; a question has no pointers.
fn question(rest: &mut Bytes<'_>) -> Option<(String, u16, u16)> {
    let mut name = String::new();
    loop {
        let length = rest.byte()?;
        if length == 0 {
            break;
        }
        if length > 63 || name.len() > 253 {
            return None;
        }
        let label = rest.take(length.into())?;
        if !name.is_empty() {
            name.push('.');
        }
        // What is no letter of a name makes it another name, which nobody was granted.
        name.extend(label.iter().map(|byte| {
            if byte.is_ascii_graphic() && *byte != b'.' { char::from(*byte) } else { '?' }
        }));
    }
    Some((name, rest.short()?, rest.short()?))
}

fn message(
    id: [u8; 2],
    recursion: u16,
    code: Code,
    question: &[u8],
    address: Option<Ipv4Addr>,
) -> Vec<u8> {
    // An answer, authoritative, recursion as it was desired and available.
    let flags = 0x8400 | recursion | 0x0080 | code as u16;
    let mut bytes = Vec::with_capacity(HEADER + question.len() + 16);
    bytes.extend(id);
    let counts = [flags, u16::from(!question.is_empty()), u16::from(address.is_some()), 0, 0];
    counts.iter().for_each(|count| bytes.extend(count.to_be_bytes()));
    bytes.extend(question);
    if let Some(address) = address {
        // The name is the one at the beginning of the question.
        bytes.extend([0xc0, 12, 0, 1, 0, 1]);
        bytes.extend(KEPT.to_be_bytes());
        bytes.extend([0, 4]);
        bytes.extend(address.octets());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use plugbay_sandbox::HostGrant;
    use proptest::prelude::*;

    use super::*;

    fn rules() -> Rules {
        let grant = |host: &str| HostGrant { host: host.to_owned(), port: 443 };
        Rules::new(&[grant("a.example"), grant("*.b.example")]).unwrap()
    }

    fn query(name: &str, kind: u16) -> Vec<u8> {
        let mut bytes = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label.bytes());
        }
        bytes.push(0);
        bytes.extend(kind.to_be_bytes());
        bytes.extend([0, 1]);
        bytes
    }

    fn code(answer: &Answer) -> u8 {
        answer.bytes[3] & 0xf
    }

    #[test]
    fn a_granted_name_gets_an_address_that_stands_for_it() {
        let (rules, mut names) = (rules(), Names::default());
        let mut address = |name: &str| {
            let answer = answer(&query(name, TYPE_A), &rules, &mut names).unwrap();
            assert_eq!((code(&answer), answer.bytes[7]), (0, 1), "{name}");
            let last: [u8; 4] = *answer.bytes.last_chunk().unwrap();
            Ipv4Addr::from(last)
        };
        let (first, other) = (address("a.example"), address("x.b.example"));
        assert_eq!(address("A.EXAMPLE"), first);
        assert_eq!((first, other), ([198, 18, 0, 2].into(), [198, 18, 0, 3].into()));
        assert_eq!(names.meant_by(other.into()), Host::parse("x.b.example").ok());
        assert_eq!(names.meant_by([198, 18, 0, 9].into()), None);
    }

    #[test]
    fn another_name_does_not_exist_and_is_told() {
        let answer = answer(&query("secret.evil.tld", TYPE_A), &rules(), &mut Names::default());
        let answer = answer.unwrap();
        assert_eq!(code(&answer), 3);
        let refused = Question { name: "secret.evil.tld".to_owned(), address: true };
        assert_eq!(answer.refused, Some(refused));
    }

    #[test]
    fn a_text_record_is_refused_and_an_address_of_the_other_kind_is_empty() {
        let (rules, mut names) = (rules(), Names::default());
        let mut asked = |kind| answer(&query("a.example", kind), &rules, &mut names).unwrap();
        let text = asked(16);
        assert_eq!((code(&text), text.refused.is_some()), (5, true));
        for kind in QUIET {
            let empty = asked(kind);
            assert_eq!((code(&empty), empty.bytes[7], empty.refused), (0, 0, None));
        }
    }

    #[test]
    fn what_is_no_question_is_answered_as_such_or_not_at_all() {
        let (rules, mut names) = (rules(), Names::default());
        let mut asked = |bytes: &[u8]| answer(bytes, &rules, &mut names);
        let mut two = query("a.example", TYPE_A);
        two[5] = 2;
        assert_eq!(code(&asked(&two).unwrap()), 1);
        let mut pointer = query("a.example", TYPE_A);
        pointer[12] = 0xc0;
        assert_eq!(code(&asked(&pointer).unwrap()), 1);
        let mut reply = query("a.example", TYPE_A);
        reply[2] |= 0x80;
        assert_eq!(asked(&reply), None);
        assert_eq!(asked(b"short"), None);
    }

    #[test]
    fn names_without_end_take_bounded_memory() {
        let (rules, mut names) = (rules(), Names::default());
        let mut last = 0;
        for number in 0..MOST_NAMES + 10 {
            let query = query(&format!("n{number}.b.example"), TYPE_A);
            last = code(&answer(&query, &rules, &mut names).unwrap());
        }
        assert_eq!((names.by_name.len(), last), (MOST_NAMES, 2));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_within_bounds(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut names = Names::default();
            if let Some(answer) = answer(&bytes, &rules(), &mut names) {
                prop_assert!(answer.bytes.len() <= bytes.len() + 16);
            }
        }

        #[test]
        fn only_a_granted_name_is_given_an_address(name in "[a-zA-Z0-9]{1,9}(\\.[a-z]{1,9}){0,3}") {
            let mut names = Names::default();
            let rules = rules();
            let answer = answer(&query(&name, TYPE_A), &rules, &mut names).unwrap();
            let granted = Host::parse(&name).is_ok_and(|host| rules.know(&host));
            prop_assert_eq!(answer.bytes[7] == 1, granted);
        }
    }
}
