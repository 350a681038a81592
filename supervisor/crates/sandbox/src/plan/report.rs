//! The report that holds if every step of a plan succeeds: per layer, how far and why not further.

use std::time::Duration;

use crate::{
    cgroup::Controller,
    enforcement::{Layer, LayerReport, Status},
    limit::{Held, Holder, Limit},
    machine::Machine,
    plan::{Rung, Unheld},
    protection::Protection,
    spec::{Level, NetworkMode, Spec},
    view,
};

/// The report if everything succeeds.
pub(super) fn expected(
    spec: &Spec,
    machine: &Machine,
    rung: Rung,
    dedicated: bool,
    lost: &str,
) -> Vec<LayerReport> {
    Layer::ALL
        .map(|layer| {
            let (status, why) = if spec.level == Level::None {
                unsealed(layer)
            } else {
                match layer {
                    Layer::UserNamespace
                    | Layer::PidNamespace
                    | Layer::MountNamespace
                    | Layer::NetworkNamespace
                    | Layer::IpcNamespace
                    | Layer::UtsNamespace
                    | Layer::CgroupNamespace => namespace_status(layer, spec, rung, lost),
                    Layer::DedicatedUser | Layer::IdMappedMounts => {
                        identity_status(layer, machine, rung, dedicated)
                    }
                    Layer::Rlimits => rlimit_status(spec, machine, rung, dedicated),
                    Layer::Cgroup => cgroup_status(machine, rung),
                    Layer::LandlockFiles => landlock_files(machine.landlock_abi),
                    Layer::LandlockNetwork => landlock_network(spec, rung, machine.landlock_abi),
                    Layer::LandlockScopes => landlock_scopes(machine.landlock_abi),
                    Layer::Environment
                    | Layer::Capabilities
                    | Layer::ProcessHygiene
                    | Layer::NoNewPrivileges => enforced(),
                    Layer::Seccomp if spec.is_off(Protection::SystemCalls) => {
                        (Status::NotWanted, "`system-calls` was switched off".to_owned())
                    }
                    Layer::Seccomp => enforced(),
                }
            };
            disproved(machine, LayerReport { layer, status, why })
        })
        .to_vec()
}

/// A layer that a canary got through does not hold, whatever the kernel says.
fn disproved(machine: &Machine, report: LayerReport) -> LayerReport {
    let shown = machine.disproved.iter().find(|(layer, _)| *layer == report.layer);
    match (shown, report.status) {
        (Some((layer, why)), Status::Enforced | Status::Partial) => {
            LayerReport { layer: *layer, status: Status::Absent, why: why.clone() }
        }
        _ => report,
    }
}

fn unsealed(layer: Layer) -> (Status, String) {
    match layer {
        Layer::Environment | Layer::Cgroup | Layer::ProcessHygiene | Layer::Rlimits => enforced(),
        Layer::UserNamespace
        | Layer::PidNamespace
        | Layer::MountNamespace
        | Layer::NetworkNamespace
        | Layer::IpcNamespace
        | Layer::UtsNamespace
        | Layer::CgroupNamespace
        | Layer::IdMappedMounts
        | Layer::DedicatedUser
        | Layer::Capabilities
        | Layer::NoNewPrivileges
        | Layer::LandlockFiles
        | Layer::LandlockNetwork
        | Layer::LandlockScopes
        | Layer::Seccomp => {
            (Status::Absent, "level none: the process runs with all rights of its user".to_owned())
        }
    }
}

fn namespace_status(layer: Layer, spec: &Spec, rung: Rung, lost: &str) -> (Status, String) {
    let network = layer == Layer::NetworkNamespace;
    if network && view::shares_network(spec.network.mode) {
        return (Status::NotWanted, "the host's network was granted".to_owned());
    }
    match (rung, layer) {
        (Rung::Root, Layer::UserNamespace) => (Status::NotWanted, "root needs none".to_owned()),
        (Rung::Root | Rung::User, _) => enforced(),
        (Rung::Bare, _) if network && spec.network.mode == NetworkMode::Hosts => {
            (Status::Absent, format!("{SHARED}: {lost}"))
        }
        (Rung::Bare, _) => (Status::Absent, format!("{}: {lost}", without(layer))),
    }
}

