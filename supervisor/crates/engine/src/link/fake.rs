//! For tests: plugins that are scripts, at the other end of real pipes.
//!
//! A launch runs the script as a task of the test. The whole engine is the production one; only
//! the process is missing.

use std::{
    fmt,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use plugbay_protocol::{Decoded, Decoder, Framing, limits};
use plugbay_sandbox::{Enforcement, Spec, TreeKill};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::unix::pipe,
    sync::watch,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Boxed, Control, Exited, Launched, Launcher, Process};
use crate::{
    clock,
    plugin::{death::Cause, lock},
};

type Script = Arc<dyn Fn(Fake) -> Boxed<'static, Cause> + Send + Sync>;

/// Starts scripts instead of processes.
#[derive(Clone)]
pub(crate) struct Stage {
    script: Script,
    launches: Arc<AtomicU64>,
    alive: Arc<AtomicU64>,
    signals: Arc<Mutex<Vec<i32>>>,
    /// Since when its processes keep a processor busy.
    busy: Arc<Mutex<Option<Instant>>>,
    /// Whether sending a signal panics.
    clumsy: Arc<AtomicBool>,
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stage")
    }
}

impl Stage {
    /// Every process runs this script; it ends as the script says.
    pub(crate) fn new<F>(script: impl Fn(Fake) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Cause> + Send + 'static,
    {
        Self {
            script: Arc::new(move |fake| Box::pin(script(fake))),
            launches: Arc::default(),
            alive: Arc::default(),
            signals: Arc::default(),
            busy: Arc::default(),
            clumsy: Arc::default(),
        }
    }

    /// From now on whoever sends a signal to one of its processes falls over.
    pub(crate) fn stumble(&self) {
        self.clumsy.store(true, Ordering::SeqCst);
    }

    /// From now on its processes keep a processor busy.
    pub(crate) fn toil(&self) {
        *lock(&self.busy) = Some(clock::now());
    }

    pub(crate) fn alive(&self) -> u64 {
        self.alive.load(Ordering::SeqCst)
    }

    pub(crate) fn launches(&self) -> u64 {
        self.launches.load(Ordering::SeqCst)
    }

    pub(crate) fn signals(&self) -> Vec<i32> {
        lock(&self.signals).clone()
    }
}

impl Launcher for Stage {
    fn launch(&self, spec: Spec) -> Boxed<'_, Result<Launched, Cause>> {
        let (plugin_in, stdin) = std::io::pipe().unwrap();
        let (stdout, plugin_out) = std::io::pipe().unwrap();
        let (stderr, plugin_err) = std::io::pipe().unwrap();
        let number = self.launches.fetch_add(1, Ordering::SeqCst) + 1;
        let fake = Fake {
            number,
            spec,
            stdin: pipe::Receiver::from_owned_fd(OwnedFd::from(plugin_in)).unwrap(),
            stdout: pipe::Sender::from_owned_fd(OwnedFd::from(plugin_out)).unwrap(),
            stderr: pipe::Sender::from_owned_fd(OwnedFd::from(plugin_err)).unwrap(),
            decoder: Decoder::new(Framing::Line, limits::MAX_FRAME),
        };
        let killed = CancellationToken::new();
        let (ended, exited) = watch::channel(None);
        let run = (self.script)(fake);
        let (alive, stop) = (self.alive.clone(), killed.clone());
        alive.fetch_add(1, Ordering::SeqCst);
        TaskTracker::new().spawn(async move {
            let cause = tokio::select! {
                cause = run => cause,
                () = stop.cancelled() => Cause::Signal(libc::SIGKILL),
            };
            alive.fetch_sub(1, Ordering::SeqCst);
            ended.send_replace(Some(Exited::unseen(cause)));
        });
        let control = Arc::new(Strings {
            killed,
            signals: self.signals.clone(),
            looks: AtomicU64::new(0),
            busy: self.busy.clone(),
            clumsy: self.clumsy.clone(),
        });
        let process = Process::new(u32::try_from(number).ok(), None, exited, control);
        let enforcement = Arc::new(Enforcement {
            layers: Vec::new(),
            protections: Vec::new(),
            tree_kill: TreeKill::Sweep,
            notes: Vec::new(),
            limits: Vec::new(),
            watched: plugbay_sandbox::Watched::default(),
            proven: plugbay_sandbox::Proven::default(),
        });
        let (stdin, stdout, stderr) = (stdin.into(), stdout.into(), stderr.into());
        let denials = watch::channel(Arc::default()).1;
        Box::pin(async move {
            Ok(Launched { process, stdin, stdout, stderr, enforcement, denials, way: None })
        })
    }

