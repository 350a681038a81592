//! From layers to protections: what the layers that hold mean for this very spec, in words. Pure, so
//! that the report before a start and the one after it are made by the same rules.

use std::path::Path;

use crate::{
    enforcement::{Layer, LayerReport, Status},
    limit::{Held, Holder, Limit},
    plan::{closes_attributes, closes_unix_sockets},
    protection::{Demand, Grade, Hold, Protection},
    spec::{Access, Level, NetworkMode, Spec},
};

/// One grade for each protection, but for limits that nobody asked for.
pub(crate) fn grades(spec: &Spec, layers: &[LayerReport], held: &[Held]) -> Vec<Grade> {
    let of = Grader { spec, layers, held };
    Protection::ALL.into_iter().filter_map(|protection| of.grade(protection)).collect()
}

struct Grader<'a> {
    spec: &'a Spec,
    layers: &'a [LayerReport],
    held: &'a [Held],
}

/// What it costs to close unix sockets without a view.
const NO_UNIX_SOCKETS: &str = "it cannot make unix sockets of its own but in pairs";

/// What it costs to keep attributes without a view.
const NO_ATTRIBUTES: &str = "it cannot change mode, times and attributes of any file";

/// How far, by which layers, and what is left open.
type Finding = (Hold, Vec<Layer>, String);

fn whole(by: &[Layer]) -> Finding {
    (Hold::Enforced, by.to_vec(), String::new())
}

fn part(by: &[Layer], consequence: impl Into<String>) -> Finding {
    (Hold::Degraded, by.to_vec(), consequence.into())
}

fn absent(consequence: impl Into<String>) -> Finding {
    (Hold::Absent, Vec::new(), consequence.into())
}

fn off(consequence: impl Into<String>) -> Finding {
    (Hold::Off, Vec::new(), consequence.into())
}

