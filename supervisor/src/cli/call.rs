//! `plugbay call`: one plugin, one call, no daemon: start it sealed, call, print the result, stop it.
//!
//! What was typed is made into a [`Request`] before anything is started, so that a mistake costs
//! nothing. The plugin is not restarted: a crash is the answer.

mod failed;
mod report;
mod request;
mod stream;

use std::{process::ExitCode, sync::Arc, time::Duration};

use plugbay::{
    CallError, CallErrorKind, CancellationToken, Death, EventKind, Events, Host, LogLevel,
    LogRecord, LogSource, Progress,
};
use plugbay_sandbox::Level;
use serde_json::value::RawValue;

pub(crate) use self::request::{config, dependencies};
use self::{
    report::Report,
    request::Request,
    stream::{Feed, Left},
};
use crate::{
    args::Call,
    cli::{interruption, past},
    env,
    exit::{self, Exit},
    failure::Failure,
    output::{Format, Outcome, Terminal, Tone, denial::Shown, sheet},
};

/// How long the story of a death is waited for.
const STORY: Duration = Duration::from_secs(1);

/// Kinds of refusals that are told of a plugin whose call failed; the report has them all.
const DENIALS: usize = 5;

/// Calls, and prints the result.
pub(crate) fn run(typed: &Call, terminal: Terminal) -> Outcome {
    let feeds = Feed::from_typed(typed)?;
    let request = Request::from_typed(typed)?;
    let report = Report::open(typed.report.as_deref(), &request)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::NotStarted, format!("start the runtime: {error}")))?;
    runtime.block_on(serve(typed, request, feeds, report, terminal))
}

async fn serve(
    typed: &Call,
    request: Request,
    feeds: Vec<Feed>,
    report: Report,
    terminal: Terminal,
) -> Outcome {
    let host = start(&request, typed.verbose, terminal).await?;
    let events = host.subscribe();
    let interrupted = CancellationToken::new();
    let outcome = {
        let call = call(&host, &request, feeds, &interrupted, terminal);
        tokio::pin!(call);
        tokio::select! {
            outcome = &mut call => outcome,
            () = interruption::wanted() => {
                interrupted.cancel();
                call.await
            }
        }
    };
    terminal.progress_done();
    let (outcome, left) = match outcome {
        Ok((result, left)) => (Ok(result), left),
        Err(error) => (Err(error), Left::Nothing),
    };
    let enforcement = host.enforcement(request.name()).await;
    let denials: Vec<Shown> = match host.plugin(request.name()).await {
        Some(status) => status.denials.kinds().iter().map(Shown::of_plugin).collect(),
        None => Vec::new(),
    };
    let death = match &outcome {
        Err(error) => death(error, events).await,
        Ok(_) => None,
    };
    if let (true, Some(enforcement)) = (typed.verbose, &enforcement) {
        terminal.say_painted(sheet::enforcement(enforcement, terminal.on_stderr()).trim_end());
    }
    host.shutdown().await;
    if let Some(error) = host.store().and_then(|store| store.error) {
        terminal.say_as(Tone::Warn, "warning", &format!("nothing is kept of this call: {error}"));
    }
    let course = host.history(request.name()).pop();
    if let (Err(_), false) = (&outcome, typed.json) {
        for denial in denials.iter().take(DENIALS) {
            terminal.say_as(Tone::Warn, "denied", &denial.line());
        }
    }
    report.write(&outcome, course.as_ref(), enforcement.as_deref(), death.as_deref(), denials)?;
    match (outcome, left) {
        (Ok(result), Left::Result) => {
            terminal.result(&result, Format::from_flag(typed.json))?;
            Ok(Exit::Ok.into())
        }
        _ if interrupted.is_cancelled() => Ok(ExitCode::from(exit::of_signal(libc::SIGINT))),
        (Ok(_), Left::Nothing) => Ok(Exit::Ok.into()),
        (Ok(_), Left::Failed(failure)) => Err(failure),
        (Err(error), _) => {
            let failure = failed::explain(&error, death.as_deref());
            Err(if death.is_some() { point_to_why(failure, &host, &request) } else { failure })
        }
    }
}

