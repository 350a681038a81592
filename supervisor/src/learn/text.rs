//! What was learned, as it is written: a profile for `plugbay.toml`, the permissions of a plugin, or
//! flags of `plugbay run`. Pure.
//!
//! Each says in comments of which run it was learned, and what is left out for a person to decide.

use std::path::{Path, PathBuf};

use plugbay_sandbox::{Access, EnvGrant};

use super::{Learned, files::LeftOut, network::Net};
use crate::output::neutral::{self, Lines};

/// What is known of the run beside what was learned of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    /// The command, as typed.
    pub(crate) command: &'a [String],
    /// How it ended, in words.
    pub(crate) ended: &'a str,
    /// The profile's name.
    pub(crate) name: &'a str,
    /// Where the file will lie: relative paths start there.
    pub(crate) base: &'a Path,
    /// The user's home.
    pub(crate) home: Option<&'a Path>,
    /// The variables that were asked for.
    pub(crate) env: &'a [EnvGrant],
    /// Whether the system's programs were left out.
    pub(crate) bare: bool,
}

/// The first words of every text, by which one that may be written over is known.
pub(crate) const MARK: &str = "# Learned by `plugbay learn`";

/// Longest line of a list.
const WIDTH: usize = 100;

/// A profile: `[run.NAME]` of a `plugbay.toml`.
pub(crate) fn profile(learned: &Learned, frame: &Frame<'_>) -> String {
    let mut text = preamble(frame);
    text.push_str(&format!("[run.{}]\n", frame.name));
    text.push_str(&list("command", frame.command.iter().map(String::as_str)));
    let workdir = match &learned.workdir {
        Some(workdir) => Some(path(workdir, frame)),
        // Where nothing of the file's directory is granted, it does not exist.
        None if !reaches(learned, frame.base) => Some("/tmp".to_owned()),
        None => None,
    };
    text.extend(workdir.map(|workdir| format!("workdir = {}\n", quoted(&workdir))));
    for (key, access) in KEYS {
        text.push_str(&paths(key, of(learned, access), frame));
    }
    text.push_str(&paths("deny", &learned.deny, frame));
    text.push_str(&paths("unix", &learned.unix, frame));
    if frame.bare {
        text.push_str("bare = true\n");
    }
    let network = match &learned.network {
        Net::None => "network = false\n".to_owned(),
        Net::Loopback => "network = \"loopback\"\n".to_owned(),
        Net::Full(why) => format!("network = \"full\"  # {}\n", comment(why)),
        Net::Hosts(hosts) => list("hosts", hosts.iter().map(spelled)),
        Net::Ports { .. } => format!("network = [{}]\n", ports(&learned.network).join(", ")),
    };
    text.push_str(&network);
    text.push_str(&variables(frame));
    text.push_str(&filter("filter", &learned.filter));
    text + &left_out(&learned.left_out, frame)
}

/// A plugin's permissions: `[permissions]` of a `plugin.toml`. Its own directory it may read anyway.
pub(crate) fn permissions(learned: &Learned, frame: &Frame<'_>) -> String {
    let mut text = preamble(frame);
    text.push_str("[permissions]\n");
    let network = match &learned.network {
        Net::None => "network = false\n".to_owned(),
        Net::Loopback => {
            "network = []  # an own loopback is not to be had here: ask for ports if it needs one\n"
                .to_owned()
        }
        Net::Full(why) => format!("network = true  # {}\n", comment(why)),
        Net::Hosts(hosts) => list("network", hosts.iter().map(spelled)),
        Net::Ports { .. } => format!("network = [{}]\n", ports(&learned.network).join(", ")),
    };
    text.push_str(&network);
    text.push_str(&filter("system_calls", &learned.filter));
    text.push_str(&variables(frame));
    text.push_str(&paths("deny", &learned.deny, frame));
    text.push_str("\n[permissions.filesystem]\n");
    for (key, access) in KEYS {
        let all = of(learned, access);
        let own = |path: &&PathBuf| access != Access::Write && path.starts_with(frame.base);
        let unix = learned.unix.iter().filter(|_| access == Access::Write);
        text.push_str(&paths(key, all.filter(|path| !own(path)).chain(unix), frame));
    }
    text + &left_out(&learned.left_out, frame)
}

