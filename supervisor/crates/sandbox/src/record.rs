//! What the processes inside tell the launcher while they seal themselves: small binary records over
//! a sequenced packet socket. The end of the stream without a failure means that exec succeeded.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, socketpair},
};

use thiserror::Error;

use crate::{
    enforcement::{Layer, LayerReport, Status},
    inlet::{Inlet, InletKind},
    launch::Wait,
    packet,
};

/// Where a start can fail. The name is part of the error text and of reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Stage {
    /// Cloning the first process with its namespaces.
    Clone,
    /// Writing the user namespace's id maps.
    UserMap,
    /// Building and entering the new root.
    Mount,
    /// Opening a granted path.
    OpenGrant,
    /// Mapping the owner of a granted tree.
    IdMap,
    /// Bringing up the loopback interface.
    Loopback,
    /// Building the Landlock ruleset.
    Ruleset,
    /// Forking the stub or the program's process.
    Fork,
    /// A session of its own and the parent-death signal.
    Session,
    /// Resource limits.
    Rlimit,
    /// The dedicated user.
    User,
    /// Dropping capabilities.
    Capabilities,
    /// Changing to the working directory.
    WorkingDirectory,
    /// Arranging standard input, output and error, and closing the rest.
    Descriptors,
    /// `no_new_privs`.
    NoNewPrivileges,
    /// Restricting itself by Landlock.
    Landlock,
    /// Installing the system call filter.
    Seccomp,
    /// Executing the program.
    Exec,
    /// Taking over, in a process made ahead of time, what it shall become.
    Order,
    /// Going into a control group that holds its limits.
    Cgroup,
    /// Keeping the changes of a granted tree apart.
    Overlay,
    /// Sealing itself within a limit that is too low even for that.
    Within,
    /// Opening the inlets of the way to the broker.
    Way,
}

impl Stage {
    const ALL: [Self; 23] = [
        Self::Clone,
        Self::UserMap,
        Self::Mount,
        Self::OpenGrant,
        Self::IdMap,
        Self::Loopback,
        Self::Ruleset,
        Self::Fork,
        Self::Session,
        Self::Rlimit,
        Self::User,
        Self::Capabilities,
        Self::WorkingDirectory,
        Self::Descriptors,
        Self::NoNewPrivileges,
        Self::Landlock,
        Self::Seccomp,
        Self::Exec,
        Self::Order,
        Self::Cgroup,
        Self::Overlay,
        Self::Within,
        Self::Way,
    ];

    /// The stage in words that fit after "failed to".
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Way => "open the way to the broker",
            Self::Within => "seal the process within",
            Self::Overlay => "keep apart the changes of",
            Self::Clone => "clone into new namespaces",
            Self::UserMap => "write the user namespace's id maps",
            Self::Mount => "build the new root",
            Self::OpenGrant => "open a granted path",
            Self::IdMap => "map the owner of a granted tree",
            Self::Loopback => "bring up loopback",
            Self::Ruleset => "build the Landlock ruleset",
            Self::Fork => "fork",
            Self::Session => "detach from the session",
            Self::Rlimit => "set a resource limit",
            Self::User => "change to the dedicated user",
            Self::Capabilities => "drop capabilities",
            Self::WorkingDirectory => "change to the working directory",
            Self::Descriptors => "arrange descriptors",
            Self::NoNewPrivileges => "set no_new_privs",
            Self::Landlock => "restrict by Landlock",
            Self::Seccomp => "install the system call filter",
            Self::Exec => "execute the program",
            Self::Order => "take over what to become",
            Self::Cgroup => "go into a control group",
        }
    }
}

/// A step of sealing that failed, with the kernel's reason. Nothing was executed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("failed to {}{}: {}", stage.describe(), subject_text(subject), errno.desc())]
pub struct Failure {
    /// Which step.
    pub stage: Stage,
    /// The kernel's reason.
    pub errno: Errno,
    /// The path or name concerned; may be empty.
    pub subject: String,
}

fn subject_text(subject: &str) -> String {
    if subject.is_empty() { String::new() } else { format!(" `{}`", subject.escape_debug()) }
}

impl Failure {
    /// Whether this means that the rung of the ladder is not to be had here, rather than that the spec
    /// is wrong or the host short of something for the moment.
    pub(crate) fn loses_rung(&self) -> bool {
        let stage =
            matches!(self.stage, Stage::Clone | Stage::UserMap | Stage::Mount | Stage::Loopback);
        let temporary = [Errno::EAGAIN, Errno::ENOMEM, Errno::EMFILE, Errno::ENFILE, Errno::ESRCH];
        // A subject means one granted path: others may work, so the rung does.
        stage && self.subject.is_empty() && !temporary.contains(&self.errno)
    }

    pub(crate) fn at(stage: Stage) -> impl Fn(Errno) -> Self {
        move |errno| Self { stage, errno, subject: String::new() }
    }

