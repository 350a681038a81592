//! The plan is checked as a value: no process is started here.

use proptest::prelude::*;

use super::*;
use crate::spec::{FileGrant, HostGrant};

fn machine(uid: u32, admin: bool, landlock_abi: u32) -> Machine {
    Machine {
        uid,
        gid: uid,
        admin,
        set_ids: admin,
        landlock_abi,
        base: Vec::new(),
        cgroup: None,
        classic: Vec::new(),
    }
}

fn unlimited() -> Spec {
    let mut spec = Spec::new("/usr/bin/true");
    spec.limits.memory = None;
    spec
}

fn status(plan: &Plan, layer: Layer) -> Status {
    plan.expected.iter().find(|report| report.layer == layer).unwrap().status
}

#[test]
fn root_gets_a_dedicated_user_and_no_user_namespace() {
    let plan = plan(&unlimited(), &machine(0, true, 7), Rung::Root, "").unwrap();
    assert_eq!(plan.identity, Identity::Dedicated);
    assert_eq!(plan.namespaces & libc::CLONE_NEWUSER, 0);
    assert_eq!(status(&plan, Layer::DedicatedUser), Status::Enforced);
    assert_eq!(status(&plan, Layer::UserNamespace), Status::NotWanted);
}

#[test]
fn an_ordinary_user_gets_every_namespace_inside_a_user_namespace() {
    let plan = plan(&unlimited(), &machine(1000, false, 7), Rung::User, "").unwrap();
    for flag in [libc::CLONE_NEWUSER, libc::CLONE_NEWNET, libc::CLONE_NEWPID, libc::CLONE_NEWNS] {
        assert_ne!(plan.namespaces & flag, 0);
    }
}

#[test]
fn without_namespaces_the_report_names_the_loss() {
    let plan = plan(&unlimited(), &machine(1000, false, 7), Rung::Bare, "clone: EPERM").unwrap();
    let report = plan.expected.iter().find(|report| report.layer == Layer::MountNamespace).unwrap();
    assert_eq!(report.status, Status::Absent);
    assert!(
        report.why.contains("clone: EPERM") && report.why.contains("unix sockets"),
        "{}",
        report.why
    );
    assert!(plan.view.is_none() && plan.private_tmp);
}

#[test]
fn standard_refuses_to_start_without_landlock_and_none_does_not() {
    let refused = plan(&unlimited(), &machine(1000, false, 0), Rung::User, "").unwrap_err();
    assert!(
        matches!(refused, PlanError::Required { layer: Layer::LandlockFiles, .. }),
        "{refused}"
    );
    let mut spec = unlimited();
    spec.level = Level::None;
    assert!(plan(&spec, &machine(1000, false, 0), Rung::Bare, "").is_ok());
}

#[test]
fn strict_refuses_partial_protection() {
    let mut spec = unlimited();
    spec.level = Level::Strict;
    assert!(plan(&spec, &machine(0, true, 7), Rung::Root, "").is_ok());
    spec.limits.cpu_milli = Some(500);
    let refused = plan(&spec, &machine(0, true, 7), Rung::Root, "").unwrap_err();
    assert!(matches!(refused, PlanError::Required { layer: Layer::Rlimits, .. }), "{refused}");
}

#[test]
fn a_host_with_a_port_is_reported_as_partial() {
    let mut spec = unlimited();
    spec.network.mode = NetworkMode::Ports;
    spec.network.connect.insert(443);
    spec.network.hosts.insert(HostGrant { host: "example.org".to_owned(), port: 443 });
    let plan = plan(&spec, &machine(0, true, 7), Rung::Root, "").unwrap();
    assert_eq!(status(&plan, Layer::LandlockNetwork), Status::Partial);
    assert_eq!(status(&plan, Layer::NetworkNamespace), Status::NotWanted);
    assert_eq!(plan.namespaces & libc::CLONE_NEWNET, 0);
}

#[test]
fn an_own_loopback_without_a_namespace_is_no_network_rather_than_the_hosts() {
    let mut spec = unlimited();
    spec.network.mode = NetworkMode::Loopback;
    let bare = plan(&spec, &machine(1000, false, 7), Rung::Bare, "refused").unwrap();
    assert_eq!(bare.filter.map(|filter| filter.network), Some(NetworkMode::None));
    assert_eq!(bare.landlock.and_then(|landlock| landlock.tcp), Some((Vec::new(), Vec::new())));
    let above = plan(&spec, &machine(1000, false, 7), Rung::User, "").unwrap();
    assert_eq!(above.filter.map(|filter| filter.network), Some(NetworkMode::Loopback));
}

#[test]
fn ports_without_port_rules_are_refused_rather_than_opened_all() {
    let mut spec = unlimited();
    spec.network.mode = NetworkMode::Ports;
    spec.network.connect.insert(443);
    let refused = plan(&spec, &machine(1000, false, 3), Rung::User, "").unwrap_err();
    assert!(
        matches!(refused, PlanError::Required { layer: Layer::LandlockNetwork, .. }),
        "{refused}"
    );
    spec.network.mode = NetworkMode::None;
    assert!(plan(&spec, &machine(1000, false, 3), Rung::User, "").is_ok());
}

#[test]
fn the_hosts_proc_and_dev_cannot_be_granted() {
    for path in ["/proc", "/proc/1", "/dev"] {
        let mut spec = unlimited();
        spec.files = vec![FileGrant::requested(path, Access::Read)];
        let refused = plan(&spec, &machine(0, true, 7), Rung::Root, "").unwrap_err();
        assert!(matches!(refused, PlanError::Grant { .. }), "{path}: {refused}");
    }
}

#[test]
fn relative_paths_are_refused() {
    let mut spec = unlimited();
    spec.workdir = "here".into();
    assert!(matches!(
        plan(&spec, &machine(0, true, 7), Rung::Root, ""),
        Err(PlanError::Relative(_))
    ));
}

proptest! {
    /// Whatever the machine, the report has one entry per layer, a missing layer has a reason, and a
    /// filter is planned for everything but level none.
    #[test]
    fn every_layer_is_reported_once_and_losses_have_reasons(
        root in any::<bool>(), abi in 0_u32..9, rung in 0_usize..3, memory in any::<Option<u64>>(),
        mode in 0_usize..4, none in any::<bool>(),
    ) {
        let machine = machine(if root { 0 } else { 1000 }, root, abi);
        let rung = [Rung::Root, Rung::User, Rung::Bare][rung];
        let mut spec = Spec::new("/usr/bin/true");
        spec.limits.memory = memory;
        spec.level = if none { Level::None } else { Level::Standard };
        spec.network.mode =
            [NetworkMode::None, NetworkMode::Loopback, NetworkMode::Ports, NetworkMode::Full][mode];
        if let Ok(plan) = plan(&spec, &machine, rung, "because") {
            let layers: Vec<Layer> = plan.expected.iter().map(|report| report.layer).collect();
            prop_assert_eq!(layers, Layer::ALL.to_vec());
            for report in &plan.expected {
                prop_assert!(report.status == Status::Enforced || !report.why.is_empty(), "{:?}", report);
            }
            prop_assert_eq!(plan.filter.is_some(), !none);
        }
    }
}
