//! The user's own plugin: found, its harmless call understood, and its owner told what will be done.

use plugbay_manifest::{FilesystemPermission, NetworkPermission, Package};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    args::{Chaos, Places},
    chaos::guest::Subject,
    cli::{call, find},
    failure::Failure,
    output::{
        Terminal, Tone,
        neutral::{self, Lines},
    },
};

/// The plugin that was named, with the call that was.
pub(super) fn find(plugin: &str, typed: &Chaos) -> Result<Subject, Failure> {
    let package = find::find(plugin, &typed.places)?;
    let params = typed.params.as_deref().map(|text| RawValue::from_string(text.to_owned()));
    let params = params
        .transpose()
        .map_err(|error| Failure::usage(format!("the parameters are no JSON: {error}")))?;
    let methods = &package.manifest.methods;
    if let Some(method) = &typed.call
        && !methods.is_empty()
        && !methods.contains_key(method)
    {
        let known: Vec<&str> = methods.keys().map(String::as_str).collect();
        return Err(Failure::usage(format!("the plugin has no method `{method}`"))
            .hint(format!("it has: {}", known.join(", "))));
    }
    let call = typed.call.clone().map(|method| (method, params));
    Ok(Subject { config: config(&typed.config), call, ..alone(package, &typed.places) })
}

/// A plugin without a call, as it is.
pub(super) fn alone(package: Package, places: &Places) -> Subject {
    let dependencies = call::dependencies(&package, places);
    Subject { package, dependencies, config: None, call: None }
}

/// The keys that were set; JSON, or else text.
fn config(typed: &[(String, String)]) -> Option<Value> {
    let value = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| text.into());
    let keys: Map<String, Value> =
        typed.iter().map(|(key, text)| (key.clone(), value(text))).collect();
    (!keys.is_empty()).then_some(Value::Object(keys))
}

/// Says what will be done to it. What it could leave half-done outside needs a word of its owner's.
pub(super) fn announce(
    subject: &Subject,
    typed: &Chaos,
    terminal: Terminal,
) -> Result<(), Failure> {
    let reach = reach(&subject.package);
    if !reach.is_empty() && !typed.yes {
        let name = subject.name();
        let what = format!(
            "`{name}` would be killed again and again while it may {}",
            reach.join(" and ")
        );
        return Err(Failure::usage(what)
            .hint("if what it leaves half-done there does no harm, say so with --yes"));
    }
    terminal.say_as(Tone::Note, "chaos", &neutral::text(&words(subject), Lines::Escape));
    Ok(())
}

fn words(subject: &Subject) -> String {
    let name = subject.name();
    let called = match &subject.call {
        Some((method, _)) => format!("`{method}` is called some hundred times"),
        None => "it is not called; --call METHOD names a method that does no harm".to_owned(),
    };
    format!(
        "`{name}` from {} is started about 60 times, in hosts of its own and sealed as its manifest \
         says, and killed, stopped and starved there; {called}. What runs elsewhere is not touched",
        subject.package.dir.display()
    )
}

/// What it may change beyond itself, as its manifest asks for it.
fn reach(package: &Package) -> Vec<String> {
    let permissions = &package.manifest.permissions;
    let mut reach = Vec::new();
    if let FilesystemPermission::Paths { write, .. } = &permissions.filesystem
        && !write.is_empty()
    {
        let paths: Vec<String> = write.iter().map(ToString::to_string).collect();
        reach.push(format!("write to {}", paths.join(", ")));
    }
    match &permissions.network {
        NetworkPermission::None => {}
        NetworkPermission::Full => reach.push("use the network".to_owned()),
        NetworkPermission::Only(grants) => {
            let grants: Vec<String> = grants.iter().map(ToString::to_string).collect();
            reach.push(format!("use the network ({})", grants.join(", ")));
        }
    }
    reach
}
