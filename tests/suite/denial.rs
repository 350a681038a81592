//! What `plugbay run` tells of a refusal makes the run pass when it is typed.

use std::{
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use plugbay_tests::{PATIENCE, Setting, TestEnv, command};

/// The share of a core that a flood may cost whoever answers it.
const SHARE: f64 = 0.2;

/// Fixes that one failure may need one after the other.
const ROUNDS: usize = 3;

/// A command that fails for want of something.
struct Case {
    name: &'static str,
    flags: Vec<String>,
    command: Vec<String>,
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

impl Case {
    fn new(name: &'static str, flags: &str, command: &[&str]) -> Self {
        let command = command.iter().map(|&word| word.to_owned()).collect();
        Self { name, flags: words(flags), command }
    }
}

/// Runs it: whether it succeeded, and what was said.
fn run(env: &TestEnv, setting: Setting, flags: &[String], words: &[String]) -> (bool, String) {
    let mut process = command(&env.binaries().path("rung"));
    process.args(setting.rung_options()).arg("--").arg(env.binaries().path("plugbay"));
    process.args(["plugbay", "run"]).args(flags).arg("--").args(words);
    let output = process.stdin(Stdio::null()).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The flags that were told, in the order in which they were told.
fn fixes(said: &str) -> Vec<String> {
    let told = said.lines().filter_map(|line| line.split_once("; to allow it: "));
    told.flat_map(|(_, fix)| words(fix)).collect()
}

fn holds(env: &TestEnv, setting: Setting, case: &Case) -> Result<(), String> {
    let Case { name, flags, command } = case;
    let failed =
        |what: &str, said: &str| Err(format!("{name} ({}): {what}\n{said}", setting.name()));
    let mut flags = flags.clone();
    let (passed, mut said) = run(env, setting, &flags, command);
    if passed {
        return failed("it was not refused", &said);
    }
    for _ in 0..ROUNDS {
        let told = fixes(&said);
        if told.is_empty() {
            return failed("no fix was told", &said);
        }
        flags.extend(told);
        let (passed, now) = run(env, setting, &flags, command);
        if passed {
            println!("{name} ({}): {}", setting.name(), flags.join(" "));
            return Ok(());
        }
        said = now;
    }
    failed(&format!("it still fails with {flags:?}"), &said)
}

fn all_hold(env: &TestEnv, settings: &[Setting], cases: &[Case]) {
    let pairs = settings.iter().flat_map(|setting| cases.iter().map(move |case| (setting, case)));
    let broken: Vec<String> =
        pairs.filter_map(|(setting, case)| holds(env, *setting, case).err()).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

const PRIORITY: &str = "import os; os.setpriority(os.PRIO_PROCESS, 0, 5)";

#[test]
fn the_fix_that_is_told_for_a_file_a_port_or_a_call_makes_the_run_pass() {
    let env = crate::env();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connect = format!("import socket; socket.create_connection(('127.0.0.1', {port}))");
    for setting in Setting::possible() {
        let given = env.directory("given", setting.uid());
        // As root without namespaces a grant is worth what its mode allows others.
        std::fs::set_permissions(&given, std::fs::Permissions::from_mode(0o777)).unwrap();
        let given = given.to_str().unwrap();
        let file = format!("{given}/data.txt");
        std::fs::write(&file, "data").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
        let here = format!("--explain --read {given} --workdir {given}");
        let append = format!("echo more >> {file}");
        let tool = format!("{given}/tool");
        std::fs::write(&tool, "#!/bin/sh\nexit 0\n").unwrap();
        std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o777)).unwrap();
        let cases = [
            Case::new("a file", "--explain", &["cat", &file]),
            Case::new("a new file where reading is granted", &here, &["mkdir", "new"]),
            Case::new("a file granted for reading", &here, &["sh", "-c", &append]),
            Case::new("a port", "--explain --net 1", &["python3", "-c", &connect]),
            Case::new("a host", "", &["python3", "-c", &connect]),
            Case::new("a system call", "", &["python3", "-c", PRIORITY]),
        ];
        all_hold(&env, &[setting], &cases);
        // In a view what lies below /tmp may be executed, as what the process makes there may.
        if !setting.may_have_namespaces() {
            all_hold(&env, &[setting], &[Case::new("a program", &here, &["sh", "-c", &tool])]);
        }
        std::fs::remove_dir_all(given).unwrap();
    }
}

#[test]
fn the_fix_that_is_told_for_a_limit_makes_the_run_pass() {
    let env = crate::env();
    let forks = "for i in 1 2 3 4 5 6 7 8 9; do sleep 0.2 & done; wait";
    let burn = "import time\nwhile time.process_time() < 1.5: pass";
    let write = "exec dd if=/dev/zero of=${TMPDIR:-/tmp}/big bs=1M count=3";
    let everywhere = [
        Case::new("processor time", "--cpu-time 1s", &["python3", "-c", burn]),
        Case::new("wall clock time", "--wall 1s", &["sleep", "2"]),
        Case::new("file size", "--file-size 1MiB", &["sh", "-c", write]),
    ];
    let settings = Setting::possible();
    all_hold(&env, settings.get(..1).unwrap(), &everywhere);
    // Told only where something counts the whole tree.
    let counted = [
        Case::new("memory", "--memory 64MiB", &["python3", "-c", "bytearray(100 << 20)"]),
        Case::new("processes", "--pids 5", &["sh", "-c", forks]),
    ];
    let counts = |setting: &Setting| {
        let (_, said) = run(&env, *setting, &words("--verbose"), &words("true"));
        said.lines().any(|line| line.contains("rlimits") && line.contains("enforced"))
    };
    let settings: Vec<Setting> = settings.into_iter().filter(counts).take(1).collect();
    all_hold(&env, &settings, &counted);
}

#[test]
fn what_is_granted_is_not_told_as_refused() {
    let env = crate::env();
    for setting in Setting::possible() {
        let given = env.directory("given", setting.uid());
        let flags = words(&format!("--explain --write {0} --workdir {0}", given.display()));
        let command =
            ["sh", "-c", "mkdir a && echo x > a/b && cat a/b && ls /usr && rm -r a; false"]
                .map(str::to_owned);
        let (_, said) = run(&env, setting, &flags, &command);
        assert!(said.contains("explain: "), "{}: {said}", setting.name());
        assert!(!said.contains("denied: "), "{}: {said}", setting.name());
    }
}

#[test]
fn where_a_sandbox_outside_listens_refusals_hold_and_nobody_claims_to_watch() {
    let env = crate::env();
    let inner = env.binaries().path("plugbay");
    let report = env.directory("reports", Setting::User.uid()).join("inner.json");
    let outer = words(&format!(
        "--explain --exec {} --write {} --filter ci",
        inner.parent().unwrap().display(),
        env.root().display()
    ));
    let command = [inner.to_str().unwrap(), "run", "--report", report.to_str().unwrap(), "--"];
    let command: Vec<String> = command
        .iter()
        .copied()
        .chain(["mount", "-t", "tmpfs", "x", "/tmp"])
        .map(str::to_owned)
        .collect();
    let (passed, said) = run(&env, Setting::User, &outer, &command);
    assert!(!passed, "{said}");
    let text = std::fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {said}"));
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let watched = &report["denials"]["watched"];
    assert_eq!(watched["calls"], false, "{text}");
    assert!(watched["why"].as_str().unwrap().contains("listens already"), "{text}");
    assert_eq!(report["denials"]["kinds"].as_array().unwrap().len(), 0, "{text}");
}

/// A plugin in Python with this line in its manifest's permissions.
fn plugin(env: &TestEnv, permissions: &str) -> PathBuf {
    let home = env.directory("nicer", nix::unistd::geteuid().as_raw());
    let manifest = format!(
        "[plugin]\nname = \"nicer\"\nversion = \"1.0.0\"\n{permissions}\n[runtime]\n\
         command = \"python3 main.py\"\nsdk = \"python\"\n"
    );
    let main = "import os\nfrom plugbay import Plugin\nplugin = Plugin(\"nicer\", \"1.0.0\")\n\
                @plugin.method\ndef nice() -> int:\n    \
                os.setpriority(os.PRIO_PROCESS, 0, 5)\n    return 5\nplugin.run()\n";
    std::fs::write(home.join("plugin.toml"), manifest).unwrap();
    std::fs::write(home.join("main.py"), main).unwrap();
    home
}

#[test]
fn the_line_that_is_told_of_a_plugin_makes_its_call_succeed() {
    let env = crate::env();
    let call = |home: &Path| {
        let mut call = command(&env.binaries().path("plugbay"));
        call.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let output = call.arg("call").arg(home).arg("nice").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.success(), said)
    };
    let (passed, said) = call(&plugin(&env, ""));
    assert!(!passed, "{said}");
    let told = said.lines().find_map(|line| line.split_once("; to allow it: "));
    let (_, line) = told.unwrap_or_else(|| panic!("no fix was told: {said}"));
    let (table, key) = line.split_once("] ").unwrap();
    let (passed, said) = call(&plugin(&env, &format!("{table}]\n{key}")));
    assert!(passed, "{line}: {said}");
}

#[test]
fn a_flood_of_refusals_costs_the_keeper_little_and_others_nothing() {
    let env = crate::env();
    let mut keeper = env.keeper(Setting::User);
    let mut sibling = keeper.spawn(&env.probe(["answer"])).unwrap();
    let before = (now(), processor_time(keeper.pid()));
    let flood = env.probe(["denial-flood", "count=100000"]);
    let flooder = keeper.spawn(&flood).unwrap();
    for number in 1..=50 {
        sibling.write(&format!("{number}\n"));
        assert_eq!(sibling.line(PATIENCE), Some(format!("answer to {number}")));
    }
    let ran = keeper.finish(flooder);
    let after = (now(), processor_time(keeper.pid()));
    let share = (after.1 - before.1).as_secs_f64() / (after.0 - before.0).as_secs_f64();
    println!(
        "{:.1} % of a core for a hundred thousand refusals in {:?}",
        share * 100.0,
        after.0 - before.0
    );
    assert_eq!(ran.exit.code, Some(0), "{}{}", ran.output, ran.errors);
    assert_eq!(ran.denied, ["keyrings"], "{}", ran.output);
    assert!(share < SHARE, "{share}");
}

#[expect(clippy::disallowed_methods, reason = "a share of a core is per real time")]
fn now() -> Instant {
    Instant::now()
}

/// What a process has used of the processors.
fn processor_time(pid: i32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}
