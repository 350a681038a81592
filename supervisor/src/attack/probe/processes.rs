//! Attacks on other processes and on the host around them, catalogue numbers 17 to 35.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::{
        fd::AsRawFd as _,
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    path::Path,
    process::Command,
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open},
    sched::{CloneFlags, unshare},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{SigSet, Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, getppid},
};

use super::{
    Attack, Scene,
    call::{self, address, address_mut, raw, word},
};

pub(crate) const ATTACKS: &[Attack] = &[
    ("signal-others", signal_others),
    ("stop-parent", stop_parent),
    ("signal-by-owner", signal_by_owner),
    ("trace-others", trace_others),
    ("spy-on-others", spy_on_others),
    ("see-others", see_others),
    ("limit-others", limit_others),
    ("slow-others", slow_others),
    ("stay-behind", stay_behind),
    ("fork-bomb", fork_bomb),
    ("thread-bomb", thread_bomb),
    ("crash", crash),
    ("gain-by-setuid", gain_by_setuid),
    ("gain-by-file-capability", gain_by_file_capability),
    ("undumpable", undumpable),
    ("new-namespaces", new_namespaces),
    ("raise-limits", raise_limits),
    ("leave-core", leave_core),
    ("type-into-terminal", type_into_terminal),
    ("keyrings", keyrings),
    ("answer", answer),
    ("victim", victim),
    ("daemons", daemons),
    ("movers", movers),
    ("identity", identity),
    ("offers", offers),
];

