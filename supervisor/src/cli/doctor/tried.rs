//! A claim that was tried, for people and programs.

use nix::errno::Errno;
use plugbay_sandbox::{
    Layer,
    canary::Met,
    proof::{Fate, Tried, Verdict},
};
use serde::Serialize;

use crate::{
    cli::run::watch::signal_name,
    output::{
        Brush, Tone,
        neutral::{self, Lines},
    },
};

/// A claim that was tried.
#[derive(Debug, Serialize)]
pub(super) struct Proof {
    /// What is claimed.
    claim: String,
    /// What came of it.
    pub(super) verdict: Verdict,
    /// The layers that answer for it.
    layers: Vec<Layer>,
    /// What the canary met in the sandbox.
    inside: String,
    /// What it met without one.
    outside: String,
}

impl From<Tried> for Proof {
    fn from(tried: Tried) -> Self {
        let Tried { claim, verdict, inside, outside } = tried;
        Self {
            claim: claim.text,
            verdict,
            layers: claim.layers,
            inside: in_words(&inside),
            outside: in_words(&outside),
        }
    }
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
    pub(super) fn line(&self, brush: Brush) -> String {
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
