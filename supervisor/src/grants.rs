//! What the flags of `run` mean: words in, parts of a sandbox [`Spec`] out. Pure: the current
//! directory and the look at the file system are arguments. Which program runs, and what its
//! interpreter needs, is not decided here (`plugbay_sandbox::resolve`).
//!
//! [`Spec`]: plugbay_sandbox::Spec

use std::{
    fmt, io,
    path::{Component, Path, PathBuf},
};

use plugbay_sandbox::{
    Access, Base, Calls, Demand, Demands, EnvGrant, FileGrant, HostGrant, Level, Limits, Network,
    NetworkMode, Profile,
    deny::{self, DenyError, Found},
};

use crate::{
    args::{DemandWords, FileWords, Learn, LevelWord, LimitWords, ReachWords, Run},
    failure::Failure,
    spelling::{EnvWord, FilterWord, NetWord},
};

/// What must be known of the world to understand the words.
pub(crate) struct World<'a> {
    /// The current directory, symlinks resolved.
    pub(crate) current_dir: &'a Path,
    /// Resolves a path to an absolute one without symlinks, as [`Path::canonicalize`] does.
    pub(crate) canonical: &'a dyn Fn(&Path) -> io::Result<PathBuf>,
    /// Finds what an absolute pattern means now.
    pub(crate) search: &'a dyn Fn(&Path) -> Result<Found, DenyError>,
}

impl fmt::Debug for World<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("current_dir", &self.current_dir).finish_non_exhaustive()
    }
}

/// What is opened, bounded and required.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grants {
    /// Files and directories, each path once.
    pub(crate) files: Vec<FileGrant>,
    /// What of them stays hidden.
    pub(crate) deny: Vec<PathBuf>,
    /// A directory of which the changes are kept apart.
    pub(crate) overlay: Option<PathBuf>,
    /// What of these changes is kept at the end, below it.
    pub(crate) outputs: Vec<PathBuf>,
    /// What a person should know of that.
    pub(crate) notes: Vec<String>,
    /// Whether the system's programs are there.
    pub(crate) base: Base,
    /// The network.
    pub(crate) network: Network,
    /// Unix sockets that can be reached.
    pub(crate) unix_sockets: Vec<PathBuf>,
    /// Variables beyond the harmless ones.
    pub(crate) env: Vec<EnvGrant>,
    /// Limits, the defaults filled in.
    pub(crate) limits: Limits,
    /// What must hold.
    pub(crate) level: Level,
    /// What is demanded of single protections.
    pub(crate) demands: Demands,
    /// Which system calls are allowed.
    pub(crate) profile: Profile,
    /// Where the command runs.
    pub(crate) workdir: PathBuf,
}

/// Understands the flags of `run`.
pub(crate) fn understand(typed: &Run, world: &World<'_>) -> Result<Grants, Failure> {
    let mut files = files(&typed.files, world)?;
    let overlay = overlay(&typed.files, &mut files, world)?;
    let workdir = workdir(typed.workdir.as_deref(), &files, world)?;
    let (deny, notes) = denied(&typed.files.deny, world)?;
    Ok(Grants {
        deny,
        notes,
        outputs: outputs(&typed.files, overlay.as_deref(), world)?,
        overlay,
        base: if typed.files.bare { Base::Bare } else { Base::System },
        network: network(&typed.reach.net)?,
        unix_sockets: sockets(&typed.reach, &files, world)?,
        env: typed.reach.env.iter().map(variable).collect(),
        limits: limits(&typed.limits),
        level: level(typed.level.unwrap_or_default()),
        demands: demands(&typed.demands)?,
        profile: filter(&typed.filter)?,
        files,
        workdir,
    })
}

