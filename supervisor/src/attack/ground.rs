//! Where attacks are played: a directory that every user can enter, with this program in it, and as
//! root programs that give rights to whoever executes them.

use std::{
    cell::Cell,
    fs, io,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use plugbay_sandbox::raw::{address, raw, text};
use tempfile::TempDir;

use super::{probe, table_calls::secrets};
use crate::env;

/// Whom the setuid program makes of who executes it: nobody who owns anything, so that the program does
/// no harm in the hands of another user of this machine. (Beyond every dedicated user of a sandbox.)
const GAINED: u32 = 0x7fff_fffd;
/// A user who owns nothing but what a scene gives it: the attacker in the control of such a program.
pub(crate) const NOT_ROOT: u32 = 0x7fff_fffc;

/// A program that gives rights to whoever executes it. Only root can make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Helper {
    /// By the setuid bit.
    Setuid,
    /// By a capability of the file's.
    Capable,
}

impl Helper {
    pub(crate) const ALL: [Self; 2] = [Self::Setuid, Self::Capable];

    /// The word by which a probe is told where it is.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Setuid => "setuid",
            Self::Capable => "capable",
        }
    }
}

/// The place. It goes away when it is dropped.
#[derive(Debug)]
pub(crate) struct Ground {
    place: TempDir,
    count: Cell<u32>,
}

impl Ground {
    /// A new one.
    pub(crate) fn new() -> io::Result<Self> {
        let place = tempfile::Builder::new().prefix("plugbay-attack-").tempdir()?;
        mode(place.path(), 0o755)?;
        let ground = Self { place, count: Cell::new(0) };
        // This program may lie where only its owner can go.
        let own = env::own_program()?;
        fs::hard_link(&own, ground.program()).or_else(|_other_file_system| {
            fs::copy(&own, ground.program())?;
            mode(&ground.program(), 0o755)
        })?;
        if is_root() {
            for helper in Helper::ALL {
                // What this file system does not let us make is not there to attack with.
                ground.make(helper).or_else(|_| fs::remove_file(ground.helper(helper))).ok();
            }
        }
        Ok(ground)
    }

    fn make(&self, helper: Helper) -> io::Result<()> {
        let path = self.helper(helper);
        fs::copy(self.program(), &path)?;
        match helper {
            Helper::Setuid => {
                std::os::unix::fs::chown(&path, Some(GAINED), Some(GAINED))?;
                mode(&path, 0o4755)
            }
            Helper::Capable => {
                mode(&path, 0o755)?;
                give_capability(&path)
            }
        }
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        self.place.path()
    }

    /// This program, where everybody can execute it.
    pub(crate) fn program(&self) -> PathBuf {
        self.path().join("probe")
    }

    /// Where a helper is, if it could be made.
    pub(crate) fn helper(&self, helper: Helper) -> PathBuf {
        self.path().join(helper.name())
    }

    /// A number that no other scene has.
    pub(crate) fn next(&self) -> u32 {
        self.count.set(self.count.get() + 1);
        self.count.get()
    }

    /// The attacker, unsealed, with the environment of a host that has something to hide.
    pub(crate) fn unsealed(&self, attack: &str) -> Command {
        #[expect(
            clippy::disallowed_methods,
            reason = "the control is the attack without a sandbox"
        )]
        let mut command = Command::new(self.program());
        command.env_clear().envs(secrets()).env("LD_PRELOAD", "").current_dir("/");
        command.args([probe::VERB, attack]).stdin(Stdio::null());
        command
    }
}

/// Has a command run by a user who owns nothing.
pub(crate) fn by_nobody(command: &mut Command) {
    command.uid(NOT_ROOT).gid(NOT_ROOT);
}

/// Whether we may do what takes root.
pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

pub(crate) fn mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// The right to set alarms that wake the machine, which is the most harmless there is.
fn give_capability(path: &Path) -> io::Result<()> {
    const REVISION_2_EFFECTIVE: u32 = 0x0200_0001;
    const CAP_WAKE_ALARM_HIGH: u32 = 1 << (35 - 32);
    let data = [REVISION_2_EFFECTIVE.to_le(), 0, 0, CAP_WAKE_ALARM_HIGH.to_le(), 0];
    let (path, name) = (text(path), c"security.capability".as_ptr().addr());
    let arguments = [path.as_ptr().addr(), name, address(&data), size_of_val(&data), 0];
    raw(libc::SYS_setxattr, &arguments).map(drop).map_err(Into::into)
}
