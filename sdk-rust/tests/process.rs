//! A plugin in a process of its own, driven by its pipes: the golden transcripts, and what only a
//! process shows: where printing goes, what children inherit, how it ends.
//!
//! Without a harness, because this program starts itself again as the plugin.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "an integration test's helpers are not `in tests` for clippy"
)]

#[path = "golden/plugin.rs"]
mod plugin;
#[path = "golden/replay.rs"]
mod replay;

use plugbay_sdk::{Context, ExitCode, Plugin, Result, Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What a plugin that hangs is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let role = std::env::args().nth(1).unwrap_or_default();
    match role.as_str() {
        "plugin:golden" => plugin::golden().run(),
        "plugin:printing" => printing().run(),
        "plugin:stubborn" => stubborn().run(),
        "plugin:faulty" => Plugin::new("faulty", "1").method("host/x", nothing).run(),
        _ => tests(&role),
    }
}

/// Runs those whose name contains the first argument, as `cargo test` has it.
fn tests(filter: &str) -> ExitCode {
    let tests: [(&str, fn()); 8] = [
        ("a_process_follows_every_transcript", a_process_follows_every_transcript),
        ("what_is_printed_is_no_message", what_is_printed_is_no_message),
        ("children_do_not_inherit_the_wire", children_do_not_inherit_the_wire),
        ("a_handler_that_never_returns_ends_too", a_handler_that_never_returns_ends_too),
        ("exit_ends_what_still_runs", exit_ends_what_still_runs),
        ("answers_survive_the_end_of_input", answers_survive_the_end_of_input),
        ("a_socket_may_be_the_wire", a_socket_may_be_the_wire),
        ("a_faulty_plugin_does_not_run", a_faulty_plugin_does_not_run),
    ];
    for (name, test) in
        tests.iter().filter(|(name, _)| filter.starts_with('-') || name.contains(filter))
    {
        test();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

fn nothing(_: (), _: &Context) -> Result<()> {
    Ok(())
}

fn printing() -> Plugin {
    Plugin::new("printing", "1.0.0")
        .method("print", |_: (), _: &Context| -> Result<()> {
            println!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"forged\"}}");
            Command::new("sh").args(["-c", "echo from a child"]).status()?;
            Ok(())
        })
        .method("read", |_: (), _: &Context| -> Result<String> {
            Ok(std::io::read_to_string(std::io::stdin())?)
        })
        .method("inherited", |_: (), _: &Context| -> Result<String> {
            let script = "for fd in /proc/self/fd/*; do readlink $fd; done; true";
            let output = Command::new("sh").args(["-c", script]).stdin(Stdio::null()).output()?;
            Ok(String::from_utf8(output.stdout)?)
        })
}

/// Handlers that listen to nobody.
fn stubborn() -> Plugin {
    Plugin::new("stubborn", "1.0.0").method("hang", |_: (), ctx: &Context| -> Result<()> {
        ctx.log().info("hanging");
        loop {
            std::thread::park();
        }
    })
}

/// A plugin process, and the test's ends of its pipes.
struct Process {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Process {
    fn start(role: &str) -> Self {
        let mut child = command(role).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    fn opened(role: &str) -> Self {
        let mut process = Self::start(role);
        process.call(
            "initialize",
            &json!({"versions": [1], "host": {"name": "test", "version": "0"}}),
        );
        process.send(&json!({"jsonrpc": "2.0", "method": "initialized"}));
        process
    }

    fn send(&mut self, message: &Value) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(format!("{message}\n").as_bytes()).unwrap();
    }

    fn receive(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.send(&json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}));
        self.receive().unwrap()
    }

    fn hang_up(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for the end; returns the status and how long it took.
    fn end(mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        let watchdog = watchdog(self.child.id());
        let status = self.child.wait().unwrap();
        drop(watchdog);
        (status.code(), begun.elapsed())
    }
}

fn command(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(format!("plugin:{role}")).stderr(Stdio::piped());
    command
}

/// Kills a process that does not end before this is dropped.
fn watchdog(pid: u32) -> mpsc::Sender<()> {
    let (alive, dropped) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if dropped.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
        }
    });
    alive
}

