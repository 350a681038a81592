//! `[supervision]`: words and numbers within bounds, and the pairs that must fit together.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use crate::{
    field::{Field, Section},
    key::{HEALTH, SUPERVISION},
    neutral::echo,
    supervision::{ExitRule, Health, IgnoredCancel, Restart, StartMode, Supervision},
};

pub(super) fn read(section: &Section<'_>) -> Supervision {
    let tables = ["exit_codes", "health"];
    section.refuse_unknown(&SUPERVISION.names().chain(tables).collect::<Vec<_>>());
    let of = Reader(section);
    let defaults = Supervision::default();
    let supervision = Supervision {
        restart: of.choice("restart", &Restart::ALL, Restart::as_str),
        start: of.choice("start", &StartMode::ALL, StartMode::as_str),
        start_timeout: of.duration("start_timeout", defaults.start_timeout),
        drain_timeout: of.duration("drain_timeout", defaults.drain_timeout),
        stop_timeout: of.duration("stop_timeout", defaults.stop_timeout),
        idle_stop: section.get("idle_stop").and_then(|field| field.duration()),
        instances: of.count("instances", 1..=64).unwrap_or(defaults.instances),
        spares: of.count("spares", 0..=16).unwrap_or(defaults.spares),
        max_inflight: of.count("max_inflight", 1..=65_536).unwrap_or(defaults.max_inflight),
        backoff_initial: of.duration("backoff_initial", defaults.backoff_initial),
        backoff_max: of.duration("backoff_max", defaults.backoff_max),
        backoff_reset: of.duration("backoff_reset", defaults.backoff_reset),
        breaker: of.count("breaker", 1..=1_000).unwrap_or(defaults.breaker),
        slow_breaker: of.count("slow_breaker", 1..=1_000).unwrap_or(defaults.slow_breaker),
        slow_breaker_leak: of.duration("slow_breaker_leak", defaults.slow_breaker_leak),
        quarantine: of.duration("quarantine", defaults.quarantine),
        quarantine_max: of.duration("quarantine_max", defaults.quarantine_max),
        give_up_after: of.count("give_up_after", 1..=1_000),
        ignored_cancel: of.choice("ignored_cancel", &IgnoredCancel::ALL, IgnoredCancel::as_str),
        circuit: section.get("circuit").and_then(|field| field.flag()).unwrap_or(defaults.circuit),
        exit_codes: of.table("exit_codes").map(|table| exit_codes(&table)).unwrap_or_default(),
        health: of.table("health").map(|table| health(&table)).unwrap_or_default(),
    };
    let Supervision { backoff_initial, backoff_max, quarantine, quarantine_max, .. } = supervision;
    of.ordered(("backoff_initial", backoff_initial), ("backoff_max", backoff_max));
    of.ordered(("quarantine", quarantine), ("quarantine_max", quarantine_max));
    supervision
}

/// `[supervision.exit_codes]`: every key is a status.
fn exit_codes(section: &Section<'_>) -> BTreeMap<u8, ExitRule> {
    let mut rules = BTreeMap::new();
    for (name, _, field) in section.entries() {
        let rule = field.choice(&ExitRule::ALL, ExitRule::as_str);
        let plain = name.parse::<u8>().ok().filter(|code| code.to_string() == name);
        match plain {
            Some(code) => rules.extend(rule.map(|rule| (code, rule))),
            None => field.wrong(
                format!("`{}` is not an exit status", echo(name)),
                "a whole number from 0 to 255",
            ),
        }
    }
    rules
}

/// `[supervision.health]`
fn health(section: &Section<'_>) -> Health {
    section.refuse_unknown(&HEALTH.names().collect::<Vec<_>>());
    let of = Reader(section);
    let defaults = Health::default();
    let health = Health {
        ping_interval: of.duration("ping_interval", defaults.ping_interval),
        ping_timeout: of.duration("ping_timeout", defaults.ping_timeout),
        hang_timeout: of.duration("hang_timeout", defaults.hang_timeout),
        busy_timeout: of.duration("busy_timeout", defaults.busy_timeout),
        ready_interval: of.duration("ready_interval", defaults.ready_interval),
        ready_timeout: of.duration("ready_timeout", defaults.ready_timeout),
        ready_failures: of.count("ready_failures", 1..=100).unwrap_or(defaults.ready_failures),
        ready_successes: of.count("ready_successes", 1..=100).unwrap_or(defaults.ready_successes),
    };
    of.ordered(("hang_timeout", health.hang_timeout), ("busy_timeout", health.busy_timeout));
    health
}

/// A table of words and numbers with defaults.
struct Reader<'s, 'r>(&'s Section<'r>);

impl<'r> Reader<'_, 'r> {
    fn choice<T: Copy + Default>(
        &self,
        name: &str,
        all: &[T],
        word: impl Fn(T) -> &'static str,
    ) -> T {
        self.0.get(name).and_then(|field| field.choice(all, word)).unwrap_or_default()
    }

    fn duration(&self, name: &str, default: Duration) -> Duration {
        self.0.get(name).and_then(|field| field.duration()).unwrap_or(default)
    }

    fn count(&self, name: &str, bounds: RangeInclusive<u64>) -> Option<u32> {
        let count = self.0.get(name).and_then(|field| field.count(bounds))?;
        u32::try_from(count).ok()
    }

    fn table(&self, name: &str) -> Option<Section<'r>> {
        self.0.get(name).and_then(|field| field.section())
    }

    /// Of two durations, the one called first must not be longer; whichever is written is blamed.
    fn ordered(&self, short: (&str, Duration), long: (&str, Duration)) {
        if short.1 <= long.1 {
            return;
        }
        let blamed: Option<Field<'r>> = self.0.get(short.0).or_else(|| self.0.get(long.0));
        if let Some(field) = blamed {
            let message = format!("`{}` is longer than `{}`", short.0, long.0);
            field.wrong(message, "a first wait that is not longer than the longest");
        }
    }
}
