//! A hermetic place for one test: an own directory, cleared environments, and nothing left behind.

use std::{
    cell::RefCell,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use plugbay_sandbox::{Access, FileGrant, Spec, scrub};
use tempfile::TempDir;

use crate::{
    binaries::{Binaries, PROBE, command},
    keeper::Keeper,
    leak,
    setting::Setting,
    wait::Within,
};

/// The place. When it is dropped, the test fails if anything that it started is left.
#[derive(Debug)]
pub struct TestEnv {
    root: TempDir,
    binaries: Arc<Binaries>,
    keepers: RefCell<Vec<i32>>,
    mounts: usize,
}

impl TestEnv {
    /// A new one; `fixture` is the path of any fixture as cargo names it to the test.
    ///
    /// It lies below `/tmp`, whatever `TMPDIR` says, because other users must be able to reach it.
    #[must_use]
    pub fn new(fixture: &Path) -> Self {
        let root = tempfile::Builder::new().prefix("pbt-").tempdir_in("/tmp").unwrap();
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let binaries = Binaries::beside(fixture);
        Self { root, binaries, keepers: RefCell::default(), mounts: leak::mounts() }
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// The programs.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// A directory of this name that `uid` owns and everybody can enter.
    #[must_use]
    pub fn directory(&self, name: &str, uid: u32) -> PathBuf {
        let path = self.root().join(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(&path, Some(uid), Some(uid)).unwrap();
        }
        path
    }

    /// A keeper in a setting.
    #[must_use]
    pub fn keeper(&self, setting: Setting) -> Keeper {
        let keeper = Keeper::start(&self.binaries, setting);
        self.keepers.borrow_mut().push(keeper.pid());
        keeper
    }

    /// Has the leak check look for what this keeper left, which something else has started.
    pub fn watch_keeper(&self, pid: i32) {
        self.keepers.borrow_mut().push(pid);
    }

    /// A fixture that is not sealed, as the user of a setting.
    #[must_use]
    pub fn unsealed(&self, setting: Setting, fixture: &str) -> Command {
        let mut command = command(&self.binaries.path("rung"));
        command
            .args(setting.user_options())
            .arg("--")
            .arg(self.binaries.path(fixture))
            .arg(fixture);
        command
    }

    /// A spec that runs the prober with these words. The prober's file is all that is granted.
    #[must_use]
    pub fn probe<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Spec {
        let program = self.binaries.path("prober");
        let mut spec = Spec::new(&program);
        spec.files.push(FileGrant::requested(program, Access::Exec));
        spec.args = ["prober", PROBE].into_iter().chain(words).map(Into::into).collect();
        // Every line that the leak check can see carries the name of this place.
        spec.args.push(format!("of={}", self.root().display()).into());
        spec.env = scrub(&[], &[]);
        spec
    }

    /// The processes of this test that do not end within `patience`.
    #[must_use]
    pub fn outliving(&self, patience: Duration) -> Vec<String> {
        leak::outliving(&self.root().to_string_lossy(), Within::of(patience))
    }

    /// A spec that runs a shell script.
    #[must_use]
    pub fn shell(&self, script: &str) -> Spec {
        let mut spec = Spec::new("/bin/sh");
        let name = format!("{}/script", self.root().display());
        spec.args = ["sh", "-c", script, &name].map(Into::into).to_vec();
        spec.env = scrub(&[], &[]);
        spec
    }

    /// `text` without what differs from run to run.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let programs = self.binaries.directory().to_string_lossy().into_owned();
        text.replace(&programs, "$BIN").replace(&*self.root().to_string_lossy(), "$ENV")
    }
}

impl Drop for TestEnv {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let token = self.root().to_string_lossy().into_owned();
        let left = leak::left(&token, self.binaries.directory(), &self.keepers.borrow());
        assert!(left.is_empty(), "the test left behind:\n{}", self.redact(&left.join("\n")));
        assert!(leak::mounts() <= self.mounts, "the test left a mount behind");
    }
}
