//! Bytes both ways between a client and its server, once the server has been judged; TLS is looked at
//! on its way in, before any of it goes on.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    client::{Client, PATIENCE},
    hello::{self, Seen},
    host::Host,
    refusal::Mismatch,
};

/// How long nothing may go either way.
const SILENCE: Duration = Duration::from_mins(15);
/// What is held of each way at a time.
const BUFFER: usize = 16 << 10;

/// Why a relay ended early.
enum Ended {
    /// One side is gone.
    Lost,
    /// TLS was for somebody else.
    Wrong(Mismatch),
}

impl From<io::Error> for Ended {
    fn from(_broken: io::Error) -> Self {
        Self::Lost
    }
}

/// Relays until both sides have said all, one is gone, or nothing has gone for long. With a host,
/// TLS must be for that host: if it is not, nothing of it has gone on, and that is the answer.
pub(crate) async fn relay(
    client: &mut Client,
    server: TcpStream,
    host: Option<&Host>,
) -> Option<Mismatch> {
    let (mut from_server, mut to_server) = server.into_split();
    let (mut from_client, mut to_client) = client.stream.split();
    let (clock, seen) = (Clock::new(), std::mem::take(&mut client.seen));
    let out = async {
        let first = match host {
            Some(host) => judged(&mut from_client, seen, host).await?,
            None => seen,
        };
        to_server.write_all(&first).await?;
        pump(&mut from_client, &mut to_server, &clock).await
    };
    let back = pump(&mut from_server, &mut to_client, &clock);
    tokio::select! {
        ended = async { tokio::try_join!(out, back) } => match ended {
            Err(Ended::Wrong(mismatch)) => Some(mismatch),
            Ok(_) | Err(Ended::Lost) => None,
        },
        () = clock.silence() => None,
    }
}

/// Reads the beginning until it is known to be fit to go on. Who does not begin may never do so: in
/// many protocols the server speaks first.
async fn judged(
    from: &mut (impl AsyncRead + Unpin),
    mut seen: Vec<u8>,
    host: &Host,
) -> Result<Vec<u8>, Ended> {
    loop {
        match hello::look(&seen) {
            Seen::Plain => return Ok(seen),
            Seen::Broken => return Err(Ended::Wrong(Mismatch::Broken)),
            Seen::Hello(hello) => {
                return Mismatch::of(&hello, host).map_or(Ok(seen), |it| Err(Ended::Wrong(it)));
            }
            Seen::More if seen.is_empty() => {
                if from.read_buf(&mut seen).await? == 0 {
                    return Ok(seen);
                }
            }
            Seen::More => {
                let more = timeout(PATIENCE, from.read_buf(&mut seen)).await;
                if more.unwrap_or(Ok(0))? == 0 {
                    return Err(Ended::Wrong(Mismatch::Broken));
                }
            }
        }
    }
}

async fn pump(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    clock: &Clock,
) -> Result<(), Ended> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            // The other way may go on: many clients end their half after the request.
            to.shutdown().await?;
            return Ok(());
        };
        clock.touch();
        to.write_all(bytes).await?;
    }
}

/// When something went either way last.
#[derive(Debug)]
struct Clock {
    begun: Instant,
    last: AtomicU64,
}

impl Clock {
    fn new() -> Self {
        Self { begun: Instant::now(), last: AtomicU64::new(0) }
    }

    fn touch(&self) {
        self.last.store(self.begun.elapsed().as_secs(), Ordering::Relaxed);
    }

    /// Comes when nothing has gone for long.
    async fn silence(&self) {
        loop {
            let last = Duration::from_secs(self.last.load(Ordering::Relaxed));
            let silent = self.begun.elapsed().saturating_sub(last);
            match SILENCE.checked_sub(silent) {
                Some(left) if !left.is_zero() => sleep(left).await,
                Some(_) | None => return,
            }
        }
    }
}
