//! From a command as typed to the program that will really run, before anything is sealed.
//!
//! ```text
//! name ─ search path ─► file ─┬─ a manager's stand-in ─► the real program ─┐
//!   ▲                         ├─ `#!` script ─► its interpreter ───────────┤
//!   └──────── again ──────────┴────────────────────────────────────────────┘
//!                             └─ ELF ─► done: program, arguments, grants
//! ```
//!
//! Inside the sandbox neither a shim's bookkeeping nor the home around it exists, so the way is
//! walked here, with bounded reads and without executing anything. What the program needs beside
//! itself (its installation, its virtual environment) is granted and named.
//!
//! Not a check of what the program may do, and no promise that it will still be the same file when
//! it is started.

mod elf;
mod error;
mod file;
mod installation;
mod manager;
mod shebang;
mod surroundings;
#[cfg(test)]
mod tests;

use std::{
    ffi::{OsStr, OsString},
    io::ErrorKind,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

pub use error::ResolveError;

use self::{
    installation::{Needs, is_system},
    shebang::Shebang,
    surroundings::Surroundings,
};
use crate::spec::FileGrant;

/// How many scripts may interpret one another.
const MOST_SCRIPTS: usize = 4;
/// How many stand-ins may stand behind one another.
const MOST_SHIMS: usize = 4;

/// The program that will really run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The file to execute: a program, never a script.
    pub program: PathBuf,
    /// The whole argument vector, `argv[0]` included.
    pub args: Vec<OsString>,
    /// Variables to set over the program's environment, as a shim would have.
    pub env: Vec<(OsString, OsString)>,
    /// What the program needs beside the system base; each says for what.
    pub grants: Vec<FileGrant>,
    /// What was found on the way, in words, for the report.
    pub notes: Vec<String>,
}

/// Resolves a command: a name, or a path relative to `cwd`.
///
/// `env` is the environment in which the command was typed: its `PATH` is searched, its `HOME` and
/// the variables of version managers count. It need not be the one that the program will get, but
/// its `PATH` should be the same.
///
/// # Errors
/// The command is not there ([`ResolveError::exit_code`] 127) or cannot be executed (126).
pub fn resolve(
    command: &str,
    args: &[OsString],
    env: &[(OsString, OsString)],
    cwd: &Path,
) -> Result<Resolved, ResolveError> {
    let mut way = Way {
        around: Surroundings::new(env, cwd),
        needs: Needs::default(),
        origin: format!("`{command}`"),
    };
    let mut step = way.locate(OsStr::new(command))?;
    step.argv.extend_from_slice(args);
    for _ in 0..=MOST_SCRIPTS {
        step = way.behind_shims(step)?;
        if let Some(why) = file::refusal(&step.path) {
            return Err(ResolveError::not_executable(step.path, why));
        }
        match way.read(&step.path)? {
            Kind::Program => return way.arrive(step),
            Kind::Script(shebang) => step = way.interpreter(&step, &shebang)?,
        }
    }
    Err(ResolveError::TooDeep { path: step.path })
}

/// The program that the kernel executes in the place of a script, as the script names it. `None` where
/// it is no script, or cannot be read.
pub(crate) fn interpreter(script: &Path) -> Option<PathBuf> {
    let head = file::head(script, shebang::LOOKED_AT).ok()?;
    let interpreter = PathBuf::from(shebang::parse(&head)?.ok()?.interpreter);
    interpreter.is_absolute().then_some(interpreter)
}

/// Where the way has come to.
#[derive(Debug)]
struct Step {
    path: PathBuf,
    argv: Vec<OsString>,
    /// `argv[0]` is as the user typed it, and may stay so.
    as_typed: bool,
}

/// What a file is.
enum Kind {
    Program,
    Script(Shebang),
}

/// The way from the command to the program.
struct Way<'a> {
    around: Surroundings<'a>,
    needs: Needs,
    /// What the program is needed for, in words.
    origin: String,
}

