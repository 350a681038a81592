//! Tests of the slot: claims, and invariants over random orders of events.

use proptest::prelude::*;

use super::*;

const FIRST: InstanceId = InstanceId::FIRST;

fn nth(number: u64) -> InstanceId {
    (1..number).fold(FIRST, |instance, _| instance.next())
}

fn slot() -> Slot {
    Slot::new(Policy::default(), Ladder::default())
}

fn running() -> Slot {
    let mut slot = slot();
    slot.step(Event::Start, 1.0);
    slot.step(Event::Ready { instance: FIRST }, 1.0);
    assert_eq!(slot.state(), State::Running);
    slot
}

/// Brings back the timer that the effects armed.
fn due(slot: &mut Slot, effects: &[Effect]) -> Vec<Effect> {
    let timer = effects.iter().rev().find_map(|effect| {
        if let Effect::Arm { timer, .. } = effect { Some(*timer) } else { None }
    });
    slot.step(Event::Due(timer.expect("a timer was armed")), 1.0)
}

fn ending(rung: Rung, next: Next) -> State {
    State::Ending { rung, next }
}

#[test]
fn a_crash_is_followed_by_a_start_after_the_delay() {
    let mut slot = running();
    slot.step(Event::Dying { instance: FIRST }, 1.0);
    assert_eq!(slot.state(), ending(Rung::Kill, Next::Judge));
    let effects = slot.step(Event::Exited { instance: FIRST, exit: Exit::Failure }, 1.0);
    assert_eq!(slot.state(), State::Backoff { delay: Duration::from_millis(250) });
    assert_eq!(due(&mut slot, &effects), [Effect::Launch { instance: nth(2) }]);
    assert_eq!(slot.restarts(), 1);
}

#[test]
fn nothing_starts_before_the_whole_tree_is_gone() {
    let mut slot = running();
    slot.step(Event::Dying { instance: FIRST }, 1.0);
    assert_eq!(slot.step(Event::Start, 1.0), []);
    let effects = slot.step(Event::Exited { instance: FIRST, exit: Exit::Failure }, 1.0);
    assert_eq!(effects, [Effect::Launch { instance: nth(2) }]);
}

#[test]
fn the_stop_ladder_goes_down_rung_by_rung() {
    let mut slot = running();
    let mut effects = slot.step(Event::Stop, 1.0);
    assert_eq!(effects[0], Effect::Drain { instance: FIRST });
    for expected in [
        Effect::Shutdown { instance: FIRST },
        Effect::CloseInput { instance: FIRST },
        Effect::Terminate { instance: FIRST },
        Effect::Kill { instance: FIRST },
        Effect::Alert { instance: FIRST },
        Effect::Kill { instance: FIRST },
    ] {
        effects = due(&mut slot, &effects);
        assert_eq!(effects[0], expected);
    }
    assert_eq!(slot.state(), State::Fenced { next: Next::Stay });
    slot.step(Event::Exited { instance: FIRST, exit: Exit::Failure }, 1.0);
    assert_eq!(slot.state(), State::Stopped);
}

#[test]
fn a_polite_plugin_is_never_signalled() {
    let mut slot = running();
    slot.step(Event::Stop, 1.0);
    slot.step(Event::Drained { instance: FIRST }, 1.0);
    assert_eq!(slot.state(), ending(Rung::Shutdown, Next::Stay));
    slot.step(Event::ShutDown { instance: FIRST }, 1.0);
    assert_eq!(slot.state(), ending(Rung::Eof, Next::Stay));
    slot.step(Event::Exited { instance: FIRST, exit: Exit::Clean }, 1.0);
    assert_eq!(slot.state(), State::Stopped);
}

#[test]
fn a_second_stop_terminates_and_a_third_kills() {
    let mut slot = running();
    slot.step(Event::Stop, 1.0);
    assert_eq!(slot.step(Event::Stop, 1.0)[0], Effect::Terminate { instance: FIRST });
    assert_eq!(slot.step(Event::Stop, 1.0)[0], Effect::Kill { instance: FIRST });
    assert_eq!(slot.step(Event::Stop, 1.0), []);
}

