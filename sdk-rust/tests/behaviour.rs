//! What a plugin does under a host in memory, beyond the golden transcripts: what they cannot say because
//! it is this SDK's own, or because it takes a handler that misbehaves.

#![expect(
    clippy::unwrap_used,
    reason = "an integration test's helpers are not `in tests` for clippy"
)]

use plugbay_sdk::testing::Host;
use plugbay_sdk::{
    Code, Context, Error, Level, Meta, Plugin, Progress, Result, Value, WireLimits, json,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);

fn plugin() -> Plugin {
    Plugin::new("test", "1.0.0")
}

fn code<T: std::fmt::Debug>(failed: Result<T, plugbay_sdk::CallError>) -> Option<Code> {
    failed.unwrap_err().known_code()
}

/// Says when it is dropped.
struct Bell(Sender<&'static str>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.send("dropped").unwrap();
    }
}

/// A sender that handlers may share.
fn channel<T>() -> (Arc<Mutex<Sender<T>>>, Receiver<T>) {
    let (send, receive) = mpsc::channel();
    (Arc::new(Mutex::new(send)), receive)
}

#[test]
fn a_panic_is_answered_and_the_plugin_lives_on() {
    let host = Host::new(
        plugin()
            .method("now", |_: (), _: &Context| -> Result<()> { panic!("oh {}", "no") })
            .method_async("later", |_: (), _: Context| async move {
                if true {
                    panic!("later");
                }
                Ok(())
            })
            .method("fine", |_: (), _: &Context| -> Result<u8> { Ok(7) }),
    );
    let failed = host.call::<()>("now", &()).unwrap_err();
    assert_eq!(failed.known_code(), Some(Code::InternalError));
    assert_eq!(failed.message(), "the handler panicked: oh no");
    assert_eq!(code(host.call::<()>("later", &())), Some(Code::InternalError));
    assert_eq!(host.call::<u8>("fine", &()).unwrap(), 7);
}

#[test]
fn an_asynchronous_handler_is_dropped_where_it_waits() {
    let (send, dropped) = channel();
    let host = Host::new(plugin().method_async("wait", move |_: (), ctx: Context| {
        let bell = Bell(send.lock().unwrap().clone());
        async move {
            ctx.progress("waiting");
            std::future::pending::<()>().await;
            drop(bell);
            Ok(())
        }
    }));
    let call = host.start("wait", &()).unwrap();
    call.wait_progress(1).unwrap();
    call.cancel().unwrap();
    assert_eq!(code(call.result::<()>()), Some(Code::RequestCancelled));
    assert_eq!(dropped.recv_timeout(PATIENCE), Ok("dropped"));
}

#[test]
fn many_asynchronous_handlers_wait_without_threads() {
    let (send, parked) = channel();
    let host = Host::new(plugin().threads(1).method_async("wait", move |_: (), ctx: Context| {
        send.lock().unwrap().send(()).unwrap();
        async move {
            ctx.cancelled().await;
            Ok(())
        }
    }));
    let calls: Vec<_> = (0..50).map(|_| host.start("wait", &()).unwrap()).collect();
    for _ in &calls {
        parked.recv_timeout(PATIENCE).unwrap();
    }
    for call in &calls {
        call.cancel().unwrap();
        assert_eq!(code(call.result::<()>()), Some(Code::RequestCancelled));
    }
}

#[test]
fn an_executor_of_the_authors_runs_futures_and_may_drop_them() {
    let spawned = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&spawned);
    let executor = move |future: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
        if counted.fetch_add(1, Ordering::SeqCst) == 0 {
            drop(future);
        } else {
            std::thread::spawn(move || block_on(future));
        }
    };
    let host = Host::new(plugin().executor(executor).method_async(
        "name",
        |_: (), ctx: Context| async move {
            let info: Value = ctx.call_async("host/info", &()).await?;
            Ok(info["name"].clone())
        },
    ));
    assert_eq!(code(host.call::<Value>("name", &())), Some(Code::InternalError));
    assert_eq!(host.call::<String>("name", &()).unwrap(), "plugbay-sdk");
    assert_eq!(spawned.load(Ordering::SeqCst), 2);
}

/// The smallest executor there is.
fn block_on(mut future: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>) {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut task = std::task::Context::from_waker(&waker);
    while future.as_mut().poll(&mut task).is_pending() {
        std::thread::park();
    }
}