fn a_process_follows_every_transcript() {
    for transcript in replay::transcripts() {
        let mut process = Process::start("golden");
        let watchdog = watchdog(process.child.id());
        let stdin = process.child.stdin.take().unwrap();
        let shared = std::cell::RefCell::new(Some(stdin));
        let writer = To(&shared);
        replay::replay(&transcript, writer, &mut process.stdout, || drop(shared.take()));
        drop(watchdog);
        let mut stderr = String::new();
        process.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(process.end().0, Some(0), "{}", transcript.name);
        assert_eq!(stderr, "", "{}", transcript.name);
    }
}

/// An end that may be closed while it is borrowed.
struct To<'a>(&'a std::cell::RefCell<Option<std::process::ChildStdin>>);

impl std::io::Write for To<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().as_mut().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn what_is_printed_is_no_message() {
    let mut process = Process::opened("printing");
    assert_eq!(process.call("print", &json!({}))["result"], Value::Null);
    assert_eq!(process.call("read", &json!({}))["result"], "");
    process.hang_up();
    assert_eq!(process.receive(), None);
    let mut stderr = String::new();
    process.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert!(stderr.contains("forged") && stderr.contains("from a child"), "{stderr}");
    assert_eq!(process.end().0, Some(0));
}

fn children_do_not_inherit_the_wire() {
    let mut process = Process::opened("printing");
    let wire = |fd: u32| {
        let path = format!("/proc/{}/fd/{fd}", process.child.id());
        std::fs::read_link(path).unwrap().to_str().unwrap().to_owned()
    };
    // The first two above the standard three, which now are of no interest.
    let ends = [wire(3), wire(4)];
    assert!(ends.iter().all(|end| end.starts_with("pipe:")), "{ends:?}");
    let inherited = process.call("inherited", &json!({}))["result"].to_string();
    assert!(ends.iter().all(|end| !inherited.contains(end)), "{inherited} has one of {ends:?}");
}

fn a_handler_that_never_returns_ends_too() {
    let mut process = Process::opened("stubborn");
    process.send(&json!({"jsonrpc": "2.0", "id": 2, "method": "hang"}));
    assert_eq!(process.receive().unwrap()["method"], "$/log");
    process.hang_up();
    let (status, took) = process.end();
    assert_eq!(status, Some(0));
    assert!(took < Duration::from_secs(1) * 3, "{took:?}");
}

fn exit_ends_what_still_runs() {
    let mut process = Process::opened("stubborn");
    process.send(&json!({"jsonrpc": "2.0", "id": 2, "method": "hang"}));
    assert_eq!(process.receive().unwrap()["method"], "$/log");
    process.send(&json!({"jsonrpc": "2.0", "method": "exit"}));
    assert_eq!(process.receive(), None);
    assert_eq!(process.end().0, Some(0));
}

fn answers_survive_the_end_of_input() {
    let mut process = Process::opened("golden");
    for id in 0..20 {
        process.send(&json!({"jsonrpc": "2.0", "id": id, "method": "echo", "params": [id]}));
    }
    process.hang_up();
    let mut answers: Vec<Value> = std::iter::from_fn(|| process.receive()).collect();
    answers.sort_by_key(|answer| answer["id"].as_u64());
    assert_eq!(answers.len(), 20);
    assert!(answers.iter().enumerate().all(|(id, answer)| answer["result"] == json!([id])));
    assert_eq!(process.end().0, Some(0));
}

/// As standard input, a socket goes both ways.
fn a_socket_may_be_the_wire() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut child = command("golden")
        .env("PLUGBAY_RPC_FD", "0")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    for transcript in replay::transcripts().iter().filter(|wanted| wanted.name == "calls.jsonl") {
        let hang_up = || ours.shutdown(std::net::Shutdown::Write).unwrap();
        replay::replay(transcript, &ours, &ours, hang_up);
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(std::io::read_to_string(child.stdout.take().unwrap()).unwrap(), "");
}

fn a_faulty_plugin_does_not_run() {
    let output = command("faulty").stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "faulty: the method name `host/x` belongs to the protocol\n");
    let output = command("golden").env("PLUGBAY_RPC_FD", "x").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said, "golden: failed to read `PLUGBAY_RPC_FD`: `x` is no file descriptor\n");
}
