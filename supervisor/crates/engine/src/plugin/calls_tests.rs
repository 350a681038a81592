//! Tests of the correlation slab: claims, and a model over random orders of events.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

const GRACE: Duration = Duration::from_secs(2);

fn epoch() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn insert(calls: &mut Calls<u32>, waiter: u32, now: Instant) -> CallId {
    calls.insert(None, waiter, now).expect("there is room")
}

#[test]
fn an_answer_finds_its_caller_once() {
    let now = epoch();
    let mut calls = Calls::new(8, GRACE);
    let first = insert(&mut calls, 1, now);
    let second = insert(&mut calls, 2, now);
    assert_eq!(calls.complete(second), Claim::Waiting(2));
    assert_eq!(calls.complete(first), Claim::Waiting(1));
    assert_eq!(calls.complete(first), Claim::Stale);
    assert_eq!(calls.in_flight(), 0);
}

#[test]
fn a_reused_place_does_not_answer_to_its_old_id() {
    let now = epoch();
    let mut calls = Calls::new(8, GRACE);
    let old = insert(&mut calls, 1, now);
    assert_eq!(calls.complete(old), Claim::Waiting(1));
    let new = insert(&mut calls, 2, now);
    assert_ne!(old, new);
    assert_eq!(calls.complete(old), Claim::Stale);
    assert_eq!(calls.complete(new), Claim::Waiting(2));
}

#[test]
fn ids_that_were_never_given_out_are_unknown() {
    let mut calls: Calls<u32> = Calls::new(8, GRACE);
    let now = epoch();
    let known = insert(&mut calls, 1, now);
    for number in [0, 1, 65_537, 1 << 40, (1 << 52) - 1] {
        let id = CallId::from_wire(number).expect("within the range of ids");
        assert_eq!(calls.complete(id), Claim::Unknown, "{number}");
    }
    assert_eq!(CallId::from_wire(-1), None);
    assert_eq!(CallId::from_wire(1 << 52), None);
    assert_eq!(CallId::from_wire(i64::MAX), None);
    assert_eq!(calls.complete(known), Claim::Waiting(1));
}

#[test]
fn the_bound_holds_at_once() {
    let now = epoch();
    let mut calls = Calls::new(2, GRACE);
    let first = insert(&mut calls, 1, now);
    insert(&mut calls, 2, now);
    assert_eq!(calls.insert(None, 3, now), Err((Refusal::Full, 3)));
    assert_eq!(calls.remove(first), Some(1));
    insert(&mut calls, 3, now);
}

#[test]
fn an_abandoned_call_occupies_the_plugin_until_the_grace_has_passed() {
    let now = epoch();
    let mut calls = Calls::new(1, GRACE);
    let id = insert(&mut calls, 1, now);
    assert_eq!(calls.abandon(id, now), Some(1));
    assert_eq!(calls.abandon(id, now), None);
    assert_eq!((calls.in_flight(), calls.waiting()), (1, 0));
    assert_eq!(calls.insert(None, 2, now), Err((Refusal::Full, 2)));
    insert(&mut calls, 2, now + GRACE);
    assert_eq!(calls.complete(id), Claim::Stale);
}

#[test]
fn the_late_answer_of_an_abandoned_call_frees_its_place() {
    let now = epoch();
    let mut calls = Calls::new(1, GRACE);
    let id = insert(&mut calls, 1, now);
    calls.abandon(id, now);
    assert_eq!(calls.complete(id), Claim::Abandoned);
    insert(&mut calls, 2, now);
}

#[test]
fn the_only_call_is_told_only_while_it_is_the_only_one() {
    let now = epoch();
    let mut calls = Calls::new(8, GRACE);
    assert_eq!(calls.only(), None);
    let one = insert(&mut calls, 1, now);
    let two = insert(&mut calls, 2, now);
    assert_eq!(calls.only(), None);
    calls.complete(one);
    assert_eq!(calls.only(), Some(two));
    calls.abandon(two, now);
    assert_eq!(calls.only(), None);
}

