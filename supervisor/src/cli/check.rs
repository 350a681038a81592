//! `plugbay check`: whether a directory is a plugin that can be started here. Nothing of it runs.

use std::path::Path;

use plugbay_manifest::{
    FilesystemPermission, GrantPath, ManifestError, NetworkPermission, Package, SystemCalls,
    sandbox::{Demand, Level, Sandbox},
};
use plugbay_sandbox::Calls;
use semver::Version;
use serde::Serialize;

use crate::{
    args::Check,
    cli::find,
    env,
    exit::Exit,
    failure::Failure,
    output::{Format, Outcome, Terminal, Tone},
};

/// Checks, and tells what was found.
pub(crate) fn run(typed: &Check, terminal: Terminal) -> Outcome {
    let directory = find::directory(&typed.directory)?;
    let (name, findings) = match plugbay_manifest::load(&directory) {
        Ok(package) => (Some(package.manifest.plugin.name.to_string()), examine(&package)),
        Err(error) => (None, of_manifest(&error)),
    };
    let valid = findings.iter().all(|finding| finding.severity != Severity::Error);
    let report = Report { valid, name, directory: directory.display().to_string(), findings };
    match Format::from_flag(typed.json) {
        Format::Json => terminal.json(&report)?,
        Format::Human => tell(&report, terminal)?,
    }
    Ok(if valid { Exit::Ok } else { Exit::NotFound }.into())
}

/// What a check found.
#[derive(Debug, Serialize)]
struct Report {
    valid: bool,
    name: Option<String>,
    directory: String,
    findings: Vec<Finding>,
}

/// One thing worth saying.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Finding {
    severity: Severity,
    /// Where in the manifest; absent when it is about the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    /// The dotted key of the manifest.
    #[serde(skip_serializing_if = "String::is_empty")]
    key: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    allowed: Option<String>,
    /// The same for people, with the line of the file drawn.
    #[serde(skip)]
    drawn: Option<String>,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    /// The plugin cannot be started.
    Error,
    /// It can, but look at this.
    Warning,
}

impl Finding {
    fn new(severity: Severity, key: &str, message: String) -> Self {
        Self {
            severity,
            line: None,
            column: None,
            key: key.to_owned(),
            message,
            allowed: None,
            drawn: None,
        }
    }
}

fn of_manifest(error: &ManifestError) -> Vec<Finding> {
    let file = error.file().display();
    error
        .problems()
        .iter()
        .map(|problem| Finding {
            line: problem.line(),
            column: problem.column(),
            allowed: problem.allowed().map(str::to_owned),
            drawn: Some(format!("{file}{problem}")),
            ..Finding::new(Severity::Error, problem.key(), problem.message().to_owned())
        })
        .collect()
}

/// What a valid manifest leaves open: whether this machine has what it names, and what it asks for
/// that deserves a second look.
fn examine(package: &Package) -> Vec<Finding> {
    let mut findings = command(package);
    findings.extend(made_for_another(package));
    let permissions = &package.manifest.permissions;
    if let FilesystemPermission::Paths { read, write, exec } = &permissions.filesystem {
        for (key, paths) in [("read", read), ("write", write), ("exec", exec)] {
            let key = format!("permissions.filesystem.{key}");
            findings.extend(paths.iter().filter_map(|path| granted(package, &key, path)));
        }
    }
    findings.extend(calls(&permissions.system_calls));
    let warn = |key, message: &str| Finding::new(Severity::Warning, key, message.to_owned());
    if permissions.network == NetworkPermission::Full {
        findings.push(warn("permissions.network", "asks for the whole network; name ports"));
    }
    findings.extend(wishes(&package.manifest.sandbox));
    if permissions.filesystem == FilesystemPermission::ReadOnly {
        findings.push(warn("permissions.filesystem", "asks to read every file; name paths"));
    }
    findings
}

