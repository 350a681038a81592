//! Carrying questions for names to the pure answers, by datagrams and by streams, so many in a second.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    net::{TcpStream, UdpSocket},
    time::{Instant, sleep},
};

use crate::{Broker, bytes::Bytes, client::Client};

/// The largest question that is read. Real ones have less than 300 bytes.
const MAX_QUESTION: usize = 1232;
/// Questions that are answered in a [`TICK`].
const PER_TICK: u32 = 100;
const TICK: Duration = Duration::from_millis(200);

/// Answers datagrams for as long as it is polled.
pub(crate) async fn datagrams(broker: Arc<Broker>, socket: UdpSocket) {
    let mut buffer = vec![0; MAX_QUESTION];
    let mut pace = Pace::default();
    loop {
        let received = socket.recv_from(&mut buffer).await;
        pace.step().await;
        let Ok((length, client)) = received else { continue };
        let answer = buffer.get(..length).and_then(|bytes| broker.name(bytes));
        if let Some(answer) = answer {
            // A client that is gone needs none.
            socket.send_to(&answer, client).await.ok();
        }
    }
}

/// Answers the questions of one stream, each with its length before it.
pub(crate) async fn stream(broker: &Broker, stream: TcpStream) -> io::Result<()> {
    let mut client = Client::new(stream);
    let mut pace = Pace::default();
    while let Some(Ok(question)) = client.message(one).await? {
        pace.step().await;
        let Some(answer) = broker.name(&question) else { return Ok(()) };
        let length = u16::try_from(answer.len()).unwrap_or(0);
        client.say(&[&length.to_be_bytes()[..], &answer].concat()).await?;
    }
    Ok(())
}

fn one(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, ()> {
    let mut rest = Bytes::new(bytes);
    let Some(length) = rest.short().map(usize::from) else { return Ok(None) };
    if length > MAX_QUESTION {
        return Err(());
    }
    Ok(rest.take(length).map(|question| (question.to_vec(), length + 2)))
}

/// Makes who asks too much wait.
#[derive(Debug, Default)]
struct Pace {
    since: Option<Instant>,
    count: u32,
}

impl Pace {
    async fn step(&mut self) {
        let since = *self.since.get_or_insert_with(Instant::now);
        self.count += 1;
        if self.count > PER_TICK {
            sleep(TICK.saturating_sub(since.elapsed())).await;
            *self = Self::default();
        }
    }
}