/// What it means to reach named hosts from the host's own network.
const SHARED: &str = "the network is the host's, closed by seccomp and Landlock but for the broker's port; \
                      clients that take no proxy find no host";

/// What the loss of a namespace means, where it is more than the loss of the isolation itself.
const LOSSES: [(Layer, &str); 4] = [
    (
        Layer::MountNamespace,
        "files outside the grants can be seen by name (not read), their metadata changed by their owner; \
         unix sockets are closed by seccomp only, if none was granted; the private /tmp is a directory of the host's, its size watched, not held",
    ),
    (Layer::PidNamespace, "other processes can be seen, and the tree is killed by sweeping /proc"),
    (
        Layer::NetworkNamespace,
        "the network is closed by seccomp and Landlock only; there is no loopback",
    ),
    (Layer::IpcNamespace, "System V IPC is closed by seccomp only"),
];

fn without(layer: Layer) -> &'static str {
    LOSSES.iter().find(|(lost, _)| *lost == layer).map_or("not isolated", |(_, meaning)| meaning)
}

fn identity_status(
    layer: Layer,
    machine: &Machine,
    rung: Rung,
    dedicated: bool,
) -> (Status, String) {
    match (dedicated, rung, layer) {
        (true, Rung::Bare, Layer::IdMappedMounts) => (
            Status::Absent,
            "no mount namespace: a grant is usable only as far as its mode allows others"
                .to_owned(),
        ),
        (true, _, _) => enforced(),
        (false, Rung::Root | Rung::Bare, Layer::DedicatedUser) if machine.uid == 0 => (
            Status::Absent,
            "no other user id is mapped into this container: it keeps the launcher's".to_owned(),
        ),
        (false, Rung::Root | Rung::Bare, _) if machine.uid == 0 => {
            (Status::NotWanted, "there is no dedicated user to map to".to_owned())
        }
        (false, _, _) if machine.uid == 0 => {
            (Status::NotWanted, "a user namespace stands in for it".to_owned())
        }
        (false, _, _) => {
            (Status::NotWanted, "the launcher is not root: its own user is kept".to_owned())
        }
    }
}

fn cgroup_status(machine: &Machine, rung: Rung) -> (Status, String) {
    match (&machine.cgroup, rung) {
        (Some(_), _) => enforced(),
        (None, Rung::Root | Rung::User) => (
            Status::NotWanted,
            "no usable cgroup v2 here to kill by; the tree dies with its pid namespace".to_owned(),
        ),
        (None, Rung::Bare) => (
            Status::Absent,
            "no usable cgroup v2 here to kill by; the tree is killed by sweeping /proc".to_owned(),
        ),
    }
}

/// Who holds which limit, if everything succeeds.
pub(super) fn held(spec: &Spec, machine: &Machine, rung: Rung, dedicated: bool) -> Vec<Held> {
    let limits = &spec.limits;
    let unheld = Unheld::of(machine, rung, dedicated);
    let tree = |controller, otherwise| machine.holder(controller).or(otherwise);
    let by_count = if unheld.processes { Holder::Watchdog } else { Holder::Rlimit };
    let at_tmp = match (spec.level, rung) {
        (Level::None, _) => None,
        (_, Rung::Bare) => Some(Holder::Watchdog),
        (_, Rung::Root | Rung::User) => Some(Holder::Mount),
    };
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let all = [
        (Limit::Memory, limits.memory, tree(Controller::Memory, Some(Holder::Watchdog))),
        (Limit::Processes, limits.pids, tree(Controller::Pids, Some(by_count))),
        (Limit::CpuRate, limits.cpu_milli, tree(Controller::Cpu, None)),
        (Limit::CpuTime, limits.cpu_time.map(millis), Some(Holder::Rlimit)),
        (Limit::Wall, limits.wall.map(millis), Some(Holder::Timer)),
        (Limit::FileSize, limits.file_size, Some(Holder::Rlimit)),
        (Limit::OpenFiles, limits.open_files, Some(Holder::Rlimit)),
        (Limit::Disk, Some(limits.tmp_size), at_tmp),
    ];
    let asked =
        all.into_iter().filter_map(|(limit, value, by)| Some(Held { limit, value: value?, by }));
    asked.collect()
}

