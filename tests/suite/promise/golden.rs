//! The golden transcripts once more, now through a host to a sealed plugin of either SDK: what a
//! transcript says that the plugin answers is what the caller gets.
//!
//! Only calls are replayed. The rest of a transcript is the host's own part, which is the engine's here.

use std::{fs, path::Path};

use plugbay::{CallError, CallErrorKind, Host, InstanceId};
use plugbay_protocol::{
    golden::{Bindings, Said, Speaker, Transcript},
    method,
};
use plugbay_tests::TestEnv;
use serde_json::{Value, json};

/// Those that are calls and answers.
const TRANSCRIPTS: [&str; 4] = ["calls", "errors", "jsonrpc-spec", "progress"];

/// The SDKs.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sdk {
    Rust,
    Python,
}

/// One call of a transcript and the answer that it must get.
struct Exchange {
    place: String,
    method: String,
    params: Value,
    answer: Value,
}

fn repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn exchanges(name: &str) -> Vec<Exchange> {
    let file = format!("{name}.jsonl");
    let text = fs::read_to_string(repository("protocol/golden").join(&file)).unwrap();
    let transcript = Transcript::parse(&file, &text).unwrap();
    let frames = |speaker: Speaker| {
        transcript.steps.iter().filter_map(move |step| match &step.said {
            Said::Frame(frame) if step.speaker == speaker => Some((step.line, frame)),
            _ => None,
        })
    };
    let calls = frames(Speaker::Host).filter(|(_, frame)| is_call(frame));
    let answered = |call: &Value| {
        let mut answers = frames(Speaker::Plugin).map(|(_, frame)| frame);
        answers.find(|answer| answer["id"] == call["id"] && answer.get("method").is_none()).cloned()
    };
    calls
        .map(|(line, call)| Exchange {
            place: format!("{file}:{line}"),
            method: call["method"].as_str().unwrap().to_owned(),
            params: without_meta(call["params"].clone()),
            answer: answered(call).unwrap_or_else(|| panic!("{file}:{line} is not answered")),
        })
        .collect()
}

/// Whether a host would make this call: a plugin's own method, with metadata as hosts write it. A call
/// without parameters it would not: the metadata makes them an empty object.
fn is_call(frame: &Value) -> bool {
    let Some(name) = frame.get("id").and(frame["method"].as_str()) else { return false };
    let token = &frame["params"]["_meta"]["progressToken"];
    let written = token.is_null() || token.is_string() || token.is_i64();
    !method::is_reserved(name) && !frame["params"].is_null() && written
}

fn without_meta(mut params: Value) -> Value {
    if let Some(members) = params.as_object_mut() {
        members.remove("_meta");
    }
    params
}

/// A host of the golden plugin.
pub(super) async fn host(env: &TestEnv, sdk: Sdk) -> Host {
    host_with(env, sdk, "").await
}

/// The same with more in the plugin's `[supervision]`.
pub(super) async fn host_with(env: &TestEnv, sdk: Sdk, supervision: &str) -> Host {
    let dir = env.root().join("plugins/golden");
    fs::create_dir_all(&dir).unwrap();
    let runtime = match sdk {
        Sdk::Rust => format!("command = [{:?}]", env.binaries().path("golden")),
        Sdk::Python => {
            let plugin = repository("sdk-python/tests/golden_plugin.py");
            fs::write(dir.join("main.py"), fs::read(plugin).unwrap()).unwrap();
            "command = \"python3 main.py\"\nsdk = \"python\"".to_owned()
        }
    };
    let text = format!(
        "[plugin]\nname = \"golden\"\nversion = \"1.0.0\"\n[runtime]\n{runtime}\n\
         [supervision]\nmax_inflight = 128\n{supervision}"
    );
    fs::write(dir.join("plugin.toml"), text).unwrap();
    let builder = Host::builder()
        .plugins(env.root().join("plugins"))
        .keeper(env.binaries().path("plugbay-keeper"))
        .python_sdk(repository("sdk-python/src").canonicalize().unwrap())
        .config("golden", json!({"greeting": "hello", "retries": 3}));
    let host = builder.start().await.unwrap();
    host.settled().await;
    host
}

fn replay(sdk: Sdk) {
    let env = crate::env();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let host = host(&env, sdk).await;
        let mut replayed = 0;
        for exchange in TRANSCRIPTS.into_iter().flat_map(exchanges) {
            let call = host.call_with("golden", &exchange.method).params(&exchange.params);
            let got = match call.send::<Value>().await {
                Ok(result) => json!({"result": result}),
                Err(error) => json!({"error": told(&error)}),
            };
            let expected = match exchange.answer.get("error") {
                Some(error) => {
                    json!({"error": {"code": error["code"], "message": error["message"]}})
                }
                None => json!({"result": exchange.answer["result"]}),
            };
            let matched = Bindings::default().match_value(&expected, &got);
            assert!(matched.is_ok(), "{}: expected {expected}, got {got}", exchange.place);
            replayed += 1;
        }
        assert!(replayed > 30, "only {replayed} calls were found");
        assert_eq!(host.plugin("golden").await.unwrap().instance, Some(InstanceId::FIRST));
        host.shutdown().await;
    });
}

/// An error as the plugin said it; one that the host made before asking has only its code.
fn told(error: &CallError) -> Value {
    match error.kind() {
        CallErrorKind::Plugin(said) => json!({"code": said.code, "message": said.message}),
        _ => json!({"code": error.code(), "message": error.to_string()}),
    }
}

#[test]
fn a_sealed_plugin_of_the_rust_sdk_answers_as_written() {
    replay(Sdk::Rust);
}

#[test]
fn a_sealed_plugin_of_the_python_sdk_answers_as_written() {
    replay(Sdk::Python);
}
