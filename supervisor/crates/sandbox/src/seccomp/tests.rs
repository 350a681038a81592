//! The compiler against a naive reading of the profiles, and the profiles against themselves.

mod compiler;
mod naive;
mod profiles;
mod strict;
mod tables;
mod watched;

use super::{Arch, Variant, interpret::Call};
use crate::spec::{NetworkMode, Profile};

const MODES: [NetworkMode; 4] =
    [NetworkMode::None, NetworkMode::Loopback, NetworkMode::Ports, NetworkMode::Full];

const PROFILES: [Profile; 2] = [Profile::Default, Profile::Ci];

/// Everything a filter can depend on.
fn variants() -> Vec<Variant> {
    let mut variants = Vec::new();
    for profile in PROFILES {
        for network in MODES {
            for ipc_namespace in [false, true] {
                for listen in [false, true] {
                    let open = Variant {
                        profile,
                        network,
                        ipc_namespace,
                        listen,
                        unix: true,
                        attributes: true,
                    };
                    variants.extend([open, Variant { unix: false, attributes: false, ..open }]);
                }
            }
        }
    }
    variants
}

/// The variant that allows most.
fn widest(profile: Profile) -> Variant {
    Variant {
        profile,
        network: NetworkMode::Full,
        ipc_namespace: true,
        listen: true,
        unix: true,
        attributes: true,
    }
}

fn call(arch: Arch, number: u32, args: [u64; 6]) -> Call {
    Call { arch: arch.audit(), number, args }
}

/// The number of a call by its name.
fn number(arch: Arch, name: &str) -> u32 {
    arch.calls().iter().find(|(_, n)| *n == name).unwrap().0
}