    fn goodbye(&self) {}
}

#[derive(Debug)]
struct Strings {
    killed: CancellationToken,
    signals: Arc<Mutex<Vec<i32>>>,
    looks: AtomicU64,
    busy: Arc<Mutex<Option<Instant>>>,
    clumsy: Arc<AtomicBool>,
}

impl Control for Strings {
    /// A millisecond more at every look.
    fn cpu_time(&self) -> Option<Duration> {
        Some(Duration::from_millis(self.looks.fetch_add(1, Ordering::SeqCst)))
    }

    fn signal(&self, signal: i32) {
        assert!(!self.clumsy.load(Ordering::SeqCst), "stumbled over signal {signal}");
        lock(&self.signals).push(signal);
    }

    fn kill(&self) {
        self.killed.cancel();
    }

    fn tree_time(&self) -> Option<Duration> {
        let busy = *lock(&self.busy);
        Some(busy.map_or(Duration::ZERO, |since| clock::now().saturating_duration_since(since)))
    }
}

/// A plugin's side of a session.
#[derive(Debug)]
pub(crate) struct Fake {
    /// Which launch this is, from 1.
    pub(crate) number: u64,
    pub(crate) spec: Spec,
    pub(crate) stdin: pipe::Receiver,
    pub(crate) stdout: pipe::Sender,
    pub(crate) stderr: pipe::Sender,
    decoder: Decoder,
}

impl Fake {
    /// The next message of the host; `None` when it has closed stdin.
    pub(crate) async fn recv(&mut self) -> Option<Value> {
        loop {
            if let Some(Decoded::Frame(frame)) = self.decoder.next() {
                return Some(serde_json::from_slice(frame).unwrap());
            }
            match self.stdin.read(self.decoder.space()).await {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.decoder.filled(count),
            }
        }
    }

    /// The next message that is of this method.
    pub(crate) async fn expect(&mut self, method: &str) -> Value {
        let message = self.recv().await.unwrap();
        assert_eq!(message["method"], method, "{message}");
        message
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        // A host that has hung up is not the script's concern.
        self.stdout.write_all(bytes).await.ok();
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.raw(format!("{message}\n").as_bytes()).await;
    }

    pub(crate) async fn answer(&mut self, request: &Value, result: Value) {
        let id = &request["id"];
        self.send(&json!({"jsonrpc": "2.0", "id": id, "result": result})).await;
    }

    /// Does the handshake; gives what `initialize` said.
    pub(crate) async fn greet(&mut self, name: &str, methods: &[&str]) -> Value {
        self.greet_with(name, methods, &["cancel", "progress", "streams"]).await
    }

    /// The same, with features of its own.
    pub(crate) async fn greet_with(
        &mut self,
        name: &str,
        methods: &[&str],
        features: &[&str],
    ) -> Value {
        let initialize = self.expect("initialize").await;
        let hello = json!({
            "version": 1,
            "features": features,
            "plugin": {"name": name, "version": "1.0.0"},
            "methods": methods,
        });
        self.answer(&initialize, hello).await;
        self.expect("initialized").await;
        initialize["params"].clone()
    }

    /// Answers everything with what `method` makes of it, until stdin ends or it is told to exit.
    pub(crate) async fn serve(&mut self, method: impl Fn(&Value) -> Value) -> Cause {
        while let Some(message) = self.recv().await {
            match message["method"].as_str() {
                Some("exit") => break,
                Some("shutdown") => self.answer(&message, Value::Null).await,
                Some(_) if message.get("id").is_some() => {
                    let result = method(&message);
                    self.answer(&message, result).await;
                }
                Some(_) | None => {}
            }
        }
        Cause::Code(0)
    }
}
