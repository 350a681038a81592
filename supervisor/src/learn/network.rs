//! From addresses that were used to the narrowest network. Pure.
//!
//! What is sent within the run itself needs an own loopback and nothing of the host. A name that was
//! asked for is granted instead of its addresses, which change.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use plugbay_sandbox::{
    Fix, NetworkMode, Tally,
    lesson::{Contact, Way},
};

/// The port of name servers.
const NAMES: u16 = 53;

/// A network to grant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Net {
    /// None at all.
    None,
    /// An own loopback.
    Loopback,
    /// These hosts with their ports, and an own loopback.
    Hosts(BTreeSet<(String, u16)>),
    /// TCP to, and on, these ports of the host's network.
    Ports {
        /// To connect to.
        connect: BTreeSet<u16>,
        /// To listen on.
        listen: BTreeSet<u16>,
    },
    /// The host's network; with the reason why nothing narrower does.
    Full(String),
}

/// What is known of the addresses beside what was used.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    /// The names that lead to an address now.
    pub(crate) known: BTreeMap<IpAddr, BTreeSet<String>>,
}

impl Names {
    /// The name under which an address was most probably reached.
    fn of(&self, contact: &Contact) -> String {
        let known = self.known.get(&contact.address);
        let asked = contact.after.as_ref();
        let both = asked.filter(|asked| known.is_some_and(|known| known.contains(*asked)));
        let name = both.or_else(|| known.and_then(|known| known.first())).or(asked);
        name.cloned().unwrap_or_else(|| match contact.address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        })
    }
}

/// The narrowest network for these contacts. `needs` is what a filter without network refused.
pub(crate) fn narrowest(contacts: &BTreeSet<Contact>, needs: &Tally, names: &Names) -> Net {
    let mut wanted = Wanted::default();
    let own: BTreeSet<u16> = stream(contacts, Way::Bind).map(|contact| contact.port).collect();
    for contact in contacts.iter().filter(|contact| !is_question(contact)) {
        wanted.take(contact, contacts, &own, names);
    }
    let sockets = needs.kinds().iter().any(|denial| matches!(denial.fix, Some(Fix::Network(_))));
    wanted.into_net(sockets || !contacts.is_empty())
}

fn stream(contacts: &BTreeSet<Contact>, way: Way) -> impl Iterator<Item = &Contact> {
    contacts.iter().filter(move |contact| contact.way == way && !contact.datagram)
}

/// Whether somebody is asked for a name: whoever grants names answers that.
fn is_question(contact: &Contact) -> bool {
    contact.port == NAMES && contact.way != Way::Bind
}

#[derive(Debug, Default)]
struct Wanted {
    hosts: BTreeSet<(String, u16)>,
    local: BTreeSet<u16>,
    listen: BTreeSet<u16>,
    beyond: Option<String>,
}

impl Wanted {
    fn take(
        &mut self,
        contact: &Contact,
        all: &BTreeSet<Contact>,
        own: &BTreeSet<u16>,
        names: &Names,
    ) {
        let Contact { way, address, port, datagram, .. } = *contact;
        let local = address.is_loopback();
        let listener = own.contains(&port) || own.contains(&0);
        match (way, datagram) {
            (Way::Connect, false) if local && listener => {}
            (Way::Connect, false) if local => drop(self.local.insert(port)),
            (Way::Connect, false) => drop(self.hosts.insert((names.of(contact), port))),
            (Way::Bind, false) if port == 0 || self.serves_itself(contact, all) => {}
            (Way::Bind, false) => drop(self.listen.insert(port)),
            // How the C library sorts addresses: it asks for the way to each and sends nothing.
            (Way::Connect, true)
                if port == 0 || stream(all, Way::Connect).any(|it| it.port == port) => {}
            (Way::Connect | Way::Send, true) if local => {}
            (Way::Bind, true) if local || port == 0 => {}
            (Way::Connect | Way::Send | Way::Bind, true) | (Way::Send, false) => {
                self.beyond = Some(format!("datagrams to or from {address} port {port}"));
            }
        }
    }

    /// Whether a port of the loopback is taken for nobody but the run itself.
    fn serves_itself(&self, contact: &Contact, all: &BTreeSet<Contact>) -> bool {
        let reached = |it: &Contact| it.port == contact.port && it.address.is_loopback();
        (contact.address.is_loopback() || contact.address.is_unspecified())
            && stream(all, Way::Connect).any(reached)
    }

    fn into_net(self, any: bool) -> Net {
        let Self { mut hosts, local, listen, beyond } = self;
        if let Some(why) = beyond {
            return Net::Full(why);
        }
        if hosts.is_empty() {
            return match (local.is_empty() && listen.is_empty(), any) {
                (false, _) => Net::Ports { connect: local, listen },
                (true, true) => Net::Loopback,
                (true, false) => Net::None,
            };
        }
        if !listen.is_empty() {
            return Net::Full("it connects to hosts and listens for others".to_owned());
        }
        hosts.extend(local.into_iter().map(|port| ("127.0.0.1".to_owned(), port)));
        Net::Hosts(hosts)
    }
}

