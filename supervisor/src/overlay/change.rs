//! What a command changed of a directory: its layers against the directory, entry by entry.
//!
//! ```text
//! kernel: upper ── whiteout ─► removed      copy: tree ── not in it ─► removed
//!               ── anything ─► added, changed          ── differs ─► added, changed
//! ```
//! The layers were written by a stranger: bounded in number and depth, nothing followed, and what
//! cannot be looked at is named instead of passed over.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use plugbay_sandbox::Layering;
use serde::Serialize;

use super::tree::{Kind, Thing, Tree};

/// Entries that are looked at.
const MOST: usize = 200_000;
/// How deep.
pub(super) const DEEPEST: usize = 128;

/// One path that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Change {
    /// Below the directory.
    pub(crate) path: PathBuf,
    /// What was there.
    pub(crate) before: Option<Thing>,
    /// What is there now.
    pub(crate) after: Option<Thing>,
    /// Whether the directory itself was changed there too, since the command began.
    pub(crate) conflict: bool,
}

impl Change {
    /// The word for it.
    pub(crate) fn word(&self) -> &'static str {
        match (&self.before, &self.after) {
            (None, _) => "added",
            (Some(_), None) => "removed",
            (Some(_), Some(_)) => "changed",
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// In path order, each directory before what is in it.
    pub(crate) list: Vec<Change>,
    /// What could not be looked at, and why.
    pub(crate) unseen: Vec<(PathBuf, String)>,
}

/// The two sides.
#[derive(Debug)]
pub(crate) struct Sides<'a> {
    /// The layer that holds what is new.
    pub(crate) after: &'a Tree,
    /// The directory.
    pub(crate) before: &'a Tree,
    /// How the layer is to be read.
    pub(crate) way: Layering,
    /// When the command began.
    pub(crate) begun: (i64, i64),
    /// What was kept from the command, and so is neither there nor removed.
    pub(crate) denied: &'a [PathBuf],
}

/// Compares them.
pub(crate) fn compare(sides: &Sides<'_>) -> Changes {
    let mut walk = Walk { sides, changes: Changes::default(), looks: 0 };
    let whole = sides.way == Layering::Copy;
    walk.level(Path::new(""), sides.after, Some(sides.before), whole, DEEPEST);
    walk.changes.list.sort_by(|one, other| one.path.cmp(&other.path));
    walk.changes
}

struct Walk<'a> {
    sides: &'a Sides<'a>,
    changes: Changes,
    looks: usize,
}

