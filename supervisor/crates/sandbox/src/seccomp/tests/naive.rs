//! What the profiles say, read call by call as a person would: no ranges, no tree, no BPF.
//!
//! Shares with the compiler the file format and the table of names only.

use std::sync::OnceLock;

use crate::{
    seccomp::{
        Arch, Variant, Verdict, constant,
        interpret::Call,
        source::{self, Check, Condition},
    },
    spec::Profile,
};

const ENOSYS: Verdict = Verdict::Errno(38);

/// The files that make up a profile, the base first.
pub(super) fn files(profile: Profile) -> &'static [source::Profile<'static>] {
    static FILES: OnceLock<Vec<source::Profile<'static>>> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        [include_str!("../../../profiles/default.json"), include_str!("../../../profiles/ci.json")]
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect()
    });
    match profile {
        Profile::Default | Profile::Strict(_) => &files[..1],
        Profile::Ci => files,
    }
}

/// The checks of a profile that look at a call, in their order.
pub(super) fn checks_of(profile: Profile, name: &str) -> Vec<&'static Check<'static>> {
    let files = files(profile);
    let mut checks: Vec<&Check<'static>> = Vec::new();
    for check in files.iter().flat_map(|file| &file.checks) {
        match checks.iter_mut().find(|old| old.name == check.name) {
            Some(old) => *old = check,
            None => checks.push(check),
        }
    }
    checks.retain(|check| check.calls.contains(&name));
    checks
}

/// The verdict on one call.
pub(super) fn answer(arch: Arch, variant: &Variant, call: &Call) -> Verdict {
    if call.arch != arch.audit() {
        return Verdict::KillProcess;
    }
    let Some(name) = arch.call_name(call.number) else { return ENOSYS };
    if let Profile::Strict(calls) = variant.profile {
        return strict(arch, variant, call, name, calls.contains(name));
    }
    for check in checks_of(variant.profile, name) {
        if belongs(check, variant) && check.when.iter().all(|condition| holds(condition, call)) {
            return constant::verdict(check.verdict).unwrap();
        }
    }
    by_group(variant.profile, name)
}

/// What the group says that lists a call.
fn by_group(profile: Profile, name: &str) -> Verdict {
    let groups = files(profile).iter().rev().flat_map(|file| &file.groups);
    groups
        .into_iter()
        .find(|group| group.calls.contains(&name))
        .map_or(ENOSYS, |group| constant::verdict(group.verdict).unwrap())
}

/// What default says, unless the list names the call and ci alone allows it, or does not name it.
fn strict(arch: Arch, variant: &Variant, call: &Call, name: &str, named: bool) -> Verdict {
    let by = |profile, call: &Call| answer(arch, &Variant { profile, ..*variant }, call);
    let listed = |profile| by_group(profile, name) == Verdict::Allow;
    match named {
        true if !listed(Profile::Default) && listed(Profile::Ci) => by(Profile::Ci, call),
        false if listed(Profile::Default) => Verdict::Errno(1),
        _ => by(Profile::Default, call),
    }
}

fn belongs(check: &Check<'_>, variant: &Variant) -> bool {
    let only = &check.only;
    only.network.as_ref().is_none_or(|modes| modes.contains(&variant.network))
        && only.listen.is_none_or(|listen| listen == variant.listen)
        && only.ipc_namespace.is_none_or(|own| own == variant.ipc_namespace)
        && only.unix.is_none_or(|unix| unix == variant.unix)
        && only.attributes.is_none_or(|attributes| attributes == variant.attributes)
}

fn holds(condition: &Condition<'_>, call: &Call) -> bool {
    let low = call.args[usize::from(condition.argument)] & 0xffff_ffff;
    let value = |text: &&str| u64::from(constant::value(text).unwrap());
    let masked = low & condition.mask.as_ref().map_or(0xffff_ffff, value);
    if let Some(values) = &condition.is {
        return values.iter().any(|text| value(text) == masked);
    }
    if let Some(values) = &condition.is_not {
        return values.iter().all(|text| value(text) != masked);
    }
    low & value(condition.has_any.as_ref().unwrap()) != 0
}

/// Argument lists on and around every edge of the checks of a call.
pub(super) fn edges(profile: Profile, name: &str) -> Vec<[u64; 6]> {
    let mut lists = vec![[0; 6]];
    let mut of_argument: [Vec<u64>; 6] = Default::default();
    for condition in checks_of(profile, name).iter().flat_map(|check| &check.when) {
        let texts = condition.is.iter().chain(&condition.is_not).flatten();
        for text in texts.chain(&condition.mask).chain(&condition.has_any) {
            let value = u64::from(constant::value(text).unwrap());
            let edges = [value, value + 1, value | 0x1_0000_0000];
            of_argument[usize::from(condition.argument)].extend(edges);
        }
    }
    for (at, mut values) in of_argument.into_iter().enumerate() {
        values.sort_unstable();
        values.dedup();
        let before = std::mem::take(&mut lists);
        for mut list in before {
            lists.push(list);
            for value in &values {
                list[at] = *value;
                lists.push(list);
            }
        }
    }
    lists
}
