//! What was enforced, as lines for people: one per layer, the reason behind what does not hold.

use plugbay_sandbox::{
    Enforcement, Grade, Held, Hold, Holder, LayerReport, Proven, Status, TreeKill,
};

use super::{
    Brush, Tone,
    neutral::{self, Lines},
};

/// The whole report of one start.
pub(crate) fn enforcement(enforcement: &Enforcement, brush: Brush) -> String {
    let head = |title: &str| format!("{}\n", brush.paint(Tone::Head, title));
    let mut out = head("Protections");
    out.extend(enforcement.protections.iter().map(|it| grade(it, brush)));
    out.push_str(&head("Layers"));
    out.extend(enforcement.layers.iter().map(|it| layer(it, brush)));
    out.push_str(&format!("  {:<20}{}\n", "tree kill", tree_kill(enforcement.tree_kill)));
    out.extend(enforcement.limits.iter().map(|held| limit(held, brush)));
    out.push_str(&format!("  {:<20}{}\n", "proof", proven(&enforcement.proven)));
    for note in &enforcement.notes {
        out.push_str(&format!("  {}\n", neutral::text(note, Lines::Escape)));
    }
    out
}

/// Whether the report was put to the proof, in words.
fn proven(proven: &Proven) -> String {
    match proven {
        Proven::Untried => "nobody tried".to_owned(),
        Proven::Now => "by a canary, just now".to_owned(),
        Proven::Earlier => "by a canary, since this machine was booted".to_owned(),
        Proven::Disproved { done } => format!("a canary got through: {}", done.join("; ")),
        Proven::Failed { why } => format!("none: {}", neutral::text(why, Lines::Escape)),
    }
}

/// One protection on one line: how far it holds, and what the process can do where it does not.
pub(crate) fn grade(grade: &Grade, brush: Brush) -> String {
    let tone = match grade.hold {
        Hold::Enforced => Tone::Good,
        Hold::Degraded => Tone::Warn,
        Hold::Absent => Tone::Bad,
        Hold::Off => Tone::Note,
    };
    let word = brush.paint(tone, &format!("{:<11}", grade.hold.as_str()));
    let consequence = neutral::text(&grade.consequence, Lines::Escape);
    format!("{}\n", format!("  {:<20}{word}{consequence}", grade.protection.name()).trim_end())
}

/// One layer on one line.
pub(crate) fn layer(report: &LayerReport, brush: Brush) -> String {
    let (tone, word) = status(report.status);
    let why = neutral::text(&report.why, Lines::Escape);
    let word = brush.paint(tone, &format!("{word:<11}"));
    format!("{}\n", format!("  {:<20}{word}{why}", report.layer.name()).trim_end())
}

/// One limit on one line: who holds it, and its value.
pub(crate) fn limit(held: &Held, brush: Brush) -> String {
    let name = format!("{} limit", held.limit.words());
    let (tone, word) = match held.by {
        None => (Tone::Bad, "not held"),
        Some(Holder::Watchdog) => (Tone::Warn, Holder::Watchdog.words()),
        Some(holder) => (Tone::Good, holder.words()),
    };
    let word = brush.paint(tone, &format!("{word:<11}"));
    format!("  {name:<20}{word}{}\n", held.limit.amount(held.value))
}

/// A status as a word with a tone.
pub(crate) fn status(status: Status) -> (Tone, &'static str) {
    match status {
        Status::Enforced => (Tone::Good, "enforced"),
        Status::Partial => (Tone::Warn, "partial"),
        Status::Absent => (Tone::Bad, "absent"),
        Status::NotWanted => (Tone::Note, "not wanted"),
    }
}

/// How the tree is killed, in words.
pub(crate) fn tree_kill(kill: TreeKill) -> &'static str {
    match kill {
        TreeKill::CgroupKill => "cgroup.kill",
        TreeKill::PidNamespace => "with the pid namespace",
        TreeKill::Sweep => "by sweeping /proc",
    }
}
