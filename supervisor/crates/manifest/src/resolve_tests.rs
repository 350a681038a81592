//! Tests of the start order.

use std::path::Path;

use proptest::prelude::*;

use super::*;

/// Manifests from lines as `name 1.0.0: other ^1, third *`.
fn set(lines: &[&str]) -> Vec<Manifest> {
    lines.iter().map(|line| manifest(line)).collect()
}

fn manifest(line: &str) -> Manifest {
    let (head, needs) = line.split_once(':').unwrap_or((line, ""));
    let (name, version) = head.split_once(' ').unwrap_or((head, "1.0.0"));
    let mut text = format!(
        "[plugin]\nname = \"{name}\"\nversion = \"{version}\"\n[runtime]\ncommand = \"./x\"\n[dependencies]\n"
    );
    for need in needs.split(',').map(str::trim).filter(|need| !need.is_empty()) {
        let (name, range) = need.split_once(' ').unwrap_or((need, "*"));
        text += &format!("{name} = \"{range}\"\n");
    }
    crate::parse(&text, Path::new("plugin.toml")).unwrap()
}

/// The order, and the reasons, as text.
fn resolved(lines: &[&str]) -> (String, Vec<String>) {
    let manifests = set(lines);
    let Resolution { order, unresolved } = resolve(&Version::new(0, 1, 0), &manifests);
    let order: Vec<_> = order.iter().map(PluginName::as_str).collect();
    (order.join(" "), unresolved.iter().map(ToString::to_string).collect())
}

#[test]
fn dependencies_come_first_and_names_decide_the_rest() {
    let lines = ["web: store, auth", "auth: store", "store", "zero", "alpha: zero"];
    assert_eq!(resolved(&lines), ("store auth web zero alpha".into(), vec![]));
}

#[test]
fn a_missing_plugin_takes_down_only_who_needs_it() {
    let lines = ["a: wordz ^1", "b: a", "c: b", "words", "d"];
    let (order, reasons) = resolved(&lines);
    assert_eq!(order, "d words");
    assert_eq!(
        reasons,
        [
            "`a` needs `wordz` ^1, which is not there; did you mean `words`?",
            "`b` needs `a`, which cannot start",
            "`c` needs `b`, which cannot start",
        ]
    );
}

#[test]
fn a_version_that_does_not_fit_is_told_with_both_numbers() {
    let (order, reasons) = resolved(&["a: b >=2", "b 1.4.0"]);
    assert_eq!(order, "b");
    assert_eq!(reasons, ["`a` needs `b` >=2, and 1.4.0 is there"]);
}

#[test]
fn another_plugbay_is_told() {
    let (_, reasons) = resolved(&["a: plugbay ^3"]);
    assert_eq!(reasons, ["`a` needs plugbay ^3, and this is 0.1.0"]);
}

#[test]
fn a_cycle_is_told_with_the_way_round() {
    let (order, reasons) = resolved(&["a: b", "b: c", "c: a", "outside: a", "free"]);
    assert_eq!(order, "free");
    assert_eq!(
        reasons,
        [
            "`a` depends on itself: `a` → `b` → `c` → `a`",
            "`b` depends on itself: `b` → `c` → `a` → `b`",
            "`c` depends on itself: `c` → `a` → `b` → `c`",
            "`outside` needs `a`, which cannot start",
        ]
    );
}

#[test]
fn the_shortest_way_round_is_told() {
    let (_, reasons) = resolved(&["a: b, d", "b: c", "c: a", "d: a"]);
    assert_eq!(reasons[0], "`a` depends on itself: `a` → `d` → `a`");
}

#[test]
fn of_two_with_one_name_the_first_counts() {
    let (order, reasons) = resolved(&["a 1.0.0", "a 2.0.0", "b: a ^1"]);
    assert_eq!((order.as_str(), reasons.len()), ("a b", 0));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Everyone is told of exactly once; whoever starts has all it needs before it; whoever does
    /// not has a reason that is true; and the order of the input does not matter.
    #[test]
    fn any_graph_is_resolved_rightly(
        edges in proptest::collection::vec((0..12_usize, 0..14_usize), 0..30),
        turn in 0..12_usize,
    ) {
        let lines: Vec<String> = (0..12).map(|from| {
            let mut needs: Vec<_> = edges.iter().filter(|edge| edge.0 == from && edge.1 != from).map(|edge| format!("p{}", edge.1)).collect();
            needs.sort();
            needs.dedup();
            format!("p{from}: {}", needs.join(", "))
        }).collect();
        let mut manifests: Vec<_> = lines.iter().map(|line| manifest(line)).collect();
        let host = Version::new(0, 1, 0);
        let resolution = resolve(&host, &manifests);
        prop_assert_eq!(resolution.order.len() + resolution.unresolved.len(), 12);
        for (place, name) in resolution.order.iter().enumerate() {
            let found = manifests.iter().find(|m| m.plugin.name == *name).unwrap();
            for need in found.dependencies.plugins.keys() {
                prop_assert!(resolution.order[..place].contains(need));
            }
        }
        for Unresolved { name, reason } in &resolution.unresolved {
            let found = manifests.iter().find(|m| m.plugin.name == *name).unwrap();
            match reason {
                Reason::Missing { dependency, .. } => prop_assert!(dependency.as_str() >= "p12" && found.dependencies.plugins.contains_key(dependency)),
                Reason::Blocked { dependency } => {
                    prop_assert!(found.dependencies.plugins.contains_key(dependency));
                    prop_assert!(!resolution.order.contains(dependency));
                }
                Reason::Cycle { path } => {
                    prop_assert!(path.len() > 2 && path.first() == path.last());
                    for step in path.windows(2) {
                        let from = manifests.iter().find(|m| m.plugin.name == step[0]).unwrap();
                        prop_assert!(from.dependencies.plugins.contains_key(&step[1]));
                    }
                }
                Reason::Host { .. } | Reason::Version { .. } => prop_assert!(false, "{}", reason),
            }
        }
        manifests.rotate_left(turn);
        prop_assert_eq!(resolve(&host, &manifests), resolution);
    }
}