impl Net {
    /// What was asked for, and this beside it.
    pub(crate) fn beside(self, granted: &plugbay_sandbox::Network) -> Self {
        let asked = match granted.mode {
            NetworkMode::None => return self,
            NetworkMode::Loopback => Self::Loopback,
            NetworkMode::Full => return Self::Full("asked for".to_owned()),
            NetworkMode::Hosts => {
                let hosts = granted.hosts.iter().map(|it| (it.host.clone(), it.port));
                Self::Hosts(hosts.collect())
            }
            NetworkMode::Ports => {
                Self::Ports { connect: granted.connect.clone(), listen: granted.listen.clone() }
            }
        };
        match (asked, self) {
            (Self::Hosts(mut one), Self::Hosts(other)) => {
                one.extend(other);
                Self::Hosts(one)
            }
            (
                Self::Ports { mut connect, mut listen },
                Self::Ports { connect: other, listen: more },
            ) => {
                connect.extend(other);
                listen.extend(more);
                Self::Ports { connect, listen }
            }
            (asked, Self::None | Self::Loopback) | (Self::Loopback, asked) => asked,
            (Self::Hosts(_), Self::Ports { .. }) | (Self::Ports { .. }, Self::Hosts(_)) => {
                Self::Full("hosts by name and ports do not go together".to_owned())
            }
            (Self::Full(why), _) | (_, Self::Full(why)) => Self::Full(why),
            (Self::None, other) => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use plugbay_sandbox::{Barrier, Denial};

    use super::*;

    fn contact(way: Way, address: &str, port: u16, datagram: bool) -> Contact {
        Contact { way, address: address.parse().unwrap(), port, datagram, after: None }
    }

    fn net(contacts: &[Contact]) -> Net {
        let names = Names {
            known: [("192.0.2.7".parse().unwrap(), ["pypi.example".to_owned()].into())].into(),
        };
        narrowest(&contacts.iter().cloned().collect(), &Tally::default(), &names)
    }

    fn tcp(address: &str, port: u16) -> Contact {
        contact(Way::Connect, address, port, false)
    }

    #[test]
    fn nothing_used_is_nothing_granted() {
        assert_eq!(net(&[]), Net::None);
        let mut needs = Tally::default();
        let fix = Some(Fix::Network(NetworkMode::Full));
        needs.add(Denial { fix, ..Denial::new(Barrier::Network, "no-network") });
        assert_eq!(narrowest(&BTreeSet::new(), &needs, &Names::default()), Net::Loopback);
    }

    #[test]
    fn a_host_is_granted_by_the_name_that_leads_there() {
        let question = contact(Way::Send, "10.0.0.53", 53, true);
        let sorting = contact(Way::Connect, "192.0.2.7", 443, true);
        let hosts = net(&[question, sorting, tcp("192.0.2.7", 443), tcp("2001:db8::1", 80)]);
        let expected = [("[2001:db8::1]".to_owned(), 80), ("pypi.example".to_owned(), 443)];
        assert_eq!(hosts, Net::Hosts(expected.into()));
    }

    #[test]
    fn the_name_that_was_asked_for_last_stands_in_for_an_unknown_address() {
        let after = Some("cdn.example".to_owned());
        let asked = Contact { after, ..tcp("198.51.100.1", 443) };
        assert_eq!(net(&[asked]), Net::Hosts([("cdn.example".to_owned(), 443)].into()));
    }

    #[test]
    fn who_talks_to_itself_needs_an_own_loopback_only() {
        let server = contact(Way::Bind, "127.0.0.1", 0, false);
        assert_eq!(net(&[server, tcp("127.0.0.1", 40123)]), Net::Loopback);
        let fixed = contact(Way::Bind, "0.0.0.0", 8080, false);
        assert_eq!(net(&[fixed, tcp("127.0.0.1", 8080)]), Net::Loopback);
    }

    #[test]
    fn a_service_of_the_host_and_a_port_for_others_are_named_by_port() {
        let ports = |connect: &[u16], listen: &[u16]| Net::Ports {
            connect: connect.iter().copied().collect(),
            listen: listen.iter().copied().collect(),
        };
        assert_eq!(net(&[tcp("127.0.0.1", 5432)]), ports(&[5432], &[]));
        let server = contact(Way::Bind, "127.0.0.1", 8080, false);
        assert_eq!(net(&[server]), ports(&[], &[8080]));
    }

    #[test]
    fn what_no_narrower_network_lets_through_takes_the_whole_with_a_reason() {
        let time = contact(Way::Send, "192.0.2.9", 123, true);
        assert!(matches!(net(&[time]), Net::Full(why) if why.contains("port 123")));
        let server = contact(Way::Bind, "0.0.0.0", 8080, false);
        assert!(matches!(net(&[server, tcp("192.0.2.7", 443)]), Net::Full(_)));
    }

    #[test]
    fn what_was_asked_for_stays() {
        let asked = plugbay_sandbox::Network {
            mode: NetworkMode::Ports,
            connect: [80].into(),
            ..plugbay_sandbox::Network::default()
        };
        let learned = net(&[tcp("127.0.0.1", 5432)]).beside(&asked);
        assert_eq!(learned, Net::Ports { connect: [80, 5432].into(), listen: [].into() });
    }
}
