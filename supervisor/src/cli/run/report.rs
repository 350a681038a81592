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
    Tally, Watched,
};
use serde::Serialize;

use super::{
    junit, last,
    profile::Chosen,
    watch::{End, signal_name},
};
use crate::{
    args::Run,
    exit::Exit,
    failure::Failure,
    grants::Grants,
    output::{denial::Shown, edit::Edit, file},
    spelling::Bound,
    tool,
};

/// The version of the document's shape: a new key is none, a key that means another thing is.
const VERSION: u32 = 1;

/// A report being filled in, and where it goes.
#[derive(Debug)]
pub(crate) struct Report {
    target: Option<Target>,
    junit: Option<Target>,
    limits: plugbay_sandbox::Limits,
    edit: Option<Edit>,
    document: Document,
}

/// A file that is already open.
#[derive(Debug)]
struct Target {
    path: PathBuf,
    file: File,
}

impl Target {
    fn open(path: Option<&Path>, grants: &[FileGrant]) -> Result<Option<Self>, Failure> {
        let Some(path) = path else { return Ok(None) };
        let file = file::create(path, grants).map_err(|error| {
            Failure::new(Exit::NotSealed, format!("write `{}`: {error}", path.display()))
        })?;
        Ok(Some(Self { path: path.to_owned(), file }))
    }

    fn write(mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.file, "{text}").map_err(|error| {
            Failure::new(Exit::Answered, format!("write `{}`: {error}", self.path.display()))
        })
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Document {
    pub(super) version: u32,
    pub(super) command: Vec<String>,
    /// The profile that was asked for.
    pub(super) profile: Option<Named>,
    /// The toolchains that were opened.
    pub(super) tools: Vec<&'static str>,
    /// The program that stands behind the command; null when none was found.
    pub(super) program: Option<String>,
    /// How the program was found, in words.
    pub(super) resolution: Vec<String>,
    pub(super) workdir: String,
    pub(super) level: Level,
    pub(super) demands: Demands,
    pub(super) filter: Profile,
    pub(super) grants: Granted,
    pub(super) enforcement: Option<Enforcement>,
    pub(super) denials: Denials,
    pub(super) outcome: Outcome,
    pub(super) usage: Option<Usage>,
}

/// A profile, and the file that it is from; null when it is built in.
#[derive(Debug, Serialize)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) file: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Granted {
    pub(super) base: Base,
    pub(super) files: Vec<FileGrant>,
    /// What of them stays hidden.
    pub(super) deny: Vec<String>,
    pub(super) network: Network,
    pub(super) unix: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) limits: Limits,
}

#[derive(Debug, Serialize)]
pub(super) struct Limits {
    pub(super) memory: Option<u64>,
    pub(super) pids: Option<u64>,
    pub(super) cpu_milli: Option<u64>,
    pub(super) cpu_time_ms: Option<u64>,
    pub(super) wall_ms: Option<u64>,
    pub(super) open_files: Option<u64>,
    pub(super) file_size: Option<u64>,
    pub(super) tmp_size: u64,
    pub(super) output: Option<u64>,
}

/// How it went. Exactly one of `code`, `signal` and `error` is not null.
#[derive(Debug, Default, Serialize)]
pub(super) struct Outcome {
    /// What `plugbay` itself ends with.
    pub(super) status: u8,
    pub(super) code: Option<i32>,
    pub(super) signal: Option<String>,
    /// Why the command never ran.
    pub(super) error: Option<String>,
    /// The mechanism that ended it: `wall`, `output`, or one of the sandbox's causes.
    pub(super) cause: Option<&'static str>,
    /// The same in words.
    pub(super) why: Option<String>,
    /// Every limit that was run into, whether or not that ended it.
    pub(super) limits: Vec<Hit>,
}

