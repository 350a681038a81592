//! What holds in a slot whatever happens in which order, on a clock that only the test moves.

use proptest::prelude::*;

use super::{
    model::{World, nth},
    *,
};

/// Something that happens. Numbers choose among what there is.
#[derive(Debug, Clone, Copy)]
enum Shake {
    Start,
    Wanted,
    Stop,
    Restart,
    Refuse,
    Needs(Needs),
    Yield,
    Pause(bool),
    Banish,
    Swap(SwapStrategy, bool),
    HandedOver(bool),
    Recall,
    Accept,
    /// Something that an instance does, whoever it is: it may be long gone.
    Does(u8, Deed),
    /// The next timer is due.
    Due,
    /// Nobody has called for so many seconds, whether that was asked or not.
    Rested(u16),
    /// A timer comes that nobody has armed.
    Ghost(u8),
}

#[derive(Debug, Clone, Copy)]
enum Deed {
    Ready,
    Fitness(Fitness),
    Dying,
    Drained,
    ShutDown,
    Exit(Exit),
}

fn any_shake() -> impl Strategy<Value = Shake> {
    let needs = prop_oneof![
        2 => Just(Needs::Met),
        1 => Just(Needs::Missing(Hope::Coming)),
        1 => Just(Needs::Missing(Hope::Lost)),
    ];
    prop_oneof![
        2 => Just(Shake::Start),
        2 => Just(Shake::Wanted),
        1 => Just(Shake::Stop),
        1 => Just(Shake::Restart),
        1 => Just(Shake::Refuse),
        2 => needs.prop_map(Shake::Needs),
        1 => Just(Shake::Yield),
        1 => any::<bool>().prop_map(Shake::Pause),
        1 => Just(Shake::Banish),
        1 => (any_strategy(), any::<bool>()).prop_map(|(how, bakes)| Shake::Swap(how, bakes)),
        1 => any::<bool>().prop_map(Shake::HandedOver),
        1 => Just(Shake::Recall),
        1 => Just(Shake::Accept),
        24 => (any::<u8>(), any_deed()).prop_map(|(who, deed)| Shake::Does(who, deed)),
        8 => Just(Shake::Due),
        1 => (0_u16..400).prop_map(Shake::Rested),
        1 => any::<u8>().prop_map(Shake::Ghost),
    ]
}

fn any_strategy() -> impl Strategy<Value = SwapStrategy> {
    prop_oneof![
        Just(SwapStrategy::Overlap),
        Just(SwapStrategy::Handoff),
        Just(SwapStrategy::Exclusive),
    ]
}

fn any_deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        8 => Just(Deed::Ready),
        1 => Just(Deed::Fitness(Fitness::Fit)),
        1 => Just(Deed::Fitness(Fitness::Ailing)),
        1 => Just(Deed::Fitness(Fitness::Unready)),
        1 => Just(Deed::Fitness(Fitness::Silent)),
        4 => Just(Deed::Dying),
        2 => Just(Deed::Drained),
        2 => Just(Deed::ShutDown),
        1 => Just(Deed::Exit(Exit::Clean)),
        4 => Just(Deed::Exit(Exit::Failure)),
        1 => Just(Deed::Exit(Exit::Exhausted)),
        1 => Just(Deed::Exit(Exit::Passing)),
        1 => Just(Deed::Exit(Exit::Declined)),
        1 => Just(Deed::Exit(Exit::Permanent)),
    ]
}

fn any_rules() -> impl Strategy<Value = Rules> {
    (1_usize..4, 0_usize..3, prop::option::of(Just(Duration::from_secs(300)))).prop_map(
        |(instances, spares, idle_stop)| Rules { instances, spares, idle_stop, ..Rules::default() },
    )
}

