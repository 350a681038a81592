//! Where connections of a process come in that somebody outside takes: listeners inside its own network
//! namespace, whose descriptors are handed out.
//!
//! A socket belongs to the namespace in which it was made, whoever holds it. So a broker outside can
//! accept what comes to a listener inside; there is no process between the two, and no route, path or
//! address by which the process could reach anything else.

use std::{
    ffi::OsString,
    io,
    net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
};
use serde::{Deserialize, Serialize};

use crate::{
    plan::{Plan, Rung},
    spec::{Level, Network, NetworkMode, Spec},
};

/// The proxy's port, which proxies have had for thirty years.
pub const PROXY_PORT: u16 = 3128;
/// Questions for names.
const NAME_PORT: u16 = 53;
/// Granted ports that have an inlet of their own; clients that know proxies reach every one.
pub(crate) const MOST_DIRECT: usize = 16;

/// The address and block that the loopback interface gets besides its own. Names stand for addresses
/// of it; it is meant for benchmarks, so no host has one. Programs that ask whether there is a network
/// at all (`AI_ADDRCONFIG`) look for an address that is not the loopback's.
const OWN_ADDRESS: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 18, 0, 1), 15);

/// What comes in by an inlet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InletKind {
    /// Clients of a proxy.
    Proxy,
    /// Whoever connects to this port of any address.
    Direct(u16),
    /// Questions for names, by datagrams.
    Questions,
    /// Questions for names, by streams.
    QuestionStreams,
}

/// One of them.
#[derive(Debug)]
pub struct Inlet {
    /// What comes in.
    pub kind: InletKind,
    /// The listener; a datagram socket for [`InletKind::Questions`].
    pub socket: OwnedFd,
}

/// The way out of a process that may reach named hosts, for whoever is to be its broker. Dropped,
/// there is none.
#[derive(Debug, Default)]
pub struct Way {
    /// Where its connections come in.
    pub inlets: Vec<Inlet>,
    /// What a client has to say to be served. Only where the inlets are within reach of others, for
    /// want of a network namespace.
    pub token: Option<String>,
}

/// The inlets of a process in a namespace of its own. Pure.
pub(crate) fn kinds(network: &Network) -> Vec<InletKind> {
    let mut kinds = vec![InletKind::Proxy, InletKind::Questions, InletKind::QuestionStreams];
    kinds.extend(direct(network).take(MOST_DIRECT).map(InletKind::Direct));
    kinds
}

/// The granted ports that have no inlet of their own, for there are too many.
pub(crate) fn beyond(network: &Network) -> usize {
    direct(network).count().saturating_sub(MOST_DIRECT)
}

fn direct(network: &Network) -> impl Iterator<Item = u16> {
    let ports: std::collections::BTreeSet<u16> =
        network.hosts.iter().map(|grant| grant.port).collect();
    ports.into_iter().filter(|port| ![PROXY_PORT, NAME_PORT].contains(port))
}

/// Opens the inlets in the namespace that this process is in, whose loopback is up: every address
/// leads to it afterwards.
pub(crate) fn open(kinds: &[InletKind]) -> Result<Vec<Inlet>, Errno> {
    lead_here()?;
    kinds
        .iter()
        .map(|kind| match kind {
            InletKind::Proxy => listen(*kind, Ipv4Addr::LOCALHOST, PROXY_PORT),
            InletKind::Direct(port) => listen_everywhere(*kind, *port),
            InletKind::QuestionStreams => listen_everywhere(*kind, NAME_PORT),
            InletKind::Questions => {
                let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, NAME_PORT));
                Ok(Inlet { kind: *kind, socket: socket.map_err(|error| errno(&error))?.into() })
            }
        })
        .collect()
}

fn listen(kind: InletKind, address: Ipv4Addr, port: u16) -> Result<Inlet, Errno> {
    let listener = TcpListener::bind((address, port)).map_err(|error| errno(&error))?;
    Ok(Inlet { kind, socket: listener.into() })
}

/// On IPv6 and with it on IPv4; on IPv4 alone where that is all there is.
fn listen_everywhere(kind: InletKind, port: u16) -> Result<Inlet, Errno> {
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)) {
        Ok(listener) => Ok(Inlet { kind, socket: listener.into() }),
        Err(_no_sixth) => listen(kind, Ipv4Addr::UNSPECIFIED, port),
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// The way of a process without a network of its own, and its port, which Landlock then leaves it.
pub(crate) fn instead(spec: &Spec, plan: &mut Plan) -> Result<Option<(Way, u16)>, Errno> {
    let hosts = spec.network.mode == NetworkMode::Hosts && spec.level != Level::None;
    if !hosts || plan.rung != Rung::Bare {
        return Ok(None);
    }
    let (way, port) = shared()?;
    if let Some((connect, _)) = plan.landlock.as_mut().and_then(|landlock| landlock.tcp.as_mut()) {
        connect.push(port);
    }
    Ok(Some((way, port)))
}

/// One inlet on the host's loopback, and a word that tells this process from others that come there.
/// With the port.
fn shared() -> Result<(Way, u16), Errno> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|error| errno(&error))?;
    let port = listener.local_addr().map_err(|error| errno(&error))?.port();
    let mut bytes = [0_u8; 16];
    let mut random = std::fs::File::open("/dev/urandom").map_err(|error| errno(&error))?;
    io::Read::read_exact(&mut random, &mut bytes).map_err(|error| errno(&error))?;
    let token = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let inlets = vec![Inlet { kind: InletKind::Proxy, socket: listener.into() }];
    Ok((Way { inlets, token: Some(token) }, port))
}