    pub(crate) fn about(stage: Stage, subject: impl Into<String>) -> impl FnOnce(Errno) -> Self {
        let subject = subject.into();
        move |errno| Self { stage, errno, subject }
    }
}

/// One record.
#[derive(Debug)]
pub(crate) enum Record {
    /// A layer that came out other than planned.
    Layer(LayerReport),
    /// The start failed; nothing was executed.
    Failed(Failure),
    /// A descriptor of the program's process.
    Main(OwnedFd),
    /// Where the filter asks about what it refuses; or why it does not ask.
    Listener(Result<OwnedFd, Errno>),
    /// Where connections come in that a broker outside takes.
    Inlet(Inlet),
}

const MAX_RECORD: usize = 4096;
const HEADER: usize = 6;
const TAG_LAYER: u8 = 1;
const TAG_FAILED: u8 = 2;
const TAG_MAIN: u8 = 3;
const TAG_LISTENER: u8 = 4;
const TAG_INLET: u8 = 5;

/// The two ends: ours and the one for inside. Both are close-on-exec.
pub(crate) fn pair() -> Result<(Receiver, Sender), Errno> {
    let (ours, theirs) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((Receiver(ours), Sender(theirs)))
}

/// The inside end.
#[derive(Debug)]
pub(crate) struct Sender(OwnedFd);

impl AsFd for Sender {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Sender {
    /// Reports that a layer came out other than planned.
    pub(crate) fn layer(&self, layer: Layer, status: Status, why: &str) -> Result<(), Errno> {
        let place = Layer::ALL.iter().position(|known| *known == layer).unwrap_or_default();
        let status = match status {
            Status::Enforced => 0,
            Status::Partial => 1,
            Status::Absent => 2,
            Status::NotWanted => 3,
        };
        let place = u8::try_from(place).unwrap_or_default();
        self.send(&[TAG_LAYER, place, status, 0, 0, 0], why, None)
    }

    /// Reports a failure. The caller exits.
    pub(crate) fn failed(&self, failure: &Failure) {
        let [a, b, c, d] = (failure.errno as i32).to_le_bytes();
        let header = [TAG_FAILED, failure.stage as u8, a, b, c, d];
        // If even this cannot be sent, the launcher sees the end of the stream and the exit code.
        self.send(&header, &failure.subject, None).ok();
    }

    /// Hands over the descriptor of the program's process.
    pub(crate) fn main_process(&self, process: BorrowedFd<'_>) -> Result<(), Errno> {
        self.send(&[TAG_MAIN, 0, 0, 0, 0, 0], "", Some(process))
    }

    /// Hands over the filter's listener, or tells why there is none.
    pub(crate) fn listener(&self, listener: Result<BorrowedFd<'_>, Errno>) -> Result<(), Errno> {
        let [a, b, c, d] = listener.err().map_or(0, |errno| errno as i32).to_le_bytes();
        self.send(&[TAG_LISTENER, 0, a, b, c, d], "", listener.ok())
    }

    /// Hands over an inlet.
    pub(crate) fn inlet(&self, inlet: &Inlet) -> Result<(), Errno> {
        let (kind, port) = match inlet.kind {
            InletKind::Proxy => (0, 0),
            InletKind::Direct(port) => (1, port),
            InletKind::Questions => (2, 0),
            InletKind::QuestionStreams => (3, 0),
        };
        let [low, high] = port.to_le_bytes();
        self.send(&[TAG_INLET, kind, low, high, 0, 0], "", Some(inlet.socket.as_fd()))
    }

