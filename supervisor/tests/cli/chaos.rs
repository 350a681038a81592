//! `plugbay chaos`: what it shows, refuses and ends with. The rows themselves are played in `tests/suite`.

use crate::invocation::{plugin, run};

const SHELL: &str = r#"
[plugin]
name = "words"
version = "1.2.3"

[runtime]
command = ["sh", "main.sh"]
dialect = "jsonrpc"

[methods.count]
"#;

#[test]
fn rows_are_listed_without_being_played() {
    let listed = run(&["chaos", "--list", "--only", "26"]).ok();
    assert!(listed.contains("leaves daemons") && !listed.contains("kill -9 mid-call"), "{listed}");
}

#[test]
fn a_row_that_is_not_there_is_a_mistake() {
    run(&["chaos", "--only", "9999"]).fails(2, "no row 9999");
}

#[test]
fn one_row_is_played_and_told() {
    let told = run(&["chaos", "--only", "39", "--json"]).json();
    assert_eq!(told["held"], 1, "{told}");
    assert_eq!(told["rows"][0]["number"], 39);
    assert_eq!(told["rows"][0]["outcome"], "held");
}

#[test]
fn a_plugin_that_may_write_is_not_killed_without_a_word_of_its_owners() {
    let writing = format!("{SHELL}\n[permissions]\nfilesystem = {{ write = [\"/var/books\"] }}\n");
    let (root, dir) = plugin(&writing);
    let refused = run(&["chaos", dir.to_str().unwrap()]);
    refused.fails(2, "/var/books");
    refused.fails(2, "--yes");
    drop(root);
}

#[test]
fn what_will_be_done_to_a_plugin_is_said_and_needs_a_method_it_has() {
    let (root, dir) = plugin(SHELL);
    let path = dir.to_str().unwrap();
    run(&["chaos", path, "--call", "cuont"]).fails(2, "it has: count");
    let listed = run(&["chaos", path, "--list"]).ok();
    assert!(listed.contains("words") && listed.contains("kill -9 while idle"), "{listed}");
    drop(root);
}
