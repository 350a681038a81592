//! What the compiler does not hold, held by a test: who may use whom, where unsafe code lives, how
//! long files are, what may not be left behind.
//!
//! Not a linter: it reads text, knows this tree and nothing else. Every rule is a function from
//! files to complaints, with a test that the tree keeps it and a test that it can be broken.
#![expect(clippy::unwrap_used, reason = "a file that cannot be read is a failed test")]

mod code;
mod link;
mod rest;
mod room;
mod source;

use source::{Source, tree};

/// A rule: what is wrong with these files, one line each.
type Rule = fn(&[Source]) -> Vec<String>;

/// Holds the tree to a rule.
fn hold(rule: Rule) {
    let complaints = rule(&tree());
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// What a rule says of one made-up file.
fn told(rule: Rule, path: &str, text: &str) -> Vec<String> {
    rule(&[Source::new(path, text)])
}

/// Fails unless a rule complains of the first text and not of the second.
fn catches(rule: Rule, path: &str, wrong: &str, right: &str) {
    assert_eq!(told(rule, path, wrong).len(), 1, "nothing said of {wrong:?}");
    assert_eq!(told(rule, path, right), [""; 0]);
}

#[test]
fn the_tree_is_seen() {
    let tree = tree();
    for path in
        ["Cargo.toml", "docs/protocol.md", "tests/tidy/main.rs", "sdk-python/pyproject.toml"]
    {
        assert!(tree.iter().any(|source| source.path == path), "{path}");
    }
    assert!(!tree.iter().any(|source| source.path.starts_with("target/")));
}
