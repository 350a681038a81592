//! Streams both ways, between a caller and a plugin and between two plugins, and their ends.

use std::{sync::Arc, time::Duration};

use plugbay_protocol::Code;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{Plugins, host};
use crate::{
    CallErrorKind, Cause, Deadline, Host, Items, StreamKind,
    link::{
        Boxed,
        fake::{Fake, Stage},
    },
};

/// Longer than anything else here.
const LONG: Duration = Duration::from_secs(3600);

fn reference(id: &str) -> Value {
    json!({"$stream": id, "kind": "json"})
}

async fn data(fake: &mut Fake, id: &str, seq: u64, items: Value) {
    let params = json!({"id": id, "seq": seq, "items": items});
    fake.send(&json!({"jsonrpc": "2.0", "method": "stream/data", "params": params})).await;
}

async fn say(fake: &mut Fake, method: &str, params: Value) {
    fake.send(&json!({"jsonrpc": "2.0", "method": method, "params": params})).await;
}

/// A plugin that answers a call with a stream and then does `rest`.
fn streaming<F>(rest: impl Fn(Fake) -> F + Clone + Send + Sync + 'static) -> Stage
where
    F: Future<Output = Cause> + Send + 'static,
{
    Stage::new(move |mut fake| {
        let rest = rest.clone();
        async move {
            fake.greet("p", &[]).await;
            let call = fake.expect("m").await;
            fake.answer(&call, reference("s1")).await;
            rest(fake).await
        }
    })
}

async fn stream(host: &Host) -> Items {
    host.call_with("p", "m").stream().await.unwrap()
}

#[tokio::test]
async fn the_items_of_a_result_come_in_order_and_then_the_end() {
    let host = host(&streaming(|mut fake| async move {
        data(&mut fake, "s1", 1, json!([1, 2])).await;
        data(&mut fake, "s1", 2, json!([3])).await;
        say(&mut fake, "stream/end", json!({"id": "s1"})).await;
        fake.serve(|_| Value::Null).await
    }))
    .await;
    let mut items = stream(&host).await;
    let mut all = Vec::new();
    while let Some(item) = items.next::<u32>().await.unwrap() {
        all.push(item);
    }
    assert_eq!(all, [1, 2, 3]);
    assert!(items.next::<u32>().await.unwrap().is_none(), "and stays at the end");
}

#[tokio::test]
async fn a_call_with_a_stream_for_an_answer_is_reported_as_what_it_is() {
    let stage = streaming(|mut fake| async move {
        data(&mut fake, "s1", 1, json!([1])).await;
        say(&mut fake, "stream/end", json!({"id": "s1"})).await;
        fake.serve(|_| Value::Null).await
    });
    let there = host(&stage).await;
    let (report, reply) = there.call_with("p", "m").report_open().await;
    assert_eq!((report.outcome(), report.attempts), ("ok", 1));
    assert!(report.output.is_none() && report.cpu.is_some(), "{report:?}");
    let mut items = reply.unwrap().into_stream().unwrap();
    assert_eq!(items.next::<u32>().await.unwrap(), Some(1));
    assert!(items.next::<u32>().await.unwrap().is_none());
    // Who has no way to take it is told so.
    let report = host(&stage).await.call_with("p", "m").report().await;
    assert_eq!(report.outcome(), "unexpected-result");
    let (report, reply) = there.call_with("nobody", "m").report_open().await;
    assert_eq!((report.outcome(), reply.is_err()), ("unknown-plugin", true));
}

#[tokio::test]
async fn bytes_arrive_as_they_were() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        let call = fake.expect("m").await;
        fake.answer(&call, json!({"$stream": "b", "kind": "bytes"})).await;
        say(&mut fake, "stream/data", json!({"id": "b", "seq": 1, "b64": "AP8K"})).await;
        say(&mut fake, "stream/end", json!({"id": "b"})).await;
        fake.serve(|_| Value::Null).await
    });
    let host = host(&stage).await;
    let mut items = stream(&host).await;
    assert_eq!(items.kind(), StreamKind::Bytes);
    assert_eq!(items.next_bytes().await.unwrap().unwrap(), [0, 255, 10]);
    assert!(items.next_bytes().await.unwrap().is_none());
}

#[tokio::test]
async fn what_was_taken_is_acknowledged_at_half_a_window() {
    let host = host(&streaming(|mut fake| async move {
        for seq in 1..=64 {
            data(&mut fake, "s1", seq, json!([seq])).await;
        }
        let ack = fake.expect("stream/ack").await;
        assert_eq!(ack["params"], json!({"id": "s1", "seq": 32}));
        say(&mut fake, "stream/end", json!({"id": "s1"})).await;
        fake.serve(|_| Value::Null).await
    }))
    .await;
    let mut items = stream(&host).await;
    let mut count = 0;
    while items.next::<u64>().await.unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 64);
}

