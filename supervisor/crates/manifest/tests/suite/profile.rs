//! `plugbay.toml`: what it says, and what it is told.

use std::path::{Path, PathBuf};

use plugbay_manifest::{
    Cap, GrantPath, ManifestError, PROFILES_NAME, ProfileNetwork, Profiles, Tool,
    key::{Fallback, Key, PROFILE_TABLES},
    sandbox,
};

/// A file with every key.
const FULL: &str = r#"
[run.base]
workdir = "src"

[run.test]
extends = "base"
command = "cargo test --workspace"
workdir = "."
tools = ["rust", "node"]
read = ["docs", "~/.config/x"]
write = ["target"]
exec = ["/opt/tool"]
deny = ["**/.env"]
bare = true
network = [443, "listen:8080"]
hosts = ["crates.io:443", "*.example.org:443"]
unix = ["/run/db.sock"]
env = ["TOKEN", "MODE=ci"]
level = "strict"
filter = "ci"
truncate_output = true
fail_on_denial = true

[run.test.limits]
memory = "2GiB"
cpu = 1.5
cpu_time = "90s"
wall = "10m"
pids = 100
open_files = "none"
file_size = "1GiB"
tmp_size = "64MiB"
output = "10MiB"

[run.test.protections]
network = "require"
"limits.memory" = "prefer"
"#;

fn profiles(text: &str) -> Result<Profiles, ManifestError> {
    Profiles::parse(text, Path::new(PROFILES_NAME))
}

fn error(text: &str) -> String {
    profiles(text).unwrap_err().to_string()
}

#[test]
fn everything_that_is_written_is_read() {
    let test = profiles(FULL).unwrap().get("test").unwrap();
    assert_eq!(test.command.unwrap(), ["cargo", "test", "--workspace"]);
    assert_eq!(test.workdir, Some(GrantPath::Plugin(PathBuf::new())));
    assert_eq!(test.tools, [Tool::Rust, Tool::Node]);
    let home = GrantPath::Home(".config/x".into());
    assert_eq!(test.read, [GrantPath::Plugin("docs".into()), home]);
    assert_eq!(test.exec, [GrantPath::Absolute("/opt/tool".into())]);
    let Some(ProfileNetwork::Only(grants)) = test.network else { panic!("no list") };
    let shown = |grants: &[plugbay_manifest::NetworkGrant]| {
        grants.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        (shown(&grants), shown(&test.hosts)),
        ("443 listen:8080".into(), "crates.io:443 *.example.org:443".into())
    );
    assert_eq!(test.level, Some(sandbox::Level::Strict));
    assert_eq!(test.protections["network"], sandbox::Demand::Require);
    assert_eq!(test.limits.cpu_milli, Some(Cap::At(1500)));
    assert_eq!(test.limits.open_files, Some(Cap::Lifted));
    assert_eq!(test.limits.output, Some(Cap::At(10 << 20)));
    assert_eq!((test.truncate_output, test.fail_on_denial), (Some(true), Some(true)));
}

#[test]
fn every_key_is_refused_when_it_has_the_wrong_kind() {
    for table in PROFILE_TABLES {
        for key in table.keys.iter().filter(|key| key.name != "extends") {
            let header = table.name.replace("NAME", "x");
            let name = if key.name == "PROTECTION" { "network" } else { key.name };
            let error = profiles(&format!("[{header}]\n{name} = 1979-05-27\n")).unwrap_err();
            assert_eq!(error.problems()[0].key(), format!("{header}.{name}"));
            assert!(FULL.contains(&format!("{name} = ")) || FULL.contains(&format!(".{name}]")));
        }
    }
}

