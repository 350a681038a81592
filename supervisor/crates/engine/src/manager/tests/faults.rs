//! What plugins do wrong on their pipes, and what it costs whom.

use std::{sync::Mutex, time::Duration};

use plugbay_protocol::limits;
use serde_json::json;
use tokio::{io::AsyncWriteExt as _, time};

use super::*;
use crate::{CallErrorKind, Cause, LogSource};

#[tokio::test]
async fn stray_lines_are_logged_counted_and_tolerated() {
    let stage = Stage::new(|mut fake| async move {
        fake.raw(b"Welcome to my plugin!\n\x1b[31mred\n").await;
        fake.greet("p", &[]).await;
        fake.raw(b"debug print\n").await;
        fake.serve(without_meta).await
    });
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = lines.clone();
    let host = host_of(&stage, "", |builder| {
        builder.on_log(move |record| {
            sink.lock().unwrap().push((record.source, record.message.clone()));
        })
    })
    .await;
    host.call::<_, Value>("p", "m", &json!({})).await.unwrap();
    let stray = |text: &str| (LogSource::StrayStdout, text.to_owned());
    let expected = [stray("Welcome to my plugin!"), stray(r"\u{1b}[31mred"), stray("debug print")];
    assert_eq!(*lines.lock().unwrap(), expected);
    assert_eq!(host.plugin("p").await.unwrap().counts.stray_lines, 3);
}

#[tokio::test]
async fn a_flood_of_stray_lines_ends_the_process_and_says_why() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        fake.expect("m").await;
        fake.raw(&b"noise\n".repeat(101)).await;
        std::future::pending().await
    });
    let host = host(&stage).await;
    let error = host.call::<_, Value>("p", "m", &json!({})).await.unwrap_err();
    let CallErrorKind::Crashed { cause: Cause::Protocol(why), .. } = error.kind() else {
        panic!("{error}")
    };
    assert_eq!(why, "more than 100 stray lines a minute on stdout");
}

#[tokio::test]
async fn useless_notifications_are_counted_and_a_flood_of_them_ends_the_process() {
    let notice = b"{\"jsonrpc\":\"2.0\",\"method\":\"app/chatter\"}\n";
    let stage = Stage::new(move |mut fake| async move {
        fake.greet("p", &[]).await;
        let some = fake.expect("some").await;
        fake.raw(&notice.repeat(1_000)).await;
        fake.answer(&some, json!("said")).await;
        fake.expect("flood").await;
        loop {
            fake.raw(&notice.repeat(1_000)).await;
        }
    });
    let host = host(&stage).await;
    let said: Value = host.call("p", "some", &json!({})).await.unwrap();
    assert_eq!(said, "said");
    assert_eq!(host.plugin("p").await.unwrap().counts.dropped_notices, 1_000);
    let error = host.call::<_, Value>("p", "flood", &json!({})).await.unwrap_err();
    let CallErrorKind::Crashed { cause: Cause::Protocol(why), .. } = error.kind() else {
        panic!("{error}")
    };
    assert_eq!(why, "more than 1000 useless notifications a second");
}

#[tokio::test(start_paused = true)]
async fn what_a_plugin_asks_beyond_its_quota_is_refused() {
    let stage = Stage::new(move |mut fake| async move {
        fake.greet("p", &[]).await;
        let call = fake.expect("m").await;
        let ask = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"$/ping\"}\n".repeat(500);
        let mut answered = 0;
        let refusal = 'asking: loop {
            fake.raw(&ask).await;
            for _ in 0..500 {
                let answer = fake.recv().await.unwrap();
                if answer.get("error").is_some() {
                    break 'asking answer;
                }
                answered += 1;
            }
        };
        assert_eq!(refusal["error"]["code"], -31006);
        fake.answer(&call, json!(answered)).await;
        std::future::pending().await
    });
    let host = host(&stage).await;
    assert_eq!(host.call::<_, u32>("p", "m", &json!({})).await.unwrap(), 20_000);
}

#[tokio::test]
async fn an_oversize_answer_fails_its_call_and_no_other() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        let big = fake.expect("big").await;
        let result = "x".repeat(limits::MAX_FRAME);
        fake.answer(&big, json!(result)).await;
        fake.serve(without_meta).await
    });
    let host = host(&stage).await;
    let error = host.call::<_, Value>("p", "big", &json!({})).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::FrameTooLarge { .. }), "{error}");
    host.call::<_, Value>("p", "small", &json!({})).await.unwrap();
    assert_eq!(host.plugin("p").await.unwrap().counts.oversize_frames, 1);
}

#[tokio::test]
async fn an_endless_line_that_names_no_call_ends_the_process() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        fake.expect("m").await;
        fake.raw(&vec![b'['; limits::MAX_FRAME + 1]).await;
        std::future::pending().await
    });
    let host = host(&stage).await;
    let error = host.call::<_, Value>("p", "m", &json!({})).await.unwrap_err();
    let CallErrorKind::Crashed { cause: Cause::Protocol(why), .. } = error.kind() else {
        panic!("{error}")
    };
    assert_eq!(why, "a frame passed the size cap and names no call");
}

#[tokio::test]
async fn the_manifest_says_how_long_a_frame_may_be() {
    let stage = Stage::new(|mut fake| async move {
        let initialize = fake.greet("p", &[]).await;
        assert_eq!(initialize["limits"]["maxFrameBytes"], 64 << 10);
        fake.serve(without_meta).await
    });
    let host = host_of(&stage, "[limits]\nmax_frame = \"64KiB\"\n", |builder| builder).await;
    let params = json!({"x": "x".repeat(64 << 10)});
    let error = host.call::<_, Value>("p", "m", &params).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::FrameTooLarge { .. }), "{error}");
    host.call::<_, Value>("p", "m", &json!({"x": "x".repeat(60 << 10)})).await.unwrap();
}

