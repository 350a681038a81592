//! The package: what `plugin.toml` says and what the program says are the same.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "an integration test's helpers are not `in tests` for clippy"
)]

use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// What the program answers to these messages.
fn say(messages: &[Value]) -> Vec<Value> {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fastwords"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for message in messages {
        writeln!(stdin, "{message}").unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_manifest_and_the_program_agree() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugin.toml");
    let manifest: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    let params = json!({"versions": [1], "host": {"name": "test", "version": "0"}});
    let answers =
        say(&[json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})]);
    let hello = &answers[0]["result"];
    assert_eq!(hello["plugin"]["name"].as_str(), manifest["plugin"]["name"].as_str());
    assert_eq!(hello["plugin"]["version"].as_str(), manifest["plugin"]["version"].as_str());
    let declared: Vec<&String> = manifest["methods"].as_table().unwrap().keys().collect();
    assert_eq!(hello["methods"], json!(declared));
}
