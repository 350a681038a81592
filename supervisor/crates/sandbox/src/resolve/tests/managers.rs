//! Every version manager's stand-ins, in made-up trees and on this machine.

use std::{ffi::OsString, path::Path};

use super::{Resolved, World, resolve, variable};

const PYENV_SHIM: &str = "#!/usr/bin/env bash\nset -e\nprogram=\"${0##*/}\"\nexec \"/x/libexec/pyenv\" exec \"$program\" \"$@\"\n";

fn pyenv() -> World {
    let mut world = World::new();
    for version in ["3.9.18", "3.11.7", "3.11.10", "2.7.18"] {
        let name = format!("home/ann/.pyenv/versions/{version}");
        world.installation(&name, "python");
    }
    world.program("home/ann/.pyenv/versions/3.11.7/bin/only-here");
    for command in ["python", "only-here", "system-tool"] {
        world.script(&format!("home/ann/.pyenv/shims/{command}"), PYENV_SHIM);
    }
    world.write("home/ann/.pyenv/version", "3.9.18\n");
    world.program("path/system-tool");
    let path = format!("{}:{}", world.text("home/ann/.pyenv/shims"), world.text("path"));
    world.set("PATH", &path);
    world
}

fn pyenv_python(world: &World) -> String {
    let found = world.run("python", &["-V"]).unwrap();
    world.program_of(&found).replace("/home/ann/.pyenv/versions/", "")
}

#[test]
fn pyenv_follows_its_version_file_and_grants_that_version_only() {
    let world = pyenv();
    let found = world.run("python", &["-V"]).unwrap();
    assert_eq!(world.program_of(&found), "/home/ann/.pyenv/versions/3.9.18/bin/python");
    assert_eq!(world.args_of(&found), ["/home/ann/.pyenv/versions/3.9.18/bin/python", "-V"]);
    assert_eq!(world.grants_of(&found), ["/home/ann/.pyenv/versions/3.9.18"]);
    let path = variable(&found, "PATH").unwrap();
    assert!(path.starts_with(&world.text("home/ann/.pyenv/versions/3.9.18/bin:")), "{path}");
    assert!(world.notes_of(&found).starts_with("`python` is pyenv 3.9.18"));
}

#[test]
fn pyenv_prefers_the_variable_then_the_nearest_file() {
    let mut world = pyenv();
    world.write("work/.python-version", "# ours\n3.11\n");
    assert_eq!(pyenv_python(&world), "3.11.10/bin/python");
    world.write("work/project/.python-version", "python-2.7.18");
    assert_eq!(pyenv_python(&world), "2.7.18/bin/python");
    world.set("PYENV_VERSION", "3.11.7");
    assert_eq!(pyenv_python(&world), "3.11.7/bin/python");
}

#[test]
fn pyenv_looks_through_several_versions_and_the_system() {
    let mut world = pyenv();
    world.set("PYENV_VERSION", "3.9.18:3.11.7");
    let found = world.run("only-here", &[]).unwrap();
    assert_eq!(world.program_of(&found), "/home/ann/.pyenv/versions/3.11.7/bin/only-here");
    world.set("PYENV_VERSION", "system");
    assert_eq!(world.program_of(&world.run("system-tool", &[]).unwrap()), "/path/system-tool");
}

#[test]
fn pyenv_without_the_version_is_an_error_that_says_who_asked() {
    let world = pyenv();
    world.write("work/project/.python-version", "3.10.1\n");
    assert_eq!(
        world.error("python", &[]),
        (
            127,
            "pyenv has no `python`: `3.10.1` (set by `/work/project/.python-version`) \
             is not installed, or has none"
                .into()
        )
    );
}

#[test]
fn env_in_a_script_goes_through_the_shim_too() {
    let world = pyenv();
    world.script("work/project/tool.py", "#!/usr/bin/env python\n");
    let found = world.run("./tool.py", &["x"]).unwrap();
    assert_eq!(
        world.args_of(&found),
        ["/home/ann/.pyenv/versions/3.9.18/bin/python", "/work/project/tool.py", "x"]
    );
    assert_eq!(
        world.grants_of(&found),
        ["/work/project/tool.py", "/home/ann/.pyenv/versions/3.9.18"]
    );
}