/// The processes that an attacker of the same user would reach for.
fn others(scene: &Scene) -> [(&'static str, i32); 3] {
    ["supervisor", "victim", "sibling"].map(|whose| (whose, scene.number(whose)))
}

fn signal_others(scene: &Scene) {
    // SIGURG is ignored by whoever does not wait for it: the control must not end the test.
    let urgent = Signal::SIGURG;
    for (whose, pid) in others(scene) {
        let number = word(pid);
        scene.step(&format!("kill-{whose}"), kill(Pid::from_raw(pid), urgent));
        let signal = word(libc::SIGURG);
        scene.step(&format!("tgkill-{whose}"), raw(libc::SYS_tgkill, &[number, number, signal]));
        let info = [
            u64::from(libc::SIGURG.cast_unsigned()),
            0xffff_ffff,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ];
        let queue = [number, signal, address(&info)];
        scene.step(&format!("sigqueue-{whose}"), raw(libc::SYS_rt_sigqueueinfo, &queue));
        let opened = raw(libc::SYS_pidfd_open, &[number, 0]).map(call::adopt);
        let sent = opened.and_then(|process| {
            raw(libc::SYS_pidfd_send_signal, &[word(process.as_raw_fd()), signal, 0, 0])
        });
        scene.step(&format!("pidfd-{whose}"), sent);
        scene.step(&format!("group-{whose}"), kill(Pid::from_raw(-pid), urgent));
    }
    // Says yes even if every single signal was refused; whether one arrived, the host knows.
    // The control leaves it out: it would reach the victims of other tests.
    if scene.text("everybody") == "yes" {
        kill(Pid::from_raw(-1), urgent).ok();
        scene.tried("kill-all");
    }
    scene.step("end-victim", kill(Pid::from_raw(scene.number("victim")), Signal::SIGKILL));
}

/// Inside, the parent is of the sandbox: stopped, it would tell nobody of our end.
fn stop_parent(scene: &Scene) {
    scene.step("stop", kill(getppid(), Signal::SIGSTOP));
}

/// A pipe that sends SIGKILL to its "owner" when data arrives: a signal that `kill` never sees.
fn signal_by_owner(scene: &Scene) {
    let (reader, mut writer) = io::pipe().unwrap();
    let pipe = word(reader.as_raw_fd());
    for (whose, pid) in others(scene) {
        raw(libc::SYS_fcntl, &[pipe, word(libc::F_SETOWN), word(pid)]).ok();
        // F_SETSIG
        raw(libc::SYS_fcntl, &[pipe, 10, word(libc::SIGKILL)]).ok();
        raw(libc::SYS_fcntl, &[pipe, word(libc::F_SETFL), word(libc::O_ASYNC)]).ok();
        writer.write_all(b"x").unwrap();
        scene.tried(whose);
        own_socket(pid);
    }
}

/// The same by a socket, which has an owner of its own and other calls to name it.
fn own_socket(pid: i32) {
    const FIOSETOWN: usize = 0x8901;
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let number = word(ours.as_raw_fd());
    raw(libc::SYS_ioctl, &[number, FIOSETOWN, address(&pid)]).ok();
    raw(libc::SYS_fcntl, &[number, 10, word(libc::SIGKILL)]).ok();
    raw(libc::SYS_fcntl, &[number, word(libc::F_SETFL), word(libc::O_ASYNC)]).ok();
    theirs.write_all(b"x").ok();
}

fn trace_others(scene: &Scene) {
    let parent = ("parent", getppid().as_raw());
    let targets = others(scene);
    for (whose, pid) in targets.iter().chain([&parent, &("init", 1)]).copied() {
        let pid = word(pid);
        let mut buffer = [0_u8; 8];
        let (own, foreign) = ([address_mut(&mut buffer), 8], [0_usize, 8]);
        let vectors = [pid, address(&own), 1, address(&foreign), 1, 0];
        // What matters is whether the kernel refuses to look; the address itself need not exist.
        let looked = |result| match result {
            Err(Errno::EFAULT) => Ok(0),
            other => other,
        };
        scene.step(&format!("read-{whose}"), looked(raw(libc::SYS_process_vm_readv, &vectors)));
        scene.step(&format!("write-{whose}"), looked(raw(libc::SYS_process_vm_writev, &vectors)));
        let memory = fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/mem"));
        scene.step(&format!("mem-{whose}"), memory);
        let own_pid = word(nix::unistd::getpid().as_raw());
        scene.step(&format!("kcmp-{whose}"), raw(libc::SYS_kcmp, &[own_pid, pid, 1, 0, 0]));
        let stolen = raw(libc::SYS_pidfd_open, &[pid, 0])
            .map(call::adopt)
            .and_then(|process| raw(libc::SYS_pidfd_getfd, &[word(process.as_raw_fd()), 0, 0]));
        scene.step(&format!("pidfd_getfd-{whose}"), stolen);
        for (name, request) in [("seize", libc::PTRACE_SEIZE), ("attach", libc::PTRACE_ATTACH)] {
            let traced = raw(libc::SYS_ptrace, &[request as usize, pid, 0, 0]);
            if traced.is_ok() {
                raw(libc::SYS_ptrace, &[libc::PTRACE_INTERRUPT as usize, pid, 0, 0]).ok();
                nix::sys::wait::waitpid(Pid::from_raw(i32::try_from(pid).unwrap()), None).ok();
                raw(libc::SYS_ptrace, &[libc::PTRACE_DETACH as usize, pid, 0, 0]).ok();
            }
            scene.step(&format!("{name}-{whose}"), traced);
        }
    }
}

fn spy_on_others(scene: &Scene) {
    let parent = ("parent", getppid().as_raw());
    for (whose, pid) in others(scene).iter().chain([&parent, &("init", 1)]) {
        let place = Path::new("/proc").join(pid.to_string());
        let read = |name: &str| {
            let mut bytes = [0];
            File::open(place.join(name)).and_then(|mut file| file.read(&mut bytes))
        };
        scene.step(&format!("environ-{whose}"), read("environ"));
        scene.step(&format!("maps-{whose}"), read("maps"));
        scene.step(&format!("fd-{whose}"), fs::read_link(place.join("fd/0")));
        scene.step(&format!("cwd-{whose}"), fs::read_link(place.join("cwd")));
        scene.step(&format!("root-{whose}"), fs::read_dir(place.join("root")));
    }
}

fn see_others(scene: &Scene) {
    for (whose, pid) in others(scene) {
        scene.step(whose, fs::read(format!("/proc/{pid}/cmdline")));
    }
}

fn limit_others(scene: &Scene) {
    for (whose, pid) in others(scene) {
        let limit = [12_345_u64, 12_345];
        let set = [word(pid), libc::RLIMIT_CORE as usize, address(&limit), 0];
        scene.step(&format!("set-{whose}"), raw(libc::SYS_prlimit64, &set));
        let high_bits = [word(pid) | 1 << 32, libc::RLIMIT_CORE as usize, address(&limit), 0];
        scene.step(&format!("high-bits-{whose}"), raw(libc::SYS_prlimit64, &high_bits));
    }
}

fn slow_others(scene: &Scene) {
    for (whose, pid) in others(scene) {
        let pid = word(pid);
        scene.step(&format!("nice-{whose}"), raw(libc::SYS_setpriority, &[0, pid, 5]));
        let idle = 0_i32;
        let batch = word(libc::SCHED_BATCH);
        let policy = [pid, batch, address(&idle)];
        scene.step(&format!("policy-{whose}"), raw(libc::SYS_sched_setscheduler, &policy));
        // IOPRIO_WHO_PROCESS, class idle.
        scene.step(&format!("io-{whose}"), raw(libc::SYS_ioprio_set, &[1, pid, 3 << 13]));
        let first_core = 1_u64;
        let affinity = [pid, 8, address(&first_core)];
        scene.step(&format!("cores-{whose}"), raw(libc::SYS_sched_setaffinity, &affinity));
    }
}

/// Leaves a daemon that does everything to stay, and ends.
fn stay_behind(scene: &Scene) {
    let (mut reader, writer) = io::pipe().unwrap();
    call::spawn(|| {
        nix::unistd::setsid().ok();
        call::spawn(|| stay(&writer, 0)).ok();
    })
    .unwrap();
    drop(writer);
    let mut ready = Vec::new();
    reader.read_to_end(&mut ready).unwrap();
    scene.told("left", &ready.len().to_string());
}

fn fork_bomb(scene: &Scene) {
    let (reader, writer) = io::pipe().unwrap();
    let mut hold = Some(writer);
    let mut outcome = Ok(0);
    for _ in 0..scene.number("count") {
        let child = call::spawn(|| {
            hold.take();
            (&reader).read_exact(&mut [0]).ok();
        });
        if child.is_err() {
            outcome = child;
            break;
        }
    }
    scene.held_step("fork", outcome);
    if scene.text("then") == "wait" {
        io::stdin().read_exact(&mut [0]).ok();
    }
}

fn thread_bomb(scene: &Scene) {
    let (reader, writer) = io::pipe().unwrap();
    let mut outcome = Ok(());
    let mut threads = Vec::new();
    for _ in 0..scene.number("count") {
        let held = reader.try_clone().unwrap();
        match std::thread::Builder::new().stack_size(16 << 10).spawn(move || {
            (&held).read_exact(&mut [0]).ok();
        }) {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    scene.held_step("spawn", outcome);
    drop(writer);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn crash(scene: &Scene) {
    let signal = scene.number("signal");
    call::default_action(signal);
    call::raise(signal);
}

/// Runs the helper that the harness made setuid (or gave a capability) and tells what it became.
fn gain(scene: &Scene, helper: &str, gained: impl Fn(&str) -> bool) {
    let ran = command(&scene.path(helper)).args([super::VERB, "identity"]).output();
    match ran {
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stdout).into_owned();
            let outcome = if gained(&told) { Ok(()) } else { Err(Errno::EPERM) };
            scene.step("gain", outcome);
            scene.told("became", told.trim());
        }
        Err(error) => scene.step::<()>("gain", Err(error)),
    }
}

fn gain_by_setuid(scene: &Scene) {
    let own = nix::unistd::geteuid();
    gain(scene, "setuid", |told| !told.contains(&format!("effective user {own},")));
}

fn gain_by_file_capability(scene: &Scene) {
    gain(scene, "capable", |told| !told.contains("capabilities 0000000000000000"));
}

/// Who this process is, in words.
fn identity(scene: &Scene) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or("").trim().to_owned()
    };
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    let text = format!(
        "effective user {user}, group {group}, groups [{}], capabilities {}, bounding {}, no_new_privs {}, filters {}",
        field("Groups:"),
        field("CapEff:"),
        field("CapBnd:"),
        field("NoNewPrivs:"),
        field("Seccomp_filters:"),
    );
    scene.told("identity", &text);
    scene.told("uid", &user.to_string());
    for kind in ["pid", "mnt", "net", "ipc", "uts", "cgroup", "user"] {
        let link = fs::read_link(Path::new("/proc/self/ns").join(kind)).unwrap_or_default();
        scene.told(kind, &link.to_string_lossy());
    }
}

