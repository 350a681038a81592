//! What a plugin says of itself: `plugin.toml`, its checks, its discovery and its start order.
//!
//! ```text
//! text ──parse──► Manifest ──┐
//! dir ───load──► Package ────┼──resolve──► start order, or why not
//! root ──discover──► Packages┘
//! ```
//!
//! ```
//! use std::path::Path;
//!
//! let text = "[plugin]\nname = \"words\"\nversion = \"1.0.0\"\n[runtime]\ncommand = \"./words --fast\"\n";
//! let manifest = plugbay_manifest::parse(text, Path::new("words/plugin.toml"))?;
//! assert_eq!(manifest.runtime.command, ["./words", "--fast"]);
//!
//! let error = plugbay_manifest::parse("[plugin]\nnmae = \"words\"\n", Path::new("plugin.toml"));
//! assert!(error.unwrap_err().to_string().contains("did you mean `name`?"));
//! # Ok::<(), plugbay_manifest::ManifestError>(())
//! ```
//!
//! The text is hostile input: it is bounded, every problem is reported with its place, and nothing
//! here runs a plugin, opens the network or follows a link out of the plugin's directory. What a
//! manifest *asks for* is data; this crate does not know the sandbox that may grant it.

mod beneath;
mod command;
mod dependency;
mod discover;
mod error;
mod excerpt;
mod field;
pub mod key;
mod limit;
mod manifest;
mod name;
mod neutral;
mod package;
mod permission;
mod profile;
mod quantity;
mod read;
mod report;
mod resolve;
pub mod sandbox;
mod schema;
mod suggest;
mod supervision;

pub use dependency::{Dependencies, Dependency, OnLoss};
pub use discover::{Discovery, SkipReason, Skipped, discover};
pub use error::{ManifestError, Problem};
pub use limit::Limits;
pub use manifest::{ConfigSpec, Dialect, Events, Manifest, MethodSpec, PluginInfo, Runtime, Sdk};
pub use name::{NameError, PluginName};
pub use package::{Package, load};
pub use permission::{
    EnvGrant, FilesystemPermission, GrantPath, NetworkGrant, NetworkPermission, Permissions,
    SystemCalls,
};
pub use plugbay_protocol::Framing;
pub use profile::{
    BUILT_IN, Cap, PROFILES_NAME, Profile, ProfileLimits, ProfileNetwork, Profiles, Tool,
};
pub use quantity::{QuantityError, parse_duration, parse_size};
pub use read::parse;
pub use resolve::{Reason, Resolution, Unresolved, resolve};
pub use schema::Schema;
pub use suggest::nearest;
pub use supervision::{ExitRule, Health, IgnoredCancel, Restart, StartMode, Supervision};

/// The name of the manifest file in a plugin's directory.
pub const FILE_NAME: &str = "plugin.toml";

/// The longest manifest that is read, in bytes. Generous for people, small for the host.
pub const MAX_BYTES: usize = 256 << 10;
