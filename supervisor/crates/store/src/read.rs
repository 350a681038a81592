//! Reading: what is known of one plugin, the newest first.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, Row};

use crate::{
    Call, Change, Death, Denial, Hit, InFlight, Next, Run, RunId, Standing, StoreError, Usage,
    schema,
};

/// The store, to be read. Others may write it meanwhile.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    path: PathBuf,
}

const DEATHS: &str = "
SELECT id, run, plugin, version, generation, instance, at_ms, pid, cause, words, requested,
    before_hello, uptime_ms, calls_lost, user_us, system_us, max_rss, memory_peak, denied_more, next_state,
    next_after_ms, stderr
FROM death WHERE plugin = ? ORDER BY id DESC LIMIT ?";
const IN_FLIGHT: &str = "SELECT method, age_ms FROM in_flight WHERE death = ? ORDER BY place";
const LIMITS: &str = "
SELECT name, value, peak, times, holder, words FROM limit_hit WHERE death = ? ORDER BY place";
const DENIALS: &str = "
SELECT layer, rule, syscall, path, times, details FROM denial WHERE death = ? ORDER BY place";
const CALLS: &str = "
SELECT run, plugin, method, at_ms, duration_us, waited_us, attempts, outcome, error, traceback,
    instance, generation, bytes_in, bytes_out, progress, cpu_us, callers,
    traceparent
FROM call WHERE plugin = ? ORDER BY id DESC LIMIT ?";
const CHANGES: &str = "
SELECT run, plugin, instance, at_ms, from_state, to_state, why
FROM change WHERE plugin = ? ORDER BY id DESC LIMIT ?";
const STANDINGS: &str = "
SELECT plugin, version, at_ms, failures, passing, last_delay_ms, quarantines, on_trial,
    slow_level_milli, rest_ms, quarantined, restarts
FROM standing WHERE host = ? ORDER BY plugin";

impl Reader {
    /// Opens the store; `None` if nothing was ever kept.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub fn open(path: &Path) -> Result<Option<Self>, StoreError> {
        let connection = schema::open_to_read(path)?;
        Ok(connection.map(|connection| Self { connection, path: path.to_owned() }))
    }

    /// Every plugin that something is known of, by name.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn plugins(&self) -> Result<Vec<String>, StoreError> {
        let sql = "SELECT plugin FROM death UNION SELECT plugin FROM call
                   UNION SELECT plugin FROM change ORDER BY 1";
        self.rows(sql, [], |row| row.get(0))
    }

    /// How the plugin's instances ended: the newest `most`, the newest first.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn deaths(&self, plugin: &str, most: u32) -> Result<Vec<(RunId, Death)>, StoreError> {
        let mut deaths = self.rows(DEATHS, (plugin, most), |row| {
            Ok((row.get::<_, i64>("id")?, RunId(row.get("run")?), death(row)?))
        })?;
        for (id, _, death) in &mut deaths {
            death.in_flight = self.rows(IN_FLIGHT, [*id], in_flight)?;
            death.limits = self.rows(LIMITS, [*id], hit)?;
            death.denials = self.rows(DENIALS, [*id], denial)?;
        }
        Ok(deaths.into_iter().map(|(_, run, death)| (run, death)).collect())
    }

    /// How the plugin's calls went: the newest `most`, the newest first.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn calls(&self, plugin: &str, most: u32) -> Result<Vec<(RunId, Call)>, StoreError> {
        self.rows(CALLS, (plugin, most), |row| Ok((RunId(row.get("run")?), call(row)?)))
    }

    /// How the plugin's state changed: the newest `most`, the newest first.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn changes(&self, plugin: &str, most: u32) -> Result<Vec<(RunId, Change)>, StoreError> {
        self.rows(CHANGES, (plugin, most), |row| Ok((RunId(row.get("run")?), change(row)?)))
    }

    /// How the plugins of a host of this name stood last.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn standings(&self, host: &str) -> Result<Vec<Standing>, StoreError> {
        self.rows(STANDINGS, [host], standing)
    }

    /// The run that a record is of.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn run(&self, run: RunId) -> Result<Option<Run>, StoreError> {
        let sql = "SELECT at_ms, host, version, pid FROM run WHERE id = ?";
        let mut runs = self.rows(sql, [run.0], |row| {
            Ok(Run {
                at: time(row, "at_ms")?,
                host: row.get("host")?,
                version: row.get("version")?,
                pid: row.get("pid")?,
            })
        })?;
        Ok(runs.pop())
    }

    /// How many records could not be kept since then.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn lost_since(&self, at: SystemTime) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(sum(records), 0) FROM loss WHERE at_ms >= ?";
        let rows = self.rows(sql, [crate::write::since_epoch(at)], |row| row.get::<_, u64>(0))?;
        Ok(rows.into_iter().sum())
    }

    fn rows<T>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        let all = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            let rows = statement.query_map(values, read)?;
            rows.collect::<rusqlite::Result<Vec<T>>>()
        };
        all().map_err(|error| StoreError::of(&self.path, &error))
    }
}

