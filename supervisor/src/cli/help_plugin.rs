//! `plugbay help-plugin`: how a plugin's methods are called, made from its manifest and its schemas.

mod example;
mod schema;

use plugbay_manifest::{Manifest, MethodSpec, Package};
use serde_json::Value;

use crate::{
    args::HelpPlugin,
    cli::find,
    exit::Exit,
    failure::Failure,
    output::{
        Brush, Outcome, Terminal, Tone, moment,
        neutral::{self, Lines},
    },
};

/// Prints it.
pub(crate) fn run(typed: &HelpPlugin, terminal: Terminal) -> Outcome {
    let package = find::find(&typed.plugin, &typed.places)?;
    let help = Help { target: &typed.plugin, package: &package, brush: terminal.on_stdout() };
    let text = match &typed.method {
        Some(method) => help.only(method)?,
        None => help.whole(),
    };
    terminal.data(&text)?;
    Ok(Exit::Ok.into())
}

struct Help<'a> {
    /// The plugin as it was typed: what the examples name.
    target: &'a str,
    package: &'a Package,
    brush: Brush,
}

impl Help<'_> {
    fn manifest(&self) -> &Manifest {
        &self.package.manifest
    }

    fn whole(&self) -> String {
        let Manifest { plugin, methods, .. } = self.manifest();
        let name = self.brush.paint(Tone::Head, plugin.name.as_str());
        let mut out = format!("{name} {}", plugin.version);
        if !plugin.description.is_empty() {
            out.push_str(&format!(": {}", line(&plugin.description)));
        }
        out.push_str(&format!("\n\n{}", self.head("Usage")));
        let usage = format!("plugbay call {} METHOD [PARAMS]", self.target);
        out.push_str(&format!("  {}\n", line(&usage)));
        out.push_str(&format!("\n{}", self.head("Methods")));
        if methods.is_empty() {
            out.push_str("  Its manifest names none; it tells them when it runs.\n");
        }
        let texts: Vec<String> =
            methods.iter().map(|(name, method)| self.method(name, method)).collect();
        out.push_str(&texts.join("\n"));
        out.push_str(&self.config());
        out
    }

    fn only(&self, method: &str) -> Result<String, Failure> {
        let methods = &self.manifest().methods;
        match methods.get(method) {
            Some(spec) => Ok(self.method(method, spec)),
            None => {
                let known: Vec<&str> = methods.keys().map(String::as_str).collect();
                let name = &self.manifest().plugin.name;
                let message = format!("`{name}` names no method `{method}`");
                Err(Failure::new(Exit::NotFound, message)
                    .hint(format!("it has: {}", known.join(", "))))
            }
        }
    }

    fn method(&self, name: &str, method: &MethodSpec) -> String {
        let mut out = format!("  {}", self.brush.paint(Tone::Note, &line(name)));
        if !method.description.is_empty() {
            out.push_str(&format!(": {}", line(&method.description)));
        }
        out.push_str(&format!("\n    {}\n", self.manners(name, method)));
        if let Some(params) = &method.params {
            out.push_str(&format!("    takes\n{}", schema::members(params.document(), 6)));
        }
        if let Some(result) = &method.result {
            out.push_str(&format!("    gives\n{}", schema::members(result.document(), 6)));
        }
        let holds = |params: &Value| method.validate_params(params).is_ok();
        let params = method.params.as_ref().and_then(|it| example::of(it.document(), holds));
        let words = [Some(self.target.to_owned()), Some(name.to_owned()), params];
        let words: Vec<String> = words.into_iter().flatten().map(|word| quoted(&word)).collect();
        out.push_str(&format!("    example\n      plugbay call {}\n", words.join(" ")));
        out
    }

    /// How long it may take, and whether it may be called again.
    fn manners(&self, name: &str, method: &MethodSpec) -> String {
        let time = moment::span(self.manifest().call_timeout(name));
        let again = if method.idempotent {
            "; may be repeated: calling it twice is as good as once"
        } else {
            ""
        };
        format!("within {time} without progress{again}")
    }

    fn config(&self) -> String {
        let Some(config) = &self.manifest().config.schema else { return String::new() };
        let keys = schema::members(config.document(), 2);
        if keys.is_empty() {
            return String::new();
        }
        format!("\n{}{keys}", self.head("Configuration (--config KEY=VALUE)"))
    }

    fn head(&self, title: &str) -> String {
        format!("{}\n", self.brush.paint(Tone::Head, title))
    }
}

/// Text of the manifest's, harmless and on one line.
fn line(text: &str) -> String {
    neutral::text(text, Lines::Escape).into_owned()
}

/// A word as a shell takes it, on one line.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    let word = line(word);
    if !word.is_empty() && word.chars().all(plain) {
        word
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("examples/words"), "examples/words");
        assert_eq!(quoted("{\"a\": 1}"), "'{\"a\": 1}'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("$(rm -r .)"), "'$(rm -r .)'");
        assert_eq!(quoted(""), "''");
    }
}
