//! Compiled filters in the real kernel: a forked child installs one, makes calls, and reports what
//! it got; the interpreter must have said the same before.
//!
//! Not a test of the launcher: nothing but the filter is applied here.

#![expect(unsafe_code, reason = "the filter must be loaded by a child of this very process")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "clippy does not count the helpers of integration tests as tests"
)]

use std::{io, os::fd::FromRawFd as _};

use plugbay_sandbox::{
    NetworkMode, Profile, Watch,
    seccomp::{Arch, Filter, Instruction, Variant, Verdict, compile, compile_watched, interpret},
};

/// How a child ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// It reported this.
    Reported(i64),
    /// It died of this signal.
    Killed(i32),
}

#[repr(C)]
struct Program {
    length: u16,
    instructions: *const Instruction,
}

/// Loads the filter into the calling thread, for good. Safe to call between `fork` and `_exit`.
fn install(filter: &Filter) -> Result<(), i32> {
    let length = u16::try_from(filter.instructions.len()).map_err(|_too_long| libc::E2BIG)?;
    let program = Program { length, instructions: filter.instructions.as_ptr() };
    // SAFETY: sets one flag of this process; no memory is involved.
    let locked = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: `program` has the layout of `sock_fprog` and points at `length` instructions that
    // outlive the call.
    let loaded = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    if locked == 0 && loaded == 0 { Ok(()) } else { Err(errno()) }
}

fn errno() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Runs `work` in a forked child, which must neither allocate nor lock, and reads its report.
fn in_child(work: impl FnOnce() -> i64) -> End {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    assert_eq!(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }, 0);
    // SAFETY: the child only runs `work`, `write` and `_exit`, which are fit for a threaded parent.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        let report = work().to_ne_bytes();
        // SAFETY: `report` is valid for its length; the child leaves without running destructors.
        unsafe { libc::write(ends[1], report.as_ptr().cast(), report.len()) };
        // SAFETY: ends the child at once; nothing of the parent's is touched.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: the parent owns both ends, and nothing else closes this one.
    drop(unsafe { std::fs::File::from_raw_fd(ends[1]) });
    // SAFETY: as above, for the reading end.
    let mut reading = unsafe { std::fs::File::from_raw_fd(ends[0]) };
    let mut report = [0; 8];
    let is_complete = io::Read::read_exact(&mut reading, &mut report).is_ok();
    let mut status = 0;
    // SAFETY: waits for our own child; `status` is valid for writing.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    if libc::WIFSIGNALED(status) {
        End::Killed(libc::WTERMSIG(status))
    } else {
        assert!(is_complete, "the child said nothing, status {status}");
        End::Reported(i64::from_ne_bytes(report))
    }
}

/// Makes one raw call; its result, or the negative error number.
fn raw(number: i64, args: [u64; 6]) -> i64 {
    let [a, b, c, d, e, f] = args;
    // SAFETY: the tests only pass calls that are refused or that touch no memory of ours.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result < 0 { -i64::from(errno()) } else { result }
}

fn filter(profile: Profile, network: NetworkMode) -> Filter {
    let (ipc_namespace, listen, unix, attributes) = (false, false, true, true);
    compile(&Variant { profile, network, ipc_namespace, listen, unix, attributes }).unwrap()
}

/// What a call does under a filter, and what the interpreter says that it must do.
fn compare(filter: &Filter, number: i64, args: [u64; 6]) -> i64 {
    let call = interpret::Call {
        arch: Arch::native().unwrap().audit(),
        number: u32::try_from(number & 0xffff_ffff).unwrap(),
        args,
    };
    let sealed = in_child(|| match install(filter) {
        Ok(()) => raw(number, args),
        Err(errno) => -10_000 - i64::from(errno),
    });
    let End::Reported(sealed) = sealed else { panic!("{number} {args:x?}: {sealed:?}") };
    assert!(sealed > -10_000, "the kernel refused the filter: errno {}", -10_000 - sealed);
    match interpret::run(&filter.instructions, &call).unwrap() {
        Verdict::Allow => {
            let free = in_child(|| raw(number, args));
            let End::Reported(free) = free else { panic!("{number}: {free:?}") };
            assert_eq!(sealed.min(0), free.min(0), "{number} {args:x?}: allowed, yet different");
        }
        Verdict::Errno(errno) => assert_eq!(sealed, -i64::from(errno), "{number} {args:x?}"),
        Verdict::KillProcess => panic!("{number} {args:x?} should have killed"),
        Verdict::Notify => panic!("{number} {args:x?}: nobody watches"),
    }
    sealed
}

