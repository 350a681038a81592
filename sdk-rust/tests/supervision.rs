//! What a host asks to know how a plugin is, and what it tells one that is to be replaced.

#![expect(
    clippy::unwrap_used,
    reason = "an integration test's helpers are not `in tests` for clippy"
)]

use plugbay_sdk::{Code, Context, Error, Health, Plugin, Result, Value, json, testing::Host};
use std::sync::{Mutex, PoisonError, mpsc};

fn asked(hook: impl Fn(&Context) -> Result<Health> + Send + Sync + 'static) -> Value {
    let host = Host::new(Plugin::new("p", "1.0.0").on_health(|_| Ok(Health::Ok)).on_health(hook));
    assert!(host.hello().unwrap().features.contains("health"));
    host.call("plugin/health", &()).unwrap()
}

#[test]
fn a_plugin_says_how_it_is() {
    assert_eq!(asked(|_| Ok(Health::Ok)), json!({"status": "ok"}));
    let degraded = asked(|_| Ok(Health::Degraded("no index".to_owned())));
    assert_eq!(degraded, json!({"status": "degraded", "message": "no index"}));
    let failing = asked(|_| Err(Error::failed("no disk")));
    assert_eq!(failing, json!({"status": "failing", "message": "no disk"}));
    assert_eq!(asked(|_| panic!("at once"))["status"], "failing");
}

#[test]
fn being_busy_is_no_reason_to_be_late() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let plugin = Plugin::new("p", "1.0.0").threads(1).on_health(|_| Ok(Health::Ok)).method(
        "busy",
        move |_: (), _: &Context| -> Result<bool> {
            Ok(released.lock().unwrap_or_else(PoisonError::into_inner).recv().is_ok())
        },
    );
    let host = Host::new(plugin);
    let busy = host.start("busy", &()).unwrap();
    assert_eq!(host.call::<Value>("plugin/health", &()).unwrap()["status"], "ok");
    release.send(()).unwrap();
    assert!(busy.result::<bool>().unwrap());
}

#[test]
fn a_plugin_without_a_hook_is_not_to_be_asked() {
    let host = Host::new(Plugin::new("p", "1.0.0"));
    assert!(!host.hello().unwrap().features.contains("health"));
    let error = host.call::<Value>("plugin/health", &()).unwrap_err();
    assert_eq!(error.known_code(), Some(Code::MethodNotFound));
}

#[test]
fn a_drained_plugin_finishes_and_takes_no_more_until_it_is_shut_down() {
    let (told, tell) = mpsc::channel::<()>();
    let tell = Mutex::new(tell);
    let plugin = Plugin::new("p", "1.0.0").on_drain(move |_| Ok(told.send(())?)).method(
        "until_drained",
        move |_: (), _: &Context| -> Result<bool> {
            Ok(tell.lock().unwrap_or_else(PoisonError::into_inner).recv().is_ok())
        },
    );
    let host = Host::new(plugin);
    let running = host.start("until_drained", &()).unwrap();
    assert_eq!(host.call::<Value>("plugin/drain", &json!({"deadlineMs": 5})).unwrap(), Value::Null);
    assert!(running.result::<bool>().unwrap());
    let refused = host.call::<Value>("until_drained", &()).unwrap_err();
    assert_eq!(refused.known_code(), Some(Code::Draining));
    host.shutdown().unwrap();
}
