//! Attacks on the system call filter itself, catalogue numbers 37 to 45.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::fd::AsRawFd as _,
    path::Path,
};

use nix::errno::Errno;

use super::{
    Attack, Scene,
    call::{self, address, raw, word},
    processes,
};

pub(crate) const ATTACKS: &[Attack] = &[
    ("gate-of-32-bits", gate_of_32_bits),
    ("x32-numbers", x32_numbers),
    ("no-number", no_number),
    ("clone3", clone3),
    ("threads", threads),
    ("kernel-surface", kernel_surface),
    ("administration", administration),
    ("clocks", clocks),
    ("every-number", every_number),
    ("denial-flood", denial_flood),
    ("exec-from-memory", exec_from_memory),
    ("exec-through-proc", exec_through_proc),
    ("exec-by-loader", exec_by_loader),
];

fn gate_of_32_bits(scene: &Scene) {
    #[cfg(target_arch = "x86_64")]
    {
        let answer = call::gate_of_32_bits();
        let own = i64::from(nix::unistd::getpid().as_raw());
        scene.step("getpid", if answer == own { Ok(()) } else { Err(Errno::ENOSYS) });
    }
    #[cfg(not(target_arch = "x86_64"))]
    scene.step::<()>("getpid", Err(Errno::ENOSYS));
}

/// The numbers of x32 have the architecture of 64 bits: a list of forbidden numbers misses them.
fn x32_numbers(scene: &Scene) {
    const X32: i64 = 0x4000_0000;
    let one = word(libc::AF_INET);
    scene.step("getpid", raw(X32 | libc::SYS_getpid, &[]));
    scene.step("socket", raw(X32 | libc::SYS_socket, &[one, word(libc::SOCK_STREAM), 0]));
    scene.step("ptrace", raw(X32 | 521, &[0, 0, 0, 0]));
    scene.step("unshare", raw(X32 | libc::SYS_unshare, &[word(libc::CLONE_NEWUSER)]));
}

fn no_number(scene: &Scene) {
    for (step, number) in [("minus-one", -1), ("beyond", 100_000), ("next", 600)] {
        scene.step(step, raw(number, &[]));
    }
}

fn clone3(scene: &Scene) {
    let arguments = [0_u64, 0, 0, 0, 17, 0, 0, 0];
    let code = call::in_child(|| match raw(libc::SYS_clone3, &[address(&arguments), 64]) {
        Ok(0) => call::leave(0),
        Ok(_child) => 0,
        Err(errno) => errno as i32,
    });
    scene.step("fork", if code == 0 { Ok(()) } else { Err(Errno::from_raw(code)) });
}

/// Not an attack: what must go on working although clone3 is refused.
fn threads(scene: &Scene) {
    let answers: Vec<i32> = (0..8)
        .map(|n| std::thread::spawn(move || n))
        .map(|thread| thread.join().unwrap())
        .collect();
    scene.told("joined", &answers.len().to_string());
}

