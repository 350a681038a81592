//! The attacker: one word per attack of the escape catalogue, `plugbay __probe ATTACK key=value…`.
//!
//! Each step of an attack prints one JSON line `{attack, step, outcome, errno, detail}`. `done` means
//! that the attack succeeded, `denied` that the kernel said no, `tried` that only the host can tell,
//! `told` that the line answers a question. A probe knows nothing of the sandbox: the same attack run
//! outside one is the positive control, and must succeed there.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a process of its own that attacks: it talks on stdout, and a panic in it is a row that does not hold"
)]

mod files;
mod filter;
mod limits;
mod network;
mod processes;

use std::{collections::BTreeMap, io, path::PathBuf, process::ExitCode};

use nix::errno::Errno;
use plugbay_sandbox::raw as call;

/// The first argument that makes this process an attacker.
pub(crate) const VERB: &str = "__probe";

/// What the harness tells of the place: paths, process ids, ports.
pub(crate) struct Scene {
    attack: String,
    words: BTreeMap<String, String>,
}

impl Scene {
    fn text(&self, key: &str) -> &str {
        self.words.get(key).map_or("", String::as_str)
    }

    fn path(&self, key: &str) -> PathBuf {
        PathBuf::from(self.text(key))
    }

    /// A number; 0 when the harness gave none.
    fn number(&self, key: &str) -> i32 {
        self.text(key).parse().unwrap_or(0)
    }

    fn say(&self, step: &str, outcome: &str, errno: Option<i32>, detail: &str) {
        let line = serde_json::json!({
            "attack": self.attack, "step": step, "outcome": outcome, "errno": errno, "detail": detail,
        });
        println!("{line}");
    }

    /// Reports one step: success means that the attack came through.
    fn step<T>(&self, step: &str, result: Result<T, impl Into<Refusal>>) {
        match result {
            Ok(_) => self.say(step, "done", None, ""),
            Err(refusal) => self.say(step, "denied", Some(refusal.into().0), ""),
        }
    }

    /// A step that goes on with what it got: whoever watches instead of refusing has so long to end
    /// it (`hold`, in milliseconds).
    fn held_step<T>(&self, step: &str, result: Result<T, impl Into<Refusal>>) {
        if result.is_ok() {
            let patience: u16 = self.text("hold").parse().unwrap_or(0);
            nix::poll::poll(&mut [], patience).unwrap();
        }
        self.step(step, result);
    }

    /// A step of which only the host can tell whether it did anything.
    fn tried(&self, step: &str) {
        self.say(step, "tried", None, "");
    }

    fn told(&self, step: &str, detail: &str) {
        self.say(step, "told", None, detail);
    }
}

/// The errno of a refusal.
pub(crate) struct Refusal(i32);

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        Self(errno as i32)
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(0))
    }
}

type Attack = (&'static str, fn(&Scene));

fn attacks() -> Vec<Attack> {
    [files::ATTACKS, processes::ATTACKS, filter::ATTACKS, network::ATTACKS, limits::ATTACKS]
        .concat()
}

/// Attacks if the arguments say so.
pub(crate) fn run_if_asked() -> Option<ExitCode> {
    let mut args = std::env::args_os().skip(1);
    if args.next()? != VERB {
        return None;
    }
    let mut args = args.map(|word| word.to_string_lossy().into_owned());
    let attack = args.next().unwrap_or_default();
    let pairs = args.filter_map(|word| {
        let (key, value) = word.split_once('=')?;
        Some((key.to_owned(), value.to_owned()))
    });
    let scene = Scene { attack: attack.clone(), words: pairs.collect() };
    if attack == "list" {
        names().for_each(|name| println!("{name}"));
        return Some(ExitCode::SUCCESS);
    }
    let found = attacks().into_iter().find(|(name, _)| *name == attack);
    let (_, run) = found.unwrap_or_else(|| panic!("no attack is called `{attack}`"));
    run(&scene);
    Some(ExitCode::SUCCESS)
}

/// What every attack is called.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    attacks().into_iter().map(|(name, _)| name)
}
