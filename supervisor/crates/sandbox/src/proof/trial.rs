//! One trial: a spec, claims on it, and the canary played inside and outside.

use std::{
    fs::File,
    io::{self, PipeReader, Read as _},
    os::fd::OwnedFd,
    path::Path,
    time::Duration,
};

use super::{
    ProofError,
    claim::{self, Claim, Expect, Fate, Scene, Verdict},
};
use crate::{
    canary::{self, Act, Met},
    enforcement::{Enforcement, Layer},
    environment::scrub,
    launch::{Launcher, Stdio},
    protection::{Demand, Protection},
    spec::{Access, FileGrant, Level, Limits, Network, NetworkMode, Spec},
};

/// The canary ends by itself; this holds when it does not.
const CPU_TIME: Duration = Duration::from_secs(20);

/// Claims on one kind of start.
#[derive(Debug)]
pub struct Trial {
    claims: Vec<Claim>,
    files: Vec<FileGrant>,
    network: Network,
    limits: Limits,
}

/// A claim that was tried.
#[derive(Debug, Clone)]
pub struct Tried {
    /// What is claimed.
    pub claim: Claim,
    /// What came of it.
    pub verdict: Verdict,
    /// What the canary met in the sandbox.
    pub inside: Fate,
    /// What it met without one.
    pub outside: Fate,
}

/// What a trial showed.
#[derive(Debug)]
pub struct Shown {
    /// One for each claim that applies.
    pub tried: Vec<Tried>,
    /// What the sandboxed start reported.
    pub enforcement: Enforcement,
}

impl Trial {
    /// Nothing granted but one directory to read.
    pub fn sealed(scene: &Scene) -> Self {
        Self {
            claims: claim::of_sealed(scene),
            files: vec![FileGrant::requested(&scene.readable, Access::Read)],
            network: Network::default(),
            limits: Limits::default(),
        }
    }

    /// The host's network, and one port granted.
    pub fn ports(scene: &Scene) -> Self {
        let connect = [scene.open_port].into();
        Self {
            claims: claim::of_ports(scene),
            files: Vec::new(),
            network: Network { mode: NetworkMode::Ports, connect, ..Network::default() },
            limits: Limits::default(),
        }
    }

    /// One limit after the other, each passed by twice as much.
    pub fn limits() -> impl Iterator<Item = Self> {
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
    pub fn play(self, launcher: &mut Launcher, program: &Path) -> Result<Shown, ProofError> {
        let acts: Vec<&Act> = self.claims.iter().map(|claim| &claim.act).collect();
        let (inside, enforcement) = sing(launcher, self.spec(program, &acts), acts.len())?;
        let (mut outside, _) = sing(launcher, control(program, &acts), acts.len())?;
        for (act, fate) in acts.iter().zip(&mut outside) {
            // The launcher closes descriptors at every level: whoever plays is the control.
            if **act == Act::Descriptors {
                *fate = canary::attempt(act).map_or(Fate::Silent, Fate::Met);
            }
        }
        let fates = inside.iter().zip(&outside);
        let proofs =
            self.claims.iter().zip(fates).filter(|(it, _)| claim::applies(it, &enforcement));
        let tried = proofs.map(|(it, (inside, outside))| Tried {
            claim: it.clone(),
            verdict: claim::judge(it, inside, outside, &enforcement),
            inside: inside.clone(),
            outside: outside.clone(),
        });
        Ok(Shown { tried: tried.collect(), enforcement })
    }

    fn spec(&self, program: &Path, acts: &[&Act]) -> Spec {
        let mut files = self.files.clone();
        files.push(FileGrant::requested(program, Access::Exec));
        Spec {
            files,
            network: self.network.clone(),
            limits: Limits { cpu_time: Some(CPU_TIME), ..self.limits.clone() },
            // It must start whatever is missing, to show what that means.
            demands: Protection::ALL.map(|protection| (protection, Demand::Prefer)).into(),
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
        env: scrub(&[], &[]),
        ..Spec::new(program)
    }
}

/// Starts one canary and hears it to the end. As many fates as acts.
fn sing(
    launcher: &mut Launcher,
    spec: Spec,
    acts: usize,
) -> Result<(Vec<Fate>, Enforcement), ProofError> {
    let (mut hears, stdio) = ears()?;
    let child = launcher.start(spec, stdio)?;
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