/// Understands the flags of `learn`: what is granted already, and where the command runs. Which filter
/// is typed says what is written, so that of a run without one is meant here.
pub(crate) fn understand_learning(typed: &Learn, world: &World<'_>) -> Result<Grants, Failure> {
    filter(&typed.filter)?;
    let typed_files = typed.files.as_files();
    let typed_workdir = typed.workdir.as_deref().map(|path| resolve("--workdir", path, world));
    let (deny, notes) = denied(&typed_files.deny, world)?;
    let files = files(&typed_files, world)?;
    Ok(Grants {
        deny,
        notes,
        base: if typed_files.bare { Base::Bare } else { Base::System },
        network: network(&typed.reach.net)?,
        unix_sockets: sockets(&typed.reach, &files, world)?,
        files,
        env: typed.reach.env.iter().map(variable).collect(),
        limits: limits(&typed.limits),
        overlay: None,
        outputs: Vec::new(),
        level: Level::Standard,
        demands: Demands::default(),
        profile: Profile::Default,
        workdir: typed_workdir.transpose()?.unwrap_or_else(|| world.current_dir.to_owned()),
    })
}

/// The grants of `--read`, `--exec` and `--write`: absolute, and each path once with the most that
/// was asked for it.
pub(crate) fn files(typed: &FileWords, world: &World<'_>) -> Result<Vec<FileGrant>, Failure> {
    let asked = [
        ("--read", Access::Read, &typed.read),
        ("--exec", Access::Exec, &typed.exec),
        ("--write", Access::Write, &typed.write),
    ];
    let (mut grants, mut named): (Vec<FileGrant>, Vec<_>) = (Vec::new(), Vec::new());
    for (flag, access, paths) in asked {
        for path in paths {
            let real = resolve(flag, path, world)?;
            named.push((flag, world.current_dir.join(path), real.clone()));
            match grants.iter_mut().find(|grant| grant.path == real) {
                Some(grant) => grant.access = grant.access.max(access),
                None => grants.push(FileGrant::requested(real, access)),
            }
        }
    }
    for (flag, path, real) in &named {
        stays(flag, path, real, &grants, world)?;
    }
    Ok(grants)
}

/// The directory of `--overlay`, which is granted for writing.
fn overlay(
    typed: &FileWords,
    files: &mut Vec<FileGrant>,
    world: &World<'_>,
) -> Result<Option<PathBuf>, Failure> {
    let Some(path) = &typed.overlay else { return Ok(None) };
    let path = resolve("--overlay", path, world)?;
    let shown = path.display();
    if path == Path::new("/") {
        return Err(Failure::usage("--overlay cannot be the whole host; name a directory"));
    }
    if files.iter().any(|grant| grant.path == path && grant.access == Access::Write) {
        return Err(Failure::usage(format!("`{shown}` is given by --write and by --overlay"))
            .hint("the one changes it, the other does not; give one of them"));
    }
    files.retain(|grant| grant.path != path);
    files.push(FileGrant::requested(&path, Access::Write));
    Ok(Some(path))
}

/// The paths of `--output` below the overlay. They need not be there yet.
fn outputs(
    typed: &FileWords,
    overlay: Option<&Path>,
    world: &World<'_>,
) -> Result<Vec<PathBuf>, Failure> {
    let below = |path: &PathBuf| {
        let shown = path.display();
        let refused = || Failure::usage(format!("--output `{shown}` is not in the --overlay"));
        if path.components().any(|part| part == Component::ParentDir) {
            return Err(refused().hint("name it without `..`"));
        }
        let whole: PathBuf = world.current_dir.join(path).components().collect();
        let below = overlay.and_then(|overlay| whole.strip_prefix(overlay).ok());
        below.map(Path::to_owned).ok_or_else(refused)
    };
    typed.output.iter().map(below).collect()
}

/// Refuses a name that a link leads out of a directory which the command may write: the run before may
/// have put the link there, to be granted in this one what it leads to.
fn stays(
    flag: &str,
    path: &Path,
    real: &Path,
    grants: &[FileGrant],
    world: &World<'_>,
) -> Result<(), Failure> {
    let plain = plain(path);
    let above: Vec<PathBuf> =
        plain.ancestors().skip(1).filter_map(|parent| (world.canonical)(parent).ok()).collect();
    let left = grants.iter().filter(|grant| grant.access == Access::Write).find(|grant| {
        above.iter().any(|parent| parent.starts_with(&grant.path)) && !real.starts_with(&grant.path)
    });
    let Some(left) = left else { return Ok(()) };
    let (path, from, to) = (path.display(), left.path.display(), real.display());
    let what =
        format!("{flag} `{path}`: a link leads out of `{from}`, which the command may write");
    Err(Failure::usage(what).hint(format!(
        "it leads to `{to}`, and an earlier run may have put it there; if that is meant, name `{to}` itself"
    )))
}

