//! The kernel's calls that no safe library wraps, one small function each.
//!
//! This file holds all unsafe code of the product. Nothing is decided here:
//! a function makes one system call and turns `-1` into [`Errno`].
#![expect(unsafe_code, reason = "raw system calls; every block says why it is sound")]

use std::{
    ffi::{CStr, CString},
    mem,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
    time::Duration,
};

use nix::errno::Errno;

/// Which side of a fork the caller is on.
#[derive(Debug)]
pub(crate) enum Fork {
    /// In the parent: the child's pid in the parent's pid namespace, and a descriptor of it.
    Parent {
        /// The child's process id.
        pid: i32,
        /// Refers to the child even after its pid is reused.
        pidfd: OwnedFd,
    },
    /// In the child.
    Child,
}

fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result == -1 { Err(Errno::last()) } else { Ok(result) }
}

fn path(text: &[u8]) -> Result<CString, Errno> {
    // An interior NUL cannot be a path; the kernel would see a shorter one.
    CString::new(text).map_err(|_nul| Errno::EINVAL)
}

fn owned(result: libc::c_long) -> Result<OwnedFd, Errno> {
    let number = RawFd::try_from(result).map_err(|_too_large| Errno::EBADF)?;
    // SAFETY: the kernel has just returned this descriptor to us and nobody else holds it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn size_of<T>() -> usize {
    mem::size_of::<T>()
}

/// Forks with the namespaces of `flags`, optionally straight into a cgroup. The caller must be
/// single-threaded: the child goes on with ordinary code. Where `clone3` is hidden (container profiles
/// answer `ENOSYS`), the older call serves, which cannot name a cgroup.
pub(crate) fn fork(flags: i32, cgroup: Option<BorrowedFd<'_>>) -> Result<Fork, Errno> {
    match fork_by_clone3(flags, cgroup) {
        Err(Errno::ENOSYS) if cgroup.is_none() => fork_by_clone(flags),
        other => other,
    }
}

const CLONE_CLEAR_SIGHAND: u64 = 0x1_0000_0000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

fn fork_by_clone3(flags: i32, cgroup: Option<BorrowedFd<'_>>) -> Result<Fork, Errno> {
    let mut pidfd: RawFd = -1;
    // SAFETY: clone_args is plain data for which all zeroes is the documented "nothing asked".
    let mut args: libc::clone_args = unsafe { mem::zeroed() };
    args.flags = u64::from(flags.cast_unsigned()) | u64::from(libc::CLONE_PIDFD.cast_unsigned());
    args.pidfd = (&raw mut pidfd).addr() as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    // Neither this nor CLONE_INTO_CGROUP fits libc's c_int constants.
    args.flags |= CLONE_CLEAR_SIGHAND;
    if let Some(directory) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(directory.as_raw_fd().cast_unsigned());
    }
    let size = size_of::<libc::clone_args>();
    // SAFETY: no CLONE_VM, so the child works on a copy of our memory; `args` and `pidfd` outlive
    // the call; the process is single-threaded, so no lock of another thread is copied held.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size) })?;
    forked(pid, pidfd)
}

fn fork_by_clone(flags: i32) -> Result<Fork, Errno> {
    let mut pidfd: RawFd = -1;
    let flags = flags | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: as above; a null stack means the parent's, copied, and the third argument is where
    // CLONE_PIDFD stores the descriptor on every architecture.
    let pid = check(unsafe {
        libc::syscall(libc::SYS_clone, flags, 0_usize, &raw mut pidfd, 0_usize, 0_usize)
    })?;
    forked(pid, pidfd)
}

fn forked(pid: libc::c_long, pidfd: RawFd) -> Result<Fork, Errno> {
    if pid == 0 {
        return Ok(Fork::Child);
    }
    let pid = i32::try_from(pid).map_err(|_too_large| Errno::EINVAL)?;
    Ok(Fork::Parent { pid, pidfd: owned(pidfd.into())? })
}

/// `open_tree`: a detached copy of the mount tree at `source`, submounts included.
pub(crate) fn clone_tree(source: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = libc::OPEN_TREE_CLONE
        | libc::OPEN_TREE_CLOEXEC
        | (libc::AT_RECURSIVE | libc::AT_EMPTY_PATH).cast_unsigned();
    // SAFETY: the path is a static C string and the descriptor is borrowed for the call.
    owned(check(unsafe {
        libc::syscall(libc::SYS_open_tree, source.as_raw_fd(), c"".as_ptr(), flags)
    })?)
}

