//! A token bucket: how much may happen in a burst and in the long run. Pure; time is an argument.

use std::time::{Duration, Instant};

/// Lets `burst` through at once, and `burst` more per `window` in the long run.
#[derive(Debug)]
pub(crate) struct Bucket {
    burst: f64,
    per_second: f64,
    level: f64,
    filled: Instant,
}

impl Bucket {
    /// A full bucket of `burst`, refilled with `amount` per `window`.
    pub(crate) fn new(burst: u32, amount: u32, window: Duration, now: Instant) -> Self {
        let per_second = f64::from(amount) / window.as_secs_f64().max(f64::EPSILON);
        Self { burst: f64::from(burst), per_second, level: f64::from(burst), filled: now }
    }

    /// Whether one more may happen now.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let granted = self.level >= 1.0;
        if granted {
            self.level -= 1.0;
        }
        granted
    }

    /// Whether [`Self::take`] would refuse now.
    pub(crate) fn is_empty(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.level < 1.0
    }

    /// Something of this size has happened, allowed or not; how long nothing more should, so that the
    /// rate holds in the long run.
    pub(crate) fn spend(&mut self, amount: u64, now: Instant) -> Duration {
        self.refill(now);
        // What is spent at once is a read or a frame: far below where a number loses its units.
        self.level -= f64::from(u32::try_from(amount).unwrap_or(u32::MAX));
        Duration::try_from_secs_f64(-self.level / self.per_second).unwrap_or_default()
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.level = passed.mul_add(self.per_second, self.level).min(self.burst);
        self.filled = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_burst_passes_and_the_rest_waits_for_the_refill() {
        let start = crate::clock::now();
        let mut bucket = Bucket::new(3, 60, Duration::from_secs(60), start);
        let granted = |bucket: &mut Bucket, at| (0..10).filter(|_| bucket.take(at)).count();
        assert_eq!(granted(&mut bucket, start), 3);
        assert_eq!(granted(&mut bucket, start + Duration::from_secs(2)), 2);
        assert_eq!(granted(&mut bucket, start + Duration::from_secs(600)), 3);
    }

    #[test]
    fn a_clock_that_stands_still_or_goes_back_grants_nothing() {
        let start = crate::clock::now() + Duration::from_secs(10);
        let mut bucket = Bucket::new(1, 1, Duration::from_secs(1), start);
        assert!(bucket.take(start));
        assert!(!bucket.take(start - Duration::from_secs(5)));
    }

    #[test]
    fn a_debt_is_paid_by_waiting() {
        let start = crate::clock::now();
        let mut bucket = Bucket::new(10, 100, Duration::from_secs(1), start);
        assert_eq!(bucket.spend(10, start), Duration::ZERO);
        let wait = bucket.spend(50, start);
        assert_eq!(wait, Duration::from_millis(500));
        assert!(bucket.is_empty(start + wait));
        assert_eq!(bucket.spend(0, start + wait), Duration::ZERO);
        assert!(!bucket.is_empty(start + wait * 2));
    }
}
