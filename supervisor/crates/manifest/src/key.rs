//! Every key of `plugin.toml` and `plugbay.toml` in one list each: the reader takes its allowed words
//! from here, and tests hold `docs/manifest.md` and `docs/ci.md` to them.

/// One table of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Its header, as `plugin` or `methods.NAME`.
    pub name: &'static str,
    /// Its keys, in the order of the reference.
    pub keys: &'static [Key],
}

/// One key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The key.
    pub name: &'static str,
    /// What is written there, in words.
    pub kind: &'static str,
    /// What holds when it is not written.
    pub default: Fallback,
}

/// What holds when a key is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// It must be written.
    Required,
    /// The same as if this TOML value were written.
    Value(&'static str),
    /// Something that is no value of the key, in words.
    Described(&'static str),
}

use Fallback::{Described, Required, Value};

/// Shorthand for the tables below.
const fn key(name: &'static str, kind: &'static str, default: Fallback) -> Key {
    Key { name, kind, default }
}

/// `[plugin]`
pub(crate) const PLUGIN: Table = Table {
    name: "plugin",
    keys: &[
        key("name", "plugin name", Required),
        key("version", "semantic version", Required),
        key("type", "word", Value("\"plugin\"")),
        key("description", "text", Value("\"\"")),
        key("authors", "text, or list of texts", Value("[]")),
        key("license", "text", Described("not said")),
    ],
};

/// `[runtime]`
pub(crate) const RUNTIME: Table = Table {
    name: "runtime",
    keys: &[
        key("command", "text, or list of texts", Required),
        key("dialect", "`plugbay` or `jsonrpc`", Value("\"plugbay\"")),
        key("framing", "`line` or `content-length`", Value("\"line\"")),
        key("sdk", "`python`", Described("the plugin brings its own")),
    ],
};

/// `[methods.NAME]`
pub(crate) const METHOD: Table = Table {
    name: "methods.NAME",
    keys: &[
        key("description", "text", Value("\"\"")),
        key("params", "schema", Described("anything")),
        key("result", "schema", Described("anything")),
        key("idempotent", "true or false", Value("false")),
        key("timeout", "duration", Described("`limits.call_timeout`")),
    ],
};

/// `[config]`
pub(crate) const CONFIG: Table = Table {
    name: "config",
    keys: &[
        key("schema", "schema", Described("anything")),
        key("required", "list of keys", Value("[]")),
        key("optional", "list of keys", Value("[]")),
    ],
};

/// `[dependencies]`; every other key is the name of a plugin.
pub(crate) const DEPENDENCIES: Table = Table {
    name: "dependencies",
    keys: &[
        key("plugbay", "version range", Value("\"*\"")),
        key("NAME", "version range, or table", Described("not needed")),
    ],
};

/// `[dependencies.NAME]`, when it is a table.
pub(crate) const DEPENDENCY: Table = Table {
    name: "dependencies.NAME",
    keys: &[
        key("version", "version range", Value("\"*\"")),
        key("on_loss", "`notify`, `pause`, `stop` or `restart`", Value("\"notify\"")),
        key("grace", "duration", Value("\"5s\"")),
    ],
};

/// `[permissions]`
pub(crate) const PERMISSIONS: Table = Table {
    name: "permissions",
    keys: &[
        key("network", "true, false, or list of destinations", Value("false")),
        key("hosts", "list of hosts with ports", Value("[]")),
        key("filesystem", "`none`, `read-only`, or table of paths", Value("\"none\"")),
        key("deny", "list of paths", Value("[]")),
        key("system_calls", "`default`, `ci`, or list of calls", Value("\"default\"")),
        key("env", "list of variables", Value("[]")),
    ],
};

/// `[permissions.filesystem]`, when it is a table.
pub(crate) const FILESYSTEM: Table = Table {
    name: "permissions.filesystem",
    keys: &[
        key("read", "list of paths", Value("[]")),
        key("write", "list of paths", Value("[]")),
        key("exec", "list of paths", Value("[]")),
    ],
};

/// `[sandbox]`
pub(crate) const SANDBOX: Table = Table {
    name: "sandbox",
    keys: &[key("level", "`strict`, `standard` or `none`", Described("the host's"))],
};

/// `[sandbox.protections]`; every key is the name of a protection.
pub(crate) const PROTECTIONS: Table = Table {
    name: "sandbox.protections",
    keys: &[key("NAME", "`require`, `prefer` or `off`", Described("as the level has it"))],
};

/// `[limits]`
pub(crate) const LIMITS: Table = Table {
    name: "limits",
    keys: &[
        key("memory", "size", Described("the sandbox's: 1 GiB")),
        key("cpu", "number of cores", Described("all cores")),
        key("pids", "count", Described("the sandbox's: 512")),
        key("open_files", "count", Described("the sandbox's: 1024")),
        key("file_size", "size", Described("no limit")),
        key("call_timeout", "duration", Value("\"30s\"")),
        key("max_frame", "size", Value("\"8MiB\"")),
    ],
};

/// `[supervision]`
pub(crate) const SUPERVISION: Table = Table {
    name: "supervision",
    keys: &[
        key("restart", "`never`, `on-failure` or `always`", Value("\"on-failure\"")),
        key("start", "`eager` or `lazy`", Value("\"eager\"")),
        key("start_timeout", "duration", Value("\"10s\"")),
        key("drain_timeout", "duration", Value("\"30s\"")),
        key("stop_timeout", "duration", Value("\"5s\"")),
        key("idle_stop", "duration", Described("never")),
        key("instances", "count", Value("1")),
        key("spares", "count", Value("0")),
        key("max_inflight", "count", Value("64")),
        key("backoff_initial", "duration", Value("\"500ms\"")),
        key("backoff_max", "duration", Value("\"60s\"")),
        key("backoff_reset", "duration", Value("\"60s\"")),
        key("breaker", "count", Value("8")),
        key("slow_breaker", "count", Value("10")),
        key("slow_breaker_leak", "duration", Value("\"5m\"")),
        key("quarantine", "duration", Value("\"5m\"")),
        key("quarantine_max", "duration", Value("\"1h\"")),
        key("give_up_after", "count", Described("never")),
        key("ignored_cancel", "`leave` or `kill`", Value("\"leave\"")),
        key("circuit", "true or false", Value("true")),
    ],
};

/// `[supervision.exit_codes]`; every key is an exit status.
pub(crate) const EXIT_CODES: Table = Table {
    name: "supervision.exit_codes",
    keys: &[key(
        "CODE",
        "`clean`, `failure`, `passing`, `stay-down` or `permanent`",
        Described("by custom"),
    )],
};

/// `[supervision.health]`
pub(crate) const HEALTH: Table = Table {
    name: "supervision.health",
    keys: &[
        key("ping_interval", "duration", Value("\"10s\"")),
        key("ping_timeout", "duration", Value("\"5s\"")),
        key("hang_timeout", "duration", Value("\"60s\"")),
        key("busy_timeout", "duration", Value("\"120s\"")),
        key("ready_interval", "duration", Value("\"5s\"")),
        key("ready_timeout", "duration", Value("\"2s\"")),
        key("ready_failures", "count", Value("3")),
        key("ready_successes", "count", Value("2")),
    ],
};

/// `[events]`
pub(crate) const EVENTS: Table = Table {
    name: "events",
    keys: &[
        key("publishes", "list of topics", Value("[]")),
        key("subscribes", "list of topic patterns", Value("[]")),
    ],
};

/// Every table, in the order of the reference.
pub const TABLES: [Table; 15] = [
    PLUGIN,
    RUNTIME,
    METHOD,
    CONFIG,
    DEPENDENCIES,
    DEPENDENCY,
    PERMISSIONS,
    FILESYSTEM,
    SANDBOX,
    PROTECTIONS,
    LIMITS,
    SUPERVISION,
    EXIT_CODES,
    HEALTH,
    EVENTS,
];

/// `[run.NAME]` of `plugbay.toml`
pub(crate) const PROFILE: Table = Table {
    name: "run.NAME",
    keys: &[
        key("extends", "name of a profile", Described("stands alone")),
        key("command", "text, or list of texts", Described("what is typed")),
        key("workdir", "path", Value("\".\"")),
        key("tools", "list of toolchains", Value("[]")),
        key("read", "list of paths", Value("[]")),
        key("write", "list of paths", Value("[]")),
        key("exec", "list of paths", Value("[]")),
        key("deny", "list of paths", Value("[]")),
        key("bare", "true or false", Value("false")),
        key("network", "`none`, `loopback`, `full`, or list of destinations", Value("\"none\"")),
        key("hosts", "list of hosts with ports", Value("[]")),
        key("unix", "list of paths", Value("[]")),
        key("env", "list of variables", Value("[]")),
        key("limits", "table", Described("see below")),
        key("level", "`strict`, `standard` or `none`", Value("\"standard\"")),
        key("protections", "table", Described("as the level has it")),
        key("filter", "`default`, `ci`, or list of calls", Value("\"default\"")),
        key("truncate_output", "true or false", Value("false")),
        key("fail_on_denial", "true or false", Value("false")),
    ],
};

/// `[run.NAME.limits]` of `plugbay.toml`; each but `tmp_size` can be `"none"`.
pub(crate) const PROFILE_LIMITS: Table = Table {
    name: "run.NAME.limits",
    keys: &[
        key("memory", "size", Value("\"1GiB\"")),
        key("cpu", "number of cores", Value("\"none\"")),
        key("cpu_time", "duration", Value("\"none\"")),
        key("wall", "duration", Value("\"none\"")),
        key("pids", "count", Value("512")),
        key("open_files", "count", Value("1024")),
        key("file_size", "size", Value("\"none\"")),
        key("tmp_size", "size", Value("\"256MiB\"")),
        key("output", "size", Value("\"none\"")),
    ],
};

/// `[run.NAME.protections]` of `plugbay.toml`; every key is the name of a protection.
pub(crate) const PROFILE_PROTECTIONS: Table = Table {
    name: "run.NAME.protections",
    keys: &[key("PROTECTION", "`require`, `prefer` or `off`", Described("as the level has it"))],
};

/// Every table of `plugbay.toml`, in the order of the reference.
pub const PROFILE_TABLES: [Table; 3] = [PROFILE, PROFILE_LIMITS, PROFILE_PROTECTIONS];

/// The names that may stand at the top of the file.
pub(crate) const TOP: [&str; 10] = [
    "plugin",
    "runtime",
    "methods",
    "config",
    "dependencies",
    "permissions",
    "sandbox",
    "limits",
    "supervision",
    "events",
];

impl Table {
    /// The names of its keys.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        self.keys.iter().map(|key| key.name)
    }
}
