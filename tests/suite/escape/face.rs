//! The same attacks through `plugbay run`: a spec as the flags that a person would type.

use std::{fs, path::Path, process::Stdio, str::FromStr as _};

use nix::sys::signal::Signal;
use plugbay_sandbox::{Access, Exit, NetworkMode, Spec};
use plugbay_tests::{Ran, Setting, TestEnv, command};
use serde_json::Value;

use super::table_calls::secrets;

/// Runs a spec through the command line.
///
/// The limits are those of the defaults unless the row changed them; the environment is the host's,
/// secrets included, since hiding it is the command's work.
pub(crate) fn run(env: &TestEnv, setting: Setting, spec: &Spec) -> Result<Ran, String> {
    let report = env.directory("reports", setting.uid()).join("report.json");
    let mut process = command(&env.binaries().path("rung"));
    process.args(setting.rung_options()).arg("--").arg(env.binaries().path("plugbay"));
    process.args(["plugbay", "run", "--quiet", "--report"]).arg(&report);
    process.args(flags(spec)).arg("--").arg(&spec.program).args(&spec.args[1..]);
    let output = process.envs(secrets()).stdin(Stdio::null()).output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (output, errors) = (said(&output.stdout), said(&output.stderr));
    let text =
        fs::read_to_string(&report).map_err(|error| format!("no report: {error}: {errors}"))?;
    fs::remove_file(&report).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    let enforcement = serde_json::from_value(report["enforcement"].clone())
        .map_err(|error| format!("{error}: {text}: {errors}"))?;
    let kinds = report["denials"]["kinds"].as_array().into_iter().flatten();
    let denied = kinds.filter_map(|kind| kind["rule"].as_str().map(str::to_owned)).collect();
    Ok(Ran { output, errors, exit: exit(&report["outcome"]), enforcement, denied })
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
    if let Some(time) = limits.cpu_time {
        flag("--cpu-time", format!("{}s", time.as_secs()));
    }
    flags
}

fn exit(outcome: &Value) -> Exit {
    let signal = outcome["signal"].as_str().and_then(|name| Signal::from_str(name).ok());
    Exit {
        code: outcome["code"].as_i64().and_then(|code| code.try_into().ok()),
        signal: signal.map(|signal| signal as i32),
        usage: None,
        cause: serde_json::from_value(outcome["cause"].clone()).unwrap_or(None),
        memory_peak: None,
        hits: serde_json::from_value(outcome["limits"].clone()).unwrap(),
    }
}

/// Where the table of a face and setting is written.
pub(crate) fn table(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.txt", name.replace([',', ' '], "-")))
}
