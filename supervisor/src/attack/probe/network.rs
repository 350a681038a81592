//! Attacks over the network and other ways of talking, catalogue numbers 46 to 55.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr as UnixAddr, UnixDatagram, UnixStream},
    },
};

use nix::errno::Errno;

use super::{
    Attack, Scene,
    call::{self, address, raw, word},
};

pub(crate) const ATTACKS: &[Attack] = &[
    ("connect", connect),
    ("connect-by-multipath", connect_by_multipath),
    ("connect-by-fast-open", connect_by_fast_open),
    ("past-the-broker", past_the_broker),
    ("by-the-broker", by_the_broker),
    ("with-no-word", with_no_word),
    ("datagrams", datagrams),
    ("listen", listen),
    ("rare-families", rare_families),
    ("netlink", netlink),
    ("raw-sockets", raw_sockets),
    ("abstract-socket", abstract_socket),
    ("pathname-socket", pathname_socket),
    ("shared-queues", shared_queues),
];

fn port(scene: &Scene) -> u16 {
    u16::try_from(scene.number("port")).unwrap()
}

fn connect(scene: &Scene) {
    let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    let addresses: [(&str, IpAddr, u16); 3] = [
        ("v4", Ipv4Addr::LOCALHOST.into(), port(scene)),
        ("v6", Ipv6Addr::LOCALHOST.into(), u16::try_from(scene.number("port6")).unwrap()),
        ("mapped", mapped.into(), port(scene)),
    ];
    for (step, host, port) in addresses {
        scene.step(step, TcpStream::connect(SocketAddr::new(host, port)));
    }
}

/// Where a proxy is, and what it wants to be told, as the environment says.
fn proxy() -> Option<(SocketAddr, Option<String>)> {
    let said = std::env::var_os("http_proxy")?.into_string().ok()?;
    let said = said.strip_prefix("http://")?;
    let (login, address) = match said.rsplit_once('@') {
        Some((login, address)) => (Some(login.to_owned()), address),
        None => (None, said),
    };
    Some((address.parse().ok()?, login))
}

/// Asks the proxy for a tunnel, with this login.
fn tunnel(proxy: SocketAddr, login: Option<&str>, target: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(proxy)?;
    let login = login.map(|login| {
        let login = data_encoding::BASE64.encode(login.as_bytes());
        format!("Proxy-Authorization: Basic {login}\r\n")
    });
    let login = login.unwrap_or_default();
    write!(stream, "CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n")?;
    let mut status = [0; 12];
    stream.read_exact(&mut status)?;
    // What a proxy refuses is refused as a kernel would.
    if status.ends_with(b" 200") { Ok(stream) } else { Err(Errno::EACCES.into()) }
}

/// The loopback of the host, by every name and number that a resolver may take for it.
const SPELLINGS: [&str; 9] = [
    "localhost",
    "127.0.0.1",
    "LOCALHOST",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "127.1",
    "[::ffff:127.0.0.1]",
    "0.0.0.0",
];

/// A service of the host that nobody granted, by way of the broker if there is one.
fn by_the_broker(scene: &Scene) {
    let broker = proxy();
    for spelled in SPELLINGS {
        let target = format!("{spelled}:{}", port(scene));
        let reached = match &broker {
            Some((address, login)) => tunnel(*address, login.as_deref(), &target).map(drop),
            None => TcpStream::connect(&target).map(drop),
        };
        scene.step(spelled, reached);
    }
}

/// The same without asking it: by the address, on a port that it serves and on its own.
fn past_the_broker(scene: &Scene) {
    let host = |port: u16| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
    scene.step("port", TcpStream::connect(host(port(scene))));
    let broker = proxy().map_or_else(|| host(port(scene)), |(address, _)| address);
    // Something may listen there; what counts is whether it is the host's service.
    let asked = TcpStream::connect(broker).and_then(|mut stream| {
        write!(stream, "GET http://127.0.0.1:{}/ HTTP/1.1\r\n\r\n", port(scene))?;
        let mut answer = [0; 12];
        match proxy() {
            Some(_) => stream.read_exact(&mut answer)?,
            None => return Ok(()),
        }
        if answer.ends_with(b" 200") { Ok(()) } else { Err(Errno::EACCES.into()) }
    });
    scene.step("plain", asked);
}

/// The broker of somebody else: it is within reach only where there is no network namespace, and then
/// wants a word that this process was not given.
fn with_no_word(scene: &Scene) {
    let target = format!("127.0.0.1:{}", port(scene));
    let Some((address, login)) = proxy() else {
        return scene.step("no-word", TcpStream::connect(&target));
    };
    if login.is_none() {
        return scene.step("not-there", TcpStream::connect(&target));
    }
    // What it would do for this process, and for nobody else.
    let target = format!("localhost:{}", scene.number("granted"));
    for (step, login) in [("no-word", None), ("another-word", Some("plugbay:0123456789abcdef"))] {
        scene.step(step, tunnel(address, login, &target));
    }
}

/// `sockaddr_in` of a port of this host.
fn local(port: u16) -> [u8; 16] {
    let mut name = [0; 16];
    name[..2].copy_from_slice(&u16::try_from(libc::AF_INET).unwrap().to_ne_bytes());
    name[2..4].copy_from_slice(&port.to_be_bytes());
    name[4..8].copy_from_slice(&[127, 0, 0, 1]);
    name
}