/// A descriptor that becomes readable every `period`, until it is read.
pub(crate) fn timer(period: Duration) -> Result<OwnedFd, Errno> {
    let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
    // SAFETY: takes no pointer.
    let timer = unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, flags) };
    let timer = owned(check(timer.into())?)?;
    let period = libc::timespec {
        tv_sec: period.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: period.subsec_nanos().into(),
    };
    let setting = libc::itimerspec { it_interval: period, it_value: period };
    // SAFETY: `setting` lives through the call, and the old setting is not asked for.
    let set = unsafe {
        libc::timerfd_settime(timer.as_raw_fd(), 0, &raw const setting, std::ptr::null_mut())
    };
    check(set.into()).map(|_zero| timer)
}

/// Whether an extended attribute of a file has exactly this value.
pub(crate) fn attribute_is(file: &Path, name: &CStr, value: &[u8]) -> bool {
    let Ok(file) = path(file.as_os_str().as_bytes()) else { return false };
    let mut found = [0_u8; 16];
    // SAFETY: both strings are NUL-terminated, and the buffer's true size is passed.
    let length = unsafe {
        libc::getxattr(file.as_ptr(), name.as_ptr(), found.as_mut_ptr().cast(), found.len())
    };
    usize::try_from(length).is_ok_and(|length| found.get(..length) == Some(value))
}

/// What `mount_setattr` shall change.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MountChange<'fd> {
    /// `MOUNT_ATTR_*` bits to set.
    pub(crate) set: u64,
    /// `MOUNT_ATTR_*` bits to clear.
    pub(crate) clear: u64,
    /// A user namespace whose mapping shall apply (`MOUNT_ATTR_IDMAP` must be in `set`).
    pub(crate) user_namespace: Option<BorrowedFd<'fd>>,
    /// Also on every mount below.
    pub(crate) recursive: bool,
}

/// `mount_setattr` on a mount that we hold.
pub(crate) fn change_mount(mount: BorrowedFd<'_>, change: MountChange<'_>) -> Result<(), Errno> {
    // SAFETY: mount_attr is plain data for which all zeroes is "change nothing".
    let mut attributes: libc::mount_attr = unsafe { mem::zeroed() };
    attributes.attr_set = change.set;
    attributes.attr_clr = change.clear;
    if let Some(namespace) = change.user_namespace {
        attributes.userns_fd = u64::from(namespace.as_raw_fd().cast_unsigned());
    }
    let flags = libc::AT_EMPTY_PATH | if change.recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: `attributes` outlives the call and its true size is passed.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw mut attributes,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}

/// `move_mount`: attaches a detached mount at a path.
pub(crate) fn attach_mount(mount: BorrowedFd<'_>, at: &[u8]) -> Result<(), Errno> {
    const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;
    let at = path(at)?;
    // SAFETY: both strings are NUL-terminated and live through the call.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            at.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// A new, detached filesystem of `kind` with string options (`fsopen`, `fsconfig`, `fsmount`). One with an
/// empty value is a flag.
pub(crate) fn new_filesystem(
    kind: &CStr,
    options: &[(&CStr, &CStr)],
    attributes: u64,
) -> Result<OwnedFd, Errno> {
    const FSOPEN_CLOEXEC: libc::c_uint = 1;
    const FSMOUNT_CLOEXEC: libc::c_uint = 1;
    const FSCONFIG_SET_FLAG: libc::c_uint = 0;
    const FSCONFIG_SET_STRING: libc::c_uint = 1;
    const FSCONFIG_CMD_CREATE: libc::c_uint = 6;
    let null = std::ptr::null::<libc::c_char>();
    // SAFETY: `kind` is NUL-terminated.
    let context =
        owned(check(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), FSOPEN_CLOEXEC) })?)?;
    for (key, value) in options {
        let (command, value) = match value.is_empty() {
            true => (FSCONFIG_SET_FLAG, null),
            false => (FSCONFIG_SET_STRING, value.as_ptr()),
        };
        // SAFETY: the key is NUL-terminated, the value as well or null for a flag; aux is 0 for both.
        check(unsafe {
            libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), command, key.as_ptr(), value, 0)
        })?;
    }
    // SAFETY: CMD_CREATE takes no key and no value.
    check(unsafe {
        libc::syscall(libc::SYS_fsconfig, context.as_raw_fd(), FSCONFIG_CMD_CREATE, null, null, 0)
    })?;
    let attributes = u32::try_from(attributes).map_err(|_too_large| Errno::EINVAL)?;
    // SAFETY: the context was created above; only integers are passed.
    owned(check(unsafe {
        libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), FSMOUNT_CLOEXEC, attributes)
    })?)
}

/// Landlock's ABI version, or 0 when the kernel has none (or has it switched off).
pub(crate) fn landlock_abi() -> u32 {
    const LANDLOCK_CREATE_RULESET_VERSION: libc::c_uint = 1;
    // SAFETY: with the version flag the kernel reads no memory.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<u8>(),
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    u32::try_from(version).unwrap_or(0)
}

