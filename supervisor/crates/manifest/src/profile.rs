//! `plugbay.toml`: the profiles of a repository, each a named set of grants and limits for `plugbay
//! run`, and the one that is built in.
//!
//! Data, and how one profile is laid over another. Who reads it from text is `read::profile`; what it
//! opens in the end is decided where flags are understood.

use std::{
    collections::BTreeMap,
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    MAX_BYTES, beneath,
    error::ManifestError,
    permission::{EnvGrant, GrantPath, NetworkGrant, SystemCalls},
    read,
    sandbox::{Demand, Level},
};

/// The name of the file.
pub const PROFILES_NAME: &str = "plugbay.toml";

/// The name of the profile that is built in.
pub const BUILT_IN: &str = "ci";

/// A named set of grants and limits for runs. What is not said stays open for a flag or a default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Profile {
    /// The profile that this one is laid over.
    pub extends: Option<String>,
    /// What is run when no command is typed.
    pub command: Option<Vec<String>>,
    /// Where it runs; the directory of the file when it is not said.
    pub workdir: Option<GrantPath>,
    /// Toolchains whose files and caches are opened.
    pub tools: Vec<Tool>,
    /// Files and directories to read.
    pub read: Vec<GrantPath>,
    /// Files and directories to read, execute and change.
    pub write: Vec<GrantPath>,
    /// Files and directories to read and execute.
    pub exec: Vec<GrantPath>,
    /// Paths and patterns that stay closed inside what is opened.
    pub deny: Vec<GrantPath>,
    /// Whether the system's programs are left out.
    pub bare: Option<bool>,
    /// The network.
    pub network: Option<ProfileNetwork>,
    /// Hosts that can be reached, beside what `network` says.
    pub hosts: Vec<NetworkGrant>,
    /// Unix sockets that can be reached.
    pub unix: Vec<GrantPath>,
    /// Variables.
    pub env: Vec<EnvGrant>,
    /// Limits.
    pub limits: ProfileLimits,
    /// What must hold for the command to start.
    pub level: Option<Level>,
    /// What is demanded of single protections, by their names.
    pub protections: BTreeMap<&'static str, Demand>,
    /// Which system calls are allowed.
    pub filter: Option<SystemCalls>,
    /// Past the limit of output, drop the rest instead of ending the command.
    pub truncate_output: Option<bool>,
    /// Whether a run that was refused something fails although its command did not.
    pub fail_on_denial: Option<bool>,
}

/// The network of a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProfileNetwork {
    /// `false` or `"none"`.
    None,
    /// `"loopback"`: an own one.
    Loopback,
    /// `true` or `"full"`: the host's.
    Full,
    /// These destinations.
    Only(Vec<NetworkGrant>),
}

/// A toolchain that `plugbay run` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tool {
    /// cargo, rustc, rustup.
    Rust,
    /// node, npm, yarn, pnpm.
    Node,
    /// python, pip, uv, pytest.
    Python,
    /// go.
    Go,
    /// java, Maven, Gradle.
    Java,
}

impl Tool {
    /// Every one.
    pub const ALL: [Self; 5] = [Self::Rust, Self::Node, Self::Python, Self::Go, Self::Java];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Node => "node",
            Self::Python => "python",
            Self::Go => "go",
            Self::Java => "java",
        }
    }
}

/// A limit that is said: lifted, or this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cap<T> {
    /// `"none"`.
    Lifted,
    /// At most this.
    At(T),
}

/// The limits of a profile. `None`: not said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ProfileLimits {
    /// Bytes of memory of the whole tree.
    pub memory: Option<Cap<u64>>,
    /// Share of the processors, in thousandths of one core.
    pub cpu_milli: Option<Cap<u64>>,
    /// Processor time of one process.
    pub cpu_time: Option<Cap<Duration>>,
    /// Wall clock time.
    pub wall: Option<Cap<Duration>>,
    /// Processes and threads of the whole tree.
    pub pids: Option<Cap<u64>>,
    /// Open descriptors of one process.
    pub open_files: Option<Cap<u64>>,
    /// Bytes of the largest file that may be written.
    pub file_size: Option<Cap<u64>>,
    /// Bytes of the private `/tmp`.
    pub tmp_size: Option<u64>,
    /// Bytes on stdout and stderr together.
    pub output: Option<Cap<u64>>,
}

impl Profile {
    /// The built-in profile: for builds and tests in the directory they run in. Wide where a build is
    /// wide (processes, descriptors, memory, an own loopback for test servers), and with an end: a
    /// job that hangs is ended by us, who say so, before the runner ends it without a word.
    #[must_use]
    pub fn ci() -> Self {
        Self {
            write: vec![GrantPath::Plugin(PathBuf::new())],
            network: Some(ProfileNetwork::Loopback),
            limits: ProfileLimits {
                memory: Some(Cap::At(4 << 30)),
                pids: Some(Cap::At(4096)),
                open_files: Some(Cap::At(4096)),
                tmp_size: Some(1 << 30),
                wall: Some(Cap::At(Duration::from_secs(3600))),
                ..ProfileLimits::default()
            },
            filter: Some(SystemCalls::Ci),
            ..Self::default()
        }
    }