fn undumpable(scene: &Scene) {
    raw(libc::SYS_prctl, &[word(libc::PR_SET_DUMPABLE), 0]).ok();
    scene.step("unshare", unshare(CloneFlags::CLONE_NEWUSER));
    scene.step("read", File::open(scene.path("secret")));
}

fn new_namespaces(scene: &Scene) {
    let kinds = [
        ("user", CloneFlags::CLONE_NEWUSER),
        ("mount", CloneFlags::CLONE_NEWNS),
        ("pid", CloneFlags::CLONE_NEWPID),
        ("net", CloneFlags::CLONE_NEWNET),
        ("ipc", CloneFlags::CLONE_NEWIPC),
        ("uts", CloneFlags::CLONE_NEWUTS),
        ("cgroup", CloneFlags::CLONE_NEWCGROUP),
    ];
    for (name, kind) in kinds {
        let both = kind | CloneFlags::CLONE_NEWUSER;
        let code = call::in_child(|| unshare(both).map_or_else(|errno| errno as i32, |()| 0));
        scene.step(&format!("unshare-{name}"), code_as_result(code));
        let flags = word(both.bits() | libc::SIGCHLD);
        let code = call::in_child(|| match raw(libc::SYS_clone, &[flags, 0, 0, 0, 0]) {
            Ok(0) => call::leave(0),
            Ok(_child) => 0,
            Err(errno) => errno as i32,
        });
        scene.step(&format!("clone-{name}"), code_as_result(code));
    }
    // Time namespaces are asked for by unshare and clone3 only.
    let code = call::in_child(|| {
        let flags = libc::CLONE_NEWUSER | libc::CLONE_NEWTIME;
        raw(libc::SYS_unshare, &[word(flags)]).map_or_else(|errno| errno as i32, |_| 0)
    });
    scene.step("unshare-time", code_as_result(code));
    let arguments = [u64::from(libc::CLONE_NEWUSER.cast_unsigned()), 0, 0, 0, 17, 0, 0, 0];
    let code = call::in_child(|| match raw(libc::SYS_clone3, &[address(&arguments), 64]) {
        Ok(0) => call::leave(0),
        Ok(_child) => 0,
        Err(errno) => errno as i32,
    });
    scene.step("clone3-user", code_as_result(code));
}