#[test]
fn a_virtual_environment_of_pyenv_brings_its_base() {
    let mut world = pyenv();
    let base = world.text("home/ann/.pyenv/versions/3.11.7/bin");
    let at = "home/ann/.pyenv/versions/3.11.7/envs/mine";
    world.write(&format!("{at}/pyvenv.cfg"), format!("home = {base}\n"));
    world.link(&format!("{at}/bin/python"), &format!("{base}/python"));
    world.link("home/ann/.pyenv/versions/mine", &world.text(at));
    world.set("PYENV_VERSION", "mine");
    let found = world.run("python", &[]).unwrap();
    assert_eq!(world.program_of(&found), format!("/{at}/bin/python"));
    assert!(world.grants_of(&found).contains(&"/home/ann/.pyenv/versions/3.11.7".into()));
}

#[test]
fn siblings_of_pyenv_are_known() {
    let mut world = World::new();
    world.installation("home/ann/.rbenv/versions/3.3.0", "ruby");
    world.script("home/ann/.rbenv/shims/ruby", &PYENV_SHIM.replace("pyenv", "rbenv"));
    world.write("work/project/.ruby-version", "ruby-3.3.0\n");
    world.search("home/ann/.rbenv/shims");
    let found = world.run("ruby", &[]).unwrap();
    assert_eq!(world.program_of(&found), "/home/ann/.rbenv/versions/3.3.0/bin/ruby");
}

#[test]
fn a_directory_named_shims_alone_means_nothing() {
    let mut world = World::new();
    world.program("tools/shims/tool");
    world.search("tools/shims");
    assert_eq!(world.program_of(&world.run("tool", &[]).unwrap()), "/tools/shims/tool");
}

fn asdf() -> World {
    let mut world = World::new();
    world.installation("home/ann/.asdf/installs/nodejs/20.11.1", "node");
    world.installation("home/ann/.asdf/installs/nodejs/18.20.0", "node");
    world.program("home/ann/.asdf/installs/golang/1.22.0/go/bin/go");
    world.script(
        "home/ann/.asdf/shims/node",
        "#!/usr/bin/env bash\n# asdf-plugin: nodejs 20.11.1\n# asdf-plugin: nodejs 18.20.0\nexec asdf exec \"node\" \"$@\"\n",
    );
    world.script(
        "home/ann/.asdf/shims/go",
        "#!/usr/bin/env bash\n# asdf-plugin: golang 1.22.0\nexec x\n",
    );
    world.search("home/ann/.asdf/shims");
    world
}

#[test]
fn asdf_follows_tool_versions_upward_then_home() {
    let mut world = asdf();
    world.write("home/ann/.tool-versions", "golang 1.22.0\nnodejs 18.20.0\n");
    let node = |world: &World| world.program_of(&world.run("node", &[]).unwrap());
    assert_eq!(node(&world), "/home/ann/.asdf/installs/nodejs/18.20.0/bin/node");
    world.write("work/.tool-versions", "# ours\nnodejs 99.0 20.11.1 # or\n");
    assert_eq!(node(&world), "/home/ann/.asdf/installs/nodejs/20.11.1/bin/node");
    world.set("ASDF_NODEJS_VERSION", "18.20.0");
    assert_eq!(node(&world), "/home/ann/.asdf/installs/nodejs/18.20.0/bin/node");
    assert_eq!(
        world.program_of(&world.run("go", &[]).unwrap()),
        "/home/ann/.asdf/installs/golang/1.22.0/go/bin/go"
    );
}

#[test]
fn asdf_without_a_version_says_so() {
    let world = asdf();
    let (code, text) = world.error("node", &[]);
    assert_eq!(code, 127);
    assert!(text.contains("no `.tool-versions` sets a version"), "{text}");
    world.write("work/project/.tool-versions", "nodejs 16.0.0\n");
    assert!(world.error("node", &[]).1.contains("nodejs 16.0.0 (set by"));
}

