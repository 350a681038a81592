//! What toolchains read, write and cache: one table each, and how a table becomes grants and
//! variables. Pure but for the look whether a path is there, which is an argument.
//!
//! Three rules hold for all of them:
//! - What a sealed run writes, an unsealed one must not execute: a tool's usual cache is read and never
//!   written. What must be written goes to a cache for this one repository.
//! - Without a way out the usual cache is all there is, so it is read, and the tool is told that it is
//!   offline: it then says what is missing instead of waiting for a name that nobody answers. With a
//!   way out, downloads go to the own cache, which is used without one as well once it is there: fetch
//!   first, then run the code of others without a network.
//! - Files that hold passwords (`credentials.toml`, `.npmrc`, `settings.xml`, `pip.conf`) are no part of
//!   any table. Who needs one grants it by name.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use plugbay_sandbox::{Access, FileGrant};

use crate::{args::ToolWord, spelling::EnvWord};

/// When a tool's files are kept in the repository's own cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cache {
    /// Never: the usual place is read.
    Never,
    /// When there is something to be downloaded from, or it has been; else the usual place is read.
    Online,
    /// Always: it is written whatever the tool does.
    Always,
}

/// A directory of a tool.
#[derive(Debug)]
struct Place {
    /// The variable that names it.
    variable: &'static str,
    /// Where it is when the variable is not set, below the home directory.
    usual: &'static str,
    /// What of it is opened wherever the cache is.
    always: &'static [(&'static str, Access)],
    /// What of it is read where the usual place is the cache.
    cached: &'static [&'static str],
    /// Where the cache is, and its name there.
    cache: (Cache, &'static str),
    /// A file that is linked from the usual place into the own cache, since the tool looks for it there.
    linked: Option<&'static str>,
}

/// A directory that is only written.
const fn own(variable: &'static str, name: &'static str) -> Place {
    let cache = (Cache::Always, name);
    Place { variable, usual: "", always: &[], cached: &[], cache, linked: None }
}

/// A toolchain.
#[derive(Debug)]
struct Table {
    /// Programs whose installations are opened and whose directories are searched first. The first one
    /// must be there.
    programs: &'static [&'static str],
    places: &'static [Place],
    /// Variables that name a directory which is written.
    written: &'static [&'static str],
    /// Variables that name a directory which is read and executed.
    executed: &'static [&'static str],
    /// Paths of the system beyond the base.
    system: &'static [&'static str],
    /// Variables that are set.
    set: &'static [(&'static str, &'static str)],
    /// Variables that are set where there is no way out.
    offline: &'static [(&'static str, &'static str)],
    /// Variables that are passed on; a `*` at the end stands for any rest.
    passed: &'static [&'static str],
}

const RUST: Table = Table {
    programs: &["cargo", "rustc"],
    places: &[
        // Toolchains that a `rust-toolchain.toml` or `cargo +NAME` asks for.
        Place {
            variable: "RUSTUP_HOME",
            usual: ".rustup",
            always: &[("toolchains", Access::Exec), ("settings.toml", Access::Read)],
            cached: &[],
            cache: (Cache::Never, ""),
            linked: None,
        },
        // `bin` for subcommands such as cargo-nextest; `config.toml` for mirrors. Never
        // `credentials.toml`.
        Place {
            variable: "CARGO_HOME",
            usual: ".cargo",
            always: &[
                ("bin", Access::Exec),
                ("config.toml", Access::Read),
                ("config", Access::Read),
            ],
            cached: &["registry", "git"],
            cache: (Cache::Online, "cargo"),
            linked: Some("config.toml"),
        },
    ],
    written: &["CARGO_TARGET_DIR"],
    executed: &[],
    system: &[],
    set: &[],
    offline: &[("CARGO_NET_OFFLINE", "true")],
    passed: &[
        "CARGO_BUILD_JOBS",
        "CARGO_BUILD_TARGET",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
        "CARGO_PROFILE_*",
        "CARGO_TARGET_DIR",
        "CARGO_TERM_COLOR",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "RUST_BACKTRACE",
        "RUST_LOG",
        "RUST_TEST_THREADS",
    ],
};

