//! From paths that were touched to paths to grant: each as far as it was used, neighbours together
//! below their directory, and never a home, a directory of the system or a secret.
//!
//! Pure; what lies below a directory is asked of an argument.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use plugbay_sandbox::{
    Access,
    lesson::{Touch, Use},
};

/// So many grants of the same kind in one directory become one of the directory.
const NEIGHBOURS: usize = 3;

/// Directories of the system, which hold much that is nobody's business.
const SYSTEM: [&str; 22] = [
    "/",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/run/user",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/local",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/tmp",
];

/// Directories of a home that all programs share.
const SHARED_IN_HOME: [&str; 9] = [
    "",
    ".cache",
    ".config",
    ".local",
    ".local/bin",
    ".local/share",
    ".local/state",
    ".cargo",
    ".npm",
];

/// Where the command ran, and what is known of the paths there.
pub(crate) struct Ground<'a> {
    /// The user's home.
    pub(crate) home: Option<&'a Path>,
    /// Where it ran.
    pub(crate) workdir: &'a Path,
    /// What is granted by itself: the installations of programs that were executed.
    pub(crate) installations: &'a [PathBuf],
}

/// What was reached for and is not granted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LeftOut {
    /// What.
    pub(crate) path: PathBuf,
    /// The grant with which it could be had; `None` where it was only looked at.
    pub(crate) access: Option<Access>,
    /// Why it is left out.
    pub(crate) why: String,
}

/// The grants, and what is left out of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Files {
    pub(crate) grants: BTreeMap<PathBuf, Access>,
    pub(crate) left_out: Vec<LeftOut>,
}

impl Ground<'_> {
    /// Whether a directory is too wide to be granted because of something in it.
    pub(crate) fn is_wide(&self, directory: &Path) -> bool {
        let home = self.home.filter(|home| home.parent().is_some());
        let in_home = |home: &Path| SHARED_IN_HOME.iter().any(|it| home.join(it) == directory);
        let holds_home = home.is_some_and(|home| home.starts_with(directory) || in_home(home));
        let homes = directory.parent() == Some(Path::new("/home"));
        let system = SYSTEM.iter().any(|known| Path::new(known) == directory);
        // In a container one works in `/app`; elsewhere a directory of the root is as wide as a home.
        let top = directory.parent() == Some(Path::new("/")) && directory != self.workdir;
        holds_home || homes || system || top
    }
}

/// The smallest grants for what was touched.
pub(crate) fn smallest(touched: &BTreeMap<PathBuf, Touch>, ground: &Ground<'_>) -> Files {
    let mut files = Files::default();
    let mut glances = BTreeSet::new();
    for path in ground.installations {
        files.grants.insert(path.clone(), Access::Exec);
    }
    for (path, touch) in touched {
        match needed(touch) {
            Some(access) if touch.directory && ground.is_wide(path) => {
                let why = too_wide(touch).to_owned();
                files.left_out.push(LeftOut { path: path.clone(), access: Some(access), why });
            }
            Some(access) => {
                let held = files.grants.entry(path.clone()).or_insert(access);
                *held = access.max(*held);
            }
            None => drop(glances.insert(path)),
        }
    }
    files.grants = collapsed(files.grants, ground);
    // The deepest first: what is above them is on the way then.
    for path in glances.into_iter().rev() {
        let leads_on = files.grants.keys().any(|granted| granted.starts_with(path));
        if leads_on || path == ground.workdir || covers(&files.grants, path, Access::Read) {
            continue;
        }
        if ground.is_wide(path) {
            let why = "only looked at, and wide: it will not be there".to_owned();
            files.left_out.push(LeftOut { path: path.clone(), access: None, why });
        } else {
            files.grants.insert(path.clone(), Access::Read);
        }
    }
    files.grants = minimal(files.grants);
    files.left_out.retain(|it| !covers(&files.grants, &it.path, it.access.unwrap_or(Access::Read)));
    files
}

/// How far a path must be granted; `None` where a directory was only looked at.
fn needed(touch: &Touch) -> Option<Access> {
    let of = |usage: &Use| match usage {
        Use::Look if touch.directory => None,
        Use::Look | Use::Link | Use::Read | Use::List => Some(Access::Read),
        Use::Execute => Some(Access::Exec),
        Use::Change | Use::Make => Some(Access::Write),
    };
    touch.uses.iter().filter_map(of).max()
}

