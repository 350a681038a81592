//! The words of `plugbay learn`.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, ValueHint};

use super::{FileWords, LimitWords, ReachWords};
use crate::spelling::FilterWord;

/// Watch one trusted command with everything open, and write the grants that it needs
///
/// The command runs as `plugbay run` would run it (same user, same environment, a /tmp of its own, no
/// home), but it may read and change whatever you may, and use the network: LEARN ONLY WHAT YOU
/// TRUST. What it reaches for is told by the kernel call by call, and becomes a profile for a
/// plugbay.toml: paths, hosts and ports, system calls. What holds secrets (keys, tokens) or is too
/// wide (a home, /etc) is never granted but named, for you to decide; secrets are refused while
/// learning too.
///
/// What is granted by flags is granted in what is written as well, so that learning can be
/// continued: with the flags that were learned from one command, learn the next. Without -o the
/// command's standard output goes to standard error, and what was learned to standard output.
#[derive(Debug, Args)]
#[command(
    override_usage = "plugbay learn [OPTIONS] -- CMD [ARG]...",
    args_override_self = true,
    after_help = "Examples:\n  \
        plugbay learn -- make test\n  \
        plugbay learn -o plugbay.toml --name test -- pytest -q\n  \
        plugbay run $(plugbay learn --flags -- ./script.sh) -- ./script.sh\n  \
        plugbay learn --plugin -- python3 main.py < requests.jsonl"
)]
pub(crate) struct Learn {
    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        value_name = "CMD",
        value_hint = ValueHint::CommandWithArguments
    )]
    pub(crate) command: Vec<OsString>,

    /// Write what was learned to FILE; a file that something else wrote is left alone
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(crate) output: Option<PathBuf>,

    /// Write flags of `plugbay run`
    #[arg(long, conflicts_with_all = ["plugin", "json"], help_heading = "Output")]
    pub(crate) flags: bool,

    /// Write the permissions of a plugin whose directory is the working directory
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    pub(crate) plugin: bool,

    /// Write one JSON document
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,

    /// The profile's name [default: that of the command]
    #[arg(long, value_name = "NAME", help_heading = "Output")]
    pub(crate) name: Option<String>,

    /// Say nothing about what was learned and left out
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,

    #[command(flatten)]
    pub(crate) files: GrantedWords,

    #[command(flatten)]
    pub(crate) reach: ReachWords,

    #[command(flatten)]
    pub(crate) limits: LimitWords,

    /// Directory to run in [default: the current one]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Sandbox")]
    pub(crate) workdir: Option<PathBuf>,

    /// Write this filter instead of a list of the calls that were made: default, or ci
    #[arg(long, value_name = "CALLS", value_delimiter = ',', help_heading = "Sandbox")]
    pub(crate) filter: Vec<FilterWord>,
}

/// Files that are granted already: what is learned is what is missing beside them.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Granted already, and written as well")]
pub(crate) struct GrantedWords {
    /// It may read this file or directory (repeatable)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    read: Vec<PathBuf>,

    /// It may read, execute and change this file or directory (repeatable)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    write: Vec<PathBuf>,

    /// It may read and execute this file or directory (repeatable)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    exec: Vec<PathBuf>,

    /// This stays hidden, while learning and later (repeatable)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    deny: Vec<PathBuf>,

    /// Do not take the system's programs and libraries as granted
    #[arg(long)]
    pub(crate) bare: bool,
}

impl GrantedWords {
    /// The same in the words of `run`.
    pub(crate) fn as_files(&self) -> FileWords {
        let Self { read, write, exec, deny, bare } = self;
        FileWords {
            read: read.clone(),
            write: write.clone(),
            exec: exec.clone(),
            deny: deny.clone(),
            bare: *bare,
            ..FileWords::default()
        }
    }
}