fn code_as_result(code: i32) -> Result<(), Errno> {
    if code == 0 { Ok(()) } else { Err(Errno::from_raw(code)) }
}

fn raise_limits(scene: &Scene) {
    for (name, resource) in [
        ("files", Resource::RLIMIT_NOFILE),
        ("core", Resource::RLIMIT_CORE),
        ("locked", Resource::RLIMIT_MEMLOCK),
        ("queues", Resource::RLIMIT_MSGQUEUE),
        ("priority", Resource::RLIMIT_RTPRIO),
    ] {
        let (_, hard) = getrlimit(resource).unwrap();
        // Unlimited cannot be raised; a number can, by whoever may.
        let more = if hard == libc::RLIM_INFINITY { hard } else { hard + 1 };
        scene.step(name, setrlimit(resource, more, more));
    }
}

fn leave_core(scene: &Scene) {
    nix::unistd::chdir(&scene.path("work")).unwrap();
    let most = getrlimit(Resource::RLIMIT_CORE).unwrap().1;
    setrlimit(Resource::RLIMIT_CORE, most, most).ok();
    scene.step("allowed", if most == 0 { Err(Errno::EPERM) } else { Ok(()) });
    call::default_action(libc::SIGABRT);
    call::raise(libc::SIGABRT);
}

