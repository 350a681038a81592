//! `plugbay run`: one command, sealed, as transparent as a shell's `exec`.
//!
//! Single-threaded until the command runs, because the sandbox clones this very process. The order:
//! understand the flags, find the program, open the report file, block the signals that will be
//! passed on, seal and start, serve its way out if it has one (`outside`), watch (see `watch`), report,
//! and end as the command ended.

mod junit;
mod laid;
pub(crate) mod last;
mod pace;
mod profile;
mod refusal;
mod relay;
mod report;
mod tool;
pub(crate) mod watch;

use std::{
    ffi::{OsStr, OsString},
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use nix::errno::Errno;
use plugbay_sandbox::{
    Child, Enforcement, EnvGrant, LaunchError, Launcher, Level, PlanError, Spec, Stage, Stdio,
    Watch, deny, proof,
    resolve::{self, ResolveError, Resolved},
    scrub,
};

use self::{
    laid::Laid,
    pace::Pace,
    profile::Chosen,
    relay::{Past, Relay},
    report::Report,
    tool::Toolbox,
    watch::End,
};
use crate::{
    args::Run,
    env,
    exit::{self, Exit},
    failure::Failure,
    grants::{self, Grants, World},
    output::{Outcome, Terminal, Tone, neutral, sheet},
    outside::Prepared,
    spelling::Bound,
};

/// Runs the command and ends as it ended.
pub(crate) fn run(typed: &Run, terminal: Terminal) -> Outcome {
    let here = env::current_dir().map_err(|error| {
        Failure::new(Exit::NotSealed, format!("the current directory is not usable: {error}"))
    })?;
    let (mut typed, chosen) = profile::settle(typed, &here)?;
    let repository = chosen.as_ref().map_or(&here, |chosen| &chosen.directory);
    let toolbox = tool::open(&mut typed, repository)?;
    let world = World { current_dir: &here, canonical: &Path::canonicalize, search: &deny::search };
    let mut grants = grants::understand(&typed, &world)?;
    grants.files.extend(toolbox.files.iter().cloned());
    let origin = Origin {
        here: if chosen.is_some() { grants.workdir.clone() } else { here },
        toolbox,
        chosen,
    };
    let mut report = Report::open(&typed, &grants, origin.chosen.as_ref())?;
    let mut laid = Laid::begin(&typed, &grants)?;
    let ended = seal_and_watch(&typed, &grants, &origin, terminal, (&mut report, laid.as_mut()));
    match &ended {
        Ok(end) => report.ended(end, status(end, &typed)),
        Err(failure) => report.never_ran(failure),
    }
    let end = match (ended, &laid) {
        (Ok(end), _) => end,
        (Err(failure), laid) => {
            report.write(env::state_dir().as_deref())?;
            laid.iter().for_each(Laid::abandon);
            return Err(failure);
        }
    };
    tell(&end, &grants, &typed, &report, terminal)?;
    report.write(env::state_dir().as_deref())?;
    origin.warn_of_change(&grants, terminal);
    laid.map_or(Ok(()), |laid| laid.settle(!is_talkative(&typed), terminal))?;
    Ok(ExitCode::from(status(&end, &typed)))
}

/// Where a run comes from: what is not in its words.
#[derive(Debug)]
struct Origin {
    /// Where the command is looked for when it is a path.
    here: PathBuf,
    toolbox: Toolbox,
    chosen: Option<Chosen>,
}

impl Origin {
    /// A run that opened more for the next one is never passed over in silence.
    fn warn_of_change(&self, grants: &Grants, terminal: Terminal) {
        let source = self.chosen.as_ref().and_then(|chosen| chosen.source.as_ref());
        if let Some(source) = source.filter(|source| source.was_changed(&grants.files)) {
            let path = source.path.display();
            let text = format!("the run has changed `{path}`, from which it had its grants");
            terminal.say_as(Tone::Bad, "warning", &text);
        }
    }
}

fn seal_and_watch(
    typed: &Run,
    grants: &Grants,
    origin: &Origin,
    terminal: Terminal,
    (report, laid): (&mut Report, Option<&mut Laid>),
) -> Result<End, Failure> {
    if grants.level == Level::None {
        terminal.say_as(Tone::Bad, "warning", "level none: the command runs without a sandbox");
    }
    if is_talkative(typed) {
        grants.notes.iter().for_each(|note| terminal.say_as(Tone::Note, "plugbay", note));
    }
    let resolved = find(&typed.command, grants, &origin.toolbox.env, &origin.here)?;
    let notes = [origin.toolbox.notes.clone(), resolved.notes.clone()].concat();
    let mut spec = spec(grants, resolved, &origin.toolbox.env);
    if let Some(laid) = &laid {
        laid.ask(&mut spec);
    }
    report.planned(&spec, notes);
    let outside = Prepared::of(&spec)?;
    let signals = watch::Signals::block().map_err(not_sealed)?;
    let mut beside = watch::Beside::default();
    let stdio = streams(typed, &mut beside).map_err(not_sealed)?;
    let mut child = start(spec, stdio, typed.explain, (laid, terminal))?;
    let outside = outside.map(|outside| outside.serve(child.take_way())).transpose();
    let outside = outside.map_err(not_sealed)?.unwrap_or_default();
    report.started(child.enforcement());
    if typed.explain && is_talkative(typed) {
        refusal::announce(&child.enforcement().watched, terminal);
    }
    if typed.verbose {
        show(child.enforcement(), grants, terminal);
    }
    if is_talkative(typed) && terminal.stderr_is_tty {
        beside.pace = Some((Pace::new(grants.limits.wall), terminal));
    }
    let ended = watch::until_end(child, &signals, grants.limits.wall, beside);
    let mut end = ended.map_err(not_sealed)?;
    end.denials.absorb(&outside.end());
    Ok(end)
}

/// Whether stderr is for people.
fn is_talkative(typed: &Run) -> bool {
    !typed.quiet && !typed.json
}

/// Our own standard streams, or pipes where they are bounded.
fn streams(typed: &Run, beside: &mut watch::Beside) -> io::Result<Stdio> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let Some(most) = typed.limits.max_output.and_then(Bound::into_option) else {
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        let error = io::stderr().as_fd().try_clone_to_owned()?;
        return Ok(Stdio { input, output, error });
    };
    let past = if typed.limits.truncate_output { Past::Drop } else { Past::End };
    let (relay, output, error) = Relay::new(most, past)?;
    beside.relay = Some(relay);
    Ok(Stdio { input, output, error })
}

