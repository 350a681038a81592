//! What a host asks to know how a plugin is, and what it tells one that is to be replaced.

#![expect(
    clippy::unwrap_used,
    reason = "an integration test's helpers are not `in tests` for clippy"
)]

use plugbay_sdk::{
    Code, Context, Error, Health, Plugin, Result, State, Value, json, testing::Host,
};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

/// A number that outlives its plugin, in this shape or another.
struct Count<const SHAPE: u64>(Arc<Mutex<u64>>);

impl<const SHAPE: u64> State for Count<SHAPE> {
    const VERSION: u64 = SHAPE;
    type Snapshot = u64;

    fn snapshot(&self) -> Result<u64> {
        match *self.0.lock().unwrap() {
            13 => Err(Error::failed("not now")),
            count => Ok(count),
        }
    }

    fn restore(&self, count: u64) -> Result<()> {
        *self.0.lock().unwrap() = count;
        Ok(())
    }

    fn convert(&self, version: u64, snapshot: Value) -> Result<u64> {
        match (SHAPE, version, snapshot) {
            (3, 2, Value::String(count)) => Ok(count.parse().unwrap()),
            _ => Err(Error::invalid_params("never seen")),
        }
    }
}

fn counting<const SHAPE: u64>(count: u64) -> (Host, Arc<Mutex<u64>>) {
    let count = Arc::new(Mutex::new(count));
    let state = Count::<SHAPE>(count.clone());
    (Host::new(Plugin::new("p", "1.0.0").state(state)), count)
}

#[test]
fn what_one_version_gives_the_next_takes() {
    let (old, _) = counting::<1>(41);
    assert!(old.hello().unwrap().features.contains("snapshot"));
    let given: Value = old.call("plugin/snapshot", &()).unwrap();
    assert_eq!(given, json!({"stateVersion": 1, "state": 41}));
    let (new, count) = counting::<1>(0);
    new.call::<Value>("plugin/restore", &given).unwrap();
    assert_eq!(*count.lock().unwrap(), 41);
}

#[test]
fn state_of_another_shape_is_converted_or_refused() {
    let (new, count) = counting::<3>(7);
    let given = json!({"stateVersion": 2, "state": "41"});
    new.call::<Value>("plugin/restore", &given).unwrap();
    assert_eq!(*count.lock().unwrap(), 41);
    for bad in [json!({"stateVersion": 1, "state": 9}), json!({"state": 9}), json!({})] {
        let error = new.call::<Value>("plugin/restore", &bad).unwrap_err();
        assert_eq!(error.known_code(), Some(Code::InvalidParams), "{bad}");
    }
    assert_eq!(*count.lock().unwrap(), 41, "what is refused changes nothing");
}

#[test]
fn a_plugin_may_be_unable_to_give_its_state() {
    let (old, _) = counting::<1>(13);
    let error = old.call::<Value>("plugin/snapshot", &()).unwrap_err();
    assert!(error.message().contains("not now"), "{error}");
    let host = Host::new(Plugin::new("p", "1.0.0"));
    assert!(!host.hello().unwrap().features.contains("snapshot"));
    let error = host.call::<Value>("plugin/snapshot", &()).unwrap_err();
    assert_eq!(error.known_code(), Some(Code::MethodNotFound));
}

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
