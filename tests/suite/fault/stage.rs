//! Where a fault is injected: a host, the sinner `chaos`, and the healthy `twin`.

use std::{
    fs,
    os::fd::OwnedFd,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use plugbay::{
    CallError, CallErrorKind, CancellationToken, Cause, Death, EventKind, Events, Host, LogRecord,
    LogSource, PluginStatus, lifecycle::restart::Policy,
};
use plugbay_sandbox::Layer;
use plugbay_tests::{PATIENCE, Setting, TestEnv, vitals};
use serde_json::{Value, json};
use tokio::{sync::Notify, time::timeout};

use super::Row;

/// How often the twin is called.
const RHYTHM: Duration = Duration::from_millis(10);
/// The longest that any call of the twin may take while another plugin sins. The catalogue asks for
/// an unchanged 99th percentile, which needs a machine of one's own; this one holds on a busy one.
const TWIN: Duration = Duration::from_secs(2);

/// Which sinner, and how it is set up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// `python` for `fixtures/chaos`, `crew` for the one of the SDK, `rust` for the twin's program.
    pub(crate) sinner: Sinner,
    /// Sins of its start.
    pub(crate) sins: &'static str,
    /// More of its manifest.
    pub(crate) manifest: &'static str,
}

/// The program of the sinner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sinner {
    /// `fixtures/chaos`.
    Python,
    /// `fixtures/crew`, by the SDK.
    Crew,
    /// The twin's own program.
    Rust,
    /// None: the row makes its own plugins.
    Absent,
}

impl Plan {
    /// The Python sinner as it is.
    pub(crate) const PLAIN: Self = Self { sinner: Sinner::Python, sins: "", manifest: "" };
    /// The Rust one.
    pub(crate) const RUST: Self = Self { sinner: Sinner::Rust, sins: "", manifest: "" };

    /// With a sin of the start.
    pub(crate) const fn sinning(sins: &'static str) -> Self {
        Self { sins, ..Self::PLAIN }
    }

    /// With more of a manifest.
    pub(crate) const fn with(self, manifest: &'static str) -> Self {
        Self { manifest, ..self }
    }
}

/// The stage of one row.
pub(crate) struct Stage {
    pub(crate) env: TestEnv,
    pub(crate) host: Host,
    heard: Arc<Heard>,
}

/// What plugins said.
#[derive(Debug, Default)]
struct Heard {
    records: Mutex<Vec<LogRecord>>,
    more: Notify,
}

impl Stage {
    /// Whether the sinners can be had in a setting.
    pub(crate) fn is_possible(setting: Setting) -> bool {
        let python = Path::new(python(setting));
        python.is_relative() || python.exists()
    }

