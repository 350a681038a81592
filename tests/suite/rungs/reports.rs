//! Enforcement is reported, never assumed: each claim is compared with what the process is.

use std::{collections::BTreeMap, fs};

use plugbay_sandbox::{Enforcement, Holder, Layer, Level, Limit, Limits, Spec, Status};
use plugbay_tests::{Offer, Ran, Setting, TestEnv, is_root, requires};

/// What the prober tells of itself, by step.
fn told(ran: &Ran) -> BTreeMap<String, String> {
    let lines = ran.output.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| line[key].as_str().unwrap().to_owned();
        (text("step"), text("detail"))
    });
    lines.collect()
}

fn identity(env: &TestEnv, setting: Setting) -> (Enforcement, BTreeMap<String, String>) {
    let ran = env.keeper(setting).run(&env.probe(["identity"])).unwrap();
    let told = told(&ran);
    (ran.enforcement, told)
}

#[test]
fn every_layer_is_reported_once_and_every_loss_has_a_reason() {
    let env = crate::env();
    for setting in Setting::possible() {
        let (enforcement, _) = identity(&env, setting);
        let layers: Vec<Layer> = enforcement.layers.iter().map(|report| report.layer).collect();
        assert_eq!(layers, Layer::ALL, "{}", setting.name());
        for report in &enforcement.layers {
            let whole = report.status == Status::Enforced;
            assert!(whole || !report.why.is_empty(), "{}: {report:?}", setting.name());
        }
    }
}

#[test]
fn what_the_kernel_offers_is_enforced() {
    let env = crate::env();
    for setting in Setting::possible() {
        let offer = Offer::of(env.binaries(), setting);
        let (enforcement, _) = identity(&env, setting);
        for report in &enforcement.layers {
            if matches!(report.layer, Layer::Cgroup | Layer::Rlimits) {
                // Depends on what is delegated to us, which no kernel version says.
                let whole = report.status == Status::Enforced;
                assert!(whole || !requires(report.layer), "{}: {report:?}", setting.name());
                continue;
            }
            let deprived = !setting.may_have_namespaces();
            if deprived || offer.allows(report.layer, setting) {
                let lost = report.status == Status::Absent && offer.has(report.layer);
                assert!(!lost, "{}: the kernel offers it: {report:?}", setting.name());
            }
        }
    }
}

#[test]
fn a_namespace_is_reported_exactly_if_it_is_another_one() {
    let env = crate::env();
    for setting in Setting::possible() {
        let (enforcement, told) = identity(&env, setting);
        for (kind, layer) in [
            ("pid", Layer::PidNamespace),
            ("mnt", Layer::MountNamespace),
            ("net", Layer::NetworkNamespace),
            ("ipc", Layer::IpcNamespace),
            ("uts", Layer::UtsNamespace),
            ("cgroup", Layer::CgroupNamespace),
            ("user", Layer::UserNamespace),
        ] {
            let own = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
            let inside = &told[kind];
            assert!(inside.starts_with(kind), "{}: {inside}", setting.name());
            let other = own.to_string_lossy() != *inside;
            let holds = matches!(
                enforcement.layer(layer).unwrap().status,
                Status::Enforced | Status::Partial
            );
            assert_eq!(other, holds, "{}: {layer}: {inside}", setting.name());
        }
    }
}

#[test]
fn users_capabilities_and_filters_are_what_the_report_says() {
    let env = crate::env();
    for setting in Setting::possible() {
        let (enforcement, told) = identity(&env, setting);
        let identity = &told["identity"];
        for (claim, layer) in [
            ("capabilities 0000000000000000,", Layer::Capabilities),
            ("no_new_privs 1,", Layer::NoNewPrivileges),
        ] {
            assert!(enforcement.is_enforced(layer), "{}", setting.name());
            assert!(identity.contains(claim), "{}: {identity}", setting.name());
        }
        let (_, filters) = identity.rsplit_once(' ').unwrap();
        assert!(filters.parse::<u32>().unwrap() > 0, "{identity}");
        let uid: u32 = told["uid"].parse().unwrap();
        let dedicated = enforcement.is_enforced(Layer::DedicatedUser);
        assert_eq!(dedicated, setting.as_root(), "{}", setting.name());
        if dedicated {
            assert!(uid >= 0x7000_0000, "{}: {identity}", setting.name());
            assert!(identity.contains("groups [],"), "{}: {identity}", setting.name());
            assert!(identity.contains("bounding 0000000000000000,"), "{identity}");
        } else {
            assert_eq!(uid, setting.uid());
        }
    }
}