#[test]
fn a_slip_is_shown_where_it_stands() {
    insta::assert_snapshot!(error("[run.test]\ntool = [\"rust\"]\nnetwork = \"lopback\"\n"), @r#"
    plugbay.toml:2:1: `run.test.tool`: unknown key
      |
    2 | tool = ["rust"]
      | ^^^^ did you mean `tools`?
      = allowed: extends, command, workdir, tools, read, write, exec, deny, bare, network, hosts, unix, env, limits, level, protections, filter, truncate_output, fail_on_denial

    plugbay.toml:3:11: `run.test.network`: `lopback` is not one of the choices
      |
    3 | network = "lopback"
      |           ^^^^^^^^^ did you mean "loopback"?
      = allowed: "none", "loopback", "full", or a list of destinations such as 443 or "listen:8080"
    "#);
}

#[test]
fn a_profile_cannot_extend_what_is_not_there_or_itself() {
    insta::assert_snapshot!(error("[run.test]\nextends = \"bass\"\n[run.base]\n"), @r#"
    plugbay.toml:2:11: `run.test.extends`: there is no other profile `bass`
      |
    2 | extends = "bass"
      |           ^^^^^^ did you mean "base"?
      = allowed: base, ci
    "#);
    for text in [
        "[run.a]\nextends = \"a\"\n",
        "[run.a]\nextends = \"b\"\n[run.b]\nextends = \"a\"\n",
        "[run.a]\nextends = \"b\"\n[run.b]\nextends = \"c\"\n[run.c]\nextends = \"b\"\n",
    ] {
        assert!(profiles(text).is_err(), "{text}");
    }
    assert!(profiles("[run.a]\nextends = \"ci\"\n[run.ci]\nextends = \"ci\"\n").is_ok());
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for lines in [
        "read = [\"../up\"]",
        "read = [\"$HOME/x\"]",
        "hosts = [443]",
        "hosts = [\"listen:80\"]",
        "command = \"make | tee log\"",
        "limits = { tmp_size = \"none\" }",
        "tools = [\"perl\"]",
        "env = [\"A B\"]",
    ] {
        assert!(profiles(&format!("[run.x]\n{lines}\n")).is_err(), "{lines}");
    }
    assert!(profiles("[run.\"a b\"]\n").is_err());
    assert!(profiles("[runs.test]\n").unwrap_err().to_string().contains("did you mean `run`?"));
    assert!(profiles("").unwrap().names().eq(["ci"]));
}

#[test]
fn a_file_is_read_bounded_and_not_through_a_link() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join(PROFILES_NAME);
    assert!(Profiles::load(&file).unwrap_err().to_string().contains("cannot read the profiles"));
    std::fs::write(&file, FULL).unwrap();
    assert_eq!(Profiles::load(&file).unwrap(), profiles(FULL).unwrap());
    std::fs::write(&file, " ".repeat(plugbay_manifest::MAX_BYTES + 1)).unwrap();
    assert!(Profiles::load(&file).is_err());
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
    assert!(Profiles::load(&file).is_err());
}

#[test]
fn the_page_has_every_key_with_its_type_and_default_and_examples_that_are_valid() {
    let page = include_str!("../../../../../docs/ci.md");
    let written = |key: &Key| match key.default {
        Fallback::Required => "required".to_owned(),
        Fallback::Value(value) => format!("`{value}`"),
        Fallback::Described(text) => text.to_owned(),
    };
    for table in PROFILE_TABLES {
        let heading = format!("## `[{}]`\n", table.name);
        let section = page.split(&heading).nth(1).unwrap().split("\n## ").next().unwrap();
        let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
        let wanted: Vec<String> = table
            .keys
            .iter()
            .map(|key| format!("| `{}` | {} | {} | ", key.name, key.kind, written(key)))
            .collect();
        assert_eq!(rows.len(), wanted.len(), "{}", table.name);
        for (row, wanted) in rows.iter().zip(&wanted) {
            assert!(row.starts_with(wanted), "{row}\n{wanted}");
        }
    }
    profiles(include_str!("../../../../../examples/ci/plugbay.toml")).unwrap();
    for example in page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
        profiles(example).unwrap_or_else(|error| panic!("{error}"));
    }
}