    /// Sets the stage, injects the fault, and sees to it that nothing else has happened.
    pub(super) fn play(setting: Setting, row: &Row) -> String {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let stage = Self::set(crate::env(), setting, row.plan).await;
            let over = CancellationToken::new();
            let twin = runtime.spawn(keep_calling(stage.host.clone(), over.clone()));
            let injected = timeout(PATIENCE * 2, (row.inject)(&stage)).await;
            let observed = injected.expect("the row came to no end in time");
            over.cancel();
            let worst = twin.await.unwrap();
            assert!(worst < TWIN, "the twin waited {worst:?} for an answer; {observed}");
            let echoed: Value = stage.host.call("twin", "echo", &json!([1])).await.unwrap();
            assert_eq!(echoed, json!([1]));
            let down = timeout(PATIENCE, stage.host.shutdown()).await;
            down.expect("the host does not shut down");
            format!("{observed}; twin <= {worst:.0?}")
        })
    }

    /// A host with the sinner and its twin.
    pub(crate) async fn set(env: TestEnv, setting: Setting, plan: Plan) -> Self {
        let plugins = env.root().join("plugins");
        fs::create_dir(&plugins).unwrap();
        let twin = env.binaries().path("twin");
        let quote = |words: &[&str]| serde_json::to_string(words).unwrap();
        let token = sinner(&env);
        let of_rust = |name, token: &str| quote(&[twin.to_str().unwrap(), name, token]);
        put(&plugins, "twin", &of_rust("twin", "the twin"), "", None);
        let mut words = vec![python(setting), "-I", "main.py"];
        words.extend(plan.sins.split_whitespace());
        words.push(&token);
        match plan.sinner {
            Sinner::Python => put(&plugins, "chaos", &quote(&words), plan.manifest, Some("chaos")),
            Sinner::Crew => {
                let words: Vec<&str> = words.into_iter().filter(|word| *word != "-I").collect();
                put(&plugins, "chaos", &quote(&words), plan.manifest, Some("crew"));
            }
            Sinner::Rust => put(&plugins, "chaos", &of_rust("chaos", &token), plan.manifest, None),
            Sinner::Absent => {}
        }
        let (host, heard) = open(&env, &plugins, setting).await;
        Self { env, host, heard }
    }

    /// Calls the sinner.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Result<Value, CallError> {
        self.host.call("chaos", method, &params).await
    }

    /// The sinner is as healthy as anybody.
    pub(crate) async fn is_healthy(&self) {
        let params = json!({"are you": "well"});
        let answer = self.call("echo", params.clone()).await;
        let mut answer = answer.unwrap_or_else(|error| panic!("not healthy: {error}"));
        answer.as_object_mut().unwrap().remove("_meta");
        assert_eq!(answer, params);
    }

    /// The same of the Rust one.
    pub(crate) async fn is_healthy_in_rust(&self) {
        let answer = self.call("echo", json!({"well": true})).await.unwrap();
        assert_eq!(answer["well"], true);
    }

    /// What is reported of a layer of the sinner's sandbox.
    pub(crate) async fn layer(&self, layer: Layer) -> String {
        let enforcement = self.status().await.enforcement.unwrap();
        enforcement.layer(layer).unwrap().why.clone()
    }

    /// The keeper of this stage's host.
    pub(crate) async fn keeper(&self) -> i32 {
        let mut at = self.pid().await;
        loop {
            let parent = vitals::parent(at).unwrap();
            if parent == vitals::own() {
                return at;
            }
            at = parent;
        }
    }

    /// Has the sinner sin in a call, and tells how the call fared and how long it took.
    pub(crate) async fn sin(&self, method: &str, params: Value) -> (CallError, Duration) {
        let began = now();
        let outcome = self.call(method, params).await;
        (outcome.expect_err("the call succeeded"), began.elapsed())
    }

    /// How the sinner is.
    pub(crate) async fn status(&self) -> PluginStatus {
        self.host.plugin("chaos").await.unwrap()
    }

    /// The sinner's process.
    pub(crate) async fn pid(&self) -> i32 {
        self.status().await.pid.expect("it does not run").try_into().unwrap()
    }

    /// The processes of the sinner that are there now, its descendants included.
    pub(crate) fn sinners(&self) -> Vec<OwnedFd> {
        vitals::carriers(&sinner(&self.env))
    }

    /// Waits until the sinner's last process has a death record.
    pub(crate) async fn death(&self, events: &mut Events) -> Arc<Death> {
        loop {
            let event = timeout(PATIENCE, events.next()).await.expect("it does not die").unwrap();
            if let EventKind::Died(death) = event.kind
                && &*event.plugin == "chaos"
            {
                return death;
            }
        }
    }

    /// Waits until the sinner is in this state.
    pub(crate) async fn reaches(&self, state: &str) {
        let mut events = self.host.subscribe();
        loop {
            if self.status().await.state == state {
                return;
            }
            let changed = timeout(PATIENCE, events.next()).await;
            assert!(changed.is_ok(), "it does not become {state}: {:?}", self.status().await);
        }
    }

    /// Waits until the sinner has said this so often.
    pub(crate) async fn hears(&self, text: &str, times: usize) {
        let heard = async {
            loop {
                let more = self.heard.more.notified();
                tokio::pin!(more);
                more.as_mut().enable();
                if self.said(|record| record.message.contains(text)).len() >= times {
                    return;
                }
                more.await;
            }
        };
        timeout(PATIENCE, heard).await.unwrap_or_else(|_| panic!("`{text}` is not heard"));
    }

    /// What the sinner said, as far as it fits.
    pub(crate) fn said(&self, fits: impl Fn(&LogRecord) -> bool) -> Vec<LogRecord> {
        let records = self.heard.records.lock().unwrap();
        records
            .iter()
            .filter(|record| &*record.plugin == "chaos" && fits(record))
            .cloned()
            .collect()
    }

    /// What came from one of its streams.
    pub(crate) fn from(&self, source: LogSource) -> Vec<LogRecord> {
        self.said(|record| record.source == source)
    }
}