    /// This profile over another: lists add up, the other's first; what is said once is taken from
    /// this one where it says it. Of networks, this one's stands alone.
    #[must_use]
    pub fn over(self, base: Self) -> Self {
        Self {
            extends: base.extends,
            command: self.command.or(base.command),
            workdir: self.workdir.or(base.workdir),
            tools: joined(base.tools, self.tools),
            read: joined(base.read, self.read),
            write: joined(base.write, self.write),
            exec: joined(base.exec, self.exec),
            deny: joined(base.deny, self.deny),
            bare: self.bare.or(base.bare),
            network: self.network.or(base.network),
            hosts: joined(base.hosts, self.hosts),
            unix: joined(base.unix, self.unix),
            env: joined(base.env, self.env),
            limits: self.limits.over(base.limits),
            level: self.level.or(base.level),
            protections: base.protections.into_iter().chain(self.protections).collect(),
            filter: self.filter.or(base.filter),
            truncate_output: self.truncate_output.or(base.truncate_output),
            fail_on_denial: self.fail_on_denial.or(base.fail_on_denial),
        }
    }
}

impl ProfileLimits {
    fn over(self, base: Self) -> Self {
        Self {
            memory: self.memory.or(base.memory),
            cpu_milli: self.cpu_milli.or(base.cpu_milli),
            cpu_time: self.cpu_time.or(base.cpu_time),
            wall: self.wall.or(base.wall),
            pids: self.pids.or(base.pids),
            open_files: self.open_files.or(base.open_files),
            file_size: self.file_size.or(base.file_size),
            tmp_size: self.tmp_size.or(base.tmp_size),
            output: self.output.or(base.output),
        }
    }
}

/// Both lists, nothing twice.
fn joined<T: PartialEq>(mut first: Vec<T>, second: Vec<T>) -> Vec<T> {
    for one in second {
        if !first.contains(&one) {
            first.push(one);
        }
    }
    first
}

/// The profiles of one file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profiles(pub(crate) BTreeMap<String, Profile>);

impl Profiles {
    /// Reads the text of a `plugbay.toml`. `file` is only what errors call it.
    ///
    /// # Errors
    /// Every problem of the text, each with its place and what is allowed there.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ManifestError> {
        read::profile::parse(text, file)
    }

    /// Reads a file: a regular one, bounded, and not through a link.
    ///
    /// # Errors
    /// Why it cannot be read, or every problem of its text.
    pub fn load(file: &Path) -> Result<Self, ManifestError> {
        let fail = |error: &dyn std::fmt::Display| {
            ManifestError::whole(file, format!("cannot read the profiles: {error}"))
        };
        let name = file.file_name().ok_or_else(|| fail(&"it is not a file"))?;
        let above = file.parent().filter(|above| !above.as_os_str().is_empty());
        let directory = File::open(above.unwrap_or(Path::new("."))).map_err(|e| fail(&e))?;
        let text =
            beneath::read(&directory, Path::new(name), MAX_BYTES).map_err(|error| fail(&error))?;
        Self::parse(&text, file)
    }

    /// The profile of this name, with what it extends; one that the file does not have may be built
    /// in.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Profile> {
        self.chain(name).into_iter().rev().reduce(|base, over| over.over(base))
    }

    /// The profile and those that it extends, one after the other, ending where one comes twice.
    fn chain(&self, name: &str) -> Vec<Profile> {
        let (mut chain, mut seen) = (Vec::new(), Vec::new());
        let mut next = Some(name.to_owned());
        while let Some(name) = next.take() {
            match self.0.get(&name).filter(|_| !seen.contains(&name)) {
                Some(profile) => {
                    next.clone_from(&profile.extends);
                    chain.push(profile.clone());
                    seen.push(name);
                }
                None if name == BUILT_IN => chain.push(Profile::ci()),
                None => {}
            }
        }
        chain
    }

    /// What the file itself says of a profile, without what that extends.
    #[must_use]
    pub fn own(&self, name: &str) -> Option<&Profile> {
        self.0.get(name)
    }

    /// The names that can be asked for: those of the file, then the built-in one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let built_in = (!self.0.contains_key(BUILT_IN)).then_some(BUILT_IN);
        self.0.keys().map(String::as_str).chain(built_in)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profiles(text: &str) -> Profiles {
        Profiles::parse(text, Path::new(PROFILES_NAME)).unwrap()
    }

    #[test]
    fn a_profile_over_another_adds_lists_and_replaces_values() {
        let all = profiles(
            "[run.base]\nread = [\"a\"]\nfilter = \"ci\"\nlimits = { pids = 9, wall = \"1m\" }\n\
             [run.test]\nextends = \"base\"\nread = [\"b\", \"a\"]\nlimits = { pids = \"none\" }\n",
        );
        let test = all.get("test").unwrap();
        assert_eq!(test.read, [GrantPath::Plugin("a".into()), GrantPath::Plugin("b".into())]);
        assert_eq!(test.filter, Some(SystemCalls::Ci));
        assert_eq!(test.limits.pids, Some(Cap::Lifted));
        assert_eq!(test.limits.wall, Some(Cap::At(Duration::from_secs(60))));
        assert_eq!(all.get("other"), None);
    }

    #[test]
    fn the_built_in_profile_can_be_extended_and_replaced() {
        assert_eq!(Profiles::default().get("ci"), Some(Profile::ci()));
        let extended = profiles("[run.ci]\nextends = \"ci\"\nread = [\"/srv\"]\n");
        let ci = extended.get("ci").unwrap();
        assert_eq!((ci.write, ci.read.len()), (Profile::ci().write, 1));
        let replaced = profiles("[run.ci]\nread = [\"/srv\"]\n");
        assert_eq!(replaced.get("ci").unwrap().write, []);
        assert_eq!(replaced.names().collect::<Vec<_>>(), ["ci"]);
    }
}
