//! Whether a plugin's hello can be worked with: checked against its manifest. Pure.

use std::collections::BTreeSet;

use plugbay_manifest::Manifest;
use plugbay_protocol::{VERSION, handshake::Hello};

use super::text::{Breaks, plain};

/// Checks a hello; says what is wrong, in words for whoever wrote the plugin.
///
/// The name, the protocol version and the topics must fit, and if the manifest names methods, they
/// must be the plugin's. That a plugin's own version differs from its manifest's is no reason to
/// refuse it: the manifest's is the one that counts.
pub(crate) fn check(hello: &Hello, manifest: &Manifest) -> Result<(), String> {
    if hello.version != VERSION {
        return Err(format!(
            "it chose protocol version {}, but only {VERSION} was offered",
            hello.version
        ));
    }
    if hello.plugin.name != manifest.plugin.name.as_str() {
        let name = plain(&hello.plugin.name, Breaks::Escape);
        return Err(format!(
            "it calls itself `{name}`, its manifest calls it `{}`",
            manifest.plugin.name
        ));
    }
    if !manifest.methods.is_empty() {
        let declared = manifest.methods.keys().map(String::as_str).collect();
        same("method", &hello.methods, &declared)?;
    }
    within("publishes", &hello.publishes, &manifest.events.publishes)?;
    within("subscribes to", &hello.subscribes, &manifest.events.subscribes)
}

fn same(what: &str, said: &[String], declared: &BTreeSet<&str>) -> Result<(), String> {
    let said: BTreeSet<&str> = said.iter().map(String::as_str).collect();
    if let Some(extra) = said.difference(declared).next() {
        let extra = plain(extra, Breaks::Escape);
        return Err(format!("it answers {what} `{extra}`, which its manifest does not declare"));
    }
    match declared.difference(&said).next() {
        Some(missing) => {
            Err(format!("its manifest declares {what} `{missing}`, which it does not answer"))
        }
        None => Ok(()),
    }
}

fn within(what: &str, said: &[String], declared: &[String]) -> Result<(), String> {
    match said.iter().find(|topic| !declared.contains(topic)) {
        Some(topic) => {
            let topic = plain(topic, Breaks::Escape);
            Err(format!("it {what} topic `{topic}`, which its manifest does not declare"))
        }
        None => Ok(()),
    }
}
