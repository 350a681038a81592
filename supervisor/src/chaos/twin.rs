//! The chaos plugin's twin in Rust: this program, started as a plugin. One sin per method, and healthy
//! until it is asked. It speaks the protocol by itself, because an SDK would keep the rules.
//!
//! Words after its name, and those of a file `sins` beside it, are the sins of its start. `plugin.py` is the other twin; they have the same
//! methods, as far as a program that may not fork can have them.

mod act;
mod family;

use std::{
    env,
    io::{self, BufRead as _, Write as _},
    process::ExitCode,
};

use serde_json::{Value, json};

/// The first argument that makes this process a twin.
pub(crate) const VERB: &str = "__chaos-plugin";

/// Every method, as the hello names them.
const METHODS: [&str; 24] = [
    "echo",
    "hang",
    "say",
    "partial",
    "die",
    "leave",
    "delegate",
    "answer_late",
    "answer_all",
    "deaf",
    "close",
    "daemons",
    "hold",
    "stubborn",
    "endless",
    "chatter",
    "mutter",
    "swallow",
    "files",
    "spin",
    "freeze",
    "work",
    "touch",
    "refused",
];

/// Plays the twin if the arguments say so.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let mut words = env::args().skip(1);
    if words.next()? != VERB {
        return None;
    }
    let name = words.next().unwrap_or_default();
    let beside = std::fs::read_to_string("sins").unwrap_or_default();
    let sins = words.chain(beside.split_whitespace().map(str::to_owned)).collect();
    let twin = Twin { name, sins, late: Vec::new() };
    let ended = match family::member(&twin.name) {
        Some(live) => live(),
        None => twin.serve(),
    };
    Some(ended.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS))
}

/// One process of it.
struct Twin {
    name: String,
    sins: Vec<String>,
    /// Calls to be answered by `answer_all`, perhaps after they were cancelled.
    late: Vec<Value>,
}

impl Twin {
    fn serve(mut self) -> io::Result<()> {
        if self.sins("mute") {
            act::stay();
        }
        if self.sins("stillborn") {
            complain("last words: stillborn")?;
            return Err(io::Error::other("stillborn"));
        }
        if self.sins("banner") {
            write("Chaos 1.0 (c) nobody\n\n*** ready to serve ***\n")?;
        }
        for line in io::stdin().lock().lines() {
            let Ok(message) = serde_json::from_str::<Value>(&line?) else { continue };
            let call = message.get("id").unwrap_or(&Value::Null);
            let params = message.get("params").unwrap_or(&Value::Null);
            match message.get("method").and_then(Value::as_str).unwrap_or_default() {
                "initialize" => {
                    act::begin(self.number("slow"), self.sins("silent"), self.number("crash"))?;
                    answer(call, &self.hello())?;
                }
                "shutdown" => answer(call, &Value::Null)?,
                "$/ping" => answer(call, &json!({}))?,
                "exit" => return Ok(()),
                method => self.act(method, call, params)?,
            }
        }
        Ok(())
    }

    fn sins(&self, word: &str) -> bool {
        self.sins.iter().any(|sin| sin == word)
    }

    /// The number of a sin such as `crash=50`.
    fn number(&self, sin: &str) -> Option<u64> {
        self.sins.iter().find_map(|word| word.strip_prefix(sin)?.strip_prefix('=')?.parse().ok())
    }

    fn hello(&self) -> Value {
        if self.sins("hello=garbage") {
            return json!({"version": "one", "plugin": 7});
        }
        json!({
            "version": if self.sins("version=99") { 99 } else { 1 },
            "features": self.features(),
            "plugin": {"name": self.name, "version": "1.0.0"},
            "methods": METHODS,
            "subscribes": [],
            "publishes": [],
        })
    }

    fn features(&self) -> Vec<&'static str> {
        let named = [("promises", "ping"), ("streams", "streams")];
        named.into_iter().filter(|(sin, _)| self.sins(sin)).map(|(_, feature)| feature).collect()
    }

    fn act(&mut self, method: &str, call: &Value, params: &Value) -> io::Result<()> {
        match method {
            "echo" => answer(call, params),
            "hang" => complain("hanging"),
            "say" => act::say(call, params),
            "partial" => act::partial(call),
            "die" => act::die(params),
            "leave" => {
                answer(call, &json!("bye"))?;
                act::end(params.get("code"))
            }
            "delegate" => act::delegate(),
            "answer_late" => {
                self.late.push(call.clone());
                complain("remembered")
            }
            "answer_all" => {
                for late in self.late.drain(..) {
                    answer(&late, &json!("late"))?;
                }
                answer(call, &json!("all answered"))
            }
            "deaf" => {
                answer(call, &json!("not listening"))?;
                act::stay()
            }
            "close" => act::close(call, params),
            "daemons" => family::daemons(call, params),
            "hold" => family::hold(),
            "stubborn" => {
                answer(call, &json!("try"))?;
                act::stay()
            }
            "endless" => act::endless(call, params),
            "chatter" => act::chatter(call, params),
            "mutter" => act::mutter(call, params),
            "swallow" => act::swallow(),
            "files" => act::files(call),
            "spin" => act::spin(),
            "freeze" => act::freeze(),
            "work" => act::work(call, params),
            "touch" => act::touch(call, params),
            "refused" => act::refused(call, params),
            _ => Ok(()),
        }
    }
}

/// Answers a call.
fn answer(call: &Value, result: &Value) -> io::Result<()> {
    write(&format!("{}\n", json!({"jsonrpc": "2.0", "id": call, "result": result})))
}

/// Writes to stdout at once.
fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes a line to stderr.
fn complain(text: &str) -> io::Result<()> {
    io::stderr().lock().write_all(format!("{text}\n").as_bytes())
}