const NODE: Table = Table {
    programs: &["node", "npm"],
    places: &[
        own("npm_config_cache", "npm"),
        own("YARN_CACHE_FOLDER", "yarn"),
        own("PNPM_HOME", "pnpm"),
        own("COREPACK_HOME", "corepack"),
    ],
    written: &[],
    executed: &[],
    // Debian keeps npm's modules below /usr, but its global settings here.
    system: &["/etc/npmrc"],
    set: &[("npm_config_update_notifier", "false"), ("npm_config_fund", "false")],
    offline: &[("npm_config_offline", "true")],
    passed: &["CI", "FORCE_COLOR", "NODE_ENV", "NODE_OPTIONS", "npm_config_registry"],
};

const PYTHON: Table = Table {
    programs: &["python3", "python", "uv"],
    places: &[own("PIP_CACHE_DIR", "pip"), own("UV_CACHE_DIR", "uv")],
    written: &[],
    executed: &["VIRTUAL_ENV"],
    system: &[],
    set: &[("PIP_DISABLE_PIP_VERSION_CHECK", "1")],
    offline: &[("PIP_NO_INDEX", "1"), ("UV_OFFLINE", "1")],
    passed: &[
        "PYTEST_ADDOPTS",
        "PYTHONHASHSEED",
        "PYTHONPATH",
        "PYTHONUNBUFFERED",
        "PYTHONWARNINGS",
        "VIRTUAL_ENV",
    ],
};

const GO: Table = Table {
    programs: &["go"],
    places: &[
        Place {
            variable: "GOMODCACHE",
            usual: "go/pkg/mod",
            always: &[],
            cached: &[""],
            cache: (Cache::Online, "go-mod"),
            linked: None,
        },
        own("GOCACHE", "go-build"),
    ],
    written: &[],
    executed: &["GOROOT"],
    system: &[],
    // Another toolchain would be downloaded and executed without a word.
    set: &[("GOTOOLCHAIN", "local"), ("GOTELEMETRY", "off")],
    offline: &[("GOPROXY", "off")],
    passed: &[
        "CGO_ENABLED",
        "GOAMD64",
        "GOARCH",
        "GOARM",
        "GOEXPERIMENT",
        "GOFLAGS",
        "GONOSUMDB",
        "GOOS",
        "GOPRIVATE",
        "GOROOT",
    ],
};

const JAVA: Table = Table {
    programs: &["java", "javac", "mvn", "gradle"],
    places: &[
        // Maven has no variable for it: see `maven`. Never `settings.xml`.
        Place {
            variable: MAVEN_REPOSITORY,
            usual: ".m2/repository",
            always: &[("", Access::Read)],
            cached: &[],
            cache: (Cache::Online, "maven"),
            linked: None,
        },
        // Gradle reads from this one what it has not in its own.
        Place {
            variable: "GRADLE_RO_DEP_CACHE",
            usual: ".gradle/caches",
            always: &[("modules-2", Access::Read)],
            cached: &[],
            cache: (Cache::Never, ""),
            linked: None,
        },
        own("GRADLE_USER_HOME", "gradle"),
    ],
    written: &[],
    executed: &["JAVA_HOME"],
    // Where Debian keeps their settings.
    system: &["/etc/maven", "/etc/gradle"],
    // A daemon would end with the run, and its start would be for nothing.
    set: &[("GRADLE_OPTS", "-Dorg.gradle.daemon=false")],
    offline: &[("MAVEN_ARGS", "--offline")],
    passed: &["JAVA_HOME", "JAVA_TOOL_OPTIONS"],
};

/// Not a variable: Maven takes its repository as an option.
const MAVEN_REPOSITORY: &str = "maven.repo.local";

fn table(tool: ToolWord) -> &'static Table {
    match tool {
        ToolWord::Rust => &RUST,
        ToolWord::Node => &NODE,
        ToolWord::Python => &PYTHON,
        ToolWord::Go => &GO,
        ToolWord::Java => &JAVA,
    }
}

/// The tool's word.
pub(crate) fn word(tool: ToolWord) -> &'static str {
    match tool {
        ToolWord::Rust => "rust",
        ToolWord::Node => "node",
        ToolWord::Python => "python",
        ToolWord::Go => "go",
        ToolWord::Java => "java",
    }
}

