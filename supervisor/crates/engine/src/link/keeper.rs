//! The link to the keeper: requests out, events in, each to whoever waits for it.
//!
//! Two tasks per keeper and none per process. When the keeper is gone, everything it started is
//! gone too (the kernel sees to that); everyone is told, and the next start begins with a new one.

use std::{
    collections::HashMap,
    fmt, io,
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use plugbay_keeper::{Client, Event, Failure, KeeperError, KeeperProgram, Passage, Request, Token};
use plugbay_sandbox::{Exit, Inlet, Limit, Spec, Tally, Way};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{mpsc, oneshot, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Boxed, Control, Exited, Launched, Launcher, Process, cpu, readiness::register};
use crate::plugin::{
    death::{Cause, Usage},
    lock,
};

/// Starts processes through a keeper, and keeps a keeper.
#[derive(Debug)]
pub(crate) struct Keeper {
    program: KeeperProgram,
    connection: Mutex<Option<Arc<Connection>>>,
}

impl Keeper {
    /// Starts a keeper. Needs a runtime.
    pub(crate) fn start(program: KeeperProgram) -> Result<Self, KeeperError> {
        let connection = Connection::open(&program)?;
        Ok(Self { program, connection: Mutex::new(Some(connection)) })
    }

    /// The keeper that runs; a new one if there is none.
    fn connection(&self) -> Result<Arc<Connection>, KeeperError> {
        let mut connection = lock(&self.connection);
        match &*connection {
            Some(open) if !open.is_gone() => Ok(open.clone()),
            Some(_) | None => {
                let open = Connection::open(&self.program)?;
                *connection = Some(open.clone());
                Ok(open)
            }
        }
    }
}

impl Launcher for Keeper {
    fn launch(&self, spec: Spec) -> Boxed<'_, Result<Launched, Cause>> {
        Box::pin(async move {
            let connection = self.connection().map_err(|error| unlinked(&error))?;
            let token = connection.next.fetch_add(1, Ordering::Relaxed);
            let (reply, started) = oneshot::channel();
            lock(&connection.waiting).insert(token, Waiting::Start(reply));
            connection.request(Request::Spawn { token, spec: Box::new(spec) });
            if connection.is_gone() {
                // Those who waited may have been told before this one came.
                lock(&connection.waiting).remove(&token);
            }
            started.await.unwrap_or(Err(Cause::KeeperLost))
        })
    }

    fn goodbye(&self) {
        if let Some(connection) = lock(&self.connection).take() {
            connection.request(Request::Goodbye);
        }
    }
}

/// Who waits for events of one process.
#[derive(Debug)]
enum Waiting {
    Start(oneshot::Sender<Result<Launched, Cause>>),
    End(Running),
}

/// Where what is told of a running process goes.
#[derive(Debug)]
struct Running {
    ended: watch::Sender<Option<Exited>>,
    denied: watch::Sender<Arc<Tally>>,
}

/// One keeper.
#[derive(Debug)]
struct Connection {
    requests: mpsc::UnboundedSender<Request>,
    waiting: Mutex<HashMap<Token, Waiting>>,
    next: AtomicU64,
    /// Set before everyone is told, so that nobody begins to wait unheard.
    gone: CancellationToken,
}

impl Connection {
    fn open(program: &KeeperProgram) -> Result<Arc<Self>, KeeperError> {
        let client = Client::start(program)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        // The same socket by another descriptor: one to wait for, one to talk through.
        let twin = client.as_fd().try_clone_to_owned().map_err(KeeperError::Socket)?;
        let ready = register(twin, interest).map_err(KeeperError::Socket)?;
        let socket = Arc::new(Socket { client, ready });
        let (requests, queue) = mpsc::unbounded_channel();
        let connection = Arc::new(Self {
            requests,
            waiting: Mutex::default(),
            next: AtomicU64::new(1),
            gone: CancellationToken::new(),
        });
        let tasks = TaskTracker::new();
        tasks.spawn(send(socket.clone(), queue, connection.clone()));
        tasks.spawn(receive(socket, connection.clone()));
        Ok(connection)
    }

