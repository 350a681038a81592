//! One change as people read it: the lines that differ, or what else there is to say. Bounded in time and
//! length; nothing of a file reaches a terminal raw.

use std::{fmt::Write as _, io::Read as _, path::Path, time::Duration};

use similar::TextDiff;

use super::{
    change::Change,
    tree::{Kind, Thing, Tree},
};
use crate::output::neutral::{self, Lines};

/// The longest file whose lines are compared.
const LONGEST: u64 = 1 << 20;
/// How long may be looked for a short difference.
const PATIENCE: Duration = Duration::from_secs(2);

/// The difference, with a heading.
pub(crate) fn show(change: &Change, after: &Tree, before: &Tree) -> String {
    let name = neutral::text(&change.path.to_string_lossy(), Lines::Escape).into_owned();
    let mut out = format!("{} {name}", change.word());
    if change.conflict {
        out.push_str(" (changed in the directory too)");
    }
    out.push('\n');
    let is_file = |thing: &Option<Thing>| thing.as_ref().is_none_or(|it| it.kind == Kind::File);
    let texts = is_file(&change.before) && is_file(&change.after);
    let texts = texts.then(|| {
        let old = text(before, &change.path, change.before.as_ref())?;
        let new = text(after, &change.path, change.after.as_ref())?;
        Some((old, new))
    });
    // Writing to a String cannot fail.
    match texts.flatten() {
        Some((old, new)) => {
            let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(&old, &new);
            let lines = diff.unified_diff().context_radius(3).to_string();
            out.push_str(&neutral::text(&lines, Lines::Keep));
        }
        None => {
            let old = named(before, &change.path, change.before.as_ref());
            let new = named(after, &change.path, change.after.as_ref());
            writeln!(out, "{old} -> {new}").unwrap_or(());
        }
    }
    if let (Some(old), Some(new)) = (&change.before, &change.after)
        && old.mode != new.mode
    {
        writeln!(out, "mode {:o} -> {:o}", old.mode, new.mode).unwrap_or(());
    }
    out
}

/// The text of a short file; empty for one that is not there. `None` when there are no lines to show.
fn text(tree: &Tree, path: &Path, thing: Option<&Thing>) -> Option<String> {
    if thing.is_none_or(|thing| thing.size == 0) {
        return Some(String::new());
    }
    let mut bytes = Vec::new();
    tree.read(path).ok()?.take(LONGEST + 1).read_to_end(&mut bytes).ok()?;
    let short = u64::try_from(bytes.len()).is_ok_and(|length| length <= LONGEST);
    String::from_utf8(bytes).ok().filter(|text| short && !text.contains('\0'))
}

/// The same, with where a link leads.
fn named(tree: &Tree, path: &Path, thing: Option<&Thing>) -> String {
    let is_link = thing.is_some_and(|thing| thing.kind == Kind::Link);
    let target = is_link.then(|| tree.link(path).ok()).flatten();
    match target {
        Some(target) => {
            format!("link to {}", neutral::text(&target.to_string_lossy(), Lines::Escape))
        }
        None => said(thing),
    }
}

/// What something is, in a few words.
pub(crate) fn said(thing: Option<&Thing>) -> String {
    match thing.map(|thing| (thing.kind, thing.size)) {
        None => "nothing".to_owned(),
        Some((Kind::File, size)) => format!("{size} bytes"),
        Some((Kind::Directory, _)) => "directory".to_owned(),
        Some((Kind::Link, _)) => "link".to_owned(),
        Some((Kind::Special | Kind::Whiteout, _)) => "pipe, socket or device".to_owned(),
    }
}
