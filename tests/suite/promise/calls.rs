//! Many calls at once, some of them cancelled at any moment: each has exactly one outcome.

use plugbay::{CallError, CallErrorKind, CancellationToken, Host, InstanceId};
use plugbay_tests::PATIENCE;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::golden::{Sdk, host};

/// Calls at once, and how often they are made.
const CALLS: usize = 100;
const ROUNDS: u64 = 5;

/// Chance, the same in every run.
struct Dice(u64);

impl Dice {
    /// A number below `sides`, by Knuth's generator.
    fn below(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// Makes the calls, cancels some in random order, and tells how many of each outcome there were.
async fn round(host: &Host, dice: &mut Dice) -> (usize, usize) {
    let tokens: Vec<CancellationToken> = (0..CALLS).map(|_| CancellationToken::new()).collect();
    let mut calls = JoinSet::new();
    for (number, token) in tokens.iter().cloned().enumerate() {
        let host = host.clone();
        calls.spawn(async move {
            let call = host.call_with("golden", method(number)).params(&params(number));
            (number, call.cancel(token).deadline(PATIENCE).send::<Value>().await)
        });
    }
    let mut order: Vec<usize> = (0..CALLS).collect();
    for at in (1..CALLS).rev() {
        order.swap(at, dice.below(at + 1));
    }
    for number in order {
        // What waits to be cancelled is; of the others every second one.
        if method(number) == "wait" || dice.below(2) == 0 {
            tokens[number].cancel();
        }
        for _ in 0..dice.below(4) {
            tokio::task::yield_now().await;
        }
    }
    let (mut answered, mut cancelled) = (0, 0);
    let mut seen = [false; CALLS];
    while let Some(done) = calls.join_next().await {
        let (number, outcome) = done.unwrap();
        assert!(!std::mem::replace(&mut seen[number], true), "call {number} ended twice");
        if judge(number, outcome) { answered += 1 } else { cancelled += 1 }
    }
    (answered, cancelled)
}

fn method(number: usize) -> &'static str {
    ["wait", "echo", "slow"][number % 3]
}

fn params(number: usize) -> Value {
    match method(number) {
        "echo" => json!({"number": number}),
        "slow" => json!({"steps": 20}),
        _ => json!({}),
    }
}

/// Whether it was answered, with its own answer; anything but that and a cancel is wrong.
fn judge(number: usize, outcome: Result<Value, CallError>) -> bool {
    match (method(number), outcome) {
        ("echo", Ok(answer)) => assert_eq!(answer, params(number)),
        ("slow", Ok(answer)) => assert_eq!(answer, "done"),
        (_, Ok(answer)) => panic!("call {number} was answered with {answer}"),
        (_, Err(error)) => {
            assert!(matches!(error.kind(), CallErrorKind::Cancelled), "call {number}: {error}");
            return false;
        }
    }
    true
}

fn cancel_at_random(sdk: Sdk) {
    let env = crate::env();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let host = host(&env, sdk).await;
        for seed in 0..ROUNDS {
            let (answered, cancelled) = round(&host, &mut Dice(seed)).await;
            assert_eq!(answered + cancelled, CALLS);
            assert!(answered > 0 && cancelled >= CALLS / 3, "{answered}, {cancelled}");
        }
        let status = host.plugin("golden").await.unwrap();
        assert_eq!((status.instance, status.in_flight), (Some(InstanceId::FIRST), 0));
        assert_eq!((status.counts.unknown_responses, status.counts.violations), (0, 0));
        let back: Value = host.call("golden", "echo", &json!({"a": 1})).await.unwrap();
        assert_eq!(back, json!({"a": 1}));
        host.shutdown().await;
    });
}

#[test]
fn a_hundred_calls_cancelled_at_random_have_one_outcome_each_in_rust() {
    cancel_at_random(Sdk::Rust);
}

#[test]
fn a_hundred_calls_cancelled_at_random_have_one_outcome_each_in_python() {
    cancel_at_random(Sdk::Python);
}
