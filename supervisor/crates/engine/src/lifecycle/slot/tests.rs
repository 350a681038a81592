//! Tests of the slot: what each wish and each end leads to.

use super::{
    model::{World, nth},
    *,
};

const FIRST: InstanceId = InstanceId::FIRST;

fn rules(instances: usize, spares: usize) -> Rules {
    Rules { instances, spares, ..Rules::default() }
}

/// A world of one plugin, wanted and up.
fn running(rules: Rules) -> World {
    let mut world = World::new(rules);
    world.step(Event::Start);
    world.ready_all();
    assert_eq!(world.slot.state(), State::Running);
    world
}

fn one() -> World {
    running(rules(1, 0))
}

/// Fails at every start, until it is put in quarantine.
fn quarantined() -> World {
    let mut world = World::new(rules(1, 0));
    world.step(Event::Start);
    while !matches!(world.slot.state(), State::Quarantined { .. }) {
        let instance = world.slot.newest().unwrap();
        world.exit(instance, Exit::Failure);
        if matches!(world.slot.state(), State::Backoff { .. }) {
            world.pass(Timer::Gate);
        }
    }
    world
}

#[test]
fn a_crash_is_followed_by_a_start_after_the_delay() {
    let mut world = one();
    world.step(Event::Dying(FIRST));
    assert_eq!(world.slot.state(), State::Crashed);
    world.exit(FIRST, Exit::Failure);
    assert_eq!(world.slot.state(), State::Backoff { delay: Duration::from_millis(250) });
    assert_eq!(world.pass(Timer::Gate), [Effect::Launch(nth(2))]);
    assert_eq!(world.slot.restarts(), 1);
}

#[test]
fn nothing_starts_before_the_whole_tree_is_gone() {
    let mut world = one();
    world.step(Event::Dying(FIRST));
    assert_eq!(world.step(Event::Start), []);
    let effects = world.exit(FIRST, Exit::Failure);
    assert_eq!(effects.last(), Some(&Effect::Launch(nth(2))));
    assert_eq!(world.slot.restarts(), 0, "an operator's start is no restart of the policy's");
}

#[test]
fn the_stop_ladder_goes_down_rung_by_rung() {
    let mut world = one();
    let mut effects = world.step(Event::Stop);
    for rung in [Rung::Drain, Rung::Shutdown, Rung::Eof, Rung::Terminate, Rung::Kill] {
        assert_eq!(effects[0], Effect::Descend(FIRST, rung));
        assert_eq!(world.slot.state(), State::Stopping);
        effects = world.pass(Timer::Instance(FIRST));
    }
    assert_eq!(effects[0], Effect::Alert(FIRST));
    assert_eq!(world.slot.state(), State::Fenced);
    let again = world.pass(Timer::Instance(FIRST));
    assert_eq!(again[0], Effect::Descend(FIRST, Rung::Kill));
    world.exit(FIRST, Exit::Failure);
    assert_eq!(world.slot.state(), State::Stopped);
}

#[test]
fn a_polite_plugin_is_never_signalled() {
    let mut world = one();
    world.step(Event::Stop);
    assert_eq!(world.step(Event::Drained(FIRST))[0], Effect::Descend(FIRST, Rung::Shutdown));
    assert_eq!(world.step(Event::ShutDown(FIRST))[0], Effect::Descend(FIRST, Rung::Eof));
    world.exit(FIRST, Exit::Clean);
    assert_eq!(world.slot.state(), State::Stopped);
}

#[test]
fn a_second_stop_terminates_and_a_third_kills() {
    let mut world = one();
    world.step(Event::Stop);
    assert_eq!(world.step(Event::Stop)[0], Effect::Descend(FIRST, Rung::Terminate));
    assert_eq!(world.step(Event::Stop)[0], Effect::Descend(FIRST, Rung::Kill));
    assert_eq!(world.step(Event::Stop), []);
}

