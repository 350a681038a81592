//! Tests of the command line's shape: every verb explains itself with an example, the flags that
//! the documentation names exist, and a wrong word is answered with what is allowed.

use clap::{CommandFactory as _, Parser as _};

use super::*;

fn parse(words: &[&str]) -> Result<Verb, String> {
    Plugbay::try_parse_from(["plugbay"].iter().chain(words))
        .map(|parsed| parsed.verb)
        .map_err(|error| error.to_string())
}

fn run(words: &[&str]) -> Result<Run, String> {
    let Verb::Run(run) = parse(words)? else { panic!("not a run: {words:?}") };
    Ok(*run)
}

#[test]
fn the_definition_is_consistent() {
    Plugbay::command().debug_assert();
}

#[test]
fn every_verb_has_an_example_and_a_summary() {
    for verb in Plugbay::command().get_subcommands() {
        let name = verb.get_name();
        assert!(verb.get_about().is_some(), "{name} has no summary");
        let after = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(after.contains(&format!("plugbay {name}")), "{name} has no example");
    }
}

#[test]
fn every_example_parses() {
    for verb in Plugbay::command().get_subcommands() {
        let after = verb.get_after_help().map(ToString::to_string).unwrap_or_default();
        for line in after.lines() {
            let Some(words) = example(line) else { continue };
            let parsed = Plugbay::try_parse_from(&words);
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }
}

#[test]
fn every_command_of_the_workflow_and_of_the_page_parses() {
    let workflow = include_str!("../../examples/ci/workflow.yml");
    let page = include_str!("../../docs/ci.md");
    let shell = page.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    let lines: Vec<&str> = workflow.lines().chain(shell.flat_map(str::lines)).collect();
    let mut found = 0;
    for line in lines.iter().filter(|line| line.contains("plugbay run ")) {
        let parsed = Plugbay::try_parse_from(example(line).unwrap());
        assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        found += 1;
    }
    assert!(found > 5, "{found}");
}

/// The words of the `plugbay` command in a line of shell: pipes, redirections and comments cut off, single
/// quotes understood, which is all that the examples use.
fn example(line: &str) -> Option<Vec<String>> {
    let start = line.find("plugbay ")?;
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.get(start..)?.chars() {
        match c {
            '\'' => quoted = !quoted,
            '|' | '>' | '#' if !quoted => break,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut()?.push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    Some(words)
}

#[test]
fn every_flag_of_run_is_there() {
    let command = Plugbay::command();
    let run = command.find_subcommand("run").unwrap();
    let flags: Vec<&str> = run.get_arguments().filter_map(clap::Arg::get_long).collect();
    for flag in [
        "read",
        "write",
        "exec",
        "net",
        "unix",
        "env",
        "memory",
        "pids",
        "cpu",
        "cpu-time",
        "wall",
        "open-files",
        "file-size",
        "tmp-size",
        "workdir",
        "level",
        "filter",
        "profile",
        "profile-file",
        "tool",
        "cache",
        "max-output",
        "truncate-output",
        "fail-on-denial",
        "junit",
        "json",
        "bare",
        "report",
        "quiet",
    ] {
        assert!(flags.contains(&flag), "--{flag} is missing");
    }
}

#[test]
fn data_verbs_speak_json() {
    for verb in ["call", "list", "info", "why", "history", "check", "doctor"] {
        let command = Plugbay::command();
        let verb = command.find_subcommand(verb).unwrap();
        assert!(verb.get_arguments().any(|arg| arg.get_long() == Some("json")), "{verb}");
    }
}

#[test]
fn the_commands_own_flags_are_not_ours() {
    for words in [
        &["run", "--read", ".", "--", "ls", "--read", "-l", "--"][..],
        &["run", "--read", ".", "ls", "--read", "-l", "--"],
    ] {
        let run = run(words).unwrap();
        assert_eq!(run.files.read, [PathBuf::from(".")]);
        assert_eq!(run.command, ["ls", "--read", "-l", "--"]);
    }
}

#[test]
fn a_misspelled_flag_is_not_taken_for_the_command() {
    insta::assert_snapshot!(run(&["run", "--raed", ".", "--", "ls"]).unwrap_err(), @"
    error: unexpected argument '--raed' found

      tip: a similar argument exists: '--read'
      tip: to pass '--raed' as a value, use '-- --raed'

    Usage: plugbay run [OPTIONS] -- CMD [ARG]...

    For more information, try '--help'.
    ");
}

#[test]
fn a_wrong_network_says_what_is_allowed() {
    insta::assert_snapshot!(run(&["run", "--net", "lan", "--", "ls"]).unwrap_err(), @"
    error: invalid value 'lan' for '--net <NET>': write none, loopback, full, HOST:PORT, PORT or listen:PORT

    For more information, try '--help'.
    ");
}

#[test]
fn a_wrong_size_says_what_is_allowed() {
    insta::assert_snapshot!(run(&["run", "--memory", "lots", "--", "ls"]).unwrap_err(), @"
    error: invalid value 'lots' for '--memory <SIZE>': there is no number: write bytes, or a size such as 512KiB, 256MiB, 1G

    For more information, try '--help'.
    ");
}

#[test]
fn a_run_needs_a_command() {
    insta::assert_snapshot!(run(&["run", "--read", "."]).unwrap_err(), @"
    error: the following required arguments were not provided:
      <CMD>...

    Usage: plugbay run [OPTIONS] -- CMD [ARG]...

    For more information, try '--help'.
    ");
}

#[test]
fn help_of_the_whole() {
    let mut command = Plugbay::command().term_width(100);
    insta::assert_snapshot!(command.render_help().to_string(), @r#"
    Sealed plugins in any language, called like functions

    Usage: plugbay <COMMAND>

    Commands:
      call         Start a plugin sealed, call one method, print the result, stop the plugin
      run          Run one command in a sandbox that denies everything not granted
      learn        Watch one trusted command with everything open, and write the grants that it needs
      dev          Run a plugin while you write it: each saved change takes its place at once
      list         List the plugins that can be called by name
      info         Show what a plugin offers and what it asks for
      help-plugin  Show how a plugin's methods are called
      overlay      Look at what a command changed under `run --overlay`, keep it or drop it
      why          Tell why a plugin failed last, and what can be done about it
      history      Show what happened to a plugin lately: its calls, ends or states
      check        Validate a plugin directory without running anything of it
      doctor       Prove what this kernel and user can enforce
      chaos        Commit every fault of the catalogue and show that the host holds
      completions  Print a completion script for a shell
      man          Print the manual page, or write all pages into a directory

    Options:
      -h, --help     Print help (see more with '--help')
      -V, --version  Print version

    Examples:
      plugbay list --plugins examples
      plugbay call examples/wordstats count '{"text": "to be or not to be"}'
      plugbay run --read . -- python3 script.py

    Exit codes: see `plugbay --help`
    "#);
}

#[test]
fn help_of_run() {
    let mut command = Plugbay::command().term_width(100);
    command.build();
    let run = command.find_subcommand_mut("run").unwrap();
    insta::assert_snapshot!(run.render_help().to_string(), @"
    Run one command in a sandbox that denies everything not granted

    Usage: plugbay run [OPTIONS] -- CMD [ARG]...

    Arguments:
      [CMD]...  The command and its arguments

    Options:
      -h, --help  Print help (see more with '--help')

    Profile:
          --profile <NAME>       Take grants, limits and perhaps the command from [run.NAME] of the
                                 plugbay.toml here or above; `ci` is built in: write the working
                                 directory, loopback, limits wide enough for builds
          --profile-file <FILE>  Take profiles from FILE instead, such as one that the job cannot change
          --tool <TOOL>          Open what a toolchain reads, and give it a cache of its own
                                 (repeatable) [possible values: rust, node, python, go, java]
          --cache <DIR>          Where the toolchains of this run keep their caches [default: a
                                 directory for this one repository in ~/.cache/plugbay]

    Files:
          --read <PATH>    Let it read this file or directory (repeatable)
          --write <PATH>   Let it read, execute and change this file or directory (repeatable)
          --exec <PATH>    Let it read and execute this file or directory (repeatable)
          --deny <PATH>    Hide this although something around it is granted; `*`, `?` and `**` are
                           matched when it starts (repeatable)
          --overlay <DIR>  Let it change this directory as it likes, and keep the changes apart for
                           `plugbay overlay`
          --output <PATH>  Of the changes under --overlay, keep what is at or below this and drop the
                           rest (repeatable)
          --bare           Do not grant the system's programs and libraries

    Network and environment:
          --net <NET>           none, loopback, full, HOST[:PORT], PORT or listen:PORT (repeatable)
                                [default: none]
          --unix <PATH>         Let it connect to this unix socket (repeatable)
          --env <NAME[=VALUE]>  Pass a variable on, or set it (repeatable)

    Limits (each can be `none`):
          --memory <SIZE>        Memory of all its processes [default: 1GiB]
          --pids <N>             Processes and threads [default: 512]
          --cpu <CORES>          Share of the processors, in cores, such as 1.5 [default: none]
          --cpu-time <DURATION>  Processor time of one process [default: none]
          --wall <DURATION>      Wall clock time [default: none]
          --open-files <N>       Open descriptors of one process [default: 1024]
          --file-size <SIZE>     Largest file it may write [default: none]
          --tmp-size <SIZE>      Size of its private /tmp, which cannot be unlimited [default: 256MiB]
          --max-output <SIZE>    What it writes to stdout and stderr, which are pipes then [default:
                                 none]
          --truncate-output      Past --max-output, drop the rest instead of ending the command

    Sandbox:
          --workdir <DIR>   Directory to run in [default: the current one if it is granted, else /tmp]
          --level <LEVEL>   What must hold for the command to start at all [default: standard] [possible
                            values: strict, standard, none]
          --require <NAME>  Refuse to start unless this protection holds whole (repeatable)
          --prefer <NAME>   Start also where this protection does not hold, whatever the level says
                            (repeatable)
          --off <NAME>      Switch this protection off: files.read, files.write, sockets.unix, network,
                            system-calls or a limit (repeatable)
          --filter <CALLS>  Which system calls are allowed: default, ci (also tracing and scheduling of
                            its own children), or only these: names of calls, and of many such as
                            @python [default: default]

    Output:
          --explain         Watch every reach for a file or an address and tell what of it was not
                            granted; slower, and only advice
          --report <FILE>   Write command, grants, enforcement, resource use and cause of death to FILE,
                            as JSON
          --junit <FILE>    Write the run, its limits and its denials to FILE as a JUnit suite
          --json            Say nothing on stderr but, at the end, the report as one line of JSON
          --fail-on-denial  End with 122 if the command succeeded although something was denied
      -v, --verbose         Show on stderr what was granted and enforced, before the command's own
                            output
      -q, --quiet           Say nothing about a limit or signal that ended the command

    Examples:
      plugbay run --read . -- git log --oneline
      plugbay run --write . --memory 4GiB --wall 10m -- cargo build --offline
      plugbay run --read . --net 443 --env TOKEN -- python3 fetch.py
      plugbay run --write . --deny '**/.env' --deny .git/hooks -- npm test
      plugbay run --overlay . --output dist -- make
      plugbay run --report report.json -- sh -c 'cat /etc/shadow'
      plugbay run --profile ci --tool rust -- cargo test
      plugbay run --profile test --junit plugbay.xml --max-output 50MiB
    ");
}

#[test]
fn help_of_call() {
    let mut command = Plugbay::command().term_width(100);
    command.build();
    let call = command.find_subcommand_mut("call").unwrap();
    insta::assert_snapshot!(call.render_help().to_string(), @r#"
    Start a plugin sealed, call one method, print the result, stop the plugin

    Usage: plugbay call [OPTIONS] <PLUGIN> <METHOD> [PARAMS]

    Arguments:
      <PLUGIN>  A plugin's directory, or the name of a plugin found under --plugins
      <METHOD>  The method to call
      [PARAMS]  The parameters as JSON, or `-` to read them from standard input

    Options:
          --in <NAME=FILE>        Send parameter NAME as a stream of the JSON values in FILE; `-` is
                                  standard input (repeatable)
          --in-lines <NAME=FILE>  Send parameter NAME as a stream of texts, the lines of FILE
          --in-bytes <NAME=FILE>  Send parameter NAME as a stream of bytes, those of FILE
          --plugins <DIR>         Directory of plugins (repeatable) [default: ./plugins, ./examples]
                                  [env: PLUGBAY_PLUGINS]
          --config <KEY=VALUE>    Set one key of the plugin's configuration; VALUE is JSON, or else
                                  taken as text
      -C, --config-file <FILE>    Read the plugin's configuration from a JSON file; --config overrides
                                  its keys
          --read <PATH>           Let the plugin also read this file or directory (repeatable)
          --write <PATH>          Let the plugin also read and change this file or directory
                                  (repeatable)
          --deadline <DURATION>   Give up, and cancel the call, after this time
          --report <FILE>         Write what was enforced and how the call went to FILE, as JSON
          --json                  Print the result on one line; errors become JSON on stderr
      -v, --verbose               Show on stderr what was enforced, and what the plugin logs
      -h, --help                  Print help (see more with '--help')

    Sandbox:
          --level <LEVEL>   What must hold for the plugin to start at all [default: standard] [possible
                            values: strict, standard, none]
          --require <NAME>  Refuse to start unless this protection holds whole (repeatable)
          --prefer <NAME>   Start also where this protection does not hold, whatever the level says
                            (repeatable)
          --off <NAME>      Switch this protection off: files.read, files.write, sockets.unix, network,
                            system-calls or a limit (repeatable)

    Examples:
      plugbay call examples/wordstats count '{"text": "to be or not to be"}'
      plugbay call wordstats file '{"path": "/srv/book.txt"}' --read /srv/book.txt
      jq -c .order request.json | plugbay call prices quote - --json --deadline 2s
      tail -f app.log | plugbay call filters errors --in-lines lines=-
    "#);
}