#[test]
fn plugins_get_their_share_and_leave_the_rest() {
    let now = epoch();
    let mut calls = Calls::new(8, GRACE);
    let mut of = |caller: Option<&str>| {
        let id = calls.insert(caller.map(Arc::from), 0, now);
        id.map_err(|(refusal, _)| refusal)
    };
    let flood: Vec<_> = (0..4).map(|_| of(Some("a")).unwrap()).collect();
    assert_eq!(of(Some("a")), Err(Refusal::Share));
    of(Some("b")).unwrap();
    of(Some("b")).unwrap();
    assert_eq!(of(Some("c")), Err(Refusal::Share));
    of(None).unwrap();
    of(None).unwrap();
    assert_eq!(of(None), Err(Refusal::Full));
    // Calls that were given up still count, for as long as they occupy the plugin.
    for id in flood {
        calls.abandon(id, now);
    }
    assert_eq!(calls.insert(Some("a".into()), 0, now).unwrap_err().0, Refusal::Full);
    let later = now + GRACE;
    calls.insert(Some("a".into()), 0, later).unwrap();
}

#[test]
fn a_plugin_that_takes_one_call_at_a_time_takes_it_from_anybody() {
    let mut calls = Calls::new(1, GRACE);
    calls.insert(Some("a".into()), 0, epoch()).unwrap();
}

#[test]
fn closing_gives_back_everyone_who_waits_and_takes_nobody_more() {
    let now = epoch();
    let mut calls = Calls::new(8, GRACE);
    insert(&mut calls, 1, now);
    let gone = insert(&mut calls, 2, now);
    insert(&mut calls, 3, now);
    calls.abandon(gone, now);
    assert_eq!(calls.close(), [1, 3]);
    assert_eq!(calls.insert(None, 4, now), Err((Refusal::Closed, 4)));
    assert_eq!(calls.close(), [0_u32; 0]);
}

#[derive(Debug, Clone)]
enum Step {
    Insert,
    Complete(usize),
    Abandon(usize),
    Remove(usize),
    Wait(u8),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Insert),
        2 => any::<usize>().prop_map(Step::Complete),
        1 => any::<usize>().prop_map(Step::Abandon),
        1 => any::<usize>().prop_map(Step::Remove),
        1 => any::<u8>().prop_map(Step::Wait),
    ]
}

fn pick(issued: &[CallId], choice: usize) -> Option<CallId> {
    (!issued.is_empty()).then(|| issued[choice % issued.len()])
}

proptest! {
    /// Whatever the order of events: an id is never given out twice, each waiter comes back at
    /// most once and under its own id, and the bound holds.
    #[test]
    fn every_waiter_comes_back_exactly_once(
        steps in prop::collection::vec(any_step(), 0..300),
        max in 1_usize..9,
    ) {
        let mut now = epoch();
        let mut calls = Calls::new(max, GRACE);
        let mut issued = Vec::new();
        let mut seen = HashSet::new();
        let mut waiting: HashMap<CallId, u32> = HashMap::new();
        let mut next = 0_u32;
        for step in steps {
            match step {
                Step::Insert => {
                    if let Ok(id) = calls.insert(None, next, now) {
                        prop_assert!(seen.insert(id));
                        issued.push(id);
                        waiting.insert(id, next);
                    }
                    next += 1;
                }
                Step::Complete(choice) => {
                    let Some(id) = pick(&issued, choice) else { continue };
                    match calls.complete(id) {
                        Claim::Waiting(waiter) => {
                            prop_assert_eq!(waiting.remove(&id), Some(waiter));
                        }
                        Claim::Abandoned | Claim::Stale => {
                            prop_assert!(!waiting.contains_key(&id));
                        }
                        Claim::Unknown => prop_assert!(false, "an issued id is known"),
                    }
                }
                Step::Abandon(choice) => {
                    let Some(id) = pick(&issued, choice) else { continue };
                    prop_assert_eq!(calls.abandon(id, now), waiting.remove(&id));
                }
                Step::Remove(choice) => {
                    let Some(id) = pick(&issued, choice) else { continue };
                    prop_assert_eq!(calls.remove(id), waiting.remove(&id));
                }
                Step::Wait(tenths) => now += Duration::from_millis(u64::from(tenths) * 100),
            }
            prop_assert_eq!(calls.waiting(), waiting.len());
            prop_assert!(calls.in_flight() <= max);
        }
        let mut left = calls.close();
        left.sort_unstable();
        let mut expected: Vec<u32> = waiting.into_values().collect();
        expected.sort_unstable();
        prop_assert_eq!(left, expected);
    }
}
