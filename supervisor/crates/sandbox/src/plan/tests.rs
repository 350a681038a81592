//! The plan is checked as a value: no process is started here.

use proptest::prelude::*;

use super::*;
use crate::{
    limit::Limit,
    spec::{FileGrant, HostGrant},
};

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
        disproved: Vec::new(),
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
fn root_of_a_container_without_other_ids_keeps_its_own_and_says_so() {
    let machine = Machine { set_ids: false, ..machine(0, true, 7) };
    let ladder = [Rung::User, Rung::Root, Rung::Bare];
    assert_eq!(Rung::ladder(&machine, Level::Standard), ladder);
    let apart = plan(&unlimited(), &machine, Rung::User, "").unwrap();
    assert_eq!(apart.identity, Identity::Launcher);
    assert_eq!(status(&apart, Layer::UserNamespace), Status::Enforced);
    let plain = plan(&unlimited(), &machine, Rung::Root, "").unwrap();
    assert_eq!(plain.identity, Identity::Launcher);
    assert_eq!(status(&plain, Layer::DedicatedUser), Status::Absent);
    assert_eq!(status(&plain, Layer::MountNamespace), Status::Enforced);
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

/// Why a spec would not start.
fn refusal(spec: &Spec, machine: &Machine, rung: Rung) -> Option<String> {
    plan(spec, machine, rung, "").err().map(|error| error.to_string())
}

fn demanding(level: Level, demands: &[(Protection, Demand)]) -> Spec {
    Spec { level, demands: demands.iter().copied().collect(), ..unlimited() }.settled()
}

const READ: Protection = Protection::FilesRead;
const WRITE: Protection = Protection::FilesWrite;
const CALLS: Protection = Protection::SystemCalls;
const CPU: Protection = Protection::Limit(Limit::CpuRate);

#[test]
fn standard_refuses_to_start_without_landlock_and_none_does_not() {
    for rung in [Rung::User, Rung::Bare] {
        let refused = refusal(&unlimited(), &machine(1000, false, 0), rung).unwrap();
        assert!(refused.starts_with("`files.read` is required by level `standard`"), "{refused}");
    }
    let none = demanding(Level::None, &[]);
    assert_eq!(refusal(&none, &machine(1000, false, 0), Rung::Bare), None);
}

#[test]
fn without_landlock_file_policies_start_only_when_they_are_preferred() {
    let machine = machine(1000, false, 0);
    for rung in [Rung::User, Rung::Bare] {
        let one = demanding(Level::Standard, &[(READ, Demand::Prefer)]);
        let refused = refusal(&one, &machine, rung).unwrap();
        assert!(refused.starts_with("`files.write` is required"), "{refused}");
        let both = [(READ, Demand::Prefer), (WRITE, Demand::Prefer)];
        let both = demanding(Level::Standard, &both);
        let plan = plan(&both, &machine, rung, "").unwrap();
        let grades = grades(&both, &plan.expected, &plan.held);
        let read = grades.iter().find(|grade| grade.protection == READ).unwrap();
        let (hold, told) = match rung {
            Rung::Bare => (Hold::Absent, "every file that its user may read"),
            Rung::Root | Rung::User => (Hold::Degraded, "only the view"),
        };
        assert_eq!(read.hold, hold);
        assert!(read.consequence.contains(told), "{read:?}");
        assert!(plan.filter.is_some(), "the rest holds");
    }
}

#[test]
fn a_layer_that_a_canary_got_through_is_absent() {
    let mut machine = machine(1000, false, 7);
    machine.disproved.push((Layer::LandlockFiles, "a canary showed it".to_owned()));
    let refused = refusal(&unlimited(), &machine, Rung::Bare).unwrap();
    assert!(refused.starts_with("`files.read` is required by level `standard`"), "{refused}");
    let both = [(READ, Demand::Prefer), (WRITE, Demand::Prefer)];
    let plan = plan(&demanding(Level::Standard, &both), &machine, Rung::Bare, "").unwrap();
    assert_eq!(status(&plan, Layer::LandlockFiles), Status::Absent);
    assert!(plan.landlock.is_some(), "it is applied all the same");
}

#[test]
fn what_is_required_by_name_must_hold_whole_at_every_level() {
    let (user, bare) = (machine(1000, false, 7), Rung::Bare);
    for level in [Level::Standard, Level::None] {
        let spec = demanding(level, &[(Protection::Processes, Demand::Require)]);
        let refused = refusal(&spec, &user, bare).unwrap();
        assert!(refused.starts_with("`processes` is required, and would be"), "{refused}");
    }
    let spec = demanding(Level::Standard, &[(Protection::Processes, Demand::Require)]);
    assert_eq!(refusal(&spec, &user, Rung::User), None);
}

#[test]
fn what_was_granted_or_not_asked_for_cannot_be_required() {
    let mut spec = demanding(Level::Standard, &[(Protection::Network, Demand::Require)]);
    spec.network.mode = NetworkMode::Full;
    let refused = refusal(&spec, &machine(0, true, 7), Rung::Root).unwrap();
    assert!(refused.contains("would be off: the host's whole network was granted"), "{refused}");
    let spec = demanding(Level::Standard, &[(CPU, Demand::Require)]);
    let refused = refusal(&spec, &machine(0, true, 7), Rung::Root).unwrap();
    assert!(refused.contains("`limits.cpu-rate` is required, and would be off"), "{refused}");
}

#[test]
fn strict_refuses_partial_protection_unless_it_is_excused() {
    let mut spec = demanding(Level::Strict, &[]);
    let machine = machine(0, true, 7);
    assert_eq!(refusal(&spec, &machine, Rung::Root), None);
    spec.limits.cpu_milli = Some(500);
    let refused = refusal(&spec, &machine, Rung::Root).unwrap();
    assert!(refused.starts_with("`limits.cpu-rate` is required by level `strict`"), "{refused}");
    spec.demands.insert(CPU, Demand::Prefer);
    assert_eq!(refusal(&spec, &machine, Rung::Root), None);
}

#[test]
fn strict_excuses_a_layer_only_with_all_that_it_serves() {
    let excused = |demands: &[(Protection, Demand)]| {
        demand::is_layer_excused(&demanding(Level::Strict, demands), Layer::PidNamespace)
    };
    let processes = (Protection::Processes, Demand::Prefer);
    assert!(!excused(&[processes]));
    assert!(excused(&[processes, (Protection::Lifetime, Demand::Prefer)]));
    assert!(!excused(&[processes, (Protection::Lifetime, Demand::Require)]));
}

#[test]
fn switching_off_grants_what_was_closed() {
    let off = |protection| demanding(Level::Standard, &[(protection, Demand::Off)]);
    let root = |access| vec![(Path::new("/").to_owned(), access)];
    let files = |spec: Spec| -> Vec<_> {
        spec.files.into_iter().map(|grant| (grant.path, grant.access)).collect()
    };
    assert_eq!(files(off(READ)), root(Access::Read));
    assert_eq!(files(off(WRITE)), root(Access::Write));
    assert_eq!(off(Protection::Network).network.mode, NetworkMode::Full);
    let mut limited = off(CPU);
    limited.limits.cpu_milli = Some(500);
    assert_eq!(limited.settled().limits.cpu_milli, None);
}

#[test]
fn a_filter_that_is_off_is_not_planned_and_told() {
    let spec = demanding(Level::Standard, &[(CALLS, Demand::Off)]);
    let plan = plan(&spec, &machine(1000, false, 7), Rung::Bare, "").unwrap();
    assert!(plan.filter.is_none() && plan.sealed);
    assert_eq!(status(&plan, Layer::Seccomp), Status::NotWanted);
    let grades = grades(&spec, &plan.expected, &plan.held);
    let of = |wanted| grades.iter().find(|grade| grade.protection == wanted).unwrap();
    assert_eq!(of(CALLS).hold, Hold::Off);
    // What the filter did for others is missed there.
    assert_eq!(of(Protection::Network).hold, Hold::Degraded);
    assert_eq!(of(Protection::Ipc).hold, Hold::Absent);
}

#[test]
fn not_everything_can_be_off_by_itself() {
    for protection in Protection::ALL {
        let mut spec = unlimited();
        spec.demands.insert(protection, Demand::Off);
        let refused = plan(&spec.settled(), &machine(0, true, 7), Rung::Root, "").is_err();
        assert_eq!(refused, !protection.can_be_off(), "{protection}");
    }
}

fn hosts() -> Spec {
    let mut spec = unlimited();
    spec.network.mode = NetworkMode::Hosts;
    spec.network.hosts.insert(HostGrant { host: "example.org".to_owned(), port: 443 });
    spec
}

#[test]
fn the_way_to_named_hosts_leads_out_of_an_empty_network() {
    let plan = plan(&hosts(), &machine(0, true, 7), Rung::Root, "").unwrap();
    assert_ne!(plan.namespaces & libc::CLONE_NEWNET, 0);
    assert!(plan.loopback && plan.inlets.contains(&InletKind::Direct(443)));
    assert_eq!(status(&plan, Layer::NetworkNamespace), Status::Enforced);
    assert_eq!(status(&plan, Layer::LandlockNetwork), Status::NotWanted);
}

#[test]
fn without_a_namespace_named_hosts_are_held_by_port_and_the_loss_is_told() {
    let bare = plan(&hosts(), &machine(1000, false, 7), Rung::Bare, "refused").unwrap();
    assert_eq!(bare.landlock.as_ref().unwrap().tcp, Some((Vec::new(), Vec::new())));
    let filter = bare.filter.as_ref().unwrap();
    assert_eq!((filter.network, filter.listen), (NetworkMode::Ports, false));
    assert!(bare.inlets.is_empty());
    assert_eq!(status(&bare, Layer::LandlockNetwork), Status::Partial);
    assert_eq!(status(&bare, Layer::NetworkNamespace), Status::Absent);
    let mut strict = hosts();
    strict.level = Level::Strict;
    assert!(plan(&strict, &machine(1000, false, 7), Rung::Bare, "refused").is_err());
}

#[test]
fn where_nothing_holds_the_port_named_hosts_are_refused() {
    let refused = plan(&hosts(), &machine(1000, false, 3), Rung::Bare, "refused").unwrap_err();
    assert!(
        matches!(refused, PlanError::Unmet { protection: Protection::Network, .. }),
        "{refused}"
    );
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
    let refused = refusal(&spec, &machine(1000, false, 3), Rung::User).unwrap();
    assert!(refused.starts_with("`network` is required by level `standard`"), "{refused}");
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
            for grade in grades(&spec, &plan.expected, &plan.held) {
                let whole = grade.hold == Hold::Enforced;
                prop_assert!(whole || !grade.consequence.is_empty(), "{:?}", grade);
            }
        }
    }
}