#[test]
fn stop_in_backoff_leaves_no_ghost_start() {
    let mut slot = running();
    let effects = slot.step(Event::Exited { instance: FIRST, exit: Exit::Failure }, 1.0);
    slot.step(Event::Stop, 1.0);
    assert_eq!(slot.state(), State::Stopped);
    assert_eq!(due(&mut slot, &effects), []);
    assert_eq!(slot.state(), State::Stopped);
}

#[test]
fn an_operator_start_ends_backoff_and_quarantine_and_absolves() {
    let mut slot = slot();
    slot.step(Event::Start, 1.0);
    for number in 1..=8 {
        let instance = nth(number);
        let effects = slot.step(Event::Exited { instance, exit: Exit::Failure }, 1.0);
        if number < 8 {
            due(&mut slot, &effects);
        }
    }
    assert_eq!(slot.state(), State::Quarantined { length: Duration::from_secs(300) });
    assert_eq!(slot.step(Event::Start, 1.0), [Effect::Launch { instance: nth(9) }]);
    assert_eq!(slot.failures(), 0);
}

#[test]
fn a_quarantine_ends_with_one_trial_and_doubles_if_it_fails() {
    let mut slot = slot();
    slot.step(Event::Start, 1.0);
    let mut effects = Vec::new();
    for number in 1..=8 {
        let instance = nth(number);
        effects = slot.step(Event::Exited { instance, exit: Exit::Failure }, 1.0);
        if number < 8 {
            due(&mut slot, &effects);
        }
    }
    due(&mut slot, &effects);
    assert_eq!(slot.state(), State::Starting);
    slot.step(Event::Exited { instance: nth(9), exit: Exit::Failure }, 1.0);
    assert_eq!(slot.state(), State::Quarantined { length: Duration::from_secs(600) });
}

#[test]
fn stability_forgets_failures() {
    let mut slot = slot();
    slot.step(Event::Start, 1.0);
    let effects = slot.step(Event::Exited { instance: FIRST, exit: Exit::Failure }, 1.0);
    due(&mut slot, &effects);
    let effects = slot.step(Event::Ready { instance: nth(2) }, 1.0);
    assert_eq!(slot.failures(), 1);
    due(&mut slot, &effects);
    assert_eq!((slot.state(), slot.failures()), (State::Running, 0));
}

#[test]
fn a_stop_during_the_start_does_not_wait_for_the_handshake() {
    let mut slot = slot();
    slot.step(Event::Start, 1.0);
    assert_eq!(slot.step(Event::Stop, 1.0)[0], Effect::Terminate { instance: FIRST });
    assert_eq!(slot.step(Event::Ready { instance: FIRST }, 1.0), []);
    slot.step(Event::Exited { instance: FIRST, exit: Exit::Failure }, 1.0);
    assert_eq!(slot.state(), State::Stopped);
}

#[test]
fn a_restart_starts_the_next_instance_when_the_old_one_is_gone() {
    let mut slot = running();
    slot.step(Event::Restart, 1.0);
    assert_eq!(slot.state(), ending(Rung::Drain, Next::Start));
    let effects = slot.step(Event::Exited { instance: FIRST, exit: Exit::Clean }, 1.0);
    assert_eq!(effects, [Effect::Launch { instance: nth(2) }]);
}

#[test]
fn a_call_wakes_an_idle_slot_but_not_a_stopped_one() {
    let mut slot = slot();
    assert_eq!(slot.step(Event::Wanted, 1.0), [Effect::Launch { instance: FIRST }]);
    assert_eq!(slot.step(Event::Wanted, 1.0), []);
    let mut slot = running();
    slot.step(Event::Stop, 1.0);
    slot.step(Event::Exited { instance: FIRST, exit: Exit::Clean }, 1.0);
    assert_eq!(slot.step(Event::Wanted, 1.0), []);
}

#[derive(Debug, Clone, Copy)]
enum Shake {
    Start,
    Wanted,
    Stop,
    Restart,
    Ready(u8),
    Dying(u8),
    Drained(u8),
    ShutDown(u8),
    Exited(u8, Exit),
    Due(u8),
}

