//! `plugbay call` with a plugin of a few lines of shell, so that nothing but `sh` is needed.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::invocation::{Left, finish, plugbay, plugin, run, run_with_input};

const MANIFEST: &str = r#"
[plugin]
name = "it"
version = "1.0.0"
type = "test"

[runtime]
command = ["sh", "main.sh"]
dialect = "jsonrpc"
"#;

/// Answers by method: the parameters, an error, a crash, silence, hostile text.
const PROGRAM: &str = r#"
while read -r request; do
    id=${request#*\"id\":}; id=${id%%[,\}]*}
    answer() { printf '{"jsonrpc":"2.0","id":%s,%s}\n' "$id" "$1"; }
    case $request in
        *'"method":"echo"'*) answer "\"result\":{\"was\":  $(printf %s "$request" | tr -d ' ' | wc -c),\"n\":1.10}" ;;
        *'"method":"fail"'*) answer '"error":{"code":-32000,"message":"no\u001b[2J\nerror: forged"}' ;;
        *'"method":"hostile"'*) answer "\"result\":\"\\u001b[2J$(printf '\302\233')31m\"" ;;
        *'"method":"crash"'*) echo 'last words' >&2; kill -SEGV $$ ;;
        *'"method":"hang"'*) echo asked >&2; while :; do sleep 1; done ;;
    esac
done
"#;

pub(crate) fn it() -> (tempfile::TempDir, PathBuf) {
    let (root, directory) = plugin(MANIFEST);
    std::fs::write(directory.join("main.sh"), PROGRAM).unwrap();
    (root, directory)
}

fn call(args: &[&str]) -> Left {
    let (_root, directory) = it();
    run(&[&["call", directory.to_str().unwrap()], args].concat())
}

#[test]
fn a_result_is_one_line_off_a_terminal_and_keeps_its_numbers() {
    let left = call(&["echo", "{\"a\": 1}"]);
    assert!(
        left.stdout.starts_with("{\"was\":") && left.stdout.ends_with(",\"n\":1.10}\n"),
        "{left:?}"
    );
    assert_eq!((left.code, left.stderr.as_str()), (Some(0), ""));
}

#[test]
fn parameters_can_come_from_stdin() {
    let (_root, directory) = it();
    let left = run_with_input(&["call", directory.to_str().unwrap(), "echo", "-"], b"[1, 2]\n");
    assert_eq!(left.json()["n"], 1.1);
}

#[test]
fn a_plugin_is_called_by_name() {
    let (root, _) = it();
    let left = run(&["call", "it", "echo", "--plugins", root.path().to_str().unwrap()]);
    assert_eq!(left.json()["n"], 1.1);
    let missing = run(&["call", "ti", "echo", "--plugins", root.path().to_str().unwrap()]);
    missing.fails(3, "hint: there are: it");
}

#[test]
fn a_plugins_own_error_is_code_1_and_cannot_forge_a_line() {
    let left = call(&["fail"]);
    left.fails(1, "no\\u{1b}[2J\\nerror: forged");
    assert_eq!(left.stderr.lines().count(), 1, "{left:?}");
    let json = call(&["fail", "--json"]);
    let error: serde_json::Value = serde_json::from_str(&json.stderr).unwrap();
    assert_eq!(error["error"]["rpc"]["code"], -32000, "{error:#}");
}

#[test]
fn a_hostile_result_is_escaped() {
    let left = call(&["hostile"]);
    assert_eq!(left.stdout, "\"\\u001b[2J\\u009b31m\"\n");
}

#[test]
fn a_crash_is_code_5_with_cause_and_last_words() {
    call(&["crash"]).fails(5, "last words");
    let file = tempfile::NamedTempFile::new().unwrap();
    let left = call(&["crash", "--report", file.path().to_str().unwrap()]);
    assert_eq!(left.code, Some(5), "{left:?}");
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap();
    assert!(report["death"]["cause"].is_string(), "{report:#}");
    assert_eq!(report["enforcement"]["layers"].as_array().unwrap().len(), 19);
}

#[test]
fn a_report_tells_the_processor_time_of_a_call_that_was_alone() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let left = call(&["echo", "[1]", "--report", file.path().to_str().unwrap()]);
    assert_eq!(left.code, Some(0), "{left:?}");
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap();
    assert!(report["call"]["cpu_ms"].as_f64().is_some_and(|cpu| cpu >= 0.0), "{report:#}");
}

#[test]
fn a_deadline_is_code_6() {
    call(&["hang", "--deadline", "300ms"]).fails(6, "hint: --deadline");
}

#[test]
fn a_plugin_that_does_not_start_is_code_4() {
    let (_root, directory) = plugin(&MANIFEST.replace("sh\"", "no-such-shell\""));
    let left = run(&["call", directory.to_str().unwrap(), "echo"]);
    left.fails(4, "no-such-shell");
}

#[test]
fn wrong_parameters_cost_nothing() {
    call(&["echo", "{"]).fails(2, "hint: write a JSON object");
    call(&["echo", "3"]).fails(2, "neither an object nor an array");
    call(&["echo", "--config-file", "/no/such/file"]).fails(2, "/no/such/file");
}

#[test]
fn an_interruption_cancels_the_call() {
    let (_root, directory) = it();
    let words = ["call", directory.to_str().unwrap(), "hang", "--verbose"];
    let mut child = plugbay(&words).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let asked = stderr.lines().map_while(Result::ok).find(|line| line.ends_with("asked"));
    assert!(asked.is_some());
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGINT).unwrap();
    assert_eq!(finish(child).code, Some(130));
}

#[test]
fn verbose_shows_what_was_enforced() {
    call(&["echo", "--verbose"]).fails(0, "seccomp             enforced");
}

#[test]
fn strict_starts_whole_or_refuses_with_code_7() {
    let left = call(&["echo", "--level", "strict"]);
    match left.code {
        Some(0) => {}
        _ => left.fails(7, "hint: `plugbay doctor` shows"),
    }
}
