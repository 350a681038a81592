//! The manifest as data: what stands in a valid `plugin.toml`, defaults filled in.
//!
//! Serialized, a manifest has the shape and the key names of the file. It is made by
//! [`parse`](crate::parse) and [`load`](crate::load) only; nothing here reads anything.

use std::{collections::BTreeMap, fmt, time::Duration};

use plugbay_protocol::Framing;
use semver::Version;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::{
    dependency::Dependencies, limit::Limits, name::PluginName, permission::Permissions, quantity,
    sandbox::Sandbox, schema::Schema, supervision::Supervision,
};

/// A whole, valid `plugin.toml`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Manifest {
    /// `[plugin]`: who it is.
    pub plugin: PluginInfo,
    /// `[runtime]`: how it is started and how it speaks.
    pub runtime: Runtime,
    /// `[methods.*]`: what may be called. Empty means: not declared, whatever the plugin answers.
    pub methods: BTreeMap<String, MethodSpec>,
    /// `[config]`: which configuration it takes.
    pub config: ConfigSpec,
    /// `[dependencies]`: what must be there before it starts.
    pub dependencies: Dependencies,
    /// `[permissions]`: what it asks to be opened.
    pub permissions: Permissions,
    /// `[sandbox]`: what must hold for it to be started.
    pub sandbox: Sandbox,
    /// `[limits]`: what it may use at most.
    pub limits: Limits,
    /// `[supervision]`: when it is restarted and how long things may take.
    pub supervision: Supervision,
    /// `[events]`: what it publishes and subscribes to.
    pub events: Events,
}

/// `[plugin]`: who the plugin is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PluginInfo {
    /// The name it is called by.
    pub name: PluginName,
    /// Its own version.
    pub version: Version,
    /// `type`: a free word that groups plugins of one kind (`scheduler`, `formatter`).
    #[serde(rename = "type")]
    pub kind: String,
    /// One or two sentences for people. Empty when not said.
    pub description: String,
    /// Who made it.
    pub authors: Vec<String>,
    /// The licence, as an SPDX expression by convention.
    pub license: Option<String>,
}

/// `[runtime]`: how the plugin is started and how it speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Runtime {
    /// Program and arguments; never empty. No shell is involved.
    pub command: Vec<String>,
    /// What is spoken over the pipes.
    pub dialect: Dialect,
    /// How one message is told from the next.
    #[serde(serialize_with = "serialize_framing")]
    pub framing: Framing,
    /// The SDK of the supervisor's own that is to be at hand; without it the plugin brings its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk: Option<Sdk>,
}

/// The word for a framing in `plugin.toml`.
pub(crate) fn framing_word(framing: Framing) -> &'static str {
    match framing {
        Framing::Line => "line",
        Framing::ContentLength => "content-length",
    }
}

/// For serde: the protocol's framing as the word of the manifest.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn serialize_framing<S: Serializer>(framing: &Framing, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(framing_word(*framing))
}

/// What a plugin speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Dialect {
    /// Plugbay's own: JSON-RPC 2.0 with a handshake, progress, cancellation and host calls.
    #[default]
    Plugbay,
    /// Plain JSON-RPC 2.0: no handshake; calls go out as they are and nothing else is expected.
    Jsonrpc,
}

impl Dialect {
    /// Every dialect, the default first.
    pub const ALL: [Self; 2] = [Self::Plugbay, Self::Jsonrpc];

    /// The word for it in `plugin.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Plugbay => "plugbay",
            Self::Jsonrpc => "jsonrpc",
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An SDK that comes with the supervisor, so that a plugin need not install or carry it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Sdk {
    /// The Python package `plugbay`: its directory is granted and named in `PYTHONPATH`.
    Python,
}

impl Sdk {
    /// Every SDK that can be asked for.
    pub const ALL: [Self; 1] = [Self::Python];

    /// The word for it in `plugin.toml`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Python => "python",
        }
    }
}

/// `[methods.NAME]`: one method that may be called.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct MethodSpec {
    /// One sentence for people. Empty when not said.
    pub description: String,
    /// JSON Schema of the parameters, if declared.
    pub params: Option<Schema>,
    /// JSON Schema of the result, if declared.
    pub result: Option<Schema>,
    /// Calling it twice is as good as calling it once, so a lost call may be sent again.
    pub idempotent: bool,
    /// How long one call may take; `limits.call_timeout` when not said.
    #[serde(serialize_with = "quantity::serialize_optional_duration")]
    pub timeout: Option<Duration>,
}

/// `[config]`: which configuration the plugin takes.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct ConfigSpec {
    /// JSON Schema of the configuration, also when the manifest has only lists of keys.
    /// `None` when the manifest says nothing: any object is taken.
    pub schema: Option<Schema>,
}

impl MethodSpec {
    /// Checks the parameters of a call; anything goes when no schema is declared.
    ///
    /// # Errors
    /// What is wrong, each with its place in the value.
    pub fn validate_params(&self, params: &Value) -> Result<(), Vec<String>> {
        self.params.as_ref().map_or(Ok(()), |schema| schema.validate(params))
    }

    /// Checks the result of a call; anything goes when no schema is declared.
    ///
    /// # Errors
    /// What is wrong, each with its place in the value.
    pub fn validate_result(&self, result: &Value) -> Result<(), Vec<String>> {
        self.result.as_ref().map_or(Ok(()), |schema| schema.validate(result))
    }
}

impl Manifest {
    /// Checks a configuration and fills in the defaults that its schema states.
    ///
    /// # Errors
    /// What is wrong, each with its place in the value.
    pub fn validate_config(&self, config: &Value) -> Result<Value, Vec<String>> {
        if !config.is_object() {
            return Err(vec!["a configuration is an object".to_owned()]);
        }
        let Some(schema) = &self.config.schema else { return Ok(config.clone()) };
        let config = schema.with_defaults(config.clone());
        schema.validate(&config)?;
        Ok(config)
    }

    /// How long a call of a method may take.
    #[must_use]
    pub fn call_timeout(&self, method: &str) -> Duration {
        let own = self.methods.get(method).and_then(|method| method.timeout);
        own.unwrap_or(self.limits.call_timeout)
    }
}

/// `[events]`: which topics the plugin publishes and listens to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Events {
    /// Topics it may publish on.
    pub publishes: Vec<String>,
    /// Topic patterns delivered to it; `*` stands for one segment.
    pub subscribes: Vec<String>,
}
