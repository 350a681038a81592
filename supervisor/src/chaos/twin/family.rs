//! The sins that take a family: this program once more, as a child that outlives its parent.

use std::{
    env,
    io::{self, Read as _, Write as _},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{VERB, act, answer, complain};

/// Starts the daemon and ends.
const PARENT: &str = "parent";
/// Has no pipes, no session and no parent.
const DAEMON: &str = "daemon";
/// Has everything of its parent's.
const HEIR: &str = "heir";

/// The life of a member of the family, if this name is one.
pub(super) fn member(name: &str) -> Option<fn() -> io::Result<()>> {
    match name {
        PARENT => Some(parent),
        DAEMON => Some(daemon),
        HEIR => Some(heir),
        _ => None,
    }
}

/// This program as a member; its command line carries what ours does.
fn relative(name: &str) -> io::Result<Command> {
    #[expect(clippy::disallowed_methods, reason = "a plugin's child, inside its sandbox")]
    let mut command = Command::new(env::current_exe()?);
    command.args([VERB, name]).args(env::args().skip(3));
    Ok(command)
}

/// Leaves daemons: their parents are gone and they have no pipes.
pub(super) fn daemons(call: &Value, params: &Value) -> io::Result<()> {
    for _ in 0..params.get("count").and_then(Value::as_u64).unwrap_or(1) {
        let mut parent = relative(PARENT)?.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let mut told = [0];
        if let Some(mut ready) = parent.stdout.take() {
            ready.read_exact(&mut told)?;
        }
        parent.wait()?;
    }
    answer(call, &json!("they are out"))
}

fn parent() -> io::Result<()> {
    relative(DAEMON)?.stdin(Stdio::null()).spawn().map(drop)
}

fn daemon() -> io::Result<()> {
    nix::unistd::setsid()?;
    io::stdout().write_all(b"x")?;
    io::stdout().flush()?;
    for fd in 0..3 {
        nix::unistd::close(fd)?;
    }
    act::stay()
}

/// Ends, while a child has everything open.
pub(super) fn hold() -> io::Result<()> {
    relative(HEIR)?.spawn()?;
    complain("last words: held")?;
    act::end(Some(&json!(3)))
}

fn heir() -> io::Result<()> {
    act::stay()
}
