//! `plugbay list`: the plugins that can be called by name.

use plugbay_manifest::Package;
use serde::Serialize;

use crate::{
    args::List,
    cli::find::{self, Found, Skipped},
    exit::Exit,
    output::{Format, Outcome, Table, Terminal, Tone},
};

/// Prints them; what was skipped goes to stderr.
pub(crate) fn run(typed: &List, terminal: Terminal) -> Outcome {
    let found = find::discover(&typed.places)?;
    match Format::from_flag(typed.json) {
        Format::Json => terminal.json(&listing(&found))?,
        Format::Human => {
            if found.packages.is_empty() {
                let places = find::places_in_words(&typed.places);
                terminal.say(&format!("no plugins under {places}"));
            } else {
                terminal.data(&table(&found.packages))?;
            }
            for Skipped { path, reason } in &found.skipped {
                let text = format!("`{}` is skipped: {reason}", path.display());
                terminal.say_as(Tone::Warn, "warning", &text);
            }
        }
    }
    Ok(Exit::Ok.into())
}

fn table(packages: &[Package]) -> String {
    let mut table = Table::new(&["NAME", "VERSION", "TYPE", "METHODS", "DESCRIPTION"]);
    for Package { manifest, .. } in packages {
        let methods: Vec<&str> = manifest.methods.keys().map(String::as_str).collect();
        table.row([
            manifest.plugin.name.as_str(),
            &manifest.plugin.version.to_string(),
            &manifest.plugin.kind,
            &methods.join(" "),
            &manifest.plugin.description,
        ]);
    }
    table.lines()
}

#[derive(Serialize)]
struct Listing<'a> {
    plugins: Vec<Entry<'a>>,
    skipped: Vec<Left<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    name: &'a str,
    version: String,
    r#type: &'a str,
    description: &'a str,
    methods: Vec<&'a str>,
    directory: String,
}

#[derive(Serialize)]
struct Left<'a> {
    path: String,
    reason: &'a str,
}

fn listing(found: &Found) -> Listing<'_> {
    Listing {
        plugins: found.packages.iter().map(entry).collect(),
        skipped: found
            .skipped
            .iter()
            .map(|it| Left { path: it.path.display().to_string(), reason: &it.reason })
            .collect(),
    }
}

fn entry(package: &Package) -> Entry<'_> {
    let manifest = &package.manifest;
    Entry {
        name: manifest.plugin.name.as_str(),
        version: manifest.plugin.version.to_string(),
        r#type: &manifest.plugin.kind,
        description: &manifest.plugin.description,
        methods: manifest.methods.keys().map(String::as_str).collect(),
        directory: package.dir.display().to_string(),
    }
}