    fn send(
        &self,
        header: &[u8; HEADER],
        text: &str,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(), Errno> {
        let text = text.as_bytes();
        let text = text.get(..text.len().min(MAX_RECORD - HEADER)).unwrap_or_default();
        packet::send(self.0.as_fd(), &[header, text], fd.as_slice())
    }
}

/// The launcher's end.
#[derive(Debug)]
pub(crate) struct Receiver(OwnedFd);

impl AsFd for Receiver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Receiver {
    /// The next record; `None` when every sender is closed. `EAGAIN` when nothing has come yet and
    /// `wait` says not to block.
    pub(crate) fn receive(&self, wait: Wait) -> Result<Option<Record>, Errno> {
        let mut buffer = [0_u8; MAX_RECORD];
        let (length, mut fds) = packet::receive(self.0.as_fd(), &mut buffer, wait)?;
        if length == 0 {
            return Ok(None);
        }
        let bytes = buffer.get(..length).unwrap_or_default();
        decode(bytes, fds.pop()).map(Some).ok_or(Errno::EBADMSG)
    }
}

fn decode(bytes: &[u8], fd: Option<OwnedFd>) -> Option<Record> {
    let (header, text) = bytes.split_first_chunk::<HEADER>()?;
    let text = String::from_utf8_lossy(text).into_owned();
    let [tag, kind, rest @ ..] = *header;
    match tag {
        TAG_LAYER => {
            let layer = *Layer::ALL.get(usize::from(kind))?;
            let status = match rest[0] {
                0 => Status::Enforced,
                1 => Status::Partial,
                2 => Status::Absent,
                _ => Status::NotWanted,
            };
            Some(Record::Layer(LayerReport { layer, status, why: text }))
        }
        TAG_FAILED => {
            let stage = *Stage::ALL.get(usize::from(kind))?;
            Some(Record::Failed(Failure {
                stage,
                errno: Errno::from_raw(i32::from_le_bytes(rest)),
                subject: text,
            }))
        }
        TAG_MAIN => fd.map(Record::Main),
        TAG_LISTENER => {
            let errno = Errno::from_raw(i32::from_le_bytes(rest));
            Some(Record::Listener(fd.ok_or(errno)))
        }
        TAG_INLET => {
            let kind = match kind {
                0 => InletKind::Proxy,
                1 => InletKind::Direct(u16::from_le_bytes([rest[0], rest[1]])),
                2 => InletKind::Questions,
                _ => InletKind::QuestionStreams,
            };
            fd.map(|socket| Record::Inlet(Inlet { kind, socket }))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layer_and_failure_records_survive_the_trip() {
        let (receiver, sender) = pair().unwrap();
        sender.layer(Layer::Seccomp, Status::Partial, "why").unwrap();
        sender.failed(&Failure { stage: Stage::Exec, errno: Errno::ENOENT, subject: "/x".into() });
        drop(sender);
        let first = receiver.receive(Wait::Block).unwrap().unwrap();
        assert!(matches!(first, Record::Layer(report)
            if report.layer == Layer::Seccomp && report.status == Status::Partial && report.why == "why"));
        let second = receiver.receive(Wait::Block).unwrap().unwrap();
        assert!(matches!(second, Record::Failed(failure)
            if failure.stage == Stage::Exec && failure.errno == Errno::ENOENT && failure.subject == "/x"));
        assert!(receiver.receive(Wait::Block).unwrap().is_none());
    }

    #[test]
    fn a_descriptor_travels_with_its_record() {
        let (receiver, sender) = pair().unwrap();
        let (read, write) = nix::unistd::pipe().unwrap();
        sender.main_process(write.as_fd()).unwrap();
        let Some(Record::Main(copy)) = receiver.receive(Wait::Block).unwrap() else {
            panic!("no descriptor")
        };
        drop(write);
        nix::unistd::write(&copy, b"x").unwrap();
        let mut byte = [0];
        assert_eq!(nix::unistd::read(&read, &mut byte), Ok(1));
    }

    #[test]
    fn a_listener_or_the_reason_for_none_arrives() {
        let (receiver, sender) = pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        sender.listener(Ok(null.as_fd())).unwrap();
        sender.listener(Err(Errno::EBUSY)).unwrap();
        let next = || receiver.receive(Wait::Block).unwrap().unwrap();
        assert!(matches!(next(), Record::Listener(Ok(_))));
        assert!(matches!(next(), Record::Listener(Err(Errno::EBUSY))));
    }

    #[test]
    fn an_inlet_arrives_with_its_kind() {
        let (receiver, sender) = pair().unwrap();
        let null = || std::fs::File::open("/dev/null").unwrap().into();
        for kind in [InletKind::Proxy, InletKind::Direct(44_321), InletKind::QuestionStreams] {
            sender.inlet(&Inlet { kind, socket: null() }).unwrap();
            let Some(Record::Inlet(inlet)) = receiver.receive(Wait::Block).unwrap() else {
                panic!("no inlet")
            };
            assert_eq!(inlet.kind, kind);
        }
    }

    #[test]
    fn stages_keep_their_numbers() {
        for (place, stage) in Stage::ALL.iter().enumerate() {
            assert_eq!(place, usize::from(*stage as u8));
        }
    }

    #[test]
    fn a_rung_is_lost_by_a_refusal_and_not_by_a_shortage_or_one_path() {
        let failure =
            |stage, errno, subject: &str| Failure { stage, errno, subject: subject.to_owned() };
        assert!(failure(Stage::Clone, Errno::EPERM, "").loses_rung());
        assert!(failure(Stage::Mount, Errno::EACCES, "").loses_rung());
        assert!(!failure(Stage::Clone, Errno::EAGAIN, "").loses_rung());
        assert!(!failure(Stage::Mount, Errno::EINVAL, "/mnt/odd").loses_rung());
        assert!(!failure(Stage::Exec, Errno::EPERM, "").loses_rung());
    }

    #[test]
    fn nothing_yet_is_not_the_end() {
        let (receiver, _sender) = pair().unwrap();
        assert_eq!(receiver.receive(Wait::Poll).unwrap_err(), Errno::EAGAIN);
    }
}