/// Installs a seccomp program on this thread. `no_new_privs` must be set.
pub(crate) fn install_filter(instructions: &[libc::sock_filter]) -> Result<(), Errno> {
    let length = u16::try_from(instructions.len()).map_err(|_too_long| Errno::E2BIG)?;
    let program = libc::sock_fprog { len: length, filter: instructions.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `length` instructions from a live slice and changes none.
    check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    })
    .map(drop)
}

/// The same, with a listener for the program's questions. A task that is killed need not wait for its
/// answer where the kernel knows the flag for that (Linux 5.19).
pub(crate) fn install_asking_filter(instructions: &[libc::sock_filter]) -> Result<OwnedFd, Errno> {
    let length = u16::try_from(instructions.len()).map_err(|_too_long| Errno::E2BIG)?;
    let program = libc::sock_fprog { len: length, filter: instructions.as_ptr().cast_mut() };
    let listener = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let mut installed = Err(Errno::EINVAL);
    for flags in [listener | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, listener] {
        if installed == Err(Errno::EINVAL) {
            // SAFETY: as in `install_filter`; a refused call has changed nothing.
            installed = check(unsafe {
                libc::syscall(
                    libc::SYS_seccomp,
                    libc::SECCOMP_SET_MODE_FILTER,
                    flags,
                    &raw const program,
                )
            });
        }
    }
    owned(installed?)
}

/// `SECCOMP_IOCTL_NOTIF_RECV`: the next question of a listener that is readable.
pub(crate) fn next_question(listener: BorrowedFd<'_>) -> Result<libc::seccomp_notif, Errno> {
    const RECEIVE: libc::c_ulong = 0xc050_2100;
    // SAFETY: plain data; the kernel wants all zeroes.
    let mut question: libc::seccomp_notif = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes one seccomp_notif, which lives through the call.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE as _, &raw mut question) }.into())?;
    Ok(question)
}

/// `SECCOMP_IOCTL_NOTIF_ID_VALID`: whether the caller still waits.
pub(crate) fn still_waits(listener: BorrowedFd<'_>, id: u64) -> bool {
    const VALID: libc::c_ulong = 0x4008_2102;
    // SAFETY: the kernel reads one u64, which lives through the call.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), VALID as _, &raw const id) }.into()).is_ok()
}

/// What becomes of a call that was asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is not executed; its caller sees this error number.
    Refuse(u16),
    /// The kernel executes it.
    LetPass,
}

/// `SECCOMP_IOCTL_NOTIF_SEND`. `ENOENT` when the caller is gone.
pub(crate) fn answer(listener: BorrowedFd<'_>, id: u64, answer: Answer) -> Result<(), Errno> {
    const SEND: libc::c_ulong = 0xc018_2101;
    let (error, flags) = match answer {
        Answer::Refuse(number) => (-i32::from(number), 0),
        Answer::LetPass => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE),
    };
    let flags = u32::try_from(flags).unwrap_or(0);
    let mut response = libc::seccomp_notif_resp { id, val: 0, error, flags };
    // SAFETY: the kernel reads one seccomp_notif_resp, which lives through the call.
    check(unsafe { libc::ioctl(listener.as_raw_fd(), SEND as _, &raw mut response) }.into())
        .map(drop)
}

/// Empties the permitted, effective and inheritable capability sets.
pub(crate) fn drop_capability_sets() -> Result<(), Errno> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    let none = [[0_u32; 3]; 2];
    // SAFETY: version 3 of the interface takes a header and two data records of three words.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) }).map(drop)
}

/// `prctl` with integer arguments only.
pub(crate) fn prctl(option: i32, second: u64, third: u64) -> Result<i64, Errno> {
    let zero: libc::c_ulong = 0;
    // SAFETY: callers pass only options whose arguments are integers, so no memory is touched.
    check(unsafe { libc::prctl(option, second, third, zero, zero) }.into())
}

/// Whether this thread has the capability in its effective set.
pub(crate) fn has_capability(capability: u32) -> bool {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    let mut sets = [[0_u32; 3]; 2];
    // SAFETY: as in `drop_capability_sets`, the kernel writes two records of three words.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr()) };
    let word = sets.get(usize::from(capability >= 32)).map_or(0, |record| record[0]);
    result == 0 && word & (1 << (capability % 32)) != 0
}

/// Marks every descriptor from `first` on close-on-exec.
pub(crate) fn close_on_exec_from(first: u32) -> Result<(), Errno> {
    // SAFETY: changes flags of descriptors only; nothing is closed before exec.
    check(unsafe {
        libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC)
    })
    .map(drop)
}

