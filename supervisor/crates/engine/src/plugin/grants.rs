//! From what a manifest asks for to what the sandbox is told. Pure: every path, variable and
//! resolved program is an argument, and nothing is looked up.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use plugbay_manifest::{
    FilesystemPermission, GrantPath, Manifest, NetworkGrant, NetworkPermission, SystemCalls,
};
use plugbay_protocol::handshake::Grants;
use plugbay_sandbox::{
    Access, Calls, Demands, FileGrant, HostGrant, Level, Limits, Network, NetworkMode, Profile,
    Spec,
};

use super::demand;

/// A command that was found: which program with which arguments, and what it needs to run at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) program: PathBuf,
    /// The whole argument vector.
    pub(crate) args: Vec<OsString>,
    /// The exact environment.
    pub(crate) env: Vec<(OsString, OsString)>,
    /// The interpreter's installation and the like.
    pub(crate) grants: Vec<FileGrant>,
    /// What was found on the way, in words.
    pub(crate) notes: Vec<String>,
}

/// Where the plugin is and what it gets beyond its manifest.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The plugin's own directory.
    pub(crate) dir: PathBuf,
    /// The home directory of whoever runs the host.
    pub(crate) home: Option<PathBuf>,
    /// Grants that the embedder adds.
    pub(crate) extra: Vec<FileGrant>,
    /// What the host requires at least.
    pub(crate) level: Level,
    /// What it demands of single protections.
    pub(crate) demands: Demands,
    /// What is the host's own: hidden from every plugin.
    pub(crate) withheld: Vec<PathBuf>,
}

/// The spec of one process of the plugin.
///
/// # Errors
/// Names the permission that cannot be given.
pub(crate) fn spec(manifest: &Manifest, place: &Place, command: Command) -> Result<Spec, String> {
    let mut files = vec![FileGrant {
        path: place.dir.clone(),
        access: Access::Exec,
        origin: "the plugin's own directory".to_owned(),
    }];
    files.extend(asked(&manifest.permissions.filesystem, place)?);
    files.extend(place.extra.iter().cloned());
    files.extend(command.grants);
    let (level, demands) = demand::joined((place.level, &place.demands), &manifest.sandbox);
    Ok(Spec {
        args: command.args,
        env: command.env,
        workdir: place.dir.clone(),
        files,
        network: network(&manifest.permissions.network),
        limits: limits(&manifest.limits),
        level,
        demands,
        profile: profile(&manifest.permissions.system_calls)?,
        ..Spec::new(command.program)
    })
}

fn profile(asked: &SystemCalls) -> Result<Profile, String> {
    match asked {
        SystemCalls::Ci => Ok(Profile::Ci),
        SystemCalls::Only(words) => Calls::of(words.iter().map(String::as_str))
            .map(Profile::Strict)
            .map_err(|error| format!("permissions.system_calls: {error}")),
        // A profile that this engine does not know is given the narrowest one.
        SystemCalls::Default | _ => Ok(Profile::Default),
    }
}

fn asked(permission: &FilesystemPermission, place: &Place) -> Result<Vec<FileGrant>, String> {
    let lists: [(&[GrantPath], Access); 3] = match permission {
        FilesystemPermission::None => return Ok(Vec::new()),
        FilesystemPermission::ReadOnly => {
            return Ok(vec![FileGrant {
                path: PathBuf::from("/"),
                access: Access::Read,
                origin: "permissions.filesystem = \"read-only\"".to_owned(),
            }]);
        }
        FilesystemPermission::Paths { read, write, exec } => {
            [(read, Access::Read), (exec, Access::Exec), (write, Access::Write)]
        }
    };
    let mut grants = Vec::new();
    for (paths, access) in lists {
        for path in paths {
            let located = path.locate(&place.dir, place.home.as_deref()).ok_or_else(|| {
                format!("`{path}` is below the home directory, and there is none")
            })?;
            grants.push(FileGrant {
                path: located,
                access,
                origin: format!("permissions.filesystem.{}: {path}", word(access)),
            });
        }
    }
    Ok(grants)
}

fn word(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Exec => "exec",
        Access::Write => "write",
    }
}

fn network(permission: &NetworkPermission) -> Network {
    let mut network = Network::default();
    match permission {
        NetworkPermission::None => {}
        NetworkPermission::Full => network.mode = NetworkMode::Full,
        NetworkPermission::Only(list) => {
            if !list.is_empty() {
                network.mode = NetworkMode::Ports;
            }
            for grant in list {
                match grant {
                    NetworkGrant::Connect { host: Some(host), port } => {
                        network.mode = NetworkMode::Hosts;
                        network.hosts.insert(HostGrant { host: host.clone(), port: *port });
                    }
                    NetworkGrant::Connect { host: None, port } => {
                        network.connect.insert(*port);
                    }
                    NetworkGrant::Listen { port } => {
                        network.listen.insert(*port);
                    }
                }
            }
        }
    }
    network
}

fn limits(asked: &plugbay_manifest::Limits) -> Limits {
    let default = Limits::default();
    Limits {
        memory: asked.memory.or(default.memory),
        pids: asked.pids.or(default.pids),
        cpu_milli: asked.cpu_milli.or(default.cpu_milli),
        open_files: asked.open_files.or(default.open_files),
        file_size: asked.file_size.or(default.file_size),
        ..default
    }
}

/// What the plugin is told of its grants, in the words of the protocol.
pub(crate) fn told(spec: &Spec, manifest: &Manifest, host: Vec<String>) -> Grants {
    let paths = |access: Access| {
        let given = spec.files.iter().filter(|grant| grant.access == access);
        given.map(|grant| shown(&grant.path)).collect()
    };
    let network = match (&spec.network.mode, &manifest.permissions.network) {
        (_, NetworkPermission::Only(list)) => list.iter().map(ToString::to_string).collect(),
        (NetworkMode::Full, _) => vec!["full".to_owned()],
        (
            NetworkMode::None | NetworkMode::Loopback | NetworkMode::Hosts | NetworkMode::Ports,
            _,
        ) => Vec::new(),
    };
    Grants {
        read: paths(Access::Read),
        write: paths(Access::Write),
        exec: paths(Access::Exec),
        network,
        env: manifest.permissions.env.iter().map(|grant| grant.name.clone()).collect(),
        host,
        plugins: manifest.dependencies.plugins.keys().map(ToString::to_string).collect(),
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
