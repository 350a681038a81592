//! The rows: attacks on the filter, over the network, and on what a process brings along and may take
//! (catalogue numbers 37 to 62).

use libc::{
    EACCES, EAFNOSUPPORT, EBADF, ECONNREFUSED, ECONNRESET, EMFILE, ENETUNREACH, ENOENT, ENOMEM,
    ENOSYS, EOPNOTSUPP, EPERM, EPROTONOSUPPORT, SIGSYS, SIGXCPU,
};
use plugbay_sandbox::{Cause, EnvGrant, HostGrant, Layer, Limit, NetworkMode, scrub};

use super::{
    row::{Control, Expect, Row, denied, denied_or_reported},
    scene::MARKER,
};

const FILTER: &[Layer] = &[Layer::Seccomp];
const NETWORK: &[Layer] = &[Layer::Seccomp, Layer::NetworkNamespace, Layer::LandlockNetwork];
const NO_CALL: &[i32] = &[EPERM, ENOSYS];

/// Numbers 37 to 45.
pub(crate) const FILTER_ROWS: &[Row] = &[
    Row::new(
        37,
        "32-bit system calls",
        "gate-of-32-bits",
        Expect::Killed { signal: SIGSYS, cause: Some(Cause::Seccomp), by: Layer::Seccomp },
    )
    .control(Control::Runs),
    Row::new(38, "x32 system calls", "x32-numbers", denied(FILTER, &[ENOSYS])),
    Row::new(38, "numbers of no system call", "no-number", denied(FILTER, &[ENOSYS])),
    Row::new(39, "clone3", "clone3", denied(FILTER, &[ENOSYS])),
    Row::new(
        39,
        "threads still start without clone3",
        "threads",
        Expect::Contained { step: "joined", detail: "8", by: Layer::Seccomp },
    )
    .control(Control::Runs),
    Row::new(40, "bpf, perf, userfaultfd and their kin", "kernel-surface", denied(FILTER, NO_CALL))
        .told("kernel-programs")
        .control(Control::Root)
        .excused(&[("bpf", "locked down"), ("perf_event_open", "kernel.perf_event_paranoid")]),
    Row::new(40, "administration of the host", "administration", denied(FILTER, NO_CALL))
        .told("administration")
        .control(Control::Root)
        .excused(&[("setns", "a machine that refuses namespaces")]),
    Row::new(40, "setting clocks", "clocks", denied(FILTER, &[EPERM])).control(Control::Root),
    Row::new(
        41,
        "every number with zero arguments",
        "every-number",
        Expect::Contained { step: "answered", detail: "", by: Layer::Seccomp },
    )
    .control(Control::None("outside it would do harm")),
    Row::new(
        42,
        "a flood of denied calls",
        "denial-flood",
        Expect::Contained { step: "refused", detail: "all", by: Layer::Seccomp },
    )
    .words(&["count=100000"])
    .told("keyrings")
    .control(Control::None("the same call is row 35's")),
    Row::new(44, "execute a file in memory", "exec-from-memory", denied(FILTER, &[EPERM]))
        .told("exec-from-memory"),
    Row::new(
        44,
        "execute it through /proc: the sandbox stays",
        "exec-through-proc",
        denied(&[Layer::LandlockFiles, Layer::MountNamespace], &[EACCES, ENOENT, ENOSYS]),
    ),
    Row::new(
        44,
        "execute by the loader: the sandbox stays",
        "exec-by-loader",
        denied(&[Layer::LandlockFiles, Layer::MountNamespace], &[EACCES, ENOENT, ENOSYS]),
    ),
];

