//! Streams of a call: parameters fed from files or standard input, and a result printed as it comes.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
    thread,
    time::Duration,
};

use plugbay::{CallBuilder, CallError, CancellationToken, Items, Reply, StreamKind, Upload};
use serde_json::value::RawValue;
use tokio::{runtime::Handle, time};

use crate::{args::Call, exit::Exit, failure::Failure, output::Terminal, spelling::Input};

/// What is read at once of a stream of bytes.
const PIECE: usize = 64 << 10;

/// One parameter that is fed.
#[derive(Debug)]
pub(crate) struct Feed {
    name: String,
    /// What to call it when it cannot be read.
    shown: String,
    source: Source,
    shape: Shape,
}

#[derive(Debug)]
enum Source {
    Stdin,
    File(File),
}

/// What is made of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// JSON values, one after the other.
    Values,
    /// Each line as a text.
    Lines,
    Bytes,
}

impl Feed {
    /// Opens everything that was named, before anything is started.
    pub(crate) fn from_typed(typed: &Call) -> Result<Vec<Self>, Failure> {
        let shapes = [
            (&typed.input, Shape::Values),
            (&typed.input_lines, Shape::Lines),
            (&typed.input_bytes, Shape::Bytes),
        ];
        let mut feeds: Vec<Self> = Vec::new();
        for (inputs, shape) in shapes {
            for input in inputs {
                feeds.push(Self::open(input, shape)?);
            }
        }
        let stdin = feeds.iter().filter(|feed| matches!(feed.source, Source::Stdin)).count();
        if stdin + usize::from(typed.params.as_deref() == Some("-")) > 1 {
            return Err(Failure::usage("standard input can be read for one thing only"));
        }
        Ok(feeds)
    }

    fn open(input: &Input, shape: Shape) -> Result<Self, Failure> {
        let shown = input.path.display().to_string();
        let source =
            if shown == "-" {
                Source::Stdin
            } else {
                Source::File(File::open(&input.path).map_err(|error| {
                    Failure::new(Exit::Usage, format!("read `{shown}`: {error}"))
                })?)
            };
        Ok(Self { name: input.name.clone(), shown, source, shape })
    }

    /// Makes it a parameter of the call, read by a thread of its own: a read of standard input may
    /// never return, and must not keep us from ending.
    fn attach(self, call: CallBuilder<'_>) -> CallBuilder<'_> {
        let kind = match self.shape {
            Shape::Values | Shape::Lines => StreamKind::Json,
            Shape::Bytes => StreamKind::Bytes,
        };
        let (call, upload) = call.upload(&self.name, kind);
        let runtime = Handle::current();
        thread::spawn(move || self.run(upload, &runtime));
        call
    }

    fn run(self, mut upload: Upload, runtime: &Handle) {
        let read: Box<dyn Read> = match self.source {
            Source::Stdin => Box::new(io::stdin()),
            Source::File(file) => Box::new(file),
        };
        let reader = BufReader::with_capacity(PIECE, read);
        let fed = match self.shape {
            Shape::Values => values(reader, &mut upload, runtime),
            Shape::Lines => lines(reader, &mut upload, runtime),
            Shape::Bytes => bytes(reader, &mut upload, runtime),
        };
        match fed {
            Ok(()) => runtime.block_on(upload.end()),
            Err(error) => {
                let why = format!("`{}` cannot be read: {error}", self.shown);
                runtime.block_on(upload.fail(&why));
            }
        }
    }
}

type Reader = BufReader<Box<dyn Read>>;

/// That no more is wanted ends the reading, and is no failure of it.
fn values(reader: Reader, upload: &mut Upload, runtime: &Handle) -> io::Result<()> {
    let values = serde_json::Deserializer::from_reader(reader).into_iter::<Box<RawValue>>();
    for value in values {
        if runtime.block_on(upload.send_raw(value?)).is_err() {
            break;
        }
    }
    Ok(())
}

fn lines(mut reader: Reader, upload: &mut Upload, runtime: &Handle) -> io::Result<()> {
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(line.strip_suffix(b"\n").unwrap_or(&line));
        if runtime.block_on(upload.send(&text)).is_err() {
            break;
        }
        line.clear();
    }
    Ok(())
}

fn bytes(mut reader: Reader, upload: &mut Upload, runtime: &Handle) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let count = reader.read(&mut piece)?;
        let Some(read) = piece.get(..count).filter(|read| !read.is_empty()) else { return Ok(()) };
        if runtime.block_on(upload.send_bytes(read)).is_err() {
            return Ok(());
        }
    }
}

/// What is left to be shown of a call that was answered.
#[derive(Debug)]
pub(crate) enum Left {
    /// The result.
    Result,
    /// Nothing: it was printed as it came.
    Nothing,
    /// It could not be printed to its end.
    Failed(Failure),
}

/// Makes the call with what feeds it, and prints a result that is a stream.
pub(crate) async fn run(
    mut call: CallBuilder<'_>,
    feeds: Vec<Feed>,
    deadline: Option<Duration>,
    interrupted: &CancellationToken,
    terminal: Terminal,
) -> Result<(Box<RawValue>, Left), CallError> {
    let until = deadline.and_then(|deadline| time::Instant::now().checked_add(deadline));
    for feed in feeds {
        call = feed.attach(call);
    }
    // Metered, for those who asked for a report.
    let (_in_the_history, reply) = call.report_open().await;
    let mut items = match reply?.into_stream() {
        Ok(items) => items,
        Err(reply) => return Ok(whole(reply)),
    };
    let printed = tokio::select! {
        printed = print(&mut items, terminal) => printed?,
        () = interrupted.cancelled() => None,
        () = passed(until) => Some(Failure::new(Exit::Deadline, "not finished in time")),
    };
    Ok((RawValue::NULL.to_owned(), printed.map_or(Left::Nothing, Left::Failed)))
}

/// A result that is no stream, and should hold none either.
fn whole(reply: Reply) -> (Box<RawValue>, Left) {
    let (result, streams) = reply.into_parts();
    if streams.is_empty() {
        return (result, Left::Result);
    }
    let what = "the result holds streams among other things; only one that is a stream is printed";
    (result, Left::Failed(Failure::new(Exit::Crashed, what)))
}

/// Prints values as lines, and bytes as they are. A failure is one of printing.
async fn print(items: &mut Items, terminal: Terminal) -> Result<Option<Failure>, CallError> {
    terminal.progress_done();
    loop {
        let written = match items.kind() {
            StreamKind::Json => match items.next_raw().await? {
                Some(item) => terminal.item(&item),
                None => return Ok(None),
            },
            StreamKind::Bytes => match items.next_bytes().await? {
                Some(bytes) => terminal.bytes(&bytes),
                None => return Ok(None),
            },
        };
        if let Err(failure) = written {
            return Ok(Some(failure));
        }
    }
}

async fn passed(until: Option<time::Instant>) {
    match until {
        Some(until) => time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