fn socket(family: i32, kind: i32, protocol: i32) -> Result<OwnedFd, Errno> {
    raw(libc::SYS_socket, &[word(family), word(kind), word(protocol)]).map(call::adopt)
}

fn connect_by_multipath(scene: &Scene) {
    const IPPROTO_MPTCP: i32 = 262;
    let name = local(port(scene));
    let connected = socket(libc::AF_INET, libc::SOCK_STREAM, IPPROTO_MPTCP)
        .and_then(|it| raw(libc::SYS_connect, &[word(it.as_raw_fd()), address(&name), 16]));
    scene.step("connect", connected);
}

fn connect_by_fast_open(scene: &Scene) {
    const MSG_FASTOPEN: usize = 0x2000_0000;
    const TCP_FASTOPEN_CONNECT: usize = 30;
    let name = local(port(scene));
    let data = *b"hello";
    let stream = || socket(libc::AF_INET, libc::SOCK_STREAM, 0);
    let sent = stream().and_then(|it| {
        let to = [word(it.as_raw_fd()), address(&data), 5, MSG_FASTOPEN, address(&name), 16];
        raw(libc::SYS_sendto, &to)
    });
    scene.step("sendto", sent);
    let vector = [address(&data), 5];
    let message = [address(&name), 16, address(&vector), 1, 0, 0, 0, 0];
    let sent = stream().and_then(|it| {
        raw(libc::SYS_sendmsg, &[word(it.as_raw_fd()), address(&message), MSG_FASTOPEN])
    });
    scene.step("sendmsg", sent);
    let sent = stream().and_then(|it| {
        raw(libc::SYS_sendmmsg, &[word(it.as_raw_fd()), address(&message), 1, MSG_FASTOPEN])
    });
    scene.step("sendmmsg", sent);
    let sent = stream().and_then(|it| {
        let number = word(it.as_raw_fd());
        let on = 1_i32;
        let option = [number, word(libc::IPPROTO_TCP), TCP_FASTOPEN_CONNECT, address(&on), 4];
        raw(libc::SYS_setsockopt, &option)?;
        raw(libc::SYS_connect, &[number, address(&name), 16])?;
        raw(libc::SYS_write, &[number, address(&data), 5])
    });
    scene.step("setsockopt", sent);
}

fn datagrams(scene: &Scene) {
    let to = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port(scene));
    let send = || UdpSocket::bind("0.0.0.0:0")?.send_to(b"secret", to);
    scene.step("udp", send());
    scene.step("udp-lite", socket(libc::AF_INET, libc::SOCK_DGRAM, 136));
    scene.step("ping", socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP));
}

fn listen(scene: &Scene) {
    let stream = || socket(libc::AF_INET, libc::SOCK_STREAM, 0);
    let name = local(0);
    let bound = stream().and_then(|it| {
        raw(libc::SYS_bind, &[word(it.as_raw_fd()), address(&name), 16])?;
        raw(libc::SYS_listen, &[word(it.as_raw_fd()), 1])
    });
    scene.step("bind", bound);
    let unbound = stream().and_then(|it| raw(libc::SYS_listen, &[word(it.as_raw_fd()), 1]));
    scene.step("without-bind", unbound);
}

fn rare_families(scene: &Scene) {
    let families = [
        ("packet", 17, 3),
        ("alg", 38, 5),
        ("vsock", 40, 1),
        ("bluetooth", 31, 3),
        ("xdp", 44, 3),
        ("can", 29, 3),
        ("tipc", 30, 1),
        ("rds", 21, 5),
        ("key", 15, 3),
        ("qipcrtr", 42, 2),
        ("smc", 43, 1),
    ];
    for (step, family, kind) in families {
        scene.step(step, socket(family, kind, 0));
    }
}

fn netlink(scene: &Scene) {
    for (step, protocol) in [("audit", 9), ("netfilter", 12), ("generic", 16), ("uevent", 15)] {
        scene.step(step, socket(libc::AF_NETLINK, libc::SOCK_RAW, protocol));
    }
}

/// The old name of packet sockets, still understood by the kernel.
const SOCK_PACKET: i32 = 10;

fn raw_sockets(scene: &Scene) {
    scene.step("icmp", socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP));
    scene.step("tcp6", socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_TCP));
    scene.step("packet", socket(libc::AF_INET, SOCK_PACKET, 0));
}

fn abstract_socket(scene: &Scene) {
    let name = UnixAddr::from_abstract_name(scene.text("abstract")).unwrap();
    scene.step("connect", UnixStream::connect_addr(&name));
    let name =
        UnixAddr::from_abstract_name(format!("{}-datagram", scene.text("abstract"))).unwrap();
    let sent = UnixDatagram::unbound().and_then(|it| it.send_to_addr(b"secret", &name));
    scene.step("send", sent);
}

fn pathname_socket(scene: &Scene) {
    scene.step("connect", UnixStream::connect(scene.path("socket")));
}

/// System V and POSIX queues of the user, where no namespace hides them.
fn shared_queues(scene: &Scene) {
    let key = word(scene.number("queue"));
    scene.step("msgget", raw(libc::SYS_msgget, &[key, 0]));
    scene.step("shmget", raw(libc::SYS_shmget, &[key, 1, 0]));
    scene.step("semget", raw(libc::SYS_semget, &[key, 1, 0]));
}
