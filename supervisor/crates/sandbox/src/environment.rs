//! The allow-list of environment variables: a pure function from the host's to the process's.
//!
//! Nothing is inherited by default but a handful of harmless variables; secrets in the host's
//! environment (tokens, cloud keys, agent sockets) never reach a plugin unless granted by name.

use std::ffi::{OsStr, OsString};

use serde::{Deserialize, Serialize};

/// A variable that the process may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnvGrant {
    /// Passed on from the host, if set there.
    Inherit(String),
    /// Set to this value.
    Set(String, String),
}

/// Variables that carry no secret and that ordinary programs need: language, time zone, terminal.
const HARMLESS: [&str; 8] =
    ["PATH", "LANG", "LANGUAGE", "TZ", "TERM", "COLORTERM", "NO_COLOR", "SOURCE_DATE_EPOCH"];

/// What replaces the host's values, because the host's would point outside the sandbox.
const FIXED: [(&str, &str); 4] =
    [("HOME", "/tmp"), ("TMPDIR", "/tmp"), ("USER", "plugin"), ("LOGNAME", "plugin")];

/// The search path when the host has none.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The exact environment of the process: the harmless variables and locale of `host`, fixed values
/// for the home and temporary directory, then the grants in order (the last one wins).
#[must_use]
pub fn scrub(host: &[(OsString, OsString)], grants: &[EnvGrant]) -> Vec<(OsString, OsString)> {
    let mut kept: Vec<(OsString, OsString)> =
        host.iter().filter(|(name, _)| is_harmless(name)).cloned().collect();
    for (name, value) in FIXED {
        set(&mut kept, name.as_ref(), value.as_ref());
    }
    if !kept.iter().any(|(name, _)| name == "PATH") {
        set(&mut kept, "PATH".as_ref(), DEFAULT_PATH.as_ref());
    }
    for grant in grants {
        match grant {
            EnvGrant::Set(name, value) => set(&mut kept, name.as_ref(), value.as_ref()),
            EnvGrant::Inherit(name) => {
                if let Some((_, value)) = host.iter().find(|(known, _)| known == name.as_str()) {
                    set(&mut kept, name.as_ref(), value);
                }
            }
        }
    }
    kept
}

fn is_harmless(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| HARMLESS.contains(&name) || name.starts_with("LC_"))
}

fn set(variables: &mut Vec<(OsString, OsString)>, name: &OsStr, value: &OsStr) {
    match variables.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => value.clone_into(old),
        None => variables.push((name.to_owned(), value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Vec<(OsString, OsString)> {
        [
            ("PATH", "/bin"),
            ("HOME", "/home/ann"),
            ("AWS_SECRET_ACCESS_KEY", "s3cret"),
            ("LD_PRELOAD", "/evil.so"),
            ("PYTHONPATH", "/evil"),
            ("LC_ALL", "C.UTF-8"),
            ("TOKEN", "t"),
        ]
        .map(|(name, value)| (name.into(), value.into()))
        .to_vec()
    }

    fn value(variables: &[(OsString, OsString)], name: &str) -> Option<String> {
        let found = variables.iter().find(|(known, _)| known == name)?;
        Some(found.1.to_string_lossy().into_owned())
    }

    #[test]
    fn secrets_and_loader_variables_do_not_pass() {
        let kept = scrub(&host(), &[]);
        for name in ["AWS_SECRET_ACCESS_KEY", "LD_PRELOAD", "PYTHONPATH", "TOKEN"] {
            assert_eq!(value(&kept, name), None, "{name}");
        }
    }

    #[test]
    fn locale_and_path_pass_and_home_is_replaced() {
        let kept = scrub(&host(), &[]);
        assert_eq!(value(&kept, "LC_ALL").as_deref(), Some("C.UTF-8"));
        assert_eq!(value(&kept, "PATH").as_deref(), Some("/bin"));
        assert_eq!(value(&kept, "HOME").as_deref(), Some("/tmp"));
    }

    #[test]
    fn grants_open_by_name_and_the_last_one_wins() {
        let grants = [
            EnvGrant::Inherit("TOKEN".into()),
            EnvGrant::Inherit("UNSET".into()),
            EnvGrant::Set("A".into(), "1".into()),
            EnvGrant::Set("A".into(), "2".into()),
        ];
        let kept = scrub(&host(), &grants);
        assert_eq!(value(&kept, "TOKEN").as_deref(), Some("t"));
        assert_eq!(value(&kept, "UNSET"), None);
        assert_eq!(value(&kept, "A").as_deref(), Some("2"));
    }

    #[test]
    fn an_empty_host_still_gets_a_search_path() {
        assert_eq!(value(&scrub(&[], &[]), "PATH").as_deref(), Some(DEFAULT_PATH));
    }
}