    /// Hands a request to the sending task. The queue holds at most one start per start permit and
    /// a few signals per process, so it needs no bound of its own.
    fn request(&self, request: Request) {
        // When the task is gone the keeper is, and everyone was told.
        self.requests.send(request).ok();
    }

    fn is_gone(&self) -> bool {
        self.gone.is_cancelled() || self.requests.is_closed()
    }

    fn event(self: &Arc<Self>, event: Event, fds: Vec<OwnedFd>) {
        match event {
            Event::Started { token, pid, enforcement, way } => {
                let Some(Waiting::Start(reply)) = lock(&self.waiting).remove(&token) else {
                    return;
                };
                let (ended, exited) = watch::channel(None);
                let (denied, denials) = watch::channel(Arc::default());
                lock(&self.waiting).insert(token, Waiting::End(Running { ended, denied }));
                let control = Arc::new(Remote { connection: self.clone(), token, pid });
                let launched = take(fds, way).and_then(|([stdin, stdout, stderr, main], way)| {
                    let main = register(main, Interest::READABLE)?;
                    let process = Process::new(pid, Some(main), exited, control.clone());
                    let enforcement = Arc::new(*enforcement);
                    Ok(Launched { process, stdin, stdout, stderr, enforcement, denials, way })
                });
                if launched.is_err() {
                    control.kill();
                }
                // A starter that has gone away lets go of the process, which kills it.
                reply.send(launched.map_err(|error| refused("descriptors", &error))).ok();
            }
            Event::Failed { token, failure } => {
                if let Some(Waiting::Start(reply)) = lock(&self.waiting).remove(&token) {
                    reply.send(Err(never_ran(failure))).ok();
                }
            }
            Event::Denied { token, denials } => {
                if let Some(Waiting::End(running)) = lock(&self.waiting).get(&token) {
                    running.denied.send_replace(Arc::new(denials));
                }
            }
            Event::Exited { token, exit } => {
                if let Some(Waiting::End(running)) = lock(&self.waiting).remove(&token) {
                    running.ended.send_replace(Some(exited(&exit)));
                }
            }
        }
    }

    /// Tells everyone that the keeper is gone.
    fn lost(&self) {
        self.gone.cancel();
        for (_, waiting) in lock(&self.waiting).drain() {
            match waiting {
                Waiting::Start(reply) => {
                    reply.send(Err(Cause::KeeperLost)).ok();
                }
                Waiting::End(running) => {
                    running.ended.send_replace(Some(Exited::unseen(Cause::KeeperLost)));
                }
            }
        }
    }
}

/// A process that a keeper started.
struct Remote {
    connection: Arc<Connection>,
    token: Token,
    pid: Option<u32>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.token)
    }
}

impl Control for Remote {
    fn signal(&self, signal: i32) {
        self.connection.request(Request::Signal { token: self.token, signal });
    }

    fn kill(&self) {
        self.connection.request(Request::Kill { token: self.token });
    }

    fn cpu_time(&self) -> Option<Duration> {
        let pid = i32::try_from(self.pid?).ok()?;
        plugbay_sandbox::process::cpu_time(pid).ok()
    }

    fn tree_time(&self) -> Option<Duration> {
        self.pid.and_then(cpu::of_tree)
    }
}

/// The client, and the runtime's word on when it is worth trying.
#[derive(Debug)]
struct Socket {
    client: Client,
    ready: AsyncFd<OwnedFd>,
}

/// Sends what is queued, in order, until the keeper is gone or nobody is left to ask it for
/// anything.
async fn send(
    socket: Arc<Socket>,
    mut queue: mpsc::UnboundedReceiver<Request>,
    connection: Arc<Connection>,
) {
    // Without somebody to ask, the socket is let go of and the dead keeper reaped.
    while let Some(Some(request)) = connection.gone.run_until_cancelled(queue.recv()).await {
        let last = request == Request::Goodbye;
        match send_one(&socket, &request).await {
            Ok(()) if !last => {}
            Err(KeeperError::TooLarge { .. } | KeeperError::Encode(_)) => {
                unsendable(&connection, &request);
            }
            Ok(())
            | Err(
                KeeperError::NotFound { .. }
                | KeeperError::Start { .. }
                | KeeperError::Decode(_)
                | KeeperError::Socket(_)
                | KeeperError::Gone,
            ) => break,
        }
    }
}

