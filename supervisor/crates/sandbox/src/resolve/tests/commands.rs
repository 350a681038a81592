//! Names, paths, and what cannot be executed.

use super::{World, elf, native};

#[test]
fn a_name_is_searched_in_the_given_path_and_stays_the_first_argument() {
    let mut world = World::new();
    world.program("path/tool");
    world.program("other/tool");
    let found = world.run("tool", &["-x", "y"]).unwrap();
    assert_eq!(world.program_of(&found), "/path/tool");
    assert_eq!(world.args_of(&found)[1..], ["-x", "y"]);
    let both = format!("{}:{}", world.text("other"), world.text("path"));
    world.set("PATH", &both);
    assert_eq!(world.program_of(&world.run("tool", &[]).unwrap()), "/other/tool");
}

#[test]
fn a_system_program_is_typed_as_it_was() {
    let mut world = World::new();
    world.set("PATH", "/usr/bin:/bin");
    let found = world.run("sh", &["-c", "true"]).unwrap();
    assert!(found.program.starts_with("/usr") || found.program.starts_with("/bin"));
    assert_eq!(world.args_of(&found), ["sh", "-c", "true"]);
    assert!(found.grants.is_empty() && found.env.is_empty() && found.notes.is_empty());
}

#[test]
fn a_path_is_relative_to_the_working_directory() {
    let world = World::new();
    world.program("work/project/tool");
    world.program("work/other");
    assert_eq!(world.program_of(&world.run("./tool", &[]).unwrap()), "/work/project/tool");
    assert_eq!(world.program_of(&world.run("../other", &[]).unwrap()), "/work/other");
    let absolute = world.text("work/other");
    assert_eq!(world.program_of(&world.run(&absolute, &[]).unwrap()), "/work/other");
}

#[test]
fn relative_and_empty_entries_of_the_path_mean_the_working_directory() {
    let mut world = World::new();
    world.program("work/project/tools/tool");
    world.program("work/project/here");
    world.set("PATH", "tools:");
    assert_eq!(world.program_of(&world.run("tool", &[]).unwrap()), "/work/project/tools/tool");
    assert_eq!(world.program_of(&world.run("here", &[]).unwrap()), "/work/project/here");
}

#[test]
fn what_is_not_there_is_127() {
    let world = World::new();
    assert_eq!(world.error("tool", &[]), (127, "`tool` was not found in PATH".into()));
    assert_eq!(
        world.error("./tool", &[]),
        (127, "`./tool` was not found in the file system".into())
    );
    assert_eq!(world.error("", &[]).0, 127);
    world.link("path/dangling", "nowhere");
    assert_eq!(world.error("dangling", &[]).0, 127);
}

#[test]
fn what_is_there_but_cannot_run_is_126() {
    let world = World::new();
    world.write("path/plain", "#!/bin/sh\n");
    world.write("path/text", "echo hello\n");
    world.mode("path/text", 0o755);
    world.script("path/nothing", "");
    world.script("path/data", "\0\x01\x02");
    let said = |command| {
        let (code, text) = world.error(command, &[]);
        assert_eq!(code, 126, "{text}");
        text
    };
    assert_eq!(
        said("plain"),
        "`/path/plain` cannot be executed: it is not marked as executable (chmod +x)"
    );
    assert_eq!(
        said("text"),
        "`/path/text` cannot be executed: it is text without a first line like `#!/bin/sh`"
    );
    assert_eq!(said("nothing"), "`/path/nothing` cannot be executed: it is empty");
    assert!(said("data").ends_with("its format is not known (neither ELF nor script)"));
    assert_eq!(
        said("../project"),
        "`/work/project/../project` cannot be executed: it is a directory"
    );
}

#[test]
fn a_later_executable_is_preferred_to_an_earlier_file() {
    let mut world = World::new();
    world.write("path/tool", "x");
    world.program("other/tool");
    let both = format!("{}:{}", world.text("path"), world.text("other"));
    world.set("PATH", &both);
    assert_eq!(world.program_of(&world.run("tool", &[]).unwrap()), "/other/tool");
}

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let world = World::new();
    let pipe = world.at("path/pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (code, text) = world.error(pipe.to_str().unwrap(), &[]);
    assert_eq!((code, text.contains("not a regular file")), (126, true), "{text}");
}

#[test]
fn a_program_for_another_processor_says_for_which() {
    let world = World::new();
    for (machine, name) in [(243, "riscv"), (3, "x86 (32 bit)"), (999, "machine type 999")] {
        world.write("path/tool", elf(machine, None));
        world.mode("path/tool", 0o755);
        let (code, text) = world.error("tool", &[]);
        assert_eq!(code, 126);
        let start = format!("`/path/tool` is built for {name}, and this machine is ");
        assert!(text.starts_with(&start), "{text}");
    }
}

#[test]
fn a_missing_loader_is_named() {
    let world = World::new();
    world.write("path/tool", elf(native(), Some("/lib/ld-musl-of-nowhere.so.1")));
    world.mode("path/tool", 0o755);
    let (code, text) = world.error("tool", &[]);
    assert_eq!(code, 127);
    assert!(
        text.starts_with("`/path/tool` needs the loader `/lib/ld-musl-of-nowhere.so.1`"),
        "{text}"
    );
}

#[test]
fn a_loader_outside_the_system_is_granted() {
    let world = World::new();
    let loader = world.installation("store/libc", "unused").with_file_name("../lib/ld.so");
    std::fs::write(&loader, "x").unwrap();
    world.write("path/tool", elf(native(), Some(loader.to_str().unwrap())));
    world.mode("path/tool", 0o755);
    let found = world.run("tool", &[]).unwrap();
    assert_eq!(world.grants_of(&found), ["/store/libc/lib/ld.so", "/path/tool"]);
}

#[test]
fn damaged_programs_are_errors_and_nothing_else() {
    let world = World::new();
    let whole = elf(native(), Some("/lib64/ld-linux-x86-64.so.2"));
    for length in 4..whole.len() {
        world.write("path/tool", &whole[..length]);
        world.mode("path/tool", 0o755);
        if let Err(error) = world.run("tool", &[]) {
            assert!(matches!(error.exit_code(), 126 | 127), "{length}: {error}");
        }
    }
}
