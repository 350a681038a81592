//! The Landlock ruleset: built while paths can still be opened, applied last but one.
//!
//! The ABI is known from the kernel, so every right and scope is asked for as a hard requirement: what
//! is reported as enforced was really taken.

use std::path::Path;

use ::landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort,
    PathBeneath, PathFd, PathFdError, RestrictionStatus, Ruleset, RulesetAttr as _, RulesetCreated,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
};
use nix::{errno::Errno, sys::stat::fstat};

use crate::{
    plan::{LandlockPlan, Rights},
    record::{Failure, Stage},
};

/// Builds the ruleset. System paths that do not exist are left out: what is not there cannot be opened.
/// A grant that does not exist is a mistake, which is told.
pub(crate) fn build(plan: &LandlockPlan) -> Result<RulesetCreated, Failure> {
    let abi = version(plan.abi);
    let failed = |error: RulesetError| Failure {
        stage: Stage::Ruleset,
        errno: Errno::EINVAL,
        subject: error.to_string(),
    };
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))
        .map_err(failed)?;
    if plan.tcp.is_some() {
        ruleset = ruleset.handle_access(AccessNet::from_all(abi)).map_err(failed)?;
    }
    if plan.scopes {
        ruleset = ruleset.scope(Scope::from_all(abi)).map_err(failed)?;
    }
    let mut created = ruleset.create().map_err(failed)?;
    for (path, rights) in plan.files.iter().chain(&plan.grants) {
        let opened = match open(path) {
            Ok(opened) => opened,
            Err(failure) if failure.errno == Errno::ENOENT && is_optional(plan, path) => continue,
            Err(failure) => return Err(failure),
        };
        let allowed = rights_of(*rights, abi, is_directory(&opened));
        created = created.add_rule(PathBeneath::new(opened, allowed)).map_err(failed)?;
    }
    if let Some((connect, listen)) = &plan.tcp {
        for port in connect {
            created =
                created.add_rule(NetPort::new(*port, AccessNet::ConnectTcp)).map_err(failed)?;
        }
        for port in listen {
            created = created.add_rule(NetPort::new(*port, AccessNet::BindTcp)).map_err(failed)?;
        }
    }
    Ok(created.no_new_privs(false))
}

/// Restricts this process, for good.
pub(crate) fn apply(ruleset: RulesetCreated) -> Result<(), Failure> {
    let refused =
        |subject: String| Failure { stage: Stage::Landlock, errno: Errno::EINVAL, subject };
    let status: RestrictionStatus =
        ruleset.restrict_self().map_err(|error: RulesetError| refused(error.to_string()))?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced | RulesetStatus::NotEnforced => {
            Err(refused("the kernel took only part of the ruleset".to_owned()))
        }
    }
}

fn is_optional(plan: &LandlockPlan, path: &Path) -> bool {
    !plan.grants.iter().any(|(granted, _)| granted == path)
}

fn open(path: &Path) -> Result<PathFd, Failure> {
    PathFd::new(path).map_err(|error| match error {
        PathFdError::OpenCall { source, .. } => {
            let errno = Errno::from_raw(source.raw_os_error().unwrap_or(libc::EIO));
            Failure { stage: Stage::OpenGrant, errno, subject: path.display().to_string() }
        }
        other => Failure { stage: Stage::OpenGrant, errno: Errno::EIO, subject: other.to_string() },
    })
}

fn is_directory(opened: &PathFd) -> bool {
    fstat(opened).is_ok_and(|found| found.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

fn rights_of(rights: Rights, abi: ABI, directory: bool) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let all = AccessFs::from_all(abi);
    let wanted = match rights {
        Rights::List => AccessFs::ReadDir.into(),
        Rights::Read => read,
        Rights::Exec => read | AccessFs::Execute,
        // Device nodes are never made by a plugin, and its files are not devices.
        Rights::Write => all & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev),
        Rights::Device => read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev,
    };
    let possible = if directory { all } else { AccessFs::from_file(abi) };
    wanted & possible
}

fn version(abi: u32) -> ABI {
    match abi {
        0 => ABI::Unsupported,
        1 => ABI::V1,
        2 => ABI::V2,
        3 => ABI::V3,
        4 => ABI::V4,
        5 => ABI::V5,
        6 => ABI::V6,
        // From 7 on only audit flags, thread sync and socket resolution were added; sockets are
        // closed by the mount namespace, so asking for more would only cost compatibility.
        _ => ABI::V7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_never_includes_writing_or_executing() {
        let rights = rights_of(Rights::Read, ABI::V7, true);
        assert!(!rights.intersects(AccessFs::from_write(ABI::V7)));
        assert!(!rights.contains(AccessFs::Execute));
    }

    #[test]
    fn files_get_no_directory_rights() {
        for rights in [Rights::Read, Rights::Exec, Rights::Write, Rights::Device] {
            let allowed = rights_of(rights, ABI::V7, false);
            assert_eq!(allowed & !AccessFs::from_file(ABI::V7), BitFlags::empty(), "{rights:?}");
        }
    }

    #[test]
    fn writing_never_includes_making_devices() {
        let rights = rights_of(Rights::Write, ABI::V7, true);
        assert!(!rights.intersects(AccessFs::MakeChar | AccessFs::MakeBlock));
        assert!(rights.contains(AccessFs::Refer));
    }
}
