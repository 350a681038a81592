//! `[permissions]`: what the plugin asks to be opened.

use std::path::{Component, Path, PathBuf};

use crate::{
    field::{Field, Section, kind},
    key::{FILESYSTEM, PERMISSIONS},
    neutral::echo,
    permission::{
        EnvGrant, FilesystemPermission, GrantPath, NetworkGrant, NetworkPermission, Permissions,
        SystemCalls,
    },
    suggest,
};

const NETWORK_RULE: &str = "false, true, or a list of destinations";
pub(super) const DESTINATION_RULE: &str =
    "PORT as 443, \"HOST:PORT\" as \"db.example:5432\", or \"listen:PORT\"; ports are 1 to 65535";
const FILESYSTEM_RULE: &str =
    "\"none\", \"read-only\", or a table { read = [...], write = [...], exec = [...] }";
const PATH_RULE: &str =
    "a path as \"/var/data\", \"~/notes\", \"./data\" or \"$PLUGIN/data\", without `..`";
const CALLS_RULE: &str = "\"default\", \"ci\", or a list of calls as [\"@python\", \"accept4\"]; \
     `plugbay learn` writes such a list";
const ENV_RULE: &str = "\"NAME\" to pass the host's value on, or \"NAME=VALUE\"";

pub(super) fn read(section: &Section<'_>) -> Permissions {
    section.refuse_unknown(&PERMISSIONS.names().collect::<Vec<_>>());
    Permissions {
        network: section.get("network").and_then(|f| read_network(&f)).unwrap_or_default(),
        filesystem: section.get("filesystem").and_then(|f| read_files(&f)).unwrap_or_default(),
        deny: section.get("deny").map(|field| read_paths(&field)).unwrap_or_default(),
        system_calls: section.get("system_calls").and_then(|f| read_calls(&f)).unwrap_or_default(),
        env: section.get("env").and_then(|field| read_env(&field)).unwrap_or_default(),
    }
}

fn read_network(field: &Field<'_>) -> Option<NetworkPermission> {
    match field.value.get_ref().as_bool() {
        Some(false) => return Some(NetworkPermission::None),
        Some(true) => return Some(NetworkPermission::Full),
        None => {}
    }
    let fields = field.list(NETWORK_RULE)?;
    let mut grants: Vec<_> = fields.iter().filter_map(read_destination).collect();
    grants.sort();
    grants.dedup();
    // An empty list opens nothing.
    Some(if grants.is_empty() { NetworkPermission::None } else { NetworkPermission::Only(grants) })
}

pub(super) fn read_destination(field: &Field<'_>) -> Option<NetworkGrant> {
    if field.value.get_ref().is_integer() {
        let port = field.count(1..=65535)?;
        return u16::try_from(port).ok().map(|port| NetworkGrant::Connect { host: None, port });
    }
    let text = field.text()?;
    let grant = parse_destination(text);
    if grant.is_none() {
        field.wrong(format!("`{}` is not a destination", echo(text)), DESTINATION_RULE);
    }
    grant
}

/// `PORT`, `HOST:PORT` (an IPv6 address in brackets) or `listen:PORT`.
fn parse_destination(text: &str) -> Option<NetworkGrant> {
    let (host, port) =
        text.rsplit_once(':').map_or((None, text), |(host, port)| (Some(host), port));
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse::<u16>().ok().filter(|&port| digits && port > 0)?;
    match host {
        None => Some(NetworkGrant::Connect { host: None, port }),
        Some("listen") => Some(NetworkGrant::Listen { port }),
        Some(host) if is_host(host) => {
            Some(NetworkGrant::Connect { host: Some(host.to_ascii_lowercase()), port })
        }
        Some(_) => None,
    }
}

/// A DNS name, an IPv4 address, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    host.len() <= 253 && host.split('.').all(label)
}

fn read_files(field: &Field<'_>) -> Option<FilesystemPermission> {
    let value = field.value.get_ref();
    if value.is_table() {
        let section = field.section()?;
        section.refuse_unknown(&FILESYSTEM.names().collect::<Vec<_>>());
        let paths = |name: &str| section.get(name).map(|f| read_paths(&f)).unwrap_or_default();
        let (read, write, exec) = (paths("read"), paths("write"), paths("exec"));
        return Some(FilesystemPermission::Paths { read, write, exec });
    }
    match value.as_str() {
        Some("none") => Some(FilesystemPermission::None),
        Some("read-only") => Some(FilesystemPermission::ReadOnly),
        Some(other) => {
            let nearest = suggest::nearest(other, ["none", "read-only"]);
            field.complain(
                format!("`{}` is not one of the choices", echo(other)),
                nearest.map(|word| format!("\"{word}\"")),
                Some(FILESYSTEM_RULE.to_owned()),
            );
            None
        }
        None => {
            let message = format!("expected a text or a table, found {}", kind(value));
            field.wrong(message, FILESYSTEM_RULE);
            None
        }
    }
}

