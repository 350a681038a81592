//! Start order: who must be there before whom, and why some cannot start at all.
//!
//! Pure: manifests in, an order and reasons out. One plugin that cannot be resolved takes down only
//! those that need it. The order is the same for the same set, whatever order it comes in.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
};

use semver::{Version, VersionReq};

use crate::{manifest::Manifest, name::PluginName, suggest};

/// What came of a set of plugins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resolution {
    /// Every plugin that can start, each after all that it depends on.
    pub order: Vec<PluginName>,
    /// Every plugin that cannot, by name, with the reason.
    pub unresolved: Vec<Unresolved>,
}

/// A plugin that cannot start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// Which.
    pub name: PluginName,
    /// Why not.
    pub reason: Reason,
}

impl fmt::Display for Unresolved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.name, self.reason)
    }
}

/// Why a plugin cannot start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is made for another version of Plugbay.
    Host {
        /// What it needs.
        needs: VersionReq,
        /// What is running.
        found: Version,
    },
    /// A plugin that it needs is not there.
    Missing {
        /// Which plugin.
        dependency: PluginName,
        /// In which version.
        needs: VersionReq,
        /// A plugin with nearly that name that is there.
        similar: Option<PluginName>,
    },
    /// A plugin that it needs is there in another version.
    Version {
        /// Which plugin.
        dependency: PluginName,
        /// What is needed.
        needs: VersionReq,
        /// What is there.
        found: Version,
    },
    /// It depends on itself through others.
    Cycle {
        /// The shortest way round, from the plugin to itself.
        path: Vec<PluginName>,
    },
    /// A plugin that it needs cannot start either.
    Blocked {
        /// Which plugin.
        dependency: PluginName,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host { needs, found } => {
                write!(f, "needs plugbay {needs}, and this is {found}")
            }
            Self::Missing { dependency, needs, similar } => {
                write!(f, "needs `{dependency}` {needs}, which is not there")?;
                match similar {
                    Some(similar) => write!(f, "; did you mean `{similar}`?"),
                    None => Ok(()),
                }
            }
            Self::Version { dependency, needs, found } => {
                write!(f, "needs `{dependency}` {needs}, and {found} is there")
            }
            Self::Cycle { path } => {
                f.write_str("depends on itself: ")?;
                for (index, name) in path.iter().enumerate() {
                    write!(f, "{}`{name}`", if index > 0 { " → " } else { "" })?;
                }
                Ok(())
            }
            Self::Blocked { dependency } => {
                write!(f, "needs `{dependency}`, which cannot start")
            }
        }
    }
}

/// Finds the start order of a set of plugins under a version of Plugbay.
///
/// Of several manifests with one name the first counts; [`discover`](crate::discover) gives each
/// name once.
#[must_use]
pub fn resolve<'m>(
    plugbay: &Version,
    manifests: impl IntoIterator<Item = &'m Manifest>,
) -> Resolution {
    let mut set: BTreeMap<&PluginName, &Manifest> = BTreeMap::new();
    for manifest in manifests {
        set.entry(&manifest.plugin.name).or_insert(manifest);
    }
    let mut failed: BTreeMap<&PluginName, Reason> = set
        .iter()
        .filter_map(|(name, manifest)| Some((*name, own_fault(plugbay, manifest, &set)?)))
        .collect();
    let order = order(&set, &failed);
    blame_dependents(&set, &order, &mut failed);
    blame_cycles(&set, &order, &mut failed);
    Resolution {
        order: order.into_iter().cloned().collect(),
        unresolved: failed
            .into_iter()
            .map(|(name, reason)| Unresolved { name: name.clone(), reason })
            .collect(),
    }
}

type Set<'m> = BTreeMap<&'m PluginName, &'m Manifest>;

/// The names that a plugin depends on.
fn needs<'m>(set: &Set<'m>, name: &PluginName) -> impl Iterator<Item = &'m PluginName> {
    set.get(name).into_iter().flat_map(|manifest| manifest.dependencies.plugins.keys())
}

