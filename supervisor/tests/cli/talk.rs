//! How the command speaks: help, errors with hints, exit codes, completions, manual pages.

use crate::invocation::{plugbay, run};

#[test]
fn long_help_documents_the_exit_codes() {
    let help = run(&["--help"]).ok();
    for line in ["Exit codes:", "  6  the deadline passed", "127  run: the command was not found"] {
        assert!(help.contains(line), "{help}");
    }
}

#[test]
fn no_words_at_all_is_a_usage_error_that_helps() {
    run(&[]).fails(2, "Usage: plugbay <COMMAND>");
}

#[test]
fn a_wrong_verb_is_a_usage_error() {
    run(&["lsit"]).fails(2, "'list'");
}

#[test]
fn errors_have_one_line_and_a_hint() {
    let left = run(&["info", "/no/such/plugin"]);
    left.fails(3, "");
    insta::assert_snapshot!(left.stderr, @"
    error: no plugin at `/no/such/plugin`: No such file or directory (os error 2)
    hint: name the directory that holds its plugin.toml
    ");
}

#[test]
fn errors_are_json_where_data_is() {
    let left = run(&["info", "/no/such/plugin", "--json"]);
    assert_eq!(left.code, Some(3));
    let error: serde_json::Value = serde_json::from_str(&left.stderr).unwrap();
    assert_eq!(error["error"]["exit"], 3);
    assert!(error["error"]["hint"].is_string());
    assert_eq!(left.stdout, "");
}

#[test]
fn nothing_is_coloured_off_a_terminal() {
    for args in [&["--help"][..], &["list"], &["info", "/none"], &["check", "/none"]] {
        let left = run(args);
        assert!(!left.stdout.contains('\x1b') && !left.stderr.contains('\x1b'), "{left:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = plugbay(&["completions", "zsh"]).spawn().unwrap();
    drop(child.stdout.take());
    let left = crate::invocation::finish(child);
    assert_eq!((left.code, left.stderr.as_str()), (Some(0), ""));
}

#[test]
fn manual_pages_are_written_for_every_verb() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let left = run(&["man", path]);
    assert_eq!(left.code, Some(0), "{left:?}");
    let page = std::fs::read_to_string(directory.path().join("plugbay-run.1")).unwrap();
    assert!(page.contains(".SH \"EXIT STATUS\""), "{page}");
    run(&["man", "/no/such/directory"]).fails(1, "hint:");
}

#[test]
fn completions_are_printed() {
    assert!(run(&["completions", "bash"]).ok().contains("complete -F _plugbay"));
}
