//! The place of one attack: a secret, a granted directory, and a host around it that must not change.

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
    net::{TcpListener, UdpSocket},
    os::{
        fd::{AsFd as _, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::{
            fs::MetadataExt as _,
            net::{SocketAddr, UnixDatagram, UnixListener},
        },
    },
    path::{Path, PathBuf},
    process::{Child, Stdio},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    PATIENCE,
    ground::{Ground, Helper, NOT_ROOT, is_root, mode},
};
use crate::chaos::{
    clock::{Within, polled},
    vitals,
};

/// What no sealed process may learn.
pub(crate) const MARKER: &str = "pbt-marker-7f3a";

/// A process that is attacked. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Victim {
    child: Child,
    process: OwnedFd,
}

impl Victim {
    fn start(ground: &Ground, queue: u32) -> io::Result<Self> {
        let mut command = ground.unsealed("victim");
        if queue != 0 {
            command.arg(format!("queue={queue}"));
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(said) = child.stdout.take() {
            BufReader::new(said).read_line(&mut line)?;
        }
        let process = i32::try_from(child.id()).ok().and_then(vitals::open);
        match process {
            Some(process) if line == "ready\n" => Ok(Self { child, process }),
            _ => {
                drop(child.stdin.take());
                child.wait()?;
                Err(io::Error::other("the victim does not get ready"))
            }
        }
    }

    fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap_or(0)
    }

    fn ended(&self, patience: Duration) -> bool {
        Within::of(patience).readable(&mut [polled(self.process.as_fd())])
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        self.child.wait().ok();
    }
}

/// The processes that an attack may aim at, by their ids on the host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Targets {
    pub(crate) supervisor: i32,
    pub(crate) sibling: i32,
}

/// The place of one attack.
#[derive(Debug)]
pub(crate) struct Scene {
    place: PathBuf,
    pub(crate) work: PathBuf,
    victim: Victim,
    /// Stand-ins for supervisor and sibling, where the attack is let loose.
    doubles: Vec<Victim>,
    targets: Targets,
    /// A service that nobody was granted.
    pub(crate) port: u16,
    pub(crate) open_port: u16,
    words: Vec<String>,
    _listeners: Vec<TcpListener>,
    datagrams: UdpSocket,
    _unix: (UnixListener, UnixListener, UnixDatagram),
}

impl Scene {
    /// A fresh one. Without `targets` the attack meets doubles of them.
    pub(crate) fn new(ground: &Ground, targets: Option<Targets>) -> io::Result<Self> {
        let count = ground.next();
        let place = ground.path().join(format!("scene-{count}"));
        let [secret, work, outside, foreign] = files(&place)?;
        let abstract_name = format!("plugbay-attack-{}-{count}", std::process::id());
        let unix = listeners(&outside.join("listener"), &abstract_name)?;
        let queue = 0x5042_0000 + (std::process::id() % 0x100) * 0x100 + count % 0x100;
        let victim = Victim::start(ground, queue)?;
        let mut doubles = Vec::new();
        let (targets, everybody) = match targets {
            Some(targets) => (targets, "yes"),
            None => {
                doubles.extend([Victim::start(ground, 0)?, Victim::start(ground, 0)?]);
                let mut pids = doubles.iter().map(Victim::pid);
                let mut next = || pids.next().unwrap_or(0);
                (Targets { supervisor: next(), sibling: next() }, "no")
            }
        };
        let [listener, granted] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0"));
        let (listener, granted) = (listener?, granted?);
        let (port, open_port) = (listener.local_addr()?.port(), granted.local_addr()?.port());
        let sixth = TcpListener::bind("[::1]:0").ok();
        let port6 = sixth.as_ref().map_or(Ok(port), |it| it.local_addr().map(|at| at.port()))?;
        let datagrams = UdpSocket::bind(("127.0.0.1", port))?;
        datagrams.set_nonblocking(true)?;
        let path = |path: &Path| path.display().to_string();
        let words = [
            ("ground", path(ground.path())),
            ("secret", path(&secret)),
            ("work", path(&work)),
            ("foreign", path(&foreign)),
            ("host", nix::unistd::gethostname()?.to_string_lossy().into_owned()),
            ("cgroups", own_cgroups()),
            ("outside", path(&outside)),
            ("socket", path(&outside.join("listener"))),
            ("setuid", path(&ground.helper(Helper::Setuid))),
            ("capable", path(&ground.helper(Helper::Capable))),
            ("marker", MARKER.to_owned()),
            ("abstract", abstract_name),
            ("victim", victim.pid().to_string()),
            ("supervisor", targets.supervisor.to_string()),
            ("sibling", targets.sibling.to_string()),
            ("port", port.to_string()),
            ("port6", port6.to_string()),
            ("granted", open_port.to_string()),
            ("queue", queue.to_string()),
            ("uid", nix::unistd::geteuid().to_string()),
            ("everybody", everybody.to_owned()),
        ]
        .map(|(key, value)| format!("{key}={value}"))
        .to_vec();
        let mut listeners = vec![listener, granted];
        listeners.extend(sixth);
        Ok(Self {
            place,
            work,
            victim,
            doubles,
            targets,
            port,
            open_port,
            words,
            _listeners: listeners,
            datagrams,
            _unix: unix,
        })
    }

