//! The brain's end: starts a keeper, sends requests, receives events. Never blocks.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, SockFlag, SockType, socketpair},
};

use crate::{
    channel::{self, Channel},
    error::KeeperError,
    message::{Event, Request},
    program::{KEEPER_NAME, KeeperProgram, PROOFS},
};

/// How long the end of a keeper is waited for, in milliseconds.
const PARTING: u16 = 5_000;

/// A running keeper. Dropping it ends the keeper and everything that it started.
#[derive(Debug)]
pub struct Client {
    outgoing: OwnedFd,
    incoming: Mutex<Channel>,
    keeper: Child,
}

impl AsFd for Client {
    /// Readable when an event waits or the keeper is gone.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.outgoing.as_fd()
    }
}

impl Client {
    /// Starts `program` as keeper. The call costs the same whatever the memory of this process.
    ///
    /// # Errors
    /// [`KeeperError::Start`] when it cannot be executed.
    pub fn start(program: &KeeperProgram) -> Result<Self, KeeperError> {
        let failed =
            |source: io::Error| KeeperError::Start { program: program.path().to_owned(), source };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
            .map_err(|errno| failed(errno.into()))?;
        #[expect(
            clippy::disallowed_methods,
            reason = "the keeper is what all others are spawned by"
        )]
        let keeper = Command::new(program.path())
            .arg0(KEEPER_NAME)
            .arg(std::process::id().to_string())
            .env_clear()
            .envs(proofs().map(|place| (PROOFS, place)))
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .map_err(failed)?;
        let outgoing = ours.try_clone().map_err(failed)?;
        Ok(Self { outgoing, incoming: Mutex::new(Channel::new(ours)), keeper })
    }

    /// The keeper's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.keeper.id()
    }

    /// Sends one request.
    ///
    /// # Errors
    /// [`KeeperError::Socket`] with `WouldBlock` when the keeper is behind; [`KeeperError::Gone`] when
    /// it is gone; [`KeeperError::TooLarge`] and [`KeeperError::Encode`] for a spec that cannot be sent.
    pub fn send(&self, request: &Request) -> Result<(), KeeperError> {
        let bytes = channel::encode(request)?;
        plugbay_sandbox::packet::send(self.outgoing.as_fd(), &[&bytes], &[]).map_err(gone_or_failed)
    }

    /// The next event with its descriptors; `None` when nothing waits.
    ///
    /// # Errors
    /// [`KeeperError::Gone`] when the keeper has ended.
    pub fn receive(&self) -> Result<Option<(Event, Vec<OwnedFd>)>, KeeperError> {
        let mut incoming = self.incoming.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match incoming.receive() {
            Ok(Some(event)) => Ok(Some(event)),
            Ok(None) => Err(KeeperError::Gone),
            Err(KeeperError::Socket(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                Ok(None)
            }
            Err(KeeperError::Socket(error)) if error.kind() == io::ErrorKind::ConnectionReset => {
                Err(KeeperError::Gone)
            }
            Err(other) => Err(other),
        }
    }
}

/// Where proofs are noted: `proofs` in the state directory, as the environment names that.
fn proofs() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let usual = || {
        let home = || set("HOME").map(|home| home.join(".local/state"));
        set("XDG_STATE_HOME").or_else(home).map(|state| state.join("plugbay"))
    };
    set("PLUGBAY_STATE").or_else(usual).map(|state| state.join("proofs"))
}

fn gone_or_failed(errno: Errno) -> KeeperError {
    if [Errno::EPIPE, Errno::ECONNRESET, Errno::ENOTCONN].contains(&errno) {
        return KeeperError::Gone;
    }
    KeeperError::Socket(errno.into())
}

impl Drop for Client {
    fn drop(&mut self) {
        // The keeper ends when its socket does; asking is only quicker. Waiting for it here means that
        // when the host goes on, nothing of its plugins is left.
        self.send(&Request::Goodbye).ok();
        nix::sys::socket::shutdown(
            std::os::fd::AsRawFd::as_raw_fd(&self.outgoing),
            nix::sys::socket::Shutdown::Both,
        )
        .ok();
        if is_gone(&self.keeper) {
            self.keeper.wait().ok();
        }
    }
}

/// Waits for the keeper. One whose plugin the kernel holds cannot end before that is let go, and
/// keeps nobody else waiting.
fn is_gone(keeper: &Child) -> bool {
    let Ok(pid) = i32::try_from(keeper.id()) else { return false };
    // Without a descriptor there is no other way to wait.
    let Ok(process) = plugbay_sandbox::process::open(pid) else { return true };
    let mut polled = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
    !matches!(poll(&mut polled, PollTimeout::from(PARTING)), Ok(0))
}