/// A spec that asks for nothing which needs a controller.
fn without_limits(env: &TestEnv, level: Level) -> Spec {
    let mut spec = env.probe(["identity"]);
    spec.limits = Limits { memory: None, pids: None, ..Limits::default() };
    spec.level = level;
    spec
}

#[test]
fn strict_refuses_exactly_when_something_is_missing() {
    let env = crate::env();
    for setting in Setting::possible() {
        let mut keeper = env.keeper(setting);
        let report = keeper.run(&without_limits(&env, Level::Standard)).unwrap().enforcement;
        let missing: Vec<&str> = report
            .layers
            .iter()
            .filter(|report| matches!(report.status, Status::Absent | Status::Partial))
            .map(|report| report.layer.name())
            .collect();
        match keeper.run(&without_limits(&env, Level::Strict)) {
            Ok(ran) => {
                assert_eq!((missing, ran.exit.code), (Vec::new(), Some(0)), "{}", setting.name());
            }
            Err(failure) => {
                let named = missing.iter().any(|layer| failure.message.contains(layer));
                assert!(named, "{}: {missing:?}: {failure:?}", setting.name());
            }
        }
    }
}

#[test]
fn strict_refuses_a_limit_that_cannot_be_held() {
    let env = crate::env();
    let setting = if is_root() { Setting::Root } else { Setting::User };
    let mut spec = without_limits(&env, Level::Strict);
    spec.limits.cpu_milli = Some(500);
    let mut keeper = env.keeper(setting);
    spec.level = Level::Standard;
    let ran = keeper.run(&spec).unwrap();
    let rlimits = ran.enforcement.layer(Layer::Rlimits).unwrap().clone();
    spec.level = Level::Strict;
    let strict = keeper.run(&spec);
    assert_eq!(strict.is_err(), rlimits.status != Status::Enforced, "{rlimits:?} {strict:?}");
}

#[test]
fn a_memory_limit_that_is_too_low_to_start_in_is_named() {
    let env = crate::env();
    for setting in Setting::possible() {
        let (enforcement, _) = identity(&env, setting);
        let memory = enforcement.limits.iter().find(|held| held.limit == Limit::Memory).unwrap();
        if !matches!(memory.by, Some(Holder::CgroupV1 | Holder::CgroupV2)) {
            println!("skipped ({}): no cgroup holds memory here", setting.name());
            continue;
        }
        let mut spec = env.probe(["identity"]);
        spec.limits.memory = Some(64 << 10);
        let failure = env.keeper(setting).run(&spec).unwrap_err();
        assert!(failure.message.contains("its memory limit of 64KiB"), "{failure:?}");
    }
}

#[test]
fn a_rung_is_lost_with_its_reason_and_hollow_namespaces_lose_it_too() {
    let env = crate::env();
    for setting in Setting::possible().into_iter().filter(|it| !it.may_have_namespaces()) {
        let (enforcement, _) = identity(&env, setting);
        let report = enforcement.layer(Layer::MountNamespace).unwrap();
        assert_eq!(report.status, Status::Absent, "{}", setting.name());
        let reason = report.why.contains("failed to") && report.why.contains("not permitted");
        assert!(reason, "{}: {}", setting.name(), report.why);
    }
}

#[test]
fn level_none_says_that_nothing_holds() {
    let env = crate::env();
    let ran = env.keeper(Setting::User).run(&without_limits(&env, Level::None)).unwrap();
    for layer in [Layer::Seccomp, Layer::LandlockFiles, Layer::NoNewPrivileges] {
        let report = ran.enforcement.layer(layer).unwrap();
        assert_eq!(report.status, Status::Absent, "{report:?}");
        assert!(report.why.contains("all rights of its user"), "{report:?}");
    }
}
