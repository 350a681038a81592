//! The profiles as data: complete, without a rule too many, and with errors that name the rule.

use std::{fmt::Write as _, path::Path};

use serde_json::{Value, json};

use super::{PROFILES, call, naive, variants, widest};
use crate::{
    denial::Watch,
    seccomp::{
        Arch, Filter, PolicyError, Variant, Verdict, compile_for,
        interpret::run,
        policy::{self, Decision, Policy},
        program,
    },
    spec::Profile,
};

const DEFAULT: &str = include_str!("../../../profiles/default.json");
const CI: &str = include_str!("../../../profiles/ci.json");

fn name(profile: Profile) -> &'static str {
    match profile {
        Profile::Default => "default",
        Profile::Ci => "ci",
        Profile::Strict(_) => "strict",
    }
}

#[test]
fn every_known_call_has_a_verdict() {
    let files = naive::files(Profile::Default);
    let listed: Vec<_> =
        files.iter().flat_map(|file| &file.groups).flat_map(|group| &group.calls).collect();
    for arch in Arch::ALL {
        for (_, call) in arch.calls() {
            let count = listed.iter().filter(|listed| **listed == call).count();
            assert_eq!(count, 1, "decide about `{call}` in profiles/default.json");
        }
    }
}

/// The list of what a profile allows at most, as the compiled program answers.
fn allowed(arch: Arch, profile: Profile) -> String {
    let filter = compile_for(arch, &widest(profile)).unwrap();
    let policy = policy::of(profile).unwrap();
    let mut list = String::new();
    for (number, name) in arch.calls() {
        let is_allowed = |args: &[u64; 6]| {
            run(&filter.instructions, &call(arch, *number, *args)).unwrap() == Verdict::Allow
        };
        if naive::edges(profile, name).iter().any(is_allowed) {
            let checks: Vec<_> = policy.checks_of(name).collect();
            let unless = if checks.is_empty() { "" } else { ", unless " };
            writeln!(list, "{name}{unless}{}", checks.join(", ")).unwrap();
        }
    }
    list
}

/// A change of these files is a change of what plugins may do: it belongs into the review.
/// Rewrite them with `PLUGBAY_BLESS=1 cargo test -p plugbay-sandbox golden`.
#[test]
fn what_is_allowed_equals_the_golden_lists() {
    for arch in Arch::ALL {
        for profile in PROFILES {
            golden(&format!("{}.{}.txt", name(profile), arch.name()), &allowed(arch, profile));
        }
    }
}

/// Compares a list with the file of it, line by line.
pub(super) fn golden(file: &str, list: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("profiles/golden").join(file);
    if std::env::var_os("PLUGBAY_BLESS").is_some() {
        std::fs::write(&path, list).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    let only = |these: &str, those: &str, mark| {
        let missing = these.lines().filter(|line| !those.lines().any(|other| other == *line));
        missing.map(|line| format!("{mark} {line}")).collect::<Vec<_>>()
    };
    let differs = [only(list, &golden, '+'), only(&golden, list, '-')].concat();
    assert!(differs.is_empty() && list == golden, "{}: {differs:#?}", path.display());
}

fn decisions<'p>(policy: &'p Policy, arch: Arch, variant: &Variant) -> Vec<(u32, Decision<'p>)> {
    let decide = |name| policy.decision(name, variant, Watch::Nothing);
    let calls = arch.calls().iter();
    calls.filter_map(|(number, name)| Some((*number, decide(name)?))).collect()
}

fn compile_from(profile: Profile, sources: &[(&str, &str)]) -> Vec<(Arch, Variant, Filter)> {
    let policy = Policy::named(name(profile), sources).unwrap();
    let mut filters = Vec::new();
    for variant in variants().into_iter().filter(|variant| variant.profile == profile) {
        for arch in Arch::ALL {
            let instructions = program::assemble(arch, &decisions(&policy, arch, &variant));
            filters.push((arch, variant, Filter { instructions }));
        }
    }
    filters
}

/// The profile with one element of one of its lists taken out.
fn without(text: &str, list: &str, at: usize) -> String {
    let mut profile: Value = serde_json::from_str(text).unwrap();
    profile[list].as_array_mut().unwrap().remove(at);
    profile.to_string()
}

fn count(text: &str, list: &str) -> usize {
    serde_json::from_str::<Value>(text).unwrap()[list].as_array().unwrap().len()
}