impl Way<'_> {
    /// Finds a command as execvp does: a path as it is, a name in the search path.
    fn locate(&mut self, command: &OsStr) -> Result<Step, ResolveError> {
        let found = |path| Step { path, argv: vec![command.to_owned()], as_typed: true };
        if command.as_bytes().contains(&b'/') {
            let path = self.around.absolute(Path::new(command));
            let is_there = path.exists();
            return is_there
                .then(|| found(path))
                .ok_or_else(|| not_found(command, "the file system"));
        }
        let mut refused = None;
        for directory in self.around.search_path().into_iter().filter(|_| !command.is_empty()) {
            let path = directory.join(command);
            match file::refusal(&path) {
                None => return Ok(found(path)),
                Some(why) if path.is_file() => {
                    refused.get_or_insert_with(|| ResolveError::not_executable(path, why));
                }
                Some(_) => {}
            }
        }
        if let Some(behind) = manager::default_of_nvm(command, &self.around)? {
            return Ok(self.enter(&behind, found(PathBuf::new())));
        }
        Err(refused.unwrap_or_else(|| not_found(command, "PATH")))
    }

    /// Goes on from stand-ins of version managers to the real program.
    fn behind_shims(&mut self, mut step: Step) -> Result<Step, ResolveError> {
        for _ in 0..MOST_SHIMS {
            let first = step.argv.get(1).map(OsString::as_os_str);
            match manager::behind(&step.path, first, &self.around)? {
                None => return Ok(step),
                Some(behind) => step = self.enter(&behind, step),
            }
        }
        Err(ResolveError::TooDeep { path: step.path })
    }

    /// Does what the manager would have done before starting the real program.
    fn enter(&mut self, behind: &manager::Behind, mut step: Step) -> Step {
        let program = &behind.program;
        let command = program.file_name().unwrap_or_default();
        self.needs.note(format!(
            "`{}` is {}: `{}`",
            command.display(),
            behind.what,
            program.display()
        ));
        if behind.takes_argument && step.argv.len() > 1 {
            step.argv.remove(1);
        }
        for (name, value) in &behind.variables {
            self.around.set(name, value);
        }
        if let Some(bin) = program.parent() {
            self.around.search_first(bin);
        }
        Step { path: program.clone(), as_typed: false, ..step }
    }

    /// Tells a program from a script, and refuses everything else.
    fn read(&mut self, path: &Path) -> Result<Kind, ResolveError> {
        let unreadable = |source| ResolveError::Read { path: path.to_owned(), source };
        let head = match file::head(path, shebang::LOOKED_AT) {
            // Execute-only, as some set-user-id programs are: an interpreter could not read it
            // either, so it can only be a program.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(Kind::Program),
            other => other.map_err(unreadable)?,
        };
        if elf::is_elf(&head) {
            let file = file::open(path).map_err(unreadable)?;
            if let Some(loader) = elf::loader(&file, path)? {
                self.loader(path, &loader)?;
            }
            return Ok(Kind::Program);
        }
        match shebang::parse(&head) {
            Some(Ok(shebang)) => Ok(Kind::Script(shebang)),
            Some(Err(why)) => Err(ResolveError::not_executable(path, why)),
            None if head.is_empty() => Err(ResolveError::not_executable(path, "it is empty")),
            None if head.contains(&0) => Err(ResolveError::not_executable(
                path,
                "its format is not known (neither ELF nor script)",
            )),
            None => Err(ResolveError::not_executable(
                path,
                "it is text without a first line like `#!/bin/sh`",
            )),
        }
    }

    /// A program's loader must exist, and be visible.
    fn loader(&mut self, program: &Path, loader: &Path) -> Result<(), ResolveError> {
        let missing = |_gone| ResolveError::MissingLoader {
            program: program.to_owned(),
            loader: loader.to_owned(),
        };
        let real = std::fs::canonicalize(loader).map_err(missing)?;
        let origin = format!("the loader of {}", self.origin);
        self.needs.program(&real, &origin, &self.around);
        Ok(())
    }

    /// From a script to its interpreter, with the arguments that the kernel (and `env`) would pass.
    fn interpreter(&mut self, script: &Step, shebang: &Shebang) -> Result<Step, ResolveError> {
        let real = file::canonical(&script.path)?;
        self.needs.program(&real, &self.origin, &self.around);
        self.origin = format!("the interpreter of `{}`", file_name(&script.path).display());
        let shown = shown(&script.path, &real).unwrap_or(real);
        let rest = script.argv.iter().skip(1).cloned();
        let mut step = self.interpreter_alone(&script.path, shebang)?;
        step.argv.push(shown.into_os_string());
        step.argv.extend(rest);
        Ok(step)
    }

    fn interpreter_alone(
        &mut self,
        script: &Path,
        Shebang { interpreter, argument }: &Shebang,
    ) -> Result<Step, ResolveError> {
        let missing = |name: &OsStr, hint| ResolveError::MissingInterpreter {
            script: script.to_owned(),
            interpreter: name.to_owned(),
            hint,
        };
        if let Some(argument) = argument
            && file_name(Path::new(interpreter)) == "env"
        {
            let value = |name: &str| self.around.var(name).map(OsStr::to_owned);
            match shebang::env_line(argument, value) {
                None => self.needs.note(format!(
                    "`env {}` of `{}` is left to `env` itself",
                    argument.display(),
                    script.display()
                )),
                Some(line) => return self.by_env(line, missing),
            }
        }
        let path = self.around.absolute(Path::new(interpreter));
        if !path.exists() {
            return Err(missing(interpreter, hint(interpreter)));
        }
        let mut argv = vec![interpreter.clone()];
        argv.extend(argument.clone());
        Ok(Step { path, argv, as_typed: true })
    }

    /// What `env` would start.
    fn by_env(
        &mut self,
        line: shebang::EnvLine,
        missing: impl Fn(&OsStr, &'static str) -> ResolveError,
    ) -> Result<Step, ResolveError> {
        for (name, value) in line.variables {
            self.around.set(name, value);
        }
        let mut words = line.command.into_iter();
        let command = words.next().unwrap_or_default();
        let mut step = match self.locate(&command) {
            Err(ResolveError::NotFound { .. }) => return Err(missing(&command, hint(&command))),
            other => other?,
        };
        step.argv.extend(words);
        step.as_typed = false;
        Ok(step)
    }

    /// The end of the way: the program's file, its first argument, its grants.
    fn arrive(mut self, mut step: Step) -> Result<Resolved, ResolveError> {
        let real = file::canonical(&step.path)?;
        let environment = self.needs.virtual_environment(&step.path, &self.origin, &self.around)?;
        self.needs.program(&real, &self.origin, &self.around);
        let program = environment.unwrap_or(real);
        let stays = step.as_typed && is_system(&step.path);
        if let Some(first) = step.argv.first_mut().filter(|_| !stays)
            && let Some(shown) = shown(&step.path, &program)
        {
            *first = shown.into_os_string();
        }
        Ok(Resolved {
            program,
            args: step.argv,
            env: self.around.into_added(),
            grants: self.needs.grants,
            notes: self.needs.notes,
        })
    }
}

/// The path by which a program sees itself: where it was found if that is visible inside, else its
/// real place under the same name. `None`: no visible path has that name.
fn shown(found: &Path, real: &Path) -> Option<PathBuf> {
    if is_system(found) && is_system(real) {
        return Some(found.to_owned());
    }
    let sibling = real.with_file_name(file_name(found));
    let is_same = std::fs::canonicalize(&sibling).ok() == std::fs::canonicalize(real).ok();
    is_same.then_some(sibling)
}

fn file_name(path: &Path) -> &OsStr {
    path.file_name().unwrap_or(path.as_os_str())
}

/// What is probably wrong with the name of an interpreter that is not there.
fn hint(name: &OsStr) -> &'static str {
    let bytes = name.as_bytes();
    if bytes.ends_with(b"\r") {
        "; its first line ends in a carriage return (Windows line ends)"
    } else if bytes.contains(&b' ') {
        "; `env` takes arguments only with `env -S`"
    } else {
        ""
    }
}

fn not_found(command: &OsStr, searched: &str) -> ResolveError {
    ResolveError::NotFound { command: command.to_owned(), searched: searched.to_owned() }
}
