//! What each layer is good for, shown: an attack that it alone holds off, and that comes through when it
//! is switched off. Layers that stop the same are switched off together, so that one is alone.

use std::{
    fs::File,
    io::{self, Read as _},
    os::fd::OwnedFd,
};

use plugbay_sandbox::{Launcher, Layer, Spec, Status, Stdio, TreeKill};
use serde::Serialize;

use super::{
    PATIENCE,
    door::{Ran, Unsealed},
    row::{Row, catalogue},
    table_calls::secrets,
};
use crate::chaos::clock::{Within, polled};

/// An attack that shows what a layer is good for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need {
    /// The layer.
    pub(crate) layer: Layer,
    number: u32,
    pub(crate) title: &'static str,
    /// Layers that would stop it as well.
    pub(crate) besides: &'static [Layer],
}

const fn need(layer: Layer, number: u32, title: &'static str, besides: &'static [Layer]) -> Need {
    Need { layer, number, title, besides }
}

/// One for each layer, in their order.
pub(crate) const NEEDS: [Need; 19] = [
    need(Layer::Environment, 58, "secrets in environments", &[]),
    need(Layer::Cgroup, 23, "stay when the program has ended", &[Layer::PidNamespace]),
    need(Layer::UserNamespace, 8, "stat, readlink, chdir, watch outside", &[]),
    need(
        Layer::PidNamespace,
        17,
        "signal supervisor, victim, sibling, everybody",
        &[Layer::LandlockScopes, Layer::DedicatedUser, Layer::IdMappedMounts],
    ),
    need(Layer::MountNamespace, 8, "stat, readlink, chdir, watch outside", &[]),
    need(Layer::NetworkNamespace, 46, "connect to the host, own loopback", &[]),
    need(Layer::IpcNamespace, 52, "System V queues and memory", &[]),
    need(Layer::UtsNamespace, 8, "learn the name of the host", &[]),
    need(Layer::CgroupNamespace, 8, "learn the place among the host's cgroups", &[]),
    need(Layer::IdMappedMounts, 15, "leave files that nobody of the host owns", &[]),
    need(
        Layer::DedicatedUser,
        1,
        "read a granted file that its mode closes",
        &[Layer::Capabilities],
    ),
    need(
        Layer::Capabilities,
        1,
        "read a granted file that its mode closes",
        &[Layer::DedicatedUser, Layer::IdMappedMounts],
    ),
    need(Layer::Rlimits, 61, "open descriptors without end", &[]),
    need(Layer::ProcessHygiene, 57, "descriptors that the host left open", &[]),
    need(
        Layer::NoNewPrivileges,
        28,
        "gain rights by a setuid program",
        // The view mounts without setuid, and the others cannot be had without this one.
        &[
            Layer::MountNamespace,
            Layer::LandlockFiles,
            Layer::LandlockNetwork,
            Layer::LandlockScopes,
            Layer::Seccomp,
        ],
    ),
    need(Layer::LandlockFiles, 1, "read a file that was not granted", &[Layer::MountNamespace]),
    need(Layer::LandlockNetwork, 46, "connect to a port that was not granted", &[]),
    need(Layer::LandlockScopes, 52, "abstract sockets, full network", &[]),
    need(Layer::Seccomp, 35, "the keyrings of the user", &[]),
];

impl Need {
    /// The attack.
    pub(crate) fn row(&self) -> Option<&'static Row> {
        let mut rows = catalogue().into_iter();
        rows.find(|row| row.number == self.number && row.title == self.title)
    }
}

/// What was shown of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Shown {
    /// The attack failed with it and came through without it.
    Needed,
    /// This machine or user does not have the layer, or nothing to attack with.
    Skipped,
    /// One of the two was not so.
    Broken,
}

/// The same, in full.
#[derive(Debug, Serialize)]
pub(crate) struct Weighed {
    pub(crate) layer: Layer,
    pub(crate) outcome: Shown,
    /// The attack's number and name.
    pub(crate) number: u32,
    pub(crate) title: &'static str,
    /// What was switched off too.
    pub(crate) besides: &'static [Layer],
    /// What became of it while the layer held, or why nothing was shown.
    pub(crate) with: String,
    /// What came through without it.
    pub(crate) without: String,
}

