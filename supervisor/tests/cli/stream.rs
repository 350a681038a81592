//! `plugbay call` with parameters and results that come bit by bit, and a plugin in shell that has
//! the protocol by heart.

use std::io::{BufRead as _, BufReader};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::invocation::{Left, finish, plugbay, plugin, run, run_with_input};

const MANIFEST: &str = r#"
[plugin]
name = "it"
version = "1.0.0"
type = "test"

[runtime]
command = ["sh", "main.sh"]
"#;

/// `items`, `raw`, `endless`, `torn` and `deep` answer with streams, `sink` says what it was sent.
const PROGRAM: &str = r#"
say() { printf '{"jsonrpc":"2.0",%s}\n' "$1"; }
answer() { say "\"id\":$id,\"result\":$1"; }
data() { say "\"method\":\"stream/data\",\"params\":{\"id\":\"s1\",\"seq\":$1,$2}"; }
end() { say "\"method\":\"stream/end\",\"params\":{\"id\":\"s1\"$1}"; }
values='{"$stream":"s1","kind":"json"}'
while read -r message; do
    id=${message#*\"id\":}; id=${id%%[,\}]*}
    case $message in
        *'"method":"initialize"'*)
            answer '{"version":1,"features":["streams"],"plugin":{"name":"it","version":"1.0.0"},"methods":[]}' ;;
        *'"method":"items"'*)
            answer "$values"
            data 1 '"items":[1.10,{"a":  "b"}]'; data 2 '"items":["\u001b[2J"]'; end ;;
        *'"method":"raw"'*)
            answer '{"$stream":"s1","kind":"bytes"}'; data 1 '"b64":"aGkKG1sySgA="'; end ;;
        *'"method":"torn"'*)
            answer "$values"; data 1 '"items":[1]'; end ',"error":{"code":17,"message":"the disk is full"}' ;;
        *'"method":"endless"'*) answer "$values"; data 1 '"items":["begun"]' ;;
        *'"method":"deep"'*) answer "[$values]" ;;
        *'"method":"sink"'*) call=$id; seen= ;;
        *'"method":"stream/data"'*) seen="$seen${message##*\"seq\":}" ;;
        *'"method":"stream/end"'*)
            id=$call; answer "\"$(printf %s "$seen${message##*\"id\":\"h1\"}" | tr -d '"\\')\"" ;;
        *'"method":"stream/drop"'*) echo dropped >&2 ;;
        *'"method":"shutdown"'*) answer null ;;
        *'"method":"exit"'*) exit ;;
    esac
done
"#;

fn call_with(args: &[&str], input: &[u8]) -> Left {
    let (_root, directory) = plugin(MANIFEST);
    std::fs::write(directory.join("main.sh"), PROGRAM).unwrap();
    run_with_input(&[&["call", directory.to_str().unwrap()], args].concat(), input)
}

fn call(args: &[&str]) -> Left {
    call_with(args, b"")
}

#[test]
fn the_items_of_a_stream_are_lines_and_harmless() {
    assert_eq!(call(&["items"]).ok(), "1.10\n{\"a\":\"b\"}\n\"\\u001b[2J\"\n");
}

#[test]
fn bytes_are_printed_as_they_are_off_a_terminal() {
    assert_eq!(call(&["raw"]).ok(), "hi\n\x1b[2J\0");
}

#[test]
fn what_fails_on_the_way_fails_after_the_items() {
    let left = call(&["torn"]);
    assert_eq!(left.stdout, "1\n");
    left.fails(1, "the disk is full");
}

#[test]
fn a_stream_among_other_things_is_not_printed() {
    let left = call(&["deep"]);
    assert_eq!(left.stdout, "");
    left.fails(5, "only one that is a stream is printed");
}

#[test]
fn a_deadline_is_of_the_stream_too() {
    let left = call(&["endless", "--deadline", "300ms"]);
    assert_eq!(left.stdout, "\"begun\"\n");
    assert_eq!(left.code, Some(6), "{left:?}");
}

#[test]
fn an_interrupt_ends_a_stream() {
    let (_root, directory) = plugin(MANIFEST);
    std::fs::write(directory.join("main.sh"), PROGRAM).unwrap();
    let mut child = plugbay(&["call", directory.to_str().unwrap(), "endless"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "\"begun\"\n");
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    assert_eq!(finish(child).code, Some(130));
}

#[test]
fn values_lines_and_bytes_are_fed() {
    let fed = |flag: &str| call_with(&["sink", flag, "x=-"], b"{\"a\":\n 1}\n2\n").ok();
    assert_eq!(
        call_with(&["sink", "--in", "x=-"], b"[1,\n 2] 3\n").ok(),
        "\"1,items:[[1,  2]]}}2,items:[3]}}}}\"\n"
    );
    assert!(
        fed("--in-lines").starts_with("\"1,items:[{a:]}}2,items:[ 1}]}}3,items:[2]}}"),
        "{}",
        fed("--in-lines")
    );
    assert_eq!(fed("--in-bytes"), "\"1,b64:eyJhIjoKIDF9CjIK}}}}\"\n");
}

#[test]
fn a_file_feeds_as_well() {
    let (root, directory) = plugin(MANIFEST);
    std::fs::write(directory.join("main.sh"), PROGRAM).unwrap();
    std::fs::write(root.path().join("values"), "true").unwrap();
    let input = format!("x={}", root.path().join("values").display());
    let left = run(&["call", directory.to_str().unwrap(), "sink", "--in", &input]);
    assert_eq!(left.ok(), "\"1,items:[true]}}}}\"\n");
}

#[test]
fn input_that_cannot_be_read_reaches_the_plugin_as_a_failure() {
    let left = call_with(&["sink", "--in", "x=-"], b"1 nonsense");
    assert!(left.ok().contains("`-` cannot be read"));
}

#[test]
fn standard_input_feeds_one_thing_and_files_must_be_there() {
    call(&["sink", "--in", "x=-", "--in-bytes", "y=-"]).fails(2, "for one thing only");
    call(&["sink", "-", "--in", "x=-"]).fails(2, "for one thing only");
    call(&["sink", "--in", "x=/does/not/exist"]).fails(2, "read `/does/not/exist`");
    call(&["sink", "--in", "x"]).fails(2, "NAME=FILE");
}
