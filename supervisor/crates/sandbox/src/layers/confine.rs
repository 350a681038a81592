//! What the program's own process does to itself just before exec, in order.
//!
//! Each function makes one restriction; none can be undone. The order and its reasons are those of
//! `docs/architecture.md`: ids before capabilities, capabilities before no_new_privs, Landlock after
//! all mounts, the system call filter last.

use std::{
    ffi::{CString, OsStr, OsString},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    sync::Arc,
};

use nix::{
    errno::Errno,
    sys::{
        resource::{Resource, setrlimit},
        signal::{SigSet, SigmaskHow, sigprocmask},
        stat::{Mode, fchmod, umask},
        statfs::{FsType, fstatfs},
    },
    unistd::{Gid, Uid, chdir, execve, setgroups, setresgid, setresuid, setsid},
};

use crate::{
    record::{Failure, Stage},
    seccomp::{Filter, Instruction},
    spec::Spec,
    sys,
};

/// The kernel's file system of anonymous pipes (`PIPEFS_MAGIC`).
const PIPES: FsType = FsType(0x5049_5045);
const SECBIT_NOROOT_LOCKED: u64 = 0b11;
const SECBIT_NO_SETUID_FIXUP_LOCKED: u64 = 0b1100;
const SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED: u64 = 0b1100_0000;

/// No signal blocked: blocked ones would survive exec. (Their actions were reset when the shim began.)
pub(crate) fn unblock_signals() {
    // Unblocking cannot fail with a valid set.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).ok();
}

/// A session of its own, so no controlling terminal to type into.
pub(crate) fn detach_session() -> Result<(), Failure> {
    setsid().map(drop).map_err(Failure::at(Stage::Session))
}

/// Die with the parent. Cleared by a change of user, so it is asked for again after that.
pub(crate) fn die_with_parent(signal: i32) -> Result<(), Failure> {
    let signal = u64::from(signal.cast_unsigned());
    sys::prctl(libc::PR_SET_PDEATHSIG, signal, 0).map(drop).map_err(Failure::at(Stage::Session))
}

/// The limits, hard and soft alike, so that they cannot be raised again. A limit above what this
/// process may have itself is brought down to that.
pub(crate) fn limit_resources(limits: &[(Resource, u64)]) -> Result<(), Failure> {
    for (resource, value) in limits {
        let (_, ceiling) =
            nix::sys::resource::getrlimit(*resource).map_err(Failure::at(Stage::Rlimit))?;
        let value = (*value).min(ceiling);
        // The soft CPU limit warns (SIGXCPU, which names the cause); the hard one kills a second later.
        let hard = if *resource == Resource::RLIMIT_CPU {
            value.saturating_add(1).min(ceiling)
        } else {
            value
        };
        setrlimit(*resource, value, hard)
            .map_err(Failure::about(Stage::Rlimit, format!("{resource:?}")))?;
    }
    Ok(())
}

