//! What a command was refused, on stderr: where it failed, since that may be why; and whenever it was
//! asked for.

use plugbay_sandbox::{Tally, Watched};

use super::report::Report;
use crate::output::{Terminal, Tone};

/// Kinds of refusals that are told; the report has them all.
const TOLD: usize = 10;

/// Says what `--explain` will do, or that it cannot.
pub(super) fn announce(watched: &Watched, terminal: Terminal) {
    let text = if watched.attempts {
        "files and addresses are watched; what is told of them is advice: a program can mislead it"
            .to_owned()
    } else {
        format!("nothing can be watched: {}", watched.why)
    };
    terminal.say_as(Tone::Note, "explain", &text);
}

/// One line per kind, those that can be allowed first.
pub(super) fn tell(refusals: &Tally, report: &Report, terminal: Terminal) {
    let mut shown = report.shown(refusals);
    shown.sort_by_key(|one| !one.has_fix());
    for one in shown.iter().take(TOLD) {
        terminal.say_as(Tone::Warn, "denied", &one.line());
    }
    let more = shown.len().saturating_sub(TOLD);
    if more > 0 || refusals.others() > 0 {
        let others = refusals.others();
        let text = format!("{more} more kinds, and {others} refusals that were not told apart");
        terminal.say_as(Tone::Warn, "denied", &text);
    }
}
