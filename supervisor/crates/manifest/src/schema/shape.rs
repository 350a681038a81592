//! What can be told of a schema without a value: whether it stays within itself, how deep it is,
//! and whether checking a value against it can cost more than its size says.
//!
//! Keywords of the wrong form are not this file's business; the meta-schema tells of them.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{
    Fault, MAX_FAULTS,
    keyword::{ALL, Keywords, Part, TYPES, each_child, is_keyword, target},
};
use crate::{neutral::echo, suggest};

/// The deepest a schema may nest, references counted as nesting.
pub(super) const MAX_DEPTH: usize = 4096;
/// A schema of more subschemas than this has its cost counted for every value.
const SIMPLE_SIZE: usize = 1000;
/// The drafts that are known, as `$schema` names them.
const DRAFTS: [&str; 5] = [
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
    "http://json-schema.org/draft-06/schema",
    "http://json-schema.org/draft-04/schema",
];

/// What a schema is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// No path through it is deeper than this, whatever the order of references (cycles aside).
    pub(super) depth: usize,
    /// Checking a value costs at most its size times the value's.
    pub(super) is_simple: bool,
    /// It has patterns, which only compiling can check.
    pub(super) has_pattern: bool,
}

impl Shape {
    /// Looks at a schema; faults are what makes it unfit.
    pub(super) fn of(document: &Value, keywords: Keywords) -> Result<Self, Vec<Fault>> {
        let mut survey = Survey::new(document, keywords);
        let mut depth = survey.walk(document, &mut String::new(), true);
        // Definitions in unusual places are found through the references to them.
        while let Some((reference, schema)) = survey.unvisited.pop() {
            let mut pointer = reference.trim_start_matches('#').to_owned();
            let height = match survey.heights.get(&std::ptr::from_ref(schema)) {
                Some(height) => *height,
                None => survey.walk(schema, &mut pointer, false),
            };
            depth += height + 1;
        }
        if depth > MAX_DEPTH {
            survey.fault(
                "",
                format!("the schema nests {depth} deep; at most {MAX_DEPTH} is allowed"),
            );
        }
        if survey.faults.is_empty() && !survey.references.is_empty() && circles(document) {
            let message = "the schema refers to itself without going into the value";
            survey.fault("", message.to_owned());
        }
        if !survey.faults.is_empty() {
            return Err(survey.faults);
        }
        let has_references = !survey.references.is_empty();
        let is_simple = !has_references && !survey.has_unevaluated && survey.size <= SIMPLE_SIZE;
        Ok(Self { depth, is_simple, has_pattern: survey.has_pattern })
    }
}

/// A walk over all subschemas.
struct Survey<'s> {
    document: &'s Value,
    keywords: Keywords,
    faults: Vec<Fault>,
    /// Subschemas and enumerated values.
    size: usize,
    has_pattern: bool,
    has_unevaluated: bool,
    references: HashSet<&'s str>,
    /// Referred to, and not yet added to the depth.
    unvisited: Vec<(&'s str, &'s Value)>,
    /// How deep each schema goes without following references, by address.
    heights: HashMap<*const Value, usize>,
}

impl<'s> Survey<'s> {
    fn new(document: &'s Value, keywords: Keywords) -> Self {
        Self {
            document,
            keywords,
            faults: Vec::new(),
            size: 0,
            has_pattern: false,
            has_unevaluated: false,
            references: HashSet::new(),
            unvisited: Vec::new(),
            heights: HashMap::new(),
        }
    }

