//! A schema in the manifest: a table, `true` or `false`, or the path of a JSON file beside it.

use std::ops::Range;

use serde_json::{Map, Number, Value};
use toml::{Spanned, de::DeValue};

use super::Files;
use crate::{
    field::Field,
    neutral::echo,
    schema::{Fault, Keywords, Schema},
};

pub(super) use crate::schema::is_keyword;

const SCHEMA_RULE: &str =
    "a JSON Schema as a table, true or false, or the path of a JSON file in the plugin's directory";

pub(super) fn read(field: &Field<'_>, files: &dyn Files) -> Option<Schema> {
    let value = field.value.get_ref();
    if value.is_table() {
        read_inline(field)
    } else if let Some(path) = value.as_str() {
        read_file(field, path, files)
    } else if let Some(flag) = value.as_bool() {
        Schema::new(Value::Bool(flag), Keywords::Known).ok()
    } else {
        field.wrong_kind(SCHEMA_RULE);
        None
    }
}

/// A schema written as a table; faults point into it.
pub(super) fn read_inline(field: &Field<'_>) -> Option<Schema> {
    let document = to_json(field, field.value)?;
    Schema::new(document, Keywords::Known)
        .map_err(|faults| {
            for Fault { pointer, message } in faults {
                let span = locate(field.value, &pointer);
                let place = if pointer.is_empty() {
                    String::new()
                } else {
                    format!(" at `{}`", echo(&pointer))
                };
                field.wrong_within(&span, format!("not a JSON Schema{place}: {message}"));
            }
        })
        .ok()
}

/// A schema in a file of its own.
fn read_file(field: &Field<'_>, path: &str, files: &dyn Files) -> Option<Schema> {
    let wrong = |message: String| field.wrong(format!("`{}`: {message}", echo(path)), SCHEMA_RULE);
    let text = files.read(path).map_err(wrong).ok()?;
    let document = serde_json::from_str::<Value>(&text)
        .map_err(|error| wrong(format!("not JSON: {}", echo(&error.to_string()))))
        .ok()?;
    Schema::new(document, Keywords::Any)
        .map_err(|faults| {
            for Fault { pointer, message } in faults {
                wrong(format!("not a JSON Schema at `#{}`: {message}", echo(&pointer)));
            }
        })
        .ok()
}

/// The same value as JSON; reports what JSON does not have.
fn to_json(field: &Field<'_>, value: &Spanned<DeValue<'_>>) -> Option<Value> {
    let refuse = |message: &str| {
        field.wrong_within(&value.span(), message.to_owned());
        None
    };
    match value.get_ref() {
        DeValue::String(text) => Some(Value::String(text.clone().into_owned())),
        DeValue::Boolean(flag) => Some(Value::Bool(*flag)),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) => Some(Value::from(number)),
            Err(_) => refuse("the number does not fit in 64 bits"),
        },
        DeValue::Float(float) => match float.as_str().parse().ok().and_then(Number::from_f64) {
            Some(number) => Some(Value::Number(number)),
            None => refuse("JSON has no such number"),
        },
        DeValue::Datetime(_) => refuse("JSON has no dates; write it as a text"),
        DeValue::Array(array) => {
            array.iter().map(|value| to_json(field, value)).collect::<Option<_>>().map(Value::Array)
        }
        DeValue::Table(table) => {
            let entry = |(name, value): (&Spanned<_>, &Spanned<_>)| {
                let name: &std::borrow::Cow<'_, str> = name.get_ref();
                Some((name.clone().into_owned(), to_json(field, value)?))
            };
            table.iter().map(entry).collect::<Option<Map<_, _>>>().map(Value::Object)
        }
    }
}

/// Where in the file the place of a JSON Pointer stands; the nearest part that is there.
fn locate(value: &Spanned<DeValue<'_>>, pointer: &str) -> Range<usize> {
    let mut at = value;
    let mut span = value.span();
    for segment in pointer.split('/').skip(1) {
        let segment = segment.replace("~1", "/").replace("~0", "~");
        let value = at.get_ref();
        let member = value.as_table().and_then(|table| table.get(segment.as_str()));
        let element = || segment.parse().ok().and_then(|index: usize| value.as_array()?.get(index));
        let next = member.or_else(element);
        let Some(next) = next else { break };
        at = next;
        span = next.span();
    }
    span
}