#[tokio::test]
async fn a_plugin_is_told_how_many_calls_its_manifest_allows() {
    for (said, told) in [(500, 500), (2, 64)] {
        let stage = Stage::new(move |mut fake| async move {
            let initialize = fake.greet("p", &[]).await;
            let limits = initialize["limits"].clone();
            fake.serve(move |_| limits.clone()).await
        });
        let manifest = format!("[supervision]\nmax_inflight = {said}\n");
        let host = host_of(&stage, &manifest, |builder| builder).await;
        let limits: Value = host.call("p", "m", &json!({})).await.unwrap();
        assert_eq!(limits["maxInflight"], told);
    }
}

#[tokio::test]
async fn an_oversize_request_is_not_sent() {
    let host = host(&echo()).await;
    let params = json!({"x": "x".repeat(limits::MAX_FRAME)});
    let error = host.call::<_, Value>("p", "m", &params).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::FrameTooLarge { .. }), "{error}");
    host.call::<_, Value>("p", "m", &json!({})).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_is_never_finished_ends_the_process() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        fake.expect("m").await;
        fake.raw(br#"{"jsonrpc":"2.0","#).await;
        std::future::pending().await
    });
    let host = host(&stage).await;
    let before = time::Instant::now();
    let error = host.call::<_, Value>("p", "m", &json!({})).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::Crashed { cause: Cause::Protocol(_), .. }));
    assert!(before.elapsed() < Duration::from_secs(11));
    assert_eq!(host.plugin("p").await.unwrap().counts.partial_frames, 1);
}

#[tokio::test]
async fn responses_that_belong_to_nobody_change_nothing() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        let call = fake.expect("m").await;
        for id in [json!(0), json!(999_999_999), json!(-5), json!("x")] {
            fake.send(&json!({"jsonrpc": "2.0", "id": id, "result": "wrong"})).await;
        }
        fake.answer(&call, json!("right")).await;
        fake.answer(&call, json!("again")).await;
        fake.serve(without_meta).await
    });
    let host = host(&stage).await;
    assert_eq!(host.call::<_, Value>("p", "m", &json!({})).await.unwrap(), "right");
    host.call::<_, Value>("p", "m", &json!({})).await.unwrap();
    let counts = host.plugin("p").await.unwrap().counts;
    assert_eq!((counts.unknown_responses, counts.late_responses), (4, 1));
}

#[tokio::test]
async fn broken_frames_are_answered_counted_and_at_last_punished() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        let call = fake.expect("m").await;
        fake.raw(
            format!("{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":NaN}}\n", call["id"]).as_bytes(),
        )
        .await;
        fake.raw(b"[{\"jsonrpc\":\"2.0\",\"method\":\"x\"}]\n").await;
        let refusal = fake.recv().await.unwrap();
        assert_eq!(refusal["error"]["code"], -32600);
        assert_eq!(refusal["id"], Value::Null);
        fake.expect("next").await;
        fake.raw(&b"{\"jsonrpc\":\"2.0\",\"method\":5}\n".repeat(10)).await;
        std::future::pending().await
    });
    let host = host(&stage).await;
    let error = host.call::<_, Value>("p", "m", &json!({})).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::ProtocolViolation(_)), "{error}");
    let error = host.call::<_, Value>("p", "next", &json!({})).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::Crashed { cause: Cause::Protocol(_), .. }));
}

#[tokio::test]
async fn closing_stdout_while_alive_ends_the_process() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        fake.expect("m").await;
        drop(fake.stdout);
        std::future::pending().await
    });
    let host = host(&stage).await;
    let error = host.call::<_, Value>("p", "m", &json!({})).await.unwrap_err();
    assert!(error.to_string().contains("closed its stdout"), "{error}");
}

#[tokio::test]
async fn stderr_becomes_records_and_a_tail() {
    let stage = Stage::new(|mut fake| async move {
        fake.greet("p", &[]).await;
        fake.expect("m").await;
        fake.stderr.write_all(b"Traceback\nValueError: \x1b[1mbad\n").await.unwrap();
        Cause::Code(1)
    });
    let lines = Arc::new(Mutex::new(Vec::new()));
    let sink = lines.clone();
    let host = host_of(&stage, "", |builder| {
        builder.on_log(move |record| sink.lock().unwrap().push(record.message.clone()))
    })
    .await;
    let error = host.call::<_, Value>("p", "m", &json!({})).await.unwrap_err();
    let CallErrorKind::Crashed { cause: Cause::Code(1), stderr_tail, may_have_run: true } =
        error.kind()
    else {
        panic!("{error}")
    };
    assert_eq!(&**stderr_tail, "Traceback\nValueError: \\u{1b}[1mbad\n");
    assert!(error.to_string().ends_with(r"its last words: ValueError: \u{1b}[1mbad"), "{error}");
    assert_eq!(lines.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_link_out_of_the_plugins_directory_is_not_granted() {
    let asks = "[permissions]\nfilesystem = { write = [\"./data\"] }\n";
    let plugins = Plugins::new().with("p", asks);
    std::os::unix::fs::symlink("/etc", plugins.path().join("p/data")).unwrap();
    let stage = echo();
    let builder = Host::builder().plugins(plugins.path()).launcher(Arc::new(stage.clone()));
    let host = builder.start().await.unwrap();
    let error = host.start_plugin("p").await.unwrap_err().to_string();
    assert!(error.contains("a link leads `./data` out of the plugin's directory"), "{error}");
    assert_eq!(stage.launches(), 0);
}