fn rlimit_status(spec: &Spec, machine: &Machine, rung: Rung, dedicated: bool) -> (Status, String) {
    let limits = &spec.limits;
    let unheld = Unheld::of(machine, rung, dedicated);
    let gaps: Vec<&str> = [
        (limits.memory.is_some() && unheld.memory).then_some(
            "memory of the whole tree is watched, not held: it is looked at every 100 ms (less often at rest), \
             a burst may pass the limit in between, and what only the kernel holds (sockets, pipes) is not seen; \
             each process by itself is held to it without what it shares (RLIMIT_DATA)",
        ),
        (limits.pids.is_some() && unheld.processes).then_some(
            "the number of processes is watched, not held: it is looked at every 100 ms, a burst may pass the \
             limit in between",
        ),
        (limits.cpu_milli.is_some() && machine.holder(Controller::Cpu).is_none())
            .then_some("the CPU rate is not limited (no cgroup controller)"),
    ]
    .into_iter()
    .flatten()
    .collect();
    if gaps.is_empty() { enforced() } else { (Status::Partial, gaps.join("; ")) }
}

fn landlock_files(abi: u32) -> (Status, String) {
    match abi {
        0 => no_landlock(),
        1 | 2 => (
            Status::Partial,
            format!("ABI {abi}: truncating a file that is readable is not restricted"),
        ),
        3 | 4 => (Status::Partial, format!("ABI {abi}: ioctl on device files is not restricted")),
        _ => enforced(),
    }
}

fn landlock_network(spec: &Spec, rung: Rung, abi: u32) -> (Status, String) {
    let network = &spec.network;
    match (network.mode, abi) {
        (NetworkMode::Hosts, 4..) if rung == Rung::Bare => {
            let why = "held to the broker's port, not to the broker: whatever listens on that port of \
                       any host can be reached";
            (Status::Partial, why.to_owned())
        }
        (NetworkMode::Hosts, _) if rung != Rung::Bare => {
            let why = "the way out of its empty network is the broker, which holds hosts and ports";
            (Status::NotWanted, why.to_owned())
        }
        (NetworkMode::Loopback | NetworkMode::Full, _) => {
            (Status::NotWanted, "TCP ports are not restricted in this network mode".to_owned())
        }
        (_, 0) => no_landlock(),
        (_, 1..=3) => (Status::Absent, format!("ABI {abi} has no TCP rules (needs 4, Linux 6.7)")),
        _ => enforced(),
    }
}

fn landlock_scopes(abi: u32) -> (Status, String) {
    match abi {
        0 => no_landlock(),
        1..=5 => (Status::Absent, format!("ABI {abi} has no scopes (needs 6, Linux 6.12)")),
        _ => enforced(),
    }
}

/// The kernel that first had this ABI.
pub(crate) fn landlock_since(abi: u32) -> &'static str {
    match abi {
        0 | 1 => "5.13",
        2 => "5.19",
        3 => "6.2",
        4 => "6.7",
        5 => "6.10",
        _ => "6.12",
    }
}

fn no_landlock() -> (Status, String) {
    let why = "this kernel has no Landlock, or it is switched off (boot with lsm=landlock,…)";
    (Status::Absent, why.to_owned())
}

fn enforced() -> (Status, String) {
    (Status::Enforced, String::new())
}
