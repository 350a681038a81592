//! A directory that can be changed and stays as it is.

use std::{
    fs,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use plugbay_sandbox::{Access, FileGrant, Layering, Overlay, Spec};
use plugbay_tests::{Setting, TestEnv, is_root};

/// A directory with something in it, and its layers.
fn places(env: &TestEnv, setting: Setting, name: &str) -> (PathBuf, PathBuf) {
    let uid = setting.uid();
    let directory = env.directory(&format!("{name}-tree"), uid);
    let inner = env.directory(&format!("{name}-tree/inner"), uid);
    let layers = env.directory(&format!("{name}-layers"), uid);
    let parts = ["upper", "work", "tree"];
    assert!(parts.iter().all(|part| env.directory(&format!("{name}-layers/{part}"), uid).exists()));
    fs::set_permissions(&layers, fs::Permissions::from_mode(0o700)).unwrap();
    for path in [directory.join("old"), directory.join("gone"), inner.join("deep")] {
        fs::write(&path, "before\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        // What belongs to somebody who is not in the user namespace cannot be copied up.
        if is_root() {
            chown(&path, Some(uid), Some(uid)).unwrap();
        }
    }
    (directory, layers)
}

fn spec(env: &TestEnv, script: &str, directory: &Path, layers: &Path, way: Layering) -> Spec {
    let mut spec = env.shell(script);
    spec.files.push(FileGrant::requested(directory, Access::Write));
    spec.overlay = Some(Overlay { path: directory.to_owned(), layers: layers.to_owned(), way });
    spec.workdir = directory.to_owned();
    spec
}

const CHANGES: &str = "echo after >> old && echo new > new && rm gone && mkdir made &&
    echo x > made/file && echo y >> inner/deep && cat old inner/deep && ls";

#[test]
fn changes_go_into_the_upper_layer_and_the_directory_stays() {
    for setting in Setting::possible() {
        let env = crate::env();
        let (directory, layers) = places(&env, setting, "kernel");
        let spec = spec(&env, CHANGES, &directory, &layers, Layering::Kernel);
        let ran = match env.keeper(setting).run(&spec) {
            Ok(ran) => ran,
            Err(failure) => {
                // No mounts, or a kernel that lets no ordinary user stack them.
                let told = failure.message.contains("kept apart")
                    || failure.message.contains("keep apart the changes");
                assert!(told, "{}: {failure:?}", setting.name());
                assert_ne!(setting, Setting::Root, "{failure:?}");
                println!("without overlayfs ({}): {}", setting.name(), failure.message);
                continue;
            }
        };
        let said = "before\nafter\nbefore\ny\ninner\nmade\nnew\nold\n";
        assert_eq!((ran.exit.code, ran.output.as_str()), (Some(0), said), "{ran:?}");
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        assert_eq!(read(directory.join("old")), "before\n", "{}", setting.name());
        assert!(directory.join("gone").exists() && !directory.join("new").exists());
        let upper = layers.join("upper");
        assert_eq!(read(upper.join("old")), "before\nafter\n");
        assert!(fs::symlink_metadata(upper.join("gone")).unwrap().file_type().is_char_device());
        for name in ["new", "made", "made/file", "inner/deep"] {
            let about = fs::symlink_metadata(upper.join(name)).unwrap();
            assert_eq!(about.uid(), setting.uid(), "{name}, {}", setting.name());
        }
        // The control: granted without an overlay, the same changes reach the directory.
        let mut direct = spec.clone();
        direct.overlay = None;
        assert_eq!(env.keeper(setting).run(&direct).unwrap().exit.code, Some(0));
        assert!(directory.join("new").exists() && !directory.join("gone").exists());
    }
}

#[test]
fn a_copy_stands_in_for_the_directory_where_it_lies() {
    for setting in Setting::possible() {
        let env = crate::env();
        let (directory, layers) = places(&env, setting, "copy");
        fs::write(layers.join("tree/old"), "copied\n").unwrap();
        fs::set_permissions(layers.join("tree/old"), fs::Permissions::from_mode(0o666)).unwrap();
        let script = format!("cat {}/old && echo after > old && ls", directory.display());
        let spec = spec(&env, &script, &directory, &layers, Layering::Copy);
        let Ok(ran) = env.keeper(setting).run(&spec) else {
            assert!(!setting.may_have_namespaces(), "{}", setting.name());
            continue;
        };
        assert_eq!(ran.output, "copied\nold\n", "{}: {ran:?}", setting.name());
        assert_eq!(fs::read_to_string(directory.join("old")).unwrap(), "before\n");
        assert_eq!(fs::read_to_string(layers.join("tree/old")).unwrap(), "after\n");
    }
}

#[test]
fn the_layers_themselves_are_not_in_view() {
    for setting in Setting::possible() {
        let env = crate::env();
        let (directory, layers) = places(&env, setting, "seen");
        let script = format!("ls {} 2>/dev/null || echo unseen", layers.display());
        let spec = spec(&env, &script, &directory, &layers, Layering::Kernel);
        match env.keeper(setting).run(&spec) {
            Ok(ran) => assert_eq!(ran.output, "unseen\n", "{}", setting.name()),
            Err(_refused) => assert_ne!(setting, Setting::Root),
        }
    }
}
