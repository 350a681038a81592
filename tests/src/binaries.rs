//! Where the programs under test are: built by cargo, put where every user can execute them.
//!
//! Cargo builds the fixtures of this package before its tests, but not the programs of other packages.
//! Those are built once per run by the same cargo into the same target directory, so that the tests
//! never meet a program older than the sources, whether `cargo test` or `cargo nextest` runs them.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
};

use tempfile::TempDir;

use crate::setting::Setting;

const FIXTURES: [&str; 4] = ["rung", "brain", "golden", "stage"];
/// `plugbay` once more: started as [`PROBE`] it is an attacker.
const PROBER: &str = "prober";
/// The first argument that makes `plugbay` an attacker.
pub const PROBE: &str = "__probe";
/// Programs of other packages, and which package each is of.
const PROGRAMS: [(&str, &str); 3] = [
    ("plugbay-keeper", "plugbay-keeper"),
    ("plugbay", "plugbay"),
    ("fastwords", "plugbay-example-fastwords"),
];

/// A command that is not sealed: fixtures, controls, and the programs under test themselves.
#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "what is under test must be started by something that is not"
)]
pub fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir("/");
    command
}

/// One directory with all programs, readable by everybody, for as long as a test uses it.
#[derive(Debug)]
pub struct Binaries {
    place: TempDir,
}

impl Binaries {
    /// The programs, `fixture` being one that cargo has built for this package.
    #[must_use]
    pub fn beside(fixture: &Path) -> Arc<Self> {
        static SHARED: Mutex<Weak<Binaries>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shared.upgrade() {
            return known;
        }
        let made = Arc::new(Self::make(fixture.parent().unwrap()));
        *shared = Arc::downgrade(&made);
        made
    }

    /// Below `/tmp`, because a checkout may lie where only its owner can go.
    fn make(built: &Path) -> Self {
        build(built);
        let place = tempfile::Builder::new().prefix("pbt-bin-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let programs = PROGRAMS.iter().map(|(name, _)| (*name, *name));
        let fixtures = FIXTURES.iter().map(|name| (*name, *name));
        for (name, called) in fixtures.chain(programs).chain([("plugbay", PROBER)]) {
            let to = place.path().join(called);
            // A link cannot be busy; a copy is made before this process has forked anything.
            fs::hard_link(built.join(name), &to)
                .or_else(|_| fs::copy(built.join(name), &to).map(drop))
                .unwrap_or_else(|error| panic!("failed to place `{name}`: {error}"));
        }
        for setting in Setting::ALL {
            let script = format!(
                "#!/bin/sh\nexec {} {} -- {} plugbay-keeper \"$@\"\n",
                place.path().join("rung").display(),
                setting.rung_options().join(" "),
                place.path().join("plugbay-keeper").display(),
            );
            let path = place.path().join(setting.keeper_name());
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        Self { place }
    }

    /// A program by name.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// Where they all are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.place.path()
    }
}

/// Builds the programs of other packages. Many test processes of one run do it once: the first holds
/// a lock meanwhile and leaves the run's name in it.
fn build(built: &Path) {
    static DONE: OnceLock<()> = OnceLock::new();
    DONE.get_or_init(|| {
        let run = std::env::var_os("NEXTEST_RUN_ID").map(|id| id.to_string_lossy().into_owned());
        let lock = built.join(".plugbay-programs");
        let file = File::options().create(true).truncate(false).write(true).open(&lock).unwrap();
        file.lock().unwrap();
        if run.is_some() && fs::read_to_string(&lock).ok() == run {
            return;
        }
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        #[expect(clippy::disallowed_methods, reason = "cargo builds what is tested")]
        let mut cargo = Command::new(cargo);
        cargo.arg("build").arg("--quiet").current_dir(env!("CARGO_MANIFEST_DIR"));
        for (_, package) in PROGRAMS {
            cargo.args(["--package", package]);
        }
        cargo.arg("--bins");
        if built.file_name().is_some_and(|profile| profile == "release") {
            cargo.arg("--release");
        }
        let status = cargo.status().unwrap();
        assert!(status.success(), "cargo cannot build {PROGRAMS:?}: {status}");
        fs::write(&lock, run.unwrap_or_default()).unwrap();
    });
}
