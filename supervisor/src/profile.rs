//! A profile laid under the flags that were typed: what it says becomes words of the command line, and
//! what was typed comes after it. Pure; who finds the file is `cli::run::profile`.

use std::path::{Path, PathBuf};

use plugbay_manifest::{
    Cap, EnvGrant, GrantPath, NetworkGrant, Profile, ProfileLimits, ProfileNetwork, SystemCalls,
    Tool,
    sandbox::{Demand, Level},
};

use crate::{
    args::{DemandWords, LevelWord, LimitWords, Run, ToolWord},
    spelling::{Bound, EnvWord, FilterWord, NetWord},
};

/// Where the paths of a profile begin.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ground<'a> {
    /// The directory of its file, or where a built-in one runs.
    pub(crate) directory: &'a Path,
    /// The user's home directory.
    pub(crate) home: Option<&'a Path>,
}

impl Ground<'_> {
    /// The path that is meant. Where there is no home, what lies in it lies nowhere.
    pub(crate) fn locate(&self, path: &GrantPath) -> PathBuf {
        path.locate(self.directory, self.home).unwrap_or_else(|| PathBuf::from(path.to_string()))
    }

    fn all(&self, paths: &[GrantPath]) -> Vec<PathBuf> {
        paths.iter().map(|path| self.locate(path)).collect()
    }
}

/// The words of the profile with those that were typed over them: lists add up, a typed value counts
/// instead of the profile's.
pub(crate) fn lay_under(profile: &Profile, ground: Ground<'_>, typed: &Run) -> Run {
    let mut run = typed.clone();
    if run.command.is_empty() {
        run.command = profile.command.iter().flatten().map(Into::into).collect();
    }
    run.tools = tools(&profile.tools, &run.tools);
    run.files.read = after(ground.all(&profile.read), run.files.read);
    run.files.write = after(ground.all(&profile.write), run.files.write);
    run.files.exec = after(ground.all(&profile.exec), run.files.exec);
    run.files.deny = after(ground.all(&profile.deny), run.files.deny);
    run.files.bare |= profile.bare.unwrap_or(false);
    run.reach.net = network(profile, run.reach.net);
    run.reach.unix = after(ground.all(&profile.unix), run.reach.unix);
    run.reach.env = after(profile.env.iter().map(variable).collect(), run.reach.env);
    run.limits = limits(&profile.limits, run.limits);
    run.limits.truncate_output |= profile.truncate_output.unwrap_or(false);
    run.fail_on_denial |= profile.fail_on_denial.unwrap_or(false);
    run.workdir = run.workdir.or_else(|| workdir(profile, ground));
    run.level = run.level.or_else(|| profile.level.map(level));
    run.demands = demands(profile, run.demands);
    run.filter = after(profile.filter.iter().flat_map(filter).collect(), run.filter);
    run
}

fn after<T>(mut first: Vec<T>, second: Vec<T>) -> Vec<T> {
    first.extend(second);
    first
}

fn tools(said: &[Tool], typed: &[ToolWord]) -> Vec<ToolWord> {
    let mut all: Vec<ToolWord> = Vec::new();
    for tool in said.iter().copied().map(ToolWord::from).chain(typed.iter().copied()) {
        if !all.contains(&tool) {
            all.push(tool);
        }
    }
    all
}

/// Where it runs: where the profile says, or in its directory if something there is granted.
fn workdir(profile: &Profile, ground: Ground<'_>) -> Option<PathBuf> {
    if let Some(path) = &profile.workdir {
        return Some(ground.locate(path));
    }
    let granted = profile.read.iter().chain(&profile.write).chain(&profile.exec);
    let covers = |path: &GrantPath| ground.directory.starts_with(ground.locate(path));
    granted.into_iter().any(covers).then(|| ground.directory.to_owned())
}

/// The network: a typed mode counts alone, a typed destination is added to those of the profile and
/// opens what its mode kept closed.
fn network(profile: &Profile, typed: Vec<NetWord>) -> Vec<NetWord> {
    let mut said: Vec<NetWord> = match &profile.network {
        None => Vec::new(),
        Some(ProfileNetwork::None) => vec![NetWord::None],
        Some(ProfileNetwork::Loopback) => vec![NetWord::Loopback],
        Some(ProfileNetwork::Full) => vec![NetWord::Full],
        Some(ProfileNetwork::Only(grants)) => grants.iter().map(destination).collect(),
    };
    if !profile.hosts.is_empty() {
        said.retain(|word| !is_mode(word));
        said.extend(profile.hosts.iter().map(destination));
    }
    if typed.iter().any(is_mode) {
        return typed;
    }
    if !typed.is_empty() {
        said.retain(|word| !is_mode(word));
    }
    after(said, typed)
}

fn is_mode(word: &NetWord) -> bool {
    matches!(word, NetWord::None | NetWord::Loopback | NetWord::Full)
}

fn destination(grant: &NetworkGrant) -> NetWord {
    match grant {
        NetworkGrant::Connect { host: Some(host), port } => NetWord::Host(host.clone(), *port),
        NetworkGrant::Connect { host: None, port } => NetWord::Port(*port),
        NetworkGrant::Listen { port } => NetWord::Listen(*port),
    }
}

fn variable(grant: &EnvGrant) -> EnvWord {
    EnvWord { name: grant.name.clone(), value: grant.value.clone() }
}

fn bound<T>(cap: Option<Cap<T>>) -> Option<Bound<T>> {
    cap.map(|cap| match cap {
        Cap::Lifted => Bound::Unlimited,
        Cap::At(value) => Bound::At(value),
    })
}

