//! Times a call against the floor: the same work in a bare blocking loop over `serde_json`.
//!
//! Run `cargo run --release -p plugbay-sdk --example calls`. Both plugins are processes behind two pipes,
//! asked by turns in one run, so what the machine does to one it does to the other. The ratio is what
//! counts; absolute figures are this machine's, now.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a measurement, which may fail loudly"
)]

use plugbay_sdk::{Context, ExitCode, Plugin, Result, Value, json};
use serde::{Deserialize, Serialize};
use std::io::{BufRead as _, Read as _, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 15;
const CALLS: usize = 4_000;
const DEPTH: usize = 64;

#[derive(Deserialize)]
struct Add {
    a: i64,
    b: i64,
}

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("floor") => floor(),
        Some("sdk") => {
            return Plugin::new("bench", "1.0.0")
                .method("add", |Add { a, b }: Add, _: &Context| -> Result<i64> { Ok(a + b) })
                .method_async("later", |Add { a, b }: Add, _: Context| async move { Ok(a + b) })
                .method("ask", |_: Value, ctx: &Context| -> Result<i64> {
                    Ok(ctx.call("host/config.get", &())?)
                })
                .run();
        }
        Some(_) | None => compare(),
    }
    ExitCode::SUCCESS
}

/// What a plugin must do at least: parse, add, write.
fn floor() {
    #[derive(Deserialize)]
    struct Request {
        id: i64,
        params: Add,
    }
    #[derive(Serialize)]
    struct Response {
        jsonrpc: &'static str,
        id: i64,
        result: i64,
    }
    let mut input = std::io::stdin().lock();
    let mut output = std::fs::File::from(
        std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned().unwrap(),
    );
    let (mut line, mut out) = (String::new(), Vec::new());
    while input.read_line(&mut line).unwrap() > 0 {
        if let Ok(Request { id, params }) = serde_json::from_str(&line) {
            let response = Response { jsonrpc: "2.0", id, result: params.a + params.b };
            serde_json::to_writer(&mut out, &response).unwrap();
            out.push(b'\n');
            output.write_all(&out).unwrap();
            out.clear();
        }
        line.clear();
    }
}

struct Peer {
    child: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Peer {
    fn start(role: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child =
            command.arg(role).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, to, from }
    }

    fn opened() -> Self {
        let mut peer = Self::start("sdk");
        let offer = json!({"versions": [1], "host": {"name": "bench", "version": "0"}});
        peer.write(&request("initialize", 0, &offer));
        peer.read();
        peer.write(b"{\"jsonrpc\":\"2.0\",\"method\":\"initialized\"}\n");
        peer
    }

    fn write(&mut self, bytes: &[u8]) {
        self.to.write_all(bytes).unwrap();
    }

    fn read(&mut self) -> usize {
        let mut buffer = [0; 64 << 10];
        let length = self.from.read(&mut buffer).unwrap();
        buffer.iter().take(length).filter(|byte| **byte == b'\n').count()
    }

    /// The median of a round trip.
    fn sequential(&mut self, method: &str) -> Duration {
        let frame = request(method, 7, &json!({"a": 19, "b": 23}));
        median((0..CALLS).map(|_| {
            let begun = Instant::now();
            self.write(&frame);
            self.read();
            begun.elapsed()
        }))
    }

    /// The time of a call that calls the host, which answers at once.
    fn asking(&mut self) -> Duration {
        let frame = request("ask", 7, &json!({}));
        let mut buffer = [0; 4096];
        median((0..CALLS).map(|_| {
            let begun = Instant::now();
            self.write(&frame);
            let length = self.from.read(&mut buffer).unwrap();
            let asked: Value = serde_json::from_slice(buffer.get(..length).unwrap()).unwrap();
            let id = asked.get("id").unwrap();
            self.write(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":5}}\n").as_bytes());
            self.read();
            begun.elapsed()
        }))
    }

    /// The time per call with many in flight.
    fn pipelined(&mut self, method: &str) -> Duration {
        let frames: Vec<u8> = (0..DEPTH)
            .flat_map(|id| request(method, id + 100, &json!({"a": 19, "b": 23})))
            .collect();
        let turns = CALLS / DEPTH;
        let begun = Instant::now();
        for _ in 0..turns {
            self.write(&frames);
            let mut answers = 0;
            while answers < DEPTH {
                answers += self.read();
            }
        }
        begun.elapsed() / u32::try_from(turns * DEPTH).unwrap()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn request(method: &str, id: usize, params: &Value) -> Vec<u8> {
    let request = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    format!("{request}\n").into_bytes()
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn compare() {
    let (mut floor, mut sdk) = (Peer::start("floor"), Peer::opened());
    let rows: Vec<[Duration; 6]> = (0..ROUNDS)
        .map(|_| {
            [
                floor.sequential("add"),
                sdk.sequential("add"),
                sdk.sequential("later"),
                sdk.asking(),
                floor.pipelined("add"),
                sdk.pipelined("add"),
            ]
        })
        .collect();
    let column =
        |at: usize| median(rows.iter().map(|row| row.get(at).copied().unwrap_or_default()));
    let show = |what: &str, at: usize, base: usize| {
        let ratio = column(at).as_secs_f64() / column(base).as_secs_f64();
        println!("{what:<34}{:>8.2} us{ratio:>8.2}", column(at).as_secs_f64() * 1e6);
    };
    println!("{:<34}{:>11}{:>8}", "", "median", "ratio");
    show("sequential, bare loop", 0, 0);
    show("sequential, SDK", 1, 0);
    show("sequential, SDK, asynchronous", 2, 0);
    show("with a call of the host, SDK", 3, 0);
    show("64 in flight, bare loop", 4, 4);
    show("64 in flight, SDK", 5, 4);
}
