//! The looks at the world that learning takes: what of `/tmp` is meant, which installations programs
//! belong to, which names lead to an address now, which secrets lie in what would be granted.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    net::{IpAddr, ToSocketAddrs as _},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use plugbay_sandbox::{
    Access, FileGrant, Lessons, Spec,
    lesson::{Contact, Touch, Use},
    resolve,
    secret::secret,
};

use crate::{
    args::Learn,
    env,
    grants::Grants,
    learn::{
        self, Learned,
        files::{self, Ground, LeftOut},
        network::{self, Names},
        text,
    },
};

/// The most directory entries that are looked at for secrets below one grant.
const MOST_ENTRIES: usize = 20_000;
/// The most secrets that are hidden below grants: a mount is made for each.
const MOST_SECRETS: usize = 64;

/// What of the host's `/tmp` the command is to see: where it runs, and what its arguments name.
pub(super) fn shown(command: &[OsString], grants: &Grants) -> Vec<PathBuf> {
    let named = command.iter().flat_map(|word| {
        // Also `--file=/tmp/x`.
        let bytes = word.as_bytes();
        let after = bytes.iter().position(|byte| *byte == b'=').and_then(|at| bytes.get(at + 1..));
        [Some(bytes), after]
            .into_iter()
            .flatten()
            .map(|it| Path::new(std::ffi::OsStr::from_bytes(it)))
    });
    let named = named.filter(|path| path.is_absolute()).filter_map(|path| path.canonicalize().ok());
    let all = named.chain([grants.workdir.clone()]);
    let mut shown: Vec<PathBuf> =
        all.filter(|path| path.starts_with("/tmp") && path != Path::new("/tmp")).collect();
    shown.sort();
    shown.dedup();
    shown
}

/// What was seen, as grants. `started` is what ran: it has the grants that a run gives by itself.
pub(super) fn learned(
    typed: &Learn,
    grants: &Grants,
    started: &Spec,
    lessons: &Lessons,
) -> Learned {
    let home = env::home().and_then(|home| home.canonicalize().ok());
    let mut touched = lessons.files().clone();
    let mut left_out = take_unspeakable(&mut touched);
    for grant in &grants.files {
        touched.entry(grant.path.clone()).or_default().uses.insert(match grant.access {
            Access::Read => Use::Read,
            Access::Exec => Use::Execute,
            Access::Write => Use::Change,
        });
    }
    let installations = installations(&touched, &grants.workdir);
    let ground =
        Ground { home: home.as_deref(), workdir: &grants.workdir, installations: &installations };
    let files = files::smallest(&touched, &ground);
    left_out.extend(files.left_out);
    left_out.extend(lessons.withheld().iter().map(|(path, why)| LeftOut {
        path: path.clone(),
        access: Some(Access::Read),
        why: format!("it holds a secret ({why}), and was refused while learning"),
    }));
    let mut allowed = files.grants;
    let workdir = workdir(&mut allowed, grants, &started.files);
    let allowed = files::minimal(allowed);
    let mut unix: Vec<PathBuf> = lessons.sockets().iter().cloned().collect();
    unix.extend(grants.unix_sockets.iter().cloned());
    unix.sort();
    unix.dedup();
    left_out.sort();
    left_out.dedup();
    Learned {
        deny: hidden(&allowed, grants),
        files: allowed.into_iter().collect(),
        unix,
        network: network::narrowest(lessons.contacts(), lessons.needs(), &names(lessons))
            .beside(&grants.network),
        filter: if typed.filter.is_empty() {
            learn::calls(lessons, &started.program)
        } else {
            typed.filter.iter().map(|word| word.as_str().to_owned()).collect()
        },
        workdir,
        left_out,
    }
}