/// The watcher's case: a method known to be quick is not, for once.
#[test]
fn a_ping_is_answered_while_a_quick_method_hangs() {
    let (send, release) = mpsc::channel::<()>();
    let release = Mutex::new(release);
    let host =
        Host::new(plugin().method("maybe", move |hang: [bool; 1], ctx: &Context| -> Result<()> {
            if hang[0] {
                ctx.progress("hanging");
                release.lock().unwrap().recv_timeout(PATIENCE)?;
            }
            Ok(())
        }));
    for _ in 0..200 {
        host.call::<()>("maybe", &[false]).unwrap();
    }
    let meta = Meta { progress_token: None, ..Meta::default() };
    let call = host.start_with("maybe", &json!([true]), meta).unwrap();
    host.ping().unwrap();
    let others: Vec<_> = (0..20).map(|_| host.start("maybe", &[false]).unwrap()).collect();
    for other in others {
        other.result::<()>().unwrap();
    }
    send.send(()).unwrap();
    call.result::<()>().unwrap();
}

#[test]
fn while_a_handler_waits_for_the_host_others_are_served() {
    let (send, release) = mpsc::channel::<()>();
    let release = Mutex::new(release);
    let host = Host::new(
        plugin()
            .method("ask", |_: (), ctx: &Context| -> Result<u8> {
                Ok(ctx.call_plugin("other", "slow", &json!({"a": 1}))?)
            })
            .method("echo", |params: Value, _: &Context| -> Result<Value> { Ok(params) }),
    )
    .stub_plugin("other", "slow", move |params| {
        assert_eq!(params, json!({"a": 1}));
        release.lock().unwrap().recv_timeout(PATIENCE)?;
        Ok(json!(5))
    });
    for _ in 0..20 {
        host.call::<Value>("echo", &json!([1])).unwrap();
        let ask = host.start("ask", &()).unwrap();
        // The stub holds up the reading of answers, not the plugin.
        let echo = host.start("echo", &json!([2])).unwrap();
        send.send(()).unwrap();
        assert_eq!(echo.result::<Value>().unwrap(), json!([2]));
        assert_eq!(ask.result::<u8>().unwrap(), 5);
    }
}

#[test]
fn a_host_that_does_not_answer_is_not_waited_for() {
    let (send, gave_up) = channel();
    let gave_up = Mutex::new(gave_up);
    let host = Host::new(plugin().method("ask", move |_: (), ctx: &Context| -> Result<()> {
        let request = ctx.request("host/slow").timeout(Duration::from_millis(20));
        let failed = request.send::<Value>();
        send.lock().unwrap().send(())?;
        assert_eq!(code(failed), Some(Code::DeadlineExceeded));
        Ok(())
    }))
    .stub("host/slow", move |_| {
        gave_up.lock().unwrap().recv_timeout(PATIENCE)?;
        Ok(json!("too late"))
    });
    host.call::<()>("ask", &()).unwrap();
    let told = host.notifications();
    assert_eq!((told.len(), &*told[0].0), (1, "$/cancel"));
    assert_eq!(told[0].1["reason"], "deadline");
}

#[test]
fn futures_have_timeouts_too() {
    let (send, gave_up) = channel();
    let gave_up = Mutex::new(gave_up);
    let host = Host::new(plugin().method_async("ask", move |_: (), ctx: Context| {
        let send = send.lock().unwrap().clone();
        async move {
            let request = ctx.request("host/slow").timeout(Duration::from_millis(20));
            let failed = request.send_async::<Value>().await;
            assert_eq!(code(failed), Some(Code::DeadlineExceeded));
            Ok(send.send(())?)
        }
    }))
    .stub("host/slow", move |_| {
        gave_up.lock().unwrap().recv_timeout(PATIENCE)?;
        Ok(json!("too late"))
    });
    host.call::<()>("ask", &()).unwrap();
    let told = host.notifications();
    assert_eq!((told.len(), &*told[0].0), (1, "$/cancel"));
    assert_eq!(told[0].1["reason"], "deadline");
}

