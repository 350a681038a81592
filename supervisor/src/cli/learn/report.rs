//! What is told of a run that was learned from: the text that was asked for, and on stderr what was
//! left out of it and what nobody could see.

use std::path::Path;

use plugbay_sandbox::{Access, Denial, EnvGrant, Fix};
use serde::Serialize;

use super::is_nothing;
use crate::{
    args::Learn,
    cli::run::watch::{End, signal_name},
    env,
    grants::Grants,
    learn::{
        Learned,
        network::Net,
        text::{self, Frame},
    },
    output::{Terminal, Tone, denial::Shown},
};

/// The version of the document's shape.
const VERSION: u32 = 1;
/// Things left out that are told; the text has them all.
const TOLD: usize = 12;

/// Everything that there is to tell.
pub(super) struct Report<'a> {
    pub(super) typed: &'a Learn,
    pub(super) grants: &'a Grants,
    pub(super) end: &'a End,
    pub(super) learned: &'a Learned,
    pub(super) name: &'a str,
}

/// The document for programs; the names are stable.
#[derive(Debug, Serialize)]
struct Document {
    version: u32,
    command: Vec<String>,
    code: Option<i32>,
    signal: Option<String>,
    workdir: String,
    read: Vec<String>,
    exec: Vec<String>,
    write: Vec<String>,
    deny: Vec<String>,
    unix: Vec<String>,
    network: Network,
    filter: Vec<String>,
    env: Vec<String>,
    /// The same as flags of `plugbay run`.
    flags: String,
    left_out: Vec<LeftOut>,
    /// What was refused while learning as well, or will be with what was learned.
    refused: Vec<Shown>,
    not_seen: Vec<String>,
}

/// `mode` is that of `plugbay run`; the lists count only in theirs.
#[derive(Debug, Default, Serialize)]
struct Network {
    mode: &'static str,
    hosts: Vec<String>,
    connect: Vec<u16>,
    listen: Vec<u16>,
    why: Option<String>,
}

#[derive(Debug, Serialize)]
struct LeftOut {
    path: String,
    access: Option<Access>,
    why: String,
}

