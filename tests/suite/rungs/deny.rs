//! Denied inside a grant: hidden where mounts can hide it, and no start where they cannot.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use plugbay_sandbox::{Access, FileGrant, Layer, Spec};
use plugbay_tests::{Setting, TestEnv};

/// A tree with a secret file, a secret directory, and ways that lead to them.
fn tree(env: &TestEnv, setting: Setting) -> PathBuf {
    let tree = env.directory("tree", setting.uid());
    let deep = env.directory("tree/deep", setting.uid());
    let keys = env.directory("tree/deep/keys", setting.uid());
    let public = env.directory("tree/deep/keys/public", setting.uid());
    for path in [&tree, &deep, &keys, &public] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    for (path, content) in [
        (tree.join("open"), "open\n"),
        (deep.join("secret"), "secret\n"),
        (keys.join("key"), "secret\n"),
        (public.join("key.pub"), "public\n"),
    ] {
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    }
    symlink("deep/secret", tree.join("way")).unwrap();
    tree
}

fn spec(env: &TestEnv, script: &str, tree: &Path, deny: &[&str]) -> Spec {
    let mut spec = env.shell(script);
    spec.files.push(FileGrant::requested(tree, Access::Write));
    spec.deny = deny.iter().map(|name| tree.join(name)).collect();
    spec.workdir = tree.to_owned();
    spec
}

const DENIED: [&str; 2] = ["deep/secret", "deep/keys"];

/// Everything that a program might try to get at what is denied; says `held` and nothing else if all of
/// it fails, and leaves the rest of the tree usable.
const ATTEMPTS: &str = "exec 2>/dev/null
    cat deep/secret && echo read
    cat way && echo linked
    cat deep/keys/key && echo entered
    ls deep/keys && echo listed
    echo x > deep/secret && echo written
    echo x > deep/keys/new && echo made
    ln deep/secret mine && echo hard-linked
    chmod 644 deep/secret && echo opened
    chmod 755 deep/keys && echo unlocked
    rm -f deep/secret && echo removed
    mv deep/secret moved && echo moved
    mv deep/keys aside && echo moved-away
    mv deep elsewhere && cat elsewhere/secret elsewhere/keys/key && echo carried
    mv elsewhere deep
    umount deep/secret && echo unmounted
    cat open && echo new > new && echo held";

#[test]
fn what_is_denied_inside_a_grant_cannot_be_reached_or_changed() {
    for setting in Setting::possible() {
        let env = crate::env();
        let mut keeper = env.keeper(setting);
        let tree = tree(&env, setting);
        let ran = match keeper.run(&spec(&env, ATTEMPTS, &tree, &DENIED)) {
            Ok(ran) => ran,
            Err(failure) => {
                assert!(!setting.may_have_namespaces(), "{}: {failure:?}", setting.name());
                let told = failure.message.contains("cannot be denied: it lies in what is granted");
                assert!(told && failure.message.contains("deep/"), "{failure:?}");
                continue;
            }
        };
        assert!(ran.enforcement.is_enforced(Layer::MountNamespace), "{}", setting.name());
        assert_eq!(ran.output, "open\nheld\n", "{}", setting.name());
        for (name, content) in [("deep/secret", "secret\n"), ("deep/keys/key", "secret\n")] {
            assert_eq!(fs::read_to_string(tree.join(name)).unwrap(), content);
        }
        assert_eq!(fs::read_to_string(tree.join("new")).unwrap(), "new\n");
        // The same attempts work where nothing is denied.
        let free = keeper.run(&spec(&env, ATTEMPTS, &tree, &[])).unwrap();
        for step in ["read", "linked", "entered", "listed", "written", "hard-linked", "removed"] {
            assert!(free.output.lines().any(|line| line == step), "{step}: {}", free.output);
        }
    }
}

#[test]
fn a_grant_below_something_denied_opens_it_again() {
    for setting in Setting::possible() {
        let env = crate::env();
        let tree = tree(&env, setting);
        let script = "exec 2>&1; cat deep/keys/public/key.pub; cat deep/keys/key || ls deep/keys";
        let mut spec = spec(&env, script, &tree, &["deep/keys"]);
        spec.files.push(FileGrant::requested(tree.join("deep/keys/public"), Access::Read));
        let Ok(ran) = env.keeper(setting).run(&spec) else {
            assert!(!setting.may_have_namespaces(), "{}", setting.name());
            continue;
        };
        let lines: Vec<&str> = ran.output.lines().collect();
        assert_eq!((lines.first(), lines.last()), (Some(&"public"), Some(&"public")), "{ran:?}");
        assert!(!ran.output.contains("secret\n"), "{ran:?}");
    }
}

#[test]
fn the_whole_host_can_be_granted_but_for_what_is_denied() {
    for setting in Setting::possible() {
        let env = crate::env();
        // Not below /tmp, which is the process's own whatever is granted.
        let place = tempfile::Builder::new().prefix("pbt-").tempdir_in("/var/tmp").unwrap();
        let home = place.path().join("home");
        fs::create_dir_all(home.join("work")).unwrap();
        for path in [place.path(), &home, &home.join("work")] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(home.join("token"), "secret\n").unwrap();
        fs::write(home.join("work/file"), "mine\n").unwrap();
        let home_shown = home.display();
        let script = format!("cat {home_shown}/work/file; cat {home_shown}/token 2>/dev/null");
        let mut spec = env.shell(&script);
        spec.files.push(FileGrant::requested("/", Access::Read));
        spec.files.push(FileGrant::requested(home.join("work"), Access::Read));
        let open = env.keeper(setting).run(&spec).unwrap();
        assert_eq!(open.output, "mine\nsecret\n", "{}: {open:?}", setting.name());
        spec.deny.push(home.clone());
        match env.keeper(setting).run(&spec) {
            Ok(ran) => assert_eq!(ran.output, "mine\n", "{}: {ran:?}", setting.name()),
            Err(_refused) => assert!(!setting.may_have_namespaces(), "{}", setting.name()),
        }
    }
}

#[test]
fn what_cannot_be_denied_is_a_named_failure() {
    let env = crate::env();
    let setting = Setting::User;
    let tree = tree(&env, setting);
    for path in ["/", "/proc/1", "/dev/null"] {
        let mut spec = spec(&env, "echo ran", &tree, &[]);
        spec.deny.push(path.into());
        let failure = env.keeper(setting).run(&spec).expect_err(path);
        assert!(failure.message.contains("cannot be denied"), "{failure:?}");
    }
}
