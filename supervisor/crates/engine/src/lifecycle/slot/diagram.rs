//! Every situation that a slot can come into is visited. The tables in the documentation of the slot
//! and of the instance are what is seen on the way, and what must always be true is so everywhere.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{model::World, properties::check, *};

/// From where, on what, to where.
type Changes = BTreeMap<(String, String), BTreeSet<String>>;

/// The table in a module's documentation that begins with this state: a line per state, that goes
/// on where the next one is indented; `on, on → to, to`, and a dot between.
fn written(source: &str, first: &str) -> Changes {
    let lines = source.lines().filter_map(|line| line.strip_prefix("//! "));
    let table = lines.skip_while(|line| !line.starts_with(first)).take_while(|line| *line != "```");
    let mut changes = Changes::new();
    let mut from = "";
    for line in table {
        let (state, clauses) = line.split_at(12);
        from = if state.trim().is_empty() { from } else { state.trim() };
        for clause in clauses.split('·').filter(|clause| !clause.trim().is_empty()) {
            let (on, to) = clause.split_once('→').expect("`on → to`");
            for on in on.split(',') {
                let to = to.split(',').map(|to| to.trim().to_owned());
                changes.entry((from.to_owned(), on.trim().to_owned())).or_default().extend(to);
            }
        }
    }
    changes
}

/// The table as it is to be written.
fn table(changes: &Changes) -> String {
    let mut clauses: BTreeMap<&str, BTreeMap<String, Vec<&str>>> = BTreeMap::new();
    for ((from, on), to) in changes {
        let to: Vec<&str> = to.iter().map(String::as_str).collect();
        clauses.entry(from).or_default().entry(to.join(", ")).or_default().push(on);
    }
    let mut text = String::new();
    for (from, clauses) in clauses {
        let mut line = format!("//! {from:<12}");
        for (place, (to, on)) in clauses.iter().enumerate() {
            let clause = format!("{} → {to}", on.join(", "));
            if line.chars().count() + clause.chars().count() > 97 {
                text.push_str(&format!("{line} ·\n"));
                line = format!("//! {:12}{clause}", "");
            } else {
                line.push_str(if place == 0 { "" } else { " · " });
                line.push_str(&clause);
            }
        }
        text.push_str(&format!("{line}\n"));
    }
    text
}

fn compare(source: &str, first: &str, found: &Changes) {
    let written = written(source, first);
    assert_eq!(written, *found, "the table should be:\n{}", table(found));
}

/// What tells situations apart that lead to different futures. Numbers and times do not.
fn situation(world: &World) -> String {
    let slot = &world.slot;
    let instances: Vec<_> = slot.instances.iter().map(|one| (one.role(), one.phase())).collect();
    let gate = match slot.gate {
        Gate::Trial(Some(id)) => format!("{:?}", slot.get(id).map(Instance::phase)),
        Gate::Backoff(_) => "backoff".to_owned(),
        Gate::Quarantine(_) => "quarantine".to_owned(),
        Gate::Open | Gate::Trial(None) | Gate::Stopped | Gate::Failed => {
            format!("{:?}", slot.gate)
        }
    };
    let armed: Vec<bool> = [Timer::Gate, Timer::Rest]
        .into_iter()
        .chain(slot.instances.iter().map(|one| Timer::Instance(one.id())))
        .map(|timer| world.timers.contains_key(&timer))
        .collect();
    let failures = slot.failures().min(2);
    format!(
        "{:?} {gate} {:?} {instances:?} {armed:?} {failures} {} {} {}",
        slot.wish,
        slot.needs,
        slot.history.is_on_trial(),
        slot.wounded,
        slot.paused
    )
}

/// All that can happen to a slot.
fn events(world: &World) -> Vec<(&'static str, Event)> {
    let mut events = vec![
        ("start", Event::Start),
        ("wanted", Event::Wanted),
        ("stop", Event::Stop),
        ("restart", Event::Restart),
        ("refuse", Event::Refuse),
        ("needs", Event::Needs(Needs::Met)),
        ("needs", Event::Needs(Needs::Missing(Hope::Coming))),
        ("needs", Event::Needs(Needs::Missing(Hope::Lost))),
        ("yield", Event::Yield),
        ("pause", Event::Pause(!world.slot.is_paused())),
        ("banish", Event::Banish(Duration::from_secs(300))),
    ];
    for id in &world.alive {
        events.extend([
            ("ready", Event::Ready(*id)),
            ("fitness", Event::Fitness(*id, Fitness::Fit)),
            ("fitness", Event::Fitness(*id, Fitness::Ailing)),
            ("fitness", Event::Fitness(*id, Fitness::Unready)),
            ("fitness", Event::Fitness(*id, Fitness::Silent)),
            ("dying", Event::Dying(*id)),
            ("drained", Event::Drained(*id)),
            ("shut down", Event::ShutDown(*id)),
            ("exited", Event::Exited(*id, Exit::Failure)),
            ("exited", Event::Exited(*id, Exit::Clean)),
            ("exited", Event::Exited(*id, Exit::Permanent)),
        ]);
    }
    events.extend(world.timers.keys().map(|timer| match timer {
        Timer::Rest => ("rested", Event::Rested(Duration::MAX)),
        Timer::Gate | Timer::Exchange | Timer::Instance(_) => ("due", Event::Due(*timer)),
    }));
    events
}

