//! One trial: a spec, claims on it, and the canary played inside and outside.

use std::{
    fs::File,
    io::{self, PipeReader, Read as _},
    os::fd::OwnedFd,
    path::Path,
    time::Duration,
};

use nix::errno::Errno;
use plugbay_sandbox::{
    Access, Enforcement, FileGrant, Launcher, Layer, Level, Limits, Network, NetworkMode, Spec,
    Stdio, scrub,
};
use serde::Serialize;

use super::claim::{self, Claim, Expect, Fate, Scene, Verdict};
use crate::{
    canary::{self, Act, Met},
    cli::run::watch::signal_name,
    env,
    exit::Exit,
    failure::Failure,
    output::{
        Brush, Tone,
        neutral::{self, Lines},
    },
};

/// The canary ends by itself; this holds when it does not.
const CPU_TIME: Duration = Duration::from_secs(20);

/// Claims on one kind of start.
#[derive(Debug)]
pub(crate) struct Trial {
    claims: Vec<Claim>,
    files: Vec<FileGrant>,
    network: Network,
    limits: Limits,
}

/// A claim that was tried.
#[derive(Debug, Serialize)]
pub(crate) struct Proof {
    /// What is claimed.
    claim: String,
    /// What came of it.
    pub(crate) verdict: Verdict,
    /// The layers that answer for it.
    layers: Vec<Layer>,
    /// What the canary met in the sandbox.
    inside: String,
    /// What it met without one.
    outside: String,
}

/// What a trial showed.
#[derive(Debug)]
pub(crate) struct Shown {
    /// One for each claim that applies.
    pub(crate) proofs: Vec<Proof>,
    /// What the sandboxed start reported.
    pub(crate) enforcement: Enforcement,
}

impl Trial {
    /// Nothing granted but one directory to read.
    pub(crate) fn sealed(scene: &Scene) -> Self {
        Self {
            claims: claim::of_sealed(scene),
            files: vec![FileGrant::requested(&scene.readable, Access::Read)],
            network: Network::default(),
            limits: Limits::default(),
        }
    }

    /// The host's network, and one port granted.
    pub(crate) fn ports(scene: &Scene) -> Self {
        let connect = [scene.open_port].into();
        Self {
            claims: claim::of_ports(scene),
            files: Vec::new(),
            network: Network { mode: NetworkMode::Ports, connect, ..Network::default() },
            limits: Limits::default(),
        }
    }

    /// One limit after the other, each passed by twice as much.
    pub(crate) fn limits() -> impl Iterator<Item = Self> {
        const MIB: u64 = 1 << 20;
        let wide = Limits::default;
        [
            (
                "memory",
                Layer::Rlimits,
                Act::Memory(256 * MIB),
                Limits { memory: Some(128 * MIB), ..wide() },
            ),
            (
                "the number of threads",
                Layer::Rlimits,
                Act::Threads(64),
                Limits { pids: Some(32), ..wide() },
            ),
            (
                "the number of open files",
                Layer::Rlimits,
                Act::OpenFiles(128),
                Limits { open_files: Some(64), ..wide() },
            ),
            (
                "the size of a file",
                Layer::Rlimits,
                Act::Fill(2 * MIB),
                Limits { file_size: Some(MIB), ..wide() },
            ),
            (
                "the size of /tmp",
                Layer::MountNamespace,
                Act::Fill(16 * MIB),
                Limits { tmp_size: 8 * MIB, ..wide() },
            ),
        ]
        .into_iter()
        .map(|(what, layer, act, limits)| Self {
            claims: vec![Claim {
                text: format!("{what} is limited"),
                layers: vec![layer],
                act,
                expect: Expect::Refusal,
            }],
            files: Vec::new(),
            network: Network::default(),
            limits,
        })
    }