#[test]
fn no_check_is_superfluous() {
    let whole = compile_from(Profile::Default, &[("default", DEFAULT)]);
    for at in 0..count(DEFAULT, "checks") {
        let text = without(DEFAULT, "checks", at);
        let less = compile_from(Profile::Default, &[("default", &text)]);
        assert_ne!(whole, less, "check {at} of default changes nothing");
    }
    let whole = compile_from(Profile::Ci, &[("default", DEFAULT), ("ci", CI)]);
    for list in ["groups", "checks"] {
        for at in 0..count(CI, list) {
            let text = without(CI, list, at);
            let sources = [("default", DEFAULT), ("ci", text.as_str())];
            let is_needed = Policy::named("ci", &sources).is_err()
                || compile_from(Profile::Ci, &sources) != whole;
            assert!(is_needed, "{list} {at} of ci changes nothing");
        }
    }
}

#[test]
fn ci_only_ever_allows_more() {
    for arch in Arch::ALL {
        for variant in variants().into_iter().filter(|v| v.profile == Profile::Default) {
            let narrow = compile_for(arch, &variant).unwrap();
            let wide = compile_for(arch, &Variant { profile: Profile::Ci, ..variant }).unwrap();
            for (number, name) in arch.calls() {
                for args in naive::edges(Profile::Default, name) {
                    let call = call(arch, *number, args);
                    if run(&narrow.instructions, &call).unwrap() == Verdict::Allow {
                        let verdict = run(&wide.instructions, &call).unwrap();
                        assert_eq!(verdict, Verdict::Allow, "{name} {args:x?}");
                    }
                }
            }
        }
    }
}

fn problem(change: impl FnOnce(&mut Value)) -> String {
    let mut profile = json!({
        "name": "made-up",
        "comment": "for this test",
        "groups": [
            { "name": "io", "comment": "all", "verdict": "allow", "calls": ["read", "ioctl"] },
            { "name": "no", "comment": "none", "verdict": "EPERM", "calls": ["mount"] },
        ],
        "checks": [{
            "name": "typing", "comment": "bad", "calls": ["ioctl"],
            "when": [{ "argument": 1, "is": ["TIOCSTI"] }], "verdict": "EPERM",
        }],
    });
    change(&mut profile);
    let text = profile.to_string();
    match Policy::named("made-up", &[("made-up", &text)]) {
        Ok(_) => "none".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn errors_name_the_rule() {
    assert_eq!(problem(|_| ()), "none");
    let of = |rule: &str, text: &str| format!("the rule `{rule}` of the profile `made-up` {text}");
    let cases: [(&str, Value, String); 9] = [
        ("/groups/0/calls/0", json!("reed"), of("io", "names the unknown call `reed`")),
        ("/groups/0/calls", json!([]), of("io", "names no call")),
        ("/groups/0/verdict", json!("EWHAT"), of("io", "has the unknown verdict `EWHAT`")),
        ("/groups/0/comment", json!(""), of("io", "has no comment")),
        ("/groups/1/name", json!("io"), of("io", "has the name of another")),
        ("/groups/1/calls/0", json!("read"), of("no", "lists `read`, which `io` lists already")),
        (
            "/checks/0/calls/0",
            json!("mount"),
            of("typing", "looks at `mount`, which no group allows"),
        ),
        ("/checks/0/when/0/is/0", json!("TIOC"), of("typing", "has the unknown value `TIOC`")),
        (
            "/checks/0/when/0/argument",
            json!(6),
            of("typing", "asks for argument 6; they are numbered 0 to 5"),
        ),
    ];
    for (place, value, expected) in cases {
        assert_eq!(problem(|profile| *profile.pointer_mut(place).unwrap() = value), expected);
    }
    let both = problem(|profile| profile["checks"][0]["when"][0]["has-any"] = json!("1"));
    assert!(both.contains("`typing`") && both.contains("needs one of"), "{both}");
}

#[test]
fn what_the_format_does_not_know_is_an_error_with_its_place() {
    let unknown = problem(|profile| profile["groups"][0]["cals"] = json!(["read"]));
    assert!(unknown.contains("unknown field `cals`") && unknown.contains("column"), "{unknown}");
    let missing = Policy::named("nowhere", &[("default", DEFAULT)]).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "the profile `nowhere` cannot be read: there is no such profile"
    );
    let circle = DEFAULT.replacen("\"groups\"", "\"extends\": \"default\", \"groups\"", 1);
    let error = Policy::named("default", &[("default", &circle)]).unwrap_err();
    assert!(matches!(error, PolicyError::Shape { .. }), "{error}");
}
