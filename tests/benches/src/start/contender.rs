//! Starts that are one command: the program itself, or `bwrap` around it.

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Result;

use crate::{
    clock::Watch,
    plain::{INITIALIZE, Plain},
    sample::{Contender, Samples},
};

/// What a sandbox that shows the whole host read-only is asked for.
const UNSHARE: [&str; 4] = ["--unshare-all", "--ro-bind", "/", "/"];

/// The version of `bwrap`, if it is there.
pub(crate) fn bwrap_version() -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "asks another sandbox for its version")]
    let asked = Command::new("bwrap").arg("--version").stderr(Stdio::null()).output().ok()?;
    String::from_utf8(asked.stdout).ok().map(|version| version.trim().to_owned())
}

/// A start by one command.
#[derive(Debug)]
pub(super) struct Spawned {
    name: &'static str,
    program: OsString,
    args: Vec<OsString>,
}

impl Spawned {
    pub(super) fn plain(name: &'static str, program: &Path) -> Self {
        Self { name, program: program.into(), args: Vec::new() }
    }

    pub(super) fn bwrap(name: &'static str, program: &Path, more: &[&str]) -> Self {
        let mut args: Vec<OsString> = UNSHARE.iter().chain(more).map(OsString::from).collect();
        args.push(program.into());
        Self { name, program: "bwrap".into(), args }
    }
}

impl Contender for Spawned {
    fn name(&self) -> &str {
        self.name
    }

    fn turn(&mut self, samples: &mut Samples) -> Result<()> {
        let watch = Watch::start();
        let mut child = Plain::start(&self.program, &self.args)?;
        child.write(INITIALIZE)?;
        child.read()?;
        samples.push(watch.elapsed());
        child.end()
    }
}

/// Many starts by one command each, all begun before the first answer is read.
#[derive(Debug)]
pub(super) struct Crowd {
    one: Spawned,
    size: usize,
}

impl Crowd {
    pub(super) fn plain(name: &'static str, program: &Path, size: usize) -> Self {
        Self { one: Spawned::plain(name, program), size }
    }

    pub(super) fn bwrap(name: &'static str, program: &Path, size: usize) -> Self {
        Self { one: Spawned::bwrap(name, program, &[]), size }
    }
}

impl Contender for Crowd {
    fn name(&self) -> &str {
        self.one.name
    }

    fn turn(&mut self, samples: &mut Samples) -> Result<()> {
        let program: &OsStr = &self.one.program;
        let watch = Watch::start();
        let mut children = Vec::with_capacity(self.size);
        for _ in 0..self.size {
            let mut child = Plain::start(program, &self.one.args)?;
            child.write(INITIALIZE)?;
            children.push(child);
        }
        for child in &mut children {
            child.read()?;
        }
        samples.push(watch.elapsed());
        children.into_iter().try_for_each(Plain::end)
    }
}
