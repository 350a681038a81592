//! What plugins ask: of the host, and of each other.

use std::time::Duration;

use plugbay_protocol::ErrorObject;
use serde_json::json;
use tokio::time;

use super::*;
use crate::{Cause, link::fake::Fake};

/// Asks the host on behalf of `call` (if any) and answers the call with what came back.
async fn ask(fake: &mut Fake, call: &Value, method: &str, mut params: Value) {
    params["_meta"] = json!({"callId": call["params"]["_meta"]["callId"]});
    let id = "q1";
    fake.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})).await;
    let answer = loop {
        let message = fake.recv().await.unwrap();
        if message["id"] == id {
            break message;
        }
    };
    fake.answer(call, json!({"result": answer["result"], "error": answer["error"]})).await;
}

/// A plugin whose method `ask {method, params}` asks the host.
fn asker() -> Stage {
    Stage::new(|mut fake| async move {
        let name = fake.spec.workdir.file_name().unwrap().to_str().unwrap().to_owned();
        fake.greet(&name, &[]).await;
        while let Some(call) = fake.recv().await {
            match call["method"].as_str() {
                Some("ask") => {
                    let (method, params) =
                        (call["params"]["method"].clone(), call["params"]["params"].clone());
                    ask(&mut fake, &call, method.as_str().unwrap(), params).await;
                }
                Some("mute") => {}
                Some(_) if call.get("id").is_some() => {
                    let answer = without_meta(&call);
                    fake.answer(&call, answer).await;
                }
                Some(_) | None => {}
            }
        }
        Cause::Code(0)
    })
}

async fn asked(host: &Host, method: &str, params: Value) -> Value {
    host.call("p", "ask", &json!({"method": method, "params": params})).await.unwrap()
}

#[tokio::test]
async fn the_host_says_who_it_is_and_what_the_configuration_is() {
    let host = host_of(&asker(), "", |builder| {
        builder.name("bench", "9.1.0").config("p", json!({"depth": 3}))
    })
    .await;
    let info = asked(&host, "host/info", json!({})).await;
    assert_eq!(info["result"], json!({"name": "bench", "version": "9.1.0"}));
    assert_eq!(asked(&host, "host/config.get", json!({})).await["result"], json!({"depth": 3}));
    assert_eq!(asked(&host, "host/config.get", json!({"key": "depth"})).await["result"], 3);
    assert_eq!(asked(&host, "host/nonsense", json!({})).await["error"]["code"], -32601);
}

#[tokio::test]
async fn an_embedder_adds_methods() {
    let host = host_of(&asker(), "", |builder| {
        builder.method("app/double", |caller: crate::Caller, params: Value| async move {
            match params["n"].as_i64() {
                Some(n) => Ok(json!({"n": n * 2, "for": &*caller.plugin})),
                None => Err(ErrorObject::new(12, "n is missing")),
            }
        })
    })
    .await;
    let answer = asked(&host, "app/double", json!({"n": 21})).await;
    assert_eq!(answer["result"], json!({"n": 42, "for": "p"}));
    assert_eq!(asked(&host, "app/double", json!({})).await["error"]["code"], 12);
}

#[tokio::test]
async fn a_reserved_name_cannot_be_an_embedders() {
    let handler = |_: crate::Caller, (): ()| async { Ok(()) };
    let refused = Host::builder().method("host/mine", handler).start().await;
    assert!(matches!(refused, Err(crate::StartError::MethodName(name)) if name == "host/mine"));
}

/// Three plugins, `p` may call `q`, `q` may call `p` and `r`.
async fn three() -> Host {
    let plugins = Plugins::new()
        .with("p", "[dependencies]\nq = \"*\"\n")
        .with("q", "[dependencies]\nr = \"*\"\n")
        .with("r", "");
    let host =
        Host::builder().plugins(plugins.path()).launcher(Arc::new(asker())).start().await.unwrap();
    assert_eq!(host.plugins().await.len(), 3);
    host
}

#[tokio::test]
async fn a_plugin_calls_another_that_its_manifest_names_and_no_other() {
    let host = three().await;
    let call = |plugin| json!({"plugin": plugin, "method": "echo", "params": {"a": 1}});
    assert_eq!(asked(&host, "host/call", call("q")).await["result"], json!({"a": 1}));
    let denied = asked(&host, "host/call", call("r")).await;
    assert_eq!(denied["error"]["code"], -31005);
    assert_eq!(denied["error"]["data"]["grantHint"], "[dependencies] r = \"*\"");
}

#[tokio::test]
async fn a_call_that_would_come_back_is_refused() {
    let host = three().await;
    let back = json!({"plugin": "p", "method": "echo"});
    let through_q = json!({"method": "host/call", "params": back});
    let outer = json!({"plugin": "q", "method": "ask", "params": through_q});
    let answer = asked(&host, "host/call", outer).await;
    let inner = &answer["result"]["error"];
    assert_eq!(inner["code"], -31011, "{answer}");
    assert_eq!(inner["data"]["chain"], json!(["p", "q", "p"]));
}

/// A plugin whose method `ask` asks for `host/call` without a word of the call it is for.
fn nameless() -> Stage {
    Stage::new(|mut fake| async move {
        let name = fake.spec.workdir.file_name().unwrap().to_str().unwrap().to_owned();
        fake.greet(&name, &[]).await;
        while let Some(call) = fake.recv().await {
            let params = call["params"]["ask"].clone();
            let question = json!({"jsonrpc": "2.0", "id": "q", "method": "host/call"});
            let mut question = question.as_object().unwrap().clone();
            question.insert("params".to_owned(), params);
            fake.send(&Value::Object(question)).await;
            let answer = fake.recv().await.unwrap();
            let answer = json!({"result": answer["result"], "error": answer["error"]});
            fake.answer(&call, answer).await;
        }
        Cause::Code(0)
    })
}

