//! Signs of life: who is asked, who is found wanting, and who is killed for it.

use std::{sync::Mutex, time::Duration};

use serde_json::json;
use tokio::time;

use super::*;
use crate::{
    CallErrorKind, Cause, Event, EventKind, Events, lifecycle::pulse::Stuck, link::fake::Fake,
};

const ABORT: [i32; 2] = [libc::SIGABRT, libc::SIGCONT];

/// A plugin that promises pongs, and answers nothing once it is called.
fn hangs() -> Stage {
    Stage::new(|mut fake| async move {
        fake.greet_with("p", &[], &["ping"]).await;
        std::future::pending().await
    })
}

/// Calls the plugin and waits as long as it takes.
async fn call(host: &Host) -> Result<Value, crate::CallError> {
    let hour = Duration::from_secs(3600);
    host.call_with("p", "m").idle_timeout(hour).deadline(hour).params(&json!({})).send().await
}

async fn next_state(events: &mut Events) -> &'static str {
    loop {
        if let Event { kind: EventKind::State { to, .. }, .. } = events.next().await.unwrap() {
            return to;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_hangs_with_a_call_in_flight_is_degraded_then_aborted_and_killed() {
    let stage = hangs();
    let host = host(&stage).await;
    host.start_plugin("p").await.unwrap();
    let mut events = host.subscribe();
    let start = time::Instant::now();
    let (outcome, ()) = tokio::join!(call(&host), async {
        assert_eq!(next_state(&mut events).await, "degraded");
        let at = start.elapsed().as_secs();
        assert!((25..=30).contains(&at), "{at}");
        let status = host.plugin("p").await.unwrap();
        assert!(status.reason.contains("gives no signs of life"), "{}", status.reason);
    });
    let error = outcome.unwrap_err();
    let CallErrorKind::Crashed { cause: Cause::Watchdog { stuck: Stuck::Hang, after }, .. } =
        error.kind()
    else {
        panic!("{error}")
    };
    assert!((60..=65).contains(&after.as_secs()), "{after:?}");
    assert!(start.elapsed() < Duration::from_secs(66), "{:?}", start.elapsed());
    assert_eq!(stage.signals(), ABORT);
    assert!(error.to_string().contains("gave no sign of life for 6"), "{error}");
    assert_eq!(error.to_error_object().details().unwrap().cause.unwrap(), "watchdog(hang)");
}

#[tokio::test(start_paused = true)]
async fn one_that_is_busy_and_answers_nothing_gets_twice_the_time() {
    let stage = hangs();
    stage.toil();
    let host = host(&stage).await;
    host.start_plugin("p").await.unwrap();
    let start = time::Instant::now();
    let error = call(&host).await.unwrap_err();
    let CallErrorKind::Crashed { cause: Cause::Watchdog { stuck: Stuck::Busy, .. }, .. } =
        error.kind()
    else {
        panic!("{error}")
    };
    let took = start.elapsed().as_secs();
    assert!((120..=126).contains(&took), "{took}");
}

/// Answers pings and nothing else until so much time has passed, then the call.
async fn works(mut fake: Fake, features: &[&str], time: Duration) -> Cause {
    fake.greet_with("p", &[], features).await;
    let call = fake.expect("m").await;
    let done = time::Instant::now() + time;
    while let Ok(message) = time::timeout_at(done, fake.recv()).await {
        let Some(message) = message else { return Cause::Code(0) };
        fake.answer(&message, json!({})).await;
    }
    fake.answer(&call, json!("done")).await;
    fake.serve(without_meta).await
}

#[tokio::test(start_paused = true)]
async fn one_that_answers_pings_may_be_busy_for_as_long_as_its_caller_waits() {
    let stage = Stage::new(|fake| works(fake, &["ping"], Duration::from_secs(1800)));
    stage.toil();
    let host = host(&stage).await;
    host.start_plugin("p").await.unwrap();
    assert_eq!(call(&host).await.unwrap(), "done");
    let status = host.plugin("p").await.unwrap();
    assert_eq!((status.state, stage.launches()), ("running", 1));
    assert_eq!(status.counts.calls, 2, "a ping is no call: the handshake and one call");
    assert_eq!(status.counts.unknown_responses, 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_promises_no_pongs_is_not_asked_and_not_killed() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet_with("p", &[], &[]).await;
        let call = fake.expect("m").await;
        let quiet = time::timeout(Duration::from_secs(1800), fake.recv()).await;
        assert!(quiet.is_err(), "{quiet:?}");
        fake.answer(&call, json!("done")).await;
        fake.serve(without_meta).await
    });
    let host = host(&stage).await;
    assert_eq!(call(&host).await.unwrap(), "done");
    assert_eq!(stage.launches(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_plugin_is_asked_a_few_times_an_hour() {
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    let stage = Stage::new(move |mut fake| {
        let count = count.clone();
        async move {
            fake.greet_with("p", &[], &["ping"]).await;
            while let Some(message) = fake.recv().await {
                *count.lock().unwrap() += usize::from(message["method"] == "$/ping");
                fake.answer(&message, json!({})).await;
            }
            Cause::Code(0)
        }
    });
    let host = host(&stage).await;
    host.start_plugin("p").await.unwrap();
    time::sleep(Duration::from_secs(3600)).await;
    let asked = *asked.lock().unwrap();
    assert!((9..=16).contains(&asked), "{asked}");
    assert_eq!(host.plugin("p").await.unwrap().state, "running");
}

#[tokio::test(start_paused = true)]
async fn one_that_reads_nothing_is_degraded_then_killed_though_it_promised_no_pongs() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet_with("p", &[], &[]).await;
        std::future::pending().await
    });
    let host = host(&stage).await;
    host.start_plugin("p").await.unwrap();
    let mut events = host.subscribe();
    let start = time::Instant::now();
    let much = json!({"much": "x".repeat(1 << 20)});
    let hour = Duration::from_secs(3600);
    let call = host.call_with("p", "m").idle_timeout(hour).deadline(hour).params(&much);
    let (outcome, ()) = tokio::join!(call.send::<Value>(), async {
        assert_eq!(next_state(&mut events).await, "degraded");
        assert!((5..=7).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
        let status = host.plugin("p").await.unwrap();
        assert!(status.reason.contains("does not read its input"), "{}", status.reason);
    });
    let error = outcome.unwrap_err();
    let died = host.deaths("p").await;
    assert!(
        matches!(died[0].cause, Cause::Watchdog { stuck: Stuck::Deaf, .. }),
        "{error}, {:?}",
        died[0].cause
    );
    assert!((30..=35).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(stage.signals(), ABORT);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_hangs_is_aborted_before_it_is_killed() {
    let stage = Stage::new(|mut fake| async move {
        fake.expect("initialize").await;
        std::future::pending().await
    });
    let manifest = "[supervision]\nstart_timeout = \"20s\"\nrestart = \"never\"\n";
    let host = host_of(&stage, manifest, |builder| builder.on_demand()).await;
    let start = time::Instant::now();
    host.start_plugin("p").await.unwrap_err();
    assert!((20..=23).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(stage.signals(), ABORT);
    let death = &host.deaths("p").await[0];
    assert_eq!(death.cause, Cause::Mute { after: Duration::from_secs(20) });
}

/// A start that reports progress every five seconds for so long.
fn slow_start(seconds: u64) -> Stage {
    Stage::new(move |mut fake| async move {
        let initialize = fake.expect("initialize").await;
        for step in 0..seconds / 5 {
            let params = json!({"token": "initialize", "value": step});
            fake.send(&json!({"jsonrpc": "2.0", "method": "$/progress", "params": params})).await;
            time::sleep(Duration::from_secs(5)).await;
        }
        let hello = json!({
            "version": 1,
            "features": [],
            "plugin": {"name": "p", "version": "1.0.0"},
            "methods": [],
        });
        fake.answer(&initialize, hello).await;
        fake.serve(without_meta).await
    })
}

#[tokio::test(start_paused = true)]
async fn a_start_may_be_extended_by_progress_to_five_minutes_and_no_more() {
    let four = host(&slow_start(240)).await;
    four.start_plugin("p").await.unwrap();
    let stage = slow_start(360);
    let manifest = "[supervision]\nrestart = \"never\"\n";
    let six = host_of(&stage, manifest, |builder| builder.on_demand()).await;
    let start = time::Instant::now();
    six.start_plugin("p").await.unwrap_err();
    assert!((300..=304).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(stage.signals(), ABORT);
}

/// A plugin that says of itself what the script says, question by question, the last word for ever.
fn says(words: &'static [&'static str]) -> Stage {
    Stage::new(move |mut fake| async move {
        fake.greet_with("p", &[], &["health"]).await;
        let mut words = words.iter();
        let mut word = "ok";
        while let Some(message) = fake.recv().await {
            if message["method"] == "plugin/health" {
                word = words.next().unwrap_or(&word);
                let said = json!({"status": word, "message": "the database is away"});
                fake.answer(&message, said).await;
            } else if message.get("id").is_some() {
                let answer = without_meta(&message);
                fake.answer(&message, answer).await;
            }
        }
        Cause::Code(0)
    })
}

#[tokio::test(start_paused = true)]
async fn one_that_cannot_work_yet_is_not_ready_and_is_killed_when_it_never_is() {
    let stage = says(&["failing"]);
    let manifest = "[supervision]\nrestart = \"never\"\n";
    let host = host_of(&stage, manifest, |builder| builder.on_demand()).await;
    let error = host.start_plugin("p").await.unwrap_err().to_string();
    assert!(error.ends_with("did not say within 10s that it can work"), "{error}");
    let host = self::host(&says(&["failing", "failing", "degraded"])).await;
    host.start_plugin("p").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn one_that_says_it_fails_three_times_takes_no_calls_until_it_is_well_twice() {
    let stage = says(&["ok", "failing", "failing", "failing", "ok", "failing", "ok", "ok"]);
    let host = host(&stage).await;
    host.start_plugin("p").await.unwrap();
    let mut events = host.subscribe();
    assert_eq!(next_state(&mut events).await, "degraded");
    let fell = time::Instant::now();
    let status = host.plugin("p").await.unwrap();
    assert!(status.reason.contains("it says: the database is away"), "{}", status.reason);
    assert_eq!(call(&host).await.unwrap(), json!({}), "it waits until the plugin is back");
    assert_eq!(fell.elapsed().as_secs(), 20, "four more questions");
    assert_eq!(next_state(&mut events).await, "running");
}
