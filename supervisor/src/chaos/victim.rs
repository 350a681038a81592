//! A host that is there to be killed: this program, started as one. Its plugins have left daemons.

use std::{
    env,
    io::{self, BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::Arc,
};

use serde_json::{Value, json};

use super::{
    ear::Ear,
    ground::Ground,
    run::follow_parent,
    unmet::{Unmet, broken, require},
    vitals,
};

/// The first argument that makes this process a victim.
const VERB: &str = "__chaos-host";
/// What it says when everything runs.
const READY: &str = "ready";

/// The victim, from outside.
#[derive(Debug)]
pub(crate) struct Victim(Child);

impl Victim {
    /// Starts one over the plugins of a scene, and waits until all of them have left daemons.
    pub(crate) fn start(program: &Path, scene: &Path) -> Result<Self, Unmet> {
        #[expect(clippy::disallowed_methods, reason = "the host under test is this very program")]
        let mut command = Command::new(program);
        command.arg(VERB).arg(scene).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut host = command.spawn()?;
        let mut line = String::new();
        if let Some(told) = host.stdout.take() {
            BufReader::new(told).read_line(&mut line)?;
        }
        require!(line.trim() == READY, "the host that is to be killed said: {line}");
        Ok(Self(host))
    }

    /// Everything below it: its keeper, shims, plugins, and their daemons.
    pub(crate) fn family(&self) -> Vec<i32> {
        i32::try_from(self.0.id()).map(vitals::descendants).unwrap_or_default()
    }

    /// Kills it.
    pub(crate) fn kill(mut self) -> io::Result<()> {
        self.0.kill()?;
        self.0.wait().map(drop)
    }
}

/// Plays the victim if the arguments say so.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let mut words = env::args_os().skip(1);
    if words.next()? != VERB {
        return None;
    }
    let scene = words.next().map(PathBuf::from).unwrap_or_default();
    follow_parent();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
    let refused = runtime.block_on(serve(&scene)).err();
    // Says so in the place of being ready.
    println_to_parent(&format!("{refused:?}"));
    Some(ExitCode::FAILURE)
}

async fn serve(scene: &Path) -> Result<(), Unmet> {
    let ground = Ground::new()?;
    let host = ground.open(scene, &Arc::<Ear>::default(), |builder| builder).await?;
    for plugin in host.plugins().await {
        let out: Value = host.call(&plugin.name, "daemons", &json!({"count": 3})).await?;
        if out != "they are out" {
            return Err(broken(out));
        }
    }
    println_to_parent(READY);
    std::future::pending().await
}

fn println_to_parent(text: &str) {
    // A parent that is gone has ended this process.
    io::stdout().write_all(format!("{text}\n").as_bytes()).ok();
}
