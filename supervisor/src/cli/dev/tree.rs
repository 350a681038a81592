//! Which files a plugin is made of, and when one of them has changed.
//!
//! Directories are watched, not files: editors save by renaming a new file over the old one.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::{sync::mpsc, time};

/// No change for this long, and the author has finished saving.
const QUIET: Duration = Duration::from_millis(40);
/// However much is saved, a change is told after this.
const LONGEST: Duration = Duration::from_millis(500);
/// Changes under way to us; they all mean the same.
const CHANGES: usize = 64;
/// Directories watched; a plugin of more is told of the first ones only.
const DIRECTORIES: usize = 2000;
/// What is made by tools and not by the author.
const MADE: [&str; 4] = ["__pycache__", "node_modules", "target", "venv"];

/// Watches the files of one plugin.
#[derive(Debug)]
pub(super) struct Tree {
    root: PathBuf,
    /// Programs of the plugin that lie where tools put what they make.
    programs: BTreeSet<PathBuf>,
    watcher: RecommendedWatcher,
    events: mpsc::Receiver<notify::Result<Event>>,
    /// Since when there are changes that were not told.
    told: Option<Told>,
    /// Of what.
    paths: Vec<PathBuf>,
}

/// When changes that were not told have come.
#[derive(Debug, Clone, Copy)]
struct Told {
    first: time::Instant,
    last: time::Instant,
}

impl Tree {
    /// Begins to watch the plugin in this directory, and the programs that its command names.
    pub(super) fn watch(root: &Path, command: &[String]) -> notify::Result<Self> {
        let (sender, events) = mpsc::channel(CHANGES);
        let watcher = notify::recommended_watcher(move |event| {
            // If there is no room, there is a change to be told already.
            let _full = sender.try_send(event);
        })?;
        let programs = command.iter().map(|word| root.join(word)).filter(|path| path.is_file());
        let programs = programs.collect();
        let mut tree = Self {
            root: root.to_owned(),
            programs,
            watcher,
            events,
            told: None,
            paths: Vec::new(),
        };
        tree.add(root)?;
        for program in tree.programs.clone() {
            if let Some(parent) = program.parent() {
                tree.watcher.watch(parent, RecursiveMode::NonRecursive)?;
            }
        }
        Ok(tree)
    }

    /// Waits until something of the plugin has changed, and nothing more changes for a moment; says
    /// what, as one path of it. Whoever stops waiting loses nothing.
    pub(super) async fn changed(&mut self) -> Option<PathBuf> {
        loop {
            let now = time::Instant::now();
            let event = match self.told {
                None => self.events.recv().await?,
                Some(told) => {
                    let quiet = (told.last + QUIET).min(told.first + LONGEST);
                    match time::timeout_at(quiet, self.events.recv()).await {
                        Ok(Some(event)) if now < quiet => event,
                        _ => return Some(self.settle()),
                    }
                }
            };
            let Some(path) = self.take(event) else { continue };
            let last = time::Instant::now();
            self.told = Some(Told { first: self.told.map_or(last, |told| told.first), last });
            if self.paths.len() < CHANGES {
                self.paths.push(path);
            }
        }
    }

    /// What has changed, once it has: rather what is there than what an editor has put aside.
    fn settle(&mut self) -> PathBuf {
        self.told = None;
        let paths = std::mem::take(&mut self.paths);
        let there = paths.iter().find(|path| self.root.join(path).exists());
        there.or(paths.first()).cloned().unwrap_or_default()
    }

    /// The path of a change that counts, relative to the plugin.
    fn take(&mut self, event: notify::Result<Event>) -> Option<PathBuf> {
        let event = event.ok()?;
        if matches!(event.kind, EventKind::Access(_)) {
            return None;
        }
        for path in &event.paths {
            if is_watched(&self.root, path) && path.is_dir() {
                // A directory that is gone again needs no watch.
                self.add(path).ok();
            }
        }
        let counts = |path: &&PathBuf| self.programs.contains(*path) || counts(&self.root, path);
        let path = event.paths.iter().find(counts)?;
        Some(path.strip_prefix(&self.root).unwrap_or(path).to_owned())
    }

