//! Profiles and toolchains: what a job of a CI types.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use crate::invocation::{Left, finish, plugbay, program};

/// A repository with these files, and a home beside it.
struct Repository {
    root: tempfile::TempDir,
}

impl Repository {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let repository = Self { root };
        fs::create_dir(repository.home()).unwrap();
        fs::create_dir(repository.path("")).unwrap();
        for (name, text) in files {
            let path = repository.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        // As root without namespaces a grant is worth what its mode allows others.
        fs::set_permissions(repository.path(""), fs::Permissions::from_mode(0o777)).unwrap();
        repository
    }

    fn home(&self) -> PathBuf {
        self.root.path().join("home")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("repo").join(name)
    }

    /// `plugbay run` with these words somewhere in the repository.
    fn run_in(&self, directory: &str, words: &[&str]) -> Left {
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", cargo().parent().unwrap().display());
        let mut command = plugbay(&[&["run"], words].concat());
        command.current_dir(self.path(directory)).env("HOME", self.home()).env("PATH", path);
        finish(command.spawn().unwrap())
    }

    fn run(&self, words: &[&str]) -> Left {
        self.run_in("", words)
    }

    fn report(&self, words: &[&str]) -> serde_json::Value {
        let file = self.root.path().join("report.json");
        let _whatever = self.run(&[&["--report", file.to_str().unwrap()], words].concat());
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    }
}

fn cargo() -> &'static Path {
    Path::new(env!("CARGO"))
}

/// Whether a toolchain works here without us; if not, that is said.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
fn works(program_name: &str, word: &str) -> bool {
    let found = program(program_name).arg(word).output().is_ok_and(|left| left.status.success());
    if !found {
        println!("skipped: `{program_name}` is not here or does not work for this user");
    }
    found
}