/// The path without `..`, as it is written.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => plain.push(part),
        }
    }
    plain
}

/// What `--deny` hides, and what there is to say of it. A name that is not there is a mistake, since
/// nothing would be hidden; a pattern may find nothing.
fn denied(typed: &[PathBuf], world: &World<'_>) -> Result<(Vec<PathBuf>, Vec<String>), Failure> {
    let (mut deny, mut notes) = (Vec::new(), Vec::new());
    for pattern in typed {
        let shown = pattern.display();
        let found = (world.search)(&world.current_dir.join(pattern))
            .map_err(|error| Failure::usage(format!("--deny: {error}")))?;
        if found.paths.is_empty() && !deny::is_pattern(pattern) {
            return Err(Failure::usage(format!("--deny `{shown}`: there is no such file")).hint(
                "to hide it only where it is there, write it with a wildcard, as in `.en?`",
            ));
        }
        if found.paths.is_empty() {
            notes.push(format!("--deny `{shown}` finds nothing; what is made later is not hidden"));
        }
        notes.extend(found.linked.iter().map(|path| {
            format!("`{}` is hidden, but has another name (a hard link)", path.display())
        }));
        deny.extend(found.paths);
    }
    deny.sort();
    deny.dedup();
    Ok((deny, notes))
}

fn sockets(
    typed: &ReachWords,
    files: &[FileGrant],
    world: &World<'_>,
) -> Result<Vec<PathBuf>, Failure> {
    let socket = |path: &PathBuf| {
        let real = resolve("--unix", path, world)?;
        stays("--unix", &world.current_dir.join(path), &real, files, world).map(|()| real)
    };
    typed.unix.iter().map(socket).collect()
}

fn resolve(flag: &str, path: &Path, world: &World<'_>) -> Result<PathBuf, Failure> {
    (world.canonical)(&world.current_dir.join(path)).map_err(|error| {
        let failure = Failure::usage(format!("{flag} `{}`: {error}", path.display()));
        if error.kind() != io::ErrorKind::NotFound {
            return failure;
        }
        failure.hint("a grant opens what exists; create the file or directory first")
    })
}

/// The network: one mode, a set of hosts, or a set of ports.
fn network(words: &[NetWord]) -> Result<Network, Failure> {
    let mut network = Network::default();
    for word in words {
        let mode = match word {
            NetWord::None => NetworkMode::None,
            NetWord::Loopback => NetworkMode::Loopback,
            NetWord::Full => NetworkMode::Full,
            NetWord::Port(port) => {
                network.connect.insert(*port);
                NetworkMode::Ports
            }
            NetWord::Host(host, port) => {
                network.hosts.insert(HostGrant { host: host.clone(), port: *port });
                NetworkMode::Hosts
            }
            NetWord::Listen(port) => {
                network.listen.insert(*port);
                NetworkMode::Ports
            }
        };
        let first = std::ptr::eq(word, words.first().unwrap_or(word));
        if !first && network.mode != mode {
            return Err(Failure::usage("the --net flags contradict each other").hint(
                "give one of none, loopback, full; or any number of hosts; or any number of \
                     ports (a port of every host is written as *:443)",
            ));
        }
        network.mode = mode;
    }
    Ok(network)
}

fn variable(word: &EnvWord) -> EnvGrant {
    match &word.value {
        Some(value) => EnvGrant::Set(word.name.clone(), value.clone()),
        None => EnvGrant::Inherit(word.name.clone()),
    }
}

fn limits(typed: &LimitWords) -> Limits {
    let default = Limits::default();
    let pick = |typed: Option<crate::spelling::Bound<u64>>, default| {
        typed.map_or(default, crate::spelling::Bound::into_option)
    };
    Limits {
        memory: pick(typed.memory, default.memory),
        pids: pick(typed.pids, default.pids),
        cpu_milli: pick(typed.cpu, default.cpu_milli),
        cpu_time: typed.cpu_time.map_or(default.cpu_time, |bound| bound.into_option()),
        wall: typed.wall.map_or(default.wall, |bound| bound.into_option()),
        open_files: pick(typed.open_files, default.open_files),
        file_size: pick(typed.file_size, default.file_size),
        tmp_size: typed.tmp_size.unwrap_or(default.tmp_size),
    }
}

