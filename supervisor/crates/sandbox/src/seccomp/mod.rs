//! The system call filter: profiles in, a small BPF program out. Pure; nothing is installed here.
//!
//! ```text
//! profiles/*.json ─ source ─► policy ─ decisions of one arch and variant ─► program ─ verify ─► Filter
//!                                                                             │
//!                                                                  interpret (tests, reports)
//! ```
//!
//! The policy is an allow-list: each known call has a verdict, and what is unknown (newer than
//! the table, a hole in it, an x32 number, -1) is answered `ENOSYS`, so that programs fall back as
//! they do on an older kernel. A call of a foreign architecture kills the process.
//!
//! Install the filter last, with `no_new_privs` set, and then execute a *path*: the default profile
//! refuses `execveat` with `AT_EMPTY_PATH`.

mod calls;
pub(crate) mod constant;
mod instruction;
pub mod interpret;
pub mod policy;
mod program;
mod source;
mod strict;
pub mod table;
#[cfg(test)]
mod tests;
mod verdict;
mod verify;

pub use calls::{Calls, UnknownWord};
pub use instruction::Instruction;
pub use policy::{PolicyError, Ruling};
pub use table::Arch;
pub use verdict::Verdict;
pub use verify::{Invalid, MOST_INSTRUCTIONS, verify};

use crate::{
    denial::Watch,
    spec::{NetworkMode, Profile},
};

/// A compiled filter, ready for `seccomp(SECCOMP_SET_MODE_FILTER)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The program; at most [`MOST_INSTRUCTIONS`], each of the layout of `sock_filter`.
    pub instructions: Vec<Instruction>,
}

/// What a filter depends on, beside the architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Variant {
    /// The named profile.
    pub profile: Profile,
    /// Which sockets may be made. The filter closes what Landlock and the network namespace leave
    /// open; it does not replace them.
    pub network: NetworkMode,
    /// Whether the process has an IPC namespace of its own. Without, System V and POSIX queues and
    /// shared memory are refused.
    pub ipc_namespace: bool,
    /// Whether `listen` is allowed under [`NetworkMode::Ports`]. The other modes do not ask: there
    /// is nothing to listen on, or nobody to protect, or no filter wanted.
    pub listen: bool,
    /// Whether unix sockets may be made. Pairs of them always may; where no view hides the services of
    /// the host that have a name, refusing the others is what keeps these out of reach.
    pub unix: bool,
    /// Whether modes, owners, times and attributes of files may be changed. Landlock does not look at
    /// that, so without a view they are either as the user has them or refused altogether.
    pub attributes: bool,
}

/// Why there is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeccompError {
    /// This machine's architecture has no table.
    #[error("no system call table for the architecture `{0}`")]
    UnknownArch(&'static str),
    /// A profile is not what it should be.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The compiler made a program that the kernel would refuse or that might run astray.
    #[error("the compiled filter is not valid")]
    Invalid(#[from] Invalid),
}

/// Compiles the filter of a variant for the running architecture.
///
/// Takes some 30 µs once the profile is read (0.3 ms, once per process); whoever starts many
/// processes keeps the result.
///
/// # Errors
/// The architecture has no table, or a profile is broken (which the tests rule out).
pub fn compile(variant: &Variant) -> Result<Filter, SeccompError> {
    compile_watched(variant, Watch::Nothing)
}

/// Compiles the filter of a variant for any architecture that has a table.
///
/// # Errors
/// A profile is broken (which the tests rule out).
pub fn compile_for(arch: Arch, variant: &Variant) -> Result<Filter, SeccompError> {
    assemble(arch, variant, Watch::Nothing)
}

/// The same filter, with questions to its listener in the place of what `watch` asks for. It works with
/// a listener only: without one, every question is answered `ENOSYS`.
///
/// # Errors
/// As for [`compile`].
pub fn compile_watched(variant: &Variant, watch: Watch) -> Result<Filter, SeccompError> {
    let arch = Arch::native().ok_or(SeccompError::UnknownArch(std::env::consts::ARCH))?;
    assemble(arch, variant, watch)
}

fn assemble(arch: Arch, variant: &Variant, watch: Watch) -> Result<Filter, SeccompError> {
    let instructions = program::assemble(arch, &policy::decisions(arch, variant, watch)?);
    verify(&instructions)?;
    Ok(Filter { instructions })
}

/// Which rule decides about a call, and how.
///
/// # Errors
/// A profile is broken (which the tests rule out).
pub fn ruling(
    variant: &Variant,
    name: &str,
    args: &[u64; 6],
) -> Result<Ruling<'static>, SeccompError> {
    Ok(policy::ruling(name, args, variant)?)
}
