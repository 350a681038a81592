//! `plugbay.toml`: `[run.NAME]`, one profile each.

use std::{collections::BTreeMap, path::Path, time::Duration};

use super::{
    limit::{LEAST_MEMORY, read_cpu},
    permission::{parse_path, read_calls, read_destination, read_env, read_hosts},
    runtime::read_command,
    sandbox::protections,
};
use crate::{
    error::ManifestError,
    field::{Field, Section, listed},
    key::{PROFILE, PROFILE_LIMITS},
    name,
    neutral::echo,
    permission::GrantPath,
    profile::{BUILT_IN, Cap, Profile, ProfileLimits, ProfileNetwork, Profiles, Tool},
    sandbox::Level,
    suggest,
};

const NETWORK_RULE: &str =
    "\"none\", \"loopback\", \"full\", or a list of destinations such as 443 or \"listen:8080\"";
const PATH_RULE: &str = "a path as \"src\", \"/srv/data\" or \"~/.cache/x\", without `..`; what is \
                         relative lies beside this file";
const NAME_RULE: &str =
    "a name of a-z, 0-9 and -, that starts with a letter, at most 64 characters";

/// The longest name of a profile.
const MAX_NAME: usize = 64;

pub(crate) fn parse(text: &str, file: &Path) -> Result<Profiles, ManifestError> {
    super::document(text, file, |root| {
        root.refuse_unknown(&["run"]);
        let run = root.get("run").and_then(|field| field.section());
        Some(Profiles(run.map(|section| read_all(&section)).unwrap_or_default()))
    })
}

fn read_all(section: &Section<'_>) -> BTreeMap<String, Profile> {
    let mut profiles = BTreeMap::new();
    let mut parents = Vec::new();
    for (name, span, field) in section.entries() {
        if !name::is_word(name) || name.len() > MAX_NAME {
            let message = format!("`{}` is not the name of a profile", echo(name));
            field.wrong_at(&span, message, NAME_RULE);
        }
        let Some(table) = field.section() else { continue };
        if let Some(parent) = table.get("extends") {
            parents.push((name.to_owned(), parent));
        }
        profiles.insert(name.to_owned(), read(&table));
    }
    for (name, parent) in parents {
        check_parent(&name, &parent, &profiles);
    }
    profiles
}

/// What is extended must be there, and must not lead back here.
fn check_parent(name: &str, field: &Field<'_>, profiles: &BTreeMap<String, Profile>) {
    let Some(parent) = field.text() else { return };
    let own = parent == name;
    let is_built_in = parent == BUILT_IN && (own || !profiles.contains_key(parent));
    if is_built_in {
        return;
    }
    if own || !profiles.contains_key(parent) {
        let names = || profiles.keys().map(String::as_str).filter(|it| *it != name);
        let names: Vec<&str> = names().chain([BUILT_IN]).collect();
        let nearest = suggest::nearest(parent, names.iter().copied());
        field.complain(
            format!("there is no other profile `{}`", echo(parent)),
            nearest.map(|word| format!("\"{word}\"")),
            Some(listed(names)),
        );
        return;
    }
    let mut at = parent;
    for _ in 0..profiles.len() {
        if at == name {
            field.wrong("the profile extends itself", "a profile that does not lead back here");
            return;
        }
        let next = profiles.get(at).and_then(|profile| profile.extends.as_deref());
        let Some(next) = next.filter(|next| *next != at) else { return };
        at = next;
    }
}