/// What it would like to do without, which only the host can grant.
fn wishes(asked: &Sandbox) -> Vec<Finding> {
    let mut findings = Vec::new();
    if asked.level == Some(Level::None) {
        let message =
            "asks to run without a sandbox; it is sealed until its host says `--level none`";
        findings.push(Finding::new(Severity::Warning, "sandbox.level", message.to_owned()));
    }
    let off = asked.protections.iter().filter(|(_, demand)| **demand == Demand::Off);
    findings.extend(off.map(|(name, _)| {
        let key = format!("sandbox.protections.{name}");
        let message =
            format!("asks for no such protection; it holds until its host says `--off {name}`");
        Finding::new(Severity::Warning, &key, message)
    }));
    findings
}

/// Whether the plugin is made for this version.
fn made_for_another(package: &Package) -> Option<Finding> {
    let own = Version::parse(env!("CARGO_PKG_VERSION")).ok()?;
    let needs = &package.manifest.dependencies.plugbay;
    let message = || format!("it needs Plugbay {needs}, and this is {own}");
    (!needs.matches(&own)).then(|| Finding::new(Severity::Error, "dependencies.plugbay", message()))
}

/// Whether the command can be found, without running it.
fn command(package: &Package) -> Vec<Finding> {
    let Some((program, args)) = package.manifest.runtime.command.split_first() else {
        return Vec::new();
    };
    let args: Vec<_> = args.iter().map(Into::into).collect();
    match plugbay_sandbox::resolve::resolve(program, &args, &env::all(), &package.dir) {
        Ok(_) => Vec::new(),
        Err(error) => vec![Finding::new(Severity::Error, "runtime.command", error.to_string())],
    }
}

/// Whether the filter knows the calls of a strict list.
fn calls(asked: &SystemCalls) -> Option<Finding> {
    let SystemCalls::Only(words) = asked else { return None };
    let error = Calls::of(words.iter().map(String::as_str)).err()?;
    let nearest = plugbay_manifest::nearest(&error.0, Calls::vocabulary());
    let guess = nearest.map_or_else(String::new, |word| format!("; did you mean `{word}`?"));
    let message = format!("{error}{guess}");
    Some(Finding::new(Severity::Error, "permissions.system_calls", message))
}

/// Whether a path that is asked for is there, and is where it says.
fn granted(package: &Package, key: &str, path: &GrantPath) -> Option<Finding> {
    let home = env::home();
    let Some(place) = path.locate(&package.dir, home.as_deref()) else {
        let message = format!("`{path}` is below the home directory, and there is none");
        return Some(Finding::new(Severity::Warning, key, message));
    };
    let message = match place.canonicalize() {
        Err(error) => format!("`{path}`: {error}"),
        Ok(real) if leads_out(path, &real, &package.dir) => {
            format!("`{path}` is a link that leads out of the plugin, to `{}`", real.display())
        }
        Ok(_) => return None,
    };
    Some(Finding::new(Severity::Warning, key, message))
}

fn leads_out(path: &GrantPath, real: &Path, directory: &Path) -> bool {
    matches!(path, GrantPath::Plugin(_)) && !real.starts_with(directory)
}

fn tell(report: &Report, terminal: Terminal) -> Result<(), Failure> {
    for finding in &report.findings {
        let (tone, word) = match finding.severity {
            Severity::Error => (Tone::Bad, "error"),
            Severity::Warning => (Tone::Warn, "warning"),
        };
        let plain = || match finding.key.as_str() {
            "" => finding.message.clone(),
            key => format!("`{key}`: {}", finding.message),
        };
        terminal.say_as(tone, word, &finding.drawn.clone().unwrap_or_else(plain));
    }
    match (&report.name, report.valid) {
        (Some(name), true) => {
            terminal.data(&format!("{name}: {}", terminal.on_stdout().paint(Tone::Good, "ok")))
        }
        _ => Ok(()),
    }
}
