//! `plugbay doctor`: what this kernel and user can enforce, each claim proven by a canary: the ladder with what
//! would lead higher, what each protection gets, the layers, and the proofs.
//!
//! The canary goes through the production path (the launcher that starts plugins), in several trials:
//! sealed with nothing granted, sealed with one port, and against one limit after the other. Each
//! trial is played twice, inside and, as the positive control, without a sandbox.

mod attack;
mod ladder;
mod tried;

use std::{fs, path::Path};

use plugbay_sandbox::{
    Held, Launcher, LayerReport, Level, Rung, TreeKill,
    proof::{self, Stage, Trial, Verdict},
    remedy::Situation,
};
use serde::Serialize;

use self::{
    ladder::{Standing, Step},
    tried::Proof,
};
use crate::{
    args::Doctor,
    env,
    exit::Exit,
    failure::Failure,
    output::{
        Brush, Format, Outcome, Terminal, Tone,
        neutral::{self, Lines},
        sheet,
    },
};

/// Examines, and tells what was found.
pub(crate) fn run(typed: &Doctor, terminal: Terminal) -> Outcome {
    if typed.attack {
        return attack::run(typed, terminal);
    }
    let findings = examine()?;
    match Format::from_flag(typed.json) {
        Format::Json => terminal.json(&findings)?,
        Format::Human => terminal.data(&findings.sheet(terminal.on_stdout()))?,
    }
    let broken = findings.proofs.iter().any(|proof| proof.verdict == Verdict::Broken);
    Ok(if broken { Exit::Answered } else { Exit::Ok }.into())
}

fn examine() -> Result<Findings, Failure> {
    let refused = |error: &dyn std::fmt::Display| Failure::new(Exit::NotStarted, error);
    let stage = Stage::set().map_err(|error| refused(&format!("set up the probes: {error}")))?;
    let program = env::own_program().map_err(|error| refused(&error))?;
    let mut launcher = Launcher::new().map_err(|error| refused(&error))?;
    let play = |trial: Trial, launcher: &mut Launcher| {
        trial.play(launcher, &program).map_err(|error| refused(&error))
    };
    let sealed = play(Trial::sealed(&stage.scene), &mut launcher)?;
    // The report is that of a start which knows what the canary has shown.
    proof::believe(&mut launcher, &sealed);
    let mut tried = sealed.tried;
    let enforcement = play(Trial::sealed(&stage.scene), &mut launcher)?.enforcement;
    for trial in std::iter::once(Trial::ports(&stage.scene)).chain(Trial::limits()) {
        tried.extend(play(trial, &mut launcher)?.tried);
    }
    let proofs = tried.into_iter().map(Proof::from).collect();
    let machine = launcher.machine();
    let (rung, lost) = launcher.rung(Level::Standard);
    let situation = Situation::read(machine);
    Ok(Findings {
        kernel: kernel(),
        user: machine.uid,
        landlock_abi: machine.landlock_abi,
        cgroup: machine.cgroup.as_ref().map(|home| home.path.display().to_string()),
        rung: rung_name(rung),
        lost: lost.iter().map(|(rung, why)| format!("{}: {why}", rung_name(*rung))).collect(),
        ladder: ladder::steps(rung, lost, &enforcement, &situation),
        protections: ladder::standings(&enforcement, &situation),
        layers: enforcement.layers,
        tree_kill: enforcement.tree_kill,
        limits: enforcement.limits,
        proofs,
    })
}

fn kernel() -> String {
    let release = fs::read_to_string(Path::new("/proc/sys/kernel/osrelease"));
    release.map_or_else(|_| "unknown".to_owned(), |release| release.trim().to_owned())
}

fn rung_name(rung: Rung) -> &'static str {
    match rung {
        Rung::Root => "root: all namespaces, a dedicated user for each process",
        Rung::User => "user: all namespaces, inside a user namespace",
        Rung::Bare => "bare: no namespaces; Landlock, seccomp and limits",
    }
}

/// The whole document.
#[derive(Debug, Serialize)]
struct Findings {
    kernel: String,
    user: u32,
    landlock_abi: u32,
    cgroup: Option<String>,
    rung: &'static str,
    lost: Vec<String>,
    ladder: Vec<Step>,
    protections: Vec<Standing>,
    layers: Vec<LayerReport>,
    tree_kill: TreeKill,
    limits: Vec<Held>,
    proofs: Vec<Proof>,
}

impl Findings {
    fn sheet(&self, brush: Brush) -> String {
        let head = |title: &str| format!("{}\n", brush.paint(Tone::Head, title));
        let mut out = head("Machine");
        for (label, text) in self.facts() {
            out.push_str(&format!("  {label:<20}{}\n", neutral::text(&text, Lines::Escape)));
        }
        out.push('\n');
        out.push_str(&head("Ladder"));
        out.extend(self.ladder.iter().map(|step| step.lines(brush)));
        out.push('\n');
        out.push_str(&head("Protections of a plugin with nothing granted"));
        out.extend(self.protections.iter().map(|standing| standing.lines(brush)));
        out.push('\n');
        out.push_str(&head("Layers of a plugin with nothing granted"));
        out.extend(self.layers.iter().map(|layer| sheet::layer(layer, brush)));
        out.push_str(&format!("  {:<20}{}\n", "tree kill", sheet::tree_kill(self.tree_kill)));
        out.extend(self.limits.iter().map(|held| sheet::limit(held, brush)));
        out.push('\n');
        out.push_str(&head("Proofs"));
        out.extend(self.proofs.iter().map(|proof| proof.line(brush)));
        out.push_str(&format!("\n{}\n", self.summary()));
        out
    }

    fn facts(&self) -> Vec<(&'static str, String)> {
        let landlock = match self.landlock_abi {
            0 => "absent".to_owned(),
            abi => format!("ABI {abi}"),
        };
        let cgroup = self.cgroup.clone().unwrap_or_else(|| "none that we may write".to_owned());
        let facts = vec![
            ("kernel", self.kernel.clone()),
            ("user", self.user.to_string()),
            ("landlock", landlock),
            ("cgroup v2", cgroup),
            ("rung", self.rung.to_owned()),
        ];
        facts
    }

    fn summary(&self) -> String {
        let count = |verdict| self.proofs.iter().filter(|proof| proof.verdict == verdict).count();
        format!(
            "{} claims: {} proven, {} unproven, {} known gaps, {} broken",
            self.proofs.len(),
            count(Verdict::Proven),
            count(Verdict::Unproven),
            count(Verdict::Gap),
            count(Verdict::Broken),
        )
    }
}
