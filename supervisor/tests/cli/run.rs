//! `plugbay run` as a shell sees it, and `doctor`, which starts real canaries.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::PermissionsExt as _,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::invocation::{finish, plugbay, program, run, run_in, run_with_input};

fn sh(script: &str) -> Vec<&str> {
    vec!["run", "--", "sh", "-c", script]
}

/// The report of a run.
fn report(args: &[&str]) -> serde_json::Value {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let _whatever = run(&[&["run", "--report", path], args].concat());
    serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap()
}

#[test]
fn streams_pass_through_untouched() {
    let left = run_with_input(&sh("cat; echo talk >&2"), b"\x00\x01 bytes\x1b[2J\n");
    assert_eq!(left.stdout, "\x00\x01 bytes\x1b[2J\n");
    assert_eq!(left.stderr, "talk\n");
}

#[test]
fn the_status_is_the_commands_own() {
    assert_eq!(run(&sh("exit 7")).code, Some(7));
    assert_eq!(run(&sh("exit 0")).code, Some(0));
}

#[test]
fn a_deadly_signal_is_128_and_named() {
    run(&sh("kill -SEGV $$")).fails(139, "plugbay: killed by SIGSEGV");
    let quiet = run(&["run", "--quiet", "--", "sh", "-c", "kill -SEGV $$"]);
    assert_eq!((quiet.code, quiet.stderr.as_str()), (Some(139), ""));
}

#[test]
fn what_cannot_be_executed_has_the_codes_of_the_shell() {
    run(&["run", "--", "no-such-command"]).fails(127, "error: ");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "not a program").unwrap();
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    run(&["run", "--", file.path().to_str().unwrap()]).fails(126, "error: ");
}

#[test]
fn the_environment_is_scrubbed_and_opened_by_name() {
    let env = |args: &[&str]| {
        let mut command = plugbay(&[&["run"], args, &["--", "env"]].concat());
        command.env("SECRET", "s3cret").env("TOKEN", "t0ken");
        finish(command.spawn().unwrap()).ok()
    };
    let scrubbed = env(&[]);
    assert!(!scrubbed.contains("s3cret") && scrubbed.contains("HOME=/tmp"), "{scrubbed}");
    let opened = env(&["--env", "TOKEN", "--env", "A=b=c"]);
    assert!(opened.contains("TOKEN=t0ken") && opened.contains("A=b=c"), "{opened}");
    assert!(!opened.contains("s3cret"), "{opened}");
}

#[test]
fn files_are_closed_until_granted() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(directory.path().join("file"), "content\n").unwrap();
    let here = directory.path();
    let closed = run_in(here, &["run", "--", "cat", here.join("file").to_str().unwrap()]);
    assert_eq!(closed.code, Some(1), "{closed:?}");
    assert_eq!(run_in(here, &["run", "--read", ".", "--", "cat", "file"]).ok(), "content\n");
    let read_only = run_in(here, &["run", "--read", ".", "--", "sh", "-c", "echo > new"]);
    assert_ne!(read_only.code, Some(0), "{read_only:?}");
    run_in(here, &["run", "--write", ".", "--", "sh", "-c", "echo new > new"]).ok();
    assert_eq!(std::fs::read_to_string(here.join("new")).unwrap(), "new\n");
}

#[test]
fn the_working_directory_is_here_if_granted_else_tmp() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().canonicalize().unwrap();
    // Without a mount namespace a private directory stands in for /tmp.
    let private = run_in(&here, &["run", "--", "sh", "-c", "pwd; echo $TMPDIR"]).ok();
    let (workdir, tmp) = private.split_once('\n').unwrap();
    assert_eq!(workdir, tmp.trim_end());
    let granted = run_in(&here, &["run", "--read", ".", "--", "pwd"]).ok();
    assert_eq!(granted.trim_end(), here.to_str().unwrap());
}

#[test]
fn signals_are_forwarded() {
    let script = "trap 'echo caught; exit 3' TERM; sleep 60 & echo ready; wait $!";
    let mut child = plugbay(&sh(script)).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    line.clear();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "caught\n");
    assert_eq!(finish(child).code, Some(3));
}

#[test]
fn what_the_terminal_sends_reaches_the_command_and_nothing_else() {
    let script = "trap 'echo caught; exit 3' INT; sleep 60 & echo ready; wait $!";
    let words = format!("exec {} run -- sh -c \"{script}\"", env!("CARGO_BIN_EXE_plugbay"));
    let words = words.replace("$!", "\\$!");
    let mut child = program("script").args(["-qec", &words, "/dev/null"]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut keyboard = child.stdin.take().unwrap();
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line.trim_end(), "ready");
    keyboard.write_all(b"\x03").unwrap();
    line.clear();
    stdout.read_line(&mut line).unwrap();
    assert!(line.ends_with("caught\r\n"), "{line:?}");
    assert_eq!(finish(child).code, Some(3));
}