/// Types a command into a terminal as if a person had: on our own where we can have one, else on
/// standard input, where a filter says no before the kernel looks what kind of file it is.
fn type_into_terminal(scene: &Scene) {
    const TIOCSTI: usize = 0x5412;
    const TIOCSETD: usize = 0x5423;
    nix::unistd::setsid().ok();
    // Closing the terminal at the end hangs up its session.
    call::ignore(libc::SIGHUP);
    let terminal = own_terminal();
    let number = terminal.as_ref().map_or(0, |(_, slave)| slave.as_raw_fd());
    scene.told("terminal", if terminal.is_ok() { "own" } else { "none" });
    let letter = b'x';
    let call = |request| raw(libc::SYS_ioctl, &[word(number), request, address(&letter)]);
    scene.step("type", call(TIOCSTI));
    scene.step("type-high-bits", call(TIOCSTI | 1 << 32));
    let discipline = 0_i32;
    let set = [word(number), TIOCSETD, address(&discipline)];
    scene.step("discipline", raw(libc::SYS_ioctl, &set));
}

fn own_terminal() -> Result<(std::os::fd::OwnedFd, std::os::fd::OwnedFd), Errno> {
    let master = open("/dev/ptmx", OFlag::O_RDWR | OFlag::O_NOCTTY, Mode::empty())?;
    let unlock = 0_i32;
    // TIOCSPTLCK, TIOCGPTN
    raw(libc::SYS_ioctl, &[word(master.as_raw_fd()), 0x4004_5431, address(&unlock)])?;
    let mut number = 0_i32;
    raw(libc::SYS_ioctl, &[word(master.as_raw_fd()), 0x8004_5430, address_mut(&mut number)])?;
    // Without O_NOCTTY it becomes the controlling terminal of our fresh session.
    let slave = open(
        Path::new("/dev/pts").join(number.to_string()).as_path(),
        OFlag::O_RDWR,
        Mode::empty(),
    )?;
    Ok((master, slave))
}

fn keyrings(scene: &Scene) {
    // KEYCTL_GET_KEYRING_ID of the session and of the user.
    scene.step("session", raw(libc::SYS_keyctl, &[0, word(-3), 1]));
    scene.step("user", raw(libc::SYS_keyctl, &[0, word(-4), 1]));
    let (kind, name) = (c"user".as_ptr().addr(), c"plugbay-probe".as_ptr().addr());
    let added = raw(libc::SYS_add_key, &[kind, name, address(&1_u8), 1, word(-2)]);
    scene.step("add", added);
    scene.step("request", raw(libc::SYS_request_key, &[kind, name, 0, 0]));
}

/// The sibling: answers every line, for as long as its input is open.
fn answer(_scene: &Scene) {
    for line in io::stdin().lines() {
        println!("answer to {}", line.unwrap());
    }
}

/// A process of the user that minds its own business, until its input is closed.
fn victim(scene: &Scene) {
    // A session and group of its own, so that signals to its group meet nobody else.
    nix::unistd::setsid().ok();
    // A signal that reaches us stays pending, where everybody can see it.
    SigSet::from(Signal::SIGURG).thread_block().unwrap();
    let key = scene.number("queue");
    let queues = if key == 0 { Vec::new() } else { own_queues(word(key)) };
    println!("ready");
    io::stdin().read_exact(&mut [0]).ok();
    // IPC_RMID is 0 for all three kinds, at the place where each has its command.
    for (call, arguments) in queues {
        raw(call, &arguments).ok();
    }
}

/// Makes a message queue, shared memory and a semaphore that everybody may use, and says how each is
/// removed.
fn own_queues(key: usize) -> Vec<(i64, Vec<usize>)> {
    let create = word(libc::IPC_CREAT | 0o666);
    let made =
        |call: i64, arguments: &[usize]| usize::try_from(raw(call, arguments).unwrap()).unwrap();
    let queue = made(libc::SYS_msgget, &[key, create]);
    let memory = made(libc::SYS_shmget, &[key, 4096, create]);
    let semaphore = made(libc::SYS_semget, &[key, 1, create]);
    vec![
        (libc::SYS_msgctl, vec![queue, 0]),
        (libc::SYS_shmctl, vec![memory, 0]),
        (libc::SYS_semctl, vec![semaphore, 0, 0]),
    ]
}

