//! The healthy neighbour: called all the time while another plugin misbehaves.

use std::time::Duration;

use plugbay::{CancellationToken, Host};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    clock::now,
    unmet::{Unmet, broken, require},
};

/// Its name.
pub(crate) const NAME: &str = "neighbour";
/// How often it is called.
const RHYTHM: Duration = Duration::from_millis(10);
/// The longest that any call of it may take while another plugin misbehaves. The catalogue asks for
/// an unchanged 99th percentile, which is shown but takes a machine of one's own to judge.
pub(crate) const LONGEST: Duration = Duration::from_secs(5);
/// Calls that are remembered.
const KEPT: usize = 100_000;

/// How its calls went.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Pulse {
    /// Calls, all of them answered.
    pub(crate) calls: usize,
    /// Microseconds that half of the calls took at most.
    pub(crate) median_us: u64,
    /// That 99 of 100 took at most.
    pub(crate) p99_us: u64,
    /// The longest.
    pub(crate) worst_us: u64,
}

/// Calls it until it is over. The error is that a call was not answered as it should.
pub(crate) async fn keep_calling(host: Host, over: CancellationToken) -> Result<Pulse, Unmet> {
    let mut rhythm = tokio::time::interval(RHYTHM);
    rhythm.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut times = Vec::new();
    while !over.is_cancelled() && times.len() < KEPT {
        rhythm.tick().await;
        let began = now();
        call(&host).await?;
        times.push(began.elapsed());
    }
    let pulse = Pulse::of(times);
    let longest = u64::try_from(LONGEST.as_micros()).unwrap_or(u64::MAX);
    require!(
        pulse.worst_us < longest,
        "a call of the healthy neighbour took {} ms",
        pulse.worst_us / 1000
    );
    Ok(pulse)
}

/// One call, whose answer must be right.
pub(crate) async fn call(host: &Host) -> Result<(), Unmet> {
    let answer: Result<Value, _> = host.call(NAME, "echo", &json!([1])).await;
    let answer = answer.map_err(|error| broken(format_args!("the healthy neighbour: {error}")))?;
    require!(answer == json!([1]), "the healthy neighbour answered {answer}");
    Ok(())
}

impl Pulse {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |percent: usize| {
            let place = (times.len() * percent / 100).min(times.len().saturating_sub(1));
            let time = times.get(place).copied().unwrap_or_default();
            u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
        };
        Self { calls: times.len(), median_us: at(50), p99_us: at(99), worst_us: at(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_calls_made() {
        let pulse = Pulse::of((1..=100).map(Duration::from_millis).rev().collect());
        assert_eq!((pulse.calls, pulse.worst_us), (100, 100_000));
        assert_eq!((pulse.median_us, pulse.p99_us), (51_000, 100_000));
        assert_eq!(Pulse::of(Vec::new()).worst_us, 0);
    }
}