#[test]
fn a_cancelled_call_withdraws_what_it_asked() {
    let (send, release) = mpsc::channel::<()>();
    let release = Mutex::new(release);
    let host = Host::new(plugin().method("ask", |_: (), ctx: &Context| -> Result<Value> {
        ctx.progress("asking");
        Ok(ctx.call("host/slow", &())?)
    }))
    .stub("host/slow", move |_| {
        release.lock().unwrap().recv_timeout(PATIENCE)?;
        Ok(Value::Null)
    });
    let call = host.start("ask", &()).unwrap();
    call.wait_progress(1).unwrap();
    call.cancel().unwrap();
    send.send(()).unwrap();
    assert_eq!(code(call.result::<Value>()), Some(Code::RequestCancelled));
    assert!(host.notifications().iter().all(|(method, _)| method == "$/cancel"));
}

#[test]
fn a_deadline_cancels_by_itself() {
    let host = Host::new(plugin().method("wait", |_: (), ctx: &Context| -> Result<()> {
        assert!(ctx.remaining().unwrap() <= Duration::from_millis(10));
        assert!(ctx.wait_cancelled(None));
        Ok(ctx.check()?)
    }));
    let meta = Meta { deadline_ms: Some(10), ..Meta::default() };
    let call = host.start_with("wait", &(), meta).unwrap();
    assert_eq!(code(call.result::<()>()), Some(Code::RequestCancelled));
}

#[test]
fn more_calls_than_agreed_are_refused_and_a_waiting_one_can_be_cancelled() {
    let (send, release) = mpsc::channel::<()>();
    let release = Mutex::new(release);
    let limits = WireLimits { max_inflight: 3, ..WireLimits::default() };
    let host =
        Host::new(plugin().threads(1).method("hold", move |_: (), ctx: &Context| -> Result<()> {
            ctx.progress("held");
            release.lock().unwrap().recv_timeout(PATIENCE)?;
            Ok(())
        }))
        .limits(limits);
    let held = host.start("hold", &()).unwrap();
    held.wait_progress(1).unwrap();
    let [second, third] = [(); 2].map(|()| host.start("hold", &()).unwrap());
    let refused = host.call::<()>("hold", &()).unwrap_err();
    assert_eq!(refused.known_code(), Some(Code::Overloaded));
    assert_eq!(refused.details().unwrap().limit, Some(3));
    second.cancel().unwrap();
    assert_eq!(code(second.result::<()>()), Some(Code::RequestCancelled));
    send.send(()).unwrap();
    send.send(()).unwrap();
    held.result::<()>().unwrap();
    third.result::<()>().unwrap();
}

#[test]
fn frames_are_bounded_in_both_directions() {
    let limits = WireLimits { max_frame_bytes: 4096, ..WireLimits::default() };
    let host = Host::new(
        plugin()
            .method("long", |length: [usize; 1], ctx: &Context| -> Result<String> {
                let text = "x".repeat(length[0]);
                ctx.log().field("text", &text).info(&text);
                assert_eq!(
                    code(ctx.call::<Value>("host/info", &[&text])),
                    Some(Code::FrameTooLarge)
                );
                Ok(text)
            })
            .method("length", |text: [String; 1], _: &Context| -> Result<usize> {
                Ok(text[0].len())
            }),
    )
    .limits(limits);
    let failed = host.call::<String>("long", &[5000]).unwrap_err();
    assert_eq!(failed.known_code(), Some(Code::FrameTooLarge));
    assert_eq!(failed.details().unwrap().limit, Some(4096));
    let text = "x".repeat(9 << 20);
    assert_eq!(code(host.call::<usize>("length", &[&text])), Some(Code::FrameTooLarge));
    let text = "x".repeat(1 << 20);
    assert_eq!(host.call::<usize>("length", &[&text]).unwrap(), 1 << 20);
}

#[test]
fn hooks_run_at_the_beginning_and_at_the_end() {
    let (send, said) = channel();
    let (start, stop, call) = (Arc::clone(&send), Arc::clone(&send), send);
    let host = Host::new(
        plugin()
            .on_start(move |ctx| {
                let failed = ctx.call::<Value>("host/info", &());
                assert_eq!(code(failed), Some(Code::NotInitialized));
                ctx.progress(Progress::of(1, 2));
                Ok(start.lock().unwrap().send("start")?)
            })
            .on_stop(move |_| Ok(stop.lock().unwrap().send("stop")?))
            .on_stop(|_| Err(Error::failed("no matter")))
            .method("call", move |_: (), _: &Context| -> Result<()> {
                Ok(call.lock().unwrap().send("call")?)
            }),
    );
    host.call::<()>("call", &()).unwrap();
    host.shutdown().unwrap();
    assert_eq!(said.try_iter().collect::<Vec<_>>(), ["start", "call", "stop"]);
    let last = host.logs().pop().unwrap();
    assert_eq!((last.level, last.fields["error"].clone()), (Level::Error, json!("no matter")));
}