/// What is wrong with a plugin's own requirements.
fn own_fault(plugbay: &Version, manifest: &Manifest, set: &Set<'_>) -> Option<Reason> {
    let dependencies = &manifest.dependencies;
    if !dependencies.plugbay.matches(plugbay) {
        let (needs, found) = (dependencies.plugbay.clone(), plugbay.clone());
        return Some(Reason::Host { needs, found });
    }
    dependencies.plugins.iter().find_map(|(name, wanted)| {
        let (dependency, needs) = (name.clone(), wanted.range.clone());
        match set.get(name) {
            None => {
                let names = set.keys().map(|name| name.as_str());
                let similar = suggest::nearest(name.as_str(), names)
                    .and_then(|name| PluginName::new(name).ok());
                Some(Reason::Missing { dependency, needs, similar })
            }
            Some(found) if !needs.matches(&found.plugin.version) => {
                Some(Reason::Version { dependency, needs, found: found.plugin.version.clone() })
            }
            Some(_) => None,
        }
    })
}

/// Everything that can start, dependencies first, otherwise by name.
fn order<'m>(set: &Set<'m>, failed: &BTreeMap<&PluginName, Reason>) -> Vec<&'m PluginName> {
    let mut missing: BTreeMap<&PluginName, usize> = BTreeMap::new();
    let mut dependents: BTreeMap<&PluginName, Vec<&'m PluginName>> = BTreeMap::new();
    let mut ready = BTreeSet::new();
    for name in set.keys().copied().filter(|name| !failed.contains_key(name)) {
        let count = needs(set, name).count();
        missing.insert(name, count);
        if count == 0 {
            ready.insert(name);
        }
        for dependency in needs(set, name) {
            dependents.entry(dependency).or_default().push(name);
        }
    }
    let mut order = Vec::with_capacity(set.len());
    while let Some(name) = ready.pop_first() {
        order.push(name);
        for dependent in dependents.get(name).into_iter().flatten() {
            if let Some(count) = missing.get_mut(dependent) {
                *count -= 1;
                if *count == 0 {
                    ready.insert(dependent);
                }
            }
        }
    }
    order
}

/// Fails whatever needs a failed plugin, and whatever needs that.
fn blame_dependents<'m>(
    set: &Set<'m>,
    order: &[&'m PluginName],
    failed: &mut BTreeMap<&'m PluginName, Reason>,
) {
    let started: BTreeSet<_> = order.iter().copied().collect();
    loop {
        let blocked: Vec<_> = set
            .keys()
            .copied()
            .filter(|name| !started.contains(name) && !failed.contains_key(name))
            .filter_map(|name| {
                Some((name, needs(set, name).find(|name| failed.contains_key(name))?.clone()))
            })
            .collect();
        if blocked.is_empty() {
            return;
        }
        for (name, dependency) in blocked {
            failed.insert(name, Reason::Blocked { dependency });
        }
    }
}

/// What is left has a cycle, or leads to one.
fn blame_cycles<'m>(
    set: &Set<'m>,
    order: &[&'m PluginName],
    failed: &mut BTreeMap<&'m PluginName, Reason>,
) {
    let started: BTreeSet<_> = order.iter().copied().collect();
    let left: BTreeSet<&PluginName> = set
        .keys()
        .copied()
        .filter(|name| !started.contains(name) && !failed.contains_key(name))
        .collect();
    for &name in &left {
        let reason = match cycle(set, &left, name) {
            Some(path) => Reason::Cycle { path },
            None => match needs(set, name).find(|name| left.contains(name)) {
                Some(dependency) => Reason::Blocked { dependency: dependency.clone() },
                // Cannot be: whoever needs nothing that is left has been ordered.
                None => continue,
            },
        };
        failed.insert(name, reason);
    }
}

/// The shortest way from a plugin back to itself, breadth first.
fn cycle<'m>(
    set: &Set<'m>,
    left: &BTreeSet<&'m PluginName>,
    start: &'m PluginName,
) -> Option<Vec<PluginName>> {
    let mut came_from: BTreeMap<&PluginName, &PluginName> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(name) = queue.pop_front() {
        for next in needs(set, name).filter(|name| left.contains(name)) {
            if next == start {
                let mut path = vec![start.clone()];
                let mut at = Some(name);
                while let Some(name) = at {
                    path.push(name.clone());
                    at = came_from.get(name).copied();
                }
                path.reverse();
                return Some(path);
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, name);
                queue.push_back(next);
            }
        }
    }
    None
}

#[cfg(test)]
#[path = "resolve_tests.rs"]
mod tests;