fn too_wide(touch: &Touch) -> &'static str {
    if touch.uses.contains(&Use::Make) {
        "files are made in it, and it is too wide to be granted for that"
    } else if touch.uses.contains(&Use::Change) {
        "it is changed itself, and too wide to be granted for that"
    } else if touch.uses.contains(&Use::List) {
        "it is listed, and too wide to be granted for that"
    } else {
        "a link in it is followed, and it is too wide to be granted for that: name the link's target"
    }
}

/// Whether a path is granted this far.
pub(crate) fn covers(grants: &BTreeMap<PathBuf, Access>, path: &Path, access: Access) -> bool {
    path.ancestors().any(|above| grants.get(above).is_some_and(|held| *held >= access))
}

/// Without what a grant above gives already.
pub(crate) fn minimal(grants: BTreeMap<PathBuf, Access>) -> BTreeMap<PathBuf, Access> {
    let needed = |path: &Path, access: Access| {
        path.parent().is_none_or(|above| !covers(&grants, above, access))
    };
    let mut kept = grants.clone();
    kept.retain(|path, access| needed(path, *access));
    kept
}

/// With neighbours put together below their directory, as long as there are any.
fn collapsed(grants: BTreeMap<PathBuf, Access>, ground: &Ground<'_>) -> BTreeMap<PathBuf, Access> {
    let mut grants = minimal(grants);
    loop {
        let mut crowds: BTreeMap<(PathBuf, Access), usize> = BTreeMap::new();
        for (path, access) in &grants {
            let parent = path.parent().filter(|parent| !ground.is_wide(parent));
            if let Some(parent) = parent {
                *crowds.entry((parent.to_owned(), *access)).or_default() += 1;
            }
        }
        crowds.retain(|_, count| *count >= NEIGHBOURS);
        if crowds.is_empty() {
            return grants;
        }
        for (directory, access) in crowds.into_keys() {
            let held = grants.entry(directory).or_insert(access);
            *held = access.max(*held);
        }
        grants = minimal(grants);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOME: &str = "/home/ann";

    fn ground(workdir: &str) -> Ground<'_> {
        Ground { home: Some(Path::new(HOME)), workdir: Path::new(workdir), installations: &[] }
    }

    fn touch(uses: &[Use]) -> Touch {
        let of_directory = [Use::List, Use::Make, Use::Link];
        let directory = uses.iter().any(|usage| of_directory.contains(usage));
        Touch { directory, uses: uses.iter().copied().collect() }
    }

    fn learned(touched: &[(&str, &[Use])]) -> Files {
        let touched =
            touched.iter().map(|(path, uses)| (PathBuf::from(path), touch(uses))).collect();
        smallest(&touched, &ground("/home/ann/src/app"))
    }

    fn granted(touched: &[(&str, &[Use])]) -> Vec<(String, Access)> {
        let grants = learned(touched).grants.into_iter();
        grants.map(|(path, access)| (path.display().to_string(), access)).collect()
    }

    fn grants(list: &[(&str, Access)]) -> Vec<(String, Access)> {
        list.iter().map(|(path, access)| ((*path).to_owned(), *access)).collect()
    }

    #[test]
    fn a_path_is_granted_as_far_as_it_was_used() {
        let found = granted(&[
            ("/srv/data/a.txt", &[Use::Read, Use::Look]),
            ("/srv/tool/run", &[Use::Read, Use::Execute]),
            ("/srv/log/app.log", &[Use::Change]),
        ]);
        let expected = grants(&[
            ("/srv/data/a.txt", Access::Read),
            ("/srv/log/app.log", Access::Write),
            ("/srv/tool/run", Access::Exec),
        ]);
        assert_eq!(found, expected);
    }

    #[test]
    fn two_neighbours_stay_and_three_become_their_directory() {
        let read: &[Use] = &[Use::Read];
        let two = [("/srv/d/a", read), ("/srv/d/b", read)];
        assert_eq!(granted(&two).len(), 2);
        let three = [two.as_slice(), &[("/srv/d/c", read)]].concat();
        assert_eq!(granted(&three), grants(&[("/srv/d", Access::Read)]));
        let written = [three.as_slice(), &[("/srv/d/log", &[Use::Change])]].concat();
        let expected = [("/srv/d", Access::Read), ("/srv/d/log", Access::Write)];
        assert_eq!(granted(&written), grants(&expected));
    }

    #[test]
    fn what_is_made_grants_its_directory_and_all_below() {
        let found = granted(&[
            ("/home/ann/src/app", &[Use::Make]),
            ("/home/ann/src/app/main.c", &[Use::Read]),
            ("/home/ann/src/app/build", &[Use::Make, Use::List]),
        ]);
        assert_eq!(found, grants(&[("/home/ann/src/app", Access::Write)]));
    }

    #[test]
    fn neighbours_in_a_home_or_a_system_directory_stay_apart() {
        for place in [HOME, "/home/ann/.config", "/etc", "/srv", "/data"] {
            let paths = ["a", "b", "c", "d"].map(|name| format!("{place}/{name}"));
            let touched: Vec<(&str, &[Use])> =
                paths.iter().map(|path| (path.as_str(), &[Use::Read][..])).collect();
            assert_eq!(granted(&touched).len(), 4, "{place}");
        }
    }

    #[test]
    fn a_wide_directory_is_left_out_by_name() {
        let files = learned(&[(HOME, &[Use::List]), ("/home/ann/.cache", &[Use::Make])]);
        assert_eq!(files.grants, BTreeMap::new());
        let told: Vec<_> = files.left_out.iter().map(|it| (it.path.to_str(), it.access)).collect();
        assert_eq!(
            told,
            [(Some(HOME), Some(Access::Read)), (Some("/home/ann/.cache"), Some(Access::Write)),]
        );
    }

    #[test]
    fn a_working_directory_in_the_root_is_not_wide() {
        let touched = [(PathBuf::from("/app"), touch(&[Use::List]))].into();
        assert_eq!(smallest(&touched, &ground("/app")).grants.len(), 1);
        assert_eq!(smallest(&touched, &ground("/other")).grants.len(), 0);
    }

    #[test]
    fn a_directory_that_was_only_looked_at_is_there_if_that_is_narrow() {
        let look = Touch { directory: true, uses: [Use::Look].into() };
        let touched = ["/home/ann/src/lib", HOME, "/home/ann/src/app"]
            .map(|path| (PathBuf::from(path), look.clone()))
            .into();
        let files = smallest(&touched, &ground("/home/ann/src/app"));
        assert_eq!(files.grants, [("/home/ann/src/lib".into(), Access::Read)].into());
        // The home leads on to what is granted in it.
        assert_eq!(files.left_out, []);
    }

    fn any_path() -> impl Strategy<Value = PathBuf> {
        let root =
            prop::sample::select(vec!["/srv", HOME, "/home/ann/src/app", "/etc", "/", "/app"]);
        let part = prop::sample::select(vec!["a", "b", "c", "d", ".config"]);
        (root, prop::collection::vec(part, 0..4)).prop_map(|(root, parts)| {
            let mut path = PathBuf::from(root);
            path.extend(parts);
            path
        })
    }

    fn any_touch() -> impl Strategy<Value = Touch> {
        let usage = prop::sample::select(vec![
            Use::Look,
            Use::Link,
            Use::Read,
            Use::List,
            Use::Execute,
            Use::Change,
            Use::Make,
        ]);
        let uses = prop::collection::btree_set(usage, 1..4);
        (any::<bool>(), uses).prop_map(|(directory, uses)| Touch { directory, uses })
    }

    proptest! {
        #[test]
        fn all_that_was_used_is_granted_or_named_and_nothing_wide_is_granted(
            touched in prop::collection::btree_map(any_path(), any_touch(), 0..40),
        ) {
            let ground = ground("/home/ann/src/app");
            let files = smallest(&touched, &ground);
            for (path, touch) in &touched {
                let access = needed(touch);
                let covered = access.is_some_and(|access| covers(&files.grants, path, access));
                let named = files.left_out.iter().any(|it| it.path == *path && it.access == access);
                prop_assert!(access.is_none() || covered || named, "{path:?} {touch:?}");
            }
            for path in files.grants.keys() {
                let is_directory = touched.get(path).is_none_or(|touch| touch.directory);
                prop_assert!(!is_directory || !ground.is_wide(path), "{path:?}");
                // Each lies at or above something that was touched.
                prop_assert!(touched.keys().any(|touched| touched.starts_with(path)), "{path:?}");
            }
        }

        #[test]
        fn no_grant_is_superfluous_and_more_collapsing_changes_nothing(
            touched in prop::collection::btree_map(any_path(), any_touch(), 0..40),
        ) {
            let ground = ground("/home/ann/src/app");
            let grants = smallest(&touched, &ground).grants;
            prop_assert_eq!(&minimal(grants.clone()), &grants);
            for (path, access) in &grants {
                let mut without = grants.clone();
                without.remove(path);
                prop_assert!(!covers(&without, path, *access));
            }
        }
    }
}