impl Walk<'_> {
    /// One directory. `whole`: what is not in it is gone.
    fn level(&mut self, at: &Path, after: &Tree, before: Option<&Tree>, whole: bool, depth: usize) {
        let Some(names) = self.names(at, after) else { return };
        for name in &names {
            if let Err(error) = self.entry(at, Path::new(name), (after, before), whole, depth) {
                self.unseen(at.join(name), &error);
            }
        }
        let Some(before) = before.filter(|_| whole) else { return };
        for name in self.names(at, before).unwrap_or_default() {
            let path = at.join(&name);
            if names.binary_search(&name).is_err() && !self.sides.denied.contains(&path) {
                match before.about(Path::new(&name)) {
                    Ok(Some(thing)) => self.removed(path, before, thing),
                    Ok(None) => {}
                    Err(error) => self.unseen(path, &error),
                }
            }
        }
    }

    fn names(&mut self, at: &Path, tree: &Tree) -> Option<Vec<std::ffi::OsString>> {
        let left = MOST.saturating_sub(self.looks);
        match tree.names(left.saturating_add(1)) {
            Ok(names) if names.len() > left => {
                let why = format!("more than {MOST} entries are not looked at");
                self.changes.unseen.push((at.to_owned(), why));
                None
            }
            Ok(names) => {
                self.looks += names.len();
                Some(names)
            }
            Err(error) => {
                self.unseen(at.to_owned(), &error);
                None
            }
        }
    }

    fn entry(
        &mut self,
        at: &Path,
        name: &Path,
        (after, before): (&Tree, Option<&Tree>),
        whole: bool,
        depth: usize,
    ) -> io::Result<()> {
        let path = at.join(name);
        let Some(new) = after.about(name)? else { return Ok(()) };
        let old = before.map(|before| before.about(name)).transpose()?.flatten();
        if new.kind == Kind::Whiteout && self.sides.way == Layering::Kernel {
            if let (Some(old), Some(before)) = (old, before) {
                self.removed(path, before, old);
            }
            return Ok(());
        }
        if new.kind != Kind::Directory {
            if !same(name, (after, &new), before.zip(old.as_ref()), self.sides)? {
                self.push(path, old, Some(new));
            }
            return Ok(());
        }
        let was_directory = old.as_ref().is_some_and(|old| old.kind == Kind::Directory);
        if old.as_ref().is_none_or(|old| old.kind != new.kind || old.mode != new.mode) {
            self.push(path.clone(), old, Some(new));
        }
        if depth == 0 {
            self.changes.unseen.push((path, format!("it is deeper than {DEEPEST} directories")));
            return Ok(());
        }
        let inner = after.enter(name)?;
        let below =
            before.filter(|_| was_directory).map(|before| before.enter(name)).transpose()?;
        let whole = whole || inner.is_opaque();
        self.level(&path, &inner, below.as_ref(), whole, depth - 1);
        Ok(())
    }

    /// A directory is one removal, whatever was in it, unless something of it was changed meanwhile.
    fn removed(&mut self, path: PathBuf, before: &Tree, old: Thing) {
        let name = path.file_name().map(Path::new).unwrap_or(Path::new(""));
        let begun = self.sides.begun;
        let newer = old.kind == Kind::Directory
            && before.enter(name).map_or(true, |tree| is_newer(&tree, begun, DEEPEST));
        let conflict = newer || (old.kind != Kind::Directory && old.changed > begun);
        self.changes.list.push(Change { path, before: Some(old), after: None, conflict });
    }

    fn push(&mut self, path: PathBuf, before: Option<Thing>, after: Option<Thing>) {
        // What is done to a directory's entries changes its time as well.
        let touched = |old: &Thing| old.kind != Kind::Directory && old.changed > self.sides.begun;
        let conflict = before.as_ref().is_some_and(touched);
        self.changes.list.push(Change { path, before, after, conflict });
    }

    fn unseen(&mut self, path: PathBuf, error: &io::Error) {
        self.changes.unseen.push((path, error.to_string()));
    }
}

/// Whether anything in it but directories was changed since, or cannot be looked at.
fn is_newer(tree: &Tree, begun: (i64, i64), depth: usize) -> bool {
    let Ok(names) = tree.names(MOST) else { return true };
    names.iter().map(Path::new).any(|name| match tree.about(name) {
        Ok(Some(thing)) if thing.kind == Kind::Directory => {
            depth == 0 || tree.enter(name).map_or(true, |tree| is_newer(&tree, begun, depth - 1))
        }
        Ok(Some(thing)) => thing.changed > begun,
        Ok(None) => false,
        Err(_unseen) => true,
    })
}

/// Whether nothing was changed but perhaps a time.
fn same(
    name: &Path,
    (after, new): (&Tree, &Thing),
    old: Option<(&Tree, &Thing)>,
    sides: &Sides<'_>,
) -> io::Result<bool> {
    let Some((before, old)) = old else { return Ok(false) };
    if old.kind != new.kind || old.size != new.size {
        return Ok(false);
    }
    match new.kind {
        Kind::Link => Ok(after.link(name)? == before.link(name)?),
        Kind::File if old.mode != new.mode => Ok(false),
        // As it was copied; a program cannot set this time back.
        Kind::File if sides.way == Layering::Copy && new.changed < sides.begun => Ok(true),
        Kind::File => same_bytes(after.read(name)?, before.read(name)?),
        Kind::Directory | Kind::Special | Kind::Whiteout => Ok(false),
    }
}

fn same_bytes(mut one: File, mut other: File) -> io::Result<bool> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        (&mut one).take(64 << 10).read_to_end(&mut left)?;
        (&mut other).take(64 << 10).read_to_end(&mut right)?;
        if left != right || left.is_empty() {
            return Ok(left == right);
        }
    }
}