impl Report<'_> {
    /// The text that was asked for; a file with it lies in `base`.
    pub(super) fn text(&self, base: &Path) -> String {
        let command = self.command();
        let ended = self.ended();
        let home = env::home().and_then(|home| home.canonicalize().ok());
        let frame = Frame {
            command: &command,
            ended: &ended,
            name: self.name,
            base: if self.typed.plugin { &self.grants.workdir } else { base },
            home: home.as_deref(),
            env: &self.grants.env,
            bare: self.typed.files.bare,
        };
        if self.typed.json {
            let document = self.document(&frame);
            return serde_json::to_string_pretty(&document).unwrap_or_default() + "\n";
        }
        if self.typed.flags {
            return text::flags(self.learned, &frame) + "\n";
        }
        let write = if self.typed.plugin { text::permissions } else { text::profile };
        write(self.learned, &frame)
    }

    /// Says what is left to a person, and what could not be seen.
    pub(super) fn tell(&self, terminal: Terminal) {
        let limits = &self.grants.limits;
        for line in self.end.why(limits).into_iter().chain(self.end.notes()) {
            terminal.say_as(Tone::Warn, "plugbay", &line);
        }
        for denial in self.end.refusals(limits).kinds() {
            let text = format!("while learning as well: {}", Shown::of(denial).line());
            terminal.say_as(Tone::Warn, "denied", &text);
        }
        let left_out = &self.learned.left_out;
        for it in left_out.iter().filter(|it| it.access.is_some()).take(TOLD) {
            let text = format!("{}: {}", it.path.display(), it.why);
            terminal.say_as(Tone::Warn, "left out", &text);
        }
        for denial in self.unmet() {
            terminal.say_as(Tone::Warn, "left out", &Shown::of(denial).line());
        }
        for line in self.not_seen() {
            terminal.say_as(Tone::Note, "not seen", &line);
        }
        let count = |access| self.learned.files.iter().filter(|(_, held)| *held == access).count();
        let (read, exec, write) = (count(Access::Read), count(Access::Exec), count(Access::Write));
        let network = self.network();
        let text = format!(
            "{read} paths to read, {exec} to execute, {write} to write; network {}; {} left out; {}",
            network.mode,
            left_out.len(),
            self.ended()
        );
        terminal.say_as(Tone::Note, "learned", &text);
    }

    /// What the filter refuses with these grants too: its remedy is wider than a grant, and not for us to
    /// choose.
    fn unmet(&self) -> impl Iterator<Item = &Denial> {
        let kinds = self.end.lessons.needs().kinds().iter();
        let met = !self.learned.unix.is_empty();
        kinds.filter(move |denial| !met && matches!(denial.fix, Some(Fix::Demand(..))))
    }

    fn command(&self) -> Vec<String> {
        self.typed.command.iter().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    fn ended(&self) -> String {
        match (self.end.exit.code, self.end.exit.signal) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("killed by {}", signal_name(signal)),
            (None, None) => "its end is not known".to_owned(),
        }
    }

    /// What another run may need and this one did not show.
    fn not_seen(&self) -> Vec<String> {
        let lessons = &self.end.lessons;
        let mut lines = Vec::new();
        if self.end.exit.code != Some(0) {
            lines.push("the command failed: what it would have done then".to_owned());
        }
        if lessons.lost() > 0 {
            lines.push(format!("{} more paths and addresses than can be kept", lessons.lost()));
        }
        let hidden = lessons.hidden().iter();
        lines.extend(hidden.map(|path| {
            format!("what is done with `{}`: it is not there while learning", path.display())
        }));
        let kept: Vec<&str> = self.grants.env.iter().map(name_of).collect();
        let withheld = env::all().into_iter().filter(|(name, _)| {
            let name = name.to_string_lossy();
            !kept.contains(&name.as_ref()) && !name.starts_with("LC_")
        });
        let variables = withheld.count();
        lines.push(format!(
            "which of your {variables} variables it reads: it got the harmless ones; pass others with --env"
        ));
        if is_nothing(self.learned) && self.end.exit.code == Some(0) {
            lines.push("any reach beyond what every run has".to_owned());
        }
        lines
    }

    fn network(&self) -> Network {
        match &self.learned.network {
            Net::None => Network { mode: "none", ..Network::default() },
            Net::Loopback => Network { mode: "loopback", ..Network::default() },
            Net::Hosts(hosts) => Network {
                mode: "hosts",
                hosts: hosts.iter().map(|(host, port)| format!("{host}:{port}")).collect(),
                ..Network::default()
            },
            Net::Ports { connect, listen } => Network {
                mode: "ports",
                connect: connect.iter().copied().collect(),
                listen: listen.iter().copied().collect(),
                ..Network::default()
            },
            Net::Full(why) => {
                Network { mode: "full", why: Some(why.clone()), ..Network::default() }
            }
        }
    }

    fn document(&self, frame: &Frame<'_>) -> Document {
        let learned = self.learned;
        let shown = |path: &Path| path.display().to_string();
        let of = |access| {
            let files = learned.files.iter().filter(move |(_, held)| *held == access);
            files.map(|(path, _)| shown(path)).collect()
        };
        Document {
            version: VERSION,
            command: frame.command.to_vec(),
            code: self.end.exit.code,
            signal: self.end.exit.signal.map(signal_name),
            workdir: shown(&self.grants.workdir),
            read: of(Access::Read),
            exec: of(Access::Exec),
            write: of(Access::Write),
            deny: learned.deny.iter().map(|path| shown(path)).collect(),
            unix: learned.unix.iter().map(|path| shown(path)).collect(),
            network: self.network(),
            filter: learned.filter.clone(),
            env: self.grants.env.iter().map(|grant| name_of(grant).to_owned()).collect(),
            flags: text::flags(learned, frame),
            left_out: learned
                .left_out
                .iter()
                .map(|it| LeftOut { path: shown(&it.path), access: it.access, why: it.why.clone() })
                .collect(),
            refused: self.end.denials.kinds().iter().chain(self.unmet()).map(Shown::of).collect(),
            not_seen: self.not_seen(),
        }
    }
}

fn name_of(grant: &EnvGrant) -> &str {
    match grant {
        EnvGrant::Inherit(name) | EnvGrant::Set(name, _) => name,
    }
}