/// The level as the sandbox has it.
pub(crate) fn level(word: LevelWord) -> Level {
    match word {
        LevelWord::Strict => Level::Strict,
        LevelWord::Standard => Level::Standard,
        LevelWord::None => Level::None,
    }
}

/// What is demanded of each protection that was named, which must be one thing.
pub(crate) fn demands(typed: &DemandWords) -> Result<Demands, Failure> {
    let asked = [
        (Demand::Require, &typed.require),
        (Demand::Prefer, &typed.prefer),
        (Demand::Off, &typed.off),
    ];
    let mut demands = Demands::new();
    for (demand, names) in asked {
        for name in names {
            let protection = name.parse().map_err(Failure::usage)?;
            let before = demands.insert(protection, demand);
            if let Some(before) = before.filter(|before| *before != demand) {
                let (before, now) = (before.as_str(), demand.as_str());
                let text = format!("--{before} {name} and --{now} {name} contradict each other");
                return Err(Failure::usage(text));
            }
        }
    }
    Ok(demands)
}

/// The filter profile: the last one named counts, and calls add up to the list of a strict one.
fn filter(words: &[FilterWord]) -> Result<Profile, Failure> {
    let named = words.iter().rposition(|word| !matches!(word, FilterWord::Call(_)));
    match (named.and_then(|at| words.get(at)), words.last()) {
        (_, Some(FilterWord::Call(_))) => {
            let list = words.iter().skip(named.map_or(0, |at| at.saturating_add(1)));
            list_of(list.filter_map(FilterWord::call))
        }
        (Some(FilterWord::Ci), _) => Ok(Profile::Ci),
        _ => Ok(Profile::Default),
    }
}

/// A strict filter that allows what a list names.
pub(crate) fn list_of<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Profile, Failure> {
    Calls::of(words).map(Profile::Strict).map_err(|error| {
        let nearest = plugbay_manifest::nearest(&error.0, Calls::vocabulary());
        let guess = nearest.map_or_else(String::new, |word| format!("did you mean `{word}`? "));
        Failure::usage(format!("--filter: {error}")).hint(format!(
            "{guess}give default, ci, or a list that `plugbay learn` wrote, such as @python,accept4"
        ))
    })
}

