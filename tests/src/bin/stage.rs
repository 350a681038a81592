//! A small internet: `stage HOSTS DIRECTORY -- PROGRAM ARG…` runs the program in a network namespace of
//! its own, where two public addresses lie on the loopback, names are read from HOSTS, and HTTP servers
//! give out what is in DIRECTORY.
//!
//! `93.184.216.34` and `93.184.216.35` each have a server on port 80. What arrives at their port 443 is
//! written to `DIRECTORY/heard-34` and `heard-35`, and answered with nothing. `127.0.0.1:80` answers as
//! well: it stands for a service of the host that nobody was granted. Ends as the program ends.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fixture: a panic is a failure of the test"
)]

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket},
    unistd::{getegid, geteuid},
};

const PUBLIC: [Ipv4Addr; 2] = [Ipv4Addr::new(93, 184, 216, 34), Ipv4Addr::new(93, 184, 216, 35)];
const NOTHING: Option<&str> = None;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let (hosts, directory) = (PathBuf::from(&words[0]), PathBuf::from(&words[1]));
    enter();
    mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING).unwrap();
    mount(Some(&hosts), "/etc/hosts", NOTHING, MsFlags::MS_BIND, NOTHING).unwrap();
    raise();
    for address in PUBLIC.into_iter().chain([Ipv4Addr::LOCALHOST]) {
        serve(address, 80, directory.clone(), answer);
    }
    for address in PUBLIC {
        let heard = directory.join(format!("heard-{}", address.octets()[3]));
        serve(address, 443, heard, hear);
    }
    #[expect(clippy::disallowed_methods, reason = "what is under test is started by a fixture")]
    let status = Command::new(&words[3]).args(&words[4..]).status().unwrap();
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}

/// New namespaces; without root by way of a user namespace in which this user is itself.
fn enter() {
    let (uid, gid) = (geteuid(), getegid());
    let flags = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
    if uid.is_root() {
        return unshare(flags).unwrap();
    }
    unshare(flags | CloneFlags::CLONE_NEWUSER).unwrap();
    fs::write("/proc/self/setgroups", "deny").unwrap();
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1")).unwrap();
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1")).unwrap();
}

/// Brings the loopback up and gives it the public addresses.
fn raise() {
    let kind = SockProtocol::NetlinkRoute;
    let routes =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, kind).unwrap();
    let ask = |kind: u16, body: &[u8]| {
        let length = u32::try_from(16 + body.len()).unwrap();
        // A request that wants its acknowledgement and may create.
        let head = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &0x405_u16.to_ne_bytes()];
        let message = [&head.concat()[..], &[0; 8], body].concat();
        send(routes.as_raw_fd(), &message, MsgFlags::empty()).unwrap();
        let mut answer = [0; 1024];
        recv(routes.as_raw_fd(), &mut answer, MsgFlags::empty()).unwrap();
        assert_eq!(answer[16..20], [0; 4], "netlink refused");
    };
    // Interface 1, IFF_UP set.
    let up = [1_u32.to_ne_bytes(), 1_u32.to_ne_bytes(), 1_u32.to_ne_bytes()].concat();
    ask(libc::RTM_NEWLINK, &[&[0; 4][..], &up].concat());
    for address in PUBLIC {
        let attribute =
            |kind: u16| [&8_u16.to_ne_bytes()[..], &kind.to_ne_bytes(), &address.octets()].concat();
        let head = [&[2, 32, 0, 0][..], &1_u32.to_ne_bytes()].concat();
        ask(libc::RTM_NEWADDR, &[head, attribute(2), attribute(1)].concat());
    }
}

fn serve(
    address: Ipv4Addr,
    port: u16,
    place: PathBuf,
    each: fn(TcpStream, &Path) -> io::Result<()>,
) {
    let listener = TcpListener::bind((address, port)).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let place = place.clone();
            // A client that goes away is none of the server's business.
            thread::spawn(move || stream.and_then(|stream| each(stream, &place)).ok());
        }
    });
}

/// One request of HTTP for a file.
fn answer(mut stream: TcpStream, directory: &Path) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split(' ');
    let (method, target) = (words.next().unwrap(), words.next().unwrap());
    let path = target.split('?').next().unwrap().trim_start_matches('/');
    let mut path = directory.join(path);
    if path.is_dir() {
        path = path.join("index.html");
    }
    let (status, body) = match fs::read(&path) {
        Ok(body) => ("200 OK", body),
        Err(_missing) => ("404 Not Found", Vec::new()),
    };
    let kind = match path.extension().and_then(|end| end.to_str()) {
        Some("html") => "text/html",
        Some("json") => "application/json",
        _ => "application/octet-stream",
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    )?;
    if method == "HEAD" { Ok(()) } else { stream.write_all(&body) }
}

/// Writes down what arrives.
fn hear(mut stream: TcpStream, heard: &Path) -> io::Result<()> {
    let mut buffer = [0; 4096];
    let count = stream.read(&mut buffer)?;
    if count > 0 {
        File::options().create(true).append(true).open(heard)?.write_all(&buffer[..count])?;
    }
    Ok(())
}
