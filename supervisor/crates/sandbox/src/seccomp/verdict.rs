//! What a filter answers to one call.

/// The answer to one system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The kernel executes it.
    Allow,
    /// It is not executed; the caller sees this error number.
    Errno(u16),
    /// It is not executed; whoever holds the filter's listener answers it (the caller waits).
    Notify,
    /// The whole process dies of `SIGSYS`.
    KillProcess,
}

const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
const USER_NOTIF: u32 = 0x7fc0_0000;
const KILL_PROCESS: u32 = 0x8000_0000;

impl Verdict {
    /// No such call, as an older kernel would say.
    pub(super) const UNKNOWN_CALL: Self = Self::Errno(38);

    /// The value that a filter returns for it.
    #[must_use]
    pub fn to_bits(self) -> u32 {
        match self {
            Self::Allow => ALLOW,
            Self::Errno(number) => ERRNO | u32::from(number),
            Self::Notify => USER_NOTIF,
            Self::KillProcess => KILL_PROCESS,
        }
    }

    /// Reads a value that a filter returned. `None` for an action that filters here never use.
    #[must_use]
    pub fn from_bits(bits: u32) -> Option<Self> {
        let data = u16::try_from(bits & 0xffff).ok()?;
        match bits & 0xffff_0000 {
            ALLOW => Some(Self::Allow),
            ERRNO => Some(Self::Errno(data)),
            USER_NOTIF => Some(Self::Notify),
            KILL_PROCESS => Some(Self::KillProcess),
            _ => None,
        }
    }
}