/// Where the command runs: where it was told to, or here if here is granted, or in `/tmp`.
fn workdir(
    typed: Option<&Path>,
    files: &[FileGrant],
    world: &World<'_>,
) -> Result<PathBuf, Failure> {
    let private = Path::new("/tmp");
    let granted = |path: &Path| files.iter().any(|grant| path.starts_with(&grant.path));
    let Some(typed) = typed else {
        let here = if granted(world.current_dir) { world.current_dir } else { private };
        return Ok(here.to_owned());
    };
    let path = resolve("--workdir", typed, world)?;
    if path != private && path.starts_with(private) && !granted(&path) {
        let shown = path.display();
        return Err(Failure::usage(format!("--workdir `{shown}` is not in the private /tmp"))
            .hint(format!("grant it: --read {shown} or --write {shown}")));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Plugbay, Verb};

    /// `/here` and a few more exist; `/link` leads to `/real`.
    fn canonical(path: &Path) -> io::Result<PathBuf> {
        let path = path.components().filter(|part| part.as_os_str() != ".").collect::<PathBuf>();
        match path.to_str() {
            Some("/link" | "/here/way") => Ok("/real".into()),
            Some("/here/../srv") => Ok("/srv".into()),
            Some(
                "/here" | "/here/sub" | "/real" | "/srv" | "/srv/s" | "/tmp" | "/tmp/x" | "/usr",
            ) => Ok(path),
            _ => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    /// `/here/key` is there, with another name; patterns find nothing.
    fn search(pattern: &Path) -> Result<Found, DenyError> {
        let key = PathBuf::from("/here/key");
        let there = pattern == key;
        Ok(if there {
            Found { paths: vec![key.clone()], linked: vec![key] }
        } else {
            Found::default()
        })
    }

    fn meant(flags: &[&str]) -> Result<Grants, Failure> {
        let words = ["plugbay", "run"].iter().chain(flags).chain(&["--", "true"]);
        let Verb::Run(run) = Plugbay::try_parse_from(words).unwrap().verb else {
            panic!("not a run")
        };
        let world =
            World { current_dir: Path::new("/here"), canonical: &canonical, search: &search };
        understand(&run, &world)
    }

    fn grant(path: &str, access: Access) -> FileGrant {
        FileGrant::requested(path, access)
    }

    #[test]
    fn a_link_that_the_command_could_have_made_grants_nothing() {
        for flags in [["--read", "way"], ["--unix", "way"], ["--write", "./way"]] {
            let refused = meant(&[&["--write", "."], &flags[..]].concat()).unwrap_err();
            assert!(refused.message.contains("leads out of `/here`"), "{}", refused.message);
            assert!(refused.hint.unwrap().contains("name `/real` itself"));
        }
        // By its own name, from where nothing can be written, and around it.
        for flags in [["--write", ".", "--read", "/real"], ["--read", ".", "--read", "way"]] {
            assert!(meant(&flags).is_ok());
        }
        assert!(meant(&["--write", ".", "--read", "../srv"]).is_ok());
    }

    #[test]
    fn nothing_typed_means_deny_by_default() {
        let grants = meant(&[]).unwrap();
        assert_eq!(grants.files, []);
        assert_eq!(grants.base, Base::System);
        assert_eq!(grants.network, Network::default());
        assert_eq!(grants.limits, Limits::default());
        assert_eq!(grants.level, Level::Standard);
        assert_eq!(grants.workdir, Path::new("/tmp"));
    }

    #[test]
    fn relative_paths_and_links_become_real_ones() {
        let grants = meant(&["--read", ".", "--read", "sub", "--exec", "/link"]).unwrap();
        assert_eq!(
            grants.files,
            [
                grant("/here", Access::Read),
                grant("/here/sub", Access::Read),
                grant("/real", Access::Exec),
            ]
        );
    }

    #[test]
    fn a_path_granted_twice_gets_the_most_that_was_asked() {
        let grants = meant(&["--write", ".", "--read", "."]).unwrap();
        assert_eq!(grants.files, [grant("/here", Access::Write)]);
    }

    #[test]
    fn what_does_not_exist_cannot_be_granted() {
        let failure = meant(&["--write", "out"]).unwrap_err();
        insta::assert_snapshot!(format!("{}\n{}", failure.message, failure.hint.unwrap()), @"
        --write `out`: entity not found
        a grant opens what exists; create the file or directory first
        ");
        assert!(meant(&["--unix", "/run/none.sock"]).is_err());
    }

    #[test]
    fn a_name_that_hides_nothing_is_a_mistake_and_a_pattern_is_not() {
        let grants = meant(&["--deny", "key", "--deny", "key", "--deny", "**/.env"]).unwrap();
        assert_eq!(grants.deny, [Path::new("/here/key")]);
        insta::assert_snapshot!(grants.notes[1..].join("\n"), @"
        `/here/key` is hidden, but has another name (a hard link)
        --deny `**/.env` finds nothing; what is made later is not hidden
        ");
        assert!(meant(&["--deny", "kye"]).is_err());
    }

    #[test]
    fn an_overlay_is_a_grant_and_outputs_lie_in_it() {
        let grants = meant(&["--overlay", ".", "--output", "dist", "--read", "."]).unwrap();
        assert_eq!(grants.overlay.as_deref(), Some(Path::new("/here")));
        assert_eq!(grants.files, [grant("/here", Access::Write)]);
        assert_eq!(grants.outputs, [Path::new("dist")]);
        assert_eq!(grants.workdir, Path::new("/here"));
        for outside in ["/srv/x", "../x", "a/../../x"] {
            assert!(meant(&["--overlay", ".", "--output", outside]).is_err(), "{outside}");
        }
        assert!(meant(&["--overlay", ".", "--write", "."]).is_err());
    }

    #[test]
    fn the_current_directory_is_kept_when_granted() {
        assert_eq!(meant(&["--read", "."]).unwrap().workdir, Path::new("/here"));
        assert_eq!(meant(&["--read", "sub"]).unwrap().workdir, Path::new("/tmp"));
        assert_eq!(meant(&["--workdir", "/usr"]).unwrap().workdir, Path::new("/usr"));
    }

    #[test]
    fn the_hosts_tmp_is_no_working_directory_unless_granted() {
        assert!(meant(&["--workdir", "/tmp/x"]).is_err());
        assert_eq!(meant(&["--workdir", "/tmp"]).unwrap().workdir, Path::new("/tmp"));
        let granted = meant(&["--workdir", "/tmp/x", "--write", "/tmp/x"]).unwrap();
        assert_eq!(granted.workdir, Path::new("/tmp/x"));
    }

    #[test]
    fn ports_add_up_and_so_do_hosts() {
        let network = meant(&["--net", "443", "--net", "listen:8080"]).unwrap().network;
        assert_eq!(network.mode, NetworkMode::Ports);
        assert_eq!((network.connect, network.listen), ([443].into(), [8080].into()));
        let network = meant(&["--net", "db.example.org:5432", "--net", "*.example.org"]);
        let network = network.unwrap().network;
        assert_eq!(network.mode, NetworkMode::Hosts);
        let grant = |host: &str, port| HostGrant { host: host.to_owned(), port };
        assert_eq!(
            network.hosts,
            [grant("db.example.org", 5432), grant("*.example.org", 443)].into()
        );
        assert!(network.connect.is_empty());
    }

    #[test]
    fn modes_do_not_mix() {
        for pair in [
            ["none", "full"],
            ["loopback", "443"],
            ["443", "none"],
            ["full", "listen:1"],
            ["a.example:443", "443"],
        ] {
            assert!(meant(&["--net", pair[0], "--net", pair[1]]).is_err(), "{pair:?}");
        }
        assert_eq!(meant(&["--net", "none"]).unwrap().network, Network::default());
        let twice = meant(&["--net", "full", "--net", "full"]).unwrap().network;
        assert_eq!(twice.mode, NetworkMode::Full);
    }

    #[test]
    fn limits_are_replaced_or_lifted_one_by_one() {
        let words = ["--memory", "none", "--pids", "9", "--cpu", "0.5", "--wall", "2m"];
        let limits = meant(&words).unwrap().limits;
        assert_eq!(limits.memory, None);
        assert_eq!(limits.pids, Some(9));
        assert_eq!(limits.cpu_milli, Some(500));
        assert_eq!(limits.wall, Some(std::time::Duration::from_secs(120)));
        assert_eq!(limits.open_files, Limits::default().open_files);
    }

    #[test]
    fn the_last_filter_counts_and_calls_add_up() {
        let profile = |flags: &[&str]| meant(flags).unwrap().profile;
        let list = |words: &[&str]| Profile::Strict(Calls::of(words.iter().copied()).unwrap());
        assert_eq!(profile(&[]), Profile::Default);
        assert_eq!(profile(&["--filter", "default", "--filter", "ci"]), Profile::Ci);
        assert_eq!(profile(&["--filter", "@python,socket"]), list(&["@python", "socket"]));
        let added = ["--filter", "ci", "--filter", "@python", "--filter", "socket"];
        assert_eq!(profile(&added), list(&["@python", "socket"]));
        assert_eq!(profile(&["--filter", "@python,default"]), Profile::Default);
    }

    #[test]
    fn a_slip_in_a_list_of_calls_is_named() {
        let told = |word| {
            let failure = meant(&["--filter", word]).unwrap_err();
            format!("{}\n{}", failure.message, failure.hint.unwrap())
        };
        insta::assert_snapshot!(told("@pyhton"), @"
        --filter: `@pyhton` is neither a system call nor a group of them
        did you mean `@python`? give default, ci, or a list that `plugbay learn` wrote, such as @python,accept4
        ");
        assert!(told("strict").contains("such as @python"));
    }

    #[test]
    fn variables_are_inherited_or_set() {
        let env = meant(&["--env", "TOKEN", "--env", "A=1=2"]).unwrap().env;
        assert_eq!(
            env,
            [
                EnvGrant::Inherit("TOKEN".to_owned()),
                EnvGrant::Set("A".to_owned(), "1=2".to_owned()),
            ]
        );
    }
}
