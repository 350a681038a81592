//! What a CI sees of a run beside its output: statuses of their own, bounded output, reports.

use std::{fs::File, process::Stdio};

use crate::invocation::{finish, plugbay, run};

/// A call that nothing allows is refused, and the command succeeds all the same.
const REFUSED: &str = "unshare --mount true 2>/dev/null; true";

fn sh<'a>(flags: &[&'a str], script: &'a str) -> Vec<&'a str> {
    [&["run"], flags, &["--", "sh", "-c", script]].concat()
}

/// The file that a flag has written.
fn written(flag: &str, words: &[&str], script: &str) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let _whatever = run(&sh(&[&[flag, path], words].concat(), script));
    std::fs::read_to_string(file.path()).unwrap()
}

fn report(words: &[&str], script: &str) -> serde_json::Value {
    serde_json::from_str(&written("--report", words, script)).unwrap()
}

#[test]
fn too_much_output_ends_the_command_and_is_named() {
    let left = run(&sh(&["--max-output", "1KiB"], "while :; do echo line of words; done"));
    left.fails(123, "plugbay: killed: it passed its output limit of 1KiB");
    left.fails(123, "to allow it: --max-output 8KiB");
    assert_eq!(left.stdout.len(), 1024);
    let report = report(&["--max-output", "10"], "echo a long line; sleep 60");
    assert_eq!(
        (&report["outcome"]["cause"], &report["outcome"]["status"]),
        (&"output".into(), &123.into())
    );
}

#[test]
fn output_can_be_cut_without_ending_the_command() {
    let left =
        run(&sh(&["--max-output", "10", "--truncate-output"], "seq 1000; echo last >&2; exit 3"));
    left.fails(3, "plugbay: its output was cut: ");
    assert_eq!(left.stdout, "1\n2\n3\n4\n5\n");
    assert!(!left.stderr.contains("last"), "{left:?}");
}

#[test]
fn bounded_output_arrives_whole_and_in_order() {
    let numbers: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(run(&sh(&["--max-output", "1GiB"], "seq 100000")).ok(), numbers);
    let file = tempfile::NamedTempFile::new().unwrap();
    let both = || Stdio::from(File::options().append(true).open(file.path()).unwrap());
    let script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done";
    let mut command = plugbay(&sh(&["--max-output", "1GiB"], script));
    finish(command.stdout(both()).stderr(both()).spawn().unwrap()).ok();
    let text = std::fs::read_to_string(file.path()).unwrap();
    assert_eq!(text, "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n");
}

#[test]
fn a_reader_that_goes_away_ends_the_command_as_without_us() {
    let mut child = plugbay(&sh(&["--max-output", "none"], "yes")).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(finish(child).code, Some(141));
    let mut child = plugbay(&sh(&["--max-output", "1GiB"], "yes")).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(finish(child).code, Some(141));
}

#[test]
fn a_refusal_can_fail_a_run_whose_command_did_not() {
    assert_eq!(run(&sh(&[], REFUSED)).code, Some(0));
    let left = run(&sh(&["--fail-on-denial"], REFUSED));
    left.fails(122, "denied: unshare");
    assert_eq!(run(&sh(&["--fail-on-denial"], "true")).code, Some(0));
    assert_eq!(run(&sh(&["--fail-on-denial"], "unshare --mount true; exit 3")).code, Some(3));
}

#[test]
fn json_leaves_nothing_but_the_report_on_stderr() {
    let left = run(&sh(&["--json", "--cpu-time", "1s"], "echo out; while :; do :; done"));
    assert_eq!((left.code, left.stdout.as_str()), (Some(123), "out\n"));
    let report: serde_json::Value = serde_json::from_str(&left.stderr).unwrap();
    assert_eq!(
        (&report["outcome"]["cause"], &report["outcome"]["status"]),
        (&"cpu-time".into(), &123.into())
    );
    let wrong = run(&["run", "--json", "--read", "/no/such", "--", "true"]);
    let error: serde_json::Value = serde_json::from_str(&wrong.stderr).unwrap();
    assert_eq!((wrong.code, &error["error"]["exit"]), (Some(2), &2.into()));
}

#[test]
fn a_suite_tells_the_run_its_limits_and_its_denials_from_tests() {
    let passed = written("--junit", &["--wall", "1m"], REFUSED);
    assert!(passed.contains("failures=\"0\" errors=\"0\""), "{passed}");
    assert!(passed.contains("classname=\"plugbay.denial\" name=\"unshare"), "{passed}");
    assert!(
        passed.contains("classname=\"plugbay.limit\" name=\"wall 60s\" time=\"0.000\"/>"),
        "{passed}"
    );
    assert!(passed.contains("<skipped message=\"not watched: run with --explain\"/>"), "{passed}");
    let failed = written("--junit", &[], "unshare --mount true; exit 3");
    assert!(failed.contains("failures=\"2\" errors=\"0\""), "{failed}");
    assert!(
        failed.contains("<failure type=\"plugbay.run\" message=\"exit status 3\">"),
        "{failed}"
    );
    assert!(failed.contains("<failure type=\"plugbay.denial\" message=\"unshare"), "{failed}");
    let limited = written("--junit", &["--cpu-time", "1s"], "while :; do :; done");
    assert!(
        limited.contains("<failure type=\"plugbay.limit\" message=\"it ran into its CPU time"),
        "{limited}"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    run(&["run", "--junit", file.path().to_str().unwrap(), "--", "no-such-command"])
        .fails(127, "error: ");
    let broken = std::fs::read_to_string(file.path()).unwrap();
    assert!(broken.contains("tests=\"1\" failures=\"0\" errors=\"1\""), "{broken}");
    for text in [passed, failed, limited, broken] {
        let open = text.matches("<testcase").count();
        let closed =
            text.matches("</testcase>").count() + text.matches("\"/>\n    <testcase").count();
        assert!(open > 0 && open >= closed && text.ends_with("</testsuites>\n"), "{text}");
    }
}

#[test]
fn every_report_is_as_its_schema_says() {
    let schema = include_str!("../../../docs/run-report.schema.json");
    let schema: serde_json::Value = serde_json::from_str(schema).unwrap();
    let check = jsonschema::validator_for(&schema).unwrap();
    let explained = ["--explain", "--net", "443", "--env", "A=b", "--require", "environment"];
    for (words, script) in [
        (&["--profile", "ci", "--max-output", "1MiB"][..], "exit 3"),
        (&explained, "cat /root/x"),
        (&["--wall", "100ms"], "sleep 60"),
        (&["--level", "none"], "kill -9 $$"),
        (&["--tool", "no"], ""),
    ] {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().to_str().unwrap();
        let _whatever = run(&sh(&[&["--report", path], words].concat(), script));
        let text = std::fs::read_to_string(file.path()).unwrap();
        if words == ["--tool", "no"] {
            assert_eq!(text, "", "nothing is written for what was never understood");
            continue;
        }
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        let wrong: Vec<String> = check
            .iter_errors(&report)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(wrong.is_empty(), "{words:?}: {wrong:#?}");
    }
}
