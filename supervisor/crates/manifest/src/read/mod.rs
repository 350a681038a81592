//! From text to [`Manifest`]: one file per table of `plugin.toml`.
//!
//! A reader takes what it can and reports what it cannot; the manifest is built only when nothing
//! was reported. Reading is pure but for schema files, which come through [`Files`].

mod config;
mod dependency;
mod event;
mod limit;
mod method;
mod permission;
mod plugin;
pub(crate) mod profile;
mod runtime;
mod sandbox;
mod schema;
mod supervision;

use std::path::Path;

use toml::de::DeTable;

use crate::{
    FILE_NAME, MAX_BYTES,
    error::ManifestError,
    field::Section,
    key::TOP,
    manifest::Manifest,
    report::{Complaint, Report},
};

/// Where the text of schema files comes from.
pub(crate) trait Files {
    /// The text of a file below the plugin's directory, or why it cannot be had.
    fn read(&self, path: &str) -> Result<String, String>;
}

/// For text that has no directory.
struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _path: &str) -> Result<String, String> {
        Err(format!("a schema file can be read only beside its {FILE_NAME}"))
    }
}

/// Reads the text of a `plugin.toml`. `file` is only what errors call it.
///
/// A manifest that names schema files needs its directory: use [`load`](crate::load).
///
/// # Errors
/// Every problem of the text, each with its place and what is allowed there.
pub fn parse(text: &str, file: &Path) -> Result<Manifest, ManifestError> {
    parse_beside(text, file, &NoFiles)
}

/// Reads the text of a `plugin.toml` that may name schema files.
pub(crate) fn parse_beside(
    text: &str,
    file: &Path,
    files: &dyn Files,
) -> Result<Manifest, ManifestError> {
    document(text, file, |root| read(root, files))
}

/// Reads a document in full or not at all.
fn document<T>(
    text: &str,
    file: &Path,
    read: impl FnOnce(&Section<'_>) -> Option<T>,
) -> Result<T, ManifestError> {
    if text.len() > MAX_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_BYTES} are read", text.len());
        return Err(ManifestError::whole(file, message));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let report = Report::new(text);
    for error in &errors {
        let message = format!("not TOML: {}", crate::neutral::echo_path(error.message()));
        report.add(&error.span().unwrap_or(0..0), Complaint { message, ..Complaint::default() });
    }
    // Half a file that is no TOML would only be reported as full of missing keys.
    let value =
        if errors.is_empty() { read(&Section::root(&report, document.get_ref())) } else { None };
    match value {
        Some(value) if report.is_clean() => Ok(value),
        _ => Err(report.into_error(file)),
    }
}

/// Reads every table, so that each can complain, then puts the manifest together.
fn read(root: &Section<'_>, files: &dyn Files) -> Option<Manifest> {
    root.refuse_unknown(&TOP);
    let table = |name: &str| root.get(name).and_then(|field| field.section());
    let required = |name: &str| {
        root.require(name, &format!("a table `[{name}]`")).and_then(|field| field.section())
    };
    let plugin = required("plugin").and_then(|section| plugin::read(&section));
    let runtime = required("runtime").and_then(|section| runtime::read(&section));
    let dialect = runtime.as_ref().map(|runtime| runtime.dialect);
    let name = plugin.as_ref().map(|plugin| &plugin.name);
    let methods = table("methods").map(|section| method::read(&section, dialect, files));
    let config = root.get("config").and_then(|field| config::read(&field, files));
    let dependencies = table("dependencies").map(|section| dependency::read(&section, name));
    let permissions = table("permissions").map(|section| permission::read(&section));
    let sandbox = table("sandbox").map(|section| sandbox::read(&section));
    let limits = table("limits").map(|section| limit::read(&section));
    let supervision = table("supervision").map(|section| supervision::read(&section));
    let events = table("events").map(|section| event::read(&section));
    Some(Manifest {
        methods: methods.unwrap_or_default(),
        config: config.unwrap_or_default(),
        dependencies: dependencies.unwrap_or_default(),
        permissions: permissions.unwrap_or_default(),
        sandbox: sandbox.unwrap_or_default(),
        limits: limits.unwrap_or_default(),
        supervision: supervision.unwrap_or_default(),
        events: events.unwrap_or_default(),
        plugin: plugin?,
        runtime: runtime?,
    })
}