const AF_UNIX: u64 = 1;
const AF_INET: u64 = 2;
const STREAM: u64 = 1;
const DGRAM: u64 = 2;
const EPERM: i64 = -1;
const EACCES: i64 = -13;
const ENOSYS: i64 = -38;

#[test]
fn the_kernel_answers_as_the_interpreter_does() {
    let none = filter(Profile::Default, NetworkMode::None);
    let ports = filter(Profile::Default, NetworkMode::Ports);
    let full = filter(Profile::Default, NetworkMode::Full);
    let parent = u64::from(std::process::id());

    for allowed in [libc::SYS_getpid, libc::SYS_sched_yield, libc::SYS_getppid] {
        assert!(compare(&none, allowed, [0; 6]) >= 0);
    }
    assert!(compare(&none, libc::SYS_socket, [AF_UNIX, STREAM, 0, 0, 0, 0]) >= 0);
    assert_eq!(compare(&none, libc::SYS_socket, [AF_INET, STREAM, 0, 0, 0, 0]), EACCES);
    assert_eq!(compare(&none, libc::SYS_socket, [16, 3, 0, 0, 0, 0]), EACCES);
    assert!(compare(&full, libc::SYS_socket, [AF_INET, DGRAM, 0, 0, 0, 0]) >= 0);
    assert!(compare(&ports, libc::SYS_socket, [AF_INET, STREAM, 0, 0, 0, 0]) >= 0);
    assert_eq!(compare(&ports, libc::SYS_socket, [AF_INET, DGRAM, 0, 0, 0, 0]), EACCES);
    assert_eq!(compare(&ports, libc::SYS_socket, [AF_INET, STREAM, 262, 0, 0, 0]), -93);
    assert_eq!(compare(&full, libc::SYS_socket, [38, 5, 0, 0, 0, 0]), -97);
    assert_eq!(compare(&full, libc::SYS_socket, [AF_INET, 3, 1, 0, 0, 0]), EPERM);

    assert_eq!(compare(&full, libc::SYS_unshare, [0, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(compare(&full, libc::SYS_clone, [0x1000_0000, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(compare(&full, libc::SYS_clone3, [0; 6]), ENOSYS);
    assert_eq!(compare(&full, libc::SYS_io_uring_setup, [0; 6]), ENOSYS);
    assert_eq!(compare(&full, libc::SYS_ptrace, [0; 6]), EPERM);
    assert_eq!(compare(&full, libc::SYS_keyctl, [0; 6]), EPERM);
    assert_eq!(compare(&full, libc::SYS_ioctl, [0, 0x5412, 0, 0, 0, 0]), EPERM);
    assert_eq!(compare(&full, libc::SYS_ioctl, [0, 0x1_0000_5412, 0, 0, 0, 0]), EPERM);
    assert_eq!(compare(&full, libc::SYS_prlimit64, [parent, 1, 0, 0, 0, 0]), EPERM);
    assert_eq!(compare(&full, libc::SYS_prlimit64, [0, 1, 0, 0, 0, 0]), 0);
    assert_eq!(compare(&full, libc::SYS_sched_setaffinity, [parent, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(compare(&full, libc::SYS_personality, [0x0040_0000, 0, 0, 0, 0, 0]), EPERM);
    assert!(compare(&full, libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0, 0]) >= 0);
    assert_eq!(compare(&full, libc::SYS_execveat, [0, 0, 0, 0, 0x1000, 0]), EPERM);
    assert_eq!(compare(&full, libc::SYS_execveat, [u64::MAX, 0, 0, 0, 0, 0]), -14);
    assert_eq!(compare(&full, libc::SYS_setpriority, [0, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(compare(&full, 1023, [0; 6]), ENOSYS);
    assert_eq!(compare(&full, -1, [0; 6]), ENOSYS);
    assert_eq!(compare(&full, 0x4000_0000 | libc::SYS_getpid, [0; 6]), ENOSYS);

    let ci = filter(Profile::Ci, NetworkMode::Full);
    assert_eq!(compare(&ci, libc::SYS_ptrace, [0; 6]), 0);
    assert_eq!(compare(&ci, libc::SYS_setpriority, [0, 0, 0, 0, 0, 0]), 0);
    assert_eq!(compare(&ci, libc::SYS_setpriority, [0, parent, 0, 0, 0, 0]), EPERM);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn what_a_filter_asks_about_stays_refused_when_nobody_listens() {
    let variant = Variant {
        profile: Profile::Default,
        network: NetworkMode::None,
        ipc_namespace: true,
        listen: false,
        unix: true,
        attributes: true,
    };
    let asking = compile_watched(&variant, Watch::Denials).unwrap();
    let after = |number: i64, args: [u64; 6]| {
        in_child(|| match install(&asking) {
            Ok(()) => raw(number, args),
            Err(errno) => -10_000 - i64::from(errno),
        })
    };
    // Not the filter's own answer, since there is nobody to give it; and not the call either.
    let refused = End::Reported(-i64::from(libc::ENOSYS));
    assert_eq!(after(libc::SYS_keyctl, [0; 6]), refused);
    assert_eq!(after(libc::SYS_socket, [AF_INET, 1, 0, 0, 0, 0]), refused);
    // The control: what is allowed goes on, and the filter by itself answers with its own error.
    let End::Reported(descriptor) = after(libc::SYS_socket, [AF_UNIX, 1, 0, 0, 0, 0]) else {
        panic!("killed")
    };
    assert!(descriptor >= 0, "{descriptor}");
    let plain = filter(Profile::Default, NetworkMode::None);
    assert_eq!(compare(&plain, libc::SYS_keyctl, [0; 6]), -i64::from(libc::EPERM));
}

#[test]
fn a_32_bit_call_kills() {
    /// `getpid` by the 32-bit door.
    fn getpid_32() -> i64 {
        let mut result = 20_i64;
        // SAFETY: the 32-bit `getpid` takes no argument and touches no memory.
        unsafe { std::arch::asm!("int 0x80", inout("rax") result) };
        result
    }
    let filter = filter(Profile::Default, NetworkMode::Full);
    match in_child(getpid_32) {
        End::Reported(pid) => assert!(pid > 0),
        // A kernel without the 32-bit door is closed anyway.
        End::Killed(signal) => return assert_eq!(signal, libc::SIGSEGV),
    }
    let sealed = in_child(|| match install(&filter) {
        Ok(()) => getpid_32(),
        Err(errno) => -i64::from(errno),
    });
    assert_eq!(sealed, End::Killed(libc::SIGSYS));
}

fn nanoseconds() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for writing.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

#[test]
fn installing_takes_well_under_a_quarter_of_a_millisecond() {
    for network in [NetworkMode::None, NetworkMode::Loopback, NetworkMode::Ports, NetworkMode::Full]
    {
        let before = nanoseconds();
        let filter = filter(Profile::Default, network);
        let compiled = nanoseconds() - before;
        let mut times: Vec<_> = (0..32)
            .map(|_| {
                let end = in_child(|| {
                    let before = nanoseconds();
                    if install(&filter).is_ok() { nanoseconds() - before } else { -1 }
                });
                let End::Reported(time) = end else { panic!("{end:?}") };
                assert!(time > 0, "the kernel refused the filter");
                time
            })
            .collect();
        times.sort_unstable();
        eprintln!(
            "{network:?}: {} instructions, compiled in {} us, installed in {} us (median {})",
            filter.instructions.len(),
            compiled / 1000,
            times[0] / 1000,
            times[16] / 1000,
        );
        // The best of many, since the machine may be busy.
        assert!(times[0] < 250_000, "{network:?}: {} ns", times[0]);
    }
}
