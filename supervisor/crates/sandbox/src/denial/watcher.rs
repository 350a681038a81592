//! The end at which a filter's questions arrive: counts them and gives the filter's own answer.
//!
//! It never blocks, reads no memory of the process unless it observes attempts, and gives a process
//! only so many answers in a second: one that floods waits for its refusals and costs us little.

use std::{
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{Lessons, Observer, Tally, decode, observer::Secrecy, tally::Place};
use crate::{
    seccomp::{self, Arch, Ruling, Variant, Verdict},
    sys::{self, Answer},
};

/// Answers that a process gets without waiting, and how many are earned in each [`TICK`] afterwards.
/// At some five microseconds each, twenty-five thousand in a second are an eighth of a core.
const BURST: u32 = 1_000;
const PER_TICK: u32 = 250;
const TICK: Duration = Duration::from_millis(10);

/// Answers given before the caller's loop has its turn again.
const BATCH: u32 = 64;

/// The listener of one process and everything it started.
#[derive(Debug)]
pub struct Watcher {
    /// `None` once nobody is left who could ask.
    listener: Option<OwnedFd>,
    variant: Variant,
    throttle: Throttle,
    tally: Tally,
    /// Looks at what calls name, where attempts are observed or learned from.
    observer: Option<Observer>,
    /// The last call, for a flood of the same.
    last: Option<(Asked, Answer, Place)>,
}

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    number: i32,
    args: [u64; 6],
}

/// What a [`Watcher`] waits for.
#[derive(Debug, Clone, Copy)]
pub enum Wish<'w> {
    /// This to be readable or hung up.
    Readable(BorrowedFd<'w>),
    /// The end of this time: its process has had more than its share of answers.
    Later(Duration),
    /// Nothing any more.
    Nothing,
}

impl Watcher {
    pub(crate) fn new(listener: OwnedFd, variant: Variant, observer: Option<Observer>) -> Self {
        Self {
            listener: Some(listener),
            variant,
            throttle: Throttle::default(),
            tally: Tally::default(),
            observer,
            last: None,
        }
    }

    /// What to wait for before the next [`Watcher::serve`].
    #[must_use]
    pub fn wish(&self, now: Instant) -> Wish<'_> {
        match (&self.listener, self.throttle.pause(now)) {
            (Some(_), Some(pause)) => Wish::Later(pause),
            (Some(listener), None) => Wish::Readable(listener.as_fd()),
            (None, _) => Wish::Nothing,
        }
    }

    /// What was refused so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What was refused, when nobody is left.
    #[must_use]
    pub fn into_tally(self) -> Tally {
        self.tally
    }

    /// What was seen beyond the grants, where that was to be learned.
    #[must_use]
    pub fn into_lessons(self) -> (Tally, Lessons) {
        (self.tally, self.observer.and_then(Observer::into_lessons).unwrap_or_default())
    }

    /// Answers one question, if one waits. For the moment before the program runs, when nobody has a
    /// share yet.
    pub(crate) fn serve_one(&mut self) {
        let Some(listener) = self.listener.take() else { return };
        match next(listener.as_fd()) {
            Next::Question(question) => drop(self.judge(listener.as_fd(), &question)),
            Next::Nothing => {}
            Next::End => return,
        }
        self.listener = Some(listener);
    }

    /// Where the questions arrive, until the end.
    pub(crate) fn listener(&self) -> Option<BorrowedFd<'_>> {
        self.listener.as_ref().map(OwnedFd::as_fd)
    }

    /// Answers what waits, as far as the process has not had its share. Never blocks.
    pub fn serve(&mut self, now: Instant) {
        let Some(listener) = self.listener.take() else { return };
        for _ in 0..BATCH {
            if self.throttle.pause(now).is_some() {
                break;
            }
            match next(listener.as_fd()) {
                Next::Question(question) => {
                    if self.judge(listener.as_fd(), &question) != Answer::LetPass {
                        self.throttle.take(now);
                    }
                }
                Next::Nothing => break,
                Next::End => return,
            }
        }
        self.listener = Some(listener);
    }

    fn judge(&mut self, listener: BorrowedFd<'_>, question: &libc::seccomp_notif) -> Answer {
        let answer = |answer| sys::answer(listener, question.id, answer).is_ok();
        let asked = Asked { number: question.data.nr, args: question.data.args };
        if let Some((last, verdict, place)) = self.last
            && last == asked
        {
            if answer(verdict) {
                self.tally.again(place, 1);
            }
            return verdict;
        }
        let number = u32::try_from(asked.number).unwrap_or(u32::MAX);
        let name = Arch::native().and_then(|arch| arch.call_name(number)).unwrap_or("unknown");
        let ruling = seccomp::ruling(&self.variant, name, &asked.args)
            .unwrap_or(Ruling { rule: None, verdict: Verdict::Errno(EPERM) });
        let verdict = match ruling.verdict {
            Verdict::Errno(number) => Answer::Refuse(number),
            Verdict::Allow => Answer::LetPass,
            Verdict::Notify | Verdict::KillProcess => Answer::Refuse(EPERM),
        };
        if verdict == Answer::LetPass
            && let Secrecy::Secret = self.observe(listener, question, name)
        {
            answer(Answer::Refuse(EACCES));
            return verdict;
        }
        // Counted only when the answer arrived: an interrupted call asks again.
        if answer(verdict) && verdict != Answer::LetPass {
            let denial = decode::denial(name, &asked.args, ruling, &self.variant);
            let place = self.tally.place(denial);
            self.last = Some((asked, verdict, place));
        }
        verdict
    }
}

