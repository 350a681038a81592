//! What is taken out of a grant: named paths that stay hidden although a tree around them is open.
//!
//! The nearest word decides: below what is denied, a grant opens again, and so on. Only mounts can
//! take something out of a tree (a Landlock rule never takes away), so a rung without them refuses
//! to start. Pure but for [`search`], which turns patterns into paths before a start.

mod search;

use std::path::{Path, PathBuf};

pub use search::{DenyError, Found, is_pattern, search};

use crate::{
    machine::BaseEntry,
    spec::{Base, Spec},
};

/// What stands in for a denied path in a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cover<'a> {
    /// Something of the same kind that cannot be opened.
    Mask(&'a Path),
    /// A directory in memory, because something below was granted again.
    Hollow(&'a Path),
}

impl<'a> Cover<'a> {
    /// Where it lies.
    pub(crate) fn at(&self) -> &'a Path {
        match self {
            Self::Mask(at) | Self::Hollow(at) => at,
        }
    }
}

/// Whether something denied lies between the two, so that `outer` does not give `inner`.
pub(crate) fn parts(deny: &[PathBuf], outer: &Path, inner: &Path) -> bool {
    deny.iter().any(|denied| inner.starts_with(denied) && denied.starts_with(outer))
}

/// What must be covered: the denied paths that something visible would show, each once.
pub(crate) fn covers<'a>(spec: &'a Spec, base: &[BaseEntry]) -> Vec<Cover<'a>> {
    let mut denied: Vec<&Path> = spec.deny.iter().map(PathBuf::as_path).collect();
    denied.sort_unstable();
    denied.dedup();
    denied
        .into_iter()
        .filter(|path| is_shown(path, spec, base))
        .map(
            |path| {
                if is_opened_below(path, spec) { Cover::Hollow(path) } else { Cover::Mask(path) }
            },
        )
        .collect()
}

/// Whether a view shows the path, if it is not covered: the nearest thing above it that was said is a
/// grant. The host's `/tmp` is in no view but where a grant lies in it.
fn is_shown(path: &Path, spec: &Spec, base: &[BaseEntry]) -> bool {
    let private = |above: &Path| path.starts_with("/tmp") && !above.starts_with("/tmp");
    let above = |given: &Path| path.starts_with(given) && given != path && !private(given);
    let granted = spec.files.iter().map(|grant| grant.path.as_path()).filter(|it| above(it));
    let system = base.iter().map(|entry| entry.path.as_path());
    let system = system.filter(|it| spec.base == Base::System && path.starts_with(it));
    let Some(nearest) = granted.chain(system).max_by_key(|it| it.components().count()) else {
        return false;
    };
    let others = spec.deny.iter().filter(|other| *other != path);
    !others.into_iter().any(|other| path.starts_with(other) && other.starts_with(nearest))
}

fn is_opened_below(path: &Path, spec: &Spec) -> bool {
    let given = spec.files.iter().map(|grant| &grant.path).chain(&spec.unix_sockets);
    given.into_iter().any(|given| given.starts_with(path))
}

/// Why this path cannot be denied, if it cannot.
pub(crate) fn refusal(path: &Path, spec: &Spec) -> Option<&'static str> {
    if path == Path::new("/") {
        Some("that is everything; grant less instead")
    } else if path.starts_with("/proc") || path.starts_with("/dev") {
        Some("the process gets a /proc and a /dev of its own")
    } else if spec.files.iter().any(|grant| grant.path == path) {
        Some("it is granted as well")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        machine::BaseKind,
        spec::{Access, FileGrant},
    };

    fn spec(grants: &[&str], deny: &[&str]) -> Spec {
        Spec {
            files: grants.iter().map(|path| FileGrant::requested(*path, Access::Read)).collect(),
            deny: deny.iter().map(PathBuf::from).collect(),
            ..Spec::new("/usr/bin/true")
        }
    }

    fn shown(grants: &[&str], deny: &[&str]) -> Vec<String> {
        let base =
            [BaseEntry { path: "/usr".into(), kind: BaseKind::Programs, network_only: false }];
        let spec = spec(grants, deny);
        let covers = covers(&spec, &base);
        covers
            .iter()
            .map(|cover| match cover {
                Cover::Mask(at) => at.display().to_string(),
                Cover::Hollow(at) => format!("{}/…", at.display()),
            })
            .collect()
    }

    #[test]
    fn what_nothing_opens_needs_no_cover() {
        assert_eq!(shown(&["/w"], &["/w/key", "/elsewhere", "/work"]), ["/w/key"]);
        assert_eq!(shown(&[], &["/usr/bin/curl"]), ["/usr/bin/curl"]);
    }

    #[test]
    fn what_lies_in_something_denied_needs_no_cover_of_its_own() {
        assert_eq!(shown(&["/w"], &["/w/a", "/w/a/b", "/w/a"]), ["/w/a"]);
    }

    #[test]
    fn the_nearest_word_decides() {
        let covers = shown(&["/", "/home/me/w"], &["/home", "/home/me/w/key", "/home/other"]);
        assert_eq!(covers, ["/home/…", "/home/me/w/key"]);
        assert!(parts(&["/home".into()], Path::new("/"), Path::new("/home/me/w")));
        assert!(!parts(&["/home/me/w/key".into()], Path::new("/"), Path::new("/home/me/w")));
    }

    #[test]
    fn the_private_directory_hides_the_hosts_by_itself() {
        assert_eq!(shown(&["/"], &["/tmp", "/tmp/x"]), Vec::<String>::new());
        assert_eq!(shown(&["/tmp/w"], &["/tmp/w/x"]), ["/tmp/w/x"]);
    }

    #[test]
    fn what_cannot_be_denied_is_refused_with_the_reason() {
        let spec = spec(&["/w"], &[]);
        for path in ["/", "/proc/1", "/dev/null", "/w"] {
            assert!(refusal(Path::new(path), &spec).is_some(), "{path}");
        }
        assert_eq!(refusal(Path::new("/w/key"), &spec), None);
    }
}
