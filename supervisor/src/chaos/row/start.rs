//! Starts that fail, and starts that only look as if they did.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use plugbay::{CallError, CallErrorKind, Cause, LogSource};
use serde_json::{Value, json};

use super::{
    super::{
        clock::now,
        plan::{Plan, Sinner},
        stage::{SINNER, Stage},
        unmet::{Observed, Unmet, broken, require},
    },
    Row,
};

const MUTE: Plan =
    Plan::PYTHON.sinning("mute").with("[supervision]\nstart_timeout = \"1s\"\nrestart = \"never\"");

const SLOW: Plan = Plan::PYTHON.with("[supervision]\nstart_timeout = \"1s\"\nrestart = \"never\"");

pub(super) fn rows() -> Vec<Row> {
    [
        Row::new(
            6,
            "program missing, not executable, …",
            "failed in 1 s, with the reason; not tried again",
            Plan::ABSENT,
            |stage| Box::pin(no_program(stage)),
        )
        .once()
        .to_vec(),
        Row::new(
            8,
            "never answers initialize",
            "ended in time, as mute; where it stood in the log",
            MUTE,
            |stage| Box::pin(mute(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            9,
            "starts in 3 s of 1 s, with progress",
            "accepted: it said that it goes on",
            SLOW.sinning("slow=3000"),
            |stage| Box::pin(slow(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            9,
            "starts in 3 s of 1 s, in silence",
            "ended in time, as mute",
            SLOW.sinning("slow=3000 silent"),
            |stage| Box::pin(silent(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            10,
            "speaks another version",
            "failed, both versions told; not tried again",
            Plan::PYTHON.sinning("version=99"),
            |stage| Box::pin(wrong_version(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            10,
            "greets with garbage",
            "failed, with the reason; not tried again",
            Plan::PYTHON.sinning("hello=garbage"),
            |stage| Box::pin(refused_handshake(stage)),
        )
        .twice()
        .to_vec(),
        Row::new(
            11,
            "prints a banner before its first message",
            "logged as stray; the session works",
            Plan::PYTHON.sinning("banner"),
            |stage| Box::pin(banner(stage)),
        )
        .twice()
        .to_vec(),
    ]
    .concat()
}

async fn no_program(stage: &Stage) -> Observed {
    let others = stage.ground.scene("others")?;
    stage.ground.put(&others, "missing", &["./program"], "")?;
    program(stage, &others, "plain", b"#!/bin/sh\nexit 0\n", 0o644)?;
    program(stage, &others, "lost", b"#!/no/such/interpreter\n", 0o755)?;
    program(stage, &others, "foreign", &foreign(stage.ground.program())?, 0o755)?;
    program(stage, &others, "empty", b"", 0o755)?;
    let began = now();
    let host = stage.ground.open(&others, &stage.ear, |builder| builder).await?;
    let took = began.elapsed();
    for status in host.plugins().await {
        let (name, reason) = (&status.name, &status.reason);
        let failed = status.state == "failed" && status.restarts == 0;
        require!(failed, "{name} is {} after {} restarts", status.state, status.restarts);
        let outcome: Result<Value, CallError> = host.call(name, "echo", &json!({})).await;
        let error = outcome.err().ok_or_else(|| broken("a program that is none answered"))?;
        let CallErrorKind::Unavailable { state: "failed", .. } = error.kind() else {
            return Err(broken(error));
        };
        require!(reason.contains("could not be started"), "{name}: {reason}");
    }
    host.shutdown().await;
    require!(took < Duration::from_secs(1), "known after {took:?}");
    Ok(format!("5 kinds failed in {took:.0?}, 0 restarts"))
}

fn program(stage: &Stage, scene: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<(), Unmet> {
    stage.ground.put(scene, name, &["./program"], "")?;
    let path = scene.join(name).join("program");
    fs::write(&path, bytes)?;
    Ok(fs::set_permissions(&path, fs::Permissions::from_mode(mode))?)
}

/// The head of a program, made for a machine that nobody has (the ELF header's `e_machine`).
fn foreign(of: &Path) -> Result<Vec<u8>, Unmet> {
    let mut bytes = fs::read(of)?;
    bytes.truncate(1 << 20);
    let machine = bytes.get_mut(18..20).ok_or_else(|| broken("this program has no header"))?;
    machine.copy_from_slice(&[0x34, 0x12]);
    Ok(bytes)
}

async fn mute(stage: &Stage) -> Observed {
    let deaths = stage.host.deaths(SINNER).await;
    let [death] = deaths.as_slice() else {
        return Err(broken(format_args!("{} deaths", deaths.len())));
    };
    let Cause::Mute { after } = death.cause else { return Err(broken(death)) };
    let timely = after >= Duration::from_secs(1) && after < Duration::from_secs(5);
    require!(timely && death.before_hello, "{death}");
    if stage.plan.sinner == Sinner::Python {
        let last = &death.stderr_tail;
        require!(last.contains("main.py"), "no stack among its last words: `{last}`");
    }
    let (error, _) = stage.sin("echo", json!({})).await?;
    require!(matches!(error.kind(), CallErrorKind::Unavailable { .. }), "{error}");
    require!(stage.sinners().is_empty(), "something of it is left");
    Ok(format!("{death}; then {}", stage.status().await?.state))
}

async fn wrong_version(stage: &Stage) -> Observed {
    let reason = refused_handshake(stage).await?;
    require!(reason.contains("99") && reason.contains('1'), "{reason}");
    Ok(reason)
}

async fn refused_handshake(stage: &Stage) -> Observed {
    let status = stage.status().await?;
    let failed = status.state == "failed" && status.restarts == 0;
    require!(failed, "{} after {} restarts: {}", status.state, status.restarts, status.reason);
    let deaths = stage.host.deaths(SINNER).await;
    let [death] = deaths.as_slice() else {
        return Err(broken(format_args!("{} deaths", deaths.len())));
    };
    let Cause::Handshake(why) = &death.cause else { return Err(broken(death)) };
    Ok(format!("failed: {why}"))
}

async fn banner(stage: &Stage) -> Observed {
    stage.is_healthy().await?;
    let stray = stage.from(LogSource::StrayStdout);
    require!(stray.iter().any(|said| said.text == "Chaos 1.0 (c) nobody"), "logged: {stray:?}");
    let counted = stage.status().await?.counts.stray_lines;
    require!(counted == 2, "{counted} of 2 counted (an empty line is no message and no noise)");
    Ok(format!("{counted} stray lines logged and counted, calls answered"))
}

async fn slow(stage: &Stage) -> Observed {
    stage.is_healthy().await?;
    let deaths = stage.host.deaths(SINNER).await.len();
    require!(deaths == 0, "{deaths} deaths before it came up");
    Ok("up after 3 s, calls answered".to_owned())
}

async fn silent(stage: &Stage) -> Observed {
    let deaths = stage.host.deaths(SINNER).await;
    let [death] = deaths.as_slice() else {
        return Err(broken(format_args!("{} deaths", deaths.len())));
    };
    let Cause::Mute { after } = death.cause else { return Err(broken(death)) };
    require!(after < Duration::from_secs(3), "given up after {after:?}");
    Ok(death.to_string())
}
