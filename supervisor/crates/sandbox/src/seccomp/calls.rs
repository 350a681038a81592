//! A set of system calls: the list of a strict filter, small enough to be copied about.
//!
//! Written as words: names of calls, and names of many with an `@` before them (see `strict`). A call
//! stands for its family (`stat` for `newfstatat`), since a library's version and the architecture
//! decide which of them a program makes.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{strict, table};

const WORDS: usize = 8;

/// A set of system calls.
#[derive(Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Calls([u64; WORDS]);

/// A word that is neither a call, nor a base, nor a group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither a system call nor a group of them")]
pub struct UnknownWord(pub String);

/// The place of a call in the set: its position among the names of all architectures.
fn place(name: &str) -> Option<(usize, u64)> {
    let at = table::names().binary_search(&name).ok()?;
    Some((at / 64, 1 << (at % 64)))
}

impl Calls {
    /// The set that a list of words stands for. Beside what it names it has what every program needs
    /// to be one (the base `@always`).
    ///
    /// # Errors
    /// The first word that means nothing.
    pub fn of<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Self, UnknownWord> {
        let mut calls = Self::default();
        calls.join(strict::meaning("@always").unwrap_or_default());
        for word in words {
            calls.join(strict::meaning(word).ok_or_else(|| UnknownWord(word.to_owned()))?);
        }
        Ok(calls)
    }

    /// The shortest list for the calls that a program was seen to make: `base`, such as `@python`, and
    /// the calls beyond it by name, each family by one. Calls that no profile allows are left out.
    ///
    /// # Errors
    /// `base` means nothing.
    pub fn learned<'w>(
        seen: impl IntoIterator<Item = &'w str>,
        base: &str,
    ) -> Result<Vec<String>, UnknownWord> {
        let mut known = Self::of([base])?;
        let mut words = vec![base.to_owned()];
        for name in seen.into_iter().collect::<BTreeSet<_>>() {
            let allowed = strict::meaning(name).filter(|_| strict::can_allow(name));
            if let Some(family) = allowed.filter(|_| !known.contains(name)) {
                known.join(family);
                words.push(name.to_owned());
            }
        }
        Ok(words)
    }

    /// With one call more, and its family.
    #[must_use]
    pub(crate) fn and(mut self, name: &str) -> Self {
        self.join(strict::meaning(name).unwrap_or_default());
        self
    }

    /// Whether a call is in it.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        let word = |(word, bit)| self.0.get::<usize>(word).is_some_and(|bits| bits & bit != 0);
        place(name).is_some_and(word)
    }

    /// The names of its calls, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        table::names().iter().copied().filter(|name| self.contains(name))
    }

    /// Every word that means something, for completions and for guesses at slips.
    pub fn vocabulary() -> impl Iterator<Item = &'static str> {
        strict::words().chain(table::names().iter().copied())
    }

    pub(super) fn insert(&mut self, name: &str) {
        if let Some((word, bit)) = place(name)
            && let Some(bits) = self.0.get_mut(word)
        {
            *bits |= bit;
        }
    }

    pub(super) fn join(&mut self, other: Self) {
        for (bits, more) in self.0.iter_mut().zip(other.0) {
            *bits |= more;
        }
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

impl Serialize for Calls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.names())
    }
}

impl<'de> Deserialize<'de> for Calls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let words = Vec::<String>::deserialize(deserializer)?;
        Self::of(words.iter().map(String::as_str)).map_err(de::Error::custom)
    }
}
