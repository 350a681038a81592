//! A process that the kernel holds, so that not even SIGKILL ends it.

use std::time::Duration;

use plugbay::{CallErrorKind, ControlError, Host};
use serde_json::{Value, json};
use tokio::time;

use super::{
    super::{
        clock::{PATIENCE, Within, now},
        hole::Hole,
        plan::Plan,
        stage::{self, SINNER, Stage},
        unmet::{Observed, Unmet, broken, require},
        vitals::{self, survivors},
    },
    Row,
};

/// What an unkillable plugin may cost the end of its host.
const EXIT: Duration = Duration::from_secs(30);

pub(super) fn rows() -> Vec<Row> {
    vec![
        Row::new(
            78,
            "held by the kernel (a FUSE that never answers)",
            "fenced; others serve; the host can end",
            Plan::ABSENT,
            |stage| Box::pin(held(stage)),
        )
        .within(Duration::from_secs(120)),
    ]
}

async fn held(stage: &Stage) -> Observed {
    let theirs = stage.ground.scene("theirs")?;
    let at = stage.ground.scene("hole")?;
    let hole = Hole::open(&at)?;
    let path = at.display();
    let manifest = format!(
        "[permissions]\nfilesystem = {{ read = [\"{path}\"] }}\n[supervision]\n\
         stop_timeout = \"1s\"\n"
    );
    stage.ground.put_sinner_with(&theirs, SINNER, Plan::RUST, &manifest)?;
    stage.ground.put_sinner(&theirs, "bystander", Plan::RUST)?;
    let host = stage.ground.open(&theirs, &stage.ear, |builder| builder).await?;
    let pid = stage::pid(&host, SINNER).await?;
    let name = at.join("name");
    let call = host.call_with(SINNER, "touch").params(&json!({"path": name}));
    let error = call.deadline(Duration::from_secs(1)).send::<Value>().await.err();
    let error = error.ok_or_else(|| broken("what is in a hole was found"))?;
    let late = matches!(error.kind(), CallErrorKind::DeadlineExceeded { .. });
    require!(late, "{error}");
    require!(vitals::is_held(pid) || vitals::is_asleep(pid), "the control: it is not held");
    let began = now();
    let stopped = time::timeout(PATIENCE, host.stop_plugin(SINNER)).await?;
    let took = began.elapsed();
    require!(vitals::is_held(pid), "the control: the kernel has let it go");
    require!(matches!(stopped, Err(ControlError::Fenced(_))), "the stop says: {stopped:?}");
    let state = host.plugin(SINNER).await.map_or("forgotten", |status| status.state);
    require!(state == "fenced", "it is {state}");
    others_serve(&host).await?;
    let began = now();
    let down = time::timeout(EXIT, host.shutdown()).await;
    let (ended, exit) = (down.is_ok(), began.elapsed());
    let process = vitals::open(pid).ok_or_else(|| broken("the control: it has ended"))?;
    drop(hole);
    let left = survivors(&[process], Within::of(PATIENCE));
    require!(ended, "the host does not end while a plugin is held");
    require!(left == 0, "it lives on when the kernel lets it go");
    Ok(format!("fenced {took:.1?} after its stop; others served; the host ended in {exit:.1?}"))
}

async fn others_serve(host: &Host) -> Result<(), Unmet> {
    for _ in 0..20 {
        let answer: Value = host.call("bystander", "echo", &json!({"well": 1})).await?;
        require!(answer.get("well") == Some(&json!(1)), "the bystander answers {answer}");
    }
    Ok(())
}
