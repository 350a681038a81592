//! Times taken in turns: A, B, C, A, B, C, so that a slow moment of the machine hits all alike.

use std::time::Duration;

use anyhow::{Context as _, Result};

/// The times of one contender.
#[derive(Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that this many thousandths of all do not pass.
    pub(crate) fn quantile(&self, thousandths: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let place = sorted.len().saturating_sub(1) * thousandths / 1000;
        sorted.get(place).copied().unwrap_or_default()
    }

    pub(crate) fn median(&self) -> Duration {
        self.quantile(500)
    }
}

/// One way to do what is measured.
pub(crate) trait Contender {
    /// What it is called in the table.
    fn name(&self) -> &str;

    /// Takes some times; as many in each turn.
    fn turn(&mut self, samples: &mut Samples) -> Result<()>;
}

/// Lets each take its turn, so many times over, with the same pause after each turn: nobody is measured
/// in the wake of another. The first round warms up and is not counted.
pub(crate) fn interleave(
    rounds: usize,
    pause: Duration,
    contenders: &mut [Box<dyn Contender + '_>],
) -> Result<Vec<(String, Samples)>> {
    let mut all: Vec<(String, Samples)> =
        contenders.iter().map(|one| (one.name().to_owned(), Samples::default())).collect();
    for round in 0..=rounds {
        for (contender, (name, samples)) in contenders.iter_mut().zip(&mut all) {
            let mut taken = Samples::default();
            contender.turn(&mut taken).with_context(|| format!("failed to measure `{name}`"))?;
            if round > 0 {
                samples.0.append(&mut taken.0);
            }
            std::thread::sleep(pause);
        }
    }
    Ok(all)
}