#[tokio::test]
async fn leaving_the_call_out_is_no_way_out_of_the_chain() {
    let plugins = Plugins::new().with("p", "[dependencies]\nq = \"*\"\n").with("q", "");
    let stage = Arc::new(nameless());
    let host = Host::builder().plugins(plugins.path()).launcher(stage).start().await.unwrap();
    let back = json!({"ask": {"plugin": "p", "method": "ask"}});
    let outer = json!({"ask": {"plugin": "q", "method": "ask", "params": back}});
    let answer: Value = host.call("p", "ask", &outer).await.unwrap();
    let inner = &answer["result"]["error"];
    assert_eq!(inner["code"], -31011, "{answer}");
    assert_eq!(inner["data"]["chain"], json!(["p", "q", "p"]));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_flows_down_the_chain() {
    let host = three().await;
    host.settled().await;
    let mute = json!({"method": "host/call", "params": {"plugin": "q", "method": "mute"}});
    let before = time::Instant::now();
    let call = host.call_with("p", "ask").params(&mute).deadline(Duration::from_secs(4));
    call.send::<Value>().await.unwrap_err();
    assert!(before.elapsed() < Duration::from_millis(4100));
    // `q` is free again: what was asked on behalf of the call was cancelled with it.
    time::sleep(Duration::from_secs(1)).await;
    assert_eq!(host.plugin("q").await.unwrap().counts.failed, 0);
    host.call::<_, Value>("q", "echo", &json!({})).await.unwrap();
}

#[tokio::test]
async fn a_plugin_that_calls_another_without_end_leaves_places_for_the_host() {
    let plugins = Plugins::new()
        .with("p", "[dependencies]\nq = \"*\"\n")
        .with("q", "[supervision]\nmax_inflight = 8\n");
    let flood = Stage::new(|mut fake| async move {
        let name = fake.spec.workdir.file_name().unwrap().to_str().unwrap().to_owned();
        fake.greet(&name, &[]).await;
        if name == "q" {
            // Answers only what is not of the flood.
            while let Some(call) = fake.recv().await {
                if call["method"] == "echo" {
                    fake.answer(&call, json!(1)).await;
                }
            }
            return Cause::Code(0);
        }
        let call = fake.recv().await.unwrap();
        for id in 0..20 {
            let params = json!({"plugin": "q", "method": "mute"});
            let question = json!({"jsonrpc": "2.0", "id": id, "method": "host/call"});
            let mut question = question.as_object().unwrap().clone();
            question.insert("params".to_owned(), params);
            fake.send(&Value::Object(question)).await;
        }
        let mut refused = 0;
        while refused < 16 {
            refused += u32::from(fake.recv().await.unwrap()["error"]["code"] == -31004);
        }
        fake.answer(&call, json!(refused)).await;
        fake.serve(without_meta).await
    });
    let host =
        Host::builder().plugins(plugins.path()).launcher(Arc::new(flood)).start().await.unwrap();
    host.call::<_, Value>("q", "echo", &json!({})).await.unwrap();
    assert_eq!(host.call::<_, u32>("p", "flood", &json!({})).await.unwrap(), 16);
    let params = json!({});
    let calls = (0..4).map(|_| host.call::<_, Value>("q", "echo", &params));
    for outcome in futures_util::future::join_all(calls).await {
        outcome.unwrap();
    }
}

#[tokio::test]
async fn a_question_before_the_handshake_is_refused() {
    let stage = Stage::new(|mut fake| async move {
        let initialize = fake.expect("initialize").await;
        fake.send(&json!({"jsonrpc": "2.0", "id": 1, "method": "host/info"})).await;
        let refusal = fake.recv().await.unwrap();
        assert_eq!(refusal["error"]["code"], -32002);
        let plugin = json!({"name": "p", "version": "1.0.0"});
        fake.answer(&initialize, json!({"version": 1, "plugin": plugin})).await;
        fake.expect("initialized").await;
        fake.serve(without_meta).await
    });
    host(&stage).await.start_plugin("p").await.unwrap();
}

#[tokio::test]
async fn an_id_in_use_and_a_question_too_many_are_refused() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        let call = fake.expect("m").await;
        let question = |id: u32| json!({"jsonrpc": "2.0", "id": id, "method": "app/wait"});
        fake.send(&question(1)).await;
        fake.send(&question(1)).await;
        let twice = fake.recv().await.unwrap();
        for id in 2..=65 {
            fake.send(&question(id)).await;
        }
        let many = fake.recv().await.unwrap();
        fake.send(&json!({"jsonrpc": "2.0", "method": "$/cancel", "params": {"id": 7}})).await;
        let cancelled = fake.recv().await.unwrap();
        fake.answer(&call, json!([twice, many, cancelled])).await;
        fake.serve(without_meta).await
    });
    let host = host_of(&stage, "", |builder| {
        builder.method("app/wait", |_: crate::Caller, (): ()| {
            std::future::pending::<Result<(), ErrorObject>>()
        })
    })
    .await;
    let answers: Vec<Value> = host.call("p", "m", &json!({})).await.unwrap();
    let codes: Vec<_> = answers.iter().map(|answer| answer["error"]["code"].clone()).collect();
    assert_eq!(codes, [-32600, -31004, -32800]);
    assert_eq!((&answers[1]["id"], &answers[2]["id"]), (&json!(65), &json!(7)));
}
