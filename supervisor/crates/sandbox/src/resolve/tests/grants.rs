//! What is granted, and what never is.

use std::fs;

use super::World;
use crate::spec::Access;

#[test]
fn an_installation_is_granted_whole_and_by_name() {
    let mut world = World::new();
    world.installation("software/tool-1.2", "tool");
    world.search("software/tool-1.2/bin");
    let found = world.run("tool", &[]).unwrap();
    assert_eq!(world.grants_of(&found), ["/software/tool-1.2"]);
    assert_eq!(found.grants[0].access, Access::Exec);
    assert_eq!(found.grants[0].origin, "installation of `tool`");
    assert!(found.notes.is_empty());
}

#[test]
fn a_link_leads_to_the_installation_and_keeps_a_name_that_is_there() {
    let world = World::new();
    world.installation("software/python-3.13", "python3.13");
    world.link("software/python-3.13/bin/python3", "python3.13");
    world.link("path/python3", &world.text("software/python-3.13/bin/python3.13"));
    world.link("path/ls", &world.text("software/python-3.13/bin/python3.13"));
    let found = world.run("python3", &[]).unwrap();
    assert_eq!(world.program_of(&found), "/software/python-3.13/bin/python3.13");
    assert_eq!(world.args_of(&found), ["/software/python-3.13/bin/python3"]);
    assert_eq!(world.grants_of(&found), ["/software/python-3.13"]);
    // A program that looks at its name must still see it.
    assert_eq!(world.args_of(&world.run("ls", &[]).unwrap()), ["ls"]);
}

#[test]
fn homes_and_what_is_shared_in_them_are_never_granted_whole() {
    for place in ["home/ann", "home/ann/.local", "home/ann/.cargo", "home", "."] {
        let mut world = World::new();
        world.installation(place, "tool");
        world.search(&format!("{place}/bin"));
        let found = world.run("tool", &[]).unwrap();
        let program = world.program_of(&found);
        assert_eq!(world.grants_of(&found), [program.as_str()], "{place}");
        assert!(
            world.notes_of(&found).starts_with(&format!("only `{program}` is granted")),
            "{place}"
        );
    }
}

#[test]
fn a_home_is_told_by_its_marks_too() {
    let mut world = World::new();
    world.installation("people/bob", "tool");
    world.write("people/bob/.bashrc", "");
    world.search("people/bob/bin");
    let found = world.run("tool", &[]).unwrap();
    assert_eq!(world.grants_of(&found), ["/people/bob/bin/tool"]);
    assert!(world.notes_of(&found).contains("it is a home directory"));
}

#[test]
fn checkouts_and_the_working_directory_are_not_installations() {
    let mut world = World::new();
    world.installation("source", "tool");
    fs::create_dir(world.at("source/.git")).unwrap();
    world.search("source/bin");
    assert_eq!(world.grants_of(&world.run("tool", &[]).unwrap()), ["/source/bin/tool"]);
    world.installation("work/project", "mine");
    let found = world.run("bin/mine", &[]).unwrap();
    assert_eq!(world.grants_of(&found), ["/work/project/bin/mine"]);
    assert!(world.notes_of(&found).contains("the working directory lies in it"));
}

#[test]
fn directories_of_the_system_are_never_an_installation() {
    for path in ["/", "/etc", "/var", "/home", "/root", "/tmp", "/home/somebody", "/root/.local"] {
        let world = World::new();
        let around = crate::resolve::surroundings::Surroundings::new(&world.env, &world.root);
        let objection = crate::resolve::installation::objection(path.as_ref(), &around);
        assert!(objection.is_some(), "{path}");
    }
}

fn environment(world: &World) {
    world.installation("pythons/3.12", "python3.12");
    world.write(
        "work/project/.venv/pyvenv.cfg",
        format!("Home = {}\nversion = 3.12\n", world.text("pythons/3.12/bin")),
    );
    world.link("work/project/.venv/bin/python", &world.text("pythons/3.12/bin/python3.12"));
    world.link("work/project/.venv/bin/python3", "python");
}

