//! `plugbay overlay`: what commands changed under `run --overlay`, shown, kept or dropped.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::{
    args::{Keep, Overlay as Typed, OverlayVerb, Which},
    env,
    exit::Exit,
    failure::Failure,
    output::{Format, Outcome, Table, Terminal, Tone, moment},
    overlay::{
        Overlay,
        change::{Change, Changes},
        diff,
        keep::{self, Conflicts, Kept},
    },
};

/// Does what was asked.
pub(crate) fn run(typed: &Typed, terminal: Terminal) -> Outcome {
    let state = env::state_dir()
        .ok_or_else(|| Failure::usage("no state directory").hint("set HOME or PLUGBAY_STATE"))?;
    match &typed.verb {
        OverlayVerb::List { id: None, json } => list(&state, Format::from_flag(*json), terminal),
        OverlayVerb::List { id, json } => {
            let overlay = find(&state, *id)?;
            let changes = overlay.changes().map_err(|error| unreadable(&overlay, error))?;
            changed(&overlay, &changes, Format::from_flag(*json), terminal)
        }
        OverlayVerb::Show(which) => show(&find(&state, which.id)?, which, terminal),
        OverlayVerb::Keep(typed) => keep(&find(&state, typed.which.id)?, typed, terminal),
        OverlayVerb::Drop { id, all } => {
            let chosen = if *all { everything(&state)? } else { vec![find(&state, *id)?] };
            for overlay in chosen {
                at_rest(&overlay)?;
                overlay.remove().map_err(|error| unreadable(&overlay, error))?;
                terminal.say(&format!("dropped {}", overlay.id));
            }
            Ok(Exit::Ok.into())
        }
    }
}

fn everything(state: &Path) -> Result<Vec<Overlay>, Failure> {
    Overlay::all(state).map_err(|error| {
        Failure::new(Exit::Answered, format!("read `{}`: {error}", state.display()))
    })
}

/// The one that is meant: by its number, or the only one there is.
fn find(state: &Path, id: Option<u32>) -> Result<Overlay, Failure> {
    let mut all = everything(state)?;
    let place = match id {
        Some(id) => all.iter().position(|overlay| overlay.id == id),
        None if all.len() > 1 => {
            return Err(Failure::usage("there is more than one overlay")
                .hint("name one by its number; `plugbay overlay list` shows them"));
        }
        None => (!all.is_empty()).then_some(0),
    };
    let none = || {
        Failure::new(Exit::NotFound, "there is no such overlay")
            .hint("`plugbay run --overlay DIR -- CMD` makes one when CMD changes something")
    };
    place.map(|place| all.swap_remove(place)).ok_or_else(none)
}

fn unreadable(overlay: &Overlay, error: std::io::Error) -> Failure {
    let directory = overlay.record.directory.display();
    Failure::new(Exit::Answered, format!("overlay {} of `{directory}`: {error}", overlay.id))
}

fn at_rest(overlay: &Overlay) -> Result<(), Failure> {
    if overlay.is_running() {
        return Err(Failure::new(
            Exit::Answered,
            format!("the command of overlay {} still runs", overlay.id),
        ));
    }
    Ok(())
}

#[derive(Serialize)]
struct Listed<'a> {
    id: u32,
    directory: &'a Path,
    command: &'a [String],
    started: String,
    running: bool,
    added: usize,
    changed: usize,
    removed: usize,
}

impl<'a> Listed<'a> {
    fn of(overlay: &'a Overlay, changes: &Changes) -> Self {
        let count = |word| changes.list.iter().filter(|change| change.word() == word).count();
        Self {
            id: overlay.id,
            directory: &overlay.record.directory,
            command: &overlay.record.command,
            started: moment::rfc3339(overlay.record.started),
            running: overlay.is_running(),
            added: count("added"),
            changed: count("changed"),
            removed: count("removed"),
        }
    }
}

fn list(state: &Path, format: Format, terminal: Terminal) -> Outcome {
    let all = everything(state)?;
    let mut listed = Vec::new();
    for overlay in &all {
        match overlay.changes() {
            Ok(changes) => listed.push(Listed::of(overlay, &changes)),
            Err(error) => {
                terminal.say_as(Tone::Warn, "warning", &unreadable(overlay, error).message);
            }
        }
    }
    match format {
        Format::Json => terminal.json(&serde_json::json!({ "overlays": listed }))?,
        Format::Human if listed.is_empty() => terminal.say("there are no overlays"),
        Format::Human => {
            let mut table = Table::new(&["ID", "STARTED", "+", "~", "-", "DIRECTORY", "COMMAND"]);
            for one in &listed {
                let started = if one.running { "running" } else { &one.started };
                table.row([
                    &one.id.to_string(),
                    started,
                    &one.added.to_string(),
                    &one.changed.to_string(),
                    &one.removed.to_string(),
                    &one.directory.to_string_lossy(),
                    &one.command.join(" "),
                ]);
            }
            terminal.data(&table.lines())?;
        }
    }
    Ok(Exit::Ok.into())
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    overlay: Listed<'a>,
    changes: Vec<Entry<'a>>,
    /// What could not be looked at, and why.
    unseen: Vec<(String, &'a str)>,
}

#[derive(Serialize)]
struct Entry<'a> {
    change: &'static str,
    /// With what is no text replaced.
    path: String,
    before: &'a Option<crate::overlay::tree::Thing>,
    after: &'a Option<crate::overlay::tree::Thing>,
    conflict: bool,
}