#[test]
fn mise_follows_the_nearest_setting_of_any_form() {
    let mut world = World::new();
    let share = "home/ann/.local/share/mise";
    for version in ["3.10.2", "3.12.1"] {
        world.installation(&format!("{share}/installs/python/{version}"), "python");
    }
    world.installation(&format!("{share}/installs/node/22.1.0"), "node");
    world.program("software/bin/mise");
    for command in ["python", "node", "ruby"] {
        world.link(&format!("{share}/shims/{command}"), &world.text("software/bin/mise"));
    }
    world.search(&format!("{share}/shims"));
    let python = |world: &World| {
        let found = world.run("python", &[]).unwrap();
        world.program_of(&found).replace(&format!("/{share}/installs/python/"), "")
    };
    world.write(
        "home/ann/.config/mise/config.toml",
        "[tools]\npython = \"3.10\"\nnode = [\"22\"]\n",
    );
    assert_eq!(python(&world), "3.10.2/bin/python");
    assert!(world.run("node", &[]).is_ok());
    world.write("work/.tool-versions", "python 3.12.1\n");
    assert_eq!(python(&world), "3.12.1/bin/python");
    world.write("work/project/mise.toml", "[tools]\npython = { version = \"3.10.2\" }\n");
    assert_eq!(python(&world), "3.10.2/bin/python");
    world.set("MISE_PYTHON_VERSION", "latest");
    assert_eq!(python(&world), "3.12.1/bin/python");
    let (code, text) = world.error("ruby", &[]);
    assert_eq!((code, text.starts_with("mise has no `ruby`")), (127, true), "{text}");
}

#[test]
fn nvm_in_the_path_is_a_plain_directory() {
    let mut world = World::new();
    let at = "home/ann/.nvm/versions/node/v20.1.0";
    world.installation(at, "node");
    world.script(&format!("{at}/lib/node_modules/npm/bin/npm-cli.js"), "#!/usr/bin/env node\n");
    world.link(&format!("{at}/bin/npm"), "../lib/node_modules/npm/bin/npm-cli.js");
    world.search(&format!("{at}/bin"));
    let found = world.run("npm", &["ci"]).unwrap();
    assert_eq!(world.program_of(&found), format!("/{at}/bin/node"));
    let cli = format!("/{at}/lib/node_modules/npm/bin/npm-cli.js");
    assert_eq!(world.args_of(&found), [format!("/{at}/bin/node"), cli.clone(), "ci".into()]);
    assert_eq!(world.grants_of(&found), [cli, format!("/{at}")]);
}

#[test]
fn nvms_default_serves_where_no_shell_set_the_path() {
    let world = World::new();
    for version in ["v18.20.0", "v20.1.0", "v20.11.1", "v22.9.0"] {
        world.installation(&format!("home/ann/.nvm/versions/node/{version}"), "node");
    }
    assert_eq!(world.error("node", &[]).0, 127);
    let node = |alias: &str| {
        world.write("home/ann/.nvm/alias/default", alias);
        let found = world.run("node", &[]).unwrap();
        assert!(world.notes_of(&found).contains("nvm's default"));
        world.program_of(&found).split('/').nth(6).unwrap().to_owned()
    };
    world.write("home/ann/.nvm/alias/lts/iron", "v20.1.0\n");
    world.write("home/ann/.nvm/alias/lts/*", "lts/iron\n");
    assert_eq!(node("20\n"), "v20.11.1");
    assert_eq!(node("v18.20.0"), "v18.20.0");
    assert_eq!(node("lts/*"), "v20.1.0");
    assert_eq!(node("node"), "v22.9.0");
    world.write("home/ann/.nvm/alias/default", "../../../etc/passwd");
    assert_eq!(world.error("node", &[]).0, 127);
}

fn rustup() -> World {
    let mut world = World::new();
    let arch = std::env::consts::ARCH;
    for channel in ["stable", "nightly", "1.80.0"] {
        let at = format!("home/ann/.rustup/toolchains/{channel}-{arch}-unknown-linux-gnu");
        world.installation(&at, "cargo");
    }
    world.installation("home/ann/.rustup/toolchains/mine", "cargo");
    world.program("home/ann/.cargo/bin/rustup");
    world.link("home/ann/.cargo/bin/cargo", "rustup");
    let hard = world.at("home/ann/.cargo/bin/rustc");
    std::fs::hard_link(world.at("home/ann/.cargo/bin/rustup"), hard).unwrap();
    world.write(
        "home/ann/.rustup/settings.toml",
        format!("default_toolchain = \"stable-{arch}-unknown-linux-gnu\"\n"),
    );
    world.search("home/ann/.cargo/bin");
    world
}