    /// What the probe is told.
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        self.words.iter().map(String::as_str)
    }

    /// Everything of the host that an attack could change, in words.
    pub(crate) fn host(&self) -> io::Result<Vec<String>> {
        let mut facts = Vec::new();
        tree(&self.place, &self.work, &mut facts)?;
        for (name, pid) in [
            ("supervisor", self.targets.supervisor),
            ("sibling", self.targets.sibling),
            ("victim", self.victim.pid()),
        ] {
            facts.extend(process(pid).into_iter().map(|fact| format!("{name}: {fact}")));
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
        facts.push(format!("processes of the attacker: {}", self.attackers().len()));
        Ok(facts)
    }

    /// Ends what an attacker has left running; tells whether there was anything.
    pub(crate) fn clear(&self) -> bool {
        let left = self.attackers();
        for pid in &left {
            kill(Pid::from_raw(*pid), Signal::SIGKILL).ok();
        }
        !left.is_empty()
    }

    /// The processes whose command lines name this place, which nothing else has heard of.
    fn attackers(&self) -> Vec<i32> {
        let place = self.place.to_string_lossy();
        let names = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = names.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid: &i32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&*place)
        })
        .collect()
    }

    /// Whether the victim and the doubles are ended by what was just let loose.
    pub(crate) fn victims_end(&self) -> bool {
        let mut all = std::iter::once(&self.victim).chain(&self.doubles);
        all.all(|victim| victim.ended(PATIENCE))
    }
}

/// The files of a scene below `place`: the secret, the granted directory, what lies outside, and a granted
/// file that another user keeps to itself.
fn files(place: &Path) -> io::Result<[PathBuf; 4]> {
    let [secret, work, outside] = ["private", "work", "outside"].map(|part| place.join(part));
    fs::create_dir(place)?;
    for (directory, open) in [(&secret, 0o755), (&work, 0o777), (&outside, 0o777)] {
        fs::create_dir(directory)?;
        // Permissions would stop a dedicated user; the sandbox must.
        mode(directory, open)?;
    }
    let secret = secret.join("secret");
    for (path, open) in [
        (secret.clone(), 0o644),
        (outside.join("file"), 0o644),
        (outside.join("open"), 0o666),
        (outside.join("other"), 0o666),
    ] {
        fs::write(&path, MARKER)?;
        mode(&path, open)?;
    }
    std::os::unix::fs::symlink("file", outside.join("to-file"))?;
    let foreign = work.join("foreign");
    if is_root() {
        fs::write(&foreign, MARKER)?;
        mode(&foreign, 0o600)?;
        std::os::unix::fs::chown(&foreign, Some(NOT_ROOT), Some(NOT_ROOT))?;
    }
    Ok([secret, work, outside, foreign])
}

/// Where this process stands in the host's cgroups, as far as that tells anything.
fn own_cgroups() -> String {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let paths = own.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    paths.filter(|path| *path != "/").collect::<Vec<_>>().join(",")
}

/// Sockets of the host that nobody was granted: one in the file system, two abstract ones.
fn listeners(path: &Path, name: &str) -> io::Result<(UnixListener, UnixListener, UnixDatagram)> {
    let listener = UnixListener::bind(path)?;
    mode(path, 0o777)?;
    let stream = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name)?)?;
    let datagram = SocketAddr::from_abstract_name(format!("{name}-datagram"))?;
    Ok((listener, stream, UnixDatagram::bind_addr(&datagram)?))
}

/// What an attack could change of a process.
fn process(pid: i32) -> Vec<String> {
    let of = |file: &str| {
        fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_else(|error| error.to_string())
    };
    let stat = of("stat");
    let fields: Vec<&str> =
        stat.rsplit_once(')').map_or("", |(_, after)| after).split_whitespace().collect();
    let mut facts = vec![
        of("limits"),
        of("oom_score_adj"),
        // Priority, nice value and scheduling policy.
        format!("{:?}", [fields.get(15), fields.get(16), fields.get(38)]),
    ];
    let kept = ["Cpus_allowed:", "TracerPid:", "SigPnd:", "ShdPnd:"];
    let status = of("status");
    let lines = status.lines().filter(|line| kept.iter().any(|key| line.starts_with(key)));
    facts.extend(lines.map(str::to_owned));
    facts
}

/// Every file below `place`, but for what is below `granted`.
fn tree(place: &Path, granted: &Path, facts: &mut Vec<String>) -> io::Result<()> {
    let mut entries: Vec<PathBuf> = fs::read_dir(place)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    entries.sort();
    for path in entries.into_iter().filter(|path| path != granted) {
        let about = fs::symlink_metadata(&path)?;
        let content = if about.is_file() { fs::read(&path)? } else { Vec::new() };
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
            tree(&path, granted, facts)?;
        }
    }
    Ok(())
}

/// Whether a core dump stands in the work directory.
pub(crate) fn has_core(work: &Path) -> bool {
    let entries = fs::read_dir(work).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with("core"))
}