#[tokio::test]
async fn a_dropped_reader_tells_the_plugin() {
    let host = host(&streaming(|mut fake| async move {
        data(&mut fake, "s1", 1, json!([1])).await;
        let dropped = fake.expect("stream/drop").await;
        assert_eq!(dropped["params"], json!({"id": "s1"}));
        data(&mut fake, "s1", 2, json!([2])).await;
        fake.serve(|_| json!("fine")).await
    }))
    .await;
    let mut items = stream(&host).await;
    assert_eq!(items.next::<u64>().await.unwrap(), Some(1));
    drop(items);
    assert_eq!(host.call::<_, String>("p", "m", &()).await.unwrap(), "fine");
    assert_eq!(host.plugin("p").await.unwrap().counts.violations, 0);
}

#[tokio::test]
async fn a_failure_comes_after_the_items_before_it() {
    let host = host(&streaming(|mut fake| async move {
        data(&mut fake, "s1", 1, json!([1])).await;
        let error = json!({"code": 17, "message": "no more"});
        say(&mut fake, "stream/end", json!({"id": "s1", "error": error})).await;
        fake.serve(|_| Value::Null).await
    }))
    .await;
    let mut items = stream(&host).await;
    assert_eq!(items.next::<u64>().await.unwrap(), Some(1));
    let error = items.next::<u64>().await.unwrap_err();
    assert_eq!((error.code(), error.method()), (17, "m"));
}

#[tokio::test]
async fn the_end_of_the_process_is_named() {
    let host = host(&streaming(|mut fake| async move {
        data(&mut fake, "s1", 1, json!([1])).await;
        Cause::Code(3)
    }))
    .await;
    let mut items = stream(&host).await;
    assert_eq!(items.next::<u64>().await.unwrap(), Some(1));
    let error = items.next::<u64>().await.unwrap_err();
    let CallErrorKind::Crashed { cause, .. } = error.kind() else { panic!("{error}") };
    assert_eq!(cause.token(), "exit(3)");
    assert!(error.instance().is_some());
}

#[tokio::test]
async fn a_sender_without_credit_is_struck_and_its_stream_broken() {
    let host = host(&streaming(|mut fake| async move {
        for seq in 1..=65 {
            data(&mut fake, "s1", seq, json!([seq])).await;
        }
        fake.expect("stream/drop").await;
        fake.serve(|_| Value::Null).await
    }))
    .await;
    let mut items = stream(&host).await;
    host.call::<_, Value>("p", "after", &()).await.unwrap();
    let error = loop {
        match items.next::<u64>().await {
            Ok(item) => assert!(item.is_some()),
            Err(error) => break error,
        }
    };
    assert!(matches!(error.kind(), CallErrorKind::ProtocolViolation(_)), "{error}");
    assert_eq!(host.plugin("p").await.unwrap().counts.violations, 1);
}

#[tokio::test(start_paused = true)]
async fn a_silent_stream_ends_by_the_idle_time() {
    let host = host(&streaming(|mut fake| async move {
        data(&mut fake, "s1", 1, json!([1])).await;
        fake.expect("stream/drop").await;
        fake.serve(|_| Value::Null).await
    }))
    .await;
    let call = host.call_with("p", "m").idle_timeout(Duration::from_secs(3));
    let mut items = call.stream().await.unwrap();
    assert_eq!(items.next::<u64>().await.unwrap(), Some(1));
    let error = items.next::<u64>().await.unwrap_err();
    let CallErrorKind::DeadlineExceeded { which, .. } = error.kind() else { panic!("{error}") };
    assert_eq!(*which, Deadline::Idle);
    assert_eq!(host.call::<_, Value>("p", "after", &()).await.unwrap(), Value::Null);
}

#[tokio::test]
async fn a_caller_that_wants_no_stream_gets_an_error_and_the_plugin_a_drop() {
    let host = host(&streaming(|mut fake| async move {
        fake.expect("stream/drop").await;
        fake.serve(|_| Value::Null).await
    }))
    .await;
    let error = host.call::<_, Value>("p", "m", &()).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::UnexpectedResult(_)), "{error}");
    host.call::<_, Value>("p", "after", &()).await.unwrap();
}

/// Adds up the numbers of its parameter `items`.
fn adder(name: &'static str) -> Stage {
    Stage::new(move |mut fake| async move {
        fake.greet(name, &[]).await;
        let call = fake.expect("m").await;
        add(&mut fake, &call).await;
        fake.serve(|_| Value::Null).await
    })
}

