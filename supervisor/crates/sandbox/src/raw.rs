//! Raw system calls, for attackers: the probes by which a sandbox is put to the test do not go through
//! libc's checks. Nothing here takes part in sealing, and nothing but a probe has a use for it.
#![expect(unsafe_code, reason = "attacks are raw system calls, which no safe wrapper offers")]

use std::{
    ffi::CString,
    os::{
        fd::{FromRawFd as _, OwnedFd, RawFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use nix::errno::Errno;

/// Any system call by number, missing arguments zero.
///
/// # Errors
/// Whatever the kernel says.
///
/// Callers pass pointers to live values of the size that the call asks for, or null.
pub fn raw(number: i64, arguments: &[usize]) -> Result<i64, Errno> {
    let mut all = [0_usize; 6];
    all.iter_mut().zip(arguments).for_each(|(place, argument)| *place = *argument);
    let [a, b, c, d, e, f] = all;
    // SAFETY: what the kernel writes goes to buffers that the callers keep alive (see above); calls
    // that could change this process's memory or stack otherwise are made in a forked child.
    Errno::result(unsafe { libc::syscall(number, a, b, c, d, e, f) })
}

/// The address of a value, for a system call.
pub fn address<T>(value: &T) -> usize {
    std::ptr::from_ref(value).addr()
}

/// The address of a value that the kernel fills in.
pub fn address_mut<T>(value: &mut T) -> usize {
    std::ptr::from_mut(value).expose_provenance()
}

/// A path as the kernel wants it; empty if no path can be like that.
pub fn text(path: impl AsRef<Path>) -> CString {
    CString::new(path.as_ref().as_os_str().as_bytes()).unwrap_or_default()
}

/// A number as argument: the kernel reads negative ones as such.
pub fn word(number: i32) -> usize {
    isize::try_from(number).unwrap_or_default().cast_unsigned()
}

/// Takes a descriptor that the kernel has just made.
pub fn adopt(number: i64) -> OwnedFd {
    // SAFETY: the number was returned by the kernel a moment ago for a new descriptor.
    unsafe { OwnedFd::from_raw_fd(RawFd::try_from(number).unwrap_or(RawFd::MAX)) }
}

/// Ends this process at once, without what exit handlers would do to the parent's output.
pub fn leave(code: i32) -> ! {
    // SAFETY: takes no pointer and does not return.
    unsafe { libc::_exit(code) }
}

/// Runs `inside` in a forked child and waits for it: its exit code, or minus the signal.
pub fn in_child(inside: impl FnOnce() -> i32) -> i32 {
    // SAFETY: a probe has one thread wherever it forks, so the child may run ordinary code.
    match unsafe { libc::fork() } {
        0 => {
            let code = inside();
            leave(code)
        }
        -1 => -1000 - Errno::last_raw(),
        child => {
            let mut status = 0;
            // SAFETY: `status` is a live i32.
            unsafe { libc::waitpid(child, &raw mut status, 0) };
            if libc::WIFEXITED(status) {
                libc::WEXITSTATUS(status)
            } else {
                -libc::WTERMSIG(status)
            }
        }
    }
}

/// Forks; the child runs `inside` and ends, the parent gets its pid at once.
///
/// # Errors
/// When no process can be made.
pub fn spawn(inside: impl FnOnce()) -> Result<i32, Errno> {
    // SAFETY: as in `in_child`.
    match Errno::result(unsafe { libc::fork() })? {
        0 => {
            inside();
            leave(0)
        }
        child => Ok(child),
    }
}

/// `getpid` by the 32-bit gate: another table of system calls, which a careless filter does not see.
#[cfg(target_arch = "x86_64")]
pub fn gate_of_32_bits() -> i64 {
    const GETPID_OF_32_BITS: i64 = 20;
    let answer: i64;
    // SAFETY: getpid takes no pointer and changes nothing; the gate clobbers r8 to r11 at most.
    unsafe {
        std::arch::asm!(
            "int 0x80",
            inlateout("rax") GETPID_OF_32_BITS => answer,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    answer
}

/// Default action of a signal that Rust's start-up or a parent may have changed.
pub fn default_action(signal: i32) {
    // SAFETY: SIG_DFL is always a valid action.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

/// Ignores a signal.
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN is always a valid action.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Raises a signal in this process.
pub fn raise(signal: i32) {
    // SAFETY: takes no pointer.
    unsafe { libc::raise(signal) };
}

/// Makes a writable mapping of `size` bytes and touches every page.
///
/// # Errors
/// When the kernel refuses.
pub fn touched_mapping(size: usize, flags: i32, fd: RawFd) -> Result<(), Errno> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh mapping at an address of the kernel's choice touches nothing that exists.
    let start = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, fd, 0) };
    if start == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    for page in (0..size).step_by(4096) {
        // SAFETY: `page` is below the length of the mapping.
        let place = unsafe { start.cast::<u8>().add(page) };
        // SAFETY: the mapping is writable and ours alone.
        unsafe { place.write_volatile(1) };
    }
    Ok(())
}
