//! How a protection that does not hold here can be had: the setting, command or kernel that gives it.
//!
//! Advice for people, made only when it is needed: for a refusal, and by the doctor. What to say is
//! decided by pure functions; [`Situation::read`] is the look at the machine.

use std::{fs, path::Path};

use crate::{
    enforcement::{Layer, Status},
    limit::Limit,
    machine::Machine,
    plan::landlock_since,
    protection::{Grade, Hold, Protection},
    spec::{Level, NetworkMode, Spec},
};

/// What of this machine says why something is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Situation {
    /// Whether we are root here.
    pub root: bool,
    /// Landlock's ABI version; 0 when absent.
    pub landlock_abi: u32,
    /// The kernel's release; empty when unknown.
    pub release: String,
    /// The security modules in use; empty when they cannot be listed.
    pub modules: String,
    /// AppArmor takes from user namespaces what makes them useful (Ubuntu 23.10 and later).
    pub apparmor: bool,
    /// No more user namespaces may be made.
    pub none_allowed: bool,
    /// Only root may make user namespaces (Debian's and Arch's switch).
    pub unprivileged_refused: bool,
    /// The container around us.
    pub container: Option<Container>,
    /// A system call filter is around us.
    pub filtered: bool,
    /// systemd runs here.
    pub systemd: bool,
}

/// Whose container we are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// Docker's.
    Docker,
    /// Podman's.
    Podman,
    /// Of Kubernetes.
    Kubernetes,
}

impl Situation {
    /// Looks at the machine.
    #[must_use]
    pub fn read(machine: &Machine) -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let status = text("/proc/self/status");
        let filters = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        Self {
            root: machine.uid == 0,
            landlock_abi: machine.landlock_abi,
            release: text("/proc/sys/kernel/osrelease"),
            modules: text("/sys/kernel/security/lsm"),
            apparmor: text("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1",
            none_allowed: text("/proc/sys/user/max_user_namespaces") == "0",
            unprivileged_refused: text("/proc/sys/kernel/unprivileged_userns_clone") == "0",
            container: container(),
            filtered: filters.is_some_and(|mode| mode.trim() == "2"),
            systemd: Path::new("/run/systemd/system").exists(),
        }
    }
}

fn container() -> Option<Container> {
    let exists = |path: &str| Path::new(path).exists();
    if exists("/var/run/secrets/kubernetes.io") {
        Some(Container::Kubernetes)
    } else if exists("/run/.containerenv") {
        Some(Container::Podman)
    } else {
        exists("/.dockerenv").then_some(Container::Docker)
    }
}

/// What gives a protection that does not hold whole, each an alternative of its own. Empty where nothing
/// is known to help.
#[must_use]
pub fn of_grade(grade: &Grade, spec: &Spec, situation: &Situation) -> Vec<String> {
    let protection = grade.protection;
    match grade.hold {
        Hold::Enforced => Vec::new(),
        Hold::Off => off(protection, spec),
        Hold::Degraded | Hold::Absent => lost(protection, spec, situation),
    }
}

/// What gives a layer that is missing.
#[must_use]
pub fn of_layer(layer: Layer, status: Status, situation: &Situation) -> Vec<String> {
    if matches!(status, Status::Enforced | Status::NotWanted) {
        return Vec::new();
    }
    match layer {
        Layer::UserNamespace
        | Layer::PidNamespace
        | Layer::MountNamespace
        | Layer::NetworkNamespace
        | Layer::IpcNamespace
        | Layer::UtsNamespace
        | Layer::CgroupNamespace
        | Layer::IdMappedMounts => namespaces(situation),
        Layer::LandlockFiles => landlock(situation, 5),
        Layer::LandlockNetwork => landlock(situation, 4),
        Layer::LandlockScopes => landlock(situation, 6),
        Layer::Cgroup | Layer::Rlimits => controllers(situation),
        Layer::Environment
        | Layer::DedicatedUser
        | Layer::Capabilities
        | Layer::ProcessHygiene
        | Layer::NoNewPrivileges
        | Layer::Seccomp => Vec::new(),
    }
}

