//! Layers that are left out on purpose, to see which attacks come through without them. Pure.
//!
//! No spec, file, variable or message can ask for it: only a program that calls
//! [`crate::Launcher::switch_off`], and what it starts says so in its report.

use std::collections::BTreeSet;

use super::{LandlockPlan, Plan, Rights, Unheld, host_rules};
use crate::{
    enforcement::{Layer, Status},
    machine::Machine,
    plan::Identity,
    spec::Spec,
};

/// What the report says of a layer that was left out.
pub(crate) const SWITCHED_OFF: &str =
    "switched off on purpose, to see what comes through without it";

/// Which layers are left out; none, unless somebody asks for it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Off(BTreeSet<Layer>);

impl Off {
    pub(crate) fn of(layers: &[Layer]) -> Self {
        Self(layers.iter().copied().collect())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn has(&self, layer: Layer) -> bool {
        self.0.contains(&layer)
    }
}

/// The namespaces by the layers that they are.
const NAMESPACES: [(Layer, i32); 6] = [
    (Layer::PidNamespace, libc::CLONE_NEWPID),
    (Layer::MountNamespace, libc::CLONE_NEWNS),
    (Layer::NetworkNamespace, libc::CLONE_NEWNET),
    (Layer::IpcNamespace, libc::CLONE_NEWIPC),
    (Layer::UtsNamespace, libc::CLONE_NEWUTS),
    (Layer::CgroupNamespace, libc::CLONE_NEWCGROUP),
];

impl Plan {
    /// The same plan without these layers, and a report that says so.
    pub(crate) fn without(mut self, off: &Off, spec: &Spec, machine: &Machine) -> Self {
        if off.is_empty() {
            return self;
        }
        for (layer, flag) in NAMESPACES {
            if off.has(layer) {
                self.namespaces &= !flag;
            }
        }
        self.loopback &= !off.has(Layer::NetworkNamespace);
        if off.has(Layer::NetworkNamespace) {
            // They would be the host's.
            self.inlets.clear();
        }
        if off.has(Layer::MountNamespace) && self.view.take().is_some() {
            self.private_tmp = true;
            if let Some(landlock) = &mut self.landlock {
                landlock.files = host_rules(spec, machine);
            }
        }
        if off.has(Layer::DedicatedUser) {
            self.identity = Identity::Launcher;
        }
        if off.has(Layer::Rlimits) {
            self.rlimits.clear();
            self.unheld = Unheld { memory: false, processes: false };
        }
        self.landlock = self.landlock.and_then(|plan| open(plan, off));
        for report in self.expected.iter_mut().filter(|report| off.has(report.layer)) {
            report.status = Status::Absent;
            SWITCHED_OFF.clone_into(&mut report.why);
        }
        self.off = off.clone();
        self
    }

    /// Whether a layer is not left out on purpose.
    pub(crate) fn keeps(&self, layer: Layer) -> bool {
        !self.off.has(layer)
    }
}

/// What is left of a ruleset. Without file rules everything may be done below `/`.
fn open(mut plan: LandlockPlan, off: &Off) -> Option<LandlockPlan> {
    let parts = [Layer::LandlockFiles, Layer::LandlockNetwork, Layer::LandlockScopes];
    if parts.iter().all(|layer| off.has(*layer)) {
        return None;
    }
    if off.has(Layer::LandlockFiles) {
        plan.files = vec![("/".into(), Rights::Write)];
        plan.grants.clear();
    }
    plan.tcp = plan.tcp.filter(|_ports| !off.has(Layer::LandlockNetwork));
    plan.scopes &= !off.has(Layer::LandlockScopes);
    Some(plan)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Rung, plan};

    fn machine() -> Machine {
        Machine {
            uid: 0,
            gid: 0,
            admin: true,
            set_ids: true,
            landlock_abi: 7,
            base: Vec::new(),
            cgroup: None,
            classic: Vec::new(),
            disproved: Vec::new(),
        }
    }

    fn without(layers: &[Layer]) -> Plan {
        let spec = Spec::new("/bin/true");
        let whole = plan(&spec, &machine(), Rung::Root, "").unwrap();
        whole.without(&Off::of(layers), &spec, &machine())
    }

    #[test]
    fn nothing_is_left_out_unless_asked_for() {
        let spec = Spec::new("/bin/true");
        assert_eq!(without(&[]), plan(&spec, &machine(), Rung::Root, "").unwrap());
    }

    #[test]
    fn what_is_left_out_is_reported_and_nothing_else_is() {
        for layer in Layer::ALL {
            let changed = without(&[layer]);
            for (now, before) in changed.expected.iter().zip(&without(&[]).expected) {
                assert_eq!(now.why == SWITCHED_OFF, now.layer == layer);
                assert!(now.layer == layer || now == before, "{layer} changes {now:?}");
            }
            assert!(!changed.keeps(layer));
        }
    }

    #[test]
    fn parts_of_landlock_are_left_out_one_by_one() {
        let ports = without(&[Layer::LandlockNetwork]).landlock.unwrap();
        assert!(ports.tcp.is_none() && ports.scopes && ports.files.len() > 1);
        let all = [Layer::LandlockFiles, Layer::LandlockNetwork, Layer::LandlockScopes];
        assert!(without(&all).landlock.is_none());
    }
}