fn read_paths(field: &Field<'_>) -> Vec<GrantPath> {
    let fields = field.list("a list of paths").unwrap_or_default();
    let mut paths: Vec<_> = fields.iter().filter_map(read_path).collect();
    paths.sort();
    paths.dedup();
    paths
}

fn read_path(field: &Field<'_>) -> Option<GrantPath> {
    let text = field.text()?;
    let path = parse_path(text);
    if path.is_none() {
        field.wrong(format!("`{}` is not a path that can be granted", echo(text)), PATH_RULE);
    }
    path
}

/// The meaning of a path; `None` when it is empty, climbs with `..` or names another user's home.
pub(super) fn parse_path(text: &str) -> Option<GrantPath> {
    let below = |prefix: &str| {
        let rest = text.strip_prefix(prefix)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/'))
    };
    if text.is_empty() {
        None
    } else if let Some(rest) = below("~") {
        plain(rest).map(GrantPath::Home)
    } else if let Some(rest) = below("$PLUGIN") {
        plain(rest).map(GrantPath::Plugin)
    } else if text.starts_with(['~', '$']) {
        None
    } else if let Some(rest) = text.strip_prefix('/') {
        plain(rest).map(|rest| GrantPath::Absolute(Path::new("/").join(rest)))
    } else {
        plain(text).map(GrantPath::Plugin)
    }
}

/// The path without `.`; `None` when it has a `..`.
fn plain(text: &str) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    for component in Path::new(text).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

pub(super) fn read_calls(field: &Field<'_>) -> Option<SystemCalls> {
    if field.value.get_ref().is_array() {
        let fields = field.list(CALLS_RULE)?;
        let mut words: Vec<String> = fields.iter().filter_map(read_call).collect();
        words.sort();
        words.dedup();
        return Some(SystemCalls::Only(words));
    }
    match field.value.get_ref().as_str() {
        Some("default") => Some(SystemCalls::Default),
        Some("ci") => Some(SystemCalls::Ci),
        Some(other) => {
            let nearest = suggest::nearest(other, ["default", "ci"]);
            field.complain(
                format!("`{}` is not one of the choices", echo(other)),
                nearest.map(|word| format!("\"{word}\"")),
                Some(CALLS_RULE.to_owned()),
            );
            None
        }
        None => {
            field.wrong_kind(CALLS_RULE);
            None
        }
    }
}

fn read_call(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    let name = text.strip_prefix('@').unwrap_or(text);
    let is_name = (1..=64).contains(&name.len()) && name.bytes().all(plain);
    if !is_name {
        field.wrong(format!("`{}` is not the name of a system call", echo(text)), CALLS_RULE);
    }
    is_name.then(|| text.to_owned())
}

pub(super) fn read_env(field: &Field<'_>) -> Option<Vec<EnvGrant>> {
    let fields = field.list("a list of variables")?;
    Some(fields.iter().filter_map(read_variable).collect())
}

fn read_variable(field: &Field<'_>) -> Option<EnvGrant> {
    let text = field.text()?;
    let (name, value) =
        text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    if name.starts_with(first) && name.bytes().all(plain) {
        return Some(EnvGrant { name: name.to_owned(), value: value.map(str::to_owned) });
    }
    field.wrong(format!("`{}` is not the name of a variable", echo(name)), ENV_RULE);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_have_three_forms() {
        let text = |text| parse_destination(text).map(|grant| grant.to_string());
        for good in ["443", "db.example:5432", "[::1]:80", "127.0.0.1:80", "listen:8080"] {
            assert_eq!(text(good).as_deref(), Some(good));
        }
        for bad in [
            "", "0", "65536", "+80", "host", "host:", ":80", "a b:80", "::1:80", "x:y:80",
            "listen:0",
        ] {
            assert_eq!(text(bad), None, "{bad}");
        }
    }

    #[test]
    fn paths_keep_their_meaning() {
        assert_eq!(parse_path("/var//data/./x"), Some(GrantPath::Absolute("/var/data/x".into())));
        assert_eq!(parse_path("~/notes"), Some(GrantPath::Home("notes".into())));
        assert_eq!(parse_path("~"), Some(GrantPath::Home("".into())));
        assert_eq!(parse_path("./data"), Some(GrantPath::Plugin("data".into())));
        assert_eq!(parse_path("$PLUGIN/data"), Some(GrantPath::Plugin("data".into())));
        for bad in ["", "..", "a/../b", "/a/..", "~root/x", "$HOME/x", "$PLUGINS", "~/../x"] {
            assert_eq!(parse_path(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_path_is_located_by_text_alone() {
        let at = |path: &str, home| parse_path(path).unwrap().locate(Path::new("/p"), home);
        assert_eq!(at("data", None), Some("/p/data".into()));
        assert_eq!(at(".", None), Some("/p".into()));
        assert_eq!(at("~/x", Some(Path::new("/home/u"))), Some("/home/u/x".into()));
        assert_eq!(at("~/x", None), None);
    }
}
