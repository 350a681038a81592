//! The ladder from below: what is masked is missed, named and refused where it is demanded; and what
//! is said to hold is shown to.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, path::Path, process::Output};

use plugbay_sandbox::{Demand, Demands, Hold, Layer, Limit, PlanError, Protection, Proven};
use plugbay_tests::{Offer, Setting, TestEnv, command, is_root};
use serde_json::Value;

/// `plugbay run` behind what the options of `rung` refuse.
fn run(env: &TestEnv, masks: &[&str], words: &[&str], state: Option<&Path>) -> Output {
    let binaries = env.binaries();
    let mut command = command(&binaries.path("rung"));
    command.args(masks).arg("--").arg(binaries.path("plugbay")).args(["plugbay", "run"]);
    if let Some(state) = state {
        command.env("PLUGBAY_STATE", state);
    }
    command.args(words).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The options that make an ordinary user of us, and root's where we are that.
fn users() -> Vec<Setting> {
    let both = [Setting::Root, Setting::User];
    both.into_iter().filter(|setting| setting.is_possible()).collect()
}

fn masked(setting: Setting, masks: &[&str]) -> Vec<String> {
    let masks = masks.iter().map(|mask| (*mask).to_owned());
    setting.rung_options().into_iter().chain(masks).collect()
}

fn words(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

/// A file that everybody may read and nobody is granted, where no sandbox has a place of its own.
fn secret(env: &TestEnv) -> (tempfile::TempDir, String) {
    let name = env.root().file_name().unwrap().to_string_lossy().into_owned();
    let place = tempfile::Builder::new().prefix(&name).tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = place.path().join("secret");
    fs::write(&path, "told").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let path = path.display().to_string();
    (place, path)
}

/// The grade of a protection in a report that `run` has written.
fn grade(report: &Path, protection: Protection) -> String {
    let report: Value = serde_json::from_slice(&fs::read(report).unwrap()).unwrap();
    let grades = report["enforcement"]["protections"].as_array().unwrap().clone();
    let found = grades.iter().find(|grade| grade["protection"] == protection.name());
    found.unwrap()["hold"].as_str().unwrap().to_owned()
}

const PREFER_FILES: [&str; 4] = ["--prefer", "files.read", "--prefer", "files.write"];

#[test]
fn without_landlock_file_policies_are_refused_with_the_way_to_get_them() {
    let env = crate::env();
    for setting in users() {
        for masks in [&["--refuse=landlock"][..], &["--refuse=landlock", "--refuse=namespaces"]] {
            let options = masked(setting, masks);
            let output = run(&env, &words(&options), &["--", "true"], None);
            let errors = said(&output);
            assert_eq!(output.status.code(), Some(125), "{options:?}: {errors}");
            let told = "`files.read` is required by level `standard`";
            assert!(errors.contains(told) && errors.contains("; to get it: "), "{errors}");
        }
    }
}

#[test]
fn without_landlock_what_is_preferred_is_graded_as_it_is_and_the_rest_holds() {
    let env = crate::env();
    let (_place, secret) = secret(&env);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let script =
        format!("cat {secret}; (: 3<>/dev/tcp/127.0.0.1/{port}) && echo reached; echo end");
    let outside = command(Path::new("/bin/bash")).args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&outside.stdout), "toldreached\nend\n");
    for setting in users() {
        let with_view = Offer::of(env.binaries(), setting).namespaces;
        for bare in [false, true] {
            let mut masks = vec!["--refuse=landlock"];
            masks.extend(bare.then_some("--refuse=namespaces"));
            let options = masked(setting, &masks);
            let place = env.directory(&format!("{}-{bare}", setting.uid()), setting.uid());
            let report = place.join("report.json");
            let mut typed = PREFER_FILES.to_vec();
            let written = report.display().to_string();
            typed.extend(["--report", &written, "--", "bash", "-c", &script]);
            let output = run(&env, &words(&options), &typed, None);
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.ends_with("end\n"), "{options:?}: {}", said(&output));
            let open = bare || !with_view;
            let hold = if open { Hold::Absent } else { Hold::Degraded };
            assert_eq!(grade(&report, Protection::FilesRead), hold.as_str(), "{options:?}");
            assert_eq!(text.contains("told"), open, "{options:?}: {text}");
            // The network is closed by the filter too, where there is nothing else.
            assert!(!text.contains("reached"), "{options:?}: {text}");
            for holds in [Protection::Network, Protection::SystemCalls, Protection::Privileges] {
                assert_eq!(grade(&report, holds), "enforced", "{options:?}: {holds}");
            }
        }
    }
}

#[test]
fn a_filter_that_says_done_and_does_nothing_is_found_out() {
    let env = crate::env();
    if !Offer::of(env.binaries(), Setting::User).allows(Layer::LandlockFiles, Setting::User) {
        return;
    }
    for setting in users() {
        let honest = masked(setting, &["--refuse=namespaces"]);
        let output = run(&env, &words(&honest), &["--", "true"], None);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let lying = masked(setting, &["--refuse=namespaces", "--refuse=landlock-in-silence"]);
        let output = run(&env, &words(&lying), &["--", "true"], None);
        let errors = said(&output);
        assert_eq!(output.status.code(), Some(125), "{errors}");
        assert!(errors.contains("`files.read` is required"), "{errors}");
        let ports =
            ["--prefer", "files.read", "--prefer", "files.write", "--net", "9", "--", "true"];
        let output = run(&env, &words(&lying), &ports, None);
        assert_eq!(output.status.code(), Some(125), "{}", said(&output));
        assert!(said(&output).contains("`network` is required"), "{}", said(&output));
        let mut typed = PREFER_FILES.to_vec();
        typed.extend(["--verbose", "--", "true"]);
        let errors = said(&run(&env, &words(&lying), &typed, None));
        assert!(errors.contains("a canary showed that it does not hold"), "{errors}");
    }
}

