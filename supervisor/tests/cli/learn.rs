//! `plugbay learn` as a shell sees it: what goes where, and what it never does.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use crate::invocation::{Left, run, run_in};

/// A directory below `/tmp` that the command sees because it runs there.
fn place() -> tempfile::TempDir {
    let place = tempfile::Builder::new().prefix("pbl-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(place.path().join("data.txt"), "content\n").unwrap();
    place
}

fn learn(place: &Path, flags: &[&str], command: &[&str]) -> Left {
    run_in(place, &[&["learn"], flags, &["--"], command].concat())
}

#[test]
fn what_was_learned_is_data_and_the_commands_output_is_talk() {
    let place = place();
    let left = learn(place.path(), &[], &["cat", "data.txt"]);
    assert!(left.stderr.contains("content\n"), "{left:?}");
    let text = left.ok();
    assert!(text.starts_with("# Learned by `plugbay learn` -- cat data.txt\n"), "{text}");
    assert!(text.contains("\n[run.cat]\ncommand = [\"cat\", \"data.txt\"]\nread = "), "{text}");
    assert!(text.contains("\nnetwork = false\nfilter = [\"@base\""), "{text}");
}

#[test]
fn with_a_file_the_commands_output_is_its_own_and_its_status_too() {
    let place = place();
    let script = "cat data.txt; exit 7";
    let left = learn(place.path(), &["-o", "learned.toml"], &["sh", "-c", script]);
    assert_eq!((left.code, left.stdout.as_str()), (Some(7), "content\n"), "{left:?}");
    assert!(left.stderr.contains("the command failed"), "{left:?}");
    let text = fs::read_to_string(place.path().join("learned.toml")).unwrap();
    assert!(text.contains("(exit status 7)") && text.contains("[run.sh]"), "{text}");
    // What was learned may be learned again; what somebody wrote is left alone.
    let again = learn(place.path(), &["-o", "learned.toml", "--name", "test"], &["true"]);
    assert_eq!(again.code, Some(0), "{again:?}");
    let text = fs::read_to_string(place.path().join("learned.toml")).unwrap();
    assert!(text.contains("[run.test]"), "{text}");
    learn(place.path(), &["-o", "data.txt"], &["true"]).fails(2, "it is left alone");
    assert_eq!(fs::read_to_string(place.path().join("data.txt")).unwrap(), "content\n");
}

#[test]
fn a_secret_is_refused_named_and_not_granted() {
    let place = place();
    fs::create_dir(place.path().join(".ssh")).unwrap();
    fs::write(place.path().join(".ssh/config"), "s3cret").unwrap();
    fs::write(place.path().join(".env"), "s3cret").unwrap();
    let script = "ls -a; cat .ssh/config .env";
    let left = learn(place.path(), &["--json"], &["sh", "-c", script]);
    assert!(!left.stderr.contains("s3cret"), "{left:?}");
    let document = left.json();
    let text = |key: &str| document[key].to_string();
    for secret in [".ssh", ".env"] {
        assert!(text("left_out").contains(secret), "{document:#}");
        assert!(text("deny").contains(secret), "{document:#}");
        assert!(!text("read").contains(secret), "{document:#}");
    }
    // Asked for by hand, it is granted.
    let by_hand = learn(place.path(), &["--json", "--read", ".env"], &["cat", ".env"]);
    assert!(by_hand.stderr.contains("s3cret"), "{by_hand:?}");
    assert!(!by_hand.json()["deny"].to_string().contains(".env"), "{by_hand:?}");
}

#[test]
fn what_is_made_in_the_private_tmp_is_not_learned() {
    let place = place();
    let script = "echo x > ${TMPDIR:-/tmp}/mine; cat ${TMPDIR:-/tmp}/mine >/dev/null";
    let left = learn(place.path(), &["--json"], &["sh", "-c", script]);
    assert_eq!(left.json()["write"].to_string(), "[]", "{left:?}");
}

#[test]
fn a_command_that_is_not_there_or_a_name_that_is_none_ends_before_anything_runs() {
    run(&["learn", "--", "no-such-command"]).fails(127, "no-such-command");
    run(&["learn", "--name", "No Name", "--", "true"]).fails(2, "not the name of a profile");
    run(&["learn", "--filter", "@nonsense", "--", "true"]).fails(2, "@nonsense");
}

#[test]
fn a_profile_that_was_learned_runs_the_command_again_by_its_name_alone() {
    let place = place();
    let script = "cat data.txt > copy.txt; cat copy.txt";
    let options = ["-o", "plugbay.toml", "--name", "copy"];
    let left = learn(place.path(), &options, &["sh", "-c", script]);
    assert_eq!((left.code, left.stdout.as_str()), (Some(0), "content\n"), "{left:?}");
    fs::remove_file(place.path().join("copy.txt")).unwrap();
    let again = run_in(place.path(), &["run", "--profile", "copy"]);
    assert_eq!(again.ok(), "content\n");
    assert_eq!(fs::read_to_string(place.path().join("copy.txt")).unwrap(), "content\n");
}