/// Flags of `plugbay run`, on one line.
pub(crate) fn flags(learned: &Learned, frame: &Frame<'_>) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut flag = |name: &str, value: &str| words.extend([name.to_owned(), shell(value)]);
    if let Some(workdir) = &learned.workdir {
        flag("--workdir", &workdir.display().to_string());
    }
    for (access, name) in
        [(Access::Read, "--read"), (Access::Exec, "--exec"), (Access::Write, "--write")]
    {
        of(learned, access).for_each(|path| flag(name, &path.display().to_string()));
    }
    learned.deny.iter().for_each(|path| flag("--deny", &path.display().to_string()));
    learned.unix.iter().for_each(|path| flag("--unix", &path.display().to_string()));
    match &learned.network {
        Net::None => {}
        Net::Loopback => flag("--net", "loopback"),
        Net::Full(_) => flag("--net", "full"),
        Net::Hosts(hosts) => hosts.iter().for_each(|host| flag("--net", &spelled(host))),
        Net::Ports { connect, listen } => {
            connect.iter().for_each(|port| flag("--net", &port.to_string()));
            listen.iter().for_each(|port| flag("--net", &format!("listen:{port}")));
        }
    }
    for grant in frame.env {
        flag("--env", &variable(grant));
    }
    if learned.filter != ["default"] {
        flag("--filter", &learned.filter.join(","));
    }
    if frame.bare {
        words.push("--bare".to_owned());
    }
    words.join(" ")
}

/// What is left out, one line each, without any mark of a comment.
pub(crate) fn reasons<'a>(
    left_out: &'a [LeftOut],
    frame: &'a Frame<'_>,
) -> impl Iterator<Item = String> + 'a {
    left_out.iter().map(|it| {
        let hint = match it.access {
            Some(Access::Read) => "; by hand: read",
            Some(Access::Exec) => "; by hand: exec",
            Some(Access::Write) => "; by hand: write",
            None => "",
        };
        format!("{}: {}{hint}", comment(&path(&it.path, frame)), it.why)
    })
}

/// Whether a path can be written down so that it means the same wherever it is read.
pub(crate) fn is_plain(path: &Path) -> bool {
    let plain =
        |text: &str| matches!(neutral::text(text, Lines::Escape), std::borrow::Cow::Borrowed(_));
    path.to_str().is_some_and(plain)
}

const KEYS: [(&str, Access); 3] =
    [("read", Access::Read), ("exec", Access::Exec), ("write", Access::Write)];

fn of(learned: &Learned, access: Access) -> impl Iterator<Item = &PathBuf> {
    learned.files.iter().filter(move |(_, held)| *held == access).map(|(path, _)| path)
}

/// Whether a directory exists with what is granted.
fn reaches(learned: &Learned, directory: &Path) -> bool {
    let near = |path: &Path| path.starts_with(directory) || directory.starts_with(path);
    learned.files.iter().any(|(path, _)| near(path))
}

fn preamble(frame: &Frame<'_>) -> String {
    let command = comment(&frame.command.join(" "));
    format!(
        "{MARK} -- {command}\n\
         # ({}). It grants what this one run reached for: read it before you rely on it.\n",
        frame.ended
    )
}

fn left_out(left_out: &[LeftOut], frame: &Frame<'_>) -> String {
    if left_out.is_empty() {
        return String::new();
    }
    let lines = reasons(left_out, frame).map(|line| format!("#   {line}\n"));
    format!("# Left out, for you to decide:\n{}", lines.collect::<String>())
}

fn filter(key: &str, words: &[String]) -> String {
    match words {
        [one] if matches!(one.as_str(), "default" | "ci") => format!("{key} = {}\n", quoted(one)),
        _ => list(key, words),
    }
}

fn variables(frame: &Frame<'_>) -> String {
    if frame.env.is_empty() {
        return String::new();
    }
    list("env", frame.env.iter().map(variable))
}

fn variable(grant: &EnvGrant) -> String {
    match grant {
        EnvGrant::Inherit(name) => name.clone(),
        EnvGrant::Set(name, value) => format!("{name}={value}"),
    }
}

fn spelled((host, port): &(String, u16)) -> String {
    format!("{host}:{port}")
}

fn ports(network: &Net) -> Vec<String> {
    let Net::Ports { connect, listen } = network else { return Vec::new() };
    let connect = connect.iter().map(u16::to_string);
    connect.chain(listen.iter().map(|port| format!("\"listen:{port}\""))).collect()
}

fn paths<'p>(key: &str, paths: impl IntoIterator<Item = &'p PathBuf>, frame: &Frame<'_>) -> String {
    let shown: Vec<String> = paths.into_iter().map(|one| path(one, frame)).collect();
    if shown.is_empty() { String::new() } else { list(key, &shown) }
}

/// A list on one line if it fits, else with a line for each.
fn list(key: &str, items: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| quoted(item.as_ref())).collect();
    let line = format!("{key} = [{}]\n", items.join(", "));
    if line.chars().count() <= WIDTH {
        return line;
    }
    let lines = items.iter().map(|item| format!("    {item},\n"));
    format!("{key} = [\n{}]\n", lines.collect::<String>())
}