impl Weighed {
    pub(crate) fn of(need: &Need, outcome: Shown, with: String, without: String) -> Self {
        let Need { layer, number, title, besides } = *need;
        Self { layer, outcome, number, title, besides, with, without }
    }
}

/// Runs a spec by a launcher of our own that leaves these layers out. No keeper can be asked for that.
pub(crate) fn run(mut spec: Spec, off: &[Layer]) -> Result<Ran, Unsealed> {
    if off.contains(&Layer::Environment) {
        // Whoever makes a spec scrubs; nobody does so here.
        spec.env = secrets();
    }
    let mut launcher = Launcher::new().map_err(io::Error::other)?;
    launcher.switch_off(off);
    let (mut heard, said) = io::pipe()?;
    let null = || File::options().read(true).write(true).open("/dev/null").map(OwnedFd::from);
    let stdio = Stdio { input: null()?, output: said.into(), error: null()? };
    let child = launcher.start(spec, stdio).map_err(|why| Unsealed::Refused(why.to_string()))?;
    let mut output = String::new();
    heard.read_to_string(&mut output)?;
    let enforcement = child.enforcement().clone();
    if !Within::of(PATIENCE).readable(&mut [polled(child.tree())]) {
        child.kill();
        return Err(io::Error::other("it did not end in time").into());
    }
    // What has left the tree is reached by its cgroup, if it has one.
    child.kill();
    let exit = child.finish();
    Ok(Ran { output, errors: String::new(), exit, enforcement, denied: Vec::new() })
}

/// Why nothing can be shown of a layer that was not even there, if it was not.
pub(crate) fn lacking(layer: Layer, ran: &Ran) -> Option<String> {
    let report = ran.enforcement.layer(layer)?;
    let there = matches!(report.status, Status::Enforced | Status::Partial);
    (!there).then(|| format!("not here: {}", report.why))
}

/// What stands behind a layer on every rung that has no namespaces, and cannot be left out.
pub(crate) fn behind(layer: Layer, ran: &Ran) -> Option<&'static str> {
    let swept = layer == Layer::Cgroup && ran.enforcement.tree_kill == TreeKill::Sweep;
    swept.then_some("without namespaces the tree is killed by sweeping /proc as well")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::row::Expect;

    /// What stands behind `docs/threat-model.md`.
    const DOCUMENT: &str = include_str!("../../../docs/threat-model.md");

    #[test]
    fn every_layer_has_its_attack_and_the_attack_a_row() {
        assert_eq!(NEEDS.map(|need| need.layer), Layer::ALL);
        for need in NEEDS {
            let row = need.row().unwrap_or_else(|| panic!("no row of {}", need.layer));
            if let Expect::Denied { by, .. } = &row.expect
                && need.layer != Layer::UserNamespace
            {
                assert!(by.contains(&need.layer), "{}: {by:?}", need.layer);
            }
        }
    }

    #[test]
    fn the_threat_model_names_the_attack_of_each_layer() {
        for need in NEEDS {
            let start = format!("| `{}` |", need.layer);
            let line = DOCUMENT.lines().find(|line| line.starts_with(&start));
            let line = line.unwrap_or_else(|| panic!("no line of {}", need.layer));
            let end = format!("| {} {} |", need.number, need.title);
            assert!(line.ends_with(&end), "{}: should end with {end}", need.layer);
        }
    }

    #[test]
    fn what_the_threat_model_calls_a_row_is_one() {
        let rows = catalogue();
        for line in DOCUMENT.lines().filter(|line| line.starts_with("| ")) {
            let last = line.trim_end_matches(" |").rsplit_once("| ").map_or("", |(_, last)| last);
            let Some((number, title)) = last.split_once(' ') else { continue };
            let Ok(number) = number.parse::<u32>() else { continue };
            assert!(rows.iter().any(|row| row.number == number && row.title == title), "{last}");
        }
    }
}