fn limits(said: &ProfileLimits, typed: LimitWords) -> LimitWords {
    LimitWords {
        memory: typed.memory.or(bound(said.memory)),
        pids: typed.pids.or(bound(said.pids)),
        cpu: typed.cpu.or(bound(said.cpu_milli)),
        cpu_time: typed.cpu_time.or(bound(said.cpu_time)),
        wall: typed.wall.or(bound(said.wall)),
        open_files: typed.open_files.or(bound(said.open_files)),
        file_size: typed.file_size.or(bound(said.file_size)),
        tmp_size: typed.tmp_size.or(said.tmp_size),
        max_output: typed.max_output.or(bound(said.output)),
        truncate_output: typed.truncate_output,
    }
}

fn level(level: Level) -> LevelWord {
    match level {
        Level::Strict => LevelWord::Strict,
        Level::Standard => LevelWord::Standard,
        Level::None => LevelWord::None,
    }
}

/// A protection that was typed with any demand has that one only.
fn demands(profile: &Profile, mut typed: DemandWords) -> DemandWords {
    for (name, demand) in &profile.protections {
        let words = [&typed.require, &typed.prefer, &typed.off];
        if words.into_iter().flatten().any(|typed| typed == name) {
            continue;
        }
        match demand {
            Demand::Require => typed.require.push((*name).to_owned()),
            Demand::Prefer => typed.prefer.push((*name).to_owned()),
            Demand::Off => typed.off.push((*name).to_owned()),
        }
    }
    typed
}

fn filter(filter: &SystemCalls) -> Vec<FilterWord> {
    match filter {
        SystemCalls::Only(words) => words.iter().cloned().map(FilterWord::Call).collect(),
        SystemCalls::Ci => vec![FilterWord::Ci],
        SystemCalls::Default | _ => vec![FilterWord::Default],
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use plugbay_manifest::Profiles;

    use super::*;
    use crate::args::{Plugbay, Verb};

    fn typed(flags: &[&str]) -> Run {
        let words = ["plugbay", "run", "--profile", "test"].iter().chain(flags);
        let Verb::Run(run) = Plugbay::try_parse_from(words).unwrap().verb else {
            panic!("not a run")
        };
        *run
    }

    fn laid(profile: &str, flags: &[&str]) -> Run {
        let text = format!("[run.test]\n{profile}\n");
        let profiles = Profiles::parse(&text, Path::new("plugbay.toml")).unwrap();
        let home = Some(Path::new("/home/u"));
        let ground = Ground { directory: Path::new("/repo"), home };
        lay_under(&profiles.get("test").unwrap(), ground, &typed(flags))
    }

    #[test]
    fn paths_begin_at_the_file_and_what_is_typed_is_added() {
        let run = laid("read = [\".\", \"~/x\"]\nwrite = [\"out\"]", &["--read", "here"]);
        let read = ["/repo", "/home/u/x", "here"].map(PathBuf::from);
        assert_eq!((run.files.read, run.files.write), (read.to_vec(), vec!["/repo/out".into()]));
        assert_eq!(run.workdir.as_deref(), Some(Path::new("/repo")));
        assert_eq!(laid("read = [\"src\"]", &[]).workdir, None);
        assert_eq!(laid("workdir = \"src\"", &[]).workdir, Some("/repo/src".into()));
        assert_eq!(laid("read = [\".\"]", &["--workdir", "w"]).workdir, Some("w".into()));
    }

    #[test]
    fn a_typed_value_or_command_counts_instead() {
        let text = "command = \"make test\"\nfilter = \"ci\"\nlimits = { pids = 9, wall = \"1m\" }";
        let run = laid(text, &["--pids", "none", "--", "ls"]);
        assert_eq!(run.command, ["ls"]);
        assert_eq!(run.limits.pids, Some(Bound::Unlimited));
        assert_eq!(run.limits.wall, Some(Bound::At(std::time::Duration::from_secs(60))));
        assert_eq!(run.filter, [FilterWord::Ci]);
        assert_eq!(laid(text, &[]).command, ["make", "test"]);
    }

    #[test]
    fn a_typed_mode_of_the_network_counts_alone_and_a_destination_is_added() {
        let net = |profile: &str, flags: &[&str]| laid(profile, flags).reach.net;
        let loopback = "network = \"loopback\"";
        assert_eq!(net(loopback, &[]), [NetWord::Loopback]);
        assert_eq!(net(loopback, &["--net", "full"]), [NetWord::Full]);
        assert_eq!(net(loopback, &["--net", "443"]), [NetWord::Port(443)]);
        let ports = "network = [443]";
        assert_eq!(net(ports, &["--net", "80"]), [NetWord::Port(443), NetWord::Port(80)]);
        let hosts = "network = \"loopback\"\nhosts = [\"a.example:443\", \"[::1]:80\"]";
        let host = |name: &str, port| NetWord::Host(name.to_owned(), port);
        assert_eq!(net(hosts, &[]), [host("a.example", 443), host("[::1]", 80)]);
    }

    #[test]
    fn a_typed_demand_counts_instead() {
        let text = "protections = { network = \"require\", ipc = \"prefer\" }";
        let demands = laid(text, &["--prefer", "network"]).demands;
        assert_eq!(
            (demands.require.len(), demands.prefer),
            (0, vec!["network".into(), "ipc".into()])
        );
    }

    #[test]
    fn tools_come_once() {
        let run = laid("tools = [\"rust\"]", &["--tool", "rust", "--tool", "node"]);
        assert_eq!(run.tools, [ToolWord::Rust, ToolWord::Node]);
    }
}
