//! `run --overlay`: where the changes of a command go, and what becomes of them when it has ended.

use std::path::{Path, PathBuf};

use plugbay_sandbox::{Access, FileGrant, LaunchError, Layering, PlanError, Spec, Stage};

use crate::{
    args::{Run, Which},
    cli::overlay::keep_chosen,
    env,
    exit::Exit,
    failure::Failure,
    grants::Grants,
    output::{Terminal, Tone},
    overlay::{Overlay, Record, keep::Conflicts},
};

/// The overlay of a run.
#[derive(Debug)]
pub(super) struct Laid {
    overlay: Overlay,
    outputs: Vec<PathBuf>,
    /// Where there are no mounts, the command works on the copy where that lies.
    aside: bool,
}

impl Laid {
    /// Makes it, if one was asked for.
    pub(super) fn begin(typed: &Run, grants: &Grants) -> Result<Option<Self>, Failure> {
        let Some(directory) = &grants.overlay else { return Ok(None) };
        let state = env::state_dir().ok_or_else(|| {
            Failure::new(Exit::NotSealed, "--overlay: there is no state directory for the changes")
                .hint("set HOME or PLUGBAY_STATE")
        })?;
        if state.starts_with(directory) {
            let message = format!(
                "--overlay `{}` contains the state directory, where the changes would go",
                directory.display()
            );
            return Err(Failure::usage(message).hint("set PLUGBAY_STATE to somewhere else"));
        }
        let below = grants.deny.iter().filter_map(|path| path.strip_prefix(directory).ok());
        let denied = below.map(Path::to_owned).collect();
        let command =
            typed.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let record = Record::new(directory.clone(), command, denied);
        let overlay = Overlay::make(&state, record).map_err(|error| {
            Failure::new(Exit::NotSealed, format!("--overlay: make its layers: {error}"))
        })?;
        Ok(Some(Self { overlay, outputs: grants.outputs.clone(), aside: false }))
    }

    /// Asks for it.
    pub(super) fn ask(&self, spec: &mut Spec) {
        let directory = &self.overlay.record.directory;
        if !self.aside {
            spec.overlay = Some(plugbay_sandbox::Overlay {
                path: directory.clone(),
                layers: self.overlay.layers(),
                way: self.overlay.record.way,
            });
        }
        if self.overlay.record.way == Layering::Copy {
            // It is not in the copy.
            spec.deny.retain(|path| !path.starts_with(directory));
        }
    }

    /// The next best way after a start that failed, if it failed for this: first a copy at the same
    /// place, then a copy where it lies.
    pub(super) fn next_way(
        &mut self,
        error: &LaunchError,
        spec: &mut Spec,
        terminal: Terminal,
    ) -> Result<bool, Failure> {
        let (refused, no_mounts) = match error {
            LaunchError::Stage(failure) => (failure.stage == Stage::Overlay, false),
            LaunchError::Plan(PlanError::Overlay { .. }) => (true, true),
            LaunchError::Plan(PlanError::Deny { path, .. }) => {
                (path.starts_with(&self.overlay.record.directory), true)
            }
            LaunchError::Plan(_)
            | LaunchError::Filter(_)
            | LaunchError::Threads(_)
            | LaunchError::Nul => (false, false),
        };
        let copied = self.overlay.record.way == Layering::Copy;
        if !refused || self.aside || (copied && !no_mounts) {
            return Ok(false);
        }
        if no_mounts && nix::unistd::geteuid().is_root() {
            let message =
                format!("--overlay: {error}, and its user could not enter a copy elsewhere");
            return Err(Failure::new(Exit::NotSealed, message).hint(
                "run it as an ordinary user, who works in a copy where there are no mounts",
            ));
        }
        if !copied {
            self.overlay.fall_back_to_copy().map_err(|why| {
                Failure::new(Exit::NotSealed, format!("--overlay: {error}; copy it: {why}"))
            })?;
        }
        if no_mounts {
            self.move_aside(spec, terminal);
        }
        self.ask(spec);
        Ok(true)
    }

    /// Without mounts a copy cannot lie where the directory does.
    fn move_aside(&mut self, spec: &mut Spec, terminal: Terminal) {
        self.aside = true;
        spec.overlay = None;
        let (directory, copy) = (self.overlay.record.directory.clone(), self.overlay.new_layer());
        let moved = |path: &Path| {
            path.strip_prefix(&directory).ok().map(|rest| copy.join(rest)).filter(|it| it.exists())
        };
        spec.files.retain(|grant| grant.path != directory);
        spec.files.push(FileGrant::requested(&copy, Access::Write));
        if let Some(workdir) = moved(&spec.workdir) {
            spec.workdir = workdir;
        }
        if let Some(program) = moved(&spec.program) {
            spec.program = program;
        }
        let text = format!(
            "--overlay: without mounts the command works in a copy, at {}; it cannot reach {}",
            copy.display(),
            directory.display()
        );
        terminal.say_as(Tone::Warn, "warning", &text);
    }

    /// It never ran: there is nothing to keep.
    pub(super) fn abandon(&self) {
        // What cannot be removed is listed.
        self.overlay.remove().ok();
    }

    /// Keeps what was asked for, and tells of the rest.
    pub(super) fn settle(self, quiet: bool, terminal: Terminal) -> Result<(), Failure> {
        let id = self.overlay.id;
        let failed = |error| {
            Failure::new(
                Exit::Answered,
                format!("look at what was changed (overlay {id}): {error}"),
            )
        };
        let changes = self.overlay.changes().map_err(failed)?;
        if changes.list.is_empty() && changes.unseen.is_empty() {
            return self.overlay.remove().map_err(failed);
        }
        if !self.outputs.is_empty() {
            return self.collect(quiet, terminal);
        }
        if !quiet {
            let count = |word| changes.list.iter().filter(|one| one.word() == word).count();
            terminal.say_as(
                Tone::Note,
                "overlay",
                &format!(
                    "{} added, {} changed, {} removed in {}; plugbay overlay show {id}, keep {id} or \
                     drop {id}",
                    count("added"),
                    count("changed"),
                    count("removed"),
                    self.overlay.record.directory.display()
                ),
            );
        }
        Ok(())
    }

    /// Keeps the outputs and drops everything else, unless one of them could not be kept.
    fn collect(self, quiet: bool, terminal: Terminal) -> Result<(), Failure> {
        let mut whole = true;
        for output in &self.outputs {
            let shown = output.display();
            let which = Which { id: None, only: vec![output.clone()] };
            match keep_chosen(&self.overlay, &which, Conflicts::Leave) {
                Ok(kept) => {
                    if !quiet {
                        let text = format!("`{shown}`: {} changes kept", kept.count);
                        terminal.say_as(Tone::Note, "output", &text);
                    }
                    for (path, why) in kept.dropped.iter().chain(&kept.left) {
                        let text = format!("`{}` is left out: {why}", path.display());
                        terminal.say_as(Tone::Warn, "output", &text);
                    }
                    whole &= kept.left.is_empty();
                }
                Err(failure) => terminal.say_as(Tone::Warn, "output", &failure.message),
            }
        }
        if !whole {
            let id = self.overlay.id;
            let text = format!("what was left out is in overlay {id}; plugbay overlay show {id}");
            terminal.say_as(Tone::Warn, "output", &text);
            return Ok(());
        }
        self.overlay.remove().map_err(|error| {
            Failure::new(Exit::Answered, format!("drop overlay {}: {error}", self.overlay.id))
        })
    }
}
