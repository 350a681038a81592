//! A fix as the line of a `plugbay.toml`: whole, so that it can stand in place of the one that is there.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

use plugbay_manifest::{Profile, ProfileNetwork, SystemCalls};
use plugbay_sandbox::{Access, Fix, Limit, NetworkMode, Profile as Filter};
use serde_json::Value;

use crate::cli::info::{cores, size};

/// The profile that would be edited.
#[derive(Debug, Clone)]
pub(crate) struct Edit {
    /// Its name.
    pub(crate) name: String,
    /// What it says itself, without what it extends.
    pub(crate) own: Profile,
    /// The directory of its file.
    pub(crate) directory: PathBuf,
}

impl Edit {
    /// The line that allows it, with the table that it belongs in. `None` where there is no key for it.
    pub(crate) fn line(&self, fix: &Fix) -> Option<String> {
        let own = &self.own;
        match fix {
            Fix::Network(mode) => Some(self.value("network", text(network(*mode)))),
            Fix::Connect(port) => Some(self.network(Value::from(*port))),
            Fix::Host { host, port } => {
                Some(self.list("hosts", &own.hosts, text(format!("{host}:{port}"))))
            }
            Fix::Listen(port) => Some(self.network(text(format!("listen:{port}")))),
            Fix::Profile(Filter::Default) => Some(self.value("filter", text("default"))),
            Fix::Profile(Filter::Ci) => Some(self.value("filter", text("ci"))),
            Fix::Profile(Filter::Strict(_)) => None,
            Fix::Call(call) => {
                let said = match &own.filter {
                    Some(SystemCalls::Only(words)) => words.as_slice(),
                    _ => &[],
                };
                Some(self.list("filter", said, text(call)))
            }
            Fix::File { path, access } => {
                let (key, said) = match access {
                    Access::Read => ("read", &own.read),
                    Access::Exec => ("exec", &own.exec),
                    Access::Write => ("write", &own.write),
                };
                Some(self.list(key, said, text(self.path(path))))
            }
            Fix::Unix(path) => Some(self.list("unix", &own.unix, text(self.path(path)))),
            Fix::Demand(protection, demand) => {
                let (table, word) = (&self.name, demand.as_str());
                Some(format!("[run.{table}.protections] \"{protection}\" = \"{word}\""))
            }
            Fix::Limit(limit, value) => {
                let (key, value) = limited(*limit, *value);
                Some(format!("[run.{}.limits] {key} = {value}", self.name))
            }
        }
    }

    fn value(&self, key: &str, value: Value) -> String {
        format!("[run.{}] {key} = {value}", self.name)
    }

    /// What is said under a key already, and one more.
    fn list<T: Display>(&self, key: &str, said: &[T], new: Value) -> String {
        let mut all: Vec<Value> = said.iter().map(text).collect();
        all.push(new);
        self.value(key, Value::from(all))
    }

    fn network(&self, new: Value) -> String {
        let said = match &self.own.network {
            Some(ProfileNetwork::Only(said)) => said.as_slice(),
            None | Some(ProfileNetwork::None | ProfileNetwork::Loopback | ProfileNetwork::Full) => {
                &[]
            }
        };
        let number = |text: String| text.parse::<u16>().map_or(Value::from(text), Value::from);
        let mut all: Vec<Value> = said.iter().map(|grant| number(grant.to_string())).collect();
        all.push(new);
        self.value("network", Value::from(all))
    }

    /// A path as the file has it: beside it if it lies there.
    fn path(&self, path: &Path) -> String {
        match path.strip_prefix(&self.directory) {
            Ok(rest) if rest.as_os_str().is_empty() => ".".to_owned(),
            Ok(rest) => rest.display().to_string(),
            Err(_) => path.display().to_string(),
        }
    }
}

/// What JSON escapes, TOML reads alike.
fn text(text: impl Display) -> Value {
    Value::from(text.to_string())
}

fn network(mode: NetworkMode) -> &'static str {
    match mode {
        NetworkMode::None | NetworkMode::Hosts | NetworkMode::Ports => "none",
        NetworkMode::Loopback => "loopback",
        NetworkMode::Full => "full",
    }
}

fn limited(limit: Limit, value: u64) -> (&'static str, Value) {
    let time = || text(super::denial::time(value));
    match limit {
        Limit::Memory => ("memory", text(size(value))),
        Limit::Processes => ("pids", Value::from(value)),
        // A number of TOML, not a text.
        Limit::CpuRate => {
            ("cpu", cores(value).parse().map_or(Value::Null, |cores: f64| cores.into()))
        }
        Limit::CpuTime => ("cpu_time", time()),
        Limit::Wall => ("wall", time()),
        Limit::FileSize => ("file_size", text(size(value))),
        Limit::OpenFiles => ("open_files", Value::from(value)),
        Limit::Disk => ("tmp_size", text(size(value))),
        Limit::Output => ("output", text(size(value))),
    }
}

#[cfg(test)]
mod tests {
    use plugbay_manifest::Profiles;

    use super::*;

    /// The line, which must be read again as what it says.
    fn line(said: &str, fix: &Fix) -> String {
        let profiles = |text: &str| Profiles::parse(text, Path::new("plugbay.toml")).unwrap();
        let own = profiles(&format!("[run.test]\n{said}\n")).get("test").unwrap();
        let edit = Edit { name: "test".to_owned(), own, directory: "/repo".into() };
        let line = edit.line(fix).unwrap();
        profiles(&line.replacen("] ", "]\n", 1));
        line
    }

    #[test]
    fn a_line_keeps_what_was_there() {
        let read = |path: &str| Fix::File { path: path.into(), access: Access::Read };
        insta::assert_snapshot!([
            line("read = [\"docs\", \"~/x\"]", &read("/srv/a \"b\"")),
            line("", &read("/repo/sub/file")),
            line("", &read("/repo")),
            line("network = [443, \"a.example:80\"]", &Fix::Connect(5432)),
            line("network = \"loopback\"", &Fix::Listen(8080)),
            line("hosts = [\"*.a.example:443\"]", &Fix::Host { host: "[::1]".into(), port: 80 }),
            line("filter = [\"@python\"]", &Fix::Call("accept4".to_owned())),
            line("", &Fix::Network(NetworkMode::Loopback)),
        ].join("\n"), @r#"
        [run.test] read = ["./docs","~/x","/srv/a \"b\""]
        [run.test] read = ["sub/file"]
        [run.test] read = ["."]
        [run.test] network = [443,"a.example:80",5432]
        [run.test] network = ["listen:8080"]
        [run.test] hosts = ["*.a.example:443","[::1]:80"]
        [run.test] filter = ["@python","accept4"]
        [run.test] network = "loopback"
        "#);
    }

    #[test]
    fn every_limit_has_its_key() {
        for (limit, value, wanted) in [
            (Limit::Memory, 8 << 30, "memory = \"8GiB\""),
            (Limit::Processes, 32, "pids = 32"),
            (Limit::CpuRate, 1500, "cpu = 1.5"),
            (Limit::CpuTime, 8000, "cpu_time = \"8s\""),
            (Limit::Wall, 2000, "wall = \"2s\""),
            (Limit::FileSize, 1 << 20, "file_size = \"1MiB\""),
            (Limit::OpenFiles, 64, "open_files = 64"),
            (Limit::Disk, 1 << 20, "tmp_size = \"1MiB\""),
            (Limit::Output, 1 << 20, "output = \"1MiB\""),
        ] {
            let line = line("", &Fix::Limit(limit, value));
            assert_eq!(line, format!("[run.test.limits] {wanted}"));
        }
    }
}