/// Takes a stream as a good receiver does, and answers the call with the sum.
async fn add(fake: &mut Fake, call: &Value) {
    let id = call["params"]["items"]["$stream"].as_str().unwrap().to_owned();
    let mut sum = 0;
    let mut taken = 0;
    loop {
        let notice = fake.recv().await.unwrap();
        assert_eq!(notice["params"]["id"], id.as_str());
        if notice["method"] == "stream/end" {
            let error = notice["params"].get("error").cloned();
            return fake.answer(call, error.unwrap_or(json!(sum))).await;
        }
        sum += notice["params"]["items"][0].as_u64().unwrap();
        taken += 1;
        if taken % 32 == 0 {
            say(fake, "stream/ack", json!({"id": id, "seq": taken})).await;
        }
    }
}

#[tokio::test]
async fn a_parameter_is_sent_item_by_item() {
    let host = host(&adder("p")).await;
    let (call, mut upload) = host.call_with("p", "m").upload("items", StreamKind::Json);
    let (sum, ()) = tokio::join!(call.send::<u64>(), async {
        for number in 1..=1000_u64 {
            upload.send(&number).await.unwrap();
        }
        upload.end().await;
    });
    assert_eq!(sum.unwrap(), 500_500);
}

#[tokio::test]
async fn an_upload_that_just_stops_has_failed() {
    let host = host(&adder("p")).await;
    let (call, mut upload) = host.call_with("p", "m").upload("items", StreamKind::Json);
    let (error, ()) = tokio::join!(call.send::<Value>(), async {
        upload.send(&1).await.unwrap();
        drop(upload);
    });
    assert_eq!(error.unwrap()["code"], -32800);
}

#[tokio::test]
async fn a_slow_plugin_makes_the_uploader_wait() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        let call = fake.expect("m").await;
        let mut last = Value::Null;
        for _ in 0..64 {
            last = fake.expect("stream/data").await;
        }
        // There is no credit for another: what comes next is the answer to this.
        say(&mut fake, "stream/drop", json!({"id": last["params"]["id"]})).await;
        fake.answer(&call, last["params"]["seq"].clone()).await;
        fake.serve(|_| Value::Null).await
    });
    let host = host(&stage).await;
    let (call, mut upload) = host.call_with("p", "m").upload("items", StreamKind::Json);
    let (seq, ()) =
        tokio::join!(call.send::<u64>(), async { while upload.send(&1).await.is_ok() {} });
    assert_eq!(seq.unwrap(), 64);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_items_is_not_idle() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        let call = fake.expect("m").await;
        let id = call["params"]["items"]["$stream"].clone();
        for seq in 1..=5 {
            tokio::time::advance(Duration::from_secs(2)).await;
            say(&mut fake, "stream/ack", json!({"id": id, "seq": seq})).await;
            // Heard before time goes on.
            fake.send(&json!({"jsonrpc": "2.0", "id": seq, "method": "$/ping"})).await;
            while fake.recv().await.unwrap()["id"] != seq {}
        }
        fake.answer(&call, json!("taken")).await;
        fake.serve(|_| Value::Null).await
    });
    let host = host(&stage).await;
    let call = host.call_with("p", "m").idle_timeout(Duration::from_secs(3));
    let (call, mut upload) = call.upload("items", StreamKind::Json);
    let (answer, ()) =
        tokio::join!(call.send::<String>(), async { while upload.send(&1).await.is_ok() {} });
    assert_eq!(answer.unwrap(), "taken");
}

#[tokio::test]
async fn parameters_cannot_name_a_stream_of_somebody_elses() {
    let host = host(&adder("p")).await;
    let forged = json!({"items": reference("h1")});
    let error = host.call::<_, Value>("p", "m", &forged).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::InvalidParams(_)), "{error}");
}

