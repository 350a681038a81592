//! The document that `run --report` writes: what was asked, what was enforced, what became of it.
//! For programs; the names in it are stable. Values of variables are left out: they may be secrets.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use plugbay_sandbox::{
    Base, Cause, Demands, Enforcement, EnvGrant, FileGrant, Hit, Level, Network, Profile, Spec,
    Watched,
};
use serde::Serialize;

use super::{
    last,
    profile::Chosen,
    watch::{End, signal_name},
};
use crate::{
    args::Run,
    exit::Exit,
    failure::Failure,
    grants::Grants,
    output::{denial::Shown, file},
    tool,
};

/// The version of the document's shape.
const VERSION: u32 = 1;

/// A report being filled in, and where it goes.
#[derive(Debug)]
pub(crate) struct Report {
    target: Option<(PathBuf, File)>,
    limits: plugbay_sandbox::Limits,
    document: Document,
}

#[derive(Debug, Serialize)]
struct Document {
    version: u32,
    command: Vec<String>,
    /// The profile that was asked for.
    profile: Option<Named>,
    /// The toolchains that were opened.
    tools: Vec<&'static str>,
    /// The program that stands behind the command; null when none was found.
    program: Option<String>,
    /// How the program was found, in words.
    resolution: Vec<String>,
    workdir: String,
    level: Level,
    demands: Demands,
    filter: Profile,
    grants: Granted,
    enforcement: Option<Enforcement>,
    denials: Denials,
    outcome: Outcome,
    usage: Option<Usage>,
}

/// A profile, and the file that it is from; null when it is built in.
#[derive(Debug, Serialize)]
struct Named {
    name: String,
    file: Option<String>,
}

#[derive(Debug, Serialize)]
struct Granted {
    base: Base,
    files: Vec<FileGrant>,
    /// What of them stays hidden.
    deny: Vec<String>,
    network: Network,
    unix: Vec<String>,
    env: Vec<String>,
    limits: Limits,
}

#[derive(Debug, Serialize)]
struct Limits {
    memory: Option<u64>,
    pids: Option<u64>,
    cpu_milli: Option<u64>,
    cpu_time_ms: Option<u64>,
    wall_ms: Option<u64>,
    open_files: Option<u64>,
    file_size: Option<u64>,
    tmp_size: u64,
}

/// How it went. Exactly one of `code`, `signal` and `error` is not null.
#[derive(Debug, Default, Serialize)]
struct Outcome {
    code: Option<i32>,
    signal: Option<String>,
    /// Why the command never ran.
    error: Option<String>,
    /// The mechanism that ended it: `wall`, or one of the sandbox's causes.
    cause: Option<&'static str>,
    /// The same in words.
    why: Option<String>,
    /// Every limit that was run into, whether or not that ended it.
    limits: Vec<Hit>,
}

/// What was refused. What nobody watched may have been refused without a word.
#[derive(Debug, Default, Serialize)]
struct Denials {
    watched: Watched,
    kinds: Vec<Shown>,
    /// Refusals of further kinds.
    others: u64,
}

#[derive(Debug, Serialize)]
struct Usage {
    wall_ms: u64,
    user_ms: Option<u64>,
    system_ms: Option<u64>,
    max_rss_bytes: Option<u64>,
}

impl Report {
    /// Opens the file before anything runs, so that a report that cannot be written is known at
    /// once and the command cannot put something else in its place.
    pub(crate) fn open(
        target: Option<&Path>,
        command: &[OsString],
        grants: &Grants,
    ) -> Result<Self, Failure> {
        let target = target.map(|path| {
            let made = file::create(path, &grants.files);
            made.map(|file| (path.to_owned(), file)).map_err(|error| {
                Failure::new(Exit::NotSealed, format!("write `{}`: {error}", path.display()))
            })
        });
        Ok(Self {
            target: target.transpose()?,
            limits: grants.limits.clone(),
            document: Document::new(command, grants),
        })
    }

    /// Which profile and tools the grants are from.
    pub(crate) fn asked(&mut self, words: &Run, chosen: Option<&Chosen>) {
        self.document.tools = words.tools.iter().copied().map(tool::word).collect();
        self.document.profile = chosen.map(|chosen| Named {
            name: chosen.name.clone(),
            file: chosen.source.as_ref().map(|source| source.path.display().to_string()),
        });
    }

