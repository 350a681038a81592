//! The verbs that read manifests: `list`, `info`, `check`. Manifests are hostile input.

use crate::invocation::{plugin, run, run_in};

const GOOD: &str = r#"
[plugin]
name = "words"
version = "1.2.3"
type = "text"
description = "counts words"

[runtime]
command = ["sh", "main.sh"]

[methods.count]
description = "counts"
idempotent = true

[permissions]
filesystem = { read = ["/no/such/data"] }
"#;

const HOSTILE: &str = r#"
[plugin]
name = "words"
version = "1.2.3"
type = "text"
description = "a\u001b[2Jb\u009b31mc\u202Ed\nerror: forged"

[runtime]
command = ["sh", "\u001b]0;owned\u0007"]
"#;

#[test]
fn plugins_are_listed_with_what_they_offer() {
    let (root, _) = plugin(GOOD);
    let root = root.path().to_str().unwrap();
    insta::assert_snapshot!(run(&["list", "--plugins", root]).ok(), @"
    NAME   VERSION  TYPE  METHODS  DESCRIPTION
    words  1.2.3    text  count    counts words
    ");
    let json = run(&["list", "--json", "--plugins", root]).json();
    assert_eq!(json["plugins"][0]["name"], "words");
    assert_eq!(json["plugins"][0]["methods"], serde_json::json!(["count"]));
}

#[test]
fn plugins_are_found_below_the_usual_directories() {
    let (root, _) = plugin(GOOD);
    let here = tempfile::tempdir().unwrap();
    std::fs::rename(root.path(), here.path().join("examples")).unwrap();
    assert!(run_in(here.path(), &["list"]).ok().contains("words"));
    assert!(run_in(here.path(), &["info", "words"]).ok().contains("1.2.3"));
}

#[test]
fn a_bad_neighbour_is_named_and_hides_nobody() {
    let (root, _) = plugin(GOOD);
    std::fs::create_dir(root.path().join("bad")).unwrap();
    std::fs::write(root.path().join("bad/plugin.toml"), "[plugin]\nnmae = 1\n").unwrap();
    let left = run(&["list", "--plugins", root.path().to_str().unwrap()]);
    assert!(left.stdout.contains("words"), "{left:?}");
    left.fails(0, "bad/plugin.toml:2:1");
}

#[test]
fn info_tells_what_a_plugin_asks_for() {
    let (_root, directory) = plugin(GOOD);
    let info = run(&["info", directory.to_str().unwrap()]).ok();
    for line in ["words 1.2.3", "counts words", "/no/such/data", "idempotent"] {
        assert!(info.contains(line), "{info}");
    }
    let json = run(&["info", "--json", directory.to_str().unwrap()]).json();
    assert_eq!(json["manifest"]["plugin"]["name"], "words");
}

#[test]
fn hostile_text_never_reaches_a_reader_raw() {
    let (root, directory) = plugin(HOSTILE);
    let (root, directory) = (root.path().to_str().unwrap(), directory.to_str().unwrap());
    for args in [
        &["list", "--plugins", root][..],
        &["list", "--json", "--plugins", root],
        &["info", directory],
        &["info", "--json", directory],
        &["check", directory],
    ] {
        let left = run(args);
        let hazard = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!left.stdout.contains(hazard) && !left.stderr.contains(hazard), "{left:?}");
        let forged = |text: &str| text.lines().any(|line| line.starts_with("error: forged"));
        assert!(!forged(&left.stdout) && !forged(&left.stderr), "{left:?}");
    }
}

#[test]
fn check_warns_of_what_is_missing_here_and_accepts_the_rest() {
    let (_root, directory) = plugin(GOOD);
    let left = run(&["check", directory.to_str().unwrap()]);
    left.fails(0, "`/no/such/data`");
    assert_eq!(left.stdout, "words: ok\n");
}

#[test]
fn check_points_at_the_line() {
    let (_root, directory) = plugin(&GOOD.replace("idempotent = true", "idempotent = 1"));
    let left = run_in(&directory, &["check"]);
    left.fails(3, "plugin.toml:13:");
    let json = run_in(&directory, &["check", "--json"]).json();
    assert_eq!(json["valid"], false);
    assert_eq!(json["findings"][0]["line"], 13);
}

#[test]
fn check_refuses_a_command_that_is_not_there() {
    let (_root, directory) = plugin(&GOOD.replace("\"sh\"", "\"no-such-interpreter\""));
    run(&["check", directory.to_str().unwrap()]).fails(3, "`runtime.command`");
}
