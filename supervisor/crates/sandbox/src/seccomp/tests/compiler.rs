//! Compiled programs: what they answer, how large they are, that they cannot go astray.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::{MODES, call, naive, number, variants, widest};
use crate::{
    seccomp::{
        Arch, Filter, Instruction, Invalid, Variant, Verdict, compile_for, constant,
        instruction::{AND, EQUAL, JUMP, LOAD, RETURN},
        interpret::{Call, run},
        program, verify,
    },
    spec::{NetworkMode, Profile},
};

const ENOSYS: Verdict = Verdict::Errno(38);
const EPERM: Verdict = Verdict::Errno(1);
const EACCES: Verdict = Verdict::Errno(13);

/// Every arch and variant with its filter, compiled once.
fn filters() -> &'static [(Arch, Variant, Filter)] {
    static FILTERS: OnceLock<Vec<(Arch, Variant, Filter)>> = OnceLock::new();
    FILTERS.get_or_init(|| {
        let mut filters = Vec::new();
        for arch in Arch::ALL {
            for variant in variants() {
                filters.push((arch, variant, compile_for(arch, &variant).unwrap()));
            }
        }
        filters
    })
}

fn answer(filter: &Filter, call: &Call) -> Verdict {
    run(&filter.instructions, call).unwrap()
}

fn ask(variant: &Variant, name: &str, args: [u64; 6]) -> Verdict {
    let arch = Arch::X86_64;
    answer(&compile_for(arch, variant).unwrap(), &call(arch, number(arch, name), args))
}

#[test]
fn every_variant_compiles_to_a_small_program() {
    for (arch, variant, filter) in filters() {
        let count = filter.instructions.len();
        assert!(count < 256, "{arch:?} {variant:?}: {count} instructions");
    }
}

#[test]
fn every_call_on_every_edge_of_its_checks_is_answered_as_the_profile_says() {
    for (arch, variant, filter) in filters() {
        for (number, name) in arch.calls() {
            for args in naive::edges(variant.profile, name) {
                let call = call(*arch, *number, args);
                let expected = naive::answer(*arch, variant, &call);
                assert_eq!(
                    answer(filter, &call),
                    expected,
                    "{arch:?} {variant:?} {name} {args:x?}"
                );
            }
        }
    }
}

fn argument() -> impl Strategy<Value = u64> {
    let named = || prop::sample::select(constant::VALUES).prop_map(|(_, value)| u64::from(value));
    prop_oneof![
        any::<u64>(),
        0..16_u64,
        named(),
        (named(), named()).prop_map(|(a, b)| a | b),
        (named(), any::<u32>()).prop_map(|(a, high)| a | u64::from(high) << 32),
    ]
}

proptest! {
    #[test]
    fn compiled_and_naive_agree_on_all_numbers(
        which in 0..128_usize,
        lists in prop::collection::vec(prop::array::uniform6(argument()), 7),
        beyond in any::<u32>(),
    ) {
        let (arch, variant, filter) = &filters()[which % filters().len()];
        let known = 0..=arch.newest() + 3;
        let strange = [beyond, beyond | 0x4000_0000, u32::MAX, u32::MAX - 1];
        for (number, args) in known.chain(strange).zip(lists.iter().cycle()) {
            let call = call(*arch, number, *args);
            prop_assert_eq!(
                answer(filter, &call),
                naive::answer(*arch, variant, &call),
                "{:?} {:?} {} {:x?}", arch, variant, number, args
            );
        }
    }

    #[test]
    fn the_interpreter_never_goes_astray_in_what_verify_accepts(
        program in prop::collection::vec(instruction(), 1..24),
        number in any::<u32>(),
        args in prop::array::uniform6(any::<u64>()),
    ) {
        if verify(&program).is_ok() {
            prop_assert!(run(&program, &call(Arch::X86_64, number, args)).is_ok());
        }
    }
}

fn instruction() -> impl Strategy<Value = Instruction> {
    let plain = |code, k: BoxedStrategy<u32>| k.prop_map(move |k| Instruction::plain(code, k));
    prop_oneof![
        4 => plain(RETURN, Just(Verdict::Allow.to_bits()).boxed()),
        1 => plain(RETURN, any::<u32>().boxed()),
        2 => plain(LOAD, (0..68_u32).boxed()),
        1 => plain(AND, any::<u32>().boxed()),
        1 => plain(JUMP, (0..8_u32).boxed()),
        4 => (0..8_u8, 0..8_u8, any::<u32>())
            .prop_map(|(jt, jf, k)| Instruction { code: EQUAL, jt, jf, k }),
    ]
}

