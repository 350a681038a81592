//! Who outlives whom: a host its plugins, a thousand times over; nobody the host or the keeper.

use std::{
    io::{BufRead as _, BufReader},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plugbay::{CallErrorKind, Cause};
use plugbay_tests::{PATIENCE, Setting, TestEnv, Within, command, is_root, open_process, vitals};
use serde_json::{Value, json};

use crate::fault::stage::{Plan, Stage};

/// How much resident memory nine hundred kills may cost: allocator noise, not one page per kill.
const NOISE: i64 = 2 << 20;

/// The test host's own program, in a place of its own.
fn host(env: &TestEnv, scene: &str, program: &Path, count: u32) -> std::process::Command {
    let root = env.directory("plugins", vitals::user());
    let mut host = command(&env.binaries().path("host"));
    host.args([Path::new(scene), &root, program]).arg(count.to_string());
    host.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    host
}

#[test]
fn a_thousand_kills_leave_the_host_as_it_was() {
    let env = crate::env();
    let twin = env.binaries().path("twin");
    let output = host(&env, "kills", &twin, 1000).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    println!("{text}");
    let told: Value = serde_json::from_str(&text).unwrap();
    let median = told["median"].as_f64().unwrap();
    assert!(median < 100.0, "the caller is told after {median} ms (median)");
    for held in ["descriptors", "threads", "descendants"] {
        assert_eq!(told[held][0], told[held][1], "{held}: {text}");
    }
    let resident = |at: usize| told["resident"][at].as_i64().unwrap();
    assert!(resident(1) - resident(0) < NOISE, "{text}");
}

/// A host whose plugins have left daemons, and pidfds of all of theirs.
fn serving(env: &TestEnv) -> (Child, Vec<OwnedFd>) {
    let chaos = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/chaos/main.py");
    let mut host = host(env, "serve", &chaos, 2);
    let mut child = host.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let family = vitals::carriers(&format!("sinner-of={}", env.root().display()));
    assert_eq!(family.len(), 8, "two plugins with three daemons each");
    (child, family)
}

#[test]
fn no_process_outlives_a_killed_host() {
    let env = crate::env();
    let (mut host, mut family) = serving(&env);
    // The keeper and its shims as well.
    let below = vitals::descendants(host.id().try_into().unwrap());
    family.extend(below.into_iter().filter_map(open_process));
    host.kill().unwrap();
    host.wait().unwrap();
    let left = vitals::survivors(&family, Within::of(Duration::from_secs(1)));
    assert_eq!(left, 0, "of {} processes", family.len());
}

#[test]
fn no_process_outlives_a_killed_keeper_and_the_host_starts_another() {
    let env = crate::env();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let stage = Stage::set(env, own_setting(), Plan::PLAIN).await;
        stage.call("daemons", json!({"count": 3})).await.unwrap();
        let family = stage.sinners();
        assert_eq!(family.len(), 4);
        let keeper = stage.keeper().await;
        let in_flight = stage.call("hang", json!({}));
        let killing = async {
            stage.hears("hanging", 1).await;
            kill(Pid::from_raw(keeper), Signal::SIGKILL).unwrap();
        };
        let (outcome, ()) = tokio::join!(in_flight, killing);
        let error = outcome.unwrap_err();
        let CallErrorKind::Crashed { cause, .. } = error.kind() else { panic!("{error}") };
        // Which of the two is seen first is the kernel's choice.
        let known = [Cause::KeeperLost, Cause::Signal(libc::SIGKILL), Cause::Unknown];
        assert!(known.contains(cause), "{cause:?}");
        assert_eq!(vitals::survivors(&family, Within::of(Duration::from_secs(1))), 0);
        stage.is_healthy().await;
        assert_ne!(stage.keeper().await, keeper);
        let twin: Value = stage.host.call("twin", "echo", &json!([1])).await.unwrap();
        assert_eq!(twin, json!([1]));
        tokio::time::timeout(PATIENCE, stage.host.shutdown()).await.unwrap();
    });
}

/// The keeper's setting that is the tests' own.
fn own_setting() -> Setting {
    if is_root() { Setting::Root } else { Setting::User }
}