impl Grader<'_> {
    fn grade(&self, protection: Protection) -> Option<Grade> {
        let (hold, by, consequence) = match protection {
            Protection::FilesRead => self.files_read(),
            Protection::FilesWrite => self.files_write(),
            Protection::FilesNames => self.files_names(),
            Protection::FilesMetadata => self.files_metadata(),
            Protection::SocketsUnix => self.sockets_unix(),
            Protection::SocketsAbstract => self.sockets_abstract(),
            Protection::Network => self.network(),
            Protection::Processes => self.processes(),
            Protection::Ipc => self.ipc(),
            Protection::Privileges => self.privileges(),
            Protection::SystemCalls => self.system_calls(),
            Protection::Environment => {
                self.single(Layer::Environment, "it knows the host's whole environment")
            }
            Protection::Descriptors => {
                self.single(Layer::ProcessHygiene, "it has what its starter had open")
            }
            Protection::Lifetime => self.lifetime(),
            Protection::Limit(limit) => self.limit(limit)?,
        };
        Some(Grade { protection, hold, by, consequence })
    }

    fn status(&self, layer: Layer) -> Status {
        let found = self.layers.iter().find(|report| report.layer == layer);
        found.map_or(Status::Absent, |report| report.status)
    }

    fn why(&self, layer: Layer) -> &str {
        let found = self.layers.iter().find(|report| report.layer == layer);
        found.map_or("", |report| &report.why)
    }

    fn holds(&self, layer: Layer) -> bool {
        self.status(layer) == Status::Enforced
    }

    /// Those of `layers` that hold, at least in part.
    fn holding(&self, layers: &[Layer]) -> Vec<Layer> {
        let holds =
            |layer: &Layer| matches!(self.status(*layer), Status::Enforced | Status::Partial);
        layers.iter().copied().filter(holds).collect()
    }

    fn single(&self, layer: Layer, loss: &str) -> Finding {
        match self.status(layer) {
            Status::Enforced => whole(&[layer]),
            Status::Partial => part(&[layer], self.why(layer)),
            Status::Absent | Status::NotWanted => absent(loss),
        }
    }

    fn is_switched_off(&self, protection: Protection) -> bool {
        self.spec.demands.get(&protection) == Some(&Demand::Off)
    }

    /// What was granted of the root itself, that is of everything.
    fn root_grant(&self) -> Option<Access> {
        let roots = self.spec.files.iter().filter(|grant| grant.path == Path::new("/"));
        roots.map(|grant| grant.access).max()
    }

    /// Whether a view hides what was not granted. What it lacks here and there is no hole in it.
    fn has_view(&self) -> bool {
        matches!(self.status(Layer::MountNamespace), Status::Enforced | Status::Partial)
    }

    fn files_read(&self) -> Finding {
        let layers = [Layer::LandlockFiles, Layer::MountNamespace];
        if self.root_grant().is_some() {
            return off("`/` was granted: it can read every file that its user may read");
        }
        let by = self.holding(&layers);
        match (self.status(Layer::LandlockFiles), self.has_view()) {
            (Status::Enforced | Status::Partial, _) => whole(&by),
            (Status::Absent | Status::NotWanted, true) => part(&by, ONLY_THE_VIEW),
            (Status::Absent | Status::NotWanted, false) => {
                absent("it can read every file that its user may read, in the home directory too")
            }
        }
    }

    fn files_write(&self) -> Finding {
        let layers = [Layer::LandlockFiles, Layer::MountNamespace];
        if self.root_grant() == Some(Access::Write) {
            return off("`/` was granted: it can change every file that its user may change");
        }
        let by = self.holding(&layers);
        match (self.status(Layer::LandlockFiles), self.has_view()) {
            (Status::Enforced, _) | (Status::Partial, true) => whole(&by),
            (Status::Partial, false) => part(&by, self.why(Layer::LandlockFiles)),
            (Status::Absent | Status::NotWanted, true) => part(&by, ONLY_THE_VIEW),
            (Status::Absent | Status::NotWanted, false) => absent(
                "it can change and remove every file that its user may, in the home directory too",
            ),
        }
    }

    fn files_names(&self) -> Finding {
        if self.root_grant().is_some() {
            return off("`/` was granted, with every name in it");
        }
        if self.has_view() {
            return whole(&[Layer::MountNamespace]);
        }
        absent("it can see that files outside the grants exist, with name, size and date")
    }

    fn files_metadata(&self) -> Finding {
        if self.root_grant() == Some(Access::Write) {
            return off("`/` was granted for writing, with the modes and times of all files");
        }
        if self.has_view() {
            return whole(&[Layer::MountNamespace]);
        }
        if closes_attributes(self.spec) && self.holds(Layer::Seccomp) {
            return (Hold::Enforced, vec![Layer::Seccomp], NO_ATTRIBUTES.to_owned());
        }
        if self.holds(Layer::DedicatedUser) {
            let consequence =
                "it can set the times of files outside the grants that everybody may write";
            return part(&[Layer::DedicatedUser], consequence);
        }
        absent("it can change mode, times and attributes of its user's files outside the grants")
    }

    fn sockets_unix(&self) -> Finding {
        if self.root_grant().is_some() {
            return off("`/` was granted, with the sockets in it");
        }
        if self.has_view() {
            return whole(&[Layer::MountNamespace]);
        }
        if self.closes_unix_sockets() {
            return (Hold::Enforced, vec![Layer::Seccomp], NO_UNIX_SOCKETS.to_owned());
        }
        if self.holds(Layer::DedicatedUser) {
            let consequence =
                "it can reach unix sockets outside the grants that are open to everybody";
            return part(&[Layer::DedicatedUser], consequence);
        }
        absent("it can reach every unix socket that its user may (D-Bus, ssh-agent, Docker)")
    }

    /// Whether no unix socket can be made at all.
    fn closes_unix_sockets(&self) -> bool {
        !self.has_view() && closes_unix_sockets(self.spec) && self.holds(Layer::Seccomp)
    }

    fn sockets_abstract(&self) -> Finding {
        let mut by: Vec<Layer> = [Layer::NetworkNamespace, Layer::LandlockScopes]
            .into_iter()
            .filter(|layer| self.holds(*layer))
            .collect();
        by.extend(self.closes_unix_sockets().then_some(Layer::Seccomp));
        if by.is_empty() {
            return absent("it can reach every abstract unix socket of the host (X11, D-Bus)");
        }
        whole(&by)
    }

    fn network(&self) -> Finding {
        let network = &self.spec.network;
        match network.mode {
            NetworkMode::Full if self.is_switched_off(Protection::Network) => {
                off("switched off: it can reach every host and service, and be reached")
            }
            NetworkMode::Full => {
                off("the host's whole network was granted: it can reach every host and service")
            }
            NetworkMode::Ports => self.ports(),
            NetworkMode::Hosts => self.hosts(),
            NetworkMode::None | NetworkMode::Loopback => self.no_network(),
        }
    }

    /// Nothing of the host's network, though perhaps a loopback.
    fn no_network(&self) -> Finding {
        let layers = [Layer::NetworkNamespace, Layer::LandlockNetwork, Layer::Seccomp];
        let by = self.holding(&layers);
        if self.holds(Layer::NetworkNamespace) {
            return whole(&by);
        }
        let nothing = if self.spec.network.mode == NetworkMode::Loopback {
            "an own loopback takes a network namespace: it has no network"
        } else {
            ""
        };
        if self.holds(Layer::Seccomp) {
            return (Hold::Enforced, by, nothing.to_owned());
        }
        if self.holds(Layer::LandlockNetwork) {
            return part(&by, "it can send and receive everything but TCP");
        }
        absent("it can reach every host and service")
    }

    /// A broker: the one way out of an empty network, or the one port that is left of the host's.
    fn hosts(&self) -> Finding {
        let granted = self.spec.network.hosts.iter();
        let granted: Vec<String> = granted.map(|it| format!("{}:{}", it.host, it.port)).collect();
        let granted = format!("as granted, it can reach {}", granted.join(", "));
        let by = self.holding(&[Layer::NetworkNamespace, Layer::LandlockNetwork, Layer::Seccomp]);
        if self.holds(Layer::NetworkNamespace) {
            return (Hold::Enforced, by, granted);
        }
        let only_tcp = self.holds(Layer::Seccomp);
        match self.status(Layer::LandlockNetwork) {
            Status::Enforced | Status::Partial if only_tcp => {
                part(&by, format!("{granted}; and whatever listens on its broker's port anywhere"))
            }
            Status::Enforced | Status::Partial => {
                part(&by, "it can send and receive everything but TCP")
            }
            Status::Absent | Status::NotWanted if only_tcp => {
                absent("it can reach every host on every TCP port")
            }
            Status::Absent | Status::NotWanted => absent("it can reach every host and service"),
        }
    }

    fn ports(&self) -> Finding {
        let by = self.holding(&[Layer::LandlockNetwork, Layer::Seccomp]);
        let named: Vec<String> =
            self.spec.network.connect.iter().map(ToString::to_string).collect();
        let open = match &named[..] {
            [] => "no host".to_owned(),
            [port] => format!("any host on port {port}"),
            ports => format!("any host on the ports {}", ports.join(", ")),
        };
        let only_tcp = self.holds(Layer::Seccomp);
        match self.status(Layer::LandlockNetwork) {
            Status::Enforced | Status::Partial if !only_tcp => {
                part(&by, format!("it can reach {open}, and everything that is not TCP"))
            }
            Status::Enforced => (Hold::Enforced, by, format!("as granted, it can reach {open}")),
            Status::Partial => part(&by, format!("it can reach {open}, not only the named hosts")),
            Status::Absent | Status::NotWanted if only_tcp => {
                absent("it can reach every host on every TCP port, and listen on every port")
            }
            Status::Absent | Status::NotWanted => absent("it can reach every host and service"),
        }
    }

    fn processes(&self) -> Finding {
        if self.holds(Layer::PidNamespace) {
            return whole(&self.holding(&[
                Layer::PidNamespace,
                Layer::LandlockScopes,
                Layer::Seccomp,
            ]));
        }
        let seen = "it can see other processes and their command lines";
        let kept = [Layer::DedicatedUser, Layer::LandlockScopes];
        if kept.iter().any(|layer| self.holds(*layer)) {
            let by = self.holding(&[Layer::DedicatedUser, Layer::LandlockScopes, Layer::Seccomp]);
            return part(&by, format!("{seen}, not signal or trace them"));
        }
        absent(format!("{seen}, and signal those of its user"))
    }

    fn ipc(&self) -> Finding {
        let by = self.holding(&[Layer::IpcNamespace, Layer::Seccomp]);
        if by.is_empty() {
            return absent("it can reach shared memory, semaphores and queues of its user");
        }
        whole(&by)
    }

    fn privileges(&self) -> Finding {
        let layers = [Layer::NoNewPrivileges, Layer::Capabilities, Layer::DedicatedUser];
        let by = self.holding(&layers);
        if layers
            .iter()
            .all(|layer| matches!(self.status(*layer), Status::Enforced | Status::NotWanted))
        {
            return whole(&by);
        }
        if self.holds(Layer::NoNewPrivileges) && self.holds(Layer::Capabilities) {
            let told = "it stays root's user, without root's rights: what root owns of its grants is its own";
            return part(&by, told);
        }
        absent("it has all rights of its user, and gains more by set-uid programs")
    }

    fn system_calls(&self) -> Finding {
        if self.is_switched_off(Protection::SystemCalls) && self.spec.level != Level::None {
            return off(
                "switched off: it can use every system call, and so attack the kernel by each",
            );
        }
        self.single(
            Layer::Seccomp,
            "it can use every system call, and so attack the kernel by each",
        )
    }

    fn lifetime(&self) -> Finding {
        let by: Vec<Layer> = [Layer::Cgroup, Layer::PidNamespace]
            .into_iter()
            .filter(|layer| self.holds(*layer))
            .collect();
        if self.holds(Layer::PidNamespace) {
            return whole(&by);
        }
        let sweep = "a process that leaves its group and outruns the sweep of /proc lives on";
        if self.holds(Layer::Cgroup) {
            let killed = "if its starter is killed at once, what left its group may live on";
            return part(&by, killed);
        }
        part(&[Layer::ProcessHygiene], sweep)
    }

    fn limit(&self, limit: Limit) -> Option<Finding> {
        if self.is_switched_off(Protection::Limit(limit)) {
            return Some(off("switched off: only what the host allows its user"));
        }
        let held = self.held.iter().find(|held| held.limit == limit)?;
        let amount = limit.amount(held.value);
        Some(match held.by {
            None => absent(unheld(limit, &amount)),
            Some(Holder::Watchdog) => part(
                &[],
                format!("it can pass {amount} for a tenth of a second or more, then it is killed"),
            ),
            Some(Holder::CgroupV2 | Holder::CgroupV1) => whole(&[Layer::Cgroup]),
            Some(Holder::Rlimit) => whole(&[Layer::Rlimits]),
            Some(Holder::Mount) => whole(&[Layer::MountNamespace]),
            Some(Holder::Timer | Holder::Relay) => whole(&[]),
        })
    }
}

const ONLY_THE_VIEW: &str =
    "only the view hides what is not granted: a descriptor handed in from outside leads out of it";

fn unheld(limit: Limit, amount: &str) -> String {
    match limit {
        Limit::Memory => format!("it can use more memory than {amount}, as far as there is any"),
        Limit::Processes => format!("it can start more than {amount} processes"),
        Limit::CpuRate => format!("it can use more than {amount}, as many as are idle"),
        Limit::CpuTime => format!("it can use more processor time than {amount}"),
        Limit::Wall => format!("it can run longer than {amount}"),
        Limit::FileSize => format!("it can write files larger than {amount}"),
        Limit::OpenFiles => format!("it can open more than {amount} files"),
        Limit::Output => format!("it can write more than {amount} to its streams"),
        Limit::Disk => format!("it can fill the host's /tmp with more than {amount}"),
    }
}
