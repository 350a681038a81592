//! What a command was refused, in words, and the flag that would have allowed it.

use std::path::Path;

use nix::errno::Errno;
use plugbay_sandbox::{Access, Barrier, Denial, Fix, Limit, NetworkMode, Profile};
use serde::{Deserialize, Serialize};

use super::edit::Edit;
use crate::cli::info::{cores, size};

/// One kind of refusal, as reports have it: flat, and with the fix as it is typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    layer: String,
    rule: String,
    syscall: Option<String>,
    detail: Option<String>,
    path: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    errno: Option<String>,
    count: u64,
    fix: Option<String>,
}

impl Shown {
    /// With the fix as a flag of `run`.
    pub(crate) fn of(denial: &Denial) -> Self {
        Self::with(denial, denial.fix.as_ref().map(flag))
    }

    /// With the fix as a line of the profile that a run had, else as a flag.
    pub(crate) fn of_run(denial: &Denial, edit: Option<&Edit>) -> Self {
        match edit {
            Some(edit) => Self::with(denial, denial.fix.as_ref().and_then(|fix| edit.line(fix))),
            None => Self::of(denial),
        }
    }

    /// With the fix as a line of a plugin's manifest.
    pub(crate) fn of_plugin(denial: &Denial) -> Self {
        Self::with(denial, denial.fix.as_ref().and_then(manifest))
    }

    fn with(denial: &Denial, fix: Option<String>) -> Self {
        Self {
            layer: denial.layer.name().to_owned(),
            rule: denial.rule.clone(),
            syscall: denial.syscall.clone(),
            detail: denial.detail.clone(),
            path: denial.path.as_ref().map(|path| path.display().to_string()),
            host: denial.host.clone(),
            port: denial.port,
            errno: denial.errno.map(|errno| format!("{:?}", Errno::from_raw(errno))),
            count: denial.count,
            fix,
        }
    }

    /// One line for people: what, how, how often, and what to type.
    pub(crate) fn line(&self) -> String {
        let times = if self.count > 1 { format!(", {} times", self.count) } else { String::new() };
        let fix = match &self.fix {
            Some(fix) => format!("; to allow it: {fix}"),
            None => format!("; nothing allows it (rule `{}`)", self.rule),
        };
        format!("{}{times}{fix}", self.what())
    }

    /// What was refused, and how.
    pub(crate) fn what(&self) -> String {
        let limit = self.is_limit();
        let what = match &self.syscall {
            Some(call) => call.clone(),
            None if limit => format!("{} limit", self.rule),
            None => self.rule.clone(),
        };
        let detail = self.detail.as_ref().map_or_else(String::new, |detail| format!(" ({detail})"));
        let address = match (&self.host, self.port) {
            (Some(host), Some(port)) => format!(" {host}:{port}"),
            (None, Some(port)) => format!(" port {port}"),
            (Some(host), None) => format!(" {host}"),
            (None, None) => String::new(),
        };
        let path = self.path.as_ref().map_or_else(String::new, |path| format!(" `{path}`"));
        let errno = self.errno.as_ref().map_or_else(String::new, |errno| format!(": {errno}"));
        format!("{what}{path}{address}{detail}{errno}")
    }

    /// Whether it is a limit that was run into.
    pub(crate) fn is_limit(&self) -> bool {
        self.layer == Barrier::Limit.name()
    }

    /// Whether there is a flag for it.
    pub(crate) fn has_fix(&self) -> bool {
        self.fix.is_some()
    }
}

/// A fix as a flag of `run`.
pub(crate) fn flag(fix: &Fix) -> String {
    match fix {
        Fix::Network(NetworkMode::None | NetworkMode::Hosts | NetworkMode::Ports) => {
            "--net none".to_owned()
        }
        Fix::Network(NetworkMode::Loopback) => "--net loopback".to_owned(),
        Fix::Network(NetworkMode::Full) => "--net full".to_owned(),
        Fix::Connect(port) => format!("--net {port}"),
        Fix::Host { host, port } => format!("--net {host}:{port}"),
        Fix::Listen(port) => format!("--net listen:{port}"),
        Fix::Profile(Profile::Default) => "--filter default".to_owned(),
        Fix::Profile(Profile::Ci) => "--filter ci".to_owned(),
        Fix::Profile(Profile::Strict(calls)) => {
            format!("--filter {}", calls.names().collect::<Vec<_>>().join(","))
        }
        Fix::Call(call) => format!("--filter {call}"),
        Fix::Demand(protection, demand) => format!("--{} {protection}", demand.as_str()),
        Fix::File { path, access } => {
            let name = match access {
                Access::Read => "--read",
                Access::Exec => "--exec",
                Access::Write => "--write",
            };
            format!("{name} {}", quoted(path))
        }
        Fix::Unix(path) => format!("--unix {}", quoted(path)),
        Fix::Limit(limit, value) => limited(*limit, *value),
    }
}

