//! JSON Schemas of parameters, results and configuration. The only room that knows `jsonschema`.
//!
//! A schema comes from a plugin and is checked against values that may come from it too, inside
//! the host. So a schema may not cost the host more than a bounded time and stack:
//! - no reference leaves the document; nothing is fetched from the network or from files,
//! - patterns run on an engine without backtracking, and are bounded in size,
//! - what could multiply (references, `unevaluated…`) is counted before it is run ([`cost`]),
//! - what could nest deeply runs on a stack of its own.
//!
//! Checked when the manifest is read, compiled when first used, then kept.

mod cost;
mod keyword;
mod shape;
#[cfg(test)]
mod tests;

use std::{fmt, sync::OnceLock, thread};

use jsonschema::{PatternOptions, Validator, error::ValidationErrorKind};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::neutral::echo;

pub(crate) use keyword::{Keywords, is_keyword};
use shape::Shape;

/// The most faults told of one value or one schema.
const MAX_FAULTS: usize = 8;
/// The size of one compiled pattern, in bytes.
const MAX_PATTERN: usize = 1 << 20;
/// How deep the schema crate may recurse on the caller's stack; the worst kind of level needs less
/// than 10 KiB of it in a debug build.
const SHALLOW: usize = 96;
/// The stack for what is deeper: enough for [`shape::MAX_DEPTH`] levels.
const DEEP_STACK: usize = 64 << 20;

/// What is said of a pattern that cannot be compiled.
const PATTERN: &str =
    "not a pattern that can be used (no look-around, no back references, bounded in size)";
/// When the thread for deep work could not be had.
const LOST: &str = "the schema needs more stack than this machine gives";

/// A JSON Schema that has been checked and is compiled on first use.
#[derive(Clone)]
pub struct Schema {
    document: Value,
    shape: Shape,
    compiled: OnceLock<Result<Box<Validator>, Fault>>,
}

/// What is wrong with a schema, and where in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// JSON Pointer of the place.
    pub(crate) pointer: String,
    pub(crate) message: String,
}

impl Schema {
    /// Checks a schema.
    pub(crate) fn new(document: Value, keywords: Keywords) -> Result<Self, Vec<Fault>> {
        let shape = Shape::of(&document, keywords)?;
        let faults: Vec<Fault> = meta_faults(&document);
        if !faults.is_empty() {
            return Err(faults);
        }
        let schema = Self { document, shape, compiled: OnceLock::new() };
        // Only compiling tells whether a pattern can be used; all else has been told already.
        if schema.shape.has_pattern
            && let Err(fault) = schema.compiled()
        {
            return Err(vec![fault.clone()]);
        }
        Ok(schema)
    }

    /// The schema itself.
    #[must_use]
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// Checks a value.
    ///
    /// # Errors
    /// What is wrong with the value, each with its place in it; at most a handful.
    pub fn validate(&self, value: &Value) -> Result<(), Vec<String>> {
        let depth = if self.shape.is_simple {
            self.shape.depth
        } else {
            cost::measure(&self.document, value).map_err(|error| vec![error.to_string()])?
        };
        let validator = self.compiled().map_err(|fault| vec![fault.message.clone()])?;
        on_stack_for(depth, || check(validator, value))
            .unwrap_or_else(|| Err(vec![LOST.to_owned()]))
    }

    /// The compiled schema, compiled now if it is used for the first time.
    fn compiled(&self) -> Result<&Validator, &Fault> {
        let compile = || {
            on_stack_for(self.shape.depth, || compile(&self.document).map(Box::new))
                .unwrap_or_else(|| Err(Fault { pointer: String::new(), message: LOST.to_owned() }))
        };
        match self.compiled.get_or_init(compile) {
            Ok(validator) => Ok(validator),
            Err(fault) => Err(fault),
        }
    }

    /// The value with the defaults that the schema states for keys that are not there.
    pub(crate) fn with_defaults(&self, mut value: Value) -> Value {
        fill(&self.document, &mut value);
        value
    }
}

/// What the meta-schema of its draft finds wrong with a schema.
fn meta_faults(document: &Value) -> Vec<Fault> {
    if jsonschema::meta::is_valid(document) {
        return Vec::new();
    }
    let Ok(validator) = jsonschema::meta::validator_for(document) else { return Vec::new() };
    let fault = |error: jsonschema::ValidationError<'_>| Fault {
        pointer: error.instance_path().to_string(),
        message: describe(&error),
    };
    validator.iter_errors(document).take(MAX_FAULTS).map(fault).collect()
}

fn compile(document: &Value) -> Result<Validator, Fault> {
    let patterns = PatternOptions::regex().size_limit(MAX_PATTERN).dfa_size_limit(MAX_PATTERN);
    jsonschema::options().offline().with_pattern_options(patterns).build(document).map_err(
        |error| {
            let is_pattern = matches!(error.kind(), ValidationErrorKind::Format { .. });
            let message = if is_pattern { PATTERN.to_owned() } else { describe(&error) };
            Fault { pointer: error.instance_path().to_string(), message }
        },
    )
}

fn check(validator: &Validator, value: &Value) -> Result<(), Vec<String>> {
    if validator.is_valid(value) {
        return Ok(());
    }
    let tell = |error: jsonschema::ValidationError<'_>| {
        let place = error.instance_path().to_string();
        let message = describe(&error);
        if place.is_empty() { message } else { format!("`{}`: {message}", echo(&place)) }
    };
    Err(validator.iter_errors(value).take(MAX_FAULTS).map(tell).collect())
}

/// An error without the value it is about: values may be long, and may be secrets.
fn describe(error: &jsonschema::ValidationError<'_>) -> String {
    echo(&error.masked_with("the value").to_string()).into_owned()
}

/// Runs `work` here if it needs little stack, on a thread with a large one otherwise. `None` when
/// there is no such thread to be had.
fn on_stack_for<T: Send>(depth: usize, work: impl FnOnce() -> T + Send) -> Option<T> {
    if depth <= SHALLOW {
        return Some(work());
    }
    thread::scope(|scope| {
        let worker = thread::Builder::new().name("schema".to_owned()).stack_size(DEEP_STACK);
        worker.spawn_scoped(scope, work).ok()?.join().ok()
    })
}

/// Adds the defaults of `schema` to the objects of `value`, without following references.
fn fill(schema: &Value, value: &mut Value) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let Some(object) = value.as_object_mut() else { return };
    for (name, property) in properties {
        match (object.get_mut(name), property.get("default")) {
            (Some(present), _) => fill(property, present),
            (None, Some(default)) => {
                object.insert(name.clone(), default.clone());
            }
            (None, None) => {}
        }
    }
}

impl PartialEq for Schema {
    fn eq(&self, other: &Self) -> bool {
        self.document == other.document
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({})", self.document)
    }
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.document.serialize(serializer)
    }
}
