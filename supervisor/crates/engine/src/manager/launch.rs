//! What it takes to run a plugin: kept for its whole life, turned into a plan for each process.

use std::{collections::BTreeSet, ffi::OsString, path::PathBuf, sync::Arc, time::Duration};

use plugbay_manifest::{Dialect, ExitRule, Manifest, Sdk};
use plugbay_protocol::{
    VERSION,
    handshake::{Features, Initialize, Peer, Restart, WireLimits, feature},
    limits,
};
use plugbay_sandbox::{Access, EnvGrant, FileGrant, Spec, deny, resolve::resolve, scrub};
use serde_json::value::RawValue;

use super::{ledger::Ledger, sdk};
use crate::{
    lifecycle::{
        identity::Generation,
        instance::Ladder,
        limiter::Lane,
        restart::{Exit, Mode, Policy},
        slot::Rules,
    },
    link::Launcher,
    log::LogSink,
    plugin::{
        Counters, Label,
        death::Cause,
        gate::Gate,
        grants::{self, Command, Place},
        inbound::Services,
        instance::{Plan, Prepared, SpecMaker},
        session::{Manners, Parts, Settings},
    },
};

/// The features of the protocol that this engine has.
const FEATURES: [&str; 6] = [
    feature::CANCEL,
    feature::PROGRESS,
    feature::PING,
    feature::HEALTH,
    feature::STREAMS,
    feature::SNAPSHOT,
];

/// What all plugins of a host share.
#[derive(Debug)]
pub(crate) struct Kitchen {
    pub(crate) launcher: Arc<dyn Launcher>,
    pub(crate) services: Arc<dyn Services>,
    pub(crate) sink: LogSink,
    pub(crate) ledger: Ledger,
    pub(crate) host: Peer,
    pub(crate) host_methods: Vec<String>,
    /// The environment that variables may be passed on from.
    pub(crate) environment: Arc<Vec<(OsString, OsString)>>,
    pub(crate) python_sdk: Option<PathBuf>,
    /// What every start goes through, so that a host full of plugins does not stall itself.
    pub(crate) gate: Arc<Gate>,
}

/// What one plugin is made from.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) place: Place,
    pub(crate) config: Option<Box<RawValue>>,
    pub(crate) counters: Arc<Counters>,
}

/// Which process of the plugin it is to be, and why.
#[derive(Debug)]
pub(crate) struct Occasion {
    pub(crate) label: Label,
    pub(crate) restarts: u64,
    pub(crate) reason: Option<String>,
    /// How urgent it is.
    pub(crate) lane: Lane,
}

impl Recipe {
    /// The plan of one process.
    pub(crate) fn plan(&self, kitchen: &Kitchen, occasion: Occasion) -> Plan {
        let generation = occasion.label.generation;
        let parts = Parts {
            label: occasion.label,
            settings: self.settings(),
            counters: self.counters.clone(),
            sink: kitchen.sink.clone(),
            services: kitchen.services.clone(),
        };
        let restart = Restart {
            count: u32::try_from(occasion.restarts).unwrap_or(u32::MAX),
            reason: occasion.reason,
        };
        Plan {
            parts,
            spec: self.spec_maker(kitchen),
            manifest: self.manifest.clone(),
            initialize: self.initialize(kitchen, generation, restart),
            start_timeout: self.manifest.supervision.start_timeout,
            launcher: kitchen.launcher.clone(),
            gate: kitchen.gate.clone(),
            lane: occasion.lane,
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            framing: self.manifest.runtime.framing,
            manners: match self.manifest.runtime.dialect {
                Dialect::Plugbay => Manners::Plugbay,
                // Whatever else it speaks, it is called as plain JSON-RPC.
                Dialect::Jsonrpc | _ => Manners::Plain,
            },
            max_frame: usize::try_from(self.manifest.limits.max_frame)
                .unwrap_or(limits::MAX_FRAME_CEILING),
            max_questions: usize::try_from(self.most_open()).unwrap_or(usize::MAX),
            max_in_flight: usize::try_from(self.manifest.supervision.max_inflight)
                .unwrap_or(usize::MAX),
            ignored_cancel: self.manifest.supervision.ignored_cancel,
        }
    }

