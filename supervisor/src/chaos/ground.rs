//! Where a row is played: a directory of its own, plugins put into it, hosts over them. All of it goes
//! away with the row.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use plugbay::{Host, HostBuilder};
use tempfile::TempDir;

use super::{
    VERB,
    ear::Ear,
    neighbour,
    plan::{Plan, Sinner},
    unmet::{Unmet, impossible, require},
};
use crate::env;

/// The Python twin.
const PYTHON: &str = include_str!("plugin.py");

/// The directory of one row.
#[derive(Debug)]
pub(crate) struct Ground {
    dir: TempDir,
    program: PathBuf,
}

impl Ground {
    /// A new one, which every user can enter, since plugins may run as users of their own.
    pub(crate) fn new() -> Result<Self, Unmet> {
        let dir = tempfile::Builder::new().prefix("plugbay-chaos-").tempdir()?;
        open(dir.path(), 0o755)?;
        Ok(Self { dir, program: env::own_program()? })
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// This program, which is the Rust twin too.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// What the command lines of the sinner and its children carry, and of nobody else.
    pub(crate) fn token(&self) -> String {
        format!("sinner-of={}", self.path().display())
    }

    /// A new directory for plugins.
    pub(crate) fn scene(&self, name: &str) -> io::Result<PathBuf> {
        let scene = self.path().join(name);
        fs::create_dir(&scene)?;
        open(&scene, 0o755)?;
        Ok(scene)
    }

    /// Puts the healthy neighbour somewhere.
    pub(crate) fn put_neighbour(&self, scene: &Path) -> Result<(), Unmet> {
        let words = [self.program.to_str().unwrap_or_default(), VERB, neighbour::NAME, "well"];
        self.put(scene, neighbour::NAME, &words, "")
    }

    /// Puts the sinner of a plan somewhere, under some name.
    pub(crate) fn put_sinner(&self, scene: &Path, name: &str, plan: Plan) -> Result<(), Unmet> {
        self.put_sinner_with(scene, name, plan, plan.manifest)
    }

    /// The same with a manifest that is known only now.
    pub(crate) fn put_sinner_with(
        &self,
        scene: &Path,
        name: &str,
        plan: Plan,
        manifest: &str,
    ) -> Result<(), Unmet> {
        let (token, named) = (self.token(), format!("name={name}"));
        let program = self.program.to_str().unwrap_or_default();
        let mut words = match plan.sinner {
            Sinner::Absent => return Ok(()),
            Sinner::Rust => vec![program, VERB, name],
            Sinner::Python => {
                require_python()?;
                vec!["python3", "-I", "main.py", &named]
            }
        };
        words.extend(plan.sins.split_whitespace());
        words.push(&token);
        self.put(scene, name, &words, manifest)?;
        if plan.sinner == Sinner::Python {
            let main = scene.join(name).join("main.py");
            fs::write(&main, PYTHON)?;
            open(&main, 0o644)?;
        }
        Ok(())
    }

    /// Puts any plugin somewhere.
    pub(crate) fn put(
        &self,
        scene: &Path,
        name: &str,
        words: &[&str],
        more: &str,
    ) -> Result<(), Unmet> {
        let dir = scene.join(name);
        fs::create_dir(&dir)?;
        open(&dir, 0o755)?;
        let command = serde_json::to_string(words)?;
        let framing = if words.contains(&"framing=content-length") {
            "framing = \"content-length\"\n"
        } else {
            ""
        };
        let text = format!(
            "[plugin]\nname = \"{name}\"\nversion = \"1.0.0\"\n\
             [runtime]\ncommand = {command}\n{framing}{more}\n"
        );
        fs::write(dir.join("plugin.toml"), text)?;
        Ok(())
    }

    /// A host over a scene, all of whose plugins have come up or failed to.
    pub(crate) async fn open(
        &self,
        scene: &Path,
        ear: &Arc<Ear>,
        set: impl FnOnce(HostBuilder) -> HostBuilder,
    ) -> Result<Host, Unmet> {
        let heard = ear.clone();
        let builder = Host::builder()
            .plugins(scene)
            .drain(Duration::from_millis(200))
            .on_log(move |record| heard.hear(record));
        let host = set(builder).start().await?;
        let skipped = host.skipped();
        require!(skipped.is_empty(), "plugins of the row were not taken: {skipped:?}");
        host.settled().await;
        Ok(host)
    }
}

/// Sets a mode, whatever the umask is.
pub(crate) fn open(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// The twin in Python needs one.
fn require_python() -> Result<(), Unmet> {
    let all = env::all();
    let path = all.iter().find(|(name, _)| name == "PATH").map(|(_, path)| path);
    let found = path.is_some_and(|path| {
        std::env::split_paths(path).any(|directory| directory.join("python3").exists())
    });
    if found { Ok(()) } else { Err(impossible("there is no `python3` in PATH")) }
}
