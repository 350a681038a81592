//! Signs of life of a long run, to a person at a terminal and nobody else: whole lines, ever rarer, and
//! none into a program that draws on the whole screen.

use std::{io, os::fd::AsFd as _, time::Duration};

use nix::sys::termios::{LocalFlags, tcgetattr};

use crate::output::{Terminal, Tone};

/// When something is said, in minutes; later, every half an hour.
const MINUTES: [u64; 7] = [1, 2, 5, 10, 20, 30, 60];

const MINUTE: Duration = Duration::from_secs(60);

const HALF_AN_HOUR: Duration = Duration::from_secs(1800);

/// What was said so far. The time is an argument.
#[derive(Debug)]
pub(super) struct Pace {
    wall: Option<Duration>,
    /// When something is said next, from the start.
    next: Duration,
    /// Whether it was said that the end is near.
    warned: bool,
}

impl Pace {
    /// For a run with this limit.
    pub(super) fn new(wall: Option<Duration>) -> Self {
        Self { wall, next: after(Duration::ZERO), warned: false }
    }

    /// How long until something is to be said.
    pub(super) fn left(&self, elapsed: Duration) -> Duration {
        let near = self.near().filter(|_| !self.warned).unwrap_or(Duration::MAX);
        self.next.min(near).saturating_sub(elapsed)
    }

    /// Nine tenths of a limit that is long enough to be forgotten.
    fn near(&self) -> Option<Duration> {
        let wall = self.wall.filter(|wall| *wall >= MINUTE)?;
        Some(wall - wall / 10)
    }

    /// What is to be said now.
    pub(super) fn step(&mut self, elapsed: Duration) -> Option<String> {
        let is_near = !self.warned && self.near().is_some_and(|near| elapsed >= near);
        if !is_near && elapsed < self.next {
            return None;
        }
        self.warned |= is_near;
        self.next = after(elapsed);
        let left = self.wall.map(|wall| wall.saturating_sub(elapsed));
        let left = left.map_or_else(String::new, |left| format!(", ended in {}", time(left)));
        Some(format!("running for {}{left}", time(elapsed)))
    }
}

/// The next moment after this one.
fn after(elapsed: Duration) -> Duration {
    let moments = MINUTES.map(|minutes| Duration::from_secs(minutes * 60));
    let next = moments.into_iter().find(|moment| *moment > elapsed);
    next.unwrap_or_else(|| elapsed.saturating_add(HALF_AN_HOUR))
}

/// `1h 5m`, `2m`, `48s`.
fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds % 3600 / 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m"),
        (hours, minutes) => format!("{hours}h {minutes}m"),
    }
}

/// Says it, unless a program has the terminal for itself.
pub(super) fn say(text: &str, terminal: Terminal) {
    let lines = tcgetattr(io::stderr().as_fd());
    if lines.is_ok_and(|modes| modes.local_flags.contains(LocalFlags::ICANON)) {
        terminal.say_as(Tone::Note, "plugbay", text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minutes(minutes: u64) -> Duration {
        Duration::from_secs(minutes * 60)
    }

    #[test]
    fn it_is_said_ever_more_rarely() {
        let mut pace = Pace::new(None);
        assert_eq!((pace.left(Duration::ZERO), pace.step(minutes(0))), (minutes(1), None));
        assert_eq!(pace.step(minutes(1)).as_deref(), Some("running for 1m"));
        assert_eq!(pace.step(minutes(1)), None);
        assert_eq!(pace.left(minutes(3)), Duration::ZERO);
        assert_eq!(pace.step(minutes(65)).as_deref(), Some("running for 1h 5m"));
        assert_eq!(pace.left(minutes(65)), minutes(30));
    }

    #[test]
    fn the_end_is_told_once_before_it_comes() {
        let mut pace = Pace::new(Some(minutes(3)));
        assert!(pace.step(minutes(2)).unwrap().ends_with("ended in 1m"));
        assert_eq!(pace.left(minutes(2)), Duration::from_secs(42));
        let near = Duration::from_secs(162);
        assert_eq!(pace.step(near).as_deref(), Some("running for 2m, ended in 18s"));
        assert_eq!(pace.step(near), None);
        let short = Pace::new(Some(Duration::from_secs(59)));
        assert_eq!(short.left(Duration::ZERO), minutes(1));
    }
}
