//! Finding plugins in real directories.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    time::{Duration, Instant},
};

use plugbay_manifest::{SkipReason, discover, load};
use tempfile::TempDir;

use crate::MINIMAL;

/// Writes a plugin of this name below a root.
fn plugin(root: &Path, path: &str, name: &str) {
    let dir = root.join(path);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("plugin.toml"), MINIMAL.replace("words", name)).unwrap();
}

/// The names found, and the paths skipped, relative to the root.
fn found(root: &TempDir) -> (Vec<String>, Vec<String>) {
    let found = discover(root.path());
    let names = found.packages.iter().map(|p| p.manifest.plugin.name.to_string()).collect();
    let skipped = found
        .skipped
        .iter()
        .map(|skipped| skipped.path.strip_prefix(root.path()).unwrap().display().to_string());
    (names, skipped.collect())
}

#[test]
fn plugins_are_found_flat_and_grouped() {
    let root = tempfile::tempdir().unwrap();
    plugin(root.path(), "b", "beta");
    plugin(root.path(), "schedulers/x", "xray");
    plugin(root.path(), "schedulers/a", "alpha");
    plugin(root.path(), "too/deep/down", "deep");
    plugin(root.path(), ".hidden", "hidden");
    fs::create_dir_all(root.path().join("empty")).unwrap();
    fs::write(root.path().join("README.md"), "read me").unwrap();
    assert_eq!(found(&root), (vec!["alpha".into(), "beta".into(), "xray".into()], vec![]));
    let dir = &discover(root.path()).packages[0].dir;
    assert_eq!(*dir, root.path().canonicalize().unwrap().join("schedulers/a"));
}

#[test]
fn a_plugin_within_a_plugin_is_its_own_business() {
    let root = tempfile::tempdir().unwrap();
    plugin(root.path(), "outer", "outer");
    plugin(root.path(), "outer/inner", "inner");
    assert_eq!(found(&root).0, ["outer"]);
}

#[test]
fn bad_plugins_are_skipped_and_the_rest_kept() {
    let root = tempfile::tempdir().unwrap();
    plugin(root.path(), "good", "good");
    plugin(root.path(), "bad", "Bad");
    plugin(root.path(), "group/broken", "broken");
    fs::write(root.path().join("group/broken/plugin.toml"), "[plugin").unwrap();
    fs::create_dir_all(root.path().join("directory/plugin.toml")).unwrap();
    let (names, skipped) = found(&root);
    assert_eq!(names, ["good"]);
    assert_eq!(skipped, ["bad", "directory", "group/broken"]);
    let found = discover(root.path());
    let SkipReason::Invalid(error) = &found.skipped[0].reason else { panic!() };
    assert_eq!(error.problems()[0].key(), "plugin.name");
    assert!(
        found.skipped[1]
            .to_string()
            .ends_with("cannot read the manifest: it is not a regular file")
    );
}

#[test]
fn of_two_with_one_name_the_first_path_counts() {
    let root = tempfile::tempdir().unwrap();
    plugin(root.path(), "b", "twin");
    plugin(root.path(), "a", "twin");
    let found = discover(root.path());
    assert!(found.packages[0].dir.ends_with("a"));
    let message = found.skipped[0].to_string();
    assert!(message.contains("/b: the name `twin` is taken by `"), "{message}");
}

#[test]
fn links_do_not_lead_out() {
    let root = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    plugin(outside.path(), "elsewhere", "elsewhere");
    symlink(outside.path().join("elsewhere"), root.path().join("linked")).unwrap();
    fs::create_dir(root.path().join("sly")).unwrap();
    symlink(outside.path().join("elsewhere/plugin.toml"), root.path().join("sly/plugin.toml"))
        .unwrap();
    let (names, skipped) = found(&root);
    assert_eq!(names, [""; 0]);
    assert_eq!(skipped, ["linked", "sly"]);
    let messages: Vec<_> = discover(root.path()).skipped.iter().map(ToString::to_string).collect();
    assert!(messages[0].ends_with("a link to a directory is not followed"), "{messages:?}");
    assert!(messages[1].ends_with("it leads out of the directory"), "{messages:?}");
}

#[test]
fn a_root_that_is_not_there_is_told() {
    let found = discover(Path::new("/nonexistent/plugins"));
    assert!(found.packages.is_empty());
    assert!(matches!(found.skipped[0].reason, SkipReason::Unreadable(_)));
}

#[test]
fn schemas_are_read_from_files_beside_the_manifest() {
    let root = tempfile::tempdir().unwrap();
    plugin(root.path(), "p", "p");
    let file = root.path().join("p/plugin.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, format!("{text}[methods.m]\nparams = \"schema/m.json\"\n")).unwrap();
    fs::create_dir(root.path().join("p/schema")).unwrap();
    let schema = root.path().join("p/schema/m.json");
    fs::write(&schema, r#"{"type": "array", "generator": "kept"}"#).unwrap();
    let package = load(&root.path().join("p")).unwrap();
    assert!(package.manifest.methods["m"].validate_params(&serde_json::json!([])).is_ok());
    assert!(package.manifest.methods["m"].validate_params(&serde_json::json!({})).is_err());

    for (content, complaint) in [
        ("{", "not JSON"),
        (r#"{"type": "lots"}"#, "unknown type `lots`"),
        (r##"{"$ref": "#/nothing"}"##, "refers to nothing"),
    ] {
        fs::write(&schema, content).unwrap();
        let error = load(&root.path().join("p")).unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
    fs::remove_file(&schema).unwrap();
    symlink("/etc/passwd", &schema).unwrap();
    let error = load(&root.path().join("p")).unwrap_err().to_string();
    assert!(error.contains("`schema/m.json`: it leads out of the directory"), "{error}");
}

#[test]
fn loading_says_what_is_not_there() {
    let root = tempfile::tempdir().unwrap();
    let error = load(root.path()).unwrap_err().to_string();
    assert!(error.ends_with("/plugin.toml: there is no plugin.toml"), "{error}");
    let error = load(&root.path().join("nowhere")).unwrap_err().to_string();
    assert!(error.contains("cannot open the plugin's directory"), "{error}");
}

/// Correct for a thousand; the time is printed, not judged (`--nocapture` shows it).
#[test]
#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "the time is for people")]
fn a_thousand_plugins_are_found() {
    let root = tempfile::tempdir().unwrap();
    for n in 0..1000 {
        let dir = root.path().join(format!("group-{}/plugin-{n}", n / 100));
        fs::create_dir_all(&dir).unwrap();
        let text = crate::FULL.replace("name = \"words\"", &format!("name = \"plugin-{n}\""));
        fs::write(dir.join("plugin.toml"), text).unwrap();
    }
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        let found = discover(root.path());
        best = best.min(start.elapsed());
        assert_eq!((found.packages.len(), found.skipped.len()), (1000, 0));
        assert!(found.packages.is_sorted_by_key(|package| package.manifest.plugin.name.clone()));
    }
    println!("1,000 full manifests discovered in {best:?} (best of 5)");
}

#[test]
fn the_examples_are_valid() {
    let found = discover(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../examples")));
    let reasons: Vec<_> = found.skipped.iter().map(|skipped| skipped.reason.to_string()).collect();
    assert!(reasons.is_empty(), "{}", reasons.join("\n"));
    let names: Vec<_> = found.packages.iter().map(|p| p.manifest.plugin.name.as_str()).collect();
    for name in ["badplugin", "nodewords", "shellwords", "wordstats"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
}