#[test]
fn stop_in_backoff_leaves_no_ghost_start() {
    let mut world = one();
    world.exit(FIRST, Exit::Failure);
    assert_eq!(world.step(Event::Stop), [Effect::Disarm(Timer::Gate)]);
    assert_eq!(world.slot.state(), State::Stopped);
    assert_eq!(world.step(Event::Due(Timer::Gate)), []);
    assert_eq!(world.slot.state(), State::Stopped);
}

#[test]
fn stop_ends_the_wait_for_others_at_once() {
    let mut world = World::new(rules(1, 0));
    world.step(Event::Needs(Needs::Missing(Hope::Coming)));
    assert_eq!(world.step(Event::Start), []);
    assert_eq!(world.slot.state(), State::Waiting(Hope::Coming));
    world.step(Event::Stop);
    assert_eq!(world.slot.state(), State::Stopped);
    assert_eq!(world.step(Event::Needs(Needs::Met)), []);
}

#[test]
fn what_waits_starts_when_what_it_needs_is_there() {
    let mut world = World::new(rules(1, 0));
    world.step(Event::Needs(Needs::Missing(Hope::Lost)));
    world.step(Event::Start);
    assert!(!world.slot.state().is_on_its_way_up());
    assert_eq!(world.step(Event::Needs(Needs::Met)), [Effect::Launch(FIRST)]);
    world.ready_all();
    world.step(Event::Needs(Needs::Missing(Hope::Lost)));
    assert_eq!(world.slot.state(), State::Running, "what runs is not stopped by this room");
}

#[test]
fn an_operator_start_ends_quarantine_and_absolves() {
    let mut world = quarantined();
    assert_eq!(world.slot.state(), State::Quarantined { length: Duration::from_secs(300) });
    assert_eq!(world.step(Event::Start).last(), Some(&Effect::Launch(nth(9))));
    assert_eq!(world.slot.failures(), 0);
}

#[test]
fn a_quarantine_ends_with_one_trial_and_doubles_if_it_fails() {
    let mut world = quarantined();
    world.pass(Timer::Gate);
    assert_eq!(world.slot.state(), State::Starting);
    world.exit(nth(9), Exit::Failure);
    assert_eq!(world.slot.state(), State::Quarantined { length: Duration::from_secs(600) });
}

#[test]
fn after_a_quarantine_one_instance_is_tried_and_the_others_follow_it() {
    let mut world = World::new(rules(3, 1));
    world.step(Event::Start);
    while !matches!(world.slot.state(), State::Quarantined { .. }) {
        world.exit_all(Exit::Failure);
        if matches!(world.slot.state(), State::Backoff { .. }) {
            world.pass(Timer::Gate);
        }
    }
    let trial = world.pass(Timer::Gate);
    let [Effect::Launch(instance)] = trial[..] else { panic!("{trial:?}") };
    world.step(Event::Ready(instance));
    assert_eq!(world.alive.len(), 1);
    world.pass(Timer::Instance(instance));
    assert_eq!(world.alive.len(), 3);
    world.ready_all();
    assert_eq!((world.alive.len(), world.slot.state()), (4, State::Running));
}

#[test]
fn an_outage_that_takes_all_instances_counts_once() {
    let mut world = running(rules(8, 0));
    world.exit_all(Exit::Failure);
    assert_eq!(world.slot.failures(), 1);
    world.pass(Timer::Gate);
    assert_eq!((world.alive.len(), world.slot.restarts()), (8, 8));
}

#[test]
fn a_last_word_counts_even_when_others_have_failed_before_it() {
    let mut world = running(rules(2, 0));
    world.exit(FIRST, Exit::Failure);
    world.exit(nth(2), Exit::Permanent);
    assert_eq!(world.slot.state(), State::Failed);
    assert!(!world.timers.contains_key(&Timer::Gate));
}

#[test]
fn stability_forgets_failures() {
    let mut world = World::new(rules(1, 0));
    world.step(Event::Start);
    world.exit(FIRST, Exit::Failure);
    world.pass(Timer::Gate);
    world.ready_all();
    assert_eq!(world.slot.failures(), 1);
    world.pass(Timer::Instance(nth(2)));
    assert_eq!((world.slot.state(), world.slot.failures()), (State::Running, 0));
}

