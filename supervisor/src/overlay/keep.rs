//! Puts changes into the directory that they belong to, or brings the copy about that they are made on.
//!
//! What comes from a stranger is taken apart on the way: of files only bytes, time and the plain mode;
//! of links only those that stay within the tree; of pipes, sockets and devices nothing.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::{Component, Path, PathBuf},
};

use super::{
    change::{Change, DEEPEST},
    tree::{Kind, Thing, Tree, pour},
};

/// What became of the changes.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// How many are in the directory now.
    pub(crate) count: usize,
    /// Which never will be, and why: nothing that could do harm where it lies.
    pub(crate) dropped: Vec<(PathBuf, String)>,
    /// Which are not, and why.
    pub(crate) left: Vec<(PathBuf, String)>,
}

/// Why a change is not kept.
enum Refusal {
    /// Because of what it is.
    Never(&'static str),
    /// Because of how things are.
    Now(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Now(error.to_string())
    }
}

/// Whether what was changed on both sides is taken from the layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conflicts {
    /// No: it is left, and named.
    Leave,
    /// Yes.
    Overwrite,
}

/// Puts each change into `into`. `root`: owners are set, to those of what is replaced or around it.
pub(crate) fn keep(
    changes: &[Change],
    from: &Tree,
    into: &Tree,
    conflicts: Conflicts,
    root: bool,
) -> Kept {
    let mut kept = Kept::default();
    for change in changes {
        let done = if change.conflict && conflicts == Conflicts::Leave {
            let why = "it was changed in the directory too, since the command began";
            Err(Refusal::Now(why.to_owned()))
        } else {
            put(change, from, into, root)
        };
        match done {
            Ok(()) => kept.count += 1,
            Err(Refusal::Never(why)) => kept.dropped.push((change.path.clone(), why.to_owned())),
            Err(Refusal::Now(why)) => kept.left.push((change.path.clone(), why)),
        }
    }
    kept
}

fn put(change: &Change, from: &Tree, into: &Tree, root: bool) -> Result<(), Refusal> {
    let (Some(name), Some(parent)) = (change.path.file_name(), change.path.parent()) else {
        return Err(Refusal::Never("it has no name"));
    };
    let place = into.enter(parent)?;
    let Some(after) = &change.after else { return Ok(place.remove(name)?) };
    let owner = match change.before.as_ref().map(|before| before.owner) {
        Some(owner) => owner,
        None => place.owner()?,
    };
    let is_replaced = |kind| change.before.as_ref().is_some_and(|before| before.kind != kind);
    match after.kind {
        Kind::Special | Kind::Whiteout => {
            return Err(Refusal::Never("pipes, sockets and devices are not kept"));
        }
        Kind::Link => {
            let target = from.link(&change.path)?;
            if !stays_within(&change.path, &target) {
                return Err(Refusal::Never(
                    "a link that may lead out of the directory is not kept",
                ));
            }
            replace(&place, name, change, |temporary| place.make_link(temporary, &target))
        }
        Kind::File => {
            let file = from.read(&change.path)?;
            replace(&place, name, change, |temporary| {
                pour(&file, &place.make_file(temporary)?, after)
            })
        }
        Kind::Directory if change.before.is_some() && !is_replaced(Kind::Directory) => {
            place.enter(Path::new(name)).and_then(|made| made.set_mode(after.mode))
        }
        Kind::Directory => {
            place.remove(name).and_then(|()| place.make_directory(name, after.mode).map(drop))
        }
    }
    .and_then(|()| if root { place.give(name, owner) } else { Ok(()) })
    .map_err(Refusal::from)
}

/// Makes the new one under another name and moves it into the place of the old.
fn replace(
    place: &Tree,
    name: &OsStr,
    change: &Change,
    make: impl FnOnce(&OsStr) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = OsString::from(format!(".plugbay-{:016x}", fastrand::u64(..)));
    let was_directory = change.before.as_ref().is_some_and(|it| it.kind == Kind::Directory);
    let done = make(&temporary)
        .and_then(|()| if was_directory { place.remove(name) } else { Ok(()) })
        .and_then(|()| place.rename(&temporary, name));
    if done.is_err() {
        // The first error is the one to tell.
        place.remove(&temporary).ok();
    }
    done
}

/// Whether a link leads to something in the tree, whatever other links there are: it goes up no further
/// than its own directory lies deep, and only at its beginning.
fn stays_within(path: &Path, target: &Path) -> bool {
    let depth = path.components().count().saturating_sub(1);
    let mut parts = target.components().peekable();
    let mut up = 0;
    while parts
        .next_if(|part| matches!(part, Component::ParentDir | Component::CurDir))
        .is_some_and(|part| {
            up += usize::from(part == Component::ParentDir);
            true
        })
    {}
    up <= depth && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// What a copy may cost.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Bytes left.
    pub(crate) bytes: u64,
    /// Entries left.
    pub(crate) entries: usize,
}

/// Copies a directory of the user's, but for what is denied. Links are copied as they are: they mean the
/// same at the same place. Pipes, sockets and devices are left out.
pub(crate) fn copy(
    from: &Tree,
    to: &Tree,
    denied: &[PathBuf],
    budget: &mut Budget,
    root: bool,
) -> io::Result<()> {
    copy_level(Path::new(""), (from, to), denied, budget, (root, DEEPEST))
}

fn copy_level(
    at: &Path,
    (from, to): (&Tree, &Tree),
    denied: &[PathBuf],
    budget: &mut Budget,
    (root, depth): (bool, usize),
) -> io::Result<()> {
    for name in from.names(budget.entries.saturating_add(1))? {
        let (path, short) = (at.join(&name), Path::new(&name));
        let Some(thing) = from.about(short)?.filter(|_| !denied.contains(&path)) else { continue };
        spend(budget, &thing, depth)?;
        match thing.kind {
            Kind::File => pour(&from.read(short)?, &to.make_file(&name)?, &thing)?,
            Kind::Link => to.make_link(&name, &from.link(short)?)?,
            Kind::Directory => {
                let made = to.make_directory(&name, thing.mode)?;
                let inner = from.enter(short)?;
                copy_level(&path, (&inner, &made), denied, budget, (root, depth - 1))?;
            }
            Kind::Special | Kind::Whiteout => continue,
        }
        if root {
            to.give(&name, thing.owner)?;
        }
    }
    Ok(())
}

fn spend(budget: &mut Budget, thing: &Thing, depth: usize) -> io::Result<()> {
    let bytes = if thing.kind == Kind::File { thing.size } else { 0 };
    match (budget.bytes.checked_sub(bytes), budget.entries.checked_sub(1)) {
        (Some(bytes), Some(entries)) if depth > 0 => {
            *budget = Budget { bytes, entries };
            Ok(())
        }
        _ => Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large to be copied")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_kept_only_if_it_cannot_lead_out() {
        let within = |path: &str, target: &str| stays_within(Path::new(path), Path::new(target));
        assert!(within("link", "file") && within("link", "./a/b"));
        assert!(within("a/link", "../file") && within("a/b/link", "../../c"));
        assert!(!within("link", "/etc/passwd") && !within("link", "../file"));
        assert!(!within("a/link", "../../file"));
        // With `here` a link to `.`, this would be the directory's parent.
        assert!(!within("link", "here/..") && !within("a/link", "../here/../.."));
    }
}
