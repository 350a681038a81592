//! The verbs that read what was kept: `why`, `history`; and `help-plugin`. The plugin is the few lines
//! of shell of `call`.

use std::path::Path;

use crate::{
    call::it,
    invocation::{Left, finish, plugbay, plugin, run},
};

/// One invocation that keeps its state there.
fn keeping(state: &Path, args: &[&str]) -> Left {
    finish(plugbay(args).env("PLUGBAY_STATE", state).spawn().unwrap())
}

/// Calls these methods of the plugin, one after the other; gives the state directory.
fn called(methods: &[&str]) -> tempfile::TempDir {
    let (_root, directory) = it();
    let state = tempfile::tempdir().unwrap();
    for method in methods {
        let _whatever = keeping(state.path(), &["call", directory.to_str().unwrap(), method]);
    }
    state
}

#[test]
fn why_tells_of_the_last_failure_although_calls_succeeded_since() {
    let state = called(&["crash", "echo"]);
    let why = keeping(state.path(), &["why", "it"]).ok();
    let first = why.lines().next().unwrap();
    assert_eq!(first, "it 1.0.0: killed by SIGSEGV");
    for line in ["  crash  for ", "  last words", "  running → crashed", "What you can do"] {
        assert!(why.lines().any(|told| told.contains(line)), "no `{line}` in {why}");
    }
    let since = why.split("\nSince\n").nth(1).unwrap();
    assert!(since.contains("starting → running"), "{why}");
}

#[test]
fn why_speaks_json() {
    let state = called(&["crash"]);
    let why = keeping(state.path(), &["why", "it", "--json"]).json();
    assert_eq!(why["death"]["cause"], "signal(SIGSEGV)");
    assert_eq!(why["death"]["in_flight"][0]["method"], "crash");
    assert_eq!(why["death"]["stderr"], "last words\n");
    assert_eq!(why["death"]["next"]["state"], "stopped");
    assert!(!why["advice"].as_array().unwrap().is_empty(), "{why:#}");
}

#[test]
fn a_crash_points_to_why() {
    let (_root, directory) = it();
    let state = tempfile::tempdir().unwrap();
    std::fs::write(directory.join("main.sh"), "read -r request; exit 3").unwrap();
    let left = keeping(state.path(), &["call", directory.to_str().unwrap(), "echo"]);
    left.fails(5, "hint: `plugbay why it` tells more");
    let why = keeping(state.path(), &["why", directory.to_str().unwrap()]).ok();
    assert!(why.starts_with("it 1.0.0: exited with code 3\n"), "{why}");
}

#[test]
fn history_lists_calls_ends_and_states_newest_first() {
    let state = called(&["echo", "fail", "crash"]);
    let calls = keeping(state.path(), &["history", "it"]).ok();
    let outcomes: Vec<&str> =
        calls.lines().skip(1).map(|line| line.split_whitespace().nth(4).unwrap()).collect();
    assert_eq!(outcomes, ["crashed", "error", "ok"], "{calls}");
    assert!(calls.contains(r"no\u{1b}[2J\u{a}error: forged"), "{calls}");
    let ends = keeping(state.path(), &["history", "it", "--of", "ends", "--json"]).json();
    let requested = |index: usize| ends["ends"][index]["requested"].as_bool().unwrap();
    assert_eq!((requested(0), requested(1), requested(2)), (false, true, true));
    let states = keeping(state.path(), &["history", "it", "--of", "states", "-n", "1"]).ok();
    assert!(states.lines().nth(1).unwrap().contains("crashed → stopped"), "{states}");
    let json = keeping(state.path(), &["history", "it", "--json"]).json();
    assert_eq!(
        (&json["calls"][2]["outcome"], &json["calls"][2]["attempts"]),
        (&"ok".into(), &1.into())
    );
}

