//! What the user typed: verbs, flags and their spelling. No side effects and no meaning beyond one
//! word at a time; what the flags of `run` mean together is decided in `grants`.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};

mod learn;
mod overlay;
mod run;

pub(crate) use learn::Learn;
pub(crate) use overlay::{Keep, Overlay, OverlayVerb, Which};
pub(crate) use run::{DemandWords, FileWords, LimitWords, ReachWords, Run, ToolWord};

use crate::{
    attack::door::Door,
    exit,
    spelling::{self, Input},
};

/// Sealed plugins in any language, called like functions.
///
/// A plugin is a directory with a `plugin.toml`. Plugbay starts it in a sandbox that denies
/// everything its manifest did not ask for, speaks JSON-RPC with it over its standard streams, and
/// outlives whatever it does. `plugbay run` seals any single command in the same way.
#[derive(Debug, Parser)]
#[command(
    name = "plugbay",
    bin_name = "plugbay",
    version,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true,
    after_help = "Examples:\n  \
        plugbay list --plugins examples\n  \
        plugbay call examples/wordstats count '{\"text\": \"to be or not to be\"}'\n  \
        plugbay run --read . -- python3 script.py\n\n\
        Exit codes: see `plugbay --help`",
    after_long_help = format!(
        "Examples:\n  \
        plugbay list --plugins examples\n  \
        plugbay call examples/wordstats count '{{\"text\": \"to be or not to be\"}}'\n  \
        plugbay run --read . -- python3 script.py\n\n{}",
        exit::table()
    )
)]
pub(crate) struct Plugbay {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Call(Box<Call>),
    Run(Box<Run>),
    Learn(Box<Learn>),
    Dev(Dev),
    List(List),
    Info(Info),
    HelpPlugin(HelpPlugin),
    Overlay(Overlay),
    Why(Why),
    History(History),
    Check(Check),
    Doctor(Doctor),
    Chaos(Chaos),
    Completions(Completions),
    Man(Man),
}

/// Start a plugin sealed, call one method, print the result, stop the plugin
///
/// No daemon is needed and none is left behind. The plugin gets what its manifest asks for, and
/// what is granted here on top. A result that is a stream is printed as it comes: values as lines of
/// JSON, bytes as they are.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plugbay call examples/wordstats count '{\"text\": \"to be or not to be\"}'\n  \
    plugbay call wordstats file '{\"path\": \"/srv/book.txt\"}' --read /srv/book.txt\n  \
    jq -c .order request.json | plugbay call prices quote - --json --deadline 2s\n  \
    tail -f app.log | plugbay call filters errors --in-lines lines=-")]
pub(crate) struct Call {
    /// A plugin's directory, or the name of a plugin found under --plugins
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) plugin: String,

    /// The method to call
    pub(crate) method: String,

    /// The parameters as JSON, or `-` to read them from standard input
    #[arg(allow_negative_numbers = true)]
    pub(crate) params: Option<String>,

    /// Send parameter NAME as a stream of the JSON values in FILE; `-` is standard input (repeatable)
    #[arg(long = "in", value_name = "NAME=FILE", value_parser = spelling::input)]
    pub(crate) input: Vec<Input>,

    /// Send parameter NAME as a stream of texts, the lines of FILE
    #[arg(long = "in-lines", value_name = "NAME=FILE", value_parser = spelling::input)]
    pub(crate) input_lines: Vec<Input>,

    /// Send parameter NAME as a stream of bytes, those of FILE
    #[arg(long = "in-bytes", value_name = "NAME=FILE", value_parser = spelling::input)]
    pub(crate) input_bytes: Vec<Input>,

    #[command(flatten)]
    pub(crate) places: Places,

    /// Set one key of the plugin's configuration; VALUE is JSON, or else taken as text
    #[arg(long, value_name = "KEY=VALUE", value_parser = spelling::key_value)]
    pub(crate) config: Vec<(String, String)>,

    /// Read the plugin's configuration from a JSON file; --config overrides its keys
    #[arg(short = 'C', long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config_file: Option<PathBuf>,

    /// Let the plugin also read this file or directory (repeatable)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) read: Vec<PathBuf>,

    /// Let the plugin also read and change this file or directory (repeatable)
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    pub(crate) write: Vec<PathBuf>,

    /// Give up, and cancel the call, after this time
    #[arg(long, value_name = "DURATION", value_parser = spelling::duration)]
    pub(crate) deadline: Option<Duration>,

    /// What must hold for the plugin to start at all
    #[arg(long, value_enum, default_value_t, help_heading = "Sandbox")]
    pub(crate) level: LevelWord,

    #[command(flatten)]
    pub(crate) demands: DemandWords,

    /// Write what was enforced and how the call went to FILE, as JSON
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) report: Option<PathBuf>,

    /// Print the result on one line; errors become JSON on stderr
    #[arg(long)]
    pub(crate) json: bool,

    /// Show on stderr what was enforced, and what the plugin logs
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// List the plugins that can be called by name
///
/// Directories whose manifest is invalid are named on stderr with the reason, and do not hide the
/// others.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plugbay list\n  \
    plugbay list --plugins examples --json")]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) places: Places,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show what a plugin offers and what it asks for
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plugbay info examples/wordstats\n  \
    plugbay info wordstats --json")]
