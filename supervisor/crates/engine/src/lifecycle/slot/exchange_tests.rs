//! Tests of the exchange of generations: who answers, who goes, and what brings the old one back.

use super::{
    model::{World, nth},
    *,
};

const BAKE: Duration = Duration::from_secs(300);

fn running(instances: usize, spares: usize) -> World {
    let mut world = World::new(Rules { instances, spares, ..Rules::default() });
    world.step(Event::Start);
    world.ready_all();
    world
}

fn first() -> Generation {
    Generation::FIRST
}

fn second() -> Generation {
    first().next()
}

/// The generations of those who take calls.
fn answering(world: &World) -> Vec<Generation> {
    let routable = world.slot.instances().iter().filter(|one| one.is_routable());
    routable.map(Instance::generation).collect()
}

fn last_turn(world: &World) -> Turn {
    world.turns.last().unwrap().1
}

#[test]
fn the_old_generation_answers_until_all_of_the_new_one_is_ready() {
    let mut world = running(2, 0);
    world.swap(SwapStrategy::Overlap, BAKE);
    assert_eq!(world.alive.len(), 4);
    world.step(Event::Ready(nth(3)));
    assert_eq!(answering(&world), [first(), first()]);
    let effects = world.step(Event::Ready(nth(4)));
    assert_eq!(answering(&world), [second(), second()]);
    assert!(!effects.iter().any(|one| matches!(one, Effect::Descend(..))), "the old one stands by");
    assert_eq!(world.slot.state(), State::Running);
}

#[test]
fn the_old_generation_goes_when_the_new_one_has_proved_itself() {
    let mut world = running(1, 0);
    world.swap(SwapStrategy::Overlap, BAKE);
    world.step(Event::Ready(nth(2)));
    let effects = world.pass(Timer::Exchange);
    assert!(effects.contains(&Effect::Descend(nth(1), Rung::Drain)));
    assert_eq!(last_turn(&world), Turn::Kept);
    world.exit(nth(1), Exit::Clean);
    assert_eq!((last_turn(&world), world.slot.exchange()), (Turn::Over, None));
    assert_eq!(world.slot.generation(), second());
}

#[test]
fn a_crash_while_it_proves_itself_brings_the_old_one_back_at_once() {
    let mut world = running(1, 0);
    world.swap(SwapStrategy::Overlap, BAKE);
    world.step(Event::Ready(nth(2)));
    world.step(Event::Dying(nth(2)));
    assert_eq!(answering(&world), [first()]);
    assert_eq!(last_turn(&world), Turn::RolledBack(Setback::Ended(nth(2))));
    world.exit(nth(2), Exit::Failure);
    assert_eq!((world.slot.state(), world.alive.len()), (State::Running, 1));
    assert_eq!(world.slot.failures(), 0, "the crash was the other generation's");
}

#[test]
fn a_crash_brings_the_old_one_back_though_none_of_it_runs() {
    let mut world = running(1, 0);
    world.swap(SwapStrategy::Overlap, BAKE);
    world.step(Event::Ready(nth(2)));
    world.exit(nth(1), Exit::Failure);
    let effects = world.step(Event::Dying(nth(2)));
    assert!(effects.contains(&Effect::Launch(nth(3))));
    world.exit(nth(2), Exit::Failure);
    world.step(Event::Ready(nth(3)));
    assert_eq!(answering(&world), [first()]);
}

#[test]
fn a_new_generation_that_does_not_come_up_changes_nothing() {
    let mut world = running(1, 0);
    world.swap(SwapStrategy::Overlap, BAKE);
    world.exit(nth(2), Exit::Permanent);
    assert_eq!(
        world.turns[1..],
        [(second(), Turn::Aborted(Setback::Ended(nth(2)))), (second(), Turn::Over)]
    );
    assert_eq!((answering(&world), world.slot.state()), (vec![first()], State::Running));
}

#[test]
fn one_that_never_becomes_ready_is_given_up() {
    let mut world = running(1, 0);
    world.swap(SwapStrategy::Overlap, BAKE);
    world.pass(Timer::Exchange);
    assert_eq!(last_turn(&world), Turn::Aborted(Setback::Late));
    assert_eq!(world.rungs[&nth(2)], Rung::Terminate);
}

#[test]
fn the_old_one_is_restarted_while_the_new_one_comes_up() {
    let mut world = running(1, 0);
    world.swap(SwapStrategy::Overlap, BAKE);
    world.exit(nth(1), Exit::Failure);
    assert!(matches!(world.slot.state(), State::Backoff { .. }));
    world.step(Event::Ready(nth(2)));
    assert_eq!(answering(&world), [second()]);
    assert!(!world.timers.contains_key(&Timer::Gate), "the new one has no failures to wait for");
}

#[test]
fn calls_wait_only_while_state_is_handed_over() {
    let mut world = running(1, 0);
    world.swap(SwapStrategy::Handoff, BAKE);
    assert!(!world.slot.is_handing_over());
    let effects = world.step(Event::Ready(nth(2)));
    assert!(effects.contains(&Effect::HandOver(second())));
    assert!(world.slot.is_handing_over());
    world.step(Event::HandedOver(second(), true));
    assert!(!world.slot.is_handing_over());
    assert_eq!(answering(&world), [second()]);
}

