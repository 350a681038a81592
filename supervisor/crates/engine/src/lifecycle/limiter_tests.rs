//! Tests of the limiter: claims, and its bounds under any crowd.

use proptest::prelude::*;

use super::*;

fn seconds(count: f64) -> Duration {
    Duration::from_secs_f64(count)
}

fn limiter() -> Limiter {
    Limiter::new(Bounds::default())
}

/// Those of the tickets that may go now.
fn going(limiter: &mut Limiter, tickets: &[Ticket], now: Duration) -> usize {
    tickets.iter().filter(|ticket| limiter.turn(**ticket, now) == Turn::Go).count()
}

#[test]
fn at_most_four_are_under_way_and_a_place_given_back_goes_to_the_next() {
    let mut limiter = limiter();
    let tickets: Vec<_> = (0..6).map(|_| limiter.enter(Lane::First)).collect();
    assert_eq!(going(&mut limiter, &tickets, Duration::ZERO), 4);
    limiter.leave(tickets[0]);
    assert_eq!(limiter.turn(tickets[5], Duration::ZERO), Turn::Wait(None), "not its turn");
    assert_eq!(limiter.turn(tickets[4], Duration::ZERO), Turn::Go);
    assert_eq!((limiter.under_way(), limiter.waiting()), (4, 1));
}

#[test]
fn what_somebody_waits_for_goes_first_and_what_is_new_last() {
    let mut limiter = limiter();
    let busy: Vec<_> = (0..4).map(|_| limiter.enter(Lane::First)).collect();
    assert_eq!(going(&mut limiter, &busy, Duration::ZERO), 4);
    let order = [Lane::First, Lane::Again, Lane::Awaited].map(|lane| limiter.enter(lane));
    for (done, next) in busy.iter().zip([order[2], order[1], order[0]]) {
        limiter.leave(*done);
        let free: Vec<_> = order
            .iter()
            .filter(|ticket| limiter.heads().any(|head| head == **ticket))
            .copied()
            .collect();
        let gone: Vec<_> = free
            .into_iter()
            .filter(|ticket| limiter.turn(*ticket, Duration::ZERO) == Turn::Go)
            .collect();
        assert_eq!(gone, [next]);
    }
}

#[test]
fn restarts_are_bounded_per_second_and_nothing_else_is() {
    let mut limiter = Limiter::new(Bounds { places: 1000, ..Bounds::default() });
    let first: Vec<_> = (0..100).map(|_| limiter.enter(Lane::First)).collect();
    let awaited: Vec<_> = (0..100).map(|_| limiter.enter(Lane::Awaited)).collect();
    let again: Vec<_> = (0..100).map(|_| limiter.enter(Lane::Again)).collect();
    assert_eq!(going(&mut limiter, &again, Duration::ZERO), 0, "others come first");
    assert_eq!(going(&mut limiter, &awaited, Duration::ZERO), 100);
    assert_eq!(going(&mut limiter, &again, Duration::ZERO), 20);
    assert_eq!(going(&mut limiter, &first, Duration::ZERO), 100);
    assert_eq!(going(&mut limiter, &again, seconds(2.0)), 40);
    assert_eq!(going(&mut limiter, &again, seconds(60.0)), 60, "the burst, not a minute's worth");
}

#[test]
fn one_that_must_wait_for_time_is_told_until_when() {
    let mut limiter = Limiter::new(Bounds { places: 1000, ..Bounds::default() });
    let again: Vec<_> = (0..21).map(|_| limiter.enter(Lane::Again)).collect();
    going(&mut limiter, &again, Duration::ZERO);
    let Turn::Wait(Some(until)) = limiter.turn(again[20], Duration::ZERO) else { panic!() };
    assert!(until >= seconds(0.1) && until < seconds(0.11), "{until:?}");
    assert_eq!(limiter.turn(again[20], until), Turn::Go);
}