pub(crate) struct Info {
    /// A plugin's directory, or the name of a plugin found under --plugins
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) plugin: String,

    #[command(flatten)]
    pub(crate) places: Places,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show how a plugin's methods are called
///
/// Made from its manifest: every method with its parameters, result and an example, and every key of
/// its configuration.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plugbay help-plugin examples/wordstats\n  \
    plugbay help-plugin wordstats count")]
pub(crate) struct HelpPlugin {
    /// A plugin's directory, or the name of a plugin found under --plugins
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) plugin: String,

    /// Only this method
    pub(crate) method: Option<String>,

    #[command(flatten)]
    pub(crate) places: Places,
}

/// Tell why a plugin failed last, and what can be done about it
///
/// What ended it and when, which calls it was working on, its last words, what it used, what
/// happened before and since, and what happens next. Read from what earlier commands and hosts have
/// kept in the state directory; the plugin need not be there any more. Without a plugin: how the
/// last `plugbay run` ended, what it was refused, and what nobody watched.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plugbay why\n  \
    plugbay why wordstats\n  \
    plugbay why wordstats --lines 500\n  \
    plugbay why wordstats --json | jq -r .death.stderr")]
pub(crate) struct Why {
    /// The plugin's name, or its directory; without one, the last run is meant
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) plugin: Option<String>,

    /// How many of its last lines on stderr to show
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub(crate) lines: usize,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show what happened to a plugin lately: its calls, ends or states
///
/// Read from what earlier commands and hosts have kept in the state directory. Of a call, neither
/// the parameters nor the result are kept.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plugbay history wordstats\n  \
    plugbay history wordstats --of ends -n 5\n  \
    plugbay history wordstats --json | jq '.calls[] | select(.outcome != \"ok\")'")]
pub(crate) struct History {
    /// The plugin's name, or its directory
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) plugin: String,

    /// What is shown of it
    #[arg(long, value_enum, default_value_t)]
    pub(crate) of: HistoryWord,

    /// How many, the newest first
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub(crate) number: u32,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Validate a plugin directory without running anything of it
///
/// Reads the manifest, looks for the command and the files it asks for, and compiles the schemas.
/// Ends with 3 if something is wrong.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plugbay check examples/wordstats\n  \
    plugbay check . --json")]
pub(crate) struct Check {
    /// The plugin's directory
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) directory: PathBuf,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Prove what this kernel and user can enforce
///
/// Shows the ladder of this machine: which rung a start reaches and what would lead higher, and what
/// each protection gets, with what would make it hold. Then it starts a canary in the real sandbox and lets it try what a plugin must not do. Each claim is
/// shown with what the canary met inside, and with the same attempt made outside, which must
/// succeed for the proof to count. Ends with 1 if a claim did not hold.
///
/// With --attack it tries to break out in every way of the catalogue, against processes and files
/// that it has made for that. Ends with 1 if an attack came through although a layer that should have
/// stopped it is reported to hold.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plugbay doctor\n  \
    plugbay doctor --json | jq '.protections[] | select(.hold != \"enforced\")'\n  \
    plugbay doctor --attack --only 1,13\n  \
    plugbay doctor --attack --layers\n  \
    plugbay doctor --attack --json | jq '.attacks[] | select(.outcome == \"absent\")'")]
pub(crate) struct Doctor {
    /// Let every attack of the catalogue loose, and show what stopped it
    #[arg(long)]
    pub(crate) attack: bool,

    /// Make only the attacks with these numbers
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', requires = "attack")]
    pub(crate) only: Vec<u32>,

    /// How the attacker is started
    #[arg(long, value_enum, default_value_t, requires = "attack")]
    pub(crate) door: Door,

    /// Show of each layer what it is good for: an attack that fails with it and comes through without
    #[arg(long, requires = "attack", conflicts_with_all = ["only", "door"])]
    pub(crate) layers: bool,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Commit every fault of the catalogue and show that the host holds
///
/// Without PLUGIN, plugins that are built in (one in Python, one in Rust) misbehave in every way:
/// killed, hanging, flooding, lying, forking. With PLUGIN, that one is disturbed from outside, and
/// must come back. Each row is played in a host of its own, beside a healthy neighbour that is
/// called all the time; afterwards nothing may be left. Only processes that it started itself are
/// ever touched, and no row takes longer than a few minutes. Ends with 1 if a row did not hold.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plugbay chaos\n  \
    plugbay chaos --only 1,13,26\n  \
    plugbay chaos examples/wordstats --call count --params '{\"text\": \"to be\"}'\n  \
    plugbay chaos --json | jq '.rows[] | select(.outcome == \"broken\")'")]
pub(crate) struct Chaos {
    /// A plugin's directory, or the name of one under --plugins: disturb it from outside
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) plugin: Option<String>,

