//! A profile as it is written: the shape of `profiles/*.json`, nothing checked beyond it.

use serde::Deserialize;

use crate::spec::NetworkMode;

/// One profile file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    pub(super) name: String,
    pub(super) comment: String,
    /// The profile that this one starts from.
    pub(super) extends: Option<String>,
    pub(super) groups: Vec<Group>,
    pub(super) checks: Vec<Check>,
}

/// Calls that share a verdict.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub(super) name: String,
    /// Who needs the calls, or which attack refusing them closes.
    pub(super) comment: String,
    pub(super) verdict: String,
    pub(super) calls: Vec<String>,
}

/// A look at the arguments, before the group's verdict counts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) comment: String,
    pub(super) calls: Vec<String>,
    /// The variants that have this check; all, if absent.
    #[serde(default)]
    pub(super) only: Only,
    /// All must hold; none at all always holds.
    pub(super) when: Vec<Condition>,
    pub(super) verdict: String,
}

/// Which variants a check belongs to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Only {
    pub(super) network: Option<Vec<NetworkMode>>,
    pub(super) listen: Option<bool>,
    pub(super) ipc_namespace: Option<bool>,
}

/// A question about the low 32 bits of one argument. Exactly one of the last three is given.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Condition {
    pub(super) argument: u8,
    /// Bits to keep before `is` and `is-not`.
    pub(super) mask: Option<String>,
    pub(super) is: Option<Vec<String>>,
    pub(super) is_not: Option<Vec<String>>,
    pub(super) has_any: Option<String>,
}