#[test]
fn a_profile_of_the_file_above_gives_command_grants_and_limits() {
    let text = "[run.test]\ncommand = [\"sh\", \"-c\", \"pwd; ls; echo out > made/it; echo $MODE\"]\n\
                read = [\".\"]\nwrite = [\"made\"]\nenv = [\"MODE=ci\"]\nlimits = { pids = 50 }\n";
    let repository = Repository::new(&[("plugbay.toml", text), ("sub/file", "")]);
    fs::set_permissions(repository.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(repository.path("made")).unwrap();
    fs::set_permissions(repository.path("made"), fs::Permissions::from_mode(0o777)).unwrap();
    let told = repository.run_in("sub", &["--profile", "test"]).ok();
    let here = repository.path("").canonicalize().unwrap();
    assert_eq!(
        told.lines().collect::<Vec<_>>(),
        [here.to_str().unwrap(), "made", "plugbay.toml", "sub", "ci"]
    );
    assert_eq!(fs::read_to_string(repository.path("made/it")).unwrap(), "out\n");
    let report = repository.report(&["--profile", "test", "--pids", "60", "--", "true"]);
    assert_eq!(report["grants"]["limits"]["pids"], 60);
    assert_eq!(report["profile"]["name"], "test");
    assert!(report["profile"]["file"].as_str().unwrap().ends_with("repo/plugbay.toml"));
}

#[test]
fn the_built_in_profile_writes_where_it_runs_and_has_a_loopback() {
    let repository = Repository::new(&[("Makefile", "test:\n\techo made > made\n")]);
    repository.run(&["--profile", "ci", "--workdir", ".", "--", "make", "test"]).ok();
    assert_eq!(fs::read_to_string(repository.path("made")).unwrap(), "made\n");
    let report = repository.report(&["--profile", "ci", "--", "true"]);
    assert_eq!(
        (&report["profile"]["name"], &report["profile"]["file"]),
        (&"ci".into(), &serde_json::Value::Null)
    );
    assert_eq!(
        (&report["filter"], &report["grants"]["network"]["mode"]),
        (&"ci".into(), &"loopback".into())
    );
}

#[test]
fn a_directory_to_be_written_is_made_but_not_through_a_link() {
    let text = "[run.test]\nread = [\".\"]\nwrite = [\"target\"]\n[run.out]\nwrite = [\"way/made\"]\n\
                [run.none]\nread = [\"no-such\"]\n";
    let repository = Repository::new(&[("plugbay.toml", text)]);
    repository.run(&["--profile", "test", "--", "true"]).ok();
    assert!(repository.path("target").is_dir());
    std::os::unix::fs::symlink(repository.home(), repository.path("way")).unwrap();
    repository.run(&["--profile", "out", "--", "true"]).fails(2, "[run.out] write `./way/made`");
    assert!(!repository.home().join("made").exists());
    repository.run(&["--profile", "none", "--", "true"]).fails(2, "[run.none] read `./no-such`");
}

#[test]
fn what_is_wrong_with_a_profile_is_told_with_its_place() {
    let repository = Repository::new(&[("plugbay.toml", "[run.test]\nraed = []\n")]);
    let left = repository.run(&["--profile", "test", "--", "true"]);
    left.fails(2, "plugbay.toml:2:1: `run.test.raed`: unknown key");
    left.fails(2, "did you mean `read`?");
    let repository = Repository::new(&[("plugbay.toml", "[run.test]\n")]);
    repository.run(&["--profile", "tset", "--", "true"]).fails(2, "hint: did you mean `test`?");
    repository.run(&["--profile", "test"]).fails(2, "the profile `test` has no command");
    let bare = Repository::new(&[]);
    bare.run(&["--profile", "test", "--", "true"]).fails(2, "there is no profile `test`");
}

#[test]
fn profiles_can_come_from_a_file_that_the_job_cannot_change() {
    let repository = Repository::new(&[("plugbay.toml", "[run.test]\nread = [\"/\"]\n")]);
    let trusted = repository.root.path().join("trusted.toml");
    fs::write(&trusted, "[run.test]\nread = [\".\"]\n").unwrap();
    let trusted = trusted.to_str().unwrap();
    let report = repository.report(&["--profile", "test", "--profile-file", trusted, "--", "true"]);
    let granted: Vec<&str> = report["grants"]["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|grant| grant["path"].as_str())
        .collect();
    assert_eq!(granted, [repository.path("").canonicalize().unwrap().to_str().unwrap()]);
}

#[test]
fn a_file_that_anybody_could_have_put_there_is_not_asked() {
    let repository = Repository::new(&[("plugbay.toml", "[run.test]\n"), ("sub/file", "")]);
    repository.run_in("sub", &["--profile", "test", "--", "true"]).fails(2, "no plugbay.toml in");
    repository.run(&["--profile", "test", "--", "true"]).ok();
}

#[test]
fn a_run_that_changes_its_own_profiles_is_told_of() {
    let repository = Repository::new(&[("plugbay.toml", "[run.test]\nwrite = [\".\"]\n")]);
    fs::set_permissions(repository.path("plugbay.toml"), fs::Permissions::from_mode(0o666))
        .unwrap();
    let script = "echo 'network = true' >> plugbay.toml";
    let left = repository.run(&["--profile", "test", "--", "sh", "-c", script]);
    left.fails(0, "warning: the run has changed `");
    let harmless = repository.run(&["--profile", "test", "--", "sh", "-c", "echo >> plugbay.toml"]);
    assert_eq!(harmless.stderr, "");
}

#[test]
fn cargo_tests_a_crate_with_the_tool_and_not_without() {
    if !works(cargo().to_str().unwrap(), "--version") {
        return;
    }
    let manifest =
        "[package]\nname = \"it\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[workspace]\n";
    let test = "#[test] fn two() { assert_eq!(1 + 1, 2); }\n";
    let repository = Repository::new(&[("Cargo.toml", manifest), ("src/lib.rs", test)]);
    let words = ["--", "cargo", "test", "--lib"];
    let told = repository.run(&[&["--profile", "ci", "--tool", "rust"], &words[..]].concat()).ok();
    assert!(told.contains("1 passed"), "{told}");
    let closed = repository.run(&[&["--profile", "ci", "--bare"], &words[..]].concat());
    assert_ne!(closed.code, Some(0), "{closed:?}");
}

#[test]
fn npm_tests_a_package_and_keeps_its_cache_for_this_repository() {
    if !works("npm", "--version") {
        return;
    }
    let package =
        "{\"name\": \"it\", \"version\": \"1.0.0\", \"scripts\": {\"test\": \"node --test\"}}";
    let test = "require('node:test')('two', () => require('assert').equal(1 + 1, 2));\n";
    let repository = Repository::new(&[("package.json", package), ("two.test.js", test)]);
    let left = repository.run(&["--profile", "ci", "--tool", "node", "--", "npm", "test"]);
    assert!(left.ok().contains("# pass 1"));
    let caches = repository.home().join(".cache/plugbay/run");
    let names: Vec<_> =
        fs::read_dir(&caches).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(names.len() == 1 && names[0].to_str().unwrap().starts_with("repo-"), "{names:?}");
    let cache = repository.root.path().join("named");
    repository.run(&["--tool", "node", "--cache", cache.to_str().unwrap(), "--", "true"]).ok();
    assert!(cache.join("npm").is_dir());
}

#[test]
fn python_and_make_find_their_interpreter() {
    if !works("python3", "--version") {
        return;
    }
    let test = "import unittest\nclass It(unittest.TestCase):\n    def test_two(self):\n        self.assertEqual(1 + 1, 2)\n";
    let make = "test:\n\tpython3 -m unittest\n";
    let repository = Repository::new(&[("test_it.py", test), ("Makefile", make)]);
    for words in [&["python3", "-m", "unittest"][..], &["make", "test"]] {
        let left =
            repository.run(&[&["--profile", "ci", "--tool", "python", "--"], words].concat());
        left.fails(0, "Ran 1 test");
    }
}

#[test]
fn java_compiles_and_runs() {
    if !works("javac", "-version") {
        return;
    }
    let source = "class It { public static void main(String[] a) { System.out.println(1 + 1); } }";
    let repository = Repository::new(&[("It.java", source)]);
    let words =
        |words: &[&'static str]| [&["--profile", "ci", "--tool", "java", "--"], words].concat();
    repository.run(&words(&["javac", "It.java"])).ok();
    assert_eq!(repository.run(&words(&["java", "It"])).ok(), "2\n");
}

#[test]
fn a_tool_that_is_not_here_is_named() {
    let repository = Repository::new(&[]);
    let mut command = plugbay(&["run", "--tool", "go", "--", "true"]);
    command.current_dir(repository.path("")).env("PATH", "/nowhere");
    finish(command.spawn().unwrap()).fails(127, "--tool go: ");
    repository.run(&["--cache", "x", "--", "true"]).fails(2, "--cache is for the caches of tools");
}

#[test]
fn what_was_refused_is_told_with_the_line_of_the_profile_that_makes_it_pass() {
    let text = "[run.test]\ncommand = \"cat data\"\nworkdir = \"/\"\nexec = [\"/opt\"]\n";
    let repository = Repository::new(&[("data", "content\n")]);
    let data = repository.path("data").canonicalize().unwrap();
    let text = text.replace("cat data", &format!("cat {}", data.display()));
    fs::write(repository.path("plugbay.toml"), &text).unwrap();
    let left = repository.run(&["--profile", "test", "--explain"]);
    left.fails(1, "; to allow it: [run.test] read = [\"data\"]");
    fs::write(repository.path("plugbay.toml"), text + "read = [\"data\"]\n").unwrap();
    assert_eq!(repository.run(&["--profile", "test"]).ok(), "content\n");
}
