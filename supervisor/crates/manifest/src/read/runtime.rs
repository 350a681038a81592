//! `[runtime]`: how the plugin is started and how it speaks.

use plugbay_protocol::Framing;

use crate::{
    command,
    field::{Field, Section},
    key::RUNTIME,
    manifest::{Dialect, Runtime, Sdk, framing_word},
};

/// Every framing, the default first.
const FRAMINGS: [Framing; 2] = [Framing::Line, Framing::ContentLength];

/// What `command` may be, for messages.
const COMMAND_RULE: &str =
    "a command line as \"python3 main.py\", or a list as [\"python3\", \"main.py\"]";

pub(super) fn read(section: &Section<'_>) -> Option<Runtime> {
    section.refuse_unknown(&RUNTIME.names().collect::<Vec<_>>());
    let command = section.require("command", COMMAND_RULE).and_then(|field| read_command(&field));
    let dialect =
        section.get("dialect").and_then(|field| field.choice(&Dialect::ALL, Dialect::as_str));
    let framing = section.get("framing").and_then(|field| field.choice(&FRAMINGS, framing_word));
    Some(Runtime {
        command: command?,
        dialect: dialect.unwrap_or_default(),
        framing: framing.unwrap_or_default(),
        sdk: section.get("sdk").and_then(|field| field.choice(&Sdk::ALL, Sdk::as_str)),
    })
}

/// A command line, split without a shell, or the words themselves.
pub(super) fn read_command(field: &Field<'_>) -> Option<Vec<String>> {
    let words = match field.value.get_ref().as_str() {
        Some(line) => command::split(line)
            .map_err(|error| field.wrong(error.to_string(), COMMAND_RULE))
            .ok()?,
        None => read_words(field)?,
    };
    if words.first().is_none_or(String::is_empty) {
        field.wrong("there is no program", COMMAND_RULE);
        return None;
    }
    if words.iter().any(|word| word.contains('\0')) {
        field.wrong("a word has a NUL character", COMMAND_RULE);
        return None;
    }
    Some(words)
}

/// The list form. Words may hold newlines: an inline script is an ordinary argument.
fn read_words(field: &Field<'_>) -> Option<Vec<String>> {
    let fields = field.list("a text or a list of texts")?;
    let words: Vec<String> = fields
        .iter()
        .filter_map(|field| {
            let word = field.value.get_ref().as_str();
            if word.is_none() {
                field.wrong_kind("a text");
            }
            word.map(str::to_owned)
        })
        .collect();
    (words.len() == fields.len()).then_some(words)
}
