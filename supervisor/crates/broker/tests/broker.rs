//! The broker against real connections on this machine's loopback: whom it serves, whom it does not,
//! and how much of itself it gives to one process.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use plugbay_broker::{Broker, Rules};
use plugbay_sandbox::{Fix, HostGrant, Inlet, InletKind};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A server that says back what it hears, and a broker that may reach it by the name of the loopback.
struct Scene {
    broker: Arc<Broker>,
    proxy: SocketAddr,
    server: u16,
    _tasks: JoinSet<()>,
}

impl Scene {
    async fn new(token: Option<&str>) -> Self {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = server.local_addr().unwrap().port();
        let inlet = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = inlet.local_addr().unwrap();
        let grant = HostGrant { host: "localhost".to_owned(), port };
        let broker = Broker::new(Rules::new([&grant]).unwrap(), token.map(str::to_owned));
        let inlets = vec![Inlet { kind: InletKind::Proxy, socket: inlet.into() }];
        let serving = broker.clone().serve(inlets);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { serving.await.unwrap() });
        tasks.spawn(async move {
            let mut echoes = JoinSet::new();
            while let Ok((mut stream, _)) = server.accept().await {
                echoes.spawn(async move {
                    let (mut from, mut to) = stream.split();
                    tokio::io::copy(&mut from, &mut to).await.ok();
                });
            }
        });
        Self { broker, proxy, server: port, _tasks: tasks }
    }

    /// Says this to the broker, then hears what comes back: all of it, or `count` bytes.
    async fn say(&self, words: &[u8], count: Option<usize>) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(self.proxy).await.unwrap();
        stream.write_all(words).await.unwrap();
        let mut heard = vec![0; count.unwrap_or(0)];
        let heard = timeout(PATIENCE, async {
            match count {
                Some(_) => drop(stream.read_exact(&mut heard).await.unwrap()),
                None => drop(stream.read_to_end(&mut heard).await.unwrap()),
            }
            heard
        });
        let heard = heard.await.unwrap();
        (stream, String::from_utf8_lossy(&heard).into_owned())
    }

    fn connect(&self, host: &str, more: &str) -> Vec<u8> {
        format!("CONNECT {host}:{} HTTP/1.1\r\n{more}\r\n", self.server).into_bytes()
    }

    fn refused(&self) -> Vec<(String, Option<Fix>)> {
        let tally = self.broker.denials().borrow().clone();
        tally.kinds().iter().map(|kind| (kind.rule.clone(), kind.fix.clone())).collect()
    }
}

const DONE: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

#[tokio::test]
async fn a_granted_host_is_reached_and_bytes_go_both_ways() {
    let scene = Scene::new(None).await;
    let words = [scene.connect("LocalHost", ""), b"early".to_vec()].concat();
    let (mut stream, heard) = scene.say(&words, Some(DONE.len() + 5)).await;
    assert_eq!(heard, format!("{DONE}early"));
    stream.write_all(b"late").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut rest)).await.unwrap().unwrap();
    assert_eq!((rest.as_str(), scene.refused()), ("late", Vec::new()));
}

#[tokio::test]
async fn another_host_is_refused_and_told_with_its_grant() {
    let scene = Scene::new(None).await;
    let (_, heard) = scene.say(&scene.connect("other.example", ""), None).await;
    assert!(heard.starts_with("HTTP/1.1 403 "), "{heard}");
    let fix = Fix::Host { host: "other.example".to_owned(), port: scene.server };
    assert_eq!(scene.refused(), [("hosts".to_owned(), Some(fix))]);
}

#[tokio::test]
async fn socks_asks_in_its_own_words() {
    let scene = Scene::new(None).await;
    let ask = |name: &[u8]| {
        let length = u8::try_from(name.len()).unwrap();
        let port = scene.server.to_be_bytes();
        [&[5, 1, 0, 5, 1, 0, 3, length][..], name, &port, b"hi"].concat()
    };
    let (_, heard) = scene.say(&ask(b"localhost"), Some(14)).await;
    assert!(heard.starts_with("\u{5}\0\u{5}\0") && heard.ends_with("hi"), "{heard:?}");
    let (_, heard) = scene.say(&ask(b"other.example"), Some(12)).await;
    assert!(heard.starts_with("\u{5}\0\u{5}\u{2}"), "{heard:?}");
}

#[tokio::test]
async fn tls_for_another_host_goes_no_further() {
    let scene = Scene::new(None).await;
    // A client hello for `files.example`.
    let hello = [
        &b"\x16\x03\x01\x00\x45\x01\0\0\x41\x03\x03"[..],
        &[0; 32],
        b"\0\0\x02\x13\x01\x01\0\0\x16\0\0\0\x12\0\x10\0\0\x0dfiles.example",
    ];
    let hello = hello.concat();
    let words = [scene.connect("localhost", ""), hello].concat();
    let (_, heard) = scene.say(&words, None).await;
    // Not an echo of it, but the alert.
    assert_eq!(heard.len(), DONE.len() + 7, "{heard:?}");
    assert_eq!(scene.refused(), [("server-name".to_owned(), None)]);
}

#[tokio::test]
async fn a_broker_with_a_word_serves_nobody_who_does_not_know_it() {
    let scene = Scene::new(Some("word")).await;
    let login = |text: &str| {
        let login = data_encoding::BASE64.encode(text.as_bytes());
        format!("Proxy-Authorization: Basic {login}\r\n")
    };
    for more in [String::new(), login("plugbay:other"), login("word"), login("plugbay:word2")] {
        let (_, heard) = scene.say(&scene.connect("localhost", &more), None).await;
        assert!(heard.starts_with("HTTP/1.1 407 "), "{more}: {heard}");
    }
    assert_eq!(scene.refused(), [("broker-token".to_owned(), None)]);
    let known = scene.connect("localhost", &login("plugbay:word"));
    assert_eq!(scene.say(&known, Some(DONE.len())).await.1, DONE);
}

#[tokio::test]
async fn one_process_has_so_many_connections_and_the_next_one_waits() {
    let scene = Scene::new(None).await;
    let words = scene.connect("localhost", "");
    let mut open = Vec::new();
    for _ in 0..256 {
        // They take a place each, and say nothing.
        open.push(TcpStream::connect(scene.proxy).await.unwrap());
    }
    let mut next = TcpStream::connect(scene.proxy).await.unwrap();
    next.write_all(&words).await.unwrap();
    let mut heard = [0; DONE.len()];
    assert!(timeout(Duration::from_millis(50), next.read_exact(&mut heard)).await.is_err());
    open.truncate(200);
    timeout(PATIENCE, next.read_exact(&mut heard)).await.unwrap().unwrap();
    assert_eq!(heard, DONE.as_bytes());
}
