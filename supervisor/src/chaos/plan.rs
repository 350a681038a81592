//! Which plugin misbehaves in a row, and how it is set up.

use std::time::Duration;

use plugbay::lifecycle::restart::Policy;

/// The program that misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sinner {
    /// The twin in Python: `plugin.py`, built into this program.
    Python,
    /// The twin in Rust: this program, started as one.
    Rust,
    /// None: the row makes its own plugins.
    Absent,
}

impl Sinner {
    /// Its name in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Rust => "rust",
            Self::Absent => "own",
        }
    }
}

/// Which sinner, and how it is set up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// The program.
    pub(crate) sinner: Sinner,
    /// Sins of its start: words on its command line.
    pub(crate) sins: &'static str,
    /// More of its manifest.
    pub(crate) manifest: &'static str,
    /// What is changed of the restart policy.
    pub(crate) tune: fn(&mut Policy),
}

impl Plan {
    /// The Python twin as it is.
    pub(crate) const PYTHON: Self =
        Self { sinner: Sinner::Python, sins: "", manifest: "", tune: at_once };
    /// The Rust twin as it is.
    pub(crate) const RUST: Self = Self { sinner: Sinner::Rust, ..Self::PYTHON };
    /// Nobody.
    pub(crate) const ABSENT: Self = Self { sinner: Sinner::Absent, ..Self::PYTHON };

    /// With sins of the start.
    pub(crate) const fn sinning(self, sins: &'static str) -> Self {
        Self { sins, ..self }
    }

    /// With the restart policy that its manifest states, instead of one without delays.
    pub(crate) const fn delayed(self) -> Self {
        Self { tune: untouched, ..self }
    }

    /// With more of a manifest.
    pub(crate) const fn with(self, manifest: &'static str) -> Self {
        Self { manifest, ..self }
    }
}

/// The policy of most rows: what is restarted is restarted at once, however often.
pub(crate) fn at_once(policy: &mut Policy) {
    policy.first = Duration::ZERO;
    policy.base = Duration::ZERO;
    policy.cap = Duration::ZERO;
    policy.breaker = u32::MAX;
    policy.slow_breaker = u32::MAX;
}

fn untouched(_: &mut Policy) {}
