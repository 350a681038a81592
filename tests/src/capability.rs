//! What this kernel offers in a setting, found by trying it: the yardstick for the reports.
//!
//! It is measured without the sandbox crate, so that a sandbox which falls to a lower rung for no
//! reason is noticed. A layer that the kernel lacks is skipped by the tests that need it, and said so;
//! `REQUIRE_LAYERS=all` (or a list of layer names) turns such a skip into a failure.

use plugbay_sandbox::Layer;

use crate::{
    binaries::{Binaries, PROBE, command},
    setting::Setting,
};

/// What the kernel offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Whether new namespaces can be made and used.
    pub namespaces: bool,
    /// Landlock's version; 0 when absent.
    pub landlock: u32,
    /// Whether system calls can be filtered.
    pub seccomp: bool,
}

impl Offer {
    /// Tries it out as a keeper in this setting would.
    #[must_use]
    pub fn of(binaries: &Binaries, setting: Setting) -> Self {
        let mut probe = command(&binaries.path("rung"));
        probe.args(setting.rung_options()).arg("--").arg(binaries.path("prober"));
        let output = probe.args(["prober", PROBE, "offers"]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let told = |step: &str| -> u32 {
            let mut lines = text
                .lines()
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let line = lines.find(|line| line.get("step").is_some_and(|known| known == step));
            let detail = line.and_then(|line| line.get("detail")?.as_str()?.parse().ok());
            detail.unwrap_or_else(|| panic!("the prober does not tell of `{step}`: {output:?}"))
        };
        Self {
            namespaces: told("namespaces") == 1,
            landlock: told("landlock"),
            seccomp: told("seccomp") == 1,
        }
    }

    /// Whether a layer can be enforced whole. What every Linux has is always offered.
    #[must_use]
    pub fn has(&self, layer: Layer) -> bool {
        match layer {
            Layer::PidNamespace
            | Layer::MountNamespace
            | Layer::NetworkNamespace
            | Layer::IpcNamespace
            | Layer::UtsNamespace
            | Layer::CgroupNamespace
            | Layer::UserNamespace
            | Layer::IdMappedMounts => self.namespaces,
            Layer::LandlockFiles => self.landlock >= 5,
            Layer::LandlockNetwork => self.landlock >= 4,
            Layer::LandlockScopes => self.landlock >= 6,
            Layer::Seccomp => self.seccomp,
            // Depends on what is delegated to us, which no kernel version says.
            Layer::Cgroup | Layer::Rlimits => false,
            Layer::Environment
            | Layer::DedicatedUser
            | Layer::Capabilities
            | Layer::ProcessHygiene
            | Layer::NoNewPrivileges => true,
        }
    }

    /// Whether a test that needs this layer can run. If not, says so, or fails where it is required.
    #[must_use]
    pub fn allows(&self, layer: Layer, setting: Setting) -> bool {
        if self.has(layer) {
            return true;
        }
        assert!(!requires(layer), "REQUIRE_LAYERS asks for {layer}, which this kernel lacks");
        println!("skipped ({}): kernel lacks {layer}", setting.name());
        false
    }
}

/// Whether `REQUIRE_LAYERS` names this layer. `all` are those that a kernel offers or lacks; what hangs
/// on delegated cgroups (`cgroup`, and `rlimits` as a whole) must be named to be required.
#[must_use]
pub fn requires(layer: Layer) -> bool {
    let wanted = std::env::var_os("REQUIRE_LAYERS").unwrap_or_default();
    let wanted = wanted.to_string_lossy().into_owned();
    let delegated = matches!(layer, Layer::Cgroup | Layer::Rlimits);
    wanted.split([',', ' ']).any(|name| name == layer.name() || (name == "all" && !delegated))
}