/// The event of a shake. `None` if the world cannot bring it about: what is gone exits no more, and
/// no timer is due when none is armed.
fn event(world: &mut World, shake: Shake) -> Option<Event> {
    Some(match shake {
        Shake::Start => Event::Start,
        Shake::Wanted => Event::Wanted,
        Shake::Stop => Event::Stop,
        Shake::Restart => Event::Restart,
        Shake::Refuse => Event::Refuse,
        Shake::Needs(needs) => Event::Needs(needs),
        Shake::Yield => Event::Yield,
        Shake::Pause(paused) => Event::Pause(paused),
        Shake::Banish => Event::Banish(Duration::from_secs(300)),
        Shake::Swap(how, bakes) => {
            let bake = if bakes { Duration::from_secs(300) } else { Duration::ZERO };
            world.swap(how, bake);
            return None;
        }
        Shake::HandedOver(done) => Event::HandedOver(world.handing.take()?, done),
        Shake::Recall => Event::Recall(world.youngest),
        Shake::Accept => Event::Accept(world.youngest),
        Shake::Rested(seconds) => Event::Rested(Duration::from_secs(seconds.into())),
        Shake::Ghost(back) => Event::Due(Timer::Instance(nth(u64::from(back) + 10_000))),
        Shake::Due => {
            let timer = *world.timers.iter().min_by_key(|(_, due)| **due)?.0;
            world.elapse(timer);
            match timer {
                Timer::Rest => Event::Rested(Duration::from_secs(300)),
                Timer::Gate | Timer::Exchange | Timer::Instance(_) => Event::Due(timer),
            }
        }
        Shake::Does(who, deed) => {
            let known = world.slot.newest()?.number();
            let instance = nth(known.saturating_sub(u64::from(who) % 6).max(1));
            match deed {
                Deed::Ready => Event::Ready(instance),
                Deed::Fitness(fitness) => Event::Fitness(instance, fitness),
                Deed::Dying => Event::Dying(instance),
                Deed::Drained => Event::Drained(instance),
                Deed::ShutDown => Event::ShutDown(instance),
                Deed::Exit(exit) => Event::Exited(instance, exit),
            }
        }
    })
}

/// Whose event it is, if it is one of a process.
fn subject(event: Event) -> Option<InstanceId> {
    match event {
        Event::Ready(id)
        | Event::Fitness(id, _)
        | Event::Dying(id)
        | Event::Drained(id)
        | Event::ShutDown(id)
        | Event::Exited(id, _)
        | Event::Due(Timer::Instance(id)) => Some(id),
        Event::Start
        | Event::Wanted
        | Event::Stop
        | Event::Restart
        | Event::Refuse
        | Event::Needs(_)
        | Event::Yield
        | Event::Pause(_)
        | Event::Banish(_)
        | Event::HandedOver(..)
        | Event::Recall(_)
        | Event::Accept(_)
        | Event::Rested(_)
        | Event::Due(Timer::Gate | Timer::Exchange | Timer::Rest) => None,
    }
}

/// What must be true between any two events.
pub(super) fn check(world: &World) -> Result<(), TestCaseError> {
    let slot = &world.slot;
    let known: Vec<InstanceId> = slot.instances().iter().map(Instance::id).collect();
    prop_assert_eq!(&known, &world.alive.iter().copied().collect::<Vec<_>>());

    let routable: Vec<_> = slot.instances().iter().filter(|one| one.is_routable()).collect();
    prop_assert!(routable.len() <= slot.rules().instances, "more active than wanted");
    prop_assert!(routable.iter().all(|one| one.generation() == slot.generation()));
    let own = slot.instances().iter().filter(|one| one.role() != Role::Aside);
    prop_assert!(own.clone().all(|one| one.generation() == slot.generation()));
    let able = own.filter(|one| one.is_able()).count();
    prop_assert_eq!(routable.len(), able.min(slot.rules().instances), "a spare stands by idly");

    // Whatever waits for time to pass has a timer, and no timer is nobody's.
    if matches!(slot.state(), State::Backoff { .. } | State::Quarantined { .. }) {
        prop_assert!(world.timers.contains_key(&Timer::Gate));
    }
    for instance in slot.instances().iter().filter(|one| one.is_leaving()) {
        prop_assert!(world.timers.contains_key(&Timer::Instance(instance.id())));
    }
    for timer in world.timers.keys() {
        if let Timer::Instance(id) = timer {
            prop_assert!(known.contains(id), "a timer of one that is gone");
        }
    }
    let aside = slot.instances().iter().any(|one| one.role() == Role::Aside);
    if slot.state().is_at_rest() && !aside {
        prop_assert!(world.timers.is_empty() && world.alive.is_empty());
    }
    let exchange = slot.exchange().map(|(stage, ..)| stage);
    prop_assert_eq!(
        world.timers.contains_key(&Timer::Exchange),
        matches!(exchange, Some(Stage::Coming | Stage::HandingOver | Stage::Baking)),
        "an exchange in this stage has no bound, or one that is over has"
    );
    if exchange == Some(Stage::Leaving) {
        prop_assert!(aside, "an exchange waits for nobody");
    }
    Ok(())
}