fn lost(protection: Protection, spec: &Spec, situation: &Situation) -> Vec<String> {
    if spec.level == Level::None && !matches!(protection, Protection::Limit(_)) {
        return vec!["a level that seals: --level standard".to_owned()];
    }
    match protection {
        Protection::FilesRead | Protection::FilesWrite => landlock(situation, 5),
        Protection::FilesMetadata => {
            let mut ways = namespaces(situation);
            ways.push("`--require files.metadata`: nobody changes any, granted or not".to_owned());
            ways
        }
        Protection::SocketsUnix if !spec.unix_sockets.is_empty() => {
            let mut ways = namespaces(situation);
            ways.push("grant no unix socket: all are closed then".to_owned());
            ways
        }
        Protection::FilesNames
        | Protection::SocketsUnix
        | Protection::Processes
        | Protection::Lifetime
        | Protection::Ipc
        | Protection::Limit(Limit::Disk) => namespaces(situation),
        Protection::SocketsAbstract => [landlock(situation, 6), namespaces(situation)].concat(),
        Protection::Network if spec.network.mode == NetworkMode::Ports => landlock(situation, 4),
        Protection::Network => namespaces(situation),
        Protection::Limit(Limit::Memory | Limit::Processes | Limit::CpuRate) => {
            controllers(situation)
        }
        Protection::Privileges
        | Protection::SystemCalls
        | Protection::Environment
        | Protection::Descriptors
        | Protection::Limit(
            Limit::CpuTime | Limit::Wall | Limit::FileSize | Limit::OpenFiles | Limit::Output,
        ) => Vec::new(),
    }
}

/// What was granted or not asked for: the words that change that.
fn off(protection: Protection, spec: &Spec) -> Vec<String> {
    if spec.is_off(protection) {
        return vec![format!("do not switch `{protection}` off")];
    }
    let flag = match protection {
        Protection::Network => "grant less of the network",
        Protection::FilesRead
        | Protection::FilesWrite
        | Protection::FilesNames
        | Protection::FilesMetadata
        | Protection::SocketsUnix => "grant less than `/`",
        Protection::Limit(Limit::Memory) => "give the limit: --memory SIZE",
        Protection::Limit(Limit::Processes) => "give the limit: --pids N",
        Protection::Limit(Limit::CpuRate) => "give the limit: --cpu CORES",
        Protection::Limit(Limit::CpuTime) => "give the limit: --cpu-time DURATION",
        Protection::Limit(Limit::Wall) => "give the limit: --wall DURATION",
        Protection::Limit(Limit::FileSize) => "give the limit: --file-size SIZE",
        Protection::Limit(Limit::OpenFiles) => "give the limit: --open-files N",
        Protection::Limit(Limit::Output) => "give the limit: --max-output SIZE",
        Protection::Limit(Limit::Disk)
        | Protection::SocketsAbstract
        | Protection::Processes
        | Protection::Ipc
        | Protection::Privileges
        | Protection::SystemCalls
        | Protection::Environment
        | Protection::Descriptors
        | Protection::Lifetime => return Vec::new(),
    };
    vec![flag.to_owned()]
}