/// What was refused. What nobody watched may have been refused without a word.
#[derive(Debug, Default, Serialize)]
pub(super) struct Denials {
    pub(super) watched: Watched,
    pub(super) kinds: Vec<Shown>,
    /// Refusals of further kinds.
    pub(super) others: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct Usage {
    pub(super) wall_ms: u64,
    pub(super) user_ms: Option<u64>,
    pub(super) system_ms: Option<u64>,
    pub(super) max_rss_bytes: Option<u64>,
}

impl Report {
    /// Opens the files before anything runs, so that a report that cannot be written is known at
    /// once and the command cannot put something else in its place.
    pub(crate) fn open(
        words: &Run,
        grants: &Grants,
        chosen: Option<&Chosen>,
    ) -> Result<Self, Failure> {
        let mut document = Document::new(&words.command, grants);
        document.grants.limits.output = words.limits.max_output.and_then(Bound::into_option);
        document.tools = words.tools.iter().copied().map(tool::word).collect();
        document.profile = chosen.map(|chosen| Named {
            name: chosen.name.clone(),
            file: chosen.source.as_ref().map(|source| source.path.display().to_string()),
        });
        Ok(Self {
            target: Target::open(words.report.as_deref(), &grants.files)?,
            junit: Target::open(words.junit.as_deref(), &grants.files)?,
            limits: grants.limits.clone(),
            edit: chosen.and_then(Chosen::edit),
            document,
        })
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
    pub(crate) fn ended(&mut self, end: &End, status: u8) {
        self.document.outcome = Outcome {
            status,
            code: end.exit.code,
            signal: end.exit.signal.map(signal_name),
            error: None,
            cause: cause(end),
            why: end.why(&self.limits),
            limits: end.hits(&self.limits),
        };
        let refusals = end.refusals(&self.limits);
        self.document.denials.kinds = self.shown(&refusals);
        self.document.denials.others = refusals.others();
        let usage = end.exit.usage.as_ref();
        self.document.usage = Some(Usage {
            wall_ms: millis(end.wall),
            user_ms: usage.map(|usage| millis(usage.user)),
            system_ms: usage.map(|usage| millis(usage.system)),
            max_rss_bytes: usage.map(|usage| usage.max_rss),
        });
    }

    /// Refusals, each with the line or flag that allows it.
    pub(crate) fn shown(&self, refusals: &Tally) -> Vec<Shown> {
        let edit = self.edit.as_ref();
        refusals.kinds().iter().map(|denial| Shown::of_run(denial, edit)).collect()
    }

    /// Why it never ran.
    pub(crate) fn never_ran(&mut self, failure: &Failure) {
        let error = Some(failure.message.clone());
        let status = failure.exit.code();
        self.document.outcome = Outcome { status, error, ..Outcome::default() };
    }

    /// Writes the document where it was asked for, and keeps it in the state directory for
    /// `plugbay why`. That it cannot be kept is no failure of the run: then there is nothing to read.
    pub(crate) fn write(self, state: Option<&Path>) -> Result<(), Failure> {
        if let Some(directory) = state {
            let _unkept = last::keep(&self.document, directory, &self.document.grants.files);
        }
        if let Some(target) = self.junit {
            target.write(&junit::suite(&self.document))?;
        }
        let Some(target) = self.target else { return Ok(()) };
        let text = serde_json::to_string_pretty(&self.document).map_err(io::Error::from)?;
        target.write(&text)
    }

    /// The document on one line.
    pub(crate) fn line(&self) -> Result<String, Failure> {
        Ok(serde_json::to_string(&self.document).map_err(io::Error::from)?)
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
                    output: None,
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

/// What ended it, if it was not the command itself.
fn cause(end: &End) -> Option<&'static str> {
    if end.out_of_time {
        return Some("wall");
    }
    if end.too_much_output {
        return Some("output");
    }
    end.exit.cause.map(cause_name)
}

fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Seccomp => "seccomp",
        Cause::CpuTime => "cpu-time",
        Cause::FileSize => "file-size",
        Cause::Memory => "memory",
        Cause::Processes => "processes",
        Cause::Disk => "disk",
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