#[test]
fn a_stop_during_the_start_does_not_wait_for_the_handshake() {
    let mut world = World::new(rules(1, 0));
    world.step(Event::Start);
    assert_eq!(world.step(Event::Stop)[0], Effect::Descend(FIRST, Rung::Terminate));
    assert_eq!(world.step(Event::Ready(FIRST)), []);
    world.exit(FIRST, Exit::Failure);
    assert_eq!(world.slot.state(), State::Stopped);
}

#[test]
fn a_restart_starts_the_next_instance_when_the_old_one_is_gone() {
    let mut world = one();
    world.step(Event::Restart);
    assert_eq!(world.slot.state(), State::Restarting);
    let effects = world.exit(FIRST, Exit::Clean);
    assert_eq!(effects.last(), Some(&Effect::Launch(nth(2))));
}

#[test]
fn a_call_wakes_an_idle_slot_but_not_a_stopped_one() {
    let mut world = World::new(rules(1, 0));
    assert_eq!(world.step(Event::Wanted), [Effect::Launch(FIRST)]);
    assert_eq!(world.step(Event::Wanted), []);
    world.step(Event::Stop);
    world.exit(FIRST, Exit::Clean);
    assert_eq!(world.step(Event::Wanted), []);
}

#[test]
fn a_spare_takes_over_in_the_step_that_tells_of_the_loss() {
    let mut world = running(rules(1, 1));
    assert_eq!(world.routable(), [FIRST]);
    world.step(Event::Dying(FIRST));
    assert_eq!((world.routable(), world.slot.state()), (vec![nth(2)], State::Running));
    world.exit(FIRST, Exit::Failure);
    assert_eq!(world.slot.state(), State::Running);
    assert_eq!(world.pass(Timer::Gate), [Effect::Launch(nth(3))]);
    world.ready_all();
    assert_eq!(world.routable(), [nth(2)], "the replacement is the spare now");
}

#[test]
fn spares_are_started_after_the_active_instances() {
    let mut world = World::new(rules(2, 2));
    world.step(Event::Start);
    assert_eq!(world.alive.len(), 2);
    world.step(Event::Ready(FIRST));
    assert_eq!(world.alive.len(), 2);
    world.step(Event::Ready(nth(2)));
    assert_eq!(world.alive.len(), 4);
}

#[test]
fn a_lost_instance_degrades_the_slot_until_it_is_replaced() {
    let mut world = World::new(rules(2, 0));
    world.step(Event::Start);
    world.step(Event::Ready(FIRST));
    assert_eq!(world.slot.state(), State::Running, "nothing was lost, only not all is up yet");
    world.step(Event::Ready(nth(2)));
    world.exit(nth(2), Exit::Failure);
    assert_eq!((world.slot.state(), world.routable()), (State::Degraded, vec![FIRST]));
    world.pass(Timer::Gate);
    world.ready_all();
    assert_eq!(world.slot.state(), State::Running);
}

#[test]
fn an_unready_instance_gives_its_place_to_a_spare() {
    let mut world = running(rules(1, 1));
    world.step(Event::Fitness(FIRST, Fitness::Unready));
    assert_eq!((world.routable(), world.slot.state()), (vec![nth(2)], State::Running));
    world.step(Event::Fitness(nth(2), Fitness::Unready));
    assert_eq!((world.routable(), world.slot.state()), (vec![], State::Degraded));
    world.step(Event::Fitness(FIRST, Fitness::Fit));
    assert_eq!((world.routable(), world.slot.state()), (vec![FIRST], State::Running));
}

#[test]
fn one_that_has_said_its_last_word_is_relieved_before_its_end_is_seen() {
    let mut world = running(rules(1, 1));
    world.step(Event::Fitness(FIRST, Fitness::Silent));
    assert_eq!((world.routable(), world.slot.state()), (vec![nth(2)], State::Running));
    world.step(Event::Fitness(FIRST, Fitness::Fit));
    assert_eq!(world.routable(), [nth(2)], "it does not recover");
    world.exit(FIRST, Exit::Failure);
    assert_eq!(world.pass(Timer::Gate), [Effect::Launch(nth(3))]);
}

