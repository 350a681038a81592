//! The words of a strict list and what they mean: `profiles/strict.json`, read once per process.
//!
//! A strict filter has no rules of its own. It takes those of `default`, and of `ci` for a call that
//! only `ci` allows, and refuses what its list does not name.

use std::{
    collections::{BTreeMap, HashMap},
    sync::OnceLock,
};

use serde::Deserialize;

use super::{Calls, Verdict, policy, table};
use crate::spec::Profile;

pub(super) const SOURCE: &str = include_str!("../../profiles/strict.json");

/// The rule that refuses what a list does not name.
pub(super) const NOT_LISTED: &str = "not-listed";

/// What is answered to a call that exists and is not named: the truth, as by every other refusal.
pub(super) const REFUSED: Verdict = Verdict::Errno(1);

/// The file as it is written, without its comments, which a test asks for.
#[derive(Debug, Deserialize)]
pub(super) struct Source<'s> {
    #[serde(borrow)]
    pub(super) bases: Vec<Base<'s>>,
    #[serde(borrow)]
    pub(super) families: Vec<Family<'s>>,
}

/// What a runtime calls of its own accord.
#[derive(Debug, Deserialize)]
pub(super) struct Base<'s> {
    pub(super) name: &'s str,
    /// A base that stands before this one.
    pub(super) extends: Option<&'s str>,
    #[serde(borrow)]
    pub(super) calls: Vec<&'s str>,
}

/// Calls that do the same: whoever may make one may make all.
#[derive(Debug, Deserialize)]
pub(super) struct Family<'s> {
    #[serde(borrow)]
    pub(super) calls: Vec<&'s str>,
}

#[derive(Debug, Default)]
struct Words {
    /// By word, with its `@`.
    bases: BTreeMap<String, Calls>,
    /// By each member.
    families: HashMap<&'static str, Calls>,
}

/// The file, read. The tests rule out that it cannot be.
pub(super) fn source() -> Option<Source<'static>> {
    serde_json::from_str(SOURCE).ok()
}

fn words_of_file() -> &'static Words {
    static WORDS: OnceLock<Words> = OnceLock::new();
    WORDS.get_or_init(|| source().map(|source| Words::read(&source)).unwrap_or_default())
}

impl Words {
    fn read(source: &Source<'_>) -> Self {
        let mut words = Self::default();
        for family in &source.families {
            let calls = set(&family.calls);
            words.families.extend(calls.names().collect::<Vec<_>>().iter().map(|it| (*it, calls)));
        }
        for base in &source.bases {
            let mut calls = Calls::default();
            for name in &base.calls {
                calls.join(words.family(name));
            }
            let before = base.extends.and_then(|name| words.bases.get(&format!("@{name}")));
            calls.join(before.copied().unwrap_or_default());
            words.bases.insert(format!("@{}", base.name), calls);
        }
        for profile in [Profile::Default, Profile::Ci] {
            let groups = policy::of(profile).into_iter().flat_map(policy::Policy::allowed_groups);
            words.bases.extend(groups.map(|(name, calls)| (format!("@{name}"), set(&calls))));
        }
        words
    }

    /// A call and those that do the same.
    fn family(&self, name: &str) -> Calls {
        self.families.get(name).copied().unwrap_or_else(|| set(&[name]))
    }
}

fn set(names: &[&str]) -> Calls {
    let mut calls = Calls::default();
    names.iter().for_each(|name| calls.insert(name));
    calls
}

/// What one word of a list stands for.
pub(super) fn meaning(word: &str) -> Option<Calls> {
    let words = words_of_file();
    match word.strip_prefix('@') {
        Some(_) => words.bases.get(word).copied(),
        None => table::known(word).map(|name| words.family(name)),
    }
}

/// The names of bases and groups, with their `@`.
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    words_of_file().bases.keys().map(String::as_str)
}

/// The profile whose rules hold for a call that a list names; `None` if none allows it.
pub(super) fn rules_of(name: &str) -> Option<Profile> {
    let allows = |profile: &Profile| policy::of(*profile).is_ok_and(|policy| policy.lists(name));
    [Profile::Default, Profile::Ci].into_iter().find(allows)
}

/// Whether naming a call in a list can change anything.
pub(super) fn can_allow(name: &str) -> bool {
    rules_of(name).is_some()
}