async fn start(request: &Request, verbose: bool, terminal: Terminal) -> Result<Host, Failure> {
    if request.level == Level::None {
        terminal.say_as(Tone::Bad, "warning", "level none: the plugin runs without a sandbox");
    }
    let mut builder = Host::builder()
        .on_demand()
        .environment(env::all())
        .level(request.level)
        .on_log(move |record| log(record, verbose, terminal));
    if let Some(store) = past::file() {
        // Somebody starts the plugin, for one call.
        builder = builder.store(store).afresh();
    }
    if let Some(directory) = past::directory() {
        builder = builder.withhold(directory);
    }
    if let Some(config) = &request.config {
        builder = builder.config(request.name(), config.clone());
    }
    for (protection, demand) in &request.demands {
        builder = builder.demand(*protection, *demand);
    }
    for grant in &request.grants {
        builder = builder.grant(request.name(), grant.clone());
    }
    for package in request.packages() {
        builder = builder.plugin(package.clone());
    }
    builder.start().await.map_err(|error| Failure::new(Exit::NotStarted, error))
}

async fn call(
    host: &Host,
    request: &Request,
    feeds: Vec<Feed>,
    interrupted: &CancellationToken,
    terminal: Terminal,
) -> Result<(Box<RawValue>, Left), CallError> {
    let mut call = host.call_with(request.name(), &request.method).cancel(interrupted.clone());
    if let Some(params) = &request.params {
        call = call.params(params);
    }
    if let Some(deadline) = request.deadline {
        call = call.deadline(deadline).idle_timeout(deadline);
    }
    if terminal.stderr_is_tty {
        call = call.on_progress(move |progress| terminal.progress(&in_words(&progress)));
    }
    stream::run(call, feeds, request.deadline, interrupted, terminal).await
}

/// Where all of it can be read, for a failure that has no better hint.
fn point_to_why(failure: Failure, host: &Host, request: &Request) -> Failure {
    let is_kept = host.store().is_some_and(|store| store.error.is_none());
    match failure.hint {
        None if is_kept => failure.hint(format!("`plugbay why {}` tells more", request.name())),
        _ => failure,
    }
}

/// How the plugin ended, if its end is why the call failed. The call fails as soon as the end is
/// seen; the whole story of it may come a moment later.
async fn death(error: &CallError, mut events: Events) -> Option<Arc<Death>> {
    let ended = matches!(
        error.kind(),
        CallErrorKind::Crashed { .. }
            | CallErrorKind::Unavailable { .. }
            | CallErrorKind::Quarantined { .. }
    );
    let story = async {
        while let Some(event) = events.next().await {
            if let EventKind::Died(death) = event.kind {
                return Some(death);
            }
        }
        None
    };
    if ended { tokio::time::timeout(STORY, story).await.ok().flatten() } else { None }
}

/// Progress as far as the plugin tells it.
fn in_words(progress: &Progress) -> String {
    let number = |number: &Option<serde_json::Number>| number.as_ref().map(ToString::to_string);
    let amount = match (number(&progress.value), number(&progress.total)) {
        (Some(value), Some(total)) => format!("{value}/{total} "),
        (Some(value), None) => format!("{value} "),
        (None, _) => String::new(),
    };
    format!("{amount}{}", progress.message.as_deref().unwrap_or_default())
}

/// Says what the plugin says: everything when asked to, else only what is wrong.
fn log(record: &LogRecord, verbose: bool, terminal: Terminal) {
    let (tone, wrong) = match record.level {
        LogLevel::Error => (Tone::Bad, true),
        LogLevel::Warn => (Tone::Warn, true),
        LogLevel::Info | LogLevel::Debug | LogLevel::Trace => (Tone::Note, false),
    };
    if verbose || (wrong && record.source == LogSource::Notification) {
        terminal.say_as(
            tone,
            &format!("{} {}", record.plugin, record.source.as_str()),
            &record.message,
        );
    }
}
