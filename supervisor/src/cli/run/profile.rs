//! Finds the profile that was asked for, and lays it under what was typed.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use plugbay_manifest::{GrantPath, PROFILES_NAME, Profile, Profiles, nearest};
use plugbay_sandbox::{Access, FileGrant};

use crate::{
    args::Run,
    env,
    failure::Failure,
    output::edit::Edit,
    profile::{self, Ground},
};

/// Where a run's words come from beside the command line.
#[derive(Debug, Clone, Default)]
pub(super) struct Chosen {
    /// The profile's name.
    pub(super) name: String,
    /// The file that it is from; `None` when it is built in.
    pub(super) source: Option<Source>,
    /// Where its paths begin.
    pub(super) directory: PathBuf,
}

/// The file of a profile, and what it said.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) path: PathBuf,
    said: Profiles,
}

impl Chosen {
    /// How the profile's own lines would be edited; `None` when it is built in.
    pub(super) fn edit(&self) -> Option<Edit> {
        let own = self.source.as_ref()?.said.own(&self.name)?.clone();
        Some(Edit { name: self.name.clone(), own, directory: self.directory.clone() })
    }
}

impl Source {
    /// Whether the command could change the file, and has: then the next run would be another one.
    pub(super) fn was_changed(&self, grants: &[FileGrant]) -> bool {
        let could =
            |grant: &FileGrant| grant.access == Access::Write && self.path.starts_with(&grant.path);
        grants.iter().any(could)
            && Profiles::load(&self.path).map_or(true, |said| said != self.said)
    }
}

/// What was typed, with the profile under it if one was asked for.
pub(super) fn settle(typed: &Run, here: &Path) -> Result<(Run, Option<Chosen>), Failure> {
    let Some(name) = &typed.profile else { return Ok((typed.clone(), None)) };
    let source = source(typed, here)?;
    let profile = match &source {
        Some(source) => source.said.get(name),
        None => Profiles::default().get(name),
    };
    let Some(profile) = profile else { return Err(unknown(name, source.as_ref(), here)) };
    let of_file = source.as_ref().is_some_and(|source| source.said.own(name).is_some());
    let directory = match &source {
        Some(source) if of_file && typed.profile_file.is_none() => directory(&source.path),
        _ => start(typed, here)?,
    };
    let home = env::home();
    let ground = Ground { directory: &directory, home: home.as_deref() };
    prepare(&profile, ground, name)?;
    let run = profile::lay_under(&profile, ground, typed);
    if run.command.is_empty() {
        let message = format!("the profile `{name}` has no command");
        return Err(Failure::usage(message).hint("name one: plugbay run --profile NAME -- CMD"));
    }
    let source = source.filter(|_| of_file);
    Ok((run, Some(Chosen { name: name.clone(), source, directory })))
}

/// The directory of a file that was found by its whole path.
fn directory(file: &Path) -> PathBuf {
    file.parent().map(Path::to_owned).unwrap_or_default()
}

/// Where the run was asked to be, else here.
fn start(typed: &Run, here: &Path) -> Result<PathBuf, Failure> {
    let Some(workdir) = &typed.workdir else { return Ok(here.to_owned()) };
    here.join(workdir)
        .canonicalize()
        .map_err(|error| Failure::usage(format!("--workdir `{}`: {error}", workdir.display())))
}

/// The file that was named, or the one here or above.
fn source(typed: &Run, here: &Path) -> Result<Option<Source>, Failure> {
    let path = match &typed.profile_file {
        Some(file) => Some(here.join(file)),
        None => above(&start(typed, here)?),
    };
    let Some(path) = path else { return Ok(None) };
    let said = Profiles::load(&path).map_err(Failure::usage)?;
    let real = path.canonicalize().map_err(Failure::usage)?;
    Ok(Some(Source { path: real, said }))
}

/// The nearest `plugbay.toml` here or above. A directory in which everybody may put files is not asked
/// from below: what lies there may be anybody's.
fn above(start: &Path) -> Option<PathBuf> {
    let is_everybodys =
        |directory: &Path| fs::metadata(directory).is_ok_and(|found| found.mode() & 0o002 != 0);
    let asked =
        start.ancestors().filter(|directory| *directory == start || !is_everybodys(directory));
    asked
        .map(|directory| directory.join(PROFILES_NAME))
        .find(|file| file.symlink_metadata().is_ok())
}

fn unknown(name: &str, source: Option<&Source>, here: &Path) -> Failure {
    let Some(source) = source else {
        let place = here.display();
        let message =
            format!("there is no profile `{name}`, and no {PROFILES_NAME} in `{place}` or above");
        return Failure::usage(message).hint("`ci` is built in; write others as [run.NAME]");
    };
    let names: Vec<&str> = source.said.names().collect();
    let message = format!("there is no profile `{name}` in `{}`", source.path.display());
    Failure::usage(message).hint(match nearest(name, names.iter().copied()) {
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("there are: {}", names.join(", ")),
    })
}

/// What the profile opens must be there. A directory to be written is made: in a fresh checkout there
/// is no `target` yet.
fn prepare(profile: &Profile, ground: Ground<'_>, name: &str) -> Result<(), Failure> {
    for path in &profile.write {
        let place = ground.locate(path);
        if place.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            make(&place, ground.directory).map_err(|error| wrong(name, "write", path, &error))?;
        }
    }
    for (key, paths) in [
        ("read", &profile.read),
        ("write", &profile.write),
        ("exec", &profile.exec),
        ("unix", &profile.unix),
    ] {
        for path in paths {
            ground.locate(path).canonicalize().map_err(|error| wrong(name, key, path, &error))?;
        }
    }
    Ok(())
}

/// Makes a directory below the profile's own, not through a link that leads out of it.
fn make(place: &Path, directory: &Path) -> io::Result<()> {
    let parent = place.parent().unwrap_or(place).canonicalize()?;
    if !parent.starts_with(directory.canonicalize()?) {
        return Err(io::ErrorKind::NotFound.into());
    }
    fs::create_dir(place)
}

fn wrong(name: &str, key: &str, path: &GrantPath, error: &io::Error) -> Failure {
    let failure = Failure::usage(format!("[run.{name}] {key} `{path}`: {error}"));
    if error.kind() != io::ErrorKind::NotFound {
        return failure;
    }
    failure.hint("a grant opens what exists; create the file or directory first")
}