fn read(section: &Section<'_>) -> Profile {
    section.refuse_unknown(&PROFILE.names().collect::<Vec<_>>());
    let get = |name: &str| section.get(name);
    let paths = |name: &str| get(name).map(|field| read_paths(&field)).unwrap_or_default();
    let flag = |name: &str| get(name).and_then(|field| field.flag());
    let table = |name: &str| get(name).and_then(|field| field.section());
    Profile {
        extends: get("extends").and_then(|field| field.value.get_ref().as_str().map(str::to_owned)),
        command: get("command").and_then(|field| read_command(&field)),
        workdir: get("workdir").and_then(|field| read_path(&field)),
        tools: get("tools").map(|field| read_tools(&field)).unwrap_or_default(),
        read: paths("read"),
        write: paths("write"),
        exec: paths("exec"),
        deny: paths("deny"),
        bare: flag("bare"),
        network: get("network").and_then(|field| read_network(&field)),
        hosts: get("hosts").map(|field| read_hosts(&field)).unwrap_or_default(),
        unix: paths("unix"),
        env: get("env").and_then(|field| read_env(&field)).unwrap_or_default(),
        limits: table("limits").map(|section| read_limits(&section)).unwrap_or_default(),
        level: get("level").and_then(|f| f.choice(&Level::ALL, Level::as_str)),
        protections: table("protections").map(|section| protections(&section)).unwrap_or_default(),
        filter: get("filter").and_then(|field| read_calls(&field)),
        truncate_output: flag("truncate_output"),
        fail_on_denial: flag("fail_on_denial"),
    }
}

fn read_tools(field: &Field<'_>) -> Vec<Tool> {
    let tools = field.list("a list of toolchains").unwrap_or_default();
    tools.iter().filter_map(|tool| tool.choice(&Tool::ALL, Tool::as_str)).collect()
}

fn read_paths(field: &Field<'_>) -> Vec<GrantPath> {
    let fields = field.list("a list of paths").unwrap_or_default();
    fields.iter().filter_map(read_path).collect()
}

fn read_path(field: &Field<'_>) -> Option<GrantPath> {
    let text = field.text()?;
    let path = parse_path(text).filter(|_| !text.starts_with('$'));
    if path.is_none() {
        field.wrong(format!("`{}` is not a path that can be granted", echo(text)), PATH_RULE);
    }
    path
}

fn read_network(field: &Field<'_>) -> Option<ProfileNetwork> {
    let value = field.value.get_ref();
    match (value.as_bool(), value.as_str()) {
        (Some(false), _) | (_, Some("none")) => return Some(ProfileNetwork::None),
        (Some(true), _) | (_, Some("full")) => return Some(ProfileNetwork::Full),
        (_, Some("loopback")) => return Some(ProfileNetwork::Loopback),
        (None, Some(other)) => {
            let nearest = suggest::nearest(other, ["none", "loopback", "full"]);
            field.complain(
                format!("`{}` is not one of the choices", echo(other)),
                nearest.map(|word| format!("\"{word}\"")),
                Some(NETWORK_RULE.to_owned()),
            );
            return None;
        }
        (None, None) => {}
    }
    let fields = field.list(NETWORK_RULE)?;
    Some(ProfileNetwork::Only(fields.iter().filter_map(read_destination).collect()))
}

fn read_limits(section: &Section<'_>) -> ProfileLimits {
    section.refuse_unknown(&PROFILE_LIMITS.names().collect::<Vec<_>>());
    let get = |name: &str| section.get(name);
    let size = |name: &str, least| get(name).and_then(|f| cap(&f, |f| f.size(least)));
    let count = |name: &str, bounds| get(name).and_then(|f| cap(&f, |f| f.count(bounds)));
    let time = |name: &str| get(name).and_then(|f| cap::<Duration>(&f, |f| f.duration()));
    ProfileLimits {
        memory: size("memory", LEAST_MEMORY),
        cpu_milli: get("cpu").and_then(|field| cap(&field, read_cpu)),
        cpu_time: time("cpu_time"),
        wall: time("wall"),
        pids: count("pids", 1..=4_194_304),
        open_files: count("open_files", 8..=1_048_576),
        file_size: size("file_size", 0),
        tmp_size: get("tmp_size").and_then(|field| field.size(4096)),
        output: size("output", 1),
    }
}

/// `"none"`, or a value.
fn cap<T>(field: &Field<'_>, read: impl FnOnce(&Field<'_>) -> Option<T>) -> Option<Cap<T>> {
    if field.value.get_ref().as_str() == Some("none") {
        return Some(Cap::Lifted);
    }
    read(field).map(Cap::At)
}