/// What others do to a slot, which multiplies its situations more than it changes them.
const FOREIGN: [&str; 3] = ["yield", "pause", "banish"];

/// Visits every situation of a slot with these rules that these events lead to.
fn explore(rules: Rules, except: &[&str], mut seen: impl FnMut(&World, &'static str, &World)) {
    let first = World::new(rules);
    let mut known = BTreeSet::from([situation(&first)]);
    let mut agenda = VecDeque::from([first]);
    while let Some(world) = agenda.pop_front() {
        for (name, event) in events(&world).into_iter().filter(|(name, _)| !except.contains(name)) {
            let mut next = world.clone();
            if let Event::Due(timer) = event {
                next.timers.remove(&timer);
            }
            next.step(event);
            seen(&world, name, &next);
            if known.insert(situation(&next)) {
                agenda.push_back(next);
            }
        }
    }
}

fn rules(instances: usize, spares: usize, idle_stop: Option<Duration>) -> Rules {
    let policy = Policy { breaker: 2, slow_breaker: u32::MAX, ..Policy::default() };
    Rules { instances, spares, idle_stop, policy, ..Rules::default() }
}

#[test]
fn the_table_of_states_is_what_the_slot_does() {
    let mut found = Changes::new();
    explore(rules(1, 0, Some(Duration::from_secs(1))), &[], |before, name, after| {
        let (from, to) = (before.slot.state().name(), after.slot.state().name());
        if from != to {
            found.entry((from.to_owned(), name.to_owned())).or_default().insert(to.to_owned());
        }
    });
    compare(include_str!("../slot.rs"), "backoff ", &found);
}

#[test]
fn what_must_always_be_true_is_so_wherever_a_slot_can_come() {
    for (instances, spares) in [(1, 0), (2, 0), (1, 1)] {
        let except: &[&str] = if instances + spares > 1 { &FOREIGN } else { &[] };
        explore(rules(instances, spares, None), except, |_, name, after| {
            check(after).unwrap_or_else(|problem| panic!("on {name}: {problem}: {after:?}"));
        });
    }
}

fn phase(instance: &Instance) -> &'static str {
    match instance.phase() {
        Phase::Starting => "starting",
        Phase::Ready(_) => "ready",
        Phase::Ending { rung: Rung::Drain, .. } => "drain",
        Phase::Ending { rung: Rung::Shutdown, .. } => "shutdown",
        Phase::Ending { rung: Rung::Eof, .. } => "eof",
        Phase::Ending { rung: Rung::Terminate, .. } => "terminate",
        Phase::Ending { rung: Rung::Kill, .. } => "kill",
        Phase::Unkillable { .. } => "unkillable",
    }
}

#[test]
fn the_table_of_phases_is_what_an_instance_does() {
    let events = [
        ("ready", instance::Event::Ready),
        ("fitness", instance::Event::Fitness(Fitness::Unready)),
        ("end", instance::Event::End),
        ("hasten", instance::Event::Hasten),
        ("dying", instance::Event::Dying),
        ("drained", instance::Event::Drained),
        ("shut down", instance::Event::ShutDown),
        ("due", instance::Event::Due),
    ];
    let mut found = Changes::new();
    let mut known = vec![Instance::new(InstanceId::FIRST, Generation::FIRST)];
    let mut place = 0;
    while let Some(before) = known.get(place).cloned() {
        place += 1;
        for (name, event) in events {
            let mut after = before.clone();
            after.step(event, &Ladder::default());
            let (from, to) = (phase(&before).to_owned(), phase(&after).to_owned());
            if from != to {
                found.entry((from, name.to_owned())).or_default().insert(to);
            }
            if !known.contains(&after) {
                known.push(after);
            }
        }
    }
    compare(include_str!("../instance.rs"), "starting ", &found);
}