#[test]
fn a_virtual_environment_keeps_its_own_python_and_brings_its_base() {
    let world = World::new();
    environment(&world);
    let found = world.run(".venv/bin/python3", &["-V"]).unwrap();
    assert_eq!(world.program_of(&found), "/work/project/.venv/bin/python3");
    assert_eq!(world.args_of(&found), ["/work/project/.venv/bin/python3", "-V"]);
    assert_eq!(world.grants_of(&found), ["/work/project/.venv", "/pythons/3.12"]);
    assert_eq!(found.grants[0].origin, "virtual environment of `.venv/bin/python3`");
}

#[test]
fn a_console_script_of_a_virtual_environment_brings_it_too() {
    let world = World::new();
    environment(&world);
    let python = world.text("work/project/.venv/bin/python");
    world.script("work/project/.venv/bin/black", &format!("#!{python}\nimport black\n"));
    let found = world.run(".venv/bin/black", &["."]).unwrap();
    assert_eq!(world.program_of(&found), "/work/project/.venv/bin/python");
    assert_eq!(
        world.args_of(&found),
        ["/work/project/.venv/bin/python", "/work/project/.venv/bin/black", "."]
    );
    let grants = world.grants_of(&found);
    assert!(grants.contains(&"/work/project/.venv".into()), "{grants:?}");
    assert!(grants.contains(&"/pythons/3.12".into()), "{grants:?}");
}

#[test]
fn links_between_an_environment_and_its_base_stay_visible() {
    let world = World::new();
    world.installation("home/ann/.local/share/uv/python/cpython-3.13.1", "python3.13");
    world.link("home/ann/.local/share/uv/python/cpython-3.13", "cpython-3.13.1");
    let base = world.text("home/ann/.local/share/uv/python/cpython-3.13/bin");
    world.link("home/ann/.local/bin/python3.13", &format!("{base}/python3.13"));
    world.write("work/project/.venv/pyvenv.cfg", format!("home = {base}\n"));
    world.link("work/project/.venv/bin/python", &world.text("home/ann/.local/bin/python3.13"));
    let found = world.run(".venv/bin/python", &[]).unwrap();
    let uv = "/home/ann/.local/share/uv/python";
    assert_eq!(
        world.grants_of(&found),
        [
            "/work/project/.venv".to_owned(),
            format!("{uv}/cpython-3.13.1"),
            format!("{uv}/cpython-3.13"),
            "/home/ann/.local/bin/python3.13".to_owned(),
        ]
    );
}

#[test]
fn an_environment_whose_base_is_gone_says_so() {
    let world = World::new();
    world.write("work/project/.venv/pyvenv.cfg", "home = /no/such/bin\n");
    world.program("work/project/.venv/bin/python");
    let found = world.run(".venv/bin/python", &[]).unwrap();
    assert!(world.notes_of(&found).contains("base `/no/such` does not exist"));
}

#[test]
fn an_environment_cannot_name_any_directory_as_its_base() {
    let world = World::new();
    world.write("home/ann/.aws/credentials", "secret");
    world.write("home/ann/.aws/lib/x", "");
    world.program("work/project/.venv/bin/python");
    // By name, and by a way that is a Python with its links and the secret without them.
    let named = world.text("home/ann/.aws/bin");
    world.installation("work/project/deep/home/ann/.aws", "python3");
    world.link("work/project/way", &world.text("work/project/deep/a/b/c"));
    std::fs::create_dir_all(world.at("work/project/deep/a/b/c")).unwrap();
    let crooked = format!("{}/../../../home/ann/.aws/bin", world.text("work/project/way"));
    for home in [named, crooked] {
        world.write("work/project/.venv/pyvenv.cfg", format!("home = {home}\n"));
        let found = world.run(".venv/bin/python", &[]).unwrap();
        let grants = world.grants_of(&found);
        assert!(!grants.iter().any(|path| path.starts_with("/home/ann")), "{home}: {grants:?}");
    }
}
