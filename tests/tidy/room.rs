//! Who may use whom: between crates by their `Cargo.toml`, and between the rooms of a crate by what
//! their code names. docs/architecture.md says why.

use crate::{catches, code::has_word, hold, source::Source, told};

/// Which of our crates each one may depend on. What is not listed is forbidden.
const ROOMS: [(&str, &[&str]); 13] = [
    ("plugbay-protocol", &[]),
    ("plugbay-sandbox", &[]),
    ("plugbay-keeper", &["plugbay-sandbox"]),
    ("plugbay-manifest", &["plugbay-protocol"]),
    ("plugbay-store", &[]),
    ("plugbay-broker", &["plugbay-sandbox"]),
    (
        "plugbay-engine",
        &[
            "plugbay-broker",
            "plugbay-keeper",
            "plugbay-manifest",
            "plugbay-protocol",
            "plugbay-sandbox",
            "plugbay-store",
        ],
    ),
    // The faces. The keeper because the binary is the keeper's too, when it is started as such.
    (
        "plugbay",
        &[
            "plugbay-broker",
            "plugbay-engine",
            "plugbay-keeper",
            "plugbay-manifest",
            "plugbay-sandbox",
        ],
    ),
    ("plugbay-sdk", &["plugbay-protocol"]),
    ("plugbay-example-fastwords", &["plugbay-sdk"]),
    ("plugbay-protocol-fuzz", &["plugbay-protocol"]),
    // Whoever tests and measures everything may see everything.
    (
        "plugbay-tests",
        &[
            "plugbay",
            "plugbay-engine",
            "plugbay-keeper",
            "plugbay-manifest",
            "plugbay-protocol",
            "plugbay-sandbox",
            "plugbay-sdk",
        ],
    ),
    (
        "plugbay-bench",
        &[
            "plugbay",
            "plugbay-engine",
            "plugbay-keeper",
            "plugbay-protocol",
            "plugbay-sandbox",
            "plugbay-sdk",
        ],
    ),
];

/// Words that the code of a room may not have: the room, the word, what that would break.
const WALLS: [(&str, &str, &str); 18] = [
    ("protocol/src/", "tokio", "the protocol does no I/O"),
    ("protocol/src/", "fs", "the protocol does no I/O"),
    ("protocol/src/", "net", "the protocol does no I/O"),
    ("supervisor/crates/sandbox/src/", "tokio", "the sandbox is synchronous"),
    ("supervisor/crates/keeper/src/", "tokio", "the keeper has one thread and no runtime"),
    ("supervisor/crates/keeper/src/", "thread", "the keeper has one thread and no runtime"),
    ("supervisor/crates/manifest/src/", "tokio", "manifests are read by whoever has a text"),
    ("supervisor/crates/store/src/", "tokio", "the store blocks, and says so"),
    ("supervisor/crates/store/src/", "SystemTime::now", "the clock is an argument"),
    ("supervisor/crates/engine/src/lifecycle/", "tokio", "deciding is apart from doing"),
    ("supervisor/crates/engine/src/lifecycle/", "Instant::now", "the clock is an argument"),
    ("supervisor/crates/engine/src/lifecycle/", "manager", "nobody uses the manager"),
    ("supervisor/crates/engine/src/lifecycle/", "plugin", "deciding is apart from doing"),
    ("supervisor/crates/engine/src/plugin/", "manager", "nobody uses the manager"),
    ("supervisor/crates/engine/src/", "switch_off", "a plugin gets every layer"),
    ("supervisor/crates/keeper/src/", "switch_off", "a plugin gets every layer"),
    ("supervisor/src/cli/", "switch_off", "a command gets every layer"),
    ("supervisor/src/chaos/", "switch_off", "a plugin gets every layer"),
];

/// Crates depend only on those that they may, and every crate is in the table.
fn dependencies(sources: &[Source]) -> Vec<String> {
    let manifests = sources.iter().filter(|source| source.path.ends_with("Cargo.toml"));
    manifests.flat_map(dependencies_of).collect()
}

fn dependencies_of(source: &Source) -> Vec<String> {
    let path = &source.path;
    let Some(name) = package(&source.text) else { return Vec::new() };
    let Some((_, allowed)) = ROOMS.iter().find(|(room, _)| *room == name) else {
        return vec![format!("{path}: `{name}` is not in the table of rooms")];
    };
    used(&source.text)
        .filter(|used| !allowed.contains(used))
        .map(|used| format!("{path}: `{name}` may not use `{used}`"))
        .collect()
}