/// The programs of a tool; the first one must be there.
pub(crate) fn programs(tool: ToolWord) -> &'static [&'static str] {
    table(tool).programs
}

/// What must be known of the world.
pub(crate) struct Around<'a> {
    /// The environment.
    pub(crate) env: &'a [(OsString, OsString)],
    /// The user's home directory.
    pub(crate) home: Option<&'a Path>,
    /// The directory of the repository's own caches; without one, tools cache in the private `/tmp`.
    pub(crate) cache: Option<&'a Path>,
    /// Whether anything outside can be reached.
    pub(crate) online: bool,
    /// Resolves a path to an absolute one without symlinks, if it is there.
    pub(crate) real: &'a dyn Fn(&Path) -> Option<PathBuf>,
}

impl std::fmt::Debug for Around<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Around").field("online", &self.online).finish_non_exhaustive()
    }
}

impl Around<'_> {
    fn var(&self, name: &str) -> Option<PathBuf> {
        let value = self.env.iter().find(|(known, _)| known == name).map(|(_, value)| value)?;
        (!value.is_empty()).then(|| PathBuf::from(value))
    }
}

/// What a tool opens.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Files and directories that are there.
    pub(crate) files: Vec<FileGrant>,
    /// Directories of the own cache, to be made and then granted for writing.
    pub(crate) caches: Vec<PathBuf>,
    /// Links to be made in the own cache: where, and to what.
    pub(crate) links: Vec<(PathBuf, PathBuf)>,
    /// Variables, the weakest of all.
    pub(crate) env: Vec<EnvWord>,
}

/// What a tool opens in this world.
pub(crate) fn open(tool: ToolWord, around: &Around<'_>) -> Opened {
    let mut opening = Opening { tool, around, opened: Opened::default() };
    let table = table(tool);
    for name in table.passed {
        opening.pass(name);
    }
    for place in table.places {
        opening.place(place);
    }
    for (variables, access) in [(table.written, Access::Write), (table.executed, Access::Exec)] {
        for path in variables.iter().filter_map(|name| around.var(name)) {
            opening.grant(&path, access);
        }
    }
    for path in table.system {
        opening.grant(Path::new(path), Access::Read);
    }
    let offline = if around.online { &[][..] } else { table.offline };
    for (name, value) in table.set.iter().chain(offline) {
        opening.set(name, value);
    }
    opening.opened
}

struct Opening<'a> {
    tool: ToolWord,
    around: &'a Around<'a>,
    opened: Opened,
}

impl Opening<'_> {
    fn grant(&mut self, path: &Path, access: Access) {
        let Some(path) = (self.around.real)(path) else { return };
        let origin = format!("--tool {}", word(self.tool));
        self.opened.files.push(FileGrant { path, access, origin });
    }

    fn set(&mut self, name: &str, value: &str) {
        let value = Some(value.to_owned());
        self.opened.env.push(EnvWord { name: name.to_owned(), value });
    }

    fn pass(&mut self, pattern: &str) {
        let names = self.around.env.iter().filter_map(|(name, _)| name.to_str());
        let matches = |name: &&str| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => *name == pattern,
        };
        let words =
            names.filter(matches).map(|name| EnvWord { name: name.to_owned(), value: None });
        self.opened.env.extend(words.collect::<Vec<_>>());
    }

    fn place(&mut self, place: &Place) {
        let usual = self.usual(place);
        for (part, access) in place.always {
            if let Some(usual) = &usual {
                self.grant(&below(usual, part), *access);
            }
        }
        let is_own = match place.cache.0 {
            Cache::Never => false,
            Cache::Online => self.around.online || self.is_filled(place),
            Cache::Always => true,
        };
        if is_own {
            self.own(place, usual.as_deref());
            return;
        }
        let Some(usual) = usual.filter(|path| (self.around.real)(path).is_some()) else { return };
        for part in place.cached {
            self.grant(&below(&usual, part), Access::Read);
        }
        self.name(place, &usual, None);
    }

    /// Whether a run with a way out has made the place in the own cache.
    fn is_filled(&self, place: &Place) -> bool {
        let own = self.around.cache.map(|cache| cache.join(place.cache.1));
        own.is_some_and(|own| (self.around.real)(&own).is_some())
    }

    /// The usual place, where there is one.
    fn usual(&self, place: &Place) -> Option<PathBuf> {
        if place.usual.is_empty() {
            return None;
        }
        let named = self.around.var(place.variable);
        named.or_else(|| Some(self.around.home?.join(place.usual)))
    }

    /// A directory of the own cache stands for the place.
    fn own(&mut self, place: &Place, usual: Option<&Path>) {
        let Some(cache) = self.around.cache else { return };
        let directory = cache.join(place.cache.1);
        if let Some((name, usual)) = place.linked.zip(usual) {
            let target = (self.around.real)(&usual.join(name));
            self.opened.links.extend(target.map(|target| (directory.join(name), target)));
        }
        self.name(place, &directory, usual);
        self.opened.caches.push(directory);
    }

    /// Tells the tool where the place is.
    fn name(&mut self, place: &Place, path: &Path, behind: Option<&Path>) {
        // A path that is no text cannot be told; then the tool looks in its home, which is empty.
        let Some(text) = path.to_str() else { return };
        if place.variable == MAVEN_REPOSITORY {
            let behind = behind.filter(|path| (self.around.real)(path).is_some());
            self.set("MAVEN_OPTS", &maven(text, behind.and_then(Path::to_str)));
        } else {
            self.set(place.variable, text);
        }
    }
}

