//! Ordinary programs run under every filter: what the profiles refuse, nobody needs who is not a
//! builder or a debugger; and the bases of strict lists hold what the runtimes need.
//!
//! Each program does its work unsealed first, by the same user. One that does not do it there (it is
//! not installed, or not for this user) is skipped by name.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Output, Stdio},
};

use plugbay_tests::{Setting, TestEnv, command};

/// A program at work.
struct Work {
    name: &'static str,
    /// Files that it finds in its directory.
    files: &'static [(&'static str, &'static str)],
    command: &'static [&'static str],
    /// What it prints in the end.
    says: &'static str,
    /// The strict list under which it works too.
    list: &'static str,
    /// Whether it talks to itself by TCP.
    loopback: bool,
}

const PYTHON: &str = r#"
import asyncio, concurrent.futures, os, sqlite3, subprocess, sys, threading, venv

def square(number):
    return number * number

async def talk():
    async def answer(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()
    if "loopback" in sys.argv:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"hello\n")
        assert await reader.readline() == b"HELLO\n"
        writer.close()
        server.close()
    child = await asyncio.create_subprocess_exec("true")
    assert await child.wait() == 0
    assert await asyncio.to_thread(square, 3) == 9

if __name__ == "__main__":
    threads = [threading.Thread(target=square, args=[n]) for n in range(20)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    with concurrent.futures.ProcessPoolExecutor(2) as pool:
        assert list(pool.map(square, range(10)))[9] == 81
    asyncio.run(talk())
    with sqlite3.connect("data.db") as base:
        base.execute("pragma journal_mode = wal")
        base.execute("create table words (word text)")
        base.execute("insert into words values ('one')")
    assert subprocess.run(["ls"], capture_output=True, check=True).stdout
    venv.create("env", with_pip=False)
    subprocess.run(["env/bin/python", "-c", "import json"], check=True)
    print("python works")
"#;

const NODE: &str = r#"
const assert = require("assert"), fs = require("fs"), http = require("http");
const { execFileSync } = require("child_process"), { Worker } = require("worker_threads");
const script = "require('worker_threads').parentPort.postMessage(6 * 7)";
const worker = new Promise((done) => new Worker(script, { eval: true }).on("message", done));
const fetched = new Promise((done) => {
  if (!process.argv.includes("loopback")) return done("hello");
  const server = http.createServer((_, answer) => answer.end("hello"));
  server.listen(0, "127.0.0.1", () => {
    http.get({ host: "127.0.0.1", port: server.address().port, agent: false }, (answer) => {
      answer.on("data", (text) => { server.close(); done(text.toString()); });
    });
  });
});
const wasm = Buffer.from("0061736d010000000105016000017f03020100070801046d61696e00000a06010400412a0b", "hex");
(async () => {
  assert.equal(await worker, 42);
  assert.equal(await fetched, "hello");
  const { instance } = await WebAssembly.instantiate(wasm);
  assert.equal(instance.exports.main(), 42);
  fs.writeFileSync("a", "text");
  await fs.promises.copyFile("a", "b");
  assert.equal(execFileSync("cat", ["b"]).toString(), "text");
  console.log("node works");
})();
"#;

const JAVA: &str = r#"
import java.nio.file.*; import java.util.concurrent.*;
class Main { public static void main(String[] words) throws Exception {
    var pool = Executors.newFixedThreadPool(4);
    var sums = new java.util.ArrayList<Future<Integer>>();
    for (int i = 0; i < 50; i++) { var n = i; sums.add(pool.submit(() -> new byte[1 << 18].length + n)); }
    for (var sum : sums) sum.get();
    pool.shutdown();
    Files.writeString(Path.of("out"), "text");
    var child = new ProcessBuilder("cat", "out").start();
    if (child.waitFor() != 0) throw new Error();
    System.gc();
    System.out.println("java works");
} }
"#;

/// Refused calls while a handler is run over and over, as Go's runtime does it to its threads.
const SIGNALS: &str = r#"
import os, signal, threading
handled, over = 0, False
def handle(*_):
    global handled
    handled += 1
signal.signal(signal.SIGURG, handle)
signal.siginterrupt(signal.SIGURG, False)
main = threading.get_ident()
def disturb():
    while not over:
        signal.pthread_kill(main, signal.SIGURG)
thread = threading.Thread(target=disturb)
thread.start()
refused = 0
for _ in range(5000):
    try:
        os.setpriority(os.PRIO_PROCESS, 0, 5)
    except PermissionError:
        refused += 1
over = True
thread.join()
assert handled > 10, handled
print("refused", refused)
"#;

const GO: &str = r#"package main
import ("fmt"; "os/exec"; "sync"; "syscall")
func main() {
    var group sync.WaitGroup
    for i := 0; i < 50; i++ { group.Add(1); go func() { defer group.Done(); for j := 0; j < 1e6; j++ {} }() }
    group.Wait()
    for i := 0; i < 1000; i++ { syscall.Setpriority(syscall.PRIO_PROCESS, 0, 5) }
    if err := exec.Command("true").Run(); err != nil { panic(err) }
    fmt.Println("go works")
}
"#;

const SHELL: &str = r#"
set -e -o pipefail
seq 100 | grep 7 | sort -r | head -3 > out
cat < out | while read line; do echo "$line"; done | wc -l > count
trap 'echo caught > signal' USR1
kill -USR1 $$
sleep 0.01 & wait $!
(ulimit -n 100; exec true)
cat <<< "here" > here
[[ $(cat count) -eq 3 && -f signal && $(cat here) = here ]]
mkdir -p deep/er && ln -s deep/er link && mv here link/ && cp -a deep copy && rm -r deep
echo "shell works"
"#;

const GIT: &str = r#"
set -e
export HOME=$PWD GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
git init -q repository && cd repository && echo text > file && git add . && git commit -qm first
git gc -q && git clone -q . ../clone && git -C ../clone log --oneline | wc -l
echo "git works"
"#;

const TAR: &str = "mkdir in && seq 1000 > in/a && chmod 750 in && tar czf all.tgz in && mkdir out && \
                   tar xzf all.tgz -C out && cmp in/a out/in/a && echo tar works";

const MAKE: &str = "all: b\n\t@echo make works\nb: a\n\tcp a b\na:\n\techo 1 > a\n";

const PERL: &str = r#"$| = 1; open(my $f, ">", "a"); print $f "x\n"; close $f; my $p = fork();
if (!$p) { exit 3 } waitpid($p, 0); die if $? >> 8 != 3; print `cat a` eq "x\n" ? "perl works\n" : "";"#;

const C: &str = "#include <stdio.h>\nint main(void) { puts(\"gcc works\"); return 0; }\n";

const CARGO: &str = "[package]\nname = \"hello\"\nversion = \"1.0.0\"\nedition = \"2021\"\n\
                     [workspace]\n[[bin]]\nname = \"hello\"\npath = \"main.rs\"\n";

const RUST: &str = "fn main() { std::thread::spawn(|| println!(\"cargo works\")).join().unwrap() }";

const RUNTIMES: &[Work] = &[
    Work {
        name: "CPython: threads, processes, asyncio, sqlite, venv",
        files: &[("main.py", PYTHON)],
        command: &["python3", "main.py"],
        says: "python works",
        list: "@python,@files,@sockets,pidfd_send_signal",
        loopback: true,
    },
    Work {
        name: "Node: http, workers, wasm, children",
        files: &[("main.js", NODE)],
        command: &["node", "main.js"],
        says: "node works",
        list: "@node,@files,@sockets",
        loopback: true,
    },
    Work {
        name: "a JVM: compiler, threads, heap, children",
        files: &[("Main.java", JAVA)],
        command: &["java", "-Xmx256m", "Main.java"],
        says: "java works",
        list: "@jvm,@files",
        loopback: false,
    },
    Work {
        name: "Go: compiler, goroutines, children",
        files: &[("main.go", GO), ("go.mod", "module hello\n")],
        command: &["sh", "-c", "HOME=$PWD GOFLAGS=-mod=mod go run main.go"],
        says: "go works",
        list: "@go,@shell,@files,@file-attributes",
        loopback: false,
    },
];

const TOOLS: &[Work] = &[
    Work {
        name: "gcc, and what it made",
        files: &[("main.c", C)],
        command: &["sh", "-c", "gcc -O2 -o main main.c && ./main"],
        says: "gcc works",
        list: "@shell,@files,chmod",
        loopback: false,
    },
    Work {
        name: "git: commit, pack, clone",
        files: &[("main.sh", GIT)],
        command: &["sh", "main.sh"],
        says: "git works",
        list: "@shell,@files,@file-attributes,fsync,socketpair,setitimer,setsid,flock,sched_getaffinity",
        loopback: false,
    },
    Work {
        name: "cargo build",
        files: &[("Cargo.toml", CARGO), ("main.rs", RUST)],
        command: &["cargo", "run", "--offline", "--quiet"],
        says: "cargo works",
        list: "@threads-of-a-runtime,@shell,@files,@file-attributes,@descriptors,@sockets,@threads",
        loopback: false,
    },
    Work {
        name: "bash: pipelines, traps, jobs, links",
        files: &[("main.sh", SHELL)],
        command: &["bash", "main.sh"],
        says: "shell works",
        list: "@shell,@files,@file-attributes,@descriptors",
        loopback: false,
    },
    Work {
        name: "make",
        files: &[("Makefile", MAKE)],
        command: &["make", "-j2"],
        says: "make works",
        list: "@shell,@files,@descriptors",
        loopback: false,
    },
    Work {
        name: "perl",
        files: &[("main.pl", PERL)],
        command: &["perl", "main.pl"],
        says: "perl works",
        list: "@shell",
        loopback: false,
    },
    Work {
        name: "tar and gzip",
        files: &[("main.sh", TAR)],
        command: &["sh", "main.sh"],
        says: "tar works",
        list: "@shell,@files,@file-attributes",
        loopback: false,
    },
];

/// Traces a child of its own.
const TRACER: Work = Work {
    name: "strace",
    files: &[],
    command: &["strace", "-f", "-o", "trace", "sh", "-c", "echo strace works"],
    says: "strace works",
    list: "@shell,@files,@identity,@tracing-own-children",
    loopback: false,
};

/// Is refused five thousand calls among signals.
const DISTURBED: Work = Work {
    name: "CPython: refused calls among signals",
    files: &[("main.py", SIGNALS)],
    command: &["python3", "main.py"],
    says: "refused 5000",
    list: "@python",
    loopback: false,
};

/// Does the work in a directory of its own: unsealed, or by `plugbay` with these words.
fn perform(env: &TestEnv, setting: Setting, work: &Work, sealed: &[&str]) -> Output {
    let place = env.directory("work", setting.uid());
    // As root without namespaces a grant is worth what its mode allows others.
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
    for (name, text) in work.files {
        fs::write(place.join(name), text).unwrap();
    }
    let mut process = command(&env.binaries().path("rung"));
    if sealed.is_empty() {
        process.args(setting.user_options()).args(["--", "/usr/bin/env", "env"]);
    } else {
        process.args(setting.rung_options()).arg("--").arg(env.binaries().path("plugbay"));
        process.args(sealed).arg("--write").arg(&place).arg("--");
    }
    process.args(work.command);
    // An own loopback takes a network namespace.
    if work.loopback && (sealed.is_empty() || setting.may_have_namespaces()) {
        process.arg("loopback");
    }
    // A toolchain that is not the system's is found by whoever may read it.
    process.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let output = process.current_dir(&place).stdin(Stdio::null()).output().unwrap();
    fs::remove_dir_all(&place).unwrap();
    output
}

fn passes(output: &Output, work: &Work) -> bool {
    let said = String::from_utf8_lossy(&output.stdout);
    output.status.success() && said.lines().any(|line| line == work.says)
}

/// One program under one filter: nothing, or what went wrong.
fn trial(env: &TestEnv, setting: Setting, work: &Work, filter: &str) -> Option<String> {
    let mut run = vec!["plugbay", "run", "--memory", "none", "--filter", filter];
    if setting.may_have_namespaces() {
        run.extend(["--net", if work.loopback { "loopback" } else { "none" }]);
    } else {
        // POSIX semaphores, which the host's programs share where there is no view.
        run.extend(["--write", "/dev/shm"]);
    }
    let output = perform(env, setting, work, &run);
    let said = String::from_utf8_lossy(&output.stderr);
    let how = || format!("{} under {filter} ({})", work.name, setting.name());
    (!passes(&output, work)).then(|| format!("{}: {}\n{said}", how(), output.status))
}

/// The user who can do the work unsealed: an ordinary one, or root with its own toolchains.
fn able(env: &TestEnv, work: &Work) -> Option<Setting> {
    let settings = [Setting::User, Setting::Root].into_iter().filter(|it| it.is_possible());
    let mut last = String::new();
    for setting in settings {
        let output = perform(env, setting, work, &[]);
        if passes(&output, work) {
            return Some(setting);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        said.lines().last().unwrap_or_default().clone_into(&mut last);
    }
    println!("skipped: {} does not work here unsealed: {last}", work.name);
    None
}

fn all_work(works: &[Work]) {
    let env = crate::env();
    let mut wrong = Vec::new();
    for work in works {
        let Some(setting) = able(&env, work) else { continue };
        let mut trials = vec![(setting, "default"), (setting, work.list)];
        // What only root can read is worth nothing there: a grant is worth what its mode allows others.
        if setting == Setting::User {
            trials.push((Setting::UserWithoutNamespaces, "default"));
        }
        let failed: Vec<String> =
            trials.iter().filter_map(|(at, filter)| trial(&env, *at, work, filter)).collect();
        println!(
            "{} ({}): {}",
            work.name,
            setting.name(),
            if failed.is_empty() { "works" } else { "fails" }
        );
        wrong.extend(failed);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_runtimes_of_languages_work_under_every_filter() {
    all_work(RUNTIMES);
}

#[test]
fn the_tools_of_builders_work_under_every_filter() {
    all_work(TOOLS);
}

#[test]
fn a_debugger_works_under_the_filter_for_builds_only() {
    let env = crate::env();
    let Some(setting) = able(&env, &TRACER) else { return };
    assert_eq!(trial(&env, setting, &TRACER, "ci"), None);
    assert_eq!(trial(&env, setting, &TRACER, TRACER.list), None);
    let refused = trial(&env, setting, &TRACER, "default").unwrap();
    assert!(refused.contains("ptrace: EPERM") && refused.contains("--filter ci"), "{refused}");
}

#[test]
fn a_signal_neither_hangs_nor_hides_a_refusal() {
    let env = crate::env();
    let work = Work { says: "refused 0", ..DISTURBED };
    let Some(setting) = able(&env, &work) else { return };
    for filter in ["default", DISTURBED.list] {
        assert_eq!(trial(&env, setting, &DISTURBED, filter), None);
    }
    assert_eq!(trial(&env, setting, &work, "ci"), None);
}