/// The name of the package that a `Cargo.toml` is of; none for a workspace alone.
fn package(text: &str) -> Option<&str> {
    let section = text.split("[package]").nth(1)?;
    let line = section.lines().find(|line| line.starts_with("name = "))?;
    line.split('"').nth(1)
}

/// The crates of ours that a `Cargo.toml` depends on, in whichever way.
fn used(text: &str) -> impl Iterator<Item = &str> {
    let mut header = "";
    text.lines()
        .filter_map(move |line| {
            if line.starts_with('[') {
                header = line.trim_matches(['[', ']']);
                // A dependency as a table of its own.
                let name = header.rsplit_once("dependencies.").map(|(_, name)| name);
                return name.filter(|_| !header.starts_with("workspace."));
            }
            let listed = header.ends_with("dependencies") && !header.starts_with("workspace.");
            let key = line.split(['.', '=']).next().unwrap_or_default().trim();
            (listed && !key.starts_with('#')).then_some(key)
        })
        .filter(|name| *name == "plugbay" || name.starts_with("plugbay-"))
}

/// The rooms of a crate keep their walls.
fn walls(sources: &[Source]) -> Vec<String> {
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| source.is("rs") && !source.is_test()) {
        let walls = WALLS.iter().filter(|(room, ..)| source.path.starts_with(room));
        for (room, word, why) in walls {
            for (number, line) in production(source) {
                let used =
                    line.contains(&format!("{word}::")) || line.contains(&format!("::{word}"));
                if used && has_word(&line, word) {
                    complaints.push(format!("{}:{number}: `{word}` in {room}: {why}", source.path));
                }
            }
        }
    }
    complaints
}

/// The code before the unit tests at the end of a file.
fn production(source: &Source) -> impl Iterator<Item = (usize, String)> {
    source.code().into_iter().take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
}

#[test]
fn crates_use_only_whom_they_may() {
    hold(dependencies);
}

#[test]
fn rooms_keep_their_walls() {
    hold(walls);
}

#[test]
fn every_crate_of_the_table_is_there() {
    let tree = crate::tree();
    let names: Vec<&str> = tree
        .iter()
        .filter(|source| source.path.ends_with("Cargo.toml"))
        .filter_map(|source| package(&source.text))
        .collect();
    for (room, _) in ROOMS {
        assert!(names.contains(&room), "`{room}` is in the table of rooms and nowhere else");
    }
}

#[test]
fn every_wall_stands_somewhere() {
    let tree = crate::tree();
    for (room, word, _) in WALLS {
        assert!(tree.iter().any(|source| source.path.starts_with(room)), "{room} ({word})");
    }
}

#[test]
fn a_forbidden_dependency_is_caught_however_it_is_written() {
    let with = |lines: &str| format!("[package]\nname = \"plugbay-protocol\"\n{lines}\n");
    for lines in [
        "[dependencies]\nplugbay-engine.workspace = true",
        "[dependencies]\nplugbay-engine = { path = \"../engine\" }",
        "[dev-dependencies]\nplugbay = \"1\"",
        "[dependencies.plugbay-keeper]\nworkspace = true",
        "[target.'cfg(unix)'.dependencies]\nplugbay-sandbox.workspace = true",
        "[build-dependencies]\nplugbay-sandbox.workspace = true",
    ] {
        catches(dependencies, "x/Cargo.toml", &with(lines), &with("[dependencies]\nserde = \"1\""));
    }
    let stranger = "[package]\nname = \"plugbay-stranger\"\n";
    assert!(told(dependencies, "x/Cargo.toml", stranger)[0].contains("not in the table"));
    let workspace = "[workspace.dependencies]\nplugbay-engine = { path = \"x\" }\n";
    assert_eq!(told(dependencies, "Cargo.toml", workspace), [""; 0]);
}

#[test]
fn a_breach_in_a_wall_is_caught() {
    let path = "supervisor/crates/engine/src/plugin/x.rs";
    let wrong = "//! x\nuse crate::manager::Host;\n";
    let right =
        "//! not crate::manager\nuse crate::lifecycle;\n#[cfg(test)]\nuse crate::manager;\n";
    catches(walls, path, wrong, right);
}