#[test]
fn an_empty_history_is_said_to_be_empty() {
    let state = called(&["echo"]);
    let left = keeping(state.path(), &["history", "it", "-n", "0"]);
    assert_eq!((left.code, left.stdout.as_str()), (Some(0), ""));
    assert_eq!(left.stderr, "nothing of this kind is kept of `it`\n");
}

#[test]
fn what_nobody_knows_is_code_3_with_what_is_known() {
    let state = called(&["echo"]);
    keeping(state.path(), &["why", "ti"]).fails(3, "hint: something is known of: it");
    let empty = tempfile::tempdir().unwrap();
    keeping(empty.path(), &["why", "it"]).fails(3, "hint: no call has left anything in");
    assert_eq!(std::fs::read_dir(empty.path()).unwrap().count(), 0, "asking makes nothing");
    run(&["history", "it"]).fails(3, "hint: set PLUGBAY_STATE");
}

#[test]
fn the_state_directory_is_found_as_documented() {
    let (_root, directory) = it();
    let home = tempfile::tempdir().unwrap();
    let call = |name: &str, value: &Path| {
        let args = ["call", directory.to_str().unwrap(), "echo"];
        let left = finish(plugbay(&args).env(name, value).spawn().unwrap());
        assert_eq!(left.code, Some(0), "{left:?}");
    };
    call("HOME", home.path());
    assert!(home.path().join(".local/state/plugbay/history.db").is_file());
    call("XDG_STATE_HOME", home.path());
    assert!(home.path().join("plugbay/history.db").is_file());
}

#[test]
fn a_store_that_cannot_be_written_is_a_warning_and_no_failure() {
    let (_root, directory) = it();
    let state = tempfile::tempdir().unwrap();
    std::fs::write(state.path().join("history.db"), "no store").unwrap();
    let left = keeping(state.path(), &["call", directory.to_str().unwrap(), "echo"]);
    left.fails(0, "warning: nothing is kept of this call: the store");
    assert_eq!(left.json()["n"], 1.1);
    let why = keeping(state.path(), &["why", "it"]);
    why.fails(1, "is damaged: ");
    why.fails(1, "hint: move `");
    assert_eq!(std::fs::read(state.path().join("history.db")).unwrap(), b"no store");
}

#[test]
fn a_report_tells_how_the_call_went_and_how_the_plugin_ended() {
    let (_root, directory) = it();
    let file = tempfile::NamedTempFile::new().unwrap();
    let report = |method: &str| -> serde_json::Value {
        let words = ["call", directory.to_str().unwrap(), method, "--report"];
        let _whatever = run(&[&words[..], &[file.path().to_str().unwrap()]].concat());
        serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap()
    };
    let good = report("echo");
    assert_eq!((&good["call"]["outcome"], &good["call"]["attempts"]), (&"ok".into(), &1.into()));
    assert!(good["call"]["bytes_out"].as_u64().unwrap() > 10, "{good:#}");
    let bad = report("crash");
    assert_eq!(bad["call"]["outcome"], "crashed");
    assert_eq!(bad["death"]["in_flight"][0]["method"], "crash");
    assert_eq!(bad["death"]["next"], "stopped");
}

const DOCUMENTED: &str = r#"
[plugin]
name = "words"
version = "1.2.3"
type = "text"
description = "counts words"

[runtime]
command = ["sh", "main.sh"]

[methods.count]
description = "counts the words of a text"
idempotent = true
timeout = "90s"
params = { type = "object", required = ["text"], properties = { text = { type = "string", maxLength = 100, description = "what is\u001b[2J counted" }, top = { type = "integer", minimum = 1, maximum = 9 } } }
result = { type = "object", properties = { words = { type = "integer" } } }

[methods.reset]

[config.schema]
type = "object"
properties = { language = { enum = ["en", "de"], default = "en", description = "whose words" } }
"#;

