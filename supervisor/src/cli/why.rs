//! `plugbay why`: how a plugin failed last, for a person at three in the morning.
//!
//! Reads what was kept and decides what belongs to the case; what is said of it is in `sheet`, what
//! can be done about it in `advice`. Everything that a plugin wrote is made harmless when shown,
//! whatever was done to it before it was kept.

mod advice;
mod sheet;

use plugbay::store::{Change, Death, Reader, Run, RunId};
use serde::Serialize;

use crate::{
    args::Why,
    cli::{
        past::{
            self,
            document::{Changed, Ended, Hosted},
        },
        run::last,
    },
    env,
    exit::Exit,
    failure::Failure,
    output::{Format, Outcome, Terminal, moment},
};

/// Ends that are looked through: all that are kept.
const ENDS: u32 = 1_000;
/// Changes of state that are looked through.
const CHANGES: u32 = 1_000;
/// Changes that are shown, before and since.
const SHOWN: usize = 8;

/// Tells it.
pub(crate) fn run(typed: &Why, terminal: Terminal) -> Outcome {
    let Some(plugin) = &typed.plugin else {
        last::tell(env::state_dir(), Format::from_flag(typed.json), terminal)?;
        return Ok(Exit::Ok.into());
    };
    let name = past::name(plugin)?;
    let case = Case::of(&past::open(&name)?, name)?;
    match Format::from_flag(typed.json) {
        Format::Json => terminal.json(&case.document())?,
        Format::Human => {
            let style = sheet::Style {
                brush: terminal.on_stdout(),
                lines: typed.lines,
                now: moment::now(),
            };
            terminal.data(&sheet::sheet(&case, &style))?;
        }
    }
    Ok(Exit::Ok.into())
}

/// All that is known of a plugin's last failure.
#[derive(Debug)]
struct Case {
    plugin: String,
    /// The last end that nobody asked for.
    failure: Option<Failed>,
    /// The last end of all.
    last: Option<Death>,
    /// What keeps it down since, although no process of it failed.
    obstacle: Option<Change>,
}

/// A failure, and what happened around it.
#[derive(Debug)]
struct Failed {
    death: Death,
    host: Option<Run>,
    /// The changes of state that led there, the last one last.
    before: Vec<Change>,
    /// The last changes since, the last one last.
    since: Vec<Change>,
    /// Changes since that are left out before those.
    skipped: usize,
    /// How many ends nobody asked for are kept, this one included.
    failures: usize,
    /// Records of that time that could not be kept.
    lost: u64,
}

impl Case {
    fn of(reader: &Reader, plugin: String) -> Result<Self, Failure> {
        let ends = reader.deaths(&plugin, ENDS).map_err(past::unreadable)?;
        let last = ends.first().map(|(_, death)| death.clone());
        let failures = ends.iter().filter(|(_, death)| !death.requested).count();
        let failure = match ends.into_iter().find(|(_, death)| !death.requested) {
            Some((run, death)) => Some(Failed::of(reader, run, death, failures)?),
            None => None,
        };
        let obstacle = obstacle(reader, &plugin, failure.as_ref())?;
        Ok(Self { plugin, failure, last, obstacle })
    }

    fn document(&self) -> Document<'_> {
        let failed = self.failure.as_ref();
        Document {
            plugin: &self.plugin,
            death: failed.map(|failed| Ended::from(&failed.death)),
            host: failed.and_then(|failed| failed.host.as_ref()).map(Hosted::from),
            before: failed
                .map_or_else(Vec::new, |it| it.before.iter().map(Changed::from).collect()),
            since: failed.map_or_else(Vec::new, |it| it.since.iter().map(Changed::from).collect()),
            failures: failed.map_or(0, |failed| failed.failures),
            records_lost: failed.map_or(0, |failed| failed.lost),
            advice: failed.map_or_else(Vec::new, |failed| advice::advice(&failed.death)),
            obstacle: self.obstacle.as_ref().map(Changed::from),
            last_end: self.last.as_ref().map(|death| moment::rfc3339(death.at)),
        }
    }
}

impl Failed {
    fn of(reader: &Reader, run: RunId, death: Death, failures: usize) -> Result<Self, Failure> {
        let changes = reader.changes(&death.plugin, CHANGES).map_err(past::unreadable)?;
        let later = |of: RunId, change: &Change| of > run || (of == run && change.at > death.at);
        let mut before: Vec<Change> = changes
            .iter()
            .filter(|(of, change)| *of == run && !later(*of, change))
            .take(SHOWN)
            .map(|(_, change)| change.clone())
            .collect();
        before.reverse();
        let mut since: Vec<Change> =
            changes.into_iter().filter(|(of, change)| later(*of, change)).map(|it| it.1).collect();
        let skipped = since.len().saturating_sub(SHOWN);
        since.truncate(SHOWN);
        since.reverse();
        let host = reader.run(run).map_err(past::unreadable)?;
        let began = host.as_ref().map_or(death.at, |host| host.at);
        let lost = reader.lost_since(began).map_err(past::unreadable)?;
        Ok(Self { death, host, before, since, skipped, failures, lost })
    }
}

/// The last change of state, if it left the plugin down for a reason that is not the failure's.
fn obstacle(
    reader: &Reader,
    plugin: &str,
    failure: Option<&Failed>,
) -> Result<Option<Change>, Failure> {
    let last = reader.changes(plugin, 1).map_err(past::unreadable)?.pop().map(|it| it.1);
    let told = |change: &Change| failure.is_some_and(|failed| failed.death.words == change.why);
    Ok(last.filter(|change| {
        let down = ["failed", "waiting", "fenced"].contains(&change.to.as_str());
        down && !change.why.is_empty() && !told(change)
    }))
}

/// The case for programs; the names are stable.
#[derive(Debug, Serialize)]
struct Document<'a> {
    plugin: &'a str,
    /// The last end that nobody asked for; null when there is none.
    death: Option<Ended<'a>>,
    host: Option<Hosted<'a>>,
    before: Vec<Changed<'a>>,
    since: Vec<Changed<'a>>,
    failures: usize,
    records_lost: u64,
    advice: Vec<String>,
    /// What keeps it down since, although no process of it failed; null when nothing does.
    obstacle: Option<Changed<'a>>,
    /// When its last process ended, asked or not.
    last_end: Option<String>,
}

#[cfg(test)]
mod tests;
