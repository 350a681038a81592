//! System call numbers of the supported architectures, as checked-in data.
//!
//! Data and not `libc`'s constants, since these lag behind the kernel and exist for the running
//! architecture only; a test holds the two together.

mod aarch64;
mod x86_64;

use std::{collections::BTreeSet, sync::OnceLock};

/// A processor architecture that filters can be compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arch {
    /// 64-bit x86; its x32 numbers are refused.
    X86_64,
    /// 64-bit ARM, little-endian.
    Aarch64,
}

impl Arch {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// The running one, if it has a table.
    #[must_use]
    pub fn native() -> Option<Self> {
        if cfg!(all(target_arch = "x86_64", target_pointer_width = "64")) {
            Some(Self::X86_64)
        } else if cfg!(all(target_arch = "aarch64", target_endian = "little")) {
            Some(Self::Aarch64)
        } else {
            None
        }
    }

    /// Its name, as in file names and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The number by which the kernel names it to filters (`AUDIT_ARCH_…`).
    #[must_use]
    pub fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::Aarch64 => 0xc000_00b7,
        }
    }

    /// Its calls, in the order of their numbers.
    #[must_use]
    pub fn calls(self) -> &'static [(u32, &'static str)] {
        match self {
            Self::X86_64 => x86_64::CALLS,
            Self::Aarch64 => aarch64::CALLS,
        }
    }

    /// The newest number that the table knows.
    #[must_use]
    pub fn newest(self) -> u32 {
        self.calls().last().map_or(0, |(number, _)| *number)
    }

    /// The name of a call, for reports.
    #[must_use]
    pub fn call_name(self, number: u32) -> Option<&'static str> {
        let at = self.calls().binary_search_by_key(&number, |(n, _)| *n).ok()?;
        self.calls().get(at).map(|(_, name)| *name)
    }
}

/// The names of the calls of all architectures, each once, in alphabetical order.
pub(super) fn names() -> &'static [&'static str] {
    static NAMES: OnceLock<Vec<&'static str>> = OnceLock::new();
    NAMES.get_or_init(|| {
        let all = Arch::ALL.iter().flat_map(|arch| arch.calls()).map(|(_, name)| *name);
        all.collect::<BTreeSet<_>>().into_iter().collect()
    })
}

/// Whether any table has a call of this name; the table's own text, if so.
pub(super) fn known(name: &str) -> Option<&'static str> {
    let at = names().binary_search(&name).ok()?;
    names().get(at).copied()
}