/// The program behind the command, looked up with the search path that it will have.
pub(crate) fn find(
    command: &[OsString],
    grants: &Grants,
    outside: &[(OsString, OsString)],
    here: &Path,
) -> Result<Resolved, Failure> {
    let (name, args) = command.split_first().ok_or_else(|| Failure::usage("no command"))?;
    let mut env = outside.to_vec();
    for grant in &grants.env {
        if let EnvGrant::Set(name, value) = grant {
            env.retain(|(known, _)| known != OsStr::new(name));
            env.push((name.into(), value.into()));
        }
    }
    let name = name.to_str().ok_or_else(|| {
        Failure::new(Exit::CommandNotFound, "the command's name is not valid UTF-8")
    })?;
    resolve::resolve(name, args, &env, here).map_err(|error| not_found(&error))
}

fn not_found(error: &ResolveError) -> Failure {
    let found = error.exit_code() != Exit::CommandNotFound.code();
    Failure::new(if found { Exit::NotExecutable } else { Exit::CommandNotFound }, error)
}

/// Grants and program as one spec.
pub(crate) fn spec(grants: &Grants, resolved: Resolved, outside: &[(OsString, OsString)]) -> Spec {
    let mut env = scrub(outside, &grants.env);
    for (name, value) in resolved.env {
        let chosen = grants.env.iter().any(|grant| OsStr::new(name_of(grant)) == name);
        if !chosen {
            env.retain(|(known, _)| *known != name);
            env.push((name, value));
        }
    }
    let mut files = grants.files.clone();
    files.extend(resolved.grants);
    Spec {
        program: resolved.program,
        args: resolved.args,
        env,
        workdir: grants.workdir.clone(),
        files,
        deny: grants.deny.clone(),
        overlay: None,
        base: grants.base,
        network: grants.network.clone(),
        unix_sockets: grants.unix_sockets.clone(),
        limits: grants.limits.clone(),
        level: grants.level,
        demands: grants.demands.clone(),
        profile: grants.profile,
    }
}

fn name_of(grant: &EnvGrant) -> &str {
    match grant {
        EnvGrant::Inherit(name) | EnvGrant::Set(name, _) => name,
    }
}