#[test]
fn a_machine_without_user_namespaces_names_the_switch() {
    let env = crate::env();
    let setting = Setting::User;
    if !Offer::of(env.binaries(), setting).allows(Layer::UserNamespace, setting) {
        return;
    }
    let options = masked(setting, &["--no-user-namespaces"]);
    let output = run(&env, &words(&options), &["--", "true"], None);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let output = run(&env, &words(&options), &["--require", "processes", "--", "true"], None);
    let errors = said(&output);
    assert_eq!(output.status.code(), Some(125), "{errors}");
    assert!(errors.contains("it can see other processes"), "{errors}");
    assert!(errors.contains("`sysctl -w user.max_user_namespaces=15000` as root"), "{errors}");
}

#[test]
fn a_keeper_refuses_what_is_demanded_in_vain_and_starts_what_holds() {
    let env = crate::env();
    for setting in Setting::possible() {
        let mut keeper = env.keeper(setting);
        let report = keeper.run(&env.shell("true")).unwrap().enforcement;
        for grade in &report.protections {
            let mut spec = env.shell("true");
            spec.demands = Demands::from([(grade.protection, Demand::Require)]);
            let outcome = keeper.run(&spec);
            match outcome {
                // A demand may be what makes it hold, at a price that nobody pays unasked.
                Ok(ran) => {
                    let now = ran.enforcement.protection(grade.protection).unwrap();
                    assert_eq!(now.hold, Hold::Enforced, "{}: {now:?}", setting.name());
                }
                Err(failure) => {
                    assert_ne!(grade.hold, Hold::Enforced, "{}: {failure:?}", setting.name());
                    assert_eq!(failure.stage.as_deref(), Some(PlanError::UNMET), "{failure:?}");
                    assert!(failure.message.contains(grade.protection.name()), "{failure:?}");
                }
            }
        }
    }
}

#[test]
fn a_limit_that_was_switched_off_is_none() {
    let env = crate::env();
    let setting = if is_root() { Setting::Root } else { Setting::User };
    let mut keeper = env.keeper(setting);
    let mut spec = env.shell("ulimit -n");
    spec.limits.open_files = Some(64);
    assert_eq!(keeper.run(&spec).unwrap().output, "64\n");
    spec.demands.insert(Protection::Limit(Limit::OpenFiles), Demand::Off);
    let ran = keeper.run(&spec).unwrap();
    assert_ne!(ran.output, "64\n");
    let grade = ran.enforcement.protection(Protection::Limit(Limit::OpenFiles)).unwrap().clone();
    assert_eq!(grade.hold, Hold::Off);
}

#[test]
fn what_a_keeper_reports_is_proven_in_every_setting() {
    let env = crate::env();
    for setting in Setting::possible() {
        let ran = env.keeper(setting).run(&env.shell("true")).unwrap();
        let proven = &ran.enforcement.proven;
        assert!(matches!(proven, Proven::Now | Proven::Earlier), "{}: {proven:?}", setting.name());
    }
}

#[test]
fn one_proof_serves_a_boot_and_a_forged_note_makes_nothing_hold() {
    let env = crate::env();
    let setting = if is_root() { Setting::Root } else { Setting::User };
    let state = env.directory("state", setting.uid());
    let report = env.directory("reports", setting.uid()).join("report.json");
    let written = report.display().to_string();
    let proof = |masks: &[&str], typed: &[&str]| -> String {
        let options = masked(setting, masks);
        let typed = [typed, &["--report", &written, "--", "true"]].concat();
        let output = run(&env, &words(&options), &typed, Some(&state));
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        let report: Value = serde_json::from_slice(&fs::read(&report).unwrap()).unwrap();
        report["enforcement"]["proven"]["proof"].as_str().unwrap().to_owned()
    };
    assert_eq!([proof(&[], &[]), proof(&[], &[])], ["now", "earlier"]);
    // Behind a filter that masks something, circumstances are others.
    let masks = ["--refuse=landlock"];
    assert_eq!(proof(&masks, &PREFER_FILES), "now");
    assert_eq!(proof(&masks, &PREFER_FILES), "earlier");
    // A note for these circumstances says nothing of what holds in them.
    assert_eq!(grade(&report, Protection::Ipc), "enforced");
    assert_ne!(grade(&report, Protection::FilesRead), "enforced");
    for note in fs::read_dir(state.join("proofs")).unwrap() {
        fs::write(note.unwrap().path(), "proven").unwrap();
    }
    assert_eq!(proof(&[], &[]), "now");
}

#[test]
fn inside_bubblewrap_a_start_is_proven_too() {
    let env = crate::env();
    let bubble = ["--dev-bind", "/", "/", "--unshare-all", "--"];
    for setting in users() {
        let inside = |program: &Path, words: &[&str]| {
            let mut command = command(&env.binaries().path("rung"));
            command
                .args(setting.user_options())
                .args(["--", "/usr/bin/bwrap", "bwrap"])
                .args(bubble);
            command.arg(program).args(words).output().unwrap()
        };
        if !inside(Path::new("/bin/true"), &[]).status.success() {
            println!("skipped ({}): bwrap is missing or does not work here", setting.name());
            return;
        }
        let output = inside(&env.binaries().path("plugbay"), &["run", "--verbose", "--", "true"]);
        let errors = said(&output);
        assert_eq!(output.status.code(), Some(0), "{errors}");
        assert!(errors.contains("by a canary, just now"), "{errors}");
    }
}
