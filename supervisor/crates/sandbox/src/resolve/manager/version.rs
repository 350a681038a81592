//! Versions as managers name them: which installed one is meant by a shorter name.

use std::path::Path;

use crate::resolve::file;

/// The installed version that `wanted` means: the one of that name, else the newest release that
/// begins with it (`3.11` means `3.11.9`, not `3.110`).
pub(super) fn installed(directory: &Path, wanted: &str) -> Option<String> {
    let is_plain = !wanted.is_empty() && !wanted.contains('/') && !wanted.starts_with('.');
    if is_plain && directory.join(wanted).is_dir() {
        return Some(wanted.to_owned());
    }
    newest(file::names(directory), wanted)
}

/// The newest of some names that begin with `wanted` and consist of numbers.
pub(super) fn newest(names: Vec<String>, wanted: &str) -> Option<String> {
    let begins = |name: &String| {
        let rest = name.strip_prefix(wanted);
        rest.is_some_and(|rest| wanted.is_empty() || rest.is_empty() || rest.starts_with('.'))
    };
    let known = names.into_iter().filter(begins).filter_map(|name| Some((numbers(&name)?, name)));
    known.max().map(|(_, name)| name)
}

/// `v1.2.3` as numbers; `None` for anything but a release.
fn numbers(name: &str) -> Option<Vec<u64>> {
    let name = name.strip_prefix('v').unwrap_or(name);
    name.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest_of(names: &[&str], wanted: &str) -> Option<String> {
        newest(names.iter().map(|name| (*name).to_owned()).collect(), wanted)
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let names = ["3.9.18", "3.11.7", "3.11.10", "3.110.1", "3.12.0rc1", "3.12-dev", "pypy3.9"];
        assert_eq!(newest_of(&names, "3.11").as_deref(), Some("3.11.10"));
        assert_eq!(newest_of(&names, "3").as_deref(), Some("3.110.1"));
        assert_eq!(newest_of(&names, "3.12"), None);
        assert_eq!(newest_of(&["v9.1.0", "v20.3.0"], "").as_deref(), Some("v20.3.0"));
        assert_eq!(newest_of(&["v9.1.0", "v20.3.0"], "v9").as_deref(), Some("v9.1.0"));
    }
}
