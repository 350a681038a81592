//! What is to be called, with everything that was typed understood and read: nothing is started yet.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    path::Path,
    time::Duration,
};

use plugbay_manifest::{Package, Restart};
use plugbay_sandbox::{Demands, FileGrant, Level};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    args::{Call, FileWords, Places},
    cli::find,
    env,
    exit::Exit,
    failure::Failure,
    grants::{self, World},
};

/// The most that is read as parameters: more would not fit into a frame.
const MAX_PARAMS: u64 = 64 << 20;

/// One call to one plugin.
#[derive(Debug)]
pub(crate) struct Request {
    package: Package,
    /// The plugins that it depends on, as far as they were found.
    dependencies: Vec<Package>,
    pub(crate) method: String,
    pub(crate) params: Option<Box<RawValue>>,
    pub(crate) config: Option<Value>,
    pub(crate) grants: Vec<FileGrant>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) level: Level,
    pub(crate) demands: Demands,
}

impl Request {
    /// Understands the words, finds the plugin, reads the files.
    pub(crate) fn from_typed(typed: &Call) -> Result<Self, Failure> {
        let mut package = find::find(&typed.plugin, &typed.places)?;
        // One call is one chance: a crash is the answer, not a reason to try again.
        package.manifest.supervision.restart = Restart::Never;
        let words = FileWords {
            read: typed.read.clone(),
            write: typed.write.clone(),
            ..FileWords::default()
        };
        let here = env::current_dir().map_err(Failure::usage)?;
        let world = World {
            current_dir: &here,
            canonical: &Path::canonicalize,
            search: &plugbay_sandbox::deny::search,
        };
        Ok(Self {
            dependencies: dependencies(&package, &typed.places),
            method: typed.method.clone(),
            params: params(typed.params.as_deref())?,
            config: config(typed.config_file.as_deref(), &typed.config)?,
            grants: grants::files(&words, &world)?,
            deadline: typed.deadline,
            level: grants::level(typed.level),
            demands: grants::demands(&typed.demands)?,
            package,
        })
    }

    /// The plugin's name.
    pub(crate) fn name(&self) -> &str {
        self.package.manifest.plugin.name.as_str()
    }

    /// The plugin's version.
    pub(crate) fn version(&self) -> String {
        self.package.manifest.plugin.version.to_string()
    }

    /// The plugin, and those it depends on.
    pub(crate) fn packages(&self) -> impl Iterator<Item = &Package> {
        std::iter::once(&self.package).chain(&self.dependencies)
    }
}

/// Everything that the plugin depends on, directly or not. What is missing is the engine's to tell.
pub(crate) fn dependencies(package: &Package, places: &Places) -> Vec<Package> {
    if package.manifest.dependencies.plugins.is_empty() {
        return Vec::new();
    }
    let Ok(found) = find::discover(places) else { return Vec::new() };
    let known: BTreeMap<_, _> =
        found.packages.iter().map(|it| (&it.manifest.plugin.name, it)).collect();
    let mut taken = vec![&package.manifest.plugin.name];
    let mut wanted: Vec<_> = package.manifest.dependencies.plugins.keys().collect();
    let mut all = Vec::new();
    while let Some(name) = wanted.pop() {
        let Some(dependency) = known.get(name).filter(|_| !taken.contains(&name)) else { continue };
        taken.push(name);
        wanted.extend(dependency.manifest.dependencies.plugins.keys());
        all.push((*dependency).clone());
    }
    all
}

/// The parameters: an object or an array, or nothing.
fn params(typed: Option<&str>) -> Result<Option<Box<RawValue>>, Failure> {
    let text = match typed {
        None => return Ok(None),
        Some("-") => read_stdin()?,
        Some(text) => text.to_owned(),
    };
    let wrong = |why: String| {
        Failure::usage(format!("the parameters {why}"))
            .hint("write a JSON object or array in quotes, such as '{\"text\": \"abc\"}'")
    };
    let raw = RawValue::from_string(text.trim().to_owned())
        .map_err(|error| wrong(format!("are no JSON: {error}")))?;
    match raw.get().as_bytes().first() {
        Some(b'{' | b'[') => Ok(Some(raw)),
        _ => Err(wrong("are neither an object nor an array".to_owned())),
    }
}

fn read_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    let read = io::stdin().lock().take(MAX_PARAMS + 1).read_to_string(&mut text);
    match read.map(u64::try_from) {
        Ok(Ok(0..=MAX_PARAMS)) => Ok(text),
        Ok(_) => Err(Failure::usage("the parameters on standard input are too large")),
        Err(error) => Err(Failure::usage(format!("read the parameters: {error}"))),
    }
}

/// The configuration: the file's keys, then those named one by one. `None` when nothing was said.
pub(crate) fn config(
    file: Option<&Path>,
    single: &[(String, String)],
) -> Result<Option<Value>, Failure> {
    if file.is_none() && single.is_empty() {
        return Ok(None);
    }
    let mut keys = match file {
        Some(path) => from_file(path)?,
        None => Map::new(),
    };
    for (key, value) in single {
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.clone()));
        keys.insert(key.clone(), value);
    }
    Ok(Some(Value::Object(keys)))
}

fn from_file(path: &Path) -> Result<Map<String, Value>, Failure> {
    let shown = path.display();
    let text = fs::read_to_string(path)
        .map_err(|error| Failure::new(Exit::Usage, format!("read `{shown}`: {error}")))?;
    match serde_json::from_str(&text) {
        Ok(Value::Object(keys)) => Ok(keys),
        Ok(_) => Err(Failure::usage(format!("`{shown}` holds no JSON object"))),
        Err(error) => Err(Failure::usage(format!("`{shown}` is no JSON: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Plugbay, Verb};

    fn typed(words: &[&str]) -> Call {
        let all = ["plugbay", "call", "p", "m"].iter().chain(words);
        let Verb::Call(call) = Plugbay::try_parse_from(all).unwrap().verb else {
            panic!("no call")
        };
        *call
    }

    #[test]
    fn parameters_are_an_object_or_an_array_kept_to_the_letter() {
        let text = |typed| params(Some(typed)).unwrap().unwrap().get().to_owned();
        assert_eq!(text(" {\"n\": 1.10} "), "{\"n\": 1.10}");
        assert_eq!(text("[1e400]"), "[1e400]");
        assert!(params(None).unwrap().is_none());
        for wrong in ["", "3", "\"text\"", "{", "null", "{} {}"] {
            assert!(params(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn configuration_is_json_or_else_text() {
        let call = typed(&["--config", "n=3", "--config", "s=abc", "--config", "o={\"a\":[1]}"]);
        let expected = serde_json::json!({"n": 3, "s": "abc", "o": {"a": [1]}});
        assert_eq!(config(None, &call.config).unwrap(), Some(expected));
        assert_eq!(config(None, &[]).unwrap(), None);
    }

    #[test]
    fn single_keys_override_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "{\"a\": 1, \"b\": 2}").unwrap();
        let call = typed(&["-C", file.path().to_str().unwrap(), "--config", "b=3"]);
        let from = call.config_file.as_deref();
        let expected = serde_json::json!({"a": 1, "b": 3});
        assert_eq!(config(from, &call.config).unwrap(), Some(expected));
        fs::write(file.path(), "[]").unwrap();
        assert!(config(from, &call.config).is_err());
    }
}
