//! Filters that ask: about what is refused and nothing else, and with the answer of the plain filter.

use super::{call, naive, variants, widest};
use crate::{
    denial::{Watch, lesson::IMPLIED},
    seccomp::{
        Arch, Calls, Filter, Variant, Verdict, assemble, compile_for,
        interpret::run,
        policy::{INCESSANT, REACHING},
        ruling, table,
    },
    spec::{NetworkMode, Profile},
};

/// Calls that are refused as a matter of course.
const QUIET: [&str; 3] = ["openat2", "clone3", "set_thread_area"];

fn each(mut look: impl FnMut(Arch, &Variant, u32, &str, [u64; 6], [&Filter; 3])) {
    for arch in Arch::ALL {
        for variant in variants() {
            let plain = compile_for(arch, &variant).unwrap();
            let denials = assemble(arch, &variant, Watch::Denials).unwrap();
            let attempts = assemble(arch, &variant, Watch::Attempts).unwrap();
            for (number, name) in arch.calls() {
                for args in naive::edges(variant.profile, name) {
                    look(arch, &variant, *number, name, args, [&plain, &denials, &attempts]);
                }
            }
        }
    }
}

#[test]
fn the_ruling_on_a_call_is_what_the_filter_answers() {
    each(|arch, variant, number, name, args, [plain, ..]| {
        let answer = run(&plain.instructions, &call(arch, number, args)).unwrap();
        assert_eq!(ruling(variant, name, &args).unwrap().verdict, answer, "{name} {args:x?}");
    });
}

#[test]
fn nothing_that_is_allowed_is_asked_about_and_nothing_that_is_refused_gets_through() {
    each(|arch, _, number, name, args, [plain, denials, _]| {
        let call = call(arch, number, args);
        let asking = run(&denials.instructions, &call).unwrap();
        match run(&plain.instructions, &call).unwrap() {
            Verdict::Errno(errno) if asking != Verdict::Notify => {
                assert_eq!(asking, Verdict::Errno(errno), "{name}");
                assert_eq!(errno, 38, "{name} is refused without a word");
            }
            Verdict::Errno(_) => assert!(!QUIET.contains(&name), "{name}"),
            answer @ (Verdict::Allow | Verdict::Notify | Verdict::KillProcess) => {
                assert_eq!(asking, answer, "{name}");
            }
        }
    });
}

#[test]
fn an_observer_is_asked_about_every_reach_for_a_name() {
    each(|arch, _, number, name, args, [_, denials, attempts]| {
        let call = call(arch, number, args);
        let expected = if REACHING.contains(&name) {
            Verdict::Notify
        } else {
            run(&denials.instructions, &call).unwrap()
        };
        assert_eq!(run(&attempts.instructions, &call).unwrap(), expected, "{name}");
    });
    assert!(REACHING.iter().all(|name| table::known(name).is_some()));
}

#[test]
fn foreign_and_unknown_calls_are_never_asked_about() {
    for variant in variants() {
        let asking = assemble(Arch::X86_64, &variant, Watch::Attempts).unwrap();
        let foreign = call(Arch::Aarch64, 41, [0; 6]);
        assert_eq!(run(&asking.instructions, &foreign).unwrap(), Verdict::KillProcess);
        for number in [Arch::X86_64.newest() + 1, 0x4000_0029, u32::MAX] {
            let unknown = call(Arch::X86_64, number, [0; 6]);
            assert_eq!(run(&asking.instructions, &unknown).unwrap(), Verdict::Errno(38));
        }
    }
}

#[test]
fn who_learns_is_asked_about_every_call_but_the_incessant_which_every_list_has() {
    let network = NetworkMode::Full;
    let wide = Variant { network, ..widest(Profile::Ci) };
    for arch in Arch::ALL {
        let plain = compile_for(arch, &wide).unwrap();
        let asking = assemble(arch, &wide, Watch::Lessons).unwrap();
        for (number, name) in arch.calls() {
            let call = call(arch, *number, [0; 6]);
            let allowed = run(&plain.instructions, &call).unwrap() == Verdict::Allow;
            let asked = run(&asking.instructions, &call).unwrap() == Verdict::Notify;
            let expected = allowed && !INCESSANT.contains(name);
            assert!(asked == expected || !allowed, "{name}");
        }
    }
    let base = Calls::of(["@base"]).unwrap();
    for name in INCESSANT {
        let implied = IMPLIED.iter().any(|(_, calls)| calls.contains(&name));
        assert!(base.contains(name) || implied, "{name} would be missing from a learned list");
    }
}