#[tokio::test]
async fn a_stop_waits_for_a_stream() {
    let stopping = Arc::new(Notify::new());
    let told = stopping.clone();
    let host = host(&streaming(move |mut fake| {
        let told = told.clone();
        async move {
            tokio::select! {
                early = fake.recv() => panic!("it was to wait, and said {early:?}"),
                () = told.notified() => {}
            }
            data(&mut fake, "s1", 1, json!([1])).await;
            say(&mut fake, "stream/end", json!({"id": "s1"})).await;
            let shutdown = fake.expect("shutdown").await;
            fake.answer(&shutdown, Value::Null).await;
            fake.expect("exit").await;
            Cause::Code(0)
        }
    }))
    .await;
    let mut items = stream(&host).await;
    let (stopped, item) = tokio::join!(host.stop_plugin("p"), async {
        while host.plugin("p").await.unwrap().state == "running" {
            tokio::task::yield_now().await;
        }
        stopping.notify_one();
        items.next::<u64>().await
    });
    stopped.unwrap();
    assert_eq!(item.unwrap(), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_has_waited_its_time_cuts_a_stream() {
    let host = host(&streaming(|mut fake| async move {
        fake.expect("stream/drop").await;
        let shutdown = fake.expect("shutdown").await;
        fake.answer(&shutdown, Value::Null).await;
        fake.expect("exit").await;
        Cause::Code(0)
    }))
    .await;
    let mut items = host.call_with("p", "m").idle_timeout(LONG).stream().await.unwrap();
    let (stopped, item) = tokio::join!(host.stop_plugin("p"), items.next::<u64>());
    stopped.unwrap();
    assert_eq!(item.unwrap_err().code(), Code::Draining.value());
}

/// A host of `p`, which runs `caller` and may call `q`, which runs `callee`.
async fn two<A, B>(
    caller: impl Fn(Fake) -> A + Clone + Send + Sync + 'static,
    callee: impl Fn(Fake) -> B + Clone + Send + Sync + 'static,
) -> Host
where
    A: Future<Output = Cause> + Send + 'static,
    B: Future<Output = Cause> + Send + 'static,
{
    let plugins = Plugins::new().with("p", "[dependencies]\nq = \"*\"").with("q", "");
    let stage = Stage::new(move |mut fake| {
        let is_caller = fake.spec.workdir.ends_with("p");
        let name = if is_caller { "p" } else { "q" };
        let greeted = async move {
            fake.greet(name, &[]).await;
            fake
        };
        let run: Boxed<'static, Cause> = if is_caller {
            let run = caller.clone();
            Box::pin(async move { run(greeted.await).await })
        } else {
            let run = callee.clone();
            Box::pin(async move { run(greeted.await).await })
        };
        run
    });
    let builder = Host::builder().plugins(plugins.path()).launcher(Arc::new(stage));
    builder.start().await.unwrap()
}

/// Asks the host to call `q.m` with these parameters.
async fn forward(fake: &mut Fake, call: &Value, params: Value) {
    let meta = json!({"callId": call["params"]["_meta"]["callId"]});
    let params = json!({"plugin": "q", "method": "m", "params": params, "_meta": meta});
    fake.send(&json!({"jsonrpc": "2.0", "id": 1, "method": "host/call", "params": params})).await;
}

#[tokio::test]
async fn a_stream_goes_from_plugin_to_plugin_no_faster_than_it_is_taken() {
    let host = two(
        |mut fake| async move {
            let call = fake.expect("go").await;
            forward(&mut fake, &call, json!({"items": reference("s1")})).await;
            let (mut sent, mut acknowledged) = (0, 0);
            while sent < 500 {
                while sent - acknowledged < 64 && sent < 500 {
                    sent += 1;
                    data(&mut fake, "s1", sent, json!([sent])).await;
                }
                if sent < 500 {
                    let ack = fake.expect("stream/ack").await;
                    acknowledged = ack["params"]["seq"].as_u64().unwrap();
                }
            }
            say(&mut fake, "stream/end", json!({"id": "s1"})).await;
            let answer = loop {
                let message = fake.recv().await.unwrap();
                if message["id"] == 1 {
                    break message;
                }
            };
            fake.answer(&call, answer["result"].clone()).await;
            fake.serve(|_| Value::Null).await
        },
        |mut fake| async move {
            let call = fake.expect("m").await;
            add(&mut fake, &call).await;
            fake.serve(|_| Value::Null).await
        },
    )
    .await;
    assert_eq!(host.call::<_, u64>("p", "go", &()).await.unwrap(), 125_250);
}

#[tokio::test]
async fn a_streamed_answer_of_another_plugin_comes_with_its_end_or_its_drop() {
    let host = two(
        |mut fake| async move {
            let call = fake.expect("go").await;
            forward(&mut fake, &call, json!({})).await;
            let answer = fake.recv().await.unwrap();
            let id = answer["result"]["deep"][0]["$stream"].clone();
            let first = fake.expect("stream/data").await;
            assert_eq!(first["params"], json!({"id": id, "seq": 1, "items": ["x"]}));
            say(&mut fake, "stream/drop", json!({"id": id})).await;
            fake.answer(&call, json!("had enough")).await;
            fake.serve(|_| Value::Null).await
        },
        |mut fake| async move {
            let call = fake.expect("m").await;
            fake.answer(&call, json!({"deep": [reference("q1")]})).await;
            data(&mut fake, "q1", 1, json!(["x"])).await;
            fake.expect("stream/drop").await;
            fake.serve(|_| json!("still here")).await
        },
    )
    .await;
    assert_eq!(host.call::<_, String>("p", "go", &()).await.unwrap(), "had enough");
    assert_eq!(host.call::<_, String>("q", "m", &()).await.unwrap(), "still here");
}