#[test]
fn an_ailing_instance_is_called_all_the_same() {
    let mut world = one();
    world.step(Event::Fitness(FIRST, Fitness::Ailing));
    assert_eq!((world.routable(), world.slot.state()), (vec![FIRST], State::Degraded));
}

#[test]
fn what_cannot_be_killed_keeps_its_place_and_the_others_go_on() {
    let mut world = running(rules(2, 0));
    world.step(Event::Dying(FIRST));
    world.pass(Timer::Instance(FIRST));
    assert_eq!((world.slot.state(), world.alive.len()), (State::Degraded, 2));
    world.step(Event::Start);
    assert_eq!(world.alive.len(), 2, "nothing starts in its place");
}

fn resting() -> World {
    running(Rules { idle_stop: Some(Duration::from_secs(300)), ..rules(1, 0) })
}

#[test]
fn a_plugin_that_nobody_calls_is_put_to_rest_until_the_next_call() {
    let mut world = resting();
    world.elapse(Timer::Rest);
    let effects = world.step(Event::Rested(Duration::from_secs(120)));
    assert_eq!(effects, [Effect::Arm(Timer::Rest, Duration::from_secs(180))]);
    world.elapse(Timer::Rest);
    world.step(Event::Rested(Duration::from_secs(300)));
    assert_eq!(world.slot.state(), State::Resting);
    world.exit(FIRST, Exit::Clean);
    assert_eq!((world.slot.state(), world.timers.len()), (State::Idle, 0));
    assert_eq!(world.step(Event::Wanted), [Effect::Launch(nth(2))]);
}

#[test]
fn a_call_during_the_way_to_rest_brings_it_back() {
    let mut world = resting();
    world.elapse(Timer::Rest);
    world.step(Event::Rested(Duration::from_secs(300)));
    assert_eq!(world.step(Event::Wanted), []);
    assert_eq!(world.slot.state(), State::Restarting);
    assert_eq!(world.exit(FIRST, Exit::Clean).last(), Some(&Effect::Launch(nth(2))));
}

#[test]
fn a_stable_plugin_has_no_timer() {
    let mut world = running(rules(2, 1));
    while let Some(timer) = world.timers.keys().next().copied() {
        world.pass(timer);
    }
    assert_eq!((world.slot.state(), world.alive.len()), (State::Running, 3));
}

#[test]
fn a_quarantine_that_an_earlier_host_began_is_sat_out_and_then_tried() {
    let past = crate::lifecycle::restart::Past {
        on_trial: true,
        rest: Duration::from_secs(300),
        ..Default::default()
    };
    let standing = Standing { past, restarts: 7, quarantined: true };
    let moment = |seconds| Moment { now: Duration::from_secs(seconds), dice: 0.5 };
    let resumed = |ago| {
        let rules = Rules { instances: 2, ..Rules::default() };
        let mut slot = Slot::new(rules, Needs::Met);
        let effects = slot.resume(&standing, Duration::from_secs(ago), Duration::ZERO);
        assert_eq!((slot.state(), slot.restarts()), (State::Idle, 7));
        (slot, effects)
    };
    let (mut slot, effects) = resumed(100);
    let left = Duration::from_secs(200);
    assert_eq!(effects, [Effect::Arm(Timer::Gate, left)]);
    assert_eq!(slot.step(Event::Wanted, moment(1)), []);
    assert_eq!(slot.state(), State::Quarantined { length: left });
    let tried = slot.step(Event::Due(Timer::Gate), moment(200));
    assert_eq!(tried, [Effect::Launch(InstanceId::FIRST)], "one of two, on trial");
    let (mut slot, effects) = resumed(301);
    assert_eq!(effects, []);
    assert_eq!(slot.step(Event::Wanted, moment(1)), [Effect::Launch(InstanceId::FIRST)]);
    let (mut slot, _) = resumed(0);
    slot.step(Event::Start, moment(1));
    assert_eq!((slot.state(), slot.instances().len()), (State::Starting, 2), "by hand");
}