async fn send_one(socket: &Socket, request: &Request) -> Result<(), KeeperError> {
    loop {
        let mut ready = socket.ready.writable().await.map_err(KeeperError::Socket)?;
        match socket.client.send(request) {
            Err(KeeperError::Socket(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                ready.clear_ready();
            }
            sent => return sent,
        }
    }
}

/// A spec that cannot be said to the keeper is the plugin's misfortune, not the keeper's.
fn unsendable(connection: &Connection, request: &Request) {
    if let Request::Spawn { token, .. } = request
        && let Some(Waiting::Start(reply)) = lock(&connection.waiting).remove(token)
    {
        let error = io::Error::other("the spec is too large, or a path is not UTF-8");
        reply.send(Err(refused("request", &error))).ok();
    }
}

/// Receives events until the keeper is gone.
async fn receive(socket: Arc<Socket>, connection: Arc<Connection>) {
    loop {
        let Ok(mut ready) = socket.ready.readable().await else { break };
        match socket.client.receive() {
            Ok(Some((event, fds))) => connection.event(event, fds),
            Ok(None) => ready.clear_ready(),
            Err(error) => {
                if !matches!(error, KeeperError::Gone) {
                    tracing::error!(%error, "keeper link failed");
                }
                break;
            }
        }
    }
    connection.lost();
}

/// What comes with a start: four descriptors, and those of its way out.
fn take(mut fds: Vec<OwnedFd>, way: Option<Passage>) -> io::Result<([OwnedFd; 4], Option<Way>)> {
    // The kernel delivers as many as there is room for in this process.
    let short = || io::Error::from_raw_os_error(libc::EMFILE);
    let sockets = fds.split_off(fds.len().min(4));
    let way = way.map(|passage| {
        if sockets.len() != passage.inlets.len() {
            return Err(short());
        }
        let inlets = passage.inlets.into_iter().zip(sockets);
        let inlets = inlets.map(|(kind, socket)| Inlet { kind, socket }).collect();
        Ok(Way { inlets, token: passage.token })
    });
    let standard = fds.try_into().map_err(|_fewer: Vec<OwnedFd>| short())?;
    Ok((standard, way.transpose()?))
}

fn never_ran(failure: Failure) -> Cause {
    Cause::Launch {
        stage: failure.stage.unwrap_or_else(|| "start".to_owned()),
        errno: failure.errno.unwrap_or(0),
        message: failure.message,
    }
}

fn exited(exit: &Exit) -> Exited {
    use plugbay_sandbox::Cause as Ended;
    let plain = match (exit.code, exit.signal) {
        (Some(code), _) => Cause::Code(code),
        (None, Some(libc::SIGSYS)) => Cause::Seccomp,
        (None, Some(signal)) => Cause::Signal(signal),
        (None, None) => Cause::Unknown,
    };
    let cause = match exit.cause {
        Some(Ended::Seccomp) => Cause::Seccomp,
        Some(Ended::CpuTime) => Cause::Limit(Limit::CpuTime),
        Some(Ended::FileSize) => Cause::Limit(Limit::FileSize),
        Some(Ended::Memory) => Cause::Limit(Limit::Memory),
        Some(Ended::Processes) => Cause::Limit(Limit::Processes),
        Some(Ended::Disk) => Cause::Limit(Limit::Disk),
        Some(Ended::TreeKill) | None => plain,
    };
    let usage = exit.usage.map(|usage| Usage {
        user: usage.user,
        system: usage.system,
        max_rss: usage.max_rss,
    });
    Exited { cause, usage, memory_peak: exit.memory_peak, limits: exit.hits.clone() }
}

fn unlinked(error: &KeeperError) -> Cause {
    Cause::Launch { stage: "keeper".to_owned(), errno: libc::EAGAIN, message: error.to_string() }
}

fn refused(stage: &str, error: &io::Error) -> Cause {
    let errno = error.raw_os_error().unwrap_or(0);
    Cause::Launch { stage: stage.to_owned(), errno, message: error.to_string() }
}