impl Watcher {
    /// Looks at what a call names, where that is observed. It has not been answered yet.
    fn observe(
        &mut self,
        listener: BorrowedFd<'_>,
        question: &libc::seccomp_notif,
        name: &'static str,
    ) -> Secrecy {
        let Some(observer) = &mut self.observer else { return Secrecy::Open };
        let pid = i32::try_from(question.pid).unwrap_or(0);
        let waits = || sys::still_waits(listener, question.id);
        for denial in observer.look(pid, name, &question.data.args, waits) {
            self.tally.add(denial);
        }
        observer.learn(pid, name, &question.data.args, waits)
    }
}

fn next(listener: BorrowedFd<'_>) -> Next {
    let mut polled = [PollFd::new(listener, PollFlags::POLLIN)];
    match poll(&mut polled, PollTimeout::ZERO) {
        Ok(_) => {}
        Err(_transient) => return Next::Nothing,
    }
    let [polled] = polled;
    let ready = polled.revents().unwrap_or(PollFlags::empty());
    if ready.contains(PollFlags::POLLIN) {
        return match sys::next_question(listener) {
            Ok(question) => Next::Question(Box::new(question)),
            // Whoever asked was interrupted or is gone.
            Err(Errno::ENOENT | Errno::EINTR) => Next::Nothing,
            Err(_broken) => Next::End,
        };
    }
    if ready.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) {
        return Next::End;
    }
    Next::Nothing
}

const EPERM: u16 = 1;
const EACCES: u16 = 13;

enum Next {
    Question(Box<libc::seccomp_notif>),
    Nothing,
    End,
}

/// A bucket of answers. Pure.
#[derive(Debug)]
struct Throttle {
    left: u32,
    /// Until when answers have been earned; `None` before the first.
    since: Option<Instant>,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { left: BURST, since: None }
    }
}

impl Throttle {
    fn take(&mut self, now: Instant) {
        self.earn(now);
        self.left = self.left.saturating_sub(1);
    }

    fn earn(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let ticks = now.saturating_duration_since(since).as_millis() / TICK.as_millis();
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        if ticks > 0 {
            self.left = self.left.saturating_add(ticks.saturating_mul(PER_TICK)).min(BURST);
            let earned = TICK.checked_mul(ticks).and_then(|earned| since.checked_add(earned));
            self.since = Some(earned.unwrap_or(now));
        }
    }

    fn pause(&self, now: Instant) -> Option<Duration> {
        let earned = self.since?.checked_add(TICK)?;
        (self.left == 0 && now < earned).then(|| earned.duration_since(now))
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a start for a clock that the test moves")]
mod tests {
    use super::*;

    #[test]
    fn a_flood_waits_for_what_it_earns() {
        let start = Instant::now();
        let mut throttle = Throttle::default();
        for _ in 0..BURST {
            assert_eq!(throttle.pause(start), None);
            throttle.take(start);
        }
        assert_eq!(throttle.pause(start), Some(TICK));
        let later = start + TICK;
        assert_eq!(throttle.pause(later), None);
        for _ in 0..PER_TICK {
            throttle.take(later);
        }
        assert_eq!(throttle.pause(later), Some(TICK));
    }

    #[test]
    fn a_pause_earns_a_burst_and_no_more() {
        let start = Instant::now();
        let mut throttle = Throttle { left: 0, since: Some(start) };
        throttle.take(start + Duration::from_secs(3600));
        assert_eq!(throttle.left, BURST - 1);
    }
}
