//! A client's connection while it is still being found out what it wants: what has been read of it and
//! not been used.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long a client may take to say what it wants.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// How long, and in how many pieces, one that was declined may go on sending.
const FAREWELL: Duration = Duration::from_secs(2);
const SCRAPS: usize = 256;

/// One connection of the process.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    /// Read, and not used yet.
    pub(crate) seen: Vec<u8>,
}

impl Client {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, seen: Vec::new() }
    }

    /// Reads until `read` finds a whole message in what has come, and takes that away. `None` when the
    /// client went away first. What is too long is for `read` to refuse.
    pub(crate) async fn message<T, E>(
        &mut self,
        read: impl Fn(&[u8]) -> Result<Option<(T, usize)>, E>,
    ) -> io::Result<Option<Result<T, E>>> {
        loop {
            match read(&self.seen) {
                Ok(Some((message, used))) => {
                    self.seen.drain(..used.min(self.seen.len()));
                    return Ok(Some(Ok(message)));
                }
                Ok(None) => {}
                Err(error) => return Ok(Some(Err(error))),
            }
            if self.more().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads some more: how much.
    pub(crate) async fn more(&mut self) -> io::Result<usize> {
        timeout(PATIENCE, self.stream.read_buf(&mut self.seen)).await?
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, self.stream.write_all(bytes)).await?
    }

    /// Answers as a server of HTTP does and ends the connection.
    pub(crate) async fn decline(&mut self, status: &str, text: &str) -> io::Result<()> {
        let login = if status.starts_with("407") {
            "Proxy-Authenticate: Basic realm=\"plugbay\"\r\n"
        } else {
            ""
        };
        let body = format!("plugbay: {text}\n");
        let length = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {length}\r\n{login}Connection: close\r\n\r\n"
        );
        self.say(format!("{head}{body}").as_bytes()).await?;
        self.stream.shutdown().await?;
        // What it still sends is taken in for a while: with some of it unread, the kernel would end the
        // connection so hard that the answer is lost.
        let rest = async {
            let mut scrap = [0; 4096];
            for _ in 0..SCRAPS {
                if self.stream.read(&mut scrap).await? == 0 {
                    break;
                }
            }
            Ok(())
        };
        timeout(FAREWELL, rest).await.unwrap_or(Ok(()))
    }

    /// Ends the connection so that the client sees it at once as refused, not as a short answer.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().ok();
    }
}