    fn initialize(
        &self,
        kitchen: &Kitchen,
        generation: Generation,
        restart: Restart,
    ) -> Initialize {
        Initialize {
            versions: vec![VERSION],
            host: kitchen.host.clone(),
            features: FEATURES.into_iter().collect::<Features>(),
            config: self.config.clone(),
            grants: plugbay_protocol::handshake::Grants::default(),
            limits: WireLimits {
                max_frame_bytes: self.manifest.limits.max_frame,
                max_inflight: self.most_open(),
            },
            generation: generation.number(),
            restart,
            resume_state: None,
        }
    }

    /// How many requests may be unanswered either way. What the manifest says counts the host's calls; a
    /// plugin that takes few of them may still ask as many things as any other.
    fn most_open(&self) -> u32 {
        self.manifest.supervision.max_inflight.max(limits::MAX_INFLIGHT)
    }

    /// Looks for the program and puts the spec together; runs where blocking is allowed.
    fn spec_maker(&self, kitchen: &Kitchen) -> SpecMaker {
        let manifest = self.manifest.clone();
        let place = self.place.clone();
        let environment = kitchen.environment.clone();
        let host_methods = kitchen.host_methods.clone();
        let python = kitchen.python_sdk.clone();
        Box::new(move || {
            if let Some(path) = manifest.permissions.filesystem.stray(&place.dir) {
                let message = format!("a link leads `{path}` out of the plugin's directory");
                return Err(refused("grants", message));
            }
            let env = scrub(&environment, &variables(&manifest));
            let mut command = find(&manifest, &place, &environment, env)?;
            supply(&manifest, &mut command, python)?;
            let mut notes = std::mem::take(&mut command.notes);
            let mut spec = grants::spec(&manifest, &place, command)
                .map_err(|message| refused("grants", message))?;
            spec.deny = hidden(&manifest, &place, &mut notes)?;
            withhold(&mut spec, &place)?;
            let grants = grants::told(&spec, &manifest, host_methods);
            Ok(Prepared { spec, grants, notes })
        })
    }

    /// When the plugin is restarted.
    pub(crate) fn policy(&self) -> Policy {
        let asked = &self.manifest.supervision;
        Policy {
            mode: match asked.restart {
                plugbay_manifest::Restart::Never => Mode::Never,
                plugbay_manifest::Restart::OnFailure => Mode::OnFailure,
                plugbay_manifest::Restart::Always => Mode::Always,
            },
            first: asked.backoff_initial / 2,
            base: asked.backoff_initial,
            cap: asked.backoff_max,
            stable_after: asked.backoff_reset,
            breaker: asked.breaker,
            slow_breaker: asked.slow_breaker,
            slow_leak: asked.slow_breaker_leak,
            quarantine: asked.quarantine,
            quarantine_cap: asked.quarantine_max,
            give_up_after: asked.give_up_after,
            codes: asked.exit_codes.iter().map(|(code, rule)| (*code, exit(*rule))).collect(),
        }
    }

    /// What its slot goes by.
    pub(crate) fn rules(&self, policy: Policy, drain: Option<Duration>) -> Rules {
        let asked = &self.manifest.supervision;
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        Rules {
            instances: count(asked.instances).max(1),
            spares: count(asked.spares),
            idle_stop: asked.idle_stop,
            policy,
            ladder: self.ladder(drain.unwrap_or(asked.drain_timeout)),
        }
    }

    /// How the plugin is stopped: its `stop_timeout` is shared out as the default's ten seconds are.
    fn ladder(&self, drain: Duration) -> Ladder {
        let tenth = self.manifest.supervision.stop_timeout / 10;
        Ladder {
            drain,
            shutdown: tenth * 5,
            eof: tenth * 2,
            terminate: tenth * 3,
            ..Ladder::default()
        }
    }
}

/// What a rule of the manifest for an exit status means.
fn exit(rule: ExitRule) -> Exit {
    match rule {
        ExitRule::Clean => Exit::Clean,
        ExitRule::Failure => Exit::Failure,
        ExitRule::Passing => Exit::Passing,
        ExitRule::StayDown => Exit::Declined,
        ExitRule::Permanent => Exit::Permanent,
    }
}