fn kernel_surface(scene: &Scene) {
    let attribute = [0_u64; 16];
    // BPF_PROG_TYPE_SOCKET_FILTER wants privilege by default; a map of type array as well.
    let map = [2_u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    scene.step("bpf", raw(libc::SYS_bpf, &[0, address(&map), 64]));
    // perf_event_attr: software, size 64, cpu clock, user space only.
    let perf = [1_u32, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0x60, 0, 0, 0, 0, 0];
    scene.step(
        "perf_event_open",
        raw(libc::SYS_perf_event_open, &[address(&perf), 0, word(-1), word(-1), 0]),
    );
    // UFFD_USER_MODE_ONLY
    scene.step("userfaultfd", raw(libc::SYS_userfaultfd, &[1]));
    // FAN_REPORT_FID, which needs no privilege.
    scene.step("fanotify", raw(libc::SYS_fanotify_init, &[0x200, 0]));
    scene.step("memfd_secret", raw(libc::SYS_memfd_secret, &[0]));
    #[cfg(target_arch = "x86_64")]
    scene.step("modify_ldt", raw(libc::SYS_modify_ldt, &[0, address(&attribute), 64]));
    scene.step("personality", raw(libc::SYS_personality, &[0x040_0000]));
    scene.step("move_pages", raw(libc::SYS_move_pages, &[0, 0, 0, 0, 0, 0]));
    scene.step("set_mempolicy", raw(libc::SYS_set_mempolicy, &[0, 0, 0]));
    let (mut reader, writer) = io::pipe().unwrap();
    let byte = 1_u8;
    let vector = [address(&byte), 1];
    scene.step(
        "vmsplice",
        raw(libc::SYS_vmsplice, &[word(writer.as_raw_fd()), address(&vector), 1, 0]),
    );
    drop(writer);
    io::copy(&mut reader, &mut io::sink()).unwrap();
}

/// Calls that would change the host. The arguments are invalid, so that even a kernel that let them
/// through would only say EINVAL, EFAULT or ENOENT: anything but those means that it was refused.
fn administration(scene: &Scene) {
    let bad = usize::MAX - 4095;
    let calls = [
        ("reboot", libc::SYS_reboot, [0, 0, 0, 0]),
        ("kexec_load", libc::SYS_kexec_load, [0, 99, bad, usize::MAX]),
        ("kexec_file_load", libc::SYS_kexec_file_load, [bad, bad, 0, 0]),
        ("init_module", libc::SYS_init_module, [bad, 8, bad, 0]),
        ("finit_module", libc::SYS_finit_module, [bad, bad, bad, 0]),
        ("delete_module", libc::SYS_delete_module, [bad, 0, 0, 0]),
        ("swapon", libc::SYS_swapon, [bad, 0, 0, 0]),
        ("swapoff", libc::SYS_swapoff, [bad, 0, 0, 0]),
        ("acct", libc::SYS_acct, [bad, 0, 0, 0]),
        ("quotactl", libc::SYS_quotactl, [0, bad, 0, 0]),
        ("syslog", libc::SYS_syslog, [3, bad, usize::MAX, 0]),
        ("sethostname", libc::SYS_sethostname, [bad, usize::MAX, 0, 0]),
        ("setdomainname", libc::SYS_setdomainname, [bad, usize::MAX, 0, 0]),
        ("setns", libc::SYS_setns, [word(-1), 0, 0, 0]),
    ];
    for (step, number, arguments) in calls {
        let outcome = match raw(number, &arguments) {
            Err(Errno::EINVAL | Errno::EFAULT | Errno::ENOENT | Errno::EBADF) => Ok(0),
            other => other,
        };
        scene.step(step, outcome);
    }
    #[cfg(target_arch = "x86_64")]
    {
        scene.step("iopl", raw(libc::SYS_iopl, &[3]));
        scene.step("ioperm", raw(libc::SYS_ioperm, &[0x80, 1, 1]));
    }
}

/// Sets each clock to what it shows (or to nonsense the kernel refuses only after the right to).
fn clocks(scene: &Scene) {
    let nonsense = libc::timespec { tv_sec: 0, tv_nsec: -1 };
    let refused = |result| match result {
        Err(Errno::EINVAL) => Ok(0),
        other => other,
    };
    scene.step("clock_settime", refused(raw(libc::SYS_clock_settime, &[0, address(&nonsense)])));
    scene.step("settimeofday", refused(raw(libc::SYS_settimeofday, &[address(&nonsense), 0])));
    // Mode 0 only reads; allowed to everybody by the kernel.
    let reading = [0_u64; 26];
    scene.step("adjtimex", raw(libc::SYS_adjtimex, &[address(&reading)]));
}

/// Numbers that wait for ever, end the caller, or clone it onto its own stack.
fn has_no_answer(number: i64) -> bool {
    let known = [
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_rt_sigsuspend,
        libc::SYS_rt_sigreturn,
        libc::SYS_pselect6,
        libc::SYS_ppoll,
        libc::SYS_restart_syscall,
        libc::SYS_clone,
    ];
    #[cfg(target_arch = "x86_64")]
    let old = [libc::SYS_pause, libc::SYS_select, libc::SYS_vfork, libc::SYS_fork];
    #[cfg(not(target_arch = "x86_64"))]
    let old = [libc::SYS_exit; 0];
    known.contains(&number) || old.contains(&number)
}

fn every_number(scene: &Scene) {
    let mut answered = 0;
    for number in (0..1024).filter(|number| !has_no_answer(*number)) {
        call::in_child(|| {
            // A tenth of a second is enough for a call that does not wait for ever.
            let soon = [0_i64, 0, 0, 100_000];
            raw(libc::SYS_setitimer, &[0, address(&soon), 0]).ok();
            raw(number, &[]).map_or(1, |_| 0)
        });
        answered += 1;
    }
    scene.told("answered", &answered.to_string());
}

fn denial_flood(scene: &Scene) {
    let rounds = scene.number("count");
    let mut refused = 0;
    for _ in 0..rounds {
        refused += i32::from(raw(libc::SYS_keyctl, &[0, word(-3), 0]).is_err());
    }
    scene.told("refused", if refused == rounds { "all" } else { "some" });
}

/// This program as a file in memory, which no path rule has seen.
fn in_memory() -> Result<std::os::fd::OwnedFd, Errno> {
    let memory = raw(libc::SYS_memfd_create, &[c"probe".as_ptr().addr(), 0]).map(call::adopt)?;
    let bytes = fs::read("/proc/self/exe").unwrap();
    File::from(memory.try_clone().unwrap()).write_all(&bytes).unwrap();
    Ok(memory)
}

fn exec_from_memory(scene: &Scene) {
    let memory = in_memory().unwrap();
    let code = call::in_child(|| {
        let verb = call::text(super::VERB);
        let words = [c"probe".as_ptr().addr(), verb.as_ptr().addr(), c"list".as_ptr().addr()];
        let arguments = [words[0], words[1], words[2], 0];
        File::options().write(true).open("/dev/null").ok().map(nix::unistd::dup2_stdout);
        let call = [
            word(memory.as_raw_fd()),
            c"".as_ptr().addr(),
            address(&arguments),
            0,
            word(libc::AT_EMPTY_PATH),
        ];
        raw(libc::SYS_execveat, &call).map_or_else(|errno| errno as i32, |_| 0)
    });
    scene.step("execveat", if code == 0 { Ok(()) } else { Err(Errno::from_raw(code)) });
}

/// The same by a path: it may run, but the sandbox must hold in the new image too.
fn exec_through_proc(scene: &Scene) {
    let memory = in_memory().unwrap();
    let program = format!("/proc/self/fd/{}", memory.as_raw_fd());
    in_new_image(scene, Path::new(&program), &[]);
}

fn exec_by_loader(scene: &Scene) {
    let loaders = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    let Some(loader) = loaders.iter().find(|loader| Path::new(loader).exists()) else {
        return scene.step::<()>("loader", Err(Errno::ENOENT));
    };
    let own = fs::read_link("/proc/self/exe").unwrap();
    let copy = scene.path("work").join("copy");
    fs::write(&copy, fs::read(own).unwrap()).unwrap();
    in_new_image(scene, Path::new(loader), &[copy.to_string_lossy().into_owned()]);
}

fn in_new_image(scene: &Scene, program: &Path, before: &[String]) {
    let secret = format!("secret={}", scene.text("secret"));
    let after = [super::VERB.to_owned(), "read-secret".to_owned(), secret];
    let args: Vec<String> = before.iter().chain(&after).cloned().collect();
    scene.tried("exec");
    let refused = processes::replace(program, &args);
    scene.step::<()>("exec", Err(refused));
}