/// What the command lines of the sinner and its children carry.
fn sinner(env: &TestEnv) -> String {
    format!("sinner-of={}", env.root().display())
}

/// A host over `plugins`, which restarts at once and never gives up.
async fn open(env: &TestEnv, plugins: &Path, setting: Setting) -> (Host, Arc<Heard>) {
    let heard = Arc::<Heard>::default();
    let ear = heard.clone();
    let builder = Host::builder()
        .plugins(plugins)
        .keeper(env.binaries().path(setting.keeper_name()))
        .python_sdk(sdk(env))
        .drain(Duration::from_millis(200))
        .restart_policy(at_once)
        .on_log(move |record| {
            ear.records.lock().unwrap().push(record.clone());
            ear.more.notify_waiters();
        });
    let host = builder.start().await.unwrap();
    assert!(host.skipped().is_empty(), "{:?}", host.skipped());
    host.settled().await;
    (host, heard)
}

/// A Python that the user of a setting can reach; the tests' own may be below their home.
fn python(setting: Setting) -> &'static str {
    let own = nix::unistd::geteuid().as_raw() == setting.uid();
    if own { "python3" } else { "/usr/bin/python3" }
}

/// The SDK, put where everybody can read it.
fn sdk(env: &TestEnv) -> PathBuf {
    let to = env.directory("sdk", 0);
    let package = env.directory("sdk/plugbay", 0);
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sdk-python/src/plugbay");
    for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), package.join(file.file_name())).unwrap();
        }
    }
    to
}

/// The policy of most rows: what is restarted is restarted at once, however often.
fn at_once(policy: &mut Policy) {
    policy.first = Duration::ZERO;
    policy.base = Duration::ZERO;
    policy.cap = Duration::ZERO;
    policy.breaker = u32::MAX;
    policy.slow_breaker = u32::MAX;
}

/// Puts a plugin on disk.
pub(crate) fn put(plugins: &Path, name: &str, command: &str, more: &str, fixture: Option<&str>) {
    let dir = plugins.join(name);
    fs::create_dir(&dir).unwrap();
    let runtime = if fixture == Some("crew") { "sdk = \"python\"\n" } else { "" };
    let framing =
        if command.contains("content-length") { "framing = \"content-length\"\n" } else { "" };
    let text = format!(
        "[plugin]\nname = \"{name}\"\nversion = \"1.0.0\"\n\
         [runtime]\ncommand = {command}\n{runtime}{framing}{more}\n"
    );
    fs::write(dir.join("plugin.toml"), text).unwrap();
    if let Some(fixture) = fixture {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(fixture);
        fs::copy(from.join("main.py"), dir.join("main.py")).unwrap();
        fs::set_permissions(dir.join("main.py"), fs::Permissions::from_mode(0o644)).unwrap();
    }
}

/// Calls the twin until it is over; the longest that any call took.
async fn keep_calling(host: Host, over: CancellationToken) -> Duration {
    let mut rhythm = tokio::time::interval(RHYTHM);
    let mut worst = Duration::ZERO;
    while !over.is_cancelled() {
        rhythm.tick().await;
        let began = now();
        let answer: Value = host.call("twin", "echo", &json!([began.elapsed()])).await.unwrap();
        assert!(answer.is_array());
        worst = worst.max(began.elapsed());
    }
    worst
}

/// The cause that a caller is told.
pub(crate) fn crash(error: &CallError) -> Cause {
    match error.kind() {
        CallErrorKind::Crashed { cause, .. } => cause.clone(),
        other => panic!("not told of a crash: {other:?}"),
    }
}

/// Real time, to measure by.
#[expect(clippy::disallowed_methods, reason = "a test measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