/// Numbers 46 to 55.
pub(crate) const NETWORK_ROWS: &[Row] = &[
    Row::new(46, "connect, no network", "connect", denied(NETWORK, &[EACCES]))
        .told("no-network")
        .excused(IPV6),
    Row::new(
        46,
        "connect to the host, own loopback",
        "connect",
        denied(&[Layer::NetworkNamespace, Layer::Seccomp], &[ECONNREFUSED, EACCES, ENETUNREACH]),
    )
    .shape(|spec, _| spec.network.mode = NetworkMode::Loopback)
    .excused(IPV6),
    ports(Row::new(
        46,
        "connect to a port that was not granted",
        "connect",
        denied(&[Layer::LandlockNetwork], &[EACCES]),
    )),
    ports(
        Row::new(
            47,
            "connect by MPTCP",
            "connect-by-multipath",
            denied(FILTER, &[EPROTONOSUPPORT]),
        )
        .excused(&[("connect", "net.mptcp.enabled is off")]),
    ),
    ports(
        Row::new(
            48,
            "connect by TCP fast open",
            "connect-by-fast-open",
            denied(FILTER, &[EOPNOTSUPP]),
        )
        .excused(&[("", "net.ipv4.tcp_fastopen is off")]),
    ),
    Row::new(49, "datagrams, no network", "datagrams", denied(NETWORK, &[EACCES])).excused(PING),
    ports(
        Row::new(
            49,
            "datagrams, granted ports",
            "datagrams",
            denied(FILTER, &[EACCES, EPROTONOSUPPORT]),
        )
        .excused(PING),
    ),
    Row::new(50, "listen, no network", "listen", denied(NETWORK, &[EACCES])),
    ports(Row::new(
        50,
        "listen, granted ports",
        "listen",
        denied(&[Layer::LandlockNetwork, Layer::Seccomp], &[EACCES]),
    )),
    Row::new(51, "rare families, no network", "rare-families", denied(NETWORK, &[EACCES]))
        .control(Control::Root),
    full(
        Row::new(
            51,
            "rare families, full network",
            "rare-families",
            denied(FILTER, &[EAFNOSUPPORT]),
        )
        .control(Control::Root),
    ),
    Row::new(51, "netlink, no network", "netlink", denied(NETWORK, &[EACCES])),
    full(Row::new(51, "netlink, full network", "netlink", denied(FILTER, &[EPROTONOSUPPORT]))),
    full(
        Row::new(51, "raw sockets, full network", "raw-sockets", denied(FILTER, &[EPERM]))
            .control(Control::Root),
    ),
    Row::new(
        52,
        "abstract sockets of the host",
        "abstract-socket",
        denied(
            &[Layer::LandlockScopes, Layer::NetworkNamespace, Layer::Seccomp],
            &[EPERM, ECONNREFUSED, EACCES],
        ),
    ),
    full(Row::new(
        52,
        "abstract sockets, full network",
        "abstract-socket",
        denied_or_reported(&[Layer::LandlockScopes], &[EPERM, EACCES], "has no "),
    )),
    Row::new(
        52,
        "a socket in the file system",
        "pathname-socket",
        denied(&[Layer::MountNamespace, Layer::Seccomp], &[ENOENT, EACCES]),
    ),
    Row::new(
        52,
        "System V queues and memory",
        "shared-queues",
        denied(&[Layer::IpcNamespace, Layer::Seccomp], &[ENOENT, EPERM]),
    ),
    named(Row::new(53, "a host that was not granted", "by-the-broker", denied(WAY, UNREACHED)))
        .excused(SPELLINGS)
        .told("hosts"),
    Row::new(
        54,
        "names and numbers that lead to the host",
        "by-the-broker",
        denied(WAY, UNREACHED),
    )
    .shape(|spec, scene| {
        spec.network.mode = NetworkMode::Hosts;
        // Every host of the internet, and the host itself is none of them.
        let any = HostGrant { host: "*".to_owned(), port: scene.port };
        spec.network.hosts.insert(any);
    })
    .excused(SPELLINGS)
    .told("special-addresses"),
    named(Row::new(55, "past the broker", "past-the-broker", denied(WAY, UNREACHED))),
    named(Row::new(55, "a broker without its word", "with-no-word", denied(WAY, UNREACHED))),
];

