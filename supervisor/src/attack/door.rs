//! By which door an attacker comes in: as a plugin does, or as the command of `plugbay run`, with a spec
//! as the flags that a person would type.

use std::{
    fs, io,
    process::{Command, Stdio},
    str::FromStr as _,
};

use clap::ValueEnum;
use nix::sys::signal::Signal;
use plugbay_sandbox::{Access, Enforcement, Exit, NetworkMode, Spec};
use serde::Serialize;
use serde_json::Value;

use super::{ground::Ground, table_calls::secrets};

/// By which door an attack comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Door {
    /// Started by a keeper, as plugins are
    #[default]
    Plugin,
    /// As the command of `plugbay run`
    Run,
}

/// A sealed process that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    /// What it wrote to standard output.
    pub(crate) output: String,
    /// What it wrote to standard error.
    pub(crate) errors: String,
    /// How it ended.
    pub(crate) exit: Exit,
    /// What was enforced.
    pub(crate) enforcement: Enforcement,
    /// By which rules it was refused something.
    pub(crate) denied: Vec<String>,
}

/// Why no sealed process has run.
#[derive(Debug)]
pub(crate) enum Unsealed {
    /// The sandbox does not start it, and says why.
    Refused(String),
    /// Something else went wrong.
    Broken(io::Error),
}

impl From<io::Error> for Unsealed {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// Runs a spec through the command line.
///
/// The limits are those of the defaults unless the row changed them; the environment is the host's,
/// secrets included, since hiding it is the command's work.
pub(crate) fn run(ground: &Ground, spec: &Spec) -> Result<Ran, Unsealed> {
    let report = ground.path().join("report.json");
    #[expect(clippy::disallowed_methods, reason = "this very program, which seals what it runs")]
    let mut process = Command::new(ground.program());
    process.args(["run", "--quiet", "--report"]).arg(&report);
    process.args(flags(spec)).arg("--").arg(&spec.program).args(spec.args.iter().skip(1));
    process.env_clear().envs(secrets()).current_dir("/").stdin(Stdio::null());
    let output = process.output()?;
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (output, errors) = (said(&output.stdout), said(&output.stderr));
    let Ok(text) = fs::read_to_string(&report) else { return Err(Unsealed::Refused(errors)) };
    fs::remove_file(&report)?;
    let report: Value = serde_json::from_str(&text).map_err(io::Error::other)?;
    let part = |name: &str| report.get(name).cloned().unwrap_or_default();
    let Ok(enforcement) = serde_json::from_value(part("enforcement")) else {
        return Err(Unsealed::Refused(errors));
    };
    let denials = part("denials");
    let kinds = denials.get("kinds").and_then(Value::as_array).into_iter().flatten();
    let denied = kinds.filter_map(|kind| kind.get("rule")?.as_str().map(str::to_owned)).collect();
    Ok(Ran { output, errors, exit: exit(&part("outcome")), enforcement, denied })
}

fn flags(spec: &Spec) -> Vec<String> {
    let mut flags = Vec::new();
    let mut flag = |name: &str, value: String| flags.extend([name.to_owned(), value]);
    for grant in &spec.files {
        let name = match grant.access {
            Access::Read => "--read",
            Access::Exec => "--exec",
            Access::Write => "--write",
        };
        flag(name, grant.path.display().to_string());
    }
    match spec.network.mode {
        NetworkMode::None => {}
        NetworkMode::Loopback => flag("--net", "loopback".to_owned()),
        NetworkMode::Full => flag("--net", "full".to_owned()),
        NetworkMode::Hosts => {
            let hosts = spec.network.hosts.iter();
            hosts.for_each(|grant| flag("--net", format!("{}:{}", grant.host, grant.port)));
        }
        NetworkMode::Ports => {
            spec.network.connect.iter().for_each(|port| flag("--net", port.to_string()));
        }
    }
    for (protection, demand) in &spec.demands {
        flag(&format!("--{}", demand.as_str()), protection.to_string());
    }
    let limits = &spec.limits;
    flag("--tmp-size", limits.tmp_size.to_string());
    for (name, limit) in [
        ("--memory", limits.memory),
        ("--pids", limits.pids),
        ("--open-files", limits.open_files),
        ("--file-size", limits.file_size),
    ] {
        flag(name, limit.map_or("none".to_owned(), |limit| limit.to_string()));
    }
    for (protection, demand) in &spec.demands {
        flag(&format!("--{}", demand.as_str()), protection.to_string());
    }
    if let Some(time) = limits.cpu_time {
        flag("--cpu-time", format!("{}s", time.as_secs()));
    }
    flags
}

fn exit(outcome: &Value) -> Exit {
    let part = |name: &str| outcome.get(name).cloned().unwrap_or_default();
    let signal = part("signal").as_str().and_then(|name| Signal::from_str(name).ok());
    Exit {
        code: part("code").as_i64().and_then(|code| code.try_into().ok()),
        signal: signal.map(|signal| signal as i32),
        usage: None,
        cause: serde_json::from_value(part("cause")).unwrap_or_default(),
        memory_peak: None,
        hits: serde_json::from_value(part("limits")).unwrap_or_default(),
    }
}
