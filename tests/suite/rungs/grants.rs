//! Grants: usable whatever their owner, private where nothing was granted, and named when they fail.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use plugbay_sandbox::{Access, FileGrant, Holder, Layer, Limit, Spec};
use plugbay_tests::{Keeper, PATIENCE, Setting, TestEnv, is_root};

fn granted(mut spec: Spec, path: &Path, access: Access) -> Spec {
    spec.files.push(FileGrant::requested(path, access));
    spec
}

/// Runs a script that must succeed: what it said.
fn says(keeper: &mut Keeper, spec: &Spec) -> String {
    let ran = keeper.run(spec).unwrap();
    assert_eq!(ran.exit.code, Some(0), "{ran:?}");
    ran.output
}

/// A directory that a plugin of this setting may use if it is granted.
fn open_directory(env: &TestEnv, name: &str, setting: Setting) -> std::path::PathBuf {
    let path = env.directory(name, setting.uid());
    // Without mounts a dedicated user owns nothing of a grant: its mode decides.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    path
}

#[test]
fn a_grant_that_is_not_there_is_a_named_failure() {
    let env = crate::env();
    for setting in Setting::possible() {
        let missing = env.root().join("missing");
        for access in [Access::Read, Access::Write] {
            let spec = granted(env.shell("echo ran"), &missing, access);
            let failure = env.keeper(setting).run(&spec).expect_err(setting.name());
            assert_eq!(failure.errno, Some(libc::ENOENT), "{}: {failure:?}", setting.name());
            let named = failure.message.contains(&*missing.to_string_lossy());
            assert!(named && failure.stage.is_some(), "{}: {failure:?}", setting.name());
        }
    }
}

#[test]
fn a_program_or_directory_out_of_reach_is_a_named_failure() {
    let env = crate::env();
    for setting in Setting::possible() {
        let mut keeper = env.keeper(setting);
        if setting.may_have_namespaces() {
            // Without mounts every directory is there, and can be entered but not listed.
            let mut spec = env.shell("echo ran");
            spec.workdir = env.root().to_owned();
            let failure = keeper.run(&spec).expect_err("the directory was not granted");
            let named = failure.message.contains(&*env.root().to_string_lossy());
            assert!(named, "{failure:?}");
        }
        let program = env.binaries().path("prober");
        let failure = keeper.run(&Spec::new(&program)).expect_err("the program was not granted");
        assert!(failure.message.contains("prober"), "{}: {failure:?}", setting.name());
    }
}