/// Maven's options: its repository, and (since 3.9) one behind it that is only read.
fn maven(repository: &str, behind: Option<&str>) -> String {
    let mut options = format!("-D{MAVEN_REPOSITORY}={repository}");
    if let Some(behind) = behind {
        options.push_str(&format!(" -D{MAVEN_REPOSITORY}.tail={behind}"));
    }
    options
}

fn below(directory: &Path, part: &str) -> PathBuf {
    if part.is_empty() { directory.to_owned() } else { directory.join(part) }
}

/// The name of a repository's own cache: one that a person recognises, and that no other directory
/// has.
pub(crate) fn cache_name(repository: &Path) -> String {
    // FNV-1a: stable from release to release, which the hash of the standard library is not.
    let bytes = repository.as_os_str().as_encoded_bytes();
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let name = repository.file_name().map(|name| name.to_string_lossy().into_owned());
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = name.unwrap_or_default().chars().map(plain).take(40).collect();
    format!("{name}-{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everything below `/home/u` is there but what is named `absent`.
    fn opened(tool: ToolWord, online: bool, env: &[(&str, &str)]) -> Opened {
        let env: Vec<(OsString, OsString)> =
            env.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let real = |path: &Path| {
            let there = path.starts_with("/home/u") && !path.ends_with("absent");
            (there || path.starts_with("/filled")).then(|| path.to_owned())
        };
        let cache = env.iter().find(|(name, _)| name == "FILLED").map_or("/cache", |_| "/filled");
        let (home, cache) = (Some(Path::new("/home/u")), Some(Path::new(cache)));
        open(tool, &Around { env: &env, home, cache, online, real: &real })
    }

    fn files(opened: &Opened, access: Access) -> Vec<&str> {
        let files = opened.files.iter().filter(|grant| grant.access == access);
        files.filter_map(|grant| grant.path.to_str()).collect()
    }

    fn value<'o>(opened: &'o Opened, name: &str) -> Option<&'o str> {
        opened.env.iter().rev().find(|word| word.name == name)?.value.as_deref()
    }

    #[test]
    fn without_a_way_out_the_usual_cache_is_read_and_the_tool_is_told_so() {
        let rust = opened(ToolWord::Rust, false, &[]);
        assert!(files(&rust, Access::Read).iter().any(|path| path.ends_with("/registry")));
        assert_eq!(files(&rust, Access::Write), [] as [&str; 0]);
        assert_eq!(rust.caches, [] as [&Path; 0]);
        assert_eq!(value(&rust, "CARGO_HOME"), Some("/home/u/.cargo"));
        assert_eq!(value(&rust, "CARGO_NET_OFFLINE"), Some("true"));
        let go = opened(ToolWord::Go, false, &[("GOMODCACHE", "/home/u/mods")]);
        assert_eq!(value(&go, "GOMODCACHE"), Some("/home/u/mods"));
        assert_eq!(
            (value(&go, "GOPROXY"), value(&go, "GOCACHE")),
            (Some("off"), Some("/cache/go-build"))
        );
    }

    #[test]
    fn with_a_way_out_downloads_go_to_the_own_cache() {
        let rust = opened(ToolWord::Rust, true, &[]);
        assert!(!files(&rust, Access::Read).iter().any(|path| path.contains("registry")));
        assert_eq!(rust.caches, [Path::new("/cache/cargo")]);
        let config = ("/cache/cargo/config.toml".into(), "/home/u/.cargo/config.toml".into());
        assert_eq!(rust.links, [config]);
        assert_eq!(
            (value(&rust, "CARGO_HOME"), value(&rust, "CARGO_NET_OFFLINE")),
            (Some("/cache/cargo"), None)
        );
        let java = opened(ToolWord::Java, true, &[]);
        let options =
            "-Dmaven.repo.local=/cache/maven -Dmaven.repo.local.tail=/home/u/.m2/repository";
        assert_eq!(value(&java, "MAVEN_OPTS"), Some(options));
    }

    #[test]
    fn a_cache_that_was_filled_is_used_without_a_way_out() {
        let rust = opened(ToolWord::Rust, false, &[("FILLED", "1")]);
        assert_eq!(value(&rust, "CARGO_HOME"), Some("/filled/cargo"));
        assert_eq!(value(&rust, "CARGO_NET_OFFLINE"), Some("true"));
        assert!(!files(&rust, Access::Read).iter().any(|path| path.ends_with("/registry")));
    }

    #[test]
    fn no_usual_place_is_ever_written() {
        for tool in [ToolWord::Rust, ToolWord::Node, ToolWord::Python, ToolWord::Go, ToolWord::Java]
        {
            for online in [false, true] {
                let opened = opened(tool, online, &[]);
                assert_eq!(files(&opened, Access::Write), [] as [&str; 0], "{tool:?}");
                assert!(opened.caches.iter().all(|path| path.starts_with("/cache")), "{tool:?}");
            }
        }
    }

    #[test]
    fn no_file_with_passwords_is_opened() {
        for tool in [ToolWord::Rust, ToolWord::Node, ToolWord::Python, ToolWord::Go, ToolWord::Java]
        {
            let opened = opened(tool, true, &[("CARGO_REGISTRY_TOKEN", "s"), ("NPM_TOKEN", "s")]);
            for secret in [
                ".cargo/credentials.toml",
                ".cargo/credentials",
                ".npmrc",
                ".m2/settings.xml",
                ".gradle/gradle.properties",
                ".config/pip/pip.conf",
                ".pypirc",
                ".netrc",
                ".ssh/id",
            ] {
                let secret = Path::new("/home/u").join(secret);
                let open = opened.files.iter().any(|grant| secret.starts_with(&grant.path));
                assert!(!open, "{tool:?} opens {}", secret.display());
            }
            assert!(!opened.env.iter().any(|word| word.name.contains("TOKEN")), "{tool:?}");
        }
    }

    #[test]
    fn what_the_environment_names_is_passed_on_and_opened() {
        let env = [("CARGO_TARGET_DIR", "/home/u/t"), ("CARGO_PROFILE_DEV_DEBUG", "0"), ("X", "1")];
        let rust = opened(ToolWord::Rust, false, &env);
        assert_eq!(files(&rust, Access::Write), ["/home/u/t"]);
        let passed: Vec<&str> = rust
            .env
            .iter()
            .filter(|word| word.value.is_none())
            .map(|word| word.name.as_str())
            .collect();
        assert_eq!(passed, ["CARGO_PROFILE_DEV_DEBUG", "CARGO_TARGET_DIR"]);
        let python = opened(ToolWord::Python, false, &[("VIRTUAL_ENV", "/home/u/absent")]);
        assert_eq!(files(&python, Access::Exec), [] as [&str; 0]);
    }

    #[test]
    fn a_cache_is_named_after_its_repository() {
        let name = cache_name(Path::new("/home/u/my repo"));
        assert!(name.starts_with("my_repo-"), "{name}");
        assert_ne!(name, cache_name(Path::new("/srv/my repo")));
        assert_eq!(cache_name(Path::new("/")).len(), 17);
    }
}
