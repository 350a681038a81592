//! Streams to and from sealed plugins of either SDK, and between two of them.

use std::fs;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use plugbay::{CallErrorKind, Host, Items, StreamKind};
use plugbay_tests::TestEnv;
use serde_json::json;

use super::golden::{Sdk, host};

/// Enough for many windows.
const MANY: u64 = 10_000;

/// A plugin that hands its streams on to the golden one, and that one's back.
const RELAY: &str = r#"
from plugbay import Plugin

plugin = Plugin("relay", "1.0.0")

@plugin.method
def total(ctx, count):
    return ctx.call_plugin("golden", "total", {"numbers": iter(range(count))})

@plugin.method
def upper(ctx, bytes):
    return ctx.call_plugin("golden", "upper", {"bytes": bytes})

@plugin.method("range")
def count_up(ctx, count):
    return ctx.call_plugin("golden", "range", {"count": count})

plugin.run()
"#;

const MANIFEST: &str = r#"
[plugin]
name = "relay"
version = "1.0.0"
[runtime]
command = "python3 main.py"
sdk = "python"
[dependencies]
golden = "*"
"#;

fn with_host<F: Future<Output = ()>>(sdk: Sdk, run: impl FnOnce(Host) -> F) {
    let env: TestEnv = crate::env();
    let dir = env.root().join("plugins/relay");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("main.py"), RELAY).unwrap();
    fs::write(dir.join("plugin.toml"), MANIFEST).unwrap();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let host = host(&env, sdk).await;
        run(host.clone()).await;
        host.shutdown().await;
    });
}

async fn sum(mut items: Items) -> u64 {
    let (mut sum, mut next) = (0, 0);
    while let Some(number) = items.next::<u64>().await.unwrap() {
        assert_eq!(number, next, "out of order");
        next += 1;
        sum += number;
    }
    sum
}

/// Sends bytes to be put into upper case, and takes them back as they come.
async fn upper(host: &Host, plugin: &str, bytes: &[u8]) -> Vec<u8> {
    let (call, mut upload) = host.call_with(plugin, "upper").upload("bytes", StreamKind::Bytes);
    let taken = async {
        let mut items = call.stream().await.unwrap();
        let mut all = Vec::new();
        while let Some(piece) = items.next_bytes().await.unwrap() {
            all.extend_from_slice(&piece);
        }
        all
    };
    let (all, ()) = tokio::join!(taken, async {
        upload.send_bytes(bytes).await.unwrap();
        upload.end().await;
    });
    all
}

async fn either_way(host: Host) {
    let numbers = host.call_with("golden", "range").params(&json!({"count": MANY}));
    assert_eq!(sum(numbers.stream().await.unwrap()).await, MANY * (MANY - 1) / 2);

    let (call, mut upload) = host.call_with("golden", "total").upload("numbers", StreamKind::Json);
    let (total, ()) = tokio::join!(call.send::<u64>(), async {
        for number in 0..MANY {
            upload.send(&number).await.unwrap();
        }
        upload.end().await;
    });
    assert_eq!(total.unwrap(), MANY * (MANY - 1) / 2);

    let bytes = b"to be or not to be\n".repeat(60_000);
    assert_eq!(upper(&host, "golden", &bytes).await, bytes.to_ascii_uppercase());
}

async fn dropped_and_killed(host: Host) {
    let endless = || host.call_with("golden", "range").params(&json!({"count": u32::MAX})).stream();
    let mut items = endless().await.unwrap();
    assert_eq!(items.next::<u64>().await.unwrap(), Some(0));
    drop(items);
    let numbers = json!({"a": 1, "b": 2});
    assert_eq!(host.call::<_, u64>("golden", "add", &numbers).await.unwrap(), 3);

    let mut items = endless().await.unwrap();
    assert_eq!(items.next::<u64>().await.unwrap(), Some(0));
    let pid = host.plugin("golden").await.unwrap().pid.unwrap();
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    let error = loop {
        match items.next::<u64>().await {
            Ok(item) => assert!(item.is_some(), "an end that was not said"),
            Err(error) => break error,
        }
    };
    let CallErrorKind::Crashed { cause, .. } = error.kind() else { panic!("{error}") };
    assert_eq!(cause.token(), "signal(SIGKILL)");
}

async fn through_another(host: Host) {
    let total: u64 = host.call("relay", "total", &json!({"count": MANY})).await.unwrap();
    assert_eq!(total, MANY * (MANY - 1) / 2);

    let numbers = host.call_with("relay", "range").params(&json!({"count": MANY}));
    assert_eq!(sum(numbers.stream().await.unwrap()).await, MANY * (MANY - 1) / 2);

    let bytes = b"to be or not to be\n".repeat(30_000);
    assert_eq!(upper(&host, "relay", &bytes).await, bytes.to_ascii_uppercase());
}

#[test]
fn a_sealed_rust_plugin_sends_and_takes_streams() {
    with_host(Sdk::Rust, either_way);
}

#[test]
fn a_sealed_python_plugin_sends_and_takes_streams() {
    with_host(Sdk::Python, either_way);
}

#[test]
fn a_stream_of_a_sealed_rust_plugin_ends_when_it_is_dropped_and_by_name_when_it_is_killed() {
    with_host(Sdk::Rust, dropped_and_killed);
}

#[test]
fn a_stream_of_a_sealed_python_plugin_ends_when_it_is_dropped_and_by_name_when_it_is_killed() {
    with_host(Sdk::Python, dropped_and_killed);
}

#[test]
fn streams_go_from_a_python_plugin_to_a_rust_one_and_back() {
    with_host(Sdk::Rust, through_another);
}