/// Takes out the paths that cannot be written down.
fn take_unspeakable(touched: &mut BTreeMap<PathBuf, Touch>) -> Vec<LeftOut> {
    let (plain, odd) =
        std::mem::take(touched).into_iter().partition(|(path, _)| text::is_plain(path));
    *touched = plain;
    let odd: BTreeMap<PathBuf, Touch> = odd;
    let why = "its name holds characters that cannot be written down safely";
    odd.into_keys().map(|path| LeftOut { path, access: None, why: why.to_owned() }).collect()
}

/// The installations of programs that were executed: such as a toolchain in a home.
fn installations(touched: &BTreeMap<PathBuf, Touch>, here: &Path) -> Vec<PathBuf> {
    let programs = touched.iter().filter(|(_, touch)| touch.uses.contains(&Use::Execute));
    let all = env::all();
    let found = programs.filter_map(|(path, _)| {
        let resolved = resolve::resolve(path.to_str()?, &[], &all, here).ok()?;
        Some(resolved.grants.into_iter().map(|grant| grant.path))
    });
    let mut found: Vec<PathBuf> = found.flatten().filter(|path| text::is_plain(path)).collect();
    found.sort();
    found.dedup();
    found
}

/// Where a run with these grants is told to run. In the private `/tmp` only what is granted is there;
/// elsewhere a directory is there when something in it is.
fn workdir(
    allowed: &mut BTreeMap<PathBuf, Access>,
    grants: &Grants,
    given: &[FileGrant],
) -> Option<PathBuf> {
    let here = &grants.workdir;
    if files::covers(allowed, here, Access::Read) || here == Path::new("/tmp") {
        return None;
    }
    let given = given.iter().map(|grant| &grant.path);
    if !allowed.keys().chain(given).any(|path| path.starts_with(here)) {
        return None;
    }
    if here.starts_with("/tmp") {
        allowed.insert(here.clone(), Access::Read);
        return None;
    }
    Some(here.clone())
}

/// The secrets in what would be granted, but for those that were asked for by hand; and what was to
/// stay hidden in any case.
fn hidden(allowed: &BTreeMap<PathBuf, Access>, grants: &Grants) -> Vec<PathBuf> {
    let asked = |path: &Path| grants.files.iter().any(|grant| path.starts_with(&grant.path));
    let mut found = grants.deny.clone();
    for directory in allowed.keys().filter(|path| path.is_dir()) {
        let mut left = MOST_ENTRIES;
        secrets_below(directory, &mut left, &mut found);
    }
    found.retain(|path| grants.deny.contains(path) || (!asked(path) && text::is_plain(path)));
    found.sort();
    found.dedup();
    found
}

fn secrets_below(directory: &Path, left: &mut usize, found: &mut Vec<PathBuf>) {
    let mut waiting = vec![directory.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            *left = left.saturating_sub(1);
            if *left == 0 || found.len() >= MOST_SECRETS {
                return;
            }
            let path = entry.path();
            let Ok(kind) = entry.file_type() else { continue };
            // What a pattern would mean otherwise cannot be named as what it is.
            let nameable = !plugbay_sandbox::deny::is_pattern(&path);
            if secret(&path).is_some() && !kind.is_symlink() && nameable {
                found.push(path);
            } else if kind.is_dir() {
                waiting.push(path);
            }
        }
    }
}

/// The names that lead to the addresses that were used: what was asked for, asked for again, and the
/// names of the host itself.
fn names(lessons: &Lessons) -> Names {
    let mut names = Names::default();
    let beyond = |contact: &&Contact| !contact.address.is_loopback() && contact.port != 53;
    if !lessons.contacts().iter().any(|contact| beyond(&contact)) {
        return names;
    }
    let mut known = |address: IpAddr, name: &str| {
        names.known.entry(address.to_canonical()).or_default().insert(name.to_owned());
    };
    for line in fs::read_to_string("/etc/hosts").unwrap_or_default().lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
        if let (Some(address), Some(name)) = (address, words.next()) {
            known(address, name);
        }
    }
    for name in lessons.names() {
        for address in (name.as_str(), 0).to_socket_addrs().into_iter().flatten() {
            known(address.ip(), name);
        }
    }
    names
}
