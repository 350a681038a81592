//! The form of files, and what may not be left behind in them.

use crate::{catches, code::has_word, hold, source::Source, told};

/// The longest file of code, in lines.
const MAX_LINES: usize = 700;

/// Where unsafe code may live. A name that ends in `*` stands for whatever starts so.
const UNSAFE: [&str; 5] = [
    // Every system call of the sandbox that has no safe form elsewhere.
    "supervisor/crates/sandbox/src/sys*",
    // Loads real filters into forked children.
    "supervisor/crates/sandbox/tests/seccomp.rs",
    // The floor of a sealed start: a bare `clone` with the same namespaces.
    "tests/benches/src/start/kernel.rs",
    // Attacks are raw system calls; the settings they run in are made by a filter.
    "supervisor/crates/sandbox/src/raw.rs",
    "tests/src/bin/rung.rs",
];

/// Tests and fixtures that sleep, and why it is not waiting for luck.
const SLEEPERS: [(&str, &str); 6] = [
    ("sdk-python/tests/test_async.py", "a coroutine that is there to be cancelled"),
    ("sdk-python/tests/test_crew.py", "polls a condition of another thread, with a deadline"),
    ("sdk-python/tests/test_process.py", "plugins that are there to hang"),
    ("tests/benches/src/sample.rs", "the same pause after every start that is measured"),
    ("tests/benches/src/supervise/failover.rs", "the same pause before calls as before kills"),
    ("tests/benches/src/supervise/idle.rs", "the time for which idle plugins are watched"),
];

fn listed(path: &str, list: &[&str]) -> bool {
    list.iter().any(|entry| match entry.strip_suffix('*') {
        Some(start) => path.starts_with(start),
        None => path == *entry,
    })
}

/// Files are short enough to be read.
fn length(sources: &[Source]) -> Vec<String> {
    let code = sources.iter().filter(|source| source.is("rs") || source.is("py"));
    code.filter_map(|source| {
        let lines = source.text.lines().count();
        (lines > MAX_LINES).then(|| format!("{}: {lines} lines; at most {MAX_LINES}", source.path))
    })
    .collect()
}

/// Every Rust file says first what it is.
fn opening(sources: &[Source]) -> Vec<String> {
    let rust = sources.iter().filter(|source| source.is("rs"));
    rust.filter(|source| !source.text.starts_with("//! "))
        .map(|source| format!("{}: does not open with `//! `", source.path))
        .collect()
}

/// Unsafe code lives in few places.
fn unsafety(sources: &[Source]) -> Vec<String> {
    let rust = sources.iter().filter(|s| s.is("rs") && !listed(&s.path, &UNSAFE));
    lines(rust, |line| has_word(line, "unsafe") && !line.contains("unsafe_"))
        .map(|place| format!("{place}: unsafe code outside the rooms that may have it"))
        .collect()
}

/// No test is switched off or expected to fail by its panic.
fn switches(sources: &[Source]) -> Vec<String> {
    let rust = sources.iter().filter(|source| source.is("rs"));
    lines(rust, |line| {
        ["ignore", "should_panic"].iter().any(|word| {
            line.contains(&format!("#[{word}"))
                || line.contains(&format!(", {word}")) && line.contains("cfg_attr")
        })
    })
    .map(|place| format!("{place}: a test is run, and says by asserting what it expects"))
    .collect()
}

/// Tests wait for events. Sleeping is allowed on a clock that a test has paused.
fn sleeping(sources: &[Source]) -> Vec<String> {
    let sleepers: Vec<&str> = SLEEPERS.iter().map(|(path, _)| *path).collect();
    let mut complaints = Vec::new();
    for source in sources.iter().filter(|source| !listed(&source.path, &sleepers)) {
        let paused = source.text.contains("start_paused = true");
        let mut in_tests = source.is_test();
        let lines = if source.is("rs") {
            source.code()
        } else if source.is("py") {
            source.text.lines().enumerate().map(|(at, line)| (at + 1, line.to_owned())).collect()
        } else {
            continue;
        };
        for (number, line) in lines {
            in_tests |= line.starts_with("#[cfg(test)]");
            let sleeps = has_word(&line, "sleep") && line.contains("sleep(");
            // Giving way once is not waiting.
            let excused = (paused && !line.contains("thread")) || line.contains("sleep(0)");
            if in_tests && sleeps && !excused {
                complaints.push(format!("{}:{number}: a test waits for an event", source.path));
            }
        }
    }
    complaints
}

/// What is left to do stands in an issue, and says which.
fn promises(sources: &[Source]) -> Vec<String> {
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut complaints = Vec::new();
    for source in sources {
        for (number, line) in source.text.lines().enumerate() {
            let loose = words
                .iter()
                .any(|word| has_word(line, word) && !line.contains(&format!("{word}(#")));
            if loose {
                complaints.push(format!("{}:{}: no issue named", source.path, number + 1));
            }
        }
    }
    complaints
}

