//! Carries out what the toolchains of a run ask for: finds their programs, makes the repository's own
//! caches, and adds to grants and environment. What they ask for is decided in `crate::tool`.

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use plugbay_sandbox::{
    Access, FileGrant,
    resolve::{self, Resolved},
};

use crate::{
    args::{Run, ToolWord},
    env,
    exit::Exit,
    failure::Failure,
    spelling::{EnvWord, NetWord},
    tool::{self, Around, Opened},
};

/// The variable with the directories that are searched for programs.
const SEARCH_PATH: &str = "PATH";

/// What the tools of a run have opened.
#[derive(Debug, Default)]
pub(super) struct Toolbox {
    /// Files and directories.
    pub(super) files: Vec<FileGrant>,
    /// The environment that the command is typed in: ours, with the tools' programs first.
    pub(super) env: Vec<(OsString, OsString)>,
    /// How the programs were found.
    pub(super) notes: Vec<String>,
    /// Variables for the command, the weakest of all.
    words: Vec<EnvWord>,
}

/// Opens the tools of a run. Their variables are put before those of the run, so that they are weaker.
pub(super) fn open(run: &mut Run, repository: &Path) -> Result<Toolbox, Failure> {
    let mut toolbox = Toolbox { env: env::all(), ..Toolbox::default() };
    if run.tools.is_empty() {
        return match &run.cache {
            Some(_) => Err(Failure::usage("--cache is for the caches of tools; name one: --tool")),
            None => Ok(toolbox),
        };
    }
    let cache = cache(run, repository);
    let home = env::home();
    for tool in run.tools.clone() {
        let around = Around {
            env: &toolbox.env,
            home: home.as_deref(),
            cache: cache.as_deref(),
            online: is_online(&run.reach.net),
            real: &|path: &Path| path.canonicalize().ok(),
        };
        let opened = tool::open(tool, &around);
        make(&opened).map_err(|error| {
            let place = cache.as_deref().unwrap_or(Path::new("")).display();
            Failure::new(Exit::NotSealed, format!("make the cache `{place}`: {error}"))
                .hint("name another place for it: --cache DIR")
        })?;
        toolbox.programs(tool, repository)?;
        toolbox.add(tool, opened);
    }
    let typed = std::mem::take(&mut run.reach.env);
    run.reach.env = toolbox.words.drain(..).chain(typed).collect();
    Ok(toolbox)
}

/// Whether something outside can be reached with these words.
fn is_online(net: &[NetWord]) -> bool {
    net.iter().any(|word| match word {
        NetWord::None | NetWord::Loopback | NetWord::Listen(_) => false,
        NetWord::Full | NetWord::Port(_) | NetWord::Host(..) => true,
    })
}

/// The directory of the own caches.
fn cache(run: &Run, repository: &Path) -> Option<PathBuf> {
    let named = run.cache.as_ref().and_then(|cache| std::path::absolute(cache).ok());
    named.or_else(|| Some(env::cache_dir()?.join("run").join(tool::cache_name(repository))))
}

/// Makes what is to be written, for its user alone.
fn make(opened: &Opened) -> io::Result<()> {
    for directory in &opened.caches {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    for (at, target) in &opened.links {
        match std::os::unix::fs::symlink(target, at) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

impl Toolbox {
    fn add(&mut self, tool: ToolWord, opened: Opened) {
        self.files.extend(opened.files);
        let origin = format!("cache of --tool {}", tool::word(tool));
        let caches = opened.caches.iter().filter_map(|path| path.canonicalize().ok());
        self.files.extend(caches.map(|path| FileGrant {
            path,
            access: Access::Write,
            origin: origin.clone(),
        }));
        self.words.extend(opened.env);
    }

    /// Finds the tool's programs behind their shims, opens their installations, and has them found
    /// first: inside, a shim would ask for the home that is not there.
    fn programs(&mut self, tool: ToolWord, here: &Path) -> Result<(), Failure> {
        for (place, name) in tool::programs(tool).iter().enumerate() {
            match resolve::resolve(name, &[], &self.env, here) {
                Ok(found) => self.found(name, found),
                Err(_) if place > 0 => {}
                Err(error) => {
                    let message = format!("--tool {}: {error}", tool::word(tool));
                    return Err(Failure::new(Exit::CommandNotFound, message));
                }
            }
        }
        Ok(())
    }

    fn found(&mut self, name: &str, found: Resolved) {
        self.notes.extend(found.notes);
        for (name, value) in found.env {
            // What is no text cannot be passed on by a word; no manager sets such.
            if let (Some(name), Some(value)) = (name.to_str(), value.to_str())
                && name != SEARCH_PATH
            {
                let value = Some(value.to_owned());
                self.words.push(EnvWord { name: name.to_owned(), value });
            }
            self.set(&name, value);
        }
        // Behind a script stands its interpreter, whose directory is not the program's own.
        let bin = found.program.parent().filter(|bin| bin.join(name).exists());
        if let Some(bin) = bin.filter(|_| !found.grants.is_empty()) {
            self.search_first(bin);
        }
        self.files.extend(found.grants);
    }

    fn search_first(&mut self, bin: &Path) {
        let path = self.var(SEARCH_PATH).unwrap_or_default().to_owned();
        let rest = std::env::split_paths(&path).filter(|entry| entry != bin);
        let joined = std::env::join_paths(std::iter::once(bin.to_owned()).chain(rest));
        // A directory whose name has a colon cannot be searched by anybody.
        if let Ok(joined) = joined {
            self.set(OsStr::new(SEARCH_PATH), joined);
        }
    }

    fn var(&self, name: &str) -> Option<&OsStr> {
        let found = self.env.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_os_str())
    }

    fn set(&mut self, name: &OsStr, value: OsString) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value));
    }
}
