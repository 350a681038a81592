//! The broker of one process: takes the connections that come in by its inlets, judges whom they are
//! for, and makes those that were granted.
//!
//! ```text
//! inlet ─► what is asked (HTTP, SOCKS5, address) ─► granted? ─► resolve now ─► of the internet? ─► connect
//!                                                      └─ no: told to the client, and as a denial
//! ```
//! Each name is resolved at each connection, and the connection goes to the very address that was
//! judged. Everything is bounded: connections at a time, bytes before a judgement, every wait.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use plugbay_sandbox::{Denial, Inlet, InletKind, Tally};
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket, lookup_host},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    client::Client,
    host::Host,
    names::{self, Names},
    question,
    refusal::{self, Refusal, same},
    relay::relay,
    request::{self, Asked, Request},
    rules::Rules,
    socks::{self, Method},
};

/// Connections of one process at a time; further ones wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 256;
/// Names resolved for one process at a time.
const MOST_LOOKUPS: usize = 8;
/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 8;
/// How long a name or a server may take to answer.
const LOOKUP: Duration = Duration::from_secs(20);
const CONNECT: Duration = Duration::from_secs(15);
/// A pause when this process has no descriptor left for another connection.
const BREATH: Duration = Duration::from_millis(100);
/// `access_denied`, fatal: what TLS has for a client that asked for the wrong host.
const ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 49];

/// The broker of one process.
#[derive(Debug)]
pub struct Broker {
    rules: Rules,
    /// What a client has to say to be served, where others could reach the inlets as well.
    token: Option<String>,
    names: Mutex<Names>,
    denials: watch::Sender<Arc<Tally>>,
    places: Arc<Semaphore>,
    lookups: Semaphore,
}

impl Broker {
    /// A broker that keeps to these rules.
    #[must_use]
    pub fn new(rules: Rules, token: Option<String>) -> Arc<Self> {
        Arc::new(Self {
            rules,
            token,
            names: Mutex::default(),
            denials: watch::Sender::default(),
            places: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
            lookups: Semaphore::new(MOST_LOOKUPS),
        })
    }

    /// What was refused so far, and a notice of each further refusal.
    #[must_use]
    pub fn denials(&self) -> watch::Receiver<Arc<Tally>> {
        self.denials.subscribe()
    }

    /// Serves the inlets until it is dropped; every connection ends with it.
    ///
    /// # Errors
    /// When an inlet cannot be waited for.
    pub async fn serve(self: Arc<Self>, inlets: Vec<Inlet>) -> io::Result<()> {
        let mut tasks = JoinSet::new();
        for inlet in inlets {
            let broker = self.clone();
            if inlet.kind == InletKind::Questions {
                let socket = std::net::UdpSocket::from(inlet.socket);
                socket.set_nonblocking(true)?;
                tasks.spawn(question::datagrams(broker, UdpSocket::from_std(socket)?));
            } else {
                let listener = std::net::TcpListener::from(inlet.socket);
                listener.set_nonblocking(true)?;
                tasks.spawn(broker.accept(inlet.kind, TcpListener::from_std(listener)?));
            }
        }
        while tasks.join_next().await.is_some() {}
        Ok(())
    }

