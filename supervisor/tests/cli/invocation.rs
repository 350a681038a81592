//! One invocation of the binary with a cleared environment, and what came of it.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// What an invocation left behind.
#[derive(Debug)]
#[must_use]
pub(crate) struct Left {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Left {
    /// The stdout of an invocation that must have succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// The stdout as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Fails the test unless the invocation ended with this code and said this on stderr.
    #[track_caller]
    pub(crate) fn fails(&self, code: i32, words: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(words), "no `{words}` in {self:?}");
    }
}

/// The binary, with nothing of our environment but a search path.
pub(crate) fn plugbay(args: &[&str]) -> Command {
    let mut command = program(env!("CARGO_BIN_EXE_plugbay"));
    command.args(args).stdin(Stdio::null());
    command
}

/// Any program in the same way, with pipes.
#[expect(clippy::disallowed_methods, reason = "the program under test is started as a user does")]
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(name);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to the end.
pub(crate) fn run(args: &[&str]) -> Left {
    finish(plugbay(args).spawn().unwrap())
}

/// Runs it to the end in a directory.
pub(crate) fn run_in(directory: &Path, args: &[&str]) -> Left {
    finish(plugbay(args).current_dir(directory).spawn().unwrap())
}

/// Runs it to the end with this on its stdin.
pub(crate) fn run_with_input(args: &[&str], input: &[u8]) -> Left {
    let mut child = plugbay(args).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    finish(child)
}

/// Waits for the end.
pub(crate) fn finish(child: Child) -> Left {
    let output = child.wait_with_output().unwrap();
    Left {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A directory of plugins with one plugin in it.
pub(crate) fn plugin(manifest: &str) -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("it");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("plugin.toml"), manifest).unwrap();
    (root, directory)
}