/// Seals and starts.
fn start(
    mut spec: Spec,
    streams: Stdio,
    explain: bool,
    (mut laid, terminal): (Option<&mut Laid>, Terminal),
) -> Result<Child, Failure> {
    let mut launcher = Launcher::new().map_err(|error| of_launch(&error))?;
    if spec.level != Level::None
        && let Ok(canary) = env::own_program()
    {
        let place = env::state_dir().map(|state| state.join("proofs"));
        proof::prove(&mut launcher, &canary, place.as_deref());
    }
    launcher.watch(if explain { Watch::Attempts } else { Watch::Denials });
    loop {
        let stdio = Stdio {
            input: streams.input.try_clone().map_err(not_sealed)?,
            output: streams.output.try_clone().map_err(not_sealed)?,
            error: streams.error.try_clone().map_err(not_sealed)?,
        };
        let error = match launcher.start(spec.clone(), stdio) {
            Ok(child) => return Ok(child),
            Err(error) => error,
        };
        let again = match &mut laid {
            Some(laid) => laid.next_way(&error, &mut spec, terminal)?,
            None => false,
        };
        if !again {
            return Err(of_launch(&error));
        }
    }
}

pub(crate) fn not_sealed(error: io::Error) -> Failure {
    Failure::new(Exit::NotSealed, error)
}

/// A start that failed, with the code that shells use for the same.
pub(crate) fn of_launch(error: &LaunchError) -> Failure {
    let (exit, hint) = match error {
        LaunchError::Stage(failure) if failure.stage == Stage::Exec => {
            if failure.errno == Errno::ENOENT {
                let hint = "its interpreter or loader is not there; grant it with --exec PATH";
                (Exit::CommandNotFound, Some(hint))
            } else {
                (Exit::NotExecutable, None)
            }
        }
        LaunchError::Stage(failure) if failure.stage == Stage::WorkingDirectory => {
            let hint = "the working directory must lie in a grant, in the system base or be /tmp";
            (Exit::NotSealed, Some(hint))
        }
        LaunchError::Plan(PlanError::Unmet { level: None, .. }) => {
            (Exit::NotSealed, Some("`plugbay doctor` shows what holds here"))
        }
        LaunchError::Plan(error) if error.is_unmet() => {
            let hint = "`plugbay doctor` shows what holds here; --prefer NAME does without it";
            (Exit::NotSealed, Some(hint))
        }
        LaunchError::Plan(PlanError::Deny { .. }) => {
            let hint = "grant less instead, or run where `plugbay doctor` shows a mount namespace";
            (Exit::NotSealed, Some(hint))
        }
        LaunchError::Plan(_)
        | LaunchError::Stage(_)
        | LaunchError::Filter(_)
        | LaunchError::Threads(_)
        | LaunchError::Nul => (Exit::NotSealed, None),
    };
    Failure { hint: hint.map(str::to_owned), ..Failure::new(exit, error) }
}

/// The grants and the enforcement, for `--verbose`.
fn show(enforcement: &Enforcement, grants: &Grants, terminal: Terminal) {
    for grant in &grants.files {
        terminal.say(&format!("granted: {:?} {}", grant.access, grant.path.display()));
    }
    for path in &grants.deny {
        terminal.say(&format!("denied: {}", path.display()));
    }
    terminal.say(&format!("in {}", grants.workdir.display()));
    terminal.say_painted(sheet::enforcement(enforcement, terminal.on_stderr()).trim_end());
}

/// One line when it was not the command itself that decided to end, and one for each limit that it
/// ran into before; and where it failed, what it was refused, since that may be why.
fn tell(
    end: &End,
    grants: &Grants,
    typed: &Run,
    report: &Report,
    terminal: Terminal,
) -> Result<(), Failure> {
    if typed.json {
        terminal.say(&neutral::json(&report.line()?));
        return Ok(());
    }
    if typed.quiet {
        return Ok(());
    }
    for line in end.why(&grants.limits).into_iter().chain(end.notes()) {
        terminal.say_as(Tone::Warn, "plugbay", &line);
    }
    if status(end, typed) != 0 || typed.explain {
        refusal::tell(&end.refusals(&grants.limits), report, terminal);
    }
    Ok(())
}

/// Our own status: that of the end, unless a run that was refused something is to fail.
fn status(end: &End, typed: &Run) -> u8 {
    let refused = typed.fail_on_denial && end.denials.total() > 0;
    match status_of(end) {
        0 if refused => Exit::Refused.code(),
        status => status,
    }
}

/// The command's status, or the code of the limit that ended it, or 128 and the signal.
pub(crate) fn status_of(end: &End) -> u8 {
    if end.out_of_time {
        return Exit::WallLimit.code();
    }
    if end.fatal().is_some() {
        return Exit::Limit.code();
    }
    match (end.exit.code, end.exit.signal) {
        (Some(code), _) => u8::try_from(code).unwrap_or(u8::MAX),
        (None, Some(signal)) => exit::of_signal(signal),
        (None, None) => Exit::NotSealed.code(),
    }
}