    /// Plays it inside and outside, and judges.
    pub(crate) fn play(self, launcher: &mut Launcher, program: &Path) -> Result<Shown, Failure> {
        let acts: Vec<&Act> = self.claims.iter().map(|claim| &claim.act).collect();
        let (inside, enforcement) = sing(launcher, self.spec(program, &acts), acts.len())?;
        let (mut outside, _) = sing(launcher, control(program, &acts), acts.len())?;
        for (act, fate) in acts.iter().zip(&mut outside) {
            // The launcher closes descriptors at every level: the doctor itself is the control.
            if **act == Act::Descriptors {
                *fate = canary::attempt(act).map_or(Fate::Silent, Fate::Met);
            }
        }
        let fates = inside.iter().zip(&outside);
        let proofs =
            self.claims.iter().zip(fates).filter(|(it, _)| claim::applies(it, &enforcement));
        let proofs = proofs.map(|(it, (inside, outside))| Proof {
            claim: it.text.clone(),
            verdict: claim::judge(it, inside, outside, &enforcement),
            layers: it.layers.clone(),
            inside: in_words(inside),
            outside: in_words(outside),
        });
        Ok(Shown { proofs: proofs.collect(), enforcement })
    }

    fn spec(&self, program: &Path, acts: &[&Act]) -> Spec {
        let mut files = self.files.clone();
        files.push(FileGrant::requested(program, Access::Exec));
        Spec {
            files,
            network: self.network.clone(),
            limits: Limits { cpu_time: Some(CPU_TIME), ..self.limits.clone() },
            ..bare_spec(program, acts)
        }
    }
}

/// The positive control: the same canary without a sandbox or limits.
fn control(program: &Path, acts: &[&Act]) -> Spec {
    let limits = Limits {
        memory: None,
        pids: None,
        open_files: None,
        cpu_time: Some(CPU_TIME),
        ..Limits::default()
    };
    Spec { level: Level::None, limits, ..bare_spec(program, acts) }
}

fn bare_spec(program: &Path, acts: &[&Act]) -> Spec {
    let words = acts.iter().map(|act| act.to_word().into());
    Spec {
        args: [program.into(), canary::VERB.into()].into_iter().chain(words).collect(),
        env: scrub(&env::all(), &[]),
        ..Spec::new(program)
    }
}

/// Starts one canary and hears it to the end. As many fates as acts.
fn sing(
    launcher: &mut Launcher,
    spec: Spec,
    acts: usize,
) -> Result<(Vec<Fate>, Enforcement), Failure> {
    let (mut hears, stdio) = ears().map_err(|error| Failure::new(Exit::NotStarted, error))?;
    let child = launcher.start(spec, stdio).map_err(|error| {
        Failure::new(Exit::NotStarted, format!("the canary did not start: {error}"))
    })?;
    let enforcement = child.enforcement().clone();
    let mut song = String::new();
    // What cannot be heard is judged as silence.
    drop(hears.read_to_string(&mut song));
    let signal = child.finish().signal;
    let mut fates: Vec<Fate> = Met::parse_lines(&song).into_iter().map(Fate::Met).collect();
    if fates.len() < acts {
        fates.extend(signal.map(Fate::Killed));
    }
    fates.resize(acts, Fate::Silent);
    Ok((fates, enforcement))
}

fn ears() -> io::Result<(PipeReader, Stdio)> {
    let (hears, sings) = io::pipe()?;
    let null = || File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
    Ok((hears, Stdio { input: null()?, output: sings.into(), error: null()? }))
}

fn in_words(fate: &Fate) -> String {
    match fate {
        Fate::Met(Met::Done) => "done".to_owned(),
        Fate::Met(Met::Refused(errno)) => format!("{:?}", Errno::from_raw(*errno)),
        Fate::Met(Met::Told(text)) if text.is_empty() => "none".to_owned(),
        Fate::Met(Met::Told(text)) => text.clone(),
        Fate::Killed(signal) => signal_name(*signal),
        Fate::Silent => "no answer".to_owned(),
    }
}

impl Proof {
    /// One line for people: the verdict, the claim, and what was met.
    pub(crate) fn line(&self, brush: Brush) -> String {
        let (tone, word) = match self.verdict {
            Verdict::Proven => (Tone::Good, "proven"),
            Verdict::Unproven => (Tone::Note, "unproven"),
            Verdict::Gap => (Tone::Warn, "known gap"),
            Verdict::Broken => (Tone::Bad, "BROKEN"),
        };
        let word = brush.paint(tone, &format!("{word:<10}"));
        let met = format!("inside {}, outside {}", self.inside, self.outside);
        let met = neutral::text(&met, Lines::Escape);
        format!("  {word}{:<66}{met}\n", self.claim)
    }
}