/// What gives namespaces.
pub fn namespaces(situation: &Situation) -> Vec<String> {
    let mut ways = Vec::new();
    let mut way = |wanted: bool, text: &str| ways.extend(wanted.then(|| text.to_owned()));
    way(
        situation.apparmor && !situation.root,
        "`sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` as root, or an AppArmor profile for \
         plugbay with `userns,`",
    );
    way(situation.none_allowed, "`sysctl -w user.max_user_namespaces=15000` as root");
    way(
        situation.unprivileged_refused && !situation.root,
        "`sysctl -w kernel.unprivileged_userns_clone=1` as root",
    );
    way(
        situation.container == Some(Container::Docker),
        "`docker run --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
         --security-opt systempaths=unconfined`",
    );
    way(
        situation.container == Some(Container::Podman),
        "`podman run --security-opt seccomp=unconfined --security-opt unmask=ALL`",
    );
    way(
        situation.container == Some(Container::Kubernetes),
        "`securityContext: {seccompProfile: {type: Unconfined}, procMount: Unmasked}` and `hostUsers: false` \
         in the pod",
    );
    way(
        situation.filtered && situation.container.is_none(),
        "start it outside of the system call filter that is around it",
    );
    way(!situation.root && ways_are_few(situation), "start it as root");
    ways
}

/// Whether nothing of what usually stands in the way of namespaces was found.
fn ways_are_few(situation: &Situation) -> bool {
    let Situation { apparmor, none_allowed, unprivileged_refused, .. } = *situation;
    !(apparmor || none_allowed || unprivileged_refused) && situation.container.is_none()
}

/// What gives Landlock at this ABI.
pub fn landlock(situation: &Situation, abi: u32) -> Vec<String> {
    let needed = landlock_since(abi);
    if situation.landlock_abi >= abi {
        // It is there and does not hold: something around us answers for it.
        return vec!["start it outside of the system call filter that is around it".to_owned()];
    }
    if situation.landlock_abi > 0 {
        return vec![format!("Linux {needed} or newer, whose Landlock has ABI {abi}")];
    }
    let listed = situation.modules.split(',').any(|module| module == "landlock");
    if listed && situation.container == Some(Container::Docker) {
        return vec![
            "a newer Docker, whose filter knows Landlock, or `docker run --security-opt seccomp=unconfined`"
                .to_owned(),
        ];
    }
    if listed {
        return vec!["start it outside of the system call filter that is around it".to_owned()];
    }
    let mut ways = Vec::new();
    if situation.filtered {
        ways.push("start it outside of the system call filter that is around it".to_owned());
    }
    let others = &situation.modules;
    let line = if others.is_empty() {
        "lsm=landlock,…".to_owned()
    } else {
        format!("lsm=landlock,{others}")
    };
    ways.push(format!("Linux {needed} or newer, booted with `{line}`"));
    ways
}

/// What gives controllers that hold limits of a whole tree.
pub fn controllers(situation: &Situation) -> Vec<String> {
    let Situation { root, container, systemd, .. } = *situation;
    let mut ways = Vec::new();
    match container {
        Some(Container::Docker) => ways.push(
            "`docker run --cgroupns=private --privileged`, or limits of the container itself (`--memory`, \
             `--pids-limit`, `--cpus`)"
                .to_owned(),
        ),
        Some(Container::Podman) => ways.push(
            "`podman run --cgroupns=private --security-opt unmask=/sys/fs/cgroup`, or limits of the container \
             itself (`--memory`, `--pids-limit`, `--cpus`)"
                .to_owned(),
        ),
        Some(Container::Kubernetes) => {
            ways.push("`resources: {limits: …}` of the container itself".to_owned());
        }
        None => {}
    }
    match (systemd, root) {
        (true, true) => ways.push("`systemd-run --scope -p Delegate=yes plugbay …`".to_owned()),
        (true, false) => ways.extend([
            "`systemd-run --user --scope -p Delegate=yes plugbay …`".to_owned(),
            "for a service: `Delegate=yes` in its unit, and `loginctl enable-linger` for its user".to_owned(),
        ]),
        (false, true) if container.is_none() => {
            ways.push("`mount -t cgroup2 none /sys/fs/cgroup`".to_owned());
        }
        (false, false) if container.is_none() => ways.push(
            "a cgroup v2 directory that root has made and given to its user (`chown`), with plugbay in it"
                .to_owned(),
        ),
        (false, _) => {}
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grade(protection: Protection, hold: Hold) -> Grade {
        Grade { protection, hold, by: Vec::new(), consequence: String::new() }
    }

    fn ways(protection: Protection, situation: &Situation) -> String {
        of_grade(&grade(protection, Hold::Absent), &Spec::new("/x"), situation).join("\n")
    }

    fn user() -> Situation {
        Situation { landlock_abi: 7, ..Situation::default() }
    }

    #[test]
    fn namespaces_are_had_by_the_switch_that_refuses_them() {
        let of = |situation| ways(Protection::Processes, &situation);
        assert!(of(Situation { apparmor: true, ..user() }).contains("apparmor_restrict"));
        assert!(of(Situation { none_allowed: true, ..user() }).contains("max_user_namespaces"));
        let debian = Situation { unprivileged_refused: true, ..user() };
        assert!(of(debian.clone()).contains("unprivileged_userns_clone"));
        assert!(
            !of(Situation { root: true, ..debian }).contains("userns_clone"),
            "root needs none"
        );
        let docker = Situation { container: Some(Container::Docker), ..user() };
        assert!(of(docker).contains("docker run --security-opt"));
        assert!(of(user()).contains("as root"));
    }

    #[test]
    fn landlock_is_had_by_a_boot_line_or_a_kernel() {
        let of = |situation| ways(Protection::FilesRead, &situation);
        let off =
            Situation { modules: "capability,yama,apparmor".to_owned(), ..Situation::default() };
        assert!(of(off).contains("lsm=landlock,capability,yama,apparmor"));
        let old = Situation { landlock_abi: 3, ..Situation::default() };
        assert!(of(old).contains("Linux 6.10 or newer"), "an ABI too old");
        assert!(of(user()).contains("filter that is around it"), "there, and does not hold");
        let masked =
            Situation { modules: "landlock".to_owned(), filtered: true, ..Situation::default() };
        assert_eq!(of(masked), "start it outside of the system call filter that is around it");
    }

    #[test]
    fn limits_are_had_by_delegation_or_by_giving_them() {
        let memory = Protection::Limit(Limit::Memory);
        let systemd = Situation { systemd: true, ..user() };
        assert!(ways(memory, &systemd).contains("systemd-run --user"));
        assert!(ways(memory, &systemd).contains("enable-linger"));
        let given = of_grade(&grade(memory, Hold::Off), &Spec::new("/x"), &user());
        assert_eq!(given, ["give the limit: --memory SIZE"]);
    }

    #[test]
    fn what_holds_needs_no_remedy() {
        for protection in Protection::ALL {
            let whole = grade(protection, Hold::Enforced);
            assert!(of_grade(&whole, &Spec::new("/x"), &user()).is_empty());
        }
    }
}