    fn add(&mut self, directory: &Path) -> notify::Result<()> {
        let mut agenda = vec![directory.to_owned()];
        let mut known = 0;
        while let Some(directory) = agenda.pop().filter(|_| known < DIRECTORIES) {
            self.watcher.watch(&directory, RecursiveMode::NonRecursive)?;
            known += 1;
            let inside = fs::read_dir(&directory).into_iter().flatten().flatten();
            let inside = inside.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            agenda.extend(
                inside.map(|entry| entry.path()).filter(|path| is_watched(&self.root, path)),
            );
        }
        Ok(())
    }
}

/// Whether what is in this directory can belong to the plugin.
fn is_watched(root: &Path, path: &Path) -> bool {
    let Ok(inside) = path.strip_prefix(root) else { return false };
    inside.components().all(|part| match part {
        Component::Normal(name) => !is_hidden(name) && !MADE.iter().any(|made| name == *made),
        Component::CurDir => true,
        Component::Prefix(_) | Component::RootDir | Component::ParentDir => false,
    })
}

/// Whether a change of this file is one of the plugin: not what an editor puts beside it.
fn counts(root: &Path, path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(OsStr::to_str) else { return false };
    let passing = name.ends_with('~')
        || name.starts_with('#')
        || name == "4913"
        || [".swp", ".swx", ".tmp", ".pyc"].iter().any(|end| name.ends_with(end));
    path != root && !passing && is_watched(root, path)
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().first() == Some(&b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_author_writes_counts_and_what_tools_make_does_not() {
        let root = Path::new("/p");
        for good in ["main.py", "plugin.toml", "lib/deep/er.py", "data/words.txt"] {
            assert!(counts(root, &root.join(good)), "{good}");
        }
        for made in [
            "main.py~",
            ".main.py.swp",
            "#main.py#",
            "4913",
            "x.pyc",
            "__pycache__/main.cpython-311.pyc",
            ".git/index",
            "node_modules/a/b.js",
            "target/debug/p",
            ".venv/lib/x.py",
            "lib/.cache/x",
        ] {
            assert!(!counts(root, &root.join(made)), "{made}");
        }
        assert!(!counts(root, root));
        assert!(!counts(root, Path::new("/q/main.py")));
    }

    #[tokio::test]
    async fn saving_by_renaming_is_one_change_and_new_directories_are_watched() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::write(root.join("main.py"), "1").unwrap();
        let mut tree = Tree::watch(&root, &[]).unwrap();
        fs::write(root.join("main.py~"), "2").unwrap();
        fs::rename(root.join("main.py~"), root.join("main.py")).unwrap();
        assert_eq!(tree.changed().await.unwrap(), Path::new("main.py"));
        fs::write(root.join("sedX"), "3").unwrap();
        fs::rename(root.join("sedX"), root.join("main.py")).unwrap();
        // Who waits beside other things, begins to wait again and again.
        let changed = loop {
            tokio::select! {
                biased;
                changed = tree.changed() => break changed,
                () = tokio::task::yield_now() => {}
            }
        };
        assert_eq!(changed.unwrap(), Path::new("main.py"));
        fs::create_dir(root.join("lib")).unwrap();
        assert_eq!(tree.changed().await.unwrap(), Path::new("lib"));
        fs::write(root.join("lib/a.py"), "3").unwrap();
        assert_eq!(tree.changed().await.unwrap(), Path::new("lib/a.py"));
    }

    #[tokio::test]
    async fn a_program_counts_where_only_tools_write() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("target/release")).unwrap();
        fs::write(root.join("target/release/p"), "1").unwrap();
        let mut tree = Tree::watch(&root, &["target/release/p".to_owned()]).unwrap();
        fs::write(root.join("target/release/other"), "2").unwrap();
        fs::write(root.join("target/release/p"), "2").unwrap();
        assert_eq!(tree.changed().await.unwrap(), Path::new("target/release/p"));
    }
}
