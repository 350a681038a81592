//! What a process gets while it is learned what it needs: everything that can be granted, in the place
//! and as the user in which it will run with its grants later.
//!
//! Not the host's root as it is: with that, the view would be another than the one that is learned for.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    denial::secret::secret,
    machine::{BaseEntry, TREES},
    protection::{Demand, Protection},
    spec::{Access, FileGrant, Network, NetworkMode, Profile, Spec},
};

/// Directories of which each entry is opened by itself, since a view has something of its own in them.
const PARTED: [&str; 3] = ["/", "/etc", "/var"];

/// What a view has of its own, or what a grant cannot open.
const OWN: [&str; 8] =
    ["/proc", "/sys", "/dev", "/tmp", "/var/tmp", "/etc/passwd", "/etc/group", "/etc/hosts"];

/// The same process with all open: `entries` are the host's paths to open beside `shown`.
pub(crate) fn opened(spec: &Spec, entries: &[PathBuf], shown: &[PathBuf]) -> Spec {
    let open = |path: &PathBuf| FileGrant {
        path: path.clone(),
        access: Access::Write,
        origin: "open while learning".to_owned(),
    };
    let mut wide = spec.clone();
    wide.files.extend(entries.iter().chain(shown).map(open));
    wide.network = Network { mode: NetworkMode::Full, ..Network::default() };
    wide.profile = Profile::Ci;
    // Without a view it is the filter that closes them.
    wide.demands.insert(Protection::SocketsUnix, Demand::Off);
    wide
}

/// The host's paths that are opened: what stands in the root, in `/etc` and in `/var`, one by one, but for
/// what every view has already. A link stays closed, as a grant opens what it leads to only.
pub(crate) fn entries(base: &[BaseEntry]) -> Vec<PathBuf> {
    let names = |directory: &str| fs::read_dir(directory).into_iter().flatten().flatten();
    let all = PARTED.iter().flat_map(|directory| names(directory));
    let real =
        all.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir() || kind.is_file()));
    let mut paths: Vec<PathBuf> = real.map(|entry| entry.path()).collect();
    paths.retain(|path| opens(path, base));
    paths.sort();
    paths
}

fn opens(path: &Path, base: &[BaseEntry]) -> bool {
    let is_base = base.iter().any(|entry| entry.path == path);
    let own = OWN.iter().chain(&TREES).chain(&PARTED).any(|own| Path::new(own) == path);
    !is_base && !own && secret(path).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_open_but_what_the_process_has_of_its_own() {
        let spec = Spec::new("/usr/bin/true");
        let wide = opened(&spec, &["/home".into()], &["/tmp/project".into()]);
        let paths: Vec<&Path> = wide.files.iter().map(|grant| grant.path.as_path()).collect();
        assert_eq!(paths, [Path::new("/home"), Path::new("/tmp/project")]);
        assert!(wide.files.iter().all(|grant| grant.access == Access::Write));
        assert_eq!((wide.network.mode, wide.profile), (NetworkMode::Full, Profile::Ci));
        assert_eq!((wide.env, wide.limits, wide.base), (spec.env, spec.limits, spec.base));
    }

    #[test]
    fn neither_kernel_trees_nor_secrets_are_opened() {
        for path in ["/proc", "/tmp", "/usr", "/etc/shadow", "/etc/passwd", "/etc"] {
            assert!(!opens(Path::new(path), &[]), "{path}");
        }
        assert!(opens(Path::new("/home"), &[]) && opens(Path::new("/etc/gitconfig"), &[]));
        assert!(entries(&[]).iter().all(|path| path.is_absolute()));
    }
}