fn shaken(rules: Rules, shakes: Vec<(Shake, f64)>) -> Result<World, TestCaseError> {
    let mut world = World::new(rules);
    for (shake, dice) in shakes {
        world.dice = dice;
        let Some(event) = event(&mut world, shake) else {
            check(&world)?;
            continue;
        };
        let before = world.slot.clone();
        let stale = subject(event).is_some_and(|id| !world.alive.contains(&id));
        let effects = world.step(event);
        if stale {
            prop_assert!(effects.is_empty(), "{:?} led to {:?}", event, effects);
            prop_assert_eq!(&before, &world.slot, "news of one that is gone changed something");
        }
        let exchanged = world.slot.generation() != before.generation();
        let forgiving = exchanged || matches!(event, Event::Start | Event::Restart | Event::Due(_));
        prop_assert!(forgiving || world.slot.failures() >= before.failures());
        check(&world)?;
    }
    Ok(world)
}

fn shakes() -> impl Strategy<Value = Vec<(Shake, f64)>> {
    prop::collection::vec((any_shake(), 0.0_f64..1.0), 0..200)
}

proptest! {
    /// From wherever the events led, a stop ends within the ladder, though nobody obeys, or all
    /// that is left cannot be killed; and no start follows.
    #[test]
    fn a_stop_ends_in_bounded_time_from_everywhere(rules in any_rules(), shakes in shakes()) {
        let mut world = shaken(rules, shakes)?;
        let newest = world.slot.newest();
        let before = world.now;
        world.step(Event::Stop);
        let ladder = world.slot.rules().ladder.clone();
        let bound = ladder.drain + ladder.shutdown + ladder.eof + ladder.terminate + ladder.kill;
        while world.slot.state() == State::Stopping {
            let timer = *world.timers.iter().min_by_key(|(_, due)| **due).unwrap().0;
            world.pass(timer);
            check(&world)?;
        }
        prop_assert!(world.now <= before + bound, "{:?}", world.now - before);
        prop_assert!(matches!(world.slot.state(), State::Stopped | State::Fenced));
        world.exit_all(Exit::Failure);
        prop_assert_eq!(world.slot.state(), State::Stopped);
        prop_assert_eq!(world.slot.newest(), newest, "a ghost start");
    }

    /// From wherever the events led, a plugin that works comes up when it is wanted, with all its
    /// instances and spares: nothing is stuck.
    #[test]
    fn what_works_comes_up_from_everywhere(rules in any_rules(), shakes in shakes()) {
        let mut world = shaken(rules, shakes)?;
        world.step(Event::Needs(Needs::Met));
        world.step(Event::Pause(false));
        world.step(Event::Start);
        while let Some((_, _, to)) = world.slot.exchange() {
            world.step(Event::Recall(to));
            for id in world.slot.those(Instance::is_leaving) {
                world.exit(id, Exit::Failure);
            }
        }
        for id in world.slot.those(Instance::is_leaving) {
            world.exit(id, Exit::Failure);
        }
        world.ready_all();
        for id in world.slot.those(|_| true) {
            world.step(Event::Fitness(id, Fitness::Fit));
        }
        check(&world)?;
        let places = world.slot.rules().instances + world.slot.rules().spares;
        prop_assert_eq!((world.slot.state(), world.alive.len()), (State::Running, places));
    }

    /// The same without anybody's help, if the plugin was wanted at all: the gate opens in time.
    #[test]
    fn what_works_comes_up_by_itself(rules in any_rules(), failures in 0_usize..12) {
        let mut world = World::new(Rules { idle_stop: None, ..rules });
        world.step(Event::Start);
        for _ in 0..failures {
            world.exit_all(Exit::Failure);
            world.pass(Timer::Gate);
        }
        while let Some(timer) = { world.ready_all(); world.timers.keys().next().copied() } {
            world.pass(timer);
            check(&world)?;
        }
        let places = world.slot.rules().instances + world.slot.rules().spares;
        prop_assert_eq!((world.slot.state(), world.alive.len()), (State::Running, places));
        prop_assert_eq!(world.slot.failures(), 0);
    }
}
