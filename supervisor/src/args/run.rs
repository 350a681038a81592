//! The words of `plugbay run`.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum, ValueHint};
use plugbay_manifest::Tool;

use super::LevelWord;
use crate::spelling::{self, Bound, EnvWord, FilterWord, NetWord};

/// Run one command in a sandbox that denies everything not granted
///
/// Standard streams are passed through untouched, signals are forwarded, and the command's own exit
/// status is ours. Nothing of the environment is inherited but a short list of harmless names.
/// System programs and libraries can be read and executed unless --bare is given; homes, /root,
/// /var and the secrets of /etc cannot. The command's interpreter is found through symlinks,
/// shebangs, virtual environments and version managers, and granted by itself.
#[derive(Debug, Clone, Args)]
#[command(
    override_usage = "plugbay run [OPTIONS] -- CMD [ARG]...",
    // The last one counts, so that what is told to a person can be added to what was typed.
    args_override_self = true,
    after_help = "Examples:\n  \
        plugbay run --read . -- git log --oneline\n  \
        plugbay run --write . --memory 4GiB --wall 10m -- cargo build --offline\n  \
        plugbay run --read . --net 443 --env TOKEN -- python3 fetch.py\n  \
        plugbay run --write . --deny '**/.env' --deny .git/hooks -- npm test\n  \
        plugbay run --overlay . --output dist -- make\n  \
        plugbay run --report report.json -- sh -c 'cat /etc/shadow'\n  \
        plugbay run --profile ci --tool rust -- cargo test\n  \
        plugbay run --profile test --junit plugbay.xml --max-output 50MiB"
)]
pub(crate) struct Run {
    /// The command and its arguments
    #[arg(
        required_unless_present = "profile",
        trailing_var_arg = true,
        value_name = "CMD",
        value_hint = ValueHint::CommandWithArguments
    )]
    pub(crate) command: Vec<OsString>,

    /// Take grants, limits and perhaps the command from [run.NAME] of the plugbay.toml here or above;
    /// `ci` is built in: write the working directory, loopback, limits wide enough for builds
    #[arg(long, value_name = "NAME", help_heading = "Profile")]
    pub(crate) profile: Option<String>,

    /// Take profiles from FILE instead, such as one that the job cannot change
    #[arg(
        long,
        value_name = "FILE",
        value_hint = ValueHint::FilePath,
        requires = "profile",
        help_heading = "Profile"
    )]
    pub(crate) profile_file: Option<PathBuf>,

    /// Open what a toolchain reads, and give it a cache of its own (repeatable)
    #[arg(long = "tool", value_name = "TOOL", value_enum, help_heading = "Profile")]
    pub(crate) tools: Vec<ToolWord>,

    /// Where the toolchains of this run keep their caches [default: a directory for this one
    /// repository in ~/.cache/plugbay]
    #[arg(
        long,
        value_name = "DIR",
        value_hint = ValueHint::DirPath,
        help_heading = "Profile"
    )]
    pub(crate) cache: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) files: FileWords,

    #[command(flatten)]
    pub(crate) reach: ReachWords,

    #[command(flatten)]
    pub(crate) limits: LimitWords,

    /// Directory to run in [default: the current one if it is granted, else /tmp]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, help_heading = "Sandbox")]
    pub(crate) workdir: Option<PathBuf>,

    /// What must hold for the command to start at all
    /// [default: standard]
    #[arg(long, value_enum, help_heading = "Sandbox")]
    pub(crate) level: Option<LevelWord>,

    #[command(flatten)]
    pub(crate) demands: DemandWords,

    /// Which system calls are allowed: default, ci (also tracing and scheduling of its own
    /// children), or only these: names of calls, and of many such as @python [default: default]
    #[arg(long, value_name = "CALLS", value_delimiter = ',', help_heading = "Sandbox")]
    pub(crate) filter: Vec<FilterWord>,

    /// Watch every reach for a file or an address and tell what of it was not granted; slower, and
    /// only advice
    #[arg(long, help_heading = "Output")]
    pub(crate) explain: bool,

    /// Write command, grants, enforcement, resource use and cause of death to FILE, as JSON
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(crate) report: Option<PathBuf>,

    /// Write the run, its limits and its denials to FILE as a JUnit suite
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub(crate) junit: Option<PathBuf>,

    /// Say nothing on stderr but, at the end, the report as one line of JSON
    #[arg(long, conflicts_with_all = ["verbose", "quiet"], help_heading = "Output")]
    pub(crate) json: bool,

    /// End with 122 if the command succeeded although something was denied
    #[arg(long, help_heading = "Output")]
    pub(crate) fail_on_denial: bool,

    /// Show on stderr what was granted and enforced, before the command's own output
    #[arg(short, long, conflicts_with = "quiet", help_heading = "Output")]
    pub(crate) verbose: bool,

    /// Say nothing about a limit or signal that ended the command
    #[arg(short, long, help_heading = "Output")]
    pub(crate) quiet: bool,
}

