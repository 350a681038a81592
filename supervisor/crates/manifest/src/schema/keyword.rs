//! The keywords of JSON Schema, and which of them hold schemas for which part of a value.
//!
//! One list for every draft: a keyword that a draft does not have only makes a count higher.

use serde_json::{Map, Value};

/// Whether keywords that nobody knows are faults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keywords {
    /// They are: written by hand in the manifest, an unknown keyword is a slip.
    Known,
    /// They are not: a file made by a generator carries what that generator adds.
    Any,
}

/// Every keyword of the drafts 4 to 2020-12.
pub(crate) const ALL: [&str; 62] = [
    "$anchor",
    "$comment",
    "$defs",
    "$dynamicAnchor",
    "$dynamicRef",
    "$id",
    "$recursiveAnchor",
    "$recursiveRef",
    "$ref",
    "$schema",
    "$vocabulary",
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "contains",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "default",
    "definitions",
    "dependencies",
    "dependentRequired",
    "dependentSchemas",
    "deprecated",
    "description",
    "else",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "id",
    "if",
    "items",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "propertyNames",
    "readOnly",
    "required",
    "then",
    "title",
    "type",
    "unevaluatedItems",
    "unevaluatedProperties",
    "uniqueItems",
];

/// Every name that `type` may have.
pub(crate) const TYPES: [&str; 8] =
    ["null", "boolean", "object", "array", "number", "string", "integer", "any"];

/// Whether a word is a keyword, or an extension that says so (`x-…`).
pub(crate) fn is_keyword(word: &str) -> bool {
    word.starts_with("x-") || word == "writeOnly" || ALL.contains(&word)
}

/// Which part of a value a subschema is applied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part<'s> {
    /// The same value.
    Same,
    /// The member of this name.
    Member(&'s str),
    /// Any member.
    Members,
    /// The names of the members.
    MemberNames,
    /// The element at this place.
    Element(usize),
    /// Any element.
    Elements,
    /// None: it is there to be referred to.
    Nothing,
}

/// Calls `visit` with every subschema of a schema: its keyword, its key or index there (empty when
/// the keyword holds one schema), what it is applied to, and itself.
pub(crate) fn each_child<'s>(
    schema: &'s Map<String, Value>,
    mut visit: impl FnMut(&'s str, String, Part<'s>, &'s Value),
) {
    for (keyword, held) in schema {
        let keyword = keyword.as_str();
        match keyword {
            "not" | "if" | "then" | "else" => visit(keyword, String::new(), Part::Same, held),
            "additionalProperties" | "unevaluatedProperties" => {
                visit(keyword, String::new(), Part::Members, held);
            }
            "propertyNames" => visit(keyword, String::new(), Part::MemberNames, held),
            "additionalItems" | "unevaluatedItems" | "contains" => {
                visit(keyword, String::new(), Part::Elements, held);
            }
            "contentSchema" => visit(keyword, String::new(), Part::Nothing, held),
            "items" if !held.is_array() => visit(keyword, String::new(), Part::Elements, held),
            "allOf" | "anyOf" | "oneOf" => {
                for (index, child) in held.as_array().into_iter().flatten().enumerate() {
                    visit(keyword, index.to_string(), Part::Same, child);
                }
            }
            "items" | "prefixItems" => {
                for (index, child) in held.as_array().into_iter().flatten().enumerate() {
                    visit(keyword, index.to_string(), Part::Element(index), child);
                }
            }
            "properties" | "patternProperties" | "dependentSchemas" | "dependencies" | "$defs"
            | "definitions" => {
                for (name, child) in held.as_object().into_iter().flatten() {
                    let part = match keyword {
                        "properties" => Part::Member(name),
                        "patternProperties" => Part::Members,
                        "$defs" | "definitions" => Part::Nothing,
                        _ => Part::Same,
                    };
                    visit(keyword, name.clone(), part, child);
                }
            }
            _ => {}
        }
    }
}

/// The schema that a local reference means: `#`, or `#/…` as a JSON Pointer.
pub(crate) fn target<'s>(document: &'s Value, reference: &str) -> Option<&'s Value> {
    let pointer = reference.strip_prefix('#')?;
    if pointer.contains('%') {
        document.pointer(&decode(pointer)?)
    } else {
        document.pointer(pointer)
    }
}

/// Undoes percent encoding.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}