fn any_shake() -> impl Strategy<Value = Shake> {
    let exit = prop_oneof![
        Just(Exit::Clean),
        Just(Exit::Failure),
        Just(Exit::Exhausted),
        Just(Exit::Passing),
        Just(Exit::Declined),
        Just(Exit::Permanent),
    ];
    prop_oneof![
        Just(Shake::Start),
        Just(Shake::Wanted),
        Just(Shake::Stop),
        Just(Shake::Restart),
        (0_u8..3).prop_map(Shake::Ready),
        (0_u8..3).prop_map(Shake::Dying),
        (0_u8..3).prop_map(Shake::Drained),
        (0_u8..3).prop_map(Shake::ShutDown),
        (0_u8..3, exit).prop_map(|(age, exit)| Shake::Exited(age, exit)),
        (0_u8..3).prop_map(Shake::Due),
    ]
}

/// Who is alive, as the world sees it.
#[derive(Debug, Default)]
struct World {
    alive: Option<InstanceId>,
    launched: u64,
    timers: Vec<TimerId>,
}

impl World {
    fn carry_out(&mut self, effects: &[Effect]) {
        for effect in effects {
            match *effect {
                Effect::Launch { instance } => {
                    assert_eq!(self.alive, None, "two instances at once");
                    assert!(instance.number() > self.launched, "instance reused");
                    self.alive = Some(instance);
                    self.launched = instance.number();
                }
                Effect::Arm { timer, .. } => self.timers.push(timer),
                Effect::Drain { instance }
                | Effect::Shutdown { instance }
                | Effect::CloseInput { instance }
                | Effect::Terminate { instance }
                | Effect::Kill { instance }
                | Effect::Alert { instance } => {
                    assert_eq!(self.alive, Some(instance), "an order to nobody");
                }
            }
        }
    }

    /// The event of a shake; `None` if the world cannot produce it (a dead process exits no more).
    fn event(&self, shake: Shake) -> Option<Event> {
        let aged = |age: u8| nth(self.launched.saturating_sub(u64::from(age)).max(1));
        Some(match shake {
            Shake::Start => Event::Start,
            Shake::Wanted => Event::Wanted,
            Shake::Stop => Event::Stop,
            Shake::Restart => Event::Restart,
            Shake::Ready(age) => Event::Ready { instance: aged(age) },
            Shake::Dying(age) => Event::Dying { instance: aged(age) },
            Shake::Drained(age) => Event::Drained { instance: aged(age) },
            Shake::ShutDown(age) => Event::ShutDown { instance: aged(age) },
            Shake::Exited(age, exit) => {
                let instance = aged(age);
                if instance.number() == self.launched && self.alive != Some(instance) {
                    return None;
                }
                Event::Exited { instance, exit }
            }
            Shake::Due(age) => {
                let index = self.timers.len().checked_sub(1 + usize::from(age))?;
                Event::Due(self.timers[index])
            }
        })
    }
}

proptest! {
    /// At most one instance is alive, no instance is reused, orders go to the living, stale
    /// events change nothing, and from wherever the events led, stops end the slot.
    #[test]
    fn invariants_hold_in_any_order_of_events(
        shakes in prop::collection::vec((any_shake(), 0.0_f64..1.0), 0..200),
    ) {
        let mut slot = slot();
        let mut world = World::default();
        for (shake, dice) in shakes {
            let Some(event) = world.event(shake) else { continue };
            let before = (slot.state(), slot.instance(), slot.failures());
            let effects = slot.step(event, dice);
            let stale = match event {
                Event::Ready { instance }
                | Event::Dying { instance }
                | Event::Drained { instance }
                | Event::ShutDown { instance }
                | Event::Exited { instance, .. } => Some(instance) != before.1,
                Event::Start
                | Event::Wanted
                | Event::Stop
                | Event::Restart
                | Event::Refuse
                | Event::Due(_) => false,
            };
            if stale {
                prop_assert_eq!(&effects, &[]);
                prop_assert_eq!(before, (slot.state(), slot.instance(), slot.failures()));
            } else if matches!(event, Event::Exited { .. }) {
                world.alive = None;
            }
            world.carry_out(&effects);
            prop_assert_eq!(world.alive.is_some(), matches!(
                slot.state(),
                State::Starting | State::Running | State::Ending { .. } | State::Fenced { .. }
            ));
        }
        for _ in 0..4 {
            world.carry_out(&slot.step(Event::Stop, 0.5));
        }
        if let Some(instance) = world.alive.take() {
            slot.step(Event::Exited { instance, exit: Exit::Failure }, 0.5);
        }
        prop_assert_eq!(slot.state(), State::Stopped);
    }
}
