//! One generation of a plugin: what it says of itself, and what it takes to run it.
//!
//! It never changes. What changes is which one the route leads to; a call goes by the one that it
//! was checked against, and is checked anew when it comes to a process of another.

use std::sync::atomic::AtomicU64;

use plugbay_manifest::Manifest;

use super::{launch::Recipe, method::Catalog};
use crate::lifecycle::identity::Generation;

/// One generation of a plugin.
#[derive(Debug)]
pub(crate) struct Edition {
    pub(crate) generation: Generation,
    pub(crate) recipe: Recipe,
    pub(crate) catalog: Catalog,
    /// Calls that it finished.
    pub(crate) finished: AtomicU64,
}

impl Edition {
    /// What is made by this recipe.
    pub(crate) fn new(generation: Generation, recipe: Recipe) -> Self {
        let catalog = Catalog::new(&recipe.manifest);
        Self { generation, recipe, catalog, finished: AtomicU64::new(0) }
    }

    /// What it says of itself.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.recipe.manifest
    }
}
