//! `[permissions]`: what a plugin asks to be opened. Deny by default.
//!
//! These are requests. Whether they are granted is decided, and how they are enforced is known,
//! elsewhere (the engine and the sandbox).

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Serialize, Serializer};

/// All permissions asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Permissions {
    /// The network.
    pub network: NetworkPermission,
    /// Files beyond the plugin's own directory and the system base.
    pub filesystem: FilesystemPermission,
    /// What stays hidden of what is opened; wildcards are matched at each start.
    pub deny: Vec<GrantPath>,
    /// System calls.
    pub system_calls: SystemCalls,
    /// Environment variables.
    pub env: Vec<EnvGrant>,
}

/// What is asked of the network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkPermission {
    /// `false`: no network at all.
    #[default]
    None,
    /// `true`: the host's network without a filter.
    Full,
    /// A list: TCP to, or on, these only.
    Only(Vec<NetworkGrant>),
}

/// One entry of the network list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NetworkGrant {
    /// `PORT` or `HOST:PORT`: connect.
    Connect {
        /// The host asked for; `None` means any.
        host: Option<String>,
        /// The TCP port.
        port: u16,
    },
    /// `listen:PORT`: accept connections.
    Listen {
        /// The TCP port.
        port: u16,
    },
}

impl fmt::Display for NetworkGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { host: Some(host), port } => write!(f, "{host}:{port}"),
            Self::Connect { host: None, port } => write!(f, "{port}"),
            Self::Listen { port } => write!(f, "listen:{port}"),
        }
    }
}

impl Serialize for NetworkGrant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is asked of the file system. The plugin's own directory is readable and executable to it
/// in every case.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FilesystemPermission {
    /// `"none"`: nothing beyond its own directory and the system base.
    #[default]
    None,
    /// `"read-only"`: read whatever the host's user may read, write nothing.
    ReadOnly,
    /// `{ read, write, exec }`: these paths.
    Paths {
        /// Files and directories to read.
        read: Vec<GrantPath>,
        /// Files and directories to read, create, change and remove.
        write: Vec<GrantPath>,
        /// Files and directories to read and execute from.
        exec: Vec<GrantPath>,
    },
}

impl FilesystemPermission {
    /// The first path below the plugin's directory that a link leads out of it.
    ///
    /// `./data` reads as harmless, and is not if the plugin ships `data` as a link to `/root`. Looks
    /// at the file system; a path that is not there leads nowhere.
    #[must_use]
    pub fn stray(&self, plugin: &Path) -> Option<&GrantPath> {
        let Self::Paths { read, write, exec } = self else { return None };
        let plugin = plugin.canonicalize().unwrap_or_else(|_| plugin.to_owned());
        read.iter().chain(write).chain(exec).find(|path| match path {
            GrantPath::Plugin(rest) => {
                plugin.join(rest).canonicalize().is_ok_and(|real| !real.starts_with(&plugin))
            }
            GrantPath::Absolute(_) | GrantPath::Home(_) => false,
        })
    }
}

/// A path in a permission, as the manifest means it. Never has a `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum GrantPath {
    /// `/var/data`: as written.
    Absolute(PathBuf),
    /// `~/notes`: below the home directory of whoever runs the host.
    Home(PathBuf),
    /// `./data`, `data`, `$PLUGIN/data`: below the plugin's own directory.
    Plugin(PathBuf),
}

impl GrantPath {
    /// The absolute path it means, given the plugin's directory and the home directory.
    /// `None` when it is below home and there is none.
    ///
    /// Pure text: symbolic links are not looked at, so whoever grants the path must check where it
    /// really leads.
    #[must_use]
    pub fn locate(&self, plugin: &Path, home: Option<&Path>) -> Option<PathBuf> {
        match self {
            Self::Absolute(path) => Some(path.clone()),
            Self::Home(rest) => home.map(|home| join(home, rest)),
            Self::Plugin(rest) => Some(join(plugin, rest)),
        }
    }
}

/// `base/rest`, without a trailing slash when there is no rest.
fn join(base: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { base.to_owned() } else { base.join(rest) }
}

impl fmt::Display for GrantPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absolute(path) => write!(f, "{}", path.display()),
            Self::Home(rest) => write!(f, "~/{}", rest.display()),
            Self::Plugin(rest) => write!(f, "./{}", rest.display()),
        }
    }
}

impl Serialize for GrantPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Which system calls are asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum SystemCalls {
    /// Everything ordinary programs need, nothing else.
    #[default]
    Default,
    /// For builds and tests: also scheduling calls and ptrace of own children.
    Ci,
    /// A list: only these. Names of calls, and of many such as `@python`; which names there are
    /// is known to the sandbox.
    Only(Vec<String>),
}

impl fmt::Display for SystemCalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Ci => f.write_str("ci"),
            Self::Only(words) => write!(f, "only {}", words.join(", ")),
        }
    }
}

/// One environment variable.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct EnvGrant {
    /// Its name.
    pub name: String,
    /// The value to set; `None` passes the host's own value on, if there is one.
    pub value: Option<String>,
}

impl fmt::Display for EnvGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl Serialize for EnvGrant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_out_of_the_plugins_directory_is_a_stray() {
        let temp = tempfile::tempdir().unwrap();
        let plugin = temp.path().join("plugin");
        std::fs::create_dir_all(plugin.join("real")).unwrap();
        symlink("/etc", plugin.join("out")).unwrap();
        symlink("real", plugin.join("inside")).unwrap();
        let asks = |path: GrantPath| FilesystemPermission::Paths {
            read: vec![GrantPath::Plugin("real".into()), GrantPath::Absolute("/etc".into())],
            write: vec![path],
            exec: Vec::new(),
        };
        for fine in ["inside", "missing", "", "real"] {
            assert_eq!(asks(GrantPath::Plugin(fine.into())).stray(&plugin), None, "{fine}");
        }
        for stray in ["out", "out/passwd"] {
            let path = GrantPath::Plugin(stray.into());
            assert_eq!(asks(path.clone()).stray(&plugin), Some(&path));
        }
    }
}
