//! Tests of the crate through its public face, in one binary.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking, as tests do"
)]

mod discovery;
mod error;
mod hostile;
mod parse;
mod profile;
mod reference;

use std::path::Path;

use plugbay_manifest::{Manifest, ManifestError};

/// A valid manifest with every key.
const FULL: &str = include_str!("full.toml");

/// The shortest valid manifest.
const MINIMAL: &str =
    "[plugin]\nname = \"words\"\nversion = \"1.0.0\"\n[runtime]\ncommand = \"./words\"\n";

fn parse(text: &str) -> Result<Manifest, ManifestError> {
    plugbay_manifest::parse(text, Path::new("words/plugin.toml"))
}
