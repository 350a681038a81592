//! What this kernel gives this user, found by trying it: the yardstick for the sandbox's own report. It
//! is measured without the sandbox, so that one which falls to a lower rung for no reason is noticed.

use std::io;

use plugbay_sandbox::Layer;
use serde::Serialize;

use super::{ground::Ground, judge};

/// What the kernel offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Offer {
    /// Whether new namespaces can be made and used.
    pub(crate) namespaces: bool,
    /// Landlock's version; 0 when absent.
    pub(crate) landlock: u32,
    /// Whether system calls can be filtered.
    pub(crate) seccomp: bool,
    /// What is left out on purpose.
    #[serde(skip)]
    off: Vec<Layer>,
}

impl Offer {
    /// Tries it out as a launcher of this user would.
    pub(crate) fn of(ground: &Ground) -> io::Result<Self> {
        let output = ground.unsealed("offers").output()?;
        let said =
            judge::lines(&String::from_utf8_lossy(&output.stdout)).map_err(io::Error::other)?;
        let told = |step: &str| -> io::Result<u32> {
            let line = said.iter().find(|line| line.step == step);
            let detail = line.and_then(|line| line.detail.parse().ok());
            detail.ok_or_else(|| io::Error::other(format!("the probe does not tell of `{step}`")))
        };
        Ok(Self {
            namespaces: told("namespaces")? == 1,
            landlock: told("landlock")?,
            seccomp: told("seccomp")? == 1,
            off: Vec::new(),
        })
    }

    /// The same with layers left out on purpose.
    pub(crate) fn without(&self, off: &[Layer]) -> Self {
        Self { off: off.to_vec(), ..self.clone() }
    }

    /// Whether a layer can be enforced whole. What every Linux has is always offered.
    pub(crate) fn has(&self, layer: Layer) -> bool {
        if self.off.contains(&layer) {
            return false;
        }
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
}
