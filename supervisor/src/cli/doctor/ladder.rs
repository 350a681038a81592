//! The ladder of this machine: which rung a start reaches, what stands in the way of a higher one, and
//! what each protection gets here. Pure; the look at the machine is an argument.

use plugbay_sandbox::{
    Enforcement, Grade, Hold, Layer, Rung, Spec,
    remedy::{self, Situation},
};
use serde::Serialize;

use crate::output::{
    Brush, Tone,
    neutral::{self, Lines},
    sheet,
};

/// One rung.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Step {
    /// Its name.
    rung: &'static str,
    /// What it gives, or lacks.
    gives: &'static str,
    /// Where a start is, seen from it.
    state: State,
    /// Why it is not reached.
    #[serde(skip_serializing_if = "String::is_empty")]
    why: String,
    /// What would lead to it, each by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    climb: Vec<String>,
}

/// Where a start is, seen from a rung.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// Below it: this rung cannot be had.
    Lost,
    /// On it.
    Here,
    /// Above it: nothing needs it.
    Spare,
}

/// One protection and how it can be had where it does not hold.
#[derive(Debug, Serialize)]
pub(super) struct Standing {
    #[serde(flatten)]
    grade: Grade,
    /// What would make it hold, each by itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ways: Vec<String>,
}

/// The rungs, the best first.
pub(super) fn steps(
    rung: Rung,
    lost: &[(Rung, String)],
    enforcement: &Enforcement,
    situation: &Situation,
) -> Vec<Step> {
    let why = |wanted: Rung| {
        let reasons = lost.iter().filter(|(lost, _)| *lost == wanted);
        reasons.map(|(_, why)| why.as_str()).collect::<Vec<_>>().join("; ")
    };
    let state = |wanted: Rung| match rung.cmp(&wanted) {
        std::cmp::Ordering::Less => State::Spare,
        std::cmp::Ordering::Equal => State::Here,
        std::cmp::Ordering::Greater => State::Lost,
    };
    let step = |wanted, name, gives, climb: Vec<String>| {
        let state = state(wanted);
        let is_lost = state == State::Lost;
        let why = if is_lost { why(wanted) } else { String::new() };
        Step { rung: name, gives, state, why, climb: if is_lost { climb } else { Vec::new() } }
    };
    let to_root = if situation.root {
        remedy::namespaces(situation)
    } else {
        vec!["start it as root".to_owned()]
    };
    let mut steps = vec![
        step(Rung::Root, "root", "all namespaces, and a user of its own for each process", to_root),
        step(
            Rung::User,
            "user",
            "all namespaces, inside a user namespace",
            remedy::namespaces(situation),
        ),
        step(
            Rung::Bare,
            "bare",
            "no namespaces: Landlock, filter, limits and a watchdog",
            Vec::new(),
        ),
    ];
    if let Some(root) = steps.first_mut().filter(|root| root.why.is_empty() && !situation.root)
        && root.state == State::Lost
    {
        "this is an ordinary user".clone_into(&mut root.why);
    }
    steps.push(without_landlock(enforcement, situation));
    steps
}

/// What is below them all, whichever namespaces there are.
fn without_landlock(enforcement: &Enforcement, situation: &Situation) -> Step {
    let gives =
        "no Landlock: file policies are refused unless files.read and files.write are preferred";
    let layer = enforcement.layer(Layer::LandlockFiles);
    let missing = layer.filter(|_| enforcement.holding(Layer::LandlockFiles).is_none());
    Step {
        rung: "no landlock",
        gives,
        state: if missing.is_some() { State::Here } else { State::Spare },
        why: missing.map(|report| report.why.clone()).unwrap_or_default(),
        climb: missing.map(|_| remedy::landlock(situation, 5)).unwrap_or_default(),
    }
}

/// Every protection of a start with nothing granted.
pub(super) fn standings(enforcement: &Enforcement, situation: &Situation) -> Vec<Standing> {
    let spec = Spec::new("/");
    let of = |grade: &Grade| Standing {
        ways: remedy::of_grade(grade, &spec, situation),
        grade: grade.clone(),
    };
    enforcement.protections.iter().map(of).collect()
}

impl Step {
    /// The rung on one line, and below it why it is not reached and what leads to it.
    pub(super) fn lines(&self, brush: Brush) -> String {
        let (tone, word) = match self.state {
            State::Lost => (Tone::Bad, "not had"),
            State::Here => (Tone::Good, "here"),
            State::Spare => (Tone::Note, "not needed"),
        };
        let word = brush.paint(tone, &format!("{word:<11}"));
        let mut out = format!("  {:<20}{word}{}\n", self.rung, self.gives);
        out.extend((!self.why.is_empty()).then(|| below("why", &self.why)));
        out.extend(self.climb.iter().map(|way| below("climb", way)));
        out
    }
}

impl Standing {
    /// The protection on one line, and below it what would make it hold.
    pub(super) fn lines(&self, brush: Brush) -> String {
        let mut out = sheet::grade(&self.grade, brush);
        if self.grade.hold != Hold::Off {
            out.extend(self.ways.iter().map(|way| below("to get it", way)));
        }
        out
    }
}

fn below(label: &str, text: &str) -> String {
    format!("  {:<20}{label}: {}\n", "", neutral::text(text, Lines::Escape))
}

#[cfg(test)]
mod tests {
    use plugbay_sandbox::{LayerReport, Proven, Status, TreeKill, Watched};

    use super::*;

    fn enforcement(landlock: Status) -> Enforcement {
        let why = "this kernel has none".to_owned();
        Enforcement {
            layers: vec![LayerReport { layer: Layer::LandlockFiles, status: landlock, why }],
            protections: Vec::new(),
            tree_kill: TreeKill::Sweep,
            notes: Vec::new(),
            limits: Vec::new(),
            watched: Watched::default(),
            proven: Proven::Now,
        }
    }

    fn states(rung: Rung, landlock: Status) -> Vec<State> {
        let steps = steps(rung, &[], &enforcement(landlock), &Situation::default());
        steps.iter().map(|step| step.state).collect()
    }

    #[test]
    fn what_is_above_is_lost_and_what_is_below_is_not_needed() {
        use State::{Here, Lost, Spare};
        assert_eq!(states(Rung::Root, Status::Enforced), [Here, Spare, Spare, Spare]);
        assert_eq!(states(Rung::User, Status::Enforced), [Lost, Here, Spare, Spare]);
        assert_eq!(states(Rung::Bare, Status::Absent), [Lost, Lost, Here, Here]);
    }

    #[test]
    fn a_lost_rung_says_why_and_how_to_climb() {
        let lost = [(Rung::User, "failed to clone".to_owned())];
        let situation = Situation { none_allowed: true, ..Situation::default() };
        let steps = steps(Rung::Bare, &lost, &enforcement(Status::Absent), &situation);
        let text: String = steps.iter().map(|step| step.lines(Brush::plain())).collect();
        insta::assert_snapshot!(text, @"
    root                not had    all namespaces, and a user of its own for each process
                        why: this is an ordinary user
                        climb: start it as root
    user                not had    all namespaces, inside a user namespace
                        why: failed to clone
                        climb: `sysctl -w user.max_user_namespaces=15000` as root
    bare                here       no namespaces: Landlock, filter, limits and a watchdog
    no landlock         here       no Landlock: file policies are refused unless files.read and files.write are preferred
                        why: this kernel has none
                        climb: Linux 6.10 or newer, booted with `lsm=landlock,…`
    ");
    }
}
