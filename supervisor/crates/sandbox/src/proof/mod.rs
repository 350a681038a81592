//! Whether what is reported is true: a canary is sealed like any program and tries what it must not.
//!
//! ```text
//! claims ──► canary inside ─┐
//!    └─────► canary outside ┴─► judge ──► proven │ unproven │ known gap │ broken
//! ```
//! The kernel's word that a call succeeded is not enough: a filter around us can answer "done" to a
//! call that it never let through. So the first start of a boot is preceded by a canary, and a layer
//! that let it through is called absent from then on. A proof can only take away: a forged note that one
//! was made saves a canary its life, and makes no layer hold.

pub mod claim;
mod kept;
mod scene;
mod trial;

use std::{io, path::Path};

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::{
    claim::{Claim, Expect, Fate, Verdict},
    scene::Stage,
    trial::{Shown, Trial, Tried},
};
use crate::{enforcement::Layer, launch::LaunchError, launch::Launcher};

/// Why a canary could not be heard.
#[derive(Debug, Error)]
pub enum ProofError {
    /// What it is to try its strength on could not be put up.
    #[error("set up the probes: {0}")]
    Stage(#[from] io::Error),
    /// It did not start.
    #[error("the canary did not start: {0}")]
    Start(#[from] LaunchError),
}

/// Whether the report of a start was put to the proof.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "proof")]
pub enum Proven {
    /// Nobody tried.
    #[default]
    Untried,
    /// A canary of this process met every refusal that was promised.
    Now,
    /// One did since this machine was booted, in these circumstances.
    Earlier,
    /// A canary did what some layers should have stopped; they are reported as absent.
    Disproved {
        /// What it did, in words.
        done: Vec<String>,
    },
    /// No canary could be heard.
    Failed {
        /// Why.
        why: String,
    },
}

/// Puts the launcher's reports to the proof, unless that was done since this machine was booted: by
/// the same program, user and kernel, in the same namespaces and under as many filters. `program` must
/// sing when it is started as a canary (see [`crate::canary`]); `place` is where it is noted.
///
/// To be called before [`Launcher::watch`]: nobody would answer for the canary.
pub fn prove(launcher: &mut Launcher, program: &Path, place: Option<&Path>) {
    let note = kept::Note::of(program, launcher.machine().uid);
    if let (Some(place), Some(note)) = (place, &note)
        && note.is_kept(place)
    {
        launcher.believe(Proven::Earlier, Vec::new());
        return;
    }
    let played = Stage::set()
        .map_err(ProofError::from)
        .and_then(|stage| Trial::sealed(&stage.scene).play(launcher, program));
    match played {
        Ok(shown) => {
            if believe(launcher, &shown) == Proven::Now
                && let (Some(place), Some(note)) = (place, &note)
            {
                // Where it cannot be noted, the next start proves it again.
                note.keep(place).ok();
            }
        }
        Err(error) => launcher.believe(Proven::Failed { why: error.to_string() }, Vec::new()),
    }
}

/// Has the launcher report from now on what a trial of the sealed kind has shown.
pub fn believe(launcher: &mut Launcher, shown: &Shown) -> Proven {
    let (proven, disproved) = conclude(shown);
    launcher.believe(proven.clone(), disproved);
    proven
}

const LANDLOCK: [Layer; 3] = [Layer::LandlockFiles, Layer::LandlockNetwork, Layer::LandlockScopes];

/// What a trial means: every layer that promised what the canary did all the same is disproved.
fn conclude(shown: &Shown) -> (Proven, Vec<(Layer, String)>) {
    let broken = shown.tried.iter().filter(|tried| tried.verdict == Verdict::Broken);
    let (mut done, mut disproved) = (Vec::new(), Vec::new());
    for Tried { claim, .. } in broken {
        done.push(format!("not so: {}", claim.text));
        let promised = |layer: &Layer| shown.enforcement.is_enforced(*layer);
        let mut fallen: Vec<Layer> = claim.layers.iter().copied().filter(promised).collect();
        // One call applies all of Landlock: where a part of it is a lie, the rest is too.
        if fallen.iter().any(|layer| LANDLOCK.contains(layer)) {
            fallen.extend(LANDLOCK);
        }
        let why = format!("a canary showed that it does not hold: not so: {}", claim.text);
        disproved.extend(fallen.into_iter().map(|layer| (layer, why.clone())));
    }
    let proven = if done.is_empty() { Proven::Now } else { Proven::Disproved { done } };
    (proven, disproved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        canary::{Act, Met},
        denial::Watched,
        enforcement::{Enforcement, LayerReport, Status, TreeKill},
    };

    fn shown(verdict: Verdict) -> Shown {
        let report = |layer, status| LayerReport { layer, status, why: String::new() };
        let claim = Claim {
            text: "nobody dances".to_owned(),
            layers: vec![Layer::LandlockFiles, Layer::MountNamespace],
            act: Act::Netlink,
            expect: Expect::Refusal,
        };
        let fate = Fate::Met(Met::Done);
        Shown {
            tried: vec![Tried { claim, verdict, inside: fate.clone(), outside: fate }],
            enforcement: Enforcement {
                layers: vec![
                    report(Layer::LandlockFiles, Status::Enforced),
                    report(Layer::MountNamespace, Status::Absent),
                ],
                protections: Vec::new(),
                tree_kill: TreeKill::Sweep,
                notes: Vec::new(),
                limits: Vec::new(),
                watched: Watched::default(),
                proven: Proven::Untried,
            },
        }
    }

    #[test]
    fn a_broken_promise_disproves_those_who_made_it() {
        let (proven, disproved) = conclude(&shown(Verdict::Broken));
        assert!(matches!(proven, Proven::Disproved { done } if done.len() == 1));
        let layers: Vec<Layer> = disproved.iter().map(|(layer, _)| *layer).collect();
        assert!(LANDLOCK.iter().all(|layer| layers.contains(layer)), "{layers:?}");
        assert!(!layers.contains(&Layer::MountNamespace), "it had promised nothing");
    }

    #[test]
    fn a_gap_that_was_told_disproves_nobody() {
        for verdict in [Verdict::Proven, Verdict::Unproven, Verdict::Gap] {
            assert_eq!(conclude(&shown(verdict)), (Proven::Now, Vec::new()));
        }
    }
}