#[test]
fn a_shortage_keeps_away_all_but_those_that_somebody_waits_for() {
    let mut limiter = limiter();
    limiter.close(seconds(10.0));
    let [first, again, awaited] =
        [Lane::First, Lane::Again, Lane::Awaited].map(|lane| limiter.enter(lane));
    let wait = Turn::Wait(Some(seconds(15.0)));
    assert_eq!(limiter.turn(first, seconds(10.0)), wait);
    assert_eq!(limiter.turn(again, seconds(14.9)), wait);
    assert_eq!(limiter.turn(awaited, seconds(10.0)), Turn::Go);
    assert_eq!(limiter.turn(again, seconds(15.0)), Turn::Go);
    assert_eq!(limiter.turn(first, seconds(15.0)), Turn::Go);
}

#[test]
fn one_that_is_not_wanted_any_more_blocks_nobody() {
    let mut limiter = Limiter::new(Bounds { places: 1, ..Bounds::default() });
    let tickets: Vec<_> = (0..3).map(|_| limiter.enter(Lane::First)).collect();
    assert_eq!(limiter.turn(tickets[0], Duration::ZERO), Turn::Go);
    limiter.leave(tickets[1]);
    limiter.leave(tickets[0]);
    assert_eq!(limiter.heads().collect::<Vec<_>>(), [tickets[2]]);
    assert_eq!(limiter.turn(tickets[2], Duration::ZERO), Turn::Go);
    assert_eq!(limiter.turn(tickets[0], Duration::ZERO), Turn::Wait(None), "its turn is over");
}

#[derive(Debug, Clone, Copy)]
enum Shake {
    Enter(u8),
    Turn(u8),
    Leave(u8),
    Close,
    Pass(u16),
}

fn any_shake() -> impl Strategy<Value = Shake> {
    prop_oneof![
        4 => (0_u8..3).prop_map(Shake::Enter),
        6 => any::<u8>().prop_map(Shake::Turn),
        3 => any::<u8>().prop_map(Shake::Leave),
        1 => Just(Shake::Close),
        3 => (0_u16..500).prop_map(Shake::Pass),
    ]
}

proptest! {
    /// Never more under way than there are places, never more restarts than the rate allows, and
    /// from wherever it got to, asking the heads again lets everyone through in the end.
    #[test]
    fn the_bounds_hold_and_nobody_waits_for_ever(
        shakes in prop::collection::vec(any_shake(), 0..200),
    ) {
        let mut limiter = limiter();
        let (mut now, mut tickets, mut restarts) = (Duration::ZERO, Vec::new(), 0_u32);
        for shake in shakes {
            match shake {
                Shake::Enter(lane) => {
                    let lane = Lane::ALL[usize::from(lane)];
                    tickets.push((limiter.enter(lane), lane));
                }
                Shake::Turn(at) if !tickets.is_empty() => {
                    let (ticket, lane) = tickets[usize::from(at) % tickets.len()];
                    let before = limiter.under_way();
                    limiter.turn(ticket, now);
                    restarts += u32::from(lane == Lane::Again && limiter.under_way() > before);
                }
                Shake::Leave(at) if !tickets.is_empty() => {
                    let (ticket, _) = tickets.swap_remove(usize::from(at) % tickets.len());
                    limiter.leave(ticket);
                }
                Shake::Turn(_) | Shake::Leave(_) => {}
                Shake::Close => limiter.close(now),
                Shake::Pass(millis) => now += Duration::from_millis(u64::from(millis)),
            }
            prop_assert!(limiter.under_way() <= 4);
            prop_assert!(f64::from(restarts) <= 20.0 + now.as_secs_f64() * 10.0 + 1e-6);
        }
        for _ in 0..tickets.len() * 8 {
            for head in limiter.heads().collect::<Vec<_>>() {
                if let Turn::Wait(Some(until)) = limiter.turn(head, now) {
                    now = now.max(until);
                }
            }
            let done: Vec<_> = limiter.under_way.iter().copied().collect();
            for ticket in done {
                limiter.leave(ticket);
            }
        }
        prop_assert_eq!(limiter.waiting(), 0);
    }
}
