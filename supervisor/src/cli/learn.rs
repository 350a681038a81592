//! `plugbay learn`: runs a command with everything open, watches it, and writes the smallest grants.
//!
//! Single-threaded, as `run` is, with which it shares the way to the program, the watch over it and the
//! status. What is learned is decided in `learn`; here the world is looked at, and talked to.

mod ground;
mod report;

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use plugbay_sandbox::{Child, Launcher, Spec, Stdio, deny};

use crate::{
    args::Learn,
    cli::run::{self, watch},
    env,
    exit::Exit,
    failure::Failure,
    grants::{self, Grants, World},
    learn::{Learned, network::Net, text},
    output::{Outcome, Terminal, Tone, file},
};

/// Runs it, and writes what was learned.
pub(crate) fn run(typed: &Learn, terminal: Terminal) -> Outcome {
    let here = env::current_dir().map_err(|error| {
        Failure::new(Exit::NotSealed, format!("the current directory is not usable: {error}"))
    })?;
    let world = World { current_dir: &here, canonical: &Path::canonicalize, search: &deny::search };
    let grants = grants::understand_learning(typed, &world)?;
    let name = name(typed)?;
    if let Some(path) = &typed.output {
        check_free(path)?;
    }
    let outside = env::all();
    let resolved = run::find(&typed.command, &grants, &outside, &here)?;
    let spec = run::spec(&grants, resolved, &outside);
    let shown = ground::shown(&typed.command, &grants);
    let signals = watch::Signals::block().map_err(run::not_sealed)?;
    let child = start(spec.clone(), shown, typed.output.is_some())?;
    if !child.enforcement().watched.attempts {
        let why = child.enforcement().watched.why.clone();
        child.kill();
        return Err(Failure::new(Exit::NotSealed, format!("nothing can be learned: {why}"))
            .hint("learn where no sandbox is around this one, on Linux 5.5 or newer"));
    }
    if !typed.quiet {
        let text = "the command may do all that you may; what is learned is advice: read it";
        terminal.say_as(Tone::Note, "learn", text);
    }
    let end = watch::until_end(child, &signals, grants.limits.wall, watch::Beside::default())
        .map_err(run::not_sealed)?;
    let learned = ground::learned(typed, &grants, &spec, &end.lessons);
    let report =
        report::Report { typed, grants: &grants, end: &end, learned: &learned, name: &name };
    write(typed, &grants, &report, terminal)?;
    if !typed.quiet {
        report.tell(terminal);
    }
    Ok(run::status_of(&end).into())
}

/// Starts it with our own standard streams; without a file for what is learned, standard output is kept
/// for that.
fn start(spec: Spec, shown: Vec<PathBuf>, has_file: bool) -> Result<Child, Failure> {
    let copy = |stream: io::Result<OwnedFd>| stream.map_err(run::not_sealed);
    let stderr = || io::stderr().as_fd().try_clone_to_owned();
    let stdio = Stdio {
        input: copy(io::stdin().as_fd().try_clone_to_owned())?,
        output: copy(if has_file { io::stdout().as_fd().try_clone_to_owned() } else { stderr() })?,
        error: copy(stderr())?,
    };
    let mut launcher = Launcher::new().map_err(|error| run::of_launch(&error))?;
    launcher.start_learning(spec, shown, stdio).map_err(|error| run::of_launch(&error))
}

/// The profile's name: as typed, or made of the command's.
fn name(typed: &Learn) -> Result<String, Failure> {
    let is_word = |name: &str| {
        let rest = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.len() <= 64
            && name.chars().all(rest)
    };
    if let Some(name) = &typed.name {
        let wrong = || {
            Failure::usage(format!("--name `{name}` is not the name of a profile")).hint(
                "a profile's name is of a-z, 0-9 and -, starts with a letter, and has at most 64",
            )
        };
        return if is_word(name) { Ok(name.clone()) } else { Err(wrong()) };
    }
    let command = typed.command.first().map(Path::new).and_then(Path::file_stem);
    let command = command.map(|name| name.to_string_lossy().to_ascii_lowercase());
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let made: String = command.unwrap_or_default().chars().map(plain).take(64).collect();
    Ok(if is_word(&made) { made } else { "learned".to_owned() })
}

/// Refuses to write over a file that was not learned: it may be somebody's whole manifest.
fn check_free(path: &Path) -> Result<(), Failure> {
    let mut head = Vec::new();
    let mark = text::MARK.as_bytes();
    let learned = [mark, b"{\n  \"version\": ", b"--"];
    match File::open(path).and_then(|file| file.take(mark.len() as u64).read_to_end(&mut head)) {
        Ok(_) if head.is_empty() || learned.iter().any(|start| head.starts_with(start)) => Ok(()),
        Ok(_) => {
            Err(Failure::usage(format!("`{}` was not learned: it is left alone", path.display()))
                .hint("name another file, and take over from it what you want"))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::usage(format!("-o `{}`: {error}", path.display()))),
    }
}

fn write(
    typed: &Learn,
    grants: &Grants,
    report: &report::Report<'_>,
    terminal: Terminal,
) -> Result<(), Failure> {
    let place = typed.output.as_deref().and_then(|path| fs::canonicalize(path.parent()?).ok());
    let base = place.unwrap_or_else(|| grants.workdir.clone());
    let text = report.text(&base);
    let Some(path) = &typed.output else { return terminal.data(&text) };
    // The command may have put something else there in the meantime.
    check_free(path)?;
    let all = plugbay_sandbox::FileGrant::requested("/", plugbay_sandbox::Access::Write);
    let written = file::create(path, &[all]).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        Failure::new(Exit::Answered, format!("write `{}`: {error}", path.display()))
    })
}

/// Whether anything at all was learned.
fn is_nothing(learned: &Learned) -> bool {
    learned.files.is_empty() && learned.unix.is_empty() && learned.network == Net::None
}
