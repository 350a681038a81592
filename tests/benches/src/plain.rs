//! A plain child on three pipes, spoken to by blocking reads and writes: what every floor is made of.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result};

/// The first thing that a host says.
pub(crate) const INITIALIZE: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\
    \"params\":{\"versions\":[1],\"host\":{\"name\":\"bench\",\"version\":\"1.0.0\"},\
    \"features\":[],\"config\":{},\"limits\":{\"maxFrameBytes\":8388608,\"maxInflight\":64},\
    \"generation\":1,\"restart\":{\"count\":0}}}\n";

/// The child and its pipes.
#[derive(Debug)]
pub(crate) struct Plain {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    line: Vec<u8>,
}

impl Plain {
    /// Starts it (by `posix_spawn`, whatever the memory of this process).
    pub(crate) fn start<A: AsRef<OsStr>>(program: &OsStr, args: &[A]) -> Result<Self> {
        #[expect(clippy::disallowed_methods, reason = "the floor is a process without a sandbox")]
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start `{}`", program.display()))?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("the child has no output")?;
        Ok(Self {
            child,
            input,
            output: BufReader::with_capacity(64 << 10, output),
            line: Vec::new(),
        })
    }

    /// Writes bytes that end in a newline.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.input.as_mut().context("the child's input is closed")?.write_all(bytes)?)
    }

    /// Reads one line.
    pub(crate) fn read(&mut self) -> Result<&[u8]> {
        self.line.clear();
        self.output.read_until(b'\n', &mut self.line)?;
        anyhow::ensure!(self.line.ends_with(b"\n"), "the child has ended");
        Ok(&self.line)
    }

    /// Kills it, and reads to the end of its output: as soon as that its death can be seen.
    pub(crate) fn slay(&mut self) -> Result<()> {
        self.child.kill()?;
        self.output.read_to_end(&mut self.line)?;
        Ok(())
    }

    /// Closes its input and waits for its end.
    pub(crate) fn end(mut self) -> Result<()> {
        drop(self.input.take());
        self.child.wait()?;
        Ok(())
    }
}