/// Files opened to the command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct FileWords {
    /// Let it read this file or directory (repeatable)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) read: Vec<PathBuf>,

    /// Let it read, execute and change this file or directory (repeatable)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) write: Vec<PathBuf>,

    /// Let it read and execute this file or directory (repeatable)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) exec: Vec<PathBuf>,

    /// Hide this although something around it is granted; `*`, `?` and `**` are matched when it
    /// starts (repeatable)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) deny: Vec<PathBuf>,

    /// Let it change this directory as it likes, and keep the changes apart for `plugbay overlay`
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) overlay: Option<PathBuf>,

    /// Of the changes under --overlay, keep what is at or below this and drop the rest (repeatable)
    #[arg(long, value_name = "PATH", requires = "overlay", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Vec<PathBuf>,

    /// Do not grant the system's programs and libraries
    #[arg(long)]
    pub(crate) bare: bool,
}

/// What the command can reach, and what reaches it.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Network and environment")]
pub(crate) struct ReachWords {
    /// none, loopback, full, HOST[:PORT], PORT or listen:PORT (repeatable) [default: none]
    ///
    /// HOST is a name, *.NAME for all below it, an address or a block of them, or * for the whole
    /// internet; PORT is 443 if not said. The command then has a network of its own, and hosts are
    /// reached through a broker that resolves names, refuses private addresses that were not granted
    /// as such, and holds TLS to the name it was asked for. PORT alone is that port of any host.
    #[arg(long, value_name = "NET")]
    pub(crate) net: Vec<NetWord>,

    /// Let it connect to this unix socket (repeatable)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) unix: Vec<PathBuf>,

    /// Pass a variable on, or set it (repeatable)
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<EnvWord>,
}

/// What is demanded of single protections, beyond the level.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct DemandWords {
    /// Refuse to start unless this protection holds whole (repeatable)
    ///
    /// The protections: files.read, files.write, files.names, files.metadata, sockets.unix,
    /// sockets.abstract, network, processes, ipc, privileges, system-calls, environment, descriptors,
    /// lifetime, and limits.memory, limits.processes, limits.cpu-rate, limits.cpu-time, limits.wall,
    /// limits.file-size, limits.open-files, limits.disk. `plugbay doctor` tells what each gets here.
    #[arg(
        long,
        value_name = "NAME",
        value_parser = spelling::protections(),
        hide_possible_values = true,
        help_heading = "Sandbox"
    )]
    pub(crate) require: Vec<String>,

    /// Start also where this protection does not hold, whatever the level says (repeatable)
    #[arg(
        long,
        value_name = "NAME",
        value_parser = spelling::protections(),
        hide_possible_values = true,
        help_heading = "Sandbox"
    )]
    pub(crate) prefer: Vec<String>,

    /// Switch this protection off: files.read, files.write, sockets.unix, network, system-calls or a
    /// limit
    /// (repeatable)
    #[arg(
        long,
        value_name = "NAME",
        value_parser = spelling::switchable(),
        hide_possible_values = true,
        help_heading = "Sandbox"
    )]
    pub(crate) off: Vec<String>,
}

/// Limits; what is not named keeps its default.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Limits (each can be `none`)")]
pub(crate) struct LimitWords {
    /// Memory of all its processes [default: 1GiB]
    #[arg(long, value_name = "SIZE", value_parser = Bound::size)]
    pub(crate) memory: Option<Bound<u64>>,

    /// Processes and threads [default: 512]
    #[arg(long, value_name = "N", value_parser = Bound::count)]
    pub(crate) pids: Option<Bound<u64>>,

    /// Share of the processors, in cores, such as 1.5 [default: none]
    #[arg(long, value_name = "CORES", value_parser = Bound::cores)]
    pub(crate) cpu: Option<Bound<u64>>,

    /// Processor time of one process [default: none]
    #[arg(long, value_name = "DURATION", value_parser = Bound::duration)]
    pub(crate) cpu_time: Option<Bound<Duration>>,

    /// Wall clock time [default: none]
    #[arg(long, value_name = "DURATION", value_parser = Bound::duration)]
    pub(crate) wall: Option<Bound<Duration>>,

    /// Open descriptors of one process [default: 1024]
    #[arg(long, value_name = "N", value_parser = Bound::count)]
    pub(crate) open_files: Option<Bound<u64>>,

    /// Largest file it may write [default: none]
    #[arg(long, value_name = "SIZE", value_parser = Bound::size)]
    pub(crate) file_size: Option<Bound<u64>>,

    /// Size of its private /tmp, which cannot be unlimited [default: 256MiB]
    #[arg(long, value_name = "SIZE", value_parser = spelling::size)]
    pub(crate) tmp_size: Option<u64>,

    /// What it writes to stdout and stderr, which are pipes then [default: none]
    #[arg(long, value_name = "SIZE", value_parser = Bound::size)]
    pub(crate) max_output: Option<Bound<u64>>,

    /// Past --max-output, drop the rest instead of ending the command
    #[arg(long)]
    pub(crate) truncate_output: bool,
}

/// `--tool`, spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ToolWord {
    /// cargo, rustc
    Rust,
    /// node, npm, yarn, pnpm
    Node,
    /// python, pip, uv
    Python,
    /// go
    Go,
    /// java, Maven, Gradle
    Java,
}

impl From<Tool> for ToolWord {
    fn from(tool: Tool) -> Self {
        match tool {
            Tool::Rust => Self::Rust,
            Tool::Node => Self::Node,
            Tool::Python => Self::Python,
            Tool::Go => Self::Go,
            Tool::Java => Self::Java,
        }
    }
}
