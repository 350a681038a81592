//! The compiler against a naive reading of the profiles, and the profiles against themselves.

use super::{Arch, Variant, compile_for};
use crate::spec::{NetworkMode, Profile};

const MODES: [NetworkMode; 4] =
    [NetworkMode::None, NetworkMode::Loopback, NetworkMode::Ports, NetworkMode::Full];

fn variants() -> impl Iterator<Item = Variant> {
    [Profile::Default, Profile::Ci].into_iter().flat_map(|profile| {
        MODES.into_iter().flat_map(move |network| {
            [(false, false), (false, true), (true, false), (true, true)].into_iter().map(
                move |(ipc_namespace, listen)| Variant { profile, network, ipc_namespace, listen },
            )
        })
    })
}

#[test]
fn every_variant_compiles_to_a_small_program() {
    for arch in Arch::ALL {
        for variant in variants() {
            let filter = compile_for(arch, &variant).unwrap();
            assert!(filter.instructions.len() < 256, "{variant:?}: {}", filter.instructions.len());
        }
    }
}