const WAY: &[Layer] = &[Layer::NetworkNamespace, Layer::LandlockNetwork];
const UNREACHED: &[i32] = &[EACCES, ECONNREFUSED, ECONNRESET];
/// What not every resolver takes for an address.
const SPELLINGS: &[(&str, &str)] = &[("", "no resolver here reads it")];

/// A host is granted by name, at a port that is not the one attacked.
const fn named(row: Row) -> Row {
    row.shape(|spec, scene| {
        spec.network.mode = NetworkMode::Hosts;
        let host = HostGrant { host: "localhost".to_owned(), port: scene.open_port };
        spec.network.hosts.insert(host);
    })
}

const fn full(row: Row) -> Row {
    row.shape(|spec, _| spec.network.mode = NetworkMode::Full)
}

/// One port is granted, which is not the one attacked.
const fn ports(row: Row) -> Row {
    row.shape(|spec, scene| {
        spec.network.mode = NetworkMode::Ports;
        spec.network.connect.insert(scene.open_port);
    })
}

const IPV6: &[(&str, &str)] = &[("v6", "no IPv6 here"), ("mapped", "no IPv6 here")];
const PING: &[(&str, &str)] =
    &[("ping", "net.ipv4.ping_group_range"), ("udp-lite", "not built in")];

/// Numbers 57 to 62.
pub(crate) const BELONGING_ROWS: &[Row] = &[
    Row::new(
        57,
        "descriptors that the host left open",
        "inherited-descriptors",
        denied(&[Layer::ProcessHygiene], &[EBADF]),
    ),
    Row::new(
        58,
        "secrets in environments",
        "environment",
        denied(&[Layer::Environment], &[ENOENT]),
    )
    .shape(|spec, _| spec.env = scrub(&secrets(), &[])),
    Row::new(
        58,
        "secrets in the environment of children",
        "environment-of-children",
        denied(&[Layer::Environment], &[ENOENT]),
    )
    .shape(|spec, _| spec.env = scrub(&secrets(), &[EnvGrant::Set("A".into(), "b".into())])),
    memory("hog private memory", "private-memory"),
    memory("hog shared memory", "shared-memory"),
    memory("hog a file in memory", "memory-file"),
    memory("hog a file in memory without looking at it", "unmapped-memory-file"),
    memory("hog memory in many processes", "memory-of-children"),
    Row::new(
        60,
        "burn CPU time",
        "burn",
        Expect::Killed { signal: SIGXCPU, cause: Some(Cause::CpuTime), by: Layer::Rlimits },
    )
    .shape(|spec, _| spec.limits.cpu_time = Some(std::time::Duration::from_secs(1)))
    .control(Control::None("nothing else would end it")),
    Row::new(61, "open descriptors without end", "open-many", denied(&[Layer::Rlimits], &[EMFILE]))
        .words(&["count=200"])
        .shape(|spec, _| spec.limits.open_files = Some(64)),
];

const fn memory(title: &'static str, attack: &'static str) -> Row {
    let expect = Expect::Limited { limit: Limit::Memory, errnos: &[ENOMEM] };
    Row::new(59, title, attack, expect)
        .words(&["bytes=134217728", HELD])
        .shape(|spec, _| spec.limits.memory = Some(64 << 20))
}

/// How long an attack on a limit goes on, for somebody who only looks to see it.
pub(crate) const HELD: &str = "hold=3000";

/// The environment of a host with something to hide.
pub(crate) fn secrets() -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    [
        ("PATH", "/usr/bin:/bin"),
        ("PLUGBAY_TESTS_SECRET", MARKER),
        ("LD_PRELOAD", "/none.so"),
        ("LD_LIBRARY_PATH", "/none"),
        ("PYTHONPATH", "/none"),
        ("SSH_AUTH_SOCK", "/none"),
    ]
    .map(|(name, value)| (name.into(), value.into()))
    .to_vec()
}
