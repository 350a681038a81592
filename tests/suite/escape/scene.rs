//! The place of one attack: a secret, a granted directory, and a host around it that must not change.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::{TcpListener, UdpSocket},
    os::{
        fd::{AsFd as _, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::{
            fs::{MetadataExt as _, PermissionsExt as _},
            net::{SocketAddr, UnixDatagram, UnixListener},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use plugbay_tests::{Setting, TestEnv, Within, ends, is_root, open_process};

/// What no sealed process may learn.
pub(crate) const MARKER: &str = "pbt-marker-7f3a";

/// A process that is attacked. Ends when dropped.
pub(crate) struct Victim {
    child: Child,
    process: OwnedFd,
}

impl Victim {
    fn start(env: &TestEnv, setting: Setting, queue: u32) -> Self {
        let mut command = env.unsealed(setting, "prober");
        command.arg("victim").env("PLUGBAY_TESTS_SECRET", MARKER);
        if queue != 0 {
            command.arg(format!("queue={queue}"));
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let process = open_process(child.id().try_into().unwrap()).unwrap();
        Self { child, process }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn ended(&self, patience: Duration) -> bool {
        ends(self.process.as_fd(), Within::of(patience))
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

/// The processes that an attack may aim at, by their ids on the host.
#[derive(Clone, Copy)]
pub(crate) struct Targets {
    pub(crate) supervisor: i32,
    pub(crate) sibling: i32,
}

pub(crate) struct Scene {
    place: PathBuf,
    pub(crate) work: PathBuf,
    victim: Victim,
    /// Stand-ins for supervisor and sibling, where the attack is let loose.
    doubles: Vec<Victim>,
    targets: Targets,
    pub(crate) open_port: u16,
    words: Vec<String>,
    _listeners: Vec<TcpListener>,
    datagrams: UdpSocket,
    _unix: (UnixListener, UnixListener, UnixDatagram),
}

impl Scene {
    /// A fresh one. Without `targets` the attack meets doubles of them.
    pub(crate) fn new(env: &TestEnv, setting: Setting, targets: Option<Targets>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("scene-{count}");
        let uid = setting.uid();
        let place = env.directory(&name, uid);
        let [secret, work, outside] = ["private", "work", "outside"]
            .map(|part| env.directory(&format!("{name}/{part}"), uid));
        let secret = secret.join("secret");
        for (path, mode) in [
            (secret.clone(), 0o644),
            (outside.join("file"), 0o644),
            (outside.join("open"), 0o666),
            (outside.join("other"), 0o666),
        ] {
            fs::write(&path, MARKER).unwrap();
            own(&path, mode, uid);
        }
        // Permissions would stop a dedicated user; the sandbox must.
        own(&outside, 0o777, uid);
        // Without mounts a dedicated user owns nothing of a grant: its mode decides.
        own(&work, 0o777, uid);
        std::os::unix::fs::symlink("file", outside.join("to-file")).unwrap();
        let unix = UnixListener::bind(outside.join("listener")).unwrap();
        own(&outside.join("listener"), 0o777, uid);
        let abstract_name = format!("pbt-{}-{count}", std::process::id());
        let at = |name: &str| SocketAddr::from_abstract_name(name).unwrap();
        let stream = UnixListener::bind_addr(&at(&abstract_name)).unwrap();
        let datagram = UnixDatagram::bind_addr(&at(&format!("{abstract_name}-datagram"))).unwrap();
        let queue = 0x5042_0000 + (std::process::id() % 0x100) * 0x100 + count;
        let victim = Victim::start(env, setting, queue);
        let doubles = match targets {
            Some(_) => Vec::new(),
            None => (0..2).map(|_| Victim::start(env, setting, 0)).collect(),
        };
        let everybody = if targets.is_some() { "yes" } else { "no" };
        let targets = targets.unwrap_or_else(|| Targets {
            supervisor: doubles[0].pid().try_into().unwrap(),
            sibling: doubles[1].pid().try_into().unwrap(),
        });
        let [listener, granted] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [port, open_port] = [&listener, &granted].map(|it| it.local_addr().unwrap().port());
        let sixth = TcpListener::bind("[::1]:0").ok();
        let port6 = sixth.as_ref().map_or(port, |it| it.local_addr().unwrap().port());
        let datagrams = UdpSocket::bind(("127.0.0.1", port)).unwrap();
        datagrams.set_nonblocking(true).unwrap();
        let binaries = env.binaries();
        let words = vec![
            format!("scene={}", env.root().display()),
            format!("secret={}", secret.display()),
            format!("work={}", work.display()),
            format!("outside={}", outside.display()),
            format!("socket={}", outside.join("listener").display()),
            format!("setuid={}", binaries.path("setuid").display()),
            format!("capable={}", binaries.path("capable").display()),
            format!("marker={MARKER}"),
            format!("abstract={abstract_name}"),
            format!("victim={}", victim.pid()),
            format!("supervisor={}", targets.supervisor),
            format!("sibling={}", targets.sibling),
            format!("port={port}"),
            format!("port6={port6}"),
            format!("queue={queue}"),
            format!("uid={uid}"),
            format!("everybody={everybody}"),
        ];
        let mut listeners = vec![listener, granted];
        listeners.extend(sixth);
        Self {
            place,
            work,
            victim,
            doubles,
            targets,
            open_port,
            words,
            _listeners: listeners,
            datagrams,
            _unix: (unix, stream, datagram),
        }
    }

    /// What the prober is told.
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }

    /// Everything of the host that an attack could change, in words.
    pub(crate) fn host(&self) -> Vec<String> {
        let mut facts = Vec::new();
        tree(&self.place, &self.work, &mut facts);
        let victim = i32::try_from(self.victim.pid()).unwrap();
        for (name, pid) in [
            ("supervisor", self.targets.supervisor),
            ("sibling", self.targets.sibling),
            ("victim", victim),
        ] {
            let of = |file: &str| {
                fs::read_to_string(format!("/proc/{pid}/{file}"))
                    .unwrap_or_else(|error| error.to_string())
            };
            facts.push(format!("{name}: {}", of("limits")));
            facts.push(format!("{name}: {}", of("oom_score_adj")));
            let stat = of("stat");
            let fields: Vec<&str> =
                stat.rsplit_once(')').map_or("", |(_, after)| after).split_whitespace().collect();
            // Priority, nice value and scheduling policy.
            facts.push(format!("{name}: {:?}", [fields.get(15), fields.get(16), fields.get(38)]));
            let status = of("status");
            facts.extend(
                status
                    .lines()
                    .filter(|line| {
                        ["Cpus_allowed:", "TracerPid:", "SigPnd:", "ShdPnd:"]
                            .iter()
                            .any(|key| line.starts_with(key))
                    })
                    .map(|line| format!("{name}: {line}")),
            );
        }
        for setting in
            ["kernel/hostname", "kernel/domainname", "kernel/core_pattern", "kernel/modprobe"]
        {
            let value = fs::read_to_string(Path::new("/proc/sys").join(setting));
            facts.push(format!("{setting}: {value:?}"));
        }
        let received = self.datagrams.recv(&mut [0; 64]).is_ok();
        facts.push(format!("a datagram arrived: {received}"));
        facts.push(format!("the victim ended: {}", self.victim.ended(Duration::ZERO)));
        facts
    }

    /// Whether the victim and the doubles are ended by what was just let loose.
    pub(crate) fn victims_end(&self) -> bool {
        let mut all = std::iter::once(&self.victim).chain(&self.doubles);
        all.all(|victim| victim.ended(plugbay_tests::PATIENCE))
    }
}

fn own(path: &Path, mode: u32, uid: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    if is_root() {
        std::os::unix::fs::chown(path, Some(uid), Some(uid)).unwrap();
    }
}

/// Every file below `place`, but for what is below `granted`.
fn tree(place: &Path, granted: &Path, facts: &mut Vec<String>) {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries.into_iter().filter(|path| path != granted) {
        let about = fs::symlink_metadata(&path).unwrap();
        let content = if about.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        facts.push(format!(
            "{}: mode {:o}, owner {}:{}, {} links, changed {}.{}, {:?}",
            path.display(),
            about.mode(),
            about.uid(),
            about.gid(),
            about.nlink(),
            about.ctime(),
            about.ctime_nsec(),
            String::from_utf8_lossy(&content),
        ));
        if about.is_dir() {
            tree(&path, granted, facts);
        }
    }
}

/// What stands in the work directory and should not.
pub(crate) fn has_core(work: &Path) -> bool {
    fs::read_dir(work)
        .unwrap()
        .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("core"))
}
