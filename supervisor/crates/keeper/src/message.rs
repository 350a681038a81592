//! What brain and keeper say to each other. Both are of one version and trust each other; neither
//! carries a byte that a plugin chose, except as an exit status and the numbers of a refused call.

use plugbay_sandbox::{Enforcement, Exit, InletKind, Spec, Tally};
use serde::{Deserialize, Serialize};

/// The brain's name for one process; unique while the control socket lives.
pub type Token = u64;

/// What a brain asks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Start a process. Answered by [`Event::Started`] or [`Event::Failed`].
    Spawn {
        /// Its name from now on.
        token: Token,
        /// What to start.
        spec: Box<Spec>,
    },
    /// Send a signal to the program's process. Not answered: it may have ended already.
    Signal {
        /// Which process.
        token: Token,
        /// Which signal.
        signal: i32,
    },
    /// Kill the whole tree. [`Event::Exited`] follows when nothing is left of it.
    Kill {
        /// Which process.
        token: Token,
    },
    /// Kill everything and end.
    Goodbye,
}

/// What a keeper tells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The program runs. With it come, in this order, the write end of its standard input, the read
    /// ends of its standard output and error, a pidfd that becomes readable when it ends, and the
    /// inlets of its way out, if it has one.
    Started {
        /// Which process.
        token: Token,
        /// Its process id, for people.
        pid: Option<u32>,
        /// What was really enforced.
        enforcement: Box<Enforcement>,
        /// Its way out, where named hosts were granted.
        way: Option<Passage>,
    },
    /// The program never ran.
    Failed {
        /// Which process.
        token: Token,
        /// Why.
        failure: Failure,
    },
    /// What the program and all it started were refused so far, each kind with its count. Told now and
    /// then while there is something new, and a last time before [`Event::Exited`].
    Denied {
        /// Which process.
        token: Token,
        /// All of it, not what has come since the last time.
        denials: Tally,
    },
    /// The program has ended and nothing is left of its tree.
    Exited {
        /// Which process.
        token: Token,
        /// How it ended.
        exit: Exit,
    },
}

/// A way out, without its descriptors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Passage {
    /// What comes in by each inlet, in the order of the descriptors.
    pub inlets: Vec<InletKind>,
    /// What a client has to say to be served, where others could come as well.
    pub token: Option<String>,
}

/// Why a program never ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The stage in words, when it was a step of sealing.
    pub stage: Option<String>,
    /// The kernel's number, when there was one.
    pub errno: Option<i32>,
    /// The whole reason in words.
    pub message: String,
}

impl Failure {
    /// Whether another try may succeed although nothing was changed: the host was short of
    /// processes, memory or descriptors.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self.errno, Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE))
    }
}
