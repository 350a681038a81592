//! First lines of scripts, and the interpreters behind them.

use super::{World, variable};

#[test]
fn a_script_becomes_its_interpreter_and_its_arguments() {
    let world = World::new();
    world.program("path/interp");
    world.script("work/project/tool", &format!("#!{} -a -b\n", world.text("path/interp")));
    let found = world.run("./tool", &["x", "y"]).unwrap();
    assert_eq!(world.program_of(&found), "/path/interp");
    assert_eq!(world.args_of(&found), ["/path/interp", "-a -b", "/work/project/tool", "x", "y"]);
    assert_eq!(world.grants_of(&found), ["/work/project/tool", "/path/interp"]);
    assert_eq!(found.grants[0].origin, "`./tool`");
    assert_eq!(found.grants[1].origin, "the interpreter of `tool`");
}

#[test]
fn env_is_looked_through() {
    let world = World::new();
    world.program("path/interp");
    world.script("work/project/tool", "#!/usr/bin/env interp\n");
    let found = world.run("./tool", &["x"]).unwrap();
    assert_eq!(world.args_of(&found), ["/path/interp", "/work/project/tool", "x"]);
}

#[test]
fn env_s_is_split_and_its_variables_are_set() {
    let world = World::new();
    world.program("path/interp");
    world.script("work/project/tool", "#!/usr/bin/env -S MODE=fast interp -u 'a b'\n");
    let found = world.run("./tool", &["x"]).unwrap();
    assert_eq!(world.args_of(&found), ["/path/interp", "-u", "a b", "/work/project/tool", "x"]);
    assert_eq!(variable(&found, "MODE").as_deref(), Some("fast"));
}

#[test]
fn what_only_env_can_do_is_left_to_it_and_said() {
    let world = World::new();
    world.script("work/project/tool", "#!/usr/bin/env -S -i sh\n");
    let found = world.run("./tool", &[]).unwrap();
    assert_eq!(world.args_of(&found)[..2], ["/usr/bin/env", "-S -i sh"]);
    assert!(world.notes_of(&found).contains("left to `env` itself"));
}

#[test]
fn a_script_may_interpret_a_script_up_to_a_limit() {
    let world = World::new();
    world.program("path/interp");
    world.script("path/one", &format!("#!{}\n", world.text("path/interp")));
    for (outer, inner) in [("two", "one"), ("three", "two"), ("four", "three"), ("five", "four")] {
        world.script(
            &format!("path/{outer}"),
            &format!("#!{} -{inner}\n", world.text(&format!("path/{inner}"))),
        );
    }
    let found = world.run("four", &["x"]).unwrap();
    assert_eq!(
        world.args_of(&found),
        [
            "/path/interp",
            "/path/one",
            "-one",
            "/path/two",
            "-two",
            "/path/three",
            "-three",
            "/path/four",
            "x"
        ]
    );
    assert_eq!(world.error("five", &[]).0, 126);
    let itself = world.text("path/self");
    world.script("path/self", &format!("#!{itself}\n"));
    assert!(world.error("self", &[]).1.contains("too many interpreters"));
}

#[test]
fn a_missing_interpreter_is_127_with_a_hint() {
    let world = World::new();
    let cases = [
        ("#!/no/such\n", "`/no/such`, which was not found"),
        ("#!/bin/sh\r\n", "carriage return"),
        ("#!/usr/bin/env python9\n", "`python9`, which was not found"),
        ("#!/usr/bin/env sh -e\n", "`env -S`"),
        ("#!/usr/bin/env sh\r\n", "carriage return"),
    ];
    for (line, expected) in cases {
        world.script("path/tool", line);
        let (code, text) = world.error("tool", &[]);
        assert_eq!(code, 127, "{text}");
        assert!(text.starts_with("`/path/tool` asks for") && text.contains(expected), "{text}");
    }
}

#[test]
fn a_first_line_that_the_kernel_refuses_is_126() {
    let world = World::new();
    world.script("path/tool", "#!\n");
    assert!(world.error("tool", &[]).1.contains("names no interpreter"));
    world.script("path/tool", &format!("#!/{}\n", "x".repeat(400)));
    let (code, text) = world.error("tool", &[]);
    assert_eq!((code, text.contains("longer than the kernel reads")), (126, true), "{text}");
}

#[test]
fn an_interpreter_that_cannot_run_is_126() {
    let world = World::new();
    world.write("path/interp", "x");
    world.script("path/tool", &format!("#!{}\n", world.text("path/interp")));
    let (code, text) = world.error("tool", &[]);
    assert_eq!((code, text.starts_with("`/path/interp` cannot")), (126, true), "{text}");
}