    /// What will be started.
    pub(crate) fn planned(&mut self, spec: &Spec, resolution: Vec<String>) {
        self.document.resolution = resolution;
        self.document.program = Some(spec.program.display().to_string());
        self.document.grants.files.clone_from(&spec.files);
        self.document.grants.env = spec.env.iter().map(|(name, _)| lossy(name)).collect();
    }

    /// What was enforced.
    pub(crate) fn started(&mut self, enforcement: &Enforcement) {
        self.document.enforcement = Some(enforcement.clone());
        self.document.denials.watched = enforcement.watched.clone();
    }

    /// How it ended.
    pub(crate) fn ended(&mut self, end: &End) {
        self.document.outcome = Outcome {
            code: end.exit.code,
            signal: end.exit.signal.map(signal_name),
            error: None,
            cause: if end.out_of_time { Some("wall") } else { end.exit.cause.map(cause_name) },
            why: end.why(&self.limits),
            limits: end.hits(&self.limits),
        };
        let refusals = end.refusals(&self.limits);
        self.document.denials.kinds = refusals.kinds().iter().map(Shown::of).collect();
        self.document.denials.others = refusals.others();
        let usage = end.exit.usage.as_ref();
        self.document.usage = Some(Usage {
            wall_ms: millis(end.wall),
            user_ms: usage.map(|usage| millis(usage.user)),
            system_ms: usage.map(|usage| millis(usage.system)),
            max_rss_bytes: usage.map(|usage| usage.max_rss),
        });
    }

    /// Why it never ran.
    pub(crate) fn never_ran(&mut self, failure: &Failure) {
        let error = Some(failure.message.clone());
        self.document.outcome = Outcome { error, ..Outcome::default() };
    }

    /// Writes the document where it was asked for, and keeps it in the state directory for
    /// `plugbay why`. That it cannot be kept is no failure of the run: then there is nothing to read.
    pub(crate) fn write(self, state: Option<&Path>) -> Result<(), Failure> {
        if let Some(directory) = state {
            let _unkept = last::keep(&self.document, directory, &self.document.grants.files);
        }
        let Some((path, mut file)) = self.target else { return Ok(()) };
        let text = serde_json::to_string_pretty(&self.document).map_err(io::Error::from);
        text.and_then(|text| writeln!(file, "{text}")).map_err(|error| {
            Failure::new(Exit::Answered, format!("write `{}`: {error}", path.display()))
        })
    }
}

impl Document {
    fn new(command: &[OsString], grants: &Grants) -> Self {
        let limits = &grants.limits;
        Self {
            version: VERSION,
            command: command.iter().map(|word| lossy(word)).collect(),
            profile: None,
            tools: Vec::new(),
            program: None,
            resolution: Vec::new(),
            workdir: grants.workdir.display().to_string(),
            level: grants.level,
            demands: grants.demands.clone(),
            filter: grants.profile,
            grants: Granted {
                base: grants.base,
                files: grants.files.clone(),
                deny: grants.deny.iter().map(|it| it.display().to_string()).collect(),
                network: grants.network.clone(),
                unix: grants.unix_sockets.iter().map(|it| it.display().to_string()).collect(),
                env: grants.env.iter().map(name_of).collect(),
                limits: Limits {
                    memory: limits.memory,
                    pids: limits.pids,
                    cpu_milli: limits.cpu_milli,
                    cpu_time_ms: limits.cpu_time.map(millis),
                    wall_ms: limits.wall.map(millis),
                    open_files: limits.open_files,
                    file_size: limits.file_size,
                    tmp_size: limits.tmp_size,
                },
            },
            enforcement: None,
            denials: Denials::default(),
            outcome: Outcome::default(),
            usage: None,
        }
    }
}

fn name_of(grant: &EnvGrant) -> String {
    match grant {
        EnvGrant::Inherit(name) | EnvGrant::Set(name, _) => name.clone(),
    }
}

fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Seccomp => "seccomp",
        Cause::CpuTime => "cpu-time",
        Cause::FileSize => "file-size",
        Cause::Memory => "memory",
        Cause::Processes => "processes",
        Cause::TreeKill => "tree-kill",
    }
}

/// Whole milliseconds, as far as they fit.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn lossy(text: &OsStr) -> String {
    text.to_string_lossy().into_owned()
}