    /// The built-in plugins, and every plugin found under --plugins
    #[arg(long, conflicts_with = "plugin")]
    pub(crate) all: bool,

    /// A method of PLUGIN that does no harm, however often it is called
    #[arg(long, value_name = "METHOD", requires = "plugin")]
    pub(crate) call: Option<String>,

    /// Its parameters, as JSON
    #[arg(long, value_name = "JSON", requires = "call")]
    pub(crate) params: Option<String>,

    /// Set one key of PLUGIN's configuration; VALUE is JSON, or else taken as text
    #[arg(long, value_name = "KEY=VALUE", value_parser = spelling::key_value, requires = "plugin")]
    pub(crate) config: Vec<(String, String)>,

    /// Do so although PLUGIN may write files or use the network
    #[arg(long)]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) places: Places,

    /// Play only the rows with these numbers
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    pub(crate) only: Vec<u32>,

    /// Play each row so often in one process; its memory must not grow from round to round
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,

    /// How many rows are played at once [default: as many as there are processors, 2 to 4]
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<usize>,

    /// Show the rows and what they require; play nothing
    #[arg(long)]
    pub(crate) list: bool,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,

    /// Play the row at this place here and now, and print what came of it as JSON
    #[arg(long, hide = true)]
    pub(crate) row: Option<usize>,
}

/// Print a completion script for a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plugbay completions bash > ~/.local/share/bash-completion/completions/plugbay\n  \
    plugbay completions fish > ~/.config/fish/completions/plugbay.fish")]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

/// Print the manual page, or write all pages into a directory
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plugbay man | man -l -\n  \
    plugbay man /usr/local/share/man/man1")]
pub(crate) struct Man {
    /// Where to write one page per verb; without it, the main page goes to stdout
    #[arg(value_hint = ValueHint::DirPath)]
    pub(crate) directory: Option<PathBuf>,
}

/// Where plugins are looked for by name.
#[derive(Debug, Default, Args)]
pub(crate) struct Places {
    /// Directory of plugins (repeatable) [default: ./plugins, ./examples]
    #[arg(
        long,
        value_name = "DIR",
        env = "PLUGBAY_PLUGINS",
        hide_env_values = true,
        value_delimiter = ':',
        action = ArgAction::Append,
        value_hint = ValueHint::DirPath
    )]
    pub(crate) plugins: Vec<PathBuf>,
}

/// Run a plugin while you write it: each saved change takes its place at once.
///
/// The plugin is started sealed, as a host would. When a file of it changes, the new version is started
/// beside the old one and takes its calls when it is ready; a version that does not come up, or crashes
/// within five seconds, is dropped, and the one before goes on. A plugin with a `snapshot` and a
/// `restore` keeps its state. What is typed is called: a method, then its parameters as JSON.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    plugbay dev .\n  \
    plugbay dev examples/wordstats   # then type: count {\"text\": \"to be\"}\n  \
    echo 'count {\"text\": \"a b\"}' | plugbay dev . --json | jq .")]
pub(crate) struct Dev {
    /// The plugin's directory
    #[arg(default_value = ".", value_hint = ValueHint::DirPath)]
    pub(crate) plugin: PathBuf,

    #[command(flatten)]
    pub(crate) places: Places,

    /// Set one key of the plugin's configuration; VALUE is JSON, or else taken as text
    #[arg(long, value_name = "KEY=VALUE", value_parser = spelling::key_value)]
    pub(crate) config: Vec<(String, String)>,

    /// Read the plugin's configuration from a JSON file; --config overrides its keys
    #[arg(short = 'C', long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config_file: Option<PathBuf>,

    /// What must hold for the plugin to start at all
    #[arg(long, value_enum, default_value_t, help_heading = "Sandbox")]
    pub(crate) level: LevelWord,

    /// Tell everything as JSON, one document per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// `--level`, spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LevelWord {
    /// Refuse to start if any wanted layer does not hold
    Strict,
    /// Landlock, seccomp and limits must hold, the rest as far as the kernel allows
    #[default]
    Standard,
    /// No sandbox at all
    None,
}

/// `history --of`, spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum HistoryWord {
    /// How its calls went
    #[default]
    Calls,
    /// How its processes ended
    Ends,
    /// Which states it was in
    States,
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