#[test]
fn state_that_is_not_handed_over_leaves_the_old_one_answering() {
    let mut world = running(1, 0);
    for (turn, setback) in [(Some(false), Setback::State), (None, Setback::Late)] {
        world.swap(SwapStrategy::Handoff, BAKE);
        let candidate = world.slot.newest().unwrap();
        world.step(Event::Ready(candidate));
        match turn {
            Some(done) => world.step(Event::HandedOver(world.youngest, done)),
            None => world.pass(Timer::Exchange),
        };
        assert_eq!(last_turn(&world), Turn::Aborted(setback));
        assert_eq!(answering(&world), [first()]);
        world.exit(candidate, Exit::Clean);
    }
    let before = world.slot.clone();
    assert_eq!(world.step(Event::HandedOver(second(), true)), [], "it comes too late");
    assert_eq!(world.slot, before);
}

#[test]
fn an_exclusive_plugin_never_runs_twice() {
    let mut world = running(1, 0);
    let effects = world.swap(SwapStrategy::Exclusive, BAKE);
    assert!(effects.contains(&Effect::Descend(nth(1), Rung::Drain)));
    assert_eq!(world.alive.len(), 1);
    assert_eq!(world.slot.state(), State::Restarting);
    world.exit(nth(1), Exit::Clean);
    assert_eq!(world.alive.iter().copied().collect::<Vec<_>>(), [nth(2)]);
    world.step(Event::Ready(nth(2)));
    assert_eq!(answering(&world), [second()]);
    world.step(Event::Dying(nth(2)));
    assert_eq!(world.alive.len(), 1, "the old one waits until the new one is gone");
    world.exit(nth(2), Exit::Failure);
    world.step(Event::Ready(nth(3)));
    assert_eq!(answering(&world), [first()]);
}

#[test]
fn an_exclusive_one_that_does_not_come_up_gives_way_to_the_old_one() {
    let mut world = running(1, 0);
    world.swap(SwapStrategy::Exclusive, BAKE);
    world.exit(nth(1), Exit::Clean);
    let effects = world.exit(nth(2), Exit::Failure);
    assert!(effects.contains(&Effect::Launch(nth(3))));
    world.step(Event::Ready(nth(3)));
    assert_eq!((answering(&world), world.slot.state()), (vec![first()], State::Running));
}

#[test]
fn the_last_of_several_exchanges_counts() {
    let mut world = running(1, 0);
    for _ in 0..3 {
        world.swap(SwapStrategy::Overlap, BAKE);
    }
    let superseded = Turn::Aborted(Setback::Superseded);
    let third = second().next();
    assert_eq!(
        world.turns,
        [(second(), Turn::Begun(first())), (second(), superseded), (third, superseded)]
    );
    world.exit(nth(2), Exit::Clean);
    world.step(Event::Ready(nth(3)));
    assert_eq!(answering(&world), [third.next()]);
}

#[test]
fn an_exchange_during_the_bake_keeps_what_is_baked() {
    let mut world = running(1, 0);
    world.swap(SwapStrategy::Overlap, BAKE);
    world.step(Event::Ready(nth(2)));
    world.swap(SwapStrategy::Overlap, BAKE);
    assert_eq!(last_turn(&world), Turn::Kept);
    world.exit(nth(1), Exit::Clean);
    world.step(Event::Ready(nth(3)));
    assert_eq!(answering(&world), [second().next()]);
}

#[test]
fn what_does_not_run_is_exchanged_at_once() {
    let mut world = World::new(Rules::default());
    world.swap(SwapStrategy::Overlap, BAKE);
    assert_eq!((world.slot.generation(), world.alive.len()), (second(), 0));
    world.step(Event::Start);
    world.exit(nth(1), Exit::Failure);
    assert!(matches!(world.slot.state(), State::Backoff { .. }));
    world.swap(SwapStrategy::Overlap, BAKE);
    assert_eq!(world.slot.state(), State::Starting, "a new version need not wait");
    assert_eq!(world.slot.failures(), 0);
}

#[test]
fn a_stop_ends_an_exchange_and_everything_with_it() {
    for baking in [false, true] {
        let mut world = running(1, 0);
        world.swap(SwapStrategy::Overlap, BAKE);
        if baking {
            world.step(Event::Ready(nth(2)));
        }
        world.step(Event::Stop);
        assert_eq!(world.slot.state(), State::Stopping);
        world.exit_all(Exit::Clean);
        assert_eq!((world.slot.state(), world.slot.exchange()), (State::Stopped, None));
        let expected = if baking { second() } else { first() };
        assert_eq!(world.slot.generation(), expected);
    }
}

#[test]
fn what_cannot_be_killed_does_not_hold_up_the_next_exchange() {
    let mut world = running(1, 0);
    world.swap(SwapStrategy::Overlap, Duration::ZERO);
    world.step(Event::Ready(nth(2)));
    for _ in 0..5 {
        world.pass(Timer::Instance(nth(1)));
    }
    assert_eq!(last_turn(&world), Turn::Over);
    world.swap(SwapStrategy::Overlap, Duration::ZERO);
    world.step(Event::Ready(nth(3)));
    assert_eq!(answering(&world), [second().next()]);
}
