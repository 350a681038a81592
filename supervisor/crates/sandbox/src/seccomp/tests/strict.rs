//! Strict lists: words, bases and families, and a filter that only ever refuses more.

use std::{collections::BTreeSet, fmt::Write as _};

use serde_json::Value;

use super::{call, naive, profiles::golden, variants, widest};
use crate::{
    seccomp::{
        Arch, Calls, UnknownWord, Variant, Verdict, compile_for, interpret::run, policy, strict,
    },
    spec::{NetworkMode, Profile},
};

/// Lists as different as they can be: nothing, a runtime, groups, single calls, calls of `ci`.
const LISTS: [&[&str]; 5] = [
    &[],
    &["@python"],
    &["@base", "@sockets", "@message-queues-and-shared-memory"],
    &["open", "setpriority", "personality", "ptrace", "mount", "clone3"],
    &["@descriptors", "@files", "@own-priority", "@tracing-own-children", "@limits"],
];

fn calls(list: &[&str]) -> Calls {
    Calls::of(list.iter().copied()).unwrap()
}

/// Every list with variants of every kind: what the rules make of each variant is tested without lists.
fn strict_variants() -> impl Iterator<Item = Variant> {
    let default = variants().into_iter().filter(|variant| {
        let network = matches!(variant.network, NetworkMode::None | NetworkMode::Ports);
        variant.profile == Profile::Default && network && variant.listen == variant.unix
    });
    default.flat_map(|variant| {
        LISTS.map(|list| Variant { profile: Profile::Strict(calls(list)), ..variant })
    })
}

#[test]
fn every_rule_of_the_file_says_why() {
    let file: Value = serde_json::from_str(strict::SOURCE).unwrap();
    assert_eq!(file["name"], "strict");
    let rules = ["bases", "families"].iter().flat_map(|list| file[*list].as_array().unwrap());
    for rule in rules.chain([&file]) {
        assert!(rule["comment"].as_str().is_some_and(|text| !text.is_empty()), "{rule}");
        let known = ["name", "comment", "extends", "calls", "bases", "families"];
        assert!(rule.as_object().unwrap().keys().all(|key| known.contains(&key.as_str())));
    }
}

#[test]
fn bases_and_families_name_what_default_allows_and_nothing_twice() {
    let source = strict::source().unwrap();
    let default = policy::of(Profile::Default).unwrap();
    let mut in_families = BTreeSet::new();
    for call in source.families.iter().flat_map(|family| &family.calls) {
        assert!(default.lists(call), "{call}");
        assert!(in_families.insert(call), "{call} is in two families");
    }
    for base in &source.bases {
        let parent = base.extends.map(|name| format!("@{name}"));
        let mut known = parent.map_or_else(Calls::default, |word| strict::meaning(&word).unwrap());
        for call in &base.calls {
            assert!(default.lists(call), "{call}");
            assert!(!known.contains(call), "{} has {call} already", base.name);
            known.join(strict::meaning(call).unwrap());
        }
    }
}

/// What each base stands for on an architecture. Rewrite with
/// `PLUGBAY_BLESS=1 cargo test -p plugbay-sandbox golden`.
#[test]
fn what_bases_stand_for_equals_the_golden_lists() {
    for arch in Arch::ALL {
        let mut list = String::new();
        for base in strict::source().unwrap().bases {
            let calls = strict::meaning(&format!("@{}", base.name)).unwrap();
            for (_, name) in arch.calls().iter().filter(|(_, name)| calls.contains(name)) {
                writeln!(list, "@{}: {name}", base.name).unwrap();
            }
        }
        golden(&format!("strict.{}.txt", arch.name()), &list);
    }
}

#[test]
fn the_compiled_filter_answers_as_a_naive_reading_of_the_list() {
    for arch in Arch::ALL {
        for variant in strict_variants() {
            let filter = compile_for(arch, &variant).unwrap();
            for (number, name) in arch.calls() {
                let edges = naive::edges(Profile::Default, name);
                for args in edges.into_iter().chain(naive::edges(Profile::Ci, name)) {
                    let call = call(arch, *number, args);
                    let expected = naive::answer(arch, &variant, &call);
                    let answer = run(&filter.instructions, &call).unwrap();
                    assert_eq!(answer, expected, "{name} {args:x?} {:?}", variant.profile);
                    let ruling = policy::ruling(name, &args, &variant).unwrap();
                    assert_eq!(ruling.verdict, answer, "{name} {args:x?}");
                }
            }
        }
    }
}

#[test]
fn a_list_never_allows_what_ci_refuses() {
    for arch in Arch::ALL {
        for variant in strict_variants() {
            let narrow = compile_for(arch, &variant).unwrap();
            let wide = compile_for(arch, &Variant { profile: Profile::Ci, ..variant }).unwrap();
            for (number, name) in arch.calls() {
                for args in naive::edges(Profile::Ci, name) {
                    let call = call(arch, *number, args);
                    let refused = run(&wide.instructions, &call).unwrap() != Verdict::Allow;
                    let passes = run(&narrow.instructions, &call).unwrap() == Verdict::Allow;
                    assert!(!(refused && passes), "{name} {args:x?}");
                }
            }
        }
    }
}

#[test]
fn naming_everything_is_the_default_profile() {
    let default = policy::of(Profile::Default).unwrap();
    let groups: Vec<String> =
        default.allowed_groups().map(|(name, _)| format!("@{name}")).collect();
    let all = Calls::of(groups.iter().map(String::as_str)).unwrap();
    for arch in Arch::ALL {
        let strict = compile_for(arch, &widest(Profile::Strict(all))).unwrap();
        assert_eq!(strict, compile_for(arch, &widest(Profile::Default)).unwrap());
    }
}

#[test]
fn a_call_stands_for_its_family() {
    let list = calls(&["stat", "pipe"]);
    for name in ["stat", "newfstatat", "statx", "pipe2", "execve", "exit_group"] {
        assert!(list.contains(name), "{name}");
    }
    assert!(!list.contains("openat") && !list.contains("no such call"));
    let unknown = Calls::of(["@python", "@pyhton"]).unwrap_err();
    assert_eq!(unknown, UnknownWord("@pyhton".to_owned()));
    assert!(Calls::of(["stat "]).is_err() && Calls::of([""]).is_err() && Calls::of(["@"]).is_err());
}

#[test]
fn a_learned_list_is_short_and_means_what_was_seen() {
    let seen = ["read", "statx", "stat", "symlink", "symlinkat", "mount", "clone3", "no_such_call"];
    let words = Calls::learned(seen, "@base").unwrap();
    assert_eq!(words, ["@base", "symlink"]);
    let words = Calls::learned(["ptrace", "accept4"], "@shell").unwrap();
    assert_eq!(words, ["@shell", "accept4", "ptrace"]);
    let list = Calls::of(words.iter().map(String::as_str)).unwrap();
    assert!(list.contains("ptrace") && list.contains("accept"));
    assert!(Calls::learned([], "@nothing").is_err());
}

#[test]
fn a_list_travels_by_name() {
    let list = calls(&["@node", "ptrace"]);
    let text = serde_json::to_string(&list).unwrap();
    assert!(text.contains("\"ptrace\""), "{text}");
    assert_eq!(serde_json::from_str::<Calls>(&text).unwrap(), list);
    assert!(serde_json::from_str::<Calls>("[\"reed\"]").is_err());
    assert!(Calls::vocabulary().any(|word| word == "@node"));
}