fn death(row: &Row<'_>) -> rusqlite::Result<Death> {
    Ok(Death {
        plugin: row.get("plugin")?,
        version: row.get("version")?,
        generation: row.get("generation")?,
        instance: row.get("instance")?,
        at: time(row, "at_ms")?,
        pid: row.get("pid")?,
        cause: row.get("cause")?,
        words: row.get("words")?,
        requested: row.get("requested")?,
        before_hello: row.get("before_hello")?,
        uptime: millis(row, "uptime_ms")?,
        in_flight: Vec::new(),
        calls_lost: row.get("calls_lost")?,
        limits: Vec::new(),
        denials: Vec::new(),
        denied_more: row.get("denied_more")?,
        usage: usage(row)?,
        memory_peak: row.get("memory_peak")?,
        next: next(row)?,
        stderr: row.get("stderr")?,
    })
}

fn in_flight(row: &Row<'_>) -> rusqlite::Result<InFlight> {
    Ok(InFlight { method: row.get("method")?, age: millis(row, "age_ms")? })
}

fn hit(row: &Row<'_>) -> rusqlite::Result<Hit> {
    Ok(Hit {
        limit: row.get("name")?,
        value: row.get("value")?,
        peak: row.get("peak")?,
        times: row.get("times")?,
        by: row.get("holder")?,
        words: row.get("words")?,
    })
}

fn denial(row: &Row<'_>) -> rusqlite::Result<Denial> {
    Ok(Denial {
        layer: row.get("layer")?,
        rule: row.get("rule")?,
        syscall: row.get("syscall")?,
        path: row.get("path")?,
        times: row.get("times")?,
        details: row.get("details")?,
    })
}

fn usage(row: &Row<'_>) -> rusqlite::Result<Option<Usage>> {
    let Some(max_rss) = row.get("max_rss")? else { return Ok(None) };
    Ok(Some(Usage { user: micros(row, "user_us")?, system: micros(row, "system_us")?, max_rss }))
}

fn next(row: &Row<'_>) -> rusqlite::Result<Option<Next>> {
    let Some(state) = row.get("next_state")? else { return Ok(None) };
    let after: Option<u64> = row.get("next_after_ms")?;
    Ok(Some(Next { state, after: after.map(Duration::from_millis) }))
}

fn call(row: &Row<'_>) -> rusqlite::Result<Call> {
    let cpu: Option<u64> = row.get("cpu_us")?;
    Ok(Call {
        plugin: row.get("plugin")?,
        method: row.get("method")?,
        at: time(row, "at_ms")?,
        duration: micros(row, "duration_us")?,
        waited: micros(row, "waited_us")?,
        attempts: row.get("attempts")?,
        outcome: row.get("outcome")?,
        error: row.get("error")?,
        traceback: row.get("traceback")?,
        instance: row.get("instance")?,
        generation: row.get("generation")?,
        bytes_in: row.get("bytes_in")?,
        bytes_out: row.get("bytes_out")?,
        progress: row.get("progress")?,
        cpu: cpu.map(Duration::from_micros),
        callers: row.get("callers")?,
        traceparent: row.get("traceparent")?,
    })
}

fn change(row: &Row<'_>) -> rusqlite::Result<Change> {
    Ok(Change {
        plugin: row.get("plugin")?,
        instance: row.get("instance")?,
        at: time(row, "at_ms")?,
        from: row.get("from_state")?,
        to: row.get("to_state")?,
        why: row.get("why")?,
    })
}

fn standing(row: &Row<'_>) -> rusqlite::Result<Standing> {
    Ok(Standing {
        plugin: row.get("plugin")?,
        version: row.get("version")?,
        at: time(row, "at_ms")?,
        failures: row.get("failures")?,
        passing: row.get("passing")?,
        last_delay: millis(row, "last_delay_ms")?,
        quarantines: row.get("quarantines")?,
        on_trial: row.get("on_trial")?,
        slow_level_milli: row.get("slow_level_milli")?,
        rest: millis(row, "rest_ms")?,
        quarantined: row.get("quarantined")?,
        restarts: row.get("restarts")?,
    })
}

fn time(row: &Row<'_>, name: &str) -> rusqlite::Result<SystemTime> {
    let since = millis(row, name)?;
    // A time that no clock can show is read as the first.
    Ok(UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH))
}

fn millis(row: &Row<'_>, name: &str) -> rusqlite::Result<Duration> {
    row.get(name).map(Duration::from_millis)
}

fn micros(row: &Row<'_>, name: &str) -> rusqlite::Result<Duration> {
    row.get(name).map(Duration::from_micros)
}
