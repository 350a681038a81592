//! What can be done about an end, by its cause. Pure.
//!
//! Advice is for the cause that was recorded, never a guess that the record contradicts; where there
//! is nothing to advise, nothing is said.

use plugbay::store::Death;

/// The advice, the most likely first.
pub(crate) fn advice(death: &Death) -> Vec<String> {
    let (token, detail) = split(&death.cause);
    let mut all: Vec<String> = match token {
        "exit" => exited(detail.parse().unwrap_or(-1), death.before_hello),
        "signal" => signalled(detail),
        "limit" => limited(detail, death),
        "launch" => launched(detail, death),
        "watchdog" => silent(detail),
        _ => other(token).into_iter().collect(),
    };
    let survived = death.limits.iter().filter(|hit| token != "limit" || hit.limit != detail);
    all.extend(
        survived.map(|hit| format!("It also ran into {}; that may be the reason.", hit.words)),
    );
    all
}

/// `exit(3)` is `exit` and `3`.
fn split(cause: &str) -> (&str, &str) {
    match cause.split_once('(') {
        Some((token, detail)) => (token, detail.strip_suffix(')').unwrap_or(detail)),
        None => (cause, ""),
    }
}

fn exited(code: i32, before_hello: bool) -> Vec<String> {
    let mut all = Vec::new();
    match code {
        0 => all.push(
            "It ended by itself as if it were done. A plugin stays and reads its standard input until \
             that ends."
                .to_owned(),
        ),
        64 | 78 => all.push(
            "With this status a program says that it was started or configured wrongly: compare \
             `plugbay help-plugin` with what you configure."
                .to_owned(),
        ),
        75 => all.push(
            "With this status a program says that the difficulty is a passing one.".to_owned(),
        ),
        126 | 127 => all.push(
            "With this status a shell says that a command could not be executed, or not be found: \
             inside the sandbox there is only what the manifest asks for."
                .to_owned(),
        ),
        _ => {}
    }
    if before_hello {
        all.push(
            "It did not come as far as answering `initialize`: a missing module or file is usual. \
             `plugbay check` looks for what the manifest names, `plugbay call --verbose` shows what \
             it says."
                .to_owned(),
        );
    } else if all.is_empty() {
        all.push("Its last words are the best trace: the plugin decided to end.".to_owned());
    }
    all
}

fn signalled(name: &str) -> Vec<String> {
    let text = match name {
        "SIGSEGV" | "SIGBUS" | "SIGILL" | "SIGFPE" | "SIGTRAP" => {
            "A fault in native code: the program itself, or a native module that it loaded. In \
             Python, `faulthandler.enable()` leaves the stack in its last words."
        }
        "SIGABRT" => {
            "It gave itself up (`abort`, a failed assertion), or it was told to leave its stack in \
             its last words because it no longer answered."
        }
        "SIGKILL" => {
            "Nobody here killed it. Usually that is the kernel, short of memory on the whole machine \
             or in the container (`dmesg | grep -i oom`), or somebody's `kill -9`."
        }
        "SIGPIPE" => "It wrote to a pipe that nobody reads; programs of several processes do.",
        _ => "Somebody outside sent it this signal; nobody here did.",
    };
    vec![text.to_owned()]
}

fn limited(limit: &str, death: &Death) -> Vec<String> {
    let key = match limit {
        "memory" => "memory",
        "file-size" => "file_size",
        "processes" => "pids",
        _ => return Vec::new(),
    };
    let mut all =
        vec![format!("Raise `{key}` in [limits] of its plugin.toml, or let it do with less.")];
    if limit == "memory" && death.uptime.as_secs() >= 600 {
        all.push("It ran well for a while: look for a leak before raising anything.".to_owned());
    }
    all
}

fn launched(detail: &str, death: &Death) -> Vec<String> {
    let stage = detail.split(',').next().unwrap_or_default();
    let text = match stage {
        "exec" | "resolve" => {
            "`plugbay check` looks for the command as a start does, and says what is missing."
        }
        "grants" | "sdk" => {
            "Something that its plugin.toml asks for is not there, or not as it was."
        }
        "keeper" => "The helper that starts plugins is overloaded or gone; it is tried again.",
        _ if death.words.contains("errno 11") || death.words.contains("errno 24") => {
            "The machine was short of processes or descriptors; it is tried again."
        }
        _ => "`plugbay doctor` shows what this kernel and user can enforce.",
    };
    vec![text.to_owned()]
}

fn silent(found: &str) -> Vec<String> {
    let text = match found {
        "busy" => {
            "It computed without a sign of life. A method that computes for long should report \
             progress, or `busy_timeout` in [supervision.health] be raised."
        }
        "deaf" => {
            "Its input was full and it did not read on. It must read while it works: the SDKs do, on a \
             thread of their own."
        }
        _ => {
            "It waited for something that did not come: a lock, a socket, another plugin. Where it \
             stood is in its last words, if it could leave them."
        }
    };
    vec![text.to_owned()]
}

fn other(token: &str) -> Option<String> {
    let text = match token {
        "seccomp" => {
            "It made a system call that no profile allows. If it needs to, it cannot run sealed."
        }
        "protocol" => {
            "Standard output belongs to the protocol: one JSON-RPC message on a line and nothing \
             else. Let it log to standard error."
        }
        "cancel-ignored" => {
            "A handler must look now and then whether its call was cancelled. `ignored_cancel = \"leave\"` in \
             [supervision] lets it run on: its caller is answered all the same."
        }
        "mute" => {
            "Does it read its standard input, and flush its standard output? If it needs longer to \
             start, raise `start_timeout` in [supervision], or let it report progress."
        }
        "handshake" => {
            "Its answer to `initialize` and its plugin.toml disagree: the message says in what."
        }
        "keeper" => {
            "The helper process that starts plugins was killed, by hand or for memory. Every plugin \
             ended with it, and all are started again."
        }
        "unready" => {
            "It answers `plugin/health` with no, or not at all: does it wait for something that is not \
             there? If it needs longer, raise `start_timeout` in [supervision]."
        }
        "host" => {
            "A mistake of Plugbay's, or of a function that the embedding program gave it; not the \
             plugin's. Please report it with the message above."
        }
        _ => return None,
    };
    Some(text.to_owned())
}