/// Leaves daemons that do everything to stay: new session, twice forked, deaf to requests, without a
/// death signal, without pipes. Tells when all are there and then waits, or ends at once.
fn daemons(scene: &Scene) {
    let (reader, writer) = io::pipe().unwrap();
    for number in 0..scene.number("count") {
        call::spawn(|| {
            nix::unistd::setsid().ok();
            call::spawn(|| stay(&writer, number)).ok();
        })
        .unwrap();
        // A child of our parent, not of ours.
        let flags = word(libc::CLONE_PARENT | libc::SIGCHLD);
        if raw(libc::SYS_clone, &[flags, 0, 0, 0, 0]) == Ok(0) {
            stay(&writer, number);
        }
    }
    drop(writer);
    let mut ready = Vec::new();
    let mut reader = reader.take(u64::try_from(scene.number("count")).unwrap() * 2);
    reader.read_to_end(&mut ready).unwrap();
    println!("ready {}", ready.len());
    if scene.text("then") == "wait" {
        io::stdin().read_exact(&mut [0]).ok();
    }
}

/// Processes that are never there for long: each forks and ends, without end, so that whoever collects
/// process ids to kill them always comes late.
fn movers(scene: &Scene) {
    for _ in 0..scene.number("count") {
        call::spawn(|| {
            nix::unistd::setsid().ok();
            move_on();
        })
        .unwrap();
    }
    println!("moving");
    io::stdin().read_exact(&mut [0]).ok();
}

/// The child goes on where the parent ends.
fn move_on() -> ! {
    loop {
        if raw(libc::SYS_clone, &[word(libc::SIGCHLD), 0, 0, 0, 0]).is_ok_and(|child| child > 0) {
            call::leave(0);
        }
    }
}

fn stay(ready: &io::PipeWriter, number: i32) -> ! {
    for signal in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT] {
        call::ignore(signal);
    }
    raw(libc::SYS_prctl, &[word(libc::PR_SET_PDEATHSIG), 0]).ok();
    raw(libc::SYS_prctl, &[word(libc::PR_SET_DUMPABLE), 0]).ok();
    let name = call::text(format!("daemon) {number}"));
    raw(libc::SYS_prctl, &[word(libc::PR_SET_NAME), name.as_ptr().addr()]).ok();
    (&*ready).write_all(b"x").ok();
    raw(libc::SYS_close_range, &[0, u32::MAX as usize, 0]).ok();
    loop {
        raw(libc::SYS_pause, &[]).ok();
    }
}

/// The signal by which a command was ended, for callers that report it.
pub(crate) fn ended_by(status: std::process::ExitStatus) -> Option<i32> {
    status.signal()
}

/// A program that shares the attacker's sandbox, if there is one.
#[expect(clippy::disallowed_methods, reason = "a probe attacks; it seals nothing")]
pub(crate) fn command(program: &Path) -> Command {
    Command::new(program)
}

/// Executes another program in place of this one.
pub(crate) fn replace(program: &Path, args: &[String]) -> io::Error {
    command(program).args(args).exec()
}

/// Not an attack: what the kernel would give a supervisor that is started like this process.
fn offers(scene: &Scene) {
    let all = CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWCGROUP;
    let namespaces =
        if nix::unistd::geteuid().is_root() { all } else { all | CloneFlags::CLONE_NEWUSER };
    let code = call::in_child(|| {
        let nothing: Option<&str> = None;
        let private = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
        let usable = unshare(namespaces)
            .and_then(|()| nix::mount::mount(nothing, "/", nothing, private, nothing));
        i32::from(usable.is_err())
    });
    scene.told("namespaces", if code == 0 { "1" } else { "0" });
    let landlock = raw(libc::SYS_landlock_create_ruleset, &[0, 0, 1]).unwrap_or(0);
    scene.told("landlock", &landlock.to_string());
    // SECCOMP_GET_ACTION_AVAIL of "answer with an errno".
    let action = 0x0005_0000_u32;
    let seccomp = raw(libc::SYS_seccomp, &[2, 0, address(&action)]);
    scene.told("seccomp", if seccomp.is_ok() { "1" } else { "0" });
}
