//! From a pattern to the paths that are there now. What appears later under a name that would match
//! is not found: the answer is pinned, and whoever shows it should say so.
//!
//! Bounded, because the tree may be somebody else's: neither many files nor deep ones cost much.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Component, Path, PathBuf},
};

use thiserror::Error;

/// Directory entries that one pattern may look at.
const MOST_LOOKS: usize = 200_000;
/// Paths that one pattern may find.
const MOST_FOUND: usize = 1_000;
/// How deep `**` goes.
const DEEPEST: usize = 64;

/// What a pattern found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The real paths, links followed.
    pub paths: Vec<PathBuf>,
    /// Those of them that are files with a further name somewhere, which is not found by this one.
    pub linked: Vec<PathBuf>,
}

/// Why a pattern has no answer.
#[derive(Debug, Error)]
pub enum DenyError {
    /// It would have to look at too much, or finds too much.
    #[error("`{0}` looks at too many files (200,000) or finds too many (1,000); name fewer")]
    TooWide(PathBuf),
    /// It says where to go up, which makes no sense behind a wildcard.
    #[error("`{0}` contains `..`")]
    Climbs(PathBuf),
    /// The file system gave no answer.
    #[error("look at `{0}`: {1}")]
    Look(PathBuf, #[source] io::Error),
}

/// Finds what an absolute pattern means: `*` and `?` within a name, `**` for any directories. Without
/// these it is a path. Nothing found is no error.
///
/// # Errors
/// [`DenyError`]; then nothing can be said to be hidden.
pub fn search(pattern: &Path) -> Result<Found, DenyError> {
    let mut parts = Vec::new();
    for component in pattern.components() {
        match component {
            Component::Normal(name) => parts.push(name),
            Component::ParentDir => return Err(DenyError::Climbs(pattern.to_owned())),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    let mut walk = Walk { pattern, looks: 0, hits: Vec::new() };
    walk.descend(PathBuf::from("/"), &parts, DEEPEST)?;
    walk.settle()
}

/// Whether it holds a wildcard, and so may rightly find nothing.
#[must_use]
pub fn is_pattern(path: &Path) -> bool {
    is_wild(path.as_os_str())
}

fn is_wild(name: &OsStr) -> bool {
    name.as_bytes().iter().any(|byte| matches!(byte, b'*' | b'?'))
}

struct Walk<'a> {
    pattern: &'a Path,
    looks: usize,
    hits: Vec<PathBuf>,
}

impl Walk<'_> {
    fn descend(&mut self, at: PathBuf, parts: &[&OsStr], depth: usize) -> Result<(), DenyError> {
        let Some((part, rest)) = parts.split_first() else {
            self.hits.push(at);
            return if self.hits.len() > MOST_FOUND { Err(self.too_wide()) } else { Ok(()) };
        };
        if !is_wild(part) {
            let next = at.join(part);
            // A link counts as being there, wherever it leads.
            return match fs::symlink_metadata(&next) {
                Ok(_) => self.descend(next, rest, depth),
                Err(error) => absent(next, error),
            };
        }
        let deep = *part == "**";
        if deep {
            self.descend(at.clone(), rest, depth)?;
        }
        for entry in self.entries(&at)? {
            let path = at.join(entry.file_name());
            if !deep && matches(part.as_bytes(), entry.file_name().as_bytes()) {
                self.descend(path, rest, depth)?;
            } else if deep && depth > 0 && is_tree(&entry, &path) {
                self.descend(path, parts, depth - 1)?;
            }
        }
        Ok(())
    }

    fn entries(&mut self, at: &Path) -> Result<Vec<fs::DirEntry>, DenyError> {
        let listed = match fs::read_dir(at) {
            Ok(listed) => listed,
            Err(error) => return absent(at.to_owned(), error).map(|()| Vec::new()),
        };
        let mut entries = Vec::new();
        for entry in listed {
            self.looks += 1;
            if self.looks > MOST_LOOKS {
                return Err(self.too_wide());
            }
            entries.push(entry.map_err(|error| DenyError::Look(at.to_owned(), error))?);
        }
        Ok(entries)
    }

    fn too_wide(&self) -> DenyError {
        DenyError::TooWide(self.pattern.to_owned())
    }

    /// The real paths of the hits. A link that leads nowhere hides nothing.
    fn settle(self) -> Result<Found, DenyError> {
        let mut found = Found::default();
        for hit in self.hits {
            match fs::canonicalize(&hit) {
                Ok(real) => found.paths.push(real),
                Err(error) => absent(hit, error)?,
            }
        }
        found.paths.sort();
        found.paths.dedup();
        let linked = |path: &&PathBuf| {
            fs::symlink_metadata(path).is_ok_and(|about| about.is_file() && about.nlink() > 1)
        };
        found.linked = found.paths.iter().filter(linked).cloned().collect();
        Ok(found)
    }
}

/// What is not there, or lies where we may not look, and so nobody with our rights: nothing to hide.
fn absent(path: PathBuf, error: io::Error) -> Result<(), DenyError> {
    let kinds =
        [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory, io::ErrorKind::PermissionDenied];
    if kinds.contains(&error.kind()) { Ok(()) } else { Err(DenyError::Look(path, error)) }
}

/// Whether `**` goes on there. Not through links, which may lead round, nor into the kernel's own trees.
fn is_tree(entry: &fs::DirEntry, path: &Path) -> bool {
    let own = [Path::new("/proc"), Path::new("/sys"), Path::new("/dev")];
    entry.file_type().is_ok_and(|kind| kind.is_dir()) && !own.contains(&path)
}

/// Whether a name fits: `*` stands for any bytes, `?` for one. Linear but for one way back.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                back = Some((at, of));
                at += 1;
            }
            Some(byte) if *byte == b'?' || Some(byte) == name.get(of) => {
                at += 1;
                of += 1;
            }
            _ => {
                let Some((star, from)) = back else { return false };
                back = Some((star, from + 1));
                (at, of) = (star + 1, from + 1);
            }
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    fn tree(files: &[&str]) -> (tempfile::TempDir, PathBuf) {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().canonicalize().unwrap();
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        (place, root)
    }

    fn names(root: &Path, pattern: &str) -> Vec<String> {
        let found = search(&root.join(pattern)).unwrap();
        let below = |path: &PathBuf| path.strip_prefix(root).unwrap().display().to_string();
        found.paths.iter().map(below).collect()
    }

    #[test]
    fn a_path_means_itself_and_nothing_else() {
        let (_place, root) = tree(&["a/.env", "a/b/.env", "a/b/[x]"]);
        assert_eq!(names(&root, "a/.env"), ["a/.env"]);
        assert_eq!(names(&root, "a/b/[x]"), ["a/b/[x]"]);
        assert_eq!(names(&root, "a/none/.env"), Vec::<String>::new());
        assert_eq!(names(&root, "a/.env/below"), Vec::<String>::new());
    }

    #[test]
    fn wildcards_stay_within_a_name_and_two_stars_do_not() {
        let (_place, root) = tree(&[".env", "a/.env", "a/b/.env", "a/b/.envrc", "a/key.pem"]);
        assert_eq!(names(&root, "**/.env"), [".env", "a/.env", "a/b/.env"]);
        assert_eq!(names(&root, "*/.env"), ["a/.env"]);
        assert_eq!(names(&root, "**/.env*"), [".env", "a/.env", "a/b/.env", "a/b/.envrc"]);
        assert_eq!(names(&root, "a/**"), ["a", "a/b"]);
        assert_eq!(names(&root, "?/*.pem"), ["a/key.pem"]);
    }

    #[test]
    fn a_link_means_what_it_leads_to_and_is_never_walked_through() {
        let (_place, root) = tree(&["real/key", "a/x"]);
        symlink("../real/key", root.join("a/key")).unwrap();
        symlink("..", root.join("a/round")).unwrap();
        symlink("nowhere", root.join("a/dangling")).unwrap();
        assert_eq!(names(&root, "a/key"), ["real/key"]);
        assert_eq!(names(&root, "a/**/key"), ["real/key"]);
        assert_eq!(names(&root, "a/dangling"), Vec::<String>::new());
    }

    #[test]
    fn a_second_name_of_a_hidden_file_is_told() {
        let (_place, root) = tree(&["key"]);
        fs::hard_link(root.join("key"), root.join("other")).unwrap();
        assert_eq!(search(&root.join("key")).unwrap().linked, [root.join("key")]);
    }

    #[test]
    fn a_pattern_that_climbs_or_finds_too_much_is_refused() {
        let (_place, root) = tree(&[]);
        assert!(matches!(search(&root.join("../x")), Err(DenyError::Climbs(_))));
        for number in 0..=MOST_FOUND {
            fs::write(root.join(number.to_string()), "").unwrap();
        }
        assert!(matches!(search(&root.join("*")), Err(DenyError::TooWide(_))));
    }

    /// The same, told plainly.
    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), None) => naive(rest, name),
            (Some((b'*', rest)), Some((_, tail))) => naive(rest, name) || naive(pattern, tail),
            (Some((b'?', rest)), Some((_, tail))) => naive(rest, tail),
            (Some((byte, rest)), Some((other, tail))) => byte == other && naive(rest, tail),
            (Some(_), None) | (None, Some(_)) => false,
        }
    }

    proptest! {
        #[test]
        fn names_fit_as_the_plain_reading_says(pattern in "[ab*?]{0,8}", name in "[ab]{0,10}") {
            let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(matches(pattern, name), naive(pattern, name));
        }
    }
}
