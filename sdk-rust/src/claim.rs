//! Takes the wire out of everybody's reach. A plugin's `println!`, a library's, and those of every child
//! process go to file descriptor 1; so the wire must not be there.
//!
//! ```text
//!            before                      after
//!   0   wire, host to plugin       /dev/null
//!   1   wire, plugin to host       where 2 goes
//!   n                              the wire, closed on exec
//! ```

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd};

/// The environment variable that names the wire where it is not standard input and output: one file
/// descriptor for both directions, a socket.
pub(crate) const RPC_FD: &str = "PLUGBAY_RPC_FD";

/// The two ends of the wire.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) input: OwnedFd,
    pub(crate) output: OwnedFd,
}

/// Why there is no wire.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    #[error("read `{RPC_FD}`: `{0}` is no file descriptor")]
    Name(String),
    #[error("take over file descriptor {0} named by `{RPC_FD}`")]
    Named(RawFd, #[source] io::Error),
    #[error("take over standard input and output")]
    Standard(#[source] io::Error),
}

/// Takes the wire for this process alone: `named` is what [`RPC_FD`] says, if anything.
pub(crate) fn claim(named: Option<&str>) -> Result<Wire, ClaimError> {
    let wire = match named {
        None => standard().map_err(ClaimError::Standard)?,
        Some(name) => {
            let number = name.parse().map_err(|_no_number| ClaimError::Name(name.to_owned()))?;
            socket(number).map_err(|error| ClaimError::Named(number, error))?
        }
    };
    for end in [&wire.input, &wire.output] {
        // A host may have left its own setting on a shared terminal or socket.
        rustix::io::ioctl_fionbio(end, false)
            .map_err(|error| ClaimError::Standard(error.into()))?;
    }
    Ok(wire)
}

fn standard() -> io::Result<Wire> {
    let wire =
        Wire { input: duplicate(io::stdin().as_fd())?, output: duplicate(io::stdout().as_fd())? };
    silence()?;
    Ok(wire)
}

/// Duplicates to above the standard three, closed on exec.
fn duplicate(end: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    end.try_clone_to_owned()
}

/// Makes standard input empty, and standard output go where standard error does.
fn silence() -> io::Result<()> {
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(io::stderr())?;
    Ok(())
}

fn socket(number: RawFd) -> io::Result<Wire> {
    let input = match number {
        0 => duplicate(io::stdin().as_fd())?,
        1 => duplicate(io::stdout().as_fd())?,
        // Without `unsafe` a number becomes a file only through a name: ours is in our own process.
        number => {
            let own = pidfd_open(getpid(), PidfdFlags::empty())?;
            pidfd_getfd(own, number, PidfdGetfdFlags::empty())?
        }
    };
    if matches!(number, 0 | 1) {
        silence()?;
    }
    let output = input.try_clone()?;
    Ok(Wire { input, output })
}
