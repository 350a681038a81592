//! `[methods.NAME]`: what may be called.

use std::collections::BTreeMap;

use plugbay_protocol::method::is_reserved;

use super::{Files, schema};
use crate::{
    field::{Field, Section},
    key::METHOD,
    manifest::{Dialect, MethodSpec},
};

/// The longest method name, in bytes.
const MAX_NAME: usize = 128;

/// The rule of method names, for messages.
const NAME_RULE: &str = "letters, digits and . _ - / $, at most 128 characters";

pub(super) fn read(
    section: &Section<'_>,
    dialect: Option<Dialect>,
    files: &dyn Files,
) -> BTreeMap<String, MethodSpec> {
    let mut methods = BTreeMap::new();
    for (name, _, field) in section.entries() {
        check_name(name, dialect, &field);
        if let Some(section) = field.section() {
            methods.insert(name.to_owned(), read_method(&section, files));
        }
    }
    methods
}

/// Names that the protocol keeps for itself cannot be a plugin's own.
fn check_name(name: &str, dialect: Option<Dialect>, field: &Field<'_>) {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'/' | b'$');
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
        field.wrong("not a method name", NAME_RULE);
    } else if dialect == Some(Dialect::Plugbay) && is_reserved(name) {
        field.wrong(
            "the protocol keeps this name for itself",
            "a name that is not `initialize`, `initialized`, `shutdown` or `exit`, and does not \
             start with `$/`, `host/`, `plugin/`, `event/`, `stream/` or `rpc.`",
        );
    }
}

fn read_method(section: &Section<'_>, files: &dyn Files) -> MethodSpec {
    section.refuse_unknown(&METHOD.names().collect::<Vec<_>>());
    MethodSpec {
        description: section.get("description").and_then(|f| f.prose()).unwrap_or_default(),
        params: section.get("params").and_then(|field| schema::read(&field, files)),
        result: section.get("result").and_then(|field| schema::read(&field, files)),
        idempotent: section.get("idempotent").and_then(|field| field.flag()).unwrap_or(false),
        timeout: section.get("timeout").and_then(|field| field.duration()),
    }
}
