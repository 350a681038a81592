//! What `plugbay learn` writes is enough: with it a program does the same once more, and nothing that it
//! reaches for is refused but what was left out by name.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use plugbay_tests::{Setting, TestEnv, command};

/// What each program finds.
const FILES: [(&str, &str); 8] = [
    (
        "main.c",
        "#include <stdio.h>\n#include \"lib/h.h\"\nint main(void){printf(\"%d\\n\",ANSWER);return 0;}\n",
    ),
    ("lib/h.h", "#define ANSWER 42\n"),
    ("Makefile", "all: main\n\t./main\nmain: main.c lib/h.h\n\t$(CC) -o main main.c\n"),
    ("app.py", "import json, helper\nprint(helper.f(json.load(open('data/in.json'))))\n"),
    ("helper.py", "def f(x): return sorted(x)\n"),
    ("data/in.json", "{\"b\": 1, \"a\": 2}"),
    ("data/b.txt", "b\na\nc\n"),
    (
        "app.js",
        "const fs=require('fs');console.log(fs.readFileSync('data/b.txt','utf8').split('\\n').sort().join());\
         fs.writeFileSync('out.txt','o');\n",
    ),
];

const SQLITE: &str = "import sqlite3; c = sqlite3.connect('d.db'); c.execute('create table t(x)'); \
                      c.execute('insert into t values (1)'); c.commit(); \
                      print(c.execute('select * from t').fetchall())";
const SERVER: &str = "import socket, threading\ns = socket.create_server(('127.0.0.1', 0))\n\
                      t = threading.Thread(target=lambda: s.accept()[0].sendall(b'hi'))\nt.start()\n\
                      print(socket.create_connection(s.getsockname()).recv(9))\nt.join()";
const PIPELINE: &str = "mkdir -p o/p && cp -r data o/p && find o | sort | tee list.txt && rm -r o";

/// The programs. The first ones are played in every setting, all in one. (As root without namespaces git
/// does not trust a directory of another owner, sealed or not.)
const PROGRAMS: [(&str, &[&str]); 11] = [
    ("python", &["python3", "app.py"]),
    ("bash", &["bash", "-c", PIPELINE]),
    ("perl", &["perl", "-ne", "print if /a/", "data/b.txt"]),
    ("sqlite", &["python3", "-c", SQLITE]),
    ("a server of its own", &["python3", "-c", SERVER]),
    ("node", &["node", "app.js"]),
    ("gcc", &["gcc", "-o", "main", "main.c"]),
    ("make", &["make"]),
    ("git", &["git", "status", "--short"]),
    ("tar", &["tar", "cf", "all.tar", "data", "lib"]),
    ("sed", &["sed", "-i", "s/a/z/", "data/b.txt"]),
];
const EVERYWHERE: usize = 3;

/// The same files anew, of the user who will run.
fn fresh(env: &TestEnv, setting: Setting) -> PathBuf {
    let place = env.directory("project", setting.uid());
    fs::remove_dir_all(&place).unwrap();
    let place = env.directory("project", setting.uid());
    let own = |path: &Path, mode: u32| {
        // As root without namespaces a grant is worth what its mode allows others.
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        if Setting::Root.is_possible() {
            chown(path, Some(setting.uid()), Some(setting.uid())).unwrap();
        }
    };
    own(&place, 0o777);
    for (name, text) in FILES {
        let path = place.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        own(path.parent().unwrap(), 0o777);
        fs::write(&path, text).unwrap();
        own(&path, 0o666);
    }
    place
}

fn plugbay(env: &TestEnv, setting: Setting, place: &Path, words: &[&str]) -> Output {
    let mut process = command(&env.binaries().path("rung"));
    process.args(setting.rung_options()).arg("--").arg(env.binaries().path("plugbay"));
    process.arg("plugbay").args(words).current_dir(place);
    process.env("PATH", "/usr/local/bin:/usr/bin:/bin").stdin(Stdio::null()).output().unwrap()
}

