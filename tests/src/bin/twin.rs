//! The chaos plugin's twin in Rust: quick to start, quick to write, and healthy until it is asked.
//!
//! Like `fixtures/chaos`, it speaks the protocol by itself, because an SDK would keep the rules.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a fixture: a panic is a death, which is what it is for"
)]

use std::io::{self, BufRead as _, Write};

use serde_json::{Value, json};

const METHODS: [&str; 5] = ["echo", "hang", "endless", "chatter", "mutter"];

fn main() {
    let name = std::env::args().nth(1).unwrap_or_else(|| "twin".to_owned());
    for line in io::stdin().lock().lines() {
        let message: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let (call, params) = (&message["id"], &message["params"]);
        match message["method"].as_str().unwrap_or_default() {
            "initialize" => answer(call, &hello(&name)),
            "shutdown" => answer(call, &Value::Null),
            "exit" => return,
            "echo" => answer(call, params),
            "hang" => io::stderr().write_all(b"hanging\n").unwrap(),
            "endless" => endless(call, params),
            "chatter" => {
                let notice: &[u8] =
                    b"{\"jsonrpc\":\"2.0\",\"method\":\"app/chatter\",\"params\":{\"n\":1}}\n";
                pour(&mut io::stdout(), notice, params);
                answer(call, &Value::Null);
            }
            "mutter" => {
                let words: &[u8] = if params["lines"] == true { b"so it goes\n" } else { b"and " };
                pour(&mut io::stderr(), words, params);
                answer(call, &Value::Null);
            }
            _ => {}
        }
    }
}

fn hello(name: &str) -> Value {
    let plugin = json!({"name": name, "version": "1.0.0"});
    json!({
        "version": 1, "features": [], "plugin": plugin, "methods": METHODS, "subscribes": [],
        "publishes": [],
    })
}

fn answer(call: &Value, result: &Value) {
    let mut line = json!({"jsonrpc": "2.0", "id": call, "result": result}).to_string();
    line.push('\n');
    io::stdout().write_all(line.as_bytes()).unwrap();
}

/// A line without an end, as an answer or as nothing that anybody knows.
fn endless(call: &Value, params: &Value) {
    let start = match params["as"].as_str() {
        Some("answer") => format!("{{\"jsonrpc\":\"2.0\",\"id\":{call},\"result\":\""),
        Some("brackets") => {
            return pour(&mut io::stdout(), b"[", params);
        }
        _ => String::new(),
    };
    io::stdout().write_all(start.as_bytes()).unwrap();
    io::stdout().flush().unwrap();
    pour(&mut io::stdout(), b"x", params);
    if params["as"] == "answer" {
        io::stdout().write_all(b"\"}\n").unwrap();
    }
}

/// Writes so many mebibytes of one pattern.
fn pour(to: &mut impl Write, pattern: &[u8], params: &Value) {
    let block = pattern.repeat((1 << 20) / pattern.len());
    for _ in 0..params["mib"].as_u64().unwrap() {
        to.write_all(&block).unwrap();
    }
    to.flush().unwrap();
}