/// The variables by which clients find a proxy, in both of the spellings in use. One that is set
/// already stays: somebody chose it. The process's own loopback is not asked of the broker.
pub(crate) fn add_variables(env: &mut Vec<(OsString, OsString)>, port: u16, token: Option<&str>) {
    let login = token.map(|token| format!("plugbay:{token}@")).unwrap_or_default();
    let proxy = format!("http://{login}127.0.0.1:{port}");
    let here = "localhost,127.0.0.1,::1,[::1]";
    for (name, value) in [
        ("HTTP_PROXY", proxy.as_str()),
        ("HTTPS_PROXY", &proxy),
        ("ALL_PROXY", &proxy),
        ("NO_PROXY", here),
    ] {
        for name in [name.to_owned(), name.to_ascii_lowercase()] {
            if !env.iter().any(|(known, _)| known == name.as_str()) {
                env.push((name.into(), value.into()));
            }
        }
    }
}

const LOOPBACK: u32 = 1;

/// Makes every address lead to this namespace's own loopback, so that whoever ignores the proxy
/// arrives at an inlet as well, and is judged, instead of hearing that there is no network.
fn lead_here() -> Result<(), Errno> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let kind = SockType::Raw;
    let routes = socket(AddressFamily::Netlink, kind, flags, SockProtocol::NetlinkRoute)?;
    let octets = OWN_ADDRESS.0.octets();
    ask(&routes, &address_message(octets, OWN_ADDRESS.1))?;
    ask(&routes, &route_message(libc::AF_INET))?;
    match ask(&routes, &route_message(libc::AF_INET6)) {
        // IPv6 is switched off here: there is nothing to lead.
        Err(_no_sixth) => Ok(()),
        done => done,
    }
}

/// Sends one request to the kernel and waits for its word.
fn ask(routes: &OwnedFd, message: &[u8]) -> Result<(), Errno> {
    send(routes.as_fd().as_raw_fd(), message, MsgFlags::empty())?;
    let mut answer = [0_u8; 1024];
    let length = recv(routes.as_fd().as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // After the header comes the error, 0 for none.
    let code = answer.get(..length).and_then(|answer| answer.get(16..20)).ok_or(Errno::EBADMSG)?;
    match code.try_into().map_or(-libc::EBADMSG, i32::from_ne_bytes) {
        0 => Ok(()),
        error => Err(Errno::from_raw(error.saturating_neg())),
    }
}

/// `ip address add ADDRESS/BITS dev lo`.
fn address_message(address: [u8; 4], bits: u8) -> Vec<u8> {
    const IFA_ADDRESS: u16 = 1;
    const IFA_LOCAL: u16 = 2;
    let mut body = vec![family(libc::AF_INET), bits, 0, 0];
    body.extend(LOOPBACK.to_ne_bytes());
    body.extend(attribute(IFA_LOCAL, address));
    body.extend(attribute(IFA_ADDRESS, address));
    netlink(libc::RTM_NEWADDR, &body)
}

/// `ip route add local default dev lo`.
fn route_message(of: i32) -> Vec<u8> {
    const RTA_OIF: u16 = 4;
    // Family, no destination, no source, no service, table, protocol, scope, type, no flags.
    let mut body = vec![family(of), 0, 0, 0, libc::RT_TABLE_LOCAL, 4, 254, libc::RTN_LOCAL];
    body.extend([0; 4]);
    body.extend(attribute(RTA_OIF, LOOPBACK.to_ne_bytes()));
    netlink(libc::RTM_NEWROUTE, &body)
}

fn family(family: i32) -> u8 {
    u8::try_from(family).unwrap_or(0)
}

fn attribute(kind: u16, value: [u8; 4]) -> Vec<u8> {
    [&8_u16.to_ne_bytes()[..], &kind.to_ne_bytes(), &value].concat()
}

fn netlink(kind: u16, body: &[u8]) -> Vec<u8> {
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
    let flags = u16::try_from(flags).unwrap_or(0);
    let length = u32::try_from(16 + body.len()).unwrap_or(0);
    let mut message = Vec::with_capacity(16 + body.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::HostGrant;

    fn network(ports: impl IntoIterator<Item = u16>) -> Network {
        let grant = |port| HostGrant { host: "a.example".to_owned(), port };
        Network { hosts: ports.into_iter().map(grant).collect(), ..Network::default() }
    }

    #[test]
    fn each_granted_port_has_an_inlet_up_to_a_bound() {
        let few = kinds(&network([443, 80, 53, 3128]));
        let (common, direct) = few.split_at(3);
        assert_eq!(common, [InletKind::Proxy, InletKind::Questions, InletKind::QuestionStreams]);
        assert_eq!(direct, [InletKind::Direct(80), InletKind::Direct(443)]);
        let many = network(1000..1040);
        assert_eq!((kinds(&many).len(), beyond(&many)), (3 + MOST_DIRECT, 24));
    }

    #[test]
    fn clients_find_the_proxy_in_both_spellings_unless_somebody_chose_another() {
        let mut env = vec![("https_proxy".into(), "http://mine:1".into())];
        add_variables(&mut env, 3128, None);
        let value = |name: &str| {
            let found = env.iter().find(|(known, _)| known == name).unwrap();
            found.1.to_str().unwrap().to_owned()
        };
        assert_eq!(value("https_proxy"), "http://mine:1");
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"] {
            assert_eq!(value(name), "http://127.0.0.1:3128", "{name}");
        }
        let mut env = Vec::new();
        add_variables(&mut env, 40_000, Some("word"));
        assert_eq!(env[0].1, "http://plugbay:word@127.0.0.1:40000");
    }
}