/// Added, changed, removed, with sizes.
fn changed(overlay: &Overlay, changes: &Changes, format: Format, terminal: Terminal) -> Outcome {
    match format {
        Format::Json => terminal.json(&Document {
            overlay: Listed::of(overlay, changes),
            changes: changes
                .list
                .iter()
                .map(|change| Entry {
                    change: change.word(),
                    path: change.path.to_string_lossy().into_owned(),
                    before: &change.before,
                    after: &change.after,
                    conflict: change.conflict,
                })
                .collect(),
            unseen: changes.unseen.iter().map(|(path, why)| (lossy(path), why.as_str())).collect(),
        })?,
        Format::Human => {
            let mut table = Table::bare();
            for change in &changes.list {
                let (before, after) = (change.before.as_ref(), change.after.as_ref());
                let what = match (before, after) {
                    (None, thing) | (thing, None) => diff::said(thing),
                    (before, after) => format!("{} -> {}", diff::said(before), diff::said(after)),
                };
                let conflict = if change.conflict { "changed there too" } else { "" };
                table.row([change.word(), &lossy(&change.path), &what, conflict]);
            }
            terminal.data(&table.lines())?;
            name_left(&changes.unseen, "not looked at", terminal);
        }
    }
    Ok(Exit::Ok.into())
}

fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn name_left(left: &[(PathBuf, String)], word: &str, terminal: Terminal) {
    for (path, why) in left {
        terminal.say_as(Tone::Warn, word, &format!("`{}`: {why}", path.display()));
    }
}

/// The changes that are meant: all, or those at and below what was named.
fn chosen(changes: Vec<Change>, which: &Which) -> Result<Vec<Change>, Failure> {
    if which.only.is_empty() {
        return Ok(changes);
    }
    let names: Vec<&Path> =
        which.only.iter().map(|path| path.strip_prefix("./").unwrap_or(path)).collect();
    let is_meant = |name: &Path, change: &Change| {
        change.path.starts_with(name) || (name.starts_with(&change.path) && change.after.is_some())
    };
    for name in &names {
        if !changes.iter().any(|change| change.path.starts_with(name)) {
            let message = format!("nothing was changed at `{}`", name.display());
            return Err(Failure::new(Exit::NotFound, message));
        }
    }
    let mut changes = changes;
    changes.retain(|change| names.iter().any(|name| is_meant(name, change)));
    Ok(changes)
}

fn show(overlay: &Overlay, which: &Which, terminal: Terminal) -> Outcome {
    let failed = |error| unreadable(overlay, error);
    let changes = overlay.changes().map_err(failed)?;
    let (after, before) = overlay.sides().map_err(failed)?;
    for change in chosen(changes.list, which)? {
        terminal.data(&diff::show(&change, &after, &before))?;
    }
    name_left(&changes.unseen, "not looked at", terminal);
    Ok(Exit::Ok.into())
}

fn keep(overlay: &Overlay, typed: &Keep, terminal: Terminal) -> Outcome {
    at_rest(overlay)?;
    let conflicts = if typed.overwrite { Conflicts::Overwrite } else { Conflicts::Leave };
    let kept = keep_chosen(overlay, &typed.which, conflicts)?;
    terminal.say(&format!("kept {} changes in {}", kept.count, overlay.record.directory.display()));
    name_left(&kept.dropped, "dropped", terminal);
    name_left(&kept.left, "left", terminal);
    if !kept.left.is_empty() {
        terminal.say(&format!("`plugbay overlay drop {}` drops what is left", overlay.id));
        return Ok(Exit::Answered.into());
    }
    let rest = overlay.changes().map_err(|error| unreadable(overlay, error))?;
    let is_settled = rest.list.is_empty() && rest.unseen.is_empty();
    if is_settled || typed.which.only.is_empty() {
        overlay.remove().map_err(|error| unreadable(overlay, error))?;
    }
    Ok(Exit::Ok.into())
}

/// Puts what is meant into the directory; what could not be looked at is left.
pub(crate) fn keep_chosen(
    overlay: &Overlay,
    which: &Which,
    conflicts: Conflicts,
) -> Result<Kept, Failure> {
    let failed = |error| unreadable(overlay, error);
    let changes = overlay.changes().map_err(failed)?;
    let (after, before) = overlay.sides().map_err(failed)?;
    let list = chosen(changes.list, which)?;
    let root = nix::unistd::geteuid().is_root();
    let mut kept = keep::keep(&list, &after, &before, conflicts, root);
    kept.left.extend(changes.unseen);
    Ok(kept)
}