/// Lets the dedicated user open its own standard pipes by name (`/dev/stderr` in a script): they were
/// made by another user. An anonymous pipe can be named only by processes that hold it.
pub(crate) fn open_pipes(standard: [BorrowedFd<'_>; 3]) -> Result<(), Failure> {
    let failed = Failure::at(Stage::Descriptors);
    for fd in standard {
        if fstatfs(fd).map_err(&failed)?.filesystem_type() == PIPES {
            fchmod(fd, Mode::from_bits_truncate(0o666)).map_err(&failed)?;
        }
    }
    Ok(())
}

/// Becomes the dedicated user and group, without supplementary groups.
pub(crate) fn become_user(id: u32) -> Result<(), Failure> {
    let failed = Failure::at(Stage::User);
    let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
    setgroups(&[]).map_err(&failed)?;
    setresgid(group, group, group).map_err(&failed)?;
    setresuid(user, user, user).map_err(&failed)
}

/// Takes every capability out of the bounding set, where we may: nothing executed later can gain one.
pub(crate) fn drop_bounding_set() -> Result<(), Failure> {
    for capability in 0..64 {
        match sys::prctl(libc::PR_CAPBSET_DROP, capability, 0) {
            Ok(_) => {}
            // Past the last capability, or not privileged: then no_new_privs holds the same line.
            Err(Errno::EINVAL | Errno::EPERM) => break,
            Err(errno) => return Err(Failure::at(Stage::Capabilities)(errno)),
        }
    }
    let bits =
        SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED;
    match sys::prctl(libc::PR_SET_SECUREBITS, bits, 0) {
        Ok(_) | Err(Errno::EPERM) => Ok(()),
        Err(errno) => Err(Failure::at(Stage::Capabilities)(errno)),
    }
}

/// Empties the capability sets of this process.
pub(crate) fn drop_capabilities() -> Result<(), Failure> {
    let failed = Failure::at(Stage::Capabilities);
    let clear_all = u64::from(libc::PR_CAP_AMBIENT_CLEAR_ALL.cast_unsigned());
    sys::prctl(libc::PR_CAP_AMBIENT, clear_all, 0).map_err(&failed)?;
    sys::drop_capability_sets().map_err(&failed)
}

/// Changes to the working directory, by path inside the new root, as the user that will run there.
pub(crate) fn enter_directory(path: &Path) -> Result<(), Failure> {
    umask(Mode::from_bits_truncate(0o022));
    chdir(path).map_err(Failure::about(Stage::WorkingDirectory, path.display().to_string()))
}

/// Puts the three standard descriptors in place.
pub(crate) fn arrange_descriptors(standard: [BorrowedFd<'_>; 3]) -> Result<(), Failure> {
    let failed = Failure::at(Stage::Descriptors);
    // First out of the way, so that none is overwritten before it is copied.
    let mut high = Vec::with_capacity(3);
    for fd in standard {
        high.push(sys::duplicate_above(fd, 3).map_err(&failed)?);
    }
    for (target, fd) in (0..).zip(&high) {
        sys::duplicate_onto(fd.as_fd(), target).map_err(&failed)?;
    }
    Ok(())
}

/// Marks every descriptor but the standard ones close-on-exec.
pub(crate) fn close_the_rest() -> Result<(), Failure> {
    sys::close_on_exec_from(3).map_err(Failure::at(Stage::Descriptors))
}

/// No gain of rights by setuid programs or file capabilities, for good.
pub(crate) fn forbid_new_privileges() -> Result<(), Failure> {
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)
        .map(drop)
        .map_err(Failure::at(Stage::NoNewPrivileges))
}

/// One filter, in the two forms in which it can be installed. Both refuse the same.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// Answers by itself.
    pub(crate) plain: Arc<[libc::sock_filter]>,
    /// Asks a listener about some of its answers, if anybody wants to know.
    pub(crate) asking: Option<Arc<[libc::sock_filter]>>,
}

/// The system call filter. Where questions were wanted: its listener, or why the plain form had to do
/// (a filter around this sandbox may have a listener already, and there can be only one).
pub(crate) fn filter(programs: &Programs) -> Result<Option<Result<OwnedFd, Errno>>, Failure> {
    let plain = || sys::install_filter(&programs.plain).map_err(Failure::at(Stage::Seccomp));
    let Some(asking) = &programs.asking else { return plain().map(|()| None) };
    match sys::install_asking_filter(asking) {
        Ok(listener) => Ok(Some(Ok(listener))),
        Err(errno) => plain().map(|()| Some(Err(errno))),
    }
}

/// A filter as the kernel takes it.
pub(crate) fn program(filter: &Filter) -> Arc<[libc::sock_filter]> {
    let one = |it: &Instruction| libc::sock_filter { code: it.code, jt: it.jt, jf: it.jf, k: it.k };
    filter.instructions.iter().map(one).collect()
}

/// Loads a filter into the calling thread, for good, and forbids it new privileges first: for a
/// thread of one's own that shall do no more than it must. Other threads are not concerned, and no
/// other layer is there.
///
/// # Errors
/// The kernel refuses the filter.
pub fn seal_thread(filter: &Filter) -> Result<(), Errno> {
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0)?;
    sys::install_filter(&program(filter))
}

/// What execve wants, made before the process is sealed.
#[derive(Debug)]
pub(crate) struct Image {
    program: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

impl Image {
    /// Fails on an interior NUL, which no path, argument or variable can hold.
    pub(crate) fn new<'a>(
        program: &Path,
        args: impl IntoIterator<Item = &'a OsStr>,
        env: impl IntoIterator<Item = (&'a OsStr, &'a OsStr)>,
    ) -> Result<Self, Errno> {
        let text = |bytes: &[u8]| CString::new(bytes).map_err(|_nul| Errno::EINVAL);
        Ok(Self {
            program: text(program.as_os_str().as_bytes())?,
            args: args.into_iter().map(|arg| text(arg.as_bytes())).collect::<Result<_, _>>()?,
            env: env
                .into_iter()
                .map(|(name, value)| text(&[name.as_bytes(), b"=", value.as_bytes()].concat()))
                .collect::<Result<_, _>>()?,
        })
    }

    /// The image of a spec, with its own environment.
    pub(crate) fn of(spec: &Spec) -> Result<Self, Errno> {
        let pairs = spec.env.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        Self::new(&spec.program, spec.args.iter().map(OsString::as_os_str), pairs)
    }

    /// Executes the program; returns only with the reason why not.
    pub(crate) fn execute(&self) -> Failure {
        let errno = match execve(&self.program, &self.args, &self.env) {
            Ok(never) => match never {},
            Err(errno) => errno,
        };
        Failure { stage: Stage::Exec, errno, subject: self.program.to_string_lossy().into_owned() }
    }
}
