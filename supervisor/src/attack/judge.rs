//! From what the probe said to a verdict. Pure: reads no file and starts nothing.

use std::{collections::BTreeMap, fmt};

use plugbay_sandbox::{Enforcement, Hit, Layer, Limit, Status};
use serde_json::Value;

use super::{
    door::Ran,
    offer::Offer,
    row::{Control, Expect, Row},
    table::{EXCUSABLE, NOT_HERE},
};

/// What became of a row that holds.
pub(crate) enum Verdict {
    /// Refused, and by which of the layers that hold.
    Denied { errnos: Vec<i32>, layers: Vec<Layer> },
    /// Killed by this signal.
    Killed { signal: i32, layer: Layer },
    /// Killed or refused at this limit.
    Limited { hit: Hit },
    /// Ran its course; nothing outside changed.
    Contained { layer: Layer },
    /// Not stopped on this rung, and the report says so.
    Absent { layer: Layer, why: String },
    /// Never let loose: without a layer that this machine lacks nothing is started.
    Refused { why: String },
}

impl Verdict {
    /// The layers that stopped it.
    pub(crate) fn layers(&self) -> Vec<Layer> {
        match self {
            Self::Denied { layers, .. } => layers.clone(),
            Self::Killed { layer, .. } | Self::Contained { layer } => vec![*layer],
            Self::Limited { .. } => vec![Layer::Rlimits],
            Self::Absent { .. } | Self::Refused { .. } => Vec::new(),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied { errnos, layers } => {
                let names: Vec<String> = errnos.iter().map(|errno| name(*errno)).collect();
                let layers: Vec<&str> = layers.iter().map(|layer| layer.name()).collect();
                write!(f, "denied {} by {}", names.join(" "), layers.join(", "))
            }
            Self::Killed { signal, layer } => write!(f, "killed by signal {signal}, {layer}"),
            Self::Limited { hit } => write!(f, "stopped at {hit}"),
            Self::Contained { layer } => write!(f, "contained by {layer}"),
            Self::Absent { layer, why } => {
                write!(f, "not stopped without {layer}, as reported: {why}")
            }
            Self::Refused { why } => write!(f, "nothing is started here: {why}"),
        }
    }
}

fn name(errno: i32) -> String {
    format!("{:?}", nix::errno::Errno::from_raw(errno))
}

/// One line of a probe's.
pub(crate) struct Line {
    pub(crate) step: String,
    outcome: String,
    errno: i32,
    pub(crate) detail: String,
}

/// Reads everything that a probe said.
pub(crate) fn lines(output: &str) -> Result<Vec<Line>, String> {
    let parsed = output.lines().map(|line| {
        let value: Value =
            serde_json::from_str(line).map_err(|error| format!("`{line}`: {error}"))?;
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
        let errno = value.get("errno").and_then(Value::as_i64).unwrap_or(0);
        Ok(Line {
            step: text("step"),
            outcome: text("outcome"),
            errno: errno.try_into().unwrap_or(0),
            detail: text("detail"),
        })
    });
    parsed.collect()
}

/// Whether a step of an attack came through.
pub(crate) fn came_through(ran: &Ran) -> bool {
    lines(&ran.output).is_ok_and(|said| through(&said))
}

/// Judges the attack by what it said, how it ended, what the report claims and what was told of it.
pub(crate) fn verdict(row: &Row, ran: &Ran, offer: &Offer) -> Result<Verdict, String> {
    let verdict = expected(row, ran, offer)?;
    told(row, ran, offer).map(|()| verdict)
}

/// Whether the refusal was told, where the row asks for that. That nobody could listen, because of the
/// kernel or of a sandbox outside, must be reported.
fn told(row: &Row, ran: &Ran, offer: &Offer) -> Result<(), String> {
    let Some(rule) = row.told else { return Ok(()) };
    if rule == "namespaces" && !offer.namespaces {
        // That setting has a filter of its own around everything, which refuses these by itself.
        return Ok(());
    }
    let watched = &ran.enforcement.watched;
    match (watched.calls, watched.why.is_empty()) {
        (true, _) if ran.denied.iter().any(|denied| denied == rule) => Ok(()),
        (true, _) => Err(format!("no refusal by `{rule}` was told, only {:?}", ran.denied)),
        (false, true) => Err("nobody watched, and nobody said why".to_owned()),
        (false, false) => Ok(()),
    }
}

/// The same, whatever was told.
pub(crate) fn expected(row: &Row, ran: &Ran, offer: &Offer) -> Result<Verdict, String> {
    let said = lines(&ran.output)?;
    let whole = || whole(ran);
    match &row.expect {
        Expect::Denied { by, errnos, without } => {
            let denial = Denial { by, errnos, without };
            denial.verdict(&said, ran, offer)
        }
        Expect::Limited { limit, errnos } => {
            let fatal = ran.exit.fatal().filter(|hit| hit.limit == *limit && !through(&said));
            if let Some(hit) = fatal {
                return Ok(Verdict::Limited { hit: hit.clone() });
            }
            let holder = if *limit == Limit::Disk { Layer::MountNamespace } else { Layer::Rlimits };
            let by = &[holder];
            let denial = Denial { by, errnos, without: "" };
            let denied = denial.verdict(&said, ran, offer)?;
            let counted = ran.exit.hits.iter().find(|hit| hit.limit == *limit);
            Ok(counted.map_or(denied, |hit| Verdict::Limited { hit: hit.clone() }))
        }
        Expect::Killed { signal, cause, by } => {
            let layers = holding(&[*by], &ran.enforcement, offer, "")?;
            let named =
                cause.is_none_or(|cause| cause.limit() == ran.exit.fatal().map(|hit| hit.limit));
            if ran.exit.signal != Some(*signal)
                || ran.exit.cause != *cause
                || !named
                || through(&said)
                || layers.is_empty()
            {
                return Err(whole());
            }
            Ok(Verdict::Killed { signal: *signal, layer: *by })
        }
        Expect::Contained { step, detail, by } => {
            let told = said.iter().any(|line| line.step == *step && line.detail.contains(detail));
            if ran.exit.code != Some(0) || !told {
                return Err(whole());
            }
            Ok(Verdict::Contained { layer: *by })
        }
    }
}