#[test]
fn private_trees_of_any_owner_are_usable_and_stay_their_owners() {
    if !is_root() {
        return println!("skipped: only root has grants of other owners");
    }
    let env = crate::env();
    let mut keeper = env.keeper(Setting::Root);
    for owner in [0, 1000, 65534] {
        let tree = env.directory(&format!("of-{owner}"), owner);
        fs::write(tree.join("old"), "old").unwrap();
        std::os::unix::fs::chown(tree.join("old"), Some(owner), Some(owner)).unwrap();
        fs::set_permissions(tree.join("old"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(&tree, fs::Permissions::from_mode(0o700)).unwrap();
        let script = format!(
            "cd {} && cat old && echo new > new && mkdir made && mv old moved && stat -c %u new",
            tree.display()
        );
        let spec = granted(env.shell(&script), &tree, Access::Write);
        let ran = keeper.run(&spec).unwrap();
        assert_eq!(ran.exit.code, Some(0), "owner {owner}: {ran:?}");
        assert!(ran.enforcement.is_enforced(Layer::IdMappedMounts), "{ran:?}");
        let inside: u32 = ran.output.trim_start_matches("old").trim().parse().unwrap();
        assert!(inside >= 0x7000_0000, "inside it is the dedicated user's: {inside}");
        for name in ["new", "made", "moved"] {
            let about = fs::metadata(tree.join(name)).unwrap();
            assert_eq!((about.uid(), about.gid()), (owner, owner), "{name}");
        }
        let spec = granted(
            env.shell(&format!("cat {}/moved; echo > {0}/no", tree.display())),
            &tree,
            Access::Read,
        );
        let ran = keeper.run(&spec).unwrap();
        assert_eq!((ran.output.as_str(), ran.exit.code == Some(0)), ("old", false), "{ran:?}");
        assert!(!tree.join("no").exists());
    }
}

#[test]
fn two_processes_have_two_users() {
    for setting in [Setting::Root, Setting::RootWithoutNamespaces] {
        if !setting.is_possible() {
            return println!("skipped: only root can give users of their own");
        }
        let env = crate::env();
        let mut keeper = env.keeper(setting);
        let spec = env.shell("id -u; read line");
        let mut both = [keeper.spawn(&spec).unwrap(), keeper.spawn(&spec).unwrap()];
        let users = both.each_mut().map(|sealed| sealed.line(PATIENCE).unwrap());
        assert_ne!(users[0], users[1], "{}", setting.name());
        let dedicated = users.iter().all(|user| user.parse::<u32>().unwrap() >= 0x7000_0000);
        assert!(dedicated, "{users:?}");
        for mut sealed in both {
            drop(sealed.input.take());
            keeper.finish(sealed);
        }
    }
}

#[test]
fn the_temporary_directory_is_private_and_gone_afterwards() {
    // A name that nobody else has on the host's own /tmp.
    let note = format!("plugbay-note-{}", std::process::id());
    for setting in Setting::possible() {
        let env = crate::env();
        let mut keeper = env.keeper(setting);
        let writer = format!("echo mine > $TMPDIR/{note} && cd $TMPDIR && pwd -P && ls; read line");
        let mut writer = keeper.spawn(&env.shell(&writer)).unwrap();
        let place = writer.line(PATIENCE).unwrap();
        assert_eq!(writer.line(PATIENCE).as_deref(), Some(&*note), "{}", setting.name());
        // Another process cannot reach it, by the same name or by its own; nor is it on the host's /tmp.
        let other =
            format!("cat {place}/{note} || cat /tmp/{note} || cat $TMPDIR/{note} || echo nothing");
        assert_eq!(says(&mut keeper, &env.shell(&other)), "nothing\n", "{}", setting.name());
        assert!(!Path::new("/tmp").join(&note).exists());
        drop(writer.input.take());
        keeper.finish(writer);
        assert!(place == "/tmp" || !Path::new(&place).exists(), "{place} is left");
    }
}

#[test]
fn the_temporary_directory_of_a_view_is_bounded() {
    let setting = if is_root() { Setting::Root } else { Setting::User };
    let env = crate::env();
    let mut spec =
        env.shell("head -c 3000000 /dev/zero > /tmp/big; head -c 3000000 /dev/zero > /dev/shm/big");
    spec.limits.tmp_size = 1 << 20;
    let ran = env.keeper(setting).run(&spec).unwrap();
    if !ran.enforcement.is_enforced(Layer::MountNamespace) {
        return println!("skipped: kernel lacks mount-namespace");
    }
    assert_eq!(ran.errors.matches("No space left").count(), 2, "{ran:?}");
}

#[test]
fn a_temporary_directory_without_a_view_is_watched() {
    let fill = [
        ("one large file", "head -c 3000000 /dev/zero > $TMPDIR/big"),
        ("many small ones", "i=0; while [ $i -lt 300 ]; do : > $TMPDIR/$i; i=$((i+1)); done"),
        ("one without a name", "exec 3> $TMPDIR/x; rm $TMPDIR/x; head -c 3000000 /dev/zero >&3"),
        (
            "one deep down",
            "mkdir -p $TMPDIR/a/b && cd $TMPDIR/a/b && head -c 3000000 /dev/zero > c",
        ),
    ];
    for setting in Setting::possible() {
        let env = crate::env();
        let mut keeper = env.keeper(setting);
        for (how, script) in fill {
            let mut spec = env.shell(&format!("{script}; read line"));
            spec.limits.tmp_size = 1 << 20;
            let mut sealed = keeper.spawn(&spec).unwrap();
            if sealed.enforcement.is_enforced(Layer::MountNamespace) {
                sealed.input.take();
                assert_eq!(keeper.finish(sealed).exit.cause, None, "{}, {how}", setting.name());
                continue;
            }
            // Its input stays open: only the limit ends it.
            let input = sealed.input.take();
            let ran = keeper.finish(sealed);
            drop(input);
            let hit =
                ran.exit.fatal().unwrap_or_else(|| panic!("{}, {how}: {ran:?}", setting.name()));
            assert_eq!((hit.limit, hit.value, hit.by), (Limit::Disk, 1 << 20, Holder::Watchdog));
            assert!(hit.peak.is_some_and(|peak| peak > 1 << 20), "{hit:?}");
        }
        // What fits is left alone.
        let mut spec = env.shell("head -c 900000 /dev/zero > $TMPDIR/fits && echo fits");
        spec.limits.tmp_size = 1 << 20;
        assert_eq!(says(&mut keeper, &spec), "fits\n", "{}", setting.name());
    }
}

#[test]
fn a_grant_inside_a_grant_adds_to_it() {
    for setting in Setting::possible() {
        let env = crate::env();
        let mut keeper = env.keeper(setting);
        let outer = open_directory(&env, "outer", setting);
        let inner = open_directory(&env, "outer/inner", setting);
        let deep = open_directory(&env, "outer/inner/deep", setting);
        fs::write(outer.join("file"), "seen\n").unwrap();
        let script = format!(
            "cat {outer}/file; echo a > {inner}/a && echo b > {inner}/deep/b && echo kept; \
             echo c > {outer}/c || echo refused; mv {inner}/a {outer}/a || echo stays",
            outer = outer.display(),
            inner = inner.display(),
        );
        let mut spec = granted(env.shell(&script), &outer, Access::Read);
        spec = granted(spec, &inner, Access::Write);
        spec = granted(spec, &deep, Access::Read);
        let said = says(&mut keeper, &spec);
        assert_eq!(said, "seen\nkept\nrefused\nstays\n", "{}", setting.name());
        assert!(deep.join("b").exists() && !outer.join("c").exists() && !outer.join("a").exists());
    }
}

#[test]
fn reading_is_not_executing() {
    for setting in Setting::possible() {
        let env = crate::env();
        // Not below /tmp: what is there may be executed, since a plugin's own /tmp may.
        let place = tempfile::Builder::new().prefix("pbt-").tempdir_in("/var/tmp").unwrap();
        let place = place.path();
        fs::set_permissions(place, fs::Permissions::from_mode(0o755)).unwrap();
        let program = place.join("program");
        fs::copy("/bin/echo", &program).unwrap();
        let script = format!("{} ran || echo refused", program.display());
        let mut keeper = env.keeper(setting);
        let read = granted(env.shell(&script), place, Access::Read);
        assert_eq!(says(&mut keeper, &read), "refused\n", "{}", setting.name());
        let exec = granted(env.shell(&script), place, Access::Exec);
        assert_eq!(says(&mut keeper, &exec), "ran\n", "{}", setting.name());
    }
}
