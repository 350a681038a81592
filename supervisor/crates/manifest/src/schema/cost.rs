//! Counts what checking a value against a schema would cost, before it is done.
//!
//! References and `unevaluated…` can make a short schema visit the same value 2^n times, or
//! recurse as deep as the value says. This walk applies every subschema to every part of the value
//! that it could be applied to, so the count is never below what the real check does; it stops at
//! the bound. It checks nothing.

use serde_json::Value;

use super::keyword::{Part, each_child, target};

/// The most applications of a subschema to a part of a value; about 0.1 s of work.
const MAX_VISITS: u64 = 1_000_000;
/// The most applications within each other.
const MAX_NESTING: usize = 512;
/// `unevaluated…` makes the crate look at what is beside it again to learn what was evaluated:
/// measured, each nesting multiplies the work by less than this.
const UNEVALUATED_FACTOR: u64 = 3;

/// Why a value is not checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum CostError {
    #[error("checking this value against the schema would take more than {MAX_VISITS} steps")]
    TooMuch,
    #[error("checking this value against the schema would nest more than {MAX_NESTING} deep")]
    TooDeep,
}

/// How deep the check will nest, or that it would cost too much.
pub(super) fn measure(document: &Value, value: &Value) -> Result<usize, CostError> {
    let mut count = Count { document, left: MAX_VISITS, deepest: 0 };
    count.visit(document, value, 1, 1)?;
    Ok(count.deepest)
}

struct Count<'s> {
    document: &'s Value,
    left: u64,
    deepest: usize,
}

impl<'s> Count<'s> {
    /// Applies a schema to a value, `times` times, `depth` deep.
    fn visit(
        &mut self,
        schema: &'s Value,
        value: &Value,
        times: u64,
        depth: usize,
    ) -> Result<(), CostError> {
        self.deepest = self.deepest.max(depth);
        if depth > MAX_NESTING {
            return Err(CostError::TooDeep);
        }
        let Some(object) = schema.as_object() else { return self.pay(times) };
        let choices = object.get("enum").and_then(Value::as_array).map_or(0, Vec::len);
        self.pay(times.saturating_mul(1 + u64::try_from(choices).unwrap_or(u64::MAX)))?;
        let unevaluated =
            object.contains_key("unevaluatedProperties") || object.contains_key("unevaluatedItems");
        let again = if unevaluated { times.saturating_mul(UNEVALUATED_FACTOR) } else { times };
        if let Some(next) = object.get("$ref").and_then(Value::as_str)
            && let Some(next) = target(self.document, next)
        {
            self.visit(next, value, again, depth + 1)?;
        }
        let mut outcome = Ok(());
        each_child(object, |_, _, part, child| {
            if outcome.is_ok() {
                let times = if part == Part::Same { again } else { times };
                outcome = self.apply(child, part, value, times, depth + 1);
            }
        });
        outcome
    }

    /// Applies a subschema to the parts of a value that it is for.
    fn apply(
        &mut self,
        schema: &'s Value,
        part: Part<'s>,
        value: &Value,
        times: u64,
        depth: usize,
    ) -> Result<(), CostError> {
        match (part, value) {
            (Part::Same, value) => self.visit(schema, value, times, depth),
            (Part::Member(name), Value::Object(members)) => {
                members.get(name).map_or(Ok(()), |value| self.visit(schema, value, times, depth))
            }
            (Part::Members, Value::Object(members)) => {
                members.values().try_for_each(|value| self.visit(schema, value, times, depth))
            }
            (Part::MemberNames, Value::Object(members)) => members
                .keys()
                .try_for_each(|_| self.visit(schema, &Value::String(String::new()), times, depth)),
            (Part::Element(index), Value::Array(elements)) => {
                elements.get(index).map_or(Ok(()), |value| self.visit(schema, value, times, depth))
            }
            (Part::Elements, Value::Array(elements)) => {
                elements.iter().try_for_each(|value| self.visit(schema, value, times, depth))
            }
            _ => Ok(()),
        }
    }

    fn pay(&mut self, visits: u64) -> Result<(), CostError> {
        self.left = self.left.checked_sub(visits).ok_or(CostError::TooMuch)?;
        Ok(())
    }
}
