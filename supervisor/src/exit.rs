//! The exit codes of `plugbay`: one table, from which the help, the man page and the code speak.
//!
//! Not here: the status of a command under `plugbay run`, which is passed on as it is.

use std::process::ExitCode;

/// Why `plugbay` ends, as a number that scripts may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for was done.
    Ok,
    /// The plugin answered with an error, a check found a problem, or output could not be written.
    Answered,
    /// The command line does not mean anything.
    Usage,
    /// No such plugin or method, or its manifest is invalid.
    NotFound,
    /// The plugin could not be started or its process could not be sealed.
    NotStarted,
    /// The plugin crashed, or broke the protocol.
    Crashed,
    /// The deadline passed.
    Deadline,
    /// `call`: a level or a demand refused, since what it requires does not hold.
    Denied,
    /// `run`: the command succeeded, but something was denied, and that was to count.
    Refused,
    /// `run`: a limit other than the wall clock's ended the command.
    Limit,
    /// `run`: the wall clock limit ended the command.
    WallLimit,
    /// `run`: the process could not be sealed; the command never ran.
    NotSealed,
    /// `run`: the command was found but cannot be executed.
    NotExecutable,
    /// `run`: the command was not found.
    CommandNotFound,
}

impl Exit {
    /// Every code, in the order in which they are documented.
    pub(crate) const ALL: [Self; 14] = [
        Self::Ok,
        Self::Answered,
        Self::Usage,
        Self::NotFound,
        Self::NotStarted,
        Self::Crashed,
        Self::Deadline,
        Self::Denied,
        Self::Refused,
        Self::Limit,
        Self::WallLimit,
        Self::NotSealed,
        Self::NotExecutable,
        Self::CommandNotFound,
    ];

    /// The number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Answered => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::NotStarted => 4,
            Self::Crashed => 5,
            Self::Deadline => 6,
            Self::Denied => 7,
            Self::Refused => 122,
            Self::Limit => 123,
            Self::WallLimit => 124,
            Self::NotSealed => 125,
            Self::NotExecutable => 126,
            Self::CommandNotFound => 127,
        }
    }

    /// What the number means, in a few words.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done",
            Self::Answered => "the plugin answered with an error, or a check found a problem",
            Self::Usage => "the command line is wrong",
            Self::NotFound => "no such plugin or method, or its manifest is invalid",
            Self::NotStarted => "the plugin could not be started",
            Self::Crashed => "the plugin crashed or broke the protocol",
            Self::Deadline => "the deadline passed",
            Self::Denied => "call: what the level or --require asks for does not hold",
            Self::Refused => "run: it succeeded, but was denied something (--fail-on-denial)",
            Self::Limit => "run: a limit ended the command: memory, CPU time, file size, output",
            Self::WallLimit => "run: the --wall limit ended the command",
            Self::NotSealed => "run: the process could not be sealed; the command never ran",
            Self::NotExecutable => "run: the command cannot be executed",
            Self::CommandNotFound => "run: the command was not found",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The status that a shell gives to a process killed by `signal`.
pub(crate) fn of_signal(signal: i32) -> u8 {
    u8::try_from(signal.saturating_add(128)).unwrap_or(u8::MAX)
}

/// The note below the table: what `run` passes on.
pub(crate) const PASSED_ON: &str =
    "Otherwise `plugbay run` ends with the command's own status, or 128 + the signal's number.";

/// The table as help text.
pub(crate) fn table() -> String {
    let rows = Exit::ALL.iter().map(|exit| format!("  {:>3}  {}\n", exit.code(), exit.meaning()));
    format!("Exit codes:\n{}{PASSED_ON}", rows.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_ascending() {
        let codes: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
        assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
    }

    #[test]
    fn a_signal_is_reported_as_shells_do() {
        assert_eq!(of_signal(9), 137);
        assert_eq!(of_signal(i32::MAX), 255);
    }

    #[test]
    fn table_reads_well() {
        insta::assert_snapshot!(table(), @"
        Exit codes:
            0  done
            1  the plugin answered with an error, or a check found a problem
            2  the command line is wrong
            3  no such plugin or method, or its manifest is invalid
            4  the plugin could not be started
            5  the plugin crashed or broke the protocol
            6  the deadline passed
            7  call: what the level or --require asks for does not hold
          122  run: it succeeded, but was denied something (--fail-on-denial)
          123  run: a limit ended the command: memory, CPU time, file size, output
          124  run: the --wall limit ended the command
          125  run: the process could not be sealed; the command never ran
          126  run: the command cannot be executed
          127  run: the command was not found
        Otherwise `plugbay run` ends with the command's own status, or 128 + the signal's number.
        ");
    }
}
