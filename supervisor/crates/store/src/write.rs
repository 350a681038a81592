//! Writing: records in, one transaction for all that are at hand.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use crate::{
    Call, Change, Death, Keep, Pruned, Record, Run, RunId, Standing, StoreError, Usage, prune,
    schema,
};

/// The longest name, state or cause, in bytes.
const WORD: usize = 256;
/// The longest reason or error.
const SENTENCE: usize = 4 << 10;
/// The longest traceback.
const TRACEBACK: usize = 16 << 10;
/// The longest end of stderr. Its own bound is in bytes as the plugin wrote them; made safe to
/// print, each may have become several.
const STDERR: usize = 64 << 10;
/// The longest JSON of one denial; one that is longer cannot be read any more.
const DETAILS: usize = 16 << 10;
/// Denials that are named in one death.
const DENIALS: usize = 64;
/// Calls that are named in one death.
const IN_FLIGHT: usize = 32;

/// The store, to be written.
#[derive(Debug)]
pub struct Writer {
    connection: Connection,
    path: PathBuf,
    keep: Keep,
}

impl Writer {
    /// Opens the store, making it where it is missing, and forgets what is too old.
    ///
    /// # Errors
    /// See [`StoreError`]. A file that cannot be used is left as it is.
    pub fn open(path: &Path, keep: Keep) -> Result<Self, StoreError> {
        let connection = schema::open_to_write(path)?;
        Ok(Self { connection, path: path.to_owned(), keep })
    }

    /// Notes that a host began.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(&mut self, run: &Run) -> Result<RunId, StoreError> {
        let sql = "INSERT INTO run (at_ms, host, version, pid) VALUES (?, ?, ?, ?)";
        let values =
            params![since_epoch(run.at), clip(&run.host, WORD), clip(&run.version, WORD), run.pid];
        let inserted = self.connection.execute(sql, values);
        inserted.map_err(|error| StoreError::of(&self.path, &error))?;
        Ok(RunId(self.connection.last_insert_rowid()))
    }

    /// Keeps records: all of them, or on an error none.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&mut self, run: RunId, records: &[Record]) -> Result<(), StoreError> {
        self.transact(|transaction| {
            for record in records {
                match record {
                    Record::Death(death) => insert_death(transaction, run, death)?,
                    Record::Call(call) => insert_call(transaction, run, call)?,
                    Record::Change(change) => insert_change(transaction, run, change)?,
                    Record::Standing(standing) => put_standing(transaction, run, standing)?,
                    Record::Loss { at, records } => {
                        insert_loss(transaction, run, *at, *records)?;
                    }
                }
            }
            Ok(())
        })
    }

    /// Forgets what is too old or too much.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn prune(&mut self, now: SystemTime) -> Result<Pruned, StoreError> {
        let keep = self.keep;
        let pruned =
            self.transact(|transaction| prune::prune(transaction, &keep, since_epoch(now)))?;
        prune::give_back(&self.connection).map_err(|error| StoreError::of(&self.path, &error))?;
        Ok(pruned)
    }

    fn transact<T>(
        &mut self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let all = |connection: &mut Connection| {
            let behaviour = TransactionBehavior::Immediate;
            let transaction = connection.transaction_with_behavior(behaviour)?;
            let outcome = work(&transaction)?;
            transaction.commit()?;
            Ok(outcome)
        };
        all(&mut self.connection).map_err(|error| StoreError::of(&self.path, &error))
    }
}

fn insert_death(transaction: &Transaction<'_>, run: RunId, death: &Death) -> rusqlite::Result<()> {
    let (next, usage) = (&death.next, &death.usage);
    let used = |time: fn(&Usage) -> Duration| usage.as_ref().map(|usage| micros(time(usage)));
    transaction
        .prepare_cached(
            "INSERT INTO death (run, plugin, version, generation, instance, at_ms, pid, cause,
             words, requested, before_hello, uptime_ms, calls_lost, user_us, system_us,
             max_rss, memory_peak, denied_more, next_state, next_after_ms, stderr)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            run.0,
            death.plugin,
            clip(&death.version, WORD),
            number(death.generation),
            number(death.instance),
            since_epoch(death.at),
            death.pid,
            clip(&death.cause, WORD),
            clip(&death.words, SENTENCE),
            death.requested,
            death.before_hello,
            millis(death.uptime),
            number(death.calls_lost),
            used(|usage| usage.user),
            used(|usage| usage.system),
            usage.as_ref().map(|usage| number(usage.max_rss)),
            death.memory_peak.map(number),
            number(death.denied_more),
            next.as_ref().map(|next| clip(&next.state, WORD)),
            next.as_ref().and_then(|next| next.after).map(millis),
            clip_front(&death.stderr, STDERR),
        ])?;
    let id = transaction.last_insert_rowid();
    insert_details(transaction, id, death)
}

