//! `plugbay run --overlay` and what becomes of the changes: the directory stays as it is until they are
//! kept, and nothing that a hostile command leaves in them does harm to whoever keeps them.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use crate::invocation::{Left, finish, plugbay};

/// A directory of a user, and the state directory beside it.
struct Place {
    whole: tempfile::TempDir,
    work: PathBuf,
}

impl Place {
    fn new() -> Self {
        let whole = tempfile::tempdir().unwrap();
        fs::set_permissions(whole.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let work = whole.path().join("work");
        fs::create_dir_all(work.join("sub")).unwrap();
        for (name, content) in [("old", "one\ntwo\n"), ("gone", "x\n"), ("sub/deep", "deep\n")] {
            fs::write(work.join(name), content).unwrap();
        }
        Self { whole, work }
    }

    fn call(&self, args: &[&str]) -> Left {
        let mut command = plugbay(args);
        command.env("PLUGBAY_STATE", self.whole.path().join("state")).current_dir(&self.work);
        finish(command.spawn().unwrap())
    }

    /// Runs a script on an overlay. `None` where that cannot be had, which must be told.
    fn run(&self, words: &[&str], script: &str) -> Option<Left> {
        let start = ["run", "--overlay", "."];
        let left = self.call(&[&start[..], words, &["--", "sh", "-c", script]].concat());
        if left.code == Some(125) {
            assert!(left.stderr.contains("cannot be kept apart"), "{left:?}");
            return None;
        }
        Some(left)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.work.join(name)).unwrap()
    }

    fn has(&self, name: &str) -> bool {
        fs::symlink_metadata(self.work.join(name)).is_ok()
    }

    fn overlays(&self) -> usize {
        let listed = self.call(&["overlay", "list", "--json"]).json();
        listed.get("overlays").unwrap().as_array().unwrap().len()
    }
}

const CHANGES: &str =
    "echo three >> old; rm gone; rm -r sub; mkdir new; echo a > new/a; chmod 755 new/a";

