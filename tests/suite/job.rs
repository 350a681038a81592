//! A job of a CI in every setting, and inside of containers that keep something from us: it runs, its
//! status is its own, and what is weaker is named.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Stdio};

use plugbay_tests::{Setting, TestEnv, command};
use serde_json::Value;

const TEST: &str = "import socket, unittest\n\
    class It(unittest.TestCase):\n\
    \x20   def test_server(self):\n\
    \x20       with socket.create_server(('127.0.0.1', 0)) as server:\n\
    \x20           socket.create_connection(server.getsockname()).close()\n";

const FAILS: &str = "import unittest\n\
    class It(unittest.TestCase):\n\
    \x20   def test_fails(self):\n\
    \x20       self.fail('on purpose')\n";

/// A repository with one test, of this user.
fn repository(env: &TestEnv, name: &str, uid: u32, test: &str) -> PathBuf {
    let repository = env.directory(name, uid);
    fs::write(repository.join("test_it.py"), test).unwrap();
    fs::set_permissions(&repository, fs::Permissions::from_mode(0o777)).unwrap();
    repository
}

/// Runs the job behind these words: its status, what was said, its report.
fn job(env: &TestEnv, before: &[String], repository: &str) -> (Option<i32>, String, Value) {
    let report = format!("{repository}/report.json");
    let mut words = before.to_vec();
    words.push(env.binaries().path("plugbay").display().to_string());
    let run = ["run", "--profile", "ci", "--tool", "python", "--workdir", repository];
    words.extend(run.map(str::to_owned));
    words.extend(["--report", &report, "--", "python3", "-m", "unittest"].map(str::to_owned));
    let (program, args) = words.split_first().unwrap();
    let mut process = command(program.as_ref());
    process.args(args).stdin(Stdio::null()).env("PATH", "/usr/local/bin:/usr/bin:/bin");
    let output = process.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = fs::read(report).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    (output.status.code(), said, report.unwrap_or(Value::Null))
}

/// Every protection is held, or what follows is said; and the job could not have started otherwise.
fn assert_honest(report: &Value, name: &str) {
    let grades = report["enforcement"]["protections"].as_array().unwrap();
    assert!(!grades.is_empty(), "{name}: {report:#}");
    for grade in grades {
        let whole = grade["hold"] == "enforced";
        let words = grade["consequence"].as_str().unwrap_or_default();
        assert!(whole || !words.is_empty(), "{name}: {grade}");
    }
    let weaker: Vec<&Value> = grades
        .iter()
        .filter(|grade| grade["hold"] != "enforced")
        .map(|grade| &grade["protection"])
        .collect();
    println!("{name}: weaker: {weaker:?}");
}

fn assert_runs(env: &TestEnv, name: &str, before: &[String], uid: u32) {
    let passes = repository(env, &format!("passes-{uid}"), uid, TEST);
    let (code, said, report) = job(env, before, passes.to_str().unwrap());
    // Without namespaces there is no loopback of its own to serve on.
    let has_loopback = report["enforcement"]["layers"].as_array().is_some_and(|layers| {
        layers.iter().any(|it| it["layer"] == "network-namespace" && it["status"] == "enforced")
    });
    let wanted = if has_loopback { 0 } else { 1 };
    assert_eq!(code, Some(wanted), "{name}: {said}\n{report:#}");
    assert!(said.contains("Ran 1 test"), "{name}: {said}");
    assert_honest(&report, name);
    let fails = repository(env, &format!("fails-{uid}"), uid, FAILS);
    let (code, said, report) = job(env, before, fails.to_str().unwrap());
    assert_eq!((code, &report["outcome"]["cause"]), (Some(1), &Value::Null), "{name}: {said}");
    fs::remove_dir_all(passes).unwrap();
    fs::remove_dir_all(fails).unwrap();
}

#[test]
fn a_job_runs_in_every_setting_and_its_status_is_its_own() {
    let env = crate::env();
    for setting in Setting::possible() {
        let mut before = vec![env.binaries().path("rung").display().to_string()];
        before.extend(setting.rung_options());
        before.push("--".to_owned());
        // `rung` takes the program, then its whole argument vector.
        before.push(env.binaries().path("plugbay").display().to_string());
        assert_runs(&env, setting.name(), &before, setting.uid());
    }
}

#[test]
fn a_job_runs_in_containers_without_user_namespaces_other_ids_or_a_whole_proc() {
    let env = crate::env();
    let uid = nix::unistd::geteuid().as_raw();
    let container = "bwrap --ro-bind / / --dev /dev --bind /tmp /tmp --unshare-pid --unshare-user \
                     --die-with-parent";
    for (name, options) in [
        ("container", "--proc /proc"),
        ("container without user namespaces", "--proc /proc --disable-userns"),
        ("container with a masked /proc", "--proc /proc --tmpfs /proc/fs"),
        ("container with neither", "--proc /proc --disable-userns --tmpfs /proc/fs"),
    ] {
        let words = format!("{container} {options} --");
        let before: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        let mut alone = command("/usr/bin/env".as_ref());
        alone.env("PATH", "/usr/local/bin:/usr/bin:/bin").args(&before).arg("true");
        if !alone.output().is_ok_and(|output| output.status.success()) {
            println!("skipped ({name}): bubblewrap cannot make it here");
            continue;
        }
        let before = [vec!["/usr/bin/env".to_owned()], before].concat();
        assert_runs(&env, name, &before, uid);
    }
}
