//! Brings a process into a setting and executes it: `rung [--user=N] [--refuse=WHAT]… -- PROGRAM ARGV…`.
//!
//! `--refuse=namespaces` answers every new namespace with EPERM, as containers do; `--refuse=mounts` answers
//! what makes a namespace useful, as Ubuntu's AppArmor does; `--refuse=landlock` answers as a kernel without
//! it, and `--refuse=landlock-in-silence` says "done" to a process that restricts itself, and does nothing.
//! A filter does it, so that the settings can be had on any kernel without changing the kernel's own.
//! `--no-user-namespaces` sets the limit of them to 0 by its own switch, as hardened systems do.
#![expect(unsafe_code, reason = "installing a filter has no safe wrapper")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a fixture: a panic is a failure of the test"
)]

use std::{fs, os::unix::process::CommandExt as _, process::Command};

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const ANY: u16 = 0x45;
const RETURN: u16 = 0x06;
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;

const NEW: u32 = 0x7e02_0000;

fn step(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

/// Refuses these calls with these errnos, and `clone` with a flag of a new namespace if asked to.
fn filter(refused: &[(i64, i32)], clone: bool) -> Vec<libc::sock_filter> {
    let mut program = vec![step(LOAD, 0, 0, 0)];
    let number = |call: i64| u32::try_from(call).unwrap();
    let errno = |errno: i32| ERRNO | errno.cast_unsigned();
    for (call, answer) in refused {
        program.push(step(EQUAL, 0, 1, number(*call)));
        program.push(step(RETURN, 0, 0, errno(*answer)));
    }
    if clone {
        program.extend([
            step(EQUAL, 0, 3, number(libc::SYS_clone)),
            step(LOAD, 0, 0, 16),
            step(ANY, 0, 1, NEW),
            step(RETURN, 0, 0, errno(libc::EPERM)),
        ]);
    }
    program.push(step(RETURN, 0, 0, ALLOW));
    program
}

fn install(mut program: Vec<libc::sock_filter>) {
    let length = u16::try_from(program.len()).unwrap();
    let described = libc::sock_fprog { len: length, filter: program.as_mut_ptr() };
    let install = || {
        // SAFETY: `described` points to `length` live instructions; the kernel only reads them.
        unsafe {
            libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const described)
        }
    };
    if install() == 0 {
        return;
    }
    // Without privilege a filter needs no_new_privs. As root it is left alone: what is tested sets it.
    // SAFETY: takes no pointer.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    assert_eq!(install(), 0, "{}", std::io::Error::last_os_error());
}

const LANDLOCK: [i64; 3] = [
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
];

/// Goes into a user namespace in which no further one may be made: what `user.max_user_namespaces = 0`
/// does to a whole machine.
fn forbid_user_namespaces() {
    let (user, group) = (Uid::current(), Gid::current());
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).unwrap();
    // Its own files below /proc are root's since it changed its user.
    nix::sys::prctl::set_dumpable(true).unwrap();
    fs::write("/proc/self/setgroups", "deny").unwrap();
    fs::write("/proc/self/uid_map", format!("{user} {user} 1")).unwrap();
    fs::write("/proc/self/gid_map", format!("{group} {group} 1")).unwrap();
    fs::write("/proc/sys/user/max_user_namespaces", "0").unwrap();
}

fn refuse(what: &str) {
    let calls = match what {
        "namespaces" => vec![
            (libc::SYS_clone3, libc::ENOSYS),
            (libc::SYS_unshare, libc::EPERM),
            (libc::SYS_setns, libc::EPERM),
        ],
        "mounts" => vec![
            (libc::SYS_mount, libc::EPERM),
            (libc::SYS_fsopen, libc::EPERM),
            (libc::SYS_open_tree, libc::EPERM),
            (libc::SYS_pivot_root, libc::EPERM),
        ],
        "landlock" => LANDLOCK.map(|call| (call, libc::ENOSYS)).to_vec(),
        // Errno 0: the kernel's answer is "done", and nothing was.
        "landlock-in-silence" => vec![(libc::SYS_landlock_restrict_self, 0)],
        other => panic!("nothing called `{other}` can be refused"),
    };
    install(filter(&calls, what == "namespaces"));
}

fn main() {
    let mut args = std::env::args_os().skip(1);
    let options: Vec<String> =
        args.by_ref().map(|arg| arg.into_string().unwrap()).take_while(|arg| arg != "--").collect();
    for option in &options {
        if let Some(what) = option.strip_prefix("--refuse=") {
            refuse(what);
        }
    }
    for option in &options {
        if let Some(user) = option.strip_prefix("--user=") {
            let id = user.parse().unwrap();
            let (user, group) = (Uid::from_raw(id), Gid::from_raw(id));
            if Uid::current() == user {
                continue;
            }
            setgroups(&[]).unwrap();
            setresgid(group, group, group).unwrap();
            setresuid(user, user, user).unwrap();
        }
    }
    if options.iter().any(|option| option == "--no-user-namespaces") {
        forbid_user_namespaces();
    }
    let (program, name) = (args.next().unwrap(), args.next().unwrap());
    #[expect(clippy::disallowed_methods, reason = "replaces this process; starts none")]
    let refused = Command::new(&program).arg0(name).args(args).exec();
    panic!("failed to execute `{}`: {refused}", program.display());
}