#[test]
fn a_foreign_architecture_is_killed() {
    for (arch, variant, filter) in filters() {
        for foreign in [0x4000_0003, 0x4000_0028, 0, u32::MAX] {
            for number in [0, 1, 59, 0x4000_0000, u32::MAX] {
                let call = Call { arch: foreign, number, args: [0; 6] };
                let verdict = answer(filter, &call);
                assert_eq!(verdict, Verdict::KillProcess, "{arch:?} {variant:?} {foreign:#x}");
            }
        }
    }
}

#[test]
fn x32_numbers_and_minus_one_are_unknown_calls_and_do_not_kill() {
    for (arch, _, filter) in filters() {
        for (number, name) in arch.calls() {
            let verdict = answer(filter, &call(*arch, number | 0x4000_0000, [0; 6]));
            assert_eq!(verdict, ENOSYS, "{name}");
        }
        for number in [u32::MAX, 0x4000_0000, 0x8000_0000, arch.newest() + 1, 512, 547, 1023] {
            assert_eq!(answer(filter, &call(*arch, number, [0; 6])), ENOSYS, "{number}");
        }
    }
}

#[test]
fn holes_in_the_table_are_unknown_calls() {
    for (arch, _, filter) in filters() {
        for number in (0..arch.newest()).filter(|number| arch.call_name(*number).is_none()) {
            assert_eq!(answer(filter, &call(*arch, number, [0; 6])), ENOSYS, "{number}");
        }
    }
}

#[test]
fn the_upper_half_of_an_argument_hides_nothing() {
    let variant = widest(Profile::Default);
    for high in [0, 1 << 32, u64::MAX << 32] {
        assert_eq!(ask(&variant, "ioctl", [0, 0x5412 | high, 0, 0, 0, 0]), EPERM);
        assert_eq!(ask(&variant, "clone", [0x1000_0000 | high, 0, 0, 0, 0, 0]), EPERM);
        assert_eq!(ask(&variant, "prlimit64", [high, 0, 0, 0, 0, 0]), Verdict::Allow);
    }
}

#[test]
fn without_a_network_only_unix_sockets_are_made() {
    for ipc_namespace in [false, true] {
        let variant = Variant { network: NetworkMode::None, ipc_namespace, ..widest(Profile::Ci) };
        assert_eq!(ask(&variant, "socket", [1, 1, 0, 0, 0, 0]), Verdict::Allow);
        for family in [0, 2, 10, 16, 17, 38, 40, 44] {
            assert_eq!(ask(&variant, "socket", [family, 1, 0, 0, 0, 0]), EACCES, "{family}");
        }
    }
}

#[test]
fn under_ports_nothing_speaks_but_tcp() {
    let variant =
        Variant { network: NetworkMode::Ports, listen: false, ..widest(Profile::Default) };
    let cloexec = 0x80000;
    for family in [2, 10] {
        assert_eq!(ask(&variant, "socket", [family, 1 | cloexec, 0, 0, 0, 0]), Verdict::Allow);
        assert_eq!(ask(&variant, "socket", [family, 1, 6, 0, 0, 0]), Verdict::Allow);
        assert_eq!(ask(&variant, "socket", [family, 2 | cloexec, 0, 0, 0, 0]), EACCES);
        assert_eq!(ask(&variant, "socket", [family, 3, 0, 0, 0, 0]), EPERM);
        assert_eq!(ask(&variant, "socket", [family, 10, 0, 0, 0, 0]), EPERM);
        assert_eq!(ask(&variant, "socket", [family, 1, 262, 0, 0, 0]), Verdict::Errno(93));
        assert_eq!(ask(&variant, "socket", [family, 1, 132, 0, 0, 0]), Verdict::Errno(93));
    }
    assert_eq!(ask(&variant, "sendto", [3, 0, 0, 0x2000_4000, 0, 0]), Verdict::Errno(95));
    assert_eq!(ask(&variant, "sendto", [3, 0, 0, 0x4000, 0, 0]), Verdict::Allow);
    assert_eq!(ask(&variant, "setsockopt", [3, 6, 30, 0, 0, 0]), Verdict::Errno(95));
    assert_eq!(ask(&variant, "setsockopt", [3, 6, 1, 0, 0, 0]), Verdict::Allow);
    assert_eq!(ask(&variant, "listen", [3, 0, 0, 0, 0, 0]), EACCES);
    let granted = Variant { listen: true, ..variant };
    assert_eq!(ask(&granted, "listen", [3, 0, 0, 0, 0, 0]), Verdict::Allow);
}

