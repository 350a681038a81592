//! Error messages, as people see them.

use plugbay_manifest::MAX_BYTES;

use crate::{MINIMAL, parse};

/// The error that a text gives.
fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// The error that some lines give when they stand in an otherwise valid manifest.
fn error_with(lines: &str) -> String {
    error(&format!("{MINIMAL}{lines}\n"))
}

#[test]
fn a_misspelled_key_is_guessed() {
    insta::assert_snapshot!(error(&MINIMAL.replace("name", "nmae")), @r#"
    words/plugin.toml:1:1: `plugin.name`: missing
      |
    1 | [plugin]
      | ^^^^^^^^
      = allowed: a name of a-z, 0-9 and -, that starts with a letter, at most 64 characters, not `plugbay` or `host`

    words/plugin.toml:2:1: `plugin.nmae`: unknown key
      |
    2 | nmae = "words"
      | ^^^^ did you mean `name`?
      = allowed: name, version, type, description, authors, license
    "#);
}

#[test]
fn an_unknown_table_names_the_tables() {
    insta::assert_snapshot!(error_with("[permission]\nnetwork = true"), @"
    words/plugin.toml:6:2: `permission`: unknown key
      |
    6 | [permission]
      |  ^^^^^^^^^^ did you mean `permissions`?
      = allowed: plugin, runtime, methods, config, dependencies, permissions, sandbox, limits, supervision, events
    ");
}

#[test]
fn a_dotted_key_is_told_whole() {
    insta::assert_snapshot!(error_with("[methods.count]\ntimout = \"2s\""), @r#"
    words/plugin.toml:7:1: `methods.count.timout`: unknown key
      |
    7 | timout = "2s"
      | ^^^^^^ did you mean `timeout`?
      = allowed: description, params, result, idempotent, timeout
    "#);
}

#[test]
fn an_empty_file_says_what_is_missing() {
    insta::assert_snapshot!(error(""), @r"
    words/plugin.toml:1:1: `plugin`: missing
      |
    1 |
      | ^
      = allowed: a table `[plugin]`

    words/plugin.toml:1:1: `runtime`: missing
      |
    1 |
      | ^
      = allowed: a table `[runtime]`
    ");
}

#[test]
fn broken_toml_points_at_the_place() {
    insta::assert_snapshot!(error("[plugin]\nname = \"words\nversion = 1.0.0\n"), @r#"
    words/plugin.toml:2:14: not TOML: invalid basic string, expected `"`
      |
    2 | name = "words
      |              ^

    words/plugin.toml:3:14: not TOML: invalid float, expected nothing
      |
    3 | version = 1.0.0
      |              ^^
    "#);
}

#[test]
fn every_problem_is_told_at_once_in_order() {
    let text = "[plugin]\nname = \"My Plugin\"\nversion = \"1.0\"\n\
                [runtime]\ncommand = \"cat | grep x\"\ndialect = \"plugbai\"\n\
                [limits]\nmemory = \"256 megs\"\n";
    insta::assert_snapshot!(error(text), @r#"
    words/plugin.toml:2:8: `plugin.name`: the name has a character that is not allowed
      |
    2 | name = "My Plugin"
      |        ^^^^^^^^^^^ did you mean "my-plugin"?
      = allowed: a name of a-z, 0-9 and -, that starts with a letter, at most 64 characters, not `plugbay` or `host`

    words/plugin.toml:3:11: `plugin.version`: `1.0` is not a version: unexpected end of input while parsing minor version number
      |
    3 | version = "1.0"
      |           ^^^^^ did you mean "1.0.0"?
      = allowed: a semantic version: MAJOR.MINOR.PATCH, as "1.2.3" or "1.0.0-beta.1"

    words/plugin.toml:5:11: `runtime.command`: `|` needs a shell, and no shell is used
      |
    5 | command = "cat | grep x"
      |           ^^^^^^^^^^^^^^
      = allowed: a command line as "python3 main.py", or a list as ["python3", "main.py"]

    words/plugin.toml:6:11: `runtime.dialect`: `plugbai` is not one of the choices
      |
    6 | dialect = "plugbai"
      |           ^^^^^^^^^ did you mean "plugbay"?
      = allowed: "plugbay", "jsonrpc"

    words/plugin.toml:8:10: `limits.memory`: `256 megs` is not a size: the unit is missing or unknown
      |
    8 | memory = "256 megs"
      |          ^^^^^^^^^^
      = allowed: bytes, or a number and a unit (KiB, MiB, GiB, TiB; KB, MB, GB, TB) as "256MiB", at least 1048576 bytes
    "#);
}

#[test]
fn wrong_kinds_say_what_was_found() {
    let lines = "[permissions]\nnetwork = \"yes\"\nfilesystem = 3\nenv = \"HOME\"\n\
                 [limits]\ncpu = \"two\"\npids = 0\n";
    insta::assert_snapshot!(error_with(lines), @r#"
    words/plugin.toml:7:11: `permissions.network`: expected false, true, or a list of destinations, found a text
      |
    7 | network = "yes"
      |           ^^^^^
      = allowed: false, true, or a list of destinations

    words/plugin.toml:8:14: `permissions.filesystem`: expected a text or a table, found a whole number
      |
    8 | filesystem = 3
      |              ^
      = allowed: "none", "read-only", or a table { read = [...], write = [...], exec = [...] }

    words/plugin.toml:9:7: `permissions.env`: expected a list of variables, found a text
      |
    9 | env = "HOME"
      |       ^^^^^^
      = allowed: a list of variables

    words/plugin.toml:11:7: `limits.cpu`: expected a number of cores from 0.01 to 1024, as 0.5 or 2, found a text
       |
    11 | cpu = "two"
       |       ^^^^^
       = allowed: a number of cores from 0.01 to 1024, as 0.5 or 2

    words/plugin.toml:12:8: `limits.pids`: `0` is out of range
       |
    12 | pids = 0
       |        ^
       = allowed: a whole number from 1 to 4194304
    "#);
}

#[test]
fn hosts_are_names_addresses_or_blocks_and_do_not_mix_with_ports() {
    let lines = "[permissions]\nnetwork = [443]\nhosts = [\"127.1:80\", \"a.*\", \"10.0.0.0/33\", \"ok.example\"]\n";
    insta::assert_snapshot!(error_with(lines), @r#"
    words/plugin.toml:8:9: `permissions.hosts`: hosts do not mix with ports of any host
      |
    8 | hosts = ["127.1:80", "a.*", "10.0.0.0/33", "ok.example"]
      |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      = allowed: hosts alone, where "*:443" is that port of every host; or ports alone

    words/plugin.toml:8:10: `permissions.hosts[0]`: `127.1:80` is not a host
      |
    8 | hosts = ["127.1:80", "a.*", "10.0.0.0/33", "ok.example"]
      |          ^^^^^^^^^^
      = allowed: "HOST" or "HOST:PORT" as "crates.io:443", "*.example.org:443", "10.0.0.0/8:5432", "*:443"

    words/plugin.toml:8:22: `permissions.hosts[1]`: `a.*` is not a host
      |
    8 | hosts = ["127.1:80", "a.*", "10.0.0.0/33", "ok.example"]
      |                      ^^^^^
      = allowed: "HOST" or "HOST:PORT" as "crates.io:443", "*.example.org:443", "10.0.0.0/8:5432", "*:443"

    words/plugin.toml:8:29: `permissions.hosts[2]`: `10.0.0.0/33` is not a host
      |
    8 | hosts = ["127.1:80", "a.*", "10.0.0.0/33", "ok.example"]
      |                             ^^^^^^^^^^^^^
      = allowed: "HOST" or "HOST:PORT" as "crates.io:443", "*.example.org:443", "10.0.0.0/8:5432", "*:443"
    "#);
}

#[test]
fn wrong_permissions_say_what_may_be_asked() {
    let lines = "[permissions]\nnetwork = [0, \"example.org\", \"listen:x\"]\n\
                 filesystem = { raed = [], read = [\"../up\", \"$HOME/x\"] }\nenv = [\"A B\"]\n";
    insta::assert_snapshot!(error_with(lines), @r#"
    words/plugin.toml:7:12: `permissions.network[0]`: `0` is out of range
      |
    7 | network = [0, "example.org", "listen:x"]
      |            ^
      = allowed: a whole number from 1 to 65535

    words/plugin.toml:7:15: `permissions.network[1]`: `example.org` is not a destination
      |
    7 | network = [0, "example.org", "listen:x"]
      |               ^^^^^^^^^^^^^
      = allowed: PORT as 443, "HOST:PORT" as "db.example:5432", or "listen:PORT"; ports are 1 to 65535

    words/plugin.toml:7:30: `permissions.network[2]`: `listen:x` is not a destination
      |
    7 | network = [0, "example.org", "listen:x"]
      |                              ^^^^^^^^^^
      = allowed: PORT as 443, "HOST:PORT" as "db.example:5432", or "listen:PORT"; ports are 1 to 65535

    words/plugin.toml:8:16: `permissions.filesystem.raed`: unknown key
      |
    8 | filesystem = { raed = [], read = ["../up", "$HOME/x"] }
      |                ^^^^ did you mean `read`?
      = allowed: read, write, exec

    words/plugin.toml:8:35: `permissions.filesystem.read[0]`: `../up` is not a path that can be granted
      |
    8 | filesystem = { raed = [], read = ["../up", "$HOME/x"] }
      |                                   ^^^^^^^
      = allowed: a path as "/var/data", "~/notes", "./data" or "$PLUGIN/data", without `..`

    words/plugin.toml:8:44: `permissions.filesystem.read[1]`: `$HOME/x` is not a path that can be granted
      |
    8 | filesystem = { raed = [], read = ["../up", "$HOME/x"] }
      |                                            ^^^^^^^^^
      = allowed: a path as "/var/data", "~/notes", "./data" or "$PLUGIN/data", without `..`

    words/plugin.toml:9:8: `permissions.env[0]`: `A B` is not the name of a variable
      |
    9 | env = ["A B"]
      |        ^^^^^
      = allowed: "NAME" to pass the host's value on, or "NAME=VALUE"
    "#);
}

#[test]
fn wrong_times_say_what_a_time_is() {
    let lines = "[supervision]\nstart_timeout = 5\nbackoff_initial = \"2m\"\nbackoff_max = \"1m\"\n\
                 stop_timeout = \"2 days\"\n";
    insta::assert_snapshot!(error_with(lines), @r#"
    words/plugin.toml:7:17: `supervision.start_timeout`: expected a duration, found a whole number
      |
    7 | start_timeout = 5
      |                 ^
      = allowed: a number and a unit (us, ms, s, m, h) as "30s", above zero, at most "24h"

    words/plugin.toml:8:19: `supervision.backoff_initial`: `backoff_initial` is longer than `backoff_max`
      |
    8 | backoff_initial = "2m"
      |                   ^^^^
      = allowed: a first wait that is not longer than the longest

    words/plugin.toml:10:16: `supervision.stop_timeout`: `2 days` is not a duration: the unit is missing or unknown
       |
    10 | stop_timeout = "2 days"
       |                ^^^^^^^^
       = allowed: a number and a unit (us, ms, s, m, h) as "30s", above zero, at most "24h"
    "#);
}

#[test]
fn wrong_ranges_and_names_of_dependencies() {
    let lines = "[dependencies]\nplugbay = \"latest\"\nWords = \"1\"\nwords = \"1\"\n";
    insta::assert_snapshot!(error_with(lines), @r#"
    words/plugin.toml:7:11: `dependencies.plugbay`: `latest` is not a version range: unexpected character 'l' while parsing major version number
      |
    7 | plugbay = "latest"
      |           ^^^^^^^^
      = allowed: a range as "1.2" (same major), "~1.2.3", ">=1.0, <3" or "*"

    words/plugin.toml:8:9: `dependencies.Words`: the name has a character that is not allowed
      |
    8 | Words = "1"
      |         ^^^
      = allowed: `plugbay`, or a name of a-z, 0-9 and -, that starts with a letter, at most 64 characters, not `plugbay` or `host`

    words/plugin.toml:9:9: `dependencies.words`: a plugin cannot depend on itself
      |
    9 | words = "1"
      |         ^^^
      = allowed: the name of another plugin
    "#);
}

#[test]
fn a_schema_fault_points_into_the_schema() {
    let lines = "[methods.a.params]\ntype = \"object\"\nproperties.text = { type = \"strin\" }\n\
                 requierd = [\"text\"]\n";
    insta::assert_snapshot!(error_with(lines), @r#"
    words/plugin.toml:8:28: `methods.a.params`: not a JSON Schema at `/properties/text/type`: unknown type `strin`; did you mean `string`?
      |
    8 | properties.text = { type = "strin" }
      |                            ^^^^^^^

    words/plugin.toml:9:12: `methods.a.params`: not a JSON Schema at `/requierd`: unknown keyword `requierd`; did you mean `required`?
      |
    9 | requierd = ["text"]
      |            ^^^^^^^^
    "#);
}

#[test]
fn a_schema_cannot_reach_out() {
    let lines = "[methods.a]\nparams = { \"$ref\" = \"http://example.org/schema.json\" }\n\
                 result = { \"$ref\" = \"file:///etc/passwd\" }\n\
                 [methods.b]\nparams = \"schema.json\"\nresult = { pattern = \"(?<=a)b\" }\n";
    insta::assert_snapshot!(error_with(lines), @r#"
    words/plugin.toml:7:10: `methods.a.params`: not a JSON Schema: `http://example.org/schema.json` leaves the schema; a reference is `#` or `#/…`
      |
    7 | params = { "$ref" = "http://example.org/schema.json" }
      |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    words/plugin.toml:8:10: `methods.a.result`: not a JSON Schema: `file:///etc/passwd` leaves the schema; a reference is `#` or `#/…`
      |
    8 | result = { "$ref" = "file:///etc/passwd" }
      |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^

    words/plugin.toml:10:10: `methods.b.params`: `schema.json`: a schema file can be read only beside its plugin.toml
       |
    10 | params = "schema.json"
       |          ^^^^^^^^^^^^^
       = allowed: a JSON Schema as a table, true or false, or the path of a JSON file in the plugin's directory

    words/plugin.toml:11:22: `methods.b.result`: not a JSON Schema at `/pattern`: not a pattern that can be used (no look-around, no back references, bounded in size)
       |
    11 | result = { pattern = "(?<=a)b" }
       |                      ^^^^^^^^^
    "#);
}

#[test]
fn a_method_cannot_take_a_word_of_the_protocol() {
    insta::assert_snapshot!(error_with("[methods.shutdown]\n[methods.\"host/info\"]"), @r#"
    words/plugin.toml:6:1: `methods.shutdown`: the protocol keeps this name for itself
      |
    6 | [methods.shutdown]
      | ^^^^^^^^^^^^^^^^^^
      = allowed: a name that is not `initialize`, `initialized`, `shutdown` or `exit`, and does not start with `$/`, `host/`, `plugin/`, `event/`, `stream/` or `rpc.`

    words/plugin.toml:7:1: `methods."host/info"`: the protocol keeps this name for itself
      |
    7 | [methods."host/info"]
      | ^^^^^^^^^^^^^^^^^^^^^
      = allowed: a name that is not `initialize`, `initialized`, `shutdown` or `exit`, and does not start with `$/`, `host/`, `plugin/`, `event/`, `stream/` or `rpc.`
    "#);
}

#[test]
fn a_configuration_key_is_in_one_list() {
    insta::assert_snapshot!(error_with("[config]\nrequired = [\"a\"]\noptional = [\"a\"]"), @r"
    words/plugin.toml:6:1: `config`: `a` is both required and optional
      |
    6 | [config]
      | ^^^^^^^^
      = allowed: each key in one of the two lists
    ");
}

#[test]
fn a_misspelled_configuration_key_is_no_schema() {
    insta::assert_snapshot!(error_with("[config]\nrequird = [\"a\"]"), @r#"
    words/plugin.toml:7:1: `config.requird`: unknown key
      |
    7 | requird = ["a"]
      | ^^^^^^^ did you mean `required`?
      = allowed: schema, required, optional
    "#);
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let text = format!("{MINIMAL}[limits]\n\"\\u001B[2J\" = 1\nmemory = \"\\u001b]0;x\\u0007\"\n");
    let message = error(&text);
    assert!(!message.contains('\u{1b}') && !message.contains('\u{7}'));
    insta::assert_snapshot!(message, @r#"
    words/plugin.toml:7:1: `limits."\u{1b}[2J"`: unknown key
      |
    7 | "\u001B[2J" = 1
      | ^^^^^^^^^^^
      = allowed: memory, cpu, pids, open_files, file_size, call_timeout, max_frame

    words/plugin.toml:8:10: `limits.memory`: `\u{1b}]0;x\u{7}` is not a size: there is no number
      |
    8 | memory = "\u001b]0;x\u0007"
      |          ^^^^^^^^^^^^^^^^^^
      = allowed: bytes, or a number and a unit (KiB, MiB, GiB, TiB; KB, MB, GB, TB) as "256MiB", at least 1048576 bytes
    "#);
}

#[test]
fn raw_control_characters_do_not_reach_the_terminal_either() {
    let message = error("[plugin]\nname = \"a\u{1b}[31m\u{202e}\"\n");
    assert!(!message.contains('\u{1b}') && !message.contains('\u{202e}'), "{message}");
}

#[test]
fn texts_that_could_rewrite_a_terminal_are_refused() {
    let text = MINIMAL.replace("[runtime]", "description = \"\\u202Eevil\"\n[runtime]");
    insta::assert_snapshot!(error(&text), @r#"
    words/plugin.toml:4:15: `plugin.description`: the text has the invisible character `\u{202e}`
      |
    4 | description = "\u202Eevil"
      |               ^^^^^^^^^^^^
      = allowed: printable characters
    "#);
}

#[test]
fn a_long_file_is_not_parsed() {
    insta::assert_snapshot!(error(&"#".repeat(MAX_BYTES + 1)), @r"words/plugin.toml: the file has 262145 bytes; at most 262144 are read");
}

#[test]
fn many_problems_are_counted_not_listed() {
    let lines: String = (0..5000).map(|n| format!("k{n} = 1\n")).collect();
    let message = error(&lines);
    assert!(message.len() < 10_000, "{}", message.len());
    assert!(message.ends_with("and 4982 more problems"), "{message}");
}

#[test]
fn the_parts_of_a_problem_can_be_asked_for() {
    let error = parse(&format!("{MINIMAL}[limits]\nmemoy = 1\n")).unwrap_err();
    let [problem] = error.problems() else { panic!("{error}") };
    assert_eq!((problem.line(), problem.column()), (Some(7), Some(1)));
    assert_eq!(problem.key(), "limits.memoy");
    assert_eq!(problem.suggestion(), Some("`memory`"));
    assert!(problem.allowed().unwrap().contains("open_files"));
}