/// A fix as a line of a `plugin.toml`, with the table that it belongs in. `None` where a manifest has
/// no key for it.
fn manifest(fix: &Fix) -> Option<String> {
    let files = |key: &str, path: &Path| {
        // What JSON escapes, TOML reads alike.
        let path = serde_json::Value::from(path.display().to_string());
        Some(format!("[permissions.filesystem] {key} = [{path}]"))
    };
    match fix {
        Fix::Network(_) => Some("[permissions] network = true".to_owned()),
        Fix::Connect(port) => Some(format!("[permissions] network = [{port}]")),
        Fix::Host { host, port } => Some(format!("[permissions] hosts = [\"{host}:{port}\"]")),
        Fix::Listen(port) => Some(format!("[permissions] network = [\"listen:{port}\"]")),
        Fix::Profile(Profile::Default) => Some("[permissions] system_calls = \"default\"".into()),
        Fix::Profile(Profile::Ci) => Some("[permissions] system_calls = \"ci\"".to_owned()),
        Fix::Profile(Profile::Strict(_)) => None,
        Fix::Call(call) => Some(format!("[permissions] system_calls = [\"{call}\"]")),
        Fix::Demand(protection, demand) => {
            Some(format!("[sandbox.protections] \"{protection}\" = \"{}\"", demand.as_str()))
        }
        Fix::File { path, access } => {
            let key = match access {
                Access::Read => "read",
                Access::Exec => "exec",
                Access::Write => "write",
            };
            files(key, path)
        }
        Fix::Unix(path) => files("write", path),
        Fix::Limit(limit, value) => match limit {
            Limit::Memory => Some(format!("[limits] memory = \"{}\"", size(*value))),
            Limit::Processes => Some(format!("[limits] pids = {value}")),
            Limit::CpuRate => Some(format!("[limits] cpu = {}", cores(*value))),
            Limit::FileSize => Some(format!("[limits] file_size = \"{}\"", size(*value))),
            Limit::OpenFiles => Some(format!("[limits] open_files = {value}")),
            Limit::CpuTime | Limit::Wall | Limit::Disk | Limit::Output => None,
        },
    }
}

/// Milliseconds as a duration is written.
pub(super) fn time(value: u64) -> String {
    match value % 1000 {
        0 => format!("{}s", value / 1000),
        _ => format!("{value}ms"),
    }
}

fn limited(limit: Limit, value: u64) -> String {
    let time = || time(value);
    match limit {
        Limit::Memory => format!("--memory {}", size(value)),
        Limit::Processes => format!("--pids {value}"),
        Limit::CpuRate => format!("--cpu {}", cores(value)),
        Limit::CpuTime => format!("--cpu-time {}", time()),
        Limit::Wall => format!("--wall {}", time()),
        Limit::FileSize => format!("--file-size {}", size(value)),
        Limit::OpenFiles => format!("--open-files {value}"),
        Limit::Disk => format!("--tmp-size {}", size(value)),
        Limit::Output => format!("--max-output {}", size(value)),
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use plugbay_sandbox::{Hit, Holder};

    use super::*;

    #[test]
    fn a_refusal_is_one_line_with_the_flag_to_type() {
        let denial = Denial {
            syscall: Some("socket".to_owned()),
            detail: Some("AF_INET SOCK_STREAM".to_owned()),
            errno: Some(libc::EACCES),
            count: 3,
            fix: Some(Fix::Network(NetworkMode::Full)),
            ..Denial::new(Barrier::Network, "no-network")
        };
        insta::assert_snapshot!(
            Shown::of(&denial).line(),
            @"socket (AF_INET SOCK_STREAM): EACCES, 3 times; to allow it: --net full"
        );
        let mount = Denial { fix: None, detail: None, count: 1, ..denial };
        insta::assert_snapshot!(
            Shown::of(&Denial { rule: "mounts".to_owned(), syscall: Some("mount".to_owned()), ..mount })
                .line(),
            @"mount: EACCES; nothing allows it (rule `mounts`)"
        );
    }

    #[test]
    fn a_limit_is_raised_in_the_words_of_its_flag() {
        let line = |limit, value| {
            let hit = Hit { limit, value, peak: None, times: 1, by: Holder::Rlimit };
            Shown::of(&Denial::of_limit(&hit)).line()
        };
        insta::assert_snapshot!(
            line(Limit::Memory, 64 << 20),
            @"memory limit; to allow it: --memory 512MiB"
        );
        assert!(line(Limit::Wall, 250).ends_with("--wall 2s"));
        assert!(line(Limit::CpuTime, 1100).ends_with("--cpu-time 8800ms"));
        assert!(line(Limit::Processes, 4).ends_with("--pids 32"));
        assert!(line(Limit::FileSize, 1000).ends_with("--file-size 8000B"));
    }

    #[test]
    fn a_manifest_is_told_its_own_line() {
        let line = |fix: Fix| manifest(&fix).unwrap_or_default();
        insta::assert_snapshot!([
            line(Fix::Network(NetworkMode::Full)),
            line(Fix::Connect(443)),
            line(Fix::Profile(Profile::Ci)),
            line(Fix::Call("accept4".to_owned())),
            line(Fix::File { path: "/a \"b\"".into(), access: Access::Write }),
            line(Fix::Limit(Limit::Memory, 1 << 30)),
            line(Fix::Limit(Limit::Wall, 1)),
        ].join("\n"), @r#"
        [permissions] network = true
        [permissions] network = [443]
        [permissions] system_calls = "ci"
        [permissions] system_calls = ["accept4"]
        [permissions.filesystem] write = ["/a \"b\""]
        [limits] memory = "1GiB"
        "#);
    }

    #[test]
    fn a_path_can_be_pasted_into_a_shell() {
        let fix = |path: &str| flag(&Fix::File { path: path.into(), access: Access::Read });
        assert_eq!(fix("/srv/data-1.txt"), "--read /srv/data-1.txt");
        assert_eq!(fix("/srv/it's here"), r"--read '/srv/it'\''s here'");
    }
}
