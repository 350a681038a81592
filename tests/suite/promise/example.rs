//! The examples, called from the command line as their READMEs say, sealed: each counts a real text as
//! `wc` does. What a machine lacks is skipped by name.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use plugbay_tests::{TestEnv, command};
use serde_json::{Value, json};

/// The programs that an example needs beside the system's.
const EXAMPLES: [(&str, &[&str]); 4] = [
    ("wordstats", &["python3"]),
    ("fastwords", &[]),
    ("nodewords", &["node"]),
    ("shellwords", &["sh", "awk"]),
];

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").canonicalize().unwrap()
}

/// Whether a program is in `PATH`.
fn is_there(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|dir| dir.join(program).exists())
}

/// The example in the test's own place, with what is built for it.
fn place(env: &TestEnv, name: &str) -> PathBuf {
    let to = env.root().join(name);
    fs::create_dir(&to).unwrap();
    for file in fs::read_dir(examples().join(name)).unwrap().map(Result::unwrap) {
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    if name == "fastwords" {
        fs::create_dir(to.join("bin")).unwrap();
        fs::copy(env.binaries().path(name), to.join("bin").join(name)).unwrap();
    }
    to
}

fn call(env: &TestEnv, plugin: &Path, text: &Path, granted: bool) -> Output {
    let mut call = command(&env.binaries().path("plugbay"));
    call.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    call.arg("call").arg(plugin).arg("count").arg(json!({"path": text}).to_string());
    if granted {
        call.arg("--read").arg(text.parent().unwrap());
    }
    call.output().unwrap()
}

/// Lines, words and bytes.
fn wc(text: &Path) -> Value {
    let output = command(Path::new("/usr/bin/wc")).arg(text).output().unwrap();
    let counts: Vec<u64> = String::from_utf8(output.stdout)
        .unwrap()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    json!({"lines": counts[0], "words": counts[1], "bytes": counts[2]})
}

#[test]
fn every_example_counts_as_wc_does_and_only_what_it_was_granted() {
    let env = crate::env();
    let data = env.root().join("data");
    fs::create_dir(&data).unwrap();
    let text = data.join("declaration.txt");
    fs::copy(examples().join("data/declaration.txt"), &text).unwrap();
    let expected = wc(&text);
    assert!(expected["words"].as_u64().unwrap() > 1_000);
    for (name, needs) in EXAMPLES {
        if let Some(missing) = needs.iter().find(|program| !is_there(program)) {
            println!("skipped: {name} needs {missing}");
            continue;
        }
        let plugin = place(&env, name);
        let output = call(&env, &plugin, &text, true);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{name}: {errors}");
        let counted: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(counted, expected, "{name}");
        // The control: without the grant there is no such file.
        let refused = call(&env, &plugin, &text, false);
        assert_eq!(refused.status.code(), Some(1), "{name} read what it was not granted");
    }
}