#[test]
fn listening_needs_a_grant_only_where_ports_are_listed() {
    for network in MODES {
        let variant = Variant { network, listen: false, ..widest(Profile::Default) };
        let expected = if network == NetworkMode::Ports { EACCES } else { Verdict::Allow };
        assert_eq!(ask(&variant, "listen", [3, 128, 0, 0, 0, 0]), expected, "{network:?}");
    }
}

#[test]
fn shared_ipc_needs_a_namespace_of_its_own() {
    let own = widest(Profile::Default);
    let shared = Variant { ipc_namespace: false, ..own };
    for name in ["shmget", "shmat", "msgrcv", "semop", "mq_open"] {
        assert_eq!(ask(&own, name, [0; 6]), Verdict::Allow, "{name}");
        assert_eq!(ask(&shared, name, [0; 6]), EPERM, "{name}");
    }
}

#[test]
fn a_long_tree_jumps_over_the_reach_of_a_byte() {
    // No two neighbours alike, so that each number is a range of its own.
    let decisions: Vec<_> = (0..1500_u32)
        .map(|number| {
            let errno = u16::try_from(number % 700).unwrap();
            (
                number,
                crate::seccomp::policy::Decision {
                    tests: Vec::new(),
                    otherwise: Verdict::Errno(errno),
                    asked: crate::seccomp::policy::Asked::Never,
                },
            )
        })
        .collect();
    let program = program::assemble(Arch::X86_64, &decisions);
    verify(&program).unwrap();
    assert!(program.iter().any(|instruction| instruction.code == JUMP));
    for (number, decision) in &decisions {
        let verdict = run(&program, &call(Arch::X86_64, *number, [0; 6])).unwrap();
        assert_eq!(verdict, decision.otherwise, "{number}");
    }
    assert_eq!(run(&program, &call(Arch::X86_64, 1500, [0; 6])).unwrap(), ENOSYS);
}

#[test]
fn no_decision_at_all_refuses_everything() {
    let program = program::assemble(Arch::Aarch64, &[]);
    verify(&program).unwrap();
    for number in [0, 1, u32::MAX] {
        assert_eq!(run(&program, &call(Arch::Aarch64, number, [0; 6])).unwrap(), ENOSYS);
    }
}

#[test]
fn verify_refuses_what_the_kernel_would() {
    let end = Instruction::plain(RETURN, Verdict::Allow.to_bits());
    let far = Instruction { code: EQUAL, jt: 0, jf: 1, k: 0 };
    assert_eq!(verify(&[]), Err(Invalid::Empty));
    assert_eq!(verify(&vec![end; 4097]), Err(Invalid::TooLong(4097)));
    assert_eq!(verify(&vec![end; 4096]), Ok(()));
    assert_eq!(verify(&[far, end]), Err(Invalid::RunsOut { at: 0 }));
    assert_eq!(verify(&[Instruction::plain(JUMP, u32::MAX), end]), Err(Invalid::RunsOut { at: 0 }));
    assert_eq!(verify(&[Instruction::plain(LOAD, 0)]), Err(Invalid::RunsOut { at: 0 }));
    assert_eq!(
        verify(&[Instruction::plain(LOAD, 2), end]),
        Err(Invalid::Load { at: 0, offset: 2 })
    );
    assert_eq!(
        verify(&[Instruction::plain(LOAD, 64), end]),
        Err(Invalid::Load { at: 0, offset: 64 })
    );
    assert_eq!(
        verify(&[Instruction::plain(0x28, 0), end]),
        Err(Invalid::Opcode { at: 0, code: 0x28 })
    );
    assert_eq!(
        verify(&[Instruction::plain(RETURN, 0x7ff0_0000)]),
        Err(Invalid::Return { at: 0, value: 0x7ff0_0000 })
    );
}