/// What of its grants stays hidden: the paths that are there now. A home that does not exist hides
/// nothing.
fn hidden(
    manifest: &Manifest,
    place: &Place,
    notes: &mut Vec<String>,
) -> Result<Vec<PathBuf>, Cause> {
    let mut hidden = Vec::new();
    for path in &manifest.permissions.deny {
        let Some(pattern) = path.locate(&place.dir, place.home.as_deref()) else { continue };
        let found = deny::search(&pattern).map_err(|error| refused("deny", error.to_string()))?;
        if found.paths.is_empty() {
            notes.push(format!("nothing to deny at `{path}`; what is made later is not hidden"));
        }
        notes.extend(found.linked.iter().map(|path| {
            format!("denied: `{}`, which has another name (a hard link)", path.display())
        }));
        hidden.extend(found.paths);
    }
    hidden.sort();
    hidden.dedup();
    Ok(hidden)
}

/// Hides what is the host's own. Inside something hidden a grant would open it again, so there is none;
/// but a plugin may live there.
fn withhold(spec: &mut Spec, place: &Place) -> Result<(), Cause> {
    // What is not there has nothing in it.
    let withheld = place.withheld.iter().filter_map(|path| path.canonicalize().ok());
    for own in withheld.collect::<BTreeSet<_>>() {
        let files = spec.files.iter().map(|grant| &grant.path);
        let inside = |path: &&PathBuf| {
            let real = path.canonicalize();
            let real = real.as_ref().unwrap_or(path);
            real.starts_with(&own) && !real.starts_with(&place.dir)
        };
        if let Some(granted) = files.chain(&spec.unix_sockets).find(inside) {
            let message =
                format!("`{}` is the host's own and cannot be granted", granted.display());
            return Err(refused("grants", message));
        }
        spec.deny.push(own);
    }
    Ok(())
}

fn variables(manifest: &Manifest) -> Vec<EnvGrant> {
    let asked = manifest.permissions.env.iter();
    asked
        .map(|grant| match &grant.value {
            Some(value) => EnvGrant::Set(grant.name.clone(), value.clone()),
            None => EnvGrant::Inherit(grant.name.clone()),
        })
        .collect()
}

/// Finds the program that will really run. `host` is the environment whose search path counts,
/// `env` the one that the plugin gets.
fn find(
    manifest: &Manifest,
    place: &Place,
    host: &[(OsString, OsString)],
    mut env: Vec<(OsString, OsString)>,
) -> Result<Command, Cause> {
    let (name, args) = manifest
        .runtime
        .command
        .split_first()
        .ok_or_else(|| refused("resolve", "the command is empty".to_owned()))?;
    let args: Vec<OsString> = args.iter().map(OsString::from).collect();
    let resolved = resolve(name, &args, host, &place.dir).map_err(|error| Cause::Launch {
        stage: "resolve".to_owned(),
        errno: errno(&error),
        message: error.to_string(),
    })?;
    for (name, value) in resolved.env {
        env.retain(|(known, _)| *known != name);
        env.push((name, value));
    }
    Ok(Command {
        program: resolved.program,
        args: resolved.args,
        env,
        grants: resolved.grants,
        notes: resolved.notes,
    })
}

/// Puts the supervisor's own SDK at hand, before whatever else the plugin's variable names.
fn supply(
    manifest: &Manifest,
    command: &mut Command,
    python: Option<PathBuf>,
) -> Result<(), Cause> {
    let Some(kind) = manifest.runtime.sdk else { return Ok(()) };
    if kind != Sdk::Python {
        return Err(refused("sdk", format!("there is no `{}` SDK here", kind.as_str())));
    }
    let dir = sdk::python(python).map_err(|message| refused("sdk", message))?;
    let known = command.env.iter().position(|(name, _)| name == "PYTHONPATH");
    let before = known.map(|place| command.env.swap_remove(place).1);
    let paths = [dir.clone()].into_iter().chain(before.iter().flat_map(std::env::split_paths));
    let joined = std::env::join_paths(paths)
        .map_err(|error| refused("sdk", format!("`{}`: {error}", dir.display())))?;
    command.env.push(("PYTHONPATH".into(), joined));
    let origin = "runtime.sdk = \"python\"".to_owned();
    command.grants.push(FileGrant { path: dir, access: Access::Read, origin });
    Ok(())
}

/// The kernel's error behind one, where there is one: what the machine lacks now may pass.
fn errno(error: &(dyn std::error::Error + 'static)) -> i32 {
    let mut chain = std::iter::successors(Some(error), |error| error.source());
    let number = chain.find_map(|error| error.downcast_ref::<std::io::Error>()?.raw_os_error());
    number.unwrap_or(0)
}

fn refused(stage: &str, message: String) -> Cause {
    Cause::Launch { stage: stage.to_owned(), errno: 0, message }
}