fn is_there(program: &str) -> bool {
    ["/usr/local/bin", "/usr/bin", "/bin"]
        .iter()
        .any(|place| Path::new(place).join(program).exists())
}

/// Learns, runs with what was learned, and tells what was not the same.
fn round_trip(env: &TestEnv, setting: Setting, name: &str, words: &[&str]) -> Result<(), String> {
    let failed = |what: &str, output: &Output| {
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{name} ({}): {what}: {:?} {said}", setting.name(), output.status))
    };
    let prepare = || {
        let place = fresh(env, setting);
        if name == "git" {
            let init = ["run", "--write", ".", "--", "git", "init", "-q", "."];
            let made = plugbay(env, setting, &place, &init);
            assert!(made.status.success(), "{made:?}");
        }
        place
    };
    let place = prepare();
    let told = env.directory("told", setting.uid()).join("told.json");
    let told = told.to_str().unwrap();
    let options = ["learn", "--quiet", "--json", "-o", told, "--"];
    let first = plugbay(env, setting, &place, &[&options, words].concat());
    if !first.status.success() {
        return failed("it failed while learning", &first);
    }
    let document: serde_json::Value = serde_json::from_slice(&fs::read(told).unwrap()).unwrap();
    let flags = document["flags"].as_str().unwrap().to_owned();
    println!("{name} ({}): {flags}", setting.name());
    fs::remove_file(told).unwrap();
    let place = prepare();
    let mut again = vec!["run", "--explain", "--report", told];
    again.extend(flags.split_whitespace().chain(["--"]).chain(words.iter().copied()));
    let second = plugbay(env, setting, &place, &again);
    if (second.status.code(), &second.stdout) != (first.status.code(), &first.stdout) {
        return failed("with what was learned it does something else", &second);
    }
    let report: serde_json::Value = serde_json::from_slice(&fs::read(told).unwrap()).unwrap();
    let watched = &report["denials"]["watched"];
    let left_out = document["left_out"].as_array().unwrap();
    let refused = document["refused"].as_array().unwrap();
    let same = |one: &serde_json::Value, other: &serde_json::Value| {
        ["rule", "syscall", "detail"].iter().all(|key| one[key] == other[key])
    };
    let is_named = |denial: &serde_json::Value| {
        let path = &denial["path"];
        path.is_string() && left_out.iter().any(|it| it["path"] == *path)
            || refused.iter().any(|it| same(it, denial))
    };
    let kinds = report["denials"]["kinds"].as_array().unwrap();
    if watched["attempts"] != true || !kinds.iter().all(is_named) {
        return failed(&format!("something was refused: {}", report["denials"]), &second);
    }
    Ok(())
}

fn all_hold(setting: Setting, programs: &[(&str, &[&str])]) {
    let env = crate::env();
    let (there, missing): (Vec<_>, Vec<_>) =
        programs.iter().partition(|(_, words)| is_there(words.first().unwrap()));
    missing.iter().for_each(|(name, _)| println!("skipped: there is no {name} here"));
    let broken =
        there.iter().filter_map(|(name, words)| round_trip(&env, setting, name, words).err());
    let broken: Vec<String> = broken.collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn with_what_was_learned_a_program_does_the_same_and_nothing_is_refused() {
    all_hold(Setting::User, &PROGRAMS);
}

#[test]
fn what_is_learned_holds_on_every_rung_of_the_ladder() {
    for setting in Setting::possible().into_iter().filter(|setting| *setting != Setting::User) {
        all_hold(setting, &PROGRAMS[..EVERYWHERE]);
    }
}

#[test]
fn less_than_what_was_learned_is_not_enough() {
    let env = crate::env();
    let setting = Setting::User;
    let place = fresh(&env, setting);
    let less = ["run", "--read", ".", "--", "sed", "-i", "s/a/z/", "data/b.txt"];
    let output = plugbay(&env, setting, &place, &less);
    assert!(!output.status.success(), "{output:?}");
}
