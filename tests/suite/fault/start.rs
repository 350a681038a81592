//! Starts that fail, and starts that only look as if they did.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use plugbay::{CallErrorKind, Cause, Host, LogSource};
use serde_json::{Value, json};

use super::{
    Row,
    stage::{Plan, Sinner, Stage, now, put},
};

const ABSENT: Plan = Plan { sinner: Sinner::Absent, ..Plan::PLAIN };
const MUTE: Plan =
    Plan::sinning("mute").with("[supervision]\nstart_timeout = \"1s\"\nrestart = \"never\"");

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row {
            number: 6,
            fault: "program missing, not executable, …",
            required: "failed in 1 s, with the reason; not tried again",
            plan: ABSENT,
            inject: |stage| Box::pin(no_program(stage)),
        },
        Row {
            number: 8,
            fault: "never answers initialize",
            required: "ended after its start timeout, as mute; counted",
            plan: MUTE,
            inject: |stage| Box::pin(mute(stage)),
        },
        Row {
            number: 10,
            fault: "speaks another version",
            required: "failed, both versions told; not tried again",
            plan: Plan::sinning("version=99"),
            inject: |stage| Box::pin(wrong_version(stage)),
        },
        Row {
            number: 10,
            fault: "greets with garbage",
            required: "failed, with the reason; not tried again",
            plan: Plan::sinning("hello=garbage"),
            inject: |stage| Box::pin(garbage_hello(stage)),
        },
        Row {
            number: 11,
            fault: "prints a banner before its first message",
            required: "logged as stray; the session works",
            plan: Plan::sinning("banner"),
            inject: |stage| Box::pin(banner(stage)),
        },
    ]
}

async fn no_program(stage: &Stage) -> String {
    let plugins = stage.env.root().join("others");
    fs::create_dir(&plugins).unwrap();
    let program = |name: &str, bytes: &[u8], mode: u32| {
        put(&plugins, name, "[\"./program\"]", "", None);
        let path = plugins.join(name).join("program");
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    put(&plugins, "missing", "[\"./program\"]", "", None);
    program("plain", b"#!/bin/sh\nexit 0\n", 0o644);
    program("lost", b"#!/no/such/interpreter\n", 0o755);
    let mut foreign = fs::read(stage.env.binaries().path("twin")).unwrap();
    // A machine that nobody has: the ELF header's `e_machine`.
    foreign[18..20].copy_from_slice(&[0x34, 0x12]);
    program("foreign", &foreign, 0o755);
    program("empty", b"", 0o755);
    let began = now();
    let host = Host::builder()
        .plugins(&plugins)
        .keeper(stage.env.binaries().path("plugbay-keeper"))
        .start()
        .await
        .unwrap();
    host.settled().await;
    let took = began.elapsed();
    for status in host.plugins().await {
        let (name, reason) = (&status.name, &status.reason);
        assert_eq!((status.state, status.restarts), ("failed", 0), "{name}: {reason}");
        let error = host.call::<_, Value>(name, "echo", &json!({})).await.unwrap_err();
        let CallErrorKind::Unavailable { state: "failed", reason } = error.kind() else {
            panic!("{error}")
        };
        assert!(reason.contains("could not be started"), "{name}: {reason}");
    }
    host.shutdown().await;
    assert!(took < Duration::from_secs(1), "known after {took:?}");
    format!("5 kinds failed in {took:.0?}, 0 restarts")
}

async fn mute(stage: &Stage) -> String {
    let deaths = stage.host.deaths("chaos").await;
    let [death] = deaths.as_slice() else { panic!("{deaths:?}") };
    let Cause::Mute { after } = death.cause else { panic!("{death}") };
    assert!(after >= Duration::from_secs(1) && after < Duration::from_secs(5), "{after:?}");
    assert!(death.before_hello);
    let error = stage.call("echo", json!({})).await.unwrap_err();
    assert!(matches!(error.kind(), CallErrorKind::Unavailable { .. }), "{error}");
    assert_eq!(stage.sinners().len(), 0);
    format!("{death}; then {}", stage.status().await.state)
}

async fn wrong_version(stage: &Stage) -> String {
    let reason = refused_handshake(stage).await;
    assert!(reason.contains("99") && reason.contains('1'), "{reason}");
    reason
}

async fn garbage_hello(stage: &Stage) -> String {
    refused_handshake(stage).await
}

async fn refused_handshake(stage: &Stage) -> String {
    let status = stage.status().await;
    assert_eq!((status.state, status.restarts), ("failed", 0), "{}", status.reason);
    let deaths = stage.host.deaths("chaos").await;
    let [death] = deaths.as_slice() else { panic!("{deaths:?}") };
    let Cause::Handshake(why) = &death.cause else { panic!("{death}") };
    format!("failed: {why}")
}

async fn banner(stage: &Stage) -> String {
    stage.is_healthy().await;
    let stray = stage.from(LogSource::StrayStdout);
    assert!(stray.iter().any(|record| record.message == "Chaos 1.0 (c) nobody"), "{stray:?}");
    let counted = stage.status().await.counts.stray_lines;
    assert_eq!(counted, 2, "an empty line is no message and no noise");
    format!("{counted} stray lines logged and counted, calls answered")
}