    fn fault(&mut self, pointer: &str, message: String) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault { pointer: pointer.to_owned(), message });
        }
    }

    /// Visits a schema and what it holds; returns how deep it goes. Recursion is bounded by the
    /// nesting of the text it came from (80 in TOML, 128 in JSON).
    fn walk(&mut self, schema: &'s Value, pointer: &mut String, is_root: bool) -> usize {
        self.size += 1;
        let Some(object) = schema.as_object() else { return 1 };
        self.look(object, pointer, is_root);
        let mut height = 0;
        each_child(object, |keyword, key, part, child| {
            let length = pointer.len();
            for piece in [keyword, &key] {
                if !piece.is_empty() {
                    pointer.push('/');
                    pointer.push_str(&piece.replace('~', "~0").replace('/', "~1"));
                }
            }
            let below = self.walk(child, pointer, false);
            pointer.truncate(length);
            if part != Part::Nothing {
                height = height.max(below);
            }
        });
        self.heights.insert(std::ptr::from_ref(schema), height + 1);
        height + 1
    }

    /// Looks at the keywords of one schema.
    fn look(&mut self, schema: &'s Map<String, Value>, pointer: &str, is_root: bool) {
        for (keyword, value) in schema {
            match keyword.as_str() {
                "$ref" => self.refer(value, pointer),
                "$dynamicRef" | "$recursiveRef" => {
                    self.fault(pointer, format!("`{keyword}` is not supported; use `$ref`"));
                }
                "$id" | "id" if !is_root && value.is_string() => {
                    self.fault(
                        pointer,
                        format!("`{keyword}` is allowed at the top of a schema only"),
                    );
                }
                "$schema" => self.check_draft(value, pointer),
                "type" => self.check_type(value, pointer),
                "enum" => self.size += value.as_array().map_or(0, Vec::len),
                "pattern" | "patternProperties" => self.has_pattern = true,
                "unevaluatedItems" | "unevaluatedProperties" => self.has_unevaluated = true,
                word if self.keywords == Keywords::Known && !is_keyword(word) => {
                    let nearest = suggest::nearest(word, ALL)
                        .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                    let pointer =
                        format!("{pointer}/{}", word.replace('~', "~0").replace('/', "~1"));
                    self.fault(&pointer, format!("unknown keyword `{}`{nearest}", echo(word)));
                }
                _ => {}
            }
        }
    }

    fn refer(&mut self, value: &'s Value, pointer: &str) {
        let Some(reference) = value.as_str() else { return };
        match target(self.document, reference) {
            Some(schema) if reference == "#" || reference.starts_with("#/") => {
                if self.references.insert(reference) {
                    self.unvisited.push((reference, schema));
                }
            }
            _ if reference.starts_with("#/") => {
                self.fault(
                    pointer,
                    format!("`{}` refers to nothing in the schema", echo(reference)),
                );
            }
            _ => self.fault(
                pointer,
                format!("`{}` leaves the schema; a reference is `#` or `#/…`", echo(reference)),
            ),
        }
    }

    fn check_draft(&mut self, value: &Value, pointer: &str) {
        let Some(draft) = value.as_str() else { return };
        let draft = draft.trim_end_matches('#');
        if !DRAFTS.contains(&draft) {
            let message =
                format!("unknown `$schema` `{}`; known are {}", echo(draft), DRAFTS.join(", "));
            self.fault(pointer, message);
        }
    }

    fn check_type(&mut self, value: &Value, pointer: &str) {
        let one = std::slice::from_ref(value);
        for name in value.as_array().map_or(one, Vec::as_slice).iter().filter_map(Value::as_str) {
            if !TYPES.contains(&name) {
                let nearest = suggest::nearest(name, TYPES)
                    .map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                let message = format!("unknown type `{}`{nearest}", echo(name));
                self.fault(&format!("{pointer}/type"), message);
            }
        }
    }
}

/// Whether some schema applies itself to the very value it is applied to: checking a value would
/// never end. Iterative, because the way round may be as long as the document.
fn circles(document: &Value) -> bool {
    let mut done: HashSet<*const Value> = HashSet::new();
    let mut open: HashSet<*const Value> = HashSet::new();
    let mut starts = vec![document];
    while let Some(start) = starts.pop() {
        let mut stack = vec![Visit::Enter(start)];
        while let Some(visit) = stack.pop() {
            let schema = match visit {
                Visit::Leave(schema) => {
                    open.remove(&std::ptr::from_ref(schema));
                    done.insert(std::ptr::from_ref(schema));
                    continue;
                }
                Visit::Enter(schema) => schema,
            };
            let address = std::ptr::from_ref(schema);
            if open.contains(&address) {
                return true;
            }
            if done.contains(&address) {
                continue;
            }
            let Some(object) = schema.as_object() else { continue };
            open.insert(address);
            stack.push(Visit::Leave(schema));
            let reference = object.get("$ref").and_then(Value::as_str);
            stack.extend(reference.and_then(|to| target(document, to)).map(Visit::Enter));
            each_child(object, |_, _, part, child| {
                if part == Part::Same {
                    stack.push(Visit::Enter(child));
                } else {
                    starts.push(child);
                }
            });
        }
    }
    false
}

/// A step of the search for circles.
enum Visit<'s> {
    Enter(&'s Value),
    Leave(&'s Value),
}
