//! `docs/manifest.md`, the list of keys and the reader say the same.

use plugbay_manifest::key::{Fallback, Key, TABLES, Table};

use crate::{FULL, MINIMAL, parse};

const REFERENCE: &str = include_str!("../../../../../docs/manifest.md");

/// A valid manifest in which one table has these lines.
fn with(table: &str, lines: &str) -> String {
    let header = format!("[{}]", table.replace("NAME", "x"));
    if MINIMAL.contains(&header) {
        MINIMAL.replace(&header, &format!("{header}\n{lines}"))
    } else {
        format!("{MINIMAL}{header}\n{lines}\n")
    }
}

/// Every key of every table.
fn keys() -> impl Iterator<Item = (Table, Key)> {
    TABLES.into_iter().flat_map(|table| table.keys.iter().map(move |key| (table, *key)))
}

/// Whether a key stands for any name.
fn is_free(key: Key) -> bool {
    matches!(key.name, "NAME" | "CODE")
}

/// The rows of the tables in the reference: section, key, kind, default.
fn rows() -> Vec<[String; 4]> {
    let mut section = String::new();
    let mut rows = Vec::new();
    for line in REFERENCE.lines() {
        if let Some(heading) = line.strip_prefix("## `[") {
            section = heading.trim_end_matches("]`").to_owned();
        } else if line.starts_with("## ") {
            section.clear();
        } else if line.starts_with("| `") && !section.is_empty() {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            if let [key, kind, default, _] = cells[..] {
                rows.push([&section, key.trim_matches('`'), kind, default].map(str::to_owned));
            }
        }
    }
    rows
}

#[test]
fn the_reference_has_every_key_with_its_type_and_default() {
    let wanted: Vec<[String; 4]> = keys()
        .map(|(table, key)| {
            let fallback = match key.default {
                Fallback::Required => "required".to_owned(),
                Fallback::Value(value) => format!("`{value}`"),
                // A key of the manifest stands as code.
                Fallback::Described(text) => text.to_owned(),
            };
            [table.name.to_owned(), key.name.to_owned(), key.kind.to_owned(), fallback]
        })
        .collect();
    assert_eq!(rows(), wanted);
}

#[test]
fn every_default_is_what_the_reader_takes() {
    for (table, key) in keys() {
        let Fallback::Value(value) = key.default else { continue };
        // Beside `required`, so that an empty list says the same as no list.
        let beside = if table.name == "config" { "required = [\"k\"]" } else { "" };
        if table.name == "config" && key.name == "required" {
            continue;
        }
        let without = parse(&with(table.name, beside)).unwrap();
        let written =
            parse(&with(table.name, &format!("{} = {value}\n{beside}", key.name))).unwrap();
        assert_eq!(written, without, "{}.{}", table.name, key.name);
    }
}

#[test]
fn every_required_key_is_required() {
    for (table, key) in keys().filter(|(_, key)| key.default == Fallback::Required) {
        let text: String = MINIMAL
            .lines()
            .filter(|line| !line.starts_with(key.name))
            .map(|line| format!("{line}\n"))
            .collect();
        let error = parse(&text).unwrap_err();
        let place = format!("{}.{}", table.name, key.name);
        assert_eq!(
            (error.problems()[0].key(), error.problems()[0].message()),
            (&*place, "missing")
        );
    }
}

#[test]
fn every_key_is_read() {
    for (table, key) in keys() {
        let name = match key.name {
            "NAME" => "other",
            "CODE" => "3",
            name => name,
        };
        let without: String = MINIMAL
            .lines()
            .filter(|line| !line.starts_with(name))
            .map(|line| format!("{line}\n"))
            .collect();
        let header = format!("[{}]", table.name.replace("NAME", "x"));
        let line = format!("{header}\n{name} = 1979-05-27");
        let text = if without.contains(&header) {
            without.replace(&header, &line)
        } else {
            format!("{without}{line}\n")
        };
        let error = parse(&text).unwrap_err();
        let place = format!("{}.{name}", table.name.replace("NAME", "x"));
        assert!(error.problems().iter().any(|problem| problem.key() == place), "{place}: {error}");
    }
}

#[test]
fn every_example_of_the_reference_is_valid() {
    let examples: Vec<&str> =
        REFERENCE.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() > 10);
    for example in &examples {
        let text = if example.contains("[plugin]") {
            (*example).to_owned()
        } else {
            format!("{MINIMAL}{example}")
        };
        parse(&text).unwrap_or_else(|error| panic!("{error}"));
    }
    let all = examples.concat();
    for (table, key) in keys().filter(|(_, key)| !is_free(*key)) {
        let shown =
            all.contains(&format!("{} = ", key.name)) || all.contains(&format!("{}]", key.name));
        assert!(shown, "no example shows {}.{}", table.name, key.name);
    }
}

#[test]
fn the_full_manifest_of_the_tests_is_full() {
    for (table, key) in keys() {
        // The two that exclude what is there: a schema in `config` is the table itself.
        if is_free(key) || (table.name == "config" && key.name != "required") {
            continue;
        }
        let shown =
            FULL.contains(&format!("{} = ", key.name)) || FULL.contains(&format!(".{}]", key.name));
        assert!(shown, "{}.{}", table.name, key.name);
    }
}
