//! Why a command cannot be resolved, in the words of a shell and with its exit codes.

use std::{ffi::OsString, io, path::PathBuf};

/// Why a command cannot be resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// No directory of the search path has it.
    #[error("`{}` was not found in {searched}", .command.display())]
    NotFound {
        /// What was looked for.
        command: OsString,
        /// Where, in words.
        searched: String,
    },
    /// It is there, and cannot be executed.
    #[error("`{}` cannot be executed: {why}", .path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A script's first line names a program that is not there.
    #[error(
        "`{}` asks for the interpreter `{}`, which was not found{hint}",
        .script.display(), .interpreter.display()
    )]
    MissingInterpreter {
        /// The script.
        script: PathBuf,
        /// What its first line names.
        interpreter: OsString,
        /// What is probably wrong; empty, or begins with its own punctuation.
        hint: &'static str,
    },
    /// A program needs a loader that is not there.
    #[error(
        "`{}` needs the loader `{}`, which does not exist (built for another C library?)",
        .program.display(), .loader.display()
    )]
    MissingLoader {
        /// The program.
        program: PathBuf,
        /// What it asks for.
        loader: PathBuf,
    },
    /// A program for another processor.
    #[error("`{}` is built for {machine}, and this machine is {}", .path.display(), std::env::consts::ARCH)]
    WrongArch {
        /// The program.
        path: PathBuf,
        /// What it is built for.
        machine: String,
    },
    /// Scripts that interpret scripts, or shims behind shims, without end.
    #[error("`{}` leads through too many interpreters", .path.display())]
    TooDeep {
        /// Where following ended.
        path: PathBuf,
    },
    /// A version manager cannot say which version is meant, or does not have it.
    #[error("{manager} has no `{}`: {problem}", .command.display())]
    Version {
        /// The manager's name.
        manager: &'static str,
        /// The command behind the shim.
        command: OsString,
        /// What is missing, and who asked for it.
        problem: String,
    },
    /// A file that had to be read could not be.
    #[error("failed to read `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl ResolveError {
    /// The exit code by which shells tell the two kinds apart: 127 for what is not there, 126 for
    /// what is there and cannot be executed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. }
            | Self::MissingInterpreter { .. }
            | Self::MissingLoader { .. }
            | Self::Version { .. } => 127,
            Self::NotExecutable { .. }
            | Self::WrongArch { .. }
            | Self::TooDeep { .. }
            | Self::Read { .. } => 126,
        }
    }

    pub(super) fn not_executable(path: impl Into<PathBuf>, why: impl Into<String>) -> Self {
        Self::NotExecutable { path: path.into(), why: why.into() }
    }
}
