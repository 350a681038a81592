//! A profile as it is written: the shape of `profiles/*.json`, nothing checked beyond it.
//!
//! Borrows from the text, since `plugbay run` reads a profile in every process; so only comments may
//! hold escapes.

use std::borrow::Cow;

use serde::Deserialize;

use crate::spec::NetworkMode;

/// One profile file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile<'s> {
    pub(super) name: &'s str,
    #[serde(borrow)]
    pub(super) comment: Cow<'s, str>,
    /// The profile that this one starts from.
    pub(super) extends: Option<&'s str>,
    pub(super) groups: Vec<Group<'s>>,
    pub(super) checks: Vec<Check<'s>>,
}

/// Calls that share a verdict.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group<'s> {
    pub(super) name: &'s str,
    /// Who needs the calls, or which attack refusing them closes.
    #[serde(borrow)]
    pub(super) comment: Cow<'s, str>,
    pub(super) verdict: &'s str,
    /// Refusing these is the ordinary course of things (callers ask first and fall back): nobody is told.
    #[serde(default)]
    pub(super) quiet: bool,
    pub(super) calls: Vec<&'s str>,
}

/// A look at the arguments, before the group's verdict counts.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check<'s> {
    pub(super) name: &'s str,
    #[serde(borrow)]
    pub(super) comment: Cow<'s, str>,
    pub(super) calls: Vec<&'s str>,
    /// The variants that have this check; all, if absent.
    #[serde(default)]
    pub(super) only: Only,
    /// All must hold; none at all always holds.
    pub(super) when: Vec<Condition<'s>>,
    pub(super) verdict: &'s str,
}

/// Which variants a check belongs to.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Only {
    pub(super) network: Option<Vec<NetworkMode>>,
    pub(super) listen: Option<bool>,
    pub(super) ipc_namespace: Option<bool>,
    pub(super) unix: Option<bool>,
    pub(super) attributes: Option<bool>,
}

/// A question about the low 32 bits of one argument. Exactly one of the last three is given.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Condition<'s> {
    pub(super) argument: u8,
    /// Bits to keep before `is` and `is-not`.
    pub(super) mask: Option<&'s str>,
    pub(super) is: Option<Vec<&'s str>>,
    pub(super) is_not: Option<Vec<&'s str>>,
    pub(super) has_any: Option<&'s str>,
}
