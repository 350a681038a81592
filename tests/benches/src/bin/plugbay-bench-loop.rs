//! The other end of the floors: a blocking loop that reads a line of JSON, parses it and answers.
//! Sealed, it is the plugin; so both sides of a ratio run the same program.
//!
//! `plugbay-bench-loop raw BYTES` answers each line with so many bytes and parses nothing;
//! `plugbay-bench-loop as NAME` says in its hello that it is called so.

use std::{
    borrow::Cow,
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: &'a str,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Response<'a, R> {
    jsonrpc: &'static str,
    id: &'a RawValue,
    result: R,
}

#[derive(Serialize, Deserialize)]
struct Text<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Size {
    bytes: usize,
}

/// What it says of itself.
fn hello(name: &str) -> String {
    format!(
        r#"{{"version":1,"features":[],"plugin":{{"name":"{name}","version":"1.0.0"}},"methods":["echo","blob"]}}"#
    )
}

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let (mode, argument) = (args.next(), args.next());
    match (mode.as_deref(), argument) {
        (Some("raw"), bytes) => answer_raw(bytes.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)),
        (Some("as"), Some(name)) => answer_json(&hello(&name)),
        _ => answer_json(&hello("rust")),
    }
}

fn answer_raw(bytes: usize) -> std::io::Result<()> {
    let mut answer = vec![b'x'; bytes];
    answer.push(b'\n');
    let mut output = std::io::stdout().lock();
    let mut line = Vec::new();
    let mut input = std::io::stdin().lock();
    while input.read_until(b'\n', &mut line)? > 0 {
        output.write_all(&answer)?;
        output.flush()?;
        line.clear();
    }
    Ok(())
}

fn answer_json(hello: &str) -> std::io::Result<()> {
    let mut input = BufReader::with_capacity(64 << 10, File::from(own(std::io::stdin().as_fd())?));
    let mut output = File::from(own(std::io::stdout().as_fd())?);
    let (mut line, mut answers) = (Vec::new(), Vec::new());
    let mut blob = Vec::new();
    while input.read_until(b'\n', &mut line)? > 0 {
        let request: Request<'_> = serde_json::from_slice(&line)?;
        if request.method == "exit" {
            break;
        }
        if let Some(id) = request.id {
            answer(&mut answers, (&mut blob, hello), id, &request)?;
        }
        line.clear();
        // Answers to requests that came together leave together.
        if input.buffer().is_empty() {
            output.write_all(&answers)?;
            answers.clear();
        }
    }
    Ok(())
}

fn own(fd: BorrowedFd<'_>) -> std::io::Result<OwnedFd> {
    fd.try_clone_to_owned()
}

fn answer(
    out: &mut Vec<u8>,
    (blob, hello): (&mut Vec<u8>, &str),
    id: &RawValue,
    request: &Request<'_>,
) -> std::io::Result<()> {
    let null = RawValue::NULL;
    let jsonrpc = "2.0";
    match request.method {
        "initialize" => {
            let result: &RawValue = serde_json::from_str(hello)?;
            serde_json::to_writer(&mut *out, &Response { jsonrpc, id, result })?;
        }
        "echo" => {
            let params: Text<'_> = serde_json::from_str(request.params.unwrap_or(null).get())?;
            serde_json::to_writer(&mut *out, &Response { jsonrpc, id, result: params })?;
        }
        "blob" => {
            let Size { bytes } = serde_json::from_str(request.params.unwrap_or(null).get())?;
            blob.resize(bytes, b'x');
            let result = std::str::from_utf8(blob).unwrap_or_default();
            serde_json::to_writer(&mut *out, &Response { jsonrpc, id, result })?;
        }
        _ => serde_json::to_writer(&mut *out, &Response { jsonrpc, id, result: null })?,
    }
    out.push(b'\n');
    Ok(())
}