    async fn accept(self: Arc<Self>, kind: InletKind, listener: TcpListener) {
        let mut open = JoinSet::new();
        while let Ok(place) = self.places.clone().acquire_owned().await {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        open.spawn(self.clone().converse(kind, stream, place));
                    }
                    Err(_short_of_descriptors) => sleep(BREATH).await,
                },
                Some(_) = open.join_next() => {}
            }
        }
    }

    /// One connection, from its first byte to its last.
    async fn converse(
        self: Arc<Self>,
        kind: InletKind,
        stream: TcpStream,
        _place: OwnedSemaphorePermit,
    ) {
        // Small writes of an interactive protocol are not to wait for each other.
        stream.set_nodelay(true).ok();
        let ended = match kind {
            InletKind::Proxy => self.proxy(Client::new(stream)).await,
            InletKind::Direct(port) => self.direct(Client::new(stream), port).await,
            InletKind::Questions | InletKind::QuestionStreams => {
                question::stream(&self, stream).await
            }
        };
        // A client that is gone or too slow: nobody is left to be told.
        drop(ended);
    }

    async fn proxy(&self, mut client: Client) -> io::Result<()> {
        if client.more().await? == 0 {
            return Ok(());
        }
        if client.seen.first() == Some(&socks::VERSION) {
            self.socks(client).await
        } else {
            self.http(client).await
        }
    }

    async fn http(&self, mut client: Client) -> io::Result<()> {
        let read = |bytes: &[u8]| {
            request::read(bytes).map(|read| read.map(|read| (read.clone(), read.length)))
        };
        let Some(read) = client.message(read).await? else { return Ok(()) };
        let Request { asked, credentials, .. } = match read {
            Ok(request) => request,
            Err(error) => return client.decline("400 Bad Request", &error.to_string()).await,
        };
        let (host, port, how, head) = match asked {
            Asked::Tunnel(host, port) => (host, port, "CONNECT", None),
            Asked::Plain { host, port, head } => (host, port, "HTTP", Some(head)),
        };
        let connected = match self.is_known(credentials.as_deref()) {
            true => self.connect(&host, port).await,
            false => Err(Refusal::Token),
        };
        let server = match connected {
            Ok(server) => server,
            Err(refusal) => {
                self.tell(refusal.denial(how));
                let (status, text) = refusal.status();
                return client.decline(status, &text).await;
            }
        };
        match head {
            None => {
                client.say(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
                self.tunnel(client, server, &host, port).await
            }
            Some(mut head) => {
                head.append(&mut client.seen);
                client.seen = head;
                relay(&mut client, server, None).await;
                Ok(())
            }
        }
    }

    async fn socks(&self, mut client: Client) -> io::Result<()> {
        let password = self.token.is_some();
        let greeted = client.message(|bytes| socks::greeting(bytes, password)).await?;
        let Some(Ok(method)) = greeted else { return Ok(()) };
        client.say(&[socks::VERSION, method as u8]).await?;
        let known = match method {
            Method::Nothing => true,
            Method::Password => {
                let said = client.message(socks::login).await?;
                let known = matches!(&said, Some(Ok(word)) if self.is_token(word));
                client.say(&[1, u8::from(!known)]).await?;
                known
            }
            Method::Refused => false,
        };
        if !known {
            self.tell(Refusal::Token.denial("SOCKS5"));
            return Ok(());
        }
        let (host, port) = match client.message(socks::request).await? {
            Some(Ok(asked)) => asked,
            Some(Err(error)) => return client.say(&socks::answer(error.0)).await,
            None => return Ok(()),
        };
        match self.connect(&host, port).await {
            Ok(server) => {
                client.say(&socks::answer(socks::Answer::Done)).await?;
                self.tunnel(client, server, &host, port).await
            }
            Err(refusal) => {
                self.tell(refusal.denial("SOCKS5"));
                client.say(&socks::answer(refusal.socks())).await
            }
        }
    }

    /// A connection to an address, as if the network were there: which is meant tells the address.
    async fn direct(&self, client: Client, port: u16) -> io::Result<()> {
        let address = client.stream.local_addr()?.ip();
        let named = lock(&self.names).meant_by(address);
        let host = named.unwrap_or_else(|| address.into());
        match self.connect(&host, port).await {
            Ok(server) => self.tunnel(client, server, &host, port).await,
            Err(refusal) => {
                self.tell(refusal.denial("connect"));
                client.reset();
                Ok(())
            }
        }
    }

    async fn tunnel(
        &self,
        mut client: Client,
        server: TcpStream,
        host: &Host,
        port: u16,
    ) -> io::Result<()> {
        let Some(mismatch) = relay(&mut client, server, Some(host)).await else { return Ok(()) };
        self.tell(Refusal::ServerName(host.clone(), port, mismatch).denial("TLS"));
        client.say(&ALERT).await
    }

    /// A connection to a granted host.
    async fn connect(&self, host: &Host, port: u16) -> Result<TcpStream, Refusal> {
        if !self.rules.allow(host, port) {
            return Err(Refusal::Host(host.clone(), port));
        }
        let found = self.resolve(host, port).await;
        let (mut fit, mut unfit) = (Vec::new(), None);
        for address in found {
            match self.rules.reach(host, address.ip(), port) {
                Ok(()) => fit.push(address),
                Err(kind) => unfit = unfit.or(Some((address.ip(), kind))),
            }
        }
        match unfit {
            Some((address, kind)) if fit.is_empty() => {
                Err(Refusal::Address(host.clone(), port, address, kind))
            }
            _ if fit.is_empty() => Err(Refusal::Unknown(host.clone())),
            _ => first_of(fit).await.ok_or_else(|| Refusal::Unreachable(host.clone(), port)),
        }
    }

    /// Where the host is now. Nothing when it is nowhere.
    async fn resolve(&self, host: &Host, port: u16) -> Vec<SocketAddr> {
        let name = match host {
            Host::Address(address) => return vec![SocketAddr::new(*address, port)],
            Host::Name(name) => name.as_str(),
        };
        let Ok(_turn) = self.lookups.acquire().await else { return Vec::new() };
        let found = timeout(LOOKUP, lookup_host((name, port))).await;
        let found = found.ok().and_then(Result::ok);
        let plain = |found: SocketAddr| SocketAddr::new(IpAddr::to_canonical(&found.ip()), port);
        found.into_iter().flatten().map(plain).take(MOST_ADDRESSES).collect()
    }

    /// The answer to a question for a name.
    pub(crate) fn name(&self, question: &[u8]) -> Option<Vec<u8>> {
        let answer = names::answer(question, &self.rules, &mut lock(&self.names))?;
        // Programs ask for their own host's name, and live without it.
        let own = |name: &str| name == OWN_NAME || name == "localhost";
        self.tell(answer.refused.filter(|it| !own(&it.name)).map(|it| refusal::unnamed(&it)));
        Some(answer.bytes)
    }

    fn tell(&self, denial: Option<Denial>) {
        if let Some(denial) = denial {
            self.denials.send_modify(|tally| Arc::make_mut(tally).add(denial));
        }
    }

    fn is_token(&self, word: &[u8]) -> bool {
        self.token.as_ref().is_none_or(|token| same(token.as_bytes(), word))
    }

    fn is_known(&self, credentials: Option<&str>) -> bool {
        if self.token.is_none() {
            return true;
        }
        let (scheme, rest) = credentials.and_then(|text| text.split_once(' ')).unwrap_or_default();
        let said = data_encoding::BASE64.decode(rest.trim().as_bytes()).unwrap_or_default();
        let word = said.splitn(2, |byte| *byte == b':').nth(1).unwrap_or_default();
        scheme.eq_ignore_ascii_case("basic") && self.is_token(word)
    }
}

/// The host name inside a sandbox.
const OWN_NAME: &str = "plugbay";

async fn first_of(addresses: Vec<SocketAddr>) -> Option<TcpStream> {
    for address in addresses {
        if let Ok(Ok(server)) = timeout(CONNECT, TcpStream::connect(address)).await {
            server.set_nodelay(true).ok();
            return Some(server);
        }
    }
    None
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
