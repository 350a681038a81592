//! From what a command was seen to do to the smallest grants with which it does the same: pure, but for
//! the looks at the file system that are handed in.
//!
//! ```text
//! Lessons ─┬─ files ────► paths, collapsed; what is too wide or secret is left out by name
//!          ├─ network ──► none, loopback, hosts, ports or full
//!          └─ calls ────► the list of a strict filter
//!                             └─► text: a profile, a plugin's permissions, or flags
//! ```
//! Not here: running the command (`cli/learn`), and what was really granted (nothing is).

pub(crate) mod files;
pub(crate) mod network;
pub(crate) mod text;

use std::path::{Path, PathBuf};

use plugbay_sandbox::{Access, Calls, Lessons};

use self::{files::LeftOut, network::Net};

/// What would have to be granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Learned {
    /// Paths, each once, sorted.
    pub(crate) files: Vec<(PathBuf, Access)>,
    /// What of them holds a secret and stays hidden.
    pub(crate) deny: Vec<PathBuf>,
    /// Unix sockets.
    pub(crate) unix: Vec<PathBuf>,
    /// The network.
    pub(crate) network: Net,
    /// The words of the system call filter.
    pub(crate) filter: Vec<String>,
    /// Where it runs, where that is not what a run does by itself.
    pub(crate) workdir: Option<PathBuf>,
    /// What was reached for and is not granted.
    pub(crate) left_out: Vec<LeftOut>,
}

/// Runtimes by the names of their programs, and the calls that each makes of its own accord: not every
/// run makes all of them.
const RUNTIMES: [(&str, &[&str]); 4] = [
    ("@jvm", &["java", "javac"]),
    ("@node", &["node", "nodejs", "deno", "bun"]),
    ("@python", &["python", "pypy"]),
    ("@shell", &["sh", "bash", "dash", "zsh", "ksh", "busybox", "make", "gmake"]),
];

/// The list of system calls for what was seen: the bases of the runtimes that ran, and the calls beyond
/// them. `program` is the one that was started.
pub(crate) fn calls(lessons: &Lessons, program: &Path) -> Vec<String> {
    let first = program.file_name().and_then(|name| name.to_str());
    let programs = || lessons.programs().iter().map(String::as_str).chain(first);
    let version = |c: char| c.is_ascii_digit() || matches!(c, '.' | '-');
    let ran = |names: &[&str]| {
        programs().any(|program| names.contains(&program.trim_end_matches(version)))
    };
    let bases = RUNTIMES.iter().filter(|(_, names)| ran(names)).map(|(base, _)| (*base).to_owned());
    let mut words: Vec<String> = bases.collect();
    if words.is_empty() {
        words.push("@base".to_owned());
    }
    let seen = lessons.calls().iter().copied();
    let beyond = Calls::learned(seen, "@base").unwrap_or_default().into_iter().skip(1);
    match Calls::of(words.iter().map(String::as_str)) {
        Ok(known) => {
            words.extend(beyond.filter(|call| !known.contains(call)));
            words
        }
        // There is no list then, and no reason to have none of the filter.
        Err(_unknown) => vec!["default".to_owned()],
    }
}
