//! How plugins stand with the restart policy, from one life of a host to the next: told to the store
//! when it changes, and taken from there when a host starts.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, SystemTime},
};

use plugbay_store::{Reader, StoreError};

use crate::lifecycle::{restart::Past, slot::Standing};

/// How one plugin stood, and how long ago.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Known {
    pub(crate) version: String,
    pub(crate) standing: Standing,
    pub(crate) ago: Duration,
}

/// How the plugins of the last host of this name stood, by name. Blocks.
pub(crate) fn known(
    file: &Path,
    host: &str,
    now: SystemTime,
) -> Result<BTreeMap<String, Known>, StoreError> {
    let Some(reader) = Reader::open(file)? else { return Ok(BTreeMap::new()) };
    let rows = reader.standings(host)?;
    Ok(rows.into_iter().map(|row| (row.plugin.clone(), read(row, now))).collect())
}

/// A clock that was set back since makes it look as if it had been just now.
fn read(row: plugbay_store::Standing, now: SystemTime) -> Known {
    let milli = u32::try_from(row.slow_level_milli).unwrap_or(u32::MAX);
    let past = Past {
        failures: row.failures,
        passing: row.passing,
        last_delay: row.last_delay,
        quarantines: row.quarantines,
        on_trial: row.on_trial,
        slow_level: f64::from(milli) / 1000.0,
        rest: row.rest,
    };
    Known {
        version: row.version,
        standing: Standing { past, restarts: row.restarts, quarantined: row.quarantined },
        ago: now.duration_since(row.at).unwrap_or_default(),
    }
}

/// The record of how a plugin stands.
pub(crate) fn row(
    plugin: &str,
    version: &str,
    at: SystemTime,
    standing: &Standing,
) -> plugbay_store::Standing {
    let Standing { past, restarts, quarantined } = *standing;
    plugbay_store::Standing {
        plugin: plugin.to_owned(),
        version: version.to_owned(),
        at,
        failures: past.failures,
        passing: past.passing,
        last_delay: past.last_delay,
        quarantines: past.quarantines,
        on_trial: past.on_trial,
        slow_level_milli: thousandths(past.slow_level),
        rest: past.rest,
        quarantined,
        restarts,
    }
}

/// A level as a whole number. It is small: the breaker trips long before.
fn thousandths(level: f64) -> u64 {
    u64::try_from(Duration::from_secs_f64(level.clamp(0.0, 1e6)).as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_survives_the_file() {
        let past = Past {
            failures: 7,
            passing: 1,
            last_delay: Duration::from_millis(1_500),
            quarantines: 2,
            on_trial: true,
            slow_level: 7.25,
            rest: Duration::from_secs(300),
        };
        let standing = Standing { past, restarts: 9, quarantined: true };
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let row = row("p", "1.0.0", at, &standing);
        let ago = Duration::from_secs(20);
        let known = Known { version: "1.0.0".into(), standing, ago };
        assert_eq!(read(row.clone(), at + ago), known);
        assert_eq!(read(row, at - ago).ago, Duration::ZERO, "the clock was set back");
    }
}
