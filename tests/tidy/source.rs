//! The files of the project, read once per rule.

use std::{fs, path::Path};

use crate::code;

/// Directories that are made, not written.
const MADE: [&str; 4] = ["target", "node_modules", "__pycache__", "dist"];
/// What is looked at, by extension.
const KINDS: [&str; 9] = ["rs", "py", "md", "toml", "js", "mjs", "sh", "json", "jsonl"];

/// One file of the tree.
pub(crate) struct Source {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    pub(crate) fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }

    /// Whether the whole file is there for tests.
    pub(crate) fn is_test(&self) -> bool {
        let name = self.path.rsplit('/').next().unwrap_or_default();
        self.path.split('/').any(|part| part == "tests" || part == "suite")
            || name.ends_with("tests.rs")
            || name.starts_with("test_")
    }

    /// The lines of Rust code, numbered from 1, without comments and what is in quotes.
    pub(crate) fn code(&self) -> Vec<(usize, String)> {
        let bare = code::bare(&self.text);
        bare.lines().enumerate().map(|(index, line)| (index + 1, line.to_owned())).collect()
    }
}

/// Every file that is written by hand, by path.
pub(crate) fn tree() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn walk(root: &Path, dir: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        let name = entry.file_name().into_string().unwrap();
        if kind.is_dir() {
            let hidden = name.starts_with('.') && name != ".ci";
            if !hidden && !MADE.contains(&&*name) && !name.ends_with(".egg-info") {
                walk(root, &path, found);
            }
        } else if kind.is_file() {
            let extension = path.extension().and_then(|kind| kind.to_str()).unwrap_or_default();
            // Scripts have no extension.
            if KINDS.contains(&extension) || name == "run" {
                let relative = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                if let Ok(text) = fs::read_to_string(&path) {
                    found.push(Source { path: relative, text });
                }
            }
        }
    }
}
