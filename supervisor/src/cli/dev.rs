//! `plugbay dev`: a plugin while it is written. Every saved change is tried at once, beside the version
//! that runs; what does not work is told and dropped.

mod tree;
mod voice;

use std::{path::PathBuf, sync::Arc, time::Duration};

use plugbay::{Event, EventKind, Events, Host, Package, Swap, SwapStrategy, SwapVerdict};
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    sync::mpsc,
    task::JoinSet,
    time::Instant,
};

use self::{tree::Tree, voice::Voice};
use crate::{
    args::Dev,
    cli::{
        call::{config, dependencies},
        find, interruption,
    },
    env,
    exit::Exit,
    failure::Failure,
    grants,
    output::{Outcome, Terminal, Tone, denial::Shown},
};

/// For how long the version before stands by.
const BAKE: Duration = Duration::from_secs(5);
/// Calls that are under way at a time.
const CALLS: usize = 64;
/// Lines that are typed ahead.
const TYPED: usize = 64;

/// Runs a plugin until the author has had enough.
pub(crate) fn run(typed: &Dev, terminal: Terminal) -> Outcome {
    let directory = find::directory(&typed.plugin)?;
    let package = find::load(&directory)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::NotStarted, format!("start the runtime: {error}")))?;
    let outcome = runtime.block_on(serve(typed, directory, package, terminal));
    // A line that nobody has typed is read on a thread that cannot be called back.
    runtime.shutdown_background();
    outcome
}

async fn serve(typed: &Dev, directory: PathBuf, package: Package, terminal: Terminal) -> Outcome {
    let voice = Voice { terminal, json: typed.json };
    let name = package.manifest.plugin.name.to_string();
    let unwatched = |error| {
        Failure::new(Exit::NotStarted, format!("watch `{}`: {error}", directory.display()))
            .hint("the kernel's bound is in /proc/sys/fs/inotify/max_user_watches")
    };
    let tree = Tree::watch(&directory, &package.manifest.runtime.command).map_err(unwatched)?;
    let version = package.manifest.plugin.version.to_string();
    let begun = Instant::now();
    let host = start(typed, package, voice).await?;
    let events = host.subscribe();
    if !typed.json {
        let said = format!("{name} {version}; a line `METHOD [PARAMETERS]` is called");
        terminal.say_as(Tone::Head, "watching", &said);
    }
    let mut bench = Bench { host, name, directory, voice, tree, events, calls: JoinSet::new() };
    match bench.host.start_plugin(&bench.name).await {
        Ok(()) => voice.ready(&bench.name, &version, begun.elapsed()),
        Err(error) => voice.down(&error.to_string()),
    }
    let (sender, typed) = mpsc::channel(TYPED);
    let mut reading = JoinSet::new();
    reading.spawn(read(sender));
    bench.work(typed).await;
    bench.host.shutdown().await;
    Ok(Exit::Ok.into())
}

async fn start(typed: &Dev, package: Package, voice: Voice) -> Result<Host, Failure> {
    let level = grants::level(typed.level);
    let mut builder = Host::builder()
        .on_demand()
        .environment(env::all())
        .level(level)
        .on_log(move |record| voice.logged(record));
    if let Some(config) = config(typed.config_file.as_deref(), &typed.config)? {
        builder = builder.config(package.manifest.plugin.name.to_string(), config);
    }
    for dependency in dependencies(&package, &typed.places) {
        builder = builder.plugin(dependency);
    }
    let started = builder.plugin(package).start().await;
    started.map_err(|error| Failure::new(Exit::NotStarted, error))
}

/// Hands on what is typed, line by line.
async fn read(lines: mpsc::Sender<String>) {
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = input.next_line().await {
        if lines.send(line).await.is_err() {
            return;
        }
    }
}

/// Where a plugin is worked on.
struct Bench {
    host: Host,
    name: String,
    directory: PathBuf,
    voice: Voice,
    tree: Tree,
    events: Events,
    calls: JoinSet<()>,
}

impl Bench {
    /// Until somebody wants us to end.
    async fn work(&mut self, mut typed: mpsc::Receiver<String>) {
        let ended = interruption::wanted();
        tokio::pin!(ended);
        loop {
            tokio::select! {
                () = &mut ended => return,
                Some(path) = self.tree.changed() => {
                    self.voice.changed(&path.display().to_string());
                    self.take_up().await;
                }
                Some(event) = self.events.next() => self.tell(&event),
                Some(line) = typed.recv(), if self.calls.len() < CALLS => self.call(&line),
                Some(_) = self.calls.join_next() => {}
            }
        }
    }

    /// Tries the version that is there now.
    async fn take_up(&mut self) {
        let begun = Instant::now();
        let package = match plugbay::load(&self.directory) {
            Ok(package) => package,
            Err(error) => return self.voice.refused(&error.to_string()),
        };
        let swap = self.host.swap(&self.name, package).strategy(SwapStrategy::Handoff).bake(BAKE);
        match swap.force().widen().send().await {
            Err(error) => self.voice.refused(&error.to_string()),
            Ok(swap) => {
                let (host, name, voice) = (self.host.clone(), self.name.clone(), self.voice);
                self.calls.spawn(follow(host, name, swap, voice, begun));
            }
        }
    }

    fn tell(&self, event: &Event) {
        // Other events are told by whoever follows an exchange, or makes a call.
        if let EventKind::Died(death) = &event.kind
            && is_unasked(death)
        {
            self.voice.died(death);
        }
        if let EventKind::Denied(tally) = &event.kind {
            tally.kinds().iter().map(Shown::of_plugin).for_each(|one| self.voice.denied(&one));
        }
    }

    fn call(&mut self, line: &str) {
        let line = line.trim();
        if line.is_empty() {
            return;
        }
        let (method, params) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let params = match params.trim() {
            "" => None,
            text => match RawValue::from_string(text.to_owned()) {
                Ok(params) => Some(params),
                Err(error) => {
                    let why = format!("the parameters are no JSON: {error}");
                    return self.voice.misread(&why);
                }
            },
        };
        let (host, name, voice) = (self.host.clone(), self.name.clone(), self.voice);
        let method = method.to_owned();
        self.calls.spawn(async move {
            let mut call = host.call_with(&name, &method);
            if let Some(params) = &params {
                call = call.params(params);
            }
            voice.called(&call.report().await);
        });
    }
}

/// Whether a process ended that nobody wanted to end.
fn is_unasked(death: &Arc<plugbay::Death>) -> bool {
    !matches!(death.cause, plugbay::Cause::Requested)
}

/// Tells what becomes of a new version, until that is clear.
async fn follow(host: Host, name: String, mut swap: Swap, voice: Voice, begun: Instant) {
    let Ok(status) = swap.switched().await else {
        let status = swap.status();
        if status.verdict.is_some() {
            voice.dropped(&status);
        }
        return;
    };
    // What did not run before has yet to come up.
    if let Err(error) = host.start_plugin(&name).await {
        return voice.down(&error.to_string());
    }
    voice.switched(&status, begun.elapsed());
    if let Ok(status) = swap.over().await
        && status.verdict == Some(SwapVerdict::RolledBack)
    {
        voice.dropped(&status);
    }
}