/// Nothing names a place of one machine.
fn places(sources: &[Source]) -> Vec<String> {
    let paths = [
        concat!("/wo", "rk/main"),
        concat!("/wo", "rk/wt"),
        concat!("/wo", "rk/shared"),
        concat!("/root/.car", "go"),
        concat!(".cargo/regi", "stry"),
        concat!("bash_", "jobs"),
    ];
    let mut complaints = Vec::new();
    for source in sources {
        for (number, line) in source.text.lines().enumerate() {
            if paths.iter().any(|path| line.contains(path)) {
                complaints.push(format!("{}:{}: a path of one machine", source.path, number + 1));
            }
        }
    }
    complaints
}

/// Where lines of code answer to a question, as `path:line`.
fn lines<'s>(
    sources: impl Iterator<Item = &'s Source>,
    wrong: impl Fn(&str) -> bool,
) -> impl Iterator<Item = String> {
    sources.flat_map(move |source| {
        let found = source.code().into_iter().filter(|(_, line)| wrong(line));
        found.map(|(number, _)| format!("{}:{number}", source.path)).collect::<Vec<_>>()
    })
}

#[test]
fn files_are_short() {
    hold(length);
}

#[test]
fn files_say_what_they_are() {
    hold(opening);
}

#[test]
fn unsafe_code_is_in_its_rooms() {
    hold(unsafety);
}

#[test]
fn no_test_is_switched_off() {
    hold(switches);
}

#[test]
fn tests_do_not_sleep() {
    hold(sleeping);
}

#[test]
fn promises_name_their_issue() {
    hold(promises);
}

#[test]
fn no_place_of_one_machine_is_named() {
    hold(places);
}

#[test]
fn a_long_file_is_caught() {
    catches(length, "x.rs", &"\n".repeat(701), &"\n".repeat(700));
    catches(length, "x.py", &"\n".repeat(701), "");
    assert_eq!(told(length, "x.jsonl", &"\n".repeat(9000)), [""; 0]);
}

#[test]
fn a_file_that_does_not_say_what_it_is_is_caught() {
    catches(opening, "x.rs", "use std::fs;\n", "//! What it is.\n");
    catches(opening, "x.rs", "//!\n", "//! What it is.\n");
}

#[test]
fn unsafe_code_in_the_wrong_place_is_caught() {
    let code = "//! x\nfn f() { unsafe { g() } }\n";
    catches(unsafety, "supervisor/src/main.rs", code, "//! unsafe\nfn is_unsafe() {} // unsafe\n");
    catches(unsafety, "x.rs", code, "#![deny(unsafe_code)]\n");
    assert_eq!(told(unsafety, "supervisor/crates/sandbox/src/sys/mount.rs", code), [""; 0]);
}

#[test]
fn a_test_that_is_switched_off_is_caught() {
    catches(
        switches,
        "x.rs",
        "#[ignore]\nfn f() {}\n",
        "// #[ignore]\nlet ignore = \"#[ignore]\";\n",
    );
    catches(switches, "x.rs", "#[ignore = \"slow\"]\n", "");
    catches(switches, "x.rs", "#[should_panic(expected = \"x\")]\n", "");
    catches(switches, "x.rs", "#[cfg_attr(miri, ignore)]\n", "");
}

#[test]
fn a_test_that_sleeps_is_caught() {
    catches(sleeping, "a/tests/x.rs", "thread::sleep(second);\n", "// sleep(x)\nasleep(1);\n");
    catches(
        sleeping,
        "a/src/x.rs",
        "#[cfg(test)]\nmod tests { fn f() { sleep(x) } }\n",
        "sleep(x)\n",
    );
    catches(sleeping, "a/tests/test_x.py", "    time.sleep(1)\n", "    await asyncio.sleep(0)\n");
    let paused = "#[tokio::test(start_paused = true)]\n";
    catches(
        sleeping,
        "a/tests/x.rs",
        &format!("{paused}thread::sleep(x)\n"),
        &format!("{paused}time::sleep(x).await;\n"),
    );
}

#[test]
fn a_promise_without_an_issue_is_caught() {
    let word = concat!("TO", "DO");
    catches(promises, "x.rs", &format!("// {word}: later\n"), &format!("// {word}(#12): later\n"));
    catches(promises, "x.md", concat!("FIX", "ME\n"), "MASTODON\n");
}

#[test]
fn a_place_of_one_machine_is_caught() {
    catches(places, "x.md", concat!("see /wo", "rk/main/docs\n"), "see /work/project\n");
}

#[test]
fn every_exception_is_needed() {
    let tree = crate::tree();
    let unsafe_lines =
        |source: &&Source| source.code().iter().any(|(_, line)| has_word(line, "unsafe"));
    for entry in UNSAFE {
        let used = tree.iter().filter(|s| listed(&s.path, &[entry])).any(|s| unsafe_lines(&s));
        assert!(used, "no unsafe code in {entry} any more");
    }
    for (entry, why) in SLEEPERS {
        let used = tree.iter().any(|s| listed(&s.path, &[entry]) && s.text.contains("sleep"));
        assert!(used, "nothing sleeps in {entry} any more ({why})");
    }
}