/// Closes every descriptor but `kept`. Owned descriptors that are closed here must never be dropped
/// afterwards; callers are about to exec or to exit without unwinding.
pub(crate) fn close_all_except(kept: &[RawFd]) -> Result<(), Errno> {
    let mut kept: Vec<u32> = kept.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    kept.sort_unstable();
    let mut first = 0_u32;
    for keep in kept {
        if keep > first {
            // SAFETY: the caller promises not to use the closed descriptors again.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, keep - 1, 0) })?;
        }
        first = keep.saturating_add(1);
    }
    // SAFETY: as above.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) }).map(drop)
}

/// Every standard signal back to its default action. `CLONE_CLEAR_SIGHAND` spares ignored ones: SIGPIPE
/// is one in every Rust program, and would stay ignored through exec.
pub(crate) fn reset_signal_actions() {
    for signal in 1..=31 {
        // SAFETY: SIG_DFL installs no code. KILL, STOP and libc's own two refuse, which is fine.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// One reaped child.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reaped {
    /// Which child.
    pub(crate) pid: i32,
    /// The raw wait status.
    pub(crate) status: i32,
    /// Its resource use, children that it waited for included.
    pub(crate) usage: libc::rusage,
}

/// Waits for a child (`-1`: any). `None` when `no_hang` and none has ended.
pub(crate) fn wait(pid: i32, no_hang: bool) -> Result<Option<Reaped>, Errno> {
    wait_for(pid, if no_hang { libc::WNOHANG } else { 0 })
}

/// Waits until a child ends or is stopped; which of the two is in its status.
pub(crate) fn wait_or_stop() -> Result<Option<Reaped>, Errno> {
    wait_for(-1, libc::WUNTRACED)
}

fn wait_for(pid: i32, flags: i32) -> Result<Option<Reaped>, Errno> {
    let mut status = 0;
    // SAFETY: rusage is plain integers; zeroes are valid.
    let mut usage: libc::rusage = unsafe { mem::zeroed() };
    let flags = libc::__WALL | flags;
    loop {
        // SAFETY: both out-pointers refer to live locals.
        let reaped = unsafe { libc::wait4(pid, &raw mut status, flags, &raw mut usage) };
        match reaped {
            -1 if Errno::last() == Errno::EINTR => {}
            -1 => return Err(Errno::last()),
            0 => return Ok(None),
            pid => return Ok(Some(Reaped { pid, status, usage })),
        }
    }
}

/// `pidfd_open`.
pub(crate) fn pidfd_open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: integers only.
    owned(check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?)
}

/// `pidfd_send_signal`.
pub(crate) fn pidfd_signal(process: BorrowedFd<'_>, signal: i32) -> Result<(), Errno> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed and means "as kill(2)".
    check(unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, no_info, 0)
    })
    .map(drop)
}

/// Whether a descriptor of another process, named by one of its threads, is a socket for datagrams.
/// `false` where that cannot be known.
pub(crate) fn is_datagram_socket(thread: i32, descriptor: RawFd) -> bool {
    descriptor_of(thread, descriptor).is_some_and(|socket| {
        let kind = nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::SockType);
        kind == Ok(nix::sys::socket::SockType::Datagram)
    })
}

/// `pidfd_getfd` of the process that a thread belongs to.
fn descriptor_of(thread: i32, descriptor: RawFd) -> Option<OwnedFd> {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).ok()?;
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim();
    let process = pidfd_open(process.parse().ok()?).ok()?;
    // SAFETY: integers only; the kernel makes a descriptor of ours and changes none.
    let copied =
        check(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), descriptor, 0) });
    owned(copied.ok()?).ok()
}

/// Brings the loopback interface of this network namespace up.
pub(crate) fn loopback_up(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: ifreq is plain data; zeroes are a valid empty request.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    for (slot, byte) in request.ifr_name.iter_mut().zip(*b"lo") {
        *slot = libc::c_char::from_ne_bytes([byte]);
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).unwrap_or(1);
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives through the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw mut request) }.into())
        .map(drop)
}

/// `dup2` onto a fixed number (0, 1 or 2); the copy has no close-on-exec flag.
pub(crate) fn duplicate_onto(source: BorrowedFd<'_>, target: RawFd) -> Result<(), Errno> {
    // SAFETY: replaces a standard descriptor of this process, which is about to exec.
    check(unsafe { libc::dup2(source.as_raw_fd(), target) }.into()).map(drop)
}

/// A duplicate numbered `least` or above, close-on-exec.
pub(crate) fn duplicate_above(source: BorrowedFd<'_>, least: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: creates a new descriptor and changes none.
    owned(check(unsafe { libc::fcntl(source.as_raw_fd(), libc::F_DUPFD_CLOEXEC, least) }.into())?)
}

/// Ends this process at once: no destructors, no buffers flushed.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit never returns and touches no memory of ours.
    unsafe { libc::_exit(code) }
}