fn toolchain(world: &World, args: &[&str]) -> String {
    let found = world.run("cargo", args).unwrap();
    let name = variable(&found, "RUSTUP_TOOLCHAIN").unwrap();
    assert!(world.program_of(&found).ends_with("/bin/cargo"));
    name.replace(&format!("-{}-unknown-linux-gnu", std::env::consts::ARCH), "")
}

#[test]
fn rustup_goes_from_the_command_line_down_to_the_default() {
    let mut world = rustup();
    assert_eq!(toolchain(&world, &[]), "stable");
    world.write("work/rust-toolchain.toml", "[toolchain]\nchannel = \"1.80.0\"\n");
    assert_eq!(toolchain(&world, &[]), "1.80.0");
    world.write("work/project/rust-toolchain", "mine\n");
    assert_eq!(toolchain(&world, &[]), "mine");
    let project = world.text("work/project");
    world.write(
        "home/ann/.rustup/settings.toml",
        format!("[overrides]\n\"{project}\" = \"nightly\"\n"),
    );
    assert_eq!(toolchain(&world, &[]), "nightly");
    world.set("RUSTUP_TOOLCHAIN", "1.80.0");
    assert_eq!(toolchain(&world, &[]), "1.80.0");
    assert_eq!(toolchain(&world, &["+mine", "build"]), "mine");
}

#[test]
fn rustup_takes_its_argument_and_grants_the_toolchain_only() {
    let world = rustup();
    let found = world.run("cargo", &["+mine", "build"]).unwrap();
    assert_eq!(world.args_of(&found), ["/home/ann/.rustup/toolchains/mine/bin/cargo", "build"]);
    assert_eq!(world.grants_of(&found), ["/home/ann/.rustup/toolchains/mine"]);
    let path = variable(&found, "PATH").unwrap();
    assert!(path.starts_with(&world.text("home/ann/.rustup/toolchains/mine/bin:")), "{path}");
}

#[test]
fn rustup_by_path_and_without_what_is_asked_for() {
    let mut world = rustup();
    world.write("work/project/rust-toolchain.toml", "[toolchain]\npath = \"../own\"\n");
    world.installation("work/own", "cargo");
    assert!(toolchain(&world, &[]).ends_with("/work/project/../own"));
    let (code, text) = world.error("cargo", &["+beta"]);
    assert_eq!(code, 127);
    assert!(
        text.contains("the toolchain `beta` (set by the command line) is not installed"),
        "{text}"
    );
    assert!(
        world
            .error("rustc", &["+mine"])
            .1
            .contains("`mine` (set by the command line) does not have it")
    );
    world.set("HOME", "/nonexistent");
    assert_eq!(toolchain(&world, &["+mine"]), "mine");
}

/// A command of the machine that this test runs on, if it has it.
fn of_this_machine(command: &str) -> Option<Resolved> {
    let env: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    match resolve(command, &["-V".into()], &env, Path::new("/")) {
        Ok(found) => Some(found),
        Err(error) => {
            assert_eq!(error.exit_code(), 127, "{error}");
            None
        }
    }
}

#[test]
fn this_machines_programs_are_real_and_their_grants_narrow() {
    for command in ["python3", "cargo", "node", "sh"] {
        let Some(found) = of_this_machine(command) else { continue };
        let program = found.program.to_string_lossy().into_owned();
        assert!(found.program.is_absolute() && !program.contains("/shims/"), "{program}");
        assert!(
            !program.ends_with("/rustup") && crate::resolve::file::is_executable(&found.program)
        );
        for grant in &found.grants {
            assert!(grant.path.components().count() > 3, "too wide: {}", grant.path.display());
            assert!(!grant.origin.is_empty());
        }
    }
}