/// A path as the file has it: below the file, below the home, or absolute.
fn path(path: &Path, frame: &Frame<'_>) -> String {
    let below = |above: Option<&Path>| Some(path.strip_prefix(above?).ok()?.display().to_string());
    let joined = |start: &str, rest: String| {
        if rest.is_empty() { start.to_owned() } else { format!("{start}/{rest}") }
    };
    let base = Some(frame.base).filter(|base| base.parent().is_some());
    let home = frame.home.filter(|home| home.parent().is_some());
    match (below(base), below(home)) {
        (Some(rest), _) => joined(".", rest),
        (None, Some(rest)) => joined("~", rest),
        (None, None) => path.display().to_string(),
    }
}

/// A string of TOML: what JSON escapes, TOML reads alike.
fn quoted(text: &str) -> String {
    neutral::json(&serde_json::Value::from(text).to_string()).into_owned()
}

/// Text that stays on its line.
fn comment(text: &str) -> String {
    neutral::text(text, Lines::Escape).into_owned()
}

/// A word as a shell takes it.
fn shell(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned() -> Learned {
        Learned {
            files: vec![
                ("/home/ann/.cache/tool".into(), Access::Write),
                ("/home/ann/app".into(), Access::Read),
                ("/srv/it's \"data\"".into(), Access::Read),
            ],
            deny: vec!["/home/ann/app/.env".into()],
            unix: Vec::new(),
            network: Net::Hosts([("pypi.org".to_owned(), 443)].into()),
            filter: vec!["@python".to_owned(), "symlink".to_owned()],
            workdir: None,
            left_out: vec![LeftOut {
                path: "/home/ann/.ssh/config".into(),
                access: Some(Access::Read),
                why: "SSH keys".to_owned(),
            }],
        }
    }

    fn frame<'a>(command: &'a [String], env: &'a [EnvGrant]) -> Frame<'a> {
        Frame {
            command,
            ended: "exit status 0",
            name: "test",
            base: Path::new("/home/ann/app"),
            home: Some(Path::new("/home/ann")),
            env,
            bare: false,
        }
    }

    fn command() -> Vec<String> {
        ["python3", "-m", "tests\n[run.evil]"].map(str::to_owned).to_vec()
    }

    #[test]
    fn a_profile_is_whole_and_names_what_is_left_out() {
        let (command, env) = (command(), [EnvGrant::Inherit("TOKEN".to_owned())]);
        insta::assert_snapshot!(profile(&learned(), &frame(&command, &env)), @r#"
        # Learned by `plugbay learn` -- python3 -m tests\n[run.evil]
        # (exit status 0). It grants what this one run reached for: read it before you rely on it.
        [run.test]
        command = ["python3", "-m", "tests\n[run.evil]"]
        read = [".", "/srv/it's \"data\""]
        write = ["~/.cache/tool"]
        deny = ["./.env"]
        hosts = ["pypi.org:443"]
        env = ["TOKEN"]
        filter = ["@python", "symlink"]
        # Left out, for you to decide:
        #   ~/.ssh/config: SSH keys; by hand: read
        "#);
    }

    #[test]
    fn a_plugin_does_not_ask_for_its_own_directory() {
        let command = command();
        insta::assert_snapshot!(permissions(&learned(), &frame(&command, &[])), @r#"
        # Learned by `plugbay learn` -- python3 -m tests\n[run.evil]
        # (exit status 0). It grants what this one run reached for: read it before you rely on it.
        [permissions]
        network = ["pypi.org:443"]
        system_calls = ["@python", "symlink"]
        deny = ["./.env"]

        [permissions.filesystem]
        read = ["/srv/it's \"data\""]
        write = ["~/.cache/tool"]
        # Left out, for you to decide:
        #   ~/.ssh/config: SSH keys; by hand: read
        "#);
    }

    #[test]
    fn flags_can_be_pasted_into_a_shell() {
        let command = command();
        insta::assert_snapshot!(flags(&learned(), &frame(&command, &[])), @r#"--read /home/ann/app --read '/srv/it'\''s "data"' --write /home/ann/.cache/tool --deny /home/ann/app/.env --net pypi.org:443 --filter @python,symlink"#);
    }

    #[test]
    fn a_path_that_would_not_read_the_same_is_not_plain() {
        assert!(is_plain(Path::new("/srv/it's \"ö\"")));
        assert!(!is_plain(Path::new("/srv/a\nb")) && !is_plain(Path::new("/srv/\u{202e}x")));
    }
}
