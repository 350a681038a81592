//! `plugbay dev`: an author saves, and callers do not notice but for the answers.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::invocation::{plugbay, plugin};

/// How long a test may take.
const PATIENCE: Duration = Duration::from_secs(60);

const MANIFEST: &str = r#"
[plugin]
name = "counter"
version = "1.0.0"
type = "test"

[runtime]
command = ["python3", "main.py"]
sdk = "python"
"#;

const PROGRAM: &str = r#"
from plugbay import Plugin

plugin = Plugin("counter", "1.0.0")
kept = {"count": 0}


@plugin.method
def count():
    kept["count"] += 1
    return [kept["count"], "first"]


@plugin.snapshot
def snapshot():
    return kept


@plugin.restore
def restore(before):
    kept.update(before)


plugin.run()
"#;

/// `plugbay dev --json` under way.
struct Dev {
    child: Child,
    typing: Option<ChildStdin>,
    told: BufReader<ChildStdout>,
    /// Hung up when the test is over; until then somebody waits to break off one that hangs.
    _watched: mpsc::Sender<()>,
}

impl Dev {
    fn start(directory: &Path) -> Self {
        let mut command = plugbay(&["dev", directory.to_str().unwrap(), "--json"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let told = BufReader::new(child.stdout.take().unwrap());
        let (watched, over) = mpsc::channel::<()>();
        let pid = pid(&child);
        thread::spawn(move || {
            if over.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
                kill(pid, Signal::SIGKILL).unwrap();
            }
        });
        Self { typing: child.stdin.take(), told, child, _watched: watched }
    }

    /// What is told next of this kind.
    fn hear(&mut self, event: &str) -> Value {
        self.hear_all([event]).into_iter().next().unwrap()
    }

    /// What is told next of each kind, in whichever order.
    fn hear_all<const N: usize>(&mut self, events: [&str; N]) -> [Value; N] {
        let mut found = [const { Value::Null }; N];
        let mut line = String::new();
        while found.iter().any(Value::is_null) {
            line.clear();
            assert!(self.told.read_line(&mut line).unwrap() > 0, "it ended without {events:?}");
            let told: Value = serde_json::from_str(&line).unwrap();
            let kind = told.get("event").and_then(Value::as_str);
            if let Some(place) = events.iter().position(|event| kind == Some(event)) {
                *found.get_mut(place).unwrap() = told;
            }
        }
        found
    }

    fn call(&mut self, line: &str) -> Value {
        writeln!(self.typing.as_mut().unwrap(), "{line}").unwrap();
        self.hear("called")
    }

    /// Is interrupted, as from the keyboard; gives the exit status.
    fn end(mut self) -> Option<i32> {
        kill(pid(&self.child), Signal::SIGINT).unwrap();
        self.child.wait().unwrap().code()
    }
}

/// A test that fails leaves nothing behind.
impl Drop for Dev {
    fn drop(&mut self) {
        // One that has ended needs no kill.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().unwrap())
}

/// Saves as editors do: beside it, then over it.
fn save(directory: &Path, name: &str, text: &str) {
    fs::write(directory.join("saving~"), text).unwrap();
    fs::rename(directory.join("saving~"), directory.join(name)).unwrap();
}

#[test]
fn a_saved_change_answers_with_the_state_of_the_version_before() {
    let (_root, directory) = plugin(MANIFEST);
    fs::write(directory.join("main.py"), PROGRAM).unwrap();
    let mut dev = Dev::start(&directory);
    assert_eq!(dev.hear("ready")["version"], "1.0.0");
    assert_eq!(dev.call("count")["result"], serde_json::json!([1, "first"]));

    save(&directory, "main.py", &PROGRAM.replace("first", "second"));
    assert_eq!(dev.hear("changed")["path"], "main.py");
    let switched = dev.hear("switched");
    assert!(switched["state_bytes"].as_u64().unwrap() > 0, "{switched}");
    assert_eq!(dev.call("count {}")["result"], serde_json::json!([2, "second"]));
    assert_eq!(dev.end(), Some(0));
}

#[test]
fn what_does_not_work_is_told_and_the_version_before_goes_on() {
    let (_root, directory) = plugin(MANIFEST);
    fs::write(directory.join("main.py"), PROGRAM).unwrap();
    let mut dev = Dev::start(&directory);
    dev.hear("ready");

    save(&directory, "main.py", "raise SystemExit('\x1b[31mbroken')");
    let [died, dropped] = dev.hear_all(["died", "dropped"]);
    assert!(died["stderr"].to_string().contains("broken"), "{died}");
    assert!(dropped["why"].as_str().unwrap().contains("exited before its hello"), "{dropped}");
    assert_eq!(dev.call("count")["result"][0], 1);

    save(&directory, "plugin.toml", &MANIFEST.replace("version", "verzion"));
    let refused = dev.hear("refused");
    assert!(refused["why"].as_str().unwrap().contains("verzion"), "{refused}");
    assert_eq!(dev.call("count")["result"][0], 2);
    assert_eq!(dev.call("nothing")["outcome"], "unknown-method");
    writeln!(dev.typing.as_mut().unwrap(), "count {{no").unwrap();
    dev.hear("misread");
    assert_eq!(dev.end(), Some(0));
}

#[test]
fn one_that_is_broken_from_the_start_comes_up_when_it_is_mended() {
    let (_root, directory) = plugin(MANIFEST);
    fs::write(directory.join("main.py"), "raise SystemExit(3)").unwrap();
    let mut dev = Dev::start(&directory);
    dev.hear("down");
    save(&directory, "main.py", PROGRAM);
    dev.hear("switched");
    assert_eq!(dev.call("count")["result"][0], 1);
    drop(dev.typing.take());
    assert_eq!(dev.end(), Some(0));
}
