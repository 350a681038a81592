//! Many plugins at once: who may start when.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use tokio::time;

use super::*;
use crate::{
    Cause, EventKind, clock,
    link::{Boxed, Launched, Launcher},
};

/// The name of the plugin that a script is to play.
fn name(fake: &crate::link::fake::Fake) -> String {
    fake.spec.workdir.file_name().unwrap().to_string_lossy().into_owned()
}

async fn host_with(count: usize, stage: Arc<dyn Launcher>) -> Host {
    let plugins = (0..count).fold(Plugins::new(), |plugins, number| {
        plugins.with(&format!("p{number}"), "[supervision]\nbackoff_initial = \"1ms\"\n")
    });
    Host::builder().plugins(plugins.path()).launcher(stage).start().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn plugins_that_fall_together_do_not_rise_together() {
    let fall = tokio_util::sync::CancellationToken::new();
    let starts: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let (fallen, started) = (fall.clone(), starts.clone());
    let stage = Stage::new(move |mut fake| {
        let (fallen, started) = (fallen.clone(), started.clone());
        async move {
            if fake.number > 50 {
                started.lock().unwrap().push(clock::now());
            }
            fake.greet(&name(&fake), &[]).await;
            if fake.number <= 50 {
                fallen.cancelled().await;
                return Cause::Code(1);
            }
            fake.serve(without_meta).await
        }
    });
    let host = host_with(50, Arc::new(stage.clone())).await;
    host.settled().await;
    assert_eq!(stage.alive(), 50);
    let mut events = host.subscribe();
    let fell = clock::now();
    fall.cancel();
    let mut back = 0;
    while back < 50 {
        let kind = events.next().await.unwrap().kind;
        back += usize::from(matches!(kind, EventKind::State { to: "running", .. }));
    }
    let starts = starts.lock().unwrap();
    let within = |span: f64| starts.iter().filter(|at| (**at - fell).as_secs_f64() <= span).count();
    assert!(within(0.5) <= 25, "{}", within(0.5));
    assert!(within(2.0) <= 40, "{}", within(2.0));
    assert_eq!(within(4.0), 50);
}

#[tokio::test(start_paused = true)]
async fn starts_that_hang_do_not_hold_up_the_others_for_long() {
    let stage = Stage::new(|mut fake| async move {
        let name = name(&fake);
        if name.as_str() < "p4" {
            std::future::pending::<()>().await;
        }
        fake.greet(&name, &[]).await;
        fake.serve(without_meta).await
    });
    let before = clock::now();
    let host = host_with(5, Arc::new(stage)).await;
    host.call::<_, Value>("p4", "m", &serde_json::json!({})).await.unwrap();
    let took = clock::now() - before;
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(3), "{took:?}");
}

/// A machine that is short of descriptors for the first so many starts.
#[derive(Debug)]
struct Short {
    stage: Stage,
    left: Mutex<u32>,
}

impl Launcher for Short {
    fn launch(&self, spec: plugbay_sandbox::Spec) -> Boxed<'_, Result<Launched, Cause>> {
        let mut left = self.left.lock().unwrap();
        if *left == 0 {
            return self.stage.launch(spec);
        }
        *left -= 1;
        let (stage, message) = ("start".to_owned(), "too many open files".to_owned());
        let cause = Cause::Launch { stage, errno: libc::EMFILE, message };
        Box::pin(async move { Err(cause) })
    }

    fn goodbye(&self) {}
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_short_is_given_time_and_nobody_is_blamed() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet(&name(&fake), &[]).await;
        fake.serve(without_meta).await
    });
    let before = clock::now();
    let host = host_with(12, Arc::new(Short { stage, left: Mutex::new(4) })).await;
    let mut events = host.subscribe();
    let mut up = 0;
    while up < 12 {
        let kind = events.next().await.unwrap().kind;
        up += usize::from(matches!(kind, EventKind::State { to: "running", .. }));
    }
    let took = clock::now() - before;
    // The pause is made. How often depends on how many of the four failed before the first one, and the
    // paused clock jumps on while a scripted plugin's pipe is awaited: above there is no exact bound.
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(60), "{took:?}");
    for status in host.plugins().await {
        assert_eq!((status.state, status.failures), ("running", 0), "{}", status.name);
    }
    time::timeout(Duration::from_secs(60), host.shutdown()).await.unwrap();
}