fn whole(ran: &Ran) -> String {
    format!("{}{}{:?}", ran.output, ran.errors, ran.exit)
}

fn through(said: &[Line]) -> bool {
    said.iter().any(|line| line.outcome == "done")
}

/// Every step refused, by one of the layers, with one of the errnos.
struct Denial<'a> {
    by: &'a [Layer],
    errnos: &'a [i32],
    without: &'a str,
}

impl Denial<'_> {
    fn verdict(&self, said: &[Line], ran: &Ran, offer: &Offer) -> Result<Verdict, String> {
        let layers = holding(self.by, &ran.enforcement, offer, self.without)?;
        if layers.is_empty() {
            return absent(self.by, self.without, &ran.enforcement);
        }
        if ran.exit.code != Some(0) || said.is_empty() {
            return Err(format!("it did not run its course: {}", whole(ran)));
        }
        for line in said {
            let refused = line.outcome == "denied" && self.errnos.contains(&line.errno);
            if !refused && line.outcome != "tried" && line.outcome != "told" {
                let (step, outcome, errno) = (&line.step, &line.outcome, line.errno);
                return Err(format!("`{step}` {outcome} (errno {errno})\n{}", whole(ran)));
            }
        }
        let denied = said.iter().filter(|line| line.outcome == "denied");
        let mut seen: Vec<i32> = denied.map(|line| line.errno).collect();
        seen.sort_unstable();
        seen.dedup();
        if seen.is_empty() {
            return Err(format!("nothing was denied: {}", whole(ran)));
        }
        Ok(Verdict::Denied { errnos: seen, layers })
    }
}

/// The layers that hold, of those of which each is enough. A layer that this kernel offers must be
/// among them: a sandbox that falls to a lower rung for no reason is a hole too.
fn holding(
    by: &[Layer],
    enforcement: &Enforcement,
    offer: &Offer,
    without: &str,
) -> Result<Vec<Layer>, String> {
    let mut layers = Vec::new();
    for layer in by {
        let report = enforcement.layer(*layer).ok_or_else(|| format!("no report of {layer}"))?;
        let holds = match report.status {
            Status::Enforced => true,
            Status::Partial => without.is_empty() || !report.why.contains(without),
            Status::Absent | Status::NotWanted => false,
        };
        if holds {
            layers.push(*layer);
        } else if report.status == Status::Absent && offer.has(*layer) {
            return Err(format!("the kernel offers {layer}, but it is absent: {}", report.why));
        }
    }
    Ok(layers)
}

fn absent(by: &[Layer], without: &str, enforcement: &Enforcement) -> Result<Verdict, String> {
    let says = by.iter().filter_map(|layer| enforcement.layer(*layer)).find(|report| {
        !without.is_empty() && !report.why.is_empty() && report.why.contains(without)
    });
    match says {
        Some(report) => Ok(Verdict::Absent { layer: report.layer, why: without.to_owned() }),
        None => Err(format!("no layer of {by:?} holds, and the report does not say `{without}`")),
    }
}

/// Judges the same attack without a sandbox: it must have come through.
pub(crate) fn control(row: &Row, output: &str) -> Result<String, String> {
    if matches!(row.control, Control::Runs) {
        return Ok("nothing to stop".to_owned());
    }
    let said = lines(output)?;
    let attempts = said.iter().filter(|line| line.outcome == "done" || line.outcome == "denied");
    let through = attempts.clone().filter(|line| line.outcome == "done").count();
    let mut excuses: BTreeMap<&str, usize> = BTreeMap::new();
    for line in attempts.clone().filter(|line| line.outcome == "denied") {
        let excuse = if NOT_HERE.contains(&line.errno) {
            Some("not on this kernel")
        } else {
            let known = row.excused.iter().find(|(step, _)| line.step.ends_with(step));
            known.filter(|_| EXCUSABLE.contains(&line.errno)).map(|(_, why)| *why)
        };
        let Some(excuse) = excuse else {
            return Err(format!("`{}` failed unsealed: {}\n{output}", line.step, name(line.errno)));
        };
        *excuses.entry(excuse).or_default() += 1;
    }
    let excuses: String =
        excuses.iter().fold(String::new(), |all, (why, count)| format!("{all}, {count} {why}"));
    match (through, excuses.is_empty()) {
        (0, true) => Err(format!("nothing came through\n{output}")),
        (0, false) => Ok(format!("none{excuses}")),
        _ => Ok(format!("{through} of {} came through{excuses}", attempts.count())),
    }
}