#[test]
fn the_end_of_the_command_is_the_end_of_its_children() {
    // The background process holds stdout: were it left alive, this would wait for a minute.
    let left = run(&["run", "--wall", "30s", "--", "sh", "-c", "setsid sleep 60 & echo done"]);
    assert_eq!(left.ok(), "done\n");
}

#[test]
fn the_wall_limit_asks_and_then_kills() {
    let asked = run(&["run", "--wall", "100ms", "--", "sleep", "60"]);
    asked.fails(124, "wall clock limit of 100ms");
    let script = "trap '' TERM; sleep 60 & wait $!; sleep 60";
    run(&["run", "--wall", "100ms", "--", "sh", "-c", script]).fails(124, "wall clock limit");
    let report = report(&["--wall", "100ms", "--", "sleep", "60"]);
    assert_eq!(report["outcome"]["cause"], "wall");
}

#[test]
fn a_limit_that_kills_is_named() {
    let left = run(&["run", "--cpu-time", "1s", "--", "sh", "-c", "while :; do :; done"]);
    left.fails(123, "CPU time limit of 1s");
    let script = "exec head -c 2097152 /dev/zero > $TMPDIR/big";
    let report = report(&["--file-size", "1MiB", "--", "sh", "-c", script]);
    assert_eq!(report["outcome"]["signal"], "SIGXFSZ", "{report:#}");
    assert_eq!(report["outcome"]["cause"], "file-size");
}

#[test]
fn the_report_tells_what_was_granted_enforced_and_used() {
    let report = report(&["--net", "443", "--env", "A=secret", "--", "sh", "-c", "exit 3"]);
    assert_eq!(report["outcome"]["code"], 3);
    assert_eq!(report["grants"]["network"]["connect"], serde_json::json!([443]));
    assert_eq!(report["enforcement"]["layers"].as_array().unwrap().len(), 19);
    assert!(report["usage"]["max_rss_bytes"].as_u64().unwrap() > 0, "{report:#}");
    assert!(report["program"].as_str().unwrap().starts_with('/'));
    assert!(!report.to_string().contains("secret"), "values of variables are left out");
}

#[test]
fn a_run_that_never_was_is_reported_too() {
    let report = report(&["--", "no-such-command"]);
    assert!(report["outcome"]["error"].is_string(), "{report:#}");
    assert!(report["enforcement"].is_null());
}

#[test]
fn a_report_that_cannot_be_written_stops_the_run() {
    let left = run(&["run", "--report", "/no/such/dir/r.json", "--", "echo", "ran"]);
    left.fails(125, "/no/such/dir/r.json");
    assert_eq!(left.stdout, "");
}

#[test]
fn grants_that_make_no_sense_are_usage_errors() {
    run(&["run", "--read", "/no/such/path", "--", "true"])
        .fails(2, "hint: a grant opens what exists");
    run(&["run", "--net", "none", "--net", "443", "--", "true"]).fails(2, "contradict");
}

#[test]
fn level_none_is_loud() {
    run(&["run", "--level", "none", "--", "true"]).fails(0, "without a sandbox");
}

#[test]
fn the_doctor_breaks_no_promise() {
    let left = run(&["doctor", "--json"]);
    let findings = left.json();
    assert_eq!(left.code, Some(0), "{findings:#}");
    let proofs = findings["proofs"].as_array().unwrap();
    let proven = proofs.iter().filter(|proof| proof["verdict"] == "proven").count();
    assert!(proven >= 10, "{findings:#}");
    assert!(proofs.iter().all(|proof| proof["verdict"] != "broken"), "{findings:#}");
}

#[test]
fn what_is_denied_is_hidden_or_the_command_does_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    std::fs::set_permissions(here, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(here.join("sub")).unwrap();
    for name in ["file", ".env", "sub/.env"] {
        std::fs::write(here.join(name), format!("{name}\n")).unwrap();
    }
    let words =
        ["run", "--read", ".", "--deny", "**/.env", "--", "cat", "file", ".env", "sub/.env"];
    let ran = run_in(here, &words);
    if ran.code == Some(125) {
        // Without mounts.
        return assert!(ran.stderr.contains("cannot be denied"), "{ran:?}");
    }
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), "file\n"), "{ran:?}");
    run_in(here, &["run", "--read", ".", "--deny", ".evn", "--", "true"])
        .fails(2, "error: --deny `.evn`: there is no such file");
    let note = run_in(here, &["run", "--read", ".", "--deny", "*.pem", "--", "true"]);
    assert!(note.stderr.contains("`*.pem` finds nothing"), "{note:?}");
}