/// What a death has several of.
fn insert_details(transaction: &Transaction<'_>, id: i64, death: &Death) -> rusqlite::Result<()> {
    for (place, call) in (0_i64..).zip(death.in_flight.iter().take(IN_FLIGHT)) {
        transaction
            .prepare_cached("INSERT INTO in_flight VALUES (?, ?, ?, ?)")?
            .execute(params![id, place, clip(&call.method, WORD), millis(call.age)])?;
    }
    for (place, denial) in (0_i64..).zip(death.denials.iter().take(DENIALS)) {
        transaction.prepare_cached("INSERT INTO denial VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?.execute(
            params![
                id,
                place,
                clip(&denial.layer, WORD),
                clip(&denial.rule, WORD),
                denial.syscall.as_deref().map(|call| clip(call, WORD)),
                denial.path.as_deref().map(|path| clip(path, SENTENCE)),
                number(denial.times),
                clip(&denial.details, DETAILS),
            ],
        )?;
    }
    for (place, hit) in (0_i64..).zip(&death.limits) {
        transaction
            .prepare_cached("INSERT INTO limit_hit VALUES (?, ?, ?, ?, ?, ?, ?, ?)")?
            .execute(params![
                id,
                place,
                clip(&hit.limit, WORD),
                number(hit.value),
                hit.peak.map(number),
                number(hit.times),
                clip(&hit.by, WORD),
                clip(&hit.words, SENTENCE),
            ])?;
    }
    Ok(())
}

fn insert_call(transaction: &Transaction<'_>, run: RunId, call: &Call) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO call (run, plugin, method, at_ms, duration_us, waited_us, attempts,
             outcome, error, traceback, instance, generation, bytes_in, bytes_out, progress, cpu_us, callers,
             traceparent)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            run.0,
            call.plugin,
            clip(&call.method, WORD),
            since_epoch(call.at),
            micros(call.duration),
            micros(call.waited),
            call.attempts,
            clip(&call.outcome, WORD),
            call.error.as_deref().map(|error| clip(error, SENTENCE)),
            call.traceback.as_deref().map(|traceback| clip_front(traceback, TRACEBACK)),
            call.instance.map(number),
            call.generation.map(number),
            number(call.bytes_in),
            number(call.bytes_out),
            number(call.progress),
            call.cpu.map(micros),
            call.callers.as_deref().map(|callers| clip(callers, SENTENCE)),
            call.traceparent.as_deref().map(|trace| clip(trace, WORD)),
        ])?;
    Ok(())
}

fn insert_change(
    transaction: &Transaction<'_>,
    run: RunId,
    change: &Change,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO change (run, plugin, instance, at_ms, from_state, to_state, why)
             VALUES (?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            run.0,
            change.plugin,
            change.instance.map(number),
            since_epoch(change.at),
            clip(&change.from, WORD),
            clip(&change.to, WORD),
            clip(&change.why, SENTENCE),
        ])?;
    Ok(())
}

/// Of the host that the run is of: others share the file.
fn put_standing(
    transaction: &Transaction<'_>,
    run: RunId,
    standing: &Standing,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO standing (host, plugin, version, at_ms, failures, passing,
             last_delay_ms, quarantines, on_trial, slow_level_milli, rest_ms, quarantined, restarts)
             SELECT host, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM run WHERE id = ?",
        )?
        .execute(params![
            standing.plugin,
            clip(&standing.version, WORD),
            since_epoch(standing.at),
            standing.failures,
            standing.passing,
            millis(standing.last_delay),
            standing.quarantines,
            standing.on_trial,
            number(standing.slow_level_milli),
            millis(standing.rest),
            standing.quarantined,
            number(standing.restarts),
            run.0,
        ])?;
    Ok(())
}

fn insert_loss(
    transaction: &Transaction<'_>,
    run: RunId,
    at: SystemTime,
    records: u64,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT INTO loss (run, at_ms, records) VALUES (?, ?, ?)")?
        .execute(params![run.0, since_epoch(at), number(records)])?;
    Ok(())
}

/// At most so many bytes from the beginning, cut between characters.
fn clip(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

/// At most so many bytes of the end.
fn clip_front(text: &str, bytes: usize) -> &str {
    let cut = text.ceil_char_boundary(text.len().saturating_sub(bytes));
    text.get(cut..).unwrap_or(text)
}

/// Milliseconds since 1970; 0 for what was before.
pub(crate) fn since_epoch(at: SystemTime) -> i64 {
    at.duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Numbers in the file have a sign; none of ours is as large.
fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(clip("grüße", 3), "gr");
        assert_eq!(clip("grüße", 4), "grü");
        assert_eq!(clip("grüße", 99), "grüße");
        assert_eq!(clip_front("grüße", 3), "ße");
        assert_eq!(clip_front("grüße", 2), "e");
        assert_eq!(clip_front("", 2), "");
    }

    #[test]
    fn times_before_all_times_are_the_first() {
        assert_eq!(since_epoch(UNIX_EPOCH - Duration::from_secs(1)), 0);
        assert_eq!(since_epoch(UNIX_EPOCH + Duration::from_millis(1_500)), 1_500);
    }
}
