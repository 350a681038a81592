//! `[permissions]`: what the plugin asks to be opened.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    path::{Component, Path, PathBuf},
};

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
const DESTINATION_RULE: &str =
    "PORT as 443, \"HOST:PORT\" as \"db.example:5432\", or \"listen:PORT\"; ports are 1 to 65535";
const HOST_RULE: &str = "\"HOST\" or \"HOST:PORT\" as \"crates.io:443\", \"*.example.org:443\", \
     \"10.0.0.0/8:5432\", \"*:443\"";
const MIX_RULE: &str = "hosts alone, where \"*:443\" is that port of every host; or ports alone";
/// The port of a host that is written without one.
const HTTPS: u16 = 443;
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
        network: read_reach(section),
        filesystem: section.get("filesystem").and_then(|f| read_files(&f)).unwrap_or_default(),
        deny: section.get("deny").map(|field| read_paths(&field)).unwrap_or_default(),
        system_calls: section.get("system_calls").and_then(|f| read_calls(&f)).unwrap_or_default(),
        env: section.get("env").and_then(|field| read_env(&field)).unwrap_or_default(),
    }
}

/// What `network` and `hosts` say together. Hosts are reached from an empty network, by way of a broker;
/// ports of any host take the host's own. There is no network that is both.
fn read_reach(section: &Section<'_>) -> NetworkPermission {
    let field = section.get("network");
    let network = field.as_ref().and_then(read_network).unwrap_or_default();
    let named = section.get("hosts");
    let hosts = named.as_ref().map(read_hosts).unwrap_or_default();
    let place = named.filter(|_| !hosts.is_empty()).or(field);
    let mut grants = match (network, hosts.is_empty()) {
        (NetworkPermission::Only(grants), _) => grants,
        (NetworkPermission::None, false) => Vec::new(),
        (NetworkPermission::Full, false) => {
            place
                .iter()
                .for_each(|field| field.wrong("hosts do not mix with all of them", MIX_RULE));
            return NetworkPermission::Full;
        }
        (network, true) => return network,
    };
    grants.extend(hosts);
    grants.sort();
    grants.dedup();
    let is_host =
        |grant: &NetworkGrant| matches!(grant, NetworkGrant::Connect { host: Some(_), .. });
    if grants.iter().any(is_host) && !grants.iter().all(is_host) {
        place
            .iter()
            .for_each(|field| field.wrong("hosts do not mix with ports of any host", MIX_RULE));
    }
    NetworkPermission::Only(grants)
}

/// A list of hosts; one without a port is meant for HTTPS.
pub(super) fn read_hosts(field: &Field<'_>) -> Vec<NetworkGrant> {
    let fields = field.list("a list of hosts").unwrap_or_default();
    let read = |field: &Field<'_>| {
        let text = field.text()?;
        let alone = || NetworkGrant::Connect { host: Some(text.to_ascii_lowercase()), port: HTTPS };
        let grant = parse_destination(text).or_else(|| is_host(text).then(alone));
        let grant = grant.filter(|it| matches!(it, NetworkGrant::Connect { host: Some(_), .. }));
        if grant.is_none() {
            field.wrong(format!("`{}` is not a host", echo(text)), HOST_RULE);
        }
        grant
    };
    fields.iter().filter_map(read).collect()
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

/// A DNS name, `*.` and a name, `*`, an IPv4 address, an IPv6 address in brackets, or a block of addresses.
fn is_host(host: &str) -> bool {
    if let Some((address, bits)) = host.split_once('/') {
        let most = if address.starts_with('[') { 128 } else { 32 };
        let digits = !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit());
        let bits = bits.parse::<u8>().is_ok_and(|bits| digits && bits <= most);
        return bits && (most == 128 || address.parse::<Ipv4Addr>().is_ok()) && is_host(address);
    }
    host == "*" || is_name(host.strip_prefix("*.").unwrap_or(host), host.starts_with('*'))
}

/// A name or an address; below a star only a name. What a resolver may read as an address and is not
/// written as one (`127.1`, `0x7f000001`) is neither.
fn is_name(host: &str, below: bool) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    if last.starts_with("0x") || last.bytes().all(|b| b.is_ascii_digit()) {
        return !below && host.parse::<Ipv4Addr>().is_ok();
    }
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return !below && address.parse::<Ipv6Addr>().is_ok();
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