#[test]
fn changes_are_listed_shown_and_kept_and_the_directory_waits() {
    let place = Place::new();
    let Some(ran) = place.run(&[], CHANGES) else { return };
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("overlay: 2 added, 1 changed, 2 removed in "), "{ran:?}");
    assert!(place.has("gone") && place.has("sub/deep") && !place.has("new"));
    assert_eq!(place.text("old"), "one\ntwo\n");
    let listed = place.call(&["overlay", "list", "1"]).ok();
    insta::assert_snapshot!(listed, @"
    removed  gone   2 bytes
    added    new    directory
    added    new/a  2 bytes
    changed  old    8 bytes -> 14 bytes
    removed  sub    directory
    ");
    let shown = place.call(&["overlay", "show", "--only", "old"]).ok();
    insta::assert_snapshot!(shown, @"
    changed old
    @@ -1,2 +1,3 @@
     one
     two
    +three
    ");
    let json = place.call(&["overlay", "list", "1", "--json"]).json();
    assert_eq!(json["changes"][3]["before"]["size"], 8);
    place.call(&["overlay", "keep", "1"]).ok();
    assert_eq!(
        (place.text("old").as_str(), place.text("new/a").as_str()),
        ("one\ntwo\nthree\n", "a\n")
    );
    assert!(!place.has("gone") && !place.has("sub") && place.has("new/a"));
    assert_eq!(fs::metadata(place.work.join("new/a")).unwrap().mode() & 0o777, 0o755);
    assert_eq!(place.overlays(), 0);
}

#[test]
fn a_command_that_changes_nothing_leaves_no_overlay_and_a_dropped_one_is_gone() {
    let place = Place::new();
    if place.run(&[], "cat old; touch old; exit 3").is_some_and(|ran| ran.code != Some(3)) {
        panic!("the status is not the command's");
    }
    assert_eq!(place.overlays(), 0);
    let Some(_ran) = place.run(&[], "rm gone; mkdir deep; cd deep; mkdir locked; chmod 0 locked")
    else {
        return;
    };
    place.call(&["overlay", "drop"]).ok();
    assert_eq!(place.overlays(), 0);
    assert!(place.has("gone"));
    assert_eq!(fs::read_dir(place.whole.path().join("state/overlays")).unwrap().count(), 0);
    place.call(&["overlay", "keep", "1"]).fails(3, "there is no such overlay");
}

#[test]
fn what_the_user_changed_meanwhile_is_not_written_over() {
    let place = Place::new();
    let Some(_ran) = place.run(&[], "echo theirs > old; echo theirs > both; rm sub/deep") else {
        return;
    };
    fs::write(place.work.join("old"), "mine\n").unwrap();
    fs::write(place.work.join("both"), "mine\n").unwrap();
    fs::write(place.work.join("sub/deep"), "mine\n").unwrap();
    place.call(&["overlay", "keep"]).fails(1, "it was changed in the directory too");
    for name in ["old", "both", "sub/deep"] {
        assert_eq!(place.text(name), "mine\n", "{name}");
    }
    place.call(&["overlay", "keep", "--overwrite"]).ok();
    assert_eq!((place.text("old").as_str(), place.has("sub/deep")), ("theirs\n", false));
}

#[test]
fn only_the_outputs_are_kept() {
    let place = Place::new();
    let script = "mkdir -p dist/js; echo out > dist/js/app; echo junk > junk; rm gone; exit 5";
    let Some(ran) = place.run(&["--output", "dist", "--output", "missing"], script) else { return };
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert!(ran.stderr.contains("output: nothing was changed at `missing`"), "{ran:?}");
    assert_eq!(place.text("dist/js/app"), "out\n");
    assert!(place.has("gone") && !place.has("junk"));
    assert_eq!(place.overlays(), 0);
    place.call(&["run", "--output", "dist", "--", "true"]).fails(2, "--overlay");
}

#[test]
fn nothing_hostile_comes_out_of_an_overlay() {
    let place = Place::new();
    let outside = place.whole.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("victim"), "untouched\n").unwrap();
    let script = format!(
        "mkfifo pipe; ln -s {out}/victim link; ln -s .. up; ln -s . here; ln -s here/.. sly; \
         ln -s old fine; rm -r sub; ln -s {out} sub; mkdir real; echo x > real/file; \
         printf 'a\\033]0;title\\007' > \"$(printf 'evil\\033[2J\\nfake')\"; \
         n=$(head -c 255 /dev/zero | tr '\\0' n); echo long > $n; \
         truncate -s 1T sparse; \
         python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")' 2>/dev/null; \
         i=0; while [ $i -lt 200 ]; do mkdir d; cd d; i=$((i+1)); done; true",
        out = outside.display()
    );
    let Some(_ran) = place.run(&["--file-size", "2TiB"], &script) else { return };
    // The attacks are there: the same script does all that unsealed, and here in the layers.
    let layers = place.whole.path().join("state/overlays/1/layers");
    let new = ["upper", "tree"].map(|name| layers.join(name));
    let new = new.iter().find(|layer| layer.join("pipe").exists()).unwrap();
    assert!(fs::symlink_metadata(new.join("pipe")).unwrap().file_type().is_fifo());
    assert_eq!(fs::read_link(new.join("sly")).unwrap(), Path::new("here/.."));
    let shown = place.call(&["overlay", "show", "--only", "sub", "--only", "link"]);
    assert!(!shown.stdout.contains("untouched"), "{shown:?}");
    let listed = place.call(&["overlay", "list", "1"]);
    assert!(listed.stdout.contains("evil\\u{1b}[2J\\nfake"), "{listed:?}");
    assert!(!listed.stdout.contains('\u{1b}') && !listed.stderr.contains('\u{1b}'), "{listed:?}");
    let kept = place.call(&["overlay", "keep"]);
    for name in ["pipe", "link", "up", "sly"] {
        assert!(!place.has(name), "{name}: {kept:?}");
        assert!(kept.stderr.contains(&format!("dropped: `{name}`")), "{name}: {kept:?}");
    }
    assert!(kept.stderr.contains("deeper than 128"), "{kept:?}");
    assert_eq!(fs::read_link(place.work.join("fine")).unwrap(), Path::new("old"));
    assert_eq!(fs::read_to_string(outside.join("victim")).unwrap(), "untouched\n");
    let sparse = fs::metadata(place.work.join("sparse")).unwrap();
    assert!(sparse.len() == 1 << 40 && sparse.blocks() < 1_000, "{sparse:?}");
    // Deeper than any stack or path: it goes all the same.
    place.call(&["overlay", "drop"]).ok();
}

#[test]
fn a_directory_that_became_a_link_meanwhile_is_not_written_through() {
    let place = Place::new();
    let outside = place.whole.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let Some(_ran) = place.run(&[], "echo evil > sub/new; echo evil > sub/deep") else { return };
    fs::rename(place.work.join("sub"), place.work.join("aside")).unwrap();
    symlink(&outside, place.work.join("sub")).unwrap();
    place.call(&["overlay", "keep"]).fails(1, "left: `sub/new`");
    place.call(&["overlay", "keep", "--overwrite"]).ok();
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert_eq!(place.text("sub/new"), "evil\n");
}

#[test]
fn words_that_make_no_sense_are_usage_errors() {
    let place = Place::new();
    place
        .call(&["run", "--overlay", ".", "--write", ".", "--", "true"])
        .fails(2, "give one of them");
    place.call(&["run", "--overlay", "/", "--", "true"]).fails(2, "name a directory");
    place.call(&["run", "--overlay", "..", "--", "true"]).fails(2, "contains the state directory");
    place.call(&["overlay"]).fails(2, "list");
    place.call(&["overlay", "keep"]).fails(3, "there is no such overlay");
}