#[test]
fn help_of_a_plugin_is_made_from_its_manifest() {
    let (root, _) = plugin(DOCUMENTED);
    let root = root.path().to_str().unwrap();
    insta::assert_snapshot!(run(&["help-plugin", "words", "--plugins", root]).ok(), @r#"
    words 1.2.3: counts words

    Usage
      plugbay call words METHOD [PARAMS]

    Methods
      count: counts the words of a text
        within 1m 30s without progress; may be repeated: calling it twice is as good as once
        takes
          text  string, at most 100 characters, required: what is\u{1b}[2J counted
          top   integer, 1 to 9
        gives
          words  integer
        example
          plugbay call words count '{"text":"…"}'

      reset
        within 30s without progress
        example
          plugbay call words reset

    Configuration (--config KEY=VALUE)
      language  "en" | "de", default "en": whose words
    "#);
    insta::assert_snapshot!(run(&["help-plugin", "words", "reset", "--plugins", root]).ok(), @"
    reset
      within 30s without progress
      example
        plugbay call words reset
    ");
    run(&["help-plugin", "words", "nosuch", "--plugins", root])
        .fails(3, "hint: it has: count, reset");
}

#[test]
fn info_tells_how_a_plugin_is_supervised() {
    let more = "[supervision]\nstart = \"lazy\"\nspares = 1\nidle_stop = \"5m\"\n\
                [supervision.exit_codes]\n\"3\" = \"passing\"\n";
    let (_root, directory) = plugin(&format!("{DOCUMENTED}{more}"));
    let info = run(&["info", directory.to_str().unwrap()]).ok();
    let runs = info.split("\nRuns\n").nth(1).unwrap();
    insta::assert_snapshot!(runs, @"
    starts        with the first call, within 10s
    instances     1, and 1 spare
    calls at once 64 in each instance
    restarts      when it failed, after 500ms, then longer, to 1m
    quarantine    for 5m, then longer, to 1h, after 8 failures in a row, or 10 of which one is forgotten every 5m
    stops         calls may finish for 30s; then within 5s
    rests         after 5m without a call
    exit codes    3 passing
    ");
    assert!(info.contains("configured by language"), "{info}");
}

#[test]
fn why_tells_what_keeps_a_plugin_down_that_never_failed() {
    let (_root, directory) = plugin(DOCUMENTED);
    let state = tempfile::tempdir().unwrap();
    let words = ["call", directory.to_str().unwrap(), "reset", "--config", "language=3"];
    keeping(state.path(), &words).fails(4, "its configuration does not fit");
    let why = keeping(state.path(), &["why", "words"]).ok();
    assert!(why.starts_with("words: failed\n") && why.contains("does not fit"), "{why}");
}

/// Tells whether it can read its first parameter.
const READER: &str = r#"
while read -r request; do
    id=${request#*\"id\":}; id=${id%%[,\}]*}
    path=${request#*\"params\":[\"}; path=${path%%\"*}
    result=$(cat "$path" >/dev/null 2>&1 && echo read || echo refused)
    printf '{"jsonrpc":"2.0","id":%s,"result":"%s"}\n' "$id" "$result"
done
"#;

#[test]
fn a_plugin_that_may_read_all_around_it_does_not_read_the_store() {
    let (_root, directory) = it();
    std::fs::write(directory.join("main.sh"), READER).unwrap();
    let home = tempfile::tempdir().unwrap();
    let (state, plain) = (home.path().join("state"), home.path().join("plain"));
    std::fs::write(&plain, "open").unwrap();
    let asked = |path: &Path| {
        let params = serde_json::json!([path]).to_string();
        let (it, home) = (directory.to_str().unwrap(), home.path().to_str().unwrap());
        keeping(&state, &["call", it, "read", &params, "--read", home])
    };
    let left = asked(&plain);
    if left.stderr.contains("only mounts could hide it") {
        assert_eq!(left.code, Some(4), "without mounts it does not start: {left:?}");
        return;
    }
    assert_eq!(left.ok(), "\"read\"\n");
    assert!(state.join("history.db").exists());
    assert_eq!(asked(&state.join("history.db")).ok(), "\"refused\"\n");
}