#[test]
fn a_start_may_fail_or_panic() {
    let host = Host::new(plugin().on_start(|_| Err(Error::new(17, "no index"))));
    assert_eq!(host.hello().unwrap_err().code(), 17);
    let host = Host::new(plugin().on_start(|_| panic!("no")));
    assert_eq!(code(host.hello()), Some(Code::InternalError));
    let host = Host::new(plugin().config::<[u8; 2]>()).config(json!([1]));
    let refused = host.hello().unwrap_err();
    assert_eq!(
        refused.message(),
        "the configuration: invalid length 1, expected an array of length 2"
    );
}

#[test]
fn names_of_the_protocol_are_refused_and_twins_too() {
    let echo = |params: Value, _: &Context| -> Result<Value> { Ok(params) };
    let host = Host::new(plugin().method("host/x", echo).method("a", echo).method("a", echo));
    let faults = host.hello().unwrap_err().message().to_owned();
    assert_eq!(
        faults,
        "the method name `host/x` belongs to the protocol; there are two methods `a`"
    );
}

#[test]
fn what_no_call_asked_for_may_be_said_later() {
    let (send, contexts) = channel();
    let host = Host::new(plugin().method("keep", move |_: (), ctx: &Context| -> Result<()> {
        Ok(send.lock().unwrap().send(ctx.detached())?)
    }));
    let call = host.start("keep", &()).unwrap();
    call.result::<()>().unwrap();
    let ctx = contexts.recv_timeout(PATIENCE).unwrap();
    let info: Value = ctx.call("host/info", &()).unwrap();
    assert_eq!(info["name"], "plugbay-sdk");
    ctx.notify("event/custom", &json!({"a": 1})).unwrap();
    ctx.log().field("n", 1).warn("later");
    host.ping().unwrap();
    assert_eq!(host.notifications(), [("event/custom".to_owned(), json!({"a": 1}))]);
    assert_eq!(host.logs()[0].level, Level::Warn);
    host.hang_up().unwrap();
    host.wait_ended().unwrap();
    assert_eq!(code(ctx.call::<Value>("host/info", &())), Some(Code::Unavailable));
}

#[test]
fn notifications_run_and_their_failure_is_logged() {
    let (send, ran) = channel();
    let host =
        Host::new(plugin().method("note", move |params: [u8; 1], _: &Context| -> Result<()> {
            send.lock().unwrap().send(params[0])?;
            if params[0] == 0 { Err(Error::failed("zero")) } else { Ok(()) }
        }));
    host.notify("note", &[1]).unwrap();
    host.notify("note", &[0]).unwrap();
    let mut all = [ran.recv_timeout(PATIENCE).unwrap(), ran.recv_timeout(PATIENCE).unwrap()];
    all.sort_unstable();
    assert_eq!(all, [0, 1]);
    host.shutdown().unwrap();
    assert_eq!(host.logs()[0].fields["error"], "zero");
}

/// Everything at once, from many threads.
#[test]
fn a_thousand_calls_of_every_kind_are_each_answered_once() {
    let host = Host::new(
        plugin()
            .threads(4)
            .method("sync", |n: [u32; 1], _: &Context| -> Result<u32> { Ok(n[0]) })
            .method("ask", |n: [u32; 1], ctx: &Context| -> Result<u32> {
                Ok(ctx.call("host/echo", &n)?)
            })
            .method_async("async", |n: [u32; 1], ctx: Context| async move {
                Ok(ctx.call_async::<u32>("host/echo", &n).await?
                    + ctx.call_async::<u32>("host/echo", &n).await?)
            }),
    )
    .limits(WireLimits { max_inflight: 256, ..WireLimits::default() })
    .stub("host/echo", |params| Ok(params[0].clone()));
    std::thread::scope(|scope| {
        for thread in 0..8_u32 {
            let host = &host;
            scope.spawn(move || {
                for round in 0..125 {
                    let n = thread * 1000 + round;
                    let calls =
                        ["sync", "ask", "async"].map(|method| host.start(method, &[n]).unwrap());
                    let [sync, ask, later] = calls.map(|call| call.result::<u32>().unwrap());
                    assert_eq!((sync, ask, later), (n, n, 2 * n));
                }
            });
        }
    });
    host.shutdown().unwrap();
}
